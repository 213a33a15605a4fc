"""Square roots and their inverses against eigenvalues."""

import numpy as np
import pytest
from matrices import hermitian, log_spectrum, off

import resolvent as rv

# condition: attainable relative error of sqrtm and invsqrtm, in double and single precision.
ATTAINABLE = {
    1e1: ((1e-15, 2e-15), (3e-7, 3e-7)),
    1e2: ((2e-15, 4e-15), (6e-7, 8e-7)),
    1e3: ((3e-15, 2e-14), (1.4e-6, 4e-6)),
    1e4: ((7e-15, 2e-13), (3e-6, 3e-5)),
    1e6: ((5e-14, 1e-11), (2e-5, 2e-3)),
}


@pytest.mark.parametrize("condition", ATTAINABLE)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_attainable_accuracy(condition, dtype):
    A, of = hermitian(log_spectrum(100, condition))
    schedule = rv.newton_schulz.schedule(0.98 / np.sqrt(condition) / 3, degree=5, tolerance=1e-6, root=2)
    for function, power, bound in zip(
        (rv.sqrtm, rv.invsqrtm), (0.5, -0.5), ATTAINABLE[condition][dtype == np.float32], strict=True
    ):
        with pytest.warns(rv.ConvergenceWarning):
            found = function(A.astype(dtype), schedule=schedule, rtol=0)
        assert found.status is rv.Status.STAGNATED
        assert off(found.x, of(lambda w, power=power: w**power)) <= 5 * bound


@pytest.mark.parametrize("condition", [1, 1e2, 1e5, 1e9])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_square_roots_by_default(condition, dtype):
    A, of = hermitian(log_spectrum(40, condition), dtype=dtype)
    found = rv.sqrtm(A, rtol=1e-9)
    assert found.converged
    assert off(found.x @ found.x, A) <= 1e-9
    assert off(found.x, of(np.sqrt)) <= 1e-8
    assert np.linalg.eigvalsh(found.x).min() > 0


@pytest.mark.parametrize("condition", [1, 1e2, 1e5])
def test_inverse_square_roots_by_default(condition):
    A, of = hermitian(log_spectrum(40, condition))
    found = rv.invsqrtm(A, rtol=1e-8)
    assert found.converged
    assert off(found.x, of(lambda w: w**-0.5)) <= found.error_bound <= 1e-7
    np.testing.assert_allclose(found.x @ A @ found.x, np.eye(40), atol=1e-7)


def test_the_polynomial_must_be_of_the_product_itself():
    """Degree 17 at condition 1e4 keeps ten digits: with a symmetrised P or iterate it keeps three to five."""
    A, of = hermitian(log_spectrum(60, 1e4))
    schedule = rv.newton_schulz.schedule(1e-3, degree=17, tolerance=1e-9, root=2)
    found = rv.sqrtm(A, schedule=schedule, rtol=1e-10)
    assert found.converged
    assert off(found.x, of(np.sqrt)) <= 1e-10


@pytest.mark.parametrize("scale", [1e-300, 1e-201, 1e151, 1e300])
def test_scale_invariance(scale):
    A, of = hermitian(log_spectrum(10, 30))
    np.testing.assert_allclose(rv.sqrtm(scale * A, rtol=1e-11).x / np.sqrt(scale), of(np.sqrt), atol=1e-9)
    np.testing.assert_allclose(rv.invsqrtm(scale * A, rtol=1e-11).x * np.sqrt(scale), of(lambda w: w**-0.5), atol=1e-9)


def test_singular_input_has_a_root_and_no_inverse_root():
    rng = np.random.default_rng(0)
    half = rng.standard_normal((8, 3))
    A = half @ half.T
    found = rv.sqrtm(A, rtol=1e-9)
    assert found.converged
    assert off(found.x @ found.x, A) <= 1e-9
    with pytest.warns(rv.ConvergenceWarning, match="singular to rounding"):
        assert rv.invsqrtm(A).status is rv.Status.INFEASIBLE


