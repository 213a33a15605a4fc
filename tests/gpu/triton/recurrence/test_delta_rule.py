"""The delta rule by Triton kernels, interpreted or on a device, against the recurrence token by token in float64."""

import dataclasses
import math
import os
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from resolvent.errors import InputError  # noqa: E402
from resolvent.layers import functional as F  # noqa: E402
from resolvent.layers.recurrence.accelerated import accelerated, refusal  # noqa: E402
from resolvent.layers.recurrence.forms import FORMS  # noqa: E402
from resolvent.layers.recurrence.recurrence import Recurrence  # noqa: E402
from resolvent.layers.recurrence.recurrent import recurrent  # noqa: E402

DEVICES = [
    pytest.param("cpu", marks=pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="compiled here")),
    pytest.param("cuda", marks=pytest.mark.gpu),
]
device = pytest.mark.parametrize("device", DEVICES)
FIELDS = ("r", "w", "v", "initial", "e", "b", "g")


def draw(lengths=(20,), heads=1, D=5, V=3, decay=0.1, erase="key", n=1, dtype=torch.float32, seed=0, **more):
    """A recurrence in double precision, of numbers that ``dtype`` holds; keys are of unit length, strengths up to 2."""
    generator = torch.Generator().manual_seed(seed)
    T = sum(lengths)

    def normal(*shape, kind=torch.float32):
        return torch.randn(shape, generator=generator).to(kind).double()

    w = torch.nn.functional.normalize(normal(1, n * T, heads, D), dim=-1).to(dtype).double()
    e = w if erase == "key" else torch.nn.functional.normalize(normal(1, n * T, heads, D), dim=-1).to(dtype).double()
    return Recurrence(
        r=normal(1, T, heads, D, kind=dtype),
        w=w,
        v=normal(1, n * T, heads, V, kind=dtype),
        initial=normal(len(lengths), heads, D, V),
        lengths=tuple(lengths),
        e=e,
        b=2 * torch.rand((1, n * T, heads, 1), generator=generator).double(),
        g=None if decay is None else -decay * normal(1, T, heads).abs(),
        corrections=n,
        scale=0.7,
        **more,
    )


def computed(form, recurrence, device="cpu", dtype=torch.float64):
    """o, the final state, and the gradients of a sum with weights of both, by the names of the fields."""
    wide = torch.float64 if dtype is torch.float64 else torch.float32
    leaves = {
        name: getattr(recurrence, name).to(device, dtype if name in "rwve" else wide).requires_grad_()
        for name in FIELDS
        if getattr(recurrence, name) is not None
    }
    if recurrence.e is recurrence.w:
        leaves["e"] = leaves["w"]
    o, final = form(dataclasses.replace(recurrence, **leaves))
    weights = torch.Generator().manual_seed(1)
    parts = ((part, torch.randn(part.shape, generator=weights).to(part)) for part in (o, final))
    loss = sum((part * weight).sum() for part, weight in parts)
    gradients = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    return {"o": o.detach().cpu(), "final": final.detach().cpu()}, {key: d.cpu() for key, d in gradients.items()}


def agree(recurrence, device, limit=3e-6, dtype=torch.float32, of_gradients=None):
    found, gradients = computed(accelerated, recurrence, device, dtype)
    wanted, exact = computed(recurrent, recurrence)
    for one, other, most in ((found, wanted, limit), (gradients, exact, of_gradients or limit)):
        for name, part in one.items():
            error, size = (part.double() - other[name]).norm(), other[name].norm()
            assert error <= most * size, f"{name}: {error / size}"


@device
@pytest.mark.parametrize("erase", ["key", "other"])
@pytest.mark.parametrize("decay", [None, 0.1])
def test_value_and_gradient(device, decay, erase):
    agree(draw(decay=decay, erase=erase), device)


@device
@pytest.mark.parametrize(
    ("tokens", "D", "V"),
    [(70, 16, 20), *(pytest.param(*shape, marks=pytest.mark.slow) for shape in ((130, 128, 128), (64, 100, 1)))],
)
def test_more_tokens_than_a_chunk_has(device, tokens, D, V):
    agree(draw((tokens,), D=D, V=V), device)


@device
def test_packed_sequences(device):
    agree(draw((3, 0, 66), heads=2), device)


