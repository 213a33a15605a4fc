"""Maps without fixed points, how far every fixed point is at least, and that neither is said without grounds."""

import math
import pickle

import numpy as np
import pytest

import resolvent as rv
from resolvent.solvers.driver.status import Cause, Status

from .maps import PrimalDual, disc, douglas_rachford, rotation

pytestmark = pytest.mark.filterwarnings("ignore::resolvent.errors.ConvergenceWarning")

# Every method with a theory for nonexpansive maps, and a damped and a reflected one.
METHODS = {
    "picard": lambda *given, **options: rv.picard(*given, **options),
    "damped": lambda *given, **options: rv.picard(*given, damping=0.5, **options),
    "halpern": lambda *given, **options: rv.halpern(*given, **options),
    "restarted": lambda *given, **options: rv.restarted_halpern(*given, **options),
}
REFLECTED = {
    "reflected": lambda *given, **options: rv.halpern(*given, reflection=1, **options),
    "both": lambda *given, **options: rv.restarted_halpern(*given, reflection=1, **options),
}
each = pytest.mark.parametrize("solve", METHODS.values(), ids=METHODS)
also_reflected = pytest.mark.parametrize("solve", (METHODS | REFLECTED).values(), ids=METHODS | REFLECTED)


class TestWithoutFixedPoints:
    @also_reflected
    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    def test_a_translation(self, solve, dtype):
        v = np.array([0.3, -0.4], dtype)
        solution = solve(lambda x: x - v, np.array([1, 2], dtype))
        digits = 1e-3 if dtype is np.float32 else 1e-12
        assert solution.status is Status.INFEASIBLE
        assert solution.cause is Cause.INCONSISTENT
        assert "no fixed point" in solution.reason
        found = solution.displacement
        assert found.settled
        assert found.norm == pytest.approx(0.5, rel=digits)
        assert found.vector.dtype == dtype
        np.testing.assert_allclose(found.vector, v, rtol=digits)
        assert found.error < 2 * digits

    @pytest.mark.parametrize("name", ["damped", "halpern", "restarted"])
    def test_errors_are_bounded_and_told(self, name):
        """A translation across a plane that turns by 0.7; points of its axis are moved by v alone."""
        v, G, x0 = np.array([0.3, 0, 0]), np.eye(3), np.array([0, 1.0, 2])
        G[1:, 1:] = rotation(0.7)
        distance = math.sqrt(5)
        errors = []
        for iterations in (500, 1000, 2000):
            solution = METHODS[name](lambda x: G @ x - v, x0, maxiter=iterations)
            found = solution.displacement
            errors.append(np.linalg.norm(found.vector - v))
            assert errors[-1] <= found.error_per_distance * distance
            assert errors[-1] <= found.error < 12 * errors[-1]
            assert found.norm >= 0.3
            if name != "restarted":
                assert found.error_per_distance == pytest.approx(4 / iterations)
        assert solution.status is Status.INFEASIBLE
        # Like 1 / k, and as published: the residual of Halpern's iteration is off by 4.46e-3 after 1000.
        assert errors[1] == pytest.approx(errors[0] / 2, rel=0.1)
        assert errors[2] == pytest.approx(errors[1] / 2, rel=0.1)
        if name == "halpern":
            assert errors[1] == pytest.approx(4.47e-3, rel=1e-2)

    def test_an_undamped_iteration_that_turns(self):
        """Its residual does not tend to v; the mean displacement does."""
        v, G = np.array([0.3, 0, 0]), np.eye(3)
        G[1:, 1:] = rotation(0.7)
        solution = rv.picard(lambda x: G @ x - v, np.array([0, 1.0, 2]), maxiter=4000)
        assert solution.status is Status.INFEASIBLE
        np.testing.assert_allclose(solution.displacement.vector, v, atol=2 * math.sqrt(5) / 4000)
        assert solution.displacement.error == solution.displacement.norm

    def test_halperns_last_difference_is_half_of_it(self):
        v, seen = np.array([0.3, 0.1]), []
        rv.halpern(lambda x: x - v, np.zeros(2), maxiter=500, callback=lambda p: seen.append(p.x.copy()))
        np.testing.assert_allclose(seen[-2] - seen[-1], v / 2, rtol=1e-2)

    @also_reflected
    def test_disjoint_discs(self, solve):
        """Douglas-Rachford moves by the gap between two sets, here 0.5 along the first axis."""
        g = douglas_rachford(disc(0.0, 0.0), disc(2.5, 0.0))
        solution = solve(g, np.array([1.0, 3.0]), maxiter=4000)
        assert solution.status is Status.INFEASIBLE
        found = solution.displacement
        assert np.linalg.norm(np.abs(found.vector) - [0.5, 0]) <= found.error
        assert found.norm == pytest.approx(0.5, rel=1e-2)

    def test_alternating_projections_find_the_gap(self):
        """They have a fixed point all the same: the point of the first set nearest to the second."""
        first, second = disc(0.0, 0.0), disc(2.5, 0.0)
        solution = rv.picard(lambda x: first(second(x)), np.array([1.0, 3.0]), rtol=1e-12)
        assert solution.converged
        assert solution.displacement is None
        np.testing.assert_allclose(second(solution.x) - solution.x, [0.5, 0], atol=1e-10)

    @also_reflected
    def test_a_linear_program_without_feasible_points(self, solve):
        """The part of the dual variables is a certificate: A^T d <= 0 and b d > 0."""
        A, b = np.array([[1.0, 1, 0], [1, 1, 0], [0, 1, 1]]), np.array([1.0, 3, 2])
        program = PrimalDual(A, b, np.ones(3))
        solution = solve(program.g, np.zeros(6), maxiter=4000)
        assert solution.status is Status.INFEASIBLE
        d = -(program.inner @ solution.displacement.vector)[3:]
        assert b @ d > 0.1
        assert (A.T @ d).max() <= 1e-2 * (b @ d)
        assert np.linalg.norm(d / d[1] - [-1, 1, 0]) < 1e-2

    def test_any_structure_and_units(self):
        def g(x):
            return {"a": x["a"] - 3j, "b": x["b"] - 4.0}

        solution = rv.halpern(g, {"a": 1 + 1j, "b": np.zeros(1)})
        assert solution.status is Status.INFEASIBLE
        assert solution.displacement.vector["a"] == pytest.approx(3j, rel=1e-10)
        np.testing.assert_allclose(solution.displacement.vector["b"], 4, rtol=1e-10)
        tiny = rv.halpern(lambda x: x - 1e-200, np.zeros(2))
        assert tiny.status is Status.INFEASIBLE
        np.testing.assert_allclose(tiny.displacement.vector, 1e-200, rtol=1e-10)
        assert tiny.displacement.norm == pytest.approx(math.sqrt(2) * 1e-200, rel=1e-10)
        assert tiny.distance_bound == pytest.approx(math.sqrt(2) * 1e-200 * 1001 / 2, rel=1e-10)

    def test_a_solve_stops_when_they_are_far_beyond_all_sizes(self):
        solution = rv.picard(lambda x: x - 1.0, np.zeros(1), maxiter=10**6)
        assert solution.status is Status.INFEASIBLE
        assert solution.iterations == 2**14

    def test_on_every_kind_of_array(self):
        torch = pytest.importorskip("torch")
        v = torch.tensor([0.3, 0.4], dtype=torch.float64)
        for backend in (None, "torch"):
            solution = rv.restarted_halpern(lambda x: x - v, torch.ones(2, dtype=torch.float64), backend=backend)
            assert solution.status is Status.INFEASIBLE
            torch.testing.assert_close(solution.displacement.vector, v)
        reference = rv.restarted_halpern(lambda x: x - v.numpy(), np.ones(2), backend="numpy")
        assert solution.distance_bound == pytest.approx(reference.distance_bound, rel=1e-12)

    def test_the_report_says_both(self):
        text = str(rv.halpern(lambda x: x - 1.0, np.zeros(1)))
        assert "displacement      1.00e+00, give or take" in text
        assert "fixed points      at least 5.00e+02 from x0" in text
        assert "displacement" not in str(rv.picard(lambda x: 1 - x, np.zeros(1), maxiter=50))

    def test_what_is_returned_survives_a_file(self):
        solution = rv.halpern(lambda x: x - 1.0, np.zeros(1))
        again = pickle.loads(pickle.dumps(solution))
        assert again.distance_bound == solution.distance_bound > 500
        assert again.displacement.norm == solution.displacement.norm
        with pytest.raises(rv.ConvergenceError, match="no solution exists"):
            again.raise_for_status()


