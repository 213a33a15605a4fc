"""rv.FixedPointSequence: warm starts, tuned parameters, those given up, and tracking with one step a map."""

import warnings

import numpy as np
import pytest

import resolvent as rv
from resolvent.solvers.driver.status import Status
from resolvent.solvers.tuning import Choice, Fixed, TsallisINF


def affine(t, n=30):
    """A slowly contracting map whose fixed point is known and moves with t."""
    d = np.linspace(0.02, 1.0, n)
    wanted = np.cos(t + np.arange(n))
    return (lambda x: x - d * (x - wanted)), wanted


def run(sequence, count=40, n=30, step=0.01):
    found = []
    for k in range(count):
        g, wanted = affine(step * k, n)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rv.ConvergenceWarning)
            found.append((sequence.solve(g, np.zeros(n) if k == 0 else None, context=step * k), wanted))
    return found


@pytest.mark.parametrize("method", ["auto", "picard", "anderson"])
def test_every_map_is_solved(method):
    sequence = rv.FixedPointSequence(method, rtol=1e-9, maxiter=5000)
    for solution, wanted in run(sequence, 5):
        assert solution.converged
        # The error is at most the residual over the least of 1 - eigenvalue, 0.02.
        assert np.linalg.norm(solution.x - wanted) <= 1e-9 / 0.02 * 2 * np.linalg.norm(wanted)
    assert sequence.history.contexts == [0.0, 0.01, 0.02, 0.03, 0.04]
    assert sequence.tuner is None


def test_warm_starts_save_evaluations():
    spent = {}
    for kind in ("previous", "extrapolate"):
        spent[kind] = sum(
            s.evaluations for s, _ in run(rv.FixedPointSequence("picard", rtol=1e-8, warm_start=kind), 20)
        )
    cold = sum(rv.picard(affine(0.01 * k)[0], np.zeros(30), rtol=1e-8).evaluations for k in range(20))
    assert spent["previous"] < 0.9 * cold
    assert spent["extrapolate"] < 0.9 * spent["previous"]  # the fixed points move on a smooth curve


def test_what_the_caller_does_to_a_solution_is_not_seen():
    sequence = rv.FixedPointSequence("anderson", rtol=1e-10)
    g, _ = affine(0.0)
    sequence.solve(g, np.zeros(30)).x[:] = 1e6
    assert sequence.solve(g).iterations == 0


@pytest.mark.parametrize(
    ("method", "values", "best"),
    [
        ("picard", [{"damping": 0.2}, {"damping": 1.0}], {"damping": 1.0}),
        ("anderson", [{"depth": 1}, {"depth": 30}], {"depth": 30}),
        ("anderson", [{"beta": 0.05, "depth": 2}, {"beta": 1.0, "depth": 25}], {"beta": 1.0, "depth": 25}),
        ("anderson", [{"period": 1, "restart_every": 2}, {"period": 1}], {"period": 1}),
    ],
)
def test_a_tuner_finds_the_cheaper_parameters(method, values, best):
    tuner = TsallisINF(values, parameter=next(iter(values[0])), seed=1)
    sequence = rv.FixedPointSequence(method, tuner=tuner, rtol=1e-8, maxiter=20_000)
    found = run(sequence, 60)
    assert all(solution.converged for solution, _ in found)
    assert sequence.history.parameters[-20:].count(best) >= 16
    assert sequence.history.costs[-1] == found[-1][0].evaluations


def test_a_tuner_of_one_number():
    sequence = rv.FixedPointSequence("picard", tuner=Fixed(0.5, parameter="damping"), rtol=1e-6, maxiter=10_000)
    solution = run(sequence, 1)[0][0]
    assert (
        solution.iterations
        == rv.picard(affine(0.0)[0], np.zeros(30), damping=0.5, rtol=1e-6, maxiter=10_000).iterations
    )


def test_of_several_methods_the_cheapest_is_found():
    sequence = rv.FixedPointSequence(["picard", "anderson"], rtol=1e-8, maxiter=10_000)
    assert isinstance(sequence.tuner, Choice)
    run(sequence, 40)
    assert sequence.tuner.best == "anderson"
    assert sequence.method == "picard|anderson"


def test_a_parameter_that_fails_is_replaced_within_the_solve():
    def g(x):
        return -2 * x + 3.0  # damping below 2/3 converges to 1

    tuner = TsallisINF([{"damping": 0.3}, {"damping": 1.0}], parameter="damping", seed=0)
    sequence = rv.FixedPointSequence("picard", tuner=tuner, rtol=1e-10)
    sequence.solve(g, np.zeros(3))
    while sequence.history.parameters[-1] != {"damping": 0.3}:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rv.ConvergenceWarning)
            sequence.solve(g, np.zeros(3))
    later = [sequence.solve(g, np.zeros(3)) for _ in range(30)]
    assert all(solution.converged for solution in later)
    failed = [k for k, value in enumerate(sequence.history.parameters) if value == {"damping": 1.0} and k > 0]
    assert any(sequence.history.given_up[k] for k in failed)
    for solution, given_up in zip(later, sequence.history.given_up[-30:], strict=True):
        assert ("was given up" in solution.reason) == given_up
        assert np.allclose(solution.x, 1.0, atol=1e-9)
        assert solution.evaluations >= solution.iterations + 1


