"""Batches of fixed points: each member as it is alone, with its own end, whatever its neighbours do."""

import copy
import importlib.util
import math
import pickle
import warnings

import numpy as np
import pytest

import resolvent as rv
from resolvent.errors import ConvergenceWarning, InputError
from resolvent.solvers.driver.batch import KEPT
from resolvent.solvers.driver.status import Cause, Status

METHODS = {
    "auto": {},
    "auto, few differences": {"method": "auto", "depth": 4},
    "picard": {},
    "picard, damped": {"method": "picard", "damping": 0.7},
    "anderson": {"depth": 4},
    "anderson, adaptive": {"method": "anderson", "depth": 4, "beta": "adaptive"},
    "anderson, in turns": {"method": "anderson", "depth": 5, "period": 3, "omega": 0.5},
    "anderson, restarted": {"method": "anderson", "condition_limit": 1e4, "restart_every": 9, "beta": 0.8},
    "anderson, regularised": {"method": "anderson", "depth": 6, "regularisation": 1e-5},
    "anderson, adaptive and regularised": {"method": "anderson", "beta": "adaptive", "regularisation": 1e-3},
    "halpern": {"maxiter": 100},
    "halpern, contractive": {"method": "halpern", "contraction": 0.95},
    "halpern, reflected": {"method": "halpern", "maxiter": 100, "reflection": 1.0},
    "restarted_halpern": {},
}
RATES = np.array([0.2, 0.5, 0.9])[:, None]


def quietly(solve, *arguments, **keywords):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return solve(*arguments, **keywords)


def chosen(name):
    return {"method": name, **METHODS[name]} if "method" not in METHODS[name] else METHODS[name]


class Counted:
    """A map that counts how often it is evaluated, and keeps what it was handed."""

    def __init__(self, g):
        self.g, self.points = g, []

    def __call__(self, x):
        self.points.append(np.array(x))
        return self.g(x)

    @property
    def evaluations(self):
        return len(self.points)


def affine(members=5, n=12, dtype=np.float64, seed=0):
    """Matrices of growing spectral radius, and right-hand sides."""
    rng = np.random.default_rng(seed)
    G, b = rng.standard_normal((members, n, n)), rng.standard_normal((members, n))
    if np.dtype(dtype).kind == "c":
        G, b = G + 1j * rng.standard_normal(G.shape), b + 1j * rng.standard_normal(b.shape)
    for k in range(members):
        G[k] *= (0.3 + 0.15 * k) / np.abs(np.linalg.eigvals(G[k])).max()
    return G.astype(dtype), b.astype(dtype)


def stacked(G, b):
    return lambda x: (G @ x[..., None])[..., 0] + b


def contraction(x):
    return RATES * x + 1


# Each member as it is alone.


@pytest.mark.parametrize("name", METHODS)
def test_each_member_is_what_it_is_alone(name):
    G, b = affine()
    options = {"rtol": 1e-9, **chosen(name)}
    together = quietly(rv.fixed_point, stacked(G, b), np.zeros(b.shape), batch_ndim=1, **options)
    for k, system in enumerate(together.systems):
        alone = quietly(rv.fixed_point, lambda x, k=k: G[k] @ x + b[k], np.zeros(b.shape[1]), **options)
        assert (system.status, system.iterations) == (alone.status, alone.iterations)
        # Alone an iterate that is gone back to is evaluated anew; here its residual is remembered.
        assert alone.evaluations - 1 <= system.evaluations <= alone.evaluations
        assert system.evaluations == alone.evaluations or not alone.converged
        assert np.linalg.norm(system.x - alone.x) <= 1e-10 * np.linalg.norm(alone.x)
        assert system.residual_norms == pytest.approx(alone.residual_norms, rel=1e-4, abs=1e-12)
        assert system.tolerance == pytest.approx(alone.tolerance, rel=1e-14)
        assert system.reference == pytest.approx(alone.reference, rel=1e-14)
        assert (system.distance_bound is None) == (alone.distance_bound is None)
        if alone.distance_bound is not None:
            assert system.distance_bound == pytest.approx(alone.distance_bound, rel=1e-8)
        assert (system.displacement is None) == (alone.displacement is None)
        if alone.displacement is not None:
            assert system.displacement.norm == pytest.approx(alone.displacement.norm, rel=1e-8)
            assert system.displacement.error == pytest.approx(alone.displacement.error, rel=1e-6)
        assert np.array_equal(together.x[k], system.x)


