"""Gaussian Thompson sampling, with neighbouring values alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import InputError
from .evidence import Evidence
from .tuner import GridTuner

__all__ = ["GaussianThompson"]

PRIOR_DEVIATION = 1.0  # of the logarithm of a mean cost, from value to value
PRIOR_SPREAD = 0.5  # of single costs relative to their mean, worth two observations
FLOOR = 1e-3  # of the recent level: less has no logarithm to speak of
LEVEL = 20  # rounds that the recent level of costs is a mean of
REFRESH = 0.02  # the posterior is computed anew when the rounds have grown by this


class GaussianThompson(GridTuner):
    r"""Draw mean costs from what is believed of them, and take the value whose draw is least.

    The logarithms of the mean costs have a Gaussian prior whose covariance falls with the distance in the list,
    :math:`\exp(-(i-j)^2 / 2\ell^2)`, so that a cost tells of the neighbours too. Each value's spread is estimated from
    its costs, shrunk towards that of all. Costs count relative to their mean over the last 20 rounds: where all systems
    get harder for a while, the values tried then are not to blame.

    Parameters
    ----------
    values : sequence, optional
        What to choose among, d values, in order if ``smoothness`` is above 0; by default 20 omegas from 1 to 1.95.
    parameter : str
    smoothness : float
        The length l, in places of the list; 0 takes the values for unrelated.
    memory : float, optional
        Rounds after which a cost counts a third; by default all count alike. For sequences that drift.
    seed : int

    Raises
    ------
    InputError
        For a negative smoothness, or a memory below 1.

    Notes
    -----
    A round costs O(d^2), about 15 microseconds for 20 values, and O(d^3) each time the rounds have grown by 2 %. The
    excess over the best value is of order log T where costs are random; there is no bound for costs chosen by an
    adversary.

    References
    ----------
    Thompson (1933), "On the likelihood that one unknown probability exceeds another"; Agrawal & Goyal (2013), "Further
    optimal regret bounds for Thompson sampling"; Srinivas et al. (2010), "Gaussian process optimization in the bandit
    setting", for the prior; Raj & Kalyani (2017), "Taming non-stationary bandits", for the memory.

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.solvers.tuning import GaussianThompson
    >>> tuner, rng = GaussianThompson(seed=1), np.random.default_rng(0)
    >>> for _ in range(300):
    ...     omega = tuner.suggest()
    ...     tuner.observe((40 + 300 * (omega - 1.6) ** 2) * rng.uniform(0.5, 1.5))
    >>> abs(tuner.best - 1.6) < 0.11
    True
    """

    kind = "GaussianThompson"

    def __init__(
        self,
        values: Sequence[Any] | None = None,
        *,
        parameter: str = "omega",
        smoothness: float = 4.0,
        memory: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(values, parameter=parameter, seed=seed)
        if not 0 <= smoothness < np.inf:
            raise InputError(f"smoothness: found {smoothness!r}; wanted a number of at least 0")
        if memory is not None and not 1 <= memory < np.inf:
            raise InputError(f"memory: found {memory!r}; wanted a number of rounds, or None")
        self.smoothness, self.memory = float(smoothness), memory
        d = len(self.values)
        distance = np.subtract.outer(np.arange(d), np.arange(d))
        correlation = np.exp(-0.5 * (distance / smoothness) ** 2) if smoothness else np.eye(d)
        self._prior = PRIOR_DEVIATION**2 * correlation + 1e-6 * np.eye(d)
        self._keep = 1.0 if memory is None else 1 - 1 / memory
        # Of each value: rounds, sum of costs, sum of squared costs; those of a limited memory are discounted.
        self._counts, self._sums, self._squares = np.zeros((3, d))
        self._next = 1
        self._level = self._levels = 0.0  # the recent mean of all costs, and the sum of what it was in each round
        self._mean, self._factor = np.zeros(d), np.linalg.cholesky(self._prior)

    @property
    def best(self) -> Any:
        """The value believed to be best."""
        return self.values[int(self._mean.argmin())]

    def suggest_best(self) -> Any:
        """The value believed to be best, without a draw; its cost is observed as that of a suggestion is."""
        if self._counts.any():
            self._believe(mean_only=True)
        self._index = int(self._mean.argmin()) if self._counts.any() else len(self.values) // 2
        return self._hand_out(self.values[self._index], None)

    def best_fixed_cost(self) -> float | None:
        return float(np.exp(self._mean.min())) * self._levels / self.rounds if self.rounds else None

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "smoothness": self.smoothness, "memory": self.memory}

    def _choose_index(self, context: float | None) -> int:
        if not self._counts.any():
            return len(self.values) // 2
        if self.rounds >= self._next:
            self._believe()
            self._next = self.rounds + max(1, int(REFRESH * self._counts.sum()))
        drawn = self._mean + self._factor @ self.rng.standard_normal(len(self.values))
        return int(drawn.argmin())

    def _learn(self, value: Any, cost: float, context: float | None, evidence: Evidence | None) -> None:
        if self._keep < 1:
            self._counts *= self._keep
            self._sums *= self._keep
            self._squares *= self._keep
        level = self._level if self.rounds else cost
        self._level += (cost - self._level) / min(self.rounds + 1, LEVEL)
        if not level > 0:
            return  # nothing but zeros so far
        self._levels += level
        i, relative = self._index, min(max(cost / level, FLOOR), 1 / FLOOR)
        self._counts[i] += 1
        self._sums[i] += relative
        self._squares[i] += relative * relative

    def _believe(self, mean_only: bool = False) -> None:
        """The posterior of the logarithms of the mean costs; their standard errors are relative ones of the means."""
        seen = self._counts > 1e-3
        n, mean = self._counts[seen], self._sums[seen] / self._counts[seen]
        spread = np.maximum(self._squares[seen] - n * mean**2, 0.0) / mean**2
        pooled = (spread.sum() + 2 * PRIOR_SPREAD**2) / (np.maximum(n - 1, 0).sum() + 2)
        variance = (spread + 2 * pooled) / (np.maximum(n - 1, 0) + 2) / n
        y = np.log(mean)
        level = (n @ y) / n.sum()
        gain = np.linalg.solve(self._prior[np.ix_(seen, seen)] + np.diag(variance), self._prior[seen])
        self._mean = level + gain.T @ (y - level)
        if mean_only:
            return
        covariance = self._prior - self._prior[:, seen] @ gain
        self._factor = np.linalg.cholesky(covariance + 1e-8 * np.eye(len(covariance)))

    _ARRAYS = ("_counts", "_sums", "_squares", "_mean", "_factor")

    def _memory(self) -> dict[str, Any]:
        arrays = {name: getattr(self, name).tolist() for name in self._ARRAYS}
        return {**super()._memory(), **arrays, "next": self._next, "levels": [self._level, self._levels]}

    def _recall(self, memory: dict[str, Any]) -> None:
        super()._recall(memory)
        for name in self._ARRAYS:
            setattr(self, name, np.array(memory[name]))
        self._next = int(memory["next"])
        self._level, self._levels = memory["levels"]
