"""Polar factors against the singular value decomposition."""

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sparse
from matrices import log_spectrum, off, orthonormal, with_singular_values

import resolvent as rv

EPS = np.finfo(float).eps


@pytest.mark.parametrize("condition", [1, 10, 1e2, 1e3, 1e5, 1e8, 1e11])
@pytest.mark.parametrize("m", [30, 50])
def test_condition_numbers(condition, m):
    """The error of U is that of rounding times the condition number, its orthogonality and A = U H are not."""
    A, U = with_singular_values(log_spectrum(30, condition), m)
    found = rv.polar(A, rtol=1e-10)
    assert found.converged
    assert np.linalg.norm(found.U - U, 2) <= 1e-10 + 2000 * EPS * condition
    assert np.linalg.norm(found.U.T @ found.U - np.eye(30)) <= 1e-10 * np.sqrt(30)
    assert off(found.U @ found.H, A) <= 1e-10
    assert np.linalg.eigvalsh(found.H).min() >= -1e-10


@pytest.mark.parametrize("shape", [(7, 7), (9, 4), (4, 9), (1, 6), (6, 1), (1, 1)])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_shapes_and_sides_agree_with_scipy(shape, side, dtype):
    rng = np.random.default_rng(3)
    A = rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if dtype == np.complex128 else 0)
    found = rv.polar(A, side=side, rtol=1e-12)
    U, H = scipy.linalg.polar(A, side=side)
    np.testing.assert_allclose(found.U, U, atol=1e-11)
    np.testing.assert_allclose(found.H, H, atol=1e-11)
    assert found.x is found.U


def test_a_wide_matrix_is_its_tall_transpose():
    A = np.random.default_rng(0).standard_normal((5, 8))
    wide, tall = rv.polar(A, rtol=1e-12), rv.polar(A.T, side="left", rtol=1e-12)
    np.testing.assert_array_equal(wide.U, tall.U.T)
    np.testing.assert_array_equal(wide.H, tall.H)


def test_negative_multiples_give_the_negative_factor():
    A = np.random.default_rng(1).standard_normal((6, 6))
    np.testing.assert_allclose(rv.polar(-3 * A, rtol=1e-12).U, -rv.polar(A, rtol=1e-12).U, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-300, 1e-150, 1e-30, 1e30, 1e150, 1e300])
