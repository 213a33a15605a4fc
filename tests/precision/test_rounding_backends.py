"""One rounding: NumPy's reference, the compiled kernels, torch, and rounding inside other compiled loops."""

import importlib.util
import shutil

import numba
import numpy as np
import pytest

from resolvent.precision import FixedPoint, Format, formats, round
from resolvent.precision.rounding_kernels import (
    RoundFormat,
    RoundHalf,
    RoundInMode,
    RoundSignificand,
    RoundWrapped,
    Unrounded,
    compiled_rule,
    rounded,
    rounding_rule_of,
)
from resolvent.precision.rounding_rule import ROUNDINGS

HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="torch is not installed")
FORMATS = [
    *dict.fromkeys(formats.FORMATS.values()),
    FixedPoint(3, 4),
    FixedPoint(5, 10, overflow="wrap"),
    FixedPoint(0, 24),
    Format(5, -3, 3, subnormals=False),
    Format(24, -10, 10),
    Format(1, -4, 4),
]


def samples(dtype, count=4000):
    rng = np.random.default_rng(0)
    word = np.uint32 if dtype == np.float32 else np.uint64
    words = rng.integers(0, np.iinfo(word).max, count, word, endpoint=True).view(dtype)
    with np.errstate(over="ignore"):
        return np.concatenate([words, (rng.standard_normal(count) * 10.0 ** rng.uniform(-8, 6, count)).astype(dtype)])


def bits(x):
    return np.ascontiguousarray(x).view(f"u{x.real.itemsize}")


def held_by(dtype):
    return [format for format in FORMATS if format is not formats.fp64 or dtype == np.float64]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("mode", ROUNDINGS)
@pytest.mark.parametrize("other", ["numba", pytest.param("torch", marks=needs_torch)])
def test_same_bits(other, mode, dtype):
    x = samples(dtype)
    given = x
    if other == "torch":
        import torch

        given = torch.from_numpy(x)
    for format in held_by(dtype):
        wanted = round(x, format, mode, backend="numpy", seed=2**63 + 5, step=2**33 + 7)
        found = round(given, format, mode, backend=other, seed=2**63 + 5, step=2**33 + 7)
        assert np.array_equal(bits(np.asarray(found)), bits(wanted)), format


@numba.njit(fastmath={"reassoc", "contract"}, error_model="numpy")
def axpy(rule, a, x, y):
    for i in range(x.size):
        y[i] = rounded(rule, rounded(rule, a * x[i]) + y[i])


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.complex64, np.complex128])
@pytest.mark.parametrize("mode", [mode for mode in ROUNDINGS if mode != "stochastic"])
def test_rounded_inside_a_loop(mode, dtype):
    """Inlined into a loop compiled with fastmath, each operation is rounded as the array function does it."""
    rng = np.random.default_rng(1)
    x, y = (rng.standard_normal((2, 300)) * 10.0 ** rng.uniform(-6, 3, (2, 300))).astype(dtype)
    if x.dtype.kind == "c":
        x, y = x * (1 - 2j), y * (1 + 1j)
    a = x.real.dtype.type(0.7)
    kinds = set()
    for format in held_by(x.real.dtype):
        if format in formats.FORMATS.values() and not isinstance(format, Format):
            continue
        rule = compiled_rule(format, dtype, mode)
        kinds.add(type(rule))
        found = y.copy()
        axpy(rule, a, x, found)
        if type(rule) is Unrounded:  # the compiler may fuse what is not rounded
            np.testing.assert_allclose(found, a * x + y, rtol=1e-5)
            continue
        wanted = round(round(a * x, format, mode) + y, format, mode)
        assert np.array_equal(found, wanted, equal_nan=True), format
    assert kinds >= (
        {RoundFormat, RoundInMode, RoundWrapped} if mode == "nearest-even" else {RoundInMode, RoundWrapped}
    )


def test_conversion_by_the_processor():
    """Every exponent, sign and a sample of fractions, NaN with their payloads among them."""
    rule = compiled_rule("fp16", "float32")
    if type(rule) is not RoundHalf:
        pytest.skip("the processor does not convert")
    rng = np.random.default_rng(4)
    bits = rng.integers(0, 2**32, 1 << 20, dtype=np.uint64).astype(np.uint32)
    ties = (np.arange(1 << 19, dtype=np.uint32) << np.uint32(13)) | np.uint32(1 << 12)
    x = np.concatenate([bits, ties, ties + np.uint32(1), ties - np.uint32(1)]).view(np.float32)
    found = np.zeros_like(x)
    axpy(rule, np.float32(1), x, found)
    wanted = np.zeros_like(x)
    axpy(rounding_rule_of("fp16", "float32"), np.float32(1), x, wanted)
    assert np.array_equal(found.view(np.uint32), wanted.view(np.uint32))
    assert np.array_equal(found, x.astype(np.float16).astype(np.float32), equal_nan=True)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("overflow", ["saturate", "wrap"])
def test_ends_of_fixed_point_inside_a_loop(overflow, dtype):
    format = FixedPoint(3, 4, overflow=overflow)
    x = np.array([7.9375, 7.97, 8.0, 15.97, 16.0, 1e30, -7.97, -8.0, -8.0625, -16.0, np.inf, -np.inf, np.nan], dtype)
    zero = np.zeros_like(x)
    axpy(rounding_rule_of(format, dtype), dtype(1), x, zero)
    assert np.array_equal(zero, round(x, format), equal_nan=True)


