"""What least squares return: a Solution, and what is asked about such alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from ..driver.solution import Solution

__all__ = ["LeastSquaresSolution"]

V = TypeVar("V")


@dataclass(eq=False)
class LeastSquaresSolution(Solution[V]):
    """The x that makes ||b - A x||^2 + damp^2 ||x - x0||^2 smallest; x0 is zero where none was given.

    With s = A^H (b - A x) - damp^2 (x - x0), the gradient, all norms below are recomputed from A, b and x.

    Attributes
    ----------
    x : array
    relative_residual : float
        ``normar / (norma normr)``, or ``normr / (norma normx + ||b||)`` where that is nearer to what is asked of it:
        the two backward errors of Paige and Saunders. ``tolerance`` is what is asked of the one given.
    consistent : bool
        That was the second: b - A x is as small as the tolerances ask.
    normr : float
        ||b - A x||, with damp * ||x - x0|| below it.
    normar : float
        ||s||.
    norma : float
        ||A||, with damp below it, from below: no backward error is understated.
    normx, normb : float
        ||x|| and ||b||.
    damp : float
    rank : int or None
        Numerical rank of A, where a factorisation told it.

    Notes
    -----
    ``spectrum`` and ``condition`` are those of singular values: of A with damp below it, of A M where it is
    preconditioned; zero is not seen among them by the iterations, which never leave the range of A^H.
    """

    consistent: bool = False
    normr: float = math.nan
    normar: float = math.nan
    norma: float = math.nan
    normx: float = math.nan
    normb: float = math.nan
    damp: float = 0.0
    rank: int | None = None

    @property
    def rhs_norm(self) -> float:
        """||b||."""
        return self.normb

    @property
    def singular_values(self) -> tuple[float, float] | None:
        """The smallest and the largest, as far as they showed: the same as ``spectrum``."""
        return self.spectrum

    @cached_property
    def backward_error(self) -> Any:
        """The smaller of the two backward errors, unweighed: x solves exactly a problem as near as that."""
        own = self.normar / (self.norma * self.normr) if self.normar else 0.0
        data = self._data_norm
        return min(own, self.normr / data if data else 0.0)

    @property
    def attainable_residual(self) -> Any:
        """Prediction of the relative residual that this precision can reach: that which rounding x alone leaves."""
        data = self._data_norm
        return attainable(self.unit_roundoff, self.norma * self.normx, self.normr, data) if data else 0.0

    @property
    def attainable_error(self) -> float | None:
        """Prediction of the relative error of x that this precision can reach (Wedin 1973): u (k + k^2 sin / cos).

        k is the condition number, if it is known; the quotient is that of ||b - A x|| and ||A|| ||x||.
        """
        condition = self.condition
        if condition is None or not self.normx:
            return None
        steep = self.normr / (self.norma * self.normx)
        return min(1.0, self.unit_roundoff * condition * (1 + condition * steep))

    @property
    def error_bound(self) -> float | None:
        """None: no lower bound of the singular values is known."""
        return None

    @cached_property
    def error_estimate(self) -> float | None:
        """Estimate of the relative error of x: normar over the square of the smallest singular value less its error.

        Right when none hides below that, which the coefficients cannot rule out. None before it has settled, and with a
        preconditioner.
        """
        settled = None if self.ritz is None or self.preconditioned else self.ritz.settled
        return self.normar / (settled * self.normx) / settled if settled and self.normx else None

    @property
    def _data_norm(self) -> float:
        return self.norma * self.normx + self.normb

    def __repr__(self) -> str:
        return (
            f"<LeastSquaresSolution {self.status.name} by {self.method} in {self.iterations} iterations, "
            f"||A^H r|| / (||A|| ||r||) {self.normar / (self.norma * self.normr) if self.normar else 0.0:.2e}, "
            f"||r|| {self.normr:.2e}>"
        )


def attainable(unit_roundoff: float, image: float, residual: float, data: float) -> float:
    """What rounding x alone leaves of the relative residual.

    It leaves u ||A||^2 ||x|| of the gradient, which is weighed by ||A|| ||r||; where that is more than ||r|| is of the
    data, ||r|| itself is small enough.

    Parameters
    ----------
    unit_roundoff, image, residual, data : float
        u, ||A|| ||x||, ||r||, ||A|| ||x|| + ||b||.
    """
    steep = image / residual if residual else math.inf
    return unit_roundoff + min(unit_roundoff * steep, residual / data if data else 0.0)
