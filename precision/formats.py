"""Number formats: what each can represent, and what becomes of what it cannot.

A format here is arithmetic, not storage: its numbers are held in float32 or float64 arrays, their *carrier*, and
:func:`resolvent.precision.round` puts them there. p is the number of significand bits, the hidden one included.

Sources: IEEE 754-2019; Open Compute Project, OCP 8-bit Floating Point Specification 1.0 (e5m2, e4m3fn) and
Microscaling Formats (MX) Specification 1.0 (fp6, fp4, block formats).
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from ..naming import choice

__all__ = [
    "FORMATS",
    "AnyFormat",
    "BlockFormat",
    "FixedPoint",
    "Format",
    "bf16",
    "dtype_name",
    "format_named",
    "fp4_e2m1",
    "fp6_e2m3",
    "fp6_e3m2",
    "fp8_e4m3",
    "fp8_e4m3fn",
    "fp8_e5m2",
    "fp16",
    "fp32",
    "fp64",
    "mxfp4",
    "mxfp6_e2m3",
    "mxfp6_e3m2",
    "mxfp8_e4m3",
    "mxfp8_e5m2",
    "nvfp4",
    "tf32",
]

Overflow = Literal["infinity", "saturate", "nan", "wrap"]


@dataclass(frozen=True)
class Format:
    """A binary floating-point format.

    Two formats are equal when they hold the same numbers and treat the others alike, whatever their names.

    Parameters
    ----------
    significand_bits : int
        p, from 1 to 53, the hidden bit included.
    min_exponent, max_exponent : int
        Exponents e of the smallest normal number, 2**e, and of the binade of the largest one, from -1022 to 1023.
        They are independent: e4m3fn has -6 and 8.
    subnormals : bool
        Whether there are numbers between zero and the smallest normal one. Without them a rounded result in between
        becomes a zero of its sign; rounding towards an infinity makes it the smallest normal number on that side.
    infinities : bool
        Whether the format has infinities.
    saturate : bool
        Whether a finite number that is too large becomes the largest one instead of an infinity or NaN.
    largest : float, optional
        Largest finite number; without it 2**max_exponent (2 - 2**(1 - p)). It is less where the format spends some of
        its last significands on NaN.
    name : str, optional
        What messages call it.

    Raises
    ------
    TypeError
        For a size that is not an integer.
    ValueError
        For a format that cannot be, or that float64 cannot hold.

    Examples
    --------
    >>> from resolvent.precision import Format, formats
    >>> formats.fp8_e4m3fn.largest, formats.fp16.smallest == 2.0**-24, formats.bf16.unit_roundoff
    (448.0, True, 0.00390625)
    >>> Format(8, -126, 127) == formats.bf16
    True
    """

    significand_bits: int
    min_exponent: int
    max_exponent: int
    subnormals: bool = field(default=True, kw_only=True)
    infinities: bool = field(default=True, kw_only=True)
    saturate: bool = field(default=False, kw_only=True)
    largest: float = field(default=None, kw_only=True)  # type: ignore[assignment]  # filled in below
    name: str = field(default="", kw_only=True, compare=False)

    def __post_init__(self) -> None:
        p = _whole("significand_bits", self.significand_bits, 1, 53)
        _whole("min_exponent", self.min_exponent, -1022, 1023)
        top = _whole("max_exponent", self.max_exponent, self.min_exponent, 1023, "min_exponent")
        for flag in ("subnormals", "infinities", "saturate"):
            if not isinstance(getattr(self, flag), bool):
                raise TypeError(f"{flag}: found {getattr(self, flag)!r}; wanted True or False")
        if self.largest is None:
            object.__setattr__(self, "largest", math.ldexp(2.0 - math.ldexp(1.0, 1 - p), top))
            return
        largest = float(self.largest)
        if not (math.isfinite(largest) and largest > 0 and math.frexp(largest)[1] - 1 == top):
            raise ValueError(f"largest: found {largest}; wanted a number from 2**{top} to below 2**{top + 1}")
        if not math.ldexp(largest, p - 1 - top).is_integer():
            raise ValueError(f"largest: found {largest}, which has more than {p} significand bits")
        object.__setattr__(self, "largest", largest)

    def __str__(self) -> str:
        return self.name or f"Format({self.significand_bits}, {self.min_exponent}, {self.max_exponent})"

    @property
    def unit_roundoff(self) -> float:
        """u = 2**-p, the largest relative error of rounding to nearest within the range of normal numbers."""
        return math.ldexp(1.0, -self.significand_bits)

    @property
    def smallest_normal(self) -> float:
        """2**min_exponent."""
        return math.ldexp(1.0, self.min_exponent)

    @property
    def smallest(self) -> float:
        """The smallest positive number, subnormal where there are such."""
        return math.ldexp(1.0, self.min_exponent - (self.significand_bits - 1) * self.subnormals)

    @property
    def overflow(self) -> Overflow:
        """What a finite number that rounds to nearest beyond the largest becomes."""
        return "saturate" if self.saturate else "infinity" if self.infinities else "nan"

    @property
    def carrier(self) -> np.dtype:
        """The smaller of float32 and float64 in which one operation followed by rounding is correctly rounded.

        Either the arithmetic of the format itself, or p_c >= 2p + 2 bits and at least its range (Figueroa, When is
        double rounding innocuous?, 1995). Excepted are results below the smallest normal number of a format that
        shares its carrier's exponents, such as bf16 in float32. Formats with p > 25, other than fp64, have no such
        carrier and are given float64.
        """
        if self == fp32:
            return np.dtype(np.float32)
        narrow = self.min_exponent >= fp32.min_exponent and self.max_exponent <= fp32.max_exponent
        return _carrier(self.significand_bits, narrow)


@dataclass(frozen=True)
class FixedPoint:
    """Numbers of constant spacing in two's complement: a sign, ``integer_bits`` and ``fraction_bits``.

    They are the multiples of 2**-fraction_bits from -2**integer_bits to 2**integer_bits - 2**-fraction_bits. Up to the
    extra smallest one they are the :class:`Format` with p = integer_bits + fraction_bits whose only binade of normal
    numbers is the top one. There is no NaN and no infinity: a NaN stays one in its carrier, and an infinity saturates,
    or is NaN where numbers wrap around. Negative zero stays negative in its carrier, too.

    Parameters
    ----------
    integer_bits, fraction_bits : int
        Bits before and after the point, together 1 to 53.
    overflow : {"saturate", "wrap"}
        Whether a number out of range becomes the nearest one in range, or loses its leading bits.

    Examples
    --------
    >>> from resolvent.precision import FixedPoint, round
    >>> print(FixedPoint(3, 4).lowest, FixedPoint(3, 4).largest)
    -8.0 7.9375
    >>> print(round([9.03, -9.03], FixedPoint(3, 4)), round([9.03, -9.03], FixedPoint(3, 4, overflow="wrap")))
    [ 7.9375 -8.    ] [-7.  7.]
    """

    integer_bits: int
    fraction_bits: int
    overflow: Overflow = "saturate"

    def __post_init__(self) -> None:
        _whole("integer_bits", self.integer_bits, 0, 53)
        _whole("fraction_bits", self.fraction_bits, 0, 53)
        _whole("integer_bits + fraction_bits", self.significand_bits, 1, 53)
        if self.overflow not in ("saturate", "wrap"):
            raise ValueError(f'overflow: found {self.overflow!r}; wanted "saturate" or "wrap"')

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"fixed{self.integer_bits}.{self.fraction_bits}" + ("-wrap" if self.overflow == "wrap" else "")

    @property
    def significand_bits(self) -> int:
        """p = integer_bits + fraction_bits."""
        return self.integer_bits + self.fraction_bits

    @property
    def min_exponent(self) -> int:
        """Of the only binade in which numbers have p bits, the top one."""
        return self.integer_bits - 1

    @property
    def max_exponent(self) -> int:
        """The same."""
        return self.integer_bits - 1

    @property
    def unit_roundoff(self) -> float:
        """2**-p, the relative error in the top binade; further down only the absolute one, ``smallest / 2``, holds."""
        return math.ldexp(1.0, -self.significand_bits)

    @property
    def smallest_normal(self) -> float:
        """2**(integer_bits - 1)."""
        return math.ldexp(1.0, self.min_exponent)

    @property
    def smallest(self) -> float:
        """The smallest positive number and the spacing of all."""
        return math.ldexp(1.0, -self.fraction_bits)

    @property
    def largest(self) -> float:
        """2**integer_bits - 2**-fraction_bits."""
        return math.ldexp(1.0, self.integer_bits) - self.smallest

    @property
    def lowest(self) -> float:
        """-2**integer_bits."""
        return -math.ldexp(1.0, self.integer_bits)

    @property
    def carrier(self) -> np.dtype:
        """The smaller of float32 and float64 in which one operation followed by rounding is correctly rounded."""
        return _carrier(self.significand_bits, True)


@dataclass(frozen=True)
class BlockFormat:
    """Blocks of numbers along an axis that share a scale; a last, shorter block has its own.

    Without ``scale`` it is a power of two (e8m0), 2**(floor(log2(max|x|)) - max_exponent of the elements) with an
    exponent from -127 to 127, as MX prescribes. With ``scale``, a format, it is max|x| / (largest element) rounded to
    it, in units of one scale for the whole tensor, max|x| / (largest element * largest scale) rounded to fp32, as in
    NVFP4. The maxima are over finite numbers. Elements are rounded as asked, scales always to nearest.

    Parameters
    ----------
    element : Format
        Of the scaled elements.
    block : int
        Numbers to a block.
    scale : Format, optional
        Of the blocks' scales. Elements and scales saturate, whether or not their formats say so.
    name : str, optional
        What messages call it.

    Examples
    --------
    >>> from resolvent.precision import formats, round
    >>> print(round([1.0, 0.3, 100.0, 3.0], formats.mxfp4))
    [ 0.  0. 96.  0.]
    >>> print(round([0.75, 0.3, 6.0, 2.9], formats.mxfp4))
    [1.  0.5 6.  3. ]
    """

    element: Format
    block: int
    scale: Format | None = None
    name: str = field(default="", kw_only=True, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.element, Format):
            raise TypeError(f"element: found {type(self.element).__name__}; wanted a Format")
        if not isinstance(self.scale, Format | None):
            raise TypeError(f"scale: found {type(self.scale).__name__}; wanted a Format or None")
        for role in ("element", "scale"):
            what = getattr(self, role)
            if what is None:
                continue
            if what.significand_bits > 8 or what.min_exponent < -100 or what.max_exponent > 100:
                raise ValueError(f"{role}: found {what}; wanted at most 8 bits and exponents from -100 to 100")
            object.__setattr__(self, role, replace(what, saturate=True))
        _whole("block", self.block, 1, 1 << 30)

    def __str__(self) -> str:
        return self.name or f"BlockFormat({self.element}, {self.block})"

    @property
    def significand_bits(self) -> int:
        """Of an element."""
        return self.element.significand_bits

    @property
    def unit_roundoff(self) -> float:
        """Of the elements within their normal range: of those no smaller than some part of their block's largest."""
        return self.element.unit_roundoff

    @property
    def carrier(self) -> np.dtype:
        """The smaller of float32 and float64 in which one operation followed by rounding is correctly rounded."""
        return self.element.carrier


