"""Matrices on a device that are a few diagonals, or a stencil: found among rows; and diagonals as SciPy holds them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from ...operators import Stencil
from .matrices import Arrays, stencil_arrays

try:
    import cupy
except ImportError:
    cupy = None

__all__ = ["bands_of_rows", "diagonals_of_columns", "stencil_of_bands"]

BANDS_FROM = 4096  # rows: below, finding the bands costs more than they save
BANDS_MOST = 16
SAMPLED = 60  # rows that are asked for their offsets; others may have more, and the kernel says so
GOLDEN = (5**0.5 - 1) / 2  # whose multiples keep to no line of a grid
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

STENCIL_TEXT = """
// wrong[0] where an entry on one of the diagonals is not the stencil's.
extern "C" __global__ void compare_stencil(
    MATRIX_PARAMETERS, long long n, long long tiles, const long long* offsets, long long count, const T* bands,
    int* wrong)
{
    FOR_TILES(tile, tiles) {
        long long row = row_of(MATRIX, n, tile);
        if (row < 0) continue;
        for (long long d = 0; d < count; ++d) {
            long long column = row + offsets[d];
            if (column < 0 || column >= n) continue;
            double wanted = 0.0;
            entries_of(MATRIX, n, tile, [&](double entry, long long at) { if (at == column) wanted = entry; });
            if ((double)bands[d * n + row] != wanted) wrong[0] = 1;
        }
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
    rows = np.unique((A.n * (GOLDEN * np.arange(SAMPLED) % 1)).astype(np.int64))
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


def stencil_of_bands(bands: Any, offsets: np.ndarray, symmetric: bool) -> Stencil | None:
    """The stencil that these diagonals are, where every inner point of a grid has the same coefficients.

    Parameters
    ----------
    bands, offsets, symmetric :
        As ``bands_of_rows`` finds them.
    """
    n, steps = bands.shape[1], sorted({abs(offset) for offset in offsets.tolist()} - {0})
    if not 1 <= len(steps) <= 3 or steps[0] != 1:
        return None
    ends = [*steps, n]
    if any(after % step for step, after in pairwise(ends)):
        return None
    grid = tuple(after // step for step, after in pairwise(ends))[::-1]
    if min(grid) < 3:
        return None
    inner = dict(zip(offsets.tolist(), bands[:, sum(steps)].get().tolist(), strict=True))  # the second along each axis
    sides = [(inner.get(step if symmetric else -step, 0.0), inner.get(step, 0.0)) for step in reversed(steps)]
    stencil = Stencil(grid, inner.get(0, 0.0), sides, np.dtype(bands.dtype))
    wrong = cupy.zeros(1, np.int32)
    stencil_arrays(stencil).launch("compare_stencil", STENCIL_TEXT, cupy.asarray(offsets), offsets.size, bands, wrong)
    return None if int(wrong[0]) else stencil


def diagonals_of_columns(data: Any, offsets: np.ndarray, n: int) -> tuple[Any, np.ndarray]:
    """Diagonals whose entry j lies in column j, as SciPy has them, as those whose entry i lies in row i."""
    rows = cupy.zeros((offsets.size, n), data.dtype)
    for k, offset in enumerate(offsets.tolist()):
        low, high = max(0, -offset), min(n, n - offset, data.shape[1] - offset)
        if low < high:
            rows[k, low:high] = data[k, low + offset : high + offset]
    return rows, offsets.astype(np.int64)
