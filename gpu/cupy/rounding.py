"""Rounding of CuPy arrays: one pass of a kernel that works on integers only, hence on no compiler's idea of floats.

The kernels' text is plain C++ besides ``__device__``, and what it computes is tested on the host.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache
from typing import Any

import numpy as np

from ...precision.formats import FixedPoint, Format
from ...precision.philox import Stream
from ...precision.rounding_numpy import delivered, flat, same_kind, split, whole, widened
from ...precision.rounding_rule import (
    Carrier,
    RoundInMode,
    RoundSignificand,
    carrier_of,
    rounding_rule,
    rounding_rule_of,
)

try:
    import cupy as xp
except ImportError:  # what needs no device can be tested with NumPy in CuPy's place
    xp = None

__all__ = [
    "carried",
    "cast",
    "checked_out",
    "finished",
    "is_complex",
    "parts",
    "quietly",
    "round_array",
    "whole",
    "xp",
]

PREAMBLE = """
typedef unsigned long long word;

// 63 random bits of an index: Philox4x32-10.
__device__ word resolvent_random(word index, unsigned k0, unsigned k1, unsigned step_low, unsigned step_high) {
    unsigned c0 = (unsigned)index, c1 = (unsigned)(index >> 32), c2 = step_low, c3 = step_high;
    for (int i = 0; i < 10; ++i) {
        word first = 0xD2511F53ull * c0, second = 0xCD9E8D57ull * c2;
        c0 = (unsigned)(second >> 32) ^ c1 ^ k0;
        c2 = (unsigned)(first >> 32) ^ c3 ^ k1;
        c1 = (unsigned)second;
        c3 = (unsigned)first;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return ((word)c0 << 31) | (c1 >> 1);
}

// A pattern, rounded in any mode.
__device__ word resolvent_round(
    word bits, word random, int f, word sign_bit,
    int discarded, int normal, word smallest, word flushed, word kept_of_nan,
    int nearest, int even, int odd, int stochastic,
    word away, word largest, word beyond, word infinite,
    word away_negative, word largest_negative, word beyond_negative, word infinite_negative
) {
    word sign = bits & sign_bit, magnitude = bits ^ sign, infinity = sign_bit - ((word)1 << f);
    if (sign) {
        away = away_negative; largest = largest_negative; beyond = beyond_negative; infinite = infinite_negative;
    }
    if (magnitude > infinity) return sign | ((magnitude | (word)1 << (f - 1)) & kept_of_nan);
    if (magnitude == infinity) return sign | infinite;
    int field = (int)(magnitude >> f);
    if (field < 1) field = 1;
    word base = (word)(field - 1) << f, significand = magnitude - base;
    int s = discarded + (normal > field ? normal - field : 0);
    if (stochastic) {
        significand >>= s > 126 ? 63 : s > 63 ? s - 63 : 0;
        if (s > 63) s = 63;
    } else if (s > f + 2) {
        s = f + 2;
    }
    word below = ((word)1 << s) - 1, lost = significand & below, kept = significand >> s, more = away & below;
    if (stochastic) more = random >> (63 - s);
    else if (nearest) more = ((below >> 1) + (even ? kept & 1 : 1)) & below;
    kept += lost + more > below;
    if (odd) kept |= lost != 0;
    word result = kept == 0 ? 0 : s > f + 1 ? smallest : base + (kept << s);
    if (result < flushed) result = magnitude ? away & flushed : 0;
    return sign | (result > largest ? beyond : result);
}
"""

_HOW = (
    "int32 f, uint64 sign_bit, int32 discarded, int32 normal, uint64 smallest, uint64 flushed, uint64 kept_of_nan, "
    "int32 nearest, int32 even, int32 odd, int32 stochastic, uint64 away, uint64 largest, uint64 beyond, "
    "uint64 infinite, uint64 away_negative, uint64 largest_negative, uint64 beyond_negative, uint64 infinite_negative"
)
_ARGUMENTS = ", ".join(argument.split()[1] for argument in _HOW.split(", "))
# name: (what each element is given besides its bits, what is done with it)
OPERATIONS = {
    "significand": (
        "T discarded, T infinity, T quiet",
        "T below = ((T)1 << discarded) - 1;"
        "T up = (bits << 1) > (infinity << 1) ? bits | quiet : bits + ((bits >> discarded) & 1) + (below >> 1);"
        "result = up & ~below;",
    ),
    "mode": (_HOW, f"result = (T)resolvent_round(bits, 0, {_ARGUMENTS});"),
    "stochastic": (
        f"{_HOW}, uint32 seed_low, uint32 seed_high, uint32 step_low, uint32 step_high",
        "word random = resolvent_random(i, seed_low, seed_high, step_low, step_high);"
        f"result = (T)resolvent_round(bits, random, {_ARGUMENTS});",
    ),
}


@cache
def kernel(name: str) -> Any:
    """The elementwise kernel of that name: of unsigned patterns T and its arguments, into patterns."""
    given, operation = OPERATIONS[name]
    return xp.ElementwiseKernel(f"T bits, {given}", "T result", operation, f"resolvent_round_{name}", preamble=PREAMBLE)


def carried(x: Any) -> Any:
    """x as an array of float32, float64, complex64 or complex128 that holds the same numbers."""
    return widened(xp, x)


def cast(array: Any, dtype: Any) -> Any:
    """The array, of that dtype."""
    return array.astype(dtype, copy=False)


def checked_out(out: Any, array: Any) -> None:
    """Refuse an ``out`` that cannot take the result."""
    if not isinstance(out, xp.ndarray):
        raise TypeError(f"out: found {type(out).__name__}; wanted a CuPy array")
    same_kind(out, array)


def finished(x: Any, result: Any) -> Any:
    """The result as it is."""
    return result


def is_complex(array: Any) -> bool:
    """Whether it has imaginary parts."""
    return array.dtype.kind == "c"


def parts(array: Any) -> Any:
    """Real and imaginary parts along a last axis of two."""
    return split(xp, array)


def quietly() -> Any:
    """A context without floating-point warnings; devices give none."""
    return nullcontext()


def round_array(x: Any, format: Format | FixedPoint, rounding: str, out: Any, key: Stream) -> Any:
    """Round a carried array; numbers do not wrap around yet."""
    carrier = carrier_of(x.dtype)
    # Contiguous, so that a kernel's index is the position.
    source, target, result = flat(xp, x, out)
    word = f"uint{carrier.width}"
    rule = rounding_rule_of(format, x.dtype, rounding)
    if isinstance(rule, RoundSignificand):
        name, numbers = "significand", [rule.discarded, carrier.infinity, carrier.quiet]
    else:
        name = "stochastic" if rounding == "stochastic" else "mode"
        numbers = arguments(rounding_rule(format, carrier, rounding), carrier) + list(
            key if name == "stochastic" else ()
        )
    kinds = [argument.split()[0] for argument in OPERATIONS[name][0].split(", ")]
    typed = [np.dtype(kind.replace("T", word)).type(number) for kind, number in zip(kinds, numbers, strict=True)]
    kernel(name)(source.view(word), *typed, target.view(word))
    return delivered(result, out)


def arguments(rule: RoundInMode, carrier: Carrier) -> list[int]:
    """A rule as the kernels take it: signed numbers and unsigned patterns."""
    *numbers, positive, negative = rule
    signed = ("discarded", "normal", "nearest", "even", "odd", "stochastic")
    flat = [number if name in signed else number % 2**64 for name, number in zip(rule._fields, numbers, strict=False)]
    sides = [number % 2**64 for side in (positive, negative) for number in side]
    return [carrier.fraction_bits, carrier.sign, *flat, *sides]
