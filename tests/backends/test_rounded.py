"""The emulating decorator, operation by operation, against exact rational arithmetic that is rounded where it is said.

The reference rounds fractions; it shares no line, no float type and no bit trick with the package.
"""

import importlib.util
import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sparse

import resolvent as rv
from resolvent.backends import choose_backend
from resolvent.backends.rounded import Rounded
from resolvent.operators.ordering import Ordering
from resolvent.precision import FixedPoint, Precision, formats, tensor_core_matmul
from resolvent.precision.policy import POLICIES, as_precision

NEEDS = {"array_api": "array_api_strict", "torch": "torch", "cupy": "cupy"}
HERE = [
    pytest.param(name, marks=[pytest.mark.gpu] * (name == "cupy"))
    for name in rv.BACKENDS
    if importlib.util.find_spec(NEEDS.get(name, "numpy")) is not None
]
MODES = ("nearest-even", "nearest-away", "toward-zero", "toward-positive", "toward-negative", "to-odd")
FORMATS = ("bf16", "tf32", "fp16", "fp8_e5m2")


# The reference ------------------------------------------------------------------------------------------------------


def rounded(value, format, mode="nearest-even"):
    """A fraction, or a complex number by parts, to the numbers of a format."""
    if isinstance(value, complex):
        return complex(rounded(value.real, format, mode), rounded(value.imag, format, mode))
    value, format = Fraction(value), formats.format_named(format)
    if value == 0:
        return 0.0
    if isinstance(format, FixedPoint):
        unit = Fraction(format.smallest)
    else:
        size = abs(value)
        exponent = size.numerator.bit_length() - size.denominator.bit_length()
        exponent -= Fraction(2) ** exponent > size
        unit = Fraction(2) ** (max(exponent, format.min_exponent) - format.significand_bits + 1)
    low, rest = divmod(abs(value) / unit, 1)
    up = {
        "nearest-even": rest > Fraction(1, 2) or (rest == Fraction(1, 2) and low % 2 == 1),
        "nearest-away": rest >= Fraction(1, 2),
        "toward-zero": False,
        "toward-positive": value > 0 and rest > 0,
        "toward-negative": value < 0 and rest > 0,
        "to-odd": rest > 0 and low % 2 == 0,
    }[mode]
    size = (low + up) * unit
    assert size <= Fraction(format.largest), "the tests stay in range"
    return float(size if value > 0 else -size)


class Slowly:
    """Arithmetic that rounds after every single operation."""

    def __init__(self, format, mode="nearest-even"):
        self.format, self.mode = format, mode

    def __call__(self, value):
        return rounded(value, self.format, self.mode)

    def add(self, a, b):
        if isinstance(a, complex) or isinstance(b, complex):
            a, b = complex(a), complex(b)
            return complex(self.add(a.real, b.real), self.add(a.imag, b.imag))
        return self(Fraction(a) + Fraction(b))

    def times(self, a, b):
        if isinstance(a, complex) or isinstance(b, complex):
            a, b = complex(a), complex(b)
            real = self.add(self.times(a.real, b.real), -self.times(a.imag, b.imag))
            return complex(real, self.add(self.times(a.real, b.imag), self.times(a.imag, b.real)))
        return self(Fraction(a) * Fraction(b))

    def dot(self, x, y):
        total = 0.0
        for a, b in zip(x, y, strict=True):
            total = self.add(total, self.times(np.conj(a).item(), b.item()))
        return total

    def axpy(self, a, x, y):
        return [self.add(v.item(), self.times(self(a), u.item())) for u, v in zip(x, y, strict=True)]

    def row(self, matrix, x, i):
        part = slice(matrix.indptr[i], matrix.indptr[i + 1])
        total = 0.0
        for a, b in zip(matrix.data[part], x[matrix.indices[part]], strict=True):
            total = self.add(total, self.times(a.item(), b.item()))
        return total


