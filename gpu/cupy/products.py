"""Products with a matrix on a device, fused with what is done with them: one pass over the matrix each."""

from __future__ import annotations

import math
import threading
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .matrices import Arrays
from .sources import MOST_BLOCKS

try:
    import cupy
except ImportError:
    cupy = None

__all__ = ["Room", "accurate_residual", "new_room", "product", "product_dot", "residual", "room"]

TEXT = """
// y = A x
extern "C" __global__ void product(MATRIX_PARAMETERS, long long n, long long tiles, const T* x, T* y)
{
    FOR_TILES(tile, tiles) {
        long long row = row_of(MATRIX, n, tile);
        double value = tile_product(MATRIX, n, tile, x);
        if (row >= 0) y[row] = (T)value;
    }
}

// q = A p and p^T q
extern "C" __global__ void product_dot(
    MATRIX_PARAMETERS, long long n, long long tiles, const T* p, T* q, double* partial, unsigned int* arrived,
    double* out)
{
    double sums[1] = {0.0};
    FOR_TILES(tile, tiles) {
        long long row = row_of(MATRIX, n, tile);
        T value = (T)tile_product(MATRIX, n, tile, p);
        if (row < 0) continue;
        q[row] = value;
        sums[0] += (double)p[row] * (double)value;
    }
    if (summed(sums, partial, arrived) && threadIdx.x == 0) out[0] = sums[0];
}

// r = b - A x and ||r||^2
extern "C" __global__ void residual(
    MATRIX_PARAMETERS, long long n, long long tiles, const T* x, const T* b, T* r, double* partial,
    unsigned int* arrived, double* out)
{
    double sums[1] = {0.0};
    FOR_TILES(tile, tiles) {
        long long row = row_of(MATRIX, n, tile);
        double value = tile_product(MATRIX, n, tile, x);
        if (row < 0) continue;
        T left = (T)((double)b[row] - value);
        r[row] = left;
        sums[0] += (double)left * (double)left;
    }
    if (summed(sums, partial, arrived) && threadIdx.x == 0) out[0] = sums[0];
}

// The same in twice the digits of double: every product with its rounding error, and every sum with its own.
extern "C" __global__ void accurate_residual(
    MATRIX_PARAMETERS, long long n, long long tiles, const T* x, const T* b, T* r, double* partial,
    unsigned int* arrived, double* out)
{
    double sums[1] = {0.0};
    FOR_TILES(tile, tiles) {
        long long row = row_of(MATRIX, n, tile);
        double high = row < 0 ? 0.0 : (double)b[row], low = 0.0;
        entries_of(MATRIX, n, tile, [&](double entry, long long column) {
            double factor = -(double)x[column], value = entry * factor, lost = fma(entry, factor, -value);
            double sum = high + value, added = sum - high;
            lost += (high - (sum - added)) + (value - added);
            high = sum;
            low += lost;
        });
        if (row < 0) continue;
        T left = (T)(high + low);
        r[row] = left;
        sums[0] += (double)left * (double)left;
    }
    if (summed(sums, partial, arrived) && threadIdx.x == 0) out[0] = sums[0];
}
"""
KINDS = 8  # of sums that are taken together, at most


class Room(NamedTuple):
    """Where the sums of blocks are put, how many blocks have put theirs, and where the results go."""

    partial: Any
    arrived: Any
    out: Any


def room() -> Room:
    """That of this thread on the current stream: others write to theirs before the results here are read."""
    return _room(threading.get_ident(), cupy.cuda.Device().id, cupy.cuda.get_current_stream().ptr)


@lru_cache(maxsize=64)
def _room(thread: int, device: int, stream: int) -> Room:
    return new_room()


def new_room() -> Room:
    """Room of one's own."""
    return Room(cupy.empty(KINDS * MOST_BLOCKS), cupy.zeros(1, np.uint32), cupy.empty(KINDS))


def product(A: Arrays, x: Any, out: Any) -> Any:
    """A x, in place of out."""
    A.launch("product", TEXT, x, out)
    return out


def product_dot(A: Arrays, p: Any, q: Any) -> tuple[Any, float]:
    """q = A p, in place of q, and p^T q."""
    there = room()
    A.launch("product_dot", TEXT, p, q, *there)
    return q, float(there.out[0])


def residual(A: Arrays, x: Any, b: Any, out: Any) -> tuple[Any, float]:
    """b - A x, in place of out, and its norm."""
    there = room()
    A.launch("residual", TEXT, x, b, out, *there)
    return out, math.sqrt(float(there.out[0]))


def accurate_residual(A: Arrays, x: Any, b: Any, out: Any) -> tuple[Any, float]:
    """The same with sums in twice the digits of double precision."""
    there = room()
    A.launch("accurate_residual", TEXT, x, b, out, *there)
    return out, math.sqrt(float(there.out[0]))