@pytest.mark.parametrize("name", ["auto", "picard", "anderson", "halpern", "restarted_halpern"])
@pytest.mark.parametrize("dtype", ["float32", pytest.param("complex128", marks=pytest.mark.slow)])
def test_in_other_types(name, dtype):
    G, b = affine(dtype=dtype)
    rtol = 1e-9 if dtype == "complex128" else 1e-4
    options = {"rtol": rtol, **chosen(name)}
    together = quietly(rv.fixed_point, stacked(G, b), np.zeros_like(b), batch_ndim=1, **options)
    assert together.x.dtype == dtype
    for k, system in enumerate(together.systems):
        alone = quietly(rv.fixed_point, lambda x, k=k: G[k] @ x + b[k], np.zeros_like(b[k]), **options)
        assert system.status is alone.status
        assert abs(system.iterations - alone.iterations) <= (0 if dtype == "complex128" else 2)
        assert np.linalg.norm(system.x - alone.x) <= 30 * rtol * np.linalg.norm(alone.x)


GALLERY = {
    "cosine": (),
    "kelley_h": (20,),
    "bratu": (6,),
    "linear_diagonal": (30,),
    "value_iteration": (),
    "ista": (),
    "risk_parity": (),
}


@pytest.mark.parametrize("name", GALLERY)
@pytest.mark.parametrize("method", ["auto", "picard", "anderson"])
def test_maps_of_the_gallery_from_several_first_guesses(name, method):
    problem = getattr(rv.gallery.fixed_points, name)(*GALLERY[name])
    starts = np.stack([problem.x0 * (1 + 0.01 * k) for k in range(3)])
    options = {"method": method, "rtol": 1e-6, "maxiter": 300}
    together = quietly(
        rv.fixed_point, lambda x: np.stack([problem.map(own.copy()) for own in x]), starts, batch_ndim=1, **options
    )
    for k, system in enumerate(together.systems):
        alone = quietly(rv.fixed_point, lambda x: problem.map(x.copy()), starts[k], **options)
        assert system.status is alone.status
        assert abs(system.iterations - alone.iterations) <= max(1, 0.1 * alone.iterations)


def test_accelerated_steps_are_taken_back_for_each_member():
    """A map with a kink, on which acceleration overshoots at different times."""

    def g(x):
        return np.where(x > 0, -0.9 * x + shift, 0.5 * x + 3 * np.sin(4 * x) / 4)

    shift = np.linspace(0.1, 2, 6)[:, None] * np.ones(5)
    starts = np.outer(np.linspace(-3, 4, 6), [1, -1, 0.5, 2, 0.1])
    options = {"depth": 3, "rtol": 1e-8, "safeguard": 1.5, "maxiter": 60}
    together = quietly(rv.anderson, g, starts, batch_ndim=1, **options)
    taken_back = 0
    for k, system in enumerate(together.systems):

        def own(x, k=k):
            return np.where(x > 0, -0.9 * x + shift[k], 0.5 * x + 3 * np.sin(4 * x) / 4)

        alone = quietly(rv.anderson, own, starts[k], **options)
        taken_back += "taken back" in alone.reason
        assert (system.status, system.iterations) == (alone.status, alone.iterations)
        assert system.evaluations - alone.evaluations in (0, 1)  # the last one of all
        assert ("taken back" in system.reason) == ("taken back" in alone.reason)
    assert taken_back >= 2


# Evaluations, and what g is handed.


def test_g_is_evaluated_as_often_as_the_slowest_member_needs():
    g = Counted(contraction)
    found = rv.picard(g, np.ones((3, 2)), batch_ndim=1, rtol=1e-8)
    assert found.evaluations.tolist() == (found.iterations + 1).tolist()
    assert g.evaluations == found.evaluations.max() == found.iterations[2] + 1
    assert found.iterations[0] < found.iterations[1] < found.iterations[2]


