"""The matrices of a batch as stacks that any array library multiplies: full ones, sparse ones, one for all systems."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from array_api_compat import device as device_of

from ...backends.compiled.found import FOUND
from ...operators import CSRStack
from ...operators.libraries import library_of
from ...operators.stack import Pattern
from ..driver.batch import Batch

__all__ = ["Matrices", "SparseMatrices"]


class Matrices:
    """The matrices of a batch: a stack of full ones, or one for all systems."""

    def __init__(self, backend: Any, array: Any, operator: Any) -> None:
        self.backend, self.operator = backend, operator
        self._full = array
        self._product = None if operator is None else backend.product_each(operator)

    @staticmethod
    def of(backend: Any, batch: Batch) -> Matrices | None:
        """Those of a batch; None where they are given in another form."""
        if not batch.matrices:
            operator = backend.operator(batch.A)
            full = getattr(operator, "matrix", None) if operator.kind == "dense" else None
            if full is not None:
                return Matrices(backend, full, None)
            one = Matrices(backend, None, operator)
            return None if one._product is None else one
        sparse = backend.sparse_stack(batch.A)
        if sparse is not None:
            return SparseMatrices.of_stack(backend, sparse, batch.lead)
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
        if self._product is not None:
            return self._product(x, out)
        xp = array_namespace(x)
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
    values : array, (..., entries)
        Of each system; there are some.
    """

    def __init__(self, backend: Any, pattern: Pattern, values: Any) -> None:
        self.backend, self.pattern, self.values = backend, pattern, values
        count, entries, n = math.prod(self.lead), values.shape[-1], pattern.n
        first = np.arange(count, dtype=np.int64)[:, None]
        starts = np.append((pattern.indptr[:-1] + entries * first).reshape(-1), count * entries)
        kind = np.int32 if max(count * n, count * entries) < 1 << 31 else np.int64
        self._rows = tuple(
            self._index(part.astype(kind)) for part in (starts, (pattern.indices + n * first).reshape(-1))
        )
        self.blocks = self._of_blocks(values)

    @staticmethod
    def of_stack(backend: Any, stack: CSRStack, lead: tuple[int, ...]) -> SparseMatrices | None:
        """Those of a stack, broadcast to these axes; None for no entries, or where there are no sparse matrices."""
        values = backend.vector(stack.values, "A")
        xp, entries = array_namespace(values), values.shape[-1]
        if not entries:
            return None
        matrices = SparseMatrices(backend, stack.pattern, xp.broadcast_to(values, (*lead, entries)))
        return None if matrices.blocks is None else matrices

    @property
    def n(self) -> int:
        return self.pattern.n

    @property
    def lead(self) -> tuple[int, ...]:
        return tuple(self.values.shape[:-1])

    @property
    def dtype(self) -> np.dtype:
        return self.backend.numpy_dtype(self.values)

    def astype(self, dtype: np.dtype) -> SparseMatrices:
        if dtype == self.dtype:
            return self
        return SparseMatrices(self.backend, self.pattern, self.backend.copy(self.values, dtype))

    def product(self, x: Any, out: Any) -> Any:
        *_, k, n = x.shape
        xp, reshape = array_namespace(x), self.backend.reshape
        result = self.blocks @ reshape(xp.matrix_transpose(x), (-1, k))
        return xp.matrix_transpose(reshape(result, (*self.lead, n, k)))

    @property
    def row(self) -> Callable[[int, list[Any]], Any]:
        starts, columns = self.pattern.indptr.tolist(), self.pattern.indices.tolist()

        def row(i: int, entries: list[Any]) -> Any:
            places = range(starts[i], starts[i + 1])
            return sum((self.values[..., k, None] * entries[columns[k]] for k in places), start=0 * entries[i])

        return row

    def diagonal(self) -> Any:
        return self._at(self.pattern.diagonal)[..., None, :]

    def facts(self) -> dict[str, Any]:
        values, pattern = self.values, self.pattern
        xp, is_complex = array_namespace(values), self.dtype.kind == "c"
        size, diagonal, mirrored = xp.abs(values), self._at(pattern.diagonal), self._at(pattern.transposed)
        largest = xp.max(size, axis=-1)
        unit = xp.where(largest > 0, largest, xp.ones_like(largest))[..., None]
        sums = self._row_sums(size)
        real = xp.real(diagonal) if is_complex else diagonal
        imaginary = xp.imag(diagonal) if is_complex else xp.zeros_like(diagonal)
        above, below = (
            self._index(np.flatnonzero(side))
            for side in (pattern.indices > pattern.rows, pattern.indices < pattern.rows)
        )
        known = {
            "max_abs": largest,
            "row_norm": xp.sqrt(xp.max(self._row_sums((size / unit) ** 2), axis=-1)) * unit[..., 0],
            "row_sum": xp.max(sums, axis=-1),
            "asymmetry": xp.max(xp.abs(values - (xp.conj(mirrored) if is_complex else mirrored)), axis=-1),
            "lower": ~xp.any(xp.take(values, above, axis=-1) != 0, axis=-1),
            "upper": ~xp.any(xp.take(values, below, axis=-1) != 0, axis=-1),
            "diagonal_positive": xp.all((real > 0) & (imaginary == 0), axis=-1),
            "margin": xp.min(real + xp.abs(diagonal) - sums, axis=-1),
            "empty_row": xp.any(sums == 0, axis=-1),
            "zero_diagonal": xp.any(diagonal == 0, axis=-1),
        }
        known = {name: self.backend.to_numpy(part).astype(float)[..., None] for name, part in known.items()}
        for name in ("empty_row", "zero_diagonal"):
            known[name] -= 1  # which one is not asked
        return known

    def _index(self, places: np.ndarray) -> Any:
        """Places where the values are."""
        return array_namespace(self.values).asarray(places, device=device_of(self.values))

    def _of_blocks(self, values: Any) -> Any:
        """One sparse matrix, of a block (n, n) for each row of values."""
        size = math.prod(self.lead) * self.pattern.n
        return self.backend.compressed_rows(*self._rows, self.backend.reshape(values, (-1,)), (size, size))

    def _row_sums(self, values: Any) -> Any:
        """(..., n)."""
        xp = array_namespace(values)
        ones = xp.ones((math.prod(self.lead) * self.pattern.n, 1), dtype=values.dtype, device=device_of(values))
        return self.backend.reshape(self._of_blocks(values) @ ones, (*self.lead, self.pattern.n))

    def _at(self, places: np.ndarray) -> Any:
        """The values in these places, zero where there is none."""
        xp = array_namespace(self.values)
        found = xp.take(self.values, self._index(np.maximum(places, 0)), axis=-1)
        return xp.where(self._index(places >= 0), found, xp.zeros_like(found))