AnyFormat = Format | FixedPoint | BlockFormat


def _whole(name: str, value: Any, least: int, most: int, why: str = "") -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: found {value!r}; wanted an integer") from None
    if isinstance(value, bool):
        raise TypeError(f"{name}: found {value!r}; wanted an integer")
    if not least <= number <= most:
        raise ValueError(f"{name}: found {number}; wanted {least}{why and f' ({why})'} to {most}")
    return number


def _carrier(p: int, narrow: bool) -> np.dtype:
    return np.dtype(np.float32 if narrow and 2 * p + 2 <= 24 else np.float64)


fp64 = Format(53, -1022, 1023, name="fp64")
fp32 = Format(24, -126, 127, name="fp32")
tf32 = Format(11, -126, 127, name="tf32")
bf16 = Format(8, -126, 127, name="bf16")
fp16 = Format(11, -14, 15, name="fp16")
fp8_e5m2 = Format(3, -14, 15, name="fp8_e5m2")
fp8_e4m3fn = Format(4, -6, 8, infinities=False, largest=448.0, name="fp8_e4m3fn")
fp8_e4m3 = Format(4, -6, 7, name="fp8_e4m3")
fp6_e2m3 = Format(4, 0, 2, infinities=False, saturate=True, name="fp6_e2m3")
fp6_e3m2 = Format(3, -2, 4, infinities=False, saturate=True, name="fp6_e3m2")
fp4_e2m1 = Format(2, 0, 2, infinities=False, saturate=True, name="fp4_e2m1")

