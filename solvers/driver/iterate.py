"""The driver: every solve of every method on every backend runs through this loop.

It plans how many steps to take before looking, takes them in a compiled loop where there is one and by the textbook
step otherwise, follows the residual norms, and says CONVERGED only of a residual recomputed from x.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...precision import precision_facts, times_power_of_two
from ..linear.system import LinearSystem
from .method import Breakdown, Method
from .progress import LiveLine, Progress
from .reasons import explain, nearly_singular
from .solution import Solution
from .status import OutOfTime, Status
from .stopping import Deadline, Options, Watch

__all__ = ["iterate"]

WORK_A_LOOK = 1 << 24  # entries and vector elements touched between two looks at the clock: about ten milliseconds
MOST_STEPS = 4096
_FAILED = (Status.BREAKDOWN, Status.DIVERGED, Status.OVERFLOW)


@dataclass
class _Run:
    """What the driver keeps of one solve."""

    system: LinearSystem
    method: Method
    options: Options
    target: float
    state: Any = None
    watch: Any = None
    iterations: int = 0
    at: list[int] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    best: Any = None
    best_norm: float = math.inf
    certified: float = math.nan
    last_certified: float = math.inf
    line: LiveLine | None = None
    began: float = 0.0


def iterate(system: LinearSystem, method: Method, options: Options) -> Solution:
    """Solve one system.

    Parameters
    ----------
    system : LinearSystem
    method : Method
    options : Options

    Returns
    -------
    Solution
        In the caller's units. Nothing is warned of here.
    """
    began = time.perf_counter()
    run = _Run(system, method, options, _target(system, options), began=began)
    status, reason = _settle_at_once(system)
    if status is None:
        if options.time_limit is not None:
            system.deadline = Deadline(began + options.time_limit)
        if options.progress:
            run.line = LiveLine(method.name)
        try:
            system.prepare()
            run.state = method.start(system)
            norm = run.state.residual_norm
            run.at.append(0)
            run.norms.append(norm)
            # Emulated residuals do stand still, where a step is lost to rounding or underflow.
            window = method.patience if system.emulated is None else min(method.patience, max(100, 2 * system.n))
            floor = system.rounding_floor
            run.watch = Watch(norm, system.precision.unit_roundoff, lambda: floor(run.state.x), window)
            if run.line is not None:
                run.line.begin(norm / system.rhs_norm, run.target / system.rhs_norm)
            status, reason = _loop(run)
        except Breakdown as stop:
            status, reason = stop.status, stop.reason
        except OutOfTime:
            if options.time_limit is None:
                raise  # it belongs to the solve that this one is a part of
            status, reason = _late(options)
        except KeyboardInterrupt:
            status, reason = Status.INTERRUPTED, "Interrupted from the keyboard; x is the best iterate so far."
        finally:
            if run.line is not None:
                run.line.close()
            if options.time_limit is not None:
                system.deadline = None
    with np.errstate(all="ignore"):  # here too: the solution may leave the range in the caller's units
        return _finish(run, status, reason)


def _target(system: LinearSystem, options: Options) -> float:
    """The tolerance in internal units."""
    absolute = times_power_of_two(options.atol, -system.rhs_exponent) if options.atol else 0.0
    return max(options.rtol * system.rhs_norm, absolute)


def _settle_at_once(system: LinearSystem) -> tuple[Status | None, str]:
    """Systems that need no iteration, or have no solution on the face of it."""
    if system.n == 0:
        return Status.CONVERGED, "The system is empty."
    if system.zero_rhs:
        return Status.CONVERGED, "b is zero, so x = 0 is exact."
    facts = system.facts
    if facts is not None and facts.empty_row >= 0:
        row = facts.empty_row
        if complex(system.true_rhs[row]) != 0:
            return Status.INFEASIBLE, (
                f"A is singular: row {row} has no nonzero, but b[{row}] is not zero, so no solution exists. Remove the "
                "row, or solve the least-squares problem."
            )
    return None, ""


def _loop(run: _Run) -> tuple[Status, str]:
    """Look, judge, take steps; until something ends it."""
    system, method, options, state = run.system, run.method, run.options, run.state
    limit = options.maxiter if options.maxiter is not None else max(10 * system.n, 1000)
    loop = system.backend.loop(method, system, state)
    norm = run.norms[0]
    share = 1.0
    asked = run.target
    while True:
        if options.backward_error:
            run.target = max(asked, options.backward_error * system.data_norm(state.x))
        # Carried residuals fall without limit, true ones do not: far below rounding they are looked into, whatever was
        # asked for, before they underflow and take the coefficients along.
        wanted = max(share * run.target, system.negligible)
        if not math.isfinite(norm):
            return _not_finite(run)
        if norm <= wanted:
            if _certify(run) <= run.target:
                return Status.CONVERGED, ""
            # The carried residual has parted from the true one: begin anew from the true one, unless that was done
            # before and did not help.
            if not run.certified <= 0.5 * run.last_certified:
                return Status.STAGNATED, ""
            run.last_certified = run.certified
            method.restart(system, state)
            loop = system.backend.loop(method, system, state)
            norm = run.certified
            share = 0.5
            wanted = max(share * run.target, system.negligible)
        elif verdict := run.watch.observe(run.iterations, norm):
            if verdict == "diverged":
                return Status.DIVERGED, ""
            if _meets_target(run, norm):
                return Status.CONVERGED, ""
            return Status.STAGNATED, ""
        if run.iterations >= limit:
            return Status.MAX_ITERATIONS, ""
        _remember(run, norm)
        if run.iterations:
            method.review(system, state, run.iterations, norm, run.best)

        steps = _plan(run, limit, wanted)
        seen, taken, broken = _advance(run, loop, steps, wanted)
        run.at.extend(range(run.iterations + taken - len(seen) + 1, run.iterations + taken + 1))
        run.norms.extend(seen)
        run.iterations += taken
        norm = float(run.norms[-1])
        if broken is not None:
            # Past the best accuracy the last direction may have no curvature left: the iterate is judged first.
            if norm <= 100 * run.target and _meets_target(run, norm):
                return Status.CONVERGED, ""
            return broken.status, broken.reason
        if stopped := _told_to_stop(run, norm):
            if _meets_target(run, norm):
                return Status.CONVERGED, ""
            return stopped


def _plan(run: _Run, limit: int, wanted: float) -> int:
    """Steps until the next look: deterministic, so that the result never depends on the clock."""
    method, left = run.method, limit - run.iterations
    if run.options.callback is not None or run.options.backward_error:
        return 1
    size = run.system.operator.entries + 10 * run.system.n
    most = min(left, MOST_STEPS, run.watch.window if run.system.emulated else MOST_STEPS, max(1, WORK_A_LOOK // size))
    if method.check_every == 1:
        return most
    steps = min(method.check_every, left, max(1, run.iterations))
    expected = run.watch.iterations_to(wanted)
    if expected < steps:
        steps = max(1, int(expected))
    initial = run.watch.initial
    predicted = method.predicted_iterations(run.state, wanted / initial) if initial > 0 else None
    if predicted is not None and run.iterations < predicted:
        steps = min(steps, predicted - run.iterations)
    return steps


def _advance(run: _Run, loop: Any, steps: int, wanted: float) -> tuple[Any, int, Breakdown | None]:
    """Take steps; returns the norms seen (of the last so many iterations), the steps taken, and what broke if any."""
    system, state = run.system, run.state
    seen: list[float] = []
    taken = 0
    broke = False
    watched = run.line is not None or system.deadline is not None
    state.target = wanted
    try:
        if loop is not None:
            seen, taken, broke = loop(steps, wanted)
            system.matvecs += taken * run.method.traffic.matvecs
            if broke:
                # The textbook step says in words what broke the compiled one, or gets past it by another rounding.
                run.method.step(system, state)
                seen, taken = [*seen, state.residual_norm], taken + 1
            return seen, taken, None
        for _ in range(steps):
            run.method.step(system, state)
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
        if not state.work_is_residual:
            state.work = system.residual(state.x, state.work)
        seen = [system.backend.norm(state.work)]
    return seen, taken, None


def _remember(run: _Run, norm: float) -> None:
    """Keep a copy of an iterate that halves the best residual so far, so that the best can be returned."""
    if run.iterations and norm <= 0.5 * min(run.best_norm, run.watch.initial):
        backend = run.system.backend
        run.best = backend.copy(run.state.x) if run.best is None else backend.assign(run.state.x, run.best)
        run.best_norm = norm


def _certify(run: _Run) -> float:
    """The norm of b - A x, recomputed from x and left in state.work."""
    state = run.state
    state.work, run.certified = run.system.certify(state.x, state.work)
    return run.certified


def _late_after(run: _Run, taken: int, seen: list[float]) -> bool:
    """Draw the live line after so many steps of a plan; whether the time is over."""
    if run.line is not None:
        norm = seen[-1] if seen else run.norms[-1]
        seconds = time.perf_counter() - run.began
        run.line.update(run.iterations + taken, norm / run.system.rhs_norm, run.watch.rate, seconds)
    return run.system.out_of_time


def _late(options: Options) -> tuple[Status, str]:
    return Status.TIME_LIMIT, f"The time limit of {options.time_limit:g} s was reached."


def _meets_target(run: _Run, norm: float) -> bool:
    """Whether the true residual does, where the one that the method saw may not.

    If A only multiplies, and the two contradict each other, its products may vary: a second one has to agree.
    """
    first = _certify(run)
    if first <= run.target < norm and run.system.facts is None:
        run.certified = max(first, _certify(run))
    return run.certified <= run.target


def _told_to_stop(run: _Run, norm: float) -> tuple[Status, str] | None:
    """Clock, callback and the live line."""
    options, system = run.options, run.system
    if system.deadline is None and options.callback is None and run.line is None:
        return None
    seconds = time.perf_counter() - run.began
    relative = norm / system.rhs_norm
    if run.line is not None:
        run.line.update(run.iterations, relative, run.watch.rate, seconds)
    if options.callback is not None:
        absolute = times_power_of_two(norm, system.rhs_exponent)
        tolerance = run.target / system.rhs_norm
        told = Progress(run.iterations, absolute, relative, tolerance, seconds, lambda: system.unscaled(run.state.x))
        stop = options.callback(told)
        told.close()
        if stop:
            return Status.STOPPED, "The callback asked to stop; x is the best iterate so far."
    if system.out_of_time:
        if options.time_limit is None:
            raise OutOfTime
        return _late(options)
    return None


def _not_finite(run: _Run) -> tuple[Status, str]:
    """NaN or infinity where a norm should be: whose fault is it?"""
    if run.iterations == 0:
        stop = run.system.not_finite(
            "The first residual is not finite: A, or x0 multiplied with it, gave NaN or infinity."
        )
        return stop.status, stop.reason
    if run.system.facts is None or run.system.emulated is not None:
        stop = run.system.not_finite("A product with A (or M) was not finite: the operator returned NaN or infinity.")
        return stop.status, stop.reason
    return Status.DIVERGED, ""


def _finish(run: _Run, status: Status, reason: str) -> Solution:
    """Choose the best iterate, certify it, put it back into the caller's units, and say what happened."""
    system, state, method = run.system, run.state, run.method
    backend = system.backend
    if state is None:
        # Nothing was begun: the first guess is all there is, if its residual can be had.
        x, work, residual = system.vector(), backend.copy(system.rhs), system.rhs_norm
        if system.guess is not None and status is not Status.CONVERGED:
            x, work, residual = system.initial()
    else:
        x, work, residual = state.x, state.work, run.certified
        if status is not Status.CONVERGED:
            x, work, residual = _best_of(run, status)
    if system.emulated is not None and status in _FAILED and residual <= 10 * system.rounding_floor(x):
        status, reason = Status.STAGNATED, ""  # what broke it is that there are no more digits to be had
    solution = backend.exact.norm(x)
    shift = system.rhs_exponent - system.matrix_exponent
    residual = residual if residual == residual else math.inf
    lossy = shift != 0 and _leaves_range(run, x, solution, shift)
    result = system.unscaled(x, fresh=False)
    if lossy and status is not Status.OVERFLOW:
        _, residual = system.certify(system.rescaled(result), work)
        residual = residual if residual == residual else math.inf
        if not residual <= run.target:
            overflow = not math.isfinite(backend.max_abs(result))
            if status is Status.CONVERGED or overflow:
                status, reason = Status.OVERFLOW, ""
    rhs_norm = system.rhs_norm
    relative = residual / rhs_norm if rhs_norm else 0.0
    evidence = method.evidence(state) if state is not None else None
    answer = Solution(
        x=result,
        status=status,
        reason="",
        iterations=run.iterations,
        matvecs=system.matvecs,
        seconds=time.perf_counter() - run.began,
        relative_residual=relative,
        residual_norm=times_power_of_two(residual, system.rhs_exponent),
        method=method.name,
        backend=backend.name,
        precision=system.precision_name,
        unit_roundoff=system.unit_roundoff,
        history=(run.at, run.norms),
        rhs_exponent=system.rhs_exponent,
        spectral_exponent=system.spectral_exponent,
        evidence=evidence,
        norms=(residual, solution, system.matrix_norm),
        predicted_iterations=_predicted(run),
        tolerance=run.target / rhs_norm if rhs_norm else run.options.rtol,
        rhs_norm=times_power_of_two(rhs_norm, system.rhs_exponent),
        smallest_eigenvalue=_smallest_eigenvalue(system, evidence),
        preconditioned=system.preconditioner is not None,
    )
    if system.emulated is None and _looks_singular(answer):
        answer.status = Status.BREAKDOWN
        reason = nearly_singular(answer)
    answer.reason = explain(answer, run, reason)
    return answer


