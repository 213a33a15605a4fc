"""The four working precisions and what each can represent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

__all__ = ["PrecisionFacts", "precision_facts", "supported_dtypes", "times_power_of_two", "working_dtype"]

supported_dtypes = tuple(np.dtype(name) for name in ("float32", "float64", "complex64", "complex128"))


@dataclass(frozen=True)
class PrecisionFacts:
    """What a working precision can represent.

    Attributes
    ----------
    name : str
        ``"float32"``, ``"float64"``, ``"complex64"`` or ``"complex128"``.
    unit_roundoff : float
        u = 2**-p, half the spacing of the numbers around one.
    smallest_exponent, largest_exponent : int
        Exponents e of the smallest normal and the largest finite number, ``2**e <= |x| < 2**(e+1)``.
    comfortable_exponent : int
        Matrices whose largest entry lies within 2**±this are iterated on as they are: no product or inner product of
        a normalised iterate can overflow or lose digits to underflow. Others are rescaled by a power of two first.
    """

    name: str
    unit_roundoff: float
    smallest_exponent: int
    largest_exponent: int
    comfortable_exponent: int


@cache
def precision_facts(dtype: Any) -> PrecisionFacts:
    """Facts of a working precision.

    Parameters
    ----------
    dtype : dtype-like
        One of float32, float64, complex64, complex128.

    Examples
    --------
    >>> from resolvent.precision import precision_facts
    >>> precision_facts("float64").unit_roundoff == 2.0**-53
    True
    """
    dtype = np.dtype(dtype)
    info = np.finfo(dtype)
    return PrecisionFacts(
        name=dtype.name,
        unit_roundoff=float(info.eps) / 2,
        smallest_exponent=int(info.minexp),
        largest_exponent=int(info.maxexp) - 1,
        comfortable_exponent=int(info.maxexp) // 4,
    )


def working_dtype(*dtypes: Any) -> np.dtype:
    """The precision a system is solved in: the smallest of the four that holds all its parts.

    Integers and booleans are carried in float64, half precision in float32.

    Parameters
    ----------
    *dtypes : dtype-like
        Types of A, b and x0.

    Raises
    ------
    TypeError
        For extended precision, objects, strings and dates.

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.precision import working_dtype
    >>> working_dtype(np.int8, np.float32), working_dtype(np.float16), working_dtype(np.float32, np.complex64)
    (dtype('float64'), dtype('float32'), dtype('complex64'))
    """
    return _working(*map(np.dtype, dtypes))


@cache
def _working(*kinds: np.dtype) -> np.dtype:
    for kind in kinds:
        if kind.kind not in "biufc" or kind.itemsize > (16 if kind.kind == "c" else 8):
            raise TypeError(
                f"dtype {kind} is not a working precision; wanted float32, float64, complex64, complex128, an integer "
                "type or float16"
            )
    return np.dtype(np.result_type(np.float32, *(np.float64 if kind.kind in "biu" else kind for kind in kinds)))


def times_power_of_two(value: float, exponent: int) -> float:
    """2**exponent value, rounded once; infinite where it is too large.

    Examples
    --------
    >>> from resolvent.precision import times_power_of_two
    >>> times_power_of_two(3.0, -1), times_power_of_two(1.0, 5000)
    (1.5, inf)
    """
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.copysign(math.inf, value)
