"""What every problem of the gallery of maps promises, whatever its family."""

import dataclasses
import functools
import itertools
import pickle

import numpy as np
import pytest

from resolvent import gallery
from resolvent.gallery import fixed_points
from resolvent.gallery.fixed_points import FIXED_POINTS, by_name

# Smaller than by default, where that saves time.
SMALL = {
    "bratu": {"n": 12},
    "poisson_jacobi": {"n": 12},
    "poisson_gauss_seidel": {"n": 12},
    "poisson_sor": {"n": 12},
    "candecomp": {"side": 6, "rank": 2},
    "mixture_means": {"samples": 200},
    "bradley_terry_newman": {"players": 20, "prior": True},
    "bradley_terry_zermelo": {"players": 20, "prior": True},
    "kelley_h": {"n": 40},
}
KEYS = {
    "fixed_point_jl",
    "anderson_fpa",
    "anderson",
    "anderson_adaptive",
    "anderson_monotone",
    "anderson_monotone_adaptive",
    "acx",
    "sea",
    "mpe",
    "composite_anderson",
    "composite_adaptive",
    "picard",
    *(f"anderson_{depth}" for depth in range(1, 7)),
}


@functools.cache
def small(name):
    return by_name(name, **SMALL.get(name, {}))


def picard(problem, evaluations):
    x = problem.x0
    for _ in range(evaluations):
        x = problem.g(x)
    return x


@pytest.mark.parametrize("name", FIXED_POINTS)
class TestEveryProblem:
    def test_the_map_keeps_form_and_leaves_its_argument_alone(self, name):
        problem = small(name)
        x = problem.x0.copy()
        y = problem.g(x)
        assert (y.shape, y.dtype) == (x.shape, x.dtype) == ((x.size,), np.dtype(np.float64))
        assert not np.shares_memory(x, y)
        np.testing.assert_array_equal(x, problem.x0)
        again = problem.g(x)
        assert not np.shares_memory(y, again)
        np.testing.assert_array_equal(y, again)
        np.testing.assert_array_equal(problem.g(problem.x0), y)  # which cannot be written to

    @pytest.mark.filterwarnings("error")
    def test_far_off_it_is_no_number_and_no_warning(self, name):
        problem = small(name)
        alternating = (-1.0) ** np.arange(problem.x0.size)
        for x in (0 * alternating, -1e3 + 0 * alternating, 1e5 * alternating, 1e200 * alternating):
            assert problem.g(x).shape == x.shape
        for wrong in (np.nan, np.inf):
            x = problem.x0.copy()
            x[-1] = wrong
            assert np.isnan(problem.g(x)).all()

    def test_begins_away_from_the_solution_and_cannot_be_spoilt(self, name):
        problem = small(name)
        assert np.isfinite(problem.x0).all()
        assert problem.residual(problem.x0) > problem.tolerance > 0
        for array in (problem.x0, problem.solution):
            if array is not None:
                with pytest.raises(ValueError, match="read-only"):
                    array[0] = 1.0

    def test_solution_is_a_fixed_point(self, name):
        problem = small(name)
        if problem.solution is None:
            assert name in ("candecomp", "mixture_means", "translation")
            return
        assert problem.feasible
        floor = 1e-14 * max(1.0, np.abs(problem.solution).max()) * problem.x0.size
        assert problem.residual(problem.solution) <= floor + 10 * problem.noise * np.sqrt(problem.x0.size)
        assert problem.solution is problem.solution

    def test_lipschitz_constant(self, name):
        problem = small(name)
        if problem.lipschitz is None:
            return
        rng = np.random.default_rng(0)
        ratios = []
        for scale in 10.0 ** np.arange(-3, 2):
            x, d = problem.x0 + rng.standard_normal(problem.x0.size), scale * rng.standard_normal(problem.x0.size)
            ratios.append(problem.size(problem.g(x + d) - problem.g(x)) / problem.size(d))
        assert max(ratios) <= problem.lipschitz * (1 + 1e-12)

    def test_objective_falls(self, name):
        problem = small(name)
        if problem.objective is None:
            return
        values = [problem.objective(picard(problem, k)) for k in range(6)]
        assert isinstance(values[0], float)
        assert all(new < old for old, new in itertools.pairwise(values))
        if problem.solution is not None:
            assert problem.objective(problem.solution) < values[-1]

    def test_displacement_is_that_of_the_iterates(self, name):
        problem = small(name)
        assert (problem.displacement is None) == problem.feasible
        if problem.displacement is not None:
            np.testing.assert_allclose((problem.x0 - picard(problem, 4000)) / 4000, problem.displacement, atol=2e-3)

    def test_is_described(self, name):
        problem = small(name)
        assert problem.name in repr(problem)
        assert "\n" not in repr(problem)
        assert problem.description in str(problem)
        assert problem.reference in str(problem)
        assert problem.norm in ("1", "2", "max")
        assert set(problem.published) <= KEYS

    def test_repeats_itself(self, name):
        again = by_name(name, **SMALL.get(name, {}))
        np.testing.assert_array_equal(again.x0, small(name).x0)
        np.testing.assert_array_equal(again.g(again.x0), small(name).g(small(name).x0))

    def test_survives_pickling(self, name):
        problem = small(name)
        again = pickle.loads(pickle.dumps(dataclasses.replace(problem)))
        np.testing.assert_array_equal(problem.g(problem.x0), again.g(again.x0))