def test_a_member_that_has_stopped_is_fed_what_it_returns():
    g = Counted(contraction)
    found = rv.picard(g, np.ones((3, 2)), batch_ndim=1, rtol=1e-8)
    for k in range(3):
        for points in g.points[found.iterations[k] :]:
            assert np.array_equal(points[k], found.x[k])


def test_once_more_where_members_return_something_else_than_was_last_evaluated():
    """The certificates hold with all members as they are returned."""
    g = Counted(lambda x: np.array([[0.5], [3.0]]) * x + 1)
    found = quietly(rv.picard, g, np.ones((2, 3)), batch_ndim=1)
    assert [one.name for one in found.status] == ["CONVERGED", "DIVERGED"]
    assert np.array_equal(g.points[-1], found.x)
    assert np.array_equal(found.x[1], np.ones(3))
    assert g.evaluations == found.iterations.max() + 2


@pytest.mark.slow
def test_neighbours_do_not_change_a_bit():
    G, b = affine(members=6, n=40)
    other, start = G.copy(), np.zeros_like(b)
    other[2] *= 9
    other[3] = np.nan
    start[4] = 3
    for name in ("auto", "anderson", "picard", "halpern", "restarted_halpern"):
        options = {"batch_ndim": 1, "rtol": 1e-7, **chosen(name)}
        first = quietly(rv.fixed_point, stacked(G, b), np.zeros_like(b), **options)
        second = quietly(rv.fixed_point, stacked(other, b), start, **options)
        for k in (0, 1, 5):
            assert np.array_equal(first.x[k], second.x[k]), name
            assert first.iterations[k] == second.iterations[k]
        assert second.status[3] is Status.DIVERGED


# Ends.


def test_one_is_at_its_fixed_point_already():
    at = 1 / (1 - RATES) * np.ones(2)
    start = at + np.array([[0.0], [1.0], [0.0]])
    found = rv.picard(contraction, start, batch_ndim=1, rtol=1e-6)
    assert found.iterations[0] == 0
    assert found.iterations[1] > 3
    assert np.array_equal(found.x[0], start[0])


def test_what_is_not_finite_is_tried_half_way_and_then_ends_its_member_alone():
    def g(x):
        return np.where((np.arange(3)[:, None] == 1) & (x > 1.6), np.nan, contraction(x))

    found = quietly(rv.picard, g, np.ones((3, 2)), batch_ndim=1)
    alone = quietly(rv.picard, lambda x: np.where(x > 1.6, np.nan, 0.5 * x + 1), np.ones(2))
    assert [one.name for one in found.status] == ["CONVERGED", "DIVERGED", "CONVERGED"]
    system = found.systems[1]
    assert (system.iterations, system.reason, system.cause) == (alone.iterations, alone.reason, Cause.NOT_FINITE)
    assert np.array_equal(system.x, alone.x)
    assert found.overall_status is Status.DIVERGED


def test_no_fixed_point():
    def g(x):
        return np.where(np.arange(3)[:, None] == 1, x + 1, contraction(x))

    for solve, options in ((rv.picard, {"maxiter": 2000}), (rv.halpern, {"maxiter": 2000}), (rv.fixed_point, {})):
        found = quietly(solve, g, np.ones((3, 2)), batch_ndim=1, rtol=1e-3, **options)
        alone = quietly(solve, lambda x: x + 1, np.ones(2), rtol=1e-3, **options)
        system = found.systems[1]
        assert system.status is Status.INFEASIBLE is alone.status
        assert system.iterations == alone.iterations
        assert system.displacement.vector == pytest.approx([-1, -1])
        assert system.displacement.norm == pytest.approx(alone.displacement.norm)
        assert system.reason == alone.reason


def test_a_radius_ends_each_member_by_itself():
    g = Counted(lambda x: x + np.array([[1.0], [0.1], [0.0]]))
    found = quietly(rv.picard, g, np.ones((3, 2)), batch_ndim=1, radius=5.0, maxiter=400)
    assert [one.name for one in found.status] == ["INFEASIBLE", "INFEASIBLE", "CONVERGED"]
    alone = [quietly(rv.picard, lambda x, v=v: x + v, np.ones(2), radius=5.0, maxiter=400) for v in (1.0, 0.1)]
    assert found.iterations.tolist() == [alone[0].iterations, alone[1].iterations, 0]


