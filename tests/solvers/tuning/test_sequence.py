"""rv.Sequence: what it solves, remembers, gives up, saves; and that it is the same on every backend."""

import contextlib
import copy
import json
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import cho_solve

import resolvent as rv
from resolvent.gallery import heat_sequence, poisson, shifted_laplacians
from resolvent.solvers.relaxation.sor import SOR
from resolvent.solvers.tuning import (
    Auto,
    ChebCB,
    Choice,
    Evidence,
    Fixed,
    GaussianThompson,
    Spectral,
    TsallisINF,
    TsallisINFBinned,
)
from resolvent.solvers.tuning.rounds import FEWEST


def laplacians(count, seed=0):
    return list(shifted_laplacians(10, count, seed=seed))


def solved(sequence, problems):
    return [sequence.solve(problem.A, problem.b, context=problem.context) for problem in problems]


@pytest.mark.parametrize("method", rv.METHODS)
def test_every_method(method):
    problems = laplacians(6)
    sequence = rv.Sequence(method, rtol=1e-8, maxiter=20_000)
    for problem, solution in zip(problems, solved(sequence, problems), strict=True):
        assert solution.converged
        assert np.linalg.norm(problem.b - problem.A @ solution.x) <= 1.01e-8 * np.linalg.norm(problem.b)
    history = sequence.history
    assert len(history) == len(history.parameters) == len(history.contexts) == 6
    assert history.contexts == [problem.context for problem in problems]
    assert history.costs == [float(k) for k in history.iterations]
    assert set(history.statuses) == {"CONVERGED"}


def test_default_tuners():
    for method in ("sor", "ssor", "ssor_cg"):
        assert isinstance(rv.Sequence(method).tuner, Auto)
        assert rv.Sequence(method).tuner.spectral is not None
    assert rv.Sequence("cg").tuner is None
    assert rv.Sequence("sor", omega=1.5).tuner is None
    assert isinstance(rv.Sequence(["cg", "sor"]).tuner, Choice)


@pytest.mark.parametrize("method", ["sor", "ssor", "ssor_cg"])
def test_auto_beats_every_fixed_omega(method):
    problems = list(heat_sequence(16, 760))[700:]  # where the conductivity is large
    auto = rv.Sequence(method, rtol=1e-8)
    solved(auto, problems * 2)
    best = min(
        sum(solution.iterations for solution in solved(rv.Sequence(method, tuner=Fixed(omega), rtol=1e-8), problems))
        for omega in (1.0, 1.2, 1.4, 1.6, 1.8)
    )
    assert sum(auto.history.iterations[60:]) <= 1.02 * best


LEARNERS = {
    "TsallisINF": lambda values, parameter: TsallisINF(values, parameter=parameter, seed=0),
    "reduced": lambda values, parameter: TsallisINF(values, parameter=parameter, variance_reduced=True, seed=0),
    "Binned": lambda values, parameter: TsallisINFBinned((-0.2, 0.5), values, bins=1, parameter=parameter, seed=0),
    "ChebCB": lambda values, parameter: ChebCB((-0.2, 0.5), values, features=3, parameter=parameter, seed=0),
    "Thompson": lambda values, parameter: GaussianThompson(values, parameter=parameter, smoothness=0, seed=0),
    "Auto": lambda values, parameter: Auto(values, parameter=parameter, seed=0),
}


def incomplete(A, drop_tolerance):
    """The inverse of L L^T, L being the Cholesky factor of A without its small entries."""
    L = np.linalg.cholesky(A.toarray())
    L[abs(L) < drop_tolerance] = 0
    return cho_solve((L, True), np.eye(len(L)))


# By what is tuned: the method, its arguments, the parameter, the values, and which of them is best by far.
TUNED = {
    "direction of sweeps": ("gauss_seidel", {}, "sweep", ["forward", "symmetric"], 1),
    "interval's ends": ("chebyshev", {}, "interval", [(0.001, 9.0), (0.1, 60.0), (0.1, 9.0)], 2),
    "step length": ("richardson", {}, "omega", [0.05, 0.1, 0.22], 2),
    "degree of a preconditioner": (
        "cg",
        {"precondition": lambda A, degree: rv.precondition.polynomial(A, degree)},
        "degree",
        [1, 2, 6],
        2,
    ),
    "drop tolerance of a preconditioner": ("cg", {"precondition": incomplete}, "drop_tolerance", [0.9, 0.02], 1),
    "method and parameter": (
        ["jacobi", "sor", "cg"],
        {"cost": "iterations"},
        "method",
        [{"method": "jacobi"}, {"method": "sor", "omega": 1.0}, {"method": "sor", "omega": 1.5}, {"method": "cg"}],
        3,
    ),
    "two parameters at once": (
        "sor",
        {},
        "pair",
        [{"omega": 1.5, "order": "natural"}, {"omega": 0.5, "order": "multicolor"}],
        0,
    ),
}


