"""Rounding against rationals, tables of all values, MPFR, other libraries, and cases known by construction."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resolvent.precision import FixedPoint, Format, formats, round
from resolvent.precision.formats import FORMATS
from resolvent.precision.rounding_rule import ROUNDINGS

inf, nan = math.inf, math.nan
MODES = [mode for mode in ROUNDINGS if mode != "stochastic"]
NEAREST = ("nearest-even", "nearest-away")
NAMES = [
    "tf32", "bf16", "fp16", "fp8_e5m2", "fp8_e4m3fn", "fp8_e4m3", "fp6_e2m3", "fp6_e3m2", "fp4_e2m1",
]  # fmt: skip
OTHERS = {
    "flushing": Format(5, -3, 3, subnormals=False),
    "one_bit": Format(1, -4, 4),
    "one_bit_flushing": Format(1, -4, 4, subnormals=False, infinities=False),
    "one_binade": Format(3, 0, 0),
    "above_one": Format(3, 5, 9),
    "below_one": Format(3, -30, -20, saturate=True),
    "all_bits": Format(24, -10, 10),
    "short_top": Format(5, -3, 3, infinities=False, largest=9.0),
    "saturating_with_infinities": Format(3, -14, 15, saturate=True),
    "fixed": FixedPoint(3, 4),
    "fixed_fraction": FixedPoint(0, 24),
    "fixed_integers": FixedPoint(6, 0),
    "fixed_wrapping": FixedPoint(3, 4, overflow="wrap"),
}
ALL = {name: FORMATS[name] for name in NAMES} | OTHERS
BOTH = pytest.mark.parametrize("dtype", [np.float64, np.float32])
BACKENDS = pytest.mark.parametrize("backend", ["numba", "numpy"])


def by_rationals(x, format, mode):
    """The rounded number, by its definition, in exact rational arithmetic."""
    if math.isnan(x) or x == 0:
        return x
    negative = x < 0
    away = mode == ("toward-negative" if negative else "toward-positive")
    fixed = isinstance(format, FixedPoint)
    if math.isinf(x):
        if not fixed and format.infinities:
            return x
        if format.overflow in ("nan", "wrap"):
            return nan
        return format.lowest if fixed and negative else math.copysign(format.largest, x)
    exact = abs(Fraction(x))
    if fixed:
        unit = Fraction(1, 2**format.fraction_bits)
    else:
        e = exact.numerator.bit_length() - exact.denominator.bit_length()
        e -= exact < Fraction(2) ** e
        unit = Fraction(2) ** (max(e, format.min_exponent) - format.significand_bits + 1)
    below = exact // unit
    rest = exact / unit - below
    if mode == "nearest-even":
        up = rest > Fraction(1, 2) or (rest == Fraction(1, 2) and below % 2 == 1)
    elif mode == "nearest-away":
        up = rest >= Fraction(1, 2)
    elif mode == "to-odd":
        up = rest > 0 and below % 2 == 0
    else:
        up = away and rest > 0
    result = (below + up) * unit
    if fixed and format.overflow == "wrap":
        result, modulus = (-result if negative else result), 2 * Fraction(2) ** format.integer_bits
        return float((result + modulus / 2) % modulus - modulus / 2)
    if not fixed and not format.subnormals and result < Fraction(2) ** format.min_exponent:
        result = Fraction(2) ** format.min_exponent if away else 0
    largest = -format.lowest if fixed and negative else format.largest
    if result > largest:
        if mode in NEAREST or away:
            result = {"infinity": inf, "nan": nan}.get(format.overflow, largest)
        else:
            result = largest
    return math.copysign(float(result), x)


def midpoints(format, dtype, seed=0):
    """Numbers on, and barely beside, midpoints k + 1/2 of every binade, and what lies on either side.

    Those that dtype holds: x, the two neighbours that rounding may choose from, whether the lower one is odd, and the
    sign of x's offset from the midpoint. The edges to subnormal numbers and to overflow are among them.
    """
    p, low, high = format.significand_bits, format.min_exponent, format.max_exponent
    rng = np.random.default_rng(seed)
    rows = []
    for e in range(low - p, high + 1):
        unit = 2.0 ** (max(e, low) - p + 1)
        if e < low:
            bits = e - (low - p + 1)
            first, last = (2**bits, 2 ** (bits + 1) - 1) if bits >= 0 else (0, 0)
        else:
            first, last = 2 ** (p - 1), 2**p - 1
        if e == high:
            last = int(format.largest / unit)
        for k in {first, last, int(rng.integers(first, last + 1)), int(rng.integers(first, last + 1))}:
            for j in (*range(20, 49), None):
                for side in (-1, 1) if j else (0,):
                    rows.append(
                        ((k + 0.5 + side * (2.0**-j if j else 0)) * unit, k * unit, (k + 1) * unit, k % 2, side)
                    )
    x, below, above, odd, side = np.array(rows).T
    held = (x.astype(dtype) == x) & ((x != (below + above) / 2) == (side != 0))
    return x.astype(dtype)[held], below[held], above[held], odd[held] > 0, side[held]


def same(found, wanted):
    """Equal, NaN where NaN and zeros of one sign."""
    with np.errstate(invalid="ignore"):  # signalling NaN
        found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    numbers = (found == wanted) & (np.signbit(found) == np.signbit(wanted))
    return numbers | (np.isnan(found) & np.isnan(wanted))


def assert_same(found, wanted, x):
    bad = np.flatnonzero(~same(found, wanted))
    assert bad.size == 0, [(float(x[i]).hex(), float(found[i]), float(wanted[i])) for i in bad[:5]]


def wide_range(dtype, count, seed=0):
    """Random words, random sizes around the ranges of narrow formats, and what is special."""
    rng = np.random.default_rng(seed)
    word = np.uint32 if dtype == np.float32 else np.uint64
    words = rng.integers(0, np.iinfo(word).max, count, word, endpoint=True).view(dtype)
    with np.errstate(over="ignore"):
        sizes = (rng.standard_normal(count) * 2.0 ** rng.uniform(-30, 20, count)).astype(dtype)
        few_bits = np.ldexp(rng.integers(-64, 64, count) / 8.0, rng.integers(-26, 17, count)).astype(dtype)
    info = np.finfo(dtype)
    special = np.array([0, inf, nan, info.max, info.tiny, info.smallest_subnormal, 1, info.tiny * 1.5], dtype)
    return np.concatenate([words, sizes, few_bits, special, -special])


@BACKENDS
@BOTH
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ALL)
def test_against_rationals(name, mode, dtype, backend):
    x = wide_range(dtype, 150 if backend == "numpy" else 400)
    found = round(x, ALL[name], mode, backend=backend)
    assert found.dtype == dtype
    wanted = np.array([by_rationals(float(value), ALL[name], mode) for value in x])
    if name == "fixed_wrapping":  # a zero that numbers wrap to has no sign
        found, wanted = found + 0.0, wanted + 0.0
    assert_same(found, wanted, x)


def every_value(format):
    """All positive finite numbers of a small format, in order, with zero."""
    p, low = format.significand_bits, format.min_exponent
    fractions = [k * 2.0 ** (low - p + 1) for k in range(2 ** (p - 1))] if format.subnormals else [0.0]
    for e in range(low, format.max_exponent + 1):
        fractions += [(1 + k / 2 ** (p - 1)) * 2.0**e for k in range(2 ** (p - 1))]
    return np.array([value for value in fractions if value <= format.largest])


@BOTH
@pytest.mark.parametrize("name", ["fp8_e5m2", "fp8_e4m3fn", "fp8_e4m3", "fp6_e2m3", "fp6_e3m2", "fp4_e2m1"])
def test_against_a_table_of_all_values(name, dtype):
    """Neighbours are found by searching, so that nothing is known of exponents."""
    table = every_value(FORMATS[name])
    assert table.size == {"fp8_e5m2": 124, "fp8_e4m3fn": 127, "fp8_e4m3": 120}.get(name, 2 ** (int(name[2]) - 1))
    x = np.abs(wide_range(dtype, 20_000))
    x = np.concatenate([x[x <= table[-1]].astype(float), table, (table[1:] + table[:-1]) / 2])
    below = np.searchsorted(table, x, "right") - 1
    above = np.minimum(below + (table[below] < x), table.size - 1)
    lower, upper, middle = table[below], table[above], (table[below] + table[above]) / 2
    even = np.where(below % 2 == 0, lower, upper)
    wanted = {
        "nearest-even": np.where(x < middle, lower, np.where(x > middle, upper, even)),
        "nearest-away": np.where(x < middle, lower, upper),
        "toward-zero": lower,
        "toward-positive": upper,
        "toward-negative": lower,
        "to-odd": np.where(below % 2 == 1, lower, upper),
    }
    for mode in MODES:
        assert_same(round(x.astype(dtype), name, mode), wanted[mode], x)
        assert_same(round(-x.astype(dtype), name, MIRROR.get(mode, mode)), -wanted[mode], x)


MIRROR = {"toward-positive": "toward-negative", "toward-negative": "toward-positive"}
ORACLES = {
    "bf16": "bfloat16", "fp8_e5m2": "float8_e5m2", "fp8_e4m3fn": "float8_e4m3fn", "fp8_e4m3": "float8_e4m3",
    "fp6_e2m3": "float6_e2m3fn", "fp6_e3m2": "float6_e3m2fn", "fp4_e2m1": "float4_e2m1fn",
}  # fmt: skip


def stored_and_back(x, name):
    """What the library that stores a format makes of float32 numbers."""
    with np.errstate(all="ignore"):
        if name == "fp16":
            return x.astype(np.float16).astype(np.float32)
        ml_dtypes = pytest.importorskip("ml_dtypes")
        back = x.astype(getattr(ml_dtypes, ORACLES[name])).astype(np.float32)
    # Formats without NaN and infinity have no such word to compare.
    return back if name[:3] in ("bf1", "fp8") else np.where(np.isfinite(x), back, round(x, name))


@BACKENDS
@pytest.mark.parametrize("name", ["fp16", *ORACLES])
def test_boundary_words_against_libraries(name, backend):
    """Of all float32 words those that end, in their last 13 bits, near a number of at most 12 bits or a midpoint."""
    if backend == "numpy" and name not in ("bf16", "fp8_e4m3fn"):
        return
    high = np.arange(1 << 16, dtype=np.uint32) << 16
    step = 0x1000 if name == "fp16" else 0x8000
    low = np.array([(k + side) % (1 << 16) for k in range(0, 1 << 16, step) for side in (-1, 0, 1)], np.uint32)
    for part in np.split(low, low.size // 6):
        x = (high[:, None] | part).reshape(-1).view(np.float32)
        assert_same(round(x, name, backend=backend), stored_and_back(x, name), x)


@pytest.mark.parametrize("name", NAMES)
@BOTH
def test_midpoints_of_every_binade(name, dtype):
    """Barely beside a midpoint, in float64 closer than float32 could tell: what double rounding gets wrong."""
    format = FORMATS[name]
    x, below, above, odd, side = midpoints(format, dtype)
    assert np.unique(np.frexp(x)[1]).size >= format.max_exponent - format.min_exponent
    assert (side != 0).sum() > 10 * (side == 0).sum() or dtype == np.float32
    beyond = {"infinity": inf, "saturate": format.largest, "nan": nan}[format.overflow]
    for mode in MODES:
        up = {
            "nearest-even": (side > 0) | ((side == 0) & odd),
            "nearest-away": side >= 0,
            "toward-positive": np.ones(x.size, bool),
            "to-odd": ~odd,
        }.get(mode, np.zeros(x.size, bool))
        rule = beyond if mode in (*NEAREST, "toward-positive") else format.largest
        wanted = np.where(up & (above > format.largest), rule, np.where(up, above, below))
        assert_same(round(x, format, mode), wanted, x)
        assert_same(round(-x, format, MIRROR.get(mode, mode)), -wanted, x)


def test_half_precision_from_float64_is_numpys():
    x = np.concatenate(
        [wide_range(np.float64, 100_000, seed=5), *(s * midpoints(formats.fp16, float)[0] for s in (1, -1))]
    )
    with np.errstate(all="ignore"):
        assert_same(round(x, "fp16"), x.astype(np.float16), x)
        assert_same(round(x, "fp32"), x.astype(np.float32), x)


@pytest.mark.parametrize("name", ["fp32", "tf32", "bf16", "fp16", "fp8_e5m2", "fp8_e4m3"])
def test_against_mpfr(name):
    """MPFR rounds once to p bits and the format's exponents, subnormal numbers included."""
    gmpy2 = pytest.importorskip("gmpy2")
    format = FORMATS[name]
    x, *_ = midpoints(format, np.float64)
    x = np.concatenate([np.random.default_rng(1).choice(x, 1500), wide_range(np.float64, 500)])
    x = np.where(np.isnan(x), 1.0, x)
    modes = dict(
        zip(MODES, (gmpy2.RoundToNearest, None, gmpy2.RoundToZero, gmpy2.RoundUp, gmpy2.RoundDown), strict=False)
    )
    for mode, theirs in modes.items():
        if theirs is None:
            continue
        p, low, high = format.significand_bits, format.min_exponent, format.max_exponent
        context = gmpy2.context(precision=p, emin=low - p + 2, emax=high + 1, subnormalize=True, round=theirs)
        with gmpy2.context(context):
            wanted = [float(gmpy2.mpfr(float(value))) for value in x]
        assert_same(round(x, format, mode), wanted, x)


