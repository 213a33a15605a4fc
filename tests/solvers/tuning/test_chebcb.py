"""ChebCB: the probabilities of SquareCB, the constrained fit, and that it uses the context."""

import numpy as np
import pytest
from scipy.optimize import lsq_linear

import resolvent as rv
from resolvent.solvers.tuning import ChebCB
from resolvent.solvers.tuning.chebcb import box_least_squares, inverse_gap_weights


@pytest.mark.parametrize("eta", [0.0, 0.5, 1e3])
def test_inverse_gap_weights(eta):
    scores = np.array([3.0, 1.0, 1.5, 9.0])
    p = np.zeros(4)
    inverse_gap_weights(scores, eta, p)
    assert p.sum() == pytest.approx(1, abs=1e-14)
    assert p[1] == p.max()
    others = [0, 2, 3]
    np.testing.assert_allclose(p[others], 1 / (4 + eta * (scores[others] - 1.0)))


@pytest.mark.parametrize("seed", range(30))
def test_box_least_squares_against_scipy(seed):
    rng = np.random.default_rng(seed)
    z = rng.uniform(-1, 1, rng.integers(8, 60))
    F = np.polynomial.chebyshev.chebvander(z, 5)
    y = rng.standard_normal(len(z)) * rng.choice([0.1, 1, 10]) + 3 * rng.standard_normal()
    bound = rng.choice([0.05, 0.5, 5.0]) / np.arange(1, 7)
    theta = np.zeros(6)
    box_least_squares(F.T @ F, F.T @ y, bound, theta)
    wanted = lsq_linear(F, y, (-bound, bound), method="bvls", tol=1e-14).x
    assert (abs(theta) <= bound * (1 + 1e-12)).all()
    np.testing.assert_allclose(np.linalg.norm(F @ theta - y), np.linalg.norm(F @ wanted - y), rtol=1e-7)
    np.testing.assert_allclose(theta, wanted, atol=1e-5 * bound.max())


def test_fit_is_that_of_all_costs():
    tuner, rng = ChebCB((-1, 1), [1.0, 1.5], features=3, seed=0), np.random.default_rng(0)
    rows, costs = [], []
    for _ in range(200):
        context = rng.uniform(-1, 1)
        value = tuner.suggest(context)
        cost = 50 + 10 * context - 8 * context**2 + rng.uniform(0, 5) + 40 * (value == 1.5)
        tuner.observe(cost)
        if value == 1.0:
            rows.append(context)
            costs.append(cost)
    wanted = np.linalg.lstsq(np.polynomial.chebyshev.chebvander(rows, 2), np.array(costs), rcond=None)[0]
    np.testing.assert_allclose(tuner.theta[0], wanted, rtol=1e-6)


def test_it_learns_a_different_value_for_each_context():
    tuner, rng = ChebCB((0, 1), [1.0, 1.3, 1.6, 1.9], seed=1), np.random.default_rng(1)
    late = []
    for _ in range(1500):
        context = rng.random()
        value = tuner.suggest(context)
        best = 1.0 + 0.9 * context
        tuner.observe(20 + 200 * (value - best) ** 2 + rng.uniform(0, 2))
        late.append(abs(value - best))
    assert np.mean(late[1000:]) < 0.1  # 0.075 for the nearest value each time
    assert np.mean(late[:20]) > 0.2


def test_it_needs_a_context():
    with pytest.raises(rv.InputError, match="context: found None; ChebCB needs"):
        ChebCB((0, 1)).suggest()
    with pytest.raises(rv.InputError, match=r"context: found 1\.5.*\[0, 1\]"):
        ChebCB((0, 1)).suggest(1.5)
    with pytest.raises(rv.InputError, match="features: found 0"):
        ChebCB((0, 1), features=0)


def test_all_costs_zero():
    tuner = ChebCB((0, 1), [1.0, 1.5])
    for _ in range(20):
        tuner.suggest(0.3)
        tuner.observe(0)
    np.testing.assert_allclose(tuner.probabilities, 0.5)