def test_scale_invariance_in_double_precision(scale):
    A = np.random.default_rng(2).standard_normal((6, 4))
    found, plain = rv.polar(scale * A, rtol=1e-12), rv.polar(A, rtol=1e-12)
    assert found.converged
    np.testing.assert_allclose(found.U, plain.U, atol=1e-12)
    np.testing.assert_allclose(found.H / scale, plain.H, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("scale", [2.0**-120, 2.0**-60, 2.0**60, 2.0**120])
def test_powers_of_two_change_no_digit_in_single_precision(scale):
    A = np.random.default_rng(2).uniform(0.6, 0.9, (6, 4)).astype(np.float32)
    found, plain = rv.polar(np.float32(scale) * A), rv.polar(A)
    assert found.x.dtype == np.float32
    np.testing.assert_array_equal(found.U, plain.U)
    np.testing.assert_array_equal(found.H, np.float32(scale) * plain.H)


def test_rank_deficient_by_rounding_is_completed():
    """As by a singular value decomposition: U is orthonormal, and H has the rank of A."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((20, 5)) @ rng.standard_normal((5, 12))
    found = rv.polar(A, rtol=1e-8)
    assert found.converged
    assert off(found.U @ found.H, A) <= 1e-8
    np.testing.assert_allclose(found.H @ found.H, A.T @ A, atol=1e-6)


def test_columns_of_zeros_stay_zero():
    """A partial isometry: U^T U is a projector of the rank of A, and orthogonality says how much is missing."""
    rng = np.random.default_rng(0)
    A = np.zeros((10, 6))
    A[:, :4] = rng.standard_normal((10, 4))
    found = rv.polar(A, rtol=1e-8)
    assert found.converged
    np.testing.assert_array_equal(found.U[:, 4:], 0)
    np.testing.assert_allclose(found.U[:, :4], rv.polar(A[:, :4], rtol=1e-8).U, atol=1e-7)
    np.testing.assert_allclose(found.orthogonality, np.sqrt(2 / 6), rtol=1e-6)
    assert found.error_bound is None


@pytest.mark.parametrize("shape", [(3, 2), (2, 3), (4, 3, 2)])
def test_zero_comes_back_as_zero(shape):
    found = rv.polar(np.zeros(shape))
    assert found.converged
    assert found.iterations == 0
    np.testing.assert_array_equal(found.U, np.zeros(shape))
    np.testing.assert_array_equal(found.H, np.zeros((*shape[:-2], shape[-1], shape[-1])))


@pytest.mark.parametrize("shape", [(0, 3, 2), (2, 0, 3, 3), (4, 0, 2), (3, 0), (0, 0)])
def test_nothing_to_do(shape):
    found = rv.polar(np.zeros(shape))
    assert found.converged
    assert found.U.shape == shape
    assert found.H.shape == (*shape[:-2], shape[-1], shape[-1])


def test_matrices_of_a_stack_do_not_influence_each_other():
    """Whatever the others need: one is well conditioned, one is not, one is zero, one has a column of zeros."""
    rng = np.random.default_rng(0)
    flat = rng.standard_normal((6, 4))
    flat[:, 1] = 0
    stack = np.stack(
        [rng.standard_normal((6, 4)), with_singular_values([1, 1e-2, 1e-6, 1e-9], 6)[0], np.zeros((6, 4)), flat]
    ).reshape(2, 2, 6, 4)
    together = rv.polar(stack, rtol=1e-9)
    assert together.converged
    assert together.residuals.shape == together.orthogonality.shape == (2, 2)
    for k in np.ndindex(2, 2):
        alone = rv.polar(stack[k], rtol=1e-9)
        np.testing.assert_allclose(together.U[k], alone.U, atol=1e-14)
        np.testing.assert_allclose(together.H[k], alone.H, atol=1e-14)
    others = np.stack([stack[0, 0], rng.standard_normal((6, 4))])
    np.testing.assert_array_equal(rv.polar(others, rtol=1e-9).U[0], together.U[0, 0])


def test_a_large_stack_in_parts_is_its_matrices():
    A = np.random.default_rng(0).standard_normal((48, 48))
    alone = rv.polar(A, rtol=1e-6)
    found = rv.polar(2.0 ** np.arange(-20, 20)[:, None, None] * A, rtol=1e-6)
    np.testing.assert_allclose(found.U, np.broadcast_to(alone.U, found.U.shape), atol=1e-12)
    np.testing.assert_allclose(found.H[33], 2.0**13 * alone.H, atol=1e-8)
    assert found.products == alone.products


@pytest.mark.parametrize("order", ["C", "F", "strided", "list"])
def test_the_input_is_left_alone(order):
    A = np.random.default_rng(0).standard_normal((12, 8))
    given = {"C": A, "F": np.asfortranarray(A), "strided": A[::2, ::2], "list": A.tolist()}[order]
    kept = np.array(given)
    if order != "list":
        given.flags.writeable = False
    found = rv.polar(given, rtol=1e-10)
    np.testing.assert_array_equal(given, kept)
    assert off(found.U @ found.H, kept) <= 1e-10
    assert found.U.flags.writeable


def test_equivariance():
    rng = np.random.default_rng(0)
    A, Q, P = rng.standard_normal((9, 6)), orthonormal(rng, 9, 9), orthonormal(rng, 6, 6)
    np.testing.assert_allclose(rv.polar(Q @ A @ P, rtol=1e-11).U, Q @ rv.polar(A, rtol=1e-11).U @ P, atol=1e-10)


def test_aol_is_orthonormal_but_another_matrix_and_not_offered_as_polar():
    A = np.random.default_rng(0).standard_normal((60, 40)) * np.logspace(0, -2, 40)
    found = rv.orthogonalize(A, scaling="aol", rtol=1e-9).x
    np.testing.assert_allclose(found.T @ found, np.eye(40), atol=1e-8)
    assert off(found, rv.polar(A, rtol=1e-9).U) > 0.05
    with pytest.raises(rv.InputError, match="scaling: found 'aol'"):
        rv.polar(A, scaling="aol")


@pytest.mark.parametrize("scaling", ["schatten-8", "schatten-4", "frobenius", "power"])
def test_scalings_lead_to_one_factor(scaling):
    A, U = with_singular_values(log_spectrum(40, 100), 60)
    found = rv.polar(A, scaling=scaling, rtol=1e-9, lower=1e-2)
    np.testing.assert_allclose(found.U, U, atol=1e-8)
    assert found.scale >= 1 - 1e-12


def test_integers_are_promoted_and_half_precision_is_carried_in_single():
    A = np.array([[2, 1], [0, 3], [1, 1]])
    assert rv.polar(A).x.dtype == np.float64
    assert rv.polar(A.astype(np.float16)).x.dtype == np.float32


@pytest.mark.parametrize("m", [64, 96])
def test_the_error_bound_holds(m):
    A, U = with_singular_values(log_spectrum(64, 50), m)
    for rtol in (1e-1, 1e-2, 1e-4):
        found = rv.orthogonalize(A, rtol=rtol)
        assert found.converged
        assert off(found.x, U) <= found.error_bound <= rtol


def test_the_cheapest_schedule_is_taken_unless_one_is_given():
    A, _ = with_singular_values(log_spectrum(30, 50), 30)
    given = rv.newton_schulz.schedule(1e-2, degree=3, steps=9)
    found = rv.orthogonalize(A, schedule=given, rtol=1e-3)
    assert found.iterations <= 9
    assert found.lower == 1e-2
    assert rv.orthogonalize(A, lower=0.5 / 50, rtol=1e-3).products < rv.orthogonalize(A, rtol=1e-3).products


def test_too_few_products_are_said_to_be_so():
    A, _ = with_singular_values(log_spectrum(30, 1e4), 30)
    with pytest.warns(rv.ConvergenceWarning):
        found = rv.orthogonalize(A, products=6, rtol=1e-8)
    assert found.status is rv.Status.MAX_ITERATIONS
    assert found.products <= 6 + 4  # scaling and the certificate besides


def test_below_attainable_accuracy_it_stagnates_at_it():
    A, _ = with_singular_values(log_spectrum(30, 10), 30)
    with pytest.warns(rv.ConvergenceWarning, match="float64"):
        found = rv.polar(A, rtol=0)
    assert found.status is rv.Status.STAGNATED
    assert found.relative_residual <= 1e-14


@pytest.mark.parametrize("smallest", [0.3, 0.1, 1e-2, 1e-4, 1e-6])
def test_one_small_singular_value_among_many_is_not_left_behind(smallest):
    """The residual of all hardly shows it, and falls slowly while it grows."""
    n = 200
    A, U = with_singular_values(np.append(np.full(n - 1, 1.0), smallest), n)
    schedule = rv.newton_schulz.schedule(0.5, degree=5, tolerance=1e-4)
    found = rv.polar(A, schedule=schedule, rtol=1e-8)
    assert found.converged
    np.testing.assert_allclose(found.U, U, atol=1e-6)


def test_a_schedule_that_ends_far_from_one_is_gone_on_from():
    A, U = with_singular_values(log_spectrum(100, 1e5), 100)
    found = rv.orthogonalize(A, schedule=rv.newton_schulz.preset("muon"), rtol=1e-8)
    assert found.converged
    np.testing.assert_allclose(found.x, U, atol=1e-7)


def test_single_precision_reaches_its_default_tolerance():
    A = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
    assert rv.polar(A).converged


def test_callback_and_maxiter():
    A, _ = with_singular_values(log_spectrum(30, 1e3), 30)
    seen = []
    rv.polar(A, callback=lambda told: seen.append(told.iteration), rtol=1e-8)
    assert seen == list(range(1, len(seen) + 1))
    with pytest.warns(rv.ConvergenceWarning):
        assert rv.polar(A, maxiter=2).iterations == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"A": np.ones(3)}, "A: found shape"),
        ({"A": sparse.eye_array(3)}, "A: found a sparse matrix"),
        ({"A": np.array([[1.0, np.nan]])}, "A: has NaN entries"),
        ({"A": np.array([[np.inf, 1.0]])}, "A: has infinite entries"),
        ({"A": np.stack([np.eye(2), np.full((2, 2), np.nan)])}, r"in matrix \(1,\)"),
        ({"A": np.eye(2), "lower": 0.0}, "lower: found 0.0"),
        ({"A": np.eye(2), "lower": 1.5}, "lower: found 1.5"),
        ({"A": np.eye(2), "side": "up"}, "side: found 'up'"),
        ({"A": np.eye(2), "scaling": "none"}, "scaling: found 'none'"),
        ({"A": np.eye(2), "products": 0}, "products: found 0"),
        ({"A": np.eye(2), "atol": 1e-3}, "atol"),
        ({"A": np.eye(2), "precision": rv.Precision("bf16", policy="op")}, "precision: found the policy"),
    ],
)
def test_bad_input(arguments, said):
    with pytest.raises((ValueError, TypeError), match=said):
        rv.polar(**arguments)


def test_objects_are_refused():
    with pytest.raises(TypeError):
        rv.polar(np.array([["a"]]))


# Floors: measured with emulated storage and a converged schedule, orthogonality and polar error apart.
@pytest.mark.parametrize(
    ("precision", "orthogonality", "polar"),
    [("bf16", 4.5e-3, 1e-2), ("fp16", 5e-4, 1e-3), ("float32", 3e-7, 4e-6), ("float64", 6e-16, 2e-14)],
)
@pytest.mark.parametrize("n", [128, 256])
def test_precision_floors(precision, orthogonality, polar, n):
    A = np.random.default_rng(0).standard_normal((n, n))
    U = scipy.linalg.polar(A)[0]
    with pytest.warns(rv.ConvergenceWarning):
        found = rv.orthogonalize(A, rtol=0, precision=precision)
    assert found.status is rv.Status.STAGNATED
    assert found.orthogonality <= 3 * orthogonality
    assert off(found.x, U) <= 3 * polar


@pytest.mark.parametrize("shape", [(40, 6, 4), (40, 12, 3)], ids=["", "Gram form"])
@pytest.mark.parametrize("backend", [None, "numpy"])
def test_matrices_that_were_done_take_more_steps_when_the_certificate_wants_them(shape, backend):
    """U may be as orthogonal as asked for, and U H further from A, where large singular values are off the most."""
    A = np.random.default_rng(0).standard_normal(shape)
    for rtol in np.logspace(-2, -4, 21):
        found = rv.polar(A, rtol=rtol, backend=backend)
        assert found.converged, (rtol, found.relative_residual)


def test_what_flips_signs_gives_no_polar_factor():
    """||A - U H|| does not see it: U would be orthonormal, and H of one eigenvalue below zero."""
    flipping = rv.newton_schulz.preset("aol", allow_sign_flip=True)
    A = np.diag(np.geomspace(1, 0.1, 8))
    with pytest.raises(rv.InputError, match=r"schedule: it takes the singular value .* to a negative one"):
        rv.polar(A, schedule=flipping, rtol=0.3)
    assert rv.orthogonalize(A, schedule=flipping, rtol=0.3).U.shape == (8, 8)
