"""Maps and solutions against what is computed in another way: definitions, optimality, other people's programs."""

import math

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from resolvent.gallery.fixed_points import (
    admm,
    alternating_projections,
    bradley_terry,
    bratu,
    candecomp,
    cyclic_permutation,
    douglas_rachford,
    exchange_economy,
    hasselblad,
    ista,
    kelley_h,
    logistic,
    mixture_means,
    nearest_correlation,
    noisy,
    normal_mixture,
    pagerank,
    poisson_sweeps,
    risk_parity,
    roberts_step,
    rotation,
    self_consistent_field,
    sinkhorn,
    symmetric_spectrum,
    toth_kelley,
    translation,
    value_iteration,
)


@pytest.mark.parametrize("make", [hasselblad, toth_kelley, roberts_step, normal_mixture, lambda: kelley_h(20)])
def test_root_finder_of_scipy_agrees(make):
    problem = make()
    begin = problem.x0
    for _ in range(300):  # to the neighbourhood
        begin = problem.g(begin)
    found = optimize.root(lambda x: problem.g(x) - x, begin, tol=1e-13)
    np.testing.assert_allclose(problem.solution, found.x, rtol=1e-6, atol=1e-9)


class TestRelaxation:
    def sweep(self, kind, n, omega, u, s):
        """Point after point, boundary included."""
        h2 = 1.0 / (n - 1) ** 2
        new = u.copy()
        source = u if kind == "jacobi" else new
        for i in range(1, n - 1):
            for j in range(1, n - 1):
                around = source[i - 1, j] + source[i + 1, j] + source[i, j - 1] + source[i, j + 1]
                new[i, j] += omega * (0.25 * (around + h2 * s[i, j]) - new[i, j])
        return new

    @pytest.mark.parametrize(("kind", "omega"), [("jacobi", 1.0), ("gauss_seidel", 1.0), ("sor", 1.94)])
    def test_sweeps_point_after_point(self, kind, omega):
        n = 12
        problem = poisson_sweeps(kind, n)
        s = np.zeros((n, n))
        s[2:9, 2], s[2:9, 8] = 2 * (n - 1) ** 2 / n, -2 * (n - 1) ** 2 / n  # rows 3 to 9, columns 3 and 9, from 1
        np.testing.assert_allclose(problem.x0, s[1:-1, 1:-1].ravel(), rtol=1e-14)
        u = s
        x = problem.x0
        for _ in range(3):
            u, x = self.sweep(kind, n, omega, u, s), problem.g(x)
            np.testing.assert_allclose(x, u[1:-1, 1:-1].ravel(), rtol=1e-12, atol=1e-12)

    def test_solution_solves_the_equation(self):
        n = 20
        T = 2 * np.eye(n - 2) - np.eye(n - 2, k=1) - np.eye(n - 2, k=-1)
        u = poisson_sweeps("sor", n).solution.reshape(n - 2, n - 2)
        s = poisson_sweeps("sor", n).x0.reshape(n - 2, n - 2)
        np.testing.assert_allclose(T @ u + u @ T, s / (n - 1) ** 2, atol=1e-14)


class TestBratu:
    @pytest.mark.parametrize("n", [5, 30])
    def test_is_solved_up_to_the_greatest_parameter(self, n):
        problem = bratu(n, 6.7)
        assert problem.residual(problem.solution) < 1e-13

    def test_root_finder_of_scipy_agrees(self):
        n = 8
        T = (2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)) * (n + 1) ** 2
        A = np.kron(T, np.eye(n)) + np.kron(np.eye(n), T)
        found = optimize.root(lambda u: A @ u - 6 * np.exp(u), np.zeros(n * n), tol=1e-13).x
        np.testing.assert_allclose(bratu(n).solution, found, rtol=1e-10)
        np.testing.assert_allclose(bratu(n).g(found), found, rtol=1e-10)


