"""One value for all systems."""

from __future__ import annotations

from typing import Any

from .evidence import Evidence
from .tuner import Tuner, check_omega, checked_value

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
        For something that JSON does not know; once a ``Sequence`` uses it, for a relaxation factor outside (0, 2).

    Examples
    --------
    >>> from resolvent.solvers.tuning import Fixed
    >>> Fixed(1.5).suggest()
    1.5
    """

    kind = "Fixed"

    def __init__(self, value: Any, *, parameter: str = "omega") -> None:
        super().__init__(parameter)
        self.value = checked_value(value)
        check_omega(self.value, parameter, None)

    def best_fixed_cost(self) -> float | None:
        return self.spent / self.rounds if self.rounds else None

    def bind(self, method: str) -> None:
        check_omega(self.value, self.parameter, method)
        super().bind(method)

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
