"""Tensor cores: every bit against a model in exact rational arithmetic, and against sums worked out by hand."""

import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sparse

from resolvent.precision import formats, tensor_core_matmul
from resolvent.precision import round as rounded_to
from resolvent.precision.tensor_core import TENSOR_CORES, BlockFMA, block_fma, multiply_rows

# Block lengths for fp16 and bf16, tf32, fp8; alignment bits; exponent floors for fp32 and fp16 results: Khattak &
# Mikaitis. fp8 with a second number is aligned to that many bits; without, it goes through fp16 blocks.
PUBLISHED = {
    "V100": ((4, None, None), 0, (None, -19)),
    "A100": ((8, 4, None), 1, (-132, -20)),
    "A2": ((8, 4, None), 1, (-132, -20)),
    "A30": ((8, 4, None), 1, (-132, -20)),
    "L40S": ((8, 4, 16), 1, (-132, -20)),
    "H100": ((16, 8, 32), 2, (-133, -21)),
    "H200": ((16, 8, 32), 2, (-133, -21)),
    "B200": ((16, 8, None), 2, (-133, -21)),
}
COMBINATIONS = [(device, *formats) for device, rows in TENSOR_CORES.items() for formats in rows]
NATIVE_FP8 = {("L40S", "fp32"): 16, ("L40S", "fp16"): 16, ("H100", "fp32"): 32, ("H200", "fp32"): 32}


# The model ----------------------------------------------------------------------------------------------------------


def exponent(value):
    """floor(log2 |value|), exactly."""
    value = abs(value)
    guess = value.numerator.bit_length() - value.denominator.bit_length()
    return guess if value >= Fraction(2) ** guess else guess - 1


def truncated(value, unit):
    """To a multiple of 2**unit, toward zero."""
    return math.trunc(value / Fraction(2) ** unit) * Fraction(2) ** unit


def to_nearest(value, unit):
    return round(value / Fraction(2) ** unit) * Fraction(2) ** unit  # Python's round of a Fraction is to even


def one_block(products, c, bits, floor, output, significand_bits):
    """The sum of (value, exponent) pairs and c by the rules of the module's docstring."""
    terms = [(value, e) for value, e in products if value != 0]
    if c != 0:
        terms.append((c, max(exponent(c), -126)))
    if not terms:
        return Fraction(0)
    top = max(e for _, e in terms)
    top = top if floor is None else max(top, floor)
    total = sum(truncated(value, top - 23 - bits) for value, _ in terms)
    if total == 0:
        return Fraction(0)
    cut, least, most = (to_nearest, -14, 15) if output == "fp16" else (truncated, -126, 127)
    result = cut(total, max(exponent(total), least) - (significand_bits - 1))
    return math.copysign(math.inf, result) if abs(result) >= Fraction(2) ** (most + 1) else result


def model(a, b, c, device, input, output):
    """c + a . b, finite, as the published features have it."""
    (plain, tf32, _), bits, floors = PUBLISHED[device]
    floor = floors[output == "fp16"]
    least = {"fp16": -14, "fp8_e5m2": -14, "fp8_e4m3fn": -6}.get(input, -126)
    width = {"tf32": tf32}.get(input, plain)
    significand_bits = 11 if output == "fp16" else 24
    a, b, c = [Fraction(float(v)) for v in a], [Fraction(float(v)) for v in b], Fraction(float(c))
    through_fp16 = input.startswith("fp8") and (device, output) not in NATIVE_FP8
    if input.startswith("fp8") and not through_fp16:
        width, bits = NATIVE_FP8[device, output], -10
        floor = floors[0]
        significand_bits = min(significand_bits, 14)
    if through_fp16:
        least = -14

    def sized(x):
        return max(exponent(x), least)

    products = [(x * y, sized(x) + sized(y) if x and y else 0) for x, y in zip(a, b, strict=True)]
    if not through_fp16:
        for at in range(0, len(products), width):
            c = one_block(products[at : at + width], c, bits, floor, output, significand_bits)
        return c
    for at in range(0, len(products), 32):
        group = list(enumerate(products[at : at + 32]))
        part = one_block([p for k, p in group if k % 4 < 2], Fraction(0), bits, floor, output, significand_bits)
        part = one_block([p for k, p in group if k % 4 >= 2], part, bits, floor, output, significand_bits)
        total = c + part
        if total:
            least = -14 if output == "fp16" else -126
            total = to_nearest(total, max(exponent(total), least) - (significand_bits - 1))
        c = total
    return c


