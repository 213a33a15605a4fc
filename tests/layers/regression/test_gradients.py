"""Gradients: of the recurrent form with factorisations by finite differences, of all others against it."""

import math
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")

from resolvent.layers.functional import gated_kalmanet  # noqa: E402
from resolvent.layers.regression.arguments import as_inputs  # noqa: E402
from resolvent.layers.regression.operators import chunk_wise  # noqa: E402
from resolvent.layers.regression.solving import Solver  # noqa: E402

NAMES = ("q", "k", "v", "g", "gk", "alpha", "beta", "ridge_ratio", "H", "U")
ITERATIVE = [("chunk", "chebyshev"), ("chunk", "cg"), ("recurrent", "cg")]


@pytest.fixture
def arguments(draw, semidefinite):
    """All that a gradient is wanted for, by name."""

    def drawn(batch=1, tokens=20, heads=2, D=8, V=6, sequences=None, seed=0, **options):
        q, k, v, g, gk, alpha = draw(batch, tokens, heads, D, V, seed=seed, **options)
        H, U = semidefinite(sequences or batch, heads, D, V, seed=seed + 1)
        ridge_ratio = torch.linspace(0.02, 0.1, heads, dtype=torch.float64)
        return dict(zip(NAMES, (q, k, v, g, gk, alpha, 0.2 + alpha.flip(1), ridge_ratio, H, U), strict=True))

    return drawn


def call(values, **options):
    """o, H_T, U_T."""
    tokens = {name: value for name, value in values.items() if name not in ("H", "U")}
    state = (values["H"], values["U"]) if "H" in values else None
    o, (H, U) = gated_kalmanet(**tokens, initial_state=state, output_final_state=True, **options)
    return o, H, U


def gradients(values, weights=None, scale=1.0, **options):
    """Of a weighted sum of all results, by argument."""
    leaves = {name: value.detach().clone().requires_grad_() for name, value in values.items()}
    results = call(leaves, **options)
    if weights is None:
        generator = torch.Generator().manual_seed(9)
        weights = [torch.randn(part.shape, generator=generator, dtype=torch.float64) for part in results]
    loss = sum((weight.to(part.dtype) * part).sum() for weight, part in zip(weights, results, strict=True))
    found = torch.autograd.grad(scale * loss, list(leaves.values()))
    return dict(zip(leaves, found, strict=True))


def relative_errors(found, wanted):
    return {name: ((found[name] - wanted[name]).norm() / wanted[name].norm()).item() for name in wanted}


@pytest.mark.slow
@pytest.mark.parametrize(("form", "solver"), [("recurrent", "exact"), ("chunk", "cg")])
def test_finite_differences(arguments, form, solver):
    """For all arguments, of all results."""
    values = arguments(1, 4, 1, 3, 2)
    how = {} if solver == "exact" else {"rtol": 1e-15}

    def function(*leaves):
        parts = dict(zip(NAMES, leaves, strict=True))
        parts["H"] = (parts["H"] + parts["H"].mT) / 2  # a difference in one entry alone would be refused
        return call(parts, form=form, solver=solver, **how)

    leaves = tuple(value.requires_grad_() for value in values.values())
    assert torch.autograd.gradcheck(function, leaves, eps=1e-6, atol=1e-7, rtol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["all", "no gates", "one gate", "no state", "packed", "strong decay"])
def test_against_exact(arguments, case):
    options = {"cu_seqlens": [0, 30, 30, 31, 70]} if case == "packed" else {}
    decay = (0.01, 0.1) if case == "strong decay" else (0.8, 0.99)
    values = arguments(1 if case == "packed" else 2, 70, sequences=4 if case == "packed" else None, decay=decay)
    dropped = {"no gates": ("g", "gk", "alpha", "beta"), "one gate": ("gk",), "no state": ("H", "U")}.get(case, ())
    values = {name: value for name, value in values.items() if name not in dropped}
    wanted = gradients(values, form="recurrent", solver="exact", **options)
    for form, solver in (("chunk", "exact"), *ITERATIVE):
        how = {} if solver == "exact" else {"rtol": 1e-14}
        found = gradients(values, form=form, solver=solver, **how, **options)
        assert max(relative_errors(found, wanted).values()) <= 1e-8, (form, solver)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["recurrent", "chunk"])
