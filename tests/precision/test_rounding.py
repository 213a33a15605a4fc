"""What ``round`` takes and returns, what it refuses, and the cases that other libraries get wrong."""

import math

import numpy as np
import pytest

from resolvent.precision import FixedPoint, Format, formats, round
from resolvent.precision.rounding_rule import ROUNDINGS

inf, nan = math.inf, math.nan
BOTH = pytest.mark.parametrize("backend", ["numba", "numpy"])
ALL = list(dict.fromkeys(formats.FORMATS.values()))
X = np.array([1.0, -2.3, 0.1, 1e-3, 300.0, -0.0])


def same(found, wanted):
    found, wanted = np.float64(found), np.float64(wanted)
    both_nan = np.isnan(found) and np.isnan(wanted)
    return both_nan or (found == wanted and np.signbit(found) == np.signbit(wanted))


# Section 1.5 of the note: found in which library, x, format, mode and what is correct.
half = 2.0**-25
WITNESSES = [
    ("pychop-65520", 65520.0, "fp16", inf),
    ("pychop-65535.99", 65535.99, "fp16", inf),
    ("pychop-65536", 65536.0, "fp16", inf),
    ("pychop-131071", 131071.0, "fp16", inf),
    ("pychop-last-before-inf", 65519.99, "fp16", 65504.0),
    ("pychop-e4m3-one-binade-above", 300.0, "fp8_e4m3", inf),
    ("pychop-e4m3-far-above", 511.0, "fp8_e4m3", inf),
    ("pychop-e5m2-one-binade-above", 70000.0, "fp8_e5m2", inf),
    ("pychop-bf16-3.3962e38", 3.3962e38, "bf16", inf),
    ("pychop-bf16-threshold", 2.0**128 * (1 - 2.0**-9), "bf16", inf),
    ("pychop-bf16-below-threshold", np.nextafter(2.0**128 * (1 - 2.0**-9), 0), "bf16", formats.bf16.largest),
    ("pychop-negative-zero", -0.0, "fp16", -0.0),
    ("pychop-underflow-keeps-sign", -1e-30, "fp16", -0.0),
    ("pychop-Bitchop-any", 1.2, "bf16", 1.203125),
    ("chop-FaultChop-half-smallest", half, "fp16", 0.0),
    ("chop-FaultChop-above-half-smallest", half * (1 + 2.0**-52), "fp16", 2 * half),
    ("chop-FaultChop-window", half * (1 + 2.0**-12), "fp16", 2 * half),
    ("chop-FaultChop-end-of-window", half * (1 + 2.0**-11), "fp16", 2 * half),
    ("pychop-e4m3-is-ocp", 300.0, "fp8_e4m3fn", 288.0),
    ("pychop-e4m3-ocp-largest", 464.0, "fp8_e4m3fn", 448.0),
    ("CPFloat-e4m3-480", 480.0, "fp8_e4m3fn", nan),
    ("CPFloat-e4m3-just-above-464", np.nextafter(464.0, inf), "fp8_e4m3fn", nan),
    ("torch-e4m3-inf-saturated", inf, "fp8_e4m3fn", nan),
    ("ml_dtypes-torch-double-rounding-bf16", 1 + 2.0**-8 + 2.0**-40, "bf16", 1.0078125),
    ("ml_dtypes-torch-double-rounding-down", 1 + 3 * 2.0**-8 - 2.0**-40, "bf16", 1.0078125),
    ("ml_dtypes-torch-double-rounding-e4m3fn", 1 + 2.0**-4 + 2.0**-40, "fp8_e4m3fn", 1.125),
    ("ml_dtypes-torch-double-rounding-e5m2", 1 + 2.0**-3 + 2.0**-40, "fp8_e5m2", 1.25),
    ("torch-double-rounding-fp16", 1 + 2.0**-11 + 2.0**-40, "fp16", 1 + 2.0**-10),
    ("QPyTorch-ties-to-even", 1 + 2.0**-8, "bf16", 1.0),
    ("QPyTorch-ties-to-even-up", 1 + 3 * 2.0**-8, "bf16", 1 + 2.0**-6),
    ("QPyTorch-subnormals", 2.0**-24, "fp16", 2.0**-24),
    ("QPyTorch-8-23-sign", -1.5, "fp32", -1.5),
    ("Triton-interpreter-truncates", 1 + 1.5 * 2.0**-8, "bf16", 1 + 2.0**-7),
]


