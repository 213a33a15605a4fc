"""The extragradient method, with one step length or with two."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..driver.method import Traffic
from .method import MonotoneMethod, MonotoneState, check_step
from .problem import MonotoneProblem

__all__ = ["Extragradient", "TwoTimescale"]


@dataclass(frozen=True)
class Extragradient(MonotoneMethod):
    """z - a F(h), where h = z - a F(z) and a = stepsize / L.

    Its residuals do not grow, and ||F(z_k)||^2 <= L^2 ||z_0 - z*||^2 / (s^2 (1 - s^2) (k + 1)) with s = stepsize.

    Parameters
    ----------
    stepsize : float
        In (0, 1).

    Notes
    -----
    Per iteration: 2 evaluations, 14 vector passes, 2 reductions; 6 vectors kept.

    References
    ----------
    Korpelevich (1976); Gorbunov, Loizou and Gidel (2022), on the last iterate.
    """

    stepsize: float = math.sqrt(0.5)

    name: ClassVar[str] = "extragradient"
    title: ClassVar[str] = "Extragradient method"
    purpose: ClassVar[str] = "strongly monotone F, and as the yardstick"
    traffic: ClassVar[Traffic] = Traffic(vectors=6, passes=14, reductions=2, matvecs=2, compiled_passes=14)

    def __post_init__(self) -> None:
        check_step(self.stepsize, "stepsize", 1.0, "1")

    def attempt(self, problem: MonotoneProblem, s: MonotoneState) -> None:
        a = self.stepsize / problem.lipschitz
        s.half = problem.backend.combine([s.x, s.work], [1.0, -a], s.half)
        self.evaluate_half(problem, s)
        s.next_x = problem.backend.combine([s.x, s.half_work], [1.0, -a], s.next_x)
        self.evaluate_new(problem, s)


@dataclass(frozen=True)
class TwoTimescale(MonotoneMethod):
    """h = z - a F(z), then z - a r F(h), with a = stepsize / L and r = ratio, known as EG+; the iterates are the h.

    With stepsize 1 and ratio 1/2, min ||F(h_j)||^2 over j <= k is at most 4 L^2 ||z_0 - z*||^2 / ((1 - 4 L rho)(k + 1))
    where <F(z), z - z*> >= -rho ||F(z)||^2 for one zero z* and rho < 1 / (4 L): F need not be monotone. With any ratio
    r the bound is L^2 ||z_0 - z*||^2 / (r (1 - r - 2 L rho)(k + 1)).

    Parameters
    ----------
    stepsize : float
        In (0, 1].
    ratio : float
        In (0, 1].

    Notes
    -----
    Per iteration: 2 evaluations (the first one needs 1), 14 vector passes, 2 reductions; 6 vectors kept. The
    guarantee is of F(h): F(z) need not fall.

    References
    ----------
    Diakonikolas, Daskalakis and Jordan (2021), algorithm EG+.
    """

    stepsize: float = 1.0
    ratio: float = 0.5

    name: ClassVar[str] = "two_timescale"
    title: ClassVar[str] = "Extragradient method with two step lengths"
    purpose: ClassVar[str] = "F that is not quite monotone"
    traffic: ClassVar[Traffic] = Traffic(vectors=6, passes=14, reductions=2, matvecs=2, compiled_passes=14)

    def __post_init__(self) -> None:
        check_step(self.stepsize, "stepsize", math.nextafter(1.0, 2.0), "1]")
        check_step(self.ratio, "ratio", math.nextafter(1.0, 2.0), "1]")

    def begin(self, problem: MonotoneProblem, s: MonotoneState) -> None:
        s.half, s.half_work = problem.backend.assign(s.x, s.half), problem.backend.assign(s.work, s.half_work)

    def attempt(self, problem: MonotoneProblem, s: MonotoneState) -> None:
        if s.k > 0:
            self.evaluate_half(problem, s)
        a = self.stepsize / problem.lipschitz
        s.next_x = problem.backend.combine([s.half, s.half_work], [1.0, -a], s.next_x)
        self.evaluate_new(problem, s)

    def follow(self, problem: MonotoneProblem, s: MonotoneState) -> None:
        s.half = problem.backend.axpy(-self.stepsize * self.ratio / problem.lipschitz, s.work, s.half)
