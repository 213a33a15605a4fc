"""The default: published counts of the benchmark with one setting, and what it says of what it changed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import resolvent as rv
from resolvent.solvers.driver.status import Status

COUNTS = np.array([162, 267, 271, 185, 111, 61, 27, 8, 3, 1.0])


def hasselblad(t):
    """EM of a mixture of two Poisson distributions."""
    y = np.arange(10)
    p, m1, m2 = np.clip(t[0], 1e-7, 1 - 1e-7), max(t[1], 1e-7), max(t[2], 1e-7)
    a, b = p * np.exp(-m1) * m1**y, (1 - p) * np.exp(-m2) * m2**y
    z = COUNTS * a / (a + b)
    rest = COUNTS - z
    return np.array([z.sum() / COUNTS.sum(), (y * z).sum() / z.sum(), (y * rest).sum() / rest.sum()])


def power(x):
    y = np.arange(1, 101) * x + x.sum()
    return y / np.abs(y).max()


def bratu(n):
    """u_xx + u_yy + 6 exp(u) = 0 on the unit square, a Jacobi step."""
    h = 1 / (n + 1)

    def g(u):
        v = np.pad(u.reshape(n, n), 1)
        around = v[:-2, 1:-1] + v[2:, 1:-1] + v[1:-1, :-2] + v[1:-1, 2:]
        return ((around + 6 * h * h * np.exp(u.reshape(n, n))) / 4).ravel()

    return g


DIAGONAL = 2 * np.arange(1, 101) / 101


@pytest.mark.parametrize(
    ("g", "x0", "most"),
    [
        (hasselblad, np.array([0.25, 1.0, 2.0]), 17),
        (power, np.ones(100), 14),
        (lambda x: (1 - DIAGONAL) * x + 1, np.zeros(100), 72),
    ],
    ids=["hasselblad", "power", "linear"],
)
def test_at_most_the_best_published_counts_or_one_more(g, x0, most):
    solution = rv.fixed_point(g, x0, rtol=0, atol=1e-7)
    assert solution.converged
    assert solution.method == "auto"
    assert solution.evaluations <= most


def test_bratu_alternates_and_says_so():
    g = bratu(100)
    solution = rv.fixed_point(g, np.zeros(10000), rtol=0, atol=1e-7)
    assert solution.converged
    assert solution.evaluations <= 256  # the best published count
    assert "After 25 steps only every other one was accelerated." in solution.reason
    assert np.linalg.norm(g(solution.x) - solution.x) <= 1e-7


def test_jacobi_on_poisson_takes_fewer_evaluations_than_published():
    """Eigenvalues near 1 and near -1; the start is the source itself."""
    n, h = 100, 1 / 99
    source = np.zeros((n, n))
    source[24:75, 24], source[24:75, 74] = 2 / (n * h * h), -2 / (n * h * h)

    def g(x):
        v, y = x.reshape(n, n), np.zeros((n, n))
        around = v[:-2, 1:-1] + v[2:, 1:-1] + v[1:-1, :-2] + v[1:-1, 2:]
        y[1:-1, 1:-1] = (around + h * h * source[1:-1, 1:-1]) / 4
        return y.ravel()

    solution = rv.fixed_point(g, source.ravel(), rtol=0, atol=1e-7)
    assert solution.converged
    assert solution.evaluations <= 353


def test_a_map_far_from_affine_is_forgotten():
    """Chandrasekhar's equation: depth 30 with all differences takes 34 evaluations."""
    mu = (np.arange(512) + 0.5) / 512
    L = 0.99 / 1024 * mu[:, None] / (mu[:, None] + mu[None, :])
    solution = rv.fixed_point(lambda H: 1 / (1 - L @ H), np.ones(512), rtol=0, atol=1e-8)
    assert solution.evaluations <= 12


