"""Whether a space is worth keeping from one system to the next."""

from __future__ import annotations

from typing import Any

from .evidence import Evidence
from .tuner import Fallback, Tuner

__all__ = ["Recycling"]

FIRST = 3  # systems to the first trial
CLEAR = 1.25  # a trial that was so much dearer than the other is repeated later
TRIAL = 2  # systems that a trial of keeping takes, since what is kept is out of date; the last one tells
LONGEST = 32  # systems at most from one trial to the next


class Recycling(Tuner):
    """Keeps some vectors or none, whichever was cheaper the last time, and tries the other ever more seldom.

    Parameters
    ----------
    number : int
        Of vectors.

    Notes
    -----
    The first trial comes after three systems, the next one after twice as many as the last, or four times as many where
    the difference was clear; at most after 32. A trial of none takes one system, one of keeping two, so that of a long
    sequence a sixteenth at most is solved in the dearer way.
    """

    kind = "Recycling"

    def __init__(self, number: int) -> None:
        super().__init__("recycle")
        self.number = number
        self._keeps, self._trying = True, False
        self._left = self._gap = FIRST
        self._costs: dict[bool, float] = {}  # of keeping, and of not

    def fallback(self) -> Fallback | None:
        """The method without, which owes nothing to other systems."""
        return Fallback(0, None)

    def best_fixed_cost(self) -> float | None:
        return min(self._costs.values(), default=None)

    def settings(self) -> dict[str, Any]:
        return {"number": self.number}

    def _choose(self, context: float | None) -> int:
        return self.number if self._keeps != self._trying else 0

    def _learn(self, value: Any, cost: float, context: float | None, evidence: Evidence | None) -> None:
        chosen = bool(value)
        recent = cost if self._trying else self._costs.get(chosen, cost)
        self._costs[chosen] = (recent + cost) / 2
        self._left -= 1
        if self._left > 0:
            return
        if not self._trying:
            self._trying, self._left = True, 1 if self._keeps else TRIAL
            return
        if self._costs[not self._keeps] < self._costs[self._keeps]:
            self._keeps, self._gap = not self._keeps, FIRST
        clear = self._costs[not self._keeps] > CLEAR * self._costs[self._keeps]
        self._gap = min((4 if clear else 2) * self._gap, LONGEST)
        self._trying, self._left = False, self._gap

    def _memory(self) -> dict[str, Any]:
        costs = [self._costs.get(kept) for kept in (False, True)]
        return {"keeps": self._keeps, "trying": self._trying, "left": self._left, "gap": self._gap, "costs": costs}

    def _recall(self, memory: dict[str, Any]) -> None:
        self._keeps, self._trying = bool(memory["keeps"]), bool(memory["trying"])
        self._left, self._gap = int(memory["left"]), int(memory["gap"])
        found = zip((False, True), memory["costs"], strict=True)
        self._costs = {kept: float(cost) for kept, cost in found if cost is not None}
