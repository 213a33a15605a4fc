"""What rounding allows: which degrees a format can evaluate, and how far its steps must stay away from zero.

The terms of a step's polynomial are much larger than its lowest values, 1 - E, and cancel. In arithmetic of unit
roundoff u a value of f carries an error of about u times the sum of the absolute coefficients, N: 10 for the minimax
cubic, 52 for the quintic, 1600 for degree 9 and 1.7e6 for degree 17. A lowest value below that may come out negative,
and a singular value then has the wrong sign for good. So the interval is cut where 1 - E is u N. Where u N exceeds one
there is no such place, and the format cannot take such steps.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

from ...precision.formats import AnyFormat
from .minimax import minimax

__all__ = ["cushion_for", "noise", "safety_for"]

NEAR_ZERO = Decimal("1e-20")
MOST_SAFETY = 0.01  # the perturbations of many entries cancel: measured in bfloat16 and fp16, this much is enough


@lru_cache(maxsize=256)
def noise(degree: int, power: int, format: AnyFormat) -> float:
    """u N: the error of a value of the minimax polynomial for an interval that reaches down to zero."""
    coefficients = minimax(NEAR_ZERO, Decimal(1), degree, power).coefficients
    return format.unit_roundoff * float(sum(map(abs, coefficients)))


@lru_cache(maxsize=256)
def cushion_for(degree: int, power: int, format: AnyFormat) -> float:
    """The part of the upper end at which the lowest values are as large as their errors; infinite if they never are."""
    wanted = noise(degree, power, format)
    if wanted >= 1:
        return float("inf")
    low, high = 1e-20, 1.0
    while high > 1.001 * low:
        middle = (low * high) ** 0.5
        if 1 - minimax(Decimal(middle), Decimal(1), degree, power).error < wanted:
            low = middle
        else:
            high = middle
    return high


def safety_for(degree: int, power: int, format: AnyFormat) -> float:
    """How far rounding may carry a value beyond the upper end, relatively to it."""
    return 1.0 + min(noise(degree, power, format) / 2, MOST_SAFETY)
