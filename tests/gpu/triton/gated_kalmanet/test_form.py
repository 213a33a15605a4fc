"""Gated KalmaNet by Triton kernels, interpreted or on a device, against a factorisation for each token."""

import math
import os
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from resolvent.gpu.triton.gated_kalmanet import decode  # noqa: E402
from resolvent.layers.functional import gated_kalmanet  # noqa: E402
from resolvent.layers.regression.solving import Solver  # noqa: E402

DEVICES = [
    pytest.param("cpu", marks=pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="compiled here")),
    pytest.param("cuda", marks=pytest.mark.gpu),
]
device = pytest.mark.parametrize("device", DEVICES)


def draw(batch=1, tokens=20, heads=2, D=16, V=12, dtype=torch.float32, seed=0):
    """q, k, v, g, gk, alpha in double precision, of numbers that ``dtype`` holds."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, tokens, heads)
    q, k, v = (torch.randn(*shape, width, generator=generator) for width in (D, D, V))
    q, k = (torch.nn.functional.normalize(part, dim=-1) for part in (q, k))
    g, gk, alpha = torch.rand(3, *shape, generator=generator)
    tokens = [part.to(dtype) for part in (q, k, v)]
    return [part.double() for part in (*tokens, -0.2 * g, -0.2 * gk, alpha)]


def states(count, heads=2, D=16, V=12):
    generator = torch.Generator().manual_seed(7)
    W = torch.randn(count, heads, D, D + 3, generator=generator)
    return (W @ W.mT / D).double(), torch.randn(count, heads, D, V, generator=generator).double()


def run(tokens, device="cpu", dtype=torch.float32, initial_state=None, **options):
    """By the kernels; q, k and v in ``dtype``, all else in single precision."""
    given = [part.to(device, dtype if place < 3 else torch.float32) for place, part in enumerate(tokens)]
    if initial_state is not None:
        initial_state = tuple(state.to(device, torch.float32) for state in initial_state)
    options = {"form": "triton", "initial_state": initial_state, "output_final_state": True, **options}
    o, ends, *info = gated_kalmanet(*given, **options)
    return o.cpu(), tuple(end.cpu() for end in ends), *info


def exactly(tokens, **options):
    return gated_kalmanet(*tokens, solver="exact", form="recurrent", output_final_state=True, **options)


def errors(found, wanted):
    pairs = zip((found[0], *found[1]), (wanted[0], *wanted[1]), strict=True)
    return [((part.double() - other).norm() / other.norm()).item() for part, other in pairs]


@device
@pytest.mark.parametrize(
    ("dtype", "limit"), [(torch.float32, 1e-4), (torch.float16, 1e-3), (torch.bfloat16, 4e-3)], ids=str
)
def test_types(device, dtype, limit):
    tokens = draw(dtype=dtype)
    found = run(tokens, device, dtype, rtol=1e-4, return_info=True)
    o, o_error, *state_errors = found[0], *errors(found[:2], exactly(tokens))
    assert o.dtype == dtype
    assert o_error <= limit
    assert max(state_errors) <= 1e-6  # carried in single precision whatever the tokens
    assert found[2].relative_residual.max() <= 1e-4


@device
@pytest.mark.parametrize(
    ("tokens", "D", "V"),
    [
        (70, 16, 16),
        *(
            pytest.param(*shape, marks=pytest.mark.slow)
            for shape in ((3, 1, 2), (64, 50, 60), (65, 128, 20), (5, 200, 256))
        ),
    ],
)
def test_shapes(device, tokens, D, V):
    """More and fewer tokens than a chunk has; dimensions that are no powers of two, and beyond 128."""
    given, state = draw(1, tokens, 1, D, V), states(1, 1, D, V)
    found = run(given, device, initial_state=state, rtol=1e-3)
    assert max(errors(found, exactly(given, initial_state=state))) <= 1e-3


@device
def test_packed_sequences_are_as_separate_ones_to_the_bit(device):
    ends = [0, 5, 5, 8, 20]
    tokens, start = draw(), states(4)
    o, (H, U) = run(tokens, device, initial_state=start, cu_seqlens=ends, rtol=1e-2)
    for n, (first, last) in enumerate(pairwise(ends)):
        part, own = [tensor[:, first:last] for tensor in tokens], [state[n : n + 1] for state in start]
        alone, (H_alone, U_alone) = run(part, device, initial_state=own, rtol=1e-2)
        assert torch.equal(o[:, first:last], alone)
        assert torch.equal(H[n], H_alone[0])
        assert torch.equal(U[n], U_alone[0])


@device
@pytest.mark.parametrize("gate", [-100.0, -math.inf])
def test_forgetting(device, gate):
    """No infinity times zero: what was before does not count."""
    tokens = draw(1, 20, 1)
    for gates in tokens[3:5]:
        gates[:, [0, 9, 10]] = gate
    found = run(tokens, device, rtol=1e-3)
    assert all(part.isfinite().all() for part in (found[0], *found[1]))
    assert max(errors(found, exactly(tokens))) <= 1e-3
    late = run([part[:, 10:] for part in tokens], device, rtol=1e-3)
    torch.testing.assert_close(found[0][:, 10:], late[0], rtol=0, atol=1e-3)


@device
def test_gates_and_shares_that_are_not_given(device):
    q, k, v, g, gk, alpha = draw(1, 9, 1)
    for options in ({}, {"g": g}, {"gk": gk}, {"alpha": alpha}, {"beta": alpha + 0.1}):
        given = {name: part.float().to(device) for name, part in options.items()}
        found = run([q, k, v], device, rtol=1e-3, **given)
        assert max(errors(found, exactly([q, k, v], **options))) <= 1e-3


@device
def test_what_is_not_finite_spoils_what_it_reaches(device):
    tokens = draw(1, 9, 1)
    wanted, _ = run(tokens, device, rtol=1e-2)
    tokens[0][0, 2, 0, 3] = math.nan
    tokens[2][0, 6, 0, 1] = math.inf
    o, (H, U) = run(tokens, device, rtol=1e-2, validate=False)
    spoilt = o[0, :, 0].isnan().any(-1).tolist()
    assert spoilt == [t == 2 or t >= 6 for t in range(9)]
    assert torch.equal(o[:, [0, 1, 3, 4, 5]], wanted[:, [0, 1, 3, 4, 5]])
    assert H.isfinite().all()
    assert U.isnan().any()


@device
@pytest.mark.parametrize("solver", ["chebyshev", "cg"])
@pytest.mark.parametrize(("D", "V"), [(16, 12), (20, 40), *[pytest.param(160, 20, marks=pytest.mark.slow)]])
def test_single_tokens(device, solver, D, V):
    """By the kernel for one token, in single precision throughout."""
    tokens, start = draw(3, 1, 2, D, V), states(3, 2, D, V)
    found = run(tokens, device, initial_state=start, solver=solver, rtol=1e-5, return_info=True)
    assert max(errors(found[:2], exactly(tokens, initial_state=start))) <= 1e-5
    assert found[2].relative_residual.max() <= 1.2e-5
    assert found[2].condition.shape == (3, 1, 2)


@device
def test_a_single_token_without_gates_or_shares(device):
    q, k, v, *_ = draw(2, 1)
    start = states(2)
    wanted = exactly([q, k, v], initial_state=start)
    assert max(errors(run([q, k, v], device, initial_state=start, rtol=1e-4), wanted)) <= 1e-4
    k = 0 * k
    found = run([q, k, v], device, initial_state=[0 * state for state in start], return_info=True)
    assert not any(part.any() for part in (found[0], *found[1], found[2].relative_residual))
    assert (found[2].condition == 1).all()


@device
def test_single_tokens_continue_what_a_prompt_began(device):
    tokens = draw(1, 12, 1)
    wanted, (H_wanted, U_wanted) = run(tokens, device, rtol=1e-4)
    o, state = run([part[:, :10] for part in tokens], device, rtol=1e-4)
    parts = [o]
    for t in (10, 11):
        o, state = run([part[:, t : t + 1] for part in tokens], device, initial_state=state, rtol=1e-4)
        parts.append(o)
    torch.testing.assert_close(torch.cat(parts, 1), wanted, rtol=0, atol=1e-4 * wanted.abs().max().item())
    torch.testing.assert_close(state[0], H_wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(state[1], U_wanted, rtol=1e-5, atol=1e-6)


@device
@pytest.mark.parametrize("D", [16, pytest.param(130, marks=pytest.mark.slow)])
def test_states_are_written_in_place_where_that_is_asked_for(device, D):
    q, k, v, g, gk, alpha = (part[:, 0].float().to(device) for part in draw(2, 1, 2, D, 12))
    H, U = (state.float().to(device) for state in states(2, 2, D, 12))
    ratio = torch.full((2,), 0.02, device=device)
    solver = Solver(rtol=1e-2)
    o, H_after, U_after = decode.step(q, k, v, g, gk, alpha, ratio, H, U, 1.0, solver, False)
    again, H_own, U_own = decode.step(q, k, v, g, gk, alpha, ratio, H, U, 1.0, solver, False, (H, U))
    assert H_own is H
    assert U_own is U
    assert torch.equal(o, again)
    assert torch.equal(H, H_after)
    assert torch.equal(U, U_after)


@device
def test_the_derivative_is_that_of_the_plain_form(device):
    """Of all arguments; also of single tokens, which then go through the chunk-wise kernels."""
    for count in (1, 9):
        tokens, start = draw(1, count, 1, 16, 12), states(1, 1)
        results = []
        for form, kind, dtype in (("triton", device, torch.float32), ("chunk", "cpu", torch.float64)):
            given = [part.to(kind, dtype).requires_grad_() for part in (*tokens, *start)]
            how = {"rtol": 1e-5} if form == "triton" else {"solver": "exact"}
            o, ends = gated_kalmanet(
                *given[:6], initial_state=tuple(given[6:]), form=form, output_final_state=True, **how
            )
            loss = sum(
                (part * torch.linspace(-1, 1, part.numel()).view(part.shape).to(part)).sum() for part in (o, *ends)
            )
            results.append(torch.autograd.grad(loss, given))
        for found, wanted in zip(*results, strict=True):
            assert (found.cpu().double() - wanted).norm() <= 2e-3 * wanted.norm() + 1e-9


@pytest.mark.gpu
@pytest.mark.parametrize("D", [64, 128, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("solver", ["chebyshev", "cg"])
def test_long_sequences_on_a_device(D, dtype, solver):
    """By default, too, and within the tolerance of every token."""
    tokens = draw(2, 1000, 4, D, D, dtype=dtype)
    found = run(tokens, "cuda", dtype, solver=solver, form="auto", return_info=True)
    assert found[2].relative_residual.max() <= 3e-4
    wanted = gated_kalmanet(*tokens, solver="exact", output_final_state=True)
    assert max(errors(found[:2], wanted)) <= max(1e-3, 2 * torch.finfo(dtype).eps)


@pytest.mark.gpu
def test_offsets_beyond_32_bits_on_a_device():
    """The last of more tokens than 2^31 numbers hold is what it is alone."""
    heads, D = 16, 128
    count = 2**31 // (heads * D) + 128
    tokens = torch.randn(1, count, heads, D, device="cuda", dtype=torch.bfloat16)
    ends = [0, count - 100, count]
    o, _ = gated_kalmanet(tokens, tokens, tokens, cu_seqlens=ends, form="triton", rtol=1e-2, validate=False)
    last = tokens[:, -100:]
    assert torch.equal(o[:, -100:], gated_kalmanet(last, last, last, form="triton", rtol=1e-2, validate=False)[0])