def test_one_step_a_map_tracks_with_an_error_proportional_to_the_movement():
    # x_t = g_t(x_{t-1}): ||x_t - x*_t|| <= q (||x_{t-1} - x*_{t-1}|| + v), which tends to q v / (1 - q).
    q, n = 0.8, 20
    rng = np.random.default_rng(4)
    rotation = np.linalg.qr(rng.standard_normal((n, n)))[0]
    errors = {}
    for step in (1e-2, 1e-3, 1e-4):
        sequence = rv.FixedPointSequence("picard", maxiter=1, rtol=0.0)
        last, moved = None, 0.0
        for k in range(120):
            wanted = np.sin(step * k + np.arange(n))
            moved = max(moved, 0.0 if last is None else np.linalg.norm(wanted - last))
            last = wanted
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", rv.ConvergenceWarning)
                solution = sequence.solve(
                    lambda x, wanted=wanted: wanted + q * rotation @ (x - wanted), np.zeros(n) if k == 0 else None
                )
            assert solution.iterations == 1
            assert solution.evaluations == 2
            assert solution.status is Status.MAX_ITERATIONS
        start = q**120 * np.linalg.norm(np.sin(np.arange(n)))
        errors[step] = np.linalg.norm(solution.x - wanted)
        assert errors[step] <= start + q * moved / (1 - q)
        assert errors[step] >= q * moved / (1 + q) - start  # no free lunch: the bound is sharp to (1 + q) / (1 - q)
    assert 5 < errors[1e-2] / errors[1e-3] < 20
    assert 5 < errors[1e-3] / errors[1e-4] < 20


def test_structures_and_libraries():
    sequence = rv.FixedPointSequence("anderson", rtol=1e-10, warm_start="extrapolate")
    start = {"a": np.zeros(2), "b": np.zeros(2)}
    for t in (0.0, 0.1, 0.2):
        solution = sequence.solve(lambda v, t=t: {"a": v["b"] / 2, "b": 1 - v["a"] + t}, start if t == 0 else None)
        assert np.allclose(solution.x["a"], (1 + t) / 3)
    torch = pytest.importorskip("torch")
    solution = sequence.solve(torch.cos, torch.zeros(4, dtype=torch.float64))
    assert torch.allclose(solution.x, torch.full((4,), 0.7390851332151607, dtype=torch.float64))
    assert torch.is_tensor(sequence.solve(torch.cos).x)
    number = rv.FixedPointSequence("picard")
    number.solve(lambda x: x / 2 + 1, 0.0)
    assert isinstance(number.solve(lambda x: x / 2 + 1).x, float)


def test_what_was_learnt_is_saved(tmp_path):
    values = [{"depth": 1}, {"depth": 10}]

    def made():
        return rv.FixedPointSequence("anderson", tuner=TsallisINF(values, parameter="depth", seed=3), rtol=1e-8)

    first = made()
    run(first, 12)
    first.save(tmp_path / "learnt")
    second = made()
    second.load(tmp_path / "learnt")
    assert len(second.history) == 12
    g, _ = affine(1.0)
    with pytest.raises(rv.InputError, match=r"^x0: found none"):
        second.solve(g)
    start = first.solve(g).x * 0
    first.load(tmp_path / "learnt")
    for _ in range(10):
        first.solve(g, start)
        second.solve(g, start)
    assert first.history.parameters == second.history.parameters
    assert first.history.costs == second.history.costs


def test_the_report():
    sequence = rv.FixedPointSequence("picard", rtol=1e-4)
    run(sequence, 3)
    assert sequence.report().startswith("picard: 3 systems")
    assert "evaluations" in sequence.report()


def test_one_solve_at_a_time():
    sequence = rv.FixedPointSequence("picard")

    def g(x):
        return sequence.solve(np.cos, x)

    with pytest.raises(rv.BusyError):
        sequence.solve(g, np.zeros(2))
    assert sequence.solve(np.cos, np.zeros(2)).converged


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"method": "newton"}, "method"),
        ({"method": "picard", "depth": 3}, "depth"),
        ({"cost": "work"}, "cost"),
        ({"warm_start": "subspace"}, "warm_start"),
        ({"give_up": 0.5}, "give_up"),
        ({"method": "picard", "tuner": Fixed(1.0, parameter="depth")}, "tuner"),
        ({"rtol": 2.0}, "rtol"),
    ],
)
def test_what_is_refused(keywords, named):
    with pytest.raises(rv.InputError, match=f"^{named}: "):
        rv.FixedPointSequence(**keywords)


def test_the_first_map_needs_a_guess():
    with pytest.raises(rv.InputError, match=r"^x0: found none"):
        rv.FixedPointSequence().solve(np.cos)
