"""Induced dimension reduction, IDR(s), with bi-orthogonal vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar, Unpack

import numpy as np

from ...backends.block import Block
from ...errors import InputError
from ..driver.method import Breakdown, Cost, State, Traffic
from ..driver.problem import Vector
from ..driver.solution import Solution
from ..driver.status import Cause
from ..linear.call import Preconditioned, solver
from ..linear.method import LinearMethod
from ..linear.run import solve_with
from ..linear.system import LinearSystem
from ..spectra.lanczos import generator

__all__ = ["IDRs", "idrs"]

SMALLEST_COSINE = 0.7  # of r and A M r: below it the step that shortens r most loses what the recurrence needs


@dataclass(kw_only=True)
class IDRsState(State):
    """Iterate x, residual r, and the s vectors of the space that is left: G = A U, bi-orthogonal to the shadows P.

    Attributes
    ----------
    P, U, G : Block
    products : ndarray of shape (s, s)
        P^H G, lower triangular.
    f : ndarray of shape (s,)
        P^H r.
    omega : complex
        The factor I - omega A M by which the spaces are led on.
    k : int
        The next column to renew; s where the space is to be led on.
    filled : bool
        All columns have been made once since the spaces were begun.
    v, z : vector
        Room for a vector and, with a preconditioner, what M makes of it.
    steps, renewals : int
        Steps taken, and how often the spaces were begun anew because a coefficient was lost.
    """

    r: Vector
    P: Block
    U: Block
    G: Block
    v: Vector
    z: Vector = None
    products: np.ndarray
    f: np.ndarray
    omega: complex = 1.0
    k: int = 0
    begun: bool = False
    filled: bool = False
    steps: int = 0
    renewals: int = 0


@dataclass(frozen=True)
class IDRs(LinearMethod[IDRsState]):
    """IDR(s): residuals in spaces whose dimension falls by s every s + 1 products; preconditioned from the right."""

    s: int = 4
    seed: int = 0

    name: ClassVar[str] = "idrs"
    title: ClassVar[str] = "IDR(s)"
    purpose: ClassVar[str] = "nonsymmetric A, also with large imaginary parts in the spectrum"
    # Of IDR(4), a step of which costs so much on average; ``cost`` has the exact sums.
    traffic: ClassVar[Traffic] = Traffic(vectors=16, passes=29, reductions=2, matvecs=1, compiled_passes=29)

    def __post_init__(self) -> None:
        if not isinstance(self.s, Integral) or isinstance(self.s, bool):
            raise TypeError(f"s: found {self.s!r}; wanted an integer")
        if self.s < 1:
            raise InputError(f"s: found {self.s}; wanted at least 1")

    def start(self, system: LinearSystem) -> IDRsState:
        x, r, norm = system.initial()
        s, wide = min(self.s, system.n), np.complex128 if system.dtype.kind == "c" else np.float64
        P, U, G = (system.backend.basis(s, system.local, system.dtype) for _ in range(3))
        state = IDRsState(
            x=x,
            work=system.unset(),
            residual_norm=norm,
            r=r,
            P=P,
            U=U,
            G=G,
            v=system.unset(),
            z=None if system.preconditioner is None else system.vector(),
            products=np.eye(s, dtype=wide),
            f=np.zeros(s, wide),
        )
        self._draw(system, state)
        return state

    def _draw(self, system: LinearSystem, state: IDRsState) -> None:
        """Orthonormal random shadows."""
        backend, P, rng = system.backend, state.P, generator(system, self.seed)
        for j in range(len(P)):
            drawn = rng.standard_normal(system.local)
            if system.dtype.kind == "c":
                drawn = drawn + 1j * rng.standard_normal(system.local)
            P[j] = backend.assign(backend.from_numpy(drawn, system.dtype), P[j])
            for _ in range(2 if j else 0):
                P[j] = backend.add_block(P[:j], -backend.dots(P[:j], P[j]), P[j])
            P[j] = backend.axpby(0.0, P[j], 1.0 / backend.norm(P[j]), P[j])

    def renew(self, system: LinearSystem, state: IDRsState) -> None:
        state.r = system.backend.assign(state.work, state.r)
        state.residual_norm = system.backend.norm(state.r)
        state.begun = False

    def _begin(self, state: IDRsState) -> None:
        """No vectors yet: the first s steps make them of the residual alone."""
        s = state
        s.products, s.omega = np.eye(len(s.P), dtype=s.products.dtype), 1.0
        s.k, s.begun, s.filled = 0, True, False

    def step(self, system: LinearSystem, state: IDRsState) -> None:
        s = state
        if not s.begun:
            self._begin(s)
        if s.k == len(s.P):
            self._lead_on(system, s)
        elif not self._reduced(system, s):
            s.renewals += 1
            self._begin(s)
            if not self._reduced(system, s):
                raise _singular(s.steps)
        s.residual_norm = system.backend.norm(s.r)
        s.steps += 1

    def _reduced(self, system: LinearSystem, state: IDRsState) -> bool:
        """A new column k of U and G = A U, r orthogonal to one more shadow; False where rounding forbids it."""
        s, backend, k = state, system.backend, state.k
        if k == 0:
            s.f = backend.dots(s.P, s.r)
        s.v = backend.assign(s.r, s.v)
        if s.filled:
            c = np.linalg.solve(s.products[k:, k:], s.f[k:])
            s.v = backend.add_block(s.G[k:], -c, s.v)
        z = s.z = system.precondition(s.v, s.z)
        if s.filled:
            s.U[k] = backend.axpby(s.omega, z, c[0].item(), s.U[k])
            if c.size > 1:
                s.U[k] = backend.add_block(s.U[k + 1 :], c[1:], s.U[k])
        else:
            s.U[k] = backend.assign(z, s.U[k])
        s.G[k] = system.matvec(s.U[k], s.G[k])
        column = backend.dots(s.P, s.G[k])
        size = float(np.linalg.norm(column))
        if k:
            along = np.linalg.solve(s.products[:k, :k], column[:k])
            s.G[k] = backend.add_block(s.G[:k], -along, s.G[k])
            s.U[k] = backend.add_block(s.U[:k], -along, s.U[k])
            column[k:] -= s.products[k:, :k] @ along
        column[:k] = 0.0
        s.products[:, k] = column
        if abs(column[k]) <= system.unit_roundoff * size:
            return False
        beta = (s.f[k] / column[k]).item()
        s.r = backend.axpy(-beta, s.G[k], s.r)
        s.x = backend.axpy(beta, s.U[k], s.x)
        s.f[k + 1 :] -= beta * column[k + 1 :]
        s.k = k + 1
        return True

    def _lead_on(self, system: LinearSystem, state: IDRsState) -> None:
        """r <- (I - omega A M) r, orthogonal to all shadows before, lies in the next space."""
        s, backend = state, system.backend
        z = s.z = system.precondition(s.r, s.z)
        s.work = system.matvec(z, s.work)
        product, square = backend.dot_and_square(s.r, s.work)
        if square == 0:
            raise _singular(s.steps)
        size, length = math.sqrt(square), float(s.residual_norm or 0.0)
        cosine = abs(product) / (size * length) if length > 0 else 1.0
        # The step that makes r shortest, but longer where r and A M r are far from parallel; any, where orthogonal.
        s.omega = product.conjugate() / square
        if cosine < system.unit_roundoff:
            s.omega = SMALLEST_COSINE * length / size
        elif cosine < SMALLEST_COSINE:
            s.omega *= SMALLEST_COSINE / cosine
        s.x = backend.axpy(s.omega, z, s.x)
        s.r = backend.axpy(-s.omega, s.work, s.r)
        s.k, s.filled = 0, True

    def vectors_memory(self, system: LinearSystem) -> float:
        return (3.0 * self.s + 4.0) * system.local * system.dtype.itemsize

    def cost(self, iterations: int) -> Cost:
        s, t = self.s, self.traffic
        cycles, rest = divmod(iterations, s + 1)
        first, full = ([_passes(s, k, filled) for k in range(s)] + [11] for filled in (False, True))
        passes = sum((first * bool(cycles) + full * max(0, cycles - 1)) + (full if cycles else first)[:rest])
        return Cost(passes, iterations * t.reductions + cycles + (rest > 0), iterations, passes)

    def describe(self, state: IDRsState) -> str:
        if state.renewals == 0:
            return ""
        times = "once" if state.renewals == 1 else f"{state.renewals} times"
        return f"The spaces were begun anew {times}, since a coefficient was lost in rounding."


def _passes(s: int, k: int, filled: bool) -> int:
    """Vector passes of the step that makes column k."""
    shadows = s + 1 if k == 0 else 0
    made = (s - k + 2) + 3 + (s - k + 1 if k < s - 1 else 0) if filled else 2
    orthogonal = s + 1 + (2 * k + 4 if k else 0)
    return shadows + 2 + made + 2 + orthogonal + 7


def _singular(steps: int) -> Breakdown:
    return Breakdown(
        f"A is singular as far as rounding lets see: of the residual at iteration {steps}, A M r vanishes, or all that "
        "can be seen of it. Regularise, or solve the least-squares problem.",
        Cause.SINGULAR,
    )


@solver
def idrs(A: Any, b: Any, *, s: int = 4, seed: int = 0, **common: Unpack[Preconditioned]) -> Solution[Any]:
    """Solve A x = b, for any nonsingular A, by induced dimension reduction.

    Residuals lie in spaces whose dimension falls by ``s`` with every s + 1 products. Larger ``s`` take fewer products
    and more vectors; s = 1 is a sister of BiCGSTAB.

    Parameters
    ----------
    A : array_like, sparse matrix, LinearOperator, Operator or callable, (n, n) or a batch (..., n, n)
    b : array_like, (n,), (n, 1), or for several systems (..., n) or (..., n, k)
    s : int
        Shadow vectors.
    seed : int
        Of the shadows, which are random; the same seed gives the same bits.
    M : preconditioner, optional
        Approximates the inverse of A, and is applied from the right: residuals are those of A x = b.
    x0, rtol, atol, maxiter, callback, progress, time_limit, backend, precision, errors :
        As in ``resolvent.cg``; an iteration is one product with A.

    Returns
    -------
    Solution

    Raises
    ------
    InputError, BackendError
        As in ``resolvent.cg``; for an ``s`` below 1.

    Warns
    -----
    ConvergenceWarning
        When the tolerance is not met; the message says why and what to do.

    Notes
    -----
    Per iteration, on average for s = 4: 1 matvec, 2 reductions, 29 vector passes; 16 vectors kept, 3 s + 4, and one
    more with a preconditioner.

    References
    ----------
    Sonneveld & van Gijzen (2008), "IDR(s): a family of simple and fast algorithms for solving large nonsymmetric
    systems of linear equations"; van Gijzen & Sonneveld (2011), "Algorithm 913: an elegant IDR(s) variant that
    efficiently exploits bi-orthogonality properties", figure 2; Sleijpen & van der Vorst (1995), "Maintaining
    convergence properties of BiCGstab methods in finite precision arithmetic", for omega.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> solution = rv.idrs(np.array([[4.0, 1.0], [-2.0, 3.0]]), np.array([1.0, 2.0]), rtol=1e-12)
    >>> solution.converged, solution.iterations
    (True, 2)
    >>> np.allclose(solution.x, [1 / 14, 10 / 14])
    True
    """
    return solve_with(IDRs(s, seed), A, b, **common)
