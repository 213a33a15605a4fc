"""What Lanczos coefficients tell of a spectrum: extreme eigenvalues with error bars, from inside."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..driver.status import Breakdown

if TYPE_CHECKING:
    from ..linear.system import LinearSystem

__all__ = [
    "RitzValues",
    "SpectralEvidence",
    "energy_errors",
    "estimate_spectrum",
    "positive_spectrum",
    "ritz_values",
]


@dataclass(frozen=True)
class RitzValues:
    """The extreme eigenvalues of the Lanczos matrix T_k.

    Attributes
    ----------
    smallest, largest : float
        They lie inside the spectrum: smallest >= lambda_min, largest <= lambda_max, up to roundoff.
    smallest_error, largest_error : float
        Residual of the Ritz pair: an eigenvalue of A lies within this distance (Paige 1971).
    """

    smallest: float
    largest: float
    smallest_error: float
    largest_error: float

    @property
    def settled(self) -> float | None:
        """The smallest less its error bar; None while that is more than a tenth of it."""
        return None if self.smallest_error > 0.1 * self.smallest else self.smallest - self.smallest_error


@dataclass(frozen=True)
class SpectralEvidence:
    """What a method learnt of the spectrum on its way.

    Attributes
    ----------
    alphas, betas : sequence of float
        Step lengths and ratios of conjugate gradients; empty where there were none.
    interval : (float, float) or None
        The interval a Chebyshev method worked with and whose bound held.
    given : bool
        The interval was the caller's.
    slack : float
        How far, relative to ||A||, the coefficients may be from those of a Lanczos process: Ritz values leave the
        spectrum by no more.
    largest : float
        What no eigenvalue can exceed, in the units of the coefficients.
    complete : bool
        The coefficients are those of the iteration itself, of every step from the first on.
    decay : float
        Where every eigenvalue lies in the interval, ||r_k|| <= ||r_0|| / cosh(decay k) for each iteration; 0 where that
        is not known.
    """

    alphas: Any = ()
    betas: Any = ()
    interval: tuple[float, float] | None = None
    given: bool = False
    slack: float = 0.0
    largest: float = math.inf
    complete: bool = False
    decay: float = 0.0


def ritz_values(alphas: Any, betas: Any, limit: float = math.inf) -> RitzValues | None:
    """Extreme Ritz values out of the coefficients of conjugate gradients.

    T_11 = 1/alpha_1, T_jj = 1/alpha_j + beta_{j-1}/alpha_{j-1}, T_{j,j+1} = sqrt(beta_j)/alpha_j (Saad 2003, 6.7.3).
    Cost O(k log k) for k coefficients. With a preconditioner they belong to M A.

    Parameters
    ----------
    alphas, betas : array_like of shape (k,)
    limit : float
        What no eigenvalue can exceed: coefficients from a diagonal entry of T above it on are left out, since rounding
        made them.

    Examples
    --------
    >>> from resolvent.solvers.spectra.spectrum import ritz_values
    >>> ritz_values([0.5], [0.0]).largest
    2.0
    """
    alphas, betas = np.asarray(alphas, dtype=np.float64), np.asarray(betas, dtype=np.float64)
    usable = int(np.argmin(np.append(np.isfinite(alphas) & (alphas > 0) & np.isfinite(betas) & (betas >= 0), False)))
    if usable == 0:
        return None
    unit = math.frexp(alphas[0])[1]
    alphas = np.ldexp(alphas[:usable], -unit)
    betas = betas[:usable]
    diagonal = 1 / alphas
    diagonal[1:] += betas[:-1] / alphas[:-1]
    usable = int(np.argmax(np.append(~(np.ldexp(diagonal, -unit) <= limit), True)))
    if usable == 0:
        return None
    alphas, betas, diagonal = alphas[:usable], betas[:usable], diagonal[:usable]
    off = np.sqrt(betas) / alphas
    if not (np.isfinite(diagonal).all() and np.isfinite(off).all()):
        return None
    if usable == 1:
        low = high = diagonal[0]
        low_error = high_error = off[0]
    else:
        from scipy.linalg import eigh_tridiagonal

        # Only the ends are asked for: bisection and inverse iteration on them, O(k) each.
        ends = [
            eigh_tridiagonal(diagonal, off[:-1], select="i", select_range=(index, index)) for index in (0, usable - 1)
        ]
        (low, high), vectors = (values[0] for values, _ in ends), [vector[-1, 0] for _, vector in ends]
        low_error, high_error = (abs(off[-1] * vector) for vector in vectors)
    scaled = np.ldexp([low, high, low_error, high_error], -unit)
    return RitzValues(*(float(value) for value in scaled))


def energy_errors(alphas: Any, betas: Any, smallest: float, gap: float = 1.0) -> np.ndarray:
    r"""The errors of conjugate gradients in the A-norm, as shares of the first one, from above.

    With :math:`\rho_j = r_j^H M r_j` and step lengths :math:`\alpha_j`,
    :math:`\|x - x_j\|_A^2 = \sum_{i=j}^{k-1} \alpha_i \rho_i + \|x - x_k\|_A^2` (Hestenes & Stiefel 1952, theorem 6:1),
    which rounding leaves alone (Strakos & Tichy 2002, section 10). The last term is at most
    :math:`\rho_k / \lambda_{\min}`; left out, the sum is below the first error.

    Parameters
    ----------
    alphas, betas : array_like of shape (k,)
    smallest : float
        A lower bound of the spectrum of A (of M A), in the units of the coefficients.
    gap : float
        How many times as long as the last carried residual the true one is.

    Returns
    -------
    ndarray of shape (k + 1,)

    Examples
    --------
    >>> from resolvent.solvers.spectra.spectrum import energy_errors
    >>> energy_errors([0.5], [0.0], 2.0)  # A = 2, solved by one step
    array([1., 0.])
    """
    alphas, betas = np.asarray(alphas, dtype=np.float64), np.asarray(betas, dtype=np.float64)
    rho = np.cumprod(np.append(1.0, betas))
    ahead = np.append(np.cumsum((alphas * rho[:-1])[::-1])[::-1], 0.0)
    return np.sqrt((ahead + gap**2 * rho[-1] / smallest) / ahead[0])


def estimate_spectrum(system: LinearSystem, steps: int, seed: int = 0) -> tuple[RitzValues | None, str]:
    """Lanczos on A (or M A) from a random start, by way of conjugate gradients.

    Computed in the carrier where a precision is emulated: parameters of a method are not worth losing to rounding.

    Parameters
    ----------
    system : LinearSystem
    steps : int
        At most this many; stops when the recurrence breaks down or ends, or the time limit passes.
    seed : int
        Of the start vector, so that the same system gives the same bits.

    Returns
    -------
    RitzValues or None, and what broke it ("" for nothing): "indefinite" where p^H A p <= 0 was met.

    Notes
    -----
    Cost: one matvec, 11 passes and 2 reductions a step.
    """
    backend = system.backend.exact
    start = np.random.default_rng(seed).standard_normal(system.n)
    r = backend.from_numpy(start, system.dtype)
    z = system.precondition(r, system.vector())
    p, q, x = backend.copy(z), system.vector(), system.vector()
    rho = backend.dot(r, z).real
    first = rho
    alphas: list[float] = []
    betas: list[float] = []
    for _ in range(min(steps, system.n)):
        system.matvecs += 1
        q, curvature = backend.matvec_dot(system.operator, p, q)
        if not math.isfinite(curvature) or not math.isfinite(rho):
            return None, "not finite"
        if curvature <= 0 or rho <= 0:
            return ritz_values(alphas, betas), "indefinite" if rho > 1e-20 * first else ""
        alpha = rho / curvature
        x, r, *_ = backend.descend(alpha, p, q, x, r)
        z = system.precondition(r, z)
        rho, before = backend.dot(r, z).real, rho
        alphas.append(alpha)
        betas.append(max(rho / before, 0.0))
        if rho <= first * (4 * system.precision.unit_roundoff) ** 2 or system.out_of_time:
            break
        p = backend.axpby(1.0, z, betas[-1], p)
    return ritz_values(alphas, betas), ""


def positive_spectrum(system: LinearSystem, steps: int, wanted: str, advice: str) -> RitzValues:
    """``estimate_spectrum`` for methods that need a positive definite A: breaks down in words where it is not."""
    ritz, broken = estimate_spectrum(system, steps)
    if broken == "not finite":
        raise Breakdown(f"No {wanted} could be found: a product with A or M was NaN or infinity.")
    if ritz is None or broken or ritz.smallest <= 0:
        raise Breakdown(
            f"No {wanted} could be found: {system.matrix_name} is not positive definite as far as {steps} Lanczos "
            f"steps show. {advice}"
        )
    return ritz
