"""The history of stacks: factors of the differences that each member holds, whatever their sizes."""

import numpy as np
import pytest

from resolvent.backends import backend_named
from resolvent.solvers.fixed_point.stacked_history import StackedHistory

SCALES = np.array([1.0, 1e9, 1e-9])[:, None]


def filled(dtype, steps=7, depth=4, n=10, limit=np.inf, **keywords):
    """A history that was appended to, and the differences of residuals and of values there were."""
    rng = np.random.default_rng(0)

    def vectors():
        x = rng.standard_normal((3, n))
        return (SCALES * (x + 1j * rng.standard_normal((3, n)) if np.dtype(dtype).kind == "c" else x)).astype(dtype)

    x, f = vectors(), vectors()
    history = StackedHistory(backend_named("numpy"), x, depth, np.finfo(dtype).eps / 2, **keywords)
    dF, dG = [], []
    for k in range(steps):
        previous_x, previous_f, x, f = x, f, vectors(), vectors()
        which = np.array([True, True, k % 2 == 0])
        history.append(which, x, previous_x, f, previous_f, np.full(3, limit))
        dF.append(np.where(which[:, None], f - previous_f, np.nan))
        dG.append(np.where(which[:, None], (x - previous_x) + (f - previous_f), np.nan))
    return history, x, f, dF, dG


def held(columns, member, size):
    """The latest columns of a member, oldest first, (n, size)."""
    own = [column[member] for column in columns if np.isfinite(column[member]).all()]
    return np.stack(own[len(own) - size :], axis=1)


@pytest.mark.parametrize("dtype", ["float64", "complex128", "float32"])
@pytest.mark.parametrize("steps", [1, 3, 7, 230])
def test_it_factors_what_each_member_holds(dtype, steps):
    history, _, _, dF, dG = filled(dtype, steps)
    eps = np.finfo(dtype).eps
    assert history.size.tolist() == [min(4, steps), min(4, steps), min(4, (steps + 1) // 2)]
    for k, size in enumerate(history.size):
        Q, R = history.Q[k, :size].T, history.R[k, :size, :size]
        wanted = held(dF, k, size)
        assert np.abs(Q.conj().T @ Q - np.eye(size)).max() <= 100 * eps
        assert np.abs(Q @ R - wanted).max() <= 100 * eps * np.abs(wanted).max()
        assert not history.Q[k, size:].any()
        assert not history.R[k, size:].any()
        rows = (history.first[k] + np.arange(size)) % history.depth
        assert np.array_equal(history.dG[k, rows].T, held(dG, k, size))


@pytest.mark.parametrize("regularisation", [0.0, 1e-3])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_what_it_extrapolates_to_is_the_least_squares_solution(dtype, regularisation):
    history, x, f, dF, dG = filled(dtype, regularisation=regularisation)
    norm, beta = np.linalg.norm(f, axis=1), np.array([1.0, 0.5, np.nan])
    found, rest = history.extrapolated(x, f, norm, beta)
    for k, size in enumerate(history.size):
        F, G = held(dF, k, size), held(dG, k, size)
        ridge = np.sqrt(regularisation) * np.linalg.norm(F) * np.eye(size)
        gamma = np.linalg.lstsq(np.vstack([F, ridge]), np.append(f[k], np.zeros(size)), rcond=None)[0]
        left = 1 - np.linalg.norm(F @ gamma) ** 2 / norm[k] ** 2
        mixed = 0.9 - np.sqrt(left) / 2 if np.isnan(beta[k]) else beta[k]
        wanted = x[k] + mixed * f[k] - (G - F + mixed * F) @ gamma
        assert found[k] == pytest.approx(wanted, rel=1e-10, abs=1e-11 * np.abs(wanted).max())
        assert rest[k] == pytest.approx(left, rel=1e-10)


@pytest.mark.parametrize("limit", [3.0, 6.0, 1e3])
def test_old_columns_go_until_the_condition_is_as_asked(limit):
    history, _, _, dF, _ = filled("float64", steps=9, depth=8, limit=limit)
    some = np.ones(3, bool)
    for k, (size, condition) in enumerate(zip(history.size, history._condition(some), strict=True)):
        F = held(dF, k, size)
        assert condition == pytest.approx(np.linalg.norm(F) * np.linalg.norm(np.linalg.pinv(F)), rel=1e-8)
        assert size == 1 or condition <= limit
    assert history.size.max() < 8 or limit == 1e3


def test_what_is_forgotten_leaves_no_trace():
    history, x, f, _, _ = filled("float64")
    history.clear(np.array([False, True, False]))
    assert history.size.tolist() == [4, 0, 4]
    found, rest = history.extrapolated(x, f, np.linalg.norm(f, axis=1), np.ones(3))
    assert np.array_equal(found[1], x[1] + f[1])
    assert rest[1] == 1


def test_a_step_that_changed_nothing_leaves_nothing():
    history, x, f, _, _ = filled("float64")
    history.append(np.array([True, False, False]), x, x, f, f, np.full(3, np.inf))
    assert history.size.tolist() == [0, 4, 4]
