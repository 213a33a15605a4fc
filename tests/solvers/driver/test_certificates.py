"""What a Solution says of itself, against the truth: errors are never understated, bounds always hold."""

import pickle
import re
import warnings
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import scipy.sparse as sparse

import resolvent as rv
from resolvent.gallery import poisson, randsvd

BACKENDS = ("numpy", "numba")
METHODS = ("cg", "chebyshev", "richardson", "jacobi", "gauss_seidel", "sor", "ssor")


def quietly(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        return function(*args, **options)


def definite(n=20, condition=50.0, seed=0):
    A = randsvd(n, condition, 3, "spd", seed=seed).A
    return (A + A.T) / 2


def wide_residual(A, x, b):
    wide = np.longdouble
    return np.linalg.norm((b.astype(wide) - A.astype(wide) @ x.astype(wide)).astype(float))


def exact_residual(A, x, b):
    """Free of rounding but for the square root."""
    A, x, b = ([[Fraction(v) for v in row] for row in np.atleast_2d(part).tolist()] for part in (A, x, b))
    rows = (right - sum(a * v for a, v in zip(row, x[0], strict=True)) for row, right in zip(A, b[0], strict=True))
    square = sum(row * row for row in rows)
    return float(mpmath.sqrt(mpmath.mpf(square.numerator) / square.denominator))


def true_error(A, x, b):
    """||x - A^-1 b|| / ||x||, the inverse in fifty digits."""
    with mpmath.workdps(50):
        exact = mpmath.lu_solve(mpmath.matrix(A.tolist()), mpmath.matrix(b.tolist()))
        return float(mpmath.norm(mpmath.matrix(x.tolist()) - exact) / mpmath.norm(mpmath.matrix(x.tolist())))


# Numbers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("maxiter", [0, 1, 3, 10, None])
def test_residual_and_backward_error_against_the_truth(method, maxiter, backend):
    problem = poisson((5, 5))
    A, b = problem.A.toarray(), problem.A @ np.linspace(1, 2, 25)
    solution = quietly(rv.solve, problem.A, b, method=method, maxiter=maxiter, rtol=1e-6, backend=backend)
    residual = wide_residual(A, solution.x, b)
    assert solution.residual_norm == pytest.approx(residual, rel=1e-12)
    assert solution.relative_residual == pytest.approx(residual / np.linalg.norm(b), rel=1e-12)
    eta = residual / (np.linalg.norm(A, 2) * np.linalg.norm(solution.x) + np.linalg.norm(b))
    assert solution.backward_error >= eta * (1 - 1e-12), "the backward error is understated"
    assert solution.backward_error <= 3 * eta


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
def test_backward_error_is_never_understated(storage, backend):
    """Random systems of random condition, stopped anywhere; ||A|| is the true 2-norm here."""
    rng = np.random.default_rng(11)
    for trial in range(60):
        n = int(rng.integers(1, 12))
        A = definite(n, 10 ** rng.uniform(0, 6) if n > 1 else 1.0, trial)
        A = A * 10 ** rng.uniform(-5, 5)
        b = rng.standard_normal(n) * 10 ** rng.uniform(-20, 20)
        maxiter = int(rng.integers(0, 2 * n + 1))
        solution = quietly(rv.cg, storage(A), b, maxiter=maxiter, rtol=1e-14, backend=backend)
        residual = exact_residual(A, solution.x, b)
        eta = residual / (np.linalg.norm(A, 2) * np.linalg.norm(solution.x) + np.linalg.norm(b))
        # The residual itself is known to about twice the working precision.
        assert solution.backward_error >= eta * (1 - 1e-9) - n * 2.0**-63


@pytest.mark.parametrize("backend", BACKENDS)
def test_backward_error_of_a_black_box_is_not_understated_either(backend):
    from scipy.sparse.linalg import aslinearoperator

    A = definite()
    solution = quietly(rv.cg, aslinearoperator(A), np.ones(20), maxiter=5, rtol=1e-12, backend=backend)
    residual = wide_residual(A, solution.x, np.ones(20))
    eta = residual / (np.linalg.norm(A, 2) * np.linalg.norm(solution.x) + np.linalg.norm(np.ones(20)))
    assert eta * (1 - 1e-9) <= solution.backward_error <= 2 * eta


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("exponent", [0, -60, 60, -500, 500, -530, 530, -700, 700, -980, 980])
def test_backward_error_of_a_black_box_in_any_units(exponent, backend):
    """Its scale is not known beforehand, and ||x|| may overflow before it is."""
    from scipy.sparse.linalg import aslinearoperator

    A = definite()
    scaled = np.ldexp(A, exponent)
    base, other = (
        quietly(rv.cg, aslinearoperator(M), M @ np.linspace(1, 2, 20), maxiter=5, rtol=1e-12, backend=backend)
        for M in (A, scaled)
    )
    assert other.relative_residual == pytest.approx(base.relative_residual, rel=1e-6)
    assert other.backward_error == pytest.approx(base.backward_error, rel=1e-6)
    assert 0 < base.backward_error < 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scale", [1.0, 2.0**400, 2.0**-400, 3e-7])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_spectrum_and_condition_against_all_eigenvalues(scale, dtype, backend):
    A = definite() * scale
    if dtype == "complex128":
        phases = np.exp(1j * np.arange(20))
        A = phases[:, None] * A * phases.conj()
        A = np.tril(A) + np.tril(A, -1).conj().T
    values = np.linalg.eigvalsh(A / scale) * scale
    solution = rv.cg(A, np.random.default_rng(0).standard_normal(20), rtol=1e-12, backend=backend)
    low, high = solution.spectrum
    # From inside, and after convergence close to the ends.
    assert values[0] * (1 - 1e-9) <= low <= 1.01 * values[0]
    assert 0.99 * values[-1] <= high <= values[-1] * (1 + 1e-9)
    assert solution.condition == pytest.approx(values[-1] / values[0], rel=0.02)
    assert solution.condition <= values[-1] / values[0] * (1 + 1e-8)
    for end, error in ((low, solution.ritz.smallest_error), (high, solution.ritz.largest_error)):
        assert np.abs(values - end).min() <= error + 1e-9 * values[-1], "no eigenvalue within the error bar"


@pytest.mark.parametrize("backend", BACKENDS)
def test_ritz_values_lie_inside_at_every_stage(backend):
    A = definite(30, 1000.0)
    values = np.linalg.eigvalsh(A)
    for steps in range(1, 30):
        solution = quietly(rv.cg, A, np.ones(30), rtol=1e-30, maxiter=steps, backend=backend)
        low, high = solution.spectrum
        assert values[0] * (1 - 1e-8) <= low <= high <= values[-1] * (1 + 1e-8)
        assert solution.condition <= values[-1] / values[0] * (1 + 1e-7)
        for end, error in ((low, solution.ritz.smallest_error), (high, solution.ritz.largest_error)):
            assert np.abs(values - end).min() <= error + 1e-8 * values[-1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_with_a_preconditioner_the_spectrum_is_that_of_the_product(backend):
    A = definite() + np.diag(np.geomspace(1, 100, 20))
    d = np.sqrt(A.diagonal())
    values = np.linalg.eigvalsh(A / d / d[:, None])
    solution = rv.cg(A, np.ones(20), M=rv.precondition.jacobi(A), rtol=1e-13, backend=backend)
    assert solution.spectrum[0] == pytest.approx(values[0], rel=0.02)
    assert solution.spectrum[1] == pytest.approx(values[-1], rel=0.02)
    assert solution.error_bound is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_error_bounds_hold_whenever_they_are_given(backend):
    rng = np.random.default_rng(5)
    given = 0
    for trial in range(80):
        n = int(rng.integers(2, 16))
        A = definite(n, 10 ** rng.uniform(0, 4), trial) * 10 ** rng.uniform(-3, 3)
        b = rng.standard_normal(n)
        rtol = 10 ** rng.uniform(-12, -1)
        if trial % 2:
            solution = quietly(rv.cg, A, b, rtol=rtol, maxiter=int(rng.integers(1, 3 * n)), backend=backend)
        else:
            low, high = np.linalg.eigvalsh(A)[[0, -1]]
            interval = (low * rng.uniform(0.5, 1), high * rng.uniform(1, 2))
            solution = quietly(rv.chebyshev, A, b, interval=interval, rtol=rtol, backend=backend)
        if solution.error_bound is not None:
            given += 1
            assert solution.error_bound >= true_error(A, solution.x, b) * (1 - 1e-6)
    assert given >= 35


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rtol", [1e-2, 1e-3, 2e-4, 1e-6, 1e-10])
def test_error_bounds_hold_with_an_eigenvalue_that_hides(rtol, backend):
    """b hardly touches the smallest eigenvector, in which nearly all of the solution lies."""
    A = np.diag(np.r_[1e-6, np.linspace(1, 2, 19)])
    b = np.r_[1e-4, np.ones(19)]
    solution = rv.cg(A, b, rtol=rtol, backend=backend)
    assert solution.converged
    if solution.error_bound is not None:
        assert solution.error_bound >= true_error(A, solution.x, b) * (1 - 1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("factor", [1.0, 3.0, 10.0, 30.0])
def test_error_bounds_do_not_stand_on_an_interval_that_was_wrong(factor, backend):
    problem = poisson((8, 8))
    low, high = problem.spectrum
    solution = rv.chebyshev(problem.A, problem.b, interval=(factor * low, high), rtol=1e-8, backend=backend)
    if factor == 1:
        assert solution.error_bound is not None
    if solution.error_bound is not None:
        assert solution.error_bound >= true_error(problem.A.toarray(), solution.x, problem.b) * (1 - 1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_error_bounds_are_not_given_where_none_is_known(backend):
    problem = poisson((12, 12))
    early = quietly(rv.cg, problem.A, problem.b, rtol=1e-12, maxiter=5, backend=backend)
    assert early.error_bound is None
    found = rv.chebyshev(problem.A, problem.b, rtol=1e-8, backend=backend)
    assert found.error_bound is None
    assert rv.gauss_seidel(problem.A, problem.b, rtol=1e-2, backend=backend).error_bound is None
    converged = rv.cg(problem.A, problem.b, rtol=1e-12, backend=backend)
    error = np.linalg.norm(converged.x - problem.x) / np.linalg.norm(converged.x)
    assert converged.error_bound is None or error <= converged.error_bound <= 1000 * error


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [1.0, 1e-12, 1e200])
def test_history_in_the_units_of_b(size, backend):
    problem = poisson((6, 6))
    A, b = problem.A, size * problem.b
    seen = []
    solution = rv.cg(A, b, rtol=1e-8, backend=backend, callback=lambda at: seen.append(at.x) and None)
    norms = [np.linalg.norm((b - A @ x) / size) * size for x in [np.zeros(36), *seen]]
    np.testing.assert_array_equal(solution.residual_iterations, np.arange(solution.iterations + 1))
    np.testing.assert_allclose(solution.residual_norms, norms, rtol=1e-6)
    unseen = rv.cg(A, b, rtol=1e-8, backend=backend)
    np.testing.assert_allclose(unseen.residual_norms, solution.residual_norms, rtol=1e-12)
    assert solution.residual_norms[-1] <= 1e-8 * np.linalg.norm(b / size) * size * (1 + 1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", METHODS)
def test_history_ends_at_the_last_iteration(method, backend):
    problem = poisson((6, 6))
    solution = rv.solve(problem.A, problem.b, method=method, rtol=1e-7, backend=backend)
    at, norms = solution.residual_iterations, solution.residual_norms
    assert at[0] == 0
    assert at[-1] == solution.iterations
    assert (np.diff(at) > 0).all()
    assert norms.shape == at.shape
    assert norms[0] == pytest.approx(np.linalg.norm(problem.b), rel=1e-14)
    assert norms[-1] == pytest.approx(solution.residual_norm, rel=1e-3)
    assert solution.matvecs >= solution.iterations


def test_matvecs_are_counted():
    problem = poisson((6, 6))
    counted = []

    def multiply(x):
        counted.append(None)
        return problem.A @ x

    multiply.shape, multiply.dtype = problem.A.shape, problem.A.dtype
    for method in ("cg", "chebyshev", "richardson"):
        counted.clear()
        solution = rv.solve(multiply, problem.b, method=method, rtol=1e-7, maxiter=5000)
        assert solution.matvecs == len(counted)
        assert solution.iterations <= solution.matvecs <= 1.2 * solution.iterations + 25


# What is said -------------------------------------------------------------------------------------------------------


def solutions():
    A, b = poisson((6, 6)).A, poisson((6, 6)).b
    yield rv.cg(A, b)
    yield rv.cg(A.astype(np.float32), b.astype(np.float32))
    yield rv.chebyshev(A, b)
    yield rv.sor(A, b, order="multicolor")
    yield quietly(rv.cg, A, b, maxiter=2)
    yield quietly(rv.cg, A, b, rtol=1e-30)
    yield quietly(rv.cg, -A, b)
    yield quietly(rv.jacobi, np.array([[1.0, 3], [3, 1]]), np.array([1.0, -2]))
    yield quietly(rv.solve, np.diag([1.0, 0]), np.ones(2))
    yield rv.cg(np.zeros((0, 0)), np.zeros(0))
    yield rv.cg(np.eye(2), np.zeros(2))
    yield quietly(rv.cg, np.diag([1e-300, 2e-300]), np.array([1e300, 1e300]))
    yield rv.cg(A, np.column_stack([b, 2 * b]))
    yield rv.cg(A, b, M=rv.precondition.jacobi(A))
    yield quietly(rv.cg, A, b, callback=lambda at: True)
    yield quietly(rv.cg, A, b, time_limit=1e-9)


@pytest.mark.parametrize("index", range(16))
def test_every_solution_can_be_printed_and_asked(index):
    solution = list(solutions())[index]
    text = str(solution)
    status = solution.overall_status
    assert status.value in text or status.name in text.upper()
    assert not re.search(r"\bnan\b", text.lower())
    for line in text.splitlines():
        assert len(line) <= 120
    assert status.name in repr(solution).upper()
    assert len(repr(solution).splitlines()) == 1
    for name in ("condition", "spectrum", "error_bound", "backward_error", "residual_norms", "residual_iterations"):
        getattr(solution, name)
    assert solution.seconds >= 0
    assert solution.unit_roundoff in (2.0**-53, 2.0**-24)


def test_the_report_shows_the_numbers():
    problem = poisson((6, 6))
    solution = rv.cg(problem.A, problem.b, rtol=1e-8)
    text = str(solution)
    assert "cg" in text
    assert f"{solution.iterations}" in text
    assert f"{solution.relative_residual:.2e}" in text
    assert "float64" in text
    assert solution.reason.split(".")[0][:40] in " ".join(text.split())


def test_raise_for_status():
    solution = rv.cg(np.eye(2), np.ones(2))
    assert solution.raise_for_status() is solution
    failed = quietly(rv.cg, np.diag([1.0, -1.0]), np.ones(2))
    with pytest.raises(rv.ConvergenceError) as raised:
        failed.raise_for_status()
    assert failed.reason in str(raised.value)
    assert issubclass(rv.ConvergenceError, ArithmeticError)
    partly = quietly(rv.cg, np.array([np.eye(2), np.diag([1.0, -1.0])]), np.ones((2, 2)))
    with pytest.raises(rv.ConvergenceError, match="1 of 2"):
        partly.raise_for_status()


@pytest.mark.parametrize(
    "call",
    [
        lambda A, b: rv.cg(A, b, maxiter=1),
        lambda A, b: rv.solve(A, b, maxiter=1),
        lambda A, b: rv.solve(A, b, method="jacobi", maxiter=1),
        lambda A, b: rv.chebyshev(A, b, maxiter=1),
        lambda A, b: rv.gauss_seidel(A, b, maxiter=1),
        lambda A, b: rv.cg(A, np.column_stack([b, b]), maxiter=1),
    ],
    ids=["cg", "solve", "named", "chebyshev", "gauss_seidel", "batch"],
)
def test_warnings_point_at_the_caller(call):
    problem = poisson((6, 6))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        solution = call(problem.A, problem.b)
    assert len(heard) == 1
    assert heard[0].category is rv.ConvergenceWarning
    assert heard[0].filename == __file__
    assert solution.reason in str(heard[0].message)
    assert solution.overall_status.value in str(heard[0].message)


def test_converging_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rv.cg(np.eye(2), np.ones(2))
        rv.solve(np.diag([1.0, 2.0]), np.zeros(2))


def test_reasons_say_how_much_is_missing():
    problem = poisson((16, 16))
    solution = quietly(rv.gauss_seidel, problem.A, problem.b, rtol=1e-8, maxiter=200)
    assert "200 iterations" in solution.reason
    assert "1.00e-08" in solution.reason
    more = float(solution.reason.split("about ")[1].split(" more")[0])
    needed = rv.gauss_seidel(problem.A, problem.b, rtol=1e-8, maxiter=5000).iterations
    assert 200 + more == pytest.approx(needed, rel=0.2)


def test_statuses_are_distinct_and_only_one_is_success():
    assert len({status.value for status in rv.Status}) == len(rv.Status)
    for status in rv.Status:
        made = rv.Solution(np.zeros(1), status, "", 0, 0, 0.0, 0.0, 0.0, "cg", "numpy", "float64")
        assert made.converged == (status is rv.Status.CONVERGED)


def test_solutions_survive_pickling():
    solution = rv.cg(poisson((4, 4)).A, np.ones(16))
    again = pickle.loads(pickle.dumps(solution))
    np.testing.assert_array_equal(again.x, solution.x)
    assert again.reason == solution.reason
    assert again.status is solution.status
    assert again.condition == solution.condition


def test_a_plot_has_the_history(tmp_path):
    pytest.importorskip("matplotlib")
    solution = rv.cg(poisson((6, 6)).A, np.ones(36), rtol=1e-8)
    axes = solution.plot(file=tmp_path / "history.png")
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")
    drawn = [line.get_ydata() for line in axes.get_lines() if len(line.get_ydata()) == solution.residual_norms.size]
    relative = solution.residual_norms / solution.residual_norms[0]
    assert any(
        np.allclose(y, solution.residual_norms, rtol=1e-12) or np.allclose(y, relative, rtol=1e-12) for y in drawn
    )
    header, *rows = (line.split(",") for line in (tmp_path / "history.csv").read_text().splitlines())
    table = [dict(zip(header, row, strict=True)) for row in rows]
    carried = [float(row["residual_norm"]) for row in table if row["kind"] == "recurrence"]
    np.testing.assert_allclose(carried, solution.residual_norms, rtol=1e-12)