class TestWithFixedPoints:
    """Slow, but with fixed points: never INFEASIBLE."""

    rng = np.random.default_rng(3)
    Q = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    b = rng.normal(size=40)

    @staticmethod
    def h_equation(n=100, c=1.0):
        mu = (np.arange(n) + 0.5) / n
        K = c / (2 * n) * mu[:, None] / (mu[:, None] + mu)
        return lambda h: 1 / (1 - K @ h)

    def affine(self, eigenvalues):
        G = self.Q * eigenvalues @ self.Q.T
        return lambda x: G @ x + self.b

    def cases(self, name):
        far = np.where(np.arange(40) == 0, 1 - 1e-6, 0.5)
        return {
            "Chandrasekhar's H, c = 1": lambda: (self.h_equation(), np.zeros(100)),
            "tangent discs, projections": lambda: (
                lambda x: disc(0.0, 0.0)(disc(2.0, 0.0)(x)),
                np.array([1.0, 3.0]),
            ),
            "tangent discs, reflections": lambda: (
                douglas_rachford(disc(0.0, 0.0), disc(2.0, 0.0)),
                np.array([1.0, 3.0]),
            ),
            "a flat root": lambda: (lambda x: x - np.clip(x, -1, 1) ** 5 / 5, np.array([0.9, -1])),
            "contraction by 1 - 1e-6": lambda: (self.affine(1 - np.logspace(-6, 0, 40)), np.zeros(40)),
            "contraction by 1 - 1e-9": lambda: (self.affine(1 - np.logspace(-9, 0, 40)), np.zeros(40)),
            "a million norms away": lambda: (self.affine(far), np.zeros(40)),
            "all slow": lambda: (self.affine(1 - 1e-5 * self.rng.random(40)), np.zeros(40)),
            "a slow expansion": lambda: (lambda x: (1 + 1e-6) * x + 1, np.zeros(3)),
            "an expansion": lambda: (lambda x: 1.001 * x + 1, np.zeros(3)),
            "an expansion that turns": lambda: (lambda x: 1.0001 * (rotation(0.1) @ x) + 1, np.zeros(2)),
            "constant steps": lambda: (lambda x: np.maximum(x - 1, 0), np.full(1, 3000.0)),
        }[name]()

    @each
    @pytest.mark.parametrize(
        "name",
        [
            "Chandrasekhar's H, c = 1",
            "tangent discs, projections",
            "tangent discs, reflections",
            "a flat root",
            "contraction by 1 - 1e-6",
            "contraction by 1 - 1e-9",
            "a million norms away",
            "all slow",
            "a slow expansion",
            "an expansion",
            "an expansion that turns",
            "constant steps",
        ],
    )
    def test_is_not_called_infeasible(self, solve, name):
        g, x0 = self.cases(name)
        for iterations in (400, 1100):
            solution = solve(g, x0, rtol=1e-9, maxiter=iterations)
            assert solution.status in (Status.MAX_ITERATIONS, Status.CONVERGED, Status.DIVERGED, Status.STAGNATED)

    def test_none_but_the_map_and_the_program_tell_a_far_one_from_none(self):
        """What cannot be known: a map that moves all points by the same vector until it comes near its fixed point."""
        solution = rv.picard(lambda x: np.minimum(x + 1, 5000), np.zeros(1), maxiter=1000)
        assert solution.status is Status.INFEASIBLE
        assert "all fixed points are at least 1e+03 from x0" in solution.reason
        assert rv.picard(lambda x: np.minimum(x + 1, 5000), np.zeros(1), maxiter=6000).converged


