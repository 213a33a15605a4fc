"""Every method for F(z) = 0: orders, structures, precisions, an estimated L, and bad input."""

import math
import warnings

import numpy as np
import pytest

import resolvent as rv
from resolvent.solvers.driver.status import Cause, Status

ALL = list(rv.MONOTONE_METHODS)
ANCHORED = ["feg", "eag_c", "eag_v", "accelerated_optimistic"]


def order(found, low):
    """The p of ||F(z_k)|| ~ k^-p, fitted to the largest of each doubling of k from ``low`` on."""
    k = low * 2.0 ** np.arange(int(np.log2((len(found) - 1) / low)))
    return -np.polyfit(np.log(k), [np.log(found[int(j) : int(2 * j)].max()) for j in k], 1)[0]


@pytest.mark.parametrize("method", ANCHORED)
@pytest.mark.parametrize("seed", [None, 0])
def test_squared_residuals_fall_like_the_square_of_iterations(affine, bilinear, residuals, method, seed):
    F, z0, L = bilinear, np.array([1.0, 0.0]), 1.0
    if seed is not None:
        F, z0 = affine(seed, rank=0), np.zeros(20)
        L = F.lipschitz
    found = residuals(F, z0, 1600, lipschitz=L, method=method)
    assert order(found, 100) == pytest.approx(1.0, abs=0.12)


@pytest.mark.parametrize("method", ["extragradient", "optimistic"])
def test_without_an_anchor_they_fall_like_iterations_at_best(residuals, method):
    """Rotations of ever smaller speed."""
    speeds = np.geomspace(1e-3, 1, 200)

    def F(z):
        return np.concatenate((speeds * z[200:], -speeds * z[:200]))

    z0 = np.concatenate((np.ones(200), np.zeros(200)))
    plain = residuals(F, z0, 1000, lipschitz=1.0, method=method)
    anchored = residuals(F, z0, 1000, lipschitz=1.0, method="feg")
    assert order(anchored, 20) > 0.88
    assert order(plain, 20) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("method", "evaluations"), [("feg", 900), ("eag_v", 2107), ("accelerated_optimistic", 1133)])
def test_restarts_on_a_skew_system(affine, method, evaluations):
    """They take a third of the evaluations, as documented."""
    F = affine(0, n=30, rank=0)
    keywords = {"lipschitz": F.lipschitz, "method": method, "rtol": 1e-3, "maxiter": 10000}
    plain = rv.extragradient(F, np.zeros(30), **keywords)
    found = rv.extragradient(F, np.zeros(30), restart_at=0.2, **keywords)
    assert found.converged
    assert found.evaluations == pytest.approx(evaluations, rel=0.1)
    assert found.evaluations < 0.4 * plain.evaluations


@pytest.mark.parametrize("method", ALL)
def test_an_F_that_returns_its_own_argument(method):
    parameters = {"restart_at": 0.3} if method in ANCHORED else {}
    z0 = np.ones(3)
    found = rv.extragradient(lambda z: z, z0, lipschitz=np.float32(1), method=method, rtol=1e-6, **parameters)
    assert found.converged
    np.testing.assert_array_equal(z0, 1)


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("dtype", ["float64", "complex128", "float32", "complex64"])
@pytest.mark.parametrize("known", [True, False])
def test_every_method_in_every_precision(affine, method, dtype, known):
    F = affine(7, n=8, strong=0.5, dtype=dtype)
    parameters = {"restart_at": 0.3} if method in ANCHORED else {}
    found = rv.extragradient(
        F,
        np.zeros(8, dtype),
        lipschitz=F.lipschitz if known else None,
        method=method,
        rtol=1e-4,
        maxiter=20000,
        **parameters,
    )
    assert found.converged
    assert found.x.dtype == dtype
    assert np.linalg.norm(F(found.x)) <= 1.01e-4 * np.linalg.norm(F(np.zeros(8, dtype)))
    assert ("was estimated" in found.reason) is not known


@pytest.mark.parametrize("method", ALL)
def test_evaluations_are_counted(affine, method):
    F, count = affine(1, strong=1.0), 0

    def counted(z):
        nonlocal count
        count += 1
        return F(z)

    found = rv.extragradient(counted, np.zeros(20), lipschitz=F.lipschitz, method=method, maxiter=40, rtol=0.5)
    assert found.evaluations == count
    each = rv.MONOTONE_METHODS[method].evaluations
    assert count == 1 + each * found.iterations - (method in ("feg", "two_timescale"))