def numbers(format, n, dtype=np.float32, span=6, seed=0):
    """Random numbers of a format whose exponents lie within ±span."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(n) * 2.0 ** rng.integers(-span, span + 1, n)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.standard_normal(n)
    return np.array([rounded(v.item(), format) for v in values], dtype)


def short(n, dtype=np.float32, seed=0):
    """Random numbers of six bits between a quarter and two: sums of many products of two are exact in float32."""
    rng = np.random.default_rng(seed)
    values = rng.choice([-1, 1], n) * rng.integers(8, 64, n) / 32.0
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.integers(8, 64, n) / 32.0
    return values.astype(dtype)


def test_the_reference_rounds_as_half_precision_does():
    rng = np.random.default_rng(1)
    values = rng.standard_normal(2000) * 2.0 ** rng.integers(-26, 14, 2000)
    np.testing.assert_array_equal([rounded(v, "fp16") for v in values], values.astype(np.float16).astype(float))
    midpoint = 1 + 2.0**-11
    assert [rounded(midpoint, "fp16", mode) - 1 for mode in MODES] == [0, 2**-10, 0, 2**-10, 0, 2**-10]
    assert [1 + rounded(-midpoint, "fp16", mode) for mode in MODES] == [0, -(2**-10), 0, 0, -(2**-10), -(2**-10)]


# A backend, spoken to in NumPy arrays -------------------------------------------------------------------------------


def to_library(name, x):
    if name == "torch":
        import torch

        return torch.tensor(x)
    if name == "array_api":
        import array_api_strict

        return array_api_strict.asarray(x, copy=True)
    if name == "cupy":
        import cupy

        return cupy.asarray(x)
    return np.array(x)


class On:
    """``Rounded`` on a backend; vectors go in and come out as NumPy arrays."""

    def __init__(self, name, precision):
        self.name = name
        self.backend = Rounded(choose_backend(name, to_library(name, np.ones(1, np.float32))), precision)

    def matrix(self, A, dtype=None):
        given = to_library(self.name, A) if isinstance(A, np.ndarray) else A
        operator = self.backend.operator(given)
        return self.backend.store(operator, operator.dtype if dtype is None else np.dtype(dtype))

    def __getattr__(self, primitive):
        def call(*arguments):
            given = [to_library(self.name, x) if isinstance(x, np.ndarray) else x for x in arguments]
            result = getattr(self.backend, primitive)(*given)
            return self.take(result)

        return call

    def take(self, result):
        if isinstance(result, tuple):
            return tuple(self.take(part) for part in result)
        return result if isinstance(result, (int, float, complex)) else self.backend.to_numpy(result)


def same(found, wanted):
    """To the last bit, but for the sign of a zero."""
    np.testing.assert_array_equal(found, np.asarray(wanted, found.dtype) if isinstance(found, np.ndarray) else wanted)


# The policy op ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize(
    ("format", "mode"), [*((format, "nearest-even") for format in FORMATS), ("bf16", "nearest-away")]
)
def test_op_rounds_every_addition_and_multiplication(backend, format, mode):
    """With exponents as far apart as the format lets them be, where a sum is not even exact in the carrier."""
    span = 3 if formats.format_named(format).max_exponent < 20 else 12
    on, slowly = On(backend, Precision(format, policy="op", rounding=mode)), Slowly(format, mode)
    x, y, z = (numbers(format, 60, span=span, seed=seed) for seed in range(3))
    same(on.axpy(0.3, x, y), slowly.axpy(0.3, x, y))
    same(on.axpby(1.0, x, -0.7, y), [slowly.add(slowly.times(slowly(-0.7), v), u) for u, v in pairs(x, y)])
    same(
        on.axpby(0.3, x, -0.7, y),
        [slowly.add(slowly.times(slowly(-0.7), v), slowly.times(slowly(0.3), u)) for u, v in pairs(x, y)],
    )
    same(on.multiply(x, y, z), [slowly.times(u, v) for u, v in pairs(x, y)])
    same(on.dot(x, y), slowly.dot(x, y))
    assert on.norm(x) == slowly(math.sqrt(slowly.dot(x, x)))


def pairs(x, y):
    return zip(x.tolist(), y.tolist(), strict=True)


@pytest.mark.parametrize("backend", HERE)
def test_op_rounds_complex_numbers_by_their_parts(backend):
    on, slowly = On(backend, Precision("bf16", policy="op")), Slowly("bf16")
    x, y, z = (numbers("bf16", 40, np.complex64, span=2, seed=seed) for seed in range(3))
    same(on.dot(x, y), slowly.dot(x, y))
    same(on.axpy(0.3, x, y), slowly.axpy(0.3, x, y))
    same(on.multiply(x, y, z), [slowly.times(u, v) for u, v in pairs(x, y)])
    assert on.norm(x) == slowly(math.sqrt(slowly.dot(x, x).real))


def kinds(dtype, backend, format):
    """The same matrix in all storages that a backend takes, its entries numbers of the format."""
    n = 12
    A = numbers(format, n * n, dtype, span=1, seed=7).reshape(n, n)
    A[np.abs(np.subtract.outer(np.arange(n), np.arange(n))) > 2] = 0
    yield "dense", A
    if backend == "torch":
        import torch

        yield "csr", torch.tensor(A).to_sparse_csr()
    if backend in ("numpy", "numba", "cupy"):
        if backend != "cupy":
            yield "csr", sparse.csr_array(A)
        bands = np.zeros((5, n), dtype)
        for k, offset in enumerate(range(-2, 3)):
            diagonal = np.diagonal(A, offset)
            bands[k, max(0, -offset) : max(0, -offset) + diagonal.size] = diagonal
        if backend != "cupy":
            yield "diagonals", rv.Diagonals(bands, np.arange(-2, 3))


@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_op_multiplies_rows_term_by_term(backend, dtype):
    """Each row from its first stored entry to its last, zeros of a full matrix adding nothing."""
    slowly, precision = Slowly("bf16"), Precision("bf16", policy="op")
    x, b = numbers("bf16", 12, dtype, span=2, seed=3), numbers("bf16", 12, dtype, span=2, seed=4)
    for _kind, A in kinds(np.dtype(dtype), backend, "bf16"):
        on = On(backend, precision)
        matrix = on.matrix(A)
        csr = matrix.tocsr()
        products = [slowly.row(csr, x, i) for i in range(12)]
        same(on.matvec(matrix, x, np.zeros_like(x)), products)
        residual = [slowly.add(v, -p) for v, p in zip(b.tolist(), products, strict=True)]
        same(on.residual(matrix, x, b, np.zeros_like(x)), residual)


@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize("order", ["natural", "multicolor"])
@pytest.mark.parametrize("reverse", [False, True])
def test_op_relaxes_row_after_row(backend, order, reverse):
    slowly = Slowly("bf16")
    on = On(backend, Precision("bf16", policy="op"))
    A = next(iter(kinds(np.dtype(np.float32), backend, "bf16")))[1]
    A[np.arange(12), np.arange(12)] = 2.0 ** np.random.default_rng(0).integers(1, 4, 12)  # exact inverses
    matrix = on.matrix(A)
    x, b = numbers("bf16", 12, span=1, seed=3), numbers("bf16", 12, span=1, seed=4)
    ordering = Ordering(matrix, order)
    visited = np.arange(12) if order == "natural" else ordering.rows[0]
    csr, wanted = matrix.tocsr(), x.copy()
    for i in visited[::-1] if reverse else visited:
        defect = slowly.add(b[i].item(), -slowly.row(csr, wanted, i))
        factor = slowly.times(slowly(1.3), 1 / float(A[i, i]))
        wanted[i] = slowly.add(wanted[i].item(), slowly.times(factor, defect))
    same(on.sweep(ordering, x, b, 1.3, reverse), wanted)


@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize(("format", "sum"), [("bf16", 256), ("tf32", 2048), ("fp16", 2048), ("fp8_e5m2", 8)])
def test_sums_stall_in_op_and_in_no_other_policy(backend, format, sum):
    """4096 ones: one more no longer counts from 1/u on."""
    ones = np.ones(4096, np.float32)
    assert On(backend, Precision(format, policy="op")).dot(ones, ones) == sum
    assert On(backend, Precision(format, policy="op")).norm(ones) == rounded(math.sqrt(sum), format)
    for policy in ("storage", "matvec"):
        assert On(backend, Precision(format, policy=policy)).dot(ones, ones) == 4096
    scalars = On(backend, Precision("bf16", scalars="fp8_e5m2"))
    assert scalars.dot(ones[:9], ones[:9]) == 8, "9 lies between 8 and 10, and 8 is even"


# The policies storage and matvec ------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize("format", ["bf16", "fp16", "fp8_e5m2", "fp8_e4m3fn", FixedPoint(6, 3)])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_storage_rounds_what_is_written_and_nothing_before(backend, format, mode, dtype):
    """Numbers so short that the carrier's arithmetic is exact: what is left is one rounding."""
    on = On(backend, Precision(format, rounding=mode))

    def once(values):
        return [rounded(v, format, mode) for v in values.tolist()]

    x, y, z = (short(30, dtype, seed) for seed in range(3))
    exact = np.complex128 if np.dtype(dtype).kind == "c" else np.float64
    wide = [v.astype(exact) for v in (x, y, z)]
    same(on.axpy(0.375, x, y), once(wide[1] + 0.375 * wide[0]))
    same(on.axpby(1.0, x, -0.625, y), once(wide[0] - 0.625 * wide[1]))
    same(on.multiply(x, y, z), once(wide[0] * wide[1]))
    same(on.momentum(0.25, 0.5, x, y, z), once(wide[0] + 0.25 * (wide[0] - wide[1]) + 0.5 * wide[2]))
    put = on.put(x, np.array([3, 1]), y[:2] / 32)
    same(put[[3, 1]], once(wide[1][:2] / 32))
    same(np.delete(put, [1, 3]), np.delete(x, [1, 3]))
    assert on.dot(x, y) == pytest.approx(np.vdot(wide[0], wide[1]).item(), rel=1e-6)
    assert on.norm(x) == pytest.approx(np.linalg.norm(wide[0]), rel=1e-6)


