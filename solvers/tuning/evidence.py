"""What tuners may see besides the cost: one pass over the entries before a solve, and what the solve showed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numba
import numpy as np

from ..solution import Solution
from ..system import LinearSystem

__all__ = ["Evidence", "Look", "look_at"]

WINDOW = 8  # iterations over which the last rate is taken: long enough for the beat of complex eigenvalues


@dataclass(frozen=True, slots=True)
class Look:
    """Norms of J = D^{-1/2} (D - A) D^{-1/2}, which is similar to the Jacobi iteration matrix.

    Attributes
    ----------
    size : float
        Root mean square of the row norms. Along A + c I and I + s L, where the diagonal of A or L is constant, it is
        proportional to the spectral radius of J.
    row_sum : float
        Largest absolute row sum: an upper bound of that radius (Gershgorin).
    lower : float
        Upper bound of the spectral radius of L L^T, L the lower triangle of J: its row sum times its column sum.
    """

    size: float
    row_sum: float
    lower: float


def look_at(system: LinearSystem) -> Look | None:
    """One look at the entries of A; None where they are not at hand as rows, or some diagonal entry is not positive.

    Cost: two passes over the entries, the compiled form of about one matvec and a half.
    """
    operator = system.operator
    known = system.facts
    if known is None or not known.diagonal_positive or operator.library != "numpy" or operator.dtype.kind != "f":
        return None
    matrix = operator if operator.kind == "csr" else operator.tocsr()
    return Look(*_look(matrix.indptr, matrix.indices, matrix.data))


@numba.njit(cache=True, nogil=True)
def _look(indptr, indices, data):  # type: ignore[no-untyped-def]
    n = indptr.size - 1
    scale = np.empty(n)
    for i in range(n):
        for k in range(indptr[i], indptr[i + 1]):
            if indices[k] == i:
                scale[i] = 1 / np.sqrt(data[k])
    squares = row_sum = lower_row = 0.0
    columns = np.zeros(n)
    for i in range(n):
        total = below = 0.0
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            if j != i:
                size = abs(data[k]) * scale[i] * scale[j]
                squares += size * size
                total += size
                if j < i:
                    below += size
                    columns[j] += size
        row_sum = max(row_sum, total)
        lower_row = max(lower_row, below)
    return np.sqrt(squares / n), row_sum, lower_row * columns.max()


class Evidence:
    """What a solve showed, computed when it is asked for.

    Parameters
    ----------
    rate : float, optional
        The factor by which an iteration reduced the residual towards the end.
    smallest : float, optional
        Lower end of the spectrum of M A, as the coefficients of conjugate gradients show it: never below the truth.
    solution : Solution, optional
        Where the two are found otherwise.

    Examples
    --------
    >>> import resolvent as rv
    >>> from resolvent.solvers.tuning import Evidence
    >>> problem = rv.gallery.poisson((10, 10))
    >>> solution = rv.gauss_seidel(problem.A, problem.b, rtol=1e-8)
    >>> round(Evidence(solution=solution).rate, 4)  # the squared cosine of pi / 11
    0.9206
    """

    def __init__(
        self, *, rate: float | None = None, smallest: float | None = None, solution: Solution | None = None
    ) -> None:
        self._rate, self._smallest, self._solution = rate, smallest, solution

    @cached_property
    def rate(self) -> float | None:
        """The last observed rate; None where too few residuals are known."""
        if self._rate is not None or self._solution is None:
            return self._rate
        at, norms = self._solution.history
        last = len(at) - 1
        first = last
        while first > 0 and at[last] - at[first] < WINDOW:
            first -= 1
        steps = at[last] - at[first] if last > 0 else 0
        if steps < 2 or not norms[first] > 0 or not norms[last] > 0:
            return None
        return float((norms[last] / norms[first]) ** (1 / steps))

    @cached_property
    def smallest(self) -> float | None:
        """The smallest Ritz value less its error bar; None where no coefficients tell, or they have not settled."""
        if self._smallest is not None or self._solution is None:
            return self._smallest
        ritz: Any = self._solution.ritz
        if ritz is None or not ritz.smallest > 0 or ritz.smallest_error > 0.5 * ritz.smallest:
            return None
        return float(ritz.smallest)
