"""Gradient steps with momentum: rates against theory, and the cycle that the heavy ball runs into."""

import math
import warnings

import numpy as np
import pytest

import resolvent as rv
from resolvent.solvers.driver.status import Status

ALL = list(rv.MOMENTUM_SCHEMES)
L, MU = 100.0, 1.0


def gradients(gradient, x0, iterations, **keywords):
    """||gradient(x_k)||, k = 0, 1, ..., relative to the first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        found = rv.momentum(gradient, x0, maxiter=iterations, rtol=0, **keywords).residual_norms
    return found / found[0]


def quadratic(scheme, eigenvalues, iterations):
    d = np.asarray(eigenvalues, dtype=float)
    return gradients(
        lambda x: d * (x - 1), np.zeros(d.size), iterations, smoothness=L, strong_convexity=MU, scheme=scheme
    )


def test_gradient_descent_attains_its_rate_on_a_quadratic():
    found = quadratic("gradient", [MU, L], 100)
    np.testing.assert_allclose(found, ((L - MU) / (L + MU)) ** np.arange(101), rtol=1e-12)


@pytest.mark.parametrize("eigenvalues", [[L], np.geomspace(MU, L, 50), [MU], [30.0]])
def test_the_heavy_ball_keeps_its_bound_on_quadratics_and_attains_it(eigenvalues):
    """q^k (1 + k (1 + q)), with equality for the eigenvalue L."""
    found = quadratic("heavy_ball", eigenvalues, 60)
    q, k = (math.sqrt(L) - math.sqrt(MU)) / (math.sqrt(L) + math.sqrt(MU)), np.arange(61)
    bound = q**k * (1 + k * (1 + q))
    assert np.all(found <= bound * (1 + 1e-10))
    if len(eigenvalues) == 1 and eigenvalues[0] == L:
        np.testing.assert_allclose(found, bound, rtol=1e-9)


def test_the_heavy_ball_is_as_fast_as_the_chebyshev_iteration():
    """Whose largest residual, 1 / T_k((L + mu) / (L - mu)), is the least that any k steps leave."""
    found = np.max([quadratic("heavy_ball", [d], 40) for d in np.append(np.linspace(MU, L, 60), L)], axis=0)
    k = np.arange(41)
    least = 1 / np.cosh(k * np.arccosh((L + MU) / (L - MU)))
    assert np.all(found >= least * (1 - 1e-12))
    q = (math.sqrt(L) - math.sqrt(MU)) / (math.sqrt(L) + math.sqrt(MU))
    assert np.all(found <= least * (1 + k * (1 + q)))


@pytest.mark.parametrize(
    ("scheme", "rate"),
    [("nesterov", 1 - math.sqrt(MU / L)), ("triple_momentum", 1 - math.sqrt(MU / L))],
)
def test_rates_on_the_eigenvalue_mu(scheme, rate):
    """Double roots, so that the errors are rate^k times a line."""
    found = quadratic(scheme, [MU], 120)
    over = found / rate ** np.arange(121)
    assert np.all(np.diff(over) > 0) or scheme == "triple_momentum"
    assert over.max() < 1 + 121 * (1 - rate)
    assert (found[120] / found[60]) ** (1 / 60) == pytest.approx(rate, rel=0.02)


def logistic(seed=0, weight=0.02):
    """The gradient, L and mu of a regularised logistic regression."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((200, 10)) * np.geomspace(1, 5, 10)
    labels = (X @ rng.standard_normal(10) > 0).astype(float)

    def gradient(w):
        return X.T @ (1 / (1 + np.exp(-X @ w)) - labels) / 200 + weight * w

    return gradient, np.linalg.norm(X, 2) ** 2 / 800 + weight, weight


@pytest.mark.parametrize("scheme", ["gradient", "nesterov", "triple_momentum"])
def test_theory_is_kept_on_a_logistic_regression(scheme):
    gradient, smooth, strong = logistic()
    condition = smooth / strong
    found = gradients(gradient, np.zeros(10), 300, smoothness=smooth, strong_convexity=strong, scheme=scheme)
    rate = rv.MOMENTUM_SCHEMES[scheme]().rate(condition)
    assert np.all(found <= math.sqrt(2 * condition) * rate ** np.arange(301))
    if scheme == "gradient":
        assert np.all(found[1:] <= rate * found[:-1])


def test_iterations_on_a_logistic_regression():
    """Momentum takes a fraction of gradient descent's."""
    gradient, smooth, strong = logistic()
    counts = {
        scheme: rv.momentum(
            gradient, np.zeros(10), smoothness=smooth, strong_convexity=strong, scheme=scheme, rtol=1e-6, maxiter=20000
        ).evaluations
        for scheme in ALL
    }
    assert counts["triple_momentum"] < 0.5 * counts["gradient"]
    assert counts["nesterov"] < 0.5 * counts["gradient"]


def piecewise(x):
    """The derivative of a function with mu = 1 and L = 25."""
    return np.where(x < 1, 25 * x, np.where(x < 2, x + 24, 25 * x - 24))


def test_the_heavy_ball_runs_into_a_cycle_where_the_others_converge():
    seen = []
    keywords = {"smoothness": 25.0, "strong_convexity": 1.0, "rtol": 1e-8, "maxiter": 400}
    with pytest.warns(rv.ConvergenceWarning):
        found = rv.momentum(
            piecewise, np.array([3.3]), scheme="heavy_ball", callback=lambda p: seen.append(float(p.x[0])), **keywords
        )
    assert found.status is Status.MAX_ITERATIONS
    np.testing.assert_allclose(sorted(seen[-3:]), [-1.8024489796, 0.6465306122, 2.1159183673], rtol=1e-9)
    np.testing.assert_allclose(seen[-3:], seen[-6:-3], rtol=1e-12)
    for scheme in ("gradient", "nesterov", "triple_momentum"):
        assert rv.momentum(piecewise, np.array([3.3]), scheme=scheme, **keywords).converged