def test_a_block_of_zeros_and_a_ridge():
    A = np.zeros((5, 5))
    A[:3, :3] = hermitian([1.0, 0.5, 0.2])[0]
    np.testing.assert_array_equal(rv.sqrtm(A, rtol=1e-10).x[3:], 0)
    ridged = A + 1e-4 * np.eye(5)
    np.testing.assert_allclose(
        rv.invsqrtm(ridged, rtol=1e-8).x @ ridged @ rv.invsqrtm(ridged, rtol=1e-8).x, np.eye(5), atol=1e-6
    )
    with pytest.raises(rv.SingularError, match="diagonal entry of zero"):
        rv.invsqrtm(A)


def test_zero_and_nothing():
    np.testing.assert_array_equal(rv.sqrtm(np.zeros((2, 3, 3))).x, np.zeros((2, 3, 3)))
    assert rv.invsqrtm(np.zeros((0, 3, 3))).x.shape == (0, 3, 3)


def test_a_stack_is_its_matrices():
    stack = np.stack([hermitian(log_spectrum(6, c), seed=k)[0] for k, c in enumerate((1, 1e2, 1e9))])
    for function in (rv.sqrtm, rv.invsqrtm):
        together = function(stack, rtol=1e-6)
        for k in range(3):
            np.testing.assert_allclose(together.x[k], function(stack[k], rtol=1e-6).x, rtol=1e-7, atol=1e-9)


def test_a_stack_at_its_floor_keeps_the_others():
    """One matrix gets no further, the other goes on."""
    stack = np.stack([hermitian(log_spectrum(6, 10))[0], hermitian(log_spectrum(6, 1e10))[0]])
    with pytest.warns(rv.ConvergenceWarning):
        found = rv.invsqrtm(stack, rtol=1e-9)
    assert found.residuals[0] <= 1e-9 < found.residuals[1]


@pytest.mark.parametrize(
    ("A", "error", "said"),
    [
        (np.ones((2, 3)), rv.InputError, "wanted square"),
        (np.array([[1.0, 2.0], [0.0, 1.0]]), rv.NotHermitianError, "symmetric"),
        (np.array([[1.0, 0.0], [0.0, -1.0]]), rv.InputError, "diagonal entry -1"),
        (np.array([[1.0, 1j], [1j, 1.0]]), rv.NotHermitianError, "Hermitian"),
        (np.array([[np.nan, 0.0], [0.0, 1.0]]), rv.InputError, "NaN"),
    ],
)
def test_bad_input(A, error, said):
    for function in (rv.sqrtm, rv.invsqrtm):
        with pytest.raises(error, match=said):
            function(A)


@pytest.mark.parametrize(("dtype", "rtol", "reached"), [(np.float64, 1e-12, 1e-11), (np.float32, 1e-5, 1e-3)])
@pytest.mark.parametrize("n", [6, 16, 32])
@pytest.mark.filterwarnings("ignore::resolvent.ConvergenceWarning")  # rounding may not allow the tolerance
def test_eigenvalues_of_rounding_and_either_sign_are_no_negative_ones(n, dtype, rtol, reached):
    """Of L L^T of a third of the rank: some of what is nothing is a little less than nothing."""
    for seed in range(20):
        L = np.random.default_rng(seed).standard_normal((n, n // 3)).astype(dtype)
        found = rv.sqrtm(L @ L.T, rtol=rtol)
        assert found.status in (rv.Status.CONVERGED, rv.Status.STAGNATED)
        assert found.relative_residual <= reached


def test_a_negative_eigenvalue_is_named():
    A = np.array([[1.0, 2.0], [2.0, 1.0]])
    for function in (rv.sqrtm, rv.invsqrtm):
        with pytest.warns(rv.ConvergenceWarning, match="negative eigenvalue"):
            assert function(A).status is rv.Status.INFEASIBLE


def test_a_schedule_for_another_root_is_refused():
    with pytest.raises(rv.InputError, match="root 3"):
        rv.sqrtm(np.eye(2), schedule=rv.newton_schulz.schedule(0.1, degree=5, steps=2, root=3))