@pytest.mark.parametrize("what", TUNED)
@pytest.mark.parametrize("learner", LEARNERS)
def test_every_learner_tunes_every_kind_of_parameter(learner, what):
    method, arguments, parameter, values, best = TUNED[what]
    tuner = LEARNERS[learner](values, parameter)
    sequence = rv.Sequence(method, tuner=tuner, rtol=1e-6, warm_start=None, give_up=None, maxiter=20_000, **arguments)
    for problem in laplacians(150):
        assert sequence.solve(problem.A, problem.b, context=problem.context).converged
    late = sequence.history.parameters[75:]
    counts = [late.count(value) for value in tuner.values]
    assert sum(counts) == 75
    assert int(np.argmax(counts)) == best
    assert np.mean(sequence.history.costs[75:]) < np.mean(sequence.history.costs[:15])


def test_a_tuner_of_ones_own():
    class Halving:
        parameter = "omega"

        def __init__(self):
            self.costs, self.evidence = [], []

        def suggest(self, context=None):
            return 1 + 0.8 / (1 + len(self.costs))

        def observe(self, cost, evidence=None):
            self.costs.append(cost)
            self.evidence.append(evidence.rate)

    tuner = Halving()
    sequence = rv.Sequence("sor", tuner=tuner, rtol=1e-8)
    solved(sequence, laplacians(5))
    assert sequence.history.parameters == [1 + 0.8 / k for k in range(1, 6)]
    assert tuner.costs == sequence.history.costs
    assert all(0 < rate < 1 for rate in tuner.evidence)
    with pytest.raises(rv.InputError, match="tuner: Halving has no state"):
        sequence.save("unused")


class LookingSOR(SOR):
    """SOR that knows its residual after every sweep."""

    name = "looking_sor"
    check_every = 1

    def step(self, system, state):
        super().step(system, state)
        state.work, state.residual_norm = system.residual_norm(state.x, state.work)


def test_a_method_of_ones_own():
    problem = laplacians(1)[0]
    sequence = rv.Sequence(LookingSOR, tuner=Fixed(1.5), rtol=1e-8)
    solution = sequence.solve(problem.A, problem.b)
    assert solution.method == "looking_sor"
    assert (np.diff(solution.residual_iterations) == 1).all()
    exact = rv.sor(problem.A, problem.b, omega=1.5, rtol=1e-8, callback=lambda at: None).iterations
    assert solution.iterations == exact
    both = rv.Sequence([LookingSOR, "cg"], tuner=Choice({"looking_sor": Fixed(1.5), "cg": None}), rtol=1e-8)
    solved(both, laplacians(10))
    assert {value["method"] for value in both.history.parameters} == {"looking_sor", "cg"}


def test_precondition_is_tuned():
    problems = list(shifted_laplacians(20, 30, shifts=np.linspace(0, 0.1, 30)))
    tuner = GaussianThompson([1.0, 1.4, 1.7], seed=0)
    sequence = rv.Sequence(
        "cg", tuner=tuner, precondition=lambda A, omega: rv.precondition.ssor(A, omega), rtol=1e-8, warm_start=None
    )
    solutions = solved(sequence, problems)
    one = rv.cg(problems[-1].A, problems[-1].b, M=rv.precondition.ssor(problems[-1].A, tuner.best), rtol=1e-8)
    assert solutions[-1].iterations == one.iterations
    assert tuner.best > 1


def test_closed_form_of_an_ssor_preconditioner():
    problems = list(heat_sequence(20, 740))[700:]
    given = rv.Sequence("ssor_cg", tuner=Spectral(), rtol=1e-8)
    made = rv.Sequence(
        "cg", tuner=Spectral("ssor_cg"), precondition=lambda A, omega: rv.precondition.ssor(A, omega), rtol=1e-8
    )
    ours, theirs = solved(given, problems), solved(made, problems)
    assert abs(sum(s.iterations for s in ours) - sum(s.iterations for s in theirs)) <= 3
    np.testing.assert_allclose(given.history.numbers(), made.history.numbers(), rtol=1e-3)


# Warm starts.


def iterations(warm_start, problems):
    sequence = rv.Sequence("cg", warm_start=warm_start, rtol=1e-8)
    return sum(solution.iterations for solution in solved(sequence, problems))


def test_warm_starts_on_a_smooth_sequence():
    problems = list(heat_sequence(24, 730))[700:]
    cold, previous, line, span = (iterations(kind, problems) for kind in (None, "previous", "extrapolate", "subspace"))
    assert previous < 0.95 * cold
    assert line < 0.95 * previous
    assert span < 0.95 * previous


