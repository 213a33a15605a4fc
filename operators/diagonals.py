"""A matrix that is a few diagonals: no index arrays, and half of them when it is symmetric."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sparse

from ..errors import InputError
from ..precision import working_dtype
from .base import Operator
from .csr import CSR, times_power_of_two
from .facts import Facts, facts_of_rows

__all__ = ["Diagonals"]


class Diagonals(Operator):
    """A sparse matrix stored by diagonals.

    Parameters
    ----------
    data : ndarray of shape (number of diagonals, n)
        ``data[d, i]`` multiplies ``x[i + offsets[d]]`` in row i; entries that would reach beyond the ends are ignored.
    offsets : sequence of int
        Distances from the main diagonal, positive above it.
    symmetric : bool
        Store the upper half only: offsets start with 0 and are positive after it, and A equals its transpose.

    Raises
    ------
    InputError
        Where the shapes disagree, an offset is repeated, or a symmetric matrix is given lower diagonals or is complex.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> A = rv.Diagonals(np.array([[2.0, 2, 2], [-1.0, -1, 0]]), [0, 1], symmetric=True)
    >>> A.matvec(np.array([1.0, 2, 3]))
    array([0., 0., 4.])
    """

    kind = "diagonals"

    def __init__(self, data: Any, offsets: Any, symmetric: bool = False) -> None:
        data = np.asarray(data)
        offsets = np.asarray(offsets)
        if offsets.dtype.kind not in "iu" and offsets.size:
            raise InputError(f"offsets: found {offsets.tolist()}; wanted integers")
        offsets = offsets.astype(np.int64)
        if data.dtype.kind not in "biufc":
            raise TypeError(f"data: found dtype {data.dtype}; wanted numbers")
        data = data.astype(working_dtype(data.dtype), copy=False)
        if data.ndim != 2 or offsets.shape != data.shape[:1]:
            raise InputError(
                f"data: found shape {data.shape} for {offsets.size} offsets; wanted (len(offsets), n), a row a diagonal"
            )
        if np.unique(offsets).size != offsets.size:
            raise InputError(f"offsets: {offsets.tolist()} repeats a diagonal")
        if symmetric and (offsets.size == 0 or offsets[0] != 0 or np.any(offsets[1:] <= 0) or data.dtype.kind == "c"):
            raise InputError("offsets: a symmetric (real) matrix is given by its main diagonal, then those above it")
        self._hold(data, offsets, bool(symmetric))

    def _hold(self, data: np.ndarray, offsets: np.ndarray, symmetric: bool) -> None:
        self.data, self.offsets, self.symmetric = data, offsets, symmetric
        n = data.shape[1]
        self.shape = (n, n)
        self.dtype = data.dtype

    @classmethod
    def found(cls, data: np.ndarray, offsets: np.ndarray, symmetric: bool) -> Diagonals:
        """Of arrays that were found to fit: nothing is checked."""
        diagonals = cls.__new__(cls)
        diagonals._hold(data, offsets, symmetric)
        return diagonals

    @property
    def entries(self) -> int:
        return int(self.data.size)

    @property
    def values(self) -> Any:
        n = self.shape[0]
        parts = zip(self.offsets.tolist(), self.data, strict=True)
        held = [_inside(values, offset) for offset, values in parts if abs(offset) < n]
        return np.concatenate(held) if held else np.zeros(0, self.dtype)

    def adjoint(self) -> Operator:
        return self if self.symmetric else CSR.of(self.tocsr().conj().T)

    @property
    def bandwidth(self) -> int:
        return int(np.abs(self.offsets).max(initial=0))

    def tocsr(self) -> Any:
        n = self.shape[0]
        diagonals, offsets = [], []
        for offset, values in zip(self.offsets.tolist(), self.data, strict=True):
            if abs(offset) >= n:
                continue
            held = values[max(0, -offset) : n - max(0, offset)]
            diagonals.append(held)
            offsets.append(offset)
            if self.symmetric and offset:
                diagonals.append(held)
                offsets.append(-offset)
        if not diagonals:
            return sparse.csr_array(self.shape, dtype=self.dtype)
        matrix = sparse.diags_array(diagonals, offsets=offsets, shape=self.shape, dtype=self.dtype).tocsr()
        matrix.sort_indices()
        return matrix

    def matvec(self, x: Any) -> Any:
        n = self.shape[0]
        result = np.zeros(n, dtype=np.result_type(self.dtype, x.dtype))
        for offset, values in zip(self.offsets.tolist(), self.data, strict=True):
            if abs(offset) >= n:
                continue
            rows = slice(max(0, -offset), n - max(0, offset))
            columns = slice(max(0, offset), n - max(0, -offset))
            result[rows] += values[rows] * x[columns]
            if self.symmetric and offset:
                result[columns] += values[rows] * x[rows]
        return result

    def diagonal(self) -> Any:
        where = np.flatnonzero(self.offsets == 0)
        return self.data[where[0]].copy() if where.size else np.zeros(self.shape[0], self.dtype)

    def facts(self) -> Facts | None:
        """One look at the entries, about four passes over the diagonals."""
        n = self.shape[0]
        held = [
            (int(offset), values) for offset, values in zip(self.offsets, self.data, strict=True) if abs(offset) < n
        ]
        largest = max((float(np.abs(_inside(values, offset)).max()) for offset, values in held), default=0.0)
        if not np.isfinite(largest) or largest == 0:
            return super().facts()
        exponent = int(np.frexp(largest)[1])
        sums, squares, filled = np.zeros(n), np.zeros(n), np.zeros(n, bool)
        above, below, asymmetry = False, False, 0.0
        partners = dict(held)
        for offset, values in held:
            entries = _inside(values, offset)
            size = np.ldexp(np.abs(entries), -exponent).astype(np.float64)
            for shift in {offset, -offset} if self.symmetric else {offset}:
                rows = slice(max(0, -shift), n - max(0, shift))
                sums[rows] += size
                squares[rows] += size**2
                filled[rows] |= entries != 0
                above, below = (
                    above or (shift > 0 and bool(entries.any())),
                    below or (shift < 0 and bool(entries.any())),
                )
            if not self.symmetric:
                mirror = partners.get(-offset)
                other = np.zeros_like(entries) if mirror is None else _inside(mirror, -offset)
                asymmetry = max(asymmetry, float(np.abs(entries - other.conj()).max()))
        return facts_of_rows(
            largest,
            exponent,
            sums=sums,
            squares=squares,
            diagonal=self.diagonal(),
            asymmetry=asymmetry,
            above=above,
            below=below,
            filled=filled,
        )

    def mapped(self, function: Callable[[Any], Any]) -> Diagonals:
        return Diagonals(function(self.data), self.offsets, self.symmetric)

    def rescaled(self, exponent: int) -> Diagonals:
        return self.mapped(lambda values: times_power_of_two(values, exponent))

    def astype(self, dtype: np.dtype) -> Operator:
        if dtype == self.dtype:
            return self
        if dtype.kind == "c" and self.symmetric:
            matrix = self.tocsr()
            return CSR(matrix.indptr, matrix.indices, matrix.data.astype(dtype))
        return Diagonals(self.data.astype(dtype), self.offsets, self.symmetric)


def _inside(values: np.ndarray, offset: int) -> np.ndarray:
    """The entries of a diagonal that lie within the matrix, first row first."""
    return values[max(0, -offset) : values.size - max(0, offset)]
