"""What rounding to a format comes down to: the integers that every implementation computes with.

A number of the carrier is its sign and the pattern of its magnitude. Patterns are ordered as the numbers are, so that
the next number up is the next integer. With f fraction bits in the carrier and e the exponent of a number, at least
that of the smallest normal one, the lowest

    s = (f + 1 - p) + max(0, min_exponent - e)

bits of its significand do not fit the format. What the mode asks for is added to them and they are cut off: all 2**s
parts less one when rounding away from zero, half of that, with the lowest kept bit, when rounding to nearest even. The
carry into the exponent is right by itself, from the subnormal numbers to the overflow. Where s exceeds f + 1 nothing
is kept but, perhaps, the smallest number. What is then beyond the largest number follows the overflow rule.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from ..naming import choice
from .formats import BlockFormat, FixedPoint, Format, format_named

__all__ = [
    "CARRIERS",
    "FLOAT32",
    "FLOAT64",
    "ROUNDINGS",
    "Carrier",
    "HowToRound",
    "RoundFormat",
    "RoundHalf",
    "RoundInMode",
    "RoundSignificand",
    "RoundWrapped",
    "Rounding",
    "Side",
    "Unrounded",
    "carrier_of",
    "rounding_rule_of",
    "rounding_rule",
]

Rounding = Literal[
    "nearest-even", "nearest-away", "toward-zero", "toward-positive", "toward-negative", "to-odd", "stochastic"
]
ROUNDINGS: tuple[str, ...] = get_args(Rounding)


class Carrier(NamedTuple):
    """How float32 or float64 lay out their bits."""

    name: str
    width: int
    fraction_bits: int
    bias: int

    @property
    def infinity(self) -> int:
        """Pattern of infinity; those above are NaN."""
        return (2 * self.bias + 1) << self.fraction_bits

    @property
    def quiet(self) -> int:
        """The bit that makes a NaN quiet."""
        return 1 << (self.fraction_bits - 1)

    @property
    def sign(self) -> int:
        """The sign bit."""
        return 1 << (self.width - 1)

    def pattern(self, value: float) -> int:
        """Of a positive number of this type."""
        significand, exponent = math.frexp(value)
        field = exponent - 1 + self.bias
        if field < 1:
            return round(math.ldexp(value, self.bias - 1 + self.fraction_bits))
        return ((field - 1) << self.fraction_bits) + round(math.ldexp(significand, self.fraction_bits + 1))


FLOAT32, FLOAT64 = Carrier("float32", 32, 23, 127), Carrier("float64", 64, 52, 1023)
# by NumPy's character for a dtype
CARRIERS = {"f": FLOAT32, "d": FLOAT64, "F": FLOAT32, "D": FLOAT64}


class Unrounded(NamedTuple):
    """Leave values as they are."""

    nothing: int = 0


class RoundSignificand(NamedTuple):
    """Round to nearest even in a format with its carrier's exponents, such as bf16 in float32.

    ``discarded`` bits, at least one, are cut off wherever the number lies.
    """

    discarded: int


class RoundHalf(NamedTuple):
    """Round float32 to nearest even in fp16 by the processor's own conversion."""

    nothing: int = 0


class RoundFormat(NamedTuple):
    """Round to nearest even in a format of fewer bits than its carrier, alike on both sides of zero.

    ``discarded`` is f + 1 - p and ``normal`` the exponent field of the smallest normal number; the others are
    patterns. Results below ``flushed`` are zero, those above ``largest`` become ``beyond``, infinities ``infinite``,
    and ``quiet`` is what is kept of a NaN.
    """

    discarded: int
    normal: int
    flushed: int
    quiet: int
    largest: int
    beyond: int
    infinite: int


class Side(NamedTuple):
    """What depends on the sign: whether rounding is away from zero (-1) or not (0), and what is out of range."""

    away: int
    largest: int
    beyond: int
    infinite: int


class RoundInMode(NamedTuple):
    """Round to any format in any mode.

    As in RoundFormat, and: ``smallest`` is the pattern of the smallest positive number; ``nearest``, ``even``, ``odd``,
    ``stochastic`` are masks, -1 or 0. Results below ``flushed`` become ``flushed`` itself where rounding is away from
    zero.
    """

    discarded: int
    normal: int
    smallest: int
    flushed: int
    quiet: int
    nearest: int
    even: int
    odd: int
    stochastic: int
    positive: Side
    negative: Side


class RoundWrapped(NamedTuple):
    """Round to a fixed-point format in which numbers wrap around: modulo ``modulus``, then into ±modulus / 2."""

    rounding: RoundInMode
    modulus: float


HowToRound = Unrounded | RoundSignificand | RoundHalf | RoundFormat | RoundInMode | RoundWrapped


