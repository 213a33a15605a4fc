"""Why a solve ended as it did, in sentences that say what to do."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from .solution import Solution
from .status import Status

if TYPE_CHECKING:
    from .iterate import Run

__all__ = ["explain"]


def explain(solution: Solution, run: Run, reason: str) -> str:
    """The reason of a finished solve; ``reason`` is what the driver, the method or the problem said already."""
    lines = list(run.state.notes) if run.state is not None else []
    if run.state is not None and (description := run.method.describe(run.state)):
        lines.insert(0, description)
    said = reason or _SENTENCES[solution.status](solution, run)
    return " ".join(filter(None, [said, *lines, run.problem.remarks]))


def _counted(iterations: int) -> str:
    return f"{iterations} iteration{'' if iterations == 1 else 's'}"


def _converged(solution: Solution, run: Run) -> str:
    return (
        f"The true residual is {solution.relative_residual:.2e} of {solution.words.reference}, at most the "
        f"{solution.tolerance:.2e} asked for, after {_counted(solution.iterations)} of {run.method.name}."
    )


def _not_there(solution: Solution, run: Run) -> str:
    left = run.watch.iterations_to(run.target / run.per_carried) if run.watch is not None else math.inf
    rate = run.watch.rate if run.watch is not None else math.nan
    outlook = (
        f"at the observed rate of {rate:.4f} an iteration about {left:.0f} more are needed"
        if math.isfinite(left)
        else "the residual was not falling"
    )
    return (
        f"After {_counted(solution.iterations)} the residual is {solution.relative_residual:.2e} of "
        f"{solution.words.reference}, not the {solution.tolerance:.2e} asked for; {outlook}. "
        f"{run.problem.advice(solution)}"
    ).rstrip()


def _stagnated(solution: Solution, run: Run) -> str:
    u, eta = solution.unit_roundoff, solution.backward_error
    ended = "can do no better" if eta <= 100 * u else "gets no further by this method"
    return (
        f"{solution.precision} {ended}: the residual stopped at {solution.relative_residual:.2e} of "
        f"{solution.words.reference}, a backward error of {eta / u:.1f} u{known_condition(solution)}, short of the "
        f"{solution.tolerance:.2e} asked for. {run.problem.advice(solution)}"
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
    Status.CONVERGED: _converged,
    Status.MAX_ITERATIONS: _not_there,
    Status.STAGNATED: _stagnated,
    Status.DIVERGED: _diverged,
    Status.OVERFLOW: _overflow,
    Status.BREAKDOWN: _breakdown,
    Status.TIME_LIMIT: _not_there,
    Status.INTERRUPTED: _not_there,
    Status.STOPPED: _not_there,
    Status.INFEASIBLE: _breakdown,
}