def test_slow_linear_maps_of_few_unknowns_take_all_of_them():
    d = 1 - np.logspace(-6, 0, 50)
    solution = rv.fixed_point(lambda x: d * x + 1e-3, np.zeros(50), rtol=0, atol=1e-9)
    assert solution.converged
    assert solution.evaluations <= 120


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.floats(0.05, 0.99), st.integers(0, 2**32 - 1), st.sampled_from([np.float64, np.float32]))
def test_it_never_needs_more_evaluations_than_picard(n, rate, seed, dtype):
    rng = np.random.default_rng(seed)
    G = rng.standard_normal((n, n))
    G = (G * rate / np.linalg.norm(G, 2)).astype(dtype)
    b = rng.standard_normal(n).astype(dtype)
    rtol = 1e-8 if dtype == np.float64 else 1e-4
    plain = rv.picard(lambda x: np.tanh(G @ x) + b, np.zeros(n, dtype), rtol=rtol)
    solution = rv.fixed_point(lambda x: np.tanh(G @ x) + b, np.zeros(n, dtype), rtol=rtol)
    assert solution.converged
    assert solution.evaluations <= 1.1 * plain.evaluations + 2


def test_a_noisy_map_ends_at_its_noise():
    rng = np.random.default_rng(7)
    d = np.linspace(0, 0.95, 30)
    with pytest.warns(rv.ConvergenceWarning, match="varies from one call"):
        solution = rv.fixed_point(lambda x: d * x + 1 + 1e-7 * rng.standard_normal(30), np.zeros(30), rtol=1e-12)
    assert solution.status is Status.STAGNATED
    assert solution.residual_norm < 1e-5


def test_numbers_say_what_was_chosen():
    solution = rv.fixed_point(lambda x: 1 - x, 0.0)
    assert solution.x == 0.5
    assert "Anderson acceleration with 1 difference was chosen" in solution.reason


def test_parameters_are_those_of_the_beginning():
    seen = rv.fixed_point(np.cos, np.linspace(0, 1, 5), method="auto", beta=0.5, depth=2, rtol=1e-9)
    wanted = rv.anderson(np.cos, np.linspace(0, 1, 5), beta=0.5, depth=2, rtol=1e-9)
    assert seen.iterations == wanted.iterations < 25
    np.testing.assert_allclose(seen.residual_norms[:4], wanted.residual_norms[:4], rtol=1e-12)


def test_where_acceleration_leads_astray_plain_steps_begin_anew():
    """Alternating least squares for a tensor of nearly dependent factors: accelerated from the start, it is lost."""
    problem = rv.gallery.fixed_points.candecomp(20)
    plain = rv.picard(problem.g, problem.x0, rtol=0, atol=1e-7, maxiter=5000)
    solution = rv.fixed_point(problem.g, problem.x0, rtol=0, atol=1e-7, maxiter=5000)
    assert plain.converged
    assert solution.converged
    assert solution.evaluations <= 2 * plain.evaluations + 400
    assert np.linalg.norm(problem.g(solution.x) - solution.x) <= 1e-7


def test_steps_that_tell_nothing_are_plain_ones():
    """x -> max(x - 1, 0): all differences vanish, and a shorter step would only be slower."""
    assert rv.fixed_point(lambda x: np.maximum(x - 1, 0), np.array([50.0]), rtol=0, atol=1e-7).evaluations <= 52


def test_a_map_without_fixed_points():
    v = np.array([1.0, 2.0])
    with pytest.warns(rv.ConvergenceWarning, match="no fixed point"):
        solution = rv.fixed_point(lambda x: x - v, np.array([0.5, 0.25]), rtol=1e-8)
    assert solution.status is Status.INFEASIBLE
    np.testing.assert_allclose(solution.displacement.vector, v, rtol=1e-12)


@pytest.mark.parametrize("method", ["auto", "anderson"])
def test_a_residual_that_vanishes_by_rounding_alone_is_none(method):
    """Discs half a unit apart: accelerated steps lead to where half a unit is less than the rounding of x."""
    problem = rv.gallery.fixed_points.douglas_rachford("discs", gap=0.5)
    with pytest.warns(rv.ConvergenceWarning):
        solution = rv.fixed_point(problem.g, problem.x0, method=method, rtol=1e-8, maxiter=4000)
    assert not solution.converged
    if method == "auto":
        assert solution.status is Status.INFEASIBLE
        found, wanted = solution.displacement, problem.displacement
        assert np.linalg.norm(found.vector - wanted) <= found.error < 0.01
