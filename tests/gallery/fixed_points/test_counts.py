"""Published counts of evaluations, by Anderson's method and by plain iteration as they are written here."""

import dataclasses

import numpy as np
import pytest
from scipy.linalg import qr_delete

from resolvent.gallery.fixed_points import (
    absolute_value,
    bradley_terry,
    by_name,
    constant_increments,
    cosine,
    cyclic_permutation,
    kelley_h,
    kinsol_3d,
    mixture_means,
    reflection,
    risk_parity,
    roberts_step,
    symmetric_spectrum,
    toth_kelley,
)


def dropped(Q, R):
    """The factors without the first column."""
    m = R.shape[1] - 1
    if not m:
        return Q[:, :0], R[:0, :0]
    Q, R = qr_delete(Q, R, 0, which="col", overwrite_qr=True, check_finite=False)
    return Q[:, :m], R[:m]


def added(Q, R, d):
    """The factors with one more column, orthogonalised twice."""
    first = Q.T @ d
    d = d - Q @ first
    second = Q.T @ d
    d = d - Q @ second
    size = np.linalg.norm(d)
    R = np.block([[R, (first + second)[:, None]], [np.zeros((1, len(R))), size]])
    return np.vstack([Q.T, d / size]).T, R  # columns in one piece, which is faster


def anderson(problem, depth=30, most=1e6, tolerance=None, limit=2000):
    """Type II without damping; the oldest difference is dropped while the condition of R is above ``most``.

    Returns the residuals, one per evaluation, until the last is below the tolerance, or no number.
    """
    x, before, residuals = problem.x0, None, []
    Q, R, G = np.empty((x.size, 0)), np.empty((0, 0)), np.empty((x.size, 0))
    while len(residuals) < limit:
        y = problem.g(x)
        f = y - x
        residuals.append(problem.size(f))
        if not residuals[-1] >= (problem.tolerance if tolerance is None else tolerance):
            return residuals
        if before is not None and (f != before[1]).any():
            if R.shape[1] == min(depth, x.size):
                Q, R = dropped(Q, R)
            Q, R = added(Q, R, f - before[1])
            G = np.vstack([G.T, y - before[0]]).T
            while R.shape[1] > 1 and np.linalg.cond(R) > most:
                Q, R = dropped(Q, R)
            G = G[:, G.shape[1] - R.shape[1] :]
        before = y, f
        x = y - G @ np.linalg.solve(R, Q.T @ f)
    return residuals


def picard(problem, limit=10_000, size=None):
    x, size = problem.x0, size or problem.size
    for k in range(1, limit):
        y = problem.g(x)
        if size(y - x) < problem.tolerance:
            return k
        x = y
    return None


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("hasselblad", 23),
        ("exchange_economy", 7),
        ("normal_mixture", 32),
        ("power_iteration", 14),
        ("linear_diagonal", 77),
        pytest.param("poisson_gauss_seidel", 286, marks=pytest.mark.slow),
        pytest.param("poisson_sor", 376, marks=pytest.mark.slow),
        pytest.param("poisson_jacobi", 768, marks=pytest.mark.slow),
        pytest.param("bratu", 865, marks=pytest.mark.slow),
    ],
)
def test_depth_thirty(name, count):
    problem = by_name(name)
    assert len(anderson(problem)) == count
    # which two independent programs found
    assert count in (problem.published["anderson_fpa"], problem.published["anderson"])


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("hasselblad", 2167),
        ("exchange_economy", 8),
        ("normal_mixture", 429),
        ("power_iteration", 34),
        ("linear_diagonal", 825),
        ("kinsol_3d", 5),
        ("roberts_step", 52),
        ("absolute_value", 105),
        ("kelley_h", 74),
        ("constant_increments", 51),
        ("reflection", None),
        ("rotation", None),
        ("logistic", None),
    ],
)
def test_plain_iteration(name, count):
    problem = by_name(name)
    assert picard(problem) == count
    assert problem.published.get("picard", count) == count


def test_h_equation():
    problem = kelley_h()
    counts = [len(anderson(problem, depth, np.inf)) for depth in range(1, 7)]
    assert counts == [11, 10, 10, 11, 12, 12] == [problem.published[f"anderson_{depth}"] for depth in range(1, 7)]
    residuals = anderson(kelley_h(16), 2, np.inf, 1e-10)
    assert len(residuals) == 12
    assert residuals[-1] == pytest.approx(5.19e-12, rel=1e-2)


