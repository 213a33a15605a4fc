"""What rounding allows: which degrees a format can evaluate, and how far steps must stay from zero and from the top.

The terms of a step's polynomial are much larger than its lowest values, 1 - E, and cancel. In arithmetic of unit
roundoff u a value of f carries an error of up to u N, where N is the sum of the absolute coefficients: 10 for the
minimax cubic, 52 for the quintic, 1600 for degree 9 and 1.7e6 for degree 17.

- Where u N exceeds one, a format cannot take such steps at all.
- A singular value at which f is less than its error may come out negative, and keeps the wrong sign. So the interval is
  cut where 1 - E is u N: for quintics in bfloat16 at 0.028 of the upper end, where others put it by experiment.
- f rises steeply beyond the upper end: of a quintic an excess there grows 13-fold a step, from rounding alone to
  infinity in ten steps of single precision. So a step is made for arguments that are too large by as much as the values
  of the one before may be.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

from ...precision.formats import Format
from .minimax import arithmetic, minimax

__all__ = ["cushion_for", "noise"]

NEAR_ZERO = Decimal("1e-20")
DIGITS = 40


@lru_cache(maxsize=256)
def noise(degree: int, power: int, format: Format) -> float:
    """u N: the error of a value of the minimax polynomial for an interval that reaches down to zero."""
    coefficients = minimax(NEAR_ZERO, Decimal(1), degree, power).coefficients
    return format.unit_roundoff * sum(abs(float(c)) for c in coefficients)


@lru_cache(maxsize=256)
def cushion_for(degree: int, power: int, format: Format) -> float:
    """The part of the upper end at which the lowest value, 1 - E, is u N, to a hundredth."""
    wanted = noise(degree, power, format)
    if wanted >= 1:
        return float("inf")
    cushion = float(NEAR_ZERO)
    while True:
        best = minimax(Decimal(cushion), Decimal(1), degree, power)
        with arithmetic(DIGITS):
            found = float(1 - best.error)
        cushion *= wanted / found  # 1 - E is nearly proportional to the lower end
        if abs(found / wanted - 1) < 0.01:
            return cushion