# Evaluations after which plain iteration has come to rest, or nearly, and how far from the solution that may be.
@pytest.mark.parametrize(
    ("name", "evaluations", "tolerance"),
    [
        ("hasselblad", 6000, 1e-9),
        ("exchange_economy", 30, 1e-13),
        ("normal_mixture", 1000, 1e-9),
        ("power_iteration", 80, 1e-13),
        ("linear_diagonal", 2000, 1e-13),
        ("bratu", 4000, 1e-10),
        ("poisson_jacobi", 1000, 1e-12),
        ("poisson_gauss_seidel", 500, 1e-12),
        ("kelley_h", 200, 1e-12),
        ("toth_kelley", 100, 1e-13),
        ("kinsol_3d", 20, 1e-14),
        ("roberts_step", 200, 1e-14),
        ("absolute_value", 300, 1e-12),
        ("cosine", 100, 1e-14),
        ("risk_parity", 30, 1e-14),
        ("nearest_correlation", 60, 1e-13),
        ("pagerank", 250, 1e-14),
        ("value_iteration", 900, 1e-12),
        ("bradley_terry_newman", 1000, 1e-9),
        ("ista", 400, 1e-12),
        ("admm", 600, 1e-12),
        ("alternating_lines", 500, 1e-13),
        ("self_consistent_field", 300, 1e-12),
        ("constant_increments", 50, 0.0),
    ],
)
def test_plain_iteration_leads_to_the_solution(name, evaluations, tolerance):
    problem = small(name)
    np.testing.assert_allclose(picard(problem, evaluations), problem.solution, rtol=tolerance, atol=tolerance)


def test_sinkhorn_leads_to_the_solution_but_for_a_constant():
    problem = small("sinkhorn")
    v = picard(problem, 500)
    np.testing.assert_allclose(v - v.mean(), problem.solution - problem.solution.mean(), atol=1e-12)


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        small("cosine").x0 = None


def test_seeds_matter_and_global_state_does_not():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    one, two = fixed_points.ista(seed=1), fixed_points.ista(seed=2)
    assert (one.solution != two.solution).any()
    small("noisy").g(small("noisy").x0)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_names_and_tables():
    assert gallery.fixed_points is fixed_points
    assert fixed_points.names() == tuple(FIXED_POINTS)
    made = {getattr(make, "func", make).__name__ for make in FIXED_POINTS.values()}
    assert made == set(fixed_points.__all__) - {"FixedPoint", "FIXED_POINTS", "names", "by_name"}
    with pytest.raises(ValueError, match=r"name: found 'cosinus'; .*did you mean 'cosine'"):
        by_name("cosinus")