def test_subspace_solves_what_it_contains():
    problem = poisson((12, 12))
    sequence = rv.Sequence("cg", warm_start="subspace", rtol=1e-8)
    rng = np.random.default_rng(0)
    rights = rng.standard_normal((3, 144))
    for b in rights:
        sequence.solve(problem.A, b)
    mixed = sequence.solve(problem.A, rights.T @ [2.0, -1.0, 0.5])
    assert mixed.iterations <= 2
    assert mixed.matvecs >= 3


def test_useless_guesses_are_not_made_for_a_while():
    sequence = rv.Sequence("cg", rtol=1e-8)
    problem = poisson((10, 10))
    rng = np.random.default_rng(0)
    firsts = []
    for _ in range(40):
        solution = sequence.solve(problem.A, rng.standard_normal(100))
        firsts.append(solution.residual_norms[0] / solution.rhs_norm)
    assert sum(first > 1 for first in firsts) <= 6
    assert all(first == pytest.approx(1) for first in firsts if first <= 1)


def test_own_guess_wins():
    problem = poisson((10, 10))
    sequence = rv.Sequence("cg", rtol=1e-8)
    sequence.solve(problem.A, problem.b)
    assert sequence.solve(problem.A, 2 * problem.b, x0=2 * problem.x).iterations == 0


def test_sizes_may_change():
    sequence = rv.Sequence("sor", rtol=1e-6)
    for points in (5, 8, 8, 5, 12):
        problem = poisson((points, points))
        assert sequence.solve(problem.A, problem.b).converged


# Costs.


@pytest.mark.parametrize("cost", ["iterations", "seconds", "work"])
def test_cost(cost):
    sequence = rv.Sequence("cg", cost=cost, rtol=1e-8, warm_start=None)
    problem = poisson((10, 10))
    solution = sequence.solve(problem.A, problem.b)
    wanted = {
        "iterations": solution.iterations,
        "seconds": solution.seconds,
        "work": solution.matvecs * problem.A.nnz + solution.iterations * 11 * 100,
    }
    assert sequence.history.costs == [wanted[cost]]


def test_work_counts_the_preconditioner():
    problem = poisson((10, 10))
    nnz, n = problem.A.nnz, 100
    for M, touched in (
        (rv.precondition.ssor(problem.A, 1.5), 2 * nnz),
        (rv.precondition.jacobi(problem.A), 2 * n),
        (rv.precondition.polynomial(problem.A, 3), 2 * (nnz + 6 * n)),
        (np.diag(1 / problem.A.diagonal()), n * n),
    ):
        sequence = rv.Sequence("cg", M=M, cost="work", rtol=1e-8)
        solution = sequence.solve(problem.A, problem.b)
        assert sequence.history.costs == [solution.matvecs * nnz + solution.iterations * (11 * n + touched)]


def test_the_cheaper_method_is_found():
    sequence = rv.Sequence(["jacobi", "ssor_cg"], rtol=1e-8, warm_start=None)
    solved(sequence, laplacians(40))
    assert sequence.tuner.best == "ssor_cg"
    assert sequence.cost == "work"
    assert {value["method"] for value in sequence.history.parameters} == {"jacobi", "ssor_cg"}
    assert "method" in sequence.report()


class Counting(Fixed):
    """A fixed value that keeps what it is told."""

    def __init__(self, value):
        super().__init__(value)
        self.told = []

    def _learn(self, value, cost, context, evidence):
        self.told.append(cost)


@pytest.mark.parametrize("cost", ["iterations", "seconds", "work"])
def test_seconds_of_a_first_solve_are_not_told(cost):
    # They may be those of a compilation, thousands of times what the next solve takes.
    problem, tuner = poisson((8, 8)), Counting(1.4)
    sequence = rv.Sequence("sor", tuner=tuner, cost=cost, warm_start=None)
    for _ in range(4):
        sequence.solve(problem.A, problem.b)
    assert tuner.told == sequence.history.costs[cost == "seconds" :]


def test_plain_cg_is_found_where_iterations_count():
    # The experiment's own systems: 33 iterations of conjugate gradients, 41 of SOR with the best omega for each.
    sequence = rv.Sequence(["sor", "cg"], cost="iterations", rtol=1e-8, warm_start=None)
    solved(sequence, laplacians(200))
    assert sequence.tuner.best == "cg"
    chosen = [value["method"] for value in sequence.history.parameters]
    assert chosen[100:].count("cg") > 80


def test_what_takes_no_iteration_teaches_nothing():
    sequence = rv.Sequence("sor")
    problem = poisson((6, 6))
    sequence.solve(problem.A, np.zeros(36))
    assert sequence.tuner.rounds == 0
    sequence.solve(problem.A, problem.b)
    assert sequence.tuner.rounds == 1
    assert len(sequence.history) == 2