class TestMixtures:
    def test_likelihood_of_deaths(self):
        problem = hasselblad()
        counts = np.array([162, 267, 271, 185, 111, 61, 27, 8, 3, 1])
        p, a, b = problem.solution
        y = np.arange(10)
        density = p * stats.poisson.pmf(y, a) + (1 - p) * stats.poisson.pmf(y, b)
        assert problem.objective(problem.solution) == pytest.approx(-counts @ np.log(density), rel=1e-14)
        assert problem.objective(problem.solution) == pytest.approx(1989.94585988, abs=1e-8)

    def test_parameters_are_clipped(self):
        problem = hasselblad()
        np.testing.assert_array_equal(problem.g(np.array([2.0, -1.0, 2.0])), problem.g(np.array([1 - 1e-7, 1e-7, 2.0])))

    def test_likelihood_in_the_plane(self):
        problem = normal_mixture()
        x = problem.solution
        (points,) = problem.map.args
        density = np.zeros(1000)
        for k, weight in enumerate((x[0], x[1], 1 - x[0] - x[1])):
            xx, xy, yy = x[8 + 3 * k : 11 + 3 * k]
            normal = stats.multivariate_normal(x[2 + 2 * k : 4 + 2 * k], [[xx, xy], [xy, yy]])
            density += weight * normal.pdf(points.T)
        assert problem.objective(x) == pytest.approx(-np.log(density).sum(), rel=1e-13)
        # the parameters that the points were drawn with are not far off
        assert np.abs(x[:2] - (0.3, 0.2)).max() < 0.03
        assert np.abs(x[2:8] - (0, 8, -4, 10, -3, 2)).max() < 1.0

    def test_means_are_where_the_likelihood_is_stationary(self):
        problem = mixture_means(2000)
        found = optimize.minimize(problem.objective, [0.0, 1.1, 0.6], tol=1e-9).x
        np.testing.assert_allclose(problem.g(found), found, atol=1e-4)


class TestEconomics:
    def test_markets_clear(self):
        problem = exchange_economy()
        r, drawn = 1, []
        for _ in range(100):
            r = (r * 3685477807 + 12345) // 65536 % 32768
            drawn.append(r / 32768)
        E = stats.lognorm.ppf(np.reshape(drawn[:50], (10, 5), order="F"), 1.0)
        T = np.reshape(drawn[50:], (10, 5), order="F")
        p = problem.solution
        demand = np.zeros(10)
        for j in range(5):
            demand += T[:, j] / T[:, j].sum() * (p @ E[:, j]) / p
        np.testing.assert_allclose(demand, E.sum(axis=1), rtol=1e-12)
        assert p[0] == 1.0

    def test_worth_is_the_solution_of_a_linear_program(self):
        problem = value_iteration(12, 3, discount=0.9)
        reward, P = problem.map.args  # P times the discount
        rows = (np.eye(12)[:, None, :] - P).reshape(-1, 12)
        found = optimize.linprog(np.ones(12), A_ub=-rows, b_ub=-reward.ravel(), bounds=(None, None))
        np.testing.assert_allclose(problem.solution, found.x, rtol=1e-9)

    def test_chances_sum_to_the_discount(self):
        P = value_iteration(12, 3, discount=0.9).map.args[1]
        np.testing.assert_allclose(P.sum(axis=2), 0.9, rtol=1e-14)
        assert ((P > 0).sum(axis=2) == 5).all()


class TestMatrices:
    def test_example_of_higham(self):
        x = nearest_correlation(3).solution[:6]
        np.testing.assert_allclose(x, [1, 0.7607, 0.1573, 1, 0.7607, 1], atol=5e-5)

    def test_is_a_correlation_matrix_and_no_other_is_nearer(self):
        n = 6
        upper = np.triu_indices(n)
        A = np.eye(n) + np.eye(n, k=1) + np.eye(n, k=-1)
        X = np.zeros((n, n))
        X[upper] = nearest_correlation(n).solution[: upper[0].size]
        X = X + np.triu(X, 1).T
        np.testing.assert_allclose(np.diagonal(X), 1, atol=1e-14)
        assert np.linalg.eigvalsh(X)[0] > -1e-14
        rng = np.random.default_rng(0)
        for _ in range(20):
            B = rng.standard_normal((n, n))
            B = B @ B.T
            B /= np.sqrt(np.outer(np.diagonal(B), np.diagonal(B)))
            assert ((X - A) * (B - X)).sum() >= -1e-12  # the angle at X is obtuse

    def test_factors_give_the_tensor(self):
        problem = candecomp(6, 2)
        x = problem.x0
        for _ in range(3000):
            x = problem.g(x)
        tensor, _ = problem.map.args
        A, B, C = x.reshape(3, 6, 2)
        np.testing.assert_allclose(np.einsum("ir,jr,kr->ijk", A, B, C), tensor, atol=1e-8)
        assert problem.objective(x) < 1e-16

    def test_each_factor_is_that_of_least_squares(self):
        problem = candecomp(5, 2)
        tensor, _ = problem.map.args
        _, B, C = problem.x0.reshape(3, 5, 2)
        A = problem.g(problem.x0).reshape(3, 5, 2)[0]
        design = np.einsum("jr,kr->jkr", B, C).reshape(-1, 2)
        np.testing.assert_allclose(A, np.linalg.lstsq(design, tensor.reshape(5, -1).T)[0].T, rtol=1e-9)