@pytest.mark.parametrize("method", ALL)
def test_pairs_of_arrays(method):
    """The saddle point of x^T A y - b^T x + c^T y + (||x||^2 - ||y||^2) / 4."""
    rng = np.random.default_rng(2)
    A, b, c = rng.standard_normal((4, 3)), rng.standard_normal(4), rng.standard_normal(3)
    found = rv.extragradient(
        lambda z: (A @ z[1] - b + z[0] / 2, -A.T @ z[0] - c + z[1] / 2),
        (np.zeros(4), np.zeros(3)),
        method=method,
        rtol=1e-3,
        **({"restart_at": 0.3} if method in ANCHORED else {}),
    )
    assert found.converged
    x, y = found.x
    K = np.block([[np.eye(4) / 2, A], [-A.T, np.eye(3) / 2]])
    np.testing.assert_allclose(np.concatenate((x, y)), np.linalg.solve(K, np.concatenate((b, c))), atol=1e-2)


def test_dicts_and_torch():
    torch = pytest.importorskip("torch")
    found = rv.extragradient(
        lambda z: {"x": z["y"] + z["x"], "y": z["y"] - z["x"]},
        {"x": torch.ones(2, dtype=torch.float64), "y": torch.zeros(2, dtype=torch.float64)},
        method="extragradient",
        rtol=1e-8,
    )
    assert found.converged
    assert isinstance(found.x["x"], torch.Tensor)
    assert float(found.x["x"].abs().max()) < 1e-7


def test_array_api(affine):
    xp = pytest.importorskip("array_api_strict")
    F = affine(5, strong=0.5)
    A, zero = xp.asarray(F.A), xp.asarray(F.zero)
    found = rv.extragradient(lambda z: A @ (z - zero), xp.zeros(20), method="eag_v", restart_at=0.3, rtol=1e-6)
    assert found.converged
    np.testing.assert_allclose(np.asarray(found.x), F.zero, atol=1e-4)


def test_the_anchored_methods_tend_to_the_nearest_zero():
    A = np.zeros((4, 4))
    A[:2, :2] = [[0, 1], [-1, 0]]
    z0 = np.array([1.0, 2.0, 3.0, 4.0])
    found = rv.extragradient(lambda z: A @ z, z0, method="feg", rtol=3e-3)
    assert found.converged
    np.testing.assert_allclose(found.x, [0, 0, 3, 4], atol=2e-2)


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("seed", range(3))
def test_an_estimate_is_at_most_a_quarter_above_what_F_shows(affine, method, seed):
    """And costs little: one evaluation, and those of the iterations that are done again."""
    from resolvent.solvers.driver.iterate import iterate
    from resolvent.solvers.driver.stopping import Options
    from resolvent.solvers.monotone.problem import MonotoneProblem

    F = affine(seed, strong=0.5)
    problem, kind = MonotoneProblem(F, np.zeros(20)), rv.MONOTONE_METHODS[method]
    found = iterate(problem, kind(), Options(rtol=1e-1, maxiter=3000))
    assert 0.5 * F.lipschitz <= problem.lipschitz <= 1.25 * F.lipschitz
    assert found.evaluations <= kind.evaluations * (found.iterations + 6) + 8


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("exponent", [-4, 4])
def test_an_estimate_follows_F_that_steepens(method, exponent):
    """F(z) = z + z^3 - 30 from 0, where it is thirty times as flat as at its zero 3; in very small or large units."""
    unit = 10.0**exponent
    parameters = {"restart_at": 0.3} if method in ANCHORED else {}
    found = rv.extragradient(
        lambda z: z / unit + (z / unit) ** 3 - 30, np.zeros(3), method=method, rtol=1e-3, **parameters
    )
    assert found.converged
    assert found.evaluations < 600
    np.testing.assert_allclose(found.x, 3 * unit, rtol=2e-3)


@pytest.mark.parametrize("method", ALL)
def test_leaving_the_domain_of_F_is_stepped_back_from(method):
    """A first step from 8 on, where log is flat, goes below 0."""
    parameters = {"restart_at": 0.3} if method in ANCHORED else {}
    found = rv.extragradient(np.log, np.full(2, 8.0), method=method, rtol=1e-3, **parameters)
    assert found.converged
    np.testing.assert_allclose(found.x, 1, rtol=4e-3)


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize(("outer", "inner"), [(2.0**400, 1.0), (1.0, 2.0**400), (2.0**-500, 2.0**-200)])
def test_units_change_no_iterate(affine, method, outer, inner):
    """F and z each in units whose squares leave the range."""
    F, z0 = affine(3), np.ones(20)
    keywords = {"method": method, "maxiter": 30, "rtol": 1e-9}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        wanted = rv.extragradient(F, z0, lipschitz=F.lipschitz, **keywords)
        found = rv.extragradient(
            lambda z: outer * F(z / inner), inner * z0, lipschitz=F.lipschitz * outer / inner, **keywords
        )
    np.testing.assert_allclose(found.x / inner, wanted.x, rtol=1e-12)
    assert "To stay in range, " in found.reason
    assert "which changes no digit" in found.reason
    assert found.residual_norm == pytest.approx(outer * wanted.residual_norm, rel=1e-12)