@BOTH
@pytest.mark.parametrize(("x", "format", "wanted"), [row[1:] for row in WITNESSES], ids=[row[0] for row in WITNESSES])
def test_witness(x, format, wanted, backend):
    found = round(x, format, backend=backend)
    assert same(found, wanted), found
    if float(np.float32(x)) == x:
        assert same(round(np.float32(x), format, backend=backend), wanted)
    if not same(x, inf):
        assert same(round(-x, format, backend=backend), -wanted)


@BOTH
@pytest.mark.parametrize(
    ("x", "format", "mode", "wanted"),
    [
        (65520.0, "fp16", "toward-zero", 65504.0),
        (131071.0, "fp16", "toward-negative", 65504.0),
        (-131071.0, "fp16", "toward-negative", -inf),
        (65504.01, "fp16", "toward-positive", inf),
        (-1e300, "fp16", "toward-positive", -65504.0),
        (1e300, "fp16", "to-odd", 65504.0),
        (1e300, "fp8_e4m3fn", "toward-zero", 448.0),
        (449.0, "fp8_e4m3fn", "toward-positive", nan),
        (464.0, "fp8_e4m3fn", "nearest-away", nan),
        (inf, "fp8_e4m3fn", "toward-zero", nan),
        (inf, "fp16", "toward-zero", inf),
        (inf, "fp4_e2m1", "nearest-even", 6.0),
        (-inf, "fp6_e3m2", "toward-positive", -28.0),
        (1e-300, "fp16", "toward-positive", 2.0**-24),
        (-1e-300, "fp16", "toward-positive", -0.0),
        (-5e-324, "bf16", "toward-negative", -(2.0**-133)),
        (5e-324, "bf16", "to-odd", 2.0**-133),
        (1 + 2.0**-8, "bf16", "nearest-away", 1 + 2.0**-7),
        (1 + 2.0**-30, "bf16", "to-odd", 1 + 2.0**-7),
        (1 + 2.0**-7 + 2.0**-30, "bf16", "to-odd", 1 + 2.0**-7),
    ],
)
def test_directions(x, format, mode, wanted, backend):
    assert same(round(x, format, mode, backend=backend), wanted)


@BOTH
@pytest.mark.parametrize("mode", ROUNDINGS)
@pytest.mark.parametrize("format", [f for f in ALL if f.name not in ("fp64",)] + [FixedPoint(3, 4)], ids=str)
def test_nan_infinity_and_zero(format, mode, backend):
    """NaN with any payload stays a quiet one of its sign, zero keeps its sign."""
    words = np.array([0x7F800001, 0x7FFFFFFF, 0x7FC00000, 0x7F80FFFF, 0xFF800001, 0xFFFFFFFF, 0xFFBFFFFF], np.uint32)
    found = round(words.view(np.float32), format, mode, backend=backend)
    assert np.isnan(found).all()
    bits = found.view(np.uint32)
    assert (bits >> 31 == words >> 31).all()
    assert (bits & 0x00400000).all()
    wide = np.array([0x7FF0000000000001, 0x7FFFFFFFFFFFFFFF, 0xFFF0000000000001], np.uint64)
    bits = round(wide.view(np.float64), format, mode, backend=backend).view(np.uint64)
    assert (bits & 0x7FFFFFFFFFFFFFFF > 0x7FF0000000000000).all()
    assert (bits & 0x0008000000000000).all()
    zeros = round(np.array([0.0, -0.0]), format, mode, backend=backend)
    assert (zeros == 0).all()
    assert np.signbit(zeros).tolist() == [False, True]