class TestHEquation:
    @pytest.mark.parametrize("c", [0.5, 0.99, 1.0])
    def test_zeroth_moment(self, c):
        # 1 - c / 2 times the integral of H is sqrt(1 - c), for the rule as for the integral
        assert 1 - c / 2 * kelley_h(64, c).solution.mean() == pytest.approx(math.sqrt(1 - c), abs=1e-7)

    def test_closed_form(self):
        # Chandrasekhar, Radiative Transfer, section 39, with the rule's error of a few parts in ten thousand
        c, mu = 0.5, 0.75

        def f(t):
            return math.log(1 - c * t / math.tan(t)) / (math.cos(t) ** 2 + mu**2 * math.sin(t) ** 2) if t else 0.0

        exact = math.exp(-mu / math.pi * integrate.quad(f, 0, math.pi / 2)[0])
        nodes = (np.arange(400) + 0.5) / 400
        assert np.interp(mu, nodes, kelley_h(400, c).solution) == pytest.approx(exact, rel=1e-4)


def test_roberts_step_is_one_of_implicit_euler():
    y = roberts_step(0.1).solution
    rate = np.array([-0.04 * y[0] + 1e4 * y[1] * y[2], 0.0, 300.0 * y[1] ** 2])
    rate[1] = -rate[0] - rate[2]
    np.testing.assert_allclose(y - [1, 0, 0], 0.1 * rate, atol=1e-15)


def test_pages_are_ranked_by_the_dominant_eigenvector():
    problem = pagerank(30)
    P, jump = problem.map.args
    values, vectors = np.linalg.eig(P.toarray() + jump)  # of rank one more, x having sum 1
    vector = np.real(vectors[:, np.argmax(np.real(values))])
    np.testing.assert_allclose(problem.solution, vector / vector.sum(), rtol=1e-10)


def test_plan_has_the_masses():
    problem = sinkhorn(15)
    C, log_a, log_b = problem.map.C, problem.map.log_a, problem.map.log_b
    v = problem.solution
    u = log_a - np.log(np.exp(v - C).sum(axis=1))
    plan = np.exp(u[:, None] + v - C)
    np.testing.assert_allclose(plan.sum(axis=1), np.exp(log_a), rtol=1e-13)
    np.testing.assert_allclose(plan.sum(axis=0), np.exp(log_b), rtol=1e-13)
    assert plan.sum() == pytest.approx(1)


class TestRankings:
    def test_strengths_are_the_likeliest(self):
        problem = bradley_terry("newman", 15, prior=True)
        found = optimize.minimize(problem.objective, np.zeros(15), tol=1e-10).x
        np.testing.assert_allclose(problem.solution, found, atol=1e-5)

    def test_everyone_wins_as_often_as_expected(self):
        problem = bradley_terry("newman", 30, prior=True)
        wins, _ = problem.map.args
        p = np.exp(problem.solution)
        expected = ((wins + wins.T) * p[:, None] / (p[:, None] + p)).sum(axis=1) + 2 * p / (p + 1)
        np.testing.assert_allclose(expected, wins.sum(axis=1) + 1, rtol=1e-12)
        np.testing.assert_array_equal(wins + wins.T, 1 - np.eye(30))

    @pytest.mark.parametrize(("players", "prior"), [(100, False), (30, True)])
    def test_both_formulas_one_solution(self, players, prior):
        problem = bradley_terry("newman", players, prior=prior)
        assert bradley_terry("zermelo", players, prior=prior).residual(problem.solution) < 1e-13

    def test_whoever_never_loses_has_no_strength(self):
        problem = bradley_terry(seed=3)
        wins, _ = problem.map.args
        assert (wins.sum(axis=0) == 0).any() or (wins.sum(axis=1) == 0).any()
        assert not problem.feasible
        assert problem.solution is None
        assert bradley_terry(seed=3, prior=True).feasible