def test_one_tensor_for_both_gates(arguments, form):
    values = arguments(1, 40)
    del values["gk"]
    g = values["g"].requires_grad_()
    o, _ = gated_kalmanet(
        **{name: value for name, value in values.items() if name not in "HU"}, gk=g, form=form, rtol=1e-14
    )
    (both,) = torch.autograd.grad(o.square().sum(), g)
    parts = [g.detach().clone().requires_grad_() for _ in range(2)]
    values["g"] = parts[0]
    o, _ = gated_kalmanet(
        **{name: value for name, value in values.items() if name not in "HU"},
        gk=parts[1], form="recurrent", solver="exact",
    )  # fmt: skip
    wanted = sum(torch.autograd.grad(o.square().sum(), parts))
    torch.testing.assert_close(both, wanted, rtol=1e-9, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["recurrent", "chunk"])
def test_error_falls_with_the_steps(arguments, form):
    """The implicit gradient is as far from the exact one as the solves are; levels as published, 0.093 and 6e-4."""
    values = arguments(1, 100, 1, 32, 32)
    values = {name: values[name] for name in ("q", "k", "v")}
    weights = [torch.ones(1, 100, 1, 32), torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)]
    wanted = gradients(values, weights, form="recurrent", solver="exact")
    errors = [
        relative_errors(gradients(values, weights, form=form, num_iter=steps, solver="paper"), wanted)["k"]
        for steps in (5, 10, 15, 20, 30)
    ]
    assert all(after < 0.5 * before for before, after in pairwise(errors))
    assert errors[1] < 0.15
    assert errors[-1] < 1e-3


def test_path_through_the_ridge(arguments):
    """It is small for random keys, yet far above the tolerance of these tests: leaving it out would show."""
    values = arguments(1, 30, 1, 16, 4)
    q, k, v = (values[name][0, :, 0] for name in ("q", "k", "v"))

    def gradient(through):
        leaf = k.clone().requires_grad_()
        H = torch.cumsum(leaf[:, :, None] * leaf[:, None, :], 0)
        norm = H.norm(dim=(1, 2))
        norm = norm if through else norm.detach()
        x = torch.linalg.solve(H + 0.02 * norm[:, None, None] * torch.eye(16, dtype=torch.float64), q)
        U = torch.cumsum(leaf[:, :, None] * v[:, None, :], 0)
        return torch.autograd.grad(torch.einsum("tdv,td->tv", U, x).square().sum(), leaf)[0]

    leaf = values["k"][:, :, :1].clone().requires_grad_()
    o, _ = gated_kalmanet(q[None, :, None], leaf, v[None, :, None], scale=1.0, rtol=1e-14, form="chunk")
    (found,) = torch.autograd.grad(o.square().sum(), leaf)
    wanted, without = gradient(True), gradient(False)
    assert ((found[0, :, 0] - wanted).norm() / wanted.norm()).item() < 1e-9
    assert ((without - wanted).norm() / wanted.norm()).item() > 1e-3


@pytest.mark.parametrize(("form", "solver"), ITERATIVE)
def test_scale_of_the_adjoint(arguments, form, solver):
    """Relative errors do not depend on it: no absolute constants in the adjoint solve."""
    values = arguments(1, 40)
    wanted = gradients(values, form="recurrent", solver="exact")
    errors = {}
    for scale in (1.0, 1e-4, 1e-8, 1e-30):
        found = gradients(values, form=form, solver=solver, rtol=1e-6, scale=scale)
        errors[scale] = relative_errors({name: part / scale for name, part in found.items()}, wanted)
    for scale in (1e-4, 1e-8, 1e-30):
        for name in NAMES:
            assert errors[scale][name] <= 1.1 * errors[1.0][name] + 1e-10


