"""Vectors that are reduced and combined together: rows of one array, where the library has arrays to write to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

__all__ = ["CANCELLED", "NEAR", "Block", "add_rows", "products_with_rows"]

# How a vector is made orthogonal to a block.
CANCELLED = 1 / math.sqrt(2)  # a vector that a pass leaves shorter than this has lost digits, and takes another pass
NEAR = 2  # vectors of the block, the last ones, that the next one mostly lies along


class Block(Sequence[Any]):
    """A block of vectors; ``V[:k]`` are the first k of them, in the same memory.

    A vector is rebound after every operation, as ever: ``V[j] = backend.axpy(a, x, V[j])``.

    Parameters
    ----------
    vectors : list of vectors
    array : array of shape (k, n), optional
        Whose rows they are.
    """

    def __init__(self, vectors: list[Any], array: Any = None) -> None:
        self.vectors, self.array = vectors, array

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, which: Any) -> Any:
        if isinstance(which, slice):
            return Block(self.vectors[which], None if self.array is None else self.array[which])
        return self.vectors[which]

    def __setitem__(self, index: int, vector: Any) -> None:
        self.vectors[index] = vector


def products_with_rows(V: np.ndarray, w: np.ndarray) -> np.ndarray:
    """conj(V) w for a NumPy array of rows: one pass over V, nothing copied."""
    return _gemv(V.dtype.char)(1.0, V.T, w, trans=2) if V.size else np.zeros(V.shape[0], V.dtype)


def add_rows(V: np.ndarray, y: np.ndarray, w: np.ndarray) -> np.ndarray:
    """w + V^T y, in place of w: one pass over V, nothing copied."""
    return _gemv(V.dtype.char)(1.0, V.T, y.astype(V.dtype), 1.0, w, overwrite_y=True) if V.size else w


@cache
def _gemv(char: str) -> Any:
    from scipy.linalg import blas  # when it is first needed: importing it takes longer than a small solve

    return getattr(blas, {"f": "sgemv", "d": "dgemv", "F": "cgemv", "D": "zgemv"}[char])