numbers = st.floats(allow_nan=False, width=64)
some_format = st.one_of(
    st.sampled_from(list(ALL.values())),
    st.builds(
        lambda p, low, span, **rest: Format(p, low, low + span, **rest),
        st.integers(1, 24), st.integers(-126, 0), st.integers(0, 127),
        subnormals=st.booleans(), infinities=st.booleans(), saturate=st.booleans(),
    ),
    st.builds(FixedPoint, st.integers(0, 12), st.integers(1, 12)),
)  # fmt: skip
monotone_format = some_format.filter(lambda format: format.overflow not in ("nan", "wrap"))


@settings(max_examples=300)
@given(numbers, some_format, st.sampled_from(MODES))
def test_any_number_any_format(x, format, mode):
    found = float(round(x, format, mode))
    zero = 0.0 if format.overflow == "wrap" else -0.0  # added, so that only there it takes the sign of a zero
    assert same(found + zero, by_rationals(x, format, mode) + zero)
    # What has been rounded stays as it is in whatever mode.
    for other in ROUNDINGS:
        assert same(round(found, format, other), found)


@settings(max_examples=200)
@given(numbers, numbers, monotone_format, st.sampled_from(MODES))
def test_order_is_kept(x, y, format, mode):
    x, y = min(x, y), max(x, y)
    assert round(x, format, mode) <= round(y, format, mode)


