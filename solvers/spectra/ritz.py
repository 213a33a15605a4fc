"""What the matrix of a Krylov process tells of a spectrum: extreme Ritz values with error bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...operators.csr import times_power_of_two as entries_times_power_of_two
from ...precision import times_power_of_two

__all__ = [
    "RitzValues",
    "SpectralEvidence",
    "Tridiagonal",
    "energy_errors",
    "exceeds",
    "extreme_eigenpair",
    "extreme_eigenvalue",
    "ritz_values",
]


@dataclass(frozen=True)
class RitzValues:
    """The extreme eigenvalues of the matrix of a Krylov process.

    Attributes
    ----------
    smallest, largest : float
        Of a Hermitian A they lie inside the spectrum: smallest >= lambda_min, largest <= lambda_max, up to roundoff.
        Of another A they are those of smallest and largest real part.
    smallest_error, largest_error : float
        Residual of the Ritz pair: an eigenvalue of a Hermitian A lies within this distance (Paige 1971).
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
class Tridiagonal:
    """The matrix T_k of a Lanczos process.

    Attributes
    ----------
    diagonal : array of shape (k,)
    off : array of shape (k,)
        Entries beside the diagonal; the last one would couple T_k to the next row, and vanishes when the process ends.
    """

    diagonal: np.ndarray
    off: np.ndarray

    @staticmethod
    def of_conjugate_gradients(alphas: Sequence[float], betas: Sequence[float]) -> Tridiagonal:
        """T_jj = 1/alpha_j + beta_{j-1}/alpha_{j-1}, T_{j,j+1} = sqrt(beta_j)/alpha_j (Saad 2003, section 6.7.3).

        Ends before the first coefficient that is not positive and finite, in units of the first one too.
        """
        # Number by number, since there are few: a call of NumPy's takes as long as several of them.
        diagonal: list[float] = []
        off: list[float] = []
        passed, unit = 0.0, 0
        for alpha, beta in zip(alphas, betas, strict=True):
            if not diagonal:
                # In units in which the first step length is of size one, so that nothing overflows on the way.
                unit = math.frexp(alpha)[1]
            a = times_power_of_two(alpha, -unit)
            if not (0 < a < math.inf and 0 <= beta < math.inf):
                break
            diagonal.append(1 / a + passed)
            off.append(math.sqrt(beta) / a)
            passed = beta / a
        return Tridiagonal(np.ldexp(np.array(diagonal), -unit), np.ldexp(np.array(off), -unit))

    def scaled(self, exponent: int) -> Tridiagonal:
        """That of 2**exponent A."""
        return Tridiagonal(np.ldexp(self.diagonal, exponent), np.ldexp(self.off, exponent))

    def first(self, k: int) -> Tridiagonal:
        """That of the first k steps."""
        return Tridiagonal(self.diagonal[:k], self.off[:k])


class SpectralEvidence:
    """What a method learnt of the spectrum on its way.

    Parameters
    ----------
    alphas, betas : sequence of float
        Step lengths and ratios of conjugate gradients, which stand for their Lanczos matrix.
    matrix : Tridiagonal or array of shape (k + 1, k)
        In their place: the matrix of a Lanczos process, or the Hessenberg matrix of an Arnoldi process.
    interval : (float, float), optional
        The interval a Chebyshev method worked with and whose bound held.
    given : bool
        The interval was the caller's.
    perturbation : float
        How far, relative to ||A||, the matrix may be from that of an exact process: Ritz values leave the spectrum by
        no more.
    largest : float
        What no eigenvalue can exceed, in the units of the matrix.
    complete : bool
        The coefficients are those of the iteration itself, of every step from the first on.
    decay : float
        Where every eigenvalue lies in the interval, ||r_k|| <= ||r_0|| / cosh(decay k) for each iteration; 0 where that
        is not known.
    """

    def __init__(
        self,
        alphas: Sequence[float] = (),
        betas: Sequence[float] = (),
        *,
        matrix: Tridiagonal | np.ndarray | None = None,
        interval: tuple[float, float] | None = None,
        given: bool = False,
        perturbation: float = 0.0,
        largest: float = math.inf,
        complete: bool = False,
        decay: float = 0.0,
    ) -> None:
        self.coefficients, self._matrix = (alphas, betas), matrix
        self.complete, self.decay = complete, decay
        self.interval, self.given, self.perturbation, self.largest = interval, given, perturbation, largest

    def __len__(self) -> int:
        """Steps of the process."""
        if self._matrix is None:
            return len(self.coefficients[0])
        return self._matrix.shape[1] if isinstance(self._matrix, np.ndarray) else len(self._matrix.diagonal)

    @cached_property
    def matrix(self) -> Tridiagonal | np.ndarray:
        """Of the process; computed from the coefficients when it is asked for."""
        if self._matrix is None:
            return Tridiagonal.of_conjugate_gradients(*self.coefficients)
        return self._matrix

    @property
    def hermitian(self) -> bool:
        """Whether it comes from a Lanczos process or an interval: of another A, Ritz values bound nothing."""
        return not isinstance(self._matrix, np.ndarray)

    def scaled(self, exponent: int) -> SpectralEvidence:
        """The same of 2**exponent A."""
        T = self.matrix
        scaled = entries_times_power_of_two(T, exponent) if isinstance(T, np.ndarray) else T.scaled(exponent)
        interval = self.interval
        if interval is not None:
            interval = times_power_of_two(interval[0], exponent), times_power_of_two(interval[1], exponent)
        largest = times_power_of_two(self.largest, exponent)
        return SpectralEvidence(
            matrix=scaled, interval=interval, given=self.given, perturbation=self.perturbation, largest=largest
        )

    @cached_property
    def ritz(self) -> RitzValues | None:
        """Of the matrix, where there is one."""
        return ritz_values(self.matrix, self.largest)


