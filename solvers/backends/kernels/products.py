"""Products of blocks of rows with a vector, one implementation a storage; every compiled loop is built on them.

``block_product(A, x, low, high, y, base)`` writes rows low..high of A x to y[low - base : high - base], so that the
loop which called it can use them while they are in cache. A is one of the tuples below, told apart when compiling.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba.core import types
from numba.extending import overload, register_jitable

__all__ = [
    "BandArrays",
    "CSRArrays",
    "DenseArrays",
    "StencilArrays",
    "SymmetricBandArrays",
    "arrays_of",
    "block_product",
    "is_kind",
    "row_sum",
]


class CSRArrays(NamedTuple):
    """Compressed sparse rows; indices are unsigned, which spares a sign extension an entry."""

    indptr: Any
    indices: Any
    data: Any


class DenseArrays(NamedTuple):
    """A full matrix in C order."""

    matrix: Any


class BandArrays(NamedTuple):
    """data[d, i] multiplies x[i + offsets[d]] in row i."""

    data: Any
    offsets: Any


class SymmetricBandArrays(NamedTuple):
    """The main diagonal and those above it; data[d, i] stands for (i, i + offsets[d]) and (i + offsets[d], i)."""

    data: Any
    offsets: Any


class StencilArrays(NamedTuple):
    """Grid sizes (planes, lines, points) and the coefficients centre, plane -, +, line -, +, point -, +."""

    grid: Any
    coefficients: Any


def is_kind(A: Any, kind: type) -> bool:
    """Whether a Numba type is one of the tuples above."""
    return isinstance(A, types.BaseNamedTuple) and A.instance_class is kind


def block_product(A, x, low, high, y, base):  # type: ignore[no-untyped-def]
    """Rows low..high of A x, written to y from y[low - base] on."""
    raise NotImplementedError


def row_sum(A, x, i):  # type: ignore[no-untyped-def]
    """One row of A x."""
    raise NotImplementedError


@overload(block_product)
def _block_product(A, x, low, high, y, base):  # type: ignore[no-untyped-def]
    for kind, implementation in _BLOCKS.items():
        if is_kind(A, kind):
            return implementation
    return None


@overload(row_sum)
def _row_sum(A, x, i):  # type: ignore[no-untyped-def]
    for kind, implementation in _ROWS.items():
        if is_kind(A, kind):
            return implementation
    return None


def _csr_block(A, x, low, high, y, base):  # type: ignore[no-untyped-def]
    end = A.indptr[low]
    for i in range(low, high):
        begin, end = end, A.indptr[i + 1]
        total = x.dtype.type(0)
        for k in range(begin, end):
            total += A.data[k] * x[A.indices[k]]
        y[i - base] = total


def _csr_row(A, x, i):  # type: ignore[no-untyped-def]
    total = x.dtype.type(0)
    for k in range(A.indptr[i], A.indptr[i + 1]):
        total += A.data[k] * x[A.indices[k]]
    return total


def _dense_block(A, x, low, high, y, base):  # type: ignore[no-untyped-def]
    for i in range(low, high):
        total = x.dtype.type(0)
        for j in range(x.size):
            total += A.matrix[i, j] * x[j]
        y[i - base] = total


def _dense_row(A, x, i):  # type: ignore[no-untyped-def]
    total = x.dtype.type(0)
    for j in range(x.size):
        total += A.matrix[i, j] * x[j]
    return total


def _band_block(A, x, low, high, y, base):  # type: ignore[no-untyped-def]
    n = x.size
    for i in range(low, high):
        y[i - base] = 0
    for d in range(A.offsets.size):
        offset = A.offsets[d]
        band = A.data[d]
        for i in range(max(low, -offset), min(high, n - offset)):
            y[i - base] += band[i] * x[i + offset]


def _band_row(A, x, i):  # type: ignore[no-untyped-def]
    total = x.dtype.type(0)
    for d in range(A.offsets.size):
        j = i + A.offsets[d]
        if 0 <= j < x.size:
            total += A.data[d, i] * x[j]
    return total


def _symmetric_block(A, x, low, high, y, base):  # type: ignore[no-untyped-def]
    n = x.size
    band = A.data[0]
    for i in range(low, high):
        y[i - base] = band[i] * x[i]
    for d in range(1, A.offsets.size):
        offset = A.offsets[d]
        band = A.data[d]
        middle_low, middle_high = max(low, offset), min(high, n - offset)
        if middle_low <= middle_high:
            for i in range(low, min(middle_low, high)):
                y[i - base] += band[i] * x[i + offset]
            for i in range(middle_low, middle_high):
                y[i - base] += band[i] * x[i + offset] + band[i - offset] * x[i - offset]
            for i in range(max(middle_high, low), high):
                y[i - base] += band[i - offset] * x[i - offset]
        else:
            for i in range(low, min(high, n - offset)):
                y[i - base] += band[i] * x[i + offset]
            for i in range(max(low, offset), high):
                y[i - base] += band[i - offset] * x[i - offset]


def _symmetric_row(A, x, i):  # type: ignore[no-untyped-def]
    total = A.data[0, i] * x[i]
    for d in range(1, A.offsets.size):
        offset = A.offsets[d]
        if i + offset < x.size:
            total += A.data[d, i] * x[i + offset]
        if i >= offset:
            total += A.data[d, i - offset] * x[i - offset]
    return total


def _stencil_block(A, x, low, high, y, base):  # type: ignore[no-untyped-def]
    planes, lines, points = A.grid
    center, plane_lower, plane_upper, line_lower, line_upper, lower, upper = A.coefficients
    zero = x.dtype.type(0)
    i = low
    while i < high:
        line = i // points
        first = line * points
        stop = min(first + points, high)
        # A neighbour beyond the boundary becomes the point itself with coefficient zero: one loop for all lines.
        j = line % lines
        below, c_below = (points, line_lower) if j > 0 else (0, zero)
        above, c_above = (points, line_upper) if j < lines - 1 else (0, zero)
        middle_low, middle_high = max(i, first + 1), min(stop, first + points - 1)
        if planes > 1:
            k = line // lines
            plane = lines * points
            back, c_back = (plane, plane_lower) if k > 0 else (0, zero)
            front, c_front = (plane, plane_upper) if k < planes - 1 else (0, zero)
            for t in range(middle_low, middle_high):
                y[t - base] = (
                    center * x[t]
                    + lower * x[t - 1]
                    + upper * x[t + 1]
                    + c_below * x[t - below]
                    + c_above * x[t + above]
                    + c_back * x[t - back]
                    + c_front * x[t + front]
                )
        elif lines > 1:
            for t in range(middle_low, middle_high):
                y[t - base] = (
                    center * x[t]
                    + lower * x[t - 1]
                    + upper * x[t + 1]
                    + c_below * x[t - below]
                    + c_above * x[t + above]
                )
        else:
            for t in range(middle_low, middle_high):
                y[t - base] = center * x[t] + lower * x[t - 1] + upper * x[t + 1]
        if i == first:
            y[i - base] = _stencil_row(A, x, i)
        last = first + points - 1
        if last < stop and (points > 1 or i != first):
            y[last - base] = _stencil_row(A, x, last)
        i = stop


@register_jitable
def _stencil_row(A, x, i):  # type: ignore[no-untyped-def]
    planes, lines, points = A.grid
    center, plane_lower, plane_upper, line_lower, line_upper, lower, upper = A.coefficients
    point = i % points
    line = i // points
    total = center * x[i]
    if point > 0:
        total += lower * x[i - 1]
    if point < points - 1:
        total += upper * x[i + 1]
    if lines > 1:
        j = line % lines
        if j > 0:
            total += line_lower * x[i - points]
        if j < lines - 1:
            total += line_upper * x[i + points]
    if planes > 1:
        k = line // lines
        plane = lines * points
        if k > 0:
            total += plane_lower * x[i - plane]
        if k < planes - 1:
            total += plane_upper * x[i + plane]
    return total


_BLOCKS = {
    CSRArrays: _csr_block,
    DenseArrays: _dense_block,
    BandArrays: _band_block,
    SymmetricBandArrays: _symmetric_block,
    StencilArrays: _stencil_block,
}
_ROWS = {
    CSRArrays: _csr_row,
    DenseArrays: _dense_row,
    BandArrays: _band_row,
    SymmetricBandArrays: _symmetric_row,
    StencilArrays: _stencil_row,
}


def arrays_of(A: Any) -> Any:
    """The tuple of arrays of an Operator that kernels can multiply, or None."""
    from ...operators import CSR, Dense, Diagonals, Stencil

    if isinstance(A, CSR):
        unsigned = np.uint32 if A.indices.dtype.itemsize == 4 else np.uint64
        return CSRArrays(A.indptr.view(unsigned), A.indices.view(unsigned), A.data)
    if isinstance(A, Diagonals):
        kind = SymmetricBandArrays if A.symmetric else BandArrays
        return kind(np.ascontiguousarray(A.data), A.offsets)
    if isinstance(A, Dense):
        return DenseArrays(np.ascontiguousarray(A.matrix))
    if isinstance(A, Stencil):
        sizes = (1,) * (3 - len(A.grid)) + A.grid
        pairs = np.zeros(7, A.dtype)
        pairs[0] = A.coefficients[0]
        pairs[7 - 2 * len(A.grid) :] = A.coefficients[1:]
        return StencilArrays(tuple(int(size) for size in sizes), tuple(pairs))
    return None