# Giving up.


class Scripted:
    """Suggests what it is told to."""

    parameter = "omega"

    def __init__(self, values):
        self.values, self.costs = iter(values), []

    def suggest(self, context=None):
        return next(self.values)

    def observe(self, cost, evidence=None):
        self.costs.append(cost)


def test_a_hopeless_parameter_is_given_up():
    problem = poisson((20, 20))
    rng = np.random.default_rng(1)
    tuner = Scripted([1.74] * 8 + [0.3])
    sequence = rv.Sequence("sor", tuner=tuner, rtol=1e-8, warm_start=None)
    usual = [sequence.solve(problem.A, rng.standard_normal(400)).iterations for _ in range(8)]
    b = rng.standard_normal(400)
    solution = sequence.solve(problem.A, b)
    assert solution.converged
    assert np.linalg.norm(problem.A @ solution.x - b) <= 1.01e-8 * np.linalg.norm(b)
    assert sequence.history.given_up == [False] * 8 + [True]
    assert "The parameter 0.3 was given up after" in solution.reason
    assert tuner.costs[-1] == solution.iterations == sequence.history.costs[-1]
    assert 5 * np.mean(usual) < solution.iterations <= 5 * np.mean(usual) + FEWEST + 2 * max(usual)
    assert solution.matvecs >= solution.iterations
    assert (np.diff(solution.residual_iterations) >= 0).all()
    assert "given up" in sequence.report()


def test_nothing_is_given_up_that_is_nearly_done():
    problem = poisson((20, 20))
    tuner = Scripted([1.74] * 8 + [1.2])
    sequence = rv.Sequence("sor", tuner=tuner, rtol=1e-8, warm_start=None, give_up=4)
    rng = np.random.default_rng(1)
    for _ in range(9):
        solution = sequence.solve(problem.A, rng.standard_normal(400))
        assert solution.converged
    assert sequence.history.given_up == [False] * 9
    assert solution.iterations > 4 * np.mean(sequence.history.iterations[:8])


def test_a_parameter_that_diverges_is_dear_and_given_up():
    problem = poisson((10, 10))
    omegas = Scripted([3.0, 0.2, 3.0])  # Richardson diverges beyond 2 / lambda_max = 0.25
    sequence = rv.Sequence("richardson", tuner=omegas, rtol=1e-6, warm_start=None, maxiter=5000)
    with pytest.warns(rv.ConvergenceWarning):
        assert not sequence.solve(problem.A, problem.b).converged
    assert omegas.costs[0] == pytest.approx(5000)
    assert sequence.solve(problem.A, problem.b).converged
    last = sequence.solve(problem.A, problem.b)
    assert last.converged
    assert "The parameter 3.0 was given up" in last.reason
    assert sequence.history.given_up == [False, False, True]
    assert omegas.costs[1] < omegas.costs[2] < omegas.costs[0]


@pytest.mark.parametrize("cost", ["iterations", "work"])
def test_what_was_given_up_is_counted_in_every_unit(cost):
    # Both attempts, told apart by what each would cost alone.
    problem, rng = poisson((20, 20)), np.random.default_rng(1)
    tuner = Scripted([1.74] * 8 + [0.3])
    sequence = rv.Sequence("sor", tuner=tuner, rtol=1e-8, warm_start=None, cost=cost)
    for _ in range(8):
        sequence.solve(problem.A, rng.standard_normal(400))
    solution = sequence.solve(problem.A, rng.standard_normal(400))
    each = {"iterations": 1, "work": problem.A.nnz + 3 * 400}[cost]
    assert sequence.history.given_up[-1]
    assert tuner.costs[-1] == pytest.approx(solution.iterations * each, rel=0.1)
    assert tuner.costs[-1] > 4 * np.mean(tuner.costs[:8])


def test_hopeless_values_cost_little_even_where_they_came_first():
    rng = np.random.default_rng(0)
    omegas = [0.1] * 3 + [1.6] * 20 + [float(omega) for omega in rng.choice([0.1, 1.6], 60)]
    problems = laplacians(len(omegas))
    totals = {}
    for give_up in (5.0, None):
        sequence = rv.Sequence(
            "sor", tuner=Scripted(omegas), rtol=1e-8, warm_start=None, give_up=give_up, maxiter=30_000
        )
        assert all(solution.converged for solution in solved(sequence, problems))
        totals[give_up] = sum(sequence.history.costs[23:])
        assert not any(sequence.history.given_up[:23])
        if give_up:
            assert sequence.history.given_up[23:] == [omega == 0.1 for omega in omegas[23:]]
    assert totals[5.0] < 0.15 * totals[None]


