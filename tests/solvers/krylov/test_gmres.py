"""GMRES against the textbook and SciPy; its basis, its iterates, and what it says where it stands still."""

import warnings

import numpy as np
import pytest
import scipy.sparse.linalg as scipy_solvers

import resolvent as rv
from resolvent.solvers.driver.status import Cause
from resolvent.solvers.krylov.gmres import GMRES
from resolvent.solvers.linear.system import LinearSystem

from ..counting import Counting
from . import textbook

BACKENDS = ("numpy", "numba")


def quietly(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        return rv.gmres(*args, **options)


def nonsymmetric(n, shift=0.0, seed=0, dtype="float64"):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, n)) + shift * np.eye(n)
    return (A + 1j * rng.standard_normal((n, n)) if dtype == "complex128" else A).astype(dtype)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("velocity", "scheme"), [(0.5, "upwind"), (1.5, "central"), (8.0, "upwind")])
@pytest.mark.parametrize("restart", [7, 20, 200])
def test_iterations_are_those_of_the_textbook_and_of_scipy(velocity, scheme, restart, backend):
    problem = rv.gallery.convection_diffusion((12, 13), velocity, scheme)
    A, b = problem.A, problem.b
    solution = rv.gmres(A, b, rtol=1e-8, restart=restart, backend=backend)
    assert solution.converged
    assert abs(solution.iterations - textbook.iterations(textbook.gmres(A, b, 400, restart), 1e-8)) <= 1
    counted = []
    scipy_solvers.gmres(A, b, rtol=1e-8, restart=restart, callback=counted.append, callback_type="pr_norm")
    assert abs(solution.iterations - len(counted)) <= 1
    np.testing.assert_allclose(solution.x, problem.x, atol=1e-5 * abs(problem.x).max())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("flexible", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_carried_norms_are_those_of_the_textbook(dtype, flexible, backend):
    """With a preconditioner too, since it stands at the right."""
    A, M = (
        nonsymmetric(24, 6.0, 1, dtype),
        np.linalg.inv(nonsymmetric(24, 6.0, 1, dtype) + 0.3 * nonsymmetric(24, 0, 5)),
    )
    b = nonsymmetric(24, 0.0, 2, dtype)[0]
    norms = textbook.gmres(A, b, 14, 5, lambda r: M @ r)
    solution = quietly(A, b, rtol=0, maxiter=14, restart=5, M=M, flexible=flexible, backend=backend)
    np.testing.assert_allclose(solution.residual_norms, norms, rtol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("preconditioned", [False, True])
def test_an_iterate_is_formed_whenever_it_is_asked_for(preconditioned, backend):
    """Watched at each iteration or not at all, the answer is the same to the last bit."""
    problem = rv.gallery.convection_diffusion((8, 7), 0.7)
    M = rv.precondition.jacobi(problem.A) if preconditioned else None
    seen = []
    options = {"rtol": 1e-8, "restart": 6, "M": M, "backend": backend}
    watched = rv.gmres(problem.A, problem.b, callback=lambda progress: seen.append(progress.x), **options)
    unwatched = rv.gmres(problem.A, problem.b, **options)
    np.testing.assert_array_equal(watched.x, unwatched.x)
    norms = [np.linalg.norm(problem.b - problem.A @ x) for x in seen]
    np.testing.assert_allclose(norms, watched.residual_norms[1:], rtol=1e-6)
    assert (np.diff(norms) <= 1e-12).all()


def test_a_flexible_preconditioner_may_change():
    """Each application divides by another diagonal; the iterate is made of what came of each."""
    problem = rv.gallery.convection_diffusion((9, 9), 1.0)
    rng = np.random.default_rng(0)

    def changing(r):
        return r / (4 + rng.random(r.size))

    changing.shape, changing.dtype = problem.A.shape, problem.A.dtype
    solution = rv.gmres(problem.A, problem.b, M=changing, flexible=True, rtol=1e-9)
    assert solution.converged
    np.testing.assert_allclose(solution.residual_norms[-1], solution.residual_norm, rtol=1e-4)


def basis_after(A, steps):
    rng = np.random.default_rng(1)
    system = LinearSystem(A, rng.standard_normal(A.shape[0]), backend=Counting())
    method = GMRES(steps)
    state = method.start(system)
    system.backend.counted[:] = 0
    for _ in range(steps):
        method.step(system, state)
    V = np.array(list(state.V))[:steps]
    return np.abs(V.conj() @ V.T - np.eye(steps)).max(), int(system.backend.counted[1])


@pytest.mark.parametrize("velocity", [0.0, 0.8, 50.0])
def test_the_basis_is_orthogonal_by_one_pass_over_it(velocity):
    """What is near to Hermitian would lose digits to a single pass, but for the two latest vectors."""
    defect, reductions = basis_after(rv.gallery.convection_diffusion((15, 15), velocity, "upwind").A, 25)
    assert defect < 1e-14
    assert reductions == 3 * 25


def test_the_basis_is_orthogonal_where_products_lie_all_but_in_it():
    """A rank-five matrix and next to nothing: after five vectors A v cancels against many of them."""
    rng = np.random.default_rng(0)
    low = rng.standard_normal((60, 5)) @ rng.standard_normal((5, 60))
    defect, reductions = basis_after(low + 1e-6 * rng.standard_normal((60, 60)), 20)
    assert defect < 1e-14
    assert reductions > 3 * 20


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_the_spectrum_is_that_of_the_hessenberg_matrix(dtype, backend):
    A = nonsymmetric(12, 8.0, 4, dtype)
    solution = rv.gmres(A, nonsymmetric(12, 0.0, 7, dtype)[0], rtol=1e-13, backend=backend)
    values = np.linalg.eigvals(A).real
    assert solution.spectrum == pytest.approx((values.min(), values.max()), rel=1e-8)
    assert solution.condition is None  # eigenvalues do not tell it of a matrix that is not Hermitian


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_full_space_has_the_solution(backend):
    """A cyclic shift leaves the residual as it is until the very last iteration."""
    shift, b = np.roll(np.eye(20), 1, axis=0), np.eye(20)[0]
    solution = rv.gmres(shift, b, rtol=1e-12, backend=backend)
    assert (solution.converged, solution.iterations) == (True, 20)
    np.testing.assert_allclose(solution.x, np.eye(20)[19], atol=1e-14)
    stuck = quietly(shift, b, restart=10, backend=backend)
    assert stuck.status is rv.Status.BREAKDOWN
    assert stuck.cause is Cause.RECURRENCE
    assert "Raise restart" in stuck.reason
    assert stuck.iterations == 10


@pytest.mark.parametrize("backend", BACKENDS)
def test_singular_systems(backend):
    """Consistent ones are solved; of others the shortest residual comes back, and why no shorter one is to be had."""
    A = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 2.0]])
    solved = rv.gmres(A, A @ np.array([1.0, 2.0, 3.0]), rtol=1e-12, backend=backend)
    assert solved.converged
    for b in ([1.0, 1.0, -1.0], [1.0, 1.0, 3.0], [2.0, -1.0, 0.0]):
        solution = quietly(A, np.array(b), rtol=1e-8, backend=backend)
        assert solution.status is rv.Status.BREAKDOWN
        assert solution.cause is Cause.SINGULAR
        shortest = np.linalg.norm(b - A @ np.linalg.lstsq(A, np.array(b), rcond=None)[0])
        assert solution.residual_norm == pytest.approx(shortest, rel=1e-12)
        assert np.linalg.norm(solution.x) < 10


