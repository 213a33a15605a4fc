"""Emulated precision on CuPy arrays: the bits of NumPy's, by the rounded forms of every operation."""

import importlib

import numpy as np
import pytest
import scipy.sparse

import resolvent as rv
from resolvent.precision import round


def system(dtype, n=14):
    rng = np.random.default_rng(2)
    B, b = rng.standard_normal((n, n)), rng.standard_normal(n)
    if np.dtype(dtype).kind == "c":
        B, b = B + 1j * rng.standard_normal((n, n)), b + 1j * b[::-1]
    return (B @ B.conj().T / n + 5 * np.eye(n)).astype(dtype), b.astype(dtype)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("policy", ["storage", "op"])
@pytest.mark.parametrize("rounding", ["nearest-even", "stochastic"])
@pytest.mark.parametrize("name", ["bf16", "fp16", "fp8_e5m2"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
@pytest.mark.parametrize("method", ["cg", "minres", "bicgstab", "chebyshev", "jacobi", "sor"])
def test_a_solve_comes_to_the_bits_of_numpys(method, dtype, name, rounding, policy, sparse, cupy):
    A, b = system(dtype)
    there = cupy.asarray(A)
    if sparse:
        A = scipy.sparse.csr_matrix(A)
        there = importlib.import_module("cupyx.scipy.sparse").csr_matrix(A)
    options = {
        "method": method,
        "rtol": 1e-2,
        "maxiter": 12,
        "precision": rv.Precision(name, policy=policy, rounding=rounding, seed=3),
    }
    wanted = rv.solve(A, b, backend="numpy", **options)
    found = rv.solve(there, cupy.asarray(b), **options)
    x = found.x.get()
    assert (found.status, found.iterations) == (wanted.status, wanted.iterations)
    assert x.tobytes() == wanted.x.tobytes()


def test_every_vector_that_is_kept_is_rounded(cupy):
    A, b = system("float64")
    seen = []
    rv.cg(
        cupy.asarray(A),
        cupy.asarray(b),
        rtol=1e-9,
        maxiter=8,
        precision="bf16",
        callback=lambda progress: seen.append(progress.x.get()),
    )
    assert len(seen) > 2
    for x in seen:
        np.testing.assert_array_equal(round(x, "bf16"), x)


def test_a_factor_is_rounded_before_it_is_added(cupy):
    # 1 + 2**-12 squared is 1 + 2**-11 + 2**-24 in float32: with one rounding alone the last term would be there.
    a, one = np.float32(1 + 2**-12), np.float32(1)
    y = cupy.asarray(np.array([-1], np.float32))
    rv.backends.backend_named("cupy").axpy(a, cupy.asarray(np.array([a])), y)
    assert y.item() == a * a - one