def test_what_is_returned_may_be_changed():
    problem = poisson((10, 10))
    sequence = rv.Sequence("cg", rtol=1e-8)
    solution = sequence.solve(problem.A, problem.b)
    solution.x[:] = np.nan
    assert sequence.solve(problem.A, problem.b).iterations == 0


def test_giving_up_can_be_left_out():
    problem = poisson((20, 20))
    sequence = rv.Sequence(
        "sor", tuner=Scripted([1.74] * 8 + [0.3]), rtol=1e-8, warm_start=None, give_up=None, maxiter=9000
    )
    rng = np.random.default_rng(1)
    counts = [sequence.solve(problem.A, rng.standard_normal(400)).iterations for _ in range(9)]
    assert counts[-1] > 20 * np.mean(counts[:8])


@pytest.mark.parametrize("give_up", [5.0, None])
@pytest.mark.parametrize("maxiter", [60, 90, 420])
def test_a_safe_value_has_the_whole_limit_to_itself(maxiter, give_up):
    problem, rng = poisson((20, 20)), np.random.default_rng(1)
    tuner = Scripted([1.74] * 8 + [0.3])
    sequence = rv.Sequence("sor", tuner=tuner, rtol=1e-6, warm_start=None, maxiter=maxiter, give_up=give_up)
    for _ in range(8):
        assert sequence.solve(problem.A, rng.standard_normal(400)).iterations <= 60
    solution = sequence.solve(problem.A, rng.standard_normal(400))
    assert solution.converged
    assert solution.iterations <= 2 * maxiter
    assert sequence.history.given_up == [False] * 8 + [True]


@pytest.mark.filterwarnings("ignore::resolvent.ConvergenceWarning")
def test_the_limit_of_accuracy_is_not_blamed_on_the_value():
    # Another value gets no further in this precision.
    problem, tuner = poisson((10, 10)), Scripted([1.5, 1.5, 1.4])
    sequence = rv.Sequence("sor", tuner=tuner, rtol=1e-2, warm_start=None, precision="bf16")
    easy = np.eye(100)
    assert all(sequence.solve(easy, problem.b).converged for _ in range(2))
    sequence.options = replace(sequence.options, rtol=1e-8)
    assert sequence.solve(problem.A, problem.b).status is rv.Status.STAGNATED
    assert sequence.history.given_up == [False] * 3


def test_what_was_given_up_goes_on_where_the_other_fails():
    # The usual systems need few iterations with 0.9 too; the last one needs many, and 1.9 for it.
    easy, hard = 10 * np.eye(64) + poisson((8, 8)).A.toarray(), poisson((60, 60))
    tuner = Scripted([0.9] * 8 + [1.9])
    sequence = rv.Sequence("sor", tuner=tuner, rtol=1e-10, warm_start=None, maxiter=1000)
    rng = np.random.default_rng(0)
    for _ in range(8):
        assert sequence.solve(easy, rng.standard_normal(64)).converged
    solution = sequence.solve(hard.A, rng.standard_normal(3600))
    assert solution.converged
    assert "was given up" in solution.reason
    assert "for the first again" in solution.reason
    assert tuner.costs[-1] == solution.iterations > 1000


@pytest.mark.parametrize("maxiter", [150, 200, None])
def test_no_trial_fails_that_the_safe_omega_solves(maxiter):
    # Omegas that are hopeless within the limit; the closed form's needs at most 140 iterations once it is known.
    hopeless, trials, failed = [0.1, 0.2, 1.999], 0, 0
    for seed in range(4):
        tuner = Auto(hopeless, seed=seed)
        sequence = rv.Sequence("sor", tuner=tuner, rtol=1e-8, warm_start=None, maxiter=maxiter)
        for problem in shifted_laplacians(10, 60, shifts="high", seed=seed):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", rv.ConvergenceWarning)
                solution = sequence.solve(problem.A, problem.b, context=problem.context)
                if sequence.history.parameters[-1] not in hopeless:
                    continue
                trials += 1
                if not solution.converged:
                    failed += 1
                    safe = tuner.fallback().value
                    assert not rv.sor(problem.A, problem.b, omega=safe, rtol=1e-8, maxiter=maxiter).converged
    assert trials >= 4
    assert failed <= 1


# One at a time.


class Meddling:
    """A matrix that is applied by a function, which calls something once it is asked to."""

    def __init__(self, matrix):
        self.matrix, self.call, self.shape, self.dtype = matrix, None, matrix.shape, matrix.dtype

    def matvec(self, x):
        if self.call is not None:
            call, self.call = self.call, None
            call()
        return self.matrix @ x


