"""Inverses, pseudo-inverses and inverse roots against LAPACK and eigenvalues."""

import numpy as np
import pytest
from matrices import hermitian, log_spectrum, off, with_singular_values

import resolvent as rv
from resolvent.solvers.matrix_functions.inverse import chebyshev_schedule


@pytest.mark.parametrize("condition", [1, 1e2, 1e4, 1e6])
@pytest.mark.parametrize("order", [2, 3, 5, 9])
def test_inverse(condition, order):
    A, _ = with_singular_values(log_spectrum(30, condition))
    rtol = max(1e-9, 1e-12 * condition)
    found = rv.inverse(A, rtol=rtol, order=order)
    assert found.converged
    assert off(found.x, np.linalg.inv(A)) <= found.error_bound
    assert off(found.x, np.linalg.inv(A)) <= 10 * rtol


def test_positive_definite_matrices_take_half_the_steps():
    A, of = hermitian(log_spectrum(30, 900))
    found, general = rv.inverse(A, positive=True, rtol=1e-9), rv.inverse(A, rtol=1e-9)
    np.testing.assert_allclose(found.x, of(lambda w: 1 / w), atol=1e-6)
    assert found.products < 0.8 * general.products


@pytest.mark.parametrize(("kappa", "plain", "accelerated"), [(1e1, 7, 5), (1e2, 10, 7), (1e3, 13, 8), (1e4, 17, 10)])
def test_acceleration(kappa, plain, accelerated):
    """Steps of order 2 to 1e-6: minimax ones, and their number without acceleration."""
    schedule = chebyshev_schedule(2 / (kappa + 1) / (2 * kappa / (kappa + 1)), 1e-6, 2)
    assert schedule.steps <= accelerated
    error = (kappa - 1) / (kappa + 1)
    assert error ** (2**plain) <= 1e-6 < error ** (2 ** (plain - 1))
    y = np.geomspace(1 / kappa, 1, 5000)
    for step in schedule.coefficients:
        y = y * np.polyval(step[::-1], y)
    assert np.abs(1 - y).max() <= 1.0001 * schedule.error_bound


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_scale(scale):
    np.testing.assert_allclose(rv.inverse(scale * np.diag([1.0, 2.0]), rtol=1e-12).x * scale, np.diag([1.0, 0.5]))


def test_what_leaves_the_range_is_said_to():
    with pytest.warns(rv.ConvergenceWarning, match="leaves the range of float64"):
        assert rv.inverse(1e-310 * np.eye(2)).status is rv.Status.OVERFLOW
    assert rv.invsqrtm(1e-310 * np.eye(2), rtol=1e-9).converged


def test_complex_and_stacks():
    rng = np.random.default_rng(0)
    stack = rng.standard_normal((2, 3, 5, 5)) + 1j * rng.standard_normal((2, 3, 5, 5))
    np.testing.assert_allclose(rv.inverse(stack, rtol=1e-9).x, np.linalg.inv(stack), atol=1e-7)


def test_singular_matrices_are_named():
    rng = np.random.default_rng(0)
    with pytest.raises(rv.SingularError, match="column 1 is zero"):
        rv.inverse(np.array([[1.0, 0.0], [1.0, 0.0]]))
    with pytest.warns(rv.ConvergenceWarning, match="singular to rounding"):
        assert rv.inverse(rng.standard_normal((6, 4)) @ rng.standard_normal((4, 6))).status is rv.Status.INFEASIBLE
    with pytest.warns(rv.ConvergenceWarning, match="negative eigenvalue"):
        rv.inverse(np.array([[1.0, 2.0], [2.0, 1.0]]), positive=True)
    with pytest.raises(rv.InputError, match="order: found 1"):
        rv.inverse(np.eye(2), order=1)


@pytest.mark.parametrize("shape", [(12, 7), (7, 12), (6, 6)])
def test_pseudo_inverse_of_full_rank(shape):
    A = np.random.default_rng(0).standard_normal(shape)
    found = rv.pinv(A, rtol=1e-9)
    assert found.converged
    np.testing.assert_allclose(found.x, np.linalg.pinv(A), atol=1e-7)


@pytest.mark.parametrize("shape", [(12, 7), (7, 12)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_pseudo_inverse_of_low_rank(shape, dtype):
    """Rounding in the null space is not magnified."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((shape[0], 3)) @ rng.standard_normal((3, shape[1]))
    found = rv.pinv(A.astype(dtype), rtol=1e-10 if dtype == np.float64 else 1e-4)
    assert found.converged
    assert off(found.x, np.linalg.pinv(A)) <= (1e-9 if dtype == np.float64 else 1e-3)
    assert np.linalg.matrix_rank(found.x, tol=1e-3 * np.linalg.norm(found.x)) == 3


def test_pseudo_inverse_takes_what_is_below_rcond_for_zero():
    A, _ = with_singular_values([1.0, 0.5, 1e-5], 5)
    wanted = np.linalg.pinv(A, rcond=1e-3)
    assert off(rv.pinv(A, rcond=1e-2, rtol=1e-4).x, wanted) <= 1e-4
    assert off(rv.pinv(A, rtol=1e-4).x, np.linalg.pinv(A)) <= 1e-3


def test_zero_has_the_pseudo_inverse_zero():
    A = np.random.default_rng(0).standard_normal((4, 3))
    found = rv.pinv(np.stack([A, 0 * A]), rtol=1e-9)
    assert found.converged
    np.testing.assert_array_equal(found.x[1], 0)
    assert rv.pinv(np.zeros((2, 5))).x.shape == (5, 2)


@pytest.mark.parametrize("p", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("condition", [1, 1e2, 1e4])
def test_inverse_roots(p, condition):
    A, of = hermitian(log_spectrum(30, condition))
    found = rv.inverse_root(A, p, rtol=1e-7)
    assert found.converged
    assert off(found.x, of(lambda w: w ** (-1 / p))) <= found.error_bound
    np.testing.assert_allclose(np.linalg.matrix_power(found.x, p) @ A, np.eye(30), atol=1e-6)


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_inverse_roots_at_any_scale(scale):
    A, of = hermitian(log_spectrum(6, 10))
    np.testing.assert_allclose(
        rv.inverse_root(scale * A, 3, rtol=1e-9).x * scale ** (1 / 3), of(lambda w: w ** (-1 / 3)), rtol=1e-6, atol=1e-8
    )


def test_inverse_roots_refuse():
    with pytest.raises(rv.InputError, match="p: found 0"):
        rv.inverse_root(np.eye(2), 0)
    with pytest.raises(TypeError, match=r"p: found 0\.5"):
        rv.inverse_root(np.eye(2), 0.5)
    half = np.random.default_rng(0).standard_normal((5, 3))
    with pytest.warns(rv.ConvergenceWarning, match="singular to rounding"):
        rv.inverse_root(half @ half.T, 4)