def test_best_published_leaves_out_what_asks_for_more_than_the_map():
    assert small("hasselblad").best_published == 21  # 17 with the objective
    assert small("linear_diagonal").best_published == 72  # 7 entry by entry
    assert small("cosine").best_published is None


def test_published_counts_are_those_of_the_published_size():
    assert fixed_points.linear_diagonal(50).published == {}
    assert fixed_points.bratu(100, 5.0).published == {}
    assert fixed_points.poisson_sweeps("sor", omega=1.9).published == {}
    assert fixed_points.poisson_sweeps("sor").published["composite_anderson"] == 356
    assert fixed_points.kelley_h(c=1.0).published == {}
    assert fixed_points.roberts_step(0.2).published == {}
    assert fixed_points.risk_parity(6).published == {}


def test_norms():
    x = np.array([3.0, -4.0])
    sizes = {norm: dataclasses.replace(small("cosine"), norm=norm).size(x) for norm in ("1", "2", "max")}
    assert sizes == {"1": 7.0, "2": 5.0, "max": 4.0}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fixed_points.linear_diagonal(0), ValueError, "n is 0; it must be at least 1"),
        (lambda: fixed_points.power_iteration(2.5), TypeError, "n is 2.5"),
        (lambda: fixed_points.pagerank(damping=1.0), ValueError, "damping is 1.0"),
        (lambda: fixed_points.bratu(9, 7.0), ValueError, r"lam is 7.0; it must lie in \[0, 6.7\]"),
        (lambda: fixed_points.poisson_sweeps("ssor"), ValueError, "kind: found 'ssor'; wanted one of jacobi"),
        (lambda: fixed_points.poisson_sweeps("sor", omega=2.0), ValueError, "omega is 2.0"),
        (lambda: fixed_points.value_iteration(4), ValueError, "states is 4"),
        (lambda: fixed_points.nearest_correlation(2), ValueError, "n is 2"),
        (lambda: fixed_points.candecomp(3, 4), ValueError, "rank is 4; it must be at most side, 3"),
        (lambda: fixed_points.kelley_h(8, 1.5), ValueError, "c is 1.5"),
        (lambda: fixed_points.roberts_step(0.0), ValueError, "step is 0.0"),
        (lambda: fixed_points.sinkhorn(epsilon=0), ValueError, "epsilon is 0"),
        (lambda: fixed_points.bradley_terry("elo"), ValueError, "update: found 'elo'"),
        (lambda: fixed_points.risk_parity(1), ValueError, "assets is 1"),
        (lambda: fixed_points.admm(rho=-1.0), ValueError, "rho is -1.0"),
        (lambda: fixed_points.douglas_rachford("balls"), ValueError, "sets: found 'balls'"),
        (lambda: fixed_points.douglas_rachford("lines", -1.0), ValueError, "gap is -1.0"),
        (lambda: fixed_points.alternating_projections(angle=0.0), ValueError, "angle is 0.0"),
        (lambda: fixed_points.self_consistent_field(4, 4), ValueError, "electrons is 4; it must be less than n, 4"),
        (lambda: fixed_points.negation(0.5), ValueError, "gamma is 0.5"),
        (lambda: fixed_points.logistic(5.0), ValueError, "r is 5.0"),
        (lambda: fixed_points.symmetric_spectrum("flat"), ValueError, "kind: found 'flat'"),
        (lambda: fixed_points.translation([0.0, 0.0]), ValueError, r"v is \[0.0, 0.0\]; it must be a finite vector"),
        (lambda: fixed_points.noisy(sigma=-1.0), ValueError, "sigma is -1.0"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
