"""The ways to differentiate a matrix function: its own derivatives, or those of the iteration as far as it goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ...errors import InputError
from ...solvers.matrix_functions.method import checked_lower, checked_schedule
from ...solvers.matrix_functions.newton_schulz import Schedule
from ...solvers.matrix_functions.newton_schulz import schedule as made
from ...solvers.matrix_functions.scaling import checked_scaling
from .forward import default_rtol
from .implicit import Rule, implicit
from .unrolled import SCALINGS, unrolled

__all__ = ["METHODS", "Way", "differentiable"]

METHODS = ("implicit", "unrolled", "checkpoint")


@dataclass(frozen=True)
class Way:
    """What the caller asks for: the method, and of an unrolled iteration its polynomials.

    Parameters
    ----------
    method : {"implicit", "unrolled", "checkpoint"}
    rtol : float, optional
    schedule : Schedule or str, optional
    lower : float, optional
    scaling : str

    Raises
    ------
    InputError
        For other names.
    """

    method: str
    rtol: float | None = None
    schedule: Schedule | str | None = None
    lower: float | None = None
    scaling: str = "schatten-8"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"method: found {self.method!r}; wanted one of {', '.join(METHODS)}")
        checked_lower(self.lower)
        checked_scaling(self.scaling)  # without "aol", which is another function
        if self.method != "implicit" and self.scaling not in SCALINGS:
            raise InputError(
                f"scaling: found {self.scaling!r} with method={self.method!r}; wanted one of {', '.join(SCALINGS)}"
            )

    def tolerance(self, dtype: Any) -> float:
        """rtol, or the default of the type."""
        return default_rtol(dtype) if self.rtol is None else self.rtol

    def polynomials(self, dtype: Any, *, root: int) -> tuple[tuple[float, ...], ...]:
        """Of the schedule: what was given, or of the one that reaches the tolerance."""
        given = self.schedule
        if given is None:
            format = "fp64" if torch.finfo(dtype).bits == 64 else "fp32"
            power = 1 if root == 1 else 1 / root
            least = (1e-3 if root == 1 else 1e-6**power) if self.lower is None else self.lower**power
            return made(least, degree=5, tolerance=self.tolerance(dtype), root=root, precision=format).coefficients
        return checked_schedule(given, root).coefficients


def differentiable(way: Way, rule: Rule, iteration: Callable[..., Any], steps: Callable[[Any], Any], A: Any) -> Any:
    """f(A) by the rule, or by the iteration with the steps for a type of numbers."""
    if way.method == "implicit":
        return implicit(rule, A)
    return unrolled(iteration, A, steps(A.dtype), again=way.method == "checkpoint")
