"""Compressed sparse rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sparse

from .base import Operator

__all__ = ["CSR"]


class CSR(Operator):
    """A sparse matrix by rows.

    Parameters
    ----------
    indptr, indices, data : ndarray
        The usual three arrays: row i holds ``data[indptr[i]:indptr[i+1]]`` in columns ``indices[...]``. Columns must
        be sorted and without duplicates; ``as_operator`` sees to that.
    columns : int, optional
        As many as rows by default.
    """

    kind = "csr"

    def __init__(self, indptr: Any, indices: Any, data: Any, columns: int | None = None) -> None:
        self.indptr, self.indices, self.data = indptr, indices, data
        n = len(indptr) - 1
        self.shape = (n, n if columns is None else columns)
        self.dtype = data.dtype

    @classmethod
    def of(cls, matrix: Any) -> CSR:
        """Of a SciPy sparse matrix of any format, in its own arrays where they fit."""
        matrix = sparse.csr_array(matrix)
        matrix.sum_duplicates()
        return cls(matrix.indptr, matrix.indices, matrix.data, int(matrix.shape[1]))

    @property
    def values(self) -> Any:
        return self.data

    @property
    def entries(self) -> int:
        return len(self.data)

    @cached_property
    def bandwidth(self) -> int:
        filled = np.flatnonzero(np.diff(self.indptr))
        if not filled.size:
            return 0
        first, last = self.indices[self.indptr[filled]], self.indices[self.indptr[filled + 1] - 1]
        return int(max((filled - first).max(), (last - filled).max(), 0))

    def tocsr(self) -> Any:
        matrix = sparse.csr_array((self.data, self.indices, self.indptr), shape=self.shape)
        matrix.has_canonical_format = True
        return matrix

    def adjoint(self) -> CSR:
        return CSR.of(self.tocsr().T.conj())

    def matvec(self, x: Any) -> Any:
        return self.tocsr() @ x

    def diagonal(self) -> Any:
        return self.tocsr().diagonal()

    def mapped(self, function: Callable[[Any], Any]) -> CSR:
        return CSR(self.indptr, self.indices, function(self.data), self.shape[1])

    def rescaled(self, exponent: int) -> CSR:
        return self.mapped(lambda values: times_power_of_two(values, exponent))

    def astype(self, dtype: np.dtype) -> CSR:
        return self if dtype == self.dtype else self.mapped(lambda values: values.astype(dtype))


def times_power_of_two(values: np.ndarray, exponent: int) -> np.ndarray:
    """2**exponent times values, rounded once, real or complex."""
    if values.dtype.kind == "c":
        result = np.empty_like(values)
        result.real = np.ldexp(values.real, exponent)
        result.imag = np.ldexp(values.imag, exponent)
        return result
    return np.ldexp(values, exponent)