@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_storage_and_matvec_round_a_product_once(backend, dtype):
    x, b = short(12, dtype, 3), short(12, dtype, 4)
    fine = x + np.float32(2.0**-9)  # what bf16 does not hold
    for _kind, A in kinds(np.dtype(dtype), backend, "fp8_e5m2"):
        for policy in ("storage", "matvec"):
            on = On(backend, Precision("bf16", policy=policy))
            matrix = on.matrix(A)
            csr = matrix.tocsr().astype(np.complex128 if np.dtype(dtype).kind == "c" else np.float64)
            out = np.zeros_like(x)
            same(on.matvec(matrix, x, out), [rounded(v, "bf16") for v in (csr @ x).tolist()])
            residual = b - csr @ x
            if policy == "matvec":  # the product is rounded, the difference is not
                residual = b - np.array([rounded(v, "bf16") for v in (csr @ x).tolist()])
                same(on.residual(matrix, x, b, out), residual)
                stored = np.array([rounded(v.item(), "bf16") for v in fine], dtype)
                same(on.matvec(matrix, fine, out), [rounded(v, "bf16") for v in (csr @ stored).tolist()])
            else:
                same(on.residual(matrix, x, b, out), [rounded(v, "bf16") for v in residual.tolist()])


@pytest.mark.parametrize("backend", HERE)
def test_matvec_leaves_vectors_and_scalars_alone(backend):
    on = On(backend, Precision("bf16", policy="matvec"))
    x, y, z = short(30), short(30, seed=1), short(30, seed=2)
    same(on.axpy(2.0**-9, x, y), y + 2.0**-9 * x)
    same(on.multiply(x, y, z), x * y)
    same(on.copy(x * 0.33), x * np.float32(0.33))
    assert on.norm(x) == pytest.approx(np.linalg.norm(x), rel=1e-6)


