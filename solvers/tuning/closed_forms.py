"""What the spectral radius of the Jacobi matrix says of relaxation: the best omega, the rate, and the way back.

J = I - D^{-1} A, its eigenvalues real; ``radius`` is the largest of them, below 1 for positive definite A. Scalars in
and out; each costs a handful of operations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ...errors import InputError
from ..krylov.ssor_cg import ssor_omega
from .evidence import Evidence

__all__ = ["CLOSED_FORMS", "ClosedForm", "SORForm", "SSORCGForm", "SSORForm", "closed_form"]

DIGITS = math.log(1e6)  # the reduction that iterations are predicted for; only their ratios matter


class ClosedForm:
    """The relation between the Jacobi radius, omega and what a solve shows.

    Attributes
    ----------
    margin : float
        How far above the best omega to go, relative to its distance from 2: too low costs more than too high.
    probe : float
        How far below the best omega, likewise, a solve shows the radius: at and above it all radii look alike.
    dear : bool
        Whether to read it off costs more than a small solve.
    """

    margin: float
    probe: float
    dear: ClassVar[bool] = False

    def shown(self, evidence: Evidence) -> float | None:
        """What a solve showed, in the sense of ``radius``."""
        raise NotImplementedError

    def iterations(self, radius: float, omega: float) -> float | None:
        """Iterations predicted for a reduction by a million; None where the relation is but a bound of the rate."""
        return None

    def best(self, radius: float, lower: float | None) -> float:
        """The omega for a radius.

        ``lower`` is a bound of the spectral radius of L L^T, L the lower triangle of J, as far as it is known.
        """
        raise NotImplementedError

    def radius_of_best(self, omega: float, lower: float | None) -> float:
        """The radius for which this omega is best."""
        raise NotImplementedError

    def radius(self, shown: float, omega: float, lower: float | None) -> float | None:
        """The radius of a system that showed this at omega; None where it tells nothing."""
        raise NotImplementedError


@dataclass(frozen=True)
class SORForm(ClosedForm):
    """Successive overrelaxation of consistently ordered matrices; ``shown`` is the observed rate (Young 1954).

    Examples
    --------
    >>> from resolvent.solvers.tuning.closed_forms import SORForm
    >>> form, m = SORForm(), 0.9594929736  # five-point Poisson on 10 x 10 points
    >>> round(form.best(m), 8), round(form.rate(m, 1.4), 8)
    (1.56038792, 0.80589027)
    >>> round(form.radius(0.80589027, 1.4), 8)
    0.95949297
    """

    margin: float = 0.01
    probe: float = 0.07

    def shown(self, evidence: Evidence) -> float | None:
        return evidence.rate

    def best(self, radius: float, lower: float | None = None) -> float:
        """2 / (1 + sqrt(1 - m^2))."""
        return 2 / (1 + math.sqrt(1 - radius * radius))

    def radius_of_best(self, omega: float, lower: float | None = None) -> float:
        return math.sqrt(max(1 - (2 / omega - 1) ** 2, 0.0))

    def rate(self, radius: float, omega: float) -> float:
        """The spectral radius of SOR: (w m + sqrt(w^2 m^2 - 4 (w - 1)))^2 / 4 below the best omega, then w - 1."""
        discriminant = (omega * radius) ** 2 - 4 * (omega - 1)
        if discriminant <= 0:
            return omega - 1
        return (omega * radius + math.sqrt(discriminant)) ** 2 / 4

    def iterations(self, radius: float, omega: float) -> float:
        """Of the spectral radius, for a radius below 1; at least one."""
        rate = self.rate(radius, omega)
        return max(1.0, DIGITS / -math.log(rate)) if rate > 0 else 1.0

    def radius(self, shown: float, omega: float, lower: float | None = None) -> float | None:
        """(R + w - 1) / (w sqrt R), which holds below the best omega (Hageman & Young 1981, chapter 9)."""
        if not abs(omega - 1) < shown < 1:
            return None
        return (shown + omega - 1) / (omega * math.sqrt(shown))


@dataclass(frozen=True)
class SSORForm(ClosedForm):
    """Symmetric SOR, as an iteration or a preconditioner; ``shown`` is the least eigenvalue of M A, M one iteration.

    Where ``lower`` is not known it is taken for radius^2 / 4, below which it cannot lie: ||J|| <= 2 ||L||.

    Examples
    --------
    >>> from resolvent.solvers.tuning.closed_forms import SSORForm
    >>> round(SSORForm().best(0.9594929736, 0.25), 4)
    1.5569
    """

    margin: float = 0.0
    probe: float = 0.2

    def shown(self, evidence: Evidence) -> float | None:
        return None if evidence.rate is None else 1 - evidence.rate

    def best(self, radius: float, lower: float | None = None) -> float:
        """2 / (1 + sqrt(1 - 2 m + 4 lower)) for m < 4 lower, else 2 / (1 + sqrt(1 - 4 lower)); ``ssor_omega``."""
        return ssor_omega(radius, radius * radius / 4 if lower is None else min(lower, 0.25))

    def radius_of_best(self, omega: float, lower: float | None = None) -> float:
        square = (2 / omega - 1) ** 2
        return math.sqrt(1 - square) if lower is None else 0.5 * (1 + min(4 * lower, 1.0) - square)

    def radius(self, shown: float, omega: float, lower: float | None = None) -> float | None:
        """The m of 1 / shown = (1 + ((1 - w) / w + w lower) / (1 - m)) / (2 - w).

        For every vector x, x^T M^-1 x / x^T A x is at most that, by the definition of M; below the best omega the
        smoothest x comes close, where ``lower`` does.
        """
        excess = (2 - omega) / shown - 1 if shown > 0 else 0.0
        if not excess > 0:
            return None
        if lower is None:
            # omega m^2 / 4 + excess m = excess - (1 - omega) / omega
            found = 2 * (math.sqrt(excess * excess + omega * excess + omega - 1) - excess) / omega
        else:
            found = 1 - ((1 - omega) / omega + omega * min(lower, 0.25)) / excess
        return found if 0 < found < 1 else None


@dataclass(frozen=True)
class SSORCGForm(SSORForm):
    """The same where conjugate gradients show that eigenvalue: by a Ritz value, which costs more than a small solve."""

    dear: ClassVar[bool] = True

    def shown(self, evidence: Evidence) -> float | None:
        return evidence.smallest


CLOSED_FORMS: dict[str, ClosedForm] = {"sor": SORForm(), "ssor": SSORForm(), "ssor_cg": SSORCGForm()}


def closed_form(method: str) -> ClosedForm:
    """The closed form of a method."""
    if method not in CLOSED_FORMS:
        raise InputError(
            f"method: found {method!r}; the spectrum gives the best parameter of {', '.join(CLOSED_FORMS)} in closed "
            "form, of no other; take a tuner that learns from costs"
        )
    return CLOSED_FORMS[method]
