"""The stabilised method of biconjugate gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Unpack

from ...backends.compiled.coefficients import ALONG
from ..driver.method import Breakdown, State, Traffic
from ..driver.problem import Vector
from ..driver.solution import Solution
from ..driver.status import Cause
from ..linear.call import Preconditioned, solver
from ..linear.method import Candidate, LinearMethod
from ..linear.run import solve_with
from ..linear.system import LinearSystem

__all__ = ["BiCGSTAB", "bicgstab"]

ILU0_FROM = 2000  # unknowns, below which a few iterations more cost less than factors


@dataclass(kw_only=True)
class BiCGSTABState(State):
    """Iterate x, residual r, shadow residual, direction p, v = A M p; a step leaves A M r of its half step in ``work``.

    Attributes
    ----------
    rho, alpha, omega : complex
        Shadow^H r, and the two step lengths of the last step; numbers are real for real systems.
    rho_before : complex
        The rho of the step before; 0 where p is the first direction.
    shadow_norm : float
    begun : bool
        The recurrence goes on; otherwise the next step takes the residual for its shadow and for its direction.
    steps, renewals : int
        Steps taken, and how often the recurrence ended on the way and was begun anew.
    Mp, Mr : vector or None
        Preconditioned, or the vectors themselves.
    """

    r: Vector
    p: Vector = None
    v: Vector = None
    shadow: Vector = None
    Mp: Vector = None
    Mr: Vector = None
    rho: complex = 0.0
    rho_before: complex = 0.0
    alpha: complex = 0.0
    omega: complex = 0.0
    shadow_norm: float = 0.0
    begun: bool = False
    steps: int = 0
    renewals: int = 0


@dataclass(frozen=True)
class BiCGSTAB(LinearMethod[BiCGSTABState]):
    """Biconjugate gradients, stabilised by one step of minimal residual each; preconditioned from the right."""

    name: ClassVar[str] = "bicgstab"
    title: ClassVar[str] = "BiCGSTAB"
    purpose: ClassVar[str] = "nonsymmetric A, with few vectors and no restarts"
    traffic: ClassVar[Traffic] = Traffic(vectors=6, passes=22, reductions=3, matvecs=2, compiled_passes=19)

    @classmethod
    def candidates(cls, system: LinearSystem) -> Iterator[Candidate]:
        if system.looks_hermitian:
            return
        bare = system.preconditioner is None and system.on_host and system.truth.kind != "dense"
        if bare and system.n >= ILU0_FROM:
            why = "A is not Hermitian, and preconditioned by incomplete factors with its pattern"
            yield Candidate(1, cls(), why, preconditioner="ilu0")
        if system.preconditioner is None and system.diagonal_preconditions:
            yield Candidate(1, cls(), "A is not Hermitian, and its diagonal varies", preconditioner="jacobi")
        else:
            yield Candidate(1, cls(), "A is not Hermitian")

    def start(self, system: LinearSystem) -> BiCGSTABState:
        x, r, norm = system.initial()
        return BiCGSTABState(x=x, work=system.unset(), residual_norm=norm, r=r)

    def renew(self, system: LinearSystem, state: BiCGSTABState) -> None:
        state.r = system.backend.assign(state.work, state.r)
        state.residual_norm = system.backend.norm(state.r)
        state.begun = False

    def step(self, system: LinearSystem, state: BiCGSTABState) -> None:
        backend, s, u = system.backend, state, system.unit_roundoff
        sigma: complex = 0.0
        if s.begun and s.rho_before != 0:
            beta = (s.rho / s.rho_before) * (s.alpha / s.omega)
            s.p = backend.axpbypcz(1.0, s.r, -beta * s.omega, s.v, beta, s.p)
            sigma, _ = self._product(system, s)
            s.renewals += sigma == 0
        along = False
        if sigma == 0:
            self.begin(system, s)
            sigma, square = self._product(system, s)
            if sigma == 0:
                raise _ended(system, s)
            along = abs(sigma) ** 2 >= (1 - ALONG * u) * abs(s.rho) * square
        s.alpha, s.rho_before = s.rho / sigma, s.rho
        s.r = backend.axpy(-s.alpha, s.v, s.r)
        if along:  # the half step leaves rounding, and the other half would be made of that
            s.x = backend.axpy(s.alpha, s.Mp, s.x)
            s.residual_norm, s.steps, s.begun = backend.norm(s.r), s.steps + 1, False
            s.renewals += s.residual_norm > s.target
            return
        s.Mr = system.precondition(s.r, s.Mr)
        s.work = system.matvec(s.Mr, s.work)
        product, square = backend.dot_and_square(s.r, s.work)
        s.omega = product.conjugate() / square if square != 0 else 0.0
        s.x, s.r, s.rho, norm = backend.bicgstab_update(s.alpha, s.Mp, s.omega, s.Mr, s.work, s.shadow, s.x, s.r)
        s.residual_norm, s.steps = norm, s.steps + 1
        # Of a product below u times both norms rounding has left no digit; ||r|| of the half step by Pythagoras.
        size = math.sqrt(square)
        half = math.hypot(norm, abs(product) / size) if size > 0 else norm
        s.begun = abs(product) > u * size * half and abs(s.rho) > u * s.shadow_norm * norm
        s.renewals += not s.begun and norm > s.target

    def begin(self, system: LinearSystem, state: BiCGSTABState) -> None:
        """The residual is the first direction, and its own shadow: their product is as large as it can be.

        Left to the first step: a compiled loop may do it.
        """
        backend, s = system.backend, state
        s.shadow = backend.copy(s.r) if s.shadow is None else backend.assign(s.r, s.shadow)
        s.p = backend.copy(s.r) if s.p is None else backend.assign(s.r, s.p)
        s.v = system.unset() if s.v is None else s.v
        if system.preconditioner is not None and s.Mp is None:
            s.Mp, s.Mr = system.vector(), system.vector()
        s.shadow_norm = float(s.residual_norm or 0.0)
        s.rho, s.rho_before = s.shadow_norm * s.shadow_norm, 0.0
        s.begun = True

    def _product(self, system: LinearSystem, state: BiCGSTABState) -> tuple[complex, float]:
        """Shadow^H A M p, zero where rounding has left no digit of it, and ||A M p||^2; A M p in v."""
        s = state
        s.Mp = system.precondition(s.p, s.Mp)
        s.v = system.matvec(s.Mp, s.v)
        sigma, square = system.backend.dot_and_square(s.shadow, s.v)
        lost = abs(sigma) <= system.unit_roundoff * s.shadow_norm * math.sqrt(square)
        return 0.0 if lost else sigma, square

    def describe(self, state: BiCGSTABState) -> str:
        if state.renewals == 0:
            return ""
        times = "once" if state.renewals == 1 else f"{state.renewals} times"
        return f"The recurrence ended {times} on the way, and was begun anew from the residual."


def _ended(system: LinearSystem, state: BiCGSTABState) -> Breakdown:
    """Why r^H A M r is zero: A M r is, or it is orthogonal to r."""
    norms = system.backend.norms(state.v, state.Mp)
    if norms[0] <= 4 * system.unit_roundoff * system.matrix_norm * norms[1]:
        return Breakdown(
            f"A is singular as far as rounding lets see: A M r vanishes at iteration {state.steps}, and r does not. "
            "Regularise, or solve the least-squares problem.",
            Cause.SINGULAR,
        )
    return Breakdown(
        f"BiCGSTAB cannot go on: r^H A M r vanishes at iteration {state.steps}, as it does for every r where A is "
        "skew. Use gmres or idrs.",
        Cause.RECURRENCE,
    )


@solver
def bicgstab(A: Any, b: Any, **common: Unpack[Preconditioned]) -> Solution[Any]:
    """Solve A x = b, for any nonsingular A, by the stabilised method of biconjugate gradients.

    Two products an iteration and a fixed number of vectors, whatever the number of iterations. Nothing is minimised:
    the residual may grow on the way, and no bound is known. Where a coefficient of the recurrence vanishes, it is begun
    anew from the residual.

    Parameters
    ----------
    A : array_like, sparse matrix, LinearOperator, Operator or callable, (n, n) or a batch (..., n, n)
    b : array_like, (n,), (n, 1), or for several systems (..., n) or (..., n, k)
    M : preconditioner, optional
        Approximates the inverse of A, and is applied from the right: residuals are those of A x = b.
    x0, rtol, atol, maxiter, callback, progress, time_limit, backend, precision, errors :
        As in ``resolvent.cg``.

    Returns
    -------
    Solution

    Raises
    ------
    InputError, BackendError
        As in ``resolvent.cg``.

    Warns
    -----
    ConvergenceWarning
        When the tolerance is not met; the message says why and what to do.

    Notes
    -----
    Per iteration: 2 matvecs, 3 reductions, 22 vector passes (19 compiled); 6 vectors kept, and two more with a
    preconditioner, which is applied twice.

    References
    ----------
    van der Vorst (1992), "Bi-CGSTAB: a fast and smoothly converging variant of Bi-CG for the solution of nonsymmetric
    linear systems", section 3; Saad (2003), "Iterative methods for sparse linear systems", algorithm 7.7.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> solution = rv.bicgstab(np.array([[4.0, 1.0], [-2.0, 3.0]]), np.array([1.0, 2.0]), rtol=1e-12)
    >>> solution.converged, solution.iterations
    (True, 2)
    >>> np.allclose(solution.x, [1 / 14, 10 / 14])
    True
    """
    return solve_with(BiCGSTAB(), A, b, **common)
