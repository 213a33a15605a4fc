"""How a solve may end, and the exceptions by which one that cannot go on ends."""

from __future__ import annotations

import enum

__all__ = ["NOT_FINITE", "Breakdown", "OutOfTime", "Status"]

NOT_FINITE = "NaN or infinity"  # in every reason that says so, for code that has to tell


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
    STOPPED = "stopped by the callback"


class Breakdown(ArithmeticError):
    """A step cannot be taken; the message is a sentence that says why and what to do."""

    def __init__(self, reason: str, status: Status = Status.BREAKDOWN) -> None:
        super().__init__(reason)
        self.reason, self.status = reason, status


class OutOfTime(Exception):
    """The time limit has passed of the solve that this one is a part of."""
