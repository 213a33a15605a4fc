"""One value for all systems."""

from __future__ import annotations

from typing import Any

from .evidence import Evidence
from .tuner import Tuner, checked_value

__all__ = ["Fixed"]


class Fixed(Tuner):
    """The same value every time: what the others are compared with.

    Parameters
    ----------
    value : object
        Anything JSON-able that the method takes.
    parameter : str

    Raises
    ------
    InputError
        For a relaxation factor outside (0, 2).

    Examples
    --------
    >>> from resolvent.solvers.tuning import Fixed
    >>> Fixed(1.5).suggest()
    1.5
    """

    kind = "Fixed"

    def __init__(self, value: Any, *, parameter: str = "omega") -> None:
        super().__init__(parameter)
        self.value = checked_value(value, parameter)

    def best_fixed_cost(self) -> float | None:
        return self.spent / self.rounds if self.rounds else None

    def settings(self) -> dict[str, Any]:
        return {"value": self.value}

    def _choose(self, context: float | None) -> Any:
        return self.value

    def _learn(self, value: Any, cost: float, context: float | None, evidence: Evidence | None) -> None:
        pass

    def _memory(self) -> dict[str, Any]:
        return {}

    def _recall(self, memory: dict[str, Any]) -> None:
        pass
