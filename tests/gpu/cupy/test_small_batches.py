"""Small systems by the thousand in one launch: what comes of each is what comes of it on the CPU."""

import importlib

import numpy as np
import pytest

import resolvent as rv
from resolvent.backends.compiled.found import FOUND

from .. import cuda_on_host, host_cupy

pytestmark = pytest.mark.usefixtures("compiled_small_solves")


def spread(count, n, condition, dtype, seed=0):
    """Full positive definite matrices of this condition, and right-hand sides."""
    rng = np.random.default_rng(seed)
    B = rng.standard_normal((count, n, n))
    if np.dtype(dtype).kind == "c":
        B = B + 1j * rng.standard_normal((count, n, n))
    Q = np.linalg.qr(B)[0]
    A = (Q * np.geomspace(1, condition, n)) @ Q.conj().swapaxes(1, 2)
    b = rng.standard_normal((count, n)) * np.geomspace(1e-3, 1e3, count)[:, None]
    if np.dtype(dtype).kind == "c":
        b = b + 1j * b[:, ::-1]
    return ((A + A.conj().swapaxes(1, 2)) / 2).astype(dtype), b.astype(dtype)


def banded(count, n, width, dtype, seed=0):
    """Pattern, values and full matrices of diagonally dominant bands."""
    rng = np.random.default_rng(seed)
    A = np.zeros((count, n, n), np.result_type(dtype, np.complex64) if np.dtype(dtype).kind == "c" else float)
    for w in range(1, width + 1):
        i = np.arange(n - w)
        A[:, i, i + w] = -rng.uniform(0.5, 1, (count, n - w)) * (1 + (0.5j if np.dtype(dtype).kind == "c" else 0))
        A[:, i + w, i] = A[:, i, i + w].conj()
    i = np.arange(n)
    A[:, i, i] = np.abs(A).sum(2) + 0.3
    A = A.astype(dtype)
    rows, columns = np.nonzero(np.abs(np.subtract.outer(i, i)) <= width)
    indptr = np.append(0, np.cumsum(np.bincount(rows, minlength=n)))
    return (indptr, columns, A[:, rows, columns]), A


def launched(solve):
    """What a solve comes to, and how many kernels it launched."""
    before = host_cupy.SEEN.launches
    return solve(), host_cupy.SEEN.launches - before


