"""IDR(s) against the textbook with the same shadows, and what it says where a coefficient is lost."""

import warnings

import numpy as np
import pytest

import resolvent as rv
from resolvent.solvers.driver.status import Cause
from resolvent.solvers.krylov.idrs import IDRs
from resolvent.solvers.linear.system import LinearSystem

from . import textbook

BACKENDS = ("numpy", "numba")


def quietly(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        return rv.idrs(*args, **options)


def shadows(A, b, s, seed=0):
    return np.array(list(IDRs(s, seed).start(LinearSystem(A, b, backend="numpy")).P))


def test_shadows_are_orthonormal_and_of_their_seed_alone():
    A, b = np.eye(40), np.ones(40)
    P = shadows(A, b, 5)
    np.testing.assert_allclose(P @ P.T, np.eye(5), atol=1e-14)
    np.testing.assert_array_equal(P, shadows(A, 2 * b, 5))
    assert abs(P @ shadows(A, b, 5, seed=1).T).max() < 0.9


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("s", [1, 2, 4, 7])
@pytest.mark.parametrize(("velocity", "scheme"), [(0.5, "upwind"), (1.5, "central"), (8.0, "upwind")])
def test_iterations_are_those_of_the_textbook(velocity, scheme, s, backend):
    problem = rv.gallery.convection_diffusion((12, 13), velocity, scheme)
    A, b = problem.A, problem.b
    solution = rv.idrs(A, b, s=s, rtol=1e-8, backend=backend)
    assert solution.converged
    wanted = textbook.iterations(textbook.idrs(A, b, 300, shadows(A, b, s)), 1e-8)
    assert abs(solution.iterations - wanted) <= 1
    np.testing.assert_allclose(solution.x, problem.x, atol=1e-5 * abs(problem.x).max())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_carried_norms_are_those_of_the_textbook(dtype, backend):
    """With a preconditioner too, since it stands at the right."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((3, 24, 24))
    X = X + 1j * rng.standard_normal(X.shape) if dtype == "complex128" else X
    A, b = X[0] + 9 * np.eye(24), X[1, 0]
    M = np.linalg.inv(A + 0.3 * X[2])
    norms = textbook.idrs(A, b, 14, shadows(A, b, 3), lambda r: M @ r)[:15]
    solution = quietly(A, b, s=3, M=M, rtol=0, maxiter=14, backend=backend)
    usable = norms > 1e-10 * norms[0]
    np.testing.assert_allclose(solution.residual_norms[usable], norms[usable], rtol=1e-5)


def test_more_shadows_take_fewer_products():
    problem = rv.gallery.convection_diffusion((20, 20), 1.5, "central")
    counts = [rv.idrs(problem.A, problem.b, s=s, rtol=1e-8).iterations for s in (1, 4, 8)]
    assert counts[0] > counts[1] > counts[2]


@pytest.mark.parametrize("backend", BACKENDS)
def test_large_imaginary_parts(backend):
    """Eigenvalues 1 +- 6i ..., where minimal steps of length one are next to useless, and BiCGSTAB slow."""
    blocks = [np.array([[1.0, y], [-y, 1.0]]) for y in np.linspace(1, 6, 20)]
    A = np.zeros((40, 40))
    for j, block in enumerate(blocks):
        A[2 * j : 2 * j + 2, 2 * j : 2 * j + 2] = block
    solution = rv.idrs(A, np.linspace(1, 2, 40), rtol=1e-10, s=8, backend=backend)
    assert solution.converged
    assert solution.iterations < 80


@pytest.mark.parametrize("backend", BACKENDS)
def test_fewer_unknowns_than_shadows(backend):
    A, x = np.array([[2.0, 1.0], [-3.0, 1.0]]), np.array([1.0, 2.0])
    solution = rv.idrs(A, A @ x, s=10, rtol=1e-12, backend=backend)
    assert (solution.converged, solution.iterations) == (True, 2)
    assert rv.idrs(3 * np.eye(6), np.ones(6), rtol=1e-12, backend=backend).iterations == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_singular_matrices_are_said_to_be_singular(backend):
    A = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 2.0]])
    solution = quietly(A, np.array([1.0, 1.0, -1.0]), backend=backend)  # b spans the kernel
    assert (solution.status, solution.cause) == (rv.Status.BREAKDOWN, Cause.SINGULAR)
    assert rv.idrs(A, A @ np.array([1.0, 2.0, 3.0]), rtol=1e-10, backend=backend).converged


@pytest.mark.parametrize(("s", "error"), [(0, rv.InputError), (1.5, TypeError), (True, TypeError)])
def test_s_is_a_number_of_vectors(s, error):
    with pytest.raises(error, match="s: "):
        rv.idrs(np.eye(2), np.ones(2), s=s)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_in_other_precisions(precision):
    problem = rv.gallery.convection_diffusion((6, 5), 1.0)
    solution = rv.idrs(problem.A, problem.b, rtol=0.05, precision=precision)
    assert solution.converged
    assert np.linalg.norm(problem.b - problem.A @ solution.x) <= 0.05 * np.linalg.norm(problem.b)