@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize("policy", ["storage", "op", "matvec", "tensor-core"])
def test_the_matrix_is_rounded_once_from_the_precision_it_is_given_in(backend, policy):
    """1 + 2^-8 + 2^-40 is above the midpoint of two bf16 numbers, but not so after a detour by float32."""
    A = np.full((3, 3), 1 + 2.0**-8 + 2.0**-40)
    on = On(backend, Precision("bf16", policy=policy))
    stored = on.matrix(A, np.float32)
    assert stored.dtype == np.float32
    same(stored.tocsr().toarray(), np.full((3, 3), 1 + 2.0**-7, np.float32))
    vector = on.copy(A[0], np.dtype(np.float32))
    if policy in ("storage", "op"):
        same(vector, np.full(3, 1 + 2.0**-7, np.float32))
    else:
        same(vector, A[0].astype(np.float32))


# Tensor cores -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize(("format", "device"), [("bf16", "H100"), ("bf16", "A100"), ("fp16", "V100"), ("tf32", "B200")])
def test_tensor_cores_multiply_what_is_rounded_and_round_nothing_else(backend, format, device):
    rng = np.random.default_rng(2)
    A = rng.standard_normal((40, 40)).astype(np.float32) * 2.0 ** rng.integers(-8, 8, (40, 40))
    x = rng.standard_normal(40).astype(np.float32)
    on = On(backend, Precision(format, policy="tensor-core", device=device))
    wanted = tensor_core_matmul(A, x, device=device, input=format)  # which rounds its factors itself
    out = np.zeros(40, np.float32)
    same(on.matvec(on.matrix(A), x, out), wanted)
    assert np.count_nonzero(wanted != (rv.precision.round(A, format) @ rv.precision.round(x, format))) > 3
    same(on.residual(on.matrix(A), x, x, out), x - wanted)
    same(on.axpy(0.375, short(30), short(30, seed=1)), short(30, seed=1) + np.float32(0.375) * short(30))


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_tensor_cores_gather_the_entries_of_sparse_rows(backend):
    rng = np.random.default_rng(2)
    A = sparse.random_array((30, 30), density=0.6, rng=rng, dtype=np.float64).tocsr()
    x = rng.standard_normal(30).astype(np.float32)
    on = On(backend, Precision("bf16", policy="tensor-core"))
    wanted = [
        tensor_core_matmul(A.data[part], x[A.indices[part]])
        for part in (slice(*A.indptr[i : i + 2]) for i in range(30))
    ]
    same(on.matvec(on.matrix(A, np.float32), x, np.zeros(30, np.float32)), wanted)