class TestDistance:
    @pytest.mark.parametrize("seed", range(3))
    def test_no_fixed_point_is_nearer(self, seed):
        """Of random nonexpansive affine maps, whose fixed point is known."""
        rng = np.random.default_rng(seed)
        Q = np.linalg.qr(rng.normal(size=(6, 6)))[0]
        shrink = np.linspace(0.7, 1, 6)
        fixed = rng.normal(size=6)
        x0, G = rng.normal(size=6), Q * shrink
        distance = np.linalg.norm(x0 - fixed)

        def g(x):
            return fixed + G @ (x - fixed)

        def averaged(x):
            return (x + g(x)) / 2

        bounds = []
        for iterations in (1, 10, 100):
            bounds = [
                rv.halpern(g, x0, rtol=0, maxiter=iterations).distance_bound,
                rv.picard(g, x0, rtol=0, maxiter=iterations, radius=1e9).distance_bound,
                rv.restarted_halpern(g, x0, rtol=0, maxiter=iterations).distance_bound,
                rv.halpern(averaged, x0, rtol=0, maxiter=iterations, reflection=1).distance_bound,
            ]
            assert all(0 < bound <= distance * (1 + 1e-10) for bound in bounds)
        assert bounds[0] > 0.7 * distance

    def test_nobody_said_that_the_map_does_not_expand(self):
        assert rv.picard(np.cos, 1.0).distance_bound is None
        assert rv.anderson(np.cos, 1.0).distance_bound is None
        assert rv.anderson(np.cos, 1.0).displacement is None

    def test_half_spaces_prove_no_less_than_the_theorem(self):
        """At least (k + 1) ||g(x_k) - x_k|| / 2 after k steps of Halpern's iteration."""
        R = 0.999 * rotation(0.05)
        for k in (1, 2, 4, 8, 16):
            solution = rv.halpern(lambda x: R @ x, np.array([1.0, 2.0]), rtol=0, maxiter=k)
            least = (k + 1) * solution.residual_norm / 2
            assert least * (1 - 1e-12) <= solution.distance_bound <= math.sqrt(5)

    @each
    def test_a_radius_ends_what_cannot_be_within_it(self, solve):
        def g(x):
            return np.maximum(x - 1, 0)

        near = solve(g, np.full(1, 50.0), radius=12.5)
        assert near.status is Status.INFEASIBLE
        assert near.iterations <= 128
        assert 12.5 < near.distance_bound <= 50
        assert "beyond the radius" in near.reason
        far = solve(g, np.full(1, 50.0), radius=51.0, rtol=1e-3, maxiter=3000)
        assert far.status in (Status.CONVERGED, Status.MAX_ITERATIONS)
