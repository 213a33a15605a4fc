"""Truncated iterations and their own derivatives: those of the function where they converge, and there alone."""

import pytest

import resolvent as rv

torch = pytest.importorskip("torch")

from known_spectra import definite, drawn, gradient, hermitian_part, off, with_eigenvalues, with_singular_values  # noqa: E402
from torch.autograd import gradcheck, gradgradcheck  # noqa: E402

from resolvent import layers  # noqa: E402

FUNCTIONS = {
    "orthogonalize, tall": (layers.orthogonalize, (2, 5, 3)),
    "orthogonalize, wide": (layers.orthogonalize, (3, 5)),
    "polar": (lambda A, **way: layers.polar(A, **way)[1], (5, 3)),
    "matrix_sign": (lambda A, **way: layers.matrix_sign(hermitian_part(A), **way), (4, 4)),
    "sqrtm": (lambda A, **way: layers.sqrtm(definite(A), **way), (2, 4, 4)),
    "invsqrtm": (lambda A, **way: layers.invsqrtm(definite(A), **way), (4, 4)),
    "inverse": (lambda A, **way: layers.inverse(A, **way), (2, 4, 4)),
    "inverse, positive": (lambda A, **way: layers.inverse(definite(A), positive=True, **way), (4, 4)),
    "pinv, tall": (layers.pinv, (5, 3)),
    "pinv, wide": (layers.pinv, (3, 5)),
    "inverse_root": (lambda A, **way: layers.inverse_root(definite(A), 3, **way), (4, 4)),
    "solve_lyapunov": (lambda A, **way: layers.solve_lyapunov(definite(A), A.roll(1, -1), **way), (2, 4, 4)),
    "solve_sylvester": (
        lambda A, **way: layers.solve_sylvester(definite(A), definite(A.mT), A, **way),
        (2, 4, 3),
    ),
    "matrix_sign, not Hermitian": (
        lambda A, **way: layers.matrix_sign(A + torch.diag(A.new_tensor([8, 3, -2, -7])), hermitian=False, **way),
        (2, 4, 4),
    ),
}
functions = pytest.mark.parametrize(("function", "shape"), FUNCTIONS.values(), ids=FUNCTIONS)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@functions
def test_converged_iterations_have_the_derivatives_of_the_function(function, shape, dtype):
    A = drawn(*shape, dtype=dtype, seed=2)
    x = function(A)
    G = drawn(*x.shape, dtype=dtype, seed=1)
    unrolled = function(A, method="unrolled")
    assert off(unrolled, x) < 1e-8
    wanted = gradient(function, A, G)
    found = gradient(lambda A: function(A, method="unrolled"), A, G)
    assert off(found, wanted) < 1e-8
    again = gradient(lambda A: function(A, method="checkpoint"), A, G)
    assert torch.equal(again, found)


@pytest.mark.parametrize("name", ["solve_lyapunov", "solve_sylvester", "matrix_sign, not Hermitian"])
def test_second_derivatives_as_well(name):
    function, shape = FUNCTIONS[name]
    A = drawn(*shape, seed=2)

    def slope(A, **way):
        A = A.requires_grad_()
        return torch.autograd.grad(function(A, **way).sin().sum(), A, create_graph=True)[0]

    G = drawn(*shape, seed=1)
    wanted = gradient(slope, A, G)
    assert off(gradient(lambda A: slope(A, method="unrolled"), A, G), wanted) < 1e-8
    assert off(gradient(lambda A: slope(A, method="checkpoint"), A, G), wanted) < 1e-8


@pytest.mark.parametrize("scaling", ["frobenius", "schatten-4", "schatten-8"])
def test_lower_is_relative_to_the_largest_value_whatever_it_is_divided_by(scaling):
    values = [1.0] * 15 + [0.01]
    A, S = with_singular_values(values, 16, 16), with_eigenvalues(values)
    for function in (
        lambda **way: layers.orthogonalize(A, **way),
        lambda **way: layers.sqrtm(S, **way),
        lambda **way: layers.inverse_root(S, 3, **way),
        lambda **way: layers.inverse(A, **way),
        lambda **way: layers.solve_lyapunov(S, A, **way),
    ):
        assert off(function(method="unrolled", lower=0.01, scaling=scaling), function()) < 1e-11


TWO_STEPS = rv.newton_schulz.schedule(0.1, degree=5, steps=2)


@pytest.mark.parametrize("method", ["unrolled", "checkpoint"])
def test_truncated_iterations_are_differentiated_as_they_are(method):
    A = drawn(3, 2).requires_grad_()

    def truncated(A):
        return layers.orthogonalize(A, method=method, schedule=TWO_STEPS)

    assert gradcheck(truncated, A, fast_mode=True)
    assert gradgradcheck(truncated, A, fast_mode=True)


@pytest.mark.parametrize("method", ["unrolled", "checkpoint"])
def test_truncated_equations_are_differentiated_as_they_are(method):
    A, C = drawn(2, 2).requires_grad_(), drawn(3, 2, 2, seed=1).requires_grad_()
    B, R = drawn(3, 3, seed=2).requires_grad_(), drawn(2, 3, seed=3).requires_grad_()

    def lyapunov(A, C):
        return layers.solve_lyapunov(definite(A), C, method=method, schedule=TWO_STEPS)

    def sylvester(A, B, R):
        return layers.solve_sylvester(definite(A), definite(B), R, method=method, schedule=TWO_STEPS)

    for function, tensors in ((lyapunov, (A, C)), (sylvester, (A, B, R))):
        assert gradcheck(function, tensors, fast_mode=True)
        assert gradgradcheck(function, tensors, fast_mode=True, atol=1e-4)