def test_an_empty_row_does_not_keep_it_from_the_shortest_residual():
    """That no solution exists is seen at once; what comes back is the x that misses least all the same."""
    A, b = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 0]]), np.array([1.0, 0, 1])
    solution = quietly(A, b, rtol=1e-8)
    assert (solution.status, solution.cause) == (rv.Status.INFEASIBLE, Cause.INCONSISTENT)
    assert "row 2 has no nonzero" in solution.reason
    np.testing.assert_allclose(A @ solution.x, [1, 0, 0], atol=1e-12)
    near = rv.gmres(A, np.array([1.0, 0, 1e-9]), rtol=1e-8)  # as small as the tolerance allows
    assert near.converged


def test_random_singular_systems_end_near_their_shortest_residual():
    """Symmetric, so that the Krylov space has a least-squares solution; rounding makes the last column independent."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(2, 25))
        rank = int(rng.integers(1, n))
        factor = rng.standard_normal((n, rank))
        A, b = factor @ np.diag(rng.standard_normal(rank)) @ factor.T, rng.standard_normal(n)
        solution = quietly((A + A.T) / 2, b, rtol=1e-8, backend="numpy")
        shortest = np.linalg.norm(b - A @ np.linalg.lstsq(A, b, rcond=1e-12)[0])
        assert not solution.converged
        assert solution.residual_norm <= 1.001 * shortest, seed
        assert solution.cause is Cause.SINGULAR, solution.reason


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(4))
def test_below_rounding_it_says_so(seed, backend):
    A, b = nonsymmetric(15, 0.0, seed), np.ones(15)
    solution = quietly(A, b, rtol=0, restart=15, backend=backend)
    assert solution.status is rv.Status.STAGNATED or solution.residual_norm == 0
    assert solution.backward_error < 4e-16
    np.testing.assert_allclose(solution.x, np.linalg.solve(A, b), rtol=1e-9)


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_in_other_precisions_it_refines_from_basis_to_basis(precision):
    """Each basis is begun from the residual of A as given, so the answer is better than the format of the basis."""
    problem = rv.gallery.convection_diffusion((6, 5), 1.0)
    solution = rv.gmres(problem.A, problem.b, rtol=0.01, restart=10, precision=precision)
    assert solution.converged
    assert np.linalg.norm(problem.b - problem.A @ solution.x) <= 0.01 * np.linalg.norm(problem.b)


@pytest.mark.parametrize(("restart", "error"), [(0, rv.InputError), (2.5, TypeError), (True, TypeError)])
def test_restart_is_a_number_of_iterations(restart, error):
    with pytest.raises(error, match="restart"):
        rv.gmres(np.eye(2), np.ones(2), restart=restart)


def test_a_guess_and_a_longer_basis_than_there_are_unknowns():
    A, x = nonsymmetric(6, 4.0), np.arange(6.0)
    solution = rv.gmres(A, A @ x, x0=x + 1e-3, restart=500, rtol=1e-12)
    assert solution.converged
    assert solution.iterations <= 6
    assert rv.gmres(A, A @ x, x0=x, rtol=1e-12).iterations == 0
