"""The matrices of a batch as stacks that any array library multiplies: full ones, sparse ones, one for all systems."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sparse
from array_api_compat import array_namespace

from ...backends.compiled.found import FOUND
from ...operators import CSR, CSRStack, StencilStack
from ...operators.libraries import library_of
from ...operators.stack import Pattern
from ..driver.batch import Batch

__all__ = ["Matrices", "SparseMatrices"]


class Matrices:
    """The matrices of a batch: a stack of full ones, or one for all systems."""

    def __init__(self, backend: Any, array: Any, operator: Any) -> None:
        self.backend, self.operator = backend, operator
        self._full = array

    @staticmethod
    def of(backend: Any, batch: Batch) -> Matrices | None:
        """Those of a batch; None where they are given in another form."""
        if not batch.matrices:
            operator = backend.operator(batch.A)
            full = getattr(operator, "matrix", None) if operator.kind == "dense" else None
            if full is not None:
                return Matrices(backend, full, None)
            return Matrices(backend, None, operator) if _multiplier(operator) is not None else None
        if isinstance(batch.A, (CSRStack, StencilStack)):
            return SparseMatrices.of_stack(backend, batch) if "numpy" in backend.libraries else None
        if library_of(batch.A) not in backend.libraries:
            return None  # of another kind, from which the matrices can be had one by one
        try:
            return Matrices(backend, backend.vector(batch.A, "A"), None)
        except TypeError:
            return None  # sparse tensors, of patterns of their own

    @property
    def n(self) -> int:
        """Unknowns of each system."""
        return (self.operator if self.operator is not None else self._full).shape[-1]

    @property
    def lead(self) -> tuple[int, ...]:
        """The axes of the stack."""
        return () if self.operator is not None else tuple(self._full.shape[:-2])

    @property
    def dtype(self) -> np.dtype:
        """Of the entries."""
        return self.operator.dtype if self.operator is not None else self.backend.numpy_dtype(self._full)

    def astype(self, dtype: np.dtype) -> Matrices:
        """In the precision that is worked in."""
        if self.operator is not None:
            return Matrices(self.backend, None, self.operator.astype(dtype))
        return Matrices(self.backend, self.backend.copy(self._full, dtype), None)

    def product(self, x: Any, out: Any) -> Any:
        """A x of every system, (..., k, n)."""
        xp = array_namespace(x)
        if self.operator is not None:
            flat = self.backend.reshape(x, (-1, x.shape[-1]))
            result = _multiplier(self.operator) @ xp.matrix_transpose(flat)
            return self.backend.reshape(xp.matrix_transpose(result), tuple(x.shape))
        return xp.matmul(x, xp.matrix_transpose(self._full))

    @property
    def row(self) -> Callable[[int, list[Any]], Any] | None:
        """As in ``Stack``."""
        if self._full is None:
            return None
        full, xp = self._full[..., None, :, :], array_namespace(self._full)  # beside the axis of right-hand sides
        return lambda i, entries: xp.sum(full[..., i, :] * xp.stack(entries, axis=-1), axis=-1)

    def diagonal(self) -> Any:
        """(..., 1, n), or (n,) of one matrix."""
        if self.operator is not None:
            return self.operator.diagonal()
        return array_namespace(self._full).linalg.diagonal(self._full)[..., None, :]

    def facts(self) -> dict[str, Any]:
        """What is known of each matrix, on the host, (..., 1) or numbers."""
        if self.operator is not None:
            known = self.backend.facts(self.operator)
            return {name: float(getattr(known, name)) for name in FOUND if hasattr(known, name)}
        A, xp = self._full, array_namespace(self._full)
        size = xp.abs(A)
        adjoint = xp.conj(xp.matrix_transpose(A)) if self.dtype.kind == "c" else xp.matrix_transpose(A)
        diagonal = xp.linalg.diagonal(A)
        real = xp.real(diagonal) if self.dtype.kind == "c" else diagonal
        imaginary = xp.imag(diagonal) if self.dtype.kind == "c" else xp.zeros_like(diagonal)
        sums = xp.sum(size, axis=-1)
        empty, zero = xp.any(sums == 0, axis=-1), xp.any(diagonal == 0, axis=-1)
        largest = xp.max(size, axis=(-2, -1))
        unit = xp.where(largest > 0, largest, xp.ones_like(largest))
        found = {
            "max_abs": largest,
            "row_norm": xp.sqrt(xp.max(xp.sum((size / unit[..., None, None]) ** 2, axis=-1), axis=-1)) * unit,
            "row_sum": xp.max(sums, axis=-1),
            "asymmetry": xp.max(xp.abs(A - adjoint), axis=(-2, -1)),
            "lower": ~xp.any(xp.triu(A, k=1) != 0, axis=(-2, -1)),
            "upper": ~xp.any(xp.tril(A, k=-1) != 0, axis=(-2, -1)),
            "diagonal_positive": xp.all((real > 0) & (imaginary == 0), axis=-1),
            "margin": xp.min(real + xp.abs(diagonal) - sums, axis=-1),
        }
        known = {name: self.backend.to_numpy(values).astype(float)[..., None] for name, values in found.items()}
        for name, flags in (("empty_row", empty), ("zero_diagonal", zero)):
            known[name] = self.backend.to_numpy(flags).astype(float)[..., None] - 1  # which one is not asked
        return known


class SparseMatrices(Matrices):
    """Sparse matrices of one pattern, the blocks of a diagonal of blocks.

    Parameters
    ----------
    backend : Backend
    pattern : Pattern
    values : ndarray, (..., entries)
        Of each system.
    """

    def __init__(self, backend: Any, pattern: Pattern, values: np.ndarray) -> None:
        self.backend, self.pattern, self.values = backend, pattern, values
        self.blocks = _diagonal_of_blocks(pattern, values)

    @staticmethod
    def of_stack(backend: Any, batch: Batch) -> SparseMatrices:
        """Those of a batch, one for each system."""
        stack = batch.A.tocsr() if isinstance(batch.A, StencilStack) else batch.A
        values = np.broadcast_to(stack.values, (*batch.lead, stack.values.shape[-1]))
        return SparseMatrices(backend, stack.pattern, values)

    @property
    def n(self) -> int:
        return self.pattern.n

    @property
    def lead(self) -> tuple[int, ...]:
        return tuple(self.values.shape[:-1])

    @property
    def dtype(self) -> np.dtype:
        return self.values.dtype

    def astype(self, dtype: np.dtype) -> SparseMatrices:
        return self if dtype == self.dtype else SparseMatrices(self.backend, self.pattern, self.values.astype(dtype))

    def product(self, x: Any, out: Any) -> Any:
        *lead, k, n = x.shape
        columns = np.swapaxes(x, -1, -2).reshape(-1, k)
        return np.swapaxes((self.blocks @ columns).reshape(*lead, n, k), -1, -2)

    @property
    def row(self) -> Callable[[int, list[Any]], Any]:
        starts, columns = self.pattern.indptr.tolist(), self.pattern.indices.tolist()

        def row(i: int, entries: list[Any]) -> Any:
            places = range(starts[i], starts[i + 1])
            return sum((self.values[..., k, None] * entries[columns[k]] for k in places), start=0 * entries[i])

        return row

    def diagonal(self) -> Any:
        return self._by_row(self.blocks.diagonal())[..., None, :]

    def _by_row(self, numbers: np.ndarray) -> np.ndarray:
        """(..., n)."""
        return numbers.reshape(*self.values.shape[:-1], self.pattern.n)

    def facts(self) -> dict[str, Any]:
        size, ones = np.abs(self.values), np.ones(self.blocks.shape[0])
        largest = size.max(axis=-1, initial=0.0)
        unit = np.where(largest > 0, largest, 1.0)[..., None]
        sums = self._by_row(_diagonal_of_blocks(self.pattern, size) @ ones)
        squares = self._by_row(_diagonal_of_blocks(self.pattern, (size / unit) ** 2) @ ones)
        skew = abs(self.blocks - self.blocks.conj().T).max(axis=1)
        skew = self._by_row(skew.toarray() if sparse.issparse(skew) else np.asarray(skew))
        diagonal = self._by_row(self.blocks.diagonal())
        rows = np.repeat(np.arange(self.pattern.n), np.diff(self.pattern.indptr))
        above, below = self.pattern.indices > rows, self.pattern.indices < rows
        known = {
            "max_abs": largest,
            "row_norm": np.sqrt(squares.max(axis=-1)) * unit[..., 0],
            "row_sum": sums.max(axis=-1),
            "asymmetry": skew.max(axis=-1),
            "lower": ~np.any(self.values[..., above] != 0, axis=-1),
            "upper": ~np.any(self.values[..., below] != 0, axis=-1),
            "diagonal_positive": np.all((diagonal.real > 0) & (diagonal.imag == 0), axis=-1),
            "margin": np.min(diagonal.real + np.abs(diagonal) - sums, axis=-1),
            "empty_row": np.any(sums == 0, axis=-1) - 1.0,  # which one is not asked
            "zero_diagonal": np.any(diagonal == 0, axis=-1) - 1.0,
        }
        return {name: values.astype(float)[..., None] for name, values in known.items()}


def _diagonal_of_blocks(pattern: Pattern, values: np.ndarray) -> Any:
    """One sparse matrix, of a block (n, n) for each row of values."""
    entries, n = values.shape[-1], pattern.n
    count = values.size // entries if entries else math.prod(values.shape[:-1])
    first = np.arange(count, dtype=np.int64)[:, None]
    indices = (pattern.indices + n * first).reshape(-1)
    indptr = np.append((pattern.indptr[:-1] + entries * first).reshape(-1), count * entries)
    return sparse.csr_array((values.reshape(-1), indices, indptr), shape=(count * n, count * n))


def _multiplier(operator: Any) -> Any:
    """What multiplies a block of vectors, of an operator in compressed rows; None for others."""
    return operator.tocsr() if isinstance(operator, CSR) else getattr(operator, "matrix", None)