# Scalars and stochastic rounding ------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize("mode", MODES)
def test_scalars_are_rounded_where_they_are_asked_for(backend, mode):
    on = On(backend, Precision("bf16", scalars="fp8_e5m2", rounding=mode))
    x, y = short(30), short(30, seed=1)
    step = rounded(0.3, "fp8_e5m2", mode)
    assert abs(step - 0.3) > 0.01
    same(on.axpy(0.3, x, y), [rounded(v, "bf16", mode) for v in (y.astype(float) + step * x.astype(float)).tolist()])
    exact = np.dot(x.astype(float), y.astype(float)).item()
    assert on.dot(x, y) == rounded(exact, "fp8_e5m2", mode)
    size = np.linalg.norm(x.astype(float)).item()
    assert on.norm(x) == rounded(size, "fp8_e5m2", mode)
    z = short(30, np.complex64)
    product = np.vdot(z.astype(complex), (z * 1j).astype(complex)).item()
    assert on.dot(z, z * np.complex64(1j)) == rounded(product, "fp8_e5m2", mode)


@pytest.mark.parametrize("backend", HERE)
def test_stochastic_rounding_is_that_of_a_seed_and_unbiased(backend):
    def drawn(seed, count=1):
        on = On(backend, Precision("bf16", rounding="stochastic", seed=seed))
        for _ in range(count):
            result = on.axpy(1.0, np.full(20000, 2.0**-9, np.float32), np.ones(20000, np.float32))
        return result

    first = drawn(5)
    assert set(np.unique(first)) == {1.0, 1 + 2.0**-7}
    # A quarter of them goes up, to within four standard deviations.
    assert np.mean(first > 1) == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / 20000))
    same(drawn(5), first)
    assert np.mean(drawn(6) != first) > 0.2, "another seed"
    assert np.mean(drawn(5, 2) != first) > 0.2, "the next rounding"
    numpy = On("numpy", Precision("bf16", rounding="stochastic", seed=5))
    same(numpy.axpy(1.0, np.full(20000, 2.0**-9, np.float32), np.ones(20000, np.float32)), first)


# What there is to choose --------------------------------------------------------------------------------------------


def test_what_is_native_is_not_emulated():
    assert Precision("fp32").native
    assert Precision("fp64").native
    assert Precision("fp64").carrier == np.float64
    assert Precision("fp32").carrier == np.float32
    for other in (
        Precision("bf16"),
        Precision("fp32", policy="matvec"),
        Precision("fp32", rounding="toward-zero"),
        Precision("fp32", scalars="bf16"),
    ):
        assert not other.native
    assert Precision("fp32", rounding="toward-zero").carrier == np.float64


@pytest.mark.parametrize(("format", "limit"), [("fp32", 2.0**24), ("fp64", 2.0**53)])
def test_sums_stall_in_native_formats_as_well(format, limit):
    """Sums term by term are what the policy op is for."""
    precision = Precision(format, policy="op")
    assert not precision.native
    x = np.array([limit, 1, 1], precision.carrier)
    assert On("numba", precision).dot(x, np.ones_like(x)) == limit


