"""Steps in turn, each the best for the interval that the ones before it have left, and the best mix of their degrees.

That the greedy composition is the best of its degrees is a theorem (Amsel, Persson, Musco and Gower, arXiv:2505.16932).
Which degrees to take for a number of products follows by dynamic programming: of two compositions at the same cost, the
one that leaves the narrower interval is the better beginning for whatever comes after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from .minimax import arithmetic, image, minimax
from .schedule import step_products

__all__ = ["Composition", "Steps", "best_mix", "composed_errors", "in_turn", "until"]

DIGITS = 60  # enough for intervals whose ends are told apart in double precision
ROUNDED_INPUT = 4.0  # unit roundoffs by which rounding a matrix may move its largest singular value
MOST_MARGIN = 0.01  # more was never needed in experiments, in which values at the upper end were many


@dataclass(frozen=True)
class Composition:
    """Steps taken, the interval [lower, upper] they leave, and the largest cushion and safety among them.

    ``noise`` is how far rounding may have carried values beyond ``upper``, relatively to it.
    """

    coefficients: tuple[tuple[float, ...], ...]
    lower: Decimal
    upper: Decimal
    noise: float
    cushion: float = 0.0
    safety: float = 1.0

    @property
    def error(self) -> Decimal:
        """The distance from one."""
        with arithmetic(DIGITS):
            return max(1 - self.lower, self.upper - 1)


@dataclass(frozen=True)
class Steps:
    """How a step is made.

    Parameters
    ----------
    root : int
        1 for odd polynomials, r for those in x^r.
    unit_roundoff : float
        Of the arithmetic in which the steps will be taken.
    cushion : callable
        Of the degree of h. On an interval that reaches lower than cushion times its upper end the polynomial is the
        best one for what lies above, so that its lowest values stay away from zero.
    safety : float, optional
        Every step but the last is f(x / safety). Without it each step is made for an interval that reaches as much
        farther up as rounding of the one before may carry values.
    """

    root: int
    unit_roundoff: float
    cushion: Callable[[int], float]
    safety: float | None

    def start(self, lower: float, upper: float) -> Composition:
        """No steps yet."""
        return Composition((), Decimal(lower), Decimal(upper), ROUNDED_INPUT * self.unit_roundoff)

    def after(self, before: Composition, degree: int, last: bool = False) -> Composition:
        """One more step, with h of the given degree.

        The coefficients are rounded to double precision, and the interval is what they leave.
        """
        power = 2 if self.root == 1 else self.root
        margin = 1.0 + min(before.noise, MOST_MARGIN) if self.safety is None else 1.0
        stretch = 1.0 if self.safety is None or last else self.safety
        with arithmetic(DIGITS):
            low, high, cushion = before.lower, before.upper, Decimal(self.cushion(degree))
            above = high * Decimal(margin)
            cushioned = low < cushion * above
            best = minimax(cushion * above if cushioned else low, above, degree, power).coefficients
            if cushioned:
                bottom, top = image(best, low, high, power)
                best = tuple(2 * c / (bottom + top) for c in best)
            step = [Decimal(float(c / Decimal(stretch) ** (power * k + 1))) for k, c in enumerate(best)]
            bottom, top = image(step, low, high, power)
            bottom = min(bottom, 2 - top)
            terms = sum(abs(c) * high ** (power * k + 1) for k, c in enumerate(step))
            return Composition(
                (*before.coefficients, tuple(map(float, step))),
                bottom,
                2 - bottom,
                self.unit_roundoff * float(terms / (2 - bottom)),
                max(before.cushion, float(cushion) if cushioned else 0.0),
                max(before.safety, margin, stretch),
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
        if not _gained(start, longer):
            return None
        start = longer


def best_mix(
    start: Composition,
    steps: Steps,
    degrees: Sequence[int],
    products: int | None,
    tolerance: float,
) -> Composition | None:
    """The fewest products that come as close to one as asked, else the closest for so many; None if there is none."""
    costs = {degree: step_products(degree, steps.root) for degree in degrees}
    longest = max(costs.values())
    best = [start]
    end = None
    while products is None or len(best) <= products:
        spent = len(best)
        affordable = {d: best[spent - cost] for d, cost in costs.items() if cost <= spent}
        ends = [steps.after(before, d, last=True) for d, before in affordable.items()]
        end = min(ends, key=_error, default=None)
        if end is not None and end.error <= tolerance:
            return end
        longer = ends if steps.safety is None else [steps.after(before, d) for d, before in affordable.items()]
        best.append(max([best[-1], *longer], key=_narrowness))
        if spent > longest and not _gained(best[-1 - longest], best[-1]):
            return None if products is None else end  # however many more, nothing is gained
    return end


def _error(composition: Composition) -> Decimal:
    return composition.error


def _gained(before: Composition, after: Composition) -> bool:
    """Whether the ends of the interval, or their distances from one, have moved by more than a millionth."""
    with arithmetic(DIGITS):
        part = Decimal("1e-6")
        return _narrowness(after) > (1 + part) * _narrowness(before) or after.error < (1 - part) * before.error


def _narrowness(composition: Composition) -> Decimal:
    with arithmetic(DIGITS):
        return composition.lower / composition.upper


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
        with arithmetic(DIGITS + max(0, -2 * error.adjusted())):
            low, high = 1 - error, 1 + error
    return found
