"""Matrices on a device that are few diagonals or a stencil, and what kernels are given of any matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...operators import Diagonals, Facts, Operator, Stencil
from .sources import THREADS, blocks_of, kernel, tiles_of

__all__ = ["Arrays", "DeviceDiagonals", "DeviceStencil", "csr_arrays", "stencil_arrays"]

# Mean entries a row from which a row is a warp's: a thread that adds up more of them keeps the others waiting.
LONG_ROWS = 32
INT32 = np.dtype(np.int32)
PATCH_LINES, PATCH_WIDTH = 4, 6  # a patch of 4 lines of 2**6 points: half of its surroundings are read with it


@dataclass(frozen=True)
class Arrays:
    """What kernels are given of a matrix.

    Attributes
    ----------
    storage : str
        A name in ``sources.STORAGES``, whose parameters ``values`` are.
    dtype : dtype
    n, tiles : int
        Rows, and tiles of them.
    index : dtype
        Of the index arrays, where there are any.
    """

    storage: str
    dtype: np.dtype
    values: tuple[Any, ...]
    n: int
    tiles: int
    index: np.dtype = INT32

    def launch(self, name: str, text: str, *arguments: Any) -> None:
        """Launch the kernel of that name in a text, made for this storage; the matrix, its rows and tiles go first."""
        made = kernel(name, text, self.dtype.char, self.storage, self.index.char)
        made((blocks_of(self.tiles),), (THREADS,), (*self.values, self.n, self.tiles, *arguments))


def csr_arrays(indptr: Any, indices: Any, data: Any) -> Arrays:
    """Those of a matrix by rows."""
    n = indptr.shape[0] - 1
    storage = "csr_long" if data.shape[0] >= LONG_ROWS * n else "csr_short"
    return Arrays(storage, data.dtype, (indptr, indices, data), n, tiles_of(n), np.dtype(indices.dtype))


class DeviceDiagonals(Operator):
    """A matrix stored by diagonals, as in ``operators.Diagonals``.

    Parameters
    ----------
    data : device array, (number of diagonals, n)
        ``data[d, i]`` multiplies ``x[i + offsets[d]]`` in row i.
    offsets : ndarray of int
        On the host.
    symmetric : bool
        Of a symmetric matrix the main diagonal and those above it.
    """

    kind = "diagonals"

    def __init__(self, data: Any, offsets: np.ndarray, symmetric: bool, backend: Any) -> None:
        self.data, self.offsets, self.symmetric, self.backend = data, offsets, symmetric, backend
        self.library, n = backend.library, data.shape[1]
        self.shape, self.dtype = (n, n), data.dtype

    @cached_property
    def arrays(self) -> Arrays | None:
        """What kernels take of it."""
        if self.dtype.kind != "f":
            return None
        n, offsets = self.shape[0], self.backend.xp.asarray(self.offsets.astype(np.int64))
        values = (self.data, offsets, len(self.offsets), int(self.symmetric))
        return Arrays("diagonals", self.dtype, values, n, tiles_of(n))

    @property
    def entries(self) -> int:
        return int(self.data.size)

    @property
    def values(self) -> Any:
        return self.data

    def matvec(self, x: Any) -> Any:
        n, result = self.shape[0], self.backend.xp.zeros(self.shape[0], np.result_type(self.dtype, x.dtype))
        for offset, values in zip(self.offsets.tolist(), self.data, strict=True):
            for shift in {offset, -offset} if self.symmetric else {offset}:
                rows, columns = (slice(max(0, -k), max(0, n - max(0, k))) for k in (shift, -shift))
                result[rows] += values[rows if shift == offset else columns] * x[columns]
        return result

    def on_host(self) -> Diagonals:
        """The same with its diagonals on the host."""
        return Diagonals(self.backend.to_numpy(self.data), self.offsets, self.symmetric)

    def tocsr(self) -> Any:
        return self.on_host().tocsr()

    def diagonal(self) -> Any:
        where = np.flatnonzero(self.offsets == 0)
        if where.size:
            return self.data[int(where[0])].copy()
        return self.backend.zeros(self.shape[0], self.dtype)

    def facts(self) -> Facts | None:
        return self.on_host().facts()

    def adjoint(self) -> Operator:
        return self if self.symmetric else self.backend.operator(self.backend.sparse.csr_matrix(self.tocsr().T.tocsr()))

    def mapped(self, function: Callable[[Any], Any]) -> DeviceDiagonals:
        return DeviceDiagonals(function(self.data), self.offsets, self.symmetric, self.backend)

    def rescaled(self, exponent: int) -> DeviceDiagonals:
        return self.mapped(lambda values: self.backend.ldexp(values.copy(), exponent))

    def astype(self, dtype: np.dtype) -> Operator:
        return self if dtype == self.dtype else self.mapped(lambda values: values.astype(dtype))


class DeviceStencil(Stencil):
    """A stencil whose vectors lie on a device; of the matrix itself there is nothing to put there.

    Parameters
    ----------
    stencil : Stencil
    backend : CupyBackend
    """

    portable = False

    def __init__(self, stencil: Stencil, backend: Any) -> None:
        self.grid, self.coefficients = stencil.grid, stencil.coefficients
        self.shape, self.dtype = stencil.shape, stencil.dtype
        self.backend, self.library = backend, backend.library
        self.arrays = stencil_arrays(stencil) if self.dtype.kind == "f" else None

    def diagonal(self) -> Any:
        return self.backend.xp.full(self.shape[0], self.coefficients[0], self.dtype)

    def mapped(self, function: Callable[[Any], Any]) -> Stencil:
        """With coefficients that are a function of arrays on the device, as those of other matrices are."""
        there = function(self.backend.xp.asarray(self.coefficients))
        return self._with(self.backend.to_numpy(there), self.dtype)

    def _with(self, coefficients: np.ndarray, dtype: np.dtype) -> Stencil:
        return DeviceStencil(super()._with(coefficients, dtype), self.backend)


def stencil_arrays(stencil: Stencil) -> Arrays:
    """Those of a real stencil."""
    own, *sides = stencil.coefficients.astype(float).tolist()
    axes = list(zip(stencil.grid, sides[::2], sides[1::2], strict=True))
    # The blocks walk along the first axis, and threads lie along the last: what is lacking is put between.
    axes = [(1, 0.0, 0.0)] * (len(axes) == 1) + axes[:-1] + [(1, 0.0, 0.0)] * (len(axes) < 3) + axes[-1:]
    planes, lines, points = (size for size, *_ in axes)
    width = PATCH_WIDTH if lines >= PATCH_LINES else THREADS.bit_length() - 1
    patches = -(-points >> width) * -(-lines // (THREADS >> width))
    sides = [side for _, *pair in axes for side in pair]
    values = (planes, lines, points, width, own, *sides)
    return Arrays("stencil", stencil.dtype, values, stencil.shape[0], patches * planes)