def test_carriers_make_room():
    for format in FORMATS:
        assert Precision(format).carrier == np.float32
    assert Precision(formats.Format(20, -126, 127)).carrier == np.float64
    assert Precision(formats.Format(8, -300, 300)).carrier == np.float64
    assert Precision(FixedPoint(4, 4)).carrier == np.float32
    assert Precision("mxfp8_e4m3").carrier == np.float32


def test_unit_roundoff_of_directed_rounding_is_twice_that_of_nearest():
    for mode in MODES:
        wanted = 2.0**-8 if mode.startswith("nearest") else 2.0**-7
        assert Precision("bf16", rounding=mode).unit_roundoff == wanted
    assert Precision("bf16", rounding="stochastic").unit_roundoff == 2.0**-7


@pytest.mark.parametrize("given", ["bf16", "bfloat16", formats.bf16, Precision("bf16")])
def test_precision_by_name_format_or_in_full(given):
    assert as_precision(given) == Precision("bf16")
    assert as_precision(None) is None


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"format": "bf17"}, ValueError, "format: found 'bf17'; wanted one of"),
        ({"format": 16}, TypeError, "format: found int"),
        ({"format": None}, TypeError, "format: found NoneType"),
        (
            {"policy": "register"},
            ValueError,
            "policy: found 'register'; wanted one of storage, op, matvec, tensor-core",
        ),
        ({"policy": ["op"]}, (ValueError, TypeError), "policy: found"),
        ({"rounding": "up"}, ValueError, "rounding: found 'up'; wanted one of nearest-even"),
        ({"scale": "yes"}, ValueError, "scale: found 'yes'; wanted one of auto, none"),
        ({"scale": True}, ValueError, "scale: found True; wanted one of auto, none"),
        ({"scalars": "bf17"}, ValueError, "scalars: found 'bf17'"),
        ({"scalars": 16}, TypeError, "scalars: found int"),
        ({"scalars": "mxfp8_e4m3"}, ValueError, "scalars: "),
        ({"rounding": "stochastic", "seed": -1}, ValueError, "seed: found -1"),
        ({"rounding": "stochastic", "seed": "first"}, TypeError, "seed: found 'first'"),
        ({"policy": "op", "rounding": "stochastic"}, ValueError, "rounding: stochastic"),
        ({"policy": "op", "rounding": "toward-zero"}, ValueError, "rounding: toward-zero of a single operation"),
        ({"policy": "op", "rounding": "to-odd"}, ValueError, "rounding: to-odd of a single operation"),
        ({"format": "mxfp4", "policy": "op"}, ValueError, "policy: op needs a floating-point format; mxfp4 is none"),
        ({"format": FixedPoint(4, 8), "policy": "op"}, ValueError, "policy: op needs a floating-point format"),
        ({"format": "nvfp4", "policy": "tensor-core"}, ValueError, "policy: tensor-core needs a floating-point format"),
        ({"policy": "tensor-core", "device": "H1000"}, ValueError, "device: found 'H1000'; wanted one of V100"),
        ({"policy": "tensor-core", "device": 100}, (ValueError, TypeError), "device: found 100"),
        ({"policy": "tensor-core", "device": "V100"}, ValueError, "the tensor cores of V100 do not multiply bf16"),
        ({"format": "fp8_e4m3", "policy": "tensor-core"}, ValueError, "do not multiply fp8_e4m3"),
        ({"format": "fp64", "rounding": "to-odd"}, ValueError, "format: fp64 has no wider carrier"),
    ],
)
def test_what_cannot_be_is_said_when_it_is_asked_for(options, error, said):
    with pytest.raises(error, match=said):
        Precision(**{"format": "bf16", **options})


@pytest.mark.parametrize("wrong", [16, 2.0, ["bf16"], b"bf16"])
def test_what_is_no_precision(wrong):
    with pytest.raises(TypeError, match="precision: found"):
        as_precision(wrong)


def test_compiled_loops_are_for_what_they_were_written_for():
    problem = rv.gallery.poisson((4, 4))
    for options in ({"scalars": "bf16"}, {"rounding": "toward-zero"}, {"rounding": "stochastic"}, {"policy": "op"}):
        backend = Rounded(choose_backend("numba", problem.b), Precision("bf16", **options))
        assert backend.arrays(rv.as_operator(np.eye(3))) is None
    assert set(POLICIES) == {"storage", "op", "matvec", "tensor-core"}
