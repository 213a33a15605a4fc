"""Tsallis-INF: follow the regularised leader with the Tsallis entropy, on importance-weighted losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...kernels import kernel
from .evidence import Evidence
from .tuner import GridTuner

__all__ = ["TsallisINF", "tsallis_weights"]


@kernel(error_model="python")
def tsallis_weights(losses, eta, p):  # type: ignore[no-untyped-def]
    """p minimises <losses, p> - (4 / eta) sum_i sqrt(p_i) over the simplex; returns the Newton steps taken.

    p_i = 4 / (eta (losses_i - x))^2, the scalar x < min losses such that their sum is 1. Newton's method starts at
    x = min losses - 2 / eta, where the sum is at least 1. It increases with x and is convex there, so the iterates fall
    monotonically to the root. From the left of the root, a step may pass the pole and never come back.

    Parameters
    ----------
    losses : ndarray of float, (d,)
    eta : float
    p : ndarray of float, (d,)
        Overwritten.
    """
    low = losses[0]
    for i in range(1, losses.size):
        low = min(low, losses[i])
    x = -2 / eta
    for step in range(100):
        total = slope = 0.0
        for i in range(losses.size):
            root = 2 / (eta * (losses[i] - low - x))
            p[i] = root * root
            total += p[i]
            slope += p[i] * root
        if total <= 1 + 1e-12:
            return step
        x -= (total - 1) / (eta * slope)
    return 100


@kernel(error_model="python")
def draw(losses, scale, eta, uniform, p):  # type: ignore[no-untyped-def]
    """Weights of the losses in units of ``scale``, and the index that a uniform number falls on."""
    relative = np.empty(losses.size)
    for i in range(losses.size):
        relative[i] = losses[i] / scale
    tsallis_weights(relative, eta, p)
    total = below = 0.0
    for i in range(p.size):
        total += p[i]
    for i in range(p.size):
        below += p[i] / total
        if uniform < below:
            return i
    return p.size - 1


class TsallisINF(GridTuner):
    r"""Tsallis-INF with the Tsallis entropy of order 1/2, anytime.

    In round t the value i is drawn with the probabilities that minimise
    :math:`\langle \hat L, p\rangle - (4/\eta_t) \sum_i \sqrt{p_i}`, and its cost enters as ``cost / p_i``. Costs count
    relative to their running mean. Against any fixed value the expected excess after T rounds is of order
    sqrt(d T), whatever the costs, and of order log T where they are random and one value is best.

    Parameters
    ----------
    values : sequence, optional
        What to choose among, d values; by default 20 omegas from 1 to 1.95.
    parameter : str
    variance_reduced : bool
        Estimate by ``(cost - B) / p_i + B``, B half the mean cost where p_i is not tiny, with twice the rate.
    seed : int

    Notes
    -----
    A round costs O(d), about 6 microseconds for 20 values, 14 with reduced variance.

    References
    ----------
    Zimmert & Seldin (2019), "An optimal algorithm for stochastic and adversarial bandits", algorithm 1 and, for the
    reduced variance, section 3; Khodak, Chow, Balcan & Talwalkar (2024), "Learning to relax", algorithm 2.

    Examples
    --------
    >>> from resolvent.solvers.tuning import TsallisINF
    >>> tuner = TsallisINF([1.0, 1.5, 1.8], seed=1)
    >>> for _ in range(1000):
    ...     tuner.observe({1.0: 90, 1.5: 40, 1.8: 60}[tuner.suggest()])
    >>> max(zip(tuner.probabilities, tuner.values))[1]
    1.5
    """

    kind = "TsallisINF"

    def __init__(
        self,
        values: Sequence[Any] | None = None,
        *,
        parameter: str = "omega",
        variance_reduced: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(values, parameter=parameter, seed=seed)
        self.variance_reduced = bool(variance_reduced)
        self.losses = np.zeros(len(self.values))
        self.probabilities = np.full(len(self.values), 1 / len(self.values))

    @property
    def scale(self) -> float:
        """The mean cost so far, or 1 where there is none."""
        return self.spent / self.rounds if self.spent > 0 else 1.0

    @property
    def eta(self) -> float:
        """The learning rate of the coming round."""
        return (4 if self.variance_reduced else 2) / math.sqrt(self.rounds + 1)

    def best_fixed_cost(self) -> float | None:
        """Of the value whose estimated losses are least."""
        return max(0.0, float(self.losses.min()) / self.rounds) if self.rounds else None

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "variance_reduced": self.variance_reduced}

    def _choose_index(self, context: float | None) -> int:
        return int(draw(self.losses, self.scale, self.eta, self.rng.random(), self.probabilities))

    def _learn(self, value: Any, cost: float, context: float | None, evidence: Evidence | None) -> None:
        i, p = self._index, self.probabilities
        if not self.variance_reduced:
            self.losses[i] += cost / p[i]
            return
        middle = 0.5 * (self.spent + cost) / (self.rounds + 1)
        steady = p >= self.eta**2
        self.losses[steady] += middle
        self.losses[i] += (cost - middle * steady[i]) / p[i]

    def _memory(self) -> dict[str, Any]:
        return {
            **super()._memory(),
            "losses": self.losses.tolist(),
            "probabilities": self.probabilities.tolist(),
        }

    def _recall(self, memory: dict[str, Any]) -> None:
        super()._recall(memory)
        self.losses = np.array(memory["losses"])
        self.probabilities = np.array(memory["probabilities"])