mxfp8_e4m3 = BlockFormat(fp8_e4m3fn, 32, name="mxfp8_e4m3")
mxfp8_e5m2 = BlockFormat(fp8_e5m2, 32, name="mxfp8_e5m2")
mxfp6_e2m3 = BlockFormat(fp6_e2m3, 32, name="mxfp6_e2m3")
mxfp6_e3m2 = BlockFormat(fp6_e3m2, 32, name="mxfp6_e3m2")
mxfp4 = BlockFormat(fp4_e2m1, 32, name="mxfp4")
nvfp4 = BlockFormat(fp4_e2m1, 16, fp8_e4m3fn, name="nvfp4")

_NAMED: tuple[tuple[Format | BlockFormat, tuple[str, ...]], ...] = (
    (fp64, ("float64", "double")),
    (fp32, ("float32", "single")),
    (tf32, ()),
    (bf16, ("bfloat16",)),
    (fp16, ("float16", "half")),
    (fp8_e5m2, ("e5m2", "float8_e5m2")),
    (fp8_e4m3fn, ("e4m3fn", "float8_e4m3fn")),
    (fp8_e4m3, ("e4m3", "float8_e4m3")),
    (fp6_e2m3, ("e2m3", "float6_e2m3fn")),
    (fp6_e3m2, ("e3m2", "float6_e3m2fn")),
    (fp4_e2m1, ("e2m1", "float4_e2m1fn")),
    (mxfp8_e4m3, ()),
    (mxfp8_e5m2, ()),
    (mxfp6_e2m3, ()),
    (mxfp6_e3m2, ()),
    (mxfp4, ()),
    (nvfp4, ()),
)
FORMATS: dict[str, Format | BlockFormat] = {
    name: format for format, others in _NAMED for name in (format.name, *others)
}


