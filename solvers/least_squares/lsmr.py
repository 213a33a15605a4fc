"""LSMR: MINRES on the normal equations, by Golub and Kahan's bidiagonalisation of A."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Unpack

from ...errors import InputError
from ..driver.method import Breakdown, Traffic
from ..driver.problem import Vector
from ..driver.status import Cause, Status
from .call import LeastSquaresOptions, least_squares_solver
from .method import LeastSquaresMethod, LeastSquaresState, Preconditioned
from .problem import LeastSquares
from .run import solve_least_squares
from .solution import LeastSquaresSolution

__all__ = ["LSMR", "lsmr"]


@dataclass
class LSMRState(LeastSquaresState):
    """The names are those of Fong and Saunders.

    Attributes
    ----------
    u, tail : vector
        beta_k u_k, (m,), and the part of it below, (n,), that damping adds; None where it adds none.
    v, h, hbar : vector
        alpha_k v_k, h_k and hbar_k, (n,).
    begun : int
        Iterations since the last start.
    most, least : float
        The largest and the smallest of the rhobar of these iterations, whose quotient is an estimate of the condition
        number; the last is told as it would be if no iteration followed.
    condition : float
        That quotient.
    """

    u: Vector = None
    tail: Vector = None
    v: Vector = None
    h: Vector = None
    hbar: Vector = None
    alpha: float = 0.0
    beta: float = 0.0
    alphabar: float = 0.0
    zeta: float = 0.0
    zetabar: float = 0.0
    rho: float = 1.0
    rhobar: float = 1.0
    cbar: float = 1.0
    sbar: float = 0.0
    betadd: float = 0.0
    betad: float = 0.0
    rhod: float = 1.0
    tautilde: float = 0.0
    thetatilde: float = 0.0
    begun: int = 0
    most: float = 0.0
    least: float = math.inf
    condition: float = 1.0


@dataclass(frozen=True)
class LSMR(LeastSquaresMethod[LSMRState]):
    """Fong and Saunders' method. It ends where the condition number is seen to be above ``conlim``."""

    conlim: float = math.inf

    name: ClassVar[str] = "lsmr"
    title: ClassVar[str] = "LSMR"
    purpose: ClassVar[str] = "least squares of any shape and rank: the first choice"
    traffic: ClassVar[Traffic] = Traffic(vectors=4, passes=24, reductions=3, matvecs=2, compiled_passes=13)
    columns: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if not isinstance(self.conlim, Real) or not float(self.conlim) >= 1:
            raise InputError(f"conlim: found {self.conlim!r}; wanted a number of at least 1")

    def start(self, problem: LeastSquares) -> LSMRState:
        x, r, _ = problem.initial()
        state = LSMRState(x=problem.columns(), work=problem.rows(), residual_norm=None, u=r)
        if problem.guess is None:
            state.tail = problem.columns() if problem.damp else None
        else:
            state.tail = problem.begin_at(x)
            state.size = problem.backend.norm(x)
        self.begin(problem, state)
        return state

    def renew(self, problem: LeastSquares, state: LSMRState) -> None:
        backend = problem.backend
        x = problem.point(state.x)
        state.tail, state.size = problem.begin_at(x), backend.norm(x)
        state.u, state.x = backend.assign(state.work, state.u), problem.columns()
        state.longest, state.couplings = max(state.longest, state.couplings, key=len), []
        self.begin(problem, state)

    def begin(self, problem: LeastSquares, s: LSMRState) -> None:
        """u_1 is the residual, v_1 the gradient; no rotations were made."""
        backend = problem.backend
        s.beta = backend.norm(s.u)
        if s.tail is not None:
            s.beta = math.hypot(s.beta, backend.norm(s.tail))
        s.v, s.alpha = problem.columns(), 0.0
        if s.beta > 0:
            s.v, s.alpha = problem.backward(1 / s.beta, s.u, s.tail, 0.0, s.v)
        s.h, s.hbar = backend.copy(s.v), problem.columns()
        if s.alpha > 0:
            s.h = backend.axpby(0.0, s.v, 1 / s.alpha, s.h)
        s.alphabar, s.zetabar, s.zeta = s.alpha, s.alpha * s.beta, 0.0
        s.rho = s.rhobar = s.cbar = s.rhod = 1.0
        s.sbar = s.betad = s.tautilde = s.thetatilde = 0.0
        s.betadd, s.normar, s.begun = s.beta, s.zetabar, 0
        s.most, s.least, s.condition = 0.0, math.inf, 1.0
        if problem.M is None:
            problem.norm_at_least(s.alpha)
        s.couplings.append(s.alpha)
        s.residual_norm = self.missed(problem, s, s.beta, 0.0)

    def step(self, problem: LeastSquares, state: LSMRState) -> None:
        s, alpha, beta = state, state.alpha, state.beta
        if s.condition > self.conlim:
            raise Breakdown(
                f"The condition number of A seems to be {s.condition:.1e} or more, above the {self.conlim:g} that was "
                "set as a limit.",
                Cause.CONDITION,
                Status.STOPPED,
            )
        if alpha == 0 or beta == 0:
            raise self.ended()
        # The vectors are kept as the products left them: their norms are divided by where they are read.
        s.u, s.tail, s.beta = problem.forward(1 / alpha, s.v, -alpha / beta, s.u, s.tail)
        s.alpha = 0.0
        if s.beta > 0:
            s.v, s.alpha = problem.backward(1 / s.beta, s.u, s.tail, -s.beta / alpha, s.v)
        s.couplings += (s.beta, s.alpha)
        if problem.M is None:
            problem.norm_at_least(math.hypot(alpha, s.beta))

        rho_old, s.rho = s.rho, math.hypot(s.alphabar, s.beta)
        c, sine = s.alphabar / s.rho, s.beta / s.rho
        theta, s.alphabar = sine * s.alpha, c * s.alpha

        rhobar_old, zeta_old, thetabar = s.rhobar, s.zeta, s.sbar * s.rho
        left = s.cbar * s.rho
        if s.begun:
            s.most, s.least = max(s.most, rhobar_old), min(s.least, rhobar_old)
        s.condition = max(s.most, left) / min(s.least, left) if left > 0 else math.inf
        s.rhobar = math.hypot(left, theta)
        s.cbar, s.sbar = left / s.rhobar, theta / s.rhobar
        s.zeta, s.zetabar = s.cbar * s.zetabar, -s.sbar * s.zetabar

        scale = 1 / s.alpha if s.alpha > 0 else 0.0
        older, step = -thetabar * s.rho / (rho_old * rhobar_old), s.zeta / (s.rho * s.rhobar)
        s.hbar, s.x, s.h, normy = problem.backend.lsmr_update(scale, s.v, -theta / s.rho, s.h, older, s.hbar, step, s.x)

        # ||r||, section 5.2 of the paper.
        betahat, s.betadd = c * s.betadd, -sine * s.betadd
        thetatilde_old, rhotilde = s.thetatilde, math.hypot(s.rhod, thetabar)
        ctilde, stilde = s.rhod / rhotilde, thetabar / rhotilde
        s.thetatilde, s.rhod = stilde * s.rhobar, ctilde * s.rhobar
        s.betad = -stilde * s.betad + ctilde * betahat
        s.tautilde = (zeta_old - thetatilde_old * s.tautilde) / rhotilde
        taud = (s.zeta - s.thetatilde * s.tautilde) / s.rhod
        s.normar, s.begun = abs(s.zetabar), s.begun + 1
        s.residual_norm = self.missed(problem, s, math.hypot(s.betad - taud, s.betadd), normy)


