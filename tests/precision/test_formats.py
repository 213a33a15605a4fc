"""Formats: their table, what they refuse, and their names."""

import dataclasses
import math

import numpy as np
import pytest

from resolvent.precision import BlockFormat, FixedPoint, Format, formats
from resolvent.precision.formats import FORMATS, format_named

inf = math.inf
# name: p, emin, emax, largest, smallest, what is just too large to be rounded to the largest, and what it becomes
TABLE = {
    "fp64": (53, -1022, 1023, np.finfo(float).max, 5e-324, "infinity"),
    "fp32": (24, -126, 127, float(np.finfo(np.float32).max), 2.0**-149, "infinity"),
    "tf32": (11, -126, 127, 3.4011621342146535e38, 2.0**-136, "infinity"),
    "bf16": (8, -126, 127, 3.3895313892515355e38, 2.0**-133, "infinity"),
    "fp16": (11, -14, 15, 65504.0, 2.0**-24, "infinity"),
    "fp8_e5m2": (3, -14, 15, 57344.0, 2.0**-16, "infinity"),
    "fp8_e4m3fn": (4, -6, 8, 448.0, 2.0**-9, "nan"),
    "fp8_e4m3": (4, -6, 7, 240.0, 2.0**-9, "infinity"),
    "fp6_e2m3": (4, 0, 2, 7.5, 0.125, "saturate"),
    "fp6_e3m2": (3, -2, 4, 28.0, 0.0625, "saturate"),
    "fp4_e2m1": (2, 0, 2, 6.0, 0.5, "saturate"),
}


@pytest.mark.parametrize("name", TABLE)
def test_table(name):
    p, low, high, largest, smallest, overflow = TABLE[name]
    format = getattr(formats, name)
    assert FORMATS[name] is format
    assert (format.significand_bits, format.min_exponent, format.max_exponent) == (p, low, high)
    assert format.unit_roundoff == 2.0**-p
    assert format.smallest_normal == 2.0**low
    assert (format.largest, format.smallest, format.overflow) == (largest, smallest, overflow)
    assert str(format) == name


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("bf16", "bfloat16"),
        ("fp8_e5m2", "float8_e5m2"),
        ("fp8_e4m3fn", "float8_e4m3fn"),
        ("fp8_e4m3", "float8_e4m3"),
        ("fp6_e2m3", "float6_e2m3fn"),
        ("fp6_e3m2", "float6_e3m2fn"),
        ("fp4_e2m1", "float4_e2m1fn"),
    ],
)
def test_table_is_that_of_ml_dtypes(name, stored):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    info, format = ml_dtypes.finfo(getattr(ml_dtypes, stored)), FORMATS[name]
    assert info.nmant + 1 == format.significand_bits
    assert float(info.max) == format.largest
    assert float(info.smallest_normal) == format.smallest_normal
    assert float(info.smallest_subnormal) == format.smallest
    assert FORMATS[stored] is format


def test_carriers():
    narrow = {"tf32", "bf16", "fp16", "fp8_e5m2", "fp8_e4m3fn", "fp8_e4m3", "fp6_e2m3", "fp6_e3m2", "fp4_e2m1", "fp32"}
    for name in TABLE:
        assert FORMATS[name].carrier == (np.float32 if name in narrow else np.float64), name
    assert Format(11, -126, 127).carrier == np.float32
    assert Format(12, -126, 127).carrier == Format(11, -127, 127).carrier == Format(11, -126, 128).carrier == np.float64
    assert FixedPoint(3, 8).carrier == np.float32
    assert FixedPoint(3, 9).carrier == np.float64
    assert formats.nvfp4.carrier == np.float32


def test_defaults_and_equality():
    assert Format(8, -126, 127) == formats.bf16
    assert hash(Format(8, -126, 127)) == hash(formats.bf16)
    assert Format(8, -126, 127, subnormals=False) != formats.bf16
    assert Format(8, -126, 127, subnormals=False).smallest == 2.0**-126
    assert Format(4, -6, 8, largest=448).largest == 448.0
    assert Format(4, -6, 8, saturate=True).overflow == "saturate"
    assert Format(4, -6, 8, infinities=False).overflow == "nan"
    assert str(Format(4, -6, 8)) == "Format(4, -6, 8)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        formats.bf16.name = "other"


