"""Gradients of the form of Triton kernels, interpreted or on a device, against exact solves in double precision."""

import math
import os

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from resolvent.layers import GatedKalmaNet  # noqa: E402
from resolvent.layers.functional import gated_kalmanet  # noqa: E402

DEVICES = [
    pytest.param("cpu", marks=pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="compiled here")),
    pytest.param("cuda", marks=pytest.mark.gpu),
]
NAMES = ("q", "k", "v", "g", "gk", "alpha", "beta", "ridge_ratio", "H", "U")


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


def drawn(tokens=70, sequences=1, heads=2, D=16, V=12, seed=0):
    """All that a gradient is wanted for, by name, in double precision and representable in single."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    q, k = (torch.nn.functional.normalize(normal(1, tokens, heads, D), dim=-1) for _ in range(2))
    g, gk = (-0.2 * normal(1, tokens, heads).sigmoid() for _ in range(2))
    alpha, beta = (normal(1, tokens, heads).sigmoid() for _ in range(2))
    W = normal(sequences, heads, D, 2 * D)
    H, U = W @ W.mT / D, normal(sequences, heads, D, V)
    ratio = torch.linspace(0.1, 0.3, heads)  # large, so that there is less to iterate
    parts = (q, k, normal(1, tokens, heads, V), g, gk, alpha, beta, ratio, (H + H.mT) / 2, U)
    return {name: part.double() for name, part in zip(NAMES, parts, strict=True)}


def results(values, leaves, **options):
    tokens = {name: part for name, part in leaves.items() if name not in ("H", "U")}
    states = (leaves["H"], leaves["U"]) if "H" in leaves else None
    o, states = gated_kalmanet(**tokens, initial_state=states, output_final_state=True, **options)
    return [o, *states]


def gradients(values, scale=1.0, *, device="cpu", dtype=torch.float64, **options):
    """Of a weighted sum of all results, by argument."""
    leaves = {name: part.to(device, dtype).detach().requires_grad_() for name, part in values.items()}
    found = results(values, leaves, **options)
    generator = torch.Generator().manual_seed(9)
    weights = [torch.randn(part.shape, generator=generator).to(part) for part in found]
    loss = sum((weight * part).sum() for weight, part in zip(weights, found, strict=True))
    return dict(zip(leaves, torch.autograd.grad(loss, leaves.values(), torch.tensor(scale).to(loss)), strict=True))


def relative_errors(found, wanted):
    return {name: ((found[name].cpu() - wanted[name]).norm() / wanted[name].norm()).item() for name in wanted}


def check(values, device, limit, **options):
    solving = {name: options.pop(name) for name in ("rtol", "solver", "interval") if name in options}
    wanted = gradients(values, form="recurrent", solver="exact", **options)
    found = gradients(values, device=device, dtype=torch.float32, form="triton", **{"rtol": 1e-6, **solving}, **options)
    errors = relative_errors(found, wanted)
    assert max(errors.values()) <= limit, errors
    return found


def test_of_all_arguments(device):
    check(drawn(), device, 2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["chebyshev", "cg"])
def test_packed(device, solver):
    check(drawn(80, 4), device, 2e-5, cu_seqlens=[0, 7, 7, 8, 80], solver=solver)


@pytest.mark.slow
@pytest.mark.parametrize("left_out", [("g", "gk", "alpha", "beta"), ("gk",), ("alpha",), ("H", "U")], ids=str)
def test_without_some(device, left_out):
    check({name: part for name, part in drawn(20).items() if name not in left_out}, device, 2e-5)


@pytest.mark.slow
def test_other_widths(device):
    check(drawn(20, D=40, V=72), device, 2e-5)


@pytest.mark.slow
def test_where_nothing_was_seen(device):
    """Zero keys first: finite, and zero for the gates before the first key."""
    values = {name: part for name, part in drawn(30).items() if name not in ("H", "U")}
    values["k"][:, :7] = 0
    found = check(values, device, 2e-5)
    assert not found["gk"][:, :7].abs().max() > 1e-5
    assert not found["q"][:, :7].isnan().any()


@pytest.mark.slow
def test_keys_that_are_all_zero(device):
    values = {name: part for name, part in drawn(20).items() if name not in ("H", "U")}
    values["k"][:] = 0
    found = gradients(values, device=device, dtype=torch.float32, form="triton")
    assert all(part.isfinite().all() for part in found.values())


@pytest.mark.slow
@pytest.mark.parametrize("decay", ["fast", "none at all", "resets"])
def test_decays(device, decay):
    values = drawn(30)
    for name in ("g", "gk"):
        gates = values[name]
        if decay == "resets":
            gates[:, [3, 20]] = -math.inf
        else:
            gates.mul_(20 if decay == "fast" else 0)
    found = check(values, device, 2e-5) if decay != "resets" else gradients(
        values, device=device, dtype=torch.float32, form="triton", rtol=1e-6
    )  # fmt: skip
    if decay == "resets":  # which torch makes NaN of through the exponential
        wanted = gradients(values, form="chunk", solver="exact")
        assert max(relative_errors(found, wanted).values()) <= 2e-5
        assert not found["g"][:, [3, 20]].any()


@pytest.mark.slow
def test_one_key_throughout(device):
    values = drawn(40)
    values["k"][:] = values["k"][:, :1].clone()
    check(values, device, 1e-4)


@pytest.mark.slow
def test_the_scale_of_the_cotangent_does_not_matter(device):
    values = drawn(20)
    wanted = gradients(values, device=device, dtype=torch.float32, form="triton")
    for scale in (1e-8, 1e-25):
        found = gradients(values, scale, device=device, dtype=torch.float32, form="triton")
        errors = relative_errors({name: part.double() / scale for name, part in found.items()},
                                 {name: part.cpu().double() for name, part in wanted.items()})  # fmt: skip
        assert max(errors.values()) <= 1e-4, errors


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float16, 3e-3), (torch.bfloat16, 2e-2)], ids=str)
def test_of_16_bits(device, dtype, limit):
    """In the types of the tokens, as far from exact as these are from what was drawn."""
    values = {name: part for name, part in drawn(30, D=16).items() if name in "qkvg"}
    values = {name: part.to(dtype).double() for name, part in values.items()}
    wanted = gradients(values, form="recurrent", solver="exact")
    found = gradients(values, device=device, dtype=dtype, form="triton", rtol=1e-3)
    assert {part.dtype for part in found.values()} == {dtype}
    errors = relative_errors({name: part.double() for name, part in found.items()}, wanted)
    assert max(errors.values()) <= limit, errors


@pytest.mark.slow
def test_a_second_time_the_same_bits(device):
    values = drawn(20)
    first, again = (gradients(values, device=device, dtype=torch.float32, form="triton") for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.slow
def test_of_gradients(device):
    """Through the operations of plain PyTorch, at the solutions that the kernels found."""
    values = {name: part for name, part in drawn(6, heads=1, D=8, V=4).items() if name in "qkvg"}
    found = []
    for how in ({"form": "recurrent", "solver": "exact"}, {"form": "triton", "rtol": 1e-6}):
        kind = ("cpu", torch.float64) if "solver" in how else (device, torch.float32)
        leaves = {name: part.to(*kind).detach().requires_grad_() for name, part in values.items()}
        once = torch.autograd.grad(results(values, leaves, **how)[0].square().sum(), leaves.values(), create_graph=True)
        twice = torch.autograd.grad(sum(part.square().sum() for part in once), leaves.values())
        found.append(dict(zip(leaves, twice, strict=True)))
    errors = relative_errors(found[1], found[0])
    assert max(errors.values()) <= 1e-4, errors


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [6, 1])
def test_compiled_in_one_piece(device, tokens):
    values = drawn(tokens)

    def function(leaves):
        return results(values, leaves, form="triton", num_iter=2)

    outcomes = []
    for which in (torch.compile(function, fullgraph=True, backend="aot_eager"), function):
        leaves = {name: part.to(device, torch.float32).requires_grad_(tokens > 1) for name, part in values.items()}
        found = which(leaves)
        if tokens > 1:
            found += torch.autograd.grad(sum(part.square().sum() for part in found), leaves.values())
        outcomes.append(found)
    for one, other in zip(*outcomes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.parametrize("differentiable", [True, False])
def test_the_operator_keeps_its_word(device, differentiable):
    """Its schema, its derivative and its shapes, by torch's own check; one token takes a kernel of its own."""
    tokens = 5 if differentiable else 1
    values = {name: part.to(device, torch.float32) for name, part in drawn(tokens, D=4, V=4).items() if name != "beta"}
    parts = [part.requires_grad_(differentiable) for part in values.values()]
    parts.insert(6, None)  # the strength
    given = (*parts, None, 0.5, "chebyshev", "frobenius", 2, None, 64, True, False, False, differentiable)
    torch.library.opcheck(torch.ops.resolvent.gated_kalmanet.default, given)


@pytest.mark.gpu
def test_the_layer_on_a_device():
    torch.manual_seed(0)
    layer = GatedKalmaNet(hidden_size=64, head_dim=32, num_heads=4, rtol=1e-6)
    x = torch.randn(2, 150, 64)
    layer(x)[0].square().sum().backward()
    wanted = [part.grad.clone() for part in layer.parameters()]
    layer.zero_grad()
    layer.cuda()(x.cuda())[0].square().sum().backward()
    for part, other in zip(layer.parameters(), wanted, strict=True):
        assert ((part.grad.cpu() - other).norm() / other.norm()).item() <= 1e-4
