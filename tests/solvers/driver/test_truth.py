"""Never a false CONVERGED, and a reason of its own for everything that can be wrong with a system."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import scipy.sparse as sparse
from scipy.sparse.linalg import LinearOperator

import resolvent as rv
from resolvent.gallery import poisson
from resolvent.solvers.driver.method import Breakdown, State, Traffic
from resolvent.solvers.krylov.cg import CG
from resolvent.solvers.linear.method import LinearMethod
from resolvent.solvers.linear.run import solve_with

ITERATIVE = ("cg", "chebyshev", "richardson", "jacobi", "gauss_seidel", "sor", "ssor")
RELAXATIONS = ("jacobi", "gauss_seidel", "sor", "ssor")
BACKENDS = ("numpy", "numba")


def quietly(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        return function(*args, **options)


def true_relative_residual(A, x, b):
    """In extended precision."""
    wide = np.clongdouble if np.iscomplexobj(A) or np.iscomplexobj(b) else np.longdouble
    dense = A.toarray() if sparse.issparse(A) else np.asarray(A)
    r = b.astype(wide) - (dense.astype(wide) * x.astype(wide)).sum(axis=1)
    size = np.abs(b).max()
    return float(np.linalg.norm((r / size).astype(complex)) / np.linalg.norm((b / size).astype(complex)))


class Counting:
    """A callable that counts its products."""

    def __init__(self, A):
        self.A, self.shape, self.dtype, self.count = A, A.shape, A.dtype, 0

    def __call__(self, x):
        self.count += 1
        return self.A @ x


# The residual that is reported is the one there is ------------------------------------------------------------------


@pytest.mark.parametrize("right", ["ones", "random"])
@pytest.mark.parametrize("rtol", [1e-5, 1e-6, 1e-7])
def test_single_precision_poisson_converges_truly_or_says_how_far_it_got(rtol, right):
    A = poisson((256, 256)).A
    b = (np.ones(A.shape[0]) if right == "ones" else A @ np.random.default_rng(7).standard_normal(A.shape[0])).astype(
        np.float32
    )
    solution = quietly(rv.cg, A.astype(np.float32), b, rtol=rtol)
    wide = b.astype(np.float64)
    residual = np.linalg.norm(wide - A @ solution.x.astype(np.float64))
    relative = residual / np.linalg.norm(wide)
    assert solution.relative_residual == pytest.approx(relative, rel=1e-4)
    assert solution.status in (rv.Status.CONVERGED, rv.Status.STAGNATED)
    if solution.converged:
        assert relative <= rtol * (1 + 1e-6)
    else:
        eta = residual / (8 * np.linalg.norm(solution.x.astype(np.float64)) + np.linalg.norm(wide))
        assert eta <= 10 * 2.0**-24
        assert "float64" in solution.reason


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ITERATIVE)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_an_impossible_tolerance_ends_in_stagnation_at_the_accuracy_of_the_format(method, backend, dtype):
    problem = poisson((8, 8))
    A, b = problem.A.astype(dtype), (problem.A @ np.linspace(1, 2, 64)).astype(dtype)
    solution = quietly(rv.solve, A, b, method=method, rtol=1e-30, backend=backend, maxiter=20000)
    assert solution.status is rv.Status.STAGNATED
    residual = np.abs(b.astype(np.longdouble) - A.toarray().astype(np.longdouble) @ solution.x.astype(np.longdouble))
    eta = float(np.linalg.norm(residual)) / (8 * np.linalg.norm(solution.x) + np.linalg.norm(b))
    limit = 100 if method in ("richardson", "jacobi") else 10
    assert eta <= limit * np.finfo(dtype).eps / 2
    assert solution.iterations < 20000


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ITERATIVE)
def test_maxiter_equal_to_the_count_needed_is_enough_and_one_fewer_is_not(method, backend):
    problem = poisson((6, 6))
    A, b = problem.A, problem.A @ np.linspace(1, 2, 36)
    seen = []
    options = {"method": method, "rtol": 1e-6, "backend": backend}
    first = rv.solve(A, b, callback=lambda at: seen.append(at.iteration) and None, **options)
    needed = first.iterations
    assert seen[-1] == needed
    again = rv.solve(A, b, maxiter=needed, callback=lambda at: None, **options)
    assert again.converged
    assert again.iterations == needed
    with pytest.warns(rv.ConvergenceWarning):
        short = rv.solve(A, b, maxiter=needed - 1, callback=lambda at: None, **options)
    assert short.status is rv.Status.MAX_ITERATIONS
    assert short.iterations == needed - 1
    # Without a callback the methods that look now and then may find out a few iterations late, never early.
    unwatched = rv.solve(A, b, **options)
    assert needed <= unwatched.iterations <= needed + 16


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_identity_needs_one_iteration_and_one_is_enough(backend):
    b = np.array([3.0, -1.0, 4.0])
    solution = rv.cg(np.eye(3), b, maxiter=1, backend=backend)
    assert solution.converged
    np.testing.assert_allclose(solution.x, b, rtol=4 * 2.0**-53)
    assert solution.iterations == 1


# Right-hand sides and guesses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["auto", *ITERATIVE])
@pytest.mark.parametrize("guess", [None, "random", "zero"])
@pytest.mark.parametrize("rtol", [1e-10, 1e-2, 0.0])
def test_zero_right_hand_side_gives_new_zeros(method, guess, rtol):
    A = poisson((4,)).A
    b = np.zeros(4)
    x0 = {None: None, "random": np.arange(4.0), "zero": np.zeros(4)}[guess]
    solution = rv.solve(A, b, method=method, x0=x0, rtol=rtol)
    assert solution.converged
    assert solution.iterations == 0
    np.testing.assert_array_equal(solution.x, 0)
    assert not np.signbit(solution.x).any()
    assert not np.shares_memory(solution.x, b)
    assert x0 is None or not np.shares_memory(solution.x, x0)
    assert solution.relative_residual == 0
    assert solution.residual_norm == 0
    assert "b is zero" in solution.reason


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["auto", *ITERATIVE])
def test_exact_guess_takes_no_iteration(method, backend):
    A = poisson((5, 5)).A
    x = np.random.default_rng(1).integers(-8, 9, 25) / 4.0
    b = A @ x
    before = x.tobytes()
    solution = rv.solve(A, b, method=method, x0=x, rtol=1e-12, backend=backend)
    assert solution.converged
    assert solution.iterations == 0
    np.testing.assert_array_equal(solution.x, x)
    assert x.tobytes() == before
    assert not np.shares_memory(solution.x, x)


@pytest.mark.parametrize("method", ["cg", "gmres"])
def test_a_guess_of_zeros_costs_no_product(method):
    A = np.array([[4.0, 1.0], [1.0, 3.0]])
    counts = [rv.solve(A, np.ones(2), method=method, x0=x0).matvecs for x0 in (None, np.zeros(2), np.ones(2))]
    assert counts[0] == counts[1] == counts[2] - 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["auto", "cg", "chebyshev", "richardson"])
@pytest.mark.parametrize("size", [1.0, 1e-10, 1e10, 1e-20, 1e20, 1e-150, 1e150, 1e-290, 1e290])
def test_exact_guess_for_an_operator_in_any_units(size, method, backend):
    """How large A is cannot be known from x0 and b alone; a good guess must not be thrown away for it."""
    A, x = np.diag([1.0, 2.0, 3.0]) * size, np.array([1.0, 2.0, 3.0])
    solution = rv.solve(Counting(A), A @ x, x0=x, method=method, rtol=1e-14, backend=backend)
    assert solution.iterations == 0
    np.testing.assert_array_equal(solution.x, x)


@pytest.mark.parametrize("size", [1e-6, 1e6, 1e-150, 1e150])
@pytest.mark.parametrize("method", ITERATIVE)
def test_a_warm_start_meets_the_same_tolerance_and_saves_iterations(method, size):
    problem = poisson((8, 8))
    b = size * (problem.A @ np.linspace(1, 2, 64))
    cold = rv.solve(problem.A, b, method=method, rtol=1e-8, maxiter=5000)
    near = cold.x * (1 + 1e-5 * np.random.default_rng(2).standard_normal(64))
    warm = rv.solve(problem.A, b, method=method, x0=near, rtol=1e-8, maxiter=5000)
    assert warm.converged
    assert true_relative_residual(problem.A, warm.x, b) <= 1e-8 * (1 + 1e-10)
    assert 0 < warm.iterations < 0.9 * cold.iterations
    # rtol counts on ||b||, not on the first residual: the solution of the last call is good enough at once.
    again = rv.solve(problem.A, b, method=method, x0=cold.x, rtol=1e-8)
    assert again.iterations == 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ITERATIVE)
@pytest.mark.parametrize("exponent", [0, 20, 60, 120, 300, 600, 1000])
def test_a_guess_far_too_large_is_survived(method, exponent, backend):
    A = poisson((4, 4)).A
    b = A @ np.linspace(1, 2, 16)
    x0 = np.ldexp(np.random.default_rng(3).standard_normal(16), exponent)
    solution = quietly(rv.solve, A, b, method=method, x0=x0, rtol=1e-6, maxiter=20000, backend=backend)
    truth = np.linalg.norm(b - A @ solution.x) / np.linalg.norm(b)
    if solution.converged:
        assert truth <= 1e-6 * (1 + 1e-9)
    else:
        assert solution.relative_residual == pytest.approx(truth, rel=1e-6)
        assert truth <= np.linalg.norm(b / 2.0**exponent - A @ (x0 / 2.0**exponent)) / np.linalg.norm(b) * 2.0**exponent
        assert "x0" in solution.reason or exponent < 60


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["cg", "chebyshev", "richardson"])
@pytest.mark.parametrize("exponent", [60, 120, 600])
def test_a_guess_far_too_large_for_an_operator_is_set_aside(method, exponent, backend):
    """The size of A shows with A x0 only; rounding that would leave more than b, so zero is the better guess."""
    A = poisson((4, 4)).A
    b = A @ np.linspace(1, 2, 16)
    x0 = np.ldexp(np.random.default_rng(3).standard_normal(16), exponent)
    solution = rv.solve(Counting(A), b, method=method, x0=x0, rtol=1e-6, maxiter=20000, backend=backend)
    assert solution.converged
    assert true_relative_residual(A, solution.x, b) <= 1e-6 * (1 + 1e-10)
    without = rv.solve(Counting(A), b, method=method, rtol=1e-6, maxiter=20000, backend=backend)
    np.testing.assert_array_equal(solution.x, without.x)


# What comes back without convergence ----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("ending", ["callback", "maxiter"])
def test_after_a_peak_the_better_iterate_before_it_is_returned(ending, backend):
    bar = rv.gallery.load_finite_elements("bar")  # its residuals rise ninefold from iteration 122 to 137
    last = 137
    options = {
        "callback": {"callback": lambda at: at.iteration == last},
        "maxiter": {"callback": lambda at: None, "maxiter": last},
    }[ending]
    solution = quietly(rv.cg, bar.A, bar.b, rtol=1e-12, backend=backend, **options)
    assert solution.iterations == last
    seen = solution.residual_norms
    assert seen[-1] > 8 * seen.min()
    truth = np.linalg.norm(bar.b - bar.A @ solution.x)
    assert truth == pytest.approx(solution.residual_norm, rel=1e-6)
    assert truth <= 2 * seen.min()


class Overstating(CG):
    """Conjugate gradients that break down after three steps, with a residual norm carried far too large."""

    factor = 1.0

    def step(self, system, state):
        if len(state.alphas) == 3:
            raise Breakdown("no further")
        super().step(system, state)
        if len(state.alphas) == 3:
            state.residual_norm = type(self).factor * state.target


@pytest.mark.parametrize(("factor", "status"), [(50.0, "CONVERGED"), (1000.0, "BREAKDOWN")])
def test_at_a_breakdown_the_iterate_is_judged_first_where_it_may_be_good_enough(factor, status, monkeypatch):
    monkeypatch.setattr(Overstating, "factor", factor)
    A, b = np.diag([1.0, 2.0, 3.0]), np.ones(3)
    solution = quietly(solve_with, Overstating(), A, b, rtol=1e-8, backend="numpy")
    assert solution.status.name == status
    assert true_relative_residual(A, solution.x, b) <= 1e-8


@dataclass(frozen=True)
class Told(LinearMethod):
    """Richardson iteration for A = I, whose residuals are multiplied by 1 - factor, and told as ``told`` says."""

    factor: float
    told: Callable[[int], float] = lambda iteration: 1.0

    name: ClassVar[str] = "told"
    title: ClassVar[str] = "A method that misstates its residuals"
    traffic: ClassVar[Traffic] = Traffic(vectors=2, passes=6, reductions=1, matvecs=2, compiled_passes=6)

    def start(self, system):
        x, r, norm = system.initial()
        state = State(x=x, work=r, residual_norm=norm)
        state.taken = 0
        return state

    def step(self, system, state):
        state.work = system.residual(state.x, state.work)
        state.x = system.backend.axpy(self.factor, state.work, state.x)
        state.work, norm = system.residual_norm(state.x, state.work)
        state.taken += 1
        state.residual_norm = norm * self.told(state.taken)


def told(factor, says=lambda iteration: 1.0, x0=None, **options):
    """Of b = ones."""
    options["callback"] = lambda at: None
    return quietly(solve_with, Told(factor, says), np.eye(4), np.ones(4), x0=x0, backend="numpy", **options)


def test_a_residual_told_too_small_is_asked_to_be_half_as_large_once_that_is_known():
    solution = told(0.1, lambda iteration: 1 / 1.5, rtol=1e-3)
    assert solution.converged
    assert 0.9 * 0.75e-3 < solution.relative_residual <= 0.75e-3 * (1 + 1e-9)


def test_an_iterate_remembered_for_a_residual_told_too_small_is_not_preferred():
    solution = told(0.1, lambda iteration: 1e-3 if iteration == 1 else 1.0, rtol=1e-8, maxiter=3)
    assert solution.status is rv.Status.MAX_ITERATIONS
    assert solution.relative_residual == pytest.approx(0.9**3)


@pytest.mark.parametrize("x0", [None, np.full(4, 0.5)])
def test_nothing_worse_than_the_guess_is_returned(x0):
    solution = told(3.0, x0=x0, rtol=1e-8, maxiter=3)
    assert solution.residual_norms[-1] == pytest.approx(8 * solution.residual_norms[0])
    np.testing.assert_array_equal(solution.x, np.zeros(4) if x0 is None else x0)
    assert solution.relative_residual == (1.0 if x0 is None else 0.5)


# Matrices that have no solution, or that the method is not made for --------------------------------------------------


def outcome(A, b, method, **options):
    try:
        solution = quietly(rv.solve, A, b, method=method, **options)
    except rv.InputError as refusal:
        return type(refusal).__name__, str(refusal)
    return solution.status.name, solution.reason


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["auto", *ITERATIVE])
@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
def test_zero_matrix(method, backend, storage):
    status, reason = outcome(storage(np.zeros((4, 4))), np.ones(4), method, backend=backend)
    if status == "SingularError":
        assert reason.startswith("A:")
    else:
        assert status == "INFEASIBLE"
        assert "singular" in reason
        assert "row 0" in reason


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["auto", *ITERATIVE])
def test_a_zero_row_with_a_nonzero_right_hand_side_is_named(method, backend):
    A = np.diag([1.0, 2.0, 0.0, 3.0])
    status, reason = outcome(A, np.ones(4), method, backend=backend)
    assert status in ("INFEASIBLE", "SingularError")
    assert "row 2" in reason


@pytest.mark.parametrize("method", ["auto", *ITERATIVE])
def test_a_zero_row_with_a_right_hand_side_within_the_tolerance_is_no_obstacle(method):
    A, b = np.diag([1.0, 2.0, 0.0, 3.0]), np.array([1.0, 2.0, 1e-9, 3.0])
    definite_only = ("ssor_cg", "chebyshev", "richardson")
    wanted = ("BREAKDOWN",) if method in definite_only else ("CONVERGED", "SingularError")
    status, reason = outcome(A, b, method, rtol=1e-6)
    assert status in wanted
    assert "no solution exists" not in reason
    assert outcome(A, b, method, rtol=1e-10)[0] == "INFEASIBLE"


def test_a_zero_row_with_a_zero_right_hand_side_is_solved():
    A = np.diag([1.0, 2.0, 0.0, 3.0])
    for method in ("auto", "cg"):
        solution = rv.solve(A, np.array([1.0, 2.0, 0.0, 3.0]), method=method, rtol=1e-12)
        np.testing.assert_allclose(solution.x, [1, 1, 0, 1], rtol=1e-12)


def neumann(n):
    """The Laplacian of a path: constants are its kernel."""
    A = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    A[0, 0] = A[-1, -1] = 1
    return A


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["auto", "cg", "gauss_seidel", "ssor", "sor"])
def test_singular_and_consistent_is_solved(method, backend):
    A = neumann(12)
    b = A @ np.arange(12.0)
    solution = rv.solve(A, b, method=method, rtol=1e-8, backend=backend, maxiter=20000)
    assert solution.converged
    assert true_relative_residual(A, solution.x, b) <= 1e-8 * (1 + 1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["auto", *ITERATIVE])
def test_singular_and_inconsistent_is_never_converged(method, backend):
    A = neumann(12)
    b = np.ones(12) + A @ np.arange(12.0)
    status, reason = outcome(A, b, method, backend=backend, maxiter=3000)
    assert status in ("BREAKDOWN", "STAGNATED", "DIVERGED", "INFEASIBLE", "MAX_ITERATIONS")
    if method in ("auto", "cg"):
        assert "singular" in reason


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["cg", "chebyshev", "richardson"])
def test_plus_and_minus_one_is_not_positive_definite(method, backend):
    A = np.diag(np.tile([1.0, -1.0], 5))
    status, reason = outcome(A, np.ones(10), method, backend=backend)
    assert status == "BREAKDOWN"
    assert "not positive definite" in reason or "indefinite" in reason


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["cg", "chebyshev", "richardson"])
def test_negative_definite_is_told_from_indefinite(method, backend):
    A = poisson((4, 4)).A
    status, reason = outcome(-A, np.ones(16), method, backend=backend)
    assert status == "BREAKDOWN"
    assert "not positive definite" in reason
    if method == "cg":
        assert "negative definite" in reason
        assert "-A" in reason


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_nonsymmetric_matrix_is_refused_by_symmetric_methods(backend):
    A = poisson((4,)).A.toarray()
    A[0, 1] = 0.5
    with pytest.raises(rv.NotHermitianError, match=r"^A: cg needs a symmetric"):
        rv.cg(A, np.ones(4), backend=backend)
    with pytest.raises(rv.NotHermitianError, match="Hermitian"):
        rv.cg(A.astype(complex) + 1j * np.eye(4), np.ones(4), backend=backend)
    # Where theory needs no symmetry, none is asked for.
    assert rv.gauss_seidel(A, np.ones(4), backend=backend).converged
    assert rv.jacobi(A, np.ones(4), backend=backend).converged


def test_every_ill_has_a_reason_of_its_own():
    A = poisson((12,)).A.toarray()
    unsymmetric = A.copy()
    unsymmetric[0, 1] = 3
    b = np.arange(1.0, 13.0)
    systems = {
        "zero": np.zeros((12, 12)),
        "singular": neumann(12),
        "indefinite": np.diag(np.tile([1.0, -1.0], 6)),
        "negative": -A,
        "nonsymmetric": unsymmetric,
    }
    # The numbers differ anyway; what is compared are the words.
    said = {name: outcome(matrix, b, "cg", maxiter=500)[1] for name, matrix in systems.items()}
    words = {name: "".join(c for c in text if not (c.isdigit() or c in ".e+-")) for name, text in said.items()}
    assert len(set(words.values())) == len(systems), said


@pytest.mark.parametrize("method", RELAXATIONS)
def test_a_zero_diagonal_is_refused_by_relaxation(method):
    A = np.array([[2.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 2.0]])
    with pytest.raises(rv.SingularError, match=r"^A: the diagonal entry of row 1 is zero"):
        rv.solve(A, np.ones(3), method=method)
    with pytest.raises(rv.SingularError, match=r"^A: the diagonal entry of row 1 is zero"):
        rv.cg(A, np.ones(3), M=rv.precondition.jacobi(A))


# Arguments out of range ---------------------------------------------------------------------------------------------

BAD_OPTIONS = [
    ({"rtol": -1.0}, ValueError, "rtol"),
    ({"rtol": float("nan")}, ValueError, "rtol"),
    ({"rtol": 1.0}, ValueError, "rtol"),
    ({"rtol": float("inf")}, ValueError, "rtol"),
    ({"rtol": "1e-5"}, (ValueError, TypeError), "rtol"),
    ({"rtol": None}, (ValueError, TypeError), "rtol"),
    ({"atol": -1e-300}, ValueError, "atol"),
    ({"atol": float("nan")}, ValueError, "atol"),
    ({"atol": float("inf")}, ValueError, "atol"),
    ({"atol": "legacy"}, (ValueError, TypeError), "atol"),
    ({"maxiter": -1}, ValueError, "maxiter"),
    ({"maxiter": 10.0}, TypeError, "maxiter"),
    ({"maxiter": True}, TypeError, "maxiter"),
    ({"maxiter": "many"}, TypeError, "maxiter"),
    ({"time_limit": 0.0}, ValueError, "time_limit"),
    ({"time_limit": float("nan")}, ValueError, "time_limit"),
    ({"callback": 3}, TypeError, "callback"),
    ({"backend": "fortran"}, TypeError, "backend"),
    ({"backend": 3}, TypeError, "backend"),
]


@pytest.mark.parametrize(("options", "error", "name"), BAD_OPTIONS, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("method", ["auto", *ITERATIVE])
def test_bad_options_are_refused_by_name(method, options, error, name):
    with pytest.raises(error, match=f"^{name}"):
        rv.solve(np.eye(3), np.ones(3), method=method, **options)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"method": "lgmres"}, "method"),
        ({"method": "cg", "omega": 1.0}, "omega"),
        ({"method": "auto", "omega": 1.0}, "omega"),
        ({"method": "sor", "omega": 2.0}, "omega"),
        ({"method": "sor", "omega": 0.0}, "omega"),
        ({"method": "sor", "omega": float("nan")}, "omega"),
        ({"method": "jacobi", "omega": -1.0}, "omega"),
        ({"method": "richardson", "omega": float("inf")}, "omega"),
        ({"method": "sor", "sweep": "sideways"}, "sweep"),
        ({"method": "sor", "order": "random"}, "order"),
        ({"method": "chebyshev", "interval": (2.0, 1.0)}, "interval"),
        ({"method": "chebyshev", "interval": (0.0, 1.0)}, "interval"),
        ({"method": "chebyshev", "interval": (-2.0, -1.0)}, "interval"),
        ({"method": "chebyshev", "interval": (1.0, float("inf"))}, "interval"),
        ({"method": "chebyshev", "interval": (float("nan"), 1.0)}, "interval"),
        ({"method": "chebyshev", "interval": (1.0,)}, "interval"),
        ({"method": "jacobi", "M": np.eye(3)}, "M"),
        ({"method": "cg", "M": np.eye(4)}, "M"),
        ({"method": "cg", "M": "jacoby"}, "M"),
        ({"method": "cg", "x0": np.ones(4)}, "x0"),
        ({"method": "cg", "x0": "ones"}, "x0"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_bad_parameters_are_refused_by_name(options, name):
    with pytest.raises((ValueError, TypeError), match=f"^{name}"):
        rv.solve(np.eye(3), np.ones(3), **options)


@pytest.mark.parametrize("method", ITERATIVE)
def test_maxiter_zero_returns_the_guess(method):
    A = poisson((4, 4)).A
    solution = quietly(rv.solve, A, np.ones(16), method=method, maxiter=0)
    assert solution.status is rv.Status.MAX_ITERATIONS
    np.testing.assert_array_equal(solution.x, 0)
    assert solution.relative_residual == 1
    near = np.full(16, 0.1)
    solution = quietly(rv.solve, A, np.ones(16), method=method, x0=near, maxiter=0)
    np.testing.assert_array_equal(solution.x, near)


# NaN and infinity ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("backend", BACKENDS)
class TestNotFinite:
    @pytest.mark.parametrize("method", ["auto", *ITERATIVE])
    @pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
    def test_in_the_matrix(self, method, backend, bad, storage):
        A = poisson((4,)).A.toarray()
        A[2, 1] = bad
        with pytest.raises(rv.InputError, match=r"^A: entry \(2, 1\) is -?(nan|inf)"):
            rv.solve(storage(A), np.ones(4), method=method, backend=backend)

    @pytest.mark.parametrize("method", ["auto", *ITERATIVE])
    def test_in_the_right_hand_side(self, method, backend, bad):
        with pytest.raises(rv.InputError, match=r"^b: entry 3 is not finite"):
            rv.solve(np.eye(4), np.array([1, 1, 1, bad]), method=method, backend=backend)

    @pytest.mark.parametrize("method", ["auto", *ITERATIVE])
    def test_in_the_guess(self, method, backend, bad):
        with pytest.raises(rv.InputError, match=r"^x0: entry 1 is not finite"):
            rv.solve(np.eye(4), np.ones(4), x0=np.array([1, bad, 1, 1]), method=method, backend=backend)

    @pytest.mark.parametrize("method", ["auto", "cg", "chebyshev", "richardson"])
    def test_in_products_of_an_operator(self, method, backend, bad):
        A = Counting(np.diag([1.0, bad, 1.0, 1.0]))
        solution = quietly(rv.solve, A, np.ones(4), method=method, backend=backend)
        assert not solution.converged
        assert "NaN or infinity" in solution.reason
        assert np.isfinite(solution.x).all()
        assert A.count <= 3, "one product tells; one more may certify what is returned"

    @pytest.mark.parametrize("method", ["cg", "chebyshev", "richardson"])
    def test_in_the_preconditioned_residual(self, method, backend, bad):
        M = LinearOperator((4, 4), matvec=lambda r: r * bad, dtype=np.float64)
        solution = quietly(rv.solve, np.diag([1.0, 2, 3, 4]), np.ones(4), M=M, method=method, backend=backend)
        assert solution.status is rv.Status.BREAKDOWN
        assert "M" in solution.reason.split()
        assert "NaN or infinity" in solution.reason
        assert solution.matvecs <= 2


# The table of units in which other solvers fail ---------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["auto", *ITERATIVE])
@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        *(("float32", s) for s in (1.0, 1e-14, 1e-18, 1e-20, 1e-22, 1e-24, 1e-30, 1e-35, 1e18, 1e20, 1e37)),
        *(("float64", s) for s in (1.0, 1e-18, 1e-160, 1e-200, 1e-290, 1e160, 1e200, 1e307)),
    ],
)
def test_right_hand_sides_of_any_size(method, backend, dtype, size):
    A = np.diag(np.linspace(1, 10, 20)).astype(dtype)
    b = np.full(20, size, dtype)
    rtol = 1e-5 if dtype == "float32" else 1e-10
    solution = rv.solve(A, b, method=method, rtol=rtol, backend=backend)
    assert solution.converged
    assert np.abs(solution.x * A.diagonal() / b - 1).max() <= 20**0.5 * rtol + 1e-6 * (dtype == "float32")
    assert true_relative_residual(A, solution.x, b) <= rtol * (1 + 1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_solution_out_of_range_is_said_to_be(backend):
    for tiny, huge in ((1e-300, 1e300), (1e300, 1e-300)):
        solution = quietly(rv.cg, np.diag([tiny, 2 * tiny]), np.array([huge, huge]), backend=backend)
        if huge > 1:
            assert solution.status is rv.Status.OVERFLOW
            assert "range" in solution.reason
        else:
            assert solution.status is not rv.Status.CONVERGED


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_subnormal_right_hand_sides(dtype, backend):
    tiny = np.finfo(dtype).tiny
    A = np.diag([1.0, 0.5, 0.25]).astype(dtype)
    b = (np.array([1, 2, 3]) * tiny / 8).astype(dtype)  # exact, subnormal, and so is the solution
    solution = rv.cg(A, b, rtol=1e-2, backend=backend)
    assert solution.converged
    assert true_relative_residual(A, solution.x, b) <= 1e-2


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["auto", "cg", "jacobi", "gauss_seidel"])
@pytest.mark.parametrize(
    ("entries", "right"),
    [((1e150, 1e-200), (1.0, 1e-200)), ((1e200, 1e-150), (1e200, 1e-150)), ((1e200, 1e-150), (1, 1))],
)
def test_entries_that_span_the_whole_range_are_not_called_zero(entries, right, method, backend):
    """Neither may be lost when A is brought to comfortable units, nor may A be called singular for it."""
    status, reason = outcome(np.diag(np.array(entries)), np.array(right, float), method, rtol=1e-6, backend=backend)
    assert status != "SingularError"
    assert "no nonzero" not in reason
