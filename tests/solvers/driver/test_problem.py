"""The driver knows nothing of A x = b: a scalar fixed point x = cos x goes through it with everything a solve has."""

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from resolvent.backends import backend_named
from resolvent.lazy import place_of
from resolvent.solvers.driver.iterate import iterate
from resolvent.solvers.driver.loops import Stretch
from resolvent.solvers.driver.method import Breakdown, Method, Norm, State, Traffic
from resolvent.solvers.driver.problem import Problem, Words
from resolvent.solvers.driver.solution import Bound
from resolvent.solvers.driver.status import Cause, Ending, Status
from resolvent.solvers.driver.stopping import Options

FIXED_POINT = 0.739085133215160641655312087673873404013411758900757464966  # x = cos x (Dottie's number)
WORDS = Words(residual="|cos x - x|", reference="|cos x_0 - x_0|", products="evaluations")


class Cosine(Problem):
    """x = g(x), solved as far as |g(x) - x| is small beside that of the first guess."""

    words = WORDS

    def __init__(self, x0=0.0, g=np.cos):
        self.backend, self.n, self.g, self.x0 = backend_named("numpy"), 1, g, x0
        self.unit_roundoff, self.precision_name = 2.0**-53, "float64"
        self.reference = abs(float(g(x0) - x0))

    def initial(self):
        x = np.array([self.x0])
        work, norm = self.residual_norm(x, np.empty(1))
        return x, work, norm

    def residual_norm(self, x, out):
        self.matvecs += 1
        out = self.g(x) - x
        return out, float(abs(out[0]))

    def rounding_floor(self, x):
        return self.unit_roundoff * float(abs(x[0]))

    def advice(self, solution):
        return "Begin nearer."


@dataclass(frozen=True)
class Picard(Method[Cosine, State]):
    """x <- g(x)."""

    name: ClassVar[str] = "picard"
    title: ClassVar[str] = "Picard iteration"
    traffic: ClassVar[Traffic] = Traffic(vectors=1, passes=3, reductions=1, matvecs=1, compiled_passes=3)
    carries: ClassVar[Norm] = Norm.COMPUTED

    def start(self, problem):
        x, work, norm = problem.initial()
        return State(x=x, work=work, residual_norm=norm)

    def step(self, problem, state):
        state.x = state.x + state.work
        state.work, state.residual_norm = problem.residual_norm(state.x, state.work)

    def bound(self, solution):
        at = solution.residual_iterations
        return Bound(at, math.sin(1.0) ** at, "sin(1)$^k$")  # |g'| on [0, 1], where all iterates lie


def test_it_converges_to_the_fixed_point():
    solution = iterate(Cosine(), Picard(), Options(rtol=1e-12))
    assert solution.status is Status.CONVERGED
    assert solution.x[0] == pytest.approx(FIXED_POINT, abs=1e-12)
    assert solution.relative_residual <= 1e-12
    assert solution.residual_norm == abs(math.cos(solution.x[0]) - solution.x[0])  # the certificate, recomputed here
    # |g'(x*)| = sin x* = 0.674: the error falls by that factor an iteration.
    assert solution.iterations == pytest.approx(math.log(1e-12) / math.log(math.sin(FIXED_POINT)), abs=3)


def test_history_and_bound():
    solution = iterate(Cosine(), Picard(), Options(rtol=1e-10))
    norms, at = solution.residual_norms, solution.residual_iterations
    assert at.tolist() == list(range(solution.iterations + 1))
    assert norms[0] == 1.0
    x = 0.0
    for norm in norms:
        assert norm == pytest.approx(abs(math.cos(x) - x), abs=1e-15)
        x = math.cos(x)
    assert np.all(norms <= norms[0] * solution.bound.values * (1 + 1e-12) + 1e-15)
    assert solution.bound.iterations.tolist() == at.tolist()


def test_report_uses_the_words_of_the_problem():
    solution = iterate(Cosine(), Picard(), Options(rtol=1e-10))
    text = str(solution)
    assert "evaluations" in text
    assert "|cos x_0 - x_0|" in text
    assert "||b||" not in text
    assert "products with A" not in text
    assert solution.reason.endswith(f"after {solution.iterations} iterations of picard.")
    axes = solution.plot()
    assert axes.get_ylabel() == "relative residual  |cos x − x| / |cos x_0 − x_0|"
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "sin(1)$^k$" in labels


def test_iteration_limit_says_what_is_left():
    solution = iterate(Cosine(), Picard(), Options(rtol=1e-12, maxiter=5))
    assert solution.status is Status.MAX_ITERATIONS
    assert solution.iterations == 5
    assert "more are needed" in solution.reason
    assert solution.reason.endswith("Begin nearer.")


def test_callback_sees_copies_and_stops():
    seen = []

    def callback(progress):
        seen.append((progress.iteration, float(progress.x[0])))
        progress.x[0] = 7.0
        return progress.iteration == 4

    solution = iterate(Cosine(), Picard(), Options(rtol=1e-12, callback=callback))
    assert solution.status is Status.STOPPED
    assert [at for at, _ in seen] == [1, 2, 3, 4]
    x = 0.0
    for _, found in seen:
        x = math.cos(x)
        assert found == pytest.approx(x, abs=1e-15)


def test_time_limit_ends_it_on_the_clock_of_the_backend(monkeypatch):
    problem = Cosine()
    ticks = itertools.count()
    monkeypatch.setattr(type(problem.backend), "clock", lambda self: float(next(ticks)))
    solution = iterate(problem, Picard(), Options(rtol=1e-14, time_limit=3.5))
    assert solution.status is Status.TIME_LIMIT
    assert 1 <= solution.iterations <= 4


