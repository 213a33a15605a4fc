"""Where iterates go: how far every fixed point of a nonexpansive map must be, and how one without any shows itself.

Every update here is x_{k+1} = a x_0 + (1 - a) (x_k - c u_k) with u = x - g(x), 0 <= a < 1 and c > 0, so that
x_0 - x_k = s_k times a mean of u_0, ..., u_{k-1}, where s_{k+1} = (1 - a) (s_k + c). Let v be the shortest vector in
the closure of {x - g(x)}, and x_* a point that g moves by v alone: begun there, the same updates go along x_* - s_k v,
and since no update lets distances grow, ||(x_0 - x_k) / s_k - v|| <= 2 ||x_0 - x_*|| / s_k. That is of the best order
there is; the last difference of two iterates tends to v for no anchored method.

A fixed point y is no farther from x_k than from x_0, and no farther from x - c u than from x, where c = 1 or more.
Each of the two cuts a half-space off. How far x_0 is on the wrong side bounds its distance to y from below:
||x_0 - x_k|| / 2 of the first, and <u, x_0 - x> / ||u|| + c ||u|| / 2 of the second, which is at least
(k + 1) c ||u_k|| / 2 for Halpern's iteration with a = 1 / (k + 2).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from ...errors import InputError
from ...precision import times_power_of_two
from ..driver.method import Breakdown
from ..driver.problem import Vector
from ..driver.solution import Displacement, Solution
from ..driver.status import Cause, Ending, Status
from .method import FixedPointMethod, FixedPointState
from .problem import FixedPointProblem

__all__ = ["Drift", "DriftState", "NonexpansiveMethod"]

# What it takes to say that there is no fixed point, where the caller set no radius. All fixed points are farther from
# x0 than so many times max(||x0||, ||g(x0)||): when the iterations are used up, and to stop before that.
FAR = 100.0
TOO_FAR = 1e4
SETTLED = 0.02  # relative change while the iterations double
FALLING = 0.55  # of the change while they doubled before: of 1 / k it is a half, of a slow contraction twice as much


class Seen(NamedTuple):
    """What was measured when the iterations had doubled.

    Attributes
    ----------
    iteration : int
    mean : float
        ||x_0 - x_k|| / s_k.
    residual : float
        ||u_k||.
    noise : float
        What rounding may have done to them.
    """

    iteration: int
    mean: float
    residual: float
    noise: float


@dataclass
class Drift:
    """How far the iterates are from x0, and whether they only move on.

    Attributes
    ----------
    steps : float
        s_k: the steps x - u that the way from x0 is worth.
    reach : float
        c.
    distance : float
        No fixed point is nearer to x0, in internal units.
    astray : float
        The most that s_k times the mean displacement and s_k times the last one have differed by.
    seen : list of Seen
    """

    reach: float = 1.0
    steps: float = 0.0
    distance: float = 0.0
    astray: float = 0.0
    seen: list[Seen] = field(default_factory=list)

    def advance(self, weight: float = 0.0, anchor: float = 0.0) -> None:
        """A step was taken, with this weight of an anchor that was so many steps from x0 itself."""
        self.steps = weight * anchor + (1 - weight) * (self.steps + self.reach)

    def measure(self, problem: FixedPointProblem, s: FixedPointState) -> tuple[Vector, float, float]:
        """x0 - x, its norm, and that of u; what they say of all fixed points follows, and how far the two differ."""
        exact, dtype = problem.backend.exact, problem.true_dtype
        way = exact.difference(problem.guess, exact.copy(s.x, dtype), exact.zeros(problem.n, dtype))
        length, residual = exact.norm(way), float(s.residual_norm)  # type: ignore[arg-type]
        if 0 < residual < math.inf and length < math.inf:
            last = exact.copy(s.work, dtype)  # which is -u
            along = -exact.dot(last, way).real / residual
            self.distance = max(self.distance, length / 2, along + max(1.0, self.reach) * residual / 2)
            self.astray = max(self.astray, exact.norm(exact.axpby(1.0, way, self.steps, last)))
        return way, length, residual

    def look(self, problem: FixedPointProblem, s: FixedPointState, iteration: int) -> bool:
        """Measure whenever the iterations have doubled; whether that was done."""
        if iteration < (2 * self.seen[-1].iteration if self.seen else 1):
            return False
        _, length, residual = self.measure(problem, s)
        noise = 4 * problem.unit_roundoff * (problem.reference + length)
        self.seen.append(Seen(iteration, length / self.steps if self.steps else 0.0, residual, noise))
        return True

    @property
    def settled(self) -> bool:
        """Whether the mean displacement and the last one have stopped to change in length.

        Where there is a fixed point at a finite distance R, the mean falls to 2 R / s_k and so is halved while k
        doubles, in the end. Before that, where R is far, both are nearly constant; but the residual of a contraction
        then loses twice as much each time that k doubles, while without a fixed point the losses die out. What cannot
        be told apart is a map that moves all points by the same vector until they come near its fixed point.
        """
        if len(self.seen) < 4:
            return False
        *_, last = self.seen
        means, residuals = [one.mean for one in self.seen[-4:]], [one.residual for one in self.seen[-4:]]
        return _died_out(means, last.noise) and _died_out(residuals, last.noise)


def _died_out(values: list[float], noise: float) -> bool:
    """Whether values taken while k doubled three times come to rest above nothing."""
    before, between, latest = (abs(b - a) for a, b in itertools.pairwise(values))
    small = latest <= SETTLED * values[-1]
    return small and noise < values[-1] and latest <= max(noise, FALLING * between, FALLING**2 * before)


@dataclass
class DriftState(FixedPointState):
    """With the way that the iterates have gone.

    Attributes
    ----------
    drift : Drift
    """

    drift: Drift = field(default_factory=Drift)


class NonexpansiveMethod(FixedPointMethod):
    """A method with a theory for maps that let no distance grow. Its ``step`` tells ``drift`` how far it went."""

    radius: float | None
    state: ClassVar[type[DriftState]] = DriftState

    @property
    def reach(self) -> float:
        """c of the module's notes: the step x - c u does not expand either."""
        return 1.0

    def check_radius(self) -> None:
        """Refuse a radius outside its range."""
        if self.radius is not None and not 0 < self.radius < math.inf:
            raise InputError(f"radius: found {self.radius!r}; wanted a positive number")

    def new_state(self, problem: FixedPointProblem, x: Vector, residual: Vector, norm: float) -> DriftState:
        return self.state(
            x, residual, norm, next_x=problem.vector(), next_work=problem.vector(), drift=Drift(self.reach)
        )

    def review(
        self, problem: FixedPointProblem, s: FixedPointState, iteration: int, norm: float, best: Vector | None
    ) -> None:
        """As every fixed-point method does; and when the iterations have doubled, see whether there is a fixed point.

        Raises
        ------
        Breakdown
            As INFEASIBLE.
        """
        assert isinstance(s, DriftState)
        super().review(problem, s, iteration, norm, best)
        if s.drift.look(problem, s, iteration) and self.infeasible(problem, s.drift, TOO_FAR):
            raise Breakdown("", Cause.INCONSISTENT, Status.INFEASIBLE)

    def infeasible(self, problem: FixedPointProblem, drift: Drift, far: float) -> bool:
        """Whether all fixed points are known to be out of the caller's radius; or so far that there seem to be none."""
        if self.radius is not None:
            return drift.distance > times_power_of_two(self.radius, -problem.exponent)
        return drift.distance > far * problem.reference and drift.settled

    def conclude(
        self, problem: FixedPointProblem, s: FixedPointState, ending: Ending
    ) -> tuple[Ending, Mapping[str, Any]]:
        assert isinstance(s, DriftState)
        exact, drift, scale = problem.backend.exact, s.drift, problem.exponent
        way, length, _ = drift.measure(problem, s)
        cut = times_power_of_two(drift.distance, scale)
        fields: dict[str, Any] = {
            "moved": times_power_of_two(length, scale),
            "distance_bound": lambda solution: self.nearest(solution, cut),
        }
        if ending.status is Status.CONVERGED or not drift.steps or not length < math.inf:
            return ending, fields
        mean = exact.axpby(0.0, way, 1 / drift.steps, way)
        displacement: Displacement[Any] = Displacement(
            problem.unscaled(mean),
            times_power_of_two(length / drift.steps, scale),
            times_power_of_two(min(2 * drift.astray, length) / drift.steps, scale),
            2 / drift.steps,
            drift.settled,
        )
        fields["displacement"] = displacement
        unfinished = ending.status in (Status.MAX_ITERATIONS, Status.STAGNATED) and ending.cause is None
        if ending.status is Status.INFEASIBLE or (unfinished and self.infeasible(problem, drift, FAR)):
            ending = Ending(Status.INFEASIBLE, self._why(displacement, cut), Cause.INCONSISTENT)
        return ending, fields

    def _why(self, displacement: Displacement[Any], cut: float) -> str:
        if self.radius is not None:
            return (
                f"Every fixed point of g is at least {cut:.3g} from x0, if g is nonexpansive: beyond the radius given."
            )
        return (
            f"g seems to have no fixed point: iterates only move on, by a displacement that has settled at "
            f"{displacement.norm:.3g}, give or take {displacement.error:.1g}; Solution.displacement has it. If g is "
            f"nonexpansive, all fixed points are at least {cut:.3g} from x0."
        )

    def nearest(self, solution: Solution[Any], cut: float) -> float | None:
        """A lower bound of the distance from x0 to all fixed points, where half-spaces give ``cut``."""
        return cut