def test_noise_is_told_from_one_member_to_the_next():
    rng = np.random.default_rng(0)

    def g(x):
        return contraction(x) + np.array([[0], [1e-3], [0]]) * rng.standard_normal(x.shape)

    found = quietly(rv.picard, g, np.ones((3, 2)), batch_ndim=1, rtol=1e-8)
    assert [one.name for one in found.status] == ["CONVERGED", "STAGNATED", "CONVERGED"]
    assert found.systems[1].cause is Cause.NOISE
    assert "varies from one call to the next" in found.systems[1].reason


def test_what_stands_still_at_rounding_and_what_oscillates():
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])

    def g(x):
        return np.stack([x[0] @ turn.T, np.cos(x[1])])

    for solve in (rv.picard, rv.fixed_point):
        found = quietly(solve, g, np.ones((2, 2)), batch_ndim=1, rtol=0, maxiter=300)
        alone = [quietly(solve, own, np.ones(2), rtol=0, maxiter=300) for own in (lambda x: turn @ x, np.cos)]
        assert [one.name for one in found.status] == [one.status.name for one in alone]
        assert found.iterations.tolist() == [one.iterations for one in alone]


@pytest.mark.parametrize("limit", [0, 1, 7])
def test_iterations_run_out(limit):
    g = Counted(contraction)
    found = quietly(rv.picard, g, np.ones((3, 2)), batch_ndim=1, rtol=1e-8, maxiter=limit)
    assert set(found.status) == {Status.MAX_ITERATIONS}
    assert found.iterations.tolist() == [limit] * 3
    assert g.evaluations == limit + 1
    alone = quietly(rv.picard, lambda x: 0.9 * x + 1, np.ones(2), rtol=1e-8, maxiter=limit)
    assert found.systems[2].reason == alone.reason


def test_the_best_iterate_is_returned_where_the_last_one_is_not():
    """The residual falls to nearly nothing, and grows again."""

    def g(x):
        return np.stack([1.2 * x[0] + np.array([0.0, 0.0]), 0.1 * x[1]])

    start = np.ones((2, 2))
    found = quietly(rv.picard, g, start, batch_ndim=1, maxiter=5, rtol=1e-12)
    assert np.array_equal(found.x[0], start[0])
    assert found.residual_norm[0] == pytest.approx(np.linalg.norm(0.2 * start[0]))


def test_a_time_limit_is_that_of_the_batch(monkeypatch):
    from resolvent.backends.numba_backend import NumbaBackend

    ticks = iter(range(1000))
    monkeypatch.setattr(NumbaBackend, "clock", lambda self: float(next(ticks)))
    g = Counted(contraction)
    found = quietly(rv.picard, g, np.ones((3, 2)), batch_ndim=1, rtol=1e-12, time_limit=10.5)
    assert [one.name for one in found.status] == ["TIME_LIMIT"] * 3
    assert set(found.iterations) == {11}
    assert found.residual_norm == pytest.approx(np.linalg.norm(contraction(found.x) - found.x, axis=-1))


def test_an_interrupt_leaves_the_best_iterates():
    def g(x):
        if calls.evaluations == 30:
            raise KeyboardInterrupt
        return contraction(x)

    calls = Counted(g)
    found = quietly(rv.picard, calls, np.ones((3, 2)), batch_ndim=1, rtol=1e-8)
    assert [one.name for one in found.status] == ["CONVERGED", "CONVERGED", "INTERRUPTED"]
    assert found.residual_norm == pytest.approx(np.linalg.norm(contraction(found.x) - found.x, axis=-1), rel=1e-6)
    assert found.iterations[2] == 28


def test_a_callback_is_told_of_one_member_after_the_other():
    told = []
    found = quietly(
        rv.picard,
        contraction,
        np.ones((3, 2)),
        batch_ndim=1,
        callback=lambda p: told.append((p.iteration, p.x.shape)) or p.iteration == 4,
    )
    assert told == [(k, (2,)) for _ in range(3) for k in range(1, 5)]
    assert [one.name for one in found.status] == ["STOPPED"] * 3


