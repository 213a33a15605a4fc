"""What the tests of kernels rely on where there is no device: bfloat16 is rounded and multiplied as devices do it."""

import os

import pytest

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")
tl = triton.language
pytestmark = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="kernels are compiled here")


@triton.jit
def _cast_kernel(x, y, SIZE: tl.constexpr):
    index = tl.arange(0, SIZE)
    tl.store(y + index, tl.load(x + index).to(y.dtype.element_ty))


@triton.jit
def _dot_kernel(a, b, y, SIZE: tl.constexpr):
    index = tl.arange(0, SIZE)
    places = index[:, None] * SIZE + index[None, :]
    tl.store(y + places, tl.dot(tl.load(a + places), tl.load(b + places)))


@triton.jit
def _sum_kernel(x, y, SIZE: tl.constexpr):
    index = tl.arange(0, SIZE)
    tl.store(y + index, tl.load(x + index) + tl.load(x + index))


def test_casts_round_to_nearest_even():
    infinite = float("inf")
    x = torch.cat(
        [torch.randn(250), torch.tensor([1 + 1.5 * 2.0**-8, 1 + 2.0**-8, 3.4e38, infinite, float("nan"), 0.0])]
    )
    for source, target in ((torch.float32, torch.bfloat16), (torch.bfloat16, torch.float32)):
        given = x.to(source)
        found = torch.empty(256, dtype=target)
        _cast_kernel[(1,)](given, found, SIZE=256)
        assert torch.equal(found.nan_to_num(7.0), given.to(target).nan_to_num(7.0))


def test_dot_multiplies_numbers():
    a, b = torch.randn(2, 16, 16).bfloat16()
    found = torch.empty(16, 16)
    _dot_kernel[(1,)](a, b, found, SIZE=16)
    assert torch.allclose(found, a.float() @ b.float(), rtol=1e-6, atol=1e-6)


def test_other_arithmetic_is_refused():
    x = torch.ones(16, dtype=torch.bfloat16)
    with pytest.raises(triton.runtime.errors.InterpreterError, match="arithmetic on bfloat16"):
        _sum_kernel[(1,)](x, torch.empty_like(x), SIZE=16)
