"""Word problems: the groups, their words and labels, against products of permutation matrices."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolvent.gallery import state_tracking
from resolvent.gallery.state_tracking import STATE_TRACKING, alternating, cyclic, symmetric

ORDERS = {
    "parity": 2, "mod3": 3, "circle": 5, "S3": 6, "A5": 60, "A5_generators": 60, "S5": 120, "S5_generators": 120,
}  # fmt: skip


def matrices(task):
    """Of each element, the matrix that takes e_j to e_g(j)."""
    points = task.elements.shape[1]
    P = np.zeros((task.order, points, points))
    P[np.arange(task.order)[:, None], task.elements, np.arange(points)] = 1
    return P


@pytest.mark.parametrize("name", STATE_TRACKING)
def test_products_are_those_of_matrices(name):
    task = STATE_TRACKING[name]()
    P = matrices(task)
    assert task.order == ORDERS[name]
    assert len(np.unique(task.elements, axis=0)) == task.order
    np.testing.assert_array_equal(P[0], np.eye(len(P[0])))
    np.testing.assert_array_equal(P[task.table], P[:, None] @ P)
    for line in (task.table, task.table.T):  # a Latin square, as the table of a group is
        np.testing.assert_array_equal(np.sort(line, axis=1), np.tile(np.arange(task.order), (task.order, 1)))


@pytest.mark.parametrize("name", STATE_TRACKING)
def test_labels_are_running_products_with_the_newest_token_on_the_right(name):
    task = STATE_TRACKING[name]()
    P = matrices(task)
    tokens, labels = task.sample(3, 20, seed=5)
    for word, states in zip(tokens, labels, strict=True):
        product = np.eye(len(P[0]))
        for token, state in zip(word, states, strict=True):
            product = product @ P[task.alphabet[token]]
            np.testing.assert_array_equal(P[state], product)


def test_alternating_groups_are_what_commutators_of_all_permutations_generate():
    for n in (3, 4, 5):
        P = matrices(alternating(n))
        np.testing.assert_allclose(np.linalg.det(P), 1.0)
        assert len(P) == math.factorial(n) // 2
        assert symmetric(n).commutative_ceiling == pytest.approx(1 / len(P))


def test_what_counting_can_reach():
    assert all(cyclic(m).commutative_ceiling == 1 for m in (2, 3, 6))
    assert alternating(4).commutative_ceiling == pytest.approx(1 / 4)  # Klein's four-group
    assert alternating(5).commutative_ceiling == alternating(5).chance == pytest.approx(1 / 60)
    assert symmetric(5).commutative_ceiling == pytest.approx(1 / 60)


@given(st.integers(2, 9), st.integers(1, 40), st.integers(0, 2**31))
def test_counting_is_a_sum(m, length, seed):
    tokens, labels = cyclic(m).sample(4, length, seed=seed)
    np.testing.assert_array_equal(labels, tokens.cumsum(axis=1) % m)
    steps = np.array([0, 1, m - 1])
    tokens, labels = cyclic(m, tokens=(0, 1, -1)).sample(4, length, seed=seed)
    np.testing.assert_array_equal(labels, steps[tokens].cumsum(axis=1) % m)


@pytest.mark.parametrize("name", ["A5_generators", "S5_generators"])
def test_generators_reach_every_state(name):
    task = STATE_TRACKING[name]()
    _, labels = task.sample(4000, 40, seed=0)
    counts = np.bincount(labels[:, -1], minlength=task.order)
    if name.startswith("A"):
        np.testing.assert_allclose(counts / 4000, 1 / 60, atol=5 * math.sqrt(1 / 60 / 4000))
    assert counts.all()


def test_tokens_are_uniform_and_depend_on_the_seed_alone():
    task = symmetric(3)
    tokens, _ = task.sample(2000, 30, seed=3)
    np.testing.assert_allclose(np.bincount(tokens.ravel()) / tokens.size, 1 / 6, atol=5 * math.sqrt(5 / 36 / 60000))
    np.testing.assert_array_equal(tokens, task.sample(2000, 30, seed=np.random.default_rng(3))[0])
    assert (tokens != task.sample(2000, 30, seed=4)[0]).any()


@pytest.mark.parametrize(("count", "length", "found"), [(100, 3, 27), (20, 3, 20), (10, 40, 10), (50, 4, 50)])
def test_distinct_words(count, length, found):
    tokens, labels = cyclic(3).sample(count, length, seed=1, distinct=True)
    assert tokens.shape == labels.shape == (found, length)
    assert len(np.unique(tokens, axis=0)) == found
    assert set(np.unique(tokens)) == {0, 1, 2}
    np.testing.assert_array_equal(labels, tokens.cumsum(axis=1) % 3)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: cyclic(1), ValueError, "m is 1; it must be at least 2"),
        (lambda: symmetric(7), ValueError, "n is 7; it must be at most 6"),
        (lambda: alternating(2), ValueError, "n is 2; it must be at least 3"),
        (lambda: alternating(3, [(1, 0, 2)]), ValueError, r"tokens has \(1, 0, 2\), which is no element of A3"),
        (lambda: symmetric(3).sample(0, 3, seed=0), ValueError, "count is 0"),
        (lambda: symmetric(3).sample(1, 2.5, seed=0), TypeError, "length is 2.5"),
        (lambda: state_tracking.by_name("S4x"), ValueError, "name: found 'S4x'"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()
