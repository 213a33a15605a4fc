"""Tsallis-INF by bins of the context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import InputError
from .evidence import Evidence
from .tsallis import TsallisINF
from .tuner import GridTuner, checked_seed

__all__ = ["TsallisINFBinned", "checked_interval", "checked_context"]


def checked_interval(interval: Any) -> tuple[float, float]:
    """The two ends of an interval of contexts."""
    try:
        low, high = (float(end) for end in interval)
    except (TypeError, ValueError):
        raise InputError(f"interval: found {interval!r}; wanted a pair of numbers, where contexts lie") from None
    if not -np.inf < low < high < np.inf:
        raise InputError(f"interval: found {interval!r}; wanted two finite numbers, the smaller first")
    return low, high


def checked_context(context: float | None, interval: tuple[float, float], kind: str) -> float:
    """A context within the interval that the tuner was told."""
    if context is None:
        raise InputError(f"context: found None; {kind} needs a number that tells the systems apart")
    if not interval[0] <= context <= interval[1]:
        raise InputError(
            f"context: found {context:g}; {kind} was told that contexts lie in [{interval[0]:g}, {interval[1]:g}]"
        )
    return context


class TsallisINFBinned(GridTuner):
    """One ``TsallisINF`` for each of m equal parts of the interval in which contexts lie.

    Parameters
    ----------
    interval : (float, float)
        Where contexts lie.
    values : sequence, optional
    bins : int
        m.
    parameter : str
    variance_reduced : bool
    seed : int

    Raises
    ------
    InputError
        For a context outside the interval, or none.

    Notes
    -----
    A round costs as much as one of ``TsallisINF``. The excess over the best value of each bin is of order
    sqrt(d m T) after T rounds, d being the number of values.

    References
    ----------
    Khodak, Chow, Balcan & Talwalkar (2024), "Learning to relax", theorem 2.2.

    Examples
    --------
    >>> from resolvent.solvers.tuning import TsallisINFBinned
    >>> tuner = TsallisINFBinned((0, 1), [1.0, 1.5], bins=2)
    >>> for k in range(400):
    ...     context = k % 2
    ...     tuner.observe(10 if (tuner.suggest(context) == 1.5) == (context == 1) else 30)
    >>> [bin.values[bin.probabilities.argmax()] for bin in tuner.bins]
    [1.0, 1.5]
    """

    kind = "TsallisINFBinned"

    def __init__(
        self,
        interval: tuple[float, float],
        values: Sequence[Any] | None = None,
        *,
        bins: int = 5,
        parameter: str = "omega",
        variance_reduced: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(values, parameter=parameter, seed=seed)
        self.interval = checked_interval(interval)
        if checked_seed(bins) < 1:
            raise InputError(f"bins: found {bins!r}; wanted at least 1")
        self.bins = [
            TsallisINF(self.values, parameter=parameter, variance_reduced=variance_reduced) for _ in range(bins)
        ]
        for one in self.bins:
            one.rng = self.rng
        self._bin = 0

    def settings(self) -> dict[str, Any]:
        reduced = self.bins[0].variance_reduced
        return {
            **super().settings(),
            "interval": list(self.interval),
            "bins": len(self.bins),
            "variance_reduced": reduced,
        }

    def best_fixed_cost(self) -> float | None:
        """Of the value that is best over all bins."""
        if not self.rounds:
            return None
        return max(0.0, float(np.sum([one.losses for one in self.bins], axis=0).min()) / self.rounds)

    def _choose_index(self, context: float | None) -> int:
        low, high = self.interval
        part = (checked_context(context, self.interval, self.kind) - low) / (high - low)
        self._bin = min(int(part * len(self.bins)), len(self.bins) - 1)
        one = self.bins[self._bin]
        one.suggest()
        return one._index

    def _learn(self, value: Any, cost: float, context: float | None, evidence: Evidence | None) -> None:
        self.bins[self._bin].observe(cost)

    def _memory(self) -> dict[str, Any]:
        return {**super()._memory(), "bin": self._bin, "bins": [one.state() for one in self.bins]}

    def _recall(self, memory: dict[str, Any]) -> None:
        self._bin = int(memory["bin"])
        for one, state in zip(self.bins, memory["bins"], strict=True):
            one.load(state)
        super()._recall(memory)  # the generator last: the bins share it
