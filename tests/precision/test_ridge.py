"""Ridges: the promised condition number, of the matrix as it is stored, by eigenvalues in fifty digits."""

import mpmath
import numpy as np
import pytest

from resolvent.precision import (
    condition_limit,
    frobenius_ridge,
    ridge_effect,
    ridge_for_condition,
    wolkowicz_styan,
)

METHODS = ("exact", "guaranteed")


def with_spectrum(values, seed=0, dtype=np.float64):
    n = len(values)
    Q = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]
    H = ((Q * values) @ Q.T).astype(dtype)
    return (H + H.T) / 2


def true_condition(H):
    """lambda_max / lambda_min of a stored matrix, in fifty digits."""
    with mpmath.workdps(50):
        values = mpmath.eigsy(mpmath.matrix(np.asarray(H, dtype=np.float64).tolist()), eigvals_only=True)
        smallest, largest = min(values), max(values)
        assert smallest > 0
        return float(largest / smallest)


SPECTRA = {
    "geometric": np.geomspace(1e-9, 1, 8),
    "semidefinite": np.array([0, 0, 0, 0, 1.0, 2, 3, 4]),
    "rank one": np.array([0.0] * 7 + [1e4]),
    "slightly negative": np.array([-1e-16, 1e-12, 1e-3, 0.1, 0.2, 0.3, 0.5, 1.0]) * 1e-3,
    "two clusters": np.array([1e-7] * 4 + [1.0] * 4),
    "well conditioned": np.linspace(1, 2, 8),
    "large": np.geomspace(1e-9, 1, 8) * 1e30,
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kappa_max", [1.01, 16.0, 256.0, 2048.0, 1e4])
@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("method", METHODS)
def test_promise_holds_for_the_stored_matrix(method, spectrum, kappa_max, dtype):
    H = with_spectrum(SPECTRA[spectrum], dtype=dtype)
    ridge = ridge_for_condition(H, kappa_max, method)
    assert ridge.dtype == dtype
    # The sum is rounded when it is stored, which shows where the ridge is much larger than H.
    assert true_condition(H + ridge * np.eye(8, dtype=dtype)) <= kappa_max * (1 + 2 * np.finfo(dtype).eps)


@pytest.mark.parametrize("kappa_max", [2.0, 256.0, 1e4])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_exact_ridge_is_the_smallest(spectrum, kappa_max):
    """Against the closed form: larger by no more than the margin for rounding."""
    values = SPECTRA[spectrum]
    wanted = max(0.0, (values[-1] - kappa_max * values[0]) / (kappa_max - 1))
    found = ridge_for_condition(with_spectrum(values), kappa_max)
    assert wanted <= found <= wanted + 40 * 2.0**-53 * np.abs(values).max() * kappa_max / (kappa_max - 1)


def test_exact_ridge_lands_on_the_limit():
    H = with_spectrum(np.geomspace(1e-9, 1, 50))
    for kappa_max in (256.0, 2048.0, 1e4):
        ridge = ridge_for_condition(H, kappa_max)
        assert np.linalg.cond(H + ridge * np.eye(50)) == pytest.approx(kappa_max, rel=1e-9)


def test_no_ridge_where_none_is_needed():
    assert ridge_for_condition(np.diag([1.0, 2.0]), 2.001) == 0
    assert ridge_for_condition(np.diag([1.0, 2.0]), 2.0) < 2e-15  # the margin
    assert ridge_for_condition(np.diag([1.0, 2.0]), 1.5) == pytest.approx(1.0, rel=1e-14)  # (2 + 1) / (1 + 1)


@pytest.mark.parametrize(
    ("H", "bound"),
    [
        (np.ones((4, 4)), 4.0),  # all three agree
        (np.diag([3.0, 4.0, 0, 0]), 4.0),  # row sums
        (np.diag([1.0, 1, 1, 1]), 1.0),  # row sums and Wolkowicz & Styan; Frobenius gives 2
        (np.array([[2.0, 1, 1], [1, 0, 0], [1, 0, 0]]), 8**0.5),  # Frobenius; row sums 4, the trace 1 + sqrt(...) more
    ],
)
def test_guaranteed_ridge_takes_the_least_bound(H, bound):
    others = [np.abs(H).sum(1).max(), np.linalg.norm(H), wolkowicz_styan(np.trace(H), (H**2).sum(), len(H)).largest_to]
    assert min(others) == pytest.approx(min(bound, min(others)), rel=1e-7)
    assert ridge_for_condition(H, 11.0, "guaranteed") == pytest.approx(min(others) / 10, rel=1e-7)


def test_wolkowicz_styan_is_used():
    """Eigenvalues 1 (nine times) and 2 in random directions: its bound is 2, the others are 2.6 and more."""
    H = with_spectrum(np.array([1.0] * 9 + [2.0]))
    assert min(np.abs(H).sum(1).max(), np.linalg.norm(H)) > 2.1
    assert ridge_for_condition(H, 3.0, "guaranteed") == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_zero_matrix(method):
    for dtype in (np.float64, np.float32):
        ridge = ridge_for_condition(np.zeros((3, 3), dtype), 256.0, method)
        assert ridge == np.finfo(dtype).smallest_normal
        assert np.linalg.cond(ridge * np.eye(3)) == 1
    stack = np.stack([np.zeros((3, 3)), np.diag([1.0, 1.0, 0.0])])
    found = ridge_for_condition(stack, 11.0, method)
    assert 0 < found[0] < 1e-300
    assert found[1] == pytest.approx(0.1, rel=1e-13)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [1, 2, 30])