@settings(max_examples=200)
@given(numbers, some_format, st.sampled_from(MODES))
def test_sign_is_only_a_sign(x, format, mode):
    if isinstance(format, FixedPoint):  # which has one more number below zero
        return
    assert same(round(-x, format, MIRROR.get(mode, mode)), -round(x, format, mode))


@settings(max_examples=200)
@given(numbers, monotone_format)
def test_the_modes_enclose(x, format):
    down, up = (float(round(x, format, mode)) for mode in ("toward-negative", "toward-positive"))
    lowest = format.lowest if isinstance(format, FixedPoint) else -format.largest
    if lowest <= x <= format.largest:
        assert down <= x <= up
    assert (down == up) == (down == x) or abs(x) > format.largest
    for mode in ROUNDINGS:
        assert float(round(x, format, mode)) in (down, up)
    if down < up and all(map(math.isfinite, (down, up))) and not isinstance(format, FixedPoint) and format.subnormals:
        # Nothing lies between: they are as far apart as the numbers of the lower one's binade.
        size = min(abs(down), abs(up))
        e = max(math.frexp(size)[1] - 1 if size else format.min_exponent, format.min_exponent)
        assert up - down == 2.0 ** (e - format.significand_bits + 1)


@pytest.mark.parametrize("name", ["bf16", "fp16", "fp8_e4m3", "fp32"])
def test_one_operation_in_the_carrier_is_correctly_rounded(name):
    """p_c >= 2p + 2 suffices for +, -, *, / on numbers of the format."""
    gmpy2 = pytest.importorskip("gmpy2")
    format = FORMATS[name]
    carrier = np.dtype(np.float64) if name == "fp32" else format.carrier
    rng = np.random.default_rng(3)
    a, b = (round(rng.standard_normal(400) * 2.0 ** rng.integers(-3, 4, 400), format).astype(carrier) for _ in range(2))
    b[b == 0] = 1
    p, low, high = format.significand_bits, format.min_exponent, format.max_exponent
    context = gmpy2.context(precision=p, emin=low - p + 2, emax=high + 1, subnormalize=True)
    for operation in (np.add, np.subtract, np.multiply, np.divide):
        found = round(operation(a, b), format)
        with gmpy2.context(context):
            pairs = zip(map(float, a), map(float, b), strict=True)
            python = {"add": "__add__", "subtract": "__sub__", "multiply": "__mul__", "divide": "__truediv__"}
            wanted = [float(getattr(gmpy2.mpfr(x), python[operation.__name__])(gmpy2.mpfr(y))) for x, y in pairs]
        assert_same(found, wanted, a)


def test_a_sum_of_many_in_the_carrier_is_not():
    """Two roundings of one operation are harmless, of a long sum they are not: 4096 ones stall at 256 in bf16."""
    total = np.float32(0)
    for _ in range(4096):
        total = round(total + np.float32(1), "bf16")
    assert total == 256
    assert round(np.ones(4096, np.float32).sum(), "bf16") == 4096


def test_combinations_cover_what_they_say():
    assert set(itertools.chain(NAMES, ("fp64", "fp32"))) == {str(f) for f in FORMATS.values() if isinstance(f, Format)}
