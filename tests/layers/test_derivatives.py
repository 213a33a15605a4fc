"""Every differentiable function here, in every way of differentiating: right, or refused in words.

A new function is one row of FUNCTIONS.
"""

import re
from dataclasses import dataclass
from typing import Any

import pytest

import resolvent as rv

torch = pytest.importorskip("torch")

from torch.autograd import forward_ad, gradcheck, gradgradcheck  # noqa: E402

from resolvent import layers  # noqa: E402
from resolvent.layers import GatedKalmaNet, ShortConvolution, solve  # noqa: E402
from resolvent.layers.regression import gated_kalmanet, mesa_net  # noqa: E402
from resolvent.precision import round as rounded  # noqa: E402


@dataclass(frozen=True)
class Row:
    """A function of tensors and a function that draws its arguments.

    Each way is True, or what the message says where it is refused.
    """

    name: str
    function: Any
    arguments: Any
    second: Any = True  # reverse over reverse mode, by torch.autograd
    forward: Any = True  # dual numbers and torch.func.jvp
    transforms: Any = True  # torch.func.grad
    vmap: Any = True
    slow: bool = False

    def __str__(self) -> str:
        return self.name


def drawn(*shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def definite(A):
    return A @ A.mT + 2 * torch.eye(A.shape[-1], dtype=A.dtype)


PATTERN = (torch.tensor([0, 2, 5, 8, 10]), torch.tensor([0, 1, 0, 1, 2, 1, 2, 3, 2, 3]))
VALUES = torch.tensor([4.0, -1, -1, 4, -1, -1, 4, -1, -1, 4], dtype=torch.float64)


def csr(values):
    return torch.sparse_csr_tensor(*PATTERN, values, (4, 4), check_invariants=True)


MATRIX = csr(VALUES)


class Affine(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(4, dtype=torch.float64))

    def forward(self, x):
        return (2 + self.weight**2) * x + x.sum()


class Given(torch.nn.Module):
    """layers.solve by a Module, as a function of its parameters."""

    def __init__(self):
        super().__init__()
        self.inner = Affine()

    def forward(self, b):
        return solve(self.inner, b, method="cg", hermitian=True, rtol=1e-13)


def of_module(net, *names):
    """A Module as a function of its inputs and of those parameters."""

    def function(x, *values):
        found = torch.func.functional_call(net, dict(zip(names, values, strict=True)), (x,))
        return found[0] if isinstance(found, tuple) else found

    return function


def solved(method, **options):
    def function(A, b):
        return solve(A, b, method=method, rtol=1e-13, **options)

    return function


def regressed(form, solver, tokens=3):
    """All results of the operation as a function of all that has a gradient."""
    how = {} if solver == "exact" else {"rtol": 1e-14}

    def function(q, k, v, g, gk, alpha, beta, ridge_ratio, W, U):
        o, (H, U) = gated_kalmanet(
            q, k, v, -g.square(), -gk.square(), alpha.sigmoid(), beta.sigmoid(), ridge_ratio=ridge_ratio.exp(),
            initial_state=(W @ W.mT, U), output_final_state=True, form=form, solver=solver, **how,
        )  # fmt: skip
        return o, H, U

    def arguments():
        token = (1, tokens, 2)
        shapes = [(*token, 3), (*token, 3), (*token, 2), *[token] * 4, (2,), (1, 2, 3, 2), (1, 2, 3, 2)]
        return [0.5 * tensor for tensor in drawn(*shapes)]

    return function, arguments


def meshed(form, solver, tokens):
    """The same of MesaNet's operation."""

    def function(q, k, v, g, beta, lamb, W, U):
        o, (H, U) = mesa_net(
            q, k, v, -g.square(), beta.sigmoid(), lamb.exp(), initial_state=(W @ W.mT, U), output_final_state=True,
            form=form, solver=solver, rtol=1e-14,
        )  # fmt: skip
        return o, H, U

    def arguments():
        token = (1, tokens, 2)
        shapes = [(*token, 3), (*token, 3), (*token, 2), token, token, (2, 3), (1, 2, 3, 2), (1, 2, 3, 2)]
        return [0.5 * tensor for tensor in drawn(*shapes)]

    return function, arguments


def layer():
    torch.manual_seed(0)
    net = GatedKalmaNet(hidden_size=6, head_dim=3, num_heads=2, rtol=1e-14).double()
    names = [name for name, _ in net.named_parameters()]
    return of_module(net, *names), lambda: [*drawn((1, 4, 6)), *(value.detach() for value in net.parameters())]


def convolution():
    net = ShortConvolution(3, 4).double()
    return of_module(net, "weight"), lambda: drawn((2, 5, 3), (3, 1, 4))


PACKED = ShortConvolution(3, 4).double()


def packed_convolution(x, weight):
    return torch.func.functional_call(PACKED, {"weight": weight}, (x,), {"lengths": [2, 0, 3]})[0]


def of_values(values, b):
    return solve(MATRIX, b, params=(values,), method="gauss_seidel", rtol=1e-13)


def of_callable(d, V, b):
    return solve(lambda x, d, V: (1 + d**2) * x + V @ (V.T @ x), b, params=(d, V), method="cg", rtol=1e-13)


def truncated(A):
    schedule = rv.newton_schulz.schedule(0.1, degree=5, steps=2)
    return layers.orthogonalize(A, method="unrolled", schedule=schedule)


FUNCTIONS = [
    Row("solve, full A by cg", lambda A, b: solved("cg")(definite(A), b), lambda: drawn((4, 4), (4,))),
    Row("solve, full A by sor", lambda A, b: solved("sor")(A / 9 + torch.eye(4), b), lambda: drawn((4, 4), (4,))),
    Row("solve, full A by factorisation", solved("exact"), lambda: drawn((4, 4), (4, 2))),
    Row("solve, full A by choice", solved("auto"), lambda: drawn((4, 4), (4,))),
    Row("solve, batch", lambda A, b: solved("cg")(definite(A), b), lambda: drawn((2, 3, 3), (2, 3, 2))),
    Row(
        "solve, batch of right-hand sides", lambda A, b: solved("cg")(definite(A), b), lambda: drawn((3, 3), (2, 3, 1))
    ),
    Row("solve, values of a CSR tensor", of_values, lambda: [VALUES.clone(), *drawn((4,))]),
    Row("solve, callable", of_callable, lambda: drawn((4,), (4, 2), (4,))),
    Row("solve, Module", of_module(Given(), "inner.weight"), lambda: drawn((4,), (4,))),
    *(
        Row(
            f"gated_kalmanet, {form}, {solver}, {tokens} tokens",
            *regressed(form, solver, tokens),
            slow=tokens > 3,
        )
        for form, solver in (("chunk", "chebyshev"), ("chunk", "cg"), ("chunk", "exact"))
        for tokens in (3, 20)
    ),
    *(
        Row(f"gated_kalmanet, recurrent, {solver}", *regressed("recurrent", solver), slow=True)
        for solver in ("chebyshev", "cg")
    ),
    Row("gated_kalmanet, recurrent, exact", *regressed("recurrent", "exact")),
    Row("gated_kalmanet, auto", *regressed("auto", "chebyshev"), slow=True),
    Row("mesa_net, chunk, cg, 3 tokens", *meshed("chunk", "cg", 3)),
    Row("mesa_net, chunk, cg, 20 tokens", *meshed("chunk", "cg", 20), slow=True),
    Row("mesa_net, recurrent, cg", *meshed("recurrent", "cg", 3), slow=True),
    Row("GatedKalmaNet", *layer(), slow=True),
    Row("orthogonalize, tall", layers.orthogonalize, lambda: drawn((4, 3))),
    Row("orthogonalize, batch", layers.orthogonalize, lambda: drawn((2, 3, 3))),
    Row("orthogonalize, unrolled", truncated, lambda: drawn((4, 3))),
    Row("polar, H", lambda A: layers.polar(A)[1], lambda: drawn((3, 4))),
    Row("matrix_sign", lambda A: layers.matrix_sign(A + A.mT), lambda: drawn((3, 3))),
    Row("matrix_sign, not Hermitian", lambda A: layers.matrix_sign(A, hermitian=False), lambda: drawn((2, 2))),
    Row("sqrtm", lambda A: layers.sqrtm(definite(A)), lambda: drawn((2, 3, 3))),
    Row("invsqrtm", lambda A: layers.invsqrtm(definite(A)), lambda: drawn((3, 3))),
    Row("inverse", layers.inverse, lambda: drawn((3, 3))),
    Row("pinv", layers.pinv, lambda: drawn((4, 2))),
    Row("inverse_root", lambda A: layers.inverse_root(definite(A), 3), lambda: drawn((3, 3))),
    Row("solve_lyapunov", lambda A, C: layers.solve_lyapunov(definite(A), C), lambda: drawn((3, 3), (3, 3))),
    Row(
        "solve_sylvester, by products",
        lambda A, B, C: layers.solve_sylvester(definite(A), definite(B), C, equations="products"),
        lambda: drawn((3, 3), (2, 2), (3, 2)),
    ),
    Row("CovariancePooling", layers.CovariancePooling(), lambda: drawn((2, 3, 5))),
    Row("ShortConvolution", *convolution()),
    Row("ShortConvolution, packed", packed_convolution, lambda: drawn((1, 5, 3), (3, 1, 4))),
]
rows = pytest.mark.parametrize(
    "row", [pytest.param(row, marks=[pytest.mark.slow] if row.slow else []) for row in FUNCTIONS], ids=str
)


def leaves(row):
    return [tensor.requires_grad_() for tensor in row.arguments()]


def first(found):
    return found[0] if isinstance(found, tuple) else found


def total(row):
    """The function with one number as its result."""

    def function(*tensors):
        found = row.function(*tensors)
        return sum(part.sin().sum() for part in (found if isinstance(found, tuple) else (found,)))

    return function


@rows
def test_reverse_mode(row):
    assert gradcheck(row.function, leaves(row), fast_mode=True)


@rows
def test_reverse_over_reverse_mode(row):
    assert gradgradcheck(row.function, leaves(row), fast_mode=True, atol=1e-4)


@rows
def test_second_derivatives_with_constant_cotangents(row):
    """A loss that is linear in the result: the gradient still depends on the arguments."""
    weights = drawn(*(tensor.shape for tensor in row.arguments()), seed=5)

    def slope(*tensors):
        loss = first(row.function(*tensors)).sum()
        gradients = torch.autograd.grad(loss, tensors, create_graph=True, allow_unused=True, materialize_grads=True)
        return sum((weight * part).sum() for weight, part in zip(weights, gradients, strict=True))

    assert gradcheck(slope, leaves(row), fast_mode=True, atol=1e-4)


@rows
def test_forward_mode(row):
    primal = row.arguments()
    if row.forward is True:
        assert gradcheck(row.function, leaves(row), check_forward_ad=True, check_backward_ad=False, fast_mode=True)
        assert gradgradcheck(
            row.function, leaves(row), check_fwd_over_rev=True, check_rev_over_rev=False, check_undefined_grad=False,
            fast_mode=True, atol=1e-4,
        )  # fmt: skip
        return
    for place, tensor in enumerate(primal):

        def of_one(tensor, place=place):
            return first(row.function(*primal[:place], tensor, *primal[place + 1 :]))

        step = 1e-6 * torch.ones_like(tensor)
        wanted = (of_one(tensor + step) - of_one(tensor - step)) / 2e-6
        with forward_ad.dual_level():
            try:
                tangent = forward_ad.unpack_dual(of_one(forward_ad.make_dual(tensor, step / 1e-6))).tangent
            except (TypeError, ValueError) as refusal:
                message, tangent = str(refusal), None
        if tangent is None:
            assert re.search(row.forward, message)
        else:  # it enters after the part that is refused
            torch.testing.assert_close(tangent, wanted, rtol=1e-6, atol=1e-7)
    with pytest.raises((TypeError, ValueError), match=row.forward):
        torch.func.jvp(row.function, tuple(primal), tuple(map(torch.ones_like, primal)))


@rows
def test_transforms(row):
    primal, everything = row.arguments(), tuple(range(len(row.arguments())))
    if row.transforms is not True:
        with pytest.raises((TypeError, ValueError), match=row.transforms):
            torch.func.grad(total(row), everything)(*primal)
        return
    wanted = torch.autograd.grad(total(row)(*(given := leaves(row))), given)
    for found, want in zip(torch.func.grad(total(row), everything)(*primal), wanted, strict=True):
        torch.testing.assert_close(found, want, rtol=1e-9, atol=1e-10)


@rows
def test_vmap(row):
    stacks = [torch.stack([tensor, 0.9 * tensor]) for tensor in row.arguments()]
    if row.vmap is not True:
        with pytest.raises((TypeError, ValueError, RuntimeError), match=row.vmap):
            torch.func.vmap(row.function)(*stacks)
        return
    ones = [row.function(*(stack[i] for stack in stacks)) for i in range(2)]
    found = torch.func.vmap(row.function)(*stacks)
    found, *ones = (part if isinstance(part, tuple) else (part,) for part in (found, *ones))
    for together, *apart in zip(found, *ones, strict=True):
        torch.testing.assert_close(together, torch.stack(apart), rtol=1e-9, atol=1e-10)


def test_a_sparse_tensor_is_differentiated_once_and_says_so():
    """Torch itself gives the gradient of a CSR tensor no graph."""
    values, b = VALUES.clone().requires_grad_(), torch.ones(4, dtype=torch.float64, requires_grad=True)
    x = solve(csr(values), b, method="cg", rtol=1e-13)
    with pytest.raises(ValueError, match=r"A: a CSR tensor is differentiated once; .* params=\(values,\)"):
        torch.autograd.grad(x.sum(), (values, b), create_graph=True)
    # That of b alone is a solve like any other, and depends on A.
    (once,) = torch.autograd.grad(x.sum(), b, create_graph=True)
    (found,) = torch.autograd.grad(once.square().sum(), values)
    ones = torch.ones(4, dtype=torch.float64)
    wanted = torch.linalg.solve(csr(dense := values.detach().requires_grad_()).to_dense().mT, ones).square().sum()
    torch.testing.assert_close(found, torch.autograd.grad(wanted, dense)[0], rtol=1e-9, atol=0)


@pytest.mark.parametrize("form", ["compiled", "triton"])
def test_kernels_are_not_differentiated_unsaid(form):
    """They see neither tangents nor what is mapped over."""
    q, k, v = drawn(*[(1, 3, 2, 4)] * 3)
    told = f"form: found '{form}' with a transform of torch.func or a tangent of forward mode; wanted 'chunk'"
    with forward_ad.dual_level(), pytest.raises(ValueError, match=told):
        gated_kalmanet(q, forward_ad.make_dual(k, k), v, form=form)
    with pytest.raises(ValueError, match=told):
        torch.func.vmap(lambda k: gated_kalmanet(q, k, v, form=form)[0])(torch.stack([k, k]))


def test_where_nothing_was_seen_second_derivatives_are_finite():
    q, k, v = (tensor.requires_grad_() for tensor in drawn(*[(1, 20, 1, 3)] * 3))
    mask = (torch.arange(20) > 4).double()[None, :, None, None]
    found = {}
    for form, solver in (("chunk", "cg"), ("recurrent", "exact")):
        o, _ = gated_kalmanet(q, k * mask, v, form=form, solver=solver, rtol=None if solver == "exact" else 1e-14)
        once = torch.autograd.grad(o.sin().sum(), (q, k, v), create_graph=True)
        found[form] = torch.autograd.grad(sum(part.sin().sum() for part in once), (q, k, v))
    for got, want in zip(*found.values(), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("order", [2, 3])
def test_higher_orders_of_the_regression_are_those_of_the_factorisation(order):
    function, arguments = regressed("chunk", "cg", tokens=20)
    exact, _ = regressed("recurrent", "exact", tokens=20)
    found = []
    for one in (function, exact):
        tensors = [tensor.requires_grad_() for tensor in arguments()]
        derivatives = one(*tensors)
        for _ in range(order):
            value = sum(part.sin().sum() for part in derivatives)
            derivatives = torch.autograd.grad(value, tensors, create_graph=True)
        found.append([part.detach() for part in derivatives])
    for got, want in zip(*found, strict=True):
        assert torch.linalg.norm(got - want) <= 1e-8 * torch.linalg.norm(want)


@pytest.mark.parametrize("format", ["bf16", "fp8_e4m3fn"])
def test_rounding_is_constant_in_every_way(format):
    """As its documentation says: a step function has no other derivative."""
    x = torch.tensor([1.2345, -0.7], dtype=torch.float64, requires_grad=True)
    wanted = rounded(x.detach(), format)
    assert not rounded(x, format).requires_grad
    assert torch.func.grad(lambda x: (x * rounded(x, format)).sum())(x.detach()).tolist() == wanted.tolist()
    primal, tangent = torch.func.jvp(lambda x: rounded(x, format), (x.detach(),), (torch.ones(2).double(),))
    assert primal.tolist() == wanted.tolist()
    assert tangent.tolist() == [0, 0]
    stack = torch.stack([x.detach(), -x.detach()])
    assert torch.func.vmap(lambda x: rounded(x, format))(stack).tolist() == torch.stack([wanted, -wanted]).tolist()