def test_rank_one_and_tiny_orders(method, n):
    v = np.random.default_rng(n).standard_normal(n)
    H = np.outer(v, v)
    ridge = ridge_for_condition(H, 100.0, method)
    if n > 1:
        assert ridge == pytest.approx(v @ v / 99, rel=1e-12)
    assert ridge_effect(H, ridge).condition <= 100 * (1 + 1e-12)


def test_indefinite_matrices_by_the_exact_ridge():
    H = np.diag([-1.0, 0.5, 2.0])
    ridge = ridge_for_condition(H, 10.0)
    assert ridge == pytest.approx(12 / 9, rel=1e-14)
    assert np.linalg.cond(H + ridge * np.eye(3)) == pytest.approx(10, rel=1e-13)


def test_hermitian_matrices():
    rng = np.random.default_rng(4)
    B = rng.standard_normal((6, 6)) + 1j * rng.standard_normal((6, 6))
    H = B @ B.conj().T
    for method in METHODS:
        ridge = ridge_for_condition(H, 5.0, method)
        assert ridge.dtype == np.float64
        assert np.linalg.cond(H + ridge * np.eye(6)) <= 5 * (1 + 1e-13)
    assert ridge_for_condition(H.astype(np.complex64), 5.0).dtype == np.float32


# Batches and libraries ----------------------------------------------------------------------------------------------


def stack(dtype=np.float64):
    rng = np.random.default_rng(9)
    B = rng.standard_normal((2, 3, 7, 4))
    return (B @ np.swapaxes(B, -1, -2)).astype(dtype)


