"""Picard iteration against its definition, with and without damping."""

import numpy as np
import pytest

import resolvent as rv
from resolvent.solvers.driver.status import Status


def kinsol(x):
    """The analytic example of KINSOL's manual; its fixed point is (1/2, 1, -pi/6)."""
    a, b, c = x
    return np.array(
        [
            np.cos((b - 1) * c) / 3 + 1 / 6,
            np.sqrt(a * a + np.sin(c) + 1.06) / 9 + 0.9,
            -np.exp(-a * (b - 1)) / 20 - (10 * np.pi - 3) / 60,
        ]
    )


def test_iterates_are_those_of_the_definition():
    seen = []
    rv.picard(np.cos, np.ones(2), damping=0.5, rtol=1e-6, callback=lambda p: seen.append(p.x.copy()))
    x = np.ones(2)
    for found in seen:
        x = (x + np.cos(x)) / 2
        np.testing.assert_allclose(found, x, rtol=1e-15)


@pytest.mark.parametrize(("damping", "evaluations"), [(1.0, 5), (0.5, 21)])
def test_published_counts_of_kinsol(damping, evaluations):
    """Evaluations until the largest entry of g(x) - x is below 100 sqrt(eps)."""
    sizes = []

    def g(x):
        value = kinsol(x)
        sizes.append(np.abs(value - x).max())
        return value

    solution = rv.picard(g, np.array([0.1, 0.1, -0.1]), damping=damping, rtol=1e-8)
    assert next(k for k, size in enumerate(sizes, 1) if size < 100 * 2.0**-26) == evaluations
    np.testing.assert_allclose(solution.x, [0.5, 1.0, -np.pi / 6], atol=1e-7)


def test_damping_makes_a_cycle_converge():
    with pytest.warns(rv.ConvergenceWarning):
        assert rv.picard(lambda x: 1 - x, np.zeros(1), maxiter=50).status is Status.MAX_ITERATIONS
    solution = rv.picard(lambda x: 1 - x, np.zeros(1), damping=0.25, rtol=1e-10)
    assert solution.converged
    assert solution.x[0] == pytest.approx(0.5, abs=1e-9)
    assert "damped by 0.25" in solution.reason


def test_divergence_returns_the_best_iterate():
    with pytest.warns(rv.ConvergenceWarning, match="Lower the damping"):
        solution = rv.picard(lambda x: -3 * x + 1, np.zeros(2))
    assert solution.status is Status.DIVERGED
    np.testing.assert_array_equal(solution.x, [0, 0])


@pytest.mark.parametrize("damping", [0, -1, 1.5, float("nan")])
def test_damping_outside_its_range_is_refused(damping):
    with pytest.raises(rv.InputError, match="damping: found"):
        rv.picard(np.cos, 1.0, damping=damping)


def test_an_unknown_parameter_is_refused():
    with pytest.raises(TypeError, match="no parameter 'dampening'; did you mean 'damping'"):
        rv.picard(np.cos, 1.0, dampening=0.5)
    assert rv.picard(g=np.cos, x0=1.0).converged
