"""Sums of operators: what is counted, that estimates are unbiased, convergence, seeds, and bad input."""

import math

import numpy as np
import pytest

import resolvent as rv
from resolvent.solvers.driver.iterate import iterate
from resolvent.solvers.driver.status import Status
from resolvent.solvers.driver.stopping import Options
from resolvent.solvers.monotone.finite_sum import FiniteSumProblem
from resolvent.solvers.monotone.variance_reduced import VarianceReducedHalpern
from resolvent.solvers.monotone.variance_reduced_resolvent import VarianceReducedResolvent

METHODS = list(rv.FINITE_SUM_METHODS)


class Sum:
    """F_i(z) = A_i z - b_i, positive definite and of one size, with the mean of A_i and L of the mean square."""

    def __init__(self, n, seed=0, size=6, skew=False, spread=0.2, dtype=np.float64):
        rng = np.random.default_rng(seed)
        common = np.diag(np.linspace(0.3, 1, size))
        if skew:
            common = rng.standard_normal((size, size))
            common = (common - common.T) / 2 + 0.2 * np.eye(size)
        parts = spread * rng.standard_normal((n, size, size)) / math.sqrt(size)
        parts = (parts - parts.transpose(0, 2, 1)) if skew else parts @ parts.transpose(0, 2, 1)
        self.A = (common + parts).astype(dtype)
        self.b = rng.standard_normal((n, size)).astype(dtype) + 1
        if np.dtype(dtype).kind == "c":
            self.b = self.b * (1 + 1j)
        self.n, self.size, self.evaluated = n, size, 0
        square = np.einsum("nji,njk->ik", self.A.conj(), self.A).real / n
        self.lipschitz = math.sqrt(np.linalg.norm(square, 2))
        mean = self.A.mean(0)
        if not skew:
            self.cocoercive = float(np.linalg.eigvals(np.linalg.solve((mean + mean.T) / 2, square)).real.max())

    def __call__(self, z, which):
        self.evaluated += len(which)
        return self.A[which].mean(0) @ z - self.b[which].mean(0)

    def full(self, z):
        return self.A.mean(0) @ z - self.b.mean(0)

    def constant(self, method):
        return self.cocoercive if method == "direct" else self.lipschitz


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
def test_both_methods_converge_and_count_components(method, dtype):
    F = Sum(100, dtype=dtype)
    found = rv.variance_reduced_halpern(
        F, np.zeros(6, dtype), count=100, lipschitz=F.constant(method), method=method, rtol=1e-2, maxiter=20000
    )
    assert found.converged
    assert found.x.dtype == dtype
    assert found.evaluations == F.evaluated
    assert np.linalg.norm(F.full(found.x)) <= 1.001e-2 * np.linalg.norm(F.full(np.zeros(6)))
    assert found.residual_norm == pytest.approx(np.linalg.norm(F.full(found.x)), rel=1e-3)


