"""Stacks of small matrices in compiled loops: what NumPy's products give, to rounding."""

import numpy as np
import pytest

import resolvent as rv
from resolvent.backends import choose_backend
from resolvent.solvers.matrix_functions.factors import degree_17_factors
from resolvent.solvers.matrix_functions.products import products_for

kinds = pytest.mark.parametrize("dtype", [np.float64, pytest.param(np.float32, marks=pytest.mark.slow)])
STEPS = {
    "cubic": (1.5, -0.5),
    "quintic": (1.875, -1.25, 0.375),
    "septic": (35 / 16, -35 / 16, 21 / 16, -5 / 16),
    "degree 9": (315 / 128, -105 / 32, 189 / 64, -45 / 32, 35 / 128),
    "degree 11": (2.7, -4.5, 5.4, -3.87, 1.5, -0.25),
    "degree 17": rv.newton_schulz.schedule(0.3, degree=17, steps=1).coefficients[0],
}


def both(A):
    backend = choose_backend("numpy", A)
    return products_for(backend, A), products_for(backend, A, compiled=True)


def drawn(dtype, *shape):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


@kinds
@pytest.mark.parametrize("known", [False, True], ids=["", "square known"])
@pytest.mark.parametrize("h", STEPS.values(), ids=STEPS)
def test_steps(h, known, dtype):
    X = drawn(dtype, 40, 7, 5)
    X /= np.linalg.norm(X, axis=(1, 2), keepdims=True)
    A = X.swapaxes(1, 2) @ X
    factors = degree_17_factors(h) if len(h) == 9 else None
    found = []
    for p in both(X):
        square = A @ A if known and len(h) > 2 else None
        before = p.count
        found.append((*p.polar_step(X.copy(), A.copy(), h, square, factors), p.count - before))
    (X1, A1, count1), (X2, A2, count2) = found
    tolerance = 1e3 * np.finfo(dtype).eps
    assert X2.dtype == dtype
    assert np.allclose(X1, X2, rtol=0, atol=tolerance)
    assert np.allclose(A1, A2, rtol=0, atol=tolerance)
    assert count1 == count2


@kinds
def test_passes(dtype):
    A, B = drawn(dtype, 40, 6, 6), drawn(dtype, 2, 40, 6, 6)[1]
    plain, compiled = both(A)
    assert type(plain) is not type(compiled)
    for found, wanted in (
        (compiled.gram(A, None), plain.gram(A, None)),
        (compiled.hermitian_part(A, None), plain.hermitian_part(A, None)),
        (compiled.distances(A, B), plain.distances(A, B)),
        (compiled.identity_distances(A, -1.0), plain.identity_distances(A, -1.0)),
        (compiled.row_sums(A), plain.row_sums(A)),
    ):
        assert np.allclose(found, wanted, rtol=1e2 * np.finfo(dtype).eps)
    A[3, 1, 2] = np.nan
    for found in (compiled.distances(A, B), compiled.identity_distances(A)):
        assert np.flatnonzero(np.isnan(found)).tolist() == [3]


@kinds
@pytest.mark.parametrize("shape", [(40, 6, 4), (2, 20, 4, 6), (40, 5, 5)])
def test_functions(shape, dtype):
    A = drawn(dtype, *shape)
    A[0] = 0
    kept = A.copy()
    rtol = 1e-4 if dtype == np.float32 else 1e-9
    found, wanted = (rv.polar(A, rtol=rtol, backend=backend) for backend in (None, "numpy"))
    assert np.array_equal(A, kept)
    assert found.converged
    assert np.allclose(found.U, wanted.U, rtol=0, atol=20 * rtol)
    assert np.allclose(found.H, wanted.H, rtol=0, atol=20 * rtol)
    assert (found.products, found.iterations) == (wanted.products, wanted.iterations)


def test_what_a_matrix_is_put_through_depends_on_itself_alone():
    A = drawn(np.float64, 40, 5, 4)
    A[7] = np.linalg.qr(A[7])[0] * np.array([1.0, 1e-2, 1e-4, 1e-6])
    together = rv.polar(A, rtol=1e-10, backend="numba")
    assert together.converged
    for k in (0, 7, 39):
        assert np.allclose(together.U[k], rv.polar(A[k], rtol=1e-10).U, rtol=0, atol=1e-8)
