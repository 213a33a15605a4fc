"""MINRES against the smallest residuals there are, and on singular systems with and without a solution."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sparse
import scipy.sparse.linalg as scipy_solvers

import resolvent as rv
from resolvent.solvers.driver.status import Cause

from . import textbook

BACKENDS = ("numpy", "numba")


def quietly(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        return rv.minres(*args, **options)


def hermitian(values, seed=0, dtype="float64"):
    """A full matrix with these eigenvalues."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((len(values),) * 2)
    Q, _ = np.linalg.qr(X + 1j * rng.standard_normal(X.shape) if dtype == "complex128" else X)
    A = Q * values @ Q.conj().T
    return (A + A.conj().T) / 2


def indefinite(n=30, seed=0, dtype="float64"):
    return hermitian(np.concatenate([np.linspace(-3, -1, n // 2), np.linspace(0.5, 5, n - n // 2)]), seed, dtype)


def rhs(n, seed=1, dtype="float64"):
    rng = np.random.default_rng(seed)
    b = rng.standard_normal(n)
    return b + 1j * rng.standard_normal(n) if dtype == "complex128" else b


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_residuals_are_the_smallest_of_the_krylov_space(dtype, backend):
    A, b = indefinite(dtype=dtype), rhs(30, dtype=dtype)
    norms = textbook.gmres(A, b, 20, 30)
    solution = quietly(A, b, rtol=0, maxiter=20, backend=backend)
    np.testing.assert_allclose(solution.residual_norms, norms[:21], rtol=1e-8)
    np.testing.assert_allclose(solution.residual_norm, np.linalg.norm(b - A @ solution.x), rtol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_with_a_preconditioner_the_carried_norm_is_that_of_the_residual_itself(dtype, backend):
    """The iterates are those of the system with the root of M at both sides, whose residuals are shorter or longer."""
    A, b = indefinite(dtype=dtype), rhs(30, dtype=dtype)
    M = hermitian(np.linspace(0.5, 2, 30), 7, dtype)
    values, vectors = np.linalg.eigh(M)
    root = vectors * np.sqrt(values) @ vectors.conj().T
    seen = []
    solution = quietly(
        A, b, M=M, rtol=0, maxiter=12, backend=backend, callback=lambda progress: seen.append(progress.x.copy())
    )
    norms = [np.linalg.norm(b - A @ x) for x in seen]
    np.testing.assert_allclose(solution.residual_norms[1:], norms, rtol=1e-8)
    in_norm_of_M = [np.linalg.norm(root @ (b - A @ x)) for x in seen]
    np.testing.assert_allclose(in_norm_of_M, textbook.gmres(root @ A @ root, root @ b, 12, 30)[1:], rtol=1e-8)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shift", [0.0, 0.3, 0.7])
def test_iterations_are_those_of_scipy(shift, backend):
    """Which measures by other norms: its iterates are looked at from outside."""
    A = rv.gallery.poisson((11, 12)).A - shift * sparse.eye_array(132)
    b = rhs(132)
    seen = []
    scipy_solvers.minres(A, b, rtol=1e-13, callback=lambda x: seen.append(np.linalg.norm(b - A @ x)))
    wanted = 1 + next(k for k, norm in enumerate(seen) if norm <= 1e-6 * np.linalg.norm(b))
    assert abs(rv.minres(A, b, rtol=1e-6, backend=backend).iterations - wanted) <= 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("consistent", [True, False])
def test_singular_systems_have_their_shortest_solution(consistent, dtype, backend):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(2, 40))
        values = np.zeros(n)
        rank = int(rng.integers(1, n))
        values[:rank] = rng.standard_normal(rank)
        A, b = hermitian(values, seed, dtype), rhs(n, seed + 10, dtype)
        b = A @ b if consistent else b
        solution = quietly(A, b, rtol=1e-10, backend=backend)
        shortest = np.linalg.pinv(A, rcond=1e-12, hermitian=True) @ b
        assert np.linalg.norm(solution.x - shortest) <= 1e-5 * np.linalg.norm(shortest)
        assert solution.converged == consistent
        if not consistent:
            assert (solution.status, solution.cause) == (rv.Status.INFEASIBLE, Cause.INCONSISTENT)
            assert "no solution exists" in solution.reason
            assert solution.residual_norm == pytest.approx(np.linalg.norm(b - A @ shortest), rel=1e-6)


@pytest.mark.parametrize("condition", [1e4, 1e8, 1e11, 1e13])
def test_what_has_a_solution_is_never_said_to_have_none(condition):
    for seed in range(5):
        signs = np.sign(np.random.default_rng(seed).standard_normal(40))
        for values in (np.geomspace(1 / condition, 1, 40) * signs, np.append(1 / condition, signs[1:])):
            solution = quietly(hermitian(values, seed), rhs(40, seed), rtol=1e-9, maxiter=600, backend="numpy")
            assert solution.status is not rv.Status.INFEASIBLE
            assert solution.relative_residual <= 1


def test_with_a_preconditioner_what_is_least_is_in_its_norm():
    A, b = hermitian(np.append(np.zeros(2), np.linspace(-2, 3, 18))), rhs(20)
    M = hermitian(np.linspace(0.5, 2, 20), 7)
    for given in (A, scipy_solvers.aslinearoperator(A)):  # whose size is not known beforehand
        solution = quietly(given, b, M=M, rtol=1e-10)
        assert (solution.status, solution.cause) == (rv.Status.INFEASIBLE, Cause.INCONSISTENT)
        r = b - A @ solution.x
        assert np.linalg.norm(A @ (M @ r)) < 1e-5 * np.linalg.norm(r)
        assert rv.minres(given, A @ b, M=M, rtol=1e-10).converged


def test_an_empty_row_does_not_keep_it_from_the_least_squares_solution():
    A, b = np.diag([2.0, -1.0, 0.0]), np.array([2.0, 3.0, 1.0])
    solution = quietly(A, b, rtol=1e-8)
    assert (solution.status, solution.cause) == (rv.Status.INFEASIBLE, Cause.INCONSISTENT)
    np.testing.assert_allclose(solution.x, [1, -3, 0], atol=1e-7)


def test_the_kernel_as_right_hand_side():
    A = hermitian(np.array([0.0, 1.0, 2.0, -1.0]))
    kernel = np.linalg.eigh(A)[1][:, 1]
    solution = quietly(A, kernel, rtol=1e-8)
    assert solution.status is rv.Status.INFEASIBLE
    np.testing.assert_allclose(solution.x, 0, atol=1e-8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_spectrum_is_that_of_the_lanczos_matrix(backend):
    A = indefinite()
    solution = rv.minres(A, rhs(30), rtol=1e-12, backend=backend)
    assert solution.spectrum == pytest.approx((-3.0, 5.0), rel=1e-6)
    assert solution.condition is None  # Ritz values on both sides of zero tell nothing of the nearest eigenvalue
    definite = rv.minres(hermitian(np.linspace(1, 4, 20)), rhs(20), rtol=1e-12, backend=backend)
    assert definite.condition == pytest.approx(4, rel=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_matrices_and_preconditioners_that_do_not_fit_are_named(backend):
    with pytest.raises(rv.NotHermitianError, match="minres"):
        rv.minres(np.array([[1.0, 2.0], [0.0, 1.0]]), np.ones(2), backend=backend)
    for M in (np.diag(np.linspace(-1, 1, 30)), np.zeros((30, 30))):
        solution = quietly(indefinite(), rhs(30), M=M, backend=backend)
        assert (solution.status, solution.cause) == (rv.Status.BREAKDOWN, Cause.PRECONDITIONER)
        assert "M is not positive definite" in solution.reason


@pytest.mark.parametrize("backend", BACKENDS)
def test_few_eigenvalues_take_few_iterations(backend):
    solution = rv.minres(np.diag([1.0, -1.0, 1.0, -1.0, 3.0]), np.ones(5), rtol=1e-12, backend=backend)
    assert (solution.converged, solution.iterations) == (True, 3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_below_rounding_it_says_so_and_keeps_the_best(backend):
    A, b = indefinite(), rhs(30)
    solution = quietly(A, b, rtol=0, backend=backend)
    assert solution.status is rv.Status.STAGNATED
    assert solution.backward_error < 2e-15
    # A condition of 1e5, whose square is what the recurrence of the directions suffers from: beginning anew mends it.
    hard = hermitian(np.geomspace(1e-5, 1, 30) * np.resize([1, -1], 30))
    mended = rv.minres(hard, b, rtol=1e-9, maxiter=2000, backend=backend)
    assert mended.converged


def test_in_emulated_precision():
    A, b = indefinite(), rhs(30)
    solution = rv.minres(A, b, rtol=0.05, precision="bf16")
    assert solution.converged
    singular = quietly(hermitian(np.append(0.0, np.linspace(1, 2, 19))), rhs(20), rtol=1e-3, precision="bf16")
    assert not singular.converged
