"""The minimum of a smooth convex function, given its gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

from ...backends import Backend
from ...errors import InputError
from ...precision import times_power_of_two
from ..driver.problem import Words
from ..driver.solution import Solution
from ..monotone.problem import MonotoneProblem

__all__ = ["GradientProblem"]


class GradientProblem(MonotoneProblem):
    """The x at which the gradient of f vanishes, where mu <= (eigenvalues of the Hessian of f) <= L.

    Solved when ||gradient(x)|| <= max(rtol ||gradient(x0)||, atol), in the 2-norm over all blocks.

    Parameters
    ----------
    gradient : callable
        From x to the gradient of f, as F in ``MonotoneProblem``.
    x0 : array, number, or tuple, list or dict of such
        As in ``FixedPointProblem``.
    smoothness : float
        L, a Lipschitz constant of the gradient.
    strong_convexity : float
        mu, at least 0 and at most L.
    backend, precision :
        As in ``FixedPointProblem``.

    Attributes
    ----------
    condition : float
        L / mu, infinite where mu is 0.

    Raises
    ------
    InputError, TypeError
        As in ``MonotoneProblem``, and for a mu outside its range.

    Examples
    --------
    >>> from resolvent.solvers.gradient.problem import GradientProblem
    >>> GradientProblem(lambda x: 3 * x, 1.0, smoothness=4.0, strong_convexity=2.0).condition
    2.0
    """

    words = Words(residual="||gradient(x)||", reference="||gradient(x0)||", products="evaluations of the gradient")
    called = "gradient"
    started_from = "x0"
    constant = "smoothness"

    def __init__(
        self,
        gradient: Callable[[Any], Any],
        x0: Any,
        *,
        smoothness: float,
        strong_convexity: float = 0.0,
        backend: str | Backend | None = None,
        precision: Any = None,
    ) -> None:
        self.convexity, self.condition = 0.0, math.inf
        super().__init__(gradient, x0, lipschitz=smoothness, backend=backend, precision=precision)
        if self.estimated:
            raise InputError("smoothness: found None; wanted a finite number above 0")
        if not (isinstance(strong_convexity, Real) and 0 <= strong_convexity <= smoothness):
            raise InputError(
                f"strong_convexity: found {strong_convexity!r}; wanted a number from 0 to smoothness, {smoothness!r}"
            )
        if strong_convexity:
            self.convexity = float(strong_convexity)
            self.condition = float(smoothness) / self.convexity

    @property
    def mu(self) -> float:
        """In internal units, as ``lipschitz`` is."""
        return times_power_of_two(self.convexity, -self.matrix_exponent)

    def go_on(self, solution: Solution) -> str:
        return "Raise maxiter."
