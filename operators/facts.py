"""What one look at the entries of a matrix tells: readers gather row sums, and one function makes facts of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Facts", "facts_of_csr", "facts_of_rows", "no_facts"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What one look at the entries of A tells.

    Attributes
    ----------
    max_abs : float
        Largest modulus of an entry, in the units of A; NaN where an entry is NaN.
    row_norm : float
        Largest 2-norm of a row: a lower bound of the spectral norm.
    row_sum : float
        Largest absolute row sum, the infinity norm: an upper bound of every eigenvalue's modulus (Gershgorin).
    asymmetry : float
        Largest modulus of a_ij - conj(a_ji).
    lower, upper : bool
        No nonzero above, below the diagonal.
    diagonal_positive : bool
        Every diagonal entry is real and positive.
    dominant : bool
        Every diagonal entry is larger in modulus than the sum of the others in its row.
    empty_row : int
        First row without a nonzero, or -1.
    zero_diagonal : int
        First row whose diagonal entry is zero, or -1.
    margin : float
        Smallest Re a_ii - sum_j |a_ij|: a lower bound of the eigenvalues of a Hermitian A (Gershgorin).
    """

    max_abs: float
    row_norm: float
    row_sum: float
    asymmetry: float
    lower: bool
    upper: bool
    diagonal_positive: bool
    dominant: bool
    empty_row: int
    zero_diagonal: int
    margin: float = -math.inf

    def hermitian(self, unit_roundoff: float) -> bool:
        """A equals its conjugate transpose but for what assembly in this precision may leave: 1e3 u of max_abs."""
        return self.asymmetry <= 1e3 * unit_roundoff * self.max_abs


def no_facts(max_abs: float) -> Facts:
    """Those of a matrix with an entry that is not finite."""
    return Facts(max_abs, math.nan, math.nan, math.nan, False, False, False, False, -1, -1)


def facts_of_rows(
    max_abs: float,
    exponent: int,
    *,
    sums: np.ndarray,
    squares: np.ndarray,
    diagonal: np.ndarray,
    asymmetry: float,
    above: bool,
    below: bool,
    filled: np.ndarray | None = None,
) -> Facts:
    """From what a reader found in each row; n > 0.

    Parameters
    ----------
    max_abs : float
        Largest modulus of an entry, finite.
    exponent : int
        ``sums`` and ``squares`` are those of 2**-exponent A, so that they neither overflow nor vanish.
    sums, squares : array of shape (n,)
        Of the moduli of each row, and of their squares.
    diagonal : array of shape (n,)
    asymmetry : float
        Largest modulus of a_ij - conj(a_ji).
    above, below : bool
        There is a nonzero above, below the diagonal.
    filled : array of bool of shape (n,), optional
        Which rows have a nonzero; by default those whose sum is not zero.
    """
    size = np.ldexp(np.abs(diagonal), -exponent).astype(np.float64)
    real = np.ldexp(diagonal.real, -exponent).astype(np.float64)
    filled = sums != 0 if filled is None else filled
    return Facts(
        max_abs=max_abs,
        row_norm=float(np.ldexp(np.sqrt(squares.max()), exponent)),
        row_sum=float(np.ldexp(sums.max(), exponent)),
        asymmetry=asymmetry,
        lower=not above,
        upper=not below,
        diagonal_positive=bool(np.all(diagonal.real > 0) and np.all(diagonal.imag == 0)),
        dominant=bool(np.all(2 * size > sums)),
        empty_row=-1 if filled.all() else int(np.argmin(filled)),
        zero_diagonal=-1 if diagonal.all() else int(np.argmax(diagonal == 0)),
        margin=float(np.ldexp((real + size - sums).min(), exponent)),
    )


def facts_of_csr(A: Any) -> Facts:
    """Facts of a canonical CSR matrix. Cost: a transposition and about ten passes over the entries."""
    n = A.shape[0]
    if n == 0 or A.nnz == 0:
        first = 0 if n else -1
        return Facts(0.0, 0.0, 0.0, 0.0, True, True, n == 0, n == 0, first, first, 0.0 if n else np.inf)
    size = np.abs(A.data)
    max_abs = float(size.max())
    if not np.isfinite(max_abs):
        return no_facts(max_abs)
    exponent = int(np.frexp(max_abs)[1])
    size = np.ldexp(size, -exponent).astype(np.float64)
    rows = np.repeat(np.arange(n), np.diff(A.indptr))
    nonzero = A.data != 0
    difference = abs(A - A.conj().T)
    return facts_of_rows(
        max_abs,
        exponent,
        sums=np.bincount(rows, size, n),
        squares=np.bincount(rows, size**2, n),
        diagonal=A.diagonal(),
        asymmetry=float(difference.max()) if difference.nnz else 0.0,
        above=bool(np.any(nonzero & (A.indices > rows))),
        below=bool(np.any(nonzero & (A.indices < rows))),
        filled=np.bincount(rows, nonzero, n) != 0,
    )