def in_a_thread(call):
    """What it raised in a thread of its own, or None."""
    raised = []

    def run():
        try:
            call()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised[0] if raised else None


def tuned():
    problem = poisson((6, 6))
    tuner = GaussianThompson([0.1, 0.2], parameter="omega", seed=0)
    return problem, tuner, rv.Sequence("richardson", tuner=tuner, rtol=1e-2)


@pytest.mark.parametrize("threads", [True, False], ids=["another thread", "the same thread"])
@pytest.mark.parametrize("what", ["solve", "save", "load", "the tuner in another sequence", "suggest", "observe"])
def test_a_sequence_and_its_tuner_are_entered_once_at_a_time(what, threads, tmp_path):
    problem, tuner, sequence = tuned()
    sequence.solve(problem.A, problem.b)
    sequence.save(tmp_path / "learnt")
    other = rv.Sequence("richardson", tuner=tuner, rtol=1e-2)
    calls = {
        "solve": lambda: sequence.solve(problem.A, problem.b),
        "save": lambda: sequence.save(tmp_path / "unused"),
        "load": lambda: sequence.load(tmp_path / "learnt"),
        "the tuner in another sequence": lambda: other.solve(problem.A, problem.b),
        "suggest": tuner.suggest,
        "observe": lambda: tuner.observe(3.0),
    }
    raised = []

    def call():
        if threads:
            raised.append(in_a_thread(calls[what]))
        else:
            with pytest.raises(rv.BusyError) as caught:
                calls[what]()
            raised.append(caught.value)

    A = Meddling(problem.A)
    A.call = call
    solution = sequence.solve(A, 2 * problem.b, x0=np.zeros(36))
    assert isinstance(raised[0], rv.BusyError)
    assert ("another thread" if threads else "this very thread") in str(raised[0])
    # The solve that was under way is none the worse, and the next ones are let in.
    assert solution.converged
    assert len(sequence.history) == tuner.rounds == 2
    other.solve(problem.A, problem.b)
    sequence.solve(problem.A, problem.b)
    assert tuner.rounds == 4


@pytest.mark.filterwarnings("ignore::resolvent.ConvergenceWarning")
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_within_a_solve_leaves_the_sequence_usable(error):
    problem, tuner, sequence = tuned()
    A = Meddling(problem.A)

    def fail():
        raise error

    A.call = fail
    with contextlib.suppress(error):
        sequence.solve(A, problem.b)
    assert tuner.rounds == 0
    assert sequence.solve(A, problem.b, x0=np.zeros(36)).converged
    assert tuner.rounds == 1
    assert tuner.spent == sequence.history.costs[-1]


def test_an_interrupt_outside_the_iteration_leaves_the_sequence_usable():
    problem, rng = poisson((6, 6)), np.random.default_rng(0)
    calls = []

    def make(A, value):
        calls.append(value)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return rv.precondition.ssor(A, value)

    tuner = TsallisINF([1.0, 1.5], seed=0)
    sequence = rv.Sequence("cg", tuner=tuner, precondition=make, rtol=1e-6)
    sequence.solve(problem.A, rng.standard_normal(36))
    with pytest.raises(KeyboardInterrupt):
        sequence.solve(problem.A, rng.standard_normal(36))
    assert sequence.solve(problem.A, rng.standard_normal(36)).converged
    assert tuner.rounds == len(sequence.history) == 2


def test_a_sequence_may_be_copied():
    sequence = rv.Sequence("sor", rtol=1e-8)
    problems = laplacians(20)
    solved(sequence, problems[:10])
    other = copy.deepcopy(sequence)
    solved(sequence, problems[10:])
    solved(other, problems[10:])
    assert other.history.parameters == sequence.history.parameters


# Backends and precision.


def test_numpy_and_numba_agree():
    problems = laplacians(40)
    counts = []
    for backend in ("numpy", "numba"):
        sequence = rv.Sequence("sor", rtol=1e-8, backend=backend)
        solved(sequence, problems)
        counts.append(sequence.history.iterations)
    assert abs(np.subtract(*counts)).max() <= 2


@pytest.mark.parametrize("warm_start", ["previous", "extrapolate", "subspace"])
def test_torch(warm_start):
    torch = pytest.importorskip("torch")
    sequence = rv.Sequence("cg", rtol=1e-8, warm_start=warm_start)
    for problem in list(heat_sequence(8, 12)):
        A, b = torch.from_numpy(problem.A.toarray()), torch.from_numpy(problem.b)
        solution = sequence.solve(A, b)
        assert isinstance(solution.x, torch.Tensor)
        assert solution.converged


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_precision_is_passed_on(precision):
    sequence = rv.Sequence("sor", rtol=5e-2, precision=precision)
    solutions = solved(sequence, laplacians(6))
    assert all(solution.converged for solution in solutions)
    assert solutions[0].unit_roundoff > 1e-9


