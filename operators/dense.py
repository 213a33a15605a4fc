"""Full matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sparse

from .base import Operator
from .csr import times_power_of_two
from .facts import Facts, facts_of_rows, no_facts

__all__ = ["Dense"]


class Dense(Operator):
    """A full (m, n) matrix in any strides."""

    kind = "dense"

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix
        self.shape = (matrix.shape[0], matrix.shape[1])
        self.dtype = matrix.dtype

    @property
    def entries(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def values(self) -> Any:
        return self.matrix

    def tocsr(self) -> Any:
        return sparse.csr_array(self.matrix)

    def adjoint(self) -> Dense:
        return Dense(self.matrix.T.conj())

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
        if n == 0:
            return Facts(0.0, 0.0, 0.0, 0.0, True, True, True, True, -1, -1, np.inf)
        if not np.isfinite(max_abs):
            return no_facts(max_abs)
        exponent = int(np.frexp(max_abs)[1])
        size = np.ldexp(size, -exponent).astype(np.float64)
        return facts_of_rows(
            max_abs,
            exponent,
            sums=size.sum(axis=1),
            squares=(size**2).sum(axis=1),
            diagonal=A.diagonal(),
            asymmetry=float(np.abs(A - A.conj().T).max()),
            above=bool(np.triu(A, 1).any()),
            below=bool(np.tril(A, -1).any()),
            filled=(A != 0).any(axis=1),
        )

    def mapped(self, function: Callable[[Any], Any]) -> Dense:
        return Dense(function(self.matrix))

    def rescaled(self, exponent: int) -> Dense:
        return self.mapped(lambda values: times_power_of_two(values, exponent))

    def astype(self, dtype: np.dtype) -> Dense:
        return self if dtype == self.dtype else Dense(self.matrix.astype(dtype))
