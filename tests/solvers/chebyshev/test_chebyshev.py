"""Chebyshev iteration against its closed form: with exact ends the whole residual history is known."""

import math
import re
import warnings

import numpy as np
import pytest
import scipy.sparse as sparse

import resolvent as rv
from resolvent.gallery import GALLERY, poisson

BACKENDS = ("numpy", "numba")


def quietly(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        return function(*args, **options)


def grid(points):
    """1-D Poisson with its extreme eigenpairs: (A, (low, high), (u_low, u_high))."""
    A = poisson(points).A
    k = np.arange(1, points + 1)
    h = np.pi / (points + 1)
    ends = 4 * math.sin(h / 2) ** 2, 4 * math.cos(h / 2) ** 2
    return A, ends, (np.sin(k * h), np.sin(k * points * h))


def with_condition(condition):
    """A diagonal matrix with eigenvalues spread over [1, condition] as the cosines are: its two ends included."""
    n = 60
    nodes = -np.cos(np.pi * np.arange(n) / (n - 1))
    return np.diag((condition + 1) / 2 + (condition - 1) / 2 * nodes)


def chebyshev_polynomial(k, sigma):
    return math.cosh(k * math.acosh(sigma))


def history(A, b, **options):
    """The solution, with residual norms known at every iteration."""
    return quietly(rv.chebyshev, A, b, callback=lambda at: None, **options)


# Closed forms -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("end", [0, 1], ids=["smallest", "largest"])
@pytest.mark.parametrize("points", [8, 16, 32, 64])
def test_residuals_of_extremal_eigenvectors_are_the_polynomial_itself(points, end, backend):
    A, ends, vectors = grid(points)
    sigma = (ends[1] + ends[0]) / (ends[1] - ends[0])
    solution = history(A, vectors[end], interval=ends, rtol=1e-7, backend=backend)
    assert solution.converged
    norms = solution.residual_norms
    np.testing.assert_array_equal(solution.residual_iterations, np.arange(norms.size))
    expected = [norms[0] / chebyshev_polynomial(k, sigma) for k in range(norms.size)]
    np.testing.assert_allclose(norms, expected, rtol=1e-6)
    assert solution.iterations == math.ceil(math.acosh(1e7) / math.acosh(sigma))
    assert solution.predicted_iterations == solution.iterations


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("condition", [10, 30, 100, 300, 1000, 3000, 10000])
@pytest.mark.parametrize("rtol", [1e-3, 1e-8])
def test_the_count_is_known_in_advance(condition, rtol, backend):
    A = np.diag(np.linspace(1, condition, 20))
    sigma = (condition + 1) / (condition - 1)
    expected = math.ceil(math.acosh(1 / rtol) / math.acosh(sigma))
    for b in (np.eye(20)[0], np.eye(20)[19]):
        for watch in (None, lambda at: None):  # the last look falls on the predicted iteration either way
            solution = rv.chebyshev(A, b, interval=(1, condition), rtol=rtol, backend=backend, callback=watch)
            assert solution.iterations == expected
            assert solution.predicted_iterations == expected


def test_the_count_grows_like_the_square_root_of_the_condition_number():
    conditions = np.array([10, 100, 1000, 10000])
    counts = [
        rv.chebyshev(with_condition(c), np.ones(60), interval=(1, c), rtol=1e-8, callback=lambda at: None).iterations
        for c in conditions
    ]
    slope = np.polyfit(np.log(conditions[1:]), np.log(counts[1:]), 1)[0]
    assert slope == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_bound_holds_at_every_iteration_for_any_right_hand_side(backend):
    A, ends, _ = grid(32)
    sigma = (ends[1] + ends[0]) / (ends[1] - ends[0])
    for seed in range(5):
        b = np.random.default_rng(seed).standard_normal(32)
        norms = history(A, b, interval=ends, rtol=1e-9, backend=backend).residual_norms
        ratios = [norm * chebyshev_polynomial(k, sigma) / norms[0] for k, norm in enumerate(norms)]
        assert max(ratios) <= 1 + 1e-6
        assert np.mean(ratios) > 0.05  # and it is not met by far more than it promises


def test_iterates_are_the_textbook_ones():
    """Against x_k = x - p_k(A) x with p_k by the three-term recurrence in extended precision."""
    A, ends, _ = grid(12)
    b = A @ np.linspace(1, 2, 12)
    seen = []
    rv.chebyshev(A, b, interval=ends, rtol=1e-10, callback=lambda at: seen.append(at.x) and None)
    wide, r = A.toarray().astype(np.longdouble), b.astype(np.longdouble)
    center, half = np.longdouble(sum(ends)) / 2, np.longdouble(ends[1] - ends[0]) / 2
    x, before, polynomial_before, polynomial = np.zeros(12, np.longdouble), None, 1, center / half
    for k, found in enumerate(seen):
        residual = r - wide @ x
        if k == 0:
            x, before = x + residual / center, x
        else:
            following = 2 * center / half * polynomial - polynomial_before
            weight = 2 * center / half * polynomial / following
            x, before = weight * (x - before + residual / center) + before, x
            polynomial_before, polynomial = polynomial, following
        np.testing.assert_allclose(found, x.astype(float), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_thousands_of_iterations_do_not_overflow(backend, dtype):
    """PETSc's T_k itself is infinite after 1141 steps of growth 1.863; the ratio form never is."""
    A = np.diag(np.linspace(1, 11, 30)).astype(dtype)
    b = np.ones(30, dtype)
    operator = rv.as_operator(A)
    count = []

    def never(x):
        # A product that is a little different every time keeps the residual from ever reaching zero or standing still.
        count.append(None)
        return operator.matvec(x) * np.asarray(1 + 1e-3 * (-1.0) ** len(count), dtype)

    never.shape, never.dtype = A.shape, A.dtype
    solution = quietly(rv.chebyshev, A, b, interval=(1e-6, 11), rtol=1e-30, atol=0.0, maxiter=5000, backend=backend)
    assert np.isfinite(solution.x).all()
    assert np.isfinite(solution.residual_norms).all()
    slow = quietly(rv.chebyshev, A, b, interval=(1e-7, 1e3), rtol=1e-12, maxiter=5000, backend=backend)
    assert slow.iterations >= 1000
    assert np.isfinite(slow.x).all()
    noisy = quietly(rv.chebyshev, never, b, interval=(1, 11), rtol=1e-12, maxiter=5000, backend=backend)
    assert np.isfinite(noisy.x).all()


def test_a_single_point_is_one_richardson_step():
    solution = rv.chebyshev(3 * np.eye(5), np.arange(1.0, 6), interval=(3, 3), rtol=1e-14)
    assert solution.iterations == 1
    np.testing.assert_allclose(solution.x, np.arange(1, 6) / 3, rtol=1e-15)


# Non-normal and complex ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex64", "complex128"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_ginkgos_non_normal_case(backend, dtype):
    A = np.array([[0.9, -1, 3], [0, 1, 3], [0, 0, 1.1]], dtype)
    b = np.array([3.9, 9, 2.2], dtype)
    single = dtype in ("float32", "complex64")
    solution = rv.chebyshev(A, b, interval=(0.9, 1.1), rtol=1e-5 if single else 1e-12, backend=backend)
    assert solution.converged
    np.testing.assert_allclose(solution.x, [1, 3, 2], rtol=2e-3 if single else 1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("given", [True, False])
def test_complex_hermitian(backend, given):
    n = 30
    A = 3 * np.eye(n) + 1j * (np.eye(n, k=1) - np.eye(n, k=-1))  # unitarily similar to tridiag(-1, 3, -1)
    ends = 3 - 2 * math.cos(np.pi / (n + 1)), 3 + 2 * math.cos(np.pi / (n + 1))
    x = np.exp(1j * np.arange(n))
    solution = rv.chebyshev(A, A @ x, interval=ends if given else None, rtol=1e-10, backend=backend)
    np.testing.assert_allclose(solution.x, x, rtol=1e-8)
    sigma = (ends[1] + ends[0]) / (ends[1] - ends[0])
    assert solution.iterations <= 1.1 * math.acosh(1e10) / math.acosh(sigma) + 1


# Intervals that are wrong -------------------------------------------------------------------------------------------

WRONG = {
    "upper 0.5": (1, 0.5, {"upper"}),
    "upper 0.9": (1, 0.9, {"upper"}),
    "upper 0.95": (1, 0.95, {"upper"}),
    "upper 0.99": (1, 0.99, {"upper"}),
    "lower 2": (2, 1, {"lower"}),
    "lower 10": (10, 1, {"lower"}),
    "lower 30": (30, 1, {"lower"}),
    "both a little": (2, 0.95, {"lower", "upper"}),
    "both": (10, 0.5, {"lower", "upper"}),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("watched", [True, False])
def test_a_wrong_interval_is_repaired_and_the_end_named(name, backend, watched):
    low_factor, high_factor, wrong = WRONG[name]
    problem = poisson((32, 32))  # condition 441; exact ends take 197 iterations
    low, high = problem.spectrum
    b = np.random.default_rng(0).standard_normal(1024)
    exact = rv.chebyshev(problem.A, b, interval=(low, high), rtol=1e-8, backend=backend).iterations
    given = (low * low_factor, high * high_factor)
    watch = (lambda at: None) if watched else None
    solution = rv.chebyshev(problem.A, b, interval=given, rtol=1e-8, backend=backend, callback=watch)
    assert solution.converged
    assert np.linalg.norm(b - problem.A @ solution.x) <= 1e-8 * np.linalg.norm(b) * (1 + 1e-10)
    assert solution.iterations <= 3 * exact, "left alone, a lower end x 30 takes 8 times as long"
    named = {end for end in ("lower", "upper") if f"The {end} end" in solution.reason}
    # A lower end x 2 slows the iteration down within what the bound lets pass; then it need not be found out.
    assert named == wrong or (name in ("lower 2", "both a little") and named <= wrong)
    if "lower" in named:
        assert f"The lower end {given[0]:.4g} of the interval was too high" in solution.reason
    if "upper" in named:
        assert f"The upper end {given[1]:.4g} of the interval was too low" in solution.reason
    if name.startswith("upper"):
        moved = float(solution.reason.split("it was moved to ")[-1].split(" ")[0])
        assert 0.98 * high <= moved <= 1.3 * high


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("factor", [10, 30, 100])
@pytest.mark.parametrize("watched", [True, False])
def test_a_lower_end_is_moved_as_far_as_the_measured_decay_says(factor, watched, backend):
    """The residual outside the interval falls by a known factor a step, which names the eigenvalue that is there."""
    problem = poisson((32, 32))
    low, high = problem.spectrum
    b = np.random.default_rng(0).standard_normal(1024)
    watch = (lambda at: None) if watched else None
    solution = quietly(
        rv.chebyshev, problem.A, b, interval=(low * factor, high), rtol=1e-8, backend=backend, callback=watch
    )
    said = re.findall(r"The lower end (\S+) .*? changed by (\S+) .*? moved to (\S+) after", solution.reason)
    assert said
    moves = [tuple(map(float, move)) for move in said]
    for was, changed, moved in moves:
        center, half_width = (high + was) / 2, (high - was) / 2
        decay = math.acosh(center / half_width)
        seen = center - half_width * math.cosh(math.log(changed) + decay)  # the end that would fall like this
        assert moved <= 0.9 * seen * (1 + 0.1)
    assert 0.8 * low <= moves[-1][2] <= 1.1 * low


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_right_intervals_are_left_alone(backend):
    for points in (8, 32, 64):
        A, (low, high), vectors = grid(points)
        for b in (*vectors, np.random.default_rng(points).standard_normal(points)):
            for interval in ((low, high), (low, 1.1 * high), (0.5 * low, high), (low, 10 * high), (1e-3 * low, high)):
                solution = rv.chebyshev(A, b, interval=interval, rtol=1e-6, maxiter=100000, backend=backend)
                assert solution.converged
                assert "moved" not in solution.reason


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("points", [8, 16])
def test_what_rounding_leaves_is_not_laid_to_the_interval(points, dtype, backend):
    """Past the attainable accuracy the residual lies far above the bound, and the interval is right all the same."""
    problem = poisson((points, points))
    b = np.random.default_rng(0).standard_normal(points**2).astype(dtype)
    low, high = problem.spectrum
    solution = history(problem.A.astype(dtype), b, interval=(0.99 * low, 1.01 * high), rtol=0.0, backend=backend)
    assert solution.status is rv.Status.STAGNATED
    assert "was too" not in solution.reason


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("factor", [1.5, 3, 10])
def test_an_interval_is_found_wrong_as_soon_as_the_bound_is_passed(factor, backend):
    """Of the lowest eigenvector the whole residual history is known: T_k at its place over T_k at zero."""
    A, (low, high), (b, _) = grid(40)
    center, half_width = (high + factor * low) / 2, (high - factor * low) / 2
    decay, outside = math.acosh(center / half_width), math.acosh((center - low) / half_width)
    steps = range(2, 200)
    falls = {k: math.log(math.cosh(k * outside) / math.cosh((k - 1) * outside)) for k in steps}
    falls = {k: falls[k] - math.log(math.cosh(k * decay) / math.cosh((k - 1) * decay)) for k in steps}
    expected = next(k for k in steps if math.cosh(k * outside) > 1.05 and falls[k] > -0.8 * decay)
    solution = history(A, b, interval=(factor * low, high), rtol=1e-10, backend=backend)
    found = int(re.search(r"after iteration (\d+)", solution.reason).group(1))
    assert found == expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_repair_goes_on_from_the_best_iterate(backend):
    values = np.linspace(1, 100, 60)
    b = np.where(values > 50, 1e-7, 1.0)  # what the interval leaves out is small at first, and grows
    solution = quietly(rv.chebyshev, np.diag(values), b, interval=(1, 50), rtol=1e-8, backend=backend)
    assert solution.converged
    norms = solution.residual_norms
    peak = int(norms.argmax())
    assert norms[peak] > 100 * norms[0]
    assert (norms[peak + 1 :] <= norms[0]).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("negative", [-1.0, -20.0])
def test_an_interval_is_not_looked_for_where_a_lanczos_step_met_negative_curvature(negative, backend):
    A = np.diag([negative, *np.linspace(1, 10, 30)])
    solution = quietly(rv.chebyshev, A, np.ones(31), backend=backend)
    assert solution.status is rv.Status.BREAKDOWN
    assert solution.iterations == 0
    assert "No interval could be found" in solution.reason


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("given", [True, False])
def test_indefinite_matrices_break_down_in_words(backend, given):
    values = np.linspace(1, 10, 40)
    values[7] = -2.0
    for A in (np.diag(values), -np.diag(np.abs(values))):
        solution = quietly(rv.chebyshev, A, np.ones(40), interval=(1, 10) if given else None, backend=backend)
        assert solution.status is rv.Status.BREAKDOWN
        assert "not positive definite" in solution.reason
        assert "rv.solve" in solution.reason
        assert solution.relative_residual <= 1


# The interval found by itself ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["poisson", "anisotropic", "diffusion", "kms", "lehmer", "randsvd", "pei"])
def test_found_intervals_work_on_the_gallery(name, backend):
    size = (16, 16) if name in ("poisson", "anisotropic", "diffusion") else 40
    options = {"condition": 500.0} if name == "randsvd" else {}
    problem = GALLERY[name](size, **options)
    assert problem.positive_definite
    solution = rv.chebyshev(problem.A, problem.b, rtol=1e-8, maxiter=20000, backend=backend)
    assert solution.converged
    assert np.linalg.norm(problem.b - problem.A @ solution.x) <= 1e-8 * np.linalg.norm(problem.b) * (1 + 1e-6)
    condition = problem.condition or np.linalg.cond(problem.A if name != "diffusion" else problem.A.toarray())
    assert solution.iterations <= 3 * math.acosh(1e8) * math.sqrt(condition) / 2 + 20


@pytest.mark.parametrize("points", [16, 32, 64])
def test_found_intervals_cost_little_more_than_exact_ones(points):
    problem = poisson((points, points))
    exact = rv.chebyshev(problem.A, problem.b, interval=problem.spectrum, rtol=1e-8).iterations
    found = rv.chebyshev(problem.A, problem.b, rtol=1e-8)
    assert found.iterations <= 2 * exact
    assert "Lanczos" in found.reason
    low, high = found.spectrum
    true_low, true_high = problem.spectrum
    assert 0.98 * true_high <= high <= 1.05 * true_high
    assert 0.1 * true_low <= low <= 1.5 * true_low


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("made", ["jacobi", "ssor", "matrix"])
def test_preconditioned(made, backend):
    problem = poisson((16, 16))
    D = sparse.diags_array(np.geomspace(1, 1e3, 256))
    A = sparse.csr_array(D @ problem.A @ D)
    x = np.random.default_rng(4).standard_normal(256)
    M = {
        "jacobi": rv.precondition.jacobi(A),
        "ssor": rv.precondition.ssor(A, 1.5),
        "matrix": sparse.diags_array(1 / A.diagonal()),
    }[made]
    solution = rv.chebyshev(A, A @ x, M=M, rtol=1e-10, backend=backend)
    assert solution.converged
    assert solution.iterations < 350  # without M the condition number is about 1e8
    np.testing.assert_allclose(solution.x, x, rtol=1e-2, atol=1e-6)
    if made == "jacobi":
        # D^-1 A of this A is Poisson's own, but for a factor 4: its interval can be given.
        low, high = (end / 4 for end in problem.spectrum)
        given = rv.chebyshev(A, A @ x, M=M, interval=(low, high), rtol=1e-10, backend=backend)
        assert given.converged
        assert "moved" not in given.reason


@pytest.mark.parametrize("backend", BACKENDS)
def test_matrix_free(backend):
    problem = poisson((16, 16))

    def multiply(x):
        return problem.A @ x

    multiply.shape, multiply.dtype = problem.A.shape, problem.A.dtype
    free = rv.chebyshev(multiply, problem.b, rtol=1e-8, backend=backend)
    assert free.converged
    np.testing.assert_allclose(free.x, problem.x, atol=1e-5)


# Accuracy -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("points", [16, 32])
def test_attainable_accuracy(points, dtype, backend):
    problem = poisson((points, points))
    A, b = problem.A.astype(dtype), problem.b.astype(dtype)
    solution = quietly(rv.chebyshev, A, b, interval=problem.spectrum, rtol=1e-30, maxiter=20000, backend=backend)
    assert solution.status is rv.Status.STAGNATED
    x, rhs = solution.x.astype(np.longdouble), b.astype(np.longdouble)
    residual = float(np.linalg.norm((rhs - problem.A.toarray().astype(np.longdouble) @ x).astype(float)))
    eta = residual / (problem.spectrum[1] * np.linalg.norm(solution.x.astype(float)))
    assert eta <= 10 * np.finfo(dtype).eps / 2


# The ends of the range ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("atol", [0.0, 5e-324, 1e-310])
@pytest.mark.parametrize("scale", [1e300, 1.0, 1e-300])
def test_a_tolerance_that_no_number_holds(scale, atol, backend):
    solution = quietly(
        rv.chebyshev, scale * np.array([[2.0, 1], [1, 3]]), [1.0, -0.5], rtol=0, atol=atol, backend=backend
    )
    assert solution.status in (rv.Status.CONVERGED, rv.Status.STAGNATED)
    np.testing.assert_allclose(scale * solution.x, [0.7, -0.4], rtol=1e-14)


@pytest.mark.parametrize("interval", [(5e-324, 1e-310), (1e-320, 1e-300), (1e-300, 1e-300)])
def test_an_interval_far_out_of_the_units_of_A(interval):
    A = 1e300 * np.array([[2.0, 1], [1, 3]])
    solution = quietly(rv.chebyshev, A, [1.0, -0.5], interval=interval)
    assert solution.status is rv.Status.BREAKDOWN
    assert "cannot hold the spectrum" in solution.reason


@pytest.mark.parametrize("ends", [(1.0, 1.0 + 1e-15), (1e-300, 1e300), (5e-324, 1.79e308)])
def test_no_interval_raises(ends):
    for A in (np.array([[2.0, 1], [1, 3]]), np.array([[1.0, 0.999999], [0.999999, 1]])):
        solution = quietly(rv.chebyshev, A, [1.0, -0.5], interval=ends, rtol=0, atol=5e-324, maxiter=50)
        assert not solution.converged


def test_a_preconditioner_that_returns_zero_ends_in_words():
    A = np.array([[2.0, 1], [1, 3]])

    class Vanishing:
        shape, dtype, calls = (2, 2), np.dtype(np.float64), 0

        def __call__(self, r):
            self.calls += 1
            return r / 2 if self.calls < 8 else 0 * r

    solution = quietly(
        rv.chebyshev, A, [1.0, -0.5], M=Vanishing(), interval=(0.6, 2), rtol=1e-12, callback=lambda at: False
    )
    assert not solution.converged
    assert solution.relative_residual <= 1