def test_how_to_round():
    assert type(rounding_rule_of(None, "float32")) is Unrounded
    assert type(rounding_rule_of("fp32", "complex64")) is Unrounded
    assert type(rounding_rule_of("fp64", "float64", "toward-zero")) is Unrounded
    assert rounding_rule_of("bf16", "complex64") == RoundSignificand(16)
    assert rounding_rule_of("tf32", np.float32) == RoundSignificand(13)
    assert type(rounding_rule_of("bf16", np.float64)) is RoundFormat
    assert type(rounding_rule_of("fp8_e4m3fn", np.float32)) is RoundFormat
    assert type(rounding_rule_of("bf16", np.float32, "to-odd")) is RoundInMode
    assert type(rounding_rule_of(Format(24, -10, 10), np.float32)) is RoundInMode
    assert type(rounding_rule_of(FixedPoint(3, 4), np.float32)) is RoundInMode
    assert rounding_rule_of(FixedPoint(3, 4, overflow="wrap"), np.float32).modulus == 16.0
    with pytest.raises(ValueError, match="wider than float32"):
        rounding_rule_of("fp64", "complex64")
    with pytest.raises(ValueError, match="mxfp4 rounds whole blocks"):
        rounding_rule_of("mxfp4", "float32")
    with pytest.raises(TypeError, match="dtype: found int64"):
        rounding_rule_of("bf16", "int64")
    with pytest.raises(ValueError, match="rounding: found 'up'"):
        rounding_rule_of("bf16", "float32", "up")
    with pytest.raises(TypeError, match="compiled code"):
        rounded(Unrounded(), 1.0)


@needs_torch
@pytest.mark.parametrize("format", ["bf16", "fp16", "nvfp4", FixedPoint(3, 4, overflow="wrap")], ids=str)
@pytest.mark.parametrize("mode", ["nearest-even", "stochastic"])
def test_tensors_of_any_layout(format, mode):
    import torch

    plain = np.random.default_rng(0).standard_normal((6, 8, 4)).astype(np.float32)
    wanted = torch.from_numpy(round(plain, format, mode, seed=3))
    x = torch.from_numpy(plain)
    strided = torch.empty(12, 8, 4)[::2].copy_(x)
    turned = x.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    for given in (x.clone(), strided, turned):
        assert torch.equal(round(given, format, mode, seed=3), wanted)
        assert torch.equal(given, x)
        out = torch.empty(6, 16, 4)[:, ::2]
        assert round(given, format, mode, out=out, seed=3) is out
        assert torch.equal(out, wanted)
        assert round(given, format, mode, out=given, seed=3) is given
        assert torch.equal(given, wanted)
    z = torch.complex(x, -x).transpose(0, 2)
    expected = torch.from_numpy(round(np.ascontiguousarray(z.resolve_conj().numpy()), format, mode, seed=3))
    assert torch.equal(round(z, format, mode, seed=3), expected)
    expected = torch.from_numpy(round(z.numpy().conj(), format, mode, seed=3))
    assert torch.equal(round(z.conj(), format, mode, seed=3), expected)
    expected = torch.from_numpy(round(-z.numpy().imag, format, mode, seed=3))
    assert torch.equal(round(z.conj().imag, format, mode, seed=3), expected)


@needs_torch
def test_tensors_carriers_and_refusals():
    import torch

    for dtype in (torch.float16, torch.bfloat16, torch.float8_e5m2):
        assert round(torch.ones(3).to(dtype), "fp4_e2m1").dtype == torch.float32
    assert round(torch.tensor([1, 2, 2**60]), "fp64").tolist() == [1, 2, 2**60]
    assert round(torch.tensor([-(2**63)]), "fp64").tolist() == [-(2.0**63)]
    for number in (2**53 + 1, 2**63 - 1):
        with pytest.raises(ValueError, match="x: found integers beyond"):
            round(torch.tensor([number]), "bf16")
    with pytest.raises(TypeError, match=r"x: found torch.bool values"):
        round(torch.tensor([True]), "bf16")
    with pytest.raises(TypeError, match=r"x: found a tensor of layout torch.sparse_coo"):
        round(torch.eye(2).to_sparse(), "bf16")
    with pytest.raises(
        ValueError, match=r"out: found shape \(3,\) of torch.float64 on cpu; wanted shape \(3,\) of torch.f"
    ):
        round(torch.ones(3), "bf16", out=torch.ones(3, dtype=torch.float64))
    with pytest.raises(TypeError, match="out: found ndarray; wanted a tensor"):
        round(torch.ones(3), "bf16", out=np.ones(3))
    with pytest.raises(ValueError, match="wider than float32"):
        round(torch.ones(3), "fp64")
    with pytest.raises(ValueError, match="backend: 'numba' rounds numpy arrays, but x is one of torch"):
        round(torch.ones(3), "bf16", backend="numba")
    assert round(torch.tensor(0.1), "bf16").shape == ()
    assert round(torch.empty(3, 0), "mxfp4").shape == (3, 0)


@needs_torch
def test_gradients_end_here():
    import torch

    x = torch.full((3,), 0.3, requires_grad=True)
    found = round(x, "bf16")
    assert not found.requires_grad
    (x * found).sum().backward()
    assert torch.equal(x.grad, found)
    with pytest.raises(ValueError, match="out: found a tensor that requires a gradient"):
        round(x, "bf16", out=x)


@needs_torch
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize(("format", "mode"), [("bf16", "nearest-even"), ("fp16", "to-odd"), ("fp8_e5m2", "stochastic")])
def test_compiled_by_torch(format, mode):
    """As one graph, and to the same bits: a cast to bfloat16 and back would be removed."""
    import torch

    def step(x):
        return round(x * 1.5, format, mode, seed=5, step=2) + 1

    x = torch.from_numpy(samples(np.float32, 300)).reshape(-1, 40)
    compiled = torch.compile(step, fullgraph=True)
    assert torch.equal(compiled(x).view(torch.int32), step(x).view(torch.int32))
    assert not torch.equal(step(x), x * 1.5 + 1)