@pytest.mark.parametrize("method", METHODS)
def test_batches_are_done_one_by_one(method):
    H = stack()
    together = ridge_for_condition(H, 300.0, method)
    assert together.shape == (2, 3)
    for index in np.ndindex(2, 3):
        assert together[index] == pytest.approx(ridge_for_condition(H[index], 300.0, method), rel=1e-13)
        assert frobenius_ridge(H)[index] == pytest.approx(0.02 * np.linalg.norm(H[index]), rel=1e-14)
        assert ridge_effect(H, together).condition[index] <= 300 * (1 + 1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_torch(method, dtype):
    torch = pytest.importorskip("torch")
    H = stack(dtype)
    found = ridge_for_condition(torch.from_numpy(H), 300.0, method)
    assert isinstance(found, torch.Tensor)
    assert found.dtype == getattr(torch, dtype)
    rel = 1e-4 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(found.numpy(), ridge_for_condition(H, 300.0, method), rtol=rel)
    np.testing.assert_allclose(frobenius_ridge(torch.from_numpy(H), 0.1), frobenius_ridge(H, 0.1), rtol=rel)
    effect = ridge_effect(torch.from_numpy(H), found)
    assert isinstance(effect.condition, torch.Tensor)
    # The ridges of a rank-deficient H are linear in it: derivatives come through.
    leaf = torch.from_numpy(H).requires_grad_()
    ridge = ridge_for_condition(leaf, 300.0, method).sum()
    ridge.backward()
    assert (leaf.grad * leaf).sum().item() == pytest.approx(ridge.item(), rel=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_array_api_standard(method):
    xp = pytest.importorskip("array_api_strict")
    H = stack()
    found = ridge_for_condition(xp.asarray(H), 300.0, method)
    np.testing.assert_allclose(np.asarray(found), ridge_for_condition(H, 300.0, method), rtol=1e-12)
    np.testing.assert_allclose(np.asarray(frobenius_ridge(xp.asarray(H))), frobenius_ridge(H), rtol=1e-14)
    effect = ridge_effect(xp.asarray(H), 1.0)
    np.testing.assert_allclose(np.asarray(effect.condition), ridge_effect(H, 1.0).condition, rtol=1e-12)


# What a ridge does --------------------------------------------------------------------------------------------------


def test_effect_against_solutions():
    rng = np.random.default_rng(11)
    H = with_spectrum(np.geomspace(1e-3, 1, 10))
    for ridge in (0.0, 1e-4, 1e-2, 1.0):
        effect = ridge_effect(H, ridge)
        assert effect.condition == pytest.approx(np.linalg.cond(H + ridge * np.eye(10)), rel=1e-10)
        assert effect.bias_bound == pytest.approx(ridge / (ridge + 1e-3), rel=1e-10)
        for x in rng.standard_normal((20, 10)):
            biased = np.linalg.solve(H + ridge * np.eye(10), H @ x)
            assert np.linalg.norm(biased - x) <= effect.bias_bound * np.linalg.norm(x) * (1 + 1e-9) + 1e-12
        x = np.linalg.eigh(H)[1][:, 0]
        biased = np.linalg.solve(H + ridge * np.eye(10), H @ x)
        assert np.linalg.norm(biased - x) == pytest.approx(effect.bias_bound, rel=1e-9, abs=1e-12)


def test_effect_that_is_not_definite():
    effect = ridge_effect(np.diag([-2.0, 1.0]), np.array(1.0))
    assert np.isinf(effect.condition)
    assert np.isinf(effect.bias_bound)
    assert (effect.smallest, effect.largest) == (-2, 1)
    np.testing.assert_array_equal(ridge_effect(np.zeros((2, 3, 3)), 1.0).condition, np.ones(2))


@pytest.mark.parametrize("a", [0.01, 0.02, 0.1])
def test_frobenius_rule(a):
    for values in ([1.0] + [0.0] * 9, np.geomspace(1e-6, 1, 10), np.ones(10)):
        H = with_spectrum(np.sort(values)) * 1e200  # whose square overflows
        ridge = frobenius_ridge(H, a)
        assert ridge == pytest.approx(a * 1e200 * np.linalg.norm(values), rel=1e-13)
        assert ridge_effect(H, ridge).condition <= (1 + 1 / a) * (1 + 1e-12)
    assert frobenius_ridge(np.zeros((2, 2))) == 0


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_wolkowicz_styan_holds_and_is_attained(n):
    rng = np.random.default_rng(n)
    for _ in range(300):
        values = rng.standard_normal(n) * 10.0 ** rng.uniform(-3, 3, n)
        bounds = wolkowicz_styan(values.sum(), (values**2).sum(), n)
        perturbation = 1e-7 * np.abs(values).max()
        assert bounds.smallest_from - perturbation <= values.min() <= bounds.smallest_to + perturbation
        assert bounds.largest_from - perturbation <= values.max() <= bounds.largest_to + perturbation
    values = np.array([1.0] * (n - 1) + [5.0])  # one eigenvalue apart, upwards, then downwards
    bounds = wolkowicz_styan(values.sum(), (values**2).sum(), n)
    assert bounds.largest_to == pytest.approx(5, rel=1e-12)
    if n > 1:
        assert bounds.smallest_to == pytest.approx(1, rel=1e-12)
        bounds = wolkowicz_styan(-values.sum(), (values**2).sum(), n)
        assert bounds.smallest_from == pytest.approx(-5, rel=1e-12)
        assert bounds.largest_from == pytest.approx(-1, rel=1e-12)


def test_wolkowicz_styan_of_arrays():
    H = stack()
    bounds = wolkowicz_styan(np.trace(H, axis1=-2, axis2=-1), (H**2).sum((-2, -1)), 7)
    values = np.linalg.eigvalsh(H)
    assert (bounds.largest_from <= values[..., -1]).all()
    assert (values[..., -1] <= bounds.largest_to).all()


def test_condition_limits_of_formats():
    limits = {"e4m3": 16, "bf16": 256, "fp16": 2048, "tf32": 2048, "fp32": 2.0**24, "fp64": 2.0**53, "fp8_e5m2": 8}
    for name, limit in limits.items():
        assert condition_limit(name) == limit
        assert condition_limit(name, c=0.25) == 4 * limit


# Bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kappa_max", [1.0, 0.5, -3.0, np.inf, np.nan])
@pytest.mark.parametrize("method", METHODS)
def test_impossible_condition_numbers(kappa_max, method):
    with pytest.raises(ValueError, match=r"kappa_max: found .*; wanted a finite number greater than 1"):
        ridge_for_condition(np.eye(2), kappa_max, method)


@pytest.mark.parametrize(
    ("H", "said"),
    [
        (np.ones(3), r"H: found shape \(3,\); wanted square matrices"),
        (np.ones((2, 3)), r"H: found shape \(2, 3\)"),
        (np.ones((0, 0)), r"H: found shape \(0, 0\)"),
        (np.array([[1.0, np.nan], [np.nan, 1.0]]), "H: found NaN or infinity"),
        (np.array([[1.0, 2.0], [0.0, 1.0]]), "not Hermitian"),
        (np.array([[1.0, 1j], [1j, 1.0]]), "not Hermitian"),
    ],
)
def test_what_is_no_hermitian_matrix(H, said):
    for call in (lambda: ridge_for_condition(H, 2.0), lambda: ridge_effect(H, 1.0), lambda: frobenius_ridge(H)):
        with pytest.raises(ValueError, match=said):
            call()


def test_other_bad_arguments():
    with pytest.raises(TypeError, match="H: found dtype float16"):
        ridge_for_condition(np.eye(2, dtype=np.float16), 2.0)
    with pytest.raises(ValueError, match="method: found 'fast'"):
        ridge_for_condition(np.eye(2), 2.0, "fast")
    with pytest.raises(ValueError, match="a: found 0"):
        frobenius_ridge(np.eye(2), 0)
    with pytest.raises(ValueError, match="n: found 0"):
        wolkowicz_styan(1.0, 1.0, 0)
    with pytest.raises(ValueError, match="c: found -1"):
        condition_limit("bf16", c=-1)
    with pytest.raises(ValueError, match="format: found 'bf17'"):
        condition_limit("bf17")
    assert ridge_for_condition([[2, 0], [0, 4]], 3.0) == 0
