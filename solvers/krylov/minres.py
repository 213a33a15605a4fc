"""The minimal residual method for Hermitian systems, definite or not, singular or not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Unpack

import numpy as np

from ..driver.method import Breakdown, State, Traffic
from ..driver.problem import Vector
from ..driver.solution import Solution
from ..driver.status import Cause, Status
from ..linear.call import Preconditioned, solver
from ..linear.method import Candidate, LinearMethod
from ..linear.run import solve_with
from ..linear.system import LinearSystem
from ..spectra.ritz import SpectralEvidence, Tridiagonal

__all__ = ["MINRES", "minres"]

KERNEL = 4  # ||A r|| gets down to less than so many sqrt(u) ||A|| ||r|| where r tends to the kernel of A


@dataclass(kw_only=True)
class MINRESState(State):
    """Iterate x, the last two Lanczos vectors v and directions w, and the last two rotations.

    Attributes
    ----------
    v, v_before : vector
        Of length gamma, in the norm of M.
    z, z_before : vector or None
        M v.
    w, w_before : vector
    r : vector or None
        With a preconditioner the residual, by recurrence: what is carried otherwise is its norm in M.
    gamma, gamma_before : float
    c, c_before, s, s_before : float
    eta : float
        The last entry of the rotated right-hand side: the residual norm, but for its sign.
    size : float
        ||A|| (||A M||) from below: the largest row norm of the Lanczos matrix, and of A itself where it is known.
    looked : float
        ||A r|| of ||A|| ||r|| when r was last looked for in the kernel.
    diagonal, off : list of float
        That matrix, since the recurrence was begun anew.
    longest : (list of float, list of float)
        The most of it that there was at a time before.
    steps_before : int
        Steps before those.
    perturbation, largest : float
        As in ``SpectralEvidence``.
    """

    v: Vector
    v_before: Vector
    w: Vector
    w_before: Vector
    z: Vector = None
    z_before: Vector = None
    r: Vector = None
    gamma: float = 0.0
    gamma_before: float = 1.0
    c: float = 1.0
    c_before: float = 1.0
    s: float = 0.0
    s_before: float = 0.0
    eta: float = 0.0
    size: float = 0.0
    looked: float = math.inf
    begun: bool = False
    steps_before: int = 0
    perturbation: float = 0.0
    largest: float = math.inf
    diagonal: list[float] = field(default_factory=list)
    off: list[float] = field(default_factory=list)
    longest: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))


@dataclass(frozen=True)
class MINRES(LinearMethod[MINRESState]):
    """The method of minimal residuals."""

    name: ClassVar[str] = "minres"
    title: ClassVar[str] = "MINRES"
    purpose: ClassVar[str] = "Hermitian A, indefinite or singular"
    traffic: ClassVar[Traffic] = Traffic(vectors=6, passes=14, reductions=2, matvecs=1, compiled_passes=14)
    needs_hermitian: ClassVar[bool] = True
    monotone: ClassVar[bool] = True

    @classmethod
    def candidates(cls, system: LinearSystem) -> Iterator[Candidate]:
        if system.looks_hermitian:
            looks = "is" if system.facts is not None else "looks"
            yield Candidate(1, cls(), f"A {looks} Hermitian, and need not be definite")

    def start(self, system: LinearSystem) -> MINRESState:
        x, r, norm = system.initial()
        v_before, w, w_before = (system.vector() for _ in range(3))
        state = MINRESState(
            x=x, work=system.unset(), residual_norm=norm, v=r, v_before=v_before, w=w, w_before=w_before
        )
        if system.preconditioner is None and system.facts is not None:
            state.largest = 1.01 * system.facts.row_sum
        if system.emulated is not None:
            state.perturbation = system.emulated.ritz_perturbation
        return state

    def renew(self, system: LinearSystem, state: MINRESState) -> None:
        s, backend = state, system.backend
        s.v = backend.assign(s.work, s.v)
        s.residual_norm = backend.norm(s.v)
        s.longest = max(s.longest, (s.diagonal, s.off), key=lambda pair: len(pair[0]))
        s.steps_before += len(s.diagonal)
        s.diagonal, s.off = [], []
        s.begun = False

    def begin(self, system: LinearSystem, state: MINRESState) -> None:
        """The first Lanczos vector is the residual. Left to the first step, since M may break down."""
        s, backend = state, system.backend
        s.begun = True
        for name in ("v_before", "w", "w_before"):
            vector = getattr(s, name)
            setattr(s, name, backend.axpby(0.0, vector, 0.0, vector) if s.steps_before else vector)
        if system.preconditioner is None:
            s.gamma = float(s.residual_norm or 0.0)
        else:
            if s.z is None:
                s.z, s.z_before = system.vector(), system.vector()
            s.r = backend.copy(s.v) if s.r is None else backend.assign(s.v, s.r)
            s.z = system.precondition(s.v, s.z)
            s.gamma = self._length(system, s)
            if s.gamma == 0 and s.residual_norm:
                raise _not_definite(0.0, s)
        s.gamma_before, s.eta, s.size, s.looked = 1.0, s.gamma, 0.0, math.inf
        if system.preconditioner is None:
            s.size = system.matrix_norm
        s.c, s.c_before, s.s, s.s_before = 1.0, 1.0, 0.0, 0.0

    def step(self, system: LinearSystem, state: MINRESState) -> None:
        backend, s = system.backend, state
        if not s.begun:
            self.begin(system, s)
        preconditioned = system.preconditioner is not None
        gamma, delta = s.gamma, self._lanczos(system, s)
        if preconditioned:
            s.z, s.z_before = system.precondition(s.v, s.z_before), s.z
        after = self._length(system, s)
        # The new column of the tridiagonal matrix, rotated by the last two rotations, and a new rotation.
        pivot = s.c * delta - s.c_before * s.s * gamma
        top = math.hypot(pivot, after)
        beside, above = s.s * delta + s.c_before * s.c * gamma, s.s_before * gamma
        s.size = max(s.size, math.hypot(gamma if s.diagonal else 0.0, delta, after))
        share = math.hypot(pivot, s.c * after) / s.size if s.size > 0 else 0.0  # ||A r|| of ||A|| ||r||
        if share <= min(KERNEL * math.sqrt(system.unit_roundoff), 0.5 * s.looked):
            s.looked = share
            self._look_into_kernel(system, s)
        if top == 0:
            raise Breakdown(
                f"A is singular as far as rounding lets see: the Krylov space cannot be enlarged after "
                f"{s.steps_before + len(s.diagonal)} iterations, and no solution lies in it.",
                Cause.SINGULAR,
            )
        s.w_before = backend.axpbypcz(
            1 / gamma / top,
            s.z_before if preconditioned else s.v_before,
            -beside / top,
            s.w,
            -above / top,
            s.w_before,
        )
        s.w, s.w_before = s.w_before, s.w
        s.c, s.c_before, s.s, s.s_before = pivot / top, s.c, after / top, s.s
        s.x = backend.axpy(s.c * s.eta, s.w, s.x)
        s.eta *= -s.s
        s.gamma, s.gamma_before = after, gamma
        s.diagonal.append(delta)
        s.off.append(after)
        s.residual_norm = abs(s.eta)
        if preconditioned:
            s.r = backend.axpby(s.eta * s.c / after if after else 0.0, s.v, s.s**2, s.r)
            s.residual_norm = backend.norm(s.r)

    def _lanczos(self, system: LinearSystem, state: MINRESState) -> float:
        """One product, orthogonal to the last two vectors, becomes v; the entry of the diagonal."""
        s, gamma = state, state.gamma
        s.work, curvature = system.matvec_dot(s.v if system.preconditioner is None else s.z, s.work)
        delta = curvature / gamma / gamma
        s.v_before = system.backend.axpbypcz(
            1 / gamma, s.work, -delta / gamma, s.v, -gamma / s.gamma_before, s.v_before
        )
        s.v, s.v_before = s.v_before, s.v
        return delta

    def _length(self, system: LinearSystem, state: MINRESState) -> float:
        """sqrt(v^H M v)."""
        if system.preconditioner is None:
            return system.backend.norm(state.v)
        square = system.backend.dot(state.v, state.z).real
        if not math.isfinite(square):
            raise system.range_left("M returned NaN or infinity; check the preconditioner.")
        if square < 0:
            raise _not_definite(square, state)
        return math.sqrt(square)

    def _look_into_kernel(self, system: LinearSystem, state: MINRESState) -> None:
        """Where (M) r lies in the kernel of A, x is a least-squares solution: make it the shortest one, and say so.

        An error of r in the range of A is of first order in A r, and of second order in r^H A r, which tells a kernel
        from an eigenvalue that is merely small. x lies in a Krylov space, which has one direction in the kernel, that
        of (M) r; what x has of it is taken away (Liu, Milzarek & Roosta 2023).
        """
        s, backend, u = state, system.backend, system.unit_roundoff
        s.work, norm = system.certify(s.x, s.work)
        kernel, size = backend.copy(s.work), s.size
        if system.preconditioner is not None:
            kernel = backend.copy(system.precondition(kernel, system.vector()))
            s.work = system.matvec(s.z_before, s.work)
            product, length = backend.norms(s.work, s.z_before)
            size = max(system.matrix_norm, product / length)
        s.work, curvature = system.matvec_dot(kernel, s.work)
        product, length = backend.norms(s.work, kernel)
        vanishes = product <= 2 * KERNEL * math.sqrt(u) * size * length
        if not (norm > s.target and vanishes and abs(curvature) <= (2 * KERNEL) ** 2 * u * size * length**2):
            return
        along = backend.dot(kernel, s.x) / length**2
        s.x = backend.axpy(-along, kernel, s.x)
        raise _inconsistent(system, norm / system.reference, product / (size * length) if product else 0.0)

    def evidence(self, state: MINRESState) -> SpectralEvidence | None:
        diagonal, off = max(state.longest, (state.diagonal, state.off), key=lambda pair: len(pair[0]))
        if not diagonal:
            return None
        matrix = Tridiagonal(np.array(diagonal), np.array(off))
        return SpectralEvidence(matrix=matrix, perturbation=state.perturbation, largest=state.largest)


def _not_definite(square: float, state: MINRESState) -> Breakdown:
    return Breakdown(
        f"M is not positive definite: v^H M v = {square:.2e} at iteration {state.steps_before + len(state.diagonal)}, "
        "but MINRES needs a Hermitian positive definite preconditioner, whatever A is. Use another M, or none.",
        Cause.PRECONDITIONER,
    )


def _inconsistent(system: LinearSystem, relative: float, share: float) -> Breakdown:
    """A is singular, and so much of b lies in its kernel; ||A r|| is that share of ||A|| ||r||."""
    if system.emulated is not None:
        return Breakdown(
            f"A is singular as far as {system.precision_name} lets see: the residual stands still at {relative:.2e} of "
            "||b||. Take a wider format, or rv.refine.",
            Cause.DIGITS,
        )
    least = "the least-squares solution" if system.preconditioner is None else "that of least r^H M r"
    return Breakdown(
        f"A is singular, and b has a part that A cannot reach, {relative:.2e} of ||b||, so no solution exists. x is "
        f"{least} of smallest norm, to about {math.sqrt(system.unit_roundoff):.0e}: ||A r|| is {share:.1e} of "
        "||A|| ||r||.",
        Cause.INCONSISTENT,
        Status.INFEASIBLE,
    )


@solver
def minres(A: Any, b: Any, **common: Unpack[Preconditioned]) -> Solution[Any]:
    """Solve A x = b, A Hermitian, by the method of minimal residuals.

    A may be indefinite, and singular. Of all vectors in x0 + K, K the Krylov space, the iterate has the smallest
    residual. Of a singular system that has solutions the shortest one is found (from x0 = 0); of one that has none, the
    shortest of those with the smallest residual comes back, with the status INFEASIBLE.

    Parameters
    ----------
    A : array_like, sparse matrix, LinearOperator, Operator or callable, (n, n) or a batch (..., n, n)
        Hermitian.
    b : array_like, (n,), (n, 1), or for several systems (..., n) or (..., n, k)
    M : preconditioner, optional
        Approximates the inverse of a definite matrix like A; Hermitian positive definite, also where A is not. What is
        minimised is then r^H M r.
    x0, rtol, atol, maxiter, callback, progress, time_limit, backend, precision, errors :
        As in ``resolvent.cg``.

    Returns
    -------
    Solution

    Raises
    ------
    InputError, NotHermitianError, BackendError
        As in ``resolvent.cg``.

    Warns
    -----
    ConvergenceWarning
        When the tolerance is not met; the message says why and what to do.

    Notes
    -----
    Per iteration: 1 matvec, 2 reductions, 14 vector passes; 6 vectors kept, and three more with a preconditioner.

    References
    ----------
    Paige & Saunders (1975), "Solution of sparse indefinite systems of linear equations", section 6; Elman, Silvester &
    Wathen (2014), "Finite elements and fast iterative solvers", algorithm 4.1, for the form that is used here; Choi,
    Paige & Saunders (2011), "MINRES-QLP: a Krylov subspace method for indefinite or singular symmetric systems", for
    ||A r||; Liu, Milzarek & Roosta (2023), "Obtaining pseudo-inverse solutions with MINRES", for the shortest solution.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> solution = rv.minres(np.array([[1.0, 2.0], [2.0, 1.0]]), np.array([1.0, 2.0]), rtol=1e-12)
    >>> solution.converged, solution.iterations
    (True, 2)
    >>> np.allclose(solution.x, [1.0, 0.0])
    True
    """
    return solve_with(MINRES(), A, b, **common)
