import numpy as np
import pytest

from resolvent.backends import backend_named
from resolvent.solvers.krylov.orthonormal import orthonormalised

BACKEND, U = backend_named("numpy"), 2.0**-53


def basis_of(T, noise=0.0):
    """Rows that span those of T, and T in them."""
    made, factors = orthonormalised(BACKEND, T, BACKEND.gram(T, T), U, noise)
    return BACKEND.combinations(factors.C, made), factors.R


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("condition", [1e0, 1e6, 1e12])
def test_rows_are_orthonormal_whatever_the_condition(dtype, condition):
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal(shape).astype(dtype))[0] for shape in ((6, 6), (200, 6)))
    T = np.ascontiguousarray(left * np.geomspace(1, 1 / condition, 6) @ right.T)
    W, R = basis_of(T)
    assert W.shape == (6, 200)
    np.testing.assert_allclose(W.conj() @ W.T, np.eye(6), atol=1e-11)
    np.testing.assert_allclose(R.T @ W, T, atol=1e-14)


def test_dependent_equal_and_zero_rows_are_dropped():
    rng = np.random.default_rng(1)
    some = rng.standard_normal((3, 100))
    T = np.concatenate([some, rng.standard_normal((4, 3)) @ some, some[:1], np.zeros((1, 100))])
    W, R = basis_of(T)
    assert W.shape == (3, 100)
    np.testing.assert_allclose(W @ W.T, np.eye(3), atol=1e-13)
    np.testing.assert_allclose(R.T @ W, T, atol=1e-12)


def test_sizes_of_rows_do_not_matter_but_for_noise():
    T = np.random.default_rng(2).standard_normal((4, 50)) * np.array([[1e-150], [1.0], [1e100], [1e-14]])
    assert basis_of(T)[0].shape == (4, 50)
    assert basis_of(T, 1e-13)[0].shape == (2, 50)


def test_what_is_no_gram_matrix_has_no_factors():
    T = np.ones((2, 2))
    for G in ([[1.0, 2.0], [2.0, 1.0]], [[1.0, np.nan], [np.nan, 1.0]], [[-1.0, 0.0], [0.0, 1.0]]):
        assert orthonormalised(BACKEND, T, np.array(G), U) is None
