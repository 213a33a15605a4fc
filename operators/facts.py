"""The reference look at the entries of a matrix, in NumPy and SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import Facts

__all__ = ["facts_of_csr"]


def facts_of_csr(A: Any) -> Facts:
    """Facts of a canonical CSR matrix. Cost: a transposition and about ten passes over the entries."""
    n = A.shape[0]
    if n == 0 or A.nnz == 0:
        first = 0 if n else -1
        return Facts(0.0, 0.0, 0.0, 0.0, True, True, n == 0, n == 0, first, first, 0.0 if n else np.inf)
    size = np.abs(A.data)
    max_abs = float(size.max())
    if not np.isfinite(max_abs):
        return Facts(max_abs, np.nan, np.nan, np.nan, False, False, False, False, -1, -1)
    exponent = int(np.frexp(max_abs)[1])
    size = np.ldexp(size, -exponent).astype(np.float64)
    rows = np.repeat(np.arange(n), np.diff(A.indptr))
    squares = np.bincount(rows, size**2, n)
    sums = np.bincount(rows, size, n)
    diagonal = A.diagonal()
    diagonal_size = np.ldexp(np.abs(diagonal), -exponent).astype(np.float64)
    difference = abs(A - A.conj().T)
    asymmetry = float(difference.max()) if difference.nnz else 0.0
    nonzero = A.data != 0
    empty = np.flatnonzero(np.bincount(rows, A.data != 0, n) == 0)
    zero = np.flatnonzero(diagonal == 0)
    return Facts(
        max_abs=max_abs,
        row_norm=float(np.ldexp(np.sqrt(squares.max()), exponent)),
        row_sum=float(np.ldexp(sums.max(), exponent)),
        asymmetry=asymmetry,
        lower=not np.any(nonzero & (A.indices > rows)),
        upper=not np.any(nonzero & (A.indices < rows)),
        diagonal_positive=bool(np.all(diagonal.real > 0) and np.all(diagonal.imag == 0)),
        dominant=bool(np.all(2 * diagonal_size > sums)),
        empty_row=int(empty[0]) if empty.size else -1,
        zero_diagonal=int(zero[0]) if zero.size else -1,
        margin=float(np.ldexp((np.ldexp(diagonal.real, -exponent) + diagonal_size - sums).min(), exponent)),
    )
