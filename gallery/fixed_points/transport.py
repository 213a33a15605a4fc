"""Sinkhorn's iteration for entropic optimal transport."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .problem import FixedPoint, integer, newton, number

__all__ = ["sinkhorn"]


@dataclass(frozen=True, eq=False)
class _Transport:
    """Costs C, shape (m, n), and the logarithms of the masses a, shape (m,), and b, shape (n,); all over epsilon."""

    C: np.ndarray
    log_a: np.ndarray
    log_b: np.ndarray

    def other(self, v: np.ndarray) -> np.ndarray:
        """The potential u of the rows that goes with v."""
        return self.log_a - _log_sum(v - self.C, axis=1)

    def __call__(self, v: np.ndarray) -> np.ndarray:
        return self.log_b - _log_sum(self.other(v)[:, None] - self.C, axis=0)

    def derivative(self, v: np.ndarray) -> np.ndarray:
        """Of the map; its eigenvalue 1, which belongs to adding a constant, is taken away."""
        u = self.other(v)
        first = np.exp(u[:, None] + v - self.C - self.log_a[:, None])
        second = np.exp(u[:, None] + self(v) - self.C - self.log_b)
        return second.T @ first - 1.0 / v.size


def _log_sum(z: np.ndarray, axis: int) -> np.ndarray:
    top = z.max(axis=axis)
    return top + np.log(np.exp(z - np.expand_dims(top, axis)).sum(axis=axis))


def sinkhorn(n: int = 100, *, epsilon: float = 0.05, seed: Any = 0) -> FixedPoint:
    """``v <- log b - log sum_i exp(u_i - C_ij / epsilon)``, ``u = log a - log sum_j exp(v_j - C_ij / epsilon)``.

    The plan ``exp(u_i + v_j - C_ij / epsilon)`` carries the masses a to the masses b at the least cost plus epsilon
    times its negative entropy. Two times n points are drawn in the unit square; costs are squared distances. With v any
    ``v + constant`` is a fixed point.

    Parameters
    ----------
    n : int
        Number of points on either side.
    epsilon : float
        Positive; the smaller, the slower.
    seed : int, numpy.random.Generator or None
        Of the points and their masses.

    Returns
    -------
    FixedPoint
        Nonexpansive in the maximum norm. Its solution is by Newton's method, after 100 iterations.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    G. Peyré, M. Cuturi, "Computational optimal transport", Found. Trends Mach. Learn. 11 (2019), sections 4.2 and 4.4.

    Examples
    --------
    >>> problem = sinkhorn(20)
    >>> problem
    <sinkhorn(20, epsilon=0.05): 20 unknowns, nonexpansive>
    """
    n = integer("n", n)
    epsilon = number("epsilon", epsilon, above=0.0)
    rng = np.random.default_rng(seed)
    here, there = rng.random((2, n, 2))
    a, b = 0.5 + rng.random((2, n))
    C = ((here[:, None] - there) ** 2).sum(axis=2) / epsilon
    g = _Transport(C, np.log(a / a.sum()), np.log(b / b.sum()))
    return FixedPoint(
        name=f"sinkhorn({n}, epsilon={epsilon:g})",
        map=g,
        x0=np.zeros(n),
        description="Sinkhorn's iteration for the potential of the columns",
        reference="Peyré, Cuturi, Found. Trends Mach. Learn. 11 (2019), pages 355-607",
        norm="max",
        solve=partial(_potential, g),
        lipschitz=1.0,
    )


def _potential(g: _Transport) -> np.ndarray:
    v = np.zeros(g.log_b.size)
    for _ in range(100):
        v = g(v)
    return newton(g, v, g.derivative)