DTYPES = ["float64", "float32", "complex128", "complex64"]


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("n", [32, 5, 50])
@pytest.mark.parametrize("dtype", DTYPES)
def test_full_matrices(dtype, n, backwards, cupy, monkeypatch):
    monkeypatch.setattr(cuda_on_host.Module, "backwards", backwards)
    A, b = spread(17, n, 100.0, dtype)
    rtol = 1e-4
    found, launches = launched(lambda: rv.cg(cupy.asarray(A), cupy.asarray(b), rtol=rtol))
    wanted = rv.cg(A, b, rtol=rtol, backend="numpy")
    assert found.converged
    assert launches == (1 if n <= 32 or dtype[0] == "f" else launches)
    assert isinstance(found.x, cupy.ndarray)
    assert (found.x.dtype, found.x.shape) == (b.dtype, b.shape)
    assert np.abs(found.iterations - wanted.iterations).max() <= 3  # near n steps, the last digits decide
    residual = np.linalg.norm(b - (A @ found.x.get()[..., None])[..., 0], axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(found.relative_residual, residual, rtol=0.05, atol=1e-6)
    assert (found.relative_residual <= rtol).all()


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("n", [64, 3, 100])
@pytest.mark.parametrize("dtype", DTYPES)
def test_banded_matrices(dtype, n, width, cupy):
    arrays, A = banded(9, n, min(width, n - 1), dtype)
    b = A.sum(2)
    stack = rv.as_operator(tuple(map(cupy.asarray, arrays)), (n, n))
    found, launches = launched(lambda: rv.cg(stack, cupy.asarray(b), rtol=1e-5))
    assert launches == 1
    assert found.converged
    np.testing.assert_allclose(found.x.get(), 1, rtol=0, atol=2e-3)
    wanted = rv.cg(rv.as_operator(arrays, (n, n)), b, rtol=1e-5, backend="numpy")
    assert np.abs(found.iterations - wanted.iterations).max() <= 1


def alike(found, wanted):
    """The fields that do not hang on the last digits, system by system."""
    for one, other in zip(found.systems, wanted.systems, strict=True):
        assert (one.status, one.cause, one.method, one.exponent) == (
            other.status,
            other.cause,
            other.method,
            other.exponent,
        )
        assert abs(one.iterations - other.iterations) <= 1
        assert abs(one.matvecs - other.matvecs) <= 1
        assert one.tolerance == pytest.approx(other.tolerance, nan_ok=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_systems_that_leave_the_ordinary_course_are_solved_alone(dtype, cupy):
    A, b = spread(8, 20, 10.0, dtype)
    A[1] = -A[1]  # negative definite
    A[2, 0, 1] += 1  # not Hermitian
    b[3] = 0
    A[4] *= np.float32(2.0**-100)  # of a size that is scaled
    b[5, 3] = np.nan
    A[6, 2] = A[6, :, 2] = 0  # singular
    with np.errstate(all="ignore"):
        found = rv.cg(cupy.asarray(A), cupy.asarray(b), rtol=1e-4, errors="collect")
        wanted = rv.cg(A, b, rtol=1e-4, errors="collect", backend="numpy")
    assert found.status.tolist() == wanted.status.tolist()
    assert len(set(found.status.tolist())) > 2
    alike(found, wanted)
    assert [one.reason.split(".")[0][:30] for one in found.systems] == [
        one.reason.split(".")[0][:30] for one in wanted.systems
    ]
    np.testing.assert_array_equal(found.x.get()[3], 0)


@pytest.mark.parametrize("case", ["limit", "guess", "columns", "absolute", "one matrix", "diagonal", "chosen"])
@pytest.mark.parametrize("dtype", ["float64", "complex64"])
def test_what_a_solve_is_asked_for(dtype, case, cupy):
    A, b = spread(6, 20, 100.0, dtype)
    options = {"rtol": 1e-4}
    solve = rv.cg
    if case == "limit":
        options["maxiter"] = 8
    elif case == "guess":
        options["x0"] = (np.linalg.solve(A, b[..., None])[..., 0] * (1 + 1e-2)).astype(dtype)
    elif case == "columns":
        b = np.stack([b, b[:, ::-1], 3 * b], axis=-1)
    elif case == "absolute":
        options["atol"] = 1e-4
    elif case == "one matrix":
        A, b = A[0], b.T.copy()
    elif case == "diagonal":
        A, b = A[0] * np.outer(*[np.geomspace(1, 10, 20).astype("float32")] * 2), b.T.copy()
    else:
        A = A * np.outer(*[np.geomspace(1, 10, 20).astype("float32")] * 2)
        solve = rv.solve
    given = dict(options)
    there = {name: cupy.asarray(value) if isinstance(value, np.ndarray) else value for name, value in options.items()}
    if case == "diagonal":
        given["M"] = there["M"] = "jacobi"
    (found, launches) = launched(lambda: solve(cupy.asarray(A), cupy.asarray(b), **there))
    wanted = solve(A, b, backend="numpy", **given)
    assert launches == 1
    alike(found, wanted)
    np.testing.assert_allclose(found.x.get(), wanted.x, rtol=0, atol=2e-3 * np.abs(wanted.x).max())
    if case == "limit":
        assert not found.converged
        assert set(found.iterations.reshape(-1).tolist()) == {8}


def test_what_is_kept_of_the_iterations(cupy):
    A, b = spread(5, 20, 100.0, "float64")
    found = rv.cg(cupy.asarray(A), cupy.asarray(b), rtol=1e-6)
    wanted = rv.cg(A, b, rtol=1e-6, backend="numpy")
    for one, other in zip(found.systems, wanted.systems, strict=True):
        np.testing.assert_allclose(one.history[1][:10], other.history[1][:10], rtol=1e-6)
        assert one.spectrum == pytest.approx(other.spectrum, rel=1e-3)


def test_facts_are_those_of_the_host(cupy):
    module = importlib.import_module("resolvent.gpu.cupy.small_batches")
    A, b = spread(3, 20, 100.0, "complex128")
    A[0, 2, 1] += 1e-3j
    A[1] = np.tril(A[1])
    A[2] = np.diag(np.arange(20.0))
    matrices = module.FullMatrices.of(cupy.asarray(A))
    kernel = matrices.kernel("ConjugateGradients", np.dtype("complex128"))
    limits = (
        importlib.import_module("resolvent.solvers.linear.schemes")
        .kernels()
        .Limits(1e-4, 0.0, 100, 100, 2.0**-53, 1e-13, 400, -900, 1000, False, False, 1, 1)
    )
    _, _, found, _ = matrices.solve(kernel, np.dtype("complex128"), cupy.asarray(b), None, None, limits, False)
    for k, row in enumerate(found.get()):
        wanted = rv.operators.Dense(A[k]).facts()
        for name, value in zip(FOUND, row, strict=True):
            if hasattr(wanted, name):
                assert value == pytest.approx(float(getattr(wanted, name)), rel=1e-12, abs=1e-14), (k, name)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32", "complex64"])
def test_registers_suffice_on_every_architecture(dtype, cupy):
    if cuda_on_host.nvrtc.library() is None:
        pytest.skip("NVRTC is not installed")
    module = importlib.import_module("resolvent.gpu.cupy.small_batches")
    text = importlib.import_module("resolvent.gpu.cupy.small_kernels").TEXT
    full = module.FullMatrices.of(np.zeros((1, 32, 32)))
    indptr, columns, values = banded(1, 64, 1, dtype)[0]
    tridiagonal = module.BandedMatrices(values, (1,), 64, module.Pattern(indptr, columns, True))
    for matrices in (full, tridiagonal):
        storage, *_ = matrices.instance(np.dtype(dtype).char)
        used = cuda_on_host.for_devices(
            text, ("--std=c++17",), (f"solve_by_cg<{storage}>",), cuda_on_host.nvrtc.architectures()
        )
        for kernels in used.values():
            for _registers, spilled in kernels.values():
                assert spilled <= (0 if dtype.startswith("float") else 32)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["full", "banded"])
@pytest.mark.parametrize("n", [32, 5, 64])
@pytest.mark.parametrize("dtype", DTYPES)
def test_on_a_device(dtype, n, kind):
    cupy = pytest.importorskip("cupy")
    count, rtol = 1000, 1e-4
    if kind == "full":
        A, b = spread(count, n, 100.0, dtype)
        given, held = cupy.asarray(A), A
    else:
        arrays, A = banded(count, n, 1, dtype)
        b = A.sum(2)
        given, held = (rv.as_operator(parts, (n, n)) for parts in (tuple(map(cupy.asarray, arrays)), arrays))
    found = rv.cg(given, cupy.asarray(b), rtol=rtol)
    wanted = rv.cg(held, b, rtol=rtol)
    assert found.converged
    assert isinstance(found.x, cupy.ndarray)
    assert np.abs(found.iterations - wanted.iterations).max() <= 4  # near n steps, the last digits decide
    residual = np.linalg.norm(b - (A @ found.x.get()[..., None])[..., 0], axis=1) / np.linalg.norm(b, axis=1)
    assert (residual <= 1.05 * rtol).all()
