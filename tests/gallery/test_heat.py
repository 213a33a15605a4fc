"""The heat sequence: its constants, its direct solver, and marching with a solver of one's own."""

import types

import numpy as np
import pytest
from scipy.sparse.linalg import cg, spsolve

from resolvent.gallery import Problem, heat_conductivity, heat_sequence


def test_constants():
    sequence = heat_sequence(100)
    assert len(sequence) == 5000
    assert sequence.times[-1] == pytest.approx(4.999)
    # s = kappa dt n_x**2 / 2: from near 0 to 10 * 1e-3 * 1e4 / 2
    assert sequence.coefficients.max() == pytest.approx(50, rel=1e-4)
    assert sequence.coefficients.min() > 0
    assert sequence.coefficients[249] == pytest.approx(0.5, rel=1e-4)
    assert heat_conductivity(0.25) == pytest.approx(0.1)
    assert heat_conductivity(0.75) == pytest.approx(10)


def test_initial_state_is_a_bump_of_height_one():
    sequence = heat_sequence(8, 1)
    u = sequence.initial().reshape(7, 7)
    assert u[3, 3] == 1
    assert u[3, 4] == pytest.approx(np.exp(1 - 1 / (1 - 0.25)))  # at distance 1/8, half the radius
    assert u[3, 5] == 0  # at the radius
    np.testing.assert_array_equal(u, u.T)


def test_matrix_and_right_hand_side_follow_crank_nicolson():
    sequence = heat_sequence(16, 800)
    rng = np.random.default_rng(0)
    u = rng.standard_normal(225)
    step = 700
    problem = sequence.problem(step, u)
    t = (step + 0.5) * 1e-3
    K = 4 * np.eye(225) - np.eye(225, k=15) - np.eye(225, k=-15)
    beside = np.eye(225, k=1)
    beside[14::15] = 0
    K -= beside + beside.T
    c = 10 * -np.sin(2 * np.pi * t) * 1e-3 * 16**2 / 2
    np.testing.assert_allclose(problem.A.toarray(), np.eye(225) + c * K, rtol=1e-13)
    assert problem.context == pytest.approx(c, rel=1e-13)
    assert problem.context == pytest.approx(sequence.coefficients[step], rel=1e-12)
    x, y = np.meshgrid(np.arange(1, 16) / 16, np.arange(1, 16) / 16, indexing="ij")
    q = ((x - 0.5 - np.cos(16 * np.pi * t) / 4) ** 2 + (y - 0.5 - np.sin(16 * np.pi * t) / 4) ** 2) * 64
    f = 32 * np.where(q < 1, np.exp(1 - 1 / np.where(q < 1, 1 - q, 1)), 0)
    assert (f > 0).sum() > 3
    np.testing.assert_allclose(problem.b, u - c * (K @ u) + 1e-3 * f.ravel(), atol=1e-12)


def test_spectrum():
    sequence = heat_sequence(7, 1000)
    problem = sequence.problem(750, sequence.initial())
    values = np.linalg.eigvalsh(problem.A.toarray())
    np.testing.assert_allclose(problem.eigenvalues(), values, rtol=1e-13)
    assert problem.spectrum[0] == pytest.approx(1 + 8 * problem.context * np.sin(np.pi / 14) ** 2)
    assert problem.condition == pytest.approx(values[-1] / values[0])


def test_iteration_solves_each_system_directly():
    sequence = heat_sequence(12, 12, dt=0.05)
    u = sequence.initial()
    seen = 0
    for step, problem in enumerate(sequence):
        assert isinstance(problem, Problem)
        expected = sequence.problem(step, u)
        np.testing.assert_array_equal(problem.b, expected.b)
        u = spsolve(problem.A.tocsc(), problem.b)
        np.testing.assert_allclose(problem.x, u, rtol=1e-12, atol=1e-14)
        u = problem.x
        seen += 1
    assert seen == 12


def test_iterating_twice_gives_the_same():
    sequence = heat_sequence(6, 4)
    for one, two in zip(sequence, sequence, strict=True):
        np.testing.assert_array_equal(one.b, two.b)


def test_matrices_share_their_index_arrays():
    sequence = heat_sequence(6, 3)
    one, two = (sequence.problem(k, sequence.initial()).A for k in (0, 1))
    assert np.shares_memory(one.indices, two.indices)
    assert np.shares_memory(one.indptr, two.indptr)
    assert not np.shares_memory(one.data, two.data)
    assert one.indices.dtype == np.int32
    assert one.has_sorted_indices


def test_marching_hands_over_the_previous_state():
    sequence = heat_sequence(10, 5, dt=0.01)
    starts = []

    def solve(problem, u):
        starts.append(u)
        return cg(problem.A, problem.b, x0=u, rtol=1e-12)[0]

    states = [u for _, u in sequence.march(solve)]
    np.testing.assert_array_equal(starts[0], sequence.initial())
    for start, state in zip(starts[1:], states, strict=False):
        np.testing.assert_array_equal(start, state)
    for problem, state in zip(sequence, states, strict=True):
        np.testing.assert_allclose(state, problem.x, atol=1e-10)


def test_marching_accepts_anything_with_an_x():
    sequence = heat_sequence(5, 3)
    answers = [
        answer for _, answer in sequence.march(lambda problem, u: types.SimpleNamespace(x=sequence.solve(problem)))
    ]
    for problem, answer in zip(sequence, answers, strict=True):
        np.testing.assert_array_equal(problem.x, answer.x)


def test_second_order_in_time():
    # All but the step is kept, so the difference between successive halvings falls by 4.
    def end(steps):
        *_, last = heat_sequence(8, steps, dt=0.02 / steps)
        return last.x

    coarse, middle, fine = end(20), end(40), end(80)
    ratio = np.linalg.norm(coarse - middle) / np.linalg.norm(middle - fine)
    assert np.log2(ratio) == pytest.approx(2, abs=0.2)


@pytest.mark.slow
def test_iterations_of_conjugate_gradients_agree_with_an_independent_program():
    # 5000 warm-started systems at relative tolerance 1e-8 took 85,422 iterations at n_x = 25 in another implementation;
    # rounding may move a count here and there.
    total = 0

    def count(_):
        nonlocal total
        total += 1

    for _ in heat_sequence(25).march(lambda p, u: cg(p.A, p.b, x0=u, rtol=1e-8, callback=count)[0]):
        pass
    assert total == pytest.approx(85_422, abs=50)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_x": 1}, ValueError, "n_x is 1; it must be at least 2"),
        ({"n_x": 5, "steps": 0}, ValueError, "steps is 0"),
        ({"n_x": 5, "dt": 0.0}, ValueError, "dt is 0.0"),
        ({"n_x": 5.5}, TypeError, "n_x is 5.5"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        heat_sequence(**arguments)


def test_bad_steps_and_states():
    sequence = heat_sequence(5, 3)
    with pytest.raises(ValueError, match="step is 3; it must be below 3"):
        sequence.problem(3, sequence.initial())
    with pytest.raises(ValueError, match=r"u has shape \(4,\); it must be \(16,\)"):
        sequence.problem(0, np.zeros(4))