@pytest.mark.parametrize(
    ("arguments", "options", "error", "match"),
    [
        ((0, 1, 2), {}, ValueError, "significand_bits: found 0; wanted 1 to 53"),
        ((54, 1, 2), {}, ValueError, "significand_bits: found 54"),
        ((4.0, 1, 2), {}, TypeError, "significand_bits: found 4.0; wanted an integer"),
        ((True, 1, 2), {}, TypeError, "significand_bits: found True"),
        ((4, -1023, 2), {}, ValueError, "min_exponent: found -1023"),
        ((4, 1, 1024), {}, ValueError, "max_exponent: found 1024"),
        ((4, 3, 2), {}, ValueError, r"max_exponent: found 2; wanted 3 \(min_exponent\)"),
        ((4, 0, 2), {"subnormals": 1}, TypeError, "subnormals: found 1"),
        ((4, 0, 2), {"largest": 8.0}, ValueError, r"largest: found 8.0; wanted a number from 2\*\*2"),
        ((4, 0, 2), {"largest": 3.75}, ValueError, "largest: found 3.75"),
        ((4, 0, 2), {"largest": inf}, ValueError, "largest: found inf"),
        ((4, 0, 2), {"largest": 7.25}, ValueError, "more than 4 significand bits"),
        ((4, 0, 2), {"bias": 1}, TypeError, "bias"),
    ],
)
def test_nonsense_is_refused(arguments, options, error, match):
    with pytest.raises(error, match=match):
        Format(*arguments, **options)


def test_fixed_point():
    format = FixedPoint(3, 4)
    assert (format.lowest, format.largest, format.smallest, format.smallest_normal) == (-8.0, 7.9375, 0.0625, 4.0)
    twin = Format(7, 2, 2, infinities=False, saturate=True)
    for name in ("significand_bits", "min_exponent", "max_exponent", "largest", "smallest", "smallest_normal"):
        assert getattr(twin, name) == getattr(format, name)
    assert (str(format), str(FixedPoint(0, 8, overflow="wrap"))) == ("fixed3.4", "fixed0.8-wrap")
    assert (FixedPoint(0, 8).lowest, FixedPoint(0, 8).largest) == (-1.0, 1 - 2.0**-8)
    for wrong in ((0, 0), (30, 24), (-1, 4)):
        with pytest.raises(ValueError, match="_bits: found"):
            FixedPoint(*wrong)
    with pytest.raises(ValueError, match="wanted one of saturate, wrap"):
        FixedPoint(3, 4, overflow="clip")


def test_blocks():
    assert {name: (FORMATS[name].block, str(FORMATS[name].element)) for name in FORMATS if "mx" in name} == {
        "mxfp8_e4m3": (32, "fp8_e4m3fn"),
        "mxfp8_e5m2": (32, "fp8_e5m2"),
        "mxfp6_e2m3": (32, "fp6_e2m3"),
        "mxfp6_e3m2": (32, "fp6_e3m2"),
        "mxfp4": (32, "fp4_e2m1"),
    }
    assert formats.nvfp4.block == 16
    assert formats.nvfp4.scale.largest == 448
    assert all(format.element.saturate for format in FORMATS.values() if isinstance(format, BlockFormat))
    assert BlockFormat(formats.fp8_e4m3fn, 8).element.saturate
    assert BlockFormat(formats.fp8_e4m3fn, 8).unit_roundoff == 0.0625
    with pytest.raises(ValueError, match="block: found 0"):
        BlockFormat(formats.fp4_e2m1, 0)
    with pytest.raises(ValueError, match="element: found fp16"):
        BlockFormat(formats.fp16, 8)
    with pytest.raises(TypeError, match="element: found str"):
        BlockFormat("fp4_e2m1", 8)
    with pytest.raises(TypeError, match="scale: found str"):
        BlockFormat(formats.fp4_e2m1, 8, "fp8_e4m3fn")


def test_names():
    for name in ("bfloat16", "float16", "half", "float32", "single", "float64", "double", "e4m3fn", "e5m2", "tf32"):
        assert isinstance(format_named(name), Format)
    assert format_named(formats.bf16) is formats.bf16
    assert format_named(FixedPoint(3, 4)) == FixedPoint(3, 4)
    with pytest.raises(ValueError, match=r"format: found 'fp17'; wanted one of fp64, .*bf16.*nvfp4"):
        format_named("fp17")
    with pytest.raises(TypeError, match="format: found int"):
        format_named(16)