@BOTH
def test_bf16_nan_has_no_more_bits_than_bf16(backend):
    words = np.array([0x7F800001, 0xFFFFFFFF, 0x7FABCDEF], np.uint32)
    for mode in ROUNDINGS:
        bits = round(words.view(np.float32), "bf16", mode, backend=backend).view(np.uint32)
        assert (bits & 0xFFFF == 0).all()


@BOTH
def test_carrier_of_its_own_format_only_quietens(backend):
    x = np.array([0x7FF0000000000001, 0x0000000000000001, 0x3FF0000000000001], np.uint64)
    found = round(x.view(np.float64), "fp64", backend=backend).view(np.uint64)
    assert found.tolist() == [0x7FF8000000000001, 1, 0x3FF0000000000001]
    x = np.array([0xFF800001, 1, 0x3F800001], np.uint32)
    assert round(x.view(np.float32), "fp32", backend=backend).view(np.uint32).tolist() == [0xFFC00001, 1, 0x3F800001]


def test_numbers_lists_and_dtypes():
    assert round(0.1, "bf16") == 0.10009765625
    assert isinstance(round(0.1, "bf16"), np.float64)
    assert isinstance(round(np.float32(0.1), "bf16"), np.float32)
    assert isinstance(round(np.float16(0.1), "bf16"), np.float32)
    assert isinstance(round(3, "fp4_e2m1"), np.float64)
    assert round(1 + 1j, "fp4_e2m1") == 1 + 1j
    assert round([1, 2.6], "fp4_e2m1").tolist() == [1, 3]
    assert round(np.array(0.1), "bf16").shape == ()
    assert isinstance(round(np.array(0.1), "bf16"), np.ndarray)
    for dtype, carrier in (
        ("float16", "f4"),
        ("float32", "f4"),
        (">f4", "f4"),
        ("int8", "f8"),
        ("uint64", "f8"),
        ("c8", "c8"),
    ):
        found = round(np.array([1, 3, 5], dtype), "fp8_e5m2")
        assert found.dtype == np.dtype(carrier)
        assert found.tolist() == [1, 3, 5]
    ml_dtypes = pytest.importorskip("ml_dtypes")
    assert round(np.array([1.1], ml_dtypes.bfloat16), "fp4_e2m1").dtype == np.float32


def test_integers_are_exact_or_refused():
    held = [0, 2**53, -(2**53), 2**62, -(2**63), 2**53 + 2]
    assert round(np.array(held), "fp64").tolist() == held
    assert round(np.array([2**64 - 2**11], np.uint64), "fp64") == float(2**64 - 2**11)
    for wrong in ([2**53 + 1], [-(2**53) - 1], [2**63 - 1], np.array([2**64 - 1], np.uint64)):
        with pytest.raises(ValueError, match="x: found integers beyond"):
            round(wrong, "bf16")


@BOTH
@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("format", ["bf16", "fp16", "nvfp4", FixedPoint(3, 4, overflow="wrap")], ids=str)
@pytest.mark.parametrize("mode", ["nearest-even", "stochastic"])
def test_layouts_and_out(dtype, format, mode, backend):
    """Any strides of x and of out, out being x or overlapping with it: the same numbers, in C order."""
    rng = np.random.default_rng(0)
    plain = rng.standard_normal((6, 8, 4)).astype(dtype)
    if dtype[0] == "c":
        plain.imag = rng.standard_normal(plain.shape)
    wanted = round(plain, format, mode, backend=backend, seed=3)
    assert wanted.dtype == plain.dtype
    assert not np.array_equal(wanted, plain)

    def strided():
        big = np.empty((12, 8, 4), dtype)[::2]
        big[:] = plain
        return big

    def fortran():
        return np.asfortranarray(plain)

    def backward():
        return np.ascontiguousarray(plain[::-1])[::-1]

    def read_only():
        copy = plain.copy()
        copy.flags.writeable = False
        return copy

    for x in (plain.copy(), strided(), fortran(), backward(), read_only()):
        assert np.array_equal(round(x, format, mode, backend=backend, seed=3), wanted)
        assert np.array_equal(x, plain)
        for make in (
            np.empty_like,
            lambda a: np.empty((6, 16, 4), dtype)[:, ::2],
            lambda a: np.empty(a.shape, dtype, "F"),
        ):
            out = make(x)
            assert round(x, format, mode, out=out, backend=backend, seed=3) is out
            assert np.array_equal(out, wanted)
        if x.flags.writeable:
            assert round(x, format, mode, out=x, backend=backend, seed=3) is x
            assert np.array_equal(x, wanted)
    memory = np.concatenate([plain.reshape(-1), plain.reshape(-1)[:4]])
    x, out = memory[: plain.size].reshape(plain.shape), memory[4:].reshape(plain.shape)
    x[:] = plain
    round(x, format, mode, out=out, backend=backend, seed=3)
    assert np.array_equal(out, wanted)


