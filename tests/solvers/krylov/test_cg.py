"""Conjugate gradients: the theory, the iterates of another implementation, and what finite precision does to both."""

import math
import re
import warnings

import numpy as np
import pytest
import scipy.sparse as sparse
import scipy.sparse.linalg
from scipy.sparse.linalg import LinearOperator

import resolvent as rv
from resolvent.gallery import poisson, randsvd, strakos

BACKENDS = ("numpy", "numba")


def quietly(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        return function(*args, **options)


def iterates(A, b, **options):
    """The solution and every iterate on the way, the first guess left out."""
    seen = []
    solution = quietly(rv.cg, A, b, callback=lambda at: seen.append(at.x) and None, **options)
    return solution, seen


def energy_errors(A, x, seen):
    """A-norms of the errors of 0 and of the iterates."""
    A = A.toarray() if sparse.issparse(A) else A
    errors = [x, *(x - y for y in seen)]
    return np.sqrt([float((e.conj() @ (A @ e)).real) for e in errors])


def spd(n, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    G = rng.standard_normal((n, n)) + (1j * rng.standard_normal((n, n)) if np.dtype(dtype).kind == "c" else 0)
    G, _ = np.linalg.qr(G)
    A = (G * np.linspace(1, 3, n)) @ G.conj().T
    return ((A + A.conj().T) / 2).astype(dtype)


# Finite termination and iterates ------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "complex64", "complex128"])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 8])
def test_ends_after_n_iterations_at_most(n, dtype, backend):
    A = spd(n, dtype, n)
    b = np.arange(1, n + 1).astype(dtype)
    rtol = 1e-5 if np.finfo(dtype).eps > 1e-10 else 1e-13
    solution = rv.cg(A, b, rtol=rtol, backend=backend)
    assert solution.converged
    assert solution.iterations <= n


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("distinct", [1, 2, 3, 5])
def test_ends_after_as_many_iterations_as_there_are_eigenvalues(distinct, backend):
    A = np.diag(np.tile(np.arange(1.0, distinct + 1), 12))
    b = np.random.default_rng(0).standard_normal(12 * distinct)
    solution = rv.cg(A, b, rtol=1e-12, backend=backend)
    assert solution.iterations == distinct


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("preconditioned", [False, True])
def test_iterates_are_those_of_scipy(storage, preconditioned, backend):
    A = spd(20) + np.diag(np.linspace(0, 10, 20))
    b = np.random.default_rng(2).standard_normal(20)
    M = np.diag(1 / A.diagonal()) if preconditioned else None
    theirs = []
    scipy.sparse.linalg.cg(A, b, rtol=1e-13, M=M, callback=lambda x: theirs.append(x.copy()))
    _, ours = iterates(storage(A), b, rtol=1e-13, M=None if M is None else storage(M), backend=backend)
    # Rounding errors grow as orthogonality is lost, so the first iterates agree best.
    for k in range(12):
        np.testing.assert_allclose(ours[k], theirs[k], rtol=1e-9, atol=1e-11 * np.abs(theirs[k]).max())


@pytest.mark.parametrize("backend", BACKENDS)
def test_iterates_are_optimal_in_the_krylov_space(backend):
    """x_k is the A-projection of x on span(b, A b, ..., A^(k-1) b): computed here by least squares."""
    A = spd(15)
    b = np.random.default_rng(3).standard_normal(15)
    root = np.linalg.cholesky(A).T
    _, seen = iterates(A, b, rtol=1e-12, backend=backend)
    basis = b[:, None] / np.linalg.norm(b)
    for k in range(6):
        best = basis @ np.linalg.lstsq(root @ basis, root @ np.linalg.solve(A, b), rcond=None)[0]
        np.testing.assert_allclose(seen[k], best, rtol=1e-9, atol=1e-11)
        basis, _ = np.linalg.qr(np.column_stack([basis, A @ basis[:, -1]]))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("condition", [10.0, 100.0, 1000.0, 10000.0])
@pytest.mark.parametrize("mode", [3, 4])
def test_the_energy_norm_of_the_error_falls_monotonically_and_under_the_bound(condition, mode, backend):
    problem = randsvd(60, condition, mode, "spd", seed=3)
    x = np.random.default_rng(5).standard_normal(60)
    _, seen = iterates(problem.A, problem.A @ x, rtol=1e-10, backend=backend)
    errors = energy_errors(problem.A, x, seen)
    floor = 100 * np.sqrt(condition) * 2.0**-53 * errors[0]
    assert (np.diff(errors) <= floor).all()
    root = math.sqrt(condition)
    bound = 2 * ((root - 1) / (root + 1)) ** np.arange(errors.size)
    assert (errors <= bound * errors[0] * (1 + 1e-8) + floor).all()


def test_iterations_grow_like_the_square_root_of_the_condition_number():
    counts, conditions = [], []
    for points in (16, 32, 64, 128):
        problem = poisson((points, points))
        conditions.append(problem.condition)
        counts.append(rv.cg(problem.A, problem.b, rtol=1e-8).iterations)
    slope = np.polyfit(np.log(conditions), np.log(counts), 1)[0]
    assert slope == pytest.approx(0.5, abs=0.05)


# Preconditioning ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("flexible", [False, True])
def test_the_inverse_as_preconditioner_takes_one_iteration(flexible, backend):
    A = spd(12)
    solution = rv.cg(A, np.ones(12), M=np.linalg.inv(A), rtol=1e-12, flexible=flexible, backend=backend)
    assert solution.iterations == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_symmetric_preconditioning_equals_scaling(backend):
    """CG with M = D^-2 on A has the iterates of CG on D^-1 A D^-1, brought back."""
    A = spd(20) + np.diag(np.geomspace(1, 100, 20))
    b = np.random.default_rng(2).standard_normal(20)
    d = np.sqrt(A.diagonal())
    _, preconditioned = iterates(A, b, M=rv.precondition.jacobi(A), rtol=1e-12, backend=backend)
    _, scaled = iterates(A / d / d[:, None], b / d, rtol=1e-12, backend=backend)
    for k in range(10):
        np.testing.assert_allclose(preconditioned[k], scaled[k] / d, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("backend", BACKENDS)
def test_flexible_with_a_fixed_preconditioner_has_the_same_iterates(backend):
    problem = poisson((12, 12))
    M = rv.precondition.ssor(problem.A, 1.4)
    _, plain = iterates(problem.A, problem.b, M=M, rtol=1e-6, backend=backend)
    _, flexible = iterates(problem.A, problem.b, M=M, rtol=1e-6, flexible=True, backend=backend)
    assert abs(len(plain) - len(flexible)) <= 1
    for k in range(len(plain) - 2):
        np.testing.assert_allclose(flexible[k], plain[k], rtol=1e-6, atol=1e-9)


class Changing:
    """A preconditioner that is another one at each application: an inner solve cut short."""

    def __init__(self, A):
        self.A, self.shape, self.dtype, self.calls = A, A.shape, A.dtype, 0

    def __call__(self, r):
        self.calls += 1
        steps = 1 + self.calls % 4
        return quietly(rv.gauss_seidel, self.A, r, sweep="symmetric", maxiter=steps, rtol=0.0).x


@pytest.mark.parametrize("backend", BACKENDS)
def test_flexible_copes_with_a_preconditioner_that_changes(backend):
    problem = poisson((32, 32))
    options = {"rtol": 1e-9, "maxiter": 300, "backend": backend}
    fixed = quietly(rv.cg, problem.A, problem.b, M=Changing(problem.A), **options)
    flexible = rv.cg(problem.A, problem.b, M=Changing(problem.A), flexible=True, **options)
    plain = rv.cg(problem.A, problem.b, **options)
    assert flexible.converged
    assert flexible.iterations < 0.5 * plain.iterations
    assert flexible.iterations < fixed.iterations


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("flexible", [False, True])
def test_a_preconditioner_that_is_not_definite_is_said_to_be(flexible, backend):
    A = spd(8)
    negative = quietly(rv.cg, A, np.ones(8), M=-np.eye(8), flexible=flexible, backend=backend)
    assert negative.status is rv.Status.BREAKDOWN
    assert "M is not positive definite" in negative.reason
    signs = np.diag(np.tile([1.0, -1.0], 4))
    b = np.array([1.0, 2, 1, 2, 1, 2, 1, 2])
    mixed = quietly(rv.cg, A, b, M=signs, flexible=flexible, backend=backend)
    assert mixed.status is rv.Status.BREAKDOWN
    assert "M is not positive definite" in mixed.reason
    zero = quietly(rv.cg, A, np.ones(8), M=np.zeros((8, 8)), flexible=flexible, backend=backend)
    assert zero.status is rv.Status.BREAKDOWN
    assert "M" in zero.reason.split()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_preconditioner_that_turns_to_nan_later_is_named(backend):
    calls = []

    def multiply(r):
        calls.append(None)
        return r if len(calls) < 4 else np.nan * r

    M = LinearOperator((20, 20), matvec=multiply, dtype=np.float64)
    solution = quietly(rv.cg, np.diag(np.linspace(1, 50, 20)), np.ones(20), M=M, rtol=1e-12, backend=backend)
    assert solution.status is rv.Status.BREAKDOWN
    assert "M" in solution.reason.split()
    assert "NaN" in solution.reason
    assert np.isfinite(solution.x).all()
    assert solution.relative_residual < 1  # the best iterate, not the guess


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_operator_that_turns_to_nan_later_is_named(backend):
    calls = []
    A = np.diag(np.linspace(1, 50, 20))

    def multiply(x):
        calls.append(None)
        return A @ x if len(calls) < 6 else np.full(20, np.nan)

    operator = LinearOperator((20, 20), matvec=multiply, dtype=np.float64)
    solution = quietly(rv.cg, operator, np.ones(20), rtol=1e-12, backend=backend)
    assert solution.status is rv.Status.BREAKDOWN
    assert "NaN" in solution.reason
    assert np.isfinite(solution.x).all()


# What finite precision does -----------------------------------------------------------------------------------------


def wide_residual(A, x, b):
    wide = np.longdouble
    return np.linalg.norm((b.astype(wide) - (A @ np.eye(A.shape[0])).astype(wide) @ x.astype(wide)).astype(float))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("points", [8, 16, 32])
def test_attainable_accuracy(points, dtype, backend):
    """Asked for the impossible, CG ends at a backward error of a few units of roundoff and says so."""
    problem = poisson((points, points))
    A, b = problem.A.astype(dtype), problem.b.astype(dtype)
    solution = quietly(rv.cg, A, b, rtol=1e-30, backend=backend)
    assert solution.status is rv.Status.STAGNATED or solution.relative_residual == 0
    eta = wide_residual(problem.A, solution.x, b) / (problem.spectrum[1] * np.linalg.norm(solution.x.astype(float)))
    assert eta <= 10 * np.finfo(dtype).eps / 2
    assert solution.iterations < 40 * points
    assert solution.converged or dtype in solution.reason


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_carried_residual_is_not_what_is_reported(backend):
    """After the plateau the recurrence goes on falling and the true residual does not."""
    problem = poisson((32, 32))
    A, b = problem.A.astype(np.float32), problem.b.astype(np.float32)
    solution = quietly(rv.cg, A, b, rtol=1e-9, backend=backend)
    assert solution.residual_norms.min() < 0.1 * solution.residual_norm
    truth = np.linalg.norm(b.astype(float) - problem.A @ solution.x.astype(float))
    assert solution.residual_norm == pytest.approx(truth, rel=1e-4)


@pytest.mark.parametrize("name", ["bar", "grid"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_residual_is_replaced_seldom(name, backend):
    """Not before the bound of the gap has grown tenfold: each replacement costs a product, and some of the digits."""
    problem = rv.gallery.load_finite_elements("bar") if name == "bar" else poisson((20, 20))
    far = 1e8 * np.random.default_rng(0).standard_normal(problem.b.size)
    solution = rv.cg(problem.A, problem.b, x0=far, rtol=1e-14, backend=backend)
    assert solution.converged
    times = re.search(r"true one (once|\d+ times)", solution.reason).group(1)
    assert times in ("once", "2 times")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("noise", [1e-10, 1e-8])
def test_a_replacement_that_changes_the_residual_begins_the_recurrence_anew(noise, backend):
    """Products less accurate than the precision: coefficients before and after belong to no single Lanczos process."""
    problem, count = poisson((20, 20)), iter(range(10**6))

    def product(x):
        return (problem.A @ x) * (1 + noise * np.random.default_rng(next(count)).uniform(-1, 1, 400))

    far = 1e3 * np.random.default_rng(0).standard_normal(400)
    A = LinearOperator((400, 400), product, dtype=np.float64)
    solution = quietly(rv.cg, A, problem.b, x0=far, rtol=1e-12, maxiter=3000, backend=backend)
    assert "The residual was replaced" in solution.reason
    assert len(solution.evidence) < 0.8 * solution.iterations
    assert solution.condition_sense == "at least"
    assert solution.condition <= problem.condition * 1.001


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("n", "largest", "rho", "rtol", "exact", "measured"),
    [(24, 100.0, 0.65, 1e-8, 21, 33), (48, 1000.0, 0.8, 1e-8, 43, 120), (48, 1000.0, 0.9, 1e-8, 48, 93)],
)
def test_strakos_spectra_delay_convergence(n, largest, rho, rtol, exact, measured, backend):
    """Iterations to an energy-norm error of 1e-8: more than n, as published, and as many as in another implementation.

    ``exact`` is the count with reorthogonalisation, ``measured`` that of plain float64.
    """
    problem = strakos(n, 0.1, largest, rho)
    x = problem.b / problem.A.diagonal()
    _, seen = iterates(problem.A, problem.b, rtol=1e-13, maxiter=1000, backend=backend)
    errors = energy_errors(problem.A, x, seen)
    needed = int(np.argmax(errors <= rtol * errors[0]))
    assert needed > exact
    assert needed == pytest.approx(measured, rel=0.15)
    if rho == 0.8:
        assert needed > 2 * n


@pytest.mark.parametrize("backend", BACKENDS)
def test_delay_grows_with_the_unit_roundoff(backend):
    problem = strakos(48, 0.1, 1000.0, 0.8)
    needed = {}
    for dtype in ("float64", "float32"):
        A, b = problem.A.astype(dtype), problem.b.astype(dtype)
        _, seen = iterates(A, b, rtol=1e-7, maxiter=1000, backend=backend)
        errors = energy_errors(problem.A, problem.b / problem.A.diagonal(), [y.astype(float) for y in seen])
        needed[dtype] = int(np.argmax(errors <= 1e-4 * errors[0]))
        assert needed[dtype] > 0
    assert 38 < needed["float64"] < needed["float32"]
    assert needed["float64"] == pytest.approx(80, rel=0.15)
    assert needed["float32"] == pytest.approx(151, rel=0.2)


# Failing in words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
def test_an_indefinite_matrix_that_shows_late(storage, backend):
    values = np.linspace(1, 10, 30)
    values[0] = -1e-3
    solution = quietly(rv.cg, storage(np.diag(values)), np.ones(30), rtol=1e-12, backend=backend)
    assert solution.status is rv.Status.BREAKDOWN
    assert "not positive definite" in solution.reason
    assert "MINRES" in solution.reason
    assert 0 < solution.iterations <= 30
    best = solution.residual_norms.min()
    assert solution.residual_norm <= 2 * best, "what is returned is the best iterate within a factor of two"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_slightly_asymmetric_matrix_passes_and_a_clearly_asymmetric_one_does_not(backend):
    A = spd(10)
    noisy = A * (1 + 2.0**-52 * np.random.default_rng(0).integers(-3, 4, A.shape))
    assert rv.cg(noisy, np.ones(10), backend=backend).converged
    noisy[0, 1] += 1e-6
    with pytest.raises(rv.NotHermitianError, match=r"e-0[67]"):
        rv.cg(noisy, np.ones(10), backend=backend)


def test_a_step_length_that_underflows_ends_in_words():
    class Growing:
        """Not linear: v ||v||."""

        shape, dtype = (5, 5), np.dtype(np.float64)

        def __call__(self, v):
            return v * np.linalg.norm(v)

    for flexible in (False, True):
        with pytest.warns(rv.ConvergenceWarning):
            solution = rv.cg(Growing(), np.array([1.0, 2, 3, 4, 5]), flexible=flexible, rtol=0)
        assert not solution.converged
