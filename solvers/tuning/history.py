"""What a sequence was, system by system: costs, parameters, regret; as text and as a figure."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..report.facts import Facts
from ..report.figures import plot_sequence
from .told import curve_of, name_of_numbers, numbers_in, rows_of_values
from .tuner import Tuner

__all__ = ["History"]


@dataclass
class History:
    """One entry a system, in lists of the same length.

    Attributes
    ----------
    parameters : list
        The values used; a dict where they were several, or a method was among them.
    costs : list of float
        In the unit of the sequence, solves that were given up included.
    iterations : list of int
    seconds : list of float
    contexts : list of float or None
    statuses : list of str
    given_up : list of bool
        Whether the parameter was given up within the solve.
    """

    parameters: list[Any] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    iterations: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    contexts: list[float | None] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    given_up: list[bool] = field(default_factory=list)
    tuner: Tuner | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.costs)

    @property
    def regret(self) -> np.ndarray | None:
        """Running total of the costs less what the best single value would have cost, estimated; (systems,).

        Negative where the tuner did better than any single value. None where the tuner has no estimate.
        """
        best = None if self.tuner is None else self.tuner.best_fixed_cost()
        if best is None:
            return None
        costs = np.asarray(self.costs)
        return np.cumsum(costs) - best * np.arange(1, len(costs) + 1)

    def numbers(self) -> np.ndarray:
        """The parameters as numbers, NaN where they are none; (systems,)."""
        return numbers_in(self.parameters)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "tuner"}

    def facts(self, title: str, unit: str, parameter: str) -> Facts:
        """What is told of it: totals, what was chosen, and iterations and parameter by system."""
        if not len(self):
            return Facts(title, "nothing solved yet")
        costs = np.asarray(self.costs)
        recent = costs[-max(1, len(costs) // 5) :]
        rows = [
            ("cost", f"{costs.sum():.6g} {unit}, {costs.mean():.4g} a system, {recent.mean():.4g} in the last fifth"),
            ("iterations", f"{sum(self.iterations)}"),
            ("time", f"{sum(self.seconds):.3g} s"),
            *rows_of_values(self.parameters, "systems"),
        ]
        regret = self.regret
        if regret is not None:
            best = costs.sum() - regret[-1]
            more = f", so {costs.sum() / best - 1:+.1%}" if best > 0 else ""
            rows.append(("best single value", f"about {best:.6g} {unit}{more}"))
        if any(self.given_up):
            rows.append(("given up", f"{sum(self.given_up)} parameters within their solves"))
        failed = [status for status in self.statuses if status != "CONVERGED"]
        if failed:
            rows.append(("not converged", f"{len(failed)} systems ({', '.join(sorted(set(failed)))})"))
        curves = [curve_of("iterations", "iterations", self.iterations, "system")]
        if unit != "iterations":
            curves.append(curve_of("cost", unit, costs, "system"))
        curves.append(curve_of("parameter", name_of_numbers(self.parameters, parameter), self.numbers(), "system"))
        return Facts(title, f"{len(self)} systems", rows=tuple(rows), charts=tuple(curves))

    def plot(self, title: str, unit: str, file: str | os.PathLike[str] | None = None) -> Any:
        """Costs, parameters and regret by system, one below the other."""
        curves = [("cost", f"cost, {unit}", np.asarray(self.costs)), ("parameter", "parameter", self.numbers())]
        regret = self.regret
        if regret is not None:
            curves.append(("regret", f"estimated regret, {unit}", regret))
        return plot_sequence(title, {name: (label, values) for name, label, values in curves}, file)