@BOTH
@pytest.mark.parametrize("format", ["bf16", "fp16", "mxfp4", "nvfp4", FixedPoint(3, 4, overflow="wrap")], ids=str)
def test_empty_and_no_dimension(format, backend):
    assert round(np.empty((3, 0), np.float32), format, backend=backend).shape == (3, 0)
    assert round([], format, backend=backend).shape == (0,)
    # The scales of nvfp4 are no powers of two.
    assert round(np.array(1.5), format, backend=backend) == pytest.approx(1.5, rel=1e-7)
    assert round(np.array(1.5 - 1.5j), format, backend=backend) == pytest.approx(1.5 - 1.5j, rel=1e-7)
    out = np.empty(())
    assert round(1.5, format, out=out, backend=backend) == pytest.approx(1.5)
    assert out == pytest.approx(1.5)


def test_carrier_may_be_as_wide_as_the_format():
    assert round(np.float32(1), "fp32") == 1
    assert round(np.float32(1 + 2.0**-20), "tf32") == 1
    assert round(np.float32(1), FixedPoint(0, 24)) == 1 - 2.0**-24


@BOTH
@pytest.mark.parametrize(
    "format",
    ["fp64", Format(25, -10, 10), Format(8, -127, 10), Format(8, -10, 128), FixedPoint(5, 20)],
    ids=str,
)
def test_format_wider_than_its_carrier(format, backend):
    with pytest.raises(ValueError, match=r"format: .* is wider than float32.*convert x to float64"):
        round(np.ones(3, np.float32), format, backend=backend)
    assert round(np.ones(3), format, backend=backend).dtype == np.float64


@pytest.mark.parametrize(
    ("arguments", "options", "error", "match"),
    [
        ((X, "fp17"), {}, ValueError, "format: found 'fp17'; wanted one of fp64"),
        ((X, 16), {}, TypeError, "format: found int"),
        ((X, "bf16", "up"), {}, ValueError, "rounding: found 'up'; wanted one of nearest-even, .*stochastic"),
        ((X, "mxfp4", "up"), {}, ValueError, "rounding: found 'up'"),
        (([True], "bf16"), {}, TypeError, "x: found bool"),
        ((["1.0"], "bf16"), {}, TypeError, "x: found <U3"),
        (([None], "bf16"), {}, TypeError, "x: found list of objects"),
        (([2**70], "bf16"), {}, TypeError, "x: found list of objects"),
        ((np.ones(2, np.longdouble), "bf16"), {}, TypeError, "x: found (float128|float96|longdouble)"),
        ((np.array(["2020"], "M8[D]"), "bf16"), {}, TypeError, "x: found datetime64"),
        ((X, "bf16"), {"out": [0.0] * 6}, TypeError, "out: found list; wanted a NumPy array"),
        ((X, "bf16"), {"out": np.empty(5)}, ValueError, r"out: found shape \(5,\).*wanted shape \(6,\) of float64"),
        ((X, "bf16"), {"out": np.empty(6, "f4")}, ValueError, "out: found shape .*float32; wanted .*float64"),
        ((X, "bf16"), {"seed": 0.5}, TypeError, "seed: found 0.5; wanted an integer"),
        ((X, "bf16"), {"seed": -1}, ValueError, "seed: found -1"),
        ((X, "bf16"), {"step": 2**64}, ValueError, "step: found 18446744073709551616"),
        ((X, "mxfp4"), {"axis": 1}, ValueError, "axis: found 1; wanted one of x's, from -1 to 0"),
        ((X, "mxfp4"), {"axis": 0.0}, TypeError, "axis: found 0.0"),
        ((X, "bf16"), {"backend": "jax"}, ValueError, "backend: found 'jax'; wanted one of numba, numpy, torch"),
        ((X, "bf16"), {"backend": "torch"}, ValueError, "backend: 'torch' rounds torch arrays, but x is one of numpy"),
    ],
)
def test_bad_input(arguments, options, error, match):
    if arguments[0] is not X and np.asarray(arguments[0]).dtype == np.float64:
        pytest.skip("long double is double here")
    with pytest.raises(error, match=match):
        round(*arguments, **options)


