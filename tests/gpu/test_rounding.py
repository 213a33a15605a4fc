"""Rounding on CUDA devices: the kernels' text as compiled for the host, and devices where there are any."""

import importlib.util

import numpy as np
import pytest

from resolvent.precision import FixedPoint, Format, formats, round
from resolvent.precision.rounding_rule import ROUNDINGS

FORMATS = [
    *dict.fromkeys(formats.FORMATS.values()),
    FixedPoint(3, 4),
    FixedPoint(5, 10, overflow="wrap"),
    Format(5, -3, 3, subnormals=False),
    Format(24, -10, 10),
    Format(1, -4, 4),
]


def samples(dtype, count=2000):
    rng = np.random.default_rng(0)
    word = np.uint32 if dtype == np.float32 else np.uint64
    words = rng.integers(0, np.iinfo(word).max, count, word, endpoint=True).view(dtype)
    with np.errstate(over="ignore"):
        return np.concatenate([words, (rng.standard_normal(count) * 10.0 ** rng.uniform(-8, 6, count)).astype(dtype)])


def same_bits(found, wanted):
    return np.array_equal(found.view(f"u{found.itemsize}"), wanted.view(f"u{wanted.itemsize}"))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("mode", ROUNDINGS)
def test_text_of_the_kernels(mode, dtype, cupy):
    x = samples(dtype)
    for format in FORMATS:
        if format is formats.fp64 and dtype == np.float32:
            continue
        wanted = round(x, format, mode, backend="numpy", seed=2**63 + 5, step=2**33 + 2**31)
        with np.errstate(all="ignore"):
            found = round(cupy.asarray(x), format, mode, seed=2**63 + 5, step=2**33 + 2**31)
        assert isinstance(found, cupy.ndarray)
        assert same_bits(found.get(), wanted), format


def test_layouts(cupy):
    plain = np.random.default_rng(1).standard_normal((6, 8)).astype(np.complex64)
    there = cupy.asarray(plain)
    for mode in ("nearest-even", "stochastic"):
        for name in ("bf16", "fp16", "mxfp4"):
            wanted = round(plain, name, mode, backend="numpy", seed=1)
            for x in (there.copy(), cupy.asfortranarray(there), cupy.repeat(there, 2, axis=0)[::2]):
                assert np.array_equal(round(x, name, mode, seed=1).get(), wanted)
                out = cupy.empty((6, 16), np.complex64)[:, ::2]
                assert round(x, name, mode, seed=1, out=out) is out
                assert np.array_equal(out.get(), wanted)
                assert round(x, name, mode, seed=1, out=x) is x
                assert np.array_equal(x.get(), wanted)


def test_carriers_and_refusals(cupy):
    assert round(cupy.ones(3, np.float16), "bf16").dtype == np.float32
    assert round(cupy.arange(3), "bf16").dtype == np.float64
    with pytest.raises(ValueError, match="x: found integers beyond"):
        round(cupy.asarray([2**53 + 1]), "bf16")
    with pytest.raises(TypeError, match="x: found bool"):
        round(cupy.asarray([True]), "bf16")
    with pytest.raises(TypeError, match="out: found list; wanted a CuPy array"):
        round(cupy.ones(1), "bf16", out=[0.0])
    with pytest.raises(ValueError, match="out: found shape"):
        round(cupy.ones(1), "bf16", out=cupy.ones(2))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("backend", ["torch", "triton", "cupy"])
@pytest.mark.parametrize("mode", ROUNDINGS)
def test_on_a_device(mode, backend, dtype):
    pytest.importorskip("torch" if backend == "torch" else backend)
    x = samples(dtype, 100_000)
    if backend == "cupy":
        import cupy

        given = cupy.asarray(x)
    else:
        import torch

        given = torch.from_numpy(x).cuda()
    for format in FORMATS:
        if format is formats.fp64 and dtype == np.float32:
            continue
        wanted = round(x, format, mode, seed=2**63 + 5, step=2**33 + 2**31)
        found = round(given, format, mode, backend=backend, seed=2**63 + 5, step=2**33 + 2**31)
        assert type(found) is type(given)
        assert same_bits(found.get() if backend == "cupy" else found.cpu().numpy(), wanted), format


@pytest.mark.gpu
def test_out_and_strides_on_a_device():
    cupy = pytest.importorskip("cupy")
    x = cupy.asarray(np.random.default_rng(0).standard_normal((40, 30)))
    wanted = round(x.get(), "fp16", "stochastic")
    for given in (x.copy(), cupy.asfortranarray(x), cupy.repeat(x, 2, axis=0)[::2]):
        assert same_bits(round(given, "fp16", "stochastic").get(), wanted)
        assert round(given, "fp16", "stochastic", out=given) is given
        assert same_bits(cupy.ascontiguousarray(given).get(), wanted)


def test_cupy_is_told_to_be_missing():
    if importlib.util.find_spec("cupy") is not None:
        pytest.skip("CuPy is installed")
    from resolvent.gpu.cupy import rounding as gpu_rounding

    assert gpu_rounding.xp is None
