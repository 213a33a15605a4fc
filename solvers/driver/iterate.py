"""The driver: every solve of every method on every backend runs through this loop.

It plans how many steps to take before looking, takes them in a compiled loop where there is one and by the textbook
step otherwise, follows the residual norms, and says CONVERGED only of a residual recomputed from x.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...precision import times_power_of_two
from .loops import CompiledLoop, compiled_loop
from .method import Method, Norm
from .problem import Problem, Vector
from .progress import LiveLine, Progress
from .reasons import explain
from .room import check_memory
from .solution import Solution
from .status import Breakdown, Cause, Ending, OutOfTime, Status
from .stopping import Deadline, Options, Watch

__all__ = ["Run", "concluded", "iterate"]

WORK_A_LOOK = 1 << 24  # entries and vector elements touched between two looks at the clock: about ten milliseconds
MOST_STEPS = 4096
FAILED = (Status.BREAKDOWN, Status.DIVERGED, Status.OVERFLOW)
UNSOLVED = (*FAILED, Status.STAGNATED, Status.MAX_ITERATIONS)


@dataclass
class Run:
    """What the driver keeps of one solve.

    Attributes
    ----------
    target : float
        The true residual norm at which it is solved.
    certified, last_certified : float
        The last true residual norm, and the one after which the method last began anew.
    per_carried : float
        The true residual norm over the one that the method carries: 1 unless that is another norm.
    best, best_norm : vector, float
        A copy of the best iterate so far, and its carried norm.
    """

    problem: Problem
    method: Method[Any, Any]
    options: Options
    target: float
    state: Any = None
    watch: Watch | None = None
    loop: CompiledLoop | None = None
    iterations: int = 0
    at: list[int] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    best: Vector | None = None
    best_norm: float = math.inf
    certified: float = math.nan
    last_certified: float = math.inf
    per_carried: float = 1.0
    line: LiveLine | None = None
    began: float = 0.0

    @property
    def x(self) -> Vector:
        """The current iterate."""
        return self.method.iterate(self.problem, self.state)

    def certify(self) -> float:
        """The true residual norm, recomputed from the iterate; the residual is left in state.work."""
        self.state.work, self.certified = self.problem.certify(self.x, self.state.work)
        return self.certified

    def meets_target(self, norm: float) -> bool:
        """Whether the true residual does, where the one that the method saw may not.

        If A only multiplies, and the two contradict each other, its products may vary: a second one has to agree.
        """
        first = self.certify()
        if first <= self.target < norm * self.per_carried and not self.problem.repeatable:
            self.certified = max(first, self.certify())
        return self.certified <= self.target

    def late(self) -> Ending:
        """The ending of a solve whose time is over."""
        if self.options.time_limit is None:
            raise OutOfTime  # it belongs to the solve that this one is a part of
        return Ending(Status.TIME_LIMIT, f"The time limit of {self.options.time_limit:g} s was reached.")

    def seconds(self) -> float:
        """Since the start, on the clock that all processes agree on."""
        return self.problem.backend.clock() - self.began


def iterate(problem: Problem, method: Method[Any, Any], options: Options) -> Solution:
    """Solve one problem.

    Parameters
    ----------
    problem : Problem
    method : Method
    options : Options

    Returns
    -------
    Solution
        In the caller's units. Nothing is warned of here.

    Raises
    ------
    MemoryError
        For vectors that do not fit, before any of them is made.
    """
    began = problem.backend.clock()
    run = Run(problem, method, options, problem.target(options), began=began)
    settled = problem.settled(run.target)
    # Of a problem without a solution a method of minimal residuals finds the x that misses least.
    if settled is not None and not (settled.status is Status.INFEASIBLE and method.monotone):
        ending = settled
    else:
        if options.time_limit is not None:
            problem.deadline = Deadline(run.began + options.time_limit, problem.backend.clock)
        if options.progress:
            run.line = LiveLine(method.name)
        try:
            problem.prepare()
            check_memory(method.vectors_memory(problem), method.name)
            run.state = method.start(problem)
            _begin(run)
            ending = _loop(run)
        except Breakdown as stop:
            ending = stop.ending
        except OutOfTime:
            ending = run.late()
        except KeyboardInterrupt:
            ending = Ending(Status.INTERRUPTED, "Interrupted from the keyboard; x is the best iterate so far.")
        finally:
            if run.line is not None:
                run.line.close()
            if options.time_limit is not None:
                problem.deadline = None
        if settled is not None and ending.status in UNSOLVED:
            ending = settled
    with np.errstate(all="ignore"):  # here too: the solution may leave the range in the caller's units
        return _finish(run, ending)


def _begin(run: Run) -> None:
    """The first norm, and who watches the ones to come."""
    problem, method, state = run.problem, run.method, run.state
    norm = state.residual_norm
    run.at.append(0)
    run.norms.append(norm)
    window = min(method.patience, max(100, 2 * problem.n)) if problem.coarse else method.patience
    run.watch = Watch(norm, problem.unit_roundoff, lambda: problem.rounding_floor(run.x), window)
    if method.carries is Norm.OTHER and norm > 0:
        run.per_carried = run.certify() / norm
    if run.line is not None:
        run.line.begin(norm / problem.reference, run.target / problem.reference)


def _loop(run: Run) -> Ending:
    """Look, judge, take steps; until something ends it."""
    problem, method, options, state = run.problem, run.method, run.options, run.state
    assert run.watch is not None
    limit = options.most_iterations(problem.n)
    run.loop = compiled_loop(method, problem, state)
    norm = run.norms[0]
    share = 1.0
    asked = run.target
    while True:
        if options.backward_error:
            run.target = problem.target_at(run.x, asked, options)
        # Carried residuals fall without limit, true ones do not: far below rounding they are looked into, whatever was
        # asked for, before they underflow and take the coefficients along.
        wanted = max(share * run.target, problem.negligible) / run.per_carried
        if not math.isfinite(norm):
            return problem.not_finite(first=run.iterations == 0)
        if norm <= wanted:
            if run.certify() <= run.target:
                return Ending(Status.CONVERGED)
            if method.carries is Norm.OTHER:
                run.per_carried = run.certified / norm if norm > 0 else math.inf
            # The carried residual has parted from the true one: begin anew from the true one, unless that was done
            # before and did not help.
            elif not run.certified <= 0.5 * run.last_certified:
                return Ending(Status.STAGNATED)
            else:
                run.last_certified = run.certified
                if method.monotone:
                    _keep(run, run.certified)  # from one beginning to the next the true residual may grow all the same
                method.renew(problem, state)
                run.loop = compiled_loop(method, problem, state)
                norm = run.certified
                share = 0.5
            wanted = max(share * run.target, problem.negligible) / run.per_carried
        elif verdict := run.watch.observe(run.iterations, norm):
            if verdict is not Status.DIVERGED and run.meets_target(norm):
                return Ending(Status.CONVERGED)
            return Ending(verdict)
        if run.iterations >= limit:
            # Of a residual that was not trusted half the target is wanted: now it is looked into all the same.
            reached = norm * run.per_carried <= run.target and run.meets_target(norm)
            return Ending(Status.CONVERGED if reached else Status.MAX_ITERATIONS)
        _remember(run, norm)
        if run.iterations:
            method.review(problem, state, run.iterations, norm, run.best)

        steps = _steps_to_next_look(run, limit, wanted)
        seen, taken, broken = _advance(run, steps, wanted)
        run.at.extend(range(run.iterations + taken - len(seen) + 1, run.iterations + taken + 1))
        run.norms.extend(seen)
        run.iterations += taken
        norm = float(run.norms[-1])
        if broken is not None:
            # Past the best accuracy the last direction may have no curvature left: the iterate is judged first.
            if norm * run.per_carried <= 100 * run.target and run.meets_target(norm):
                return Ending(Status.CONVERGED)
            return broken.ending
        if stopped := _told_to_stop(run, norm):
            return Ending(Status.CONVERGED) if run.meets_target(norm) else stopped


def _steps_to_next_look(run: Run, limit: int, wanted: float) -> int:
    """Steps until the next look: deterministic, so that the result never depends on the clock."""
    problem, method, watch, left = run.problem, run.method, run.watch, limit - run.iterations
    assert watch is not None
    if run.options.callback is not None or run.options.backward_error:
        return 1
    if method.check_every == 1:
        most = min(left, MOST_STEPS, max(problem.backend.steps_a_look, WORK_A_LOOK // problem.work))
        return min(most, watch.window) if problem.coarse else most
    steps = min(method.check_every, left, max(1, run.iterations))
    expected = watch.iterations_to(wanted)
    if expected < steps:
        steps = max(1, int(expected))
    initial = watch.initial
    predicted = method.predicted_iterations(run.state, wanted / initial) if initial > 0 else None
    if predicted is not None and run.iterations < predicted:
        steps = min(steps, predicted - run.iterations)
    return steps


def _advance(run: Run, steps: int, wanted: float) -> tuple[Sequence[float], int, Breakdown | None]:
    """Take steps; returns the norms seen (of the last so many iterations), the steps taken, and what broke if any."""
    problem, method, state = run.problem, run.method, run.state
    seen: list[float] = []
    taken = 0
    watched = run.line is not None or problem.deadline is not None
    state.target = wanted
    try:
        if run.loop is not None:
            stretch = run.loop(steps, wanted)
            seen, taken = list(stretch.norms), stretch.taken
            problem.matvecs += stretch.matvecs
            if stretch.broke:
                # The textbook step says in words what broke the compiled one, or gets past it by another rounding.
                method.step(problem, state)
                seen, taken = [*seen, state.residual_norm], taken + 1
            return seen, taken, None
        for _ in range(steps):
            method.step(problem, state)
            taken += 1
            if state.residual_norm is not None:
                seen.append(state.residual_norm)
                if state.replace or not state.residual_norm > wanted:
                    return seen, taken, None
            # An operator may be slow: nobody waits for the end of the plan.
            if watched and _late_after(run, taken, seen):
                break
    except Breakdown as broken:
        return seen, taken, broken
    if state.residual_norm is None:
        seen = [_computed_norm(run)]
    return seen, taken, None


def _late_after(run: Run, taken: int, seen: Sequence[float]) -> bool:
    """Draw the live line after so many steps of a plan; whether the time is over."""
    if run.line is not None and run.watch is not None:
        norm = seen[-1] if seen else run.norms[-1]
        run.line.update(run.iterations + taken, norm / run.problem.reference, run.watch.rate, run.seconds())
    return run.problem.out_of_time


def _computed_norm(run: Run) -> float:
    """The residual norm of the iterate, where the method does not carry it."""
    problem, state = run.problem, run.state
    if state.work_is_residual:
        return problem.backend.norm(state.work)
    state.work, norm = problem.residual_norm(run.x, state.work)
    return norm


def _remember(run: Run, norm: float) -> None:
    """Keep a copy of an iterate that halves the best residual so far, so that the best can be returned."""
    assert run.watch is not None
    if run.method.monotone or not run.problem.keeps_best:
        return
    if run.iterations and norm <= 0.5 * min(run.best_norm, run.watch.initial):
        _keep(run, norm)


def _keep(run: Run, norm: float) -> None:
    backend = run.problem.backend
    run.best = backend.copy(run.x) if run.best is None else backend.assign(run.x, run.best)
    run.best_norm = norm


def _told_to_stop(run: Run, norm: float) -> Ending | None:
    """Clock, callback and the live line."""
    options, problem = run.options, run.problem
    if problem.deadline is None and options.callback is None and run.line is None:
        return None
    assert run.watch is not None
    seconds = run.seconds()
    relative = norm / problem.reference
    if run.line is not None:
        run.line.update(run.iterations, relative, run.watch.rate, seconds)
    if options.callback is not None:
        absolute = times_power_of_two(norm, problem.exponent)
        tolerance = run.target / problem.reference
        told = Progress(run.iterations, absolute, relative, tolerance, seconds, lambda: problem.unscaled(run.x))
        stop = options.callback(told)
        told.close()
        if stop:
            return Ending(Status.STOPPED, "The callback asked to stop; x is the best iterate so far.")
    return run.late() if problem.out_of_time else None


def _finish(run: Run, ending: Ending) -> Solution:
    """Choose the best iterate, certify it, put it back into the caller's units, and say what happened."""
    problem, state, method = run.problem, run.state, run.method
    ending, fields = (ending, {}) if state is None else method.conclude(problem, state, ending)
    if state is None:
        # Nothing was begun: the first guess is all there is.
        x, work, residual = problem.first_guess()
    elif ending.status is Status.CONVERGED:
        x, work, residual = run.x, state.work, run.certified
    else:
        x, work, residual = _best_of(run, ending.status)
    if problem.coarse and ending.status in FAILED and residual <= 10 * problem.rounding_floor(x):
        ending = Ending(Status.STAGNATED, cause=Cause.DIGITS)  # what broke it is that there are no more digits
    return concluded(run, ending, fields, x, work, residual)


