"""The forms compute the same: against the recurrent one with a factorisation for each token."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from resolvent.layers.functional import gated_kalmanet  # noqa: E402
from resolvent.layers.regression.arguments import as_inputs  # noqa: E402
from resolvent.layers.regression.operation import COMPILED_UP_TO, FORMS, choose_form  # noqa: E402
from resolvent.layers.regression.operators import chunk_wise  # noqa: E402
from resolvent.layers.regression.solving import Solver  # noqa: E402


def rms_ratio(found, wanted):
    """RMS of the difference over RMS of what is wanted; NaN where there is one."""
    return ((found.double() - wanted).square().mean().sqrt() / wanted.square().mean().sqrt()).item()


def exactly(tokens, **options):
    return gated_kalmanet(*tokens, solver="exact", form="recurrent", output_final_state=True, **options)


def differences(found, wanted):
    (o, (H, U), *_), (o_wanted, (H_wanted, U_wanted)) = found, wanted
    return [rms_ratio(*pair) for pair in ((o, o_wanted), (H, H_wanted), (U, U_wanted))]


ON_CPU = [form for form in FORMS if form != "triton"]
FAST = [("chunk", "chebyshev"), ("chunk", "cg"), ("compiled", "chebyshev"), ("compiled", "cg"), ("chunk", "exact")]


@pytest.mark.slow
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 3), st.integers(1, 12), st.integers(1, 9)),
    gates=st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.booleans()),
    cuts=st.none() | st.lists(st.integers(0, 40), max_size=5),
    decay=st.sampled_from([(1.0, 1.0), (0.8, 0.99), (0.01, 0.1)]),
    ridge_ratio=st.sampled_from([0.005, 0.02, 0.5]),
    way=st.sampled_from(FAST),
    interval=st.sampled_from(["wolkowicz_styan", "frobenius"]),
    seed=st.integers(0, 100),
)
@settings(max_examples=150)
def test_agree(shape, gates, cuts, decay, ridge_ratio, way, interval, seed):
    batch, length, heads, D, V = shape
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(3, 1 if cuts is not None else batch, length, heads, generator=generator, dtype=torch.float64)
    batch = uniform.shape[1]
    q, k = torch.randn(2, batch, length, heads, D, generator=generator, dtype=torch.float64)
    v = torch.randn(batch, length, heads, V, generator=generator, dtype=torch.float64)
    g, gk = (decay[0] + (decay[1] - decay[0]) * uniform[:2]).log()
    given_gates = dict(zip(("g", "gk", "alpha", "beta"), (g, gk, uniform[2], uniform[2] + 0.1), strict=True))
    options = {name: gate for (name, gate), used in zip(given_gates.items(), gates, strict=False) if used}
    options["ridge_ratio"] = ridge_ratio
    sequences = batch
    if cuts is not None:
        options["cu_seqlens"] = torch.tensor([0, *sorted(min(cut, length) for cut in cuts), length])
        sequences = len(options["cu_seqlens"]) - 1
    if gates[4]:
        W = torch.randn(sequences, heads, D, 3, generator=generator, dtype=torch.float64)
        options["initial_state"] = W @ W.mT, torch.randn(sequences, heads, D, V, generator=generator).double()
    wanted = exactly((q, k, v), **options)
    form, solver = way
    how = {} if solver == "exact" else {"rtol": 1e-12}
    found = gated_kalmanet(
        q, k, v, **options, **how, solver=solver, interval=interval, form=form, output_final_state=True,
        return_info=True,
    )  # fmt: skip
    for part, part_wanted in zip((found[0], *found[1]), (wanted[0], *wanted[1]), strict=True):
        assert (part - part_wanted).abs().max() <= 1e-10 * part_wanted.abs().max()
    info = found[2]
    assert info.relative_residual.max() <= 1.5e-12
    assert info.condition.min() >= 1
    assert info.condition.max() <= 1.04 * (1 + 1 / ridge_ratio)
    assert info.iterations.dtype == torch.int32


@pytest.mark.parametrize(("form", "solver"), FAST)
@pytest.mark.parametrize(
    ("dtype", "limit"),
    [(torch.float64, 1e-10), (torch.float32, 1e-4), (torch.bfloat16, 1e-2), (torch.float16, 2e-3)],
    ids=str,
)
def test_precisions(draw, form, solver, dtype, limit):
    """The inputs are rounded, too: the difference is from the exact result for those of float64."""
    tokens = draw(2, 100, 2, 32, 24)
    low = [part.to(dtype) for part in tokens]
    how = {} if solver == "exact" else {"rtol": 1e-12 if dtype == torch.float64 else 1e-6}
    found = gated_kalmanet(*low, form=form, solver=solver, output_final_state=True, **how)
    assert found[0].dtype == dtype
    assert found[1][0].dtype == found[1][1].dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert max(differences(found, exactly(tokens))) <= limit


@pytest.mark.parametrize("tokens", [1, 7, 15, 63, 64, 65, 100, 200])
@pytest.mark.parametrize("form", ["chunk", "compiled"])
def test_lengths(draw, form, tokens):
    drawn = draw(2, tokens, 2, 16, 12)
    found = gated_kalmanet(*drawn, form=form, rtol=1e-13, output_final_state=True)
    assert max(differences(found, exactly(drawn))) <= 1e-10


@pytest.mark.parametrize(
    ("D", "V"), [(1, 1), (2, 3), (16, 50), (50, 16), (60, 60), (64, 100), (100, 64), (128, 128), (160, 8)]
)
@pytest.mark.parametrize("form", ["chunk", "compiled"])
def test_dimensions(draw, form, D, V):
    drawn = draw(1, 40, 1, D, V)
    found = gated_kalmanet(*drawn, form=form, rtol=1e-13, output_final_state=True)
    assert max(differences(found, exactly(drawn))) <= 1e-10


@pytest.mark.parametrize("chunk", [1, 16, 32, 64])
def test_chunk_sizes(draw, chunk):
    drawn = draw(2, 70, 2, 8, 6)
    inputs = as_inputs(*drawn, None, 0.02, None, None, None, True)
    o, state, _ = chunk_wise(inputs, Solver(rtol=1e-13), False, chunk=chunk)
    assert max(differences((o, state), exactly(drawn))) <= 1e-10


def test_parallel_and_serial_kernels_agree_bitwise(draw):
    """Every head is computed by one thread."""
    from resolvent.layers.regression import compiled

    drawn = draw(2, 5, 4, 16, 16, dtype=torch.float32)
    results = []
    for threshold in (1 << 62, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(compiled, "PARALLEL_FROM", threshold)
            results.append(gated_kalmanet(*drawn, form="compiled", output_final_state=True))
    assert torch.equal(results[0][0], results[1][0])
    assert all(map(torch.equal, results[0][1], results[1][1]))


@pytest.mark.parametrize("form", ON_CPU)
def test_layouts(draw, form):
    """Tensors that are not contiguous give what their copies give, and none is written to."""
    drawn = draw(2, 20, 3, 8, 8)
    spread = [part.transpose(1, 2).contiguous().transpose(1, 2) for part in drawn]
    spread[3] = spread[3][..., :1].expand(-1, -1, 3)
    copies = [part.clone() for part in spread]
    state = torch.eye(8, dtype=torch.float64).expand(2, 3, 8, 8), torch.zeros(1, dtype=torch.float64).expand(2, 3, 8, 8)
    o, _ = gated_kalmanet(*spread, form=form, initial_state=state)
    assert torch.equal(o, gated_kalmanet(*copies, form=form, initial_state=tuple(map(torch.clone, state)))[0])
    assert all(map(torch.equal, spread, copies))


def test_default_tolerance_is_kept(draw):
    for form in ON_CPU:
        *_, info = gated_kalmanet(*draw(2, 80, 2, 32, 32, dtype=torch.float32), form=form, return_info=True)
        assert info.relative_residual.max() <= 5e-6  # 1e-6, and what rounding to single precision leaves


def test_tolerance_ends_the_compiled_iteration_early(draw):
    drawn, chebyshev = draw(1, 100, 1, 16, 16, decay=(1.0, 1.0)), {"solver": "chebyshev"}
    fixed = gated_kalmanet(*drawn, **chebyshev, num_iter=7, form="compiled", return_info=True)[2]
    assert set(fixed.iterations.flatten().tolist()) == {7}
    stopped = gated_kalmanet(*drawn, **chebyshev, rtol=1e-6, form="compiled", return_info=True)[2]
    bound = [math.acosh(1e6) / (2 * math.asinh(math.sqrt(1 / (c - 1)))) for c in stopped.condition.flatten().tolist()]
    assert (stopped.iterations.flatten() <= torch.tensor(bound).ceil()).all()
    assert stopped.iterations.double().mean() < np.mean(bound) - 1


@pytest.mark.parametrize(
    ("tokens", "wanted"),
    [(1, "compiled"), (COMPILED_UP_TO // 64**2, "compiled"), (COMPILED_UP_TO // 64**2 + 1, "chunk")],
)
def test_choice(draw, tokens, wanted):
    drawn = draw(1, tokens, 1, 64, 4)
    inputs = as_inputs(*drawn, None, 0.02, None, None, None, True)
    assert choose_form(inputs, Solver(), False) == wanted
    assert choose_form(inputs, Solver("exact"), False) == "chunk"
    assert choose_form(inputs, Solver(), True) == "chunk"
    found, _ = gated_kalmanet(*drawn)
    assert torch.equal(found, gated_kalmanet(*drawn, form=wanted)[0])
    drawn[1].requires_grad_()
    torch.testing.assert_close(found, gated_kalmanet(*drawn)[0].detach(), rtol=0, atol=1e-2)


def test_inference_mode_and_autocast(draw):
    drawn = draw(1, 3, dtype=torch.float32)
    wanted = gated_kalmanet(*drawn, rtol=1e-6)[0]
    with torch.inference_mode():
        _, state = gated_kalmanet(*drawn, rtol=1e-6, output_final_state=True)
        gated_kalmanet(*drawn, initial_state=state)
    for form in ON_CPU:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            o, _ = gated_kalmanet(*drawn, rtol=1e-6, form=form)
        torch.testing.assert_close(o, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
def test_cuda(draw):
    drawn = draw(2, 200, 2, 64, 48, dtype=torch.float32)
    device = [part.cuda() for part in drawn]
    for solver in ("chebyshev", "cg"):
        found = gated_kalmanet(*device, solver=solver, rtol=1e-6, output_final_state=True)
        found = found[0].cpu(), tuple(part.cpu() for part in found[1])
        assert max(differences(found, exactly([part.double() for part in drawn]))) <= 1e-4
