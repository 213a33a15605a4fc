"""What a system leaves to the next one like it: the memory of its vectors, and where the entries of its matrix lie."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from ..precision.sparse_arrays import SORTED
from .compiled import facts, patterns

__all__ = ["PAGES", "Kept", "Memory"]

PAGES = 1 << 15  # bytes from which memory comes in fresh pages, which cost more than what is written to them
MOST = 8  # blocks of a size, and sizes


class Memory:
    """Arrays in memory that is taken again once nothing refers to them, or to views of them, any more.

    An array that is still held by anyone, such as a solution by the caller, is never written to.

    Examples
    --------
    >>> from resolvent.backends.kept import Memory
    >>> memory = Memory()
    >>> x = memory.empty((10000,), float)
    >>> x[:] = 1
    >>> view = x[:10]
    >>> del x
    >>> memory.empty((10000,), float)[0] = 2
    >>> float(view[0])
    1.0
    """

    def __init__(self) -> None:
        self._free: dict[int, list[Any]] = {}
        self._lent: dict[int, Any] = {}  # of arrays in use, by the number of the reference

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array whose entries are anything."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size < PAGES:
            return np.empty(shape, dtype)
        free = self._free.get(size)
        block: Any = free.pop() if free else np.empty(size, np.uint8).data
        # Views refer to this array, since what it stands on is none: they would skip to the last array of a chain.
        array = np.frombuffer(block, dtype)
        reference = weakref.ref(array, self._take_back)
        self._lent[id(reference)] = reference, block
        return array if len(shape) == 1 else array.reshape(shape)

    def _take_back(self, reference: Any) -> None:
        _, block = self._lent.pop(id(reference))
        if block.nbytes not in self._free and len(self._free) >= MOST:
            self._free.clear()
        free = self._free.setdefault(block.nbytes, [])
        if len(free) < MOST:
            free.append(block)


class Kept:
    """The memory of vectors and diagonals, and the last pattern of a symmetric matrix of few.

    Attributes
    ----------
    memory : Memory
    pattern : BandPattern or None
    recognised : BandPattern or None
        The same, where the rows looked at last have it.

    Notes
    -----
    A copy, or what comes out of a pickle, has kept nothing.
    """

    def __init__(self) -> None:
        self.memory = Memory()
        self.pattern: patterns.BandPattern | None = None
        self.recognised: patterns.BandPattern | None = None

    def rows_kind(self, indptr: Any, indices: Any, width: int) -> int:
        """``rows_kind``, which is known of the pattern that is kept: comparing costs less than looking."""
        pattern = self.pattern
        same = pattern is not None and len(indptr) == width + 1 and pattern.is_that_of(indptr, indices)
        self.recognised = pattern if same else None
        return SORTED if same else facts.rows_kind(indptr, indices, width)

    def __reduce__(self) -> tuple[Callable[[], Any], tuple[()]]:
        return Kept, ()
