"""Rounding of NumPy arrays in plain NumPy: the reference that every other implementation is held to, bit by bit."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from .formats import FixedPoint, Format
from .philox import Stream, random_bits
from .rounding_reference import round_patterns
from .rounding_rule import Carrier, RoundInMode, RoundSignificand, carrier_of, rounding_rule, rounding_rule_of

__all__ = [
    "before_line",
    "carried",
    "cast",
    "checked_out",
    "delivered",
    "finished",
    "flat",
    "is_complex",
    "parts",
    "quietly",
    "round_array",
    "same_kind",
    "split",
    "whole",
    "widened",
    "xp",
]

xp = np
is_complex = np.iscomplexobj
PATTERNS = 1 << 13  # elements a block: its dozen temporaries fit the second-level cache
LONG = 1 << 15  # elements from which it pays to begin with a cache line
SIGNIFICANDS = 1 << 19  # without temporaries, blocks of half a million, so that NumPy's calls cost next to nothing


def carried(x: Any) -> Any:
    """x as an array of float32, float64, complex64 or complex128 that holds the same numbers."""
    array = np.asarray(x)
    if array.dtype.kind == "O":
        raise TypeError(f"x: found {type(x).__name__} of objects; wanted floats, complex numbers or 64-bit integers")
    return widened(np, array)


def widened(xp: Any, array: Any) -> Any:
    """An array of NumPy or CuPy, in the carrier of its dtype."""
    dtype = array.dtype
    if dtype.char in "fdFD":
        return array if dtype.isnative else array.astype(dtype.newbyteorder("="))
    if dtype.kind in "iu":
        if dtype.itemsize == 8 and not _exact_in_float64(xp, array):
            raise ValueError("x: found integers beyond 2**53 that float64 does not hold; convert x to floats first")
        return array.astype(xp.float64)
    if dtype.itemsize <= 2 and dtype.kind in "fV" and np.can_cast(dtype, np.float32):
        return array.astype(xp.float32)
    raise TypeError(f"x: found {dtype} values; wanted floats, complex numbers or integers of at most 64 bits")


def _exact_in_float64(xp: Any, array: Any) -> bool:
    # Of a magnitude's 64 bits at most 53 lie between the highest and the lowest that is set.
    magnitude = xp.where(array < 0, -array, array).astype(xp.uint64)
    lowest = magnitude & (~magnitude + xp.uint64(1))
    return bool((magnitude // xp.maximum(lowest, xp.uint64(1)) < 2**53).all())


def checked_out(out: Any, array: Any) -> None:
    """Refuse an ``out`` that cannot take the result."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out: found {type(out).__name__}; wanted a NumPy array")
    same_kind(out, array)
    if not out.flags.writeable:
        raise ValueError("out: found a read-only array; wanted one that can be written to")


def same_kind(out: Any, array: Any) -> None:
    """Refuse an ``out`` of another shape or dtype than the result's."""
    if out.shape != array.shape or out.dtype != array.dtype:
        raise ValueError(
            f"out: found shape {out.shape} of {out.dtype}; wanted shape {array.shape} of {array.dtype}, as x is carried"
        )


def finished(x: Any, result: Any) -> Any:
    """The result as a scalar where x was one."""
    return result[()] if result.ndim == 0 and not isinstance(x, np.ndarray) else result


def cast(array: Any, dtype: Any) -> Any:
    """The array, of that dtype."""
    return array.astype(dtype, copy=False)


def quietly() -> Any:
    """A context without floating-point warnings."""
    return np.errstate(all="ignore")


def parts(array: Any) -> Any:
    """Real and imaginary parts along a last axis of two."""
    return split(np, array)


def split(xp: Any, array: Any) -> Any:
    """``parts`` of an array of NumPy or CuPy."""
    array = xp.ascontiguousarray(array).reshape(array.shape)
    return array[..., np.newaxis].view(array.real.dtype)


def whole(array: Any) -> Any:
    """The inverse of ``parts``."""
    return array.view(np.result_type(array.dtype, np.complex64))[..., 0]


