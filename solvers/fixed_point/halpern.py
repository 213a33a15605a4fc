"""Halpern's iteration, for maps that contract or only do not expand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Unpack

import numpy as np

from ...errors import InputError
from ..driver.method import State, Traffic
from ..driver.problem import Vector
from ..driver.solution import Bound, Solution
from .call import FixedPointBatched, fixed_point_solver
from .drift import DriftState, NonexpansiveMethod
from .problem import FixedPointProblem
from .run import solve_with

__all__ = ["AnchoredMethod", "Halpern", "HalpernState", "halpern"]


@dataclass
class HalpernState(DriftState):
    """With the anchor.

    Attributes
    ----------
    anchor : vector
    phi : float
        The anchor's weight in x is 1 / phi.
    """

    anchor: Vector = None
    phi: float = 1.0


class AnchoredMethod(NonexpansiveMethod):
    """A method whose iterates are means of an anchor and of T(x), T = (1 + reflection) g - reflection I."""

    reflection: float
    state: ClassVar[type[DriftState]] = HalpernState
    when_diverging: ClassVar[str] = "g expands: rv.anderson may find a fixed point all the same."

    def check_reflection(self) -> None:
        """Refuse one outside its range."""
        if not 0 <= self.reflection <= 1:
            raise InputError(f"reflection: found {self.reflection!r}; wanted a number in [0, 1]")

    @property
    def reach(self) -> float:
        return 1 + self.reflection

    def new_state(self, problem: FixedPointProblem, x: Vector, residual: Vector, norm: float) -> DriftState:
        s = super().new_state(problem, x, residual, norm)
        assert isinstance(s, HalpernState)
        s.anchor = problem.backend.copy(x)
        return s

    def toward_anchor(self, problem: FixedPointProblem, s: HalpernState, weight: float) -> None:
        """Put (1 - weight) T(x) + weight anchor into ``next_x``."""
        backend = problem.backend
        s.next_x = backend.assign(s.x, s.next_x)
        s.next_x = backend.axpy(self.reach, s.work, s.next_x)
        s.next_x = backend.axpby(weight, s.anchor, 1 - weight, s.next_x)


@dataclass(frozen=True)
class Halpern(AnchoredMethod):
    """The mean of x0 with weight 1 / phi and of T(x), where T = (1 + reflection) g - reflection I."""

    contraction: float = 1.0
    reflection: float = 0.0
    radius: float | None = None

    name: ClassVar[str] = "halpern"
    title: ClassVar[str] = "Halpern's iteration"
    purpose: ClassVar[str] = "maps that only do not expand; the fixed point nearest to x0"
    traffic: ClassVar[Traffic] = Traffic(vectors=5, passes=12, reductions=1, matvecs=1, compiled_passes=12)

    def __post_init__(self) -> None:
        if not 0 < self.contraction <= 1:
            raise InputError(f"contraction: found {self.contraction!r}; wanted a number in (0, 1]")
        self.check_reflection()
        self.check_radius()

    def step(self, problem: FixedPointProblem, s: HalpernState) -> None:  # type: ignore[override]
        s.phi = 1 + s.phi / self.contraction**2  # infinite in the end where g contracts, which is Picard iteration
        self.toward_anchor(problem, s, 1 / s.phi)
        self.advance(problem, s)
        s.drift.advance(1 / s.phi)

    def predicted_iterations(self, state: State, reduction: float) -> int | None:
        """By the bound on the residual, where ||x0 - x*|| is at most the first residual of T over 1 - contraction."""
        q = self.contraction
        if not 0 < reduction < math.inf or q == 1:
            return None
        return max(0, math.ceil(math.log(reduction / (1 + q + q * reduction)) / math.log(q) * (1 - 1e-12)))

    def bound(self, solution: Solution[Any]) -> Bound | None:
        """Of a contraction by its first residual; otherwise by the distance, which is known when it has converged."""
        norms, q = solution.residual_norms, self.contraction
        if norms.size < 2 or not norms[0] > 0:
            return None
        at = np.arange(int(solution.residual_iterations[-1]) + 1)
        if q < 1:
            values = (1 + q) * q**at / (1 - q ** (at + 1.0)) * (norms[0] / solution.reference)
            return Bound(at, values, f"at most, for the contraction {q:g}")
        if not solution.converged:
            return None
        values = 2 * solution.moved / (self.reach * (at + 1)) / solution.reference
        return Bound(at, values, "about 2 ||x0 - x|| / (k + 1)" if self.reach == 1 else "about the worst case")

    def nearest(self, solution: Solution[Any], cut: float) -> float:
        """By the bound on every residual, (k + 1) ||u_k|| / 2 for g itself, or by half-spaces."""
        norms = self.reach * solution.residual_norms
        if self.contraction < 1:
            return max(cut, float(norms[0]) / (1 + self.contraction))
        return max(cut, float(np.nanmax((solution.residual_iterations + 1) * norms / 2)))

    def describe(self, s: HalpernState) -> str:  # type: ignore[override]
        said = f"g was taken to contract by {self.contraction:g}" if self.contraction < 1 else ""
        reflected = f"steps were prolonged by {self.reflection:g}" if self.reflection else ""
        both = ", and ".join(filter(None, [said, reflected]))
        return both[:1].upper() + both[1:] + "." if both else ""


@fixed_point_solver
def halpern(
    g: Callable[[Any], Any],
    x0: Any,
    *,
    contraction: float = 1.0,
    reflection: float = 0.0,
    radius: float | None = None,
    **common: Unpack[FixedPointBatched],
) -> Solution[Any]:
    """Find x = g(x), the solution nearest to x0, by x <- x0 / (k + 2) + (k + 1) / (k + 2) g(x).

    For a map that lets no distance grow, in the 2-norm. It may have many fixed points, and need not contract: then
    ||g(x_k) - x_k|| <= 2 ||x0 - x*|| / (k + 1), which no method improves that knows nothing else of g. Where g is
    affine, x_k is the mean of the first k + 1 Picard iterates about a fixed point. ``restarted_halpern`` is faster
    wherever the residual tells how far the fixed points are.

    Parameters
    ----------
    g, x0, rtol, atol, maxiter, callback, progress, time_limit, backend, precision, batch_ndim, errors :
        As in ``resolvent.fixed_point``.
    contraction : float
        A Lipschitz constant q of g in (0, 1], of T where there is a reflection. Below 1 the weight of x0 is
        1 / (1 + q^-2 + ... + q^-2(k+1)), so that the iteration passes over to Picard's, and
        ||g(x_k) - x_k|| <= (1 + q) / (1 + q^-1 + ... + q^-k) ||x0 - x*||.
    reflection : float
        T = (1 + reflection) g - reflection I, in [0, 1], is iterated; its fixed points are those of g. Where g is
        firmly nonexpansive (a projection, a resolvent, primal-dual hybrid gradient in its own norm), 1 is right, and
        halves the bounds.
    radius : float, optional
        Stop as INFEASIBLE once every fixed point is known to be farther from x0 than this, which is looked into
        whenever the iterations have doubled.

    Returns
    -------
    Solution
        ``distance_bound`` says how far from x0 every fixed point is at least, at least (k + 1) ||g(x_k) - x_k|| / 2.
        INFEASIBLE as well, without a radius, where iterates only move on: as in ``picard``, with
        ``displacement`` = 2 (x0 - x_k) / k, at most 4 R / k from the smallest displacement.

    Raises
    ------
    InputError, TypeError
        As in ``resolvent.fixed_point``, and for a parameter outside its range.

    Notes
    -----
    Per iteration: 1 evaluation, 12 vector passes, 1 reduction; 5 vectors kept. A map that does not expand in another
    norm, as value iteration in the maximum norm, has other bounds. The difference of two iterates does not tend to the
    smallest displacement, but to half of it.

    References
    ----------
    Halpern (1967); Wittmann (1992), on the limit; Lieder (2021), theorem 2.1, on 1 / (k + 2); Park and Ryu (2022), on
    contractions; Park and Ryu (2023), on maps without fixed points.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    >>> rv.halpern(lambda x: turn @ x, np.array([1.0, 0.0])).iterations  # x_3 is the mean of the four powers
    3
    >>> rv.halpern(lambda x: np.maximum(x, 1), np.array([0.0, 3.0]), rtol=1e-2).x.round(1)
    array([1., 3.])
    """
    return solve_with(Halpern(contraction, reflection, radius), g, x0, **common)