def ritz_values(matrix: Tridiagonal | np.ndarray, limit: float = math.inf) -> RitzValues | None:
    """Extreme Ritz values.

    Parameters
    ----------
    matrix : Tridiagonal, or Hessenberg array of shape (k + 1, k)
        A Lanczos matrix costs O(k), a Hessenberg matrix O(k^3).
    limit : float
        What no eigenvalue can exceed: a Lanczos matrix is used up to the first diagonal entry above it, since rounding
        made that.

    Returns
    -------
    RitzValues, or None for an empty matrix or one that is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.solvers.spectra.ritz import Tridiagonal, ritz_values
    >>> found = ritz_values(Tridiagonal(np.array([2.0, 2.0]), np.array([1.0, 0.0])))
    >>> round(found.smallest, 12), round(found.largest, 12), found.largest_error
    (1.0, 3.0, 0.0)
    """
    if isinstance(matrix, np.ndarray):
        return _of_hessenberg(matrix)
    usable = int(np.argmax(np.append(~(matrix.diagonal <= limit), True)))
    T = matrix.first(usable)
    if usable == 0 or not (np.isfinite(T.diagonal).all() and np.isfinite(T.off).all()):
        return None
    ends = [extreme_eigenpair(T, index) for index in (0, usable - 1)]
    (low, low_last), (high, high_last) = ends
    beta = float(T.off[-1])
    return RitzValues(low, high, abs(beta * low_last), abs(beta * high_last))


def extreme_eigenvalue(T: Tridiagonal, index: int) -> float:
    """The eigenvalue of T_k of this rank, by bisection (LAPACK's stebz). O(k) a step."""
    return _eigenvalue(*_in_range(T), index)[0]


def exceeds(T: Tridiagonal, bound: float) -> bool:
    """Whether every eigenvalue of T_k does: those below are as many as the negative pivots of T_k - bound I.

    Costs a tenth of an eigenvalue.

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.solvers.spectra.ritz import Tridiagonal, exceeds
    >>> T = Tridiagonal(np.array([2.0, 2.0]), np.array([1.0, 0.0]))  # eigenvalues 1 and 3
    >>> exceeds(T, 0.99), exceeds(T, 1.01)
    (True, False)
    """
    pivot, before = math.inf, 0.0
    for entry, beside in zip(T.diagonal.tolist(), T.off.tolist(), strict=True):
        pivot = entry - bound - before / pivot * before
        if not pivot > 0:
            return False
        before = beside
    return True


def extreme_eigenpair(T: Tridiagonal, index: int) -> tuple[float, float]:
    """The same, and the last entry of its eigenvector of norm 1, by inverse iteration (stein). O(k)."""
    diagonal, off, unit = _in_range(T)
    value, *blocks = _eigenvalue(diagonal, off, unit, index)
    if not blocks:
        return value, 1.0
    from scipy.linalg.lapack import dstein

    vectors, failed = dstein(diagonal, off, *blocks)
    return value, math.nan if failed else float(vectors[-1, 0])


def _in_range(T: Tridiagonal) -> tuple[np.ndarray, np.ndarray, int]:
    """T in units of its largest entry, whose square LAPACK forms, and the exponent of the unit."""
    diagonal, off = T.diagonal.tolist(), T.off[:-1].tolist()
    largest = max(max(diagonal), -min(diagonal), max(off, default=0.0))
    unit = math.frexp(largest)[1]
    return np.ldexp(T.diagonal, -unit), np.ldexp(T.off[:-1], -unit), unit


def _eigenvalue(diagonal: np.ndarray, off: np.ndarray, unit: int, index: int) -> Any:
    """The eigenvalue, and for more than one row what inverse iteration needs to go on."""
    if diagonal.size == 1:
        return (math.ldexp(float(diagonal[0]), unit),)
    from scipy.linalg.lapack import dstebz

    by_rank, one = 2, index + 1
    count, values, blocks, splits, _ = dstebz(diagonal, off, by_rank, 0.0, 1.0, one, one, 0.0, b"B")
    return math.ldexp(float(values[0]), unit), values[:count], blocks, splits


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
    >>> from resolvent.solvers.spectra.ritz import energy_errors
    >>> energy_errors([0.5], [0.0], 2.0)  # A = 2, solved by one step
    array([1., 0.])
    """
    alphas, betas = np.asarray(alphas, dtype=np.float64), np.asarray(betas, dtype=np.float64)
    rho = np.cumprod(np.append(1.0, betas))
    ahead = np.append(np.cumsum((alphas * rho[:-1])[::-1])[::-1], 0.0)
    return np.sqrt((ahead + gap**2 * rho[-1] / smallest) / ahead[0])


def _of_hessenberg(H: np.ndarray) -> RitzValues | None:
    """Eigenvalues of smallest and largest real part, with the residuals |h_{k+1,k}| |last entry of the vector|."""
    k = H.shape[1]
    if k == 0 or not np.isfinite(H).all():
        return None
    values, vectors = np.linalg.eig(H[:k])
    order = np.argsort(values.real)
    ends: list[Any] = [order[0], order[-1]]
    low, high = (float(values[at].real) for at in ends)
    low_error, high_error = (float(abs(H[k, k - 1] * vectors[-1, at])) for at in ends)
    return RitzValues(low, high, low_error, high_error)