@pytest.mark.parametrize("method", ["unrolled", "checkpoint"])
def test_truncated_newton_steps_are_differentiated_as_they_are(method):
    A = (drawn(2, 3, 3) + torch.diag(torch.tensor([4.0, 2.0, -5.0]))).requires_grad_()

    def truncated(A):  # log2(-log(0.5) / 0.2), two steps
        return layers.matrix_sign(A, hermitian=False, method=method, rtol=0.5, lower=0.2)

    assert off((truncated(A) @ truncated(A)).detach(), torch.eye(3, dtype=A.dtype)) > 1e-3
    assert gradcheck(truncated, A, fast_mode=True)
    assert gradgradcheck(truncated, A, fast_mode=True)


def test_newtons_steps_reach_eigenvalues_as_near_to_the_imaginary_axis_as_said():
    near = 1e-2
    block = torch.tensor([[near, 1.0], [-1.0, near]], dtype=torch.float64)
    A = torch.block_diag(block, -50 * block, 3 * block)
    A[:2, 2:] = drawn(2, 4)
    found = layers.matrix_sign(A, hermitian=False, method="unrolled", lower=near)
    assert off(found, layers.matrix_sign(A, hermitian=False)) < 1e-10
    less = layers.matrix_sign(A, hermitian=False, method="unrolled", lower=1.0)
    assert off(less, found) > 1e-3


@pytest.mark.parametrize("scaling", ["frobenius", "schatten-4", "schatten-8"])
@pytest.mark.parametrize("name", ["orthogonalize", "sqrtm"])
def test_scaling_is_differentiated_as_well(name, scaling):
    A = drawn(3, 3).requires_grad_()

    def truncated(A):
        return getattr(layers, name)(definite(A), method="unrolled", schedule=TWO_STEPS, scaling=scaling)

    assert gradcheck(truncated, A, fast_mode=True)


def test_degree_17_takes_its_five_products_differentiably():
    schedule = rv.newton_schulz.schedule(1e-2, degree=17, steps=3)
    A, G = drawn(4, 3), drawn(4, 3, seed=1)
    found = gradient(lambda A: layers.orthogonalize(A, method="unrolled", schedule=schedule), A, G)
    assert off(found, gradient(layers.orthogonalize, A, G)) < 1e-8


def test_five_steps_of_muon_are_another_function_with_other_derivatives():
    """Small singular values are multiplied by the slope of the composite instead of one over them."""
    small, schedule = 1e-4, rv.newton_schulz.preset("muon")
    A, G = with_singular_values([1.0, 0.5, small], 5, 3), drawn(5, 3, seed=4)

    def muon(A):
        return layers.orthogonalize(A, method="unrolled", schedule=schedule, scaling="frobenius")

    found, wanted = gradient(muon, A, G), gradient(layers.orthogonalize, A, G)
    assert off(muon(A), layers.orthogonalize(A)) > 0.1
    assert off(found, wanted) > 0.9
    assert float(torch.linalg.norm(wanted)) > 0.1 / small
    assert float(torch.linalg.norm(found)) < 1000 * float(torch.linalg.norm(G)) / float(torch.linalg.norm(A))


def test_muon_steps_are_those_of_the_formula():
    A = drawn(5, 3)
    X = A / A.norm()
    for a, b, c in rv.newton_schulz.preset("muon").coefficients:
        G = X.mT @ X
        X = a * X + X @ (b * G + c * G @ G)
    found = layers.orthogonalize(A, method="unrolled", schedule=rv.newton_schulz.preset("muon"), scaling="frobenius")
    assert off(found, X) < 1e-12
    assert torch.equal(layers.orthogonalize(A, method="unrolled", schedule="muon", scaling="frobenius"), found)


def test_unrolled_iterations_are_mapped_and_transformed():
    A = drawn(2, 3, 2)

    def truncated(A):
        return layers.orthogonalize(A, method="unrolled", schedule=TWO_STEPS)

    together = torch.func.vmap(torch.func.jacfwd(truncated))(A)
    assert off(together[1], torch.func.jacrev(truncated)(A[1])) < 1e-11


def kept_between_passes(method):
    """Entries of all tensors that autograd keeps for the backward pass."""
    A, sizes = drawn(8, 8).requires_grad_(), []

    def pack(tensor):
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        schedule = rv.newton_schulz.preset("muon")
        layers.orthogonalize(A, method=method, schedule=schedule).sum()
    return sum(sizes)


def test_checkpoints_keep_no_iterates():
    assert kept_between_passes("checkpoint") <= 2 * 64
    assert kept_between_passes("unrolled") > 20 * 64


def test_checkpoints_are_refused_where_torch_knows_nothing_of_them():
    with pytest.raises(rv.InputError, match=r'method: found "checkpoint" in a transform of torch\.func'):
        torch.func.grad(lambda A: layers.orthogonalize(A, method="checkpoint").sum())(drawn(3, 2))
