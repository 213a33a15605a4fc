"""Picard iteration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Unpack

from ...errors import InputError
from ..driver.method import Traffic
from ..driver.solution import Solution
from .call import FixedPointBatched, fixed_point_solver
from .drift import DriftState, NonexpansiveMethod
from .problem import FixedPointProblem
from .run import solve_with

__all__ = ["Picard", "picard"]


@dataclass(frozen=True)
class Picard(NonexpansiveMethod):
    """x + damping (g(x) - x)."""

    damping: float = 1.0
    radius: float | None = None

    name: ClassVar[str] = "picard"
    title: ClassVar[str] = "Picard iteration"
    purpose: ClassVar[str] = "a map that contracts fast, or is so large that nothing else may be kept"
    traffic: ClassVar[Traffic] = Traffic(vectors=4, passes=9, reductions=1, matvecs=1, compiled_passes=9)
    when_diverging: ClassVar[str] = "Lower the damping, or try rv.anderson."

    def __post_init__(self) -> None:
        if not (isinstance(self.damping, (int, float)) and 0 < self.damping <= 1):
            raise InputError(f"damping: found {self.damping!r}; wanted a number in (0, 1]")
        self.check_radius()

    @property
    def reach(self) -> float:
        return self.damping

    def step(self, problem: FixedPointProblem, s: DriftState) -> None:  # type: ignore[override]
        s.next_x = problem.backend.assign(s.x, s.next_x)
        s.next_x = problem.backend.axpy(self.damping, s.work, s.next_x)
        self.advance(problem, s)
        s.drift.advance()

    def nearest(self, solution: Solution[Any], cut: float) -> float | None:
        return None if self.radius is None else cut  # a radius says that g is nonexpansive; Picard iteration does not

    def describe(self, s: DriftState) -> str:  # type: ignore[override]
        return "" if self.damping == 1 else f"Steps were damped by {self.damping:g}."


@fixed_point_solver
def picard(
    g: Callable[[Any], Any],
    x0: Any,
    *,
    damping: float = 1.0,
    radius: float | None = None,
    **common: Unpack[FixedPointBatched],
) -> Solution[Any]:
    """Find x = g(x) by x <- x + damping (g(x) - x).

    For a contraction with constant q the residual falls by q an iteration; for a nonexpansive map with a fixed point
    and damping < 1 it tends to nothing like 1 / sqrt(iterations). An affine map g(x) = G x + b converges with damping d
    exactly when the eigenvalues of (1 - d) I + d G lie within the unit circle.

    Parameters
    ----------
    g, x0, rtol, atol, maxiter, callback, progress, time_limit, backend, precision, batch_ndim, errors :
        As in ``resolvent.fixed_point``.
    damping : float
        In (0, 1].
    radius : float, optional
        Says that g is nonexpansive: stop as INFEASIBLE once every fixed point is known to be farther from x0 than this,
        which is looked into whenever the iterations have doubled.

    Returns
    -------
    Solution
        INFEASIBLE as well, without a radius, where iterates only move on: see ``Notes``.

    Raises
    ------
    InputError, TypeError
        As in ``resolvent.fixed_point``, and for a damping outside its range.

    Notes
    -----
    Per iteration: 1 evaluation, 9 vector passes, 1 reduction; 4 vectors kept.

    A nonexpansive map without fixed points moves its iterates away from x0, in the mean by a vector v an undamped step.
    ``Solution.displacement`` holds (x0 - x_k) / (damping k), which is at most 2 R / (damping k) from v, where R is the
    distance from x0 to the nearest point that g moves by v alone. The status is INFEASIBLE when all fixed points are a
    hundred times max(||x0||, ||g(x0)||) from x0, the iterations are used up, and the norms of that vector and of the
    residual have come to rest: while the iterations doubled they changed by less than 2 %, and by little more than half
    of what they changed while the iterations doubled before. At ten thousand times the solve stops for it. No
    evaluations can tell such a map from one that moves all points by the same vector until they come near a fixed point
    that is even farther away.

    References
    ----------
    Picard (1890); Banach (1922); with damping Mann (1953) and Krasnosel'skii (1955). Park and Ryu (2023),
    on maps without fixed points.

    Examples
    --------
    >>> import math, resolvent as rv
    >>> round(rv.picard(math.cos, 1.0, rtol=1e-12).x, 10)
    0.7390851332
    """
    return solve_with(Picard(damping, radius), g, x0, **common)
