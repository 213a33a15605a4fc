"""Who looks at many systems side by side says of each what the watch of one says of it alone."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolvent.solvers.driver.stopping import Looks, Watch

U, CHECK_EVERY, WINDOW = 2.0**-53, 16, 32


def watched_alone(norm_at, wanted, predicted, limit, floor):
    """The looks, the last norm and the end of one system, by the rules of the driver."""
    watch = Watch(norm_at(0), U, lambda: floor, WINDOW)
    at, iteration = [], 0
    while True:
        norm = norm_at(iteration)
        if not math.isfinite(norm):
            return at, "lost"
        if norm <= wanted:
            return at, "met"
        if watch.observe(iteration, norm) is not None:
            return at, "lost"
        if iteration >= limit:
            return at, "limit"
        steps = min(CHECK_EVERY, limit - iteration, max(1, iteration))
        expected = watch.iterations_to(wanted)
        if expected < steps:
            steps = max(1, int(expected))
        if iteration < predicted:
            steps = min(steps, predicted - iteration)
        iteration += steps
        at.append(iteration)


def curve(kind, rate):
    """A residual norm after so many iterations."""
    if kind == "falls":
        return lambda k: math.exp(-rate * k)
    if kind == "wavers":
        return lambda k: math.exp(-rate * k) * (1.5 + math.sin(k)) / 1.5
    if kind == "stands":
        return lambda k: max(math.exp(-rate * k), 1e-15 * (1 + k % 3))
    if kind == "grows":
        return lambda k: math.exp(rate * k)
    if kind == "slow":
        return lambda k: 1 / (1 + rate * k)
    return lambda k: math.exp(-rate * k) if k < 20 else math.nan


CURVES = st.tuples(
    st.sampled_from(["falls", "wavers", "stands", "grows", "slow", "breaks"]),
    st.floats(1e-3, 2),
    st.floats(1e-17, 0.5),
    st.sampled_from([0, 0, 7, 40]),
)


@given(st.lists(CURVES, min_size=1, max_size=6), st.sampled_from([1, 5, 300]))
def test_property_each_is_watched_as_alone(systems, limit):
    curves = [curve(kind, rate) for kind, rate, _, _ in systems]
    wanted = np.array([target for _, _, target, _ in systems])
    predicted = np.array([promise for _, _, _, promise in systems])
    first = np.array([one(0) for one in curves])
    floor = 1e-16
    followed = Looks(first, wanted, predicted, limit, CHECK_EVERY, WINDOW, U)
    looks = [[] for _ in systems]
    while followed.going.any():
        at = followed.next_look
        norms = np.array([one(at) for one in curves])
        due = followed.observe(at, norms, lambda: np.full(len(systems), floor), None)
        for k in np.flatnonzero(due):
            looks[k].append(at)
    for k, one in enumerate(curves):
        at, end = watched_alone(one, wanted[k], predicted[k], limit, floor)
        assert looks[k] == at
        assert followed.lost[k] == (end == "lost")
        assert followed.iterations[k] == (at[-1] if at else 0)
        assert followed.looks[k] == len(at)
        if at:
            assert followed.norm[k] == one(at[-1]) or end == "lost"


def test_what_is_worth_remembering_is_the_smallest_norm_that_halved_the_one_before():
    looks = Looks(np.array([1.0]), np.array([1e-9]), np.array([0]), 100, 1, WINDOW, U)
    for k, norm in enumerate([0.6, 0.4, 0.3, 0.19, 5.0], 1):
        looks.observe(k, np.array([norm]), lambda: np.zeros(1), None)
    assert looks.best.tolist() == [0.19]
    assert looks.norm.tolist() == [5.0]


@pytest.mark.parametrize(("norm", "lost"), [(0.5, False), (0.5 + 29e-10, False), (0.51, True)])
def test_a_norm_above_what_theory_allows_is_out_of_the_ordinary(norm, lost):
    looks = Looks(np.ones(2), np.full(2, 1e-9), np.zeros(2, int), 100, 16, WINDOW, U)
    looks.observe(1, np.array([norm, 0.1]), lambda: np.full(2, 1e-10), np.full(2, 0.5))
    assert looks.lost.tolist() == [lost, False]
    assert looks.going.tolist() == [not lost, True]