def test_batches_are_solved_in_turn():
    problems = laplacians(4)
    sequence = rv.Sequence("sor", rtol=1e-8)
    A = np.stack([problem.A.toarray() for problem in problems])
    b = np.stack([problem.b for problem in problems])
    solution = sequence.solve(A, b, context=0.0)
    assert solution.x.shape == (4, 100)
    assert len(sequence.history) == 4
    column = sequence.solve(problems[0].A, b[0][:, None])
    assert column.x.shape == (100, 1)
    assert len(sequence.history) == 5


# What is shown and kept.


def test_report_and_regret():
    sequence = rv.Sequence("sor", tuner=TsallisINF(seed=0), rtol=1e-8, maxiter=10_000)
    assert "nothing solved yet" in sequence.report()
    solved(sequence, laplacians(60))
    text = sequence.report()
    assert text.startswith("sor with TsallisINF: 60 systems")
    for said in ("cost", "iterations", "parameter", "best single value"):
        assert said in text
    regret = sequence.history.regret
    assert regret.shape == (60,)
    best = sequence.tuner.best_fixed_cost()
    assert regret[-1] == pytest.approx(sum(sequence.history.costs) - 60 * best)
    assert rv.Sequence("cg").history.regret is None
    assert "Sequence sor with TsallisINF, 60 systems" in repr(sequence)


def test_plot(tmp_path):
    pytest.importorskip("matplotlib")
    sequence = rv.Sequence("sor", tuner=TsallisINF(seed=0), rtol=1e-8, maxiter=10_000)
    solved(sequence, laplacians(20))
    panels = sequence.plot(file=tmp_path / "sequence.png")
    assert len(panels) == 3
    assert (tmp_path / "sequence.png").stat().st_size > 5000
    assert len(rv.Sequence("cg").plot()) == 1


MAKERS = {
    "auto": lambda: rv.Sequence("sor", rtol=1e-8),
    "tsallis": lambda: rv.Sequence("ssor_cg", tuner=TsallisINF(seed=1), rtol=1e-8, warm_start="extrapolate"),
    "choice": lambda: rv.Sequence(["cg", "sor"], rtol=1e-8, warm_start="subspace"),
    "no tuner": lambda: rv.Sequence("cg", rtol=1e-8),
}


@pytest.mark.parametrize("name", MAKERS)
def test_saved_and_loaded_goes_on_the_same(name, tmp_path):
    problems = list(heat_sequence(10, 40))
    whole, first, second = (MAKERS[name]() for _ in range(3))
    solved(whole, problems)
    solved(first, problems[:25])
    first.save(tmp_path / "learnt")
    second.load(tmp_path / "learnt")
    assert second.history == first.history
    solved(second, problems[25:])
    assert second.history.parameters == whole.history.parameters
    assert second.history.costs == whole.history.costs


@pytest.mark.parametrize("warm_start", ["previous", "extrapolate", "subspace"])
def test_tensors_are_saved_and_loaded(warm_start, tmp_path):
    torch = pytest.importorskip("torch")
    problems = [
        (torch.from_numpy(problem.A.toarray()), torch.from_numpy(problem.b)) for problem in heat_sequence(8, 12)
    ]
    first, second = (rv.Sequence("cg", rtol=1e-8, warm_start=warm_start) for _ in range(2))
    for A, b in problems[:6]:
        first.solve(A, b)
    first.save(tmp_path / "learnt")
    second.load(tmp_path / "learnt")
    for A, b in problems[6:]:
        one, other = first.solve(A, b), second.solve(A, b)
        assert isinstance(other.x, torch.Tensor)
        assert one.iterations == other.iterations
        assert torch.equal(one.x, other.x)


def test_libraries_may_change():
    torch = pytest.importorskip("torch")
    problem = poisson((6, 6))
    A, b = problem.A.toarray(), problem.b
    sequence = rv.Sequence("cg", rtol=1e-8)
    for _ in range(2):
        assert isinstance(sequence.solve(A, b).x, np.ndarray)
        assert isinstance(sequence.solve(torch.from_numpy(A), torch.from_numpy(b)).x, torch.Tensor)


SAVED = Path(__file__).parent / "saved"  # by version 0.1.0


def test_sequences_saved_by_earlier_versions_are_loaded():
    sequence = rv.Sequence("sor", tuner=Auto([1.2, 1.5, 1.8], seed=4), rtol=1e-8)
    sequence.load(SAVED / "sequence.npz")
    tuner = sequence.tuner
    assert len(sequence.history) == tuner.rounds == 24
    assert tuner.spent == sum(sequence.history.costs)
    assert tuner.leads == "spectral"
    problems = list(shifted_laplacians(4, 60, shifts=np.linspace(-0.3, 0.3, 60)))
    assert all(solution.converged for solution in solved(sequence, problems))
    assert tuner.leads == "spectral"
    assert tuner.spectral.radius(0.0) == pytest.approx(np.cos(np.pi / 5), abs=0.1)