@pytest.mark.parametrize("precision", ["bf16", "fp16", "tf32"])
def test_low_precision(affine, precision):
    F = affine(4, n=6, strong=1.0)
    found = rv.extragradient(
        F, np.zeros(6), lipschitz=F.lipschitz, method="extragradient", rtol=0.1, precision=precision
    )
    assert found.converged
    assert np.linalg.norm(F(found.x)) <= 0.101 * np.linalg.norm(F(np.zeros(6)))


@pytest.mark.parametrize("precision", ["fp16", "fp8_e4m3"])
@pytest.mark.parametrize("method", ["feg", "extragradient", "optimistic"])
def test_narrow_ranges_hold_an_F_of_any_size(affine, precision, method):
    """Whose L is estimated before z is put into units, so that these fit even where z0 is 0."""
    F = affine(4, n=6, strong=1.0)
    keywords = {"method": method, "rtol": 0.3, "precision": precision}
    wanted = rv.extragradient(F, np.zeros(6), **keywords)
    found = rv.extragradient(lambda z: 2.0**40 * F(z), np.zeros(6), **keywords)
    assert found.converged
    np.testing.assert_array_equal(found.x, wanted.x)


def test_an_F_that_raises_far_away_is_stepped_back_from():
    def F(z):
        if abs(z) > 4:
            raise OverflowError("too far")
        return z - 3.0

    found = rv.extragradient(F, 0.0, method="extragradient", rtol=1e-6)
    assert found.converged
    assert found.x == pytest.approx(3.0, abs=1e-5)


def test_what_rounding_allows_is_not_looped_on(affine):
    F = affine(4, n=6, strong=1.0, dtype="float32")
    with pytest.warns(rv.ConvergenceWarning, match="can do no better"):
        found = rv.extragradient(F, np.zeros(6, "float32"), lipschitz=F.lipschitz, method="extragradient", rtol=1e-12)
    assert found.status is Status.STAGNATED
    assert found.iterations < 5000


def test_noise_ends_it():
    rng = np.random.default_rng(3)
    with pytest.warns(rv.ConvergenceWarning, match="F varies from one call to the next"):
        found = rv.extragradient(
            lambda z: z + 1e-4 * rng.standard_normal(5), np.ones(5), lipschitz=1.0, method="extragradient", rtol=1e-9
        )
    assert found.cause is Cause.NOISE


def test_an_L_that_is_too_small_diverges_and_says_so(bilinear):
    with pytest.warns(rv.ConvergenceWarning, match="lipschitz large enough"):
        found = rv.extragradient(bilinear, np.ones(2), lipschitz=0.2, method="extragradient", stepsize=0.9)
    assert found.status is Status.DIVERGED
    assert np.all(np.isfinite(found.x))


def test_a_zero_to_begin_with(bilinear):
    found = rv.extragradient(bilinear, np.zeros(2))
    assert found.converged
    assert (found.iterations, found.evaluations) == (0, 1)


def test_a_warm_start_in_absolute_terms(affine):
    F = affine(1, strong=0.5)
    first = rv.extragradient(F, np.zeros(20), method="extragradient", rtol=1e-6)
    again = rv.extragradient(F, first.x, method="extragradient", rtol=0, atol=first.residual_norm)
    assert (again.iterations, again.converged) == (0, True)


def test_F_that_is_nowhere_finite():
    with pytest.warns(rv.ConvergenceWarning, match=r"F\(z0\) is NaN or infinite: begin at another z0"):
        assert rv.extragradient(lambda z: z * math.nan, np.ones(2)).status is Status.DIVERGED
    with pytest.warns(rv.ConvergenceWarning, match="F was not finite at the next point"):
        rv.extragradient(lambda z: np.where(z == 1, z, np.nan), np.ones(2))


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"lipschitz": 0}, "lipschitz: found 0; wanted a finite number above 0"),
        ({"lipschitz": math.inf}, "lipschitz: found inf"),
        ({"lipschitz": "1"}, "lipschitz: found '1'"),
        ({"method": "newton"}, "method: found 'newton'; wanted one of feg, eag_c"),
        ({"stepsize": 0.5}, "stepsize: feg has no such parameter; it has .*comonotone"),
        ({"restart_at": 1.0}, r"restart_at: found 1\.0; wanted a number in \(0, 1\)"),
    ],
)
def test_bad_arguments_are_named(bilinear, keywords, said):
    with pytest.raises(rv.InputError, match=said):
        rv.extragradient(bilinear, np.ones(2), **keywords)


def test_bad_functions_are_named():
    with pytest.raises(TypeError, match="F: found float; wanted a callable"):
        rv.extragradient(1.0, np.ones(2))
    with pytest.raises(rv.InputError, match=r"F: its value has shape \(3,\); wanted \(2,\), the shape of z0"):
        rv.extragradient(lambda z: np.ones(3), np.ones(2))
    with pytest.raises(rv.InputError, match="z0: has NaN entries"):
        rv.extragradient(lambda z: z, np.array([np.nan]))
