"""Halpern's iteration at the exact bounds of its theory, and the fixed point that it selects."""

import math

import numpy as np
import pytest

import resolvent as rv
from resolvent.solvers.driver.status import Status

unconverged = pytest.mark.filterwarnings("ignore::resolvent.errors.ConvergenceWarning")


def rotation(angle):
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def norms_of(g, x0, iterations, **parameters):
    """||g(x_k) - x_k|| for k = 0, 1, ..., and the Solution."""
    solution = rv.halpern(g, x0, rtol=0, maxiter=iterations, **parameters)
    return solution.residual_norms, solution


@unconverged
@pytest.mark.parametrize("last", [1, 2, 5, 20, 101])
def test_the_bound_is_attained_on_a_rotation(last):
    """2 ||x0 - x*|| / (k + 1) at k = N where the plane is turned by pi / (N + 1), and at no k is more."""
    R = rotation(math.pi / (last + 1))
    norms, solution = norms_of(lambda x: R @ x, np.array([3.0, 4.0]), 3 * last)
    times = norms * (np.arange(norms.size) + 1) / 2
    assert times[last] == pytest.approx(5, rel=1e-14)
    assert times.max() <= 5 * (1 + 1e-14)
    assert solution.distance_bound == pytest.approx(5, rel=1e-14)


@unconverged
def test_the_bound_is_attained_at_every_other_step_of_a_reflection():
    norms, _ = norms_of(lambda x: -x, np.ones(1), 30)
    np.testing.assert_allclose(norms[::2], 2 / np.arange(1, norms.size + 1, 2), rtol=1e-14)
    np.testing.assert_array_equal(norms[1], 0)


@unconverged
def test_iterates_of_a_linear_map_are_means_of_picard_iterates():
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    x0, seen = rng.normal(size=6), []
    rv.halpern(lambda x: Q @ x, x0, rtol=0, maxiter=40, callback=lambda p: seen.append(p.x.copy()))
    powers = [x0]
    for k, x in enumerate(seen, 1):
        powers.append(Q @ powers[-1])
        np.testing.assert_allclose(x, np.mean(powers[: k + 1], axis=0), atol=1e-14)


@unconverged
@pytest.mark.parametrize("order", [1, np.inf])
def test_for_an_affine_map_the_bound_holds_in_any_norm(order):
    """x_k - g(x_k) = (x0 - g^(k+1)(x0)) / (k + 1), at most twice the distance of any fixed point over k + 1."""
    n = 9
    shift = np.roll(np.eye(n), 1, axis=0)
    shift[0] *= -1  # n shifts change the sign
    x0, sizes = np.linspace(-1, 2, n), []
    rv.halpern(lambda x: shift @ x, x0, rtol=0, maxiter=3 * n, callback=lambda p: sizes.append(p.x - shift @ p.x))
    times = np.array([np.linalg.norm(u, order) * (k + 1) / 2 for k, u in enumerate(sizes, 1)])
    distance = np.linalg.norm(x0, order)
    assert times[n - 2] == pytest.approx(distance, rel=1e-13)
    assert times.max() <= distance * (1 + 1e-13)


@unconverged
@pytest.mark.parametrize("q", [0.3, 0.9, 0.99])
def test_the_bound_of_contractions_is_attained(q):
    sums = np.cumsum(q ** -np.arange(25.0))
    norms, solution = norms_of(lambda x: -q * x, np.full(1, 7.0), 24, contraction=q)
    np.testing.assert_allclose(norms[::2], 7 * (1 + q) / sums[::2], rtol=1e-12)
    assert np.all(norms <= 7 * (1 + q) / sums * (1 + 1e-12))
    assert solution.distance_bound == pytest.approx(7, rel=1e-14)
    R = q * rotation(math.pi / 11)
    norms, _ = norms_of(lambda x: R @ x, np.array([1.0, 0.0]), 24, contraction=q)
    assert norms[10] == pytest.approx((1 + q) / sums[10], rel=1e-12)
    assert np.all(norms <= (1 + q) / sums * (1 + 1e-12))


def test_a_contraction_needs_fewer_iterations_than_picard_and_at_most_those_predicted():
    q = 0.98

    def g(x):
        return -q * x + 1

    solution = rv.halpern(g, np.zeros(3), contraction=q, rtol=1e-3)
    assert solution.converged
    assert solution.iterations <= solution.predicted_iterations
    picard = rv.picard(g, np.zeros(3), rtol=1e-3)
    assert solution.iterations < picard.iterations < solution.predicted_iterations + 10
    bound = solution.bound
    assert "at most" in bound.label
    assert np.all(solution.relative_residual_norms <= bound.values * (1 + 1e-12))
    # Where the first residual says least, x0 - x* is (1 - q)^-1 of it, and the prediction is met exactly.
    tight = rv.halpern(lambda x: q * x + 1, np.zeros(3), contraction=q, rtol=1e-3)
    assert tight.iterations <= tight.predicted_iterations


@unconverged
def test_a_reflection_halves_the_bound_of_firmly_nonexpansive_maps():
    last = 10
    c = math.tan(math.pi / (last + 1) / 2)
    J = np.linalg.inv(np.array([[1, c], [-c, 1]]))  # whose reflection 2 J - I turns the plane by pi / (N + 1)
    x0 = np.array([1.0, 0.0])
    reflected, solution = norms_of(lambda x: J @ x, x0, 40, reflection=1)
    k = np.arange(reflected.size)
    assert reflected[last] == pytest.approx(1 / (last + 1), rel=1e-13)
    assert np.all(reflected <= (1 + 1e-13) / (k + 1))
    assert solution.distance_bound == pytest.approx(1, rel=1e-13)
    assert "prolonged by 1" in solution.reason
    worst = max(
        norms_of(lambda x, c=c: np.linalg.solve([[1, c], [-c, 1]], x), x0, last)[0][-1]
        for c in np.linspace(0.2, 0.4, 41)
    )
    assert worst * (last + 1) == pytest.approx(1.675, abs=1e-3)


