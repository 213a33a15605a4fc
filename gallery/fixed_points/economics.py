"""Prices that clear a market, and the worth of states under the best of policies."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .lcg import uniforms
from .problem import FixedPoint, integer, number

__all__ = ["exchange_economy", "value_iteration"]


def exchange_economy() -> FixedPoint:
    """Prices of 10 goods among 5 agents with Cobb-Douglas tastes: the spending on each good over its supply.

    Agent j is endowed with E_ij of good i and spends the share ``T_ij / sum_i T_ij`` of the wealth ``sum_i p_i E_ij``
    on it. The map is ``g_i(p) = sum_j (share of i) (wealth of j) / sum_j E_ij``, divided by its first entry. E holds
    the first 50 numbers of a congruential generator, made log-normal, and T the next 50, as they are, column by column.

    Returns
    -------
    FixedPoint
        The map is linear but for the division, so that its solution is that of linear equations.

    References
    ----------
    N. Lepage-Saucier, FixedPointTestProblems.jl, "exchange economy".

    Examples
    --------
    >>> problem = exchange_economy()
    >>> problem.solution.round(3)[:4]
    array([1.   , 1.509, 1.949, 1.923])
    """
    from scipy.special import ndtri

    drawn = uniforms(100)
    E = np.exp(ndtri(drawn[:50])).reshape(5, 10).T
    T = drawn[50:].reshape(5, 10).T
    M = (T / T.sum(axis=0)) @ E.T / E.sum(axis=1)[:, None]
    return FixedPoint(
        name="exchange_economy()",
        map=partial(_prices, M),
        x0=np.ones(10),
        description="prices of 10 goods: spending over supply, the first price being 1",
        reference="Lepage-Saucier, FixedPointTestProblems.jl",
        solve=partial(_clearing, M),
        published={
            "fixed_point_jl": 286,
            "anderson_fpa": 7,
            "anderson": 7,
            "anderson_adaptive": 7,
            "anderson_monotone": 7,
            "anderson_monotone_adaptive": 7,
            "acx": 7,
            "mpe": 7,
        },
    )


def _prices(M: np.ndarray, p: np.ndarray) -> np.ndarray:
    q = M @ p
    return q / q[0]


def _clearing(M: np.ndarray) -> np.ndarray:
    """The p with M p = p and p_0 = 1; M has the eigenvalue 1, since what is spent is what is owned."""
    I = np.eye(len(M))
    return np.append(1.0, np.linalg.solve((I - M)[1:, 1:], M[1:, 0]))


def value_iteration(states: int = 100, actions: int = 5, *, discount: float = 0.95, seed: Any = 0) -> FixedPoint:
    """``g(v)_s = max_a (r_sa + discount sum_t P_sat v_t)``: the worth of states, one decision further ahead.

    Every action leads from every state to one of 5 others, drawn at random as are their chances and the rewards, which
    lie between 0 and 1. The map is piecewise affine, a contraction in the maximum norm and in no other.

    Parameters
    ----------
    states, actions : int
        How many there are; at least 5 states.
    discount : float
        What the next state is worth today, between 0 and 1.
    seed : int, numpy.random.Generator or None
        Of rewards and transitions.

    Returns
    -------
    FixedPoint
        Its solution is by policy iteration.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    M. L. Puterman, "Markov Decision Processes", Wiley 1994, sections 6.2 to 6.4.

    Examples
    --------
    >>> problem = value_iteration(20)
    >>> problem
    <value_iteration(20, 5, discount=0.95): 20 unknowns, contraction 0.95>
    >>> problem.residual(problem.solution) < 1e-13
    True
    """
    states = integer("states", states, least=5)
    actions = integer("actions", actions)
    discount = number("discount", discount, above=0.0, below=1.0)
    rng = np.random.default_rng(seed)
    reward = rng.random((states, actions))
    P = np.zeros((states, actions, states))
    successors = np.argsort(rng.random(P.shape), axis=2)[:, :, :5]
    chances = rng.random(successors.shape)
    np.put_along_axis(P, successors, chances / chances.sum(axis=2, keepdims=True), axis=2)
    P *= discount
    return FixedPoint(
        name=f"value_iteration({states}, {actions}, discount={discount:g})",
        map=partial(_worth, reward, P),
        x0=np.zeros(states),
        description="max over actions of reward + discount P v",
        reference="Puterman, Markov Decision Processes, Wiley 1994, sections 6.2 to 6.4",
        norm="max",
        solve=partial(_policy_iteration, reward, P),
        lipschitz=discount,
    )


def _worth(reward: np.ndarray, P: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (reward + P @ v).max(axis=1)


def _policy_iteration(reward: np.ndarray, P: np.ndarray) -> np.ndarray:
    every = np.arange(len(reward))
    policy = np.zeros(len(reward), dtype=np.intp)
    while True:
        v = np.linalg.solve(np.eye(len(reward)) - P[every, policy], reward[every, policy])
        worth = reward + P @ v
        better = worth.argmax(axis=1)
        # a tie is no improvement, whatever rounding makes of it
        if (worth[every, better] - worth[every, policy]).max() <= np.sqrt(np.spacing(1.0)) * np.abs(v).max():
            return v
        policy = better