def test_read_only_out():
    out = np.empty(6)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out: found a read-only array"):
        round(X, "bf16", out=out)


def test_backend_that_is_not_installed(monkeypatch):
    def missing(backend):
        raise ImportError("No module named 'numba'")

    monkeypatch.setattr("resolvent.precision.rounding._loaded", missing)
    monkeypatch.setattr("resolvent.precision.rounding._engines", {})
    with pytest.raises(ValueError, match=r"backend: 'numba' cannot be used here \(No module"):
        round(X, "bf16")


def test_flushing():
    format = Format(4, -6, 7, subnormals=False)
    tiny = 2.0**-6
    x = np.array([tiny, tiny * (1 - 2.0**-5), tiny * (1 - 2.0**-3), tiny / 2, 1e-30, 0.0])
    assert round(x, format).tolist() == [tiny, tiny, 0, 0, 0, 0]
    assert round(x, format, "toward-positive").tolist() == [tiny, tiny, tiny, tiny, tiny, 0]
    assert round(-x, format, "toward-positive").tolist() == [-tiny, 0, 0, 0, 0, 0]
    assert round(-x, format, "toward-negative").tolist() == [-tiny, -tiny, -tiny, -tiny, -tiny, 0]
    assert np.signbit(round(-x, format)).all()


def blocks_by_definition(x, format):
    """MX and NVFP4 to nearest even, block by block of a vector, from their specifications."""
    x = np.asarray(x, float)
    finite = np.where(np.isfinite(x), np.abs(x), 0)
    result = np.empty_like(x)
    for start in range(0, x.size, format.block):
        part, largest = x[start : start + format.block], finite[start : start + format.block].max()
        if format.scale is None:
            exponent = math.floor(math.log2(largest)) if largest else -1000
            scale = 2.0 ** min(max(exponent - format.element.max_exponent, -127), 127)
        else:
            unit = float(np.float32(min(finite.max() / (6 * 448), np.finfo(np.float32).max))) or 2.0**-149
            scale = max(round(min(largest / (6 * unit), 448.0), "fp8_e4m3fn"), 2.0**-9) * unit
        result[start : start + format.block] = round(part / scale, format.element) * scale
    return result