@unconverged
@pytest.mark.parametrize("backend", ["numpy", "numba", "torch"])
def test_iterates_are_those_of_the_definition_on_every_backend(backend):
    q, reach, x0, A = 0.95, 1.6, np.array([1.0, -2.0]), rotation(0.4) / 2
    start, matrix, seen = x0, A, []
    if backend == "torch":
        start, matrix = map(pytest.importorskip("torch").from_numpy, (x0, A))
    rv.halpern(
        lambda x: matrix @ x,
        start,
        contraction=q,
        reflection=reach - 1,
        rtol=0,
        maxiter=30,
        backend=backend,
        callback=lambda p: seen.append(p.x),
    )
    x = x0
    for k, found in enumerate(seen):
        phi = sum(q ** (-2 * i) for i in range(k + 2))
        x = x0 / phi + (1 - 1 / phi) * (reach * (A @ x) + (1 - reach) * x)
        np.testing.assert_allclose(np.asarray(found), x, rtol=1e-11, atol=1e-14)


@unconverged
def test_in_half_the_digits():
    last = 9
    R = rotation(math.pi / (last + 1)).astype(np.float32)
    norms, solution = norms_of(lambda x: R @ x, np.array([1, 0], np.float32), 30)
    assert solution.precision == "float32"
    assert norms[last] == pytest.approx(2 / (last + 1), rel=1e-5)
    assert np.all(norms <= 2 * (1 + 1e-5) / (np.arange(norms.size) + 1))
    assert solution.distance_bound == pytest.approx(1, rel=1e-5)


class TestSelection:
    """The limit is the fixed point nearest to x0, which Picard's is not."""

    def test_on_an_affine_set(self):
        rng = np.random.default_rng(1)
        a, b = rng.normal(size=(2, 7))
        a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)

        def g(x):
            x = x - (a @ x - 1) * a
            return x - (b @ x + 2) * b

        x0 = rng.normal(size=7)
        A, c = np.stack((a, b)), np.array([1.0, -2.0])
        nearest = x0 + np.linalg.lstsq(A, c - A @ x0, rcond=None)[0]
        solution = rv.halpern(g, x0, rtol=1e-4, maxiter=10**5)
        np.testing.assert_allclose(solution.x, nearest, atol=1e-2)
        assert solution.distance_bound <= np.linalg.norm(x0 - nearest) * (1 + 1e-12)
        assert solution.distance_bound > 0.9 * np.linalg.norm(x0 - nearest)
        assert solution.moved == pytest.approx(np.linalg.norm(solution.x - x0))

    def test_on_half_spaces(self):
        n = np.array([-1.0, 1.0]) / math.sqrt(2)

        def g(x):
            """Onto {x_1 >= 0}, then onto {n x <= 0}."""
            x = np.array([max(x[0], 0.0), x[1]])
            return x - max(n @ x, 0) * n

        x0 = np.array([-3.0, 4.0])
        solution = rv.halpern(g, x0, rtol=1e-4, maxiter=10**5)
        picard = rv.picard(g, x0, rtol=1e-12)
        np.testing.assert_allclose(solution.x, [0.5, 0.5], atol=1e-2)
        np.testing.assert_allclose(picard.x, [2, 2], atol=1e-12)
        nearest = math.hypot(3.5, 3.5)
        assert 0.99 * nearest < solution.distance_bound <= nearest * (1 + 1e-12)


def test_the_bound_in_hindsight():
    R = rotation(0.3)
    solution = rv.halpern(lambda x: R @ x, np.array([1.0, 1.0]), rtol=1e-2)
    assert solution.converged
    assert "about" in solution.bound.label
    assert np.all(solution.relative_residual_norms <= solution.bound.values * 1.02)
    assert solution.predicted_iterations is None


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"contraction": 0}, "contraction: found 0"),
        ({"contraction": 1.5}, "contraction: found 1.5"),
        ({"reflection": -0.1}, "reflection: found -0.1"),
        ({"reflection": float("nan")}, "reflection: found nan"),
        ({"radius": 0}, "radius: found 0"),
        ({"radius": math.inf}, "radius: found inf"),
    ],
)
def test_what_is_refused(parameters, said):
    with pytest.raises(rv.InputError, match=said):
        rv.halpern(np.cos, 1.0, **parameters)


def test_a_map_that_expands_is_said_to():
    with pytest.warns(rv.ConvergenceWarning, match="g expands"):
        solution = rv.halpern(lambda x: -3 * x + 1, np.zeros(2))
    assert solution.status is Status.DIVERGED


def test_any_structure_and_complex_numbers():
    found = rv.halpern(lambda v: {"a": 1j * v["a"], "b": -v["b"]}, {"a": 1 + 0j, "b": np.ones(2)}, rtol=1e-3)
    assert found.converged
    assert abs(found.x["a"]) < 1e-2
    assert np.abs(found.x["b"]).max() < 1e-2
    assert found.distance_bound <= math.sqrt(3) * (1 + 1e-12)