def test_a_skew_sum_needs_resolvents():
    F = Sum(200, skew=True)
    found = rv.variance_reduced_halpern(F, np.zeros(6), count=200, lipschitz=F.lipschitz, rtol=5e-3)
    assert found.converged
    assert "resolvents took" in found.reason
    wanted = np.linalg.solve(F.A.mean(0), F.b.mean(0))
    np.testing.assert_allclose(found.x, wanted, atol=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_iterates_and_no_global_state_is_touched(method):
    F = Sum(50)
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - the one that must not be used

    def run(seed):
        return rv.variance_reduced_halpern(
            F, np.zeros(6), count=50, lipschitz=F.constant(method), method=method, rtol=0.05, seed=seed, maxiter=5000
        )

    first, again, other = run(3), run(np.random.default_rng(3)), run(4)
    np.testing.assert_array_equal(first.x, again.x)
    assert not np.array_equal(first.x, other.x)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_a_generator_goes_on_where_it_was_left():
    F, generator = Sum(50), np.random.default_rng(3)
    keywords = {"count": 50, "lipschitz": F.lipschitz, "rtol": 0.05, "seed": generator}
    first = rv.variance_reduced_halpern(F, np.zeros(6), **keywords)
    second = rv.variance_reduced_halpern(F, np.zeros(6), **keywords)
    assert not np.array_equal(first.x, second.x)


@pytest.mark.parametrize("method", METHODS)
def test_a_list_of_functions_is_the_same_as_one_of_indices(method):
    F = Sum(30)
    each = [lambda z, i=i: F.A[i] @ z - F.b[i] for i in range(30)]
    keywords = {"lipschitz": F.constant(method), "method": method, "rtol": 0.05, "maxiter": 5000}
    one = rv.variance_reduced_halpern(F, np.zeros(6), count=30, **keywords)
    many = rv.variance_reduced_halpern(each, np.zeros(6), **keywords)
    assert one.evaluations == many.evaluations
    np.testing.assert_allclose(one.x, many.x, rtol=1e-9)


def test_components_that_differ_by_constants_are_estimated_without_error():
    """The carried norm is then the true one, and the iterates are those of Halpern iteration with the same steps."""
    rng = np.random.default_rng(0)
    b = rng.standard_normal((400, 4))
    d = np.linspace(0.2, 1, 4)
    mean, u0 = b.mean(0), np.zeros(4)
    u, wanted = u0, []
    for k in range(200):
        wanted.append(np.linalg.norm(d * u - mean))
        u = 2 / (k + 4) * u0 + (1 - 2 / (k + 4)) * u - (d * u - mean) / 4
    problem = FiniteSumProblem(lambda z, i: d * z - b[i].mean(0), u0, count=400, lipschitz=1.0)
    found = iterate(problem, VarianceReducedHalpern(), Options(rtol=1e-9, maxiter=199))
    np.testing.assert_allclose(found.residual_norms, wanted, rtol=1e-9)


def test_cost_of_an_iteration():
    """n with probability p, else 2 sqrt(n): about 6 sqrt(n) in the long run."""
    n, k = 2500, np.arange(1, 2001)
    problem = FiniteSumProblem(lambda z, i: z - i.mean(), np.zeros(1), count=n, lipschitz=1.0)
    iterate(problem, VarianceReducedHalpern(), Options(rtol=1e-12, maxiter=2000))
    p = 4 / (np.minimum(k, 50) + 5)
    expected = n + np.sum(p * n + (1 - p) * 2 * 50)
    assert problem.matvecs == pytest.approx(expected, rel=0.1)
    assert expected / 2000 == pytest.approx(6 * 50, rel=0.15)


def test_resolvents_are_as_accurate_as_they_claim():
    """||w - J(u)|| <= ||w - u|| / (k + 2), where J(u) + e F(J(u)) = u is solved directly."""
    F, checked = Sum(100, skew=True), []
    A, b = F.A.mean(0), F.b.mean(0)
    reach = math.sqrt(100) / F.lipschitz

    class Watched(VarianceReducedResolvent):
        def step(self, problem, s):
            u, k = s.u.copy(), s.k
            super().step(problem, s)
            exact = np.linalg.solve(np.eye(6) + reach * A, u + reach * b)
            checked.append(np.linalg.norm(s.x - exact) * (k + 2) / np.linalg.norm(s.x - u))

    problem = FiniteSumProblem(F, np.zeros(6), count=100, lipschitz=F.lipschitz)
    assert iterate(problem, Watched(), Options(rtol=5e-3)).converged
    assert max(checked) <= 1 + 1e-9
    assert len(checked) > 5


def test_the_residual_of_resolvents_keeps_the_order_of_halpern_iteration():
    """||F(w)|| = ||u - w|| / e is at most 2 R / (e (k + 1)), but for errors."""
    F = Sum(64, skew=True, spread=0.1)
    problem = FiniteSumProblem(F, np.zeros(6), count=64, lipschitz=F.lipschitz)
    found = iterate(problem, VarianceReducedResolvent(), Options(rtol=1e-6, maxiter=60))
    R = np.linalg.norm(np.linalg.solve(F.A.mean(0), F.b.mean(0)))
    k = np.arange(len(found.residual_norms) - 1)
    assert np.all(found.residual_norms[1:] * (k + 1) <= 2 * R * F.lipschitz / 8)


def test_pairs_of_arrays():
    rng = np.random.default_rng(1)
    A = np.eye(3) + 0.1 * rng.standard_normal((64, 3, 3))

    def game(z, which):
        M = A[which].mean(0)
        return M @ z[1] - 1, -M.T @ z[0] + 2

    found = rv.variance_reduced_halpern(game, (np.zeros(3), np.zeros(3)), count=64, lipschitz=1.7, rtol=4e-3)
    assert found.converged
    x, y = found.x
    np.testing.assert_allclose(A.mean(0) @ y, 1, atol=2e-2)
    np.testing.assert_allclose(A.mean(0).T @ x, 2, atol=2e-2)


def test_on_few_components_all_of_F_is_cheaper():
    """What the documentation says, where components are not alike."""
    rng = np.random.default_rng(0)
    n, d = 400, 5
    rows = rng.standard_normal((n, d))
    b = rows @ np.ones(d) + rng.standard_normal(n)
    H, h = rows.T @ rows / n, rows.T @ b / n
    moments = (rows * (rows**2).sum(1)[:, None]).T @ rows / n
    L = float(np.linalg.eigvals(np.linalg.solve(H, moments)).real.max())
    keywords = {"count": n, "rtol": 0.1, "maxiter": 20000}
    found = rv.variance_reduced_halpern(
        lambda x, i: rows[i].T @ (rows[i] @ x - b[i]) / len(i), np.zeros(d), lipschitz=L, method="direct", **keywords
    )
    plain = rv.extragradient(lambda x: H @ x - h, np.zeros(d), lipschitz=float(np.linalg.norm(H, 2)), rtol=0.1)
    assert found.converged
    assert found.evaluations > 3 * n * plain.evaluations


@pytest.mark.parametrize("method", METHODS)
def test_an_L_that_is_too_small_diverges_and_says_so(method):
    F = Sum(50, spread=1.0)
    with pytest.warns(rv.ConvergenceWarning, match="Is lipschitz large enough"):
        found = rv.variance_reduced_halpern(F, np.zeros(6), count=50, lipschitz=1e-3, method=method, rtol=1e-6)
    assert found.status is Status.DIVERGED
    assert np.all(np.isfinite(found.x))


@pytest.mark.parametrize("method", METHODS)
def test_what_rounding_allows_is_not_looped_on(method):
    F = Sum(20, dtype="float32", spread=0.0)
    with pytest.warns(rv.ConvergenceWarning):
        found = rv.variance_reduced_halpern(
            F, np.zeros(6, "float32"), count=20, lipschitz=1.0, method=method, rtol=1e-12, maxiter=150
        )
    assert not found.converged
    assert np.all(np.isfinite(found.x))


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
def test_other_libraries(library):
    xp = pytest.importorskip(library)
    F = Sum(25)
    A, b = xp.asarray(F.A), xp.asarray(F.b)

    axis = {"dim" if library == "torch" else "axis": 0}

    def components(z, which):
        i = xp.asarray(which)
        parts = (A[i], b[i]) if library == "torch" else (xp.take(A, i, axis=0), xp.take(b, i, axis=0))
        mean, shift = (xp.mean(part, **axis) for part in parts)
        return mean @ z - shift

    z0 = xp.asarray(np.zeros(6))
    found = rv.variance_reduced_halpern(components, z0, count=25, lipschitz=F.lipschitz, rtol=1e-2)
    wanted = rv.variance_reduced_halpern(F, np.zeros(6), count=25, lipschitz=F.lipschitz, rtol=1e-2)
    assert found.evaluations == wanted.evaluations
    np.testing.assert_allclose(np.asarray(found.x), wanted.x, rtol=1e-9)


def nothing(z, which):
    return z


@pytest.mark.parametrize(
    ("components", "keywords", "error", "said"),
    [
        ([], {}, rv.InputError, "components: found none"),
        ([nothing, 3], {}, TypeError, r"components\[1\]: found int; wanted a callable"),
        ([lambda z: z], {"count": 2}, rv.InputError, "count: found 2 for 1 components"),
        (nothing, {}, TypeError, "count: found None; wanted the number of components"),
        (nothing, {"count": 0}, rv.InputError, "count: found 0"),
        (nothing, {"count": 4, "lipschitz": None}, rv.InputError, "lipschitz: found None"),
        (nothing, {"count": 4, "batch": 0}, rv.InputError, "batch: found 0"),
        (nothing, {"count": 4, "batch": 1.5}, TypeError, r"batch: found 1\.5"),
        (nothing, {"count": 4, "seed": "x"}, TypeError, "seed: found 'x'"),
        (
            nothing,
            {"count": 4, "method": "saga"},
            rv.InputError,
            "method: found 'saga'; wanted one of resolvent, direct",
        ),
        ([lambda z: z[:1]], {}, rv.InputError, r"components\[0\]: its value has shape \(1,\)"),
    ],
)
def test_bad_arguments_are_named(components, keywords, error, said):
    with pytest.raises(error, match=said):
        rv.variance_reduced_halpern(components, np.ones(2), **{"lipschitz": 1.0, **keywords})


def test_parameters_of_the_methods_are_checked():
    with pytest.raises(rv.InputError, match="stepsize: found 1"):
        VarianceReducedResolvent(stepsize=1)
    with pytest.raises(rv.InputError, match="reach: found 0"):
        VarianceReducedResolvent(reach=0)
    with pytest.raises(rv.InputError, match="stepsize: found 2"):
        VarianceReducedHalpern(stepsize=2)
