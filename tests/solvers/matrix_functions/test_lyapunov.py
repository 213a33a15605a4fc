"""Lyapunov and Sylvester equations against SciPy."""

import numpy as np
import pytest
import scipy.linalg
from matrices import hermitian, log_spectrum, off

import resolvent as rv


@pytest.mark.parametrize("condition", [1, 1e2, 1e4])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_against_scipy(condition, dtype):
    rng = np.random.default_rng(0)
    A, B = (hermitian(log_spectrum(n, condition), seed=n, dtype=dtype)[0] for n in (20, 12))
    C, D = rng.standard_normal((20, 12)).astype(dtype), rng.standard_normal((20, 20)).astype(dtype)
    sylvester, lyapunov = rv.solve_sylvester(A, B, C, rtol=1e-8), rv.solve_lyapunov(A, D, rtol=1e-8)
    assert sylvester.converged
    assert lyapunov.converged
    assert off(sylvester.x, scipy.linalg.solve_sylvester(A, B, C)) <= 1e-7
    assert off(lyapunov.x, scipy.linalg.solve_sylvester(A, A, D)) <= 1e-7
    assert lyapunov.products <= 0.8 * rv.solve_sylvester(A, A, D, rtol=1e-8).products


def test_it_is_its_own_adjoint():
    rng = np.random.default_rng(0)
    S = hermitian(log_spectrum(8, 50))[0]
    R, Q = rng.standard_normal((2, 8, 8))
    left = np.vdot(rv.solve_lyapunov(S, R, rtol=1e-11).x, Q)
    np.testing.assert_allclose(left, np.vdot(R, rv.solve_lyapunov(S, Q, rtol=1e-11).x), rtol=1e-9)


def test_antisymmetric_right_hand_sides_have_antisymmetric_solutions():
    S, R = hermitian(log_spectrum(8, 50))[0], np.random.default_rng(0).standard_normal((8, 8))
    X = rv.solve_lyapunov(S, R - R.T, rtol=1e-11).x
    np.testing.assert_allclose(X, -X.T, atol=1e-9 * np.abs(X).max())


def test_units_of_both_sides_are_free():
    S, R = hermitian(log_spectrum(8, 50))[0], np.random.default_rng(0).standard_normal((8, 8))
    plain = rv.solve_lyapunov(S, R, rtol=1e-10).x
    scaled = rv.solve_lyapunov(1e-150 * S, 1e-290 * R, rtol=1e-10)
    assert scaled.converged
    np.testing.assert_allclose(scaled.x * 1e140, plain, rtol=1e-7, atol=1e-9)


def test_stacks_and_zero():
    A = np.stack([hermitian(log_spectrum(5, 10), seed=k)[0] for k in range(3)])
    C = np.random.default_rng(0).standard_normal((3, 5, 5))
    C[1] = 0
    found = rv.solve_lyapunov(A, C, rtol=1e-9)
    assert found.converged
    np.testing.assert_array_equal(found.x[1], 0)
    np.testing.assert_allclose(found.x[2], rv.solve_lyapunov(A[2], C[2], rtol=1e-9).x, atol=1e-10)


def test_coefficients_that_are_not_positive_definite_are_named():
    C = np.ones((2, 2))
    with pytest.warns(rv.ConvergenceWarning, match="not positive definite"):
        assert rv.solve_lyapunov(np.array([[1.0, 2.0], [2.0, 1.0]]), C).status is rv.Status.INFEASIBLE
    with pytest.raises(rv.NotHermitianError, match="B: found"):
        rv.solve_sylvester(np.eye(2), np.array([[1.0, 1.0], [0.0, 1.0]]), C)
    with pytest.raises(rv.InputError, match="B: found the diagonal entry -1"):
        rv.solve_sylvester(np.eye(2), -np.eye(2), C)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((np.eye(3), np.eye(2), np.ones((2, 3))), r"A: found shape \(3, 3\); wanted \(2, 2\)"),
        ((np.eye(3), np.eye(2), np.ones((4, 3, 2))), "A: found shape"),
        ((np.eye(3), np.eye(2), np.full((3, 2), np.nan)), "C: has NaN"),
        ((np.eye(3), np.eye(2, dtype=np.float32), np.ones((3, 2))), "wanted one type"),
    ],
)
def test_bad_input(arguments, said):
    with pytest.raises(rv.InputError, match=said):
        rv.solve_sylvester(*arguments)