def test_tuners_saved_by_earlier_versions_are_loaded():
    tuner = Auto([1.2, 1.4, 1.6, 1.8], method="sor", seed=0)
    state = json.loads((SAVED / "auto.json").read_text())
    tuner.load(state)
    assert tuner.leads == "bandit"
    assert tuner.rounds == 120
    tuner.observe(40.0, Evidence(rate=0.6))  # of the value that was suggested before
    assert tuner.rounds == 121
    now = Auto([1.2, 1.4, 1.6, 1.8], method="sor", seed=1)
    now.load(json.loads(json.dumps(tuner.state())))
    assert now.suggest() == tuner.suggest()
    assert now.state() == tuner.state()


def test_loading_what_does_not_fit_is_refused(tmp_path):
    path = tmp_path / "learnt"
    sequence = rv.Sequence("sor")
    solved(sequence, laplacians(2))
    sequence.save(path)
    for other, said in (
        (rv.Sequence("ssor"), "method 'sor'; this sequence has 'ssor'"),
        (rv.Sequence("sor", cost="work"), "cost 'iterations'; this sequence has 'work'"),
        (rv.Sequence("sor", tuner=TsallisINF()), "is that of a Auto tuner"),
        (rv.Sequence("sor", omega=1.0), "saved with a tuner, but this sequence has none"),
        (rv.Sequence("sor", warm_start=None), "warm_start='previous'"),
    ):
        with pytest.raises(rv.InputError) as caught:
            other.load(path)
        assert said in str(caught.value)
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(rv.InputError, match=r"was not written by Sequence\.save"):
        rv.Sequence("sor").load(tmp_path / "text")
    np.savez(tmp_path / "arrays.npz", a=np.ones(3))
    with pytest.raises(rv.InputError, match=r"was not written by Sequence\.save"):
        rv.Sequence("sor").load(tmp_path / "arrays.npz")


def test_bad_input_is_named():
    tuned = TsallisINF()
    tuned.bind("ssor")
    for make, said in (
        (lambda: rv.Sequence("sorr"), "method: found 'sorr'"),
        (lambda: rv.Sequence(3.0), "method: found 3.0"),
        (lambda: rv.Sequence("sor", omega=2.5), "omega: found 2.5"),
        (lambda: rv.Sequence("sor", depth=2), "depth: sor has no such parameter"),
        (lambda: rv.Sequence("sor", warm_start="yes"), "warm_start: found 'yes'"),
        (lambda: rv.Sequence("sor", cost="money"), "cost: found 'money'"),
        (lambda: rv.Sequence("sor", give_up=0.5), "give_up: found 0.5"),
        (lambda: rv.Sequence("sor", tuner="auto"), "tuner: found str"),
        (lambda: rv.Sequence("sor", tuner=tuned), "about ssor, but the method is sor"),
        (lambda: rv.Sequence("cg", tuner=Fixed(1.5)), "tuner: chooses omega, which cg does not have"),
        (lambda: rv.Sequence(["cg", "sor"], tuner=Fixed(1.5)), "tuner: chooses omega, which cg does not have"),
        (lambda: rv.Sequence(["cg", "sor"], tuner=Choice({"cg": None})), "tuner: chooses among cg; the methods are cg"),
        (
            lambda: rv.Sequence(["cg", "sor"], tuner=TsallisINF([{"method": "ssor"}], parameter="method")),
            "tuner: chooses {'method': 'ssor'}; the methods are cg, sor",
        ),
        (lambda: rv.Sequence("cg", M=np.eye(2), precondition=lambda A, v: None), "M: found a preconditioner"),
        (lambda: rv.Sequence("sor", rtol=-1), "rtol: found -1"),
        (lambda: rv.Sequence("sor").solve(np.eye(2), np.ones(2), context="hot"), "context: found 'hot'"),
        (lambda: rv.Sequence("sor").solve(np.eye(2), np.ones(3)), "b: found shape (3,)"),
    ):
        with pytest.raises(rv.InputError) as caught:
            make()
        assert said in str(caught.value)


def test_evidence_of_a_sequence_is_that_of_its_solves():
    problem = poisson((10, 10))
    sequence = rv.Sequence("sor", omega=1.2, rtol=1e-8)
    assert Evidence(solution=sequence.solve(problem.A, problem.b)).rate == pytest.approx(0.8802615, rel=1e-3)
