"""Matrices on a device that are a few diagonals: found among rows, and taken from the form that SciPy has for them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .matrices import Arrays

try:
    import cupy
except ImportError:
    cupy = None

__all__ = ["bands_of_rows", "diagonals_of_columns"]

BANDS_FROM = 4096  # rows: below, finding the bands costs more than they save
BANDS_MOST = 16
SAMPLED = 60  # rows that are asked for their offsets; others may have more, and the kernel says so
PADDING = 1.25  # stored entries of bands per nonzero up to which bands are the smaller storage

TEXT = """
// Each entry to its place among the diagonals, or among those from the main one up; wrong[0] where it has none.
extern "C" __global__ void fill_bands(
    MATRIX_PARAMETERS, long long n, long long tiles, const long long* offsets, long long count, long long upper,
    T* bands, int* wrong)
{
    FOR_TILES(tile, tiles) {
        long long row = row_of(MATRIX, n, tile);
        if (row < 0) continue;
        for (I k = indptr[row]; k < indptr[row + 1]; ++k) {
            long long offset = indices[k] - row, d = 0;
            if (upper && offset < 0) continue;
            while (d < count && offsets[d] != offset) ++d;
            if (d == count) wrong[0] = 1;
            else bands[d * n + row] = data[k];
        }
    }
}

// wrong[0] where an entry below the main diagonal is not the one above it, or one above it has none below.
extern "C" __global__ void compare_halves(
    MATRIX_PARAMETERS, long long n, long long tiles, const long long* offsets, long long count, const T* bands,
    int* wrong)
{
    FOR_TILES(tile, tiles) {
        long long row = row_of(MATRIX, n, tile);
        if (row < 0) continue;
        long long below = 0;
        for (I k = indptr[row]; k < indptr[row + 1]; ++k) {
            long long offset = row - indices[k], d = 0;
            if (offset <= 0) continue;
            while (d < count && offsets[d] != offset) ++d;
            if (d == count || bands[d * n + indices[k]] != data[k]) wrong[0] = 1;
            below += data[k] != (T)0;
        }
        for (long long d = 0; d < count; ++d)
            if (offsets[d] > 0 && row >= offsets[d] && bands[d * n + row - offsets[d]] != (T)0) --below;
        if (below) wrong[0] = 1;
    }
}
"""


def bands_of_rows(A: Arrays) -> tuple[Any, np.ndarray, bool] | None:
    """The diagonals of a large matrix by rows that has few, as ``DeviceDiagonals`` takes them.

    The upper half only where A is exactly symmetric.
    """
    if A.n < BANDS_FROM:
        return None
    indptr, indices, data = A.values
    rows = np.arange(0, A.n, max(1, A.n // SAMPLED))
    starts, ends = (indptr[cupy.asarray(rows + k)].get() for k in (0, 1))
    found = [indices[a:b].get() - row for row, a, b in zip(rows.tolist(), starts, ends, strict=True)]
    offsets = np.unique(np.concatenate(found)).astype(np.int64)
    if not offsets.size or offsets.size > BANDS_MOST or offsets.size * A.n > PADDING * data.size:
        return None
    upper = np.unique(np.abs(offsets))
    for symmetric, wanted in ((True, np.union1d(upper, [0])), (False, offsets)):
        places, wrong = cupy.asarray(wanted), cupy.zeros(1, np.int32)
        bands = cupy.zeros((wanted.size, A.n), A.dtype)
        A.launch("fill_bands", TEXT, places, wanted.size, int(symmetric), bands, wrong)
        if symmetric:
            A.launch("compare_halves", TEXT, places, wanted.size, bands, wrong)
        if not int(wrong[0]):
            return bands, wanted, symmetric
    return None


def diagonals_of_columns(data: Any, offsets: np.ndarray, n: int) -> tuple[Any, np.ndarray]:
    """Diagonals whose entry j lies in column j, as SciPy has them, as those whose entry i lies in row i."""
    rows = cupy.zeros((offsets.size, n), data.dtype)
    for k, offset in enumerate(offsets.tolist()):
        low, high = max(0, -offset), min(n, n - offset, data.shape[1] - offset)
        if low < high:
            rows[k, low:high] = data[k, low + offset : high + offset]
    return rows, offsets.astype(np.int64)
