"""Ritz values of Lanczos and Hessenberg matrices against dense eigenvalues, and the one Lanczos process."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import resolvent as rv
from resolvent.solvers.driver.status import Cause
from resolvent.solvers.linear.system import LinearSystem
from resolvent.solvers.spectra.lanczos import Lanczos, estimate_spectrum
from resolvent.solvers.spectra.ritz import SpectralEvidence, Tridiagonal, extreme_eigenvalue, ritz_values


def dense(T):
    k = len(T.diagonal)
    return np.diag(T.diagonal) + np.diag(T.off[: k - 1], 1) + np.diag(T.off[: k - 1], -1)


@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(1e-3, 2)), min_size=1, max_size=25))
def test_coefficients_of_conjugate_gradients_are_a_lanczos_matrix(pairs):
    """Whose pivots in elimination are 1 / alpha (Golub & Van Loan 2013, section 11.3.5)."""
    alphas, betas = np.array(pairs).T
    k = len(alphas)
    wanted = np.zeros((k, k))
    for j in range(k):
        wanted[j, j] = 1 / alphas[j] + (betas[j - 1] / alphas[j - 1] if j else 0.0)
        if j:
            wanted[j, j - 1] = wanted[j - 1, j] = math.sqrt(betas[j - 1]) / alphas[j - 1]
    T = Tridiagonal.of_conjugate_gradients(alphas, betas)
    np.testing.assert_allclose(dense(T), wanted, rtol=1e-14)
    np.testing.assert_allclose(np.linalg.slogdet(wanted)[1], np.log(1 / alphas).sum(), atol=1e-9)  # product of pivots
    values = np.linalg.eigvalsh(wanted)
    scale = np.abs(values).max()
    found = ritz_values(T)
    assert found.smallest == pytest.approx(values[0], abs=1e-13 * scale)
    assert found.largest == pytest.approx(values[-1], abs=1e-13 * scale)
    assert extreme_eigenvalue(T, 0) == found.smallest


@given(
    st.lists(st.tuples(st.floats(-5, 5), st.floats(0, 3)), min_size=1, max_size=12),
    st.integers(-300, 300),
)
def test_any_tridiagonal_matrix_in_any_units(pairs, exponent):
    diagonal, off = np.array(pairs).T
    T = Tridiagonal(np.ldexp(diagonal, exponent), np.ldexp(off, exponent))
    values, vectors = np.linalg.eigh(dense(Tridiagonal(diagonal, off)))
    found = ritz_values(T)
    near = 1e-13 * max(1.0, np.abs(values).max())
    assert math.ldexp(found.smallest, -exponent) == pytest.approx(values[0], abs=near)
    assert math.ldexp(found.largest, -exponent) == pytest.approx(values[-1], abs=near)
    if len(values) == 1 or values[1] - values[0] > 1e-3:
        error = math.ldexp(found.smallest_error, -exponent)
        assert error == pytest.approx(abs(off[-1] * vectors[-1, 0]), abs=1e-9)


def test_what_cannot_be_an_eigenvalue_is_left_out():
    T = Tridiagonal(np.array([2.0, 2.0, 900.0]), np.array([1.0, 1.0, 0.0]))
    assert ritz_values(T, 4.0).largest == pytest.approx(3.0)
    assert ritz_values(T.first(0)) is None
    assert ritz_values(Tridiagonal(np.array([np.nan]), np.array([0.0]))) is None
    broken = Tridiagonal.of_conjugate_gradients([0.5, math.nan, 1.0], [0.1, 0.1, 0.1])
    assert len(broken.diagonal) == 1


def test_hessenberg_matrices_and_units():
    rng = np.random.default_rng(2)
    H = np.triu(rng.standard_normal((6, 5)), -1)
    values = np.sort(np.linalg.eigvals(H[:5]).real)
    found = SpectralEvidence(matrix=H).ritz
    assert (found.smallest, found.largest) == pytest.approx((values[0], values[-1]))
    scaled = SpectralEvidence(matrix=H).scaled(2).ritz
    assert (scaled.smallest, scaled.largest_error) == pytest.approx((4 * values[0], 4 * found.largest_error))
    assert len(SpectralEvidence(matrix=H)) == 5
    assert ritz_values(np.full((3, 2), np.nan)) is None


def system_of(A, M=None):
    return LinearSystem(A, np.ones(A.shape[0]), M=M)


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("definite", [True, False])
def test_lanczos_process_gives_the_spectrum_of_any_hermitian_matrix(definite, preconditioned):
    """To the end of the process: T_n has the eigenvalues of A, of M A with a preconditioner."""
    rng = np.random.default_rng(5)
    Q = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    eigenvalues = np.linspace(1, 5, 12) if definite else np.linspace(-3, 4, 12)
    A = (Q * eigenvalues) @ Q.T
    A = (A + A.T) / 2
    scale = np.linspace(1, 2, 12)
    system = system_of(A, np.diag(scale) if preconditioned else None)
    process = Lanczos(system, rng.standard_normal(12))
    while len(process.diagonal) < 12 and not process.exhausted:
        process.step()
    root = np.sqrt(scale) if preconditioned else np.ones(12)
    wanted = np.linalg.eigvalsh(root[:, None] * A * root)
    # M is scaled by a power of two when it is first applied.
    unit = 2.0 ** (system.preconditioner_exponent or 0)
    np.testing.assert_allclose(np.linalg.eigvalsh(dense(process.matrix)) * unit, wanted, atol=1e-9)


def test_estimate_says_what_is_wrong():
    diagonal = np.array([3.0, 2, -1, 4, 5, 6])
    ritz, wrong = estimate_spectrum(system_of(np.diag(diagonal)), 6)
    assert wrong is Cause.INDEFINITE

    def nan(x):
        return np.full(6, np.nan)

    nan.shape, nan.dtype = (6, 6), np.dtype(float)
    system = LinearSystem(nan, np.ones(6))
    assert estimate_spectrum(system, 6)[1] is Cause.NOT_FINITE
    ritz, wrong = estimate_spectrum(system_of(np.diag([2.0, 2, 2, 7])), 4)
    assert wrong is None
    assert (ritz.smallest, ritz.largest) == pytest.approx((2, 7), abs=1e-9)
    assert max(ritz.smallest_error, ritz.largest_error) < 1e-7  # two eigenvalues: the process ends after two steps


def test_condition_of_solutions_is_unchanged_in_other_units():
    problem = rv.gallery.poisson((12, 12))
    plain = rv.cg(problem.A, problem.b, rtol=1e-10)
    scaled = rv.cg(2.0**700 * problem.A.tocsr() if hasattr(problem.A, "tocsr") else problem.A, problem.b, rtol=1e-10)
    assert scaled.condition == pytest.approx(plain.condition, rel=1e-12)


def test_condition_is_claimed_only_where_ritz_values_tell_it():
    solution = rv.cg(np.diag([1.0, 2.0, 4.0]), np.ones(3), rtol=1e-12)
    assert solution.condition == pytest.approx(4.0)

    def seen(matrix):
        vars(solution).pop("ritz", None)
        vars(solution).pop("spectrum", None)
        solution.evidence = SpectralEvidence(matrix=matrix)
        return solution.spectrum, solution.condition

    spectrum, condition = seen(Tridiagonal(np.array([-2.0, 3.0]), np.array([0.0, 0.0])))
    assert spectrum == pytest.approx((-2, 3))
    assert condition is None
    assert seen(np.array([[1.0, 2.0], [-2.0, 1.0], [0.0, 0.5]]))[1] is None
    assert seen(Tridiagonal(np.array([0.0, 3.0]), np.array([0.0, 0.0])))[1] == math.inf
