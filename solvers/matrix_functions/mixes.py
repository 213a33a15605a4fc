"""Steps in turn, each the best for the interval that the ones before it have left, and the best mix of their degrees.

That the greedy composition is the best of its degrees is a theorem (Amsel, Persson, Musco and Gower, arXiv:2505.16932).
Which degrees to take for a number of products follows by dynamic programming: of two compositions at the same cost, the
one that leaves the narrower interval is the better beginning for whatever comes after.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from .minimax import image, minimax
from .schedule import step_products

__all__ = ["Composition", "Steps", "best_mix", "composed_errors", "in_turn", "until"]

DIGITS = 60  # enough for intervals whose ends are told apart in double precision


@dataclass(frozen=True)
class Composition:
    """Steps taken, and the interval [lower, upper] they leave."""

    coefficients: tuple[tuple[float, ...], ...]
    lower: Decimal
    upper: Decimal
    cushion: float = 0.0
    safety: float = 1.0

    @property
    def error(self) -> Decimal:
        """The distance from one."""
        with decimal.localcontext(prec=DIGITS):
            return max(1 - self.lower, self.upper - 1)


@dataclass(frozen=True)
class Steps:
    """How a step is made.

    Parameters
    ----------
    root : int
        1 for odd polynomials, r for those in x^r.
    cushion, safety : callables
        Of the degree of h. On an interval that reaches lower than cushion times its upper end the polynomial is the
        best one for what lies above, so that its lowest values stay away from zero. Every step but the last is
        f(x / safety).
    """

    root: int
    cushion: Callable[[int], float]
    safety: Callable[[int], float]

    def after(self, before: Composition, degree: int, last: bool = False) -> Composition:
        """One more step, with h of the given degree.

        The coefficients are rounded to double precision, and the interval is what they leave.
        """
        power = 2 if self.root == 1 else self.root
        with decimal.localcontext(prec=DIGITS):
            low, high, cushion = before.lower, before.upper, Decimal(self.cushion(degree))
            cushioned = low < cushion * high
            best = minimax(cushion * high if cushioned else low, high, degree, power).coefficients
            if cushioned:
                bottom, top = image(best, low, high, power)
                best = tuple(2 * c / (bottom + top) for c in best)
            stretch = Decimal(1 if last else self.safety(degree))
            step = tuple(float(c / stretch ** (power * k + 1)) for k, c in enumerate(best))
            bottom, top = image([Decimal(c) for c in step], low, high, power)
            bottom = min(bottom, 2 - top)
            return Composition(
                (*before.coefficients, step),
                bottom,
                2 - bottom,
                max(before.cushion, float(cushion) if cushioned else 0.0),
                max(before.safety, float(stretch)),
            )


def in_turn(start: Composition, steps: Steps, degrees: Sequence[int]) -> Composition:
    """Steps of the given degrees of h."""
    for t, degree in enumerate(degrees, start=1):
        start = steps.after(start, degree, last=t == len(degrees))
    return start


def until(start: Composition, steps: Steps, degree: int, tolerance: float) -> Composition | None:
    """The fewest steps of one degree that come as close to one as asked; None where no number of them does."""
    while True:
        end = steps.after(start, degree, last=True)
        if end.error <= tolerance:
            return end
        longer = steps.after(start, degree)
        if longer.lower <= start.lower:
            return None
        start = longer


def best_mix(
    start: Composition,
    steps: Steps,
    degrees: Sequence[int],
    products: int | None = None,
    tolerance: float | None = None,
) -> Composition | None:
    """The closest to one for so many products, or the fewest products that are close enough; None if none are."""
    costs = {degree: step_products(degree, steps.root) for degree in degrees}
    best: list[Composition] = [start]
    while products is None or len(best) <= products:
        spent = len(best)
        ends = [steps.after(best[spent - cost], d, last=True) for d, cost in costs.items() if cost <= spent]
        end = min(ends, key=lambda end: end.error, default=None)
        if end is not None and tolerance is not None and end.error <= tolerance:
            return end
        if spent == products:
            return end
        longer = [steps.after(best[spent - cost], d) for d, cost in costs.items() if cost <= spent]
        best.append(max([best[-1], *longer], key=lambda longer: longer.lower))
        if spent >= 2 * max(costs.values()) and best[-1].lower <= best[-1 - max(costs.values())].lower:
            return None
    return None


def composed_errors(lower: Decimal, degrees: Sequence[int], power: int = 2) -> list[Decimal]:
    """Errors of the best compositions in exact arithmetic, nothing rounded, after each step; degrees are those of h.

    Examples
    --------
    >>> [f"{error:.4e}" for error in composed_errors(Decimal("0.1"), [1, 1, 1, 1, 1, 1, 1])][-2:]
    ['1.0187e-10', '7.7830e-21']
    """
    found, low, high = [], lower, Decimal(1)
    for degree in degrees:
        error = minimax(low, high, degree, power).error
        found.append(error)
        with decimal.localcontext(prec=DIGITS + max(0, -2 * error.adjusted())):
            low, high = 1 - error, 1 + error
    return found