def test_low_precision_is_certified_in_that_of_the_data():
    found = rv.fixed_point(contraction, np.ones((3, 2)), batch_ndim=1, precision="bf16", rtol=2e-2)
    assert found.converged
    assert found.precision == "bf16"
    assert found.x.dtype == np.float64
    residual = np.linalg.norm(contraction(found.x) - found.x, axis=-1)
    assert np.all(residual <= found.tolerance * np.linalg.norm(contraction(np.ones((3, 2))), axis=-1) * (1 + 1e-12))


# A wrong answer is never said to have converged.


def test_members_that_are_coupled_are_found_out():
    """The first stops while the last still moves, and with it what the first one is the fixed point of."""

    def g(x):
        return np.stack([0.1 * x[0] + x[2] + 1000, 0.5 * x[1] + 1, 0.95 * x[2] + 1])

    found = quietly(rv.picard, g, np.ones((3, 2)), batch_ndim=1, rtol=1e-8)
    assert [one.name for one in found.status] == ["STAGNATED", "CONVERGED", "CONVERGED"]
    system = found.systems[0]
    assert system.cause is Cause.NOISE
    assert "independent of each other" in system.reason
    residual = np.linalg.norm(g(found.x) - found.x, axis=-1)
    assert found.residual_norm == pytest.approx(residual, rel=1e-6)
    assert system.residual_norm == pytest.approx(residual[0], rel=1e-6)


def test_coupled_members_are_found_out_where_they_are_taken_in_turn():
    def g(x):
        return 0.5 * x + x.mean(axis=0) / 4 + 1

    found = quietly(rv.picard, g, np.arange(6.0).reshape(3, 2), batch_ndim=1, rtol=1e-8, callback=lambda p: None)
    residual = np.linalg.norm(g(found.x) - found.x, axis=-1)
    assert Status.STAGNATED in found.status
    for k in range(3):
        system = found.systems[k]
        assert (system.status is Status.CONVERGED) == bool(residual[k] <= system.tolerance * system.reference * 1.001)
        assert found.status[k] is system.status


def test_a_g_that_returns_its_argument_once_is_not_believed():
    def g(x):
        return x if calls.evaluations == 4 else contraction(x)

    for solve in (rv.picard, rv.fixed_point, rv.halpern):
        calls = Counted(g)
        found = quietly(solve, calls, np.ones((3, 7)) * np.arange(1, 8), batch_ndim=1, rtol=1e-3, maxiter=3000)
        residual = np.linalg.norm(contraction(found.x) - found.x, axis=-1)
        wanted = found.tolerance * np.array([one.reference for one in found.systems])
        assert np.all((residual <= 1.001 * wanted) | ~found.converged_each)


def test_memory_of_the_callers_is_read_before_it_is_written_to_again():
    room = np.empty((3, 2))

    def g(x):
        np.multiply(RATES, x, out=room)
        room[...] += 1
        return room

    found = rv.picard(g, np.ones((3, 2)), batch_ndim=1, rtol=1e-10)
    assert found.x == pytest.approx(1 / (1 - RATES) * np.ones(2), rel=1e-8)
    with pytest.raises(ValueError, match="read-only"):
        rv.picard(lambda x: x.__setitem__(0, 1.0), np.ones((3, 2)), batch_ndim=1)


def test_an_arithmetic_error_is_that_of_one_member():
    def g(x):
        if np.any(x[1] > 1.6):
            raise ZeroDivisionError("no value there")
        return contraction(x)

    found = quietly(rv.picard, g, np.ones((3, 2)), batch_ndim=1)
    assert [one.name for one in found.status] == ["CONVERGED", "DIVERGED", "CONVERGED"]
    assert "no value there" in found.systems[1].reason


