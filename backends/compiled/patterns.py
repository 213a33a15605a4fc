"""The pattern of a symmetric matrix of few diagonals, kept for other entries in the same places."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...kernels import kernel

__all__ = ["BandPattern"]

LEAST_RUN = 4  # rows of a run, on the average, from which going run by run is faster than row by row
ENTRIES = 4096  # compared at a time


class BandPattern:
    """Where a symmetric CSR matrix has its entries, and how these become the diagonals of its upper half.

    Parameters
    ----------
    indptr, indices : ndarray
        Of sorted rows; copied, since the caller may change them.
    offsets : ndarray of int
        Of the diagonals, 0 first, increasing.
    """

    def __init__(self, indptr: Any, indices: Any, offsets: np.ndarray) -> None:
        self.indptr, self.indices, self.offsets = indptr.copy(), indices.copy(), offsets
        self._runs: np.ndarray | None = None

    def is_that_of(self, indptr: Any, indices: Any) -> bool:
        """Whether the entries lie in the same places; one pass over the indices."""
        if (indptr.dtype, indices.dtype, indptr.size) != (self.indptr.dtype, self.indices.dtype, self.indptr.size):
            return False
        if indptr.ndim != 1 or indices.ndim != 1 or indices.size < self.indices.size:
            return False
        return bool(_equal(indptr, self.indptr) and _equal(indices[: self.indices.size], self.indices))

    def fill(self, data: Any, bands: np.ndarray) -> bool:
        """The diagonals of the matrix of these entries; False where it is not exactly symmetric.

        Found run by run: rows that follow each other and have their entries on the same diagonals.
        """
        if self._runs is None:
            self._runs = _runs(self.indptr, self.indices)
        if LEAST_RUN * self._runs.size > self.indptr.size:
            return False
        return bool(_fill(self.indptr, self.indices, data, self._runs, tuple(self.offsets.tolist()), bands))


@kernel()
def _equal(x, y):  # type: ignore[no-untyped-def]
    for low in range(0, x.size, ENTRIES):
        xs, ys = x[low : low + ENTRIES], y[low : low + ENTRIES]
        differ = xs[0] ^ ys[0]
        for i in range(xs.size):
            differ |= xs[i] ^ ys[i]
        if differ:
            return False
    return True


@kernel()
def _runs(indptr, indices):  # type: ignore[no-untyped-def]
    """The first rows of runs."""
    n = indptr.size - 1
    first = np.zeros(n, np.int64)
    count = 1
    for i in range(1, n):
        before, k, end = indptr[i - 1], indptr[i], indptr[i + 1]
        same = end - k == k - before
        while same and k < end:
            same = indices[k] == indices[before] + 1
            before += 1
            k += 1
        if not same:
            first[count] = i
            count += 1
    return first[:count].copy()


@kernel()
def _fill(indptr, indices, data, runs, offsets, bands):  # type: ignore[no-untyped-def]
    n = indptr.size - 1
    unequal = 0
    for run in range(runs.size):
        i = runs[run]
        end = runs[run + 1] if run + 1 < runs.size else n
        k, width = np.int64(indptr[i]), np.int64(indptr[i + 1]) - np.int64(indptr[i])
        if width == 2 * len(offsets) - 1:
            unequal += _whole_rows(data, k, offsets, bands, i, end)
        else:
            unequal += _rows(indices, data, k, width, offsets, bands, i, end)
        if unequal:
            return False
    return True


# The number of diagonals is that of a tuple, so that the loops over them are none.
@kernel()
def _whole_rows(data, start, offsets, bands, begin, end):  # type: ignore[no-untyped-def]
    """Rows with an entry on each diagonal; how many of the lower ones are no mirror images."""
    unequal = 0
    middle = len(offsets) - 1
    k = np.uint64(start)
    for i in range(np.uint64(begin), np.uint64(end)):
        for d in range(len(offsets)):
            bands[d, i] = data[k + np.uint64(middle + d)]
        for d in range(1, len(offsets)):
            unequal += bands[d, i - np.uint64(offsets[d])] != data[k + np.uint64(middle - d)]
        k += np.uint64(2 * len(offsets) - 1)
    return unequal


@kernel()
def _rows(indices, data, start, width, offsets, bands, begin, end):  # type: ignore[no-untyped-def]
    """Rows with entries on the same diagonals; the same."""
    unequal = 0
    at = width - 1
    # Upper entries first: a lower one may be the mirror image of one in the row before.
    for step in range(len(offsets)):
        d = len(offsets) - 1 - step
        here = at >= 0 and np.int64(indices[start + at]) - begin == offsets[d]
        for i in range(begin, end):
            bands[d, i] = data[start + at + width * (i - begin)] if here else 0
        at -= here
    for d in range(1, len(offsets)):
        here = at >= 0 and begin - np.int64(indices[start + at]) == offsets[d]
        for i in range(max(begin, offsets[d]), end):
            mirror = data[start + at + width * (i - begin)] if here else 0
            unequal += bands[d, i - offsets[d]] != mirror
        at -= here
    return unequal + at + 1