def flat(xp: Any, x: Any, out: Any) -> tuple[Any, Any, Any]:
    """Contiguous real vectors to read from and to write to, and the array of the result.

    The latter has the memory of the vector. It is ``out`` unless that is not contiguous or overlaps with another part
    of x, and is then to be delivered there.
    """
    source = xp.ascontiguousarray(x)
    usable = out is not None and out.flags.c_contiguous and (out is x or not xp.may_share_memory(out, x))
    result = out if usable else xp.empty(x.shape, x.dtype)
    return _vector(source), _vector(result), result


def _vector(array: Any) -> Any:
    array = array.reshape(-1)
    return array.view(f"f{array.itemsize // 2}") if array.dtype.kind == "c" else array


def before_line(target: Any) -> int:
    """How many elements lie before the first cache line, where stores are a sixth slower than within."""
    if target.size < LONG:
        return 0
    return -target.__array_interface__["data"][0] % 64 // target.itemsize


def round_array(x: Any, format: Format | FixedPoint, rounding: str, out: Any, key: Stream) -> Any:
    """Round a carried array; numbers do not wrap around yet."""
    source, target, result = flat(np, x, out)
    carrier = carrier_of(source.dtype)
    rule = rounding_rule_of(format, source.dtype, rounding)
    if isinstance(rule, RoundSignificand):
        with quietly():  # what the look for NaN says of signalling ones
            _round_significands(source, target, rule.discarded, carrier)
    else:
        _round_patterns(source, target, rounding_rule(format, carrier, rounding), carrier, key)
    return delivered(result, out)


def delivered(result: Any, out: Any) -> Any:
    """The result, in ``out`` if that was given."""
    if out is None or result is out:
        return result
    out[...] = result
    return out


def _round_patterns(source: Any, target: Any, rule: RoundInMode, carrier: Carrier, key: Stream) -> None:
    signed = f"i{carrier.width // 8}"
    patterns, results = source.view(signed), target.view(signed)
    for start in range(0, source.size, PATTERNS):
        bits, random = patterns[start : start + PATTERNS], None
        if rule.stochastic:
            bits, random = bits.astype(np.int64), random_bits(np.arange(start, start + bits.size), key)
        results[start : start + PATTERNS] = round_patterns(np, bits, rule, carrier, random)


def _round_significands(source: Any, target: Any, discarded: int, carrier: Carrier) -> None:
    """``rounding_reference.round_significands`` in place, in as few passes as NumPy needs."""
    count, one, less, mask, quiet = _constants(discarded, carrier)
    patterns, results = source.view(count.dtype), target.view(count.dtype)
    in_place = np.may_share_memory(source, target)
    scratch = np.empty(min(SIGNIFICANDS, source.size) if in_place else 0, count.dtype)
    edges = (0, *range(before_line(target), source.size, SIGNIFICANDS), source.size)
    for part in (slice(start, end) for start, end in pairwise(edges) if start < end):
        numbers, bits, up = source[part], patterns[part], results[part]
        odd = scratch[: bits.size] if in_place else up
        nan = None
        if np.isnan(np.maximum.reduce(numbers)):  # one pass, and hardly ever true
            nan = np.flatnonzero(np.isnan(numbers))
            quietened = bits[nan] | quiet
        np.right_shift(bits, count, odd)
        np.bitwise_and(odd, one, odd)
        np.add(bits, odd, up)
        np.add(up, less, up)
        if nan is not None:
            up[nan] = quietened
        np.bitwise_and(up, mask, up)


@cache
def _constants(discarded: int, carrier: Carrier) -> tuple[Any, ...]:
    """s, 1, half less one, the bits kept and the quiet bit, as arrays of no dimension: the quickest operands."""
    numbers = (discarded, 1, (1 << (discarded - 1)) - 1, 2 * carrier.sign - (1 << discarded), carrier.quiet)
    return tuple(np.array(number, f"u{carrier.width // 8}") for number in numbers)
