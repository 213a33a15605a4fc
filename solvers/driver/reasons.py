"""Why a solve ended as it did, in sentences that say what to do."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from .solution import Solution
from .status import Status

if TYPE_CHECKING:
    from .iterate import Run

__all__ = ["converged_sentence", "explain", "not_there_sentence"]


def explain(solution: Solution, run: Run, reason: str) -> Any:
    """The reason of a finished solve; ``reason`` is what the driver, the method or the problem said already.

    That of one that converged is put into words when somebody reads it.
    """
    lines = list(run.state.notes) if run.state is not None else []
    if run.state is not None and (description := run.method.describe(run.state)):
        lines.insert(0, description)
    lines.append(run.problem.remarks)
    if not reason and solution.status is Status.CONVERGED:
        return partial(_converged, name=run.method.name, lines=lines)
    return _joined(reason or _SENTENCES[solution.status](solution, run), lines)


def _joined(said: str, lines: list[str]) -> str:
    return " ".join(filter(None, [said, *lines]))


def _counted(iterations: int) -> str:
    return f"{iterations} iteration{'' if iterations == 1 else 's'}"


def _converged(solution: Solution, name: str, lines: list[str]) -> str:
    return _joined(converged_sentence(solution, name), lines)


def converged_sentence(solution: Solution, name: str) -> str:
    """That a solve by a method of this name converged."""
    return (
        f"The true residual is {solution.relative_residual:.2e} of {solution.words.reference}, at most the "
        f"{solution.tolerance:.2e} asked for, after {_counted(solution.iterations)} of {name}."
    )


def _not_there(solution: Solution, run: Run) -> str:
    left = run.watch.iterations_to(run.target / run.per_carried) if run.watch is not None else math.inf
    rate = run.watch.rate if run.watch is not None else math.nan
    return not_there_sentence(solution, rate, left, run.problem.advice(solution))


def not_there_sentence(solution: Solution, rate: float, left: float, advice: str) -> str:
    """That a solve ended before it converged, with the observed rate and the iterations that it lacks at that rate."""
    outlook = (
        f"at the observed rate of {rate:.4f} an iteration about {left:.0f} more are needed"
        if math.isfinite(left)
        else "the residual was not falling"
    )
    return (
        f"After {_counted(solution.iterations)} the residual is {solution.relative_residual:.2e} of "
        f"{solution.words.reference}, not the {solution.tolerance:.2e} asked for; {outlook}. {advice}"
    ).rstrip()


def _stagnated(solution: Solution, run: Run) -> str:
    u, eta = solution.unit_roundoff, solution.backward_error
    ended = "can do no better" if eta <= 100 * u else "gets no further by this method"
    error = f"a backward error of {eta / u:.1f} u{known_condition(solution)}, " if eta == eta else ""
    return (
        f"{solution.precision} {ended}: the residual stopped at {solution.relative_residual:.2e} of "
        f"{solution.words.reference}, {error}short of the {solution.tolerance:.2e} asked for. "
        f"{run.problem.advice(solution)}"
    ).rstrip()


def known_condition(solution: Solution) -> str:
    """What the condition, as far as it is known, means for x; in brackets, or nothing."""
    condition = solution.condition
    if not condition or solution.preconditioned:
        return ""
    more = " or more" if solution.condition_sense == "at least" else ""
    off = f"{min(1.0, condition * solution.unit_roundoff):.0e}{more}"
    return f" (condition {solution.condition_sense} {condition:.1e}, so x may be off by {off})"


def _diverged(solution: Solution, run: Run) -> str:
    return (
        f"The residual of {run.method.name} grew without limit; x is the best iterate, with a residual of "
        f"{solution.relative_residual:.2e} of {solution.words.reference}. {run.method.when_diverging}"
    )


def _overflow(solution: Solution, run: Run) -> str:
    return (
        f"In these units the solution leaves the range of {solution.precision}: it was found, but cannot be written "
        f"down. {run.problem.advice(solution)}"
    ).rstrip()


def _breakdown(solution: Solution, run: Run) -> str:
    return f"{run.method.name} broke down."


_SENTENCES: dict[Status, Callable[[Solution, Run], str]] = {
    Status.MAX_ITERATIONS: _not_there,
    Status.STAGNATED: _stagnated,
    Status.DIVERGED: _diverged,
    Status.OVERFLOW: _overflow,
    Status.BREAKDOWN: _breakdown,
    Status.TIME_LIMIT: _not_there,
    Status.INTERRUPTED: _not_there,
    Status.STOPPED: _not_there,
    Status.INFEASIBLE: _breakdown,
    Status.REFUSED: _breakdown,
}