def test_interruption_keeps_the_iterate():
    calls = itertools.count()

    def g(x):
        if next(calls) == 10:
            raise KeyboardInterrupt
        return np.cos(x)

    solution = iterate(Cosine(g=g), Picard(), Options(rtol=1e-14))
    assert solution.status is Status.INTERRUPTED
    assert 5 <= solution.iterations < 10 or abs(solution.x[0] - FIXED_POINT) < 0.1


def test_divergence_is_seen():
    solution = iterate(Cosine(x0=0.1, g=lambda x: 3 * x + 1), Picard(), Options())
    assert solution.status is Status.DIVERGED


def test_nan_is_a_cause():
    solution = iterate(Cosine(x0=0.1, g=lambda x: np.where(abs(x) > 0.5, np.nan, 3 * x + 0.1)), Picard(), Options())
    assert solution.status is Status.DIVERGED
    assert solution.cause is Cause.NOT_FINITE


def test_a_breakdown_carries_its_cause():
    @dataclass(frozen=True)
    class Breaking(Picard):
        name: ClassVar[str] = "breaking"

        def step(self, problem, state):
            raise Breakdown("Nothing is left.", Cause.SINGULAR)

    solution = iterate(Cosine(), Breaking(), Options())
    assert (solution.status, solution.cause, solution.reason) == (Status.BREAKDOWN, Cause.SINGULAR, "Nothing is left.")


def test_a_method_has_the_last_word_on_the_ending_and_fills_fields_of_its_own():
    @dataclass(frozen=True)
    class Concluding(Picard):
        name: ClassVar[str] = "concluding"

        def conclude(self, problem, state, ending):
            assert ending.status is Status.MAX_ITERATIONS
            fields = {"moved": float(abs(state.x[0])), "distance_bound": lambda solution: solution.moved / 2}
            return Ending(Status.INFEASIBLE, "It moves on.", Cause.INCONSISTENT), fields

    solution = iterate(Cosine(), Concluding(), Options(maxiter=3))
    assert (solution.status, solution.cause) == (Status.INFEASIBLE, Cause.INCONSISTENT)
    assert solution.reason == "It moves on."
    assert solution.distance_bound == solution.moved / 2 == solution.x[0] / 2


def test_the_iterate_is_formed_when_it_is_asked_for():
    @dataclass(frozen=True)
    class Deferred(Picard):
        """Keeps increments; the iterate is their sum."""

        name: ClassVar[str] = "deferred"
        formed: ClassVar[list] = []

        def start(self, problem):
            state = super().start(problem)
            state.increments = []
            return state

        def step(self, problem, state):
            state.increments.append(state.work)
            state.work, state.residual_norm = problem.residual_norm(state.x + sum(state.increments), state.work)

        def iterate(self, problem, state):
            self.formed.append(len(state.increments))
            return state.x + sum(state.increments)

    solution = iterate(Cosine(), Deferred(), Options(rtol=1e-10))
    assert solution.x[0] == pytest.approx(FIXED_POINT, abs=1e-10)
    # Once for the certificate and once for the answer, besides copies of iterates that halved the residual.
    halvings = math.ceil(-math.log2(1e-10)) + 1
    assert len(Deferred.formed) <= halvings + 4


def test_a_method_may_carry_another_norm():
    """A thousandth of the residual norm is carried: the driver learns the factor from certificates."""

    @dataclass(frozen=True)
    class Scaled(Picard):
        name: ClassVar[str] = "scaled"
        carries: ClassVar[Norm] = Norm.OTHER

        def start(self, problem):
            state = super().start(problem)
            state.residual_norm *= 1e-3
            return state

        def step(self, problem, state):
            super().step(problem, state)
            state.residual_norm *= 1e-3 * (1 + 0.5 * math.cos(1e3 * float(state.x[0])))

    plain = iterate(Cosine(), Picard(), Options(rtol=1e-10))
    solution = iterate(Cosine(), Scaled(), Options(rtol=1e-10))
    assert solution.status is Status.CONVERGED
    assert solution.relative_residual <= 1e-10
    assert plain.iterations <= solution.iterations <= plain.iterations + 6


def test_loops_follow_the_step_along_the_ancestry(monkeypatch):
    def build(arrays, rounding, method, problem, state):
        def loop(steps, target):
            x = state.x[0] = math.cos(state.x[0])
            state.residual_norm = abs(math.cos(x) - x)
            return Stretch([state.residual_norm], 1, False, 1)

        return loop

    @dataclass(frozen=True)
    class Renamed(Picard):
        name: ClassVar[str] = "renamed"

    @dataclass(frozen=True)
    class Damped(Picard):
        name: ClassVar[str] = "damped"

        def step(self, problem, state):
            state.x = state.x + 0.5 * state.work
            state.work, state.residual_norm = problem.residual_norm(state.x, state.work)

    monkeypatch.setattr(Cosine, "loops", {(place_of(Picard), "scalar", "none"): build})
    monkeypatch.setattr(Cosine, "storage", "scalar")
    monkeypatch.setattr(Cosine, "compiled", property(lambda self: ((), ())))
    by_loop = iterate(Cosine(), Renamed(), Options(rtol=1e-10))
    assert by_loop.iterations == iterate(Cosine(), Picard(), Options(rtol=1e-10)).iterations
    # Of the loop's products only what it reports is counted: one an iteration, and the first and last residuals.
    assert by_loop.matvecs == by_loop.iterations + 2
    damped = iterate(Cosine(), Damped(), Options(rtol=1e-10))
    assert damped.iterations < by_loop.iterations  # its own step was taken, which contracts by 0.16
