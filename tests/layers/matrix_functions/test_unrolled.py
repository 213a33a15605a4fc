"""Truncated iterations and their own derivatives: those of the function where they converge, and there alone."""

import pytest

import resolvent as rv

torch = pytest.importorskip("torch")

from known_spectra import definite, drawn, gradient, hermitian_part, off, with_singular_values  # noqa: E402
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


TWO_STEPS = rv.newton_schulz.schedule(0.1, degree=5, steps=2)


@pytest.mark.parametrize("method", ["unrolled", "checkpoint"])
def test_truncated_iterations_are_differentiated_as_they_are(method):
    A = drawn(3, 2).requires_grad_()

    def truncated(A):
        return layers.orthogonalize(A, method=method, schedule=TWO_STEPS)

    assert gradcheck(truncated, A, fast_mode=True)
    assert gradgradcheck(truncated, A, fast_mode=True)


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