def numbers(rng, shape, format, spread):
    """Random numbers of a format whose exponents lie within ±spread; some zeros, some of them equal in modulus."""
    format = formats.format_named(format)
    values = rng.standard_normal(shape) * 2.0 ** rng.integers(-spread, spread + 1, shape)
    values[rng.random(shape) < 0.1] = 0
    repeat = rng.random(shape) < 0.2
    values[repeat] = -np.roll(values, 1)[repeat]
    return rounded_to(np.clip(values, -format.largest, format.largest), format).astype(np.float32)


@pytest.mark.parametrize(("device", "input", "output"), COMBINATIONS)
@pytest.mark.parametrize("spread", [1, 6, 14])
def test_every_bit_against_exact_arithmetic(device, input, output, spread):
    rng = np.random.default_rng(spread)
    A, B = numbers(rng, (12, 70), input, spread), numbers(rng, (70, 3), input, spread)
    C = numbers(rng, (12, 3), output, spread)
    limit = 2.0**15 if output == "fp16" else np.inf  # infinite partial sums have tests of their own
    found = tensor_core_matmul(A, B, C, device=device, input=input, output=output)
    for i in range(12):
        for j in range(3):
            if np.abs(A[i].astype(float) * B[:, j]).sum() + abs(C[i, j]) < limit:
                assert found[i, j] == float(model(A[i], B[:, j], C[i, j], device, input, output))