@pytest.mark.parametrize("chunk", [1, 16, 32, 64])
def test_chunk_sizes(arguments, chunk):
    values = arguments(2, 70)
    leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
    *tokens, ridge_ratio, H, U = leaves.values()
    inputs = as_inputs(*tokens, ridge_ratio, None, (H, U), None, True)
    o, state, _ = chunk_wise(inputs, Solver(rtol=1e-14), False, chunk=chunk)
    generator = torch.Generator().manual_seed(9)
    loss = sum((torch.randn(part.shape, generator=generator, dtype=torch.float64) * part).sum() for part in (o, *state))
    found = dict(zip(NAMES, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    wanted = gradients(values, form="recurrent", solver="exact")
    assert max(relative_errors(found, wanted).values()) <= 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("form", ["recurrent", "chunk"])
def test_gates_of_minus_infinity(arguments, form):
    """Their gradient is zero, all others are those of the sequences between them."""
    values = arguments(1, 40)
    del values["H"], values["U"]
    values["g"][:, [0, 20]] = values["gk"][:, [0, 20]] = -math.inf
    weights = [torch.ones(1, 40, 2, 6), torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 8, 6)]
    found = gradients(values, weights, form=form, rtol=1e-14)
    assert all(part.isfinite().all() for part in found.values())
    for name in ("g", "gk"):
        assert not found[name][:, [0, 20]].any()
    for first in (0, 20):
        part = {
            name: value if name == "ridge_ratio" else value[:, first : first + 20] for name, value in values.items()
        }
        wanted = gradients(part, [weights[0][:, :20], *weights[1:]], form="recurrent", solver="exact")
        for name in set(part) - {"ridge_ratio", "g", "gk"}:
            torch.testing.assert_close(found[name][:, first : first + 20], wanted[name], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("form", ["recurrent", "chunk"])
def test_where_nothing_was_seen(arguments, form):
    """Zero keys first: finite gradients, zero for the gates before the first key."""
    values = arguments(1, 30)
    del values["H"], values["U"]
    values["k"][:, :7] = 0
    found = gradients(values, form=form, rtol=1e-14)
    assert all(part.isfinite().all() for part in found.values())
    assert found["gk"][:, :7].abs().max() <= 1e-10
    wanted = gradients(values, form="recurrent", solver="exact")
    assert max(relative_errors(found, wanted).values()) <= 1e-8


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-4), (torch.bfloat16, 2e-2)], ids=str)
def test_precisions(arguments, dtype, limit):
    values = arguments(1, 100, 2, 32, 24)
    wanted = gradients(values, form="recurrent", solver="exact")
    low = {
        name: value.to(torch.float32 if name in ("H", "U", "ridge_ratio") else dtype) for name, value in values.items()
    }
    found = gradients(low, form="chunk", rtol=1e-6)
    assert all(found[name].dtype == low[name].dtype for name in NAMES)
    assert max(relative_errors({name: part.double() for name, part in found.items()}, wanted).values()) <= limit


def test_ridge_of_one_number(arguments):
    values = arguments(1, 20)
    values["ridge_ratio"] = torch.tensor(0.05, dtype=torch.float64)
    found = gradients(values, form="chunk", rtol=1e-14)
    wanted = gradients(values, form="recurrent", solver="exact")
    assert found["ridge_ratio"].shape == ()
    assert max(relative_errors(found, wanted).values()) <= 1e-8


@pytest.mark.parametrize("solver", ["exact", "cg"])
def test_second_derivatives_of_a_function_that_is_not_linear(arguments, solver):
    """Its cotangents lie in memory in another order than the tokens."""
    values = arguments(2, 20)
    found = []
    for form, way in (("recurrent", {"solver": "exact"}), ("chunk", {"solver": solver, "rtol": 1e-14})):
        if solver == "exact":
            way.pop("rtol", None)
        leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
        loss = sum(part.sin().sum() for part in call(leaves, form=form, **way))
        first = torch.autograd.grad(loss, list(leaves.values()), create_graph=True)
        second = torch.autograd.grad(sum(part.sin().sum() for part in first), list(leaves.values()))
        found.append(dict(zip(NAMES, second, strict=True)))
    assert max(relative_errors(found[1], found[0]).values()) < 1e-9