def test_units_in_which_squares_overflow():
    scale = np.array([[1e200], [1.0], [1e-200]])
    for solve in (rv.picard, rv.fixed_point):
        found = solve(lambda x: RATES * x + scale, np.zeros((3, 2)), batch_ndim=1, rtol=1e-8)
        assert found.converged
        assert found.x == pytest.approx(scale / (1 - RATES) * np.ones(2), rel=1e-6)
    coupled = np.array([[1e199], [0.0], [0.0]])
    found = quietly(rv.picard, lambda x: RATES * x + scale + coupled * x[2:] * 1e200, np.zeros((3, 2)), batch_ndim=1)
    assert found.status[0] is not Status.CONVERGED


# Input.


def test_first_guesses_that_are_not_finite():
    start = np.ones((3, 2))
    start[1, 0] = np.nan
    g = Counted(contraction)
    with pytest.raises(InputError, match=r"x0: has NaN entries; wanted finite ones \(system \(1,\) of the batch\)"):
        rv.picard(g, start, batch_ndim=1)
    assert not g.points
    found = quietly(rv.picard, g, start, batch_ndim=1, errors="collect")
    assert [one.name for one in found.status] == ["CONVERGED", "REFUSED", "CONVERGED"]
    assert np.isnan(found.x[1]).all()
    assert not np.isnan(g.points).any()
    assert found.x[2] == pytest.approx([10, 10], rel=1e-4)


def test_no_members():
    g = Counted(contraction)
    found = rv.fixed_point(g, {"a": np.ones((0, 2)), "b": np.ones((0, 3, 1))}, batch_ndim=1)
    assert found.converged
    assert len(found.systems) == 0
    assert {name: part.shape for name, part in found.x.items()} == {"a": (0, 2), "b": (0, 3, 1)}
    assert not g.points
    assert "empty" in str(found)


def test_blocks_share_the_axes_of_the_batch_alone():
    start = {"a": np.zeros((2, 3)), "b": np.zeros((2, 3, 2, 2), complex)}

    def g(v):
        assert v["a"].shape == (2, 3)
        assert v["b"].shape == (2, 3, 2, 2)
        return {"a": 0.1 * v["b"].real.sum(axis=(2, 3)) + rates, "b": 0.3j * v["b"] + v["a"][..., None, None]}

    rates = np.arange(6.0).reshape(2, 3)
    found = rv.fixed_point(g, start, batch_ndim=2, rtol=1e-12)
    assert found.status.shape == (2, 3)
    assert found.x["b"].dtype == complex
    value = g(found.x)
    for name, part in found.x.items():
        assert np.abs(value[name] - part).max() <= 1e-11
    member = found.systems[1, 2].x
    assert member["a"].shape == ()
    assert np.array_equal(member["b"], found.x["b"][1, 2])
    tuples = rv.picard(lambda v: (v[0] / 2, v[1] / 3 + 1), (np.ones((3, 1)), np.ones((3, 2, 2))), batch_ndim=1)
    assert isinstance(tuples.x, tuple)
    assert tuples.x[1].shape == (3, 2, 2)


@pytest.mark.parametrize(
    ("x0", "batch_ndim", "error", "said"),
    [
        (np.ones((3, 2)), True, TypeError, "batch_ndim: found True; wanted an integer"),
        (np.ones((3, 2)), -1, InputError, "batch_ndim: found -1; wanted at least 0"),
        (np.ones((3, 2)), 3, InputError, r"x0: found shape \(3, 2\); wanted at least 3 axes"),
        (1.0, 1, InputError, r"x0: found shape \(\); wanted at least 1 axis,"),
        ((np.ones((3, 2)), np.ones((4, 2))), 1, InputError, r"x0\[1\]: found shape \(4, 2\); wanted one that begins"),
        (np.ones((3, 0)), 1, InputError, "found no entries"),
    ],
)
def test_what_is_no_batch_is_refused(x0, batch_ndim, error, said):
    with pytest.raises(error, match=said):
        rv.fixed_point(lambda x: x, x0, batch_ndim=batch_ndim)


def test_values_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"g: its value has shape \(2, 2\); wanted \(3, 2\)"):
        rv.picard(lambda x: x[:2], np.ones((3, 2)), batch_ndim=1)
    with pytest.raises(TypeError, match="g: found int; wanted a callable"):
        rv.picard(3, np.ones((3, 2)), batch_ndim=1)