@pytest.mark.parametrize("device", ["A100", "L40S", "H100", "B200"])
@pytest.mark.parametrize("scale", [-260, -149, -140, -126, -100, 100])
def test_ends_of_the_range(device, scale):
    """bf16 products around 2**scale: all lost at 2**-260; sums that are subnormal in float32; large ones."""
    rng = np.random.default_rng(abs(scale))
    A = rounded_to(numbers(rng, (10, 40), "bf16", 6) * 2.0 ** (scale // 2), "bf16").astype(np.float32)
    B = rounded_to(numbers(rng, (40, 2), "bf16", 6) * 2.0 ** (scale - scale // 2), "bf16").astype(np.float32)
    C = rounded_to(rng.standard_normal((10, 2)) * 2.0**scale, "fp32").astype(np.float32)
    found = tensor_core_matmul(A, B, C, device=device, input="bf16")
    for i in range(10):
        for j in range(2):
            assert found[i, j] == float(model(A[i], B[:, j], C[i, j], device, "bf16", "fp32"))


@pytest.mark.parametrize(("device", "input", "output"), COMBINATIONS)
def test_subnormal_factors(device, input, output):
    """Their exponent is that of the smallest normal number, which decides what is cut off."""
    rng = np.random.default_rng(5)
    format = formats.format_named(input)
    A = (rng.integers(0, 2**format.significand_bits, (20, 40)) * format.smallest).astype(np.float32)
    B = numbers(rng, (40, 1), input, 2)
    C = np.zeros((20, 1), np.float32)
    found = tensor_core_matmul(A, B, C, device=device, input=input, output=output)
    assert [float(model(a, B[:, 0], 0, device, input, output)) for a in A] == found[:, 0].tolist()


def test_the_published_table():
    for device, (lengths, bits, floors) in PUBLISHED.items():
        rows = TENSOR_CORES[device]
        assert rows["fp16", "fp32"] == BlockFMA("fp16", "fp32", lengths[0], bits, floors[0])
        assert rows["fp16", "fp16"] == BlockFMA("fp16", "fp16", lengths[0], bits, floors[1])
        assert ("tf32", "fp32") in rows if lengths[1] else ("tf32", "fp32") not in rows
    assert len(COMBINATIONS) == 46
    assert block_fma("H200", "e4m3fn").significand_bits == 14
    assert block_fma("H100", formats.bf16).padding == 16
    assert block_fma("B200", "fp8_e5m2").padding == 32


# By hand ------------------------------------------------------------------------------------------------------------


def dot(a, b=None, c=0.0, **options):
    a = np.asarray(a, dtype=np.float64)
    return float(tensor_core_matmul(a, np.ones_like(a) if b is None else b, c, **options))


@pytest.mark.parametrize(("device", "lowest"), [("V100", -23), ("A100", -24), ("L40S", -24), ("H100", -25)])
def test_bits_kept_when_aligning(device, lowest):
    """Next to 1, terms count down to 2**lowest; what is less is lost however often it occurs in the block."""
    few = min(8, 2 ** (-23 - lowest))  # of 2**lowest, in one block with 1, make an ulp
    a = [1.0] + [2.0**lowest] * few
    block = [1.0] + [2.0 ** (lowest - 1)] * 3
    assert dot(a, device=device, input="fp16" if device == "V100" else "bf16") == 1 + 2.0**-23
    assert dot(block, device=device, input="fp16" if device == "V100" else "bf16") == 1


def test_sum_is_cut_off_not_rounded():
    """2 + 3/4 ulp, both signs."""
    a = np.array([1.0, 1.0, 2.0**-23, 2.0**-24])
    assert dot(a) == 2
    assert dot(-a) == -2
    assert dot(a, device="B200") == 2


def test_exponents_of_products_are_those_of_the_factors():
    """1.5 * 1.5 = 2.25 is aligned as a number of exponent 0, so 2**-25 next to it is kept: eight make an ulp of 2."""
    a = np.array([1.5] + [2.0**-25] * 8)
    b = np.array([1.5] + [1.0] * 8)
    assert dot(a, b) == 2.25 + 2.0**-22
    assert dot(a * [1.5, 1, 1, 1, 1, 1, 1, 1, 1], input="tf32", device="A100") == 2.25


def test_blocks_end_where_the_device_ends_them():
    """Four times 2**-25 next to 1 are an ulp only within one block, and a block is 16 long on H100, 8 on A100."""
    a = np.zeros(32)
    a[0], a[12:16] = 1, 2.0**-25
    assert dot(a) == 1 + 2.0**-23
    assert dot(np.roll(a, 2)) == 1
    a = np.zeros(16)
    a[0], a[6:8] = 1, 2.0**-24
    assert dot(a, device="A100") == 1 + 2.0**-23
    assert dot(np.roll(a, 1), device="A100") == 1


def test_accumulator_is_aligned_like_a_product():
    assert dot([2.0**-25] * 4, c=1.0) == 1 + 2.0**-23
    assert dot([2.0**-26] * 8, c=1.0) == 1
    assert dot([1.0], c=2.0**-25) == 1
    assert dot([0.0], c=-1.0 - 2.0**-23) == -1 - 2.0**-23


def test_fp8_on_hopper_keeps_fourteen_bits():
    assert dot([1.0, 2.0**-13], input="fp8_e5m2") == 1 + 2.0**-13
    assert dot([1.0, 2.0**-14, 2.0**-14], input="fp8_e5m2") == 1
    assert dot([0.0], c=1 + 2.0**-20, input="fp8_e4m3fn") == 1  # of the accumulator, too
    assert dot([1.0, 2.0**-14, 2.0**-14], input="fp8_e5m2", device="B200") == 1 + 2.0**-13


def test_fp8_through_fp16_goes_two_by_two():
    """2**-11 next to 1 is half an ulp of fp16: lost twice in different halves, an ulp together in one."""
    for device in ("H100", "H200", "B200"):
        for places, expected in {(4, 0, 1): 2.0**-10, (0, 4, 5): 2.0**-10, (0, 1, 2): 0, (2, 0, 1): 2.0**-10}.items():
            a = np.zeros(32)
            a[list(places)] = 1, 2.0**-5, 2.0**-5
            b = np.where(a == 1, 1, 2.0**-6)
            assert dot(a, b, device=device, input="fp8_e4m3fn", output="fp16") == 1 + expected
            # The accumulator comes last: half an ulp of it is lost, in each pair of blocks.
            if expected:
                assert dot(a, b, 2.0, device=device, input="fp8_e4m3fn", output="fp16") == 3


def test_fp16_results_are_rounded_to_nearest():
    """Also between the blocks: ties to even, infinite from 65520."""
    options = {"input": "fp16", "output": "fp16"}
    assert dot([1.0, 2.0**-11], **options) == 1
    assert dot([1.0, 3 * 2.0**-11], **options) == 1 + 2.0**-9
    assert dot([1.0, 2.0**-11, 2.0**-20], **options) == 1 + 2.0**-10
    assert dot([65504.0, 15.99], **options) == 65504
    assert dot([65504.0, 16.0], **options) == np.inf
    assert dot([-65504.0, -16.0], **options) == -np.inf
    assert dot([0.0], c=1 + 2.0**-11 + 2.0**-30, **options) == 1 + 2.0**-10  # C is rounded once, from float64


# What is not finite, and zeros --------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["A100", "H100", "B200"])
def test_overflow(device):
    large = 2.0**127
    assert dot([large, large], device=device) == np.inf
    assert dot([-large, -large], device=device) == -np.inf
    assert dot([large, 2.0**126], device=device) == 1.5 * large
    # Products beyond the range cancel within a block; what they were aligned with is gone.
    assert dot([large, -large, 1.0], [large, large, 1.0], device=device) == 0
    # Once infinite, always infinite, unless the other infinity comes.
    block = block_fma(device, "bf16").block
    a = np.concatenate([[large, large], np.zeros(block - 2), [-large, -large]])
    assert dot(a, device=device) == np.inf
    assert math.isnan(dot([*a, -np.inf], device=device))


@pytest.mark.parametrize(("device", "input", "output"), COMBINATIONS)
def test_nan_and_infinity(device, input, output):
    options = {"device": device, "input": input, "output": output}
    assert math.isnan(dot([1.0, np.nan], **options))
    assert math.isnan(dot([1.0], c=np.nan, **options))
    assert math.isnan(dot([0.0] * 20 + [np.nan] + [0.0] * 20, **options))
    if input == "fp8_e4m3fn":
        assert math.isnan(dot([np.inf], **options))  # the format has no infinity
        return
    assert dot([1.0, np.inf, 2.0], **options) == np.inf
    assert dot([np.inf, np.inf], [1.0, 2.0], **options) == np.inf
    assert dot([np.inf, 3.0], [-2.0, 1.0], c=5.0, **options) == -np.inf
    assert math.isnan(dot([np.inf], [0.0], **options))
    assert math.isnan(dot([np.inf, -np.inf], **options))
    assert math.isnan(dot([np.inf], c=-np.inf, **options))
    assert dot([1.0], c=-np.inf, **options) == -np.inf
    # The neighbours of what is not finite are computed as ever.
    A = np.eye(8) * 2
    A[3, 3] = np.inf
    with_it = tensor_core_matmul(np.ones((2, 8)), A, **options)
    assert np.isnan(with_it[:, 3]).sum() == 0
    assert (np.delete(with_it, 3, axis=1) == 2).all()
    assert (with_it[:, 3] == np.inf).all()


@pytest.mark.parametrize("values", [[0.0, 0.0], [-0.0, -0.0], [1.0, -1.0]])
def test_zero_sums_are_positive(values):
    assert math.copysign(1, dot(values, c=-0.0)) == 1


# Shapes and types ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((5,), (5,)),
        ((3, 5), (5,)),
        ((5,), (5, 2)),
        ((3, 5), (5, 2)),
        ((300, 33), (33, 1)),
        ((1, 40), (40, 300)),
        ((2, 3, 5), (5, 4)),
        ((2, 3, 5), (2, 5, 4)),
        ((2, 1, 3, 5), (4, 5, 2)),
        ((3, 5), (2, 5, 4)),
        ((2, 3, 5), (5,)),
        ((5,), (2, 5, 3)),
        ((0, 5), (5, 2)),
        ((3, 0), (0, 2)),
        ((0,), (0,)),
        ((0, 3, 5), (5, 2)),
    ],
)
@pytest.mark.parametrize(("device", "input"), [("V100", "fp16"), ("A100", "tf32"), ("H100", "bf16"), ("B200", "e5m2")])
def test_shapes_of_matmul(left, right, device, input):
    """Small integers are multiplied exactly."""
    rng = np.random.default_rng(1)
    A, B = rng.integers(-3, 4, left), rng.integers(-3, 4, right)
    expected = A @ B
    C = rng.integers(-3, 4, np.shape(expected)[-1:])
    found = tensor_core_matmul(A, B, C, device=device, input=input)
    assert found.dtype == np.float32
    assert np.shape(found) == np.shape(expected)
    np.testing.assert_array_equal(found, expected + C)


def test_arguments_are_left_alone_and_may_be_strided():
    rng = np.random.default_rng(2)
    A, B, C = (np.asfortranarray(rng.standard_normal((40, 40)))[::2, ::-2] for _ in range(3))
    copies = A.copy(), B.copy(), C.copy()
    first = tensor_core_matmul(A, B, C)
    np.testing.assert_array_equal(first, tensor_core_matmul(*copies))
    for array, copy in zip((A, B, C), copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    A.flags.writeable = C.flags.writeable = False
    np.testing.assert_array_equal(first, tensor_core_matmul(A, B, C))


def test_factors_are_rounded_once():
    """From float64, without a detour by float32: 1 + 2**-8 + 2**-40 lies above the tie in bf16."""
    assert dot([1 + 2.0**-8 + 2.0**-40]) == 1 + 2.0**-7
    assert dot([np.float32(1 + 2.0**-8)]) == 1
    assert dot([1 + 2.0**-11 + 2.0**-40], input="tf32") == 1 + 2.0**-10
    assert dot([0.0], c=1 + 2.0**-24 + 2.0**-50) == 1 + 2.0**-23
    assert dot([448.0, 440.0], input="fp8_e4m3fn", device="L40S") == 896
    assert math.isnan(dot([500.0], input="fp8_e4m3fn"))
    assert dot([1e9], input="fp16") == np.inf


def test_arrays_of_small_formats():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    a = np.array([1.5, -2.25, 3.0])
    for dtype, input in (
        (np.float16, "fp16"),
        (ml_dtypes.bfloat16, "bf16"),
        (ml_dtypes.float8_e4m3fn, "fp8_e4m3fn"),
        (ml_dtypes.float8_e5m2, "fp8_e5m2"),
    ):
        small = a.astype(dtype)
        assert tensor_core_matmul(small, small, input=input) == (small.astype(float) ** 2).sum()


def test_large_product_is_as_good_as_promised():
    """Normwise within (k / K + K) times the last bit kept, and worse than a sum in float32 (Blanchard et al. 2020)."""
    rng = np.random.default_rng(3)
    A, B = (rounded_to(rng.standard_normal(shape), "fp16") for shape in ((64, 1024), (1024, 64)))
    exact, size = A @ B, np.abs(A) @ np.abs(B)
    for device, block, last in (("V100", 4, 23), ("A100", 8, 24), ("H100", 16, 25)):
        error = np.abs(tensor_core_matmul(A, B, device=device, input="fp16") - exact) / size
        assert error.max() <= (1024 / block) * 2.0**-23 + 1024 * 2.0**-last / 4
        assert error.max() > 2.0**-26


# Sparse rows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("device", "input"), sorted({(device, input) for device, input, _ in COMBINATIONS}))
def test_sparse_rows_against_exact_arithmetic(device, input):
    rng = np.random.default_rng(7)
    A = sparse.random_array((30, 60), density=0.6, format="csr", rng=rng)
    A.data = numbers(rng, A.nnz, input, 3)
    A = sparse.csr_array((A.data, A.indices, A.indptr), shape=A.shape)
    A = sparse.vstack([A, sparse.csr_array((1, 60), dtype=np.float32)]).tocsr()
    x, out = numbers(rng, 60, input, 3), np.full(31, np.nan, np.float32)
    multiply_rows(A, x, out, formats.format_named(input), device)
    for i in range(31):
        row = slice(A.indptr[i], A.indptr[i + 1])
        assert out[i] == float(model(A.data[row], x[A.indices[row]], 0, device, input, "fp32"))


@pytest.mark.parametrize("device", ["A100", "H100"])
def test_dense_rows_are_those_of_the_product(device):
    rng = np.random.default_rng(8)
    A, x = numbers(rng, (50, 70), "bf16", 3), numbers(rng, 70, "bf16", 3)
    out = np.full(50, np.nan, np.float32)
    multiply_rows(A, x, out, formats.bf16, device)
    np.testing.assert_array_equal(out, tensor_core_matmul(A, x, device=device))


def test_sparse_rows_that_are_not_finite():
    A = sparse.csr_array(np.array([[1.0, np.inf, 0], [np.inf, -np.inf, 0], [1, 2, 3]], dtype=np.float32))
    for device, format in (("H100", formats.bf16), ("B200", formats.fp8_e5m2)):
        out = np.zeros(3, np.float32)
        multiply_rows(A, np.ones(3, np.float32), out, format, device)
        assert out[0] == np.inf
        assert math.isnan(out[1])
        assert out[2] == 6


# Bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"device": "H1000"}, "device: found 'H1000'; wanted one of V100"),
        ({"device": "V100", "input": "bf16"}, "V100 do not multiply bf16 to fp32; but fp16 to fp32"),
        ({"input": "bf16", "output": "fp16"}, "do not multiply bf16 to fp16"),
        ({"input": "fp64"}, "do not multiply fp64 to fp32"),
        ({"input": "fp8_e4m3"}, "do not multiply fp8_e4m3 to fp32"),
        ({"input": "half precision"}, "format: found 'half precision'"),
        ({"C": np.zeros(3)}, r"C: found shape \(3,\); wanted one that broadcasts to \(2, 2\)"),
    ],
)
def test_what_cannot_be_used_is_said(options, said):
    with pytest.raises(ValueError, match=said):
        tensor_core_matmul(np.eye(2), np.eye(2), **options)


@pytest.mark.parametrize(
    ("left", "right"), [((2, 3), (2, 3)), ((), (2,)), ((2, 2, 3), (3, 3, 2)), ((3,), (4,)), ((2, 2), ())]
)
def test_shapes_that_do_not_fit(left, right):
    with pytest.raises(ValueError, match="A, B: found shapes"):
        tensor_core_matmul(np.zeros(left), np.zeros(right))


@pytest.mark.parametrize("bad", [np.eye(2) * 1j, np.array([["a", "b"]] * 2), np.eye(2, dtype=np.longdouble), [[None]]])
def test_what_is_not_real(bad):
    with pytest.raises(TypeError, match="A: found dtype"):
        tensor_core_matmul(bad, np.eye(2))
