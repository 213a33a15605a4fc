"""Matrix signs against SciPy and eigenvalues."""

import numpy as np
import pytest
import scipy.linalg
from matrices import hermitian, log_spectrum

import resolvent as rv


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("condition", [2, 1e3, 1e6])
def test_hermitian(dtype, condition):
    values = log_spectrum(20, condition) * np.where(np.arange(20) % 3, 1, -1)
    A, of = hermitian(values, dtype=dtype)
    found = rv.matrix_sign(A, rtol=1e-9)
    assert found.converged
    assert found.method == "newton_schulz"
    np.testing.assert_allclose(found.x, of(np.sign), atol=1e-9 + 1e-12 * condition)


def test_others_agree_with_scipy():
    A = np.random.default_rng(0).standard_normal((20, 20))
    found = rv.matrix_sign(A, rtol=1e-11)
    assert found.converged
    assert found.method == "newton_sign"
    np.testing.assert_allclose(found.x, scipy.linalg.signm(A), atol=1e-10)


@pytest.mark.parametrize("scale", [1e-290, 1e290])
def test_scale_invariance(scale):
    A = np.random.default_rng(0).standard_normal((6, 6))
    np.testing.assert_allclose(rv.matrix_sign(scale * A, rtol=1e-10).x, rv.matrix_sign(A, rtol=1e-10).x, atol=1e-8)


@pytest.mark.parametrize("A", [np.array([[0.0, 1.0], [-1.0, 0.0]]), np.array([[0.0, 1.0], [0.0, 0.0]])])
def test_eigenvalues_on_the_imaginary_axis_are_named(A):
    with pytest.warns(rv.ConvergenceWarning, match="imaginary axis"):
        found = rv.matrix_sign(A)
    assert found.status is rv.Status.INFEASIBLE


def test_a_skew_matrix_is_not_given_a_sign_by_rounding():
    A = np.random.default_rng(1).standard_normal((6, 6))
    with pytest.warns(rv.ConvergenceWarning, match="imaginary axis"):
        assert not rv.matrix_sign(A - A.T).converged


def test_eigenvalues_near_the_imaginary_axis_are_told_apart():
    A = scipy.linalg.block_diag([[1e-6, 1.0], [-1.0, 1e-6]], [[-1e-6, 2.0], [-2.0, -1e-6]])
    found = rv.matrix_sign(A, rtol=1e-6)
    assert found.converged
    np.testing.assert_allclose(found.x, np.diag([1.0, 1.0, -1.0, -1.0]), atol=1e-6)


def test_a_matrix_without_a_sign_leaves_the_others_of_its_stack_alone():
    good = np.random.default_rng(0).standard_normal((4, 4))
    bad = np.kron(np.eye(2), [[0.0, 1.0], [-1.0, 0.0]])
    with pytest.warns(rv.ConvergenceWarning):
        found = rv.matrix_sign(np.stack([good, bad]), rtol=1e-10)
    np.testing.assert_allclose(found.x[0], scipy.linalg.signm(good), atol=1e-9)
    assert found.residuals[0] <= 1e-10 < found.residuals[1]


def test_refusals():
    with pytest.raises(rv.InputError, match="wanted square matrices"):
        rv.matrix_sign(np.ones((2, 3)))
    with pytest.raises(rv.NotHermitianError, match="A: found entries that differ"):
        rv.matrix_sign(np.array([[1.0, 2.0], [0.0, 1.0]]), hermitian=True)
    assert rv.matrix_sign(np.zeros((0, 3, 3))).x.shape == (0, 3, 3)