def _smallest_eigenvalue(system: LinearSystem, evidence: Any) -> float:
    """A lower bound of the spectrum of a Hermitian A that does not rest on estimates."""
    if system.preconditioner is not None:
        return -math.inf
    given = evidence.interval[0] if evidence is not None and evidence.given else -math.inf
    return max(given, system.facts.margin) if system.hermitian and system.facts is not None else given


def _looks_singular(answer: Solution) -> bool:
    """It stood still, but not for want of digits; or it diverged, and the spectrum seen touches zero."""
    if answer.status is Status.STAGNATED:
        return bool(answer.backward_error > 1e6 * answer.unit_roundoff)
    if answer.status is Status.DIVERGED:
        return answer.condition is not None and answer.condition > 1e-2 / answer.unit_roundoff
    return False


def _predicted(run: _Run) -> int | None:
    """The number of iterations that theory promised, where the method has one."""
    if not run.norms or not run.norms[0] > 0:
        return None
    return run.method.predicted_iterations(run.state, run.target / run.norms[0])


def _best_of(run: _Run, status: Status) -> tuple[Any, Any, float]:
    """The last iterate, the best remembered one or the first guess: whichever has the smallest true residual."""
    system, state = run.system, run.state
    norm = _certify(run)
    x = state.x
    ended_badly = status in _FAILED and math.isinf(run.last_certified)
    at = int(np.argmin([seen if seen == seen else math.inf for seen in run.norms])) if ended_badly and run.norms else 0
    if at and run.norms[at] < 0.5 * min(norm if norm == norm else math.inf, run.best_norm):
        # A batch of steps went past a better iterate: the same steps again, up to that one.
        run.best, run.best_norm = _replayed(run, run.at[at]), 0.0
    if run.best is not None and not norm <= run.best_norm:
        _, remembered = system.certify(run.best, state.work)
        if not norm <= remembered:
            x, norm = run.best, remembered
    initial = run.watch.initial if run.watch is not None else math.inf
    if not norm <= initial:
        x, *_ = system.initial()
    elif x is state.x:
        return x, state.work, norm
    return x, *system.certify(x, state.work)


def _replayed(run: _Run, steps: int) -> Any:
    """The iterate after so many steps from the start."""
    system, method = run.system, run.method
    again = _Run(system, method, run.options, run.target, state=method.start(system))
    loop = system.backend.loop(method, system, again.state)
    while again.iterations < steps:
        seen, taken, broken = _advance(again, loop, steps - again.iterations, 0.0)
        again.iterations += taken
        if again.state.replace:
            method.review(system, again.state, again.iterations, seen[-1], None)
        if broken is not None or taken == 0:
            break
    return again.state.x


def _leaves_range(run: _Run, x: Any, solution: float, shift: int) -> bool:
    """Whether multiplying x by 2**shift may overflow, or lose digits that matter to underflow."""
    if solution == 0 or not math.isfinite(solution):
        return False
    facts = precision_facts(run.system.true_dtype)
    exponent = math.frexp(solution)[1] + shift
    digits = 2 * round(-math.log2(facts.unit_roundoff))
    return exponent > facts.largest_exponent - 1 or exponent - digits < facts.smallest_exponent
