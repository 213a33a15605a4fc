"""What stands for CUDA and CuPy without a device does what they do."""

import numpy as np
import pytest

from . import cuda_on_host, host_cupy

SUMS = r"""
extern "C" __global__ void sums(const double* x, double* total, int n) {
    extern __shared__ double part[];
    double mine = 0;
    for (int k = blockIdx.x * blockDim.x + threadIdx.x; k < n; k += gridDim.x * blockDim.x) mine += x[k];
    for (int step = 16; step > 0; step /= 2) mine += __shfl_down_sync(0xffffffffu, mine, step);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = mine;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (unsigned w = 1; w < blockDim.x / 32; ++w) mine += part[w];
        atomicAdd(total, mine);
    }
}
template <class T> __global__ void shift(const T* x, T* y) {
    __shared__ T all[64];
    all[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = all[(threadIdx.x + 1) % blockDim.x];
}
extern "C" __global__ void stuck() { if (threadIdx.x > 0) __syncthreads(); else while (blockIdx.x + 1) __syncwarp(); }
"""


@pytest.mark.parametrize("backwards", [False, True])
def test_blocks_barriers_and_warps(cupy, backwards, monkeypatch):
    monkeypatch.setattr(cuda_on_host.Module, "backwards", backwards)
    module = cupy.RawModule(code=SUMS, name_expressions=("shift<float>", "shift<complex<double>>"))
    x, total = cupy.arange(1000.0), cupy.zeros(1)
    module.get_function("sums")((3,), (96,), (x, total, np.int32(1000)), shared_mem=24)
    assert total.item() == 999 * 500
    for dtype, name in (("float32", "shift<float>"), ("complex128", "shift<complex<double>>")):
        y = cupy.zeros(64, dtype)
        module.get_function(name)((1,), (64,), (cupy.arange(64).astype(dtype), y))
        np.testing.assert_array_equal(y.get(), np.roll(np.arange(64), -1))


def test_a_missing_barrier_is_seen_by_the_order(cupy, monkeypatch):
    code = 'extern "C" ' + SUMS.split("template <class T> ")[1].split('extern "C"')[0].replace("__syncthreads();", "")
    kernel = cupy.RawKernel(code.replace("T", "float"), "shift")
    came = []
    for backwards in (False, True):
        monkeypatch.setattr(cuda_on_host.Module, "backwards", backwards)
        y = cupy.zeros(64, "float32")
        kernel((1,), (64,), (cupy.arange(64, dtype="float32"), y))
        came.append(y.get().tolist())
    assert came[0] != came[1]


def test_raw_arguments_are_held_to_the_kernels_types(cupy):
    module = cupy.RawModule(code=SUMS)
    x, total = cupy.arange(4.0), cupy.zeros(1)
    for wrong in ((x, total, 4), (x.astype("float32"), total, np.int32(4)), (x, total), (1.0, total, np.int32(4))):
        with pytest.raises(TypeError, match="sums: "):
            module.get_function("sums")((1,), (32,), wrong)
    with pytest.raises(RuntimeError, match="never reach"):
        module.get_function("stuck")((1,), (8,), ())


def test_elementwise_kernels_spread_and_find_types(cupy):
    kernel = cupy.ElementwiseKernel("T a, T x", "T y", "y += a * x", "axpy")
    x = cupy.asarray(np.arange(6.0).reshape(2, 3).T)
    for dtype in ("float32", "float64", "complex64", "complex128"):
        y = cupy.ones((3, 2), dtype)
        assert kernel(2.0, x.astype(dtype), y) is y
        np.testing.assert_array_equal(y.get(), 1 + 2 * x.get())
        kernel(cupy.asarray(np.array([[1.0, -1.0]]), dtype), x.astype(dtype), y[::-1])
        np.testing.assert_array_equal(y.get(), (1 + 2 * x.get()) + (x.get() * [1, -1])[::-1])
    with pytest.raises(TypeError, match="mismatched"):
        kernel(2.0, x, cupy.ones((3, 2), "float32"))
    shifted = cupy.ElementwiseKernel("raw T x, int32 n", "T y", "y = x[(i + 1) % n]", "shifted")
    assert shifted(cupy.arange(4.0), 4, size=4).get().tolist() == [1, 2, 3, 0]
    both = cupy.ElementwiseKernel("T x", "T y, bool positive", "y = -x; positive = x > 0", "both")
    y, positive = both(cupy.asarray([-1.0, 2.0]))
    assert (y.get().tolist(), positive.get().tolist()) == ([1, -2], [False, True])


def test_reductions_over_all_or_an_axis(cupy):
    kernel = cupy.ReductionKernel(
        "T x, T y", "float64 total", "double(x) * double(y)", "a + b", "total = a", "0", "dot"
    )
    x = cupy.asarray(np.arange(6, dtype="float32").reshape(2, 3))
    assert kernel(x, x).item() == 55
    assert kernel(x, x).shape == ()
    assert kernel(x, x, axis=1).get().tolist() == [5, 50]
    out = cupy.zeros((1, 3))
    assert kernel(x, x, axis=0, keepdims=True, out=out) is out
    assert out.get().tolist() == [[9, 17, 29]]
    largest = cupy.ReductionKernel("T x", "T y", "abs(x)", "max(a, b)", "y = a", None, "largest")
    assert largest(cupy.asarray([1.0, -3.0, 2.0])).item() == 3
    with pytest.raises(ValueError, match="identity"):
        largest(cupy.zeros(0))


def test_nothing_passes_between_host_and_device_unasked(cupy):
    x, host = cupy.arange(3.0), np.arange(3.0)
    for mixed in (lambda: x + host, lambda: host + x, lambda: cupy.add(x, host), lambda: np.asarray(x)):
        with pytest.raises(TypeError):
            mixed()
    assert isinstance(x + np.float64(1), cupy.ndarray)
    assert isinstance(x.sum(), cupy.ndarray)
    before = host_cupy.SEEN.synchronisations
    assert float(x.sum()) == 3
    assert host_cupy.SEEN.synchronisations == before + 1


def test_a_graph_repeats_what_was_asked_of_the_stream(cupy):
    import cupyx.scipy.sparse

    A = cupyx.scipy.sparse.csr_matrix(cupy.asarray([[2.0, 1.0], [0.0, 3.0]]))
    add = cupy.ElementwiseKernel("T x", "T y", "y += x", "add")
    total = cupy.ReductionKernel("T x", "T y", "x", "a + b", "y = a", "0", "total")
    x, y, sum_of = cupy.ones(2), cupy.zeros(2), cupy.zeros(())
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        add(A @ x, y)
        x *= 2
        y[...] = y + 1
        total(y, sum_of)
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError):
            sum_of.item()
        graph = stream.end_capture()
    assert (x.get().tolist(), y.get().tolist()) == ([1, 1], [0, 0])
    graph.launch()
    graph.launch()
    assert (x.get().tolist(), y.get().tolist(), sum_of.item()) == ([4, 4], [11, 11], 22)