@cache
def rounding_rule(format: Format | FixedPoint, carrier: Carrier, rounding: str = "nearest-even") -> RoundInMode:
    """The integers of rounding to a format in a carrier; where numbers wrap, of rounding before they do.

    Raises
    ------
    ValueError
        For an unknown rounding, and for a format wider than its carrier.
    """
    rounding = choice("rounding", rounding, ROUNDINGS)
    f, bias = carrier.fraction_bits, carrier.bias
    p, low, high = format.significand_bits, format.min_exponent, format.max_exponent
    if p > f + 1 or low < 1 - bias or high > bias:
        raise ValueError(
            f"format: {format} (p = {p}, exponents {low} to {high}) is wider than {carrier.name}, which carries x (p = "
            f"{f + 1}, exponents {1 - bias} to {bias}); convert x to float64 first"
        )
    quiet = ~((1 << min(f + 1 - p, f - 1)) - 1)
    largest = lowest = carrier.pattern(format.largest)
    if isinstance(format, FixedPoint):
        # Spacing is constant: the bits below that of the point are discarded, and no others.
        p, low, flushed, keeps_infinity = f + 1, f - format.fraction_bits, 0, False
        lowest = carrier.pattern(-format.lowest)
        if format.overflow == "wrap":
            largest = lowest = carrier.infinity
    else:
        flushed = 0 if format.subnormals else carrier.pattern(format.smallest_normal)
        keeps_infinity = format.infinities
    always_beyond = rounding in ("nearest-even", "nearest-away", "stochastic")

    def side(away: bool, largest: int) -> Side:
        rule = {"infinity": carrier.infinity, "nan": carrier.infinity | carrier.quiet}.get(format.overflow, largest)
        beyond = rule if always_beyond or away else largest
        return Side(-away, largest, beyond, carrier.infinity if keeps_infinity else rule)

    return RoundInMode(
        discarded=f + 1 - p,
        normal=low + bias,
        smallest=carrier.pattern(math.ldexp(1.0, low - p + 1)),
        flushed=flushed,
        quiet=quiet,
        nearest=-(rounding in ("nearest-even", "nearest-away")),
        even=-(rounding == "nearest-even"),
        odd=-(rounding == "to-odd"),
        stochastic=-(rounding == "stochastic"),
        positive=side(rounding == "toward-positive", largest),
        negative=side(rounding == "toward-negative", lowest),
    )


@cache
def rounding_rule_of(format: Any, dtype: Any, rounding: str = "nearest-even") -> HowToRound:
    """What ``rounded`` of the compiled kernels is to do.

    Parameters
    ----------
    format : str, Format, FixedPoint or None
        None leaves values as they are.
    dtype : dtype-like
        float32, float64, complex64 or complex128, which carry the numbers.
    rounding : str
        One of ``ROUNDINGS``. Stochastic rounding takes random bits, which ``rounded`` does not have.

    Returns
    -------
    Unrounded, RoundSignificand, RoundFormat, RoundInMode or RoundWrapped
        The first that will do: they are in order of cost.

    Raises
    ------
    ValueError
        For a format wider than its carrier, a block format, and an unknown rounding.
    TypeError
        For a dtype that carries nothing.

    Examples
    --------
    >>> from resolvent.precision.rounding_rule import rounding_rule_of
    >>> rounding_rule_of("bf16", "float32")
    RoundSignificand(discarded=16)
    """
    carrier = carrier_of(dtype)
    if format is None:
        return Unrounded()
    format = format_named(format)
    if isinstance(format, BlockFormat):
        raise ValueError(f"format: {format} rounds whole blocks, not single numbers; its elements are {format.element}")
    rule = rounding_rule(format, carrier, rounding)
    if format == Format(carrier.fraction_bits + 1, 1 - carrier.bias, carrier.bias):
        return Unrounded()
    if isinstance(format, FixedPoint):
        return RoundWrapped(rule, -2.0 * format.lowest) if format.overflow == "wrap" else rule
    if rounding != "nearest-even" or rule.discarded == 0:
        return rule
    if format == Format(format.significand_bits, 1 - carrier.bias, carrier.bias):
        return RoundSignificand(rule.discarded)
    _, largest, beyond, infinite = rule.positive
    return RoundFormat(rule.discarded, rule.normal, rule.flushed, rule.quiet, largest, beyond, infinite)


def carrier_of(dtype: Any) -> Carrier:
    """The layout of a real type, or of the parts of a complex one."""
    dtype = np.dtype(dtype)
    if dtype.char not in CARRIERS:
        raise TypeError(f"dtype: found {dtype}; wanted float32, float64, complex64 or complex128")
    return CARRIERS[dtype.char]