@device
def test_packed_sequences_are_as_separate_ones_to_the_bit(device):
    ends = [0, 5, 5, 8, 20]
    lengths = [last - first for first, last in pairwise(ends)]
    packed = draw(lengths)
    single = {name: getattr(packed, name).to(device, torch.float32) for name in FIELDS}
    o, final = accelerated(dataclasses.replace(packed, **single))
    for i, (first, last) in enumerate(pairwise(ends)):
        part = {name: rows if name == "initial" else rows[:, first:last] for name, rows in single.items()}
        part["initial"] = part["initial"][i : i + 1]
        alone, end = accelerated(dataclasses.replace(packed, **part, lengths=(last - first,)))
        assert torch.equal(o[:, first:last], alone)
        assert torch.equal(final[i : i + 1], end)


@device
def test_several_corrections_a_token(device):
    agree(draw((9, 4), n=3), device)


@device
@pytest.mark.parametrize("undecayed", [False, True])
def test_strong_decay_and_one_of_zero(device, undecayed):
    """No infinity times zero; nothing comes back from before a reset.

    Gradients of the gates are small differences of sums of the size of other gradients.
    """
    recurrence = draw(decay=20.0, erase="other", erase_undecayed=undecayed)
    recurrence.g[:, [0, 9, 10]] = -math.inf
    found, gradients = computed(accelerated, recurrence, device, torch.float32)
    assert all(part.isfinite().all() for part in (*found.values(), *gradients.values()))
    assert not gradients["g"][:, [0, 9, 10]].any()
    wanted, exact = computed(recurrent, recurrence)
    for name, part in {**found, **gradients}.items():
        other = {**wanted, **exact}[name]
        size = exact["v"].norm() if name == "g" else other.norm()
        assert (part.double() - other).norm() <= 3e-6 * size, name


@device
def test_erasure_of_the_state_before_it_decays(device):
    agree(draw(erase="other", erase_undecayed=True), device)


@device
def test_reflections_along_one_key(device):
    """The inverse of the triangular matrix has entries of size 2 where powers of its lower part reach 1e18."""
    recurrence = draw((64,), decay=None)
    recurrence.w[:] = recurrence.w[:, :1].clone()
    recurrence.b[:] = 2.0
    agree(recurrence, device, 1e-5)


@device
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_tokens_of_16_bits(device, dtype):
    """Sums, states and outputs are of single precision; gradients are rounded to the types of the tokens."""
    agree(draw(dtype=dtype), device, 1e-4, dtype, 2 * torch.finfo(dtype).eps)


@device
def test_no_tokens(device):
    recurrence = draw((0, 0), heads=2)
    found, gradients = computed(accelerated, recurrence, device, torch.float32)
    assert found["o"].shape == (1, 0, 2, 3)
    torch.testing.assert_close(found["final"].double(), recurrence.initial)
    assert gradients["r"].shape == (1, 0, 2, 5)
    assert gradients["initial"].any()


@device
def test_the_derivative_can_be_differentiated(device):
    """By the plain form in chunks, since what a derivative of the kernels is made of has none itself."""
    small = draw((6,), D=2, V=2)

    def second(form, kind, where):
        leaves = [getattr(small, name).to(where, kind).requires_grad_() for name in ("w", "g")]
        rest = {name: getattr(small, name).to(where, kind) for name in ("r", "v", "initial", "b")}
        o, _ = form(dataclasses.replace(small, w=leaves[0], e=leaves[0], g=leaves[1], **rest))
        first = torch.autograd.grad(o.square().sum(), leaves, create_graph=True)
        return torch.autograd.grad(sum(part.square().sum() for part in first), leaves)

    found = second(accelerated, torch.float32, device)
    for one, other in zip(found, second(recurrent, torch.float64, "cpu"), strict=True):
        assert (one.cpu().double() - other).norm() <= 1e-4 * other.norm()


@device
@pytest.mark.slow
def test_operators_are_sound(device):
    recurrence = draw((7,))
    names = ("r", "w", "e", "v", "g", "initial")
    given = [getattr(recurrence, name).to(device, torch.float32, copy=True).requires_grad_() for name in names]
    operator = torch.ops.resolvent.delta_rule.default
    torch.library.opcheck(operator, (*given, [7], 0.7, False))


