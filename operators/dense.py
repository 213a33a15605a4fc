"""Full matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sparse

from .base import Facts, Operator
from .csr import times_power_of_two

__all__ = ["Dense"]


class Dense(Operator):
    """A full (n, n) matrix in any strides."""

    kind = "dense"

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix
        self.shape = (matrix.shape[0], matrix.shape[1])
        self.dtype = matrix.dtype

    @property
    def entries(self) -> int:
        return self.shape[0] ** 2

    def tocsr(self) -> Any:
        return sparse.csr_array(self.matrix)

    def matvec(self, x: Any) -> Any:
        return self.matrix @ x

    def diagonal(self) -> Any:
        return self.matrix.diagonal().copy()

    def facts(self) -> Facts:
        """One look at the entries, about eight passes over the matrix."""
        A = self.matrix
        n = self.shape[0]
        size = np.abs(A)
        max_abs = float(size.max(initial=0.0))
        if not np.isfinite(max_abs):
            return Facts(max_abs, np.nan, np.nan, np.nan, False, False, False, False, -1, -1)
        exponent = int(np.frexp(max_abs)[1])
        size = np.ldexp(size, -exponent).astype(np.float64)
        sums = size.sum(axis=1)
        diagonal = A.diagonal()
        empty = np.flatnonzero(~(A != 0).any(axis=1))
        zero = np.flatnonzero(diagonal == 0)
        return Facts(
            max_abs=max_abs,
            row_norm=float(np.ldexp(np.sqrt((size**2).sum(axis=1).max(initial=0.0)), exponent)),
            row_sum=float(np.ldexp(sums.max(initial=0.0), exponent)),
            asymmetry=float(np.abs(A - A.conj().T).max(initial=0.0)),
            lower=not np.triu(A, 1).any(),
            upper=not np.tril(A, -1).any(),
            diagonal_positive=bool(np.all(diagonal.real > 0) and np.all(diagonal.imag == 0)),
            dominant=n == 0 or bool(np.all(2 * size.diagonal() > sums)),
            empty_row=int(empty[0]) if empty.size else -1,
            zero_diagonal=int(zero[0]) if zero.size else -1,
            margin=float(
                np.ldexp((np.ldexp(diagonal.real, -exponent) + size.diagonal() - sums).min(initial=np.inf), exponent)
            ),
        )

    def mapped(self, function: Callable[[Any], Any]) -> Dense:
        return Dense(function(self.matrix))

    def rescaled(self, exponent: int) -> Dense:
        return self.mapped(lambda values: times_power_of_two(values, exponent))

    def astype(self, dtype: np.dtype) -> Dense:
        return self if dtype == self.dtype else Dense(self.matrix.astype(dtype))