def concluded(
    run: Run, ending: Ending, fields: Mapping[str, Any], x: Vector, work: Vector, residual: float
) -> Solution:
    """The Solution of a run that has ended so, at an iterate of this residual norm; ``work`` is free for use.

    ``fields`` are those that the method has filled.
    """
    problem, state, method = run.problem, run.state, run.method
    evidence = method.evidence(state) if state is not None else None
    delivered = problem.deliver(x, work, residual, ending, run.target, evidence)
    ending, reference = delivered.ending, problem.reference
    solution = (problem.solution_kind or Solution)(
        x=delivered.x,
        status=ending.status,
        reason="",
        cause=ending.cause,
        iterations=run.iterations,
        matvecs=problem.matvecs,
        seconds=run.seconds(),
        relative_residual=delivered.residual / reference if reference else 0.0,
        residual_norm=times_power_of_two(delivered.residual, problem.exponent),
        method=method.name,
        backend=problem.backend.name,
        precision=problem.precision_name,
        unit_roundoff=problem.unit_roundoff,
        history=(run.at, run.norms),
        exponent=problem.exponent,
        evidence=evidence,
        predicted_iterations=_predicted(run),
        tolerance=run.target / reference if reference else run.options.rtol,
        reference=times_power_of_two(reference, problem.exponent),
        carries=method.carries,
        theory=method.bound,
        words=problem.words,
        **delivered.fields,
        **fields,
    )
    ending = problem.verdict(solution, ending)
    solution.status, solution.cause = ending.status, ending.cause
    solution.reason = explain(solution, run, ending.reason)
    return solution


