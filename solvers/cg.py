"""Conjugate gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from .method import Breakdown, Method, State, Traffic
from .run import solve_with
from .solution import Solution
from .spectrum import SpectralEvidence
from .stopping import Options
from .system import LinearSystem

__all__ = ["CG", "cg"]


@dataclass
class CGState(State):
    """Iterate x, residual r, preconditioned residual z, direction p, q = A p, and rho = r^H z."""

    r: Any = None
    z: Any = None
    p: Any = None
    rho: float = 0.0
    alphas: list[float] = field(default_factory=list)
    betas: list[float] = field(default_factory=list)
    longest: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))


@dataclass(frozen=True)
class CG(Method):
    """The method of conjugate gradients; ``flexible`` allows a preconditioner that changes between steps."""

    flexible: bool = False

    name: ClassVar[str] = "cg"
    title: ClassVar[str] = "Conjugate gradients"
    traffic: ClassVar[Traffic] = Traffic(vectors=4, passes=11, reductions=2, matvecs=1, compiled_passes=11)
    needs_hermitian: ClassVar[bool] = True

    def start(self, system: LinearSystem) -> CGState:
        x, r, norm = system.initial()
        state = CGState(x=x, work=system.vector(), residual_norm=norm, r=r)
        self._begin(system, state)
        return state

    def restart(self, system: LinearSystem, state: CGState) -> None:
        state.r = system.backend.assign(state.work, state.r)
        state.residual_norm = system.backend.norm(state.r)
        state.longest = max(state.longest, (state.alphas, state.betas), key=lambda pair: len(pair[0]))
        state.alphas, state.betas = [], []
        self._begin(system, state)

    def _begin(self, system: LinearSystem, state: CGState) -> None:
        """The first direction is the (preconditioned) residual."""
        backend = system.backend
        if system.preconditioner is not None and state.z is None:
            state.z = system.vector()
        state.z = system.precondition(state.r, state.z)
        state.p = backend.copy(state.z) if state.p is None else backend.assign(state.z, state.p)
        state.rho = self._rho(system, state)

    def step(self, system: LinearSystem, state: CGState) -> None:
        backend, s = system.backend, state
        s.work, curvature = system.matvec_dot(s.p, s.work)
        if not curvature > 0:
            raise _no_curvature(system, s, curvature)
        alpha = s.rho / curvature
        s.x, s.r, s.residual_norm = backend.descend(alpha, s.p, s.work, s.x, s.r)
        s.z = system.precondition(s.r, s.z)
        before, s.rho = s.rho, self._rho(system, s)
        # Polak-Ribiere: (z, r - r_before) = -alpha (z, q), which spares keeping the residual before.
        beta = -alpha * backend.dot(s.z, s.work).real / before if self.flexible else s.rho / before
        s.p = backend.axpby(1.0, s.z, beta, s.p)
        s.alphas.append(alpha)
        s.betas.append(beta)

    def _rho(self, system: LinearSystem, state: CGState) -> float:
        if system.preconditioner is None:
            return float(state.residual_norm or 0.0) ** 2
        rho = system.backend.dot(state.r, state.z).real
        if not rho > 0 and state.residual_norm:
            raise Breakdown(
                f"M is not positive definite: r^H M r = {rho:.2e} at iteration {len(state.alphas)}, but conjugate "
                "gradients need a Hermitian positive definite preconditioner. Use another M, or none."
                if math.isfinite(rho)
                else "M returned NaN or infinity; check the preconditioner."
            )
        return rho

    def evidence(self, state: CGState) -> SpectralEvidence | None:
        alphas, betas = max(state.longest, (state.alphas, state.betas), key=lambda pair: len(pair[0]))
        return None if self.flexible else SpectralEvidence(alphas, betas)


def _no_curvature(system: LinearSystem, state: CGState, curvature: float) -> Breakdown:
    """Why p^H A p is not positive: NaN, a singular A (up to rounding), or an indefinite one."""
    if not math.isfinite(curvature):
        return Breakdown("A product with A was not finite: the operator returned NaN or infinity.")
    iteration = len(state.alphas)
    norm = system.facts.row_norm if system.facts is not None else 1 / min(state.alphas, default=math.inf)
    # Where A is semidefinite, p^H A p = 0 means A p = 0: ||A p||^2 <= ||A|| p^H A p.
    rounding = 4 * math.sqrt(system.n * system.precision.unit_roundoff)
    if system.backend.norm(state.work) <= rounding * norm * system.backend.norm(state.p):
        return Breakdown(
            f"A is singular as far as rounding lets see: p^H A p vanishes at iteration {iteration}, so b has a part "
            "that A cannot reach. Regularise, remove that part from b, or solve the least-squares problem."
        )
    found = f"A is not positive definite: p^H A p = {curvature:.2e} at iteration {iteration}"
    if system.facts is not None and float(system.operator.diagonal().real.max()) < 0:
        return Breakdown(f"{found}, and its diagonal is negative. If A is negative definite, solve (-A) x = -b.")
    return Breakdown(
        f"{found}, though A p is not zero: A is indefinite. Conjugate gradients need a positive definite matrix; use a "
        "method made for indefinite ones, such as MINRES."
    )


def cg(
    A: Any,
    b: Any,
    *,
    x0: Any = None,
    M: Any = None,
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    flexible: bool = False,
    callback: Any = None,
    progress: bool = False,
    time_limit: float | None = None,
    backend: Any = None,
) -> Solution:
    r"""Solve A x = b, A Hermitian positive definite, by conjugate gradients.

    The error in the A-norm is smallest over the Krylov space; it falls at least like
    :math:`2((\sqrt\kappa-1)/(\sqrt\kappa+1))^k`.

    Parameters
    ----------
    A : array_like, sparse matrix, LinearOperator, Operator or callable, (n, n) or a batch (..., n, n)
        Hermitian positive definite. A callable has ``shape`` and ``dtype``.
    b : array_like, (n,), (n, 1), or for several systems (..., n) or (..., n, k) as in ``torch.linalg.solve``
        In any units.
    x0 : array_like like b, optional
        First guess.
    M : preconditioner, optional
        Approximates the inverse of A; Hermitian positive definite. See ``rv.precondition``.
    rtol, atol : float
        Stop when the true residual satisfies ||b - A x|| <= max(rtol ||b||, atol); atol in the units of b.
    maxiter : int, optional
        By default 10 n, and at least 1000.
    flexible : bool
        M may change from one application to the next (Polak-Ribiere beta; one more reduction).
    callback : callable, optional
        Called with a ``Progress`` after every iteration; a true result stops the solve.
    progress : bool
        Show a live line in the terminal.
    time_limit : float, optional
        Seconds.
    backend : str, optional
        "numpy", "numba" (the default for NumPy arrays), "torch" or "cupy".

    Returns
    -------
    Solution

    Raises
    ------
    InputError
        For shapes that do not fit, NaN or infinite entries, a tolerance out of range.
    NotHermitianError
        Where the entries show that A is not Hermitian.
    BackendError
        For arrays of different libraries.

    Warns
    -----
    ConvergenceWarning
        When the tolerance is not met; the message says why and what to do.

    Notes
    -----
    Per iteration: 1 matvec, 2 reductions, 11 vector passes; 4 vectors kept, and one more with a preconditioner.

    References
    ----------
    Hestenes & Stiefel (1952), "Methods of conjugate gradients for solving linear systems", section 3; Notay (2000),
    "Flexible conjugate gradients", for ``flexible``.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> solution = rv.cg(np.array([[4.0, 1.0], [1.0, 3.0]]), np.array([1.0, 2.0]), rtol=1e-12)
    >>> solution.converged, solution.iterations
    (True, 2)
    >>> np.allclose(solution.x, [1 / 11, 7 / 11])
    True
    """
    options = Options(rtol, atol, maxiter, callback, progress, time_limit)
    return solve_with(CG(flexible), A, b, x0=x0, M=M, options=options, backend=backend)