def format_named(format: Any, argument: str = "format") -> Any:
    """The format of a name; a format is returned as it is.

    Parameters
    ----------
    format : str, dtype, Format, FixedPoint or BlockFormat
        One of the names in ``FORMATS``, whatever its case, a dtype of NumPy, ml_dtypes or torch, or a format.
    argument : str
        What errors call it.

    Returns
    -------
    Format, FixedPoint or BlockFormat

    Raises
    ------
    ValueError
        For an unknown name; the message lists those there are.
    TypeError
        For anything else.

    Examples
    --------
    >>> from resolvent.precision import formats
    >>> formats.format_named("bfloat16") is formats.bf16
    True
    """
    if isinstance(format, Format | FixedPoint | BlockFormat):
        return format
    name = dtype_name(format)
    if name is None:
        raise TypeError(
            f"{argument}: found {type(format).__name__}; wanted a name, a dtype, a Format, FixedPoint or BlockFormat"
        )
    return FORMATS[choice(argument, name, FORMATS, more=", or a Format")]


def dtype_name(format: Any) -> str | None:
    """The name of a dtype or of a type of numbers, of NumPy, ml_dtypes or torch; a name itself; None for others."""
    if isinstance(format, str):
        return format.removeprefix("torch.").removeprefix("numpy.").removeprefix("np.")
    if isinstance(format, np.dtype) or (isinstance(format, type) and issubclass(format, (np.generic, float))):
        return np.dtype(format).name
    if type(format).__module__.partition(".")[0] == "torch" and type(format).__name__ == "dtype":
        return str(format).rpartition(".")[2]
    return None
