"""The optimistic gradient method, plain and anchored: one evaluation an iteration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..driver.method import Traffic
from .anchored import AnchoredMethod
from .method import MonotoneMethod, MonotoneState, check_step
from .problem import MonotoneProblem

__all__ = ["AcceleratedOptimistic", "Optimistic"]


def extrapolated(problem: MonotoneProblem, s: MonotoneState, a: float) -> None:
    """z = h + a (F(h before) - F(h)), the point that the next iteration starts from, in ``half``."""
    s.half = problem.backend.combine([s.x, s.next_work, s.work], [1.0, a, -a], s.half)


@dataclass(frozen=True)
class Optimistic(MonotoneMethod):
    """h = z - a F(h before), then z - a F(h), with a = stepsize / L; the iterates are the h.

    Parameters
    ----------
    stepsize : float
        In (0, 1/2].

    Notes
    -----
    Per iteration: 1 evaluation, 11 vector passes, 1 reduction; 6 vectors kept.

    References
    ----------
    Popov (1980); Gorbunov, Taylor and Gidel (2022), on the last iterate with stepsizes up to 1/3.
    """

    stepsize: float = 1 / 3

    name: ClassVar[str] = "optimistic"
    title: ClassVar[str] = "Optimistic gradient method"
    purpose: ClassVar[str] = "strongly monotone F, and as the yardstick"
    traffic: ClassVar[Traffic] = Traffic(vectors=6, passes=11, reductions=1, matvecs=1, compiled_passes=11)
    evaluations: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_step(self.stepsize, "stepsize", math.nextafter(0.5, 1.0), "1/2]")

    def begin(self, problem: MonotoneProblem, s: MonotoneState) -> None:
        s.half = problem.backend.assign(s.x, s.half)

    def attempt(self, problem: MonotoneProblem, s: MonotoneState) -> None:
        s.next_x = problem.backend.combine([s.half, s.work], [1.0, -self.stepsize / problem.lipschitz], s.next_x)
        s.next_work, s.next_norm = self.evaluate(problem, s, s.next_x, s.next_work, s.x, s.work)

    def follow(self, problem: MonotoneProblem, s: MonotoneState) -> None:
        extrapolated(problem, s, self.stepsize / problem.lipschitz)


@dataclass(frozen=True)
class AcceleratedOptimistic(AnchoredMethod):
    """The anchored form, with b = 1 / (k + 2) and a = stepsize / L; the iterates are the h.

    h   = z + b (z_0 - z) - a F(h before)
    z+  = z + b (z_0 - z) - a F(h)

    ||F(h_k)|| is of the order L ||z_0 - z*|| / k: sqrt(6) / k on F(x, y) = (y, -x) with stepsize 1 / sqrt(6).

    Parameters
    ----------
    stepsize : float
        In (0, 1 / sqrt(3)); proven up to 1 / sqrt(6).
    restart_at : float, optional
        The iterate becomes the anchor once the residual is this part of that at the anchor; by default never.

    Notes
    -----
    Per iteration: 1 evaluation, 12 vector passes, 1 reduction; 7 vectors kept.

    References
    ----------
    Cai and Zheng (2023), "Doubly optimal no-regret learning in monotone games", algorithm AOG.
    """

    stepsize: float = 1 / math.sqrt(6)

    name: ClassVar[str] = "accelerated_optimistic"
    title: ClassVar[str] = "Accelerated optimistic gradient method"
    purpose: ClassVar[str] = "monotone F that is expensive"
    traffic: ClassVar[Traffic] = Traffic(vectors=7, passes=12, reductions=1, matvecs=1, compiled_passes=12)
    evaluations: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_step(self.stepsize, "stepsize", 1 / math.sqrt(3), "1 / sqrt(3)")

    def begin(self, problem: MonotoneProblem, s: MonotoneState) -> None:
        super().begin(problem, s)
        s.half = problem.backend.assign(s.x, s.half)

    def attempt(self, problem: MonotoneProblem, s: MonotoneState) -> None:
        a, b = self.stepsize / problem.lipschitz, 1 / (s.k + 2)
        s.next_x = problem.backend.combine([s.half, s.anchor, s.work], [1 - b, b, -a], s.next_x)
        s.next_work, s.next_norm = self.evaluate(problem, s, s.next_x, s.next_work, s.x, s.work)

    def follow(self, problem: MonotoneProblem, s: MonotoneState) -> None:
        extrapolated(problem, s, self.stepsize / problem.lipschitz)
        super().follow(problem, s)
