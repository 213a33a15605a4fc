"""What the methods for equations share: how an iterate is taken, and when its residual stands still."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, NoReturn, TypeVar

from ..driver.method import Breakdown, Method, Norm, State
from ..driver.problem import Vector
from ..driver.status import Cause, Status
from .problem import EquationProblem, FixedPointProblem

__all__ = ["FIRST_DOUBT", "NOISE", "EquationMethod", "FixedPointMethod", "FixedPointState", "noisy"]

P = TypeVar("P", bound=EquationProblem)

NOISE = 0.1  # of the residual: two evaluations that differ by more say that it is noise
FIRST_DOUBT = 50  # iterations without a new smallest residual after which the function is evaluated twice


@dataclass
class FixedPointState(State):
    """The iterate x and its residual in ``work``, and room for the next ones.

    Attributes
    ----------
    next_x, next_work, next_norm : vector, vector, float
    lowest, lowest_at : float, int
        The smallest residual norm so far, and the iteration of it or of the last doubt.
    patience : int
        Iterations without a smaller one until the next doubt.
    """

    next_x: Vector = None
    next_work: Vector = None
    next_norm: float = math.nan
    lowest: float = math.inf
    lowest_at: int = 0
    patience: int = FIRST_DOUBT
    work_is_residual: bool = field(default=True)


class EquationMethod(Method[P, FixedPointState]):
    """A method for an equation. ``step`` puts the next iterate into ``next_x`` and calls ``advance``."""

    carries: ClassVar[Norm] = Norm.COMPUTED
    patience: ClassVar[int] = 100

    def start(self, problem: P) -> FixedPointState:
        x, residual, norm = problem.initial()
        return self.new_state(problem, x, residual, norm)

    def new_state(self, problem: P, x: Vector, residual: Vector, norm: float) -> FixedPointState:
        """The state at an evaluated iterate."""
        return FixedPointState(x, residual, norm, next_x=problem.vector(), next_work=problem.vector())

    def advance(self, problem: P, s: FixedPointState, expected: float = math.inf) -> None:
        """Evaluate at ``next_x``, which becomes the iterate; where that is not finite, half way to it.

        Raises
        ------
        Breakdown
            Where it is not finite there either; the iterate is the one before.
        """
        if not self.evaluate_next(problem, s, expected):
            s.next_x = problem.backend.axpby(0.5, s.x, 0.5, s.next_x)
            if not self.evaluate_next(problem, s, expected):
                self.give_up(problem, "at the next iterate, nor half way to it")
        self.accept(s)

    def give_up(self, problem: P, where: str) -> NoReturn:
        """The function is not finite ``where`` it would have to be."""
        said = f" ({problem.raised})" if problem.raised else ""
        raise Breakdown(
            f"{problem.called} was not finite {where}{said}. {self.when_diverging}", Cause.NOT_FINITE, Status.DIVERGED
        )

    def evaluate_next(self, problem: P, s: FixedPointState, expected: float = math.inf) -> bool:
        """Evaluate at ``next_x``; whether it is finite there."""
        s.next_work, s.next_norm = problem.evaluate(s.next_x, s.next_work, expected)
        return math.isfinite(s.next_norm)

    def accept(self, s: FixedPointState) -> None:
        """``next_x``, which was evaluated, becomes the iterate."""
        s.x, s.next_x = s.next_x, s.x
        s.work, s.next_work = s.next_work, s.work
        s.residual_norm = s.next_norm

    def renew(self, problem: P, s: FixedPointState) -> None:
        s.residual_norm = problem.backend.norm(s.work)

    def review(self, problem: P, s: FixedPointState, iteration: int, norm: float, best: Vector | None) -> None:
        """Where the residual has stopped falling, find out whether it is noise: a second value at the same point.

        Raises
        ------
        Breakdown
            As STAGNATED, where the two values differ by as much as the residual.
        """
        if norm < s.lowest:
            s.lowest, s.lowest_at = norm, iteration
        if iteration - s.lowest_at < s.patience:
            return
        s.next_work, noise = problem.varies(s.x, s.work, s.next_work)
        if noise >= NOISE * norm:
            raise noisy(problem, noise)
        s.lowest_at, s.patience = iteration, 2 * s.patience


def noisy(problem: EquationProblem, noise: float) -> Breakdown:
    """That two values at the same x differ by as much as the residual."""
    size = problem.reference or 1.0
    return Breakdown(
        f"{problem.called} varies from one call to the next: two values at the same x differ by {noise / size:.2e} of "
        f"{problem.words.reference}, which the residual does not fall below. Ask for less, or average "
        f"{problem.called}.",
        Cause.NOISE,
        Status.STAGNATED,
    )


class FixedPointMethod(EquationMethod[FixedPointProblem]):
    """A method for x = g(x)."""

    when_diverging: ClassVar[str] = "Begin nearer, or try another method: rv.fixed_point chooses one."
