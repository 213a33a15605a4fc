"""Equilibration: rows and columns multiplied by powers of two, which is exact, so that A is better conditioned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import scipy.sparse as sparse

from ..naming import choice
from .formats import BlockFormat, format_named
from .sparse_arrays import csr_arrays
from .working import working_dtype

__all__ = ["METHODS", "Equilibration", "equilibrate"]

EquilibrationMethod = Literal["auto", "jacobi", "ruiz", "symmetric"]
METHODS: tuple[EquilibrationMethod, ...] = ("auto", "jacobi", "ruiz", "symmetric")
_ROUNDS = 50  # of Ruiz's iteration, whose defect is halved in each; the log2 of a norm is below 2**11 at first
_SETTLED = 1 / 32  # of log2 of the norms, which are rounded to integers in the end


@dataclass(frozen=True, eq=False)
class Equilibration:
    """2**exponent R A S with diagonal R = 2**row_exponents and S = 2**column_exponents, and the way back.

    Instead of A x = b one solves matrix y = rhs(b); then x = solution(y).

    Attributes
    ----------
    matrix : array or sparse array
        The scaled matrix, of A's shape; of a sparse one as CSR. Its entries have the digits of A's, but for those that
        became subnormal.
    row_exponents, column_exponents : int arrays of shape (..., m), (..., n)
        The same array where A is scaled symmetrically.
    exponent : int
        Of a factor of the whole matrix, which fits it into a target format; otherwise 0.
    method : str
        What was done: "jacobi", "ruiz" or "symmetric".
    """

    matrix: Any
    row_exponents: np.ndarray
    column_exponents: np.ndarray
    exponent: int
    method: str

    @property
    def row_scaling(self) -> np.ndarray:
        """The diagonal of R, (..., m)."""
        return np.ldexp(1.0, self.row_exponents)

    @property
    def column_scaling(self) -> np.ndarray:
        """The diagonal of S, (..., n)."""
        return np.ldexp(1.0, self.column_exponents)

    def rhs(self, b: Any) -> np.ndarray:
        """The right-hand side of the scaled system, 2**exponent R b.

        Parameters
        ----------
        b : array_like of shape (..., m) or (..., m, k)
            One vector for each matrix, or k.
        """
        return _scaled(b, self.row_exponents + self.exponent, "b")

    def solution(self, y: Any) -> np.ndarray:
        """The solution of the given system out of that of the scaled one, S y, for (..., n) or (..., n, k)."""
        return _scaled(y, self.column_exponents, "y")

    @cached_property
    def conditions(self) -> tuple[Any, Any]:
        """Condition numbers in the 2-norm before and after, by singular values: O(n^3), on first use only."""
        after = np.asarray(self.matrix.toarray() if hasattr(self.matrix, "toarray") else self.matrix)
        rows, columns = self.row_exponents + self.exponent, self.column_exponents
        before = _ldexp(after, -(rows[..., :, np.newaxis] + columns[..., np.newaxis, :]))
        return np.linalg.cond(before)[()], np.linalg.cond(after)[()]


def equilibrate(
    A: Any, method: EquilibrationMethod = "auto", *, target: Any = None, headroom: float = 0.1
) -> Equilibration:
    """Scale rows and columns of A by powers of two.

    Parameters
    ----------
    A : array_like of shape (..., m, n), or SciPy sparse array or matrix
        Square, but for "ruiz". Real or complex.
    method : {"auto", "jacobi", "ruiz", "symmetric"}
        ``jacobi``: the diagonal is brought to one from both sides, D A D with D = diag(A)**(-1/2). Of all diagonal
        scalings of a positive definite A it is within a factor m, the largest number of nonzeros in a row, of the best
        condition number in the 2-norm (van der Sluis 1969; Higham, Accuracy and Stability of Numerical Algorithms,
        2002, Corollary 7.6), and the best for tridiagonal and other A with property A (Forsythe & Straus 1955).
        ``ruiz``: the largest modulus in every row and column is brought to one (Ruiz, RAL-TR-2001-034).
        ``symmetric``: the same by one scaling from both
        sides, for A = A^T or A = A^H (Higham, Pranesh & Zounon, SIAM J. Sci. Comput. 41, 2019, Algorithm 2.5).
        ``auto``: "jacobi" where the moduli are symmetric and the diagonal is positive, "symmetric" where only the
        former holds, else "ruiz".
    target : str or Format, optional
        A format into whose range the matrix is squeezed besides, by a factor for all of it: the largest entry comes
        close to ``headroom`` times the largest number, from below (the same, Algorithm 2.3), so that small entries
        do not underflow.
    headroom : float
        theta, in (0, 1], what is left below overflow for the products of a solver.

    Returns
    -------
    Equilibration

    Raises
    ------
    ValueError
        For NaN and infinities, for rows or columns of zeros, for a zero on the diagonal where ``method`` divides by it,
        for a matrix that is not symmetric where it should be.
    TypeError
        For numbers that are in no working precision.

    Notes
    -----
    Scalings are rounded to powers of two: "ones" lie between about 1/2 and 2, and the condition number is at most four
    times that with unrounded ones. Cost: a logarithm of each entry and, for "ruiz" and "symmetric", some 5 to 15
    passes.

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.precision import equilibrate
    >>> A = np.array([[4.0, 2.0e-3], [2.0e-3, 3.0e-6]])
    >>> scaled = equilibrate(A)
    >>> before, after = scaled.conditions
    >>> round(before), round(after)
    (2000001, 4)
    >>> x = scaled.solution(np.linalg.solve(scaled.matrix, scaled.rhs(A @ [1.0, 2.0])))
    >>> bool(np.allclose(x, [1.0, 2.0], rtol=1e-14))
    True
    """
    method = choice("method", method, METHODS)
    if not 0 < headroom <= 1:
        raise ValueError(f"headroom: found {headroom}; wanted more than 0 and at most 1")
    entries = _Entries(A)
    if method == "auto":
        method = entries.fitting_method()
    if method == "jacobi":
        rows = columns = _jacobi(entries)
    elif method == "symmetric":
        if not entries.symmetric:
            raise ValueError('A: the moduli of its entries are not symmetric; use method="ruiz"')
        rows = columns = _symmetric(entries)
    else:
        rows, columns = _ruiz(entries)
    exponents = entries.spread(rows, columns)
    exponent = 0
    if target is not None:
        largest = np.max(entries.logarithms + exponents, initial=-np.inf)
        exponent = math.floor(math.log2(headroom * _largest(target)) - largest) if largest > -np.inf else 0
    return Equilibration(entries.scaled(exponents + exponent), rows, columns, exponent, method)


class _Entries:
    """The moduli of a matrix, dense or sparse, as their logarithms to the base two; -inf for zeros."""

    def __init__(self, A: Any) -> None:
        self.sparse = hasattr(A, "tocsr") and hasattr(A, "nnz")
        matrix: Any = A if self.sparse else np.asarray(A)
        if matrix.ndim < 2:
            raise ValueError(f"A: found shape {matrix.shape}; wanted a matrix (m, n) or a stack of them")
        dtype = working_dtype(matrix.dtype)
        if self.sparse:
            indptr, indices, data, is_sorted = csr_arrays(A)
            matrix = sparse.csr_array((data.astype(dtype), indices.copy(), indptr.copy()), shape=A.shape)
            if not is_sorted:
                matrix.sum_duplicates()
        self.matrix: Any = matrix if self.sparse else matrix.astype(dtype, copy=False)
        self.values: np.ndarray = self.matrix.data if self.sparse else self.matrix
        self.shape = self.matrix.shape
        with np.errstate(divide="ignore"):
            self.logarithms = np.log2(np.abs(self.values.astype(np.result_type(dtype, np.float64))))
        if not (self.logarithms < np.inf).all():
            raise ValueError("A: found NaN or infinity; wanted finite entries")
        if self.sparse:
            self.row_of = np.repeat(np.arange(self.shape[0]), np.diff(self.matrix.indptr))

    @property
    def square(self) -> bool:
        return self.shape[-1] == self.shape[-2]

    def maxima(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the logarithms plus row and column exponents, for every row and column."""
        values = self.logarithms + self.spread(rows, columns)
        if not self.sparse:
            return values.max(-1, initial=-np.inf), values.max(-2, initial=-np.inf)
        by_row, by_column = np.full(self.shape[0], -np.inf), np.full(self.shape[1], -np.inf)
        np.maximum.at(by_row, self.row_of, values)
        np.maximum.at(by_column, self.matrix.indices, values)
        return by_row, by_column

    def spread(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """rows_i + columns_j for each entry."""
        if self.sparse:
            return rows[self.row_of] + columns[self.matrix.indices]
        return rows[..., :, np.newaxis] + columns[..., np.newaxis, :]

    def diagonal(self) -> np.ndarray:
        """Of the logarithms."""
        if not self.sparse:
            return np.diagonal(self.logarithms, axis1=-2, axis2=-1)
        with np.errstate(divide="ignore"):
            return np.log2(np.abs(self.matrix.diagonal().astype(np.result_type(self.values, np.float64))))

    @property
    def symmetric(self) -> bool:
        """Whether the moduli are, but for rounding."""
        if not self.square:
            return False
        size = abs(self.matrix)
        difference = abs(size - (size.T if self.sparse else np.swapaxes(size, -1, -2)))
        rounding = 1e3 * np.finfo(size.dtype).eps
        return bool(difference.max() <= rounding * size.max()) if min(self.shape) else True

    def fitting_method(self) -> EquilibrationMethod:
        if not self.symmetric:
            return "ruiz"
        diagonal = self.matrix.diagonal() if self.sparse else np.diagonal(self.matrix, axis1=-2, axis2=-1)
        return "jacobi" if bool(np.all(diagonal.real > 0) and np.all(diagonal.imag == 0)) else "symmetric"

    def scaled(self, exponents: np.ndarray) -> Any:
        if not self.sparse:
            return _ldexp(self.values, exponents)
        matrix = self.matrix.copy()
        matrix.data = _ldexp(self.values, exponents)
        return matrix


def _jacobi(entries: _Entries) -> np.ndarray:
    if not entries.square:
        raise ValueError(f'A: found shape {entries.shape}; wanted a square matrix, or method="ruiz"')
    diagonal = entries.diagonal()
    if np.isneginf(diagonal).any():
        at = tuple(int(i) for i in np.argwhere(np.isneginf(diagonal))[0])
        place = at[0] if len(at) == 1 else at
        raise ValueError(f'A: the diagonal entry of row {place} is zero; use method="ruiz" or "symmetric"')
    return np.rint(-diagonal / 2).astype(np.int64)


def _ruiz(entries: _Entries) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.zeros(entries.shape[:-1]), np.zeros((*entries.shape[:-2], entries.shape[-1]))
    for _ in range(_ROUNDS):
        by_row, by_column = _without_zeros(*entries.maxima(rows, columns))
        if max(np.abs(by_row).max(initial=0), np.abs(by_column).max(initial=0)) <= _SETTLED:
            break
        rows, columns = rows - by_row / 2, columns - by_column / 2
    return np.rint(rows).astype(np.int64), np.rint(columns).astype(np.int64)


def _symmetric(entries: _Entries) -> np.ndarray:
    both = np.zeros(entries.shape[:-1])
    for _ in range(_ROUNDS):
        # Of moduli that are symmetric but for rounding.
        largest = np.maximum(*_without_zeros(*entries.maxima(both, both)))
        if np.abs(largest).max(initial=0) <= _SETTLED:
            break
        both = both - largest / 2
    return np.rint(both).astype(np.int64)


def _without_zeros(by_row: np.ndarray, by_column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    for name, largest in (("row", by_row), ("column", by_column)):
        if np.isneginf(largest).any():
            at = tuple(int(i) for i in np.argwhere(np.isneginf(largest))[0])
            raise ValueError(f"A: {name} {at[0] if len(at) == 1 else at} is zero: it cannot be scaled to one")
    return by_row, by_column


def _largest(target: Any) -> float:
    """The largest number of a format."""
    format = format_named(target)
    return float((format.element if isinstance(format, BlockFormat) else format).largest)


def _scaled(vectors: Any, exponents: np.ndarray, name: str) -> np.ndarray:
    array = np.asarray(vectors)
    array = array.astype(working_dtype(array.dtype), copy=False)
    if array.shape == exponents.shape:
        return _ldexp(array, exponents)
    if array.ndim == exponents.ndim + 1 and array.shape[:-1] == exponents.shape:
        return _ldexp(array, exponents[..., np.newaxis])
    raise ValueError(f"{name}: found shape {array.shape}; wanted {exponents.shape} or {(*exponents.shape, 'k')}")


def _ldexp(values: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """2**exponents values, for complex ones too."""
    if values.dtype.kind != "c":
        return np.ldexp(values, exponents)
    result = np.empty(np.broadcast_shapes(values.shape, np.shape(exponents)), values.dtype)
    result.real, result.imag = np.ldexp(values.real, exponents), np.ldexp(values.imag, exponents)
    return result
