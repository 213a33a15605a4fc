"""Anderson acceleration that changes with what it observes: what ``rv.fixed_point`` does by default."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..driver.method import Breakdown
from ..driver.problem import Vector
from ..driver.status import Cause, Ending, Status
from .anderson import Anderson, AndersonState, Mixing
from .drift import FAR, TOO_FAR, DriftState, NonexpansiveMethod
from .method import FixedPointMethod
from .problem import FixedPointProblem

__all__ = ["Auto"]

DEPTH = 30
ALL_OF = 64  # unknowns up to which as many differences are kept as there are
MEMORY = 1 << 25  # numbers that the differences may take: a quarter of a gibibyte in double precision
LEAST_DEPTH = 5
BEGINNING = 25  # steps that are all accelerated
STANDSTILL = 100  # steps in which the residual was not halved
MISMATCH = 10.0  # a residual so many times what the history foretold shows that g is not affine on it
FORGETTING = 1e5  # the condition that the history may have then

# Of mixings 0.6 to 1 and periods 1 to 5, what served best on slowly converging maps: nonlinear (Bratu), with
# eigenvalues near 1 and -1 (Jacobi), near 1 (Gauss-Seidel), and on a circle (SOR).
ALTERNATING = Mixing(2, 0.6, 0.6)


@dataclass
class AutoState(AndersonState, DriftState):
    """With what tells a standstill; ``drift`` is that of plain steps alone.

    Attributes
    ----------
    halved, halved_at : float, int
        The smallest residual norm when it was last halved, or the mixing changed, and that step.
    standstills : int
        Since the last retreat.
    resumed, began : int
        The step of the last retreat, and that after which acceleration begins anew.
    safe, taken : vector, int
        Where plain steps alone have led, and how many of them.
    retreats : int
        Returns to it.
    """

    halved: float = math.inf
    halved_at: int = 0
    standstills: int = 0
    resumed: int = 0
    began: int = 0
    safe: Vector = None
    taken: int = 0
    retreats: int = 0

    @property
    def retreating(self) -> bool:
        """Whether plain steps alone have led to x."""
        return self.resumed < self.steps <= self.began


@dataclass(frozen=True)
class Auto(Anderson, NonexpansiveMethod):
    """Anderson acceleration of every step, then of every other one while the residual falls.

    Where it stands still in both ways, plain steps are taken from where these alone had led, as many as all so far; and
    where these only move on, no others.
    The parameters are those of the beginning. ``depth`` is what the memory allows, and all of few unknowns.
    """

    depth: int = DEPTH

    name: ClassVar[str] = "auto"
    title: ClassVar[str] = "Anderson acceleration, adapted while it runs"
    purpose: ClassVar[str] = "any map"
    radius: ClassVar[float | None] = None  # type: ignore[misc]

    def new_state(self, problem: FixedPointProblem, x: Vector, residual: Vector, norm: float) -> AutoState:
        depth = self.depth_for(problem.n)
        s = Anderson.new_state(replace(self, depth=depth), problem, x, residual, norm)
        assert isinstance(s, AutoState)
        s.halved, s.safe = norm, problem.backend.copy(x)
        return s

    def depth_for(self, n: int, members: int = 1) -> int:
        """Differences kept of so many unknowns, by each of so many iterations that share the memory."""
        room = max(LEAST_DEPTH, MEMORY // (n * members))
        return min(n if self.depth == DEPTH and n <= ALL_OF else self.depth, room)

    def empty_state(self, x: Vector, residual: Vector, norm: float) -> AutoState:
        return AutoState(x, residual, norm)

    def step(self, problem: FixedPointProblem, s: AndersonState) -> None:  # type: ignore[override]
        assert isinstance(s, AutoState)
        if s.good <= 0.5 * s.halved:
            s.halved, s.halved_at = s.good, s.steps
        elif s.steps >= s.began and s.steps - s.halved_at >= STANDSTILL:
            s.standstills, s.halved_at = s.standstills + 1, s.steps
            if s.standstills == 2:
                self._retreat(problem, s)
        alternating = (s.steps - s.began >= BEGINNING) != (s.standstills == 1)
        s.mixing = ALTERNATING if alternating else self.mixing
        plain = s.retreating and s.steps < s.began
        super().step(problem, s)
        if plain:
            s.drift.advance()
            s.taken += 1
            if s.steps == s.began:
                self._resume(problem, s)

    def _retreat(self, problem: FixedPointProblem, s: AutoState) -> None:
        """Go on by plain steps from where these had led, for as many as were taken in all.

        Far from a fixed point acceleration may lead to where even plain steps fail. So it costs no more than as much
        again as they do.
        """
        s.history.clear()
        s.next_x = problem.backend.assign(s.safe, s.next_x)
        s.accelerated, s.expected, s.plain = False, math.inf, s.steps
        s.good = s.halved = math.inf
        s.resumed, s.began, s.halved_at = s.steps, 2 * s.steps, 2 * s.steps
        s.standstills, s.retreats = 0, s.retreats + 1

    def _resume(self, problem: FixedPointProblem, s: AutoState) -> None:
        """Accelerate again, unless there seems to be no fixed point: then plain steps tell where they lead."""
        s.safe = problem.backend.assign(s.x, s.safe)
        if self.infeasible(problem, s.drift, FAR):
            s.history.clear()
            s.plain, s.began, s.halved_at = s.steps, 2 * s.steps, 2 * s.steps
            self._plain(problem, s, self.mixing.plain)

    def review(  # type: ignore[override]
        self, problem: FixedPointProblem, s: AutoState, iteration: int, norm: float, best: Vector | None
    ) -> None:
        FixedPointMethod.review(self, problem, s, iteration, norm, best)
        if s.retreating and s.drift.look(problem, s, s.taken) and self.infeasible(problem, s.drift, TOO_FAR):
            raise Breakdown("", Cause.INCONSISTENT, Status.INFEASIBLE)

    def conclude(  # type: ignore[override]
        self, problem: FixedPointProblem, s: AutoState, ending: Ending
    ) -> tuple[Ending, Mapping[str, Any]]:
        if s.retreating and s.drift.steps:
            return NonexpansiveMethod.conclude(self, problem, s, ending)
        return FixedPointMethod.conclude(self, problem, s, ending)

    def nearest(self, solution: Any, cut: float) -> None:
        """Nobody says that g is nonexpansive."""

    def condition_limit_of(self, s: AndersonState) -> float:
        surprised = s.accelerated and float(s.residual_norm) > MISMATCH * s.expected > 0  # type: ignore[arg-type]
        return FORGETTING if surprised else self.condition_limit

    def describe(self, s: AndersonState) -> str:  # type: ignore[override]
        assert isinstance(s, AutoState)
        depth = s.history.depth
        said = [f"Anderson acceleration with {depth} difference{'' if depth == 1 else 's'} was chosen."]
        if s.steps - s.began > BEGINNING and not s.standstills:
            said.append(f"After {BEGINNING} steps only every other one was accelerated.")
        if s.retreats:
            times = "once" if s.retreats == 1 else f"{s.retreats} times"
            said.append(
                f"It stood still and went back {times}, to go on by plain steps from where these alone had led."
            )
        return " ".join([*said, super().describe(s)]).rstrip()
