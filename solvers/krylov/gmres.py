"""The generalised minimal residual method, restarted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar, Literal, Unpack

import numpy as np

from ...backends.block import Block
from ...errors import InputError
from ..driver.method import Breakdown, Cost, State, Traffic
from ..driver.problem import Vector
from ..driver.solution import Solution
from ..driver.status import Cause, Status
from ..linear.call import Preconditioned, solver
from ..linear.method import Candidate, LinearMethod
from ..linear.run import solve_with
from ..linear.system import LinearSystem
from ..spectra.ritz import SpectralEvidence
from .arnoldi import HessenbergProblem

__all__ = ["GMRES", "gmres", "stands_still"]


@dataclass(kw_only=True)
class GMRESState(State):
    """The iterate x at which the basis was begun, the basis V of the Krylov space, and the problem of its matrix.

    Attributes
    ----------
    V : Block
        Orthonormal; the first vector is along the residual of x.
    Z : Block or None
        Of a flexible preconditioner what it made of each of them.
    z : vector or None
        Of another one, what it made of the last.
    problem : HessenbergProblem
    formed : vector
        Room for the current iterate.
    formed_at : int
        The columns that it was formed of; -1 where it was not.
    began : float
        The residual norm of x.
    ended : bool
        The Krylov space cannot be enlarged, or its last vector told nothing.
    cycles : int
        Bases begun, the first one apart.
    longest : ndarray
        The largest Hessenberg matrix of the bases before.
    """

    V: Block
    Z: Block | None
    z: Vector
    problem: HessenbergProblem
    formed: Vector
    formed_at: int = -1
    began: float
    ended: bool = False
    cycles: int = 0
    longest: np.ndarray


@dataclass(frozen=True)
class GMRES(LinearMethod[GMRESState]):
    """GMRES(m), preconditioned from the right.

    ``restart`` is m, the iterations from one basis to the next; ``flexible`` allows a preconditioner that changes
    between iterations.
    """

    restart: int = 30
    flexible: bool = False

    name: ClassVar[str] = "gmres"
    title: ClassVar[str] = "GMRES"
    purpose: ClassVar[str] = "nonsymmetric A: the smallest residual, at the price of a basis"
    # Of GMRES(30), an iteration of which costs so much on average; ``cost`` has the exact sums.
    traffic: ClassVar[Traffic] = Traffic(vectors=34, passes=49, reductions=3, matvecs=1, compiled_passes=45)
    monotone: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.restart, Integral) or isinstance(self.restart, bool):
            raise TypeError(f"restart: found {self.restart!r}; wanted an integer")
        if self.restart < 1:
            raise InputError(f"restart: found {self.restart}; wanted at least 1")

    @classmethod
    def candidates(cls, system: LinearSystem) -> Iterator[Candidate]:
        if not system.looks_hermitian:
            yield Candidate(2, cls(), "A is not Hermitian, and the residual of gmres never grows")

    def vectors_memory(self, system: LinearSystem) -> float:
        bases = 2 if self.flexible and system.preconditioner is not None else 1
        return (bases * min(self.restart, system.n) + 4.0) * system.local * system.dtype.itemsize

    def start(self, system: LinearSystem) -> GMRESState:
        x, r, norm = system.initial()
        backend, m = system.backend, min(self.restart, system.n)
        preconditioned = system.preconditioner is not None
        Z = backend.basis(m, system.local, system.dtype) if preconditioned and self.flexible else None
        state = GMRESState(
            x=x,
            work=r,
            residual_norm=norm,
            V=backend.basis(m + 1, system.local, system.dtype),
            Z=Z,
            z=system.vector() if preconditioned and Z is None else None,
            problem=HessenbergProblem(m, system.dtype, norm, system.unit_roundoff),
            formed=system.unset(),
            began=norm,
            longest=np.zeros((1, 0)),
        )
        self._begin(system, state, norm)
        return state

    def renew(self, system: LinearSystem, state: GMRESState) -> None:
        self._take(system, state)
        self._begin(system, state, system.backend.norm(state.work))

    def step(self, system: LinearSystem, state: GMRESState) -> None:
        s, V = state, state.V
        k = len(s.problem)
        if s.ended or k == len(V) - 1:
            self._next_basis(system, s)
            k = 0
        if s.Z is None:
            z = s.z = system.precondition(V[k], s.z)
        else:
            z = s.Z[k] = system.backend.assign(system.precondition(V[k], s.Z[k]), s.Z[k])
        V[k + 1] = system.matvec(z, V[k + 1])
        h, rest = system.backend.orthogonalise(V, k + 1, system.unit_roundoff)
        s.ended = s.problem.append(h, rest) or rest == 0
        if not s.ended:
            V[k + 1] = system.backend.axpby(0.0, V[k + 1], 1.0 / rest, V[k + 1])
        s.residual_norm = s.problem.residuals[-1]

    def iterate(self, system: LinearSystem, state: GMRESState) -> Vector:
        s, backend, k = state, system.backend, len(state.problem)
        if k == 0:
            return s.x
        if s.formed_at != k:
            y = s.problem.solution()
            s.formed = backend.assign(s.x, s.formed)
            if s.Z is not None:
                s.formed = backend.add_block(s.Z[: y.size], y, s.formed)
            elif system.preconditioner is None:
                s.formed = backend.add_block(s.V[: y.size], y, s.formed)
            elif y.size:
                s.work = backend.combine(s.V[: y.size], y, s.work)
                s.z = system.precondition(s.work, s.z)
                s.formed = backend.axpy(1.0, s.z, s.formed)
            s.formed_at = k
        return s.formed

    def _begin(self, system: LinearSystem, state: GMRESState, norm: float) -> None:
        """A new basis, along the residual in ``work``."""
        s, backend = state, system.backend
        s.problem = HessenbergProblem(len(s.V) - 1, system.dtype, norm, system.unit_roundoff)
        s.V[0] = backend.assign(s.work, s.V[0])
        if norm > 0:
            s.V[0] = backend.axpby(0.0, s.V[0], 1.0 / norm, s.V[0])
        s.residual_norm = s.began = norm
        s.formed_at, s.ended = -1, False

    def _take(self, system: LinearSystem, state: GMRESState) -> None:
        """The current iterate becomes x."""
        s, x = state, self.iterate(system, state)
        if x is not s.x:
            s.x, s.formed = s.formed, s.x
        s.formed_at = -1
        s.longest = max(s.longest, s.problem.matrix, key=lambda H: H.shape[1])
        s.cycles += 1

    def _next_basis(self, system: LinearSystem, state: GMRESState) -> None:
        """Begin anew from the true residual; a basis that has not made it smaller would be followed by its like."""
        s = state
        s.work, norm = system.certify(self.iterate(system, s), s.work)
        if not norm < (1 - math.sqrt(system.unit_roundoff)) * s.began:
            raise stands_still(system, s.x, len(s.problem), s.ended, norm)
        self._take(system, s)
        self._begin(system, s, norm)

    def cost(self, iterations: int) -> Cost:
        t, m = self.traffic, self.restart
        cycles, rest = divmod(iterations, m)
        begun = max(0, -(-iterations // m) - 1)  # each by an iterate, its residual, and the first vector
        passes, compiled = (
            cycles * sum(map(taken, range(m))) + sum(map(taken, range(rest))) + begun * (m + 12)
            for taken in (_passes, _compiled_passes)
        )
        return Cost(passes, iterations * t.reductions + begun, iterations * t.matvecs + begun, compiled)

    def describe(self, state: GMRESState) -> str:
        return _described(state.cycles, len(state.V) - 1)

    def described_after(self, iterations: int, n: int) -> str:
        most = min(self.restart, n)
        return _described(-(-iterations // most) - 1, most)

    def evidence(self, state: GMRESState) -> SpectralEvidence | None:
        H = max(state.longest, state.problem.matrix, key=lambda H: H.shape[1])
        return SpectralEvidence(matrix=H) if H.shape[1] else None

    def evidence_left(self, numbers: np.ndarray, n: int, largest: float) -> SpectralEvidence | None:
        most = min(self.restart, n)
        k = min(most, numbers.shape[1] - 1)
        parts = [numbers[at : at + k + 1, 1 : k + 1] for at in range(1, numbers.shape[0], most + 1)]
        H = parts[0] if len(parts) == 1 else parts[0] + 1j * parts[1]
        return SpectralEvidence(matrix=np.triu(H, -1)) if k else None


def _described(cycles: int, most: int) -> str:
    """How often the basis was begun anew."""
    if cycles <= 0:
        return ""
    times = "once" if cycles == 1 else f"{cycles} times"
    return f"The basis was begun anew {times}, of at most {most} vectors."


def _passes(k: int) -> int:
    """Vector passes of the iteration that has k vectors behind it, and orthogonalises once over the whole basis."""
    product, near, whole, scaling = 2, 2 * min(k + 1, 2) + 3, 2 * (k + 3), 4
    return product + near + whole + scaling


def _compiled_passes(k: int) -> int:
    """The same where what lies along the last vectors is taken away in the pass that measures the whole basis."""
    return _passes(k) - min(k + 1, 2) - 2


def stands_still(system: LinearSystem, x: Vector, k: int, ended: bool, norm: float) -> Breakdown:
    """Why a whole basis was of no use: rounding, a singular A, or one that needs a longer basis."""
    if norm <= 10 * system.rounding_floor(x):
        return Breakdown("", Cause.DIGITS, Status.STAGNATED)
    if ended:
        return Breakdown(
            f"The Krylov space cannot be enlarged after {k} iterations, and no solution lies in it: A is singular as "
            "far as rounding lets see, and b has a part that A cannot reach. Regularise, or solve the least-squares "
            "problem.",
            Cause.SINGULAR,
        )
    return Breakdown(
        f"gmres stands still: a basis of {k} vectors has not made the residual smaller, and the next one would be its "
        "like. Raise restart, or precondition.",
        Cause.RECURRENCE,
    )


@solver
def gmres(
    A: Any,
    b: Any,
    *,
    restart: int = 30,
    flexible: bool = False,
    block: bool | Literal["auto"] = "auto",
    **common: Unpack[Preconditioned],
) -> Solution[Any]:
    """Solve A x = b, for any nonsingular A, by the generalised minimal residual method, restarted.

    Of all vectors in x0 + M K, K the Krylov space of A M, the iterate has the smallest residual; after ``restart``
    iterations the space is begun anew.

    Parameters
    ----------
    A : array_like, sparse matrix, LinearOperator, Operator or callable, (n, n) or a batch (..., n, n)
    b : array_like, (n,), (n, 1), or for several systems (..., n) or (..., n, k)
    restart : int
        Iterations to a basis, of which one vector each is kept. The residual never grows, but it may cease to fall
        where this is less than n.
    flexible : bool
        M may change from one application to the next; as many more vectors are kept.
    block : bool or "auto"
        Of several right-hand sides of one matrix: whether they share a Krylov space, by block GMRES, whose basis has as
        many vectors for each of them, or each has its own. "auto" decides by what was measured to take less time.
    M : preconditioner, optional
        Approximates the inverse of A, and is applied from the right: residuals are those of A x = b.
    x0, rtol, atol, maxiter, callback, progress, time_limit, backend, precision, errors :
        As in ``resolvent.cg``; an iteration is one product with A, whatever ``restart`` is.

    Returns
    -------
    Solution

    Raises
    ------
    InputError, BackendError
        As in ``resolvent.cg``; for a ``restart`` below 1.

    Warns
    -----
    ConvergenceWarning
        When the tolerance is not met; the message says why and what to do.

    Notes
    -----
    Per iteration, on average over a basis of 30: 1 matvec, 3 reductions, 49 vector passes (45 compiled); 34 vectors
    kept, 4 more than ``restart``. The k-th iteration of a basis takes 2 k + 17 passes (2 k + 13 compiled), and another
    2 k + 4 and two reductions where the product with A has lost digits to the basis. An iterate is formed when it is
    asked for.

    References
    ----------
    Saad & Schultz (1986), "GMRES: a generalized minimal residual algorithm for solving nonsymmetric linear systems",
    section 3; Saad (1993), "A flexible inner-outer preconditioned GMRES algorithm", algorithm 2.2, for ``flexible``;
    Daniel, Gragg, Kaufman & Stewart (1976), "Reorthogonalization and stable algorithms for updating the Gram-Schmidt QR
    factorization".

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> solution = rv.gmres(np.array([[4.0, 1.0], [-2.0, 3.0]]), np.array([1.0, 2.0]), rtol=1e-12)
    >>> solution.converged, solution.iterations
    (True, 2)
    >>> np.allclose(solution.x, [1 / 14, 10 / 14])
    True
    """
    return solve_with(GMRES(restart, flexible), A, b, block=block, **common)