class TestRiskParity:
    def test_example(self):
        deviations = np.sqrt([94.868, 445.642, 117.265, 5.460, 34.126])
        w = risk_parity().solution / deviations
        np.testing.assert_allclose(w / w.sum(), [0.125, 0.047, 0.083, 0.613, 0.132], atol=5e-4)

    @pytest.mark.parametrize("assets", [5, 40])
    def test_all_contribute_the_same(self, assets):
        problem = risk_parity(assets)
        (C,) = problem.map.args
        w = problem.solution
        np.testing.assert_allclose(w * (C @ w), 1 / assets, rtol=1e-12)
        np.testing.assert_allclose(np.diagonal(C), 1, rtol=1e-12)
        np.testing.assert_array_equal(C, C.T)
        assert w @ C @ w == pytest.approx(1)

    def test_eigenvalues_are_spread_evenly(self):
        (C,) = risk_parity(200).map.args
        values = np.linalg.eigvalsh(C)
        np.testing.assert_allclose(values / values.max(), (np.arange(200) + 0.5) / 200, atol=0.1)


class TestLasso:
    def test_subgradient(self):
        problem = ista(20, 30)
        A, b, L = problem.map.args
        x = problem.solution
        subgradient = A.T @ (b - A @ x)
        assert np.abs(subgradient).max() == pytest.approx(1, rel=1e-13)
        np.testing.assert_allclose(subgradient[x != 0], np.sign(x[x != 0]), rtol=1e-12)
        assert 0 < np.count_nonzero(x) < 20
        assert pytest.approx(np.linalg.eigvalsh(A.T @ A)[-1]) == L

    def test_both_maps_lead_to_the_same(self):
        x, w = ista(20, 30), admm(20, 30, 2.0)
        np.testing.assert_allclose(
            np.sign(w.solution) * np.maximum(np.abs(w.solution) - 0.5, 0), x.solution, atol=1e-14
        )
        assert w.residual(w.solution) < 1e-14


class TestSets:
    def test_points_in_common(self):
        for make in (alternating_projections, douglas_rachford):
            np.testing.assert_array_equal(make("lines").solution, np.zeros(3))
            x = make("discs", -0.5).solution
            assert np.linalg.norm(x) <= 1
            assert np.linalg.norm(x - [1.5, 0]) <= 1

    def test_rates_on_lines(self):
        # the squared cosine, and the cosine
        for make, rate in ((alternating_projections, math.cos(0.4) ** 2), (douglas_rachford, math.cos(0.4))):
            problem = make("lines", angle=0.4)
            x = problem.g(problem.g(problem.x0))
            for _ in range(5):
                before, x = x, problem.g(x)
                assert np.linalg.norm(x) == pytest.approx(rate * np.linalg.norm(before), rel=1e-9)

    @pytest.mark.parametrize("sets", ["lines", "discs", "halfspaces"])
    def test_gap(self, sets):
        near, far = alternating_projections(sets, 0.7), douglas_rachford(sets, 0.7)
        x = near.x0
        for _ in range(500):
            x = near.g(x)
        np.testing.assert_allclose(x, near.solution, atol=1e-10)
        assert near.feasible
        assert not far.feasible
        assert far.solution is None
        onto_A = near.map.args[0]
        np.testing.assert_allclose(far.displacement, onto_A(x) - x, atol=1e-10)
        y = far.x0
        for _ in range(500):
            y = far.g(y)
        np.testing.assert_allclose(y - far.g(y), far.displacement, atol=1e-5)

    def test_touching_discs_are_reached_slowly(self):
        problem = alternating_projections("discs")
        x = problem.x0
        errors = []
        for k in range(1, 1601):
            x = problem.g(x)
            if k in (400, 1600):
                errors.append(np.linalg.norm(x - problem.solution))
        assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)  # k**-0.5


