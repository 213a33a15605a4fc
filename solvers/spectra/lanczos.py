"""The Lanczos process: the tridiagonal matrix of A on the Krylov space of a start vector."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..driver.problem import Vector
from ..driver.status import Breakdown, Cause
from .ritz import RitzValues, Tridiagonal, ritz_values

if TYPE_CHECKING:
    from ..linear.method import LinearMethod
    from ..linear.system import LinearSystem

__all__ = ["Lanczos", "estimate_spectrum", "positive_spectrum"]

FAR = 20  # the exponent at which a power of two is taken out of a vector


class Lanczos:
    """The process on A, or on M A in the inner product of M^-1.

    Vectors are not normalised: with r_0 the start and s_k = r_k^H M r_k, each step is

        alpha_k = r_k^H M A M r_k / s_k,    r_{k+1} = A M r_k - alpha_k r_k - (s_k / s_{k-1}) r_{k-1},

    and T has the entries alpha_k and beta_k = sqrt(s_{k+1} / s_k). Powers of two are taken out of r_k where it would
    leave the range, so that the bits of T do not depend on the units of A and M.

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
        Where a product was not finite.

    Notes
    -----
    Cost of a step: 1 matvec, 2 reductions, 10 vector passes; 3 vectors kept, one more with a preconditioner. Without
    orthogonalisation: Ritz values appear again after convergence, and none is wrong by more than rounding.

    References
    ----------
    Lanczos (1950); Saad (2011), "Numerical methods for large eigenvalue problems", algorithm 6.5; Paige (1971) for
    rounding.
    """

    def __init__(self, system: LinearSystem, start: Vector) -> None:
        self.system, self.backend = system, system.backend.exact
        self.diagonal: list[float] = []
        self.off: list[float] = []
        self.pivot, self.residual = math.inf, 1.0
        self._r, self._before = start, system.vector()
        self._z = None if system.preconditioner is None else system.vector()
        self._q = system.vector()
        self._square = self._measure()
        self._ratio = 0.0  # s_k / s_{k-1}, in the units of the two vectors

    def _measure(self) -> float:
        """z = M r, and r^H z."""
        if self._z is None:
            return self.backend.dot(self._r, self._r).real
        self._z = self.system.precondition(self._r, self._z)
        return self.backend.dot(self._r, self._z).real

    def step(self) -> None:
        """One more row of T."""
        system, backend = self.system, self.backend
        z = self._r if self._z is None else self._z
        system.matvecs += 1
        q, curvature = backend.matvec_dot(system.operator, z, self._q)
        square = self._square
        alpha = curvature / square if square else math.nan
        q = backend.axpy(-alpha, self._r, q)
        if self.diagonal:
            q = backend.axpy(-self._ratio, self._before, q)
        self._r, self._before, self._q = q, self._r, self._before
        self._square = self._measure()
        if not (math.isfinite(alpha) and math.isfinite(self._square)):
            raise Breakdown("A product with A or M was NaN or infinite.", Cause.NOT_FINITE)
        beta = math.sqrt(max(self._square / square, 0.0))
        coupling = self.off[-1] * self.off[-1] / self.pivot if self.diagonal else 0.0
        self.pivot = alpha - coupling
        self.residual *= beta / abs(self.pivot) if self.pivot else math.inf
        self.diagonal.append(alpha)
        self.off.append(beta)
        self._ratio = self._square / square
        self._shorten()

    def _shorten(self) -> None:
        """Take a power of two out of r, and of M r, where they have grown or shrunk a lot."""
        exponent = math.frexp(self._square)[1] // 2
        if abs(exponent) <= FAR or not self._square > 0:
            return
        self._r = self.backend.ldexp(self._r, -exponent)
        if self._z is not None:
            self._z = self.backend.ldexp(self._z, -exponent)
        self._square = math.ldexp(self._square, -2 * exponent)
        self._ratio = math.ldexp(self._ratio, -exponent)

    @property
    def exhausted(self) -> bool:
        """The Krylov space has no further dimension that rounding lets see."""
        if not self.diagonal:
            return not self._square > 0
        size = max(map(abs, self.diagonal)) + max(self.off[:-1], default=0.0)
        return self.off[-1] <= self.system.precision.unit_roundoff * size

    @property
    def matrix(self) -> Tridiagonal:
        """T_k."""
        return Tridiagonal(np.array(self.diagonal), np.array(self.off))


def generator(system: LinearSystem, seed: int) -> np.random.Generator:
    """Of random start vectors; each process has its own, or their parts would be alike."""
    rank = system.backend.rank
    return np.random.default_rng([seed, rank] if rank else seed)


def estimate_spectrum(system: LinearSystem, steps: int, seed: int = 0) -> tuple[RitzValues | None, Cause | None]:
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
        converged = 4 * system.precision.unit_roundoff  # for conjugate gradients; beyond, T holds rounding
        while len(process.diagonal) < min(steps, system.n) and process.residual > converged and not process.exhausted:
            before = process.residual
            process.step()
            if not process.pivot > 0:
                # Where conjugate gradients would have converged, a pivot is what rounding left.
                return ritz_values(process.matrix), Cause.INDEFINITE if before > 1e-10 else None
            if system.out_of_time:
                break
    except Breakdown as stop:
        return None, stop.cause
    return ritz_values(process.matrix), None


def positive_spectrum(system: LinearSystem, method: LinearMethod[Any], wanted: str, advice: str) -> tuple[float, float]:
    """The ends of the spectrum that a method which needs a positive definite A reckons with, by its own search.

    Breaks down in words where A is not.
    """
    assert method.search is not None
    steps = method.search.steps
    ritz, wrong = estimate_spectrum(system, steps)
    if wrong is Cause.NOT_FINITE:
        raise Breakdown(f"No {wanted} could be found: a product with A or M was NaN or infinity.", Cause.NOT_FINITE)
    facts = None if system.preconditioner is not None else system.facts
    row_sum = math.inf if facts is None else facts.row_sum
    ends = None if ritz is None or wrong is not None else method.ends(ritz, row_sum, system.precision.unit_roundoff)
    if ends is None:
        raise Breakdown(
            f"No {wanted} could be found: {system.matrix_name} is not positive definite as far as {steps} Lanczos "
            f"steps show. {advice}",
            Cause.INDEFINITE,
        )
    return ends
