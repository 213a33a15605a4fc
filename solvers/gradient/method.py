"""What gradient steps with momentum share: the step, of which each scheme has its own three coefficients."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from ...errors import InputError
from ..driver.method import Traffic
from ..driver.problem import Vector
from ..fixed_point.method import EquationMethod, FixedPointState
from .problem import GradientProblem

__all__ = ["Coefficients", "MomentumMethod", "MomentumState"]


class Coefficients(NamedTuple):
    """Of one step.

    Attributes
    ----------
    step : float
        alpha, what the gradient is multiplied by.
    momentum : float
        beta, how much of the last step is taken again.
    look_ahead : float
        gamma, how much of it lies between the iterate and the point at which the gradient is evaluated.
    """

    step: float
    momentum: float
    look_ahead: float


@dataclass
class MomentumState(FixedPointState):
    """``x`` is the point at which the gradient is known.

    Attributes
    ----------
    xi, previous : vector
        The last two iterates of the recurrence.
    coefficients : Coefficients
        In internal units.
    rate : float
        By which theory says that errors fall in an iteration.
    condition : float
        L / mu.
    """

    xi: Vector = None
    previous: Vector = None
    coefficients: Coefficients = Coefficients(0.0, 0.0, 0.0)  # noqa: RUF009 - a tuple
    rate: float = 1.0
    condition: float = 1.0


class MomentumMethod(EquationMethod[GradientProblem]):
    """xi + beta (xi - xi before) - alpha gradient(y), where y = xi + gamma (xi - xi before); the iterates are the y.

    A scheme says what alpha, beta and gamma are, and the rate.
    """

    traffic: ClassVar[Traffic] = Traffic(vectors=6, passes=11, reductions=1, matvecs=1, compiled_passes=11)
    when_diverging: ClassVar[str] = "Is smoothness large enough, and gradient that of a convex function?"
    needs_strong_convexity: ClassVar[bool] = True

    @abstractmethod
    def coefficients(self, L: float, mu: float) -> Coefficients:
        """alpha, beta and gamma for Hessians between mu and L."""

    @abstractmethod
    def rate(self, condition: float) -> float:
        """The factor by which theory says that errors fall in an iteration."""

    def start(self, problem: GradientProblem) -> MomentumState:
        if self.needs_strong_convexity and not problem.mu > 0:
            raise InputError(f'strong_convexity: found 0, which {self.name} cannot use; wanted more, or "gradient"')
        x, residual, norm = problem.initial()
        s = MomentumState(x, residual, norm, next_x=problem.vector(), next_work=problem.vector())
        s.xi, s.previous = problem.backend.copy(x), problem.backend.copy(x)
        s.coefficients = self.coefficients(problem.lipschitz, problem.mu)
        s.condition, s.rate = problem.condition, self.rate(problem.condition)
        return s

    def step(self, problem: GradientProblem, s: MomentumState) -> None:  # type: ignore[override]
        alpha, beta, gamma = s.coefficients
        s.xi, s.previous = problem.backend.momentum(beta, -alpha, s.xi, s.previous, s.work), s.xi
        s.next_x = problem.backend.combine([s.xi, s.previous], [1 + gamma, -gamma], s.next_x)
        if not self.evaluate_next(problem, s):
            self.give_up(problem, "at the next iterate")
        self.accept(s)

    def describe(self, s: MomentumState) -> str:  # type: ignore[override]
        return f"For the condition {s.condition:.4g} theory promises a rate of {s.rate:.4f} an iteration."
