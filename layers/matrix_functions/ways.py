"""The ways to differentiate a matrix function: its own derivatives, or those of the iteration as far as it goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...naming import choice, choose_fields
from ...solvers.matrix_functions.method import LOWER, checked_lower, checked_schedule
from ...solvers.matrix_functions.newton_schulz import Schedule
from ...solvers.matrix_functions.newton_schulz import schedule as made
from ...solvers.matrix_functions.scaling import SCALINGS as ALL_SCALINGS
from ...solvers.matrix_functions.scaling import margin
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
        choose_fields(self, method=METHODS)
        checked_lower(self.lower)
        # Without "aol", which is another function.
        known = ALL_SCALINGS if self.method == "implicit" else SCALINGS
        scaling = choice("scaling", self.scaling, known, more=f" with method={self.method!r}")
        object.__setattr__(self, "scaling", scaling)

    @property
    def parameters(self) -> dict[str, Any]:
        """Those that a solver takes."""
        return {"schedule": self.schedule, "lower": self.lower, "scaling": self.scaling}

    def tolerance(self, dtype: Any) -> float:
        """rtol, or the default of the type."""
        return default_rtol(dtype) if self.rtol is None else self.rtol

    def least(self, default: float, tensors: Sequence[Any], *, eigenvalues: bool = False) -> float:
        """The smallest singular value, or eigenvalue, over the bound that it is divided by; or the default."""
        if self.lower is None:
            return default
        order = max(min(tensor.shape[-2:]) for tensor in tensors)
        return self.lower / margin(self.scaling, order) ** (2 if eigenvalues else 1)

    def polynomials(self, *tensors: Any, root: int, eigenvalues: bool = False) -> tuple[tuple[float, ...], ...]:
        """Of the schedule: what was given, or of the one that reaches the tolerance.

        Parameters
        ----------
        tensors : Tensor
        root : int
            Of the schedule.
        eigenvalues : bool
            With root 1, whether the steps are of eigenvalues of Hermitian tensors rather than of singular values.
        """
        given, dtype = self.schedule, tensors[0].dtype
        if given is not None:
            return checked_schedule(given, root).coefficients
        format = "fp64" if torch.finfo(dtype).bits == 64 else "fp32"
        if root == 1:
            least = self.least(LOWER, tensors, eigenvalues=eigenvalues)
        else:
            least = self.least(1e-6, tensors, eigenvalues=True) ** (1 / root)
        return made(least, degree=5, tolerance=self.tolerance(dtype), root=root, precision=format).coefficients


def differentiable(
    way: Way, rule: Rule, iteration: Callable[..., Any], steps: Callable[..., Any], *tensors: Any
) -> Any:
    """f of the tensors by the rule, or by the iteration with the steps that are for them."""
    if way.method == "implicit":
        return implicit(rule, *tensors)
    return unrolled(iteration, *tensors, steps=steps(*tensors), again=way.method == "checkpoint")