class PreconditionedLSMR(Preconditioned[LSMRState], LSMR):
    """The same with an M, whose norms are another's."""


@least_squares_solver
def lsmr(
    A: Any, b: Any, *, conlim: float = math.inf, **common: Unpack[LeastSquaresOptions]
) -> LeastSquaresSolution[Any]:
    r"""Minimise ||b - A x||^2 + damp^2 ||x - x0||^2 by LSMR.

    ||A^H r|| never rises from one iterate to the next, so that it may be stopped at any. Where A lacks rank, or has
    more columns than rows, x is the solution nearest to x0, and with x0 = 0 the shortest.

    Parameters
    ----------
    A : array_like, sparse matrix, LinearOperator, Operator or callable, (m, n) or a batch (..., m, n)
        A callable has ``shape``, ``dtype`` and ``rmatvec``, the product with A^H.
    b : array_like, (m,), (m, 1), or for several problems (..., m) or (..., m, k) as in ``torch.linalg.solve``
        In any units.
    damp : float
        At least 0.
    atol, btol : float
        Stop when ||A^H r - damp^2 (x - x0)|| <= atol ||A|| ||r|| or ||r|| <= btol ||b|| + atol ||A|| ||x||, with damp
        below A and damp (x0 - x) below r, both recomputed from x. ||A|| is a lower bound of the 2-norm; SciPy takes the
        Frobenius norm of the bidiagonal matrix, which grows with the iterations, and may stop earlier.
    conlim : float
        Stop, with the status STOPPED, where the condition number of A (of A M; with damp below) is seen to be above it.
        By default the tolerances alone decide.
    maxiter : int, optional
        By default 10 n, and at least 1000.
    x0 : array_like, (n,), (n, 1) or as x of a batch, optional
        Where the iteration begins, and what damping draws x to.
    M : "jacobi", matrix, LinearOperator, callable or SuperLU, (n, n), optional
        From the right, x = M y: a good M makes the columns of A M orthonormal. "jacobi" divides the columns of A by
        their norms. An operator has ``rmatvec``. Where A lacks rank, ||M^-1 (x - x0)|| is then smallest.
    callback, progress, time_limit, backend, precision, errors :
        As in ``resolvent.cg``.

    Returns
    -------
    LeastSquaresSolution

    Raises
    ------
    InputError
        For shapes that do not fit, NaN or infinite entries, tolerances and damping out of range, and an operator
        without products with its adjoint.
    BackendError
        For arrays of different libraries.

    Warns
    -----
    ConvergenceWarning
        When neither test is passed; the message says why and what to do.

    Notes
    -----
    Per iteration: 1 product with A and 1 with A^H, 3 reductions, 24 vector passes (13 compiled, where each product is
    fused with the vector that it goes into); 4 vectors of length n and 1 of length m, and with damping 1 of length n
    more. A sparse A is kept by columns too, in a copy.

    References
    ----------
    Fong & Saunders (2011), "LSMR: an iterative algorithm for sparse least-squares problems", SIAM J. Sci. Comput. 33,
    sections 2 and 5; Paige & Saunders (1982), "LSQR", ACM TOMS 8, section 6, for the tests.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> A = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> solution = rv.lsmr(A, np.array([1.0, 0.0, 1.0]), atol=1e-12)
    >>> np.allclose(solution.x, [1 / 3, 1 / 3]), solution.converged, solution.consistent
    (True, True, False)
    """
    kind = LSMR if common.get("M") is None else PreconditionedLSMR
    return solve_least_squares(kind(conlim), A, b, **common)
