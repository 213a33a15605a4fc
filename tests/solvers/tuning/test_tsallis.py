"""Tsallis-INF: the normaliser, the estimators, and the order of the regret."""

from itertools import pairwise

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

import resolvent as rv
from resolvent.solvers.tuning import TsallisINF, TsallisINFBinned
from resolvent.solvers.tuning.tsallis import tsallis_weights


def weights(losses, eta):
    p = np.zeros(len(losses))
    steps = tsallis_weights(np.asarray(losses, dtype=np.float64), eta, p)
    return p, steps


@given(
    st.lists(st.floats(0, 1e6), min_size=2, max_size=60),
    st.floats(1e-3, 4),
)
def test_weights_sum_to_one_in_few_steps(losses, eta):
    p, steps = weights(losses, eta)
    assert steps <= 12
    assert abs(p.sum() - 1) <= 1e-10
    assert (p > 0).all()
    assert p[np.argmin(losses)] == p.max()


@pytest.mark.parametrize("spread", [0.0, 1e-3, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("d", [2, 20, 60])
def test_weights_against_a_bracketed_root(d, spread):
    losses = spread * np.random.default_rng(d).random(d)
    eta = 0.3
    low = losses.min()

    def excess(x):
        return (4 / (eta * (losses - low - x)) ** 2).sum() - 1

    x = brentq(excess, -2 * np.sqrt(d) / eta, -2 / eta, xtol=1e-14) if spread else -2 * np.sqrt(d) / eta
    np.testing.assert_allclose(weights(losses, eta)[0], 4 / (eta * (losses - low - x)) ** 2, rtol=1e-8)


def probabilities(losses, eta):
    """The minimiser of <losses, p> - (4 / eta) sum sqrt(p) over the simplex, in 40 digits."""
    with mpmath.workdps(40):
        losses, eta = [mpmath.mpf(loss) for loss in losses], mpmath.mpf(eta)
        low, d = min(losses), len(losses)

        def excess(x):
            return sum(4 / (eta * (loss - x)) ** 2 for loss in losses) - 1

        x = mpmath.findroot(excess, (low - 2 * mpmath.sqrt(d) / eta, low - 2 / eta), solver="anderson", tol=1e-30)
        return [float(4 / (eta * (loss - x)) ** 2) for loss in losses]


@pytest.mark.parametrize("variance_reduced", [False, True])
@pytest.mark.parametrize("rounds", [1, 3, 10, 100, 1000])
def test_probabilities_are_those_of_the_published_learning_rate(rounds, variance_reduced):
    # eta_t = 2 / sqrt(t), and with reduced variance 4 / sqrt(t) (Zimmert & Seldin 2019, theorems 1 and 2).
    tuner = TsallisINF([0, 1, 2, 3], parameter="k", variance_reduced=variance_reduced, seed=0)
    costs = [30.0, 50.0, 10.0, 20.0]
    for _ in range(rounds):
        tuner.observe(costs[tuner.suggest()])
    tuner.suggest()
    eta = (4 if variance_reduced else 2) / np.sqrt(rounds + 1)
    wanted = probabilities(tuner.losses / (tuner.spent / tuner.rounds), eta)
    np.testing.assert_allclose(tuner.probabilities, wanted, rtol=1e-9)
    half = probabilities(tuner.losses / (tuner.spent / tuner.rounds), eta / 2)
    assert abs(np.subtract(wanted, half)).max() > 0.01  # with half the rate they would be others


@pytest.mark.parametrize("variance_reduced", [False, True])
def test_bins_have_the_same_learning_rate(variance_reduced):
    tuner = TsallisINFBinned((0, 1), [0, 1, 2], bins=2, parameter="k", variance_reduced=variance_reduced, seed=0)
    for t in range(60):
        tuner.observe([30.0, 50.0, 10.0][tuner.suggest(0.2 if t % 3 else 0.9)])
    for context, one in zip((0.2, 0.9), tuner.bins, strict=True):
        tuner.suggest(context)
        eta = (4 if variance_reduced else 2) / np.sqrt(one.rounds + 1)
        np.testing.assert_allclose(
            one.probabilities, probabilities(one.losses / (one.spent / one.rounds), eta), rtol=1e-9
        )


def test_newton_falls_monotonically_from_a_safe_start():
    # The start of the published programs, -1 without a shift, passes the pole on losses like these.
    losses, eta = np.array([900.0, 1000.0, 1500.0]), 2 / np.sqrt(150)
    x, seen = -2 / eta, []
    for _ in range(10):
        p = 4 / (eta * (losses - losses.min() - x)) ** 2
        seen.append(x)
        x -= (p.sum() - 1) / (eta * (p**1.5).sum())
    assert all(later <= earlier for earlier, later in pairwise(seen))
    assert -2 * np.sqrt(3) / eta <= seen[-1] <= -2 / eta
    np.testing.assert_allclose(weights(losses, eta)[0], p, rtol=1e-10)


def test_equal_and_zero_costs_leave_no_nan():
    tuner = TsallisINF([1.0, 1.2, 1.4], seed=3)
    for _ in range(50):
        tuner.suggest()
        tuner.observe(0)
    np.testing.assert_allclose(tuner.probabilities, 1 / 3)
    for _ in range(50):
        tuner.suggest()
        tuner.observe(7)
    assert np.isfinite(tuner.probabilities).all()


@pytest.mark.parametrize("variance_reduced", [False, True])
@pytest.mark.parametrize("rounds", [0, 40])
def test_estimates_are_unbiased(variance_reduced, rounds):
    costs = np.array([30.0, 50.0, 10.0, 200.0])
    before = TsallisINF([1.0, 1.2, 1.4, 1.6], variance_reduced=variance_reduced, seed=1)
    for _ in range(rounds):
        before.observe(costs[before.values.index(before.suggest())])
    state, losses = before.state(), before.losses.copy()
    before.suggest()
    p = before.probabilities.copy()
    expected = np.zeros(4)
    for i, cost in enumerate(costs):
        tuner = TsallisINF([1.0, 1.2, 1.4, 1.6], variance_reduced=variance_reduced, seed=1)
        tuner.load(state)
        tuner.suggest()
        tuner._index = i
        # The mean cost that B is half of holds the new cost: take it out of the comparison.
        middle = 0.5 * (tuner.spent + cost) / (tuner.rounds + 1)
        tuner.observe(cost)
        estimate = tuner.losses - losses
        if variance_reduced:
            others = (p >= (4 / np.sqrt(rounds + 1)) ** 2) & (np.arange(4) != i)
            np.testing.assert_allclose(estimate[others], middle)
            estimate = estimate - np.where(p >= (4 / np.sqrt(rounds + 1)) ** 2, middle, 0)
            estimate[i] += middle * (p[i] >= (4 / np.sqrt(rounds + 1)) ** 2) / p[i]
        expected += p[i] * estimate
    np.testing.assert_allclose(expected, costs, rtol=1e-9)


def regret(variance_reduced, rounds, seed, values=20):
    """The running regret on costs that are uniform around means with gaps of up to a tenth."""
    rng = np.random.default_rng(seed)
    gaps = 0.1 * np.minimum(1, np.abs(np.arange(values) - 13) / 3)
    noise = rng.random(rounds)
    tuner = TsallisINF(range(values), parameter="k", variance_reduced=variance_reduced, seed=seed)
    lost = np.empty(rounds)
    for t in range(rounds):
        i = tuner.suggest()
        tuner.observe(gaps[i] + noise[t])
        lost[t] = gaps[i]
    return lost.cumsum()


@pytest.mark.parametrize(
    ("rounds", "variance_reduced"),
    [(20_000, False), (20_000, True), pytest.param(100_000, False, marks=pytest.mark.slow)],
)
def test_regret_grows_no_faster_than_the_theorem_says(rounds, variance_reduced):
    at = np.round(np.logspace(3, np.log10(rounds), 9)).astype(int)
    mean = np.mean([regret(variance_reduced, rounds, seed)[at - 1] for seed in (0, 1)], axis=0)
    slope = np.polyfit(np.log(at), np.log(mean), 1)[0]
    assert 0 < slope <= (0.6 if rounds > 50_000 else 0.7)  # sqrt(T) at first, log T in the long run


def test_regret_against_an_adversary_who_turns():
    # Best value first 0, then 1: sqrt(T) against the best of them, with the anytime constant 4 sqrt(d T).
    T, tuner = 4000, TsallisINF([0, 1], parameter="k", seed=2)
    costs = np.zeros((T, 2))
    costs[: T // 2, 1] = costs[T // 2 :, 0] = 1
    spent = 0.0
    for row in costs:
        i = tuner.suggest()
        tuner.observe(row[i])
        spent += row[i]
    assert spent - costs.sum(0).min() <= 4 * np.sqrt(2 * T) + 1


def test_bins_are_learners_of_their_own():
    tuner = TsallisINFBinned((0.0, 1.0), [1.0, 1.9], bins=4, seed=0)
    rng = np.random.default_rng(0)
    for _ in range(2000):
        context = rng.random()
        good = 1.0 if context < 0.5 else 1.9
        tuner.observe(10 if tuner.suggest(context) == good else 40)
    assert [bin.values[bin.probabilities.argmax()] for bin in tuner.bins] == [1.0, 1.0, 1.9, 1.9]
    assert sum(bin.rounds for bin in tuner.bins) == tuner.rounds == 2000


@pytest.mark.parametrize("context", [-0.1, 1.1])
def test_context_outside_the_interval_is_named(context):
    with pytest.raises(rv.InputError, match=r"context: found .*\[0, 1\]"):
        TsallisINFBinned((0, 1)).suggest(context)


@pytest.mark.parametrize("interval", [(1, 1), (2, 1), (0, np.inf), "ab", 3, (0, 1, 2)])
def test_bad_interval_is_named(interval):
    with pytest.raises(rv.InputError, match="interval: found"):
        TsallisINFBinned(interval)


def test_best_fixed_cost_is_about_right():
    tuner = TsallisINF([1.0, 1.5], seed=0)
    for _ in range(3000):
        tuner.observe(20 if tuner.suggest() == 1.5 else 60)
    assert tuner.best_fixed_cost() == pytest.approx(20, rel=0.1)
