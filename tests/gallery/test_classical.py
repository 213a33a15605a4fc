"""Classical dense matrices: what is known of each, and in more digits than float64 has."""

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolvent.gallery import hilbert, kms, lehmer, minij, moler, pei


def extremes_in_many_digits(entry, n):
    with mpmath.workdps(60):
        A = mpmath.matrix([[entry(i, j) for j in range(1, n + 1)] for i in range(1, n + 1)])
        values = sorted(mpmath.eigsy(A, eigvals_only=True))
        return float(values[0]), float(values[-1])


class TestHilbert:
    @pytest.mark.parametrize(("n", "condition"), [(4, 1.5514e4), (8, 1.5258e10)])
    def test_condition(self, n, condition):
        assert hilbert(n).condition == pytest.approx(condition, rel=1e-4)

    def test_spectrum_beyond_what_an_eigenvalue_solver_sees(self):
        low, high = extremes_in_many_digits(lambda i, j: mpmath.mpf(1) / (i + j - 1), 14)
        assert hilbert(14).spectrum == pytest.approx((low, high), rel=1e-10)
        assert abs(np.linalg.eigvalsh(hilbert(14).A)[0] - low) > low  # the plain way has no correct digit

    def test_says_when_rounding_has_destroyed_definiteness(self):
        assert hilbert(13).positive_definite
        assert not hilbert(14).positive_definite
        assert min(leading_minors(hilbert(13).A)) > 0  # Sylvester's criterion, on the rounded entries
        assert min(leading_minors(hilbert(14).A)) < 0

    def test_condition_is_withheld_beyond_the_range(self):
        assert hilbert(201).condition is None


def leading_minors(A):
    with mpmath.workdps(200):
        return [mpmath.det(mpmath.matrix(A[:k, :k].tolist())) for k in range(1, len(A) + 1)]


class TestMoler:
    @pytest.mark.parametrize(("n", "factor"), [(5, 0.553), (10, 0.5624), (15, 0.5625)])
    def test_smallest_eigenvalue(self, n, factor):
        assert moler(n).spectrum[0] == pytest.approx(factor * 4.0 ** (2 - n), rel=2e-3)
        low, _ = extremes_in_many_digits(lambda i, j: i if i == j else min(i, j) - 2, n)
        assert moler(n).spectrum[0] == pytest.approx(low, rel=1e-13)

    @pytest.mark.parametrize(("n", "condition"), [(5, 8.7e2), (10, 3.7e6), (15, 9.1e9)])
    def test_condition(self, n, condition):
        assert moler(n).condition == pytest.approx(condition, rel=0.02)

    def test_smallest_eigenvalue_tends_to_its_limit(self):
        assert moler(60).spectrum[0] * 4.0**58 == pytest.approx(0.5625, rel=1e-6)

    @pytest.mark.parametrize("n", [1, 2, 9, 28])
    def test_exact_inverse_and_determinant(self, n):
        problem = moler(n)
        integers = problem.inverse().astype(object) @ problem.A.astype(object)
        np.testing.assert_array_equal(integers, np.eye(n))
        U = np.eye(n) - np.triu(np.ones((n, n)), 1)
        np.testing.assert_array_equal(U.T @ U, problem.A)  # hence determinant 1

    @pytest.mark.slow
    def test_condition_is_withheld_beyond_the_range(self):
        assert np.isfinite(moler(500).condition)
        assert moler(501).condition is None


class TestLehmer:
    @pytest.mark.parametrize(("n", "condition"), [(4, 12.2), (8, 53.7), (12, 127.2)])
    def test_condition(self, n, condition):
        assert lehmer(n).condition == pytest.approx(condition, abs=0.05)

    @given(st.integers(1, 80))
    def test_bounds(self, n):
        assert n <= lehmer(n).condition * (1 + 1e-13)
        assert lehmer(n).condition <= 4 * n**2

    def test_inverse_is_tridiagonal(self):
        problem = lehmer(20)
        inverse = problem.inverse()
        assert inverse.nnz == 58
        np.testing.assert_allclose(inverse @ problem.A, np.eye(20), atol=1e-12)


class TestMinij:
    @given(st.integers(1, 40))
    def test_closed_form(self, n):
        problem = minij(n)
        np.testing.assert_allclose(problem.eigenvalues(), np.linalg.eigvalsh(problem.A), rtol=1e-11)
        np.testing.assert_array_equal(problem.inverse() @ problem.A, np.eye(n))


class TestPei:
    @given(st.integers(1, 20), st.floats(1e-3, 1e3))
    def test_closed_form(self, n, alpha):
        problem = pei(n, alpha)
        np.testing.assert_allclose(
            problem.eigenvalues(), np.linalg.eigvalsh(problem.A), atol=1e-13 * (n + alpha), rtol=1e-12
        )
        assert problem.condition == pytest.approx((n + alpha) / alpha if n > 1 else 1.0)

    @pytest.mark.parametrize("alpha", [0.0, -1.0, np.nan])
    def test_bad_alpha(self, alpha):
        with pytest.raises(ValueError, match="alpha is"):
            pei(4, alpha)


class TestKms:
    @given(st.integers(1, 40), st.floats(-0.98, 0.98))
    def test_bound_and_extremes(self, n, rho):
        problem = kms(n, rho)
        assert problem.condition <= ((1 + abs(rho)) / (1 - abs(rho))) ** 2 * (1 + 1e-12)
        values = np.linalg.eigvalsh(problem.A)
        assert problem.spectrum == pytest.approx((values[0], values[-1]), rel=1e-10)

    def test_bound_is_approached(self):
        assert kms(400, 0.5).condition == pytest.approx(9, rel=1e-3)

    @pytest.mark.parametrize("rho", [1.0, -1.0, 2.0])
    def test_bad_rho(self, rho):
        with pytest.raises(ValueError, match=r"rho is .*; it must lie in \(-1, 1\)"):
            kms(4, rho)

    def test_rho_of_the_wrong_type(self):
        with pytest.raises(TypeError, match="rho is 'half'"):
            kms(4, "half")
