"""CGLS: conjugate gradients on the normal equations, which are never formed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Unpack

from ..driver.method import Traffic
from ..driver.problem import Vector
from .call import LeastSquaresOptions, least_squares_solver
from .method import LeastSquaresMethod, LeastSquaresState, Preconditioned
from .problem import LeastSquares
from .run import solve_least_squares
from .solution import LeastSquaresSolution

__all__ = ["CGLS", "cgls"]

UNSURE = 1e4  # times its rounding: what a gradient has to be for its norm to tell of singular values
DOUBT = 30  # iterations without a new smallest norm after which the accuracy that is left is looked into


@dataclass
class CGLSState(LeastSquaresState):
    """The names are those of Björck.

    Attributes
    ----------
    r, tail : vector
        The residual, (m,), and the part of it below, (n,), that damping adds; None where it adds none.
    q, below : vector
        A' M p, in the same two parts.
    s, p : vector
        The gradient and the direction, (n,).
    gamma, normr : float
        ||s||, and the norm of the residual.
    alpha, ratio : float
        The last step length, and what the direction before it was multiplied by.
    begun : int
        Iterations since the last start.
    lowest, lowest_at : float, int
        The smallest norm seen, and the iteration of it or of the last doubt.
    """

    r: Vector = None
    tail: Vector = None
    q: Vector = None
    below: Vector = None
    s: Vector = None
    p: Vector = None
    gamma: float = 0.0
    normr: float = 0.0
    alpha: float = math.inf
    ratio: float = 0.0
    begun: int = 0
    lowest: float = math.inf
    lowest_at: int = 0


@dataclass(frozen=True)
class CGLS(LeastSquaresMethod[CGLSState]):
    """Hestenes and Stiefel's method in Björck's form."""

    name: ClassVar[str] = "cgls"
    title: ClassVar[str] = "CGLS"
    purpose: ClassVar[str] = "least squares, b - A x smallest at every iteration"
    traffic: ClassVar[Traffic] = Traffic(vectors=3, passes=25, reductions=4, matvecs=2, compiled_passes=17)
    columns: ClassVar[int] = 3

    def start(self, problem: LeastSquares) -> CGLSState:
        x, r, _ = problem.initial()
        state = CGLSState(x=problem.columns(), work=problem.rows(), residual_norm=None, r=r, q=problem.rows())
        if problem.guess is None:
            state.tail = problem.columns() if problem.damp else None
        else:
            state.tail = problem.begin_at(x)
            state.size = problem.backend.norm(x)
        state.below = None if state.tail is None else problem.columns()
        state.s = problem.columns()
        self.begin(problem, state)
        return state

    def renew(self, problem: LeastSquares, state: CGLSState) -> None:
        backend = problem.backend
        x = problem.point(state.x)
        state.tail, state.size = problem.begin_at(x), backend.norm(x)
        state.r, state.x = backend.assign(state.work, state.r), problem.columns()
        state.longest, state.couplings = max(state.longest, state.couplings, key=len), []
        self.begin(problem, state)

    def begin(self, problem: LeastSquares, s: CGLSState) -> None:
        """The first direction is the gradient."""
        s.s, s.gamma = problem.backward(1.0, s.r, s.tail, 0.0, s.s)
        s.p = problem.backend.copy(s.s)
        s.alpha, s.ratio, s.begun, s.lowest = math.inf, 0.0, 0, math.inf
        self._measure(problem, s)

    def step(self, problem: LeastSquares, state: CGLSState) -> None:
        backend, s = problem.backend, state
        s.q, s.below, delta = problem.forward(1.0, s.p, 0.0, s.q, s.below)
        if delta == 0 or s.gamma == 0:
            raise self.ended()
        before, s.alpha = s.alpha, (s.gamma / delta) ** 2
        if s.alpha == 0:
            raise self.ended()  # the direction is that of rounding, and grew out of all proportion to the gradient
        s.x = backend.axpy(s.alpha, s.p, s.x)
        s.r = backend.axpy(-s.alpha, s.q, s.r)
        if s.tail is not None:
            s.tail = backend.axpy(-s.alpha, s.below, s.tail)
        gamma, through = s.gamma, 1 / s.alpha + s.ratio / before
        s.s, s.gamma = problem.backward(1.0, s.r, s.tail, 0.0, s.s)
        s.ratio = (s.gamma / gamma) ** 2
        s.p = backend.axpby(1.0, s.s, s.ratio, s.p)
        noise = UNSURE * problem.unit_roundoff * problem.operator_norm * s.normr
        if len(s.couplings) == 2 * s.begun and gamma > noise:  # from there on, they are those of rounding
            s.couplings += (1 / math.sqrt(s.alpha), math.sqrt(s.ratio / s.alpha))
            if problem.M is None:
                problem.norm_at_least(math.sqrt(through))
        s.begun += 1
        self._measure(problem, s)
        s.replace = True  # past the best accuracy the iterates grow worse again: each one is looked at

    def review(self, problem: LeastSquares, state: CGLSState, iteration: int, norm: float, best: Vector | None) -> None:
        """Where the norm has stopped falling, find out whether rounding is all that is left."""
        state.replace = False
        if norm < state.lowest:
            state.lowest, state.lowest_at = norm, iteration
        if iteration - state.lowest_at < DOUBT:
            return
        state.lowest_at, x = iteration, problem.point(state.x)
        state.work, _ = problem.certify(x, state.work)
        if state.lowest <= 10 * problem.rounding_floor(x):
            raise self.ended()

    def _measure(self, problem: LeastSquares, s: CGLSState) -> None:
        normr, normy = problem.backend.norm(s.r), problem.backend.norm(s.x)
        if s.tail is not None:
            normr = math.hypot(normr, problem.backend.norm(s.tail))
        s.normar = s.gamma
        if problem.M is None and normr > 0:
            problem.norm_at_least(s.gamma / normr)
        s.normr, s.residual_norm = normr, self.missed(problem, s, normr, normy)


class PreconditionedCGLS(Preconditioned[CGLSState], CGLS):
    """The same with an M, whose norms are another's."""


@least_squares_solver
def cgls(A: Any, b: Any, **common: Unpack[LeastSquaresOptions]) -> LeastSquaresSolution[Any]:
    r"""Minimise ||b - A x||^2 + damp^2 ||x - x0||^2 by conjugate gradients on the normal equations.

    ||r|| never rises from one iterate to the next, and neither does ||x - x*||; ||A^H r|| may, so that LSMR is the
    better one where a solve is to be stopped early.

    Parameters
    ----------
    A, b, damp, atol, btol, maxiter, x0, M, callback, progress, time_limit, backend, precision, errors :
        As in ``resolvent.lsmr``.

    Returns
    -------
    LeastSquaresSolution

    Raises
    ------
    InputError, BackendError
        As ``resolvent.lsmr`` does.

    Warns
    -----
    ConvergenceWarning
        When neither test is passed.

    Notes
    -----
    Per iteration: 1 product with A and 1 with A^H, 4 reductions, 25 vector passes (17 compiled); 3 vectors of length n
    and 2 of length m, and with damping 2 of length n more.

    References
    ----------
    Björck (1996), "Numerical methods for least squares problems", algorithm 7.4.1; Hestenes & Stiefel (1952), section
    10.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> A = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> np.allclose(rv.cgls(A, np.array([1.0, 0.0, 1.0]), atol=1e-12).x, [1 / 3, 1 / 3])
    True
    """
    kind = CGLS if common.get("M") is None else PreconditionedCGLS
    return solve_least_squares(kind(), A, b, **common)
