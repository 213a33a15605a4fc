"""The extra anchored gradient method, with constant steps or varying ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..driver.method import Traffic
from .anchored import AnchoredMethod
from .method import MonotoneState, check_step
from .problem import MonotoneProblem

__all__ = ["ExtraAnchoredGradient", "ExtraAnchoredGradientVarying"]


@dataclass(frozen=True)
class ExtraAnchoredGradient(AnchoredMethod):
    """An anchored extragradient step with b = 1 / (k + 2) and a = stepsize / L.

    h   = z + b (z_0 - z) - a F(z)
    z+  = z + b (z_0 - z) - a F(h)

    ||F(z_k)||^2 <= 260 L^2 ||z_0 - z*||^2 / (k + 1)^2 with stepsize 1/8.

    Parameters
    ----------
    stepsize : float
        In (0, 1).
    restart_at : float, optional
        The iterate becomes the anchor once the residual is this part of that at the anchor; by default never.

    Notes
    -----
    Per iteration: 2 evaluations, 16 vector passes, 2 reductions; 7 vectors kept.

    References
    ----------
    Yoon and Ryu (2021), "Accelerated algorithms for smooth convex-concave minimax problems with O(1/k^2) rate on
    squared gradient norm", algorithm EAG-C.
    """

    stepsize: float = 0.125

    name: ClassVar[str] = "eag_c"
    title: ClassVar[str] = "Extra anchored gradient method with constant steps"
    purpose: ClassVar[str] = "monotone F"
    traffic: ClassVar[Traffic] = Traffic(vectors=7, passes=16, reductions=2, matvecs=2, compiled_passes=16)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_step(self.stepsize, "stepsize", 1.0, "1")

    def begin(self, problem: MonotoneProblem, s: MonotoneState) -> None:
        super().begin(problem, s)
        s.factor = self.stepsize

    def attempt(self, problem: MonotoneProblem, s: MonotoneState) -> None:
        combine, a, b = problem.backend.combine, s.factor / problem.lipschitz, 1 / (s.k + 2)
        s.half = combine([s.x, s.anchor, s.work], [1 - b, b, -a], s.half)
        self.evaluate_half(problem, s)
        s.next_x = combine([s.x, s.anchor, s.half_work], [1 - b, b, -a], s.next_x)
        self.evaluate_new(problem, s)


@dataclass(frozen=True)
class ExtraAnchoredGradientVarying(ExtraAnchoredGradient):
    """The same with steps that shrink a little: s_{k+1} = s_k (1 - s_k^2 (k+2)^2 / ((k+1)(k+3))) / (1 - s_k^2).

    ||F(z_k)||^2 <= 27 L^2 ||z_0 - z*||^2 / ((k + 1)(k + 2)) from stepsize 0.618 on.

    Parameters
    ----------
    stepsize : float
        The first, in (0, 3/4); those below 0.618 tend to more than a half of it.
    restart_at : float, optional
        The iterate becomes the anchor once the residual is this part of that at the anchor; by default never.

    Notes
    -----
    Per iteration: 2 evaluations, 16 vector passes, 2 reductions; 7 vectors kept.

    References
    ----------
    Yoon and Ryu (2021), algorithm EAG-V.
    """

    stepsize: float = 0.618

    name: ClassVar[str] = "eag_v"
    title: ClassVar[str] = "Extra anchored gradient method with varying steps"
    purpose: ClassVar[str] = "monotone F"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_step(self.stepsize, "stepsize", 0.75, "3/4")

    def follow(self, problem: MonotoneProblem, s: MonotoneState) -> None:
        square, k = s.factor**2, s.k - 1
        s.factor *= (1 - square * (k + 2) ** 2 / ((k + 1) * (k + 3))) / (1 - square)
        super().follow(problem, s)