def _predicted(run: Run) -> int | None:
    """The number of iterations that theory promised, where the method has one."""
    if not run.norms or not run.norms[0] > 0:
        return None
    return run.method.predicted_iterations(run.state, run.target / run.norms[0])


def _best_of(run: Run, status: Status) -> tuple[Vector, Vector, float]:
    """The last iterate, the best remembered one or the first guess: whichever has the smallest true residual."""
    problem, state = run.problem, run.state
    norm = run.certify()
    x = latest = run.x
    if not problem.keeps_best:
        return x, state.work, norm
    ended_badly = problem.replayable and status in FAILED and math.isinf(run.last_certified)
    at = int(np.argmin([seen if seen == seen else math.inf for seen in run.norms])) if ended_badly and run.norms else 0
    if at and run.norms[at] < 0.5 * min(norm if norm == norm else math.inf, run.best_norm):
        # A batch of steps went past a better iterate: the same steps again, up to that one.
        run.best, run.best_norm = _replayed(run, run.at[at]), 0.0
    if run.best is not None and not norm <= run.best_norm:
        _, remembered = problem.certify(run.best, state.work)
        if not norm <= remembered:
            x, norm = run.best, remembered
    initial = run.watch.initial if run.watch is not None else math.inf
    if not norm <= initial:
        x, *_ = problem.initial()
    elif x is latest:
        return x, state.work, norm
    return x, *problem.certify(x, state.work)


def _replayed(run: Run, steps: int) -> Vector:
    """The iterate after so many steps from the start."""
    problem, method = run.problem, run.method
    again = Run(problem, method, run.options, run.target, state=method.start(problem))
    again.loop = compiled_loop(method, problem, again.state)
    while again.iterations < steps:
        seen, taken, broken = _advance(again, steps - again.iterations, 0.0)
        again.iterations += taken
        if again.state.replace:
            method.review(problem, again.state, again.iterations, seen[-1], None)
        if broken is not None or taken == 0:
            break
    return again.x