@BOTH
@pytest.mark.parametrize("name", ["mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp4", "nvfp4"])
def test_blocks_by_definition(name, backend):
    rng = np.random.default_rng(1)
    for n, size in ((1, 1.0), (15, 1.0), (32, 1.0), (100, 1.0), (100, 2.0**500), (100, 2.0**-300)):
        x = rng.standard_normal(n) * 2.0 ** np.repeat(rng.integers(-20, 20, -(-n // 8)), 8)[:n] * size
        x[::7] = 0
        wanted = blocks_by_definition(x, formats.FORMATS[name])
        np.testing.assert_array_equal(round(x, name, backend=backend), wanted)
        if size != 1:
            continue
        single = x.astype(np.float32)
        wanted = blocks_by_definition(single, formats.FORMATS[name]).astype(np.float32)
        np.testing.assert_array_equal(round(single, name, backend=backend), wanted)


def test_blocks_lie_along_an_axis():
    x = np.random.default_rng(2).standard_normal((5, 40, 3)) * 2.0 ** np.arange(40)[:, None]
    for name in ("mxfp4", "mxfp8_e4m3"):
        found = round(x, name, axis=1)
        for i in range(5):
            for j in range(3):
                np.testing.assert_array_equal(found[i, :, j], blocks_by_definition(x[i, :, j], formats.FORMATS[name]))
        assert not np.array_equal(found, round(x, name))
    both = round(x + 1j * x[::-1], "mxfp4", axis=-2)
    np.testing.assert_array_equal(both.real, round(x, "mxfp4", axis=1))
    np.testing.assert_array_equal(both.imag, round(x[::-1], "mxfp4", axis=1))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", ["mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp4", "nvfp4"])
def test_blocks_at_the_ends_of_the_range(name, dtype):
    """Huge, tiny, special: enclosed by the directed modes, special values as the elements treat them."""
    info = np.finfo(dtype)
    x = np.array(
        [info.max, 1.0, info.smallest_subnormal, -info.tiny, nan, inf, -0.0, 3.0, *np.geomspace(1e-30, 1e30, 40)], dtype
    )
    for part in (x, x[1:5], x[2:3], -x[:1], x[5:]):
        down, middle, up = (round(part, name, mode) for mode in ("toward-negative", "nearest-even", "toward-positive"))
        for found in (down, middle, up):
            assert found.dtype == dtype
            assert (np.isnan(found) == np.isnan(part)).all()
        saturated = (down == up) & (np.abs(part) > np.abs(up)) & (up != 0)
        assert (((down <= part) & (part <= up)) | saturated | np.isnan(part)).all()
        assert ((middle == down) | (middle == up) | np.isnan(part)).all()
        if name == "mxfp8_e5m2":
            assert (np.isinf(up) == np.isinf(part)).all()
        else:
            assert np.isfinite(up[~np.isnan(part)]).all()


def test_nvfp4_beside_midpoints():
    """One unit beside a midpoint in float64, for many scales: the quotient does not tie."""
    element = np.array([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0])
    lower, upper = np.array([0, 0.5, 1, 1.5, 2, 3, 4]), np.array([0.5, 1, 1.5, 2, 3, 4, 6])
    for k in range(500):
        largest = 6.0 * (1 + k * 2.0**-9 + k * 2.0**-40)
        unit = float(np.float32(largest / 2688))
        scale = float(round(largest / (6 * unit), "fp8_e4m3fn")) * unit
        for x, wanted in ((np.nextafter(element * scale, inf), upper), (np.nextafter(element * scale, 0), lower)):
            found = round(np.append(x, largest), "nvfp4")[:-1]
            np.testing.assert_array_equal(found, wanted * scale)


@pytest.mark.parametrize("mode", [mode for mode in ROUNDINGS if mode != "stochastic"])
def test_fixed_point_edges(mode):
    format = FixedPoint(3, 4)
    x = np.array([7.9375, 7.96, 8.0, 1e300, inf, -8.0, -8.03, -8.04, -1e300, -inf])
    assert round(x, format, mode).tolist() == [7.9375] * 5 + [-8.0] * 5
    wrap = FixedPoint(3, 4, overflow="wrap")
    x = np.array([7.9375, 8.0, 15.9375, 16.0, -8.0, -8.0625, -16.0, 2.0**200, 1e300 - 1e300 % 16 + 9.0])
    assert round(x, wrap, mode).tolist()[:-1] == [7.9375, -8.0, -0.0625, 0.0, -8.0, 7.9375, 0.0, 0.0]
    assert np.isnan(round([inf, -inf, nan], wrap, mode)).all()