def test_triple_momentum_is_its_definition():
    gradient, smooth, strong = logistic(1)
    rho = 1 - math.sqrt(strong / smooth)
    alpha, beta, gamma = (1 + rho) / smooth, rho**2 / (2 - rho), rho**2 / ((1 + rho) * (2 - rho))
    xi = before = np.zeros(10)
    wanted = []
    for _ in range(30):
        y = xi + gamma * (xi - before)
        wanted.append(np.linalg.norm(gradient(y)))
        xi, before = xi + beta * (xi - before) - alpha * gradient(y), xi
    found = gradients(gradient, np.zeros(10), 29, smoothness=smooth, strong_convexity=strong)
    np.testing.assert_allclose(found, np.array(wanted) / wanted[0], rtol=1e-10)


@pytest.mark.parametrize("scheme", ALL)
@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128", "complex64"])
def test_every_scheme_in_every_precision(scheme, dtype):
    d = np.linspace(1, 20, 12).astype(dtype)
    b = np.ones(12, dtype) * (1 - 2j if np.dtype(dtype).kind == "c" else 1)
    found = rv.momentum(
        lambda x: d * x - b, np.zeros(12, dtype), smoothness=20, strong_convexity=1, scheme=scheme, rtol=1e-5
    )
    assert found.converged
    assert found.x.dtype == dtype
    assert found.evaluations <= found.iterations + 2
    np.testing.assert_allclose(d * found.x, b, atol=1e-4)


@pytest.mark.parametrize("scheme", ALL)
@pytest.mark.parametrize(("outer", "inner"), [(2.0**400, 1.0), (2.0**-500, 2.0**-200)])
def test_units_change_no_iterate(scheme, outer, inner):
    d = np.linspace(1, 20, 12)
    keywords = {"scheme": scheme, "rtol": 1e-6}
    wanted = rv.momentum(lambda x: d * x - 1, np.zeros(12), smoothness=20, strong_convexity=1, **keywords)
    found = rv.momentum(
        lambda x: outer * (d * (x / inner) - 1),
        np.zeros(12),
        smoothness=20 * outer / inner,
        strong_convexity=outer / inner,
        **keywords,
    )
    assert found.iterations == wanted.iterations
    np.testing.assert_allclose(found.x / inner, wanted.x, rtol=1e-12)


def test_blocks_and_other_libraries():
    torch = pytest.importorskip("torch")
    x0 = {"w": torch.zeros(3, 2, dtype=torch.float64), "b": torch.zeros((), dtype=torch.float64)}
    found = rv.momentum(
        lambda x: {"w": 3 * x["w"] - 1, "b": 2 * x["b"] + 1}, x0, smoothness=3, strong_convexity=2, rtol=1e-10
    )
    assert found.converged
    assert found.x["w"].shape == (3, 2)
    assert float(found.x["b"]) == pytest.approx(-0.5)


@pytest.mark.parametrize("scheme", ALL)
def test_low_precision(scheme):
    d = np.linspace(1, 4, 8)
    found = rv.momentum(
        lambda x: d * x - 1, np.zeros(8), smoothness=4, strong_convexity=1, scheme=scheme, rtol=3e-2, precision="bf16"
    )
    assert found.converged
    np.testing.assert_array_equal(found.x, rv.precision.round(found.x, "bf16"))


@pytest.mark.parametrize("scheme", ALL)
def test_a_condition_of_one_needs_one_step(scheme):
    found = rv.momentum(lambda x: 3 * x - 1, np.zeros(4), smoothness=3, strong_convexity=3, scheme=scheme, rtol=1e-14)
    assert (found.converged, found.iterations) == (True, 1)


def test_gradient_descent_without_strong_convexity():
    found = rv.momentum(lambda x: x**3, np.ones(2), smoothness=3, scheme="gradient", rtol=1e-2)
    assert found.converged
    assert "rate of 1.0000" in found.reason


def test_a_smoothness_that_is_too_small_diverges_and_says_so():
    with pytest.warns(rv.ConvergenceWarning, match="Is smoothness large enough"):
        found = rv.momentum(lambda x: 100 * x - 1, np.zeros(2), smoothness=2, strong_convexity=1)
    assert found.status is Status.DIVERGED


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"smoothness": 0}, "smoothness: found 0; wanted a finite number above 0"),
        ({"smoothness": None}, "smoothness: found None"),
        ({"strong_convexity": 2}, "strong_convexity: found 2; wanted a number from 0 to smoothness, 1"),
        ({"strong_convexity": -1}, "strong_convexity: found -1"),
        ({"strong_convexity": 0}, "strong_convexity: found 0, which triple_momentum cannot use"),
        (
            {"scheme": "adam"},
            "scheme: found 'adam'; wanted one of triple_momentum, nesterov, heavy_ball, gradient or a",
        ),
    ],
)
def test_bad_arguments_are_named(keywords, said):
    with pytest.raises(rv.InputError, match=said):
        rv.momentum(lambda x: x, np.ones(2), **{"smoothness": 1, "strong_convexity": 0.5, **keywords})


def test_unknown_keywords_are_refused():
    with pytest.raises(TypeError, match="no parameter 'strongconvexity'; did you mean 'strong_convexity'"):
        rv.momentum(lambda x: x, np.ones(2), smoothness=1, strongconvexity=1)