def test_members_that_are_numbers():
    found = rv.fixed_point(np.cos, np.linspace(0, 1, 4), batch_ndim=1, rtol=1e-12)
    assert found.x == pytest.approx(np.full(4, 0.7390851332151607), rel=1e-11)


# What comes back.


def test_the_report_counts_members():
    found = quietly(rv.picard, lambda x: np.array([[0.5], [3.0]]) * x + 1, np.ones((2, 3)), batch_ndim=1)
    said = str(found)
    assert "1 of 2 systems did not converge" in said
    assert "slowest system" in said
    assert "nan" not in said
    assert found.reason.startswith("1 of 2 systems did not converge; the first, (1,): diverged: The residual of picard")
    with pytest.warns(ConvergenceWarning, match="1 of 2 systems"):
        rv.picard(lambda x: np.array([[0.5], [3.0]]) * x + 1, np.ones((2, 3)), batch_ndim=1)


def test_many_members_keep_the_ends_of_their_histories():
    q = np.linspace(0.1, 0.8, KEPT + 1)[:, None]
    found = rv.picard(lambda x: q * x + 1, np.ones((KEPT + 1, 2)), batch_ndim=1)
    assert found.converged
    system = found.systems[-1]
    assert system.residual_iterations.tolist() == [0, system.iterations]
    assert system.residual_norms[-1] == pytest.approx(system.residual_norm)
    assert "true residual is" in system.reason


def test_what_is_returned_may_be_written_to():
    found = quietly(rv.picard, lambda x: x + 1, np.zeros((2, 3)), batch_ndim=1, maxiter=8)
    found.x[...] = 7
    assert found.systems[0].displacement.vector == pytest.approx([-1, -1, -1])
    assert found.systems[0].moved == pytest.approx(8 * math.sqrt(3))


def test_pickles_and_copies():
    for solve in (rv.picard, rv.fixed_point, rv.halpern):
        start = {"a": np.zeros(2), "b": np.ones((2, 3))}
        found = quietly(solve, lambda v: {"a": v["a"] / 2 + 1, "b": v["b"] / 3}, start, batch_ndim=1, maxiter=200)
        wanted = found.systems[1].reason
        for again in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found), copy.copy(found)):
            assert again.systems[1].reason == wanted
            assert np.array_equal(again.systems[0].x["b"], found.x["b"][0])
            assert again.status.tolist() == found.status.tolist()


def test_what_only_a_step_needs_is_let_go():
    n = 5000
    found = rv.anderson(lambda x: x / 2 + np.arange(n), np.zeros((3, n)), batch_ndim=1, depth=20)
    assert found.converged
    assert len(pickle.dumps(found)) < 6 * 3 * n * 8  # the first guesses, x, the residuals, and what goes with them


def test_all_are_refused():
    g = Counted(contraction)
    found = quietly(rv.picard, g, np.full((3, 2), np.nan), batch_ndim=1, errors="collect")
    assert set(found.status) == {Status.REFUSED}
    assert not g.points
    assert "of max(||x0||, ||g(x0)||)" in str(found)


LIBRARIES = [
    name
    for name, module in (("torch", "torch"), ("numba", "torch"), ("array_api", "array_api_strict"))
    if importlib.util.find_spec(module) is not None
]


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("method", ["auto", "anderson", "picard", "halpern", "restarted_halpern"])
def test_other_libraries_do_as_numpy_does(name, method):
    if name == "array_api":
        import array_api_strict as xp

        give, back = xp.asarray, lambda x: np.array(x.__array__())
    else:
        import torch as xp

        give, back = xp.tensor, lambda x: x.numpy()
    G, b = affine(members=4, n=8)
    A, c = give(G), give(b)
    options = {"batch_ndim": 1, "rtol": 1e-8, **chosen(method)}
    wanted = quietly(rv.fixed_point, stacked(G, b), np.zeros_like(b), backend="numpy", **options)
    found = quietly(rv.fixed_point, lambda x: xp.matmul(A, x[..., None])[..., 0] + c, 0 * c, backend=name, **options)
    assert found.iterations.tolist() == wanted.iterations.tolist()
    assert found.status.tolist() == wanted.status.tolist()
    assert isinstance(found.x, type(c))
    assert np.abs(back(found.x) - wanted.x).max() <= 1e-10 * np.abs(wanted.x).max()
    assert isinstance(found.systems[1].x, type(c))


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
def test_tensors_that_g_changes_in_place_and_gradients():
    import torch

    q = torch.tensor(RATES)
    for backend in ("torch", "numba"):
        start = torch.ones((3, 2), dtype=torch.float64, requires_grad=True)
        found = rv.picard(lambda x: x.mul_(q).add_(1), start, batch_ndim=1, rtol=1e-10, backend=backend)
        assert found.converged
        assert not found.x.requires_grad
        assert torch.equal(start, torch.ones_like(start))
        assert np.abs(found.x.numpy() - 1 / (1 - RATES)).max() <= 1e-8


