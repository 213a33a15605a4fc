"""Why a solve ended as it did, in sentences that say what to do."""

from __future__ import annotations

import math
from typing import Any

from .solution import Solution
from .status import Status

__all__ = ["explain", "nearly_singular"]


def explain(solution: Solution, run: Any, reason: str) -> str:
    """The reason of a finished solve; ``reason`` is what the driver or the method said already."""
    lines = list(getattr(run.state, "notes", ()))
    if run.state is not None and (description := run.method.describe(run.state)):
        lines.insert(0, description)
    said = reason or _SENTENCES[solution.status](solution, run)
    return " ".join(filter(None, [said, *lines, run.system.scaling]))


def _counted(iterations: int) -> str:
    return f"{iterations} iteration{'' if iterations == 1 else 's'}"


def _converged(solution: Solution, run: Any) -> str:
    return (
        f"The true residual is {solution.relative_residual:.2e} of ||b||, at most the {solution.tolerance:.2e} asked "
        f"for, after {_counted(solution.iterations)} of {run.method.name}."
    )


def _max_iterations(solution: Solution, run: Any) -> str:
    left = run.watch.iterations_to(run.target) if run.watch is not None else math.inf
    advice = (
        f"at the observed rate of {run.watch.rate:.4f} an iteration about {left:.0f} more are needed"
        if math.isfinite(left)
        else "the residual was not falling"
    )
    return (
        f"After {_counted(solution.iterations)} the residual is {solution.relative_residual:.2e} of ||b||, not the "
        f"{solution.tolerance:.2e} asked for; {advice}. Raise maxiter, precondition (rv.precondition), or try another "
        "method."
    )


def _stagnated(solution: Solution, run: Any) -> str:
    u = solution.unit_roundoff
    eta = solution.backward_error
    condition = solution.condition
    known = ""
    if condition and not solution.preconditioned:
        more = " or more" if solution.condition_sense == "at least" else ""
        off = f"{min(1.0, condition * u):.0e}{more}"
        known = f" (condition {solution.condition_sense} {condition:.1e}, so x may be off by {off})"
    if run.system.emulated is not None and not run.system.scaled:
        wider = "It was asked not to be scaled; leave scale at auto, or take a wider format."
    elif run.system.emulated is not None:
        wider = "Take a wider format, refine (rv.refine), or ask for less."
    elif solution.precision in ("float32", "complex64"):
        wider = "Use float64, or ask for less."
    else:
        wider = "Ask for less, or precondition so that ||A|| ||x|| is nearer to ||b||."
    ended = "can do no better" if eta <= 100 * u else "gets no further by this method"
    return (
        f"{solution.precision} {ended}: the residual stopped at {solution.relative_residual:.2e} of ||b||, a "
        f"backward error of {eta / u:.1f} u{known}, short of the {solution.tolerance:.2e} asked for. {wider}"
    )


def _diverged(solution: Solution, run: Any) -> str:
    return (
        f"The residual of {run.method.name} grew without limit; x is the best iterate, with a residual of "
        f"{solution.relative_residual:.2e} of ||b||. {run.method.when_diverging}"
    )


def _overflow(solution: Solution, run: Any) -> str:
    return (
        f"In these units the solution leaves the range of {solution.precision}: it was found, but cannot be written "
        "down. Rescale A or b."
    )


def _breakdown(solution: Solution, run: Any) -> str:
    return f"{run.method.name} broke down."


def nearly_singular(solution: Solution) -> str:
    """Why a residual stands still far above the rounding level."""
    condition = solution.condition
    known = f" (condition {solution.condition_sense} {condition:.1e})" if condition and condition > 0 else ""
    return (
        f"The residual stands still at {solution.relative_residual:.2e} of ||b|| while x grows: A is singular or "
        f"nearly so{known}, and b has a part that it cannot reach. Regularise, or solve the least-squares problem."
    )


_SENTENCES = {
    Status.CONVERGED: _converged,
    Status.MAX_ITERATIONS: _max_iterations,
    Status.STAGNATED: _stagnated,
    Status.DIVERGED: _diverged,
    Status.OVERFLOW: _overflow,
    Status.BREAKDOWN: _breakdown,
    Status.TIME_LIMIT: _max_iterations,
    Status.INTERRUPTED: _max_iterations,
    Status.STOPPED: _max_iterations,
    Status.INFEASIBLE: _breakdown,
}
