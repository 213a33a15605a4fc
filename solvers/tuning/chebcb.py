"""ChebCB: SquareCB with a constrained least-squares fit of Chebyshev polynomials of the context for each value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import InputError
from ...kernels import kernel
from .evidence import Evidence
from .tsallis_binned import checked_context, checked_interval
from .tuner import GridTuner, checked_seed

__all__ = ["ChebCB", "box_least_squares", "inverse_gap_weights"]

RIDGE = 1e-10  # of the number of rounds: picks one fit where the contexts seen do not


@kernel(error_model="python")
def solve_free(G, h, theta, free, out):  # type: ignore[no-untyped-def]
    """The minimiser over the free coefficients, the others held; Gaussian elimination, G being positive definite."""
    m = h.size
    W, v = np.empty((m, m)), np.empty(m)
    for i in range(m):
        v[i] = h[i]
        for j in range(m):
            W[i, j] = G[i, j]
            if not free[j]:
                v[i] -= G[i, j] * theta[j]
    for i in range(m):
        if free[i]:
            for k in range(i + 1, m):
                if free[k]:
                    factor = W[k, i] / W[i, i]
                    for j in range(i, m):
                        W[k, j] -= factor * W[i, j]
                    v[k] -= factor * v[i]
    for i in range(m - 1, -1, -1):
        out[i] = theta[i]
        if free[i]:
            total = v[i]
            for j in range(i + 1, m):
                if free[j]:
                    total -= W[i, j] * out[j]
            out[i] = total / W[i, i]


@kernel(error_model="python")
def box_least_squares(G, h, bound, theta):  # type: ignore[no-untyped-def]
    """theta minimises theta^T G theta / 2 - h^T theta subject to |theta_j| <= bound_j, by an active set.

    Starts from the unconstrained minimiser's signs; each step moves towards the minimiser over the free coefficients
    until one meets its bound, and frees the bound whose gradient points inwards most (Stark & Parker 1995).

    Parameters
    ----------
    G : ndarray, (m, m)
        Positive definite.
    h, bound : ndarray, (m,)
    theta : ndarray, (m,)
        Overwritten.
    """
    m = h.size
    free, goal = np.empty(m, np.bool_), np.empty(m)
    largest = 0.0
    for j in range(m):
        free[j], theta[j] = True, 0.0
        largest = max(largest, abs(h[j]))
    solve_free(G, h, theta, free, goal)
    inside = True
    for j in range(m):
        if abs(goal[j]) > bound[j]:
            inside = False
    if inside:
        for j in range(m):
            theta[j] = goal[j]
        return
    for _ in range(20 * m):
        solve_free(G, h, theta, free, goal)
        part, blocked = 1.0, -1
        for j in range(m):
            if free[j] and abs(goal[j]) > bound[j]:
                end = bound[j] if goal[j] > 0 else -bound[j]
                here = (end - theta[j]) / (goal[j] - theta[j])
                if here < part:
                    part, blocked = here, j
        for j in range(m):
            if free[j]:
                theta[j] += part * (goal[j] - theta[j])
        if blocked >= 0:
            free[blocked] = False
            theta[blocked] = bound[blocked] if goal[blocked] > 0 else -bound[blocked]
            continue
        most, release = 1e-9 * largest, -1
        for j in range(m):
            if not free[j]:
                gradient = h[j]
                for k in range(m):
                    gradient -= G[j, k] * theta[k]
                inwards = -gradient if theta[j] > 0 else gradient
                if inwards > most:
                    most, release = inwards, j
        if release < 0:
            return
        free[release] = True


@kernel(error_model="python")
def features_of(z, out):  # type: ignore[no-untyped-def]
    """T_0(z), T_1(z), ..."""
    out[0] = 1.0
    if out.size > 1:
        out[1] = z
    for j in range(2, out.size):
        out[j] = 2 * z * out[j - 1] - out[j - 2]


@kernel(error_model="python")
def inverse_gap_weights(scores, eta, p):  # type: ignore[no-untyped-def]
    """p_i = 1 / (d + eta (s_i - min s)), the rest of the mass on the smallest score (Abe & Long 1999)."""
    d = scores.size
    best, total = 0, 0.0
    for i in range(d):
        if scores[i] < scores[best]:
            best = i
    for i in range(d):
        p[i] = 1 / (d + eta * (scores[i] - scores[best]))
        total += p[i]
    p[best] += 1 - total


@kernel(error_model="python")
def refit(G, h, squares, counts, bound, i, theta, residuals):  # type: ignore[no-untyped-def]
    """The constrained fit of value i, and what it leaves of its squares."""
    m = bound.size
    ridged = np.empty((m, m))
    for j in range(m):
        for k in range(m):
            ridged[j, k] = G[i, j, k]
        ridged[j, j] += RIDGE * max(counts[i], 1)
    box_least_squares(ridged, h[i], bound, theta[i])
    fitted = squares[i]
    for j in range(m):
        fitted -= 2 * h[i, j] * theta[i, j]
        for k in range(m):
            fitted += theta[i, j] * G[i, j, k] * theta[i, k]
    residuals[i] = max(fitted, 0.0)


@kernel(error_model="python")
def take_note(G, h, squares, counts, bound, i, features, cost, everything, theta, residuals):  # type: ignore[no-untyped-def]
    """Add a cost to the normal equations of value i; fit it anew, or all where the bounds have moved."""
    for j in range(features.size):
        h[i, j] += cost * features[j]
        for k in range(features.size):
            G[i, j, k] += features[j] * features[k]
    squares[i] += cost * cost
    counts[i] += 1
    for other in range(squares.size):
        if other == i or (everything and counts[other] > 0):
            refit(G, h, squares, counts, bound, other, theta, residuals)


class ChebCB(GridTuner):
    r"""SquareCB with Chebyshev features of the context.

    For each value a polynomial of degree m - 1 in the context is fitted to the costs that it had, with coefficients
    bounded as those of a Lipschitz function are: :math:`|\theta_0| \le K`, :math:`|\theta_j| \le 2 K / j`, K the
    largest cost so far. The value drawn is mostly the one with the least prediction; others come with the inverse of
    the gap, ``1 / (d + eta gap)``, and eta grows with t as the fits get better.

    Parameters
    ----------
    interval : (float, float)
        Where contexts lie.
    values : sequence, optional
        What to choose among, d values; by default 20 omegas from 1 to 1.95.
    features : int
        m.
    parameter : str
    seed : int

    Raises
    ------
    InputError
        For a context outside the interval, or none.

    Notes
    -----
    A round costs O(d m + m^3) by incremental normal equations, and d fits when a cost is the largest yet: about 30
    microseconds for 20 values and 6 features. The published programs fit all past costs anew.

    References
    ----------
    Khodak, Chow, Balcan & Talwalkar (2024), "Learning to relax", algorithm 5 and theorem 3.2, with the constants of
    its published programs; Foster & Rakhlin (2020), "Beyond UCB", algorithm 1.

    Examples
    --------
    >>> from resolvent.solvers.tuning import ChebCB
    >>> tuner = ChebCB((0, 1), [1.0, 1.5], features=3)
    >>> for k in range(300):
    ...     context = (k % 7) / 6
    ...     tuner.observe(10 + 20 * (context if tuner.suggest(context) == 1.0 else 1 - context))
    >>> [tuner.values[tuner.predictions(context).argmin()] for context in (0.0, 1.0)]
    [1.0, 1.5]
    """

    kind = "ChebCB"

    def __init__(
        self,
        interval: tuple[float, float],
        values: Sequence[Any] | None = None,
        *,
        features: int = 6,
        parameter: str = "omega",
        seed: int = 0,
    ) -> None:
        super().__init__(values, parameter=parameter, seed=seed)
        self.interval = checked_interval(interval)
        if checked_seed(features) < 1:
            raise InputError(f"features: found {features!r}; wanted at least 1")
        d, m = len(self.values), int(features)
        self.largest, self.squared_errors = 0.0, 0.0
        self._features = np.zeros(m)
        self._bound = 2 / np.maximum(np.arange(m), 1)  # of the coefficients, in units of the largest cost
        self._bound[0] = 1.0
        self._predicted = 0.0
        self.probabilities = np.full(d, 1 / d)
        self.theta, self._G, self._h = np.zeros((d, m)), np.zeros((d, m, m)), np.zeros((d, m))
        self._squares, self._counts, self._residuals = np.zeros(d), np.zeros(d, np.int64), np.zeros(d)

    def predictions(self, context: float) -> np.ndarray:
        """The predicted cost of each value in a context, (d,)."""
        low, high = self.interval
        context = checked_context(context, self.interval, self.kind)
        features_of(2 * (context - low) / (high - low) - 1, self._features)
        return self.theta @ self._features

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "interval": list(self.interval), "features": self._features.size}

    def _choose_index(self, context: float | None) -> int:
        predicted = self.predictions(checked_context(context, self.interval, self.kind))
        inverse_gap_weights(predicted, self._eta(), self.probabilities)
        index = int(np.searchsorted(np.cumsum(self.probabilities), self.rng.random()))
        self._predicted = float(predicted[min(index, len(self.values) - 1)])
        return min(index, len(self.values) - 1)

    def _eta(self) -> float:
        """2 t sqrt(d t / (regret of the fits + 2 alpha^2 t)), in units of costs divided by K N."""
        t, d, m = self.rounds + 1, len(self.values), self._features.size
        if not self.largest > 0:
            return 0.0
        N = 2 + 4 * (1 + math.log(m))
        alpha = (math.pi + 2 / math.pi * math.log(2 * m + 1)) / (2 * N * (m + 1))
        regret = max(self.squared_errors - float(self._residuals.sum()), 0.0) / (self.largest * N) ** 2
        return 2 * t * math.sqrt(d * t / (regret + 2 * alpha**2 * t)) / (self.largest * N)

    def _learn(self, value: Any, cost: float, context: float | None, evidence: Evidence | None) -> None:
        self.squared_errors += (self._predicted - cost) ** 2
        grown = cost > self.largest
        self.largest = max(self.largest, cost)
        take_note(
            self._G,
            self._h,
            self._squares,
            self._counts,
            self.largest * self._bound,
            self._index,
            self._features,
            cost,
            grown,
            self.theta,
            self._residuals,
        )

    _ARRAYS = ("theta", "probabilities", "_features", "_G", "_h", "_squares", "_counts", "_residuals")

    def _memory(self) -> dict[str, Any]:
        arrays = {name: getattr(self, name).tolist() for name in self._ARRAYS}
        numbers = {"largest": self.largest, "squared_errors": self.squared_errors, "predicted": self._predicted}
        return {**super()._memory(), **arrays, **numbers}

    def _recall(self, memory: dict[str, Any]) -> None:
        super()._recall(memory)
        for name in self._ARRAYS:
            setattr(self, name, np.array(memory[name], dtype=getattr(self, name).dtype))
        self.largest, self.squared_errors = memory["largest"], memory["squared_errors"]
        self._predicted = memory["predicted"]
