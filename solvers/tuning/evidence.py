"""What tuners may see besides the cost: one pass over the entries before a solve, and what the solve showed."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ...kernels import kernel
from ...precision import times_power_of_two
from ..driver.solution import Solution
from ..linear.system import LinearSystem
from ..spectra.ritz import Tridiagonal, exceeds, extreme_eigenvalue

__all__ = ["Evidence", "Look", "look_at"]

ROWS = 32  # looked at
GOLDEN = 0.6180339887498949
WINDOW = 8  # iterations over which the last rate is taken: long enough for the beat of complex eigenvalues


class Look(NamedTuple):
    """Sizes of J = D^{-1} (D - A), the Jacobi iteration matrix.

    Attributes
    ----------
    size : float
        Root mean square of the absolute row sums, over some rows. Along A + c I and I + s L, where the diagonal of A or
        L is constant, it is proportional to the spectral radius of J.
    row_sum : float
        An upper bound of every absolute row sum, and so of that radius (Gershgorin), where A is diagonally dominant;
        infinite where it is not.
    lower : float
        Estimate of the spectral radius of D^{-1} L D^{-1} L^T, L being the lower triangle: the largest row sums of
        D^{-1} L and D^{-1} L^T multiplied, over some rows, and at least row_sum^2 / 4.
    """

    size: float
    row_sum: float
    lower: float


def look_at(system: LinearSystem) -> Look | None:
    """One look at A; None where its entries are not at hand as rows, or some diagonal entry is not positive.

    The bound comes from what was found out when A was checked: with R the largest of a_ii + o_i and m > 0 the smallest
    of a_ii - o_i, o_i being the absolute sum of the rest of row i, o_i / a_ii <= (R - m) / (R + m).

    Cost: 32 rows, whatever the size of A.
    """
    operator, known = system.operator, system.facts
    if known is None or not known.diagonal_positive or operator.library != "numpy" or operator.dtype.kind != "f":
        return None
    matrix: Any = operator if operator.kind == "csr" else operator.tocsr()
    size, lower = _look(matrix.indptr, matrix.indices, matrix.data)
    margin = known.margin
    row_sum = (known.row_sum - margin) / (known.row_sum + margin) if margin > 0 else math.inf
    return Look(size, row_sum, max(lower, 0.25 * min(row_sum, 1.0) ** 2))


@kernel()
def _look(indptr, indices, data):  # type: ignore[no-untyped-def]
    n = indptr.size - 1
    few = min(n, ROWS)
    squares = before = behind = 0.0
    for row in range(few):
        # Spread by the golden ratio, so as not to fall in step with the lines of a grid.
        i = row if few == n else int((row * GOLDEN) % 1.0 * n)
        lower = upper = diagonal = 0.0
        for k in range(indptr[i], indptr[i + 1]):
            if indices[k] < i:
                lower += abs(data[k])
            elif indices[k] > i:
                upper += abs(data[k])
            else:
                diagonal = data[k]
        total = (lower + upper) / diagonal
        squares += total * total
        before = max(before, lower / diagonal)
        behind = max(behind, upper / diagonal)
    return np.sqrt(squares / few), before * behind


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

    @property
    def iterations(self) -> int | None:
        """How many the solve took; None where no Solution is at hand."""
        return None if self._solution is None else self._solution.iterations

    @property
    def cut_short(self) -> bool:
        """Whether the solve is known to have ended before it converged."""
        return self._solution is not None and not self._solution.converged

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
        """The smallest Ritz value; None where no coefficients tell, or it has not settled to a tenth."""
        if self._smallest is not None or self._solution is None:
            return self._smallest
        found = self._solution.evidence
        if found is None or not isinstance(found.matrix, Tridiagonal) or len(found.matrix.diagonal) == 0:
            return None
        T = found.matrix
        steps = len(T.diagonal)
        value = extreme_eigenvalue(T, 0)
        if not 0 < value < math.inf or (steps > 1 and exceeds(T.first(steps - 1), 1.1 * value)):
            return None
        return float(times_power_of_two(value, self._solution.spectral_exponent))
