"""The Lanczos process: the tridiagonal matrix of A on the Krylov space of a start vector."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..driver.problem import Vector
from ..driver.status import Breakdown, Cause
from .ritz import RitzValues, Tridiagonal, ritz_values

__all__ = ["Lanczos", "estimate_spectrum", "positive_spectrum"]


class Lanczos:
    """The process on A, or on M A in the inner product of M^-1.

    Each step adds a row to T_k: with v = r / beta and z = M v,

        alpha = z^H A z,    r <- A z - alpha v - beta v_before,    beta^2 = r^H M r.

    Computed in the carrier where a precision is emulated: what is learnt here is not worth losing to rounding.

    Parameters
    ----------
    system : LinearSystem
        Hermitian, or of unknown symmetry.
    start : vector
        Overwritten.

    Attributes
    ----------
    diagonal, off : list of float
        alpha_1, ..., alpha_k and beta_1, ..., beta_k.
    pivot : float
        The last one of the elimination of T_k, positive as long as T_k is positive definite.
    residual : float
        ||r_k|| / ||r_0|| of conjugate gradients with this start, the product of all beta_j over their pivots.

    Raises
    ------
    Breakdown
        Where a product was not finite, or M is not positive definite.

    Notes
    -----
    Cost of a step: 1 matvec, 2 reductions, 11 vector passes; 4 vectors kept, 2 more with a preconditioner. Without
    orthogonalisation: Ritz values appear again after convergence, and none is wrong by more than rounding.

    References
    ----------
    Lanczos (1950); Saad (2011), "Numerical methods for large eigenvalue problems", algorithm 6.5; Paige (1971) for
    rounding.
    """

    def __init__(self, system: Any, start: Vector) -> None:
        self.system, self.backend = system, system.backend.exact
        self.diagonal: list[float] = []
        self.off: list[float] = []
        self.pivot, self.residual = math.inf, 1.0
        self._r, self._z = start, None
        self._v = self._before = self._q = None
        self._beta = self._precondition()

    def _precondition(self) -> float:
        """z = M r, and the norm of r in the inner product of M."""
        if self.system.preconditioner is None:
            self._z = self._r
            return self.backend.norm(self._r)
        self._z = self.system.precondition(self._r, self.system.vector())
        square = self.backend.dot(self._r, self._z).real
        if not math.isfinite(square):
            raise Breakdown("A product with A or M was NaN or infinity.", Cause.NOT_FINITE)
        return math.sqrt(square) if square > 0 else 0.0

    def step(self) -> None:
        """One more row of T."""
        system, backend = self.system, self.backend
        preconditioned = system.preconditioner is not None
        v = backend.axpby(0.0, self._r, 1 / self._beta, self._r)
        z = backend.axpby(0.0, self._z, 1 / self._beta, self._z) if preconditioned else v
        q = system.vector() if self._q is None else self._q
        system.matvecs += 1
        q, alpha = backend.matvec_dot(system.operator, z, q)
        q = backend.axpy(-alpha, v, q)
        if self._before is not None:
            q = backend.axpy(-self._beta, self._before, q)
        before, self._before = self._before, v
        self._r, self._q = q, before
        previous, self._beta = self._beta, self._precondition()
        if not (math.isfinite(alpha) and math.isfinite(self._beta)):
            raise Breakdown("A product with A was not finite: the operator returned NaN or infinity.", Cause.NOT_FINITE)
        self.pivot = alpha - (previous**2 / self.pivot if self.diagonal else 0.0)
        self.residual *= self._beta / abs(self.pivot) if self.pivot else math.inf
        self.diagonal.append(alpha)
        self.off.append(self._beta)

    @property
    def exhausted(self) -> bool:
        """The Krylov space has no further dimension that rounding lets see."""
        if not self.diagonal:
            return not self._beta > 0
        size = max(map(abs, self.diagonal)) + max(self.off[:-1], default=0.0)
        return self.off[-1] <= self.system.precision.unit_roundoff * size

    @property
    def matrix(self) -> Tridiagonal:
        """T_k."""
        return Tridiagonal(np.array(self.diagonal), np.array(self.off))


def generator(system: Any, seed: int) -> np.random.Generator:
    """Of random start vectors; each process has its own, or their parts would be alike."""
    rank = system.backend.rank
    return np.random.default_rng([seed, rank] if rank else seed)


def estimate_spectrum(system: Any, steps: int, seed: int = 0) -> tuple[RitzValues | None, Cause | None]:
    """Ritz values of the Lanczos process on A (or M A) from a random start.

    Parameters
    ----------
    system : LinearSystem
    steps : int
        At most this many; stops when the process ends, or the time limit passes.
    seed : int
        Of the start vector, so that the same system gives the same bits.

    Returns
    -------
    RitzValues or None, and what is wrong, if anything: NOT_FINITE, or INDEFINITE as soon as T_k shows it.
    """
    backend = system.backend.exact
    start = generator(system, seed).standard_normal(system.local)
    try:
        process = Lanczos(system, backend.from_numpy(start, system.dtype))
        while len(process.diagonal) < min(steps, system.n) and not process.exhausted:
            before = process.residual
            process.step()
            if not process.pivot > 0:
                # Where conjugate gradients would have converged, a pivot is what rounding left.
                kept = process.matrix.first(len(process.diagonal) - 1)
                return ritz_values(kept), Cause.INDEFINITE if before > 1e-10 else None
            if system.out_of_time:
                break
    except Breakdown as stop:
        return None, stop.cause
    return ritz_values(process.matrix), None


def positive_spectrum(system: Any, steps: int, wanted: str, advice: str) -> RitzValues:
    """``estimate_spectrum`` for methods that need a positive definite A: breaks down in words where it is not."""
    ritz, wrong = estimate_spectrum(system, steps)
    if wrong is Cause.NOT_FINITE:
        raise Breakdown(f"No {wanted} could be found: a product with A or M was NaN or infinity.", Cause.NOT_FINITE)
    if ritz is None or wrong is not None or ritz.smallest <= 0:
        raise Breakdown(
            f"No {wanted} could be found: {system.matrix_name} is not positive definite as far as {steps} Lanczos "
            f"steps show. {advice}",
            Cause.INDEFINITE,
        )
    return ritz