class TestSelfConsistentField:
    def test_density_is_that_of_the_lowest_eigenvectors(self):
        problem = self_consistent_field(12, 3, 0.5)
        rho = problem.solution
        L = 2 * np.eye(12) - np.eye(12, k=1) - np.eye(12, k=-1)
        X = np.linalg.eigh(L + 0.5 * np.diag(np.linalg.solve(L, rho)))[1][:, :3]
        np.testing.assert_allclose((X**2).sum(axis=1), rho, atol=1e-12)
        np.testing.assert_allclose(rho, rho[::-1], atol=1e-12)

    def test_strong_coupling_makes_a_cycle_of_two(self):
        problem = self_consistent_field(coupling=3.0)
        x = problem.x0
        for _ in range(1000):
            x = problem.g(x)
        assert problem.residual(x) > 0.1
        np.testing.assert_allclose(problem.g(problem.g(x)), x, atol=1e-6)
        assert problem.residual(problem.solution) < 1e-13


class TestHard:
    def test_halpern_attains_its_bound_on_the_rotation(self):
        N = 20
        problem = rotation(N)
        x = problem.x0
        for k in range(N + 1):
            assert problem.residual(x) <= 2 / (k + 1) * (1 + 1e-14)
            if k < N:
                x = problem.x0 / (k + 2) + (k + 1) / (k + 2) * problem.g(x)
        assert problem.residual(x) == pytest.approx(2 / (N + 1), rel=1e-13)

    def test_logistic_cycles(self):
        problem = logistic()
        x = problem.x0
        for _ in range(2000):
            x = problem.g(x)
        cycle = [x := problem.g(x) for _ in range(8)]
        np.testing.assert_allclose(cycle[:4], cycle[4:], rtol=1e-12)
        assert np.ptp(cycle[:4]) > 0.3

    @pytest.mark.parametrize("n", [2, 7])
    def test_permutation_comes_round(self, n):
        problem = cyclic_permutation(n)
        x = np.random.default_rng(0).standard_normal(n)
        y = x
        for _ in range(n):
            y = problem.g(y)
        np.testing.assert_allclose(y, x, atol=1e-13)
        assert problem.solution.sum() == pytest.approx(0, abs=1e-14)  # the nearest to zero of a line along ones
        drifting = cyclic_permutation(n, drift=0.25)
        assert not drifting.feasible
        np.testing.assert_array_equal(drifting.displacement, np.full(n, -0.25))

    @pytest.mark.parametrize("kind", ["expansive", "outliers", "stiff"])
    def test_spectra(self, kind):
        problem = symmetric_spectrum(kind)
        n = problem.x0.size
        A = np.column_stack([problem.g(e) - problem.g(np.zeros(n)) for e in np.eye(n)])
        found = np.linalg.eigvalsh(A)
        wanted = {
            "expansive": np.linspace(-3, 0.9, 20),
            "outliers": np.sort(np.append(np.linspace(-0.9, 0.9, 18), [-5, 3])),
            "stiff": np.sort(1 - np.logspace(-6, 0, 50)),
        }[kind]
        np.testing.assert_allclose(found, wanted, atol=1e-13)

    def test_translation_turns(self):
        problem = translation([1.0, -2.0], angle=0.7)
        x = problem.g(problem.x0)
        np.testing.assert_allclose(x, [-1, 2, math.cos(0.7), math.sin(0.7)], rtol=1e-14)

    def test_noise_has_its_size_and_no_memory(self):
        problem, silent = noisy(200, 1e-3), noisy(200, 0.0)
        x = problem.solution
        draws = np.array([problem.g(y) - silent.g(y) for y in (x, np.nextafter(x, 2), x + 1.0, 2 * x)])
        np.testing.assert_allclose(draws.std(axis=1), 1e-3, rtol=0.2)
        assert np.abs(np.corrcoef(draws) - np.eye(4)).max() < 0.25
        assert silent.residual(x) < 1e-13
