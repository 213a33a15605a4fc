"""The kernels' text, compiled for devices that need not be there."""

import pytest

from . import cuda_on_host, nvrtc

pytestmark = pytest.mark.skipif(nvrtc.library() is None, reason="NVRTC is not installed (nvidia-cuda-nvrtc-cu12)")


def test_registers_of_each_architecture_are_told():
    code = 'extern "C" __global__ void twice(double* x) { x[threadIdx.x] *= 2; }'
    used = cuda_on_host.for_devices(code, kinds=nvrtc.architectures())
    assert tuple(used) == nvrtc.architectures()
    assert "sm_90" in used
    for kernels in used.values():
        registers, spilled = kernels["twice"]
        assert 0 < registers < 32
        assert spilled == 0


@pytest.mark.parametrize("body", ["x[0] = y;", "int idle = 3; x[0] = 1;"])
def test_an_error_or_a_warning_is_refused(body):
    with pytest.raises(SyntaxError, match=r"error|warning"):
        cuda_on_host.for_devices('extern "C" __global__ void wrong(double* x) { ' + body + " }")


def test_what_runs_on_the_host_is_compiled_for_devices(cupy):
    kernel = cupy.ElementwiseKernel("T x", "T y", "int idle = 3; y = x", "idle")
    with pytest.raises(SyntaxError, match="idle"):
        kernel(cupy.ones(2))
    kernel = cupy.ReductionKernel("T x", "T y", "x", "a + c", "y = a", "0", "undeclared")
    with pytest.raises(SyntaxError, match="undefined"):
        kernel(cupy.ones(2))
    with pytest.raises(SyntaxError, match="idle"):
        cupy.RawKernel('extern "C" __global__ void k() { int idle = 3; }', "k")