def test_singular_h_equation():
    problem = kelley_h(c=1.0)
    assert [len(anderson(problem, depth, np.inf)) for depth in range(1, 5)] == [21, 16, 16, 21]
    assert picard(problem, 2000) is None


def test_residuals_of_toth_and_kelley():
    residuals = anderson(toth_kelley(), 2, np.inf)
    published = [6.50111e-1, 4.48661e-1, 2.61480e-2, 7.25389e-2, 1.53107e-4, 1.18513e-5, 1.82466e-8, 1.04725e-13]
    assert len(residuals) == toth_kelley().published["anderson_2"]
    np.testing.assert_allclose(residuals[:7], published[:7], rtol=1e-4)
    assert residuals[7] < 1e-12  # a matter of rounding


def test_programs_of_kinsol():
    assert len(anderson(kinsol_3d(), 2)) == kinsol_3d().published["anderson_2"] == 5
    counts = [len(anderson(roberts_step(), depth, np.inf)) for depth in (1, 2)]
    assert counts == [11, 8] == [roberts_step().published[f"anderson_{depth}"] for depth in (1, 2)]
    # 21 there, with other samples of the same distribution
    assert len(anderson(mixture_means(20_000), 3, np.inf)) == pytest.approx(21, abs=4)


def test_sequence_of_the_cosine():
    problem = cosine()
    inputs = []

    def cosine_noted(x):
        inputs.append(float(x[0]))
        return np.cos(x)

    anderson(dataclasses.replace(problem, map=cosine_noted), 1)
    np.testing.assert_allclose(inputs[:4], [1.1, 0.4535961214, 0.7172540330, 0.7406973412], atol=1e-10)


def test_far_start_and_domain():
    assert len(anderson(absolute_value())) <= absolute_value().published["anderson_fpa"]
    # without the absolute value accelerated iterates leave the domain
    assert np.isnan(anderson(absolute_value(guarded=False), limit=6)[-1])


def test_one_difference_or_as_many_as_unknowns_settle_isometries():
    assert len(anderson(reflection(), 1)) == 3
    residuals = anderson(cyclic_permutation(), 7, np.inf)
    assert len(residuals) == 8
    assert residuals[-1] < 1e-14
    assert len(anderson(constant_increments())) == 51  # whose differences are all zero


@pytest.mark.parametrize("kind", ["expansive", "outliers"])
def test_memory_of_all_unknowns_settles_expansive_maps(kind):
    assert len(anderson(symmetric_spectrum(kind), 20, np.inf)) == 22
    with np.errstate(over="ignore", invalid="ignore"):
        assert picard(symmetric_spectrum(kind)) is None


def test_slow_modes_defeat_short_memory():
    problem = symmetric_spectrum("stiff")
    assert len(anderson(problem, 50, np.inf)) < 100
    assert len(anderson(problem, 20, np.inf, limit=1000)) == 1000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("update", "prior", "count"),
    [("newman", False, 14), ("zermelo", False, 278), ("newman", True, 207), ("zermelo", True, 1430)],
)
def test_newman_against_zermelo(update, prior, count):
    problem = bradley_terry(update, prior=prior)
    x, change, sweeps = problem.x0, 1.0, 0
    while change >= 1e-8:
        y = problem.g(x)
        change = np.abs(1 / (1 + np.exp(-y)) - 1 / (1 + np.exp(-x))).max()  # of p / (1 + p)
        x, sweeps = y, sweeps + 1
    assert sweeps == pytest.approx(count, rel=0.1)
    np.testing.assert_allclose(x, problem.solution, atol=1e-4)


def sweeps_of_risk_parity(assets):
    """Until w_i (C w)_i is 1 / n to 1e-6."""
    problem = risk_parity(assets)
    (C,) = problem.map.args
    w, sweeps = problem.x0, 0
    while np.abs(w * (C @ w) - 1 / assets).max() >= 1e-6:
        w, sweeps = problem.g(w), sweeps + 1
    return sweeps


def test_risk_parity():
    assert sweeps_of_risk_parity(5) == risk_parity().published["picard"] == 6


@pytest.mark.slow
@pytest.mark.parametrize("assets", [25, 100, 200])
def test_risk_parity_of_many(assets):
    assert 8 <= sweeps_of_risk_parity(assets) <= 11  # 9 to 10 on average there
