"""What the methods for F(z) = 0 share: evaluations that may raise the Lipschitz constant, and the anchor."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

from ...errors import InputError
from ..driver.problem import Vector
from ..fixed_point.method import EquationMethod, FixedPointState
from .problem import MonotoneProblem

__all__ = ["MonotoneMethod", "MonotoneState", "check_step"]

LEAST_GROWTH = 1.25  # of an estimate that was exceeded
# The same at most, and where F was not finite: what a step met that went much too far says little of a shorter one.
MOST_GROWTH = 4.0
MOST_ATTEMPTS = 25
TOLD_APART = 1024  # roundings of z: the values at points that are closer say nothing of L


@dataclass
class MonotoneState(FixedPointState):
    """With the point between two iterates, and the anchor.

    Attributes
    ----------
    half, half_work : vector
        That point, and F there.
    anchor : vector
        The iterate that all later ones are drawn to; the first.
    anchor_norm : float
        The residual norm there.
    k : int
        Iterations since the anchor.
    factor : float
        L times the step, of methods whose steps vary.
    spare : vector
        Where L is estimated, for differences.
    raised : int
        How often the estimate of L was.
    """

    half: Vector = None
    half_work: Vector = None
    anchor: Vector = None
    anchor_norm: float = math.nan
    k: int = 0
    factor: float = math.nan
    spare: Vector = None
    raised: int = 0


class Exceeded(Exception):
    """L was larger than it was taken to be: the same iteration again."""


class MonotoneMethod(EquationMethod[MonotoneProblem]):
    """A method for F(z) = 0.

    ``attempt`` is the textbook: it leaves the next iterate in ``next_x``, and F there, by ``evaluate``, in
    ``next_work``. It changes nothing else that it would need for a second attempt, should L prove to be larger.
    """

    when_diverging: ClassVar[str] = "Is F monotone, and lipschitz large enough? None has it estimated."
    evaluations: ClassVar[int] = 2  # an iteration

    def start(self, problem: MonotoneProblem) -> MonotoneState:
        x, residual, norm = problem.initial()
        s = MonotoneState(x, residual, norm, next_x=problem.vector(), next_work=problem.vector())
        s.half, s.half_work = problem.vector(), problem.vector()
        if problem.estimated:
            s.spare = problem.vector()
        self.begin(problem, s)
        return s

    def begin(self, problem: MonotoneProblem, s: MonotoneState) -> None:
        """The rest of the state, at the first iterate."""

    @abstractmethod
    def attempt(self, problem: MonotoneProblem, s: MonotoneState) -> None:
        """The next iterate, and F there."""

    def follow(self, problem: MonotoneProblem, s: MonotoneState) -> None:
        """What else follows from the new iterate; the one before is in ``next_x`` and ``next_work``."""

    def step(self, problem: MonotoneProblem, s: MonotoneState) -> None:  # type: ignore[override]
        for _ in range(MOST_ATTEMPTS):
            try:
                self.attempt(problem, s)
                break
            except Exceeded:
                s.raised += 1
        else:
            self.give_up(problem, "at the next point")
        self.accept(s)
        s.k += 1
        self.follow(problem, s)

    def evaluate(
        self, problem: MonotoneProblem, s: MonotoneState, x: Vector, out: Vector, near: Vector, near_value: Vector
    ) -> tuple[Vector, float]:
        """F(x), in place of out, and its norm; ``near`` is a point of this iteration at which F is known.

        Raises
        ------
        Exceeded
            Where L is estimated, and has proved to be larger.
        Breakdown
            Where it is given, and F is not finite.
        """
        out, norm = problem.evaluate(x, out)
        if not math.isfinite(norm):
            if not problem.estimated:
                self.give_up(problem, "at the next point")
            problem.lipschitz *= MOST_GROWTH
            raise Exceeded
        if problem.estimated:
            ratio, distance = self._rise(problem, s, x, out, near, near_value)
            told_apart = TOLD_APART * problem.unit_roundoff
            if ratio > problem.lipschitz and distance > told_apart * problem.backend.norm(x):
                growth = min(max(ratio / problem.lipschitz, LEAST_GROWTH), MOST_GROWTH)
                problem.lipschitz *= growth
                raise Exceeded
        return out, norm

    def evaluate_half(self, problem: MonotoneProblem, s: MonotoneState) -> None:
        """F at ``half``, which was reached from the iterate."""
        s.half_work, _ = self.evaluate(problem, s, s.half, s.half_work, s.x, s.work)

    def evaluate_new(self, problem: MonotoneProblem, s: MonotoneState) -> None:
        """F at ``next_x``, which was reached by F at ``half``."""
        s.next_work, s.next_norm = self.evaluate(problem, s, s.next_x, s.next_work, s.half, s.half_work)

    def _rise(
        self, problem: MonotoneProblem, s: MonotoneState, x: Vector, value: Vector, near: Vector, near_value: Vector
    ) -> tuple[float, float]:
        """||F(x) - F(near)|| over ||x - near||, which is at most L, and the latter."""
        backend = problem.backend
        s.spare = backend.difference(x, near, s.spare)
        distance = backend.norm(s.spare)
        s.spare = backend.difference(value, near_value, s.spare)
        return (backend.norm(s.spare) / distance if distance > 0 else 0.0), distance

    def describe(self, s: MonotoneState) -> str:  # type: ignore[override]
        if s.spare is None:
            return ""
        times = "once" if s.raised == 1 else f"{s.raised} times"
        return f"The Lipschitz constant was estimated{f', and the estimate raised {times}' if s.raised else ''}."


def check_step(value: Any, name: str, most: float, words: str) -> None:
    """A length of steps has to lie in (0, most); ``words`` is how most is written."""
    words = words if words.endswith("]") else f"{words})"
    if not (isinstance(value, Real) and 0 < float(value) < most):
        raise InputError(f"{name}: found {value!r}; wanted a number in (0, {words}")
