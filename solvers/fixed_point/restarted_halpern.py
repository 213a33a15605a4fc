"""Halpern's iteration with restarts, as solvers of linear programs use it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Unpack

from ...errors import InputError
from ..driver.method import Traffic
from ..driver.problem import Vector
from ..driver.solution import Solution
from .call import FixedPointBatched, fixed_point_solver
from .drift import DriftState
from .halpern import AnchoredMethod, HalpernState
from .problem import FixedPointProblem
from .run import solve_with

__all__ = ["RestartedHalpern", "RestartedHalpernState", "restarted_halpern"]


@dataclass
class RestartedHalpernState(HalpernState):
    """With what decides on a restart.

    Attributes
    ----------
    inner, total, restarts : int
        Steps since the anchor was set, steps in all, and how often it was set anew.
    at_anchor, before : float
        The residual norms at the anchor and at the last test.
    anchor_steps : float
        What the way from x0 to the anchor is worth.
    """

    inner: int = 0
    total: int = 0
    restarts: int = 0
    at_anchor: float = math.inf
    before: float = math.inf
    anchor_steps: float = 0.0


@dataclass(frozen=True)
class RestartedHalpern(AnchoredMethod):
    """Halpern's iteration whose anchor becomes g(x) where the residual has fallen enough since it was set."""

    reflection: float = 0.0
    sufficient: float = 0.2
    necessary: float = 0.5
    artificial: float = 0.36
    every: int = 1
    radius: float | None = None

    name: ClassVar[str] = "restarted_halpern"
    title: ClassVar[str] = "Halpern's iteration with restarts"
    purpose: ClassVar[str] = "primal-dual and projection methods whose residual tells the distance to the solutions"
    traffic: ClassVar[Traffic] = Traffic(vectors=5, passes=12, reductions=1, matvecs=1, compiled_passes=12)
    state: ClassVar[type[DriftState]] = RestartedHalpernState

    def __post_init__(self) -> None:
        self.check_reflection()
        if not 0 < self.sufficient <= self.necessary < 1:
            found = f"{self.sufficient!r} and {self.necessary!r}"
            raise InputError(f"sufficient, necessary: found {found}; wanted 0 < sufficient <= necessary < 1")
        if not 0 < self.artificial <= 1:
            raise InputError(f"artificial: found {self.artificial!r}; wanted a number in (0, 1]")
        if not isinstance(self.every, int) or isinstance(self.every, bool):
            raise TypeError(f"every: found {self.every!r}; wanted an integer")
        if self.every < 1:
            raise InputError(f"every: found {self.every}; wanted at least 1")
        self.check_radius()

    def new_state(self, problem: FixedPointProblem, x: Vector, residual: Vector, norm: float) -> DriftState:
        s = super().new_state(problem, x, residual, norm)
        assert isinstance(s, RestartedHalpernState)
        s.at_anchor = norm
        return s

    def step(self, problem: FixedPointProblem, s: RestartedHalpernState) -> None:  # type: ignore[override]
        s.total += 1
        if self._begins_anew(s):
            s.anchor = problem.backend.assign(s.x, s.anchor)
            s.anchor = problem.backend.axpy(1.0, s.work, s.anchor)
            s.next_x = problem.backend.assign(s.anchor, s.next_x)
            self.advance(problem, s)
            s.drift.steps += 1
            s.anchor_steps = s.drift.steps
            s.inner, s.restarts, s.at_anchor, s.before = 0, s.restarts + 1, s.next_norm, math.inf
            return
        s.inner += 1
        weight = 1 / (s.inner + 1)
        self.toward_anchor(problem, s, weight)
        self.advance(problem, s)
        s.drift.advance(weight, s.anchor_steps)

    def _begins_anew(self, s: RestartedHalpernState) -> bool:
        """Whether the residual has fallen so far, or has fallen and rises again, or the anchor is old."""
        if not s.inner or s.inner % self.every:
            return False
        norm, before = float(s.residual_norm), s.before  # type: ignore[arg-type]
        s.before = norm
        return (
            norm <= self.sufficient * s.at_anchor
            or before < norm <= self.necessary * s.at_anchor
            or s.inner >= self.artificial * s.total
        )

    def describe(self, s: RestartedHalpernState) -> str:  # type: ignore[override]
        return f"The anchor was set anew {s.restarts} time{'' if s.restarts == 1 else 's'}."


@fixed_point_solver
def restarted_halpern(
    g: Callable[[Any], Any],
    x0: Any,
    *,
    reflection: float = 0.0,
    sufficient: float = 0.2,
    necessary: float = 0.5,
    artificial: float = 0.36,
    every: int = 1,
    radius: float | None = None,
    **common: Unpack[FixedPointBatched],
) -> Solution[Any]:
    """Find x = g(x) by Halpern's iteration whose anchor is set anew as the residual falls.

    For a map that lets no distance grow, in the 2-norm. Where a multiple of ||g(x) - x|| bounds the distance to the
    fixed points, as it does for linear programs and for all affine maps, it converges linearly, in a number of steps
    that grows with that multiple, for which Picard iteration needs its square.

    Parameters
    ----------
    g, x0, rtol, atol, maxiter, callback, progress, time_limit, backend, precision, batch_ndim, errors :
        As in ``resolvent.fixed_point``.
    reflection, radius :
        As in ``halpern``.
    sufficient : float
        The anchor becomes g(x) when ||g(x) - x|| is at most this times what it was at the anchor,
    necessary : float
        or at most this times, and it has risen since the last test,
    artificial : float
        or when this part of all steps has been taken since the last time.
    every : int
        Steps from test to test.

    Returns
    -------
    Solution
        INFEASIBLE as in ``halpern``.

    Raises
    ------
    InputError, TypeError
        As in ``resolvent.fixed_point``, and for a parameter outside its range.

    Notes
    -----
    Per iteration: 1 evaluation, 12 vector passes, 1 reduction; 5 vectors kept. The fixed point is not the one nearest
    to x0. An iteration that does not expand in another inner product, as primal-dual hybrid gradient, is to be written
    in variables for which that is the usual one.

    References
    ----------
    Lu and Yang (2024), on restarts and reflections for linear programs; the thresholds are those of cuPDLPx, where a
    test is made every 200 steps.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> A = np.linalg.inv(np.eye(2) + np.array([[0.0, 0.1], [-0.1, 0.0]]))
    >>> restarted = rv.restarted_halpern(lambda x: A @ x, np.ones(2), rtol=1e-8, reflection=1)
    >>> picard = rv.picard(lambda x: A @ x, np.ones(2), rtol=1e-8, maxiter=10000)
    >>> 5 * restarted.iterations < picard.iterations
    True
    """
    method = RestartedHalpern(reflection, sufficient, necessary, artificial, every, radius)
    return solve_with(method, g, x0, **common)