@device
@pytest.mark.parametrize("name", ["delta_rule", "gated_delta_rule", "gated_delta_product", "longhorn", "comba", "kdn"])
def test_functions_by_name(device, name):
    """Those that take the form; heads of values more than of keys, and packed sequences."""
    n = 2 if name == "gated_delta_product" else 1
    key_heads = 2 if name == "kdn" else 1
    one = draw((12,), heads=2, n=n)
    q, k = one.r[:, :, :key_heads], one.w[:, :, :key_heads]
    beta, options = 0.5 * one.b[..., 0], {"cu_seqlens": [0, 5, 12]}
    more = {
        "delta_rule": (beta,),
        "gated_delta_rule": (one.g, beta),
        "gated_delta_product": (one.g, beta, 2),
        "longhorn": (beta,),
        "comba": (0.5 * k, one.g, beta),
        "kdn": (one.g,),
    }[name]
    given = (q, k, one.v, *more)
    single = [part.to(device, torch.float32) if isinstance(part, torch.Tensor) else part for part in given]
    options["output_final_state"] = True
    chunk = getattr(F, name if name == "kdn" else f"chunk_{name}")
    o, state = chunk(*single, form="triton", **options)
    if name == "kdn":
        wanted, exact = chunk(*given, form="recurrent", **options)
        state, exact = state[0], exact[0]
    else:
        wanted, exact = getattr(F, f"fused_recurrent_{name}")(*given, **options)
    torch.testing.assert_close(o.cpu().double(), wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state.cpu().double(), exact, rtol=1e-5, atol=1e-5)


@device
def test_values_of_16_bits_by_name(device):
    one = draw((12,), dtype=torch.bfloat16)
    given = [part.to(device, torch.bfloat16) for part in (one.r, one.w, one.v, one.g, 0.5 * one.b[..., 0])]
    o, _ = F.chunk_gated_delta_rule(*given, form="triton")
    assert o.dtype == torch.bfloat16
    wanted, _ = F.fused_recurrent_gated_delta_rule(*(part.cpu().double() for part in given))
    assert (o.cpu().double() - wanted).norm() <= 4e-3 * wanted.norm()


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="compiled here")
def test_what_the_kernels_do_not_take():
    one = draw((4,))
    single = dataclasses.replace(one, **{name: getattr(one, name).float() for name in FIELDS})
    assert refusal(single) is None
    assert "float64" in refusal(one)
    assert "only adds" in refusal(dataclasses.replace(single, e=None))
    assert "decays of channels" in refusal(dataclasses.replace(single, g=single.r))
    assert "D = 129 and V = 3" in refusal(dataclasses.replace(single, r=torch.zeros(1, 4, 1, 129)))
    with pytest.raises(InputError, match=r"form='triton': found numbers of torch\.float64"):
        F.chunk_delta_rule(one.r, one.w, one.v, form="triton")
    with pytest.raises(InputError, match=r"form='triton': found a transform of torch\.func"):
        torch.func.grad(lambda v: F.chunk_delta_rule(single.r, single.w, v, form="triton")[0].sum())(single.v)
    with pytest.raises(InputError, match="form: found 'recurrent'"):
        F.chunk_delta_rule(one.r, one.w, one.v, form="recurrent")


def test_on_a_cpu_the_plain_form_is_the_default(monkeypatch):
    one = draw((4,))
    single = [getattr(one, name).float() for name in ("r", "w", "v")]
    monkeypatch.setitem(FORMS, "triton", None)  # not to be called
    assert torch.equal(F.chunk_delta_rule(*single)[0], F.chunk_delta_rule(*single, form="chunk")[0])


@pytest.mark.gpu
@pytest.mark.parametrize("D", [64, 128])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_long_sequences_on_a_device(D, dtype):
    """By default, too, value and gradient."""
    recurrence = draw((1000, 37, 500), heads=4, D=D, V=D, dtype=dtype)
    limit = 1e-5 if dtype is torch.float32 else 1e-3
    agree(recurrence, "cuda", limit, dtype, max(limit, 2 * torch.finfo(dtype).eps))
    given = [part.to("cuda", dtype) for part in (recurrence.r, recurrence.w, recurrence.v, recurrence.g)]
    assert torch.equal(F.chunk_gated_delta_rule(*given)[0], F.chunk_gated_delta_rule(*given, form="triton")[0])
