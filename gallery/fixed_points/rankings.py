"""The strengths of players from who beat whom: the Bradley-Terry model."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...naming import choice
from .problem import FixedPoint, integer, newton

__all__ = ["bradley_terry"]


def bradley_terry(update: str = "newman", players: int = 100, *, prior: bool = False, seed: Any = 4) -> FixedPoint:
    """Sweeps for the strengths p of players of whom i beats j with probability ``p_i / (p_i + p_j)``.

    With w_ij the wins of i over j, Zermelo puts ``(sum_j w_ij) / (sum_j (w_ij + w_ji) / (p_i + p_j))`` in place of each
    p_i in turn, Newman ``(sum_j w_ij p_j / (p_i + p_j)) / (sum_j w_ji / (p_i + p_j))``: the same fixed point. x = log
    p, so that strengths stay positive whatever is done to x. After a sweep, p is divided by its geometric mean.

    Each player meets each other once; strengths are drawn from ``exp(1.5 N(0, 1))``, then the winners.

    Parameters
    ----------
    update : {"newman", "zermelo"}
        The formula.
    players : int
        How many, at least 2.
    prior : bool
        Whether each player has, besides, won and lost a game against one of strength 1; this sets the scale of p, so
        that it is not normalised. Without prior there is no fixed point if some set of players never lost to the
        others.
    seed : int, numpy.random.Generator or None
        Of strengths and games. The published counts are those of a tournament that was not published; the default
        plays one that takes about as long.

    Returns
    -------
    FixedPoint
        Its objective is the negative logarithm of the likelihood, with that of the prior. Its solution is by Newton's
        method from where 50 of Newman's sweeps lead.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    M. E. J. Newman, "Efficient computation of rankings from pairwise comparisons", J. Mach. Learn. Res. 24 (2023).

    Examples
    --------
    >>> problem = bradley_terry("newman", 20, prior=True)
    >>> zermelo = bradley_terry("zermelo", 20, prior=True)
    >>> zermelo.residual(problem.solution) < 1e-13
    True
    """
    from scipy.sparse.csgraph import connected_components

    update = choice("update", update, ("newman", "zermelo"))
    players = integer("players", players, least=2)
    rng = np.random.default_rng(seed)
    p = np.exp(1.5 * rng.standard_normal(players))
    games = np.triu(np.ones((players, players), dtype=np.int64), 1)
    won = rng.binomial(games, p[:, None] / (p[:, None] + p))
    wins = (won + (games - won).T).astype(np.float64)
    extra = 1.0 if prior else 0.0
    feasible = prior or connected_components(wins, connection="strong")[0] == 1
    sweeps = {"newman": partial(_newman, wins, extra), "zermelo": partial(_zermelo, wins, extra)}
    return FixedPoint(
        name=f"bradley_terry({update!r}, {players}" + (", prior=True)" if prior else ")"),
        map=sweeps[update],
        x0=np.zeros(players),
        description=f"a sweep of {update.capitalize()}'s for the logarithms of the players' strengths",
        reference="Newman, J. Mach. Learn. Res. 24 (2023), number 238",
        tolerance=1e-8,
        norm="max",
        solve=partial(_strengths, sweeps["newman"]) if feasible else None,
        objective=partial(_unlikelihood, wins, extra),
        feasible=feasible,
    )


def _newman(wins: np.ndarray, extra: float, x: np.ndarray) -> np.ndarray:
    losses = np.ascontiguousarray(wins.T)
    p = np.exp(x)
    for i in range(p.size):
        both, one = p[i] + p, extra / (p[i] + 1.0)
        p[i] = (wins[i] @ (p / both) + one) / ((losses[i] / both).sum() + one)
    return _logarithms(p, extra)


def _zermelo(wins: np.ndarray, extra: float, x: np.ndarray) -> np.ndarray:
    games, total = wins + wins.T, wins.sum(axis=1) + extra
    p = np.exp(x)
    for i in range(p.size):
        p[i] = total[i] / ((games[i] / (p[i] + p)).sum() + 2.0 * extra / (p[i] + 1.0))
    return _logarithms(p, extra)


def _logarithms(p: np.ndarray, extra: float) -> np.ndarray:
    x = np.log(p)
    return x if extra else x - x.mean()


def _unlikelihood(wins: np.ndarray, extra: float, x: np.ndarray) -> float:
    games = np.logaddexp(0.0, x - x[:, None])  # minus the logarithm of the chance that row beats column
    alone = np.logaddexp(0.0, x) + np.logaddexp(0.0, -x)
    return float((wins * games).sum() + extra * alone.sum())


def _strengths(sweep: Any) -> np.ndarray:
    x = np.zeros(len(sweep.args[0]))
    for _ in range(50):
        x = sweep(x)
    return newton(sweep, x)
