"""How a solve may end and why, and the exceptions by which one that cannot go on ends."""

from __future__ import annotations

import enum
from typing import NamedTuple

__all__ = ["Breakdown", "Cause", "Ending", "OutOfTime", "Status"]


class Status(enum.Enum):
    """How a solve ended. Only CONVERGED says that the tolerance is met, by a residual recomputed from x itself."""

    CONVERGED = "converged"
    MAX_ITERATIONS = "iteration limit reached"
    STAGNATED = "accuracy limit of this precision reached"
    BREAKDOWN = "the method broke down"
    DIVERGED = "diverged"
    INFEASIBLE = "no method here fits, or no solution exists"
    OVERFLOW = "the solution is out of range"
    TIME_LIMIT = "time limit reached"
    INTERRUPTED = "interrupted"
    STOPPED = "stopped as the caller asked"
    REFUSED = "refused: the input is no system of this kind"


class Cause(enum.Enum):
    """What ended a solve, for code that has to tell; the sentence about it is for people."""

    NOT_FINITE = "a product was NaN or infinite"
    INDEFINITE = "A is not positive definite"
    SINGULAR = "A is singular to rounding"
    INCONSISTENT = "no solution exists"
    PRECONDITIONER = "M is not positive definite"
    RANGE = "the range of the precision was left"
    DIGITS = "the precision has no more digits"
    RECURRENCE = "the recurrence of the method ended"
    CONDITION = "the condition number is above the limit that was set"
    NOISE = "the same point has different values"


class Ending(NamedTuple):
    """How a solve ended, what caused it, and a sentence where the one for the status does not say it."""

    status: Status
    reason: str = ""
    cause: Cause | None = None


class Breakdown(ArithmeticError):
    """A step cannot be taken; the message is a sentence that says why and what to do.

    Parameters
    ----------
    reason : str
    cause : Cause
    status : Status
        How the solve is said to have ended.
    """

    def __init__(self, reason: str, cause: Cause = Cause.RECURRENCE, status: Status = Status.BREAKDOWN) -> None:
        super().__init__(reason)
        self.reason, self.cause, self.status = reason, cause, status

    @property
    def ending(self) -> Ending:
        """That of the solve that it ends."""
        return Ending(self.status, self.reason, self.cause)


class OutOfTime(Exception):
    """The time limit has passed of the solve that this one is a part of."""