def test_what_stacks_do_not_take_is_taken_in_turn():
    g = Counted(contraction)
    found = rv.anderson(g, np.ones((3, 2)), batch_ndim=1, rtol=1e-10, type="I")
    for k, q in enumerate(RATES[:, 0]):
        alone = rv.anderson(lambda x, q=q: q * x + 1, np.ones(2), rtol=1e-10, type="I")
        assert found.iterations[k] == alone.iterations
        assert found.x[k] == pytest.approx(alone.x, rel=1e-12)
    assert g.evaluations == found.iterations.sum() + 2  # the first and the last one serve all of them


@pytest.mark.slow
def test_long_histories_stay_orthogonal():
    """Columns come and go more often than a hundred times."""
    n = 40
    eigenvalues = np.stack([np.linspace(0.02, 0.99, n), 0.999 * np.cos(np.linspace(0, math.pi, n))])
    found = quietly(rv.anderson, lambda x: eigenvalues * x + 1, np.zeros((2, n)), batch_ndim=1, rtol=1e-11, depth=3)
    for k in range(2):
        alone = quietly(rv.anderson, lambda x, k=k: eigenvalues[k] * x + 1, np.zeros(n), rtol=1e-11, depth=3)
        assert found.status[k] is alone.status
        assert max(found.iterations[k], alone.iterations) > 110
        assert found.iterations[k] == pytest.approx(alone.iterations, rel=0.15)


def some_map(rng, n):
    """One of many kinds: contracting, expanding, without a fixed point, not finite everywhere."""
    kind, b = rng.integers(8), rng.standard_normal(n)
    a = rng.uniform(0.1, 4)
    W = rng.standard_normal((n, n)) * rng.uniform(0.2, 2) / math.sqrt(n)
    return (
        lambda x: W @ x + b,
        lambda x: np.tanh(W @ x) + b,
        lambda x: x + b,
        lambda x: np.where(x > 0.5 + a / 3, np.nan, 0.9 * x + 0.3),
        lambda x: a * np.cos(x),
        lambda x: np.sqrt(x - 0.5) + 1,
        lambda x: a * x * (1 - x),
        lambda x: (x + a / x) / 2,
    )[kind]


@pytest.mark.parametrize("seed", range(12))
def test_whatever_g_does_the_truth_is_told(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 12))
    maps = [some_map(rng, n) for _ in range(5)]
    start = rng.standard_normal((5, n)) + rng.integers(2)
    options = chosen(list(METHODS)[seed]) | {"rtol": 1e-8, "maxiter": 200}
    with np.errstate(all="ignore"):
        found = quietly(
            rv.fixed_point, lambda x: np.stack([g(own) for g, own in zip(maps, x, strict=True)]), start, batch_ndim=1,
            **options,
        )  # fmt: skip
        for k, g in enumerate(maps):
            system = found.systems[k]
            alone = quietly(rv.fixed_point, g, start[k], **options)
            assert system.status is alone.status
            residual = np.linalg.norm(g(system.x) - system.x)
            if system.converged:
                assert residual <= system.tolerance * system.reference * (1 + 1e-12)
            if math.isfinite(residual):
                assert system.residual_norm == pytest.approx(residual, rel=1e-9, abs=1e-300)
