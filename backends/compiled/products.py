"""Products of blocks of rows with a vector, one implementation a storage; every compiled loop is built on them.

``block_product(A, x, low, high, y)`` writes rows low..high of A x to y, so that the loop which called it can use them
while they are in cache. A is one of the tuples below, told apart when compiling. Inner loops run over slices from zero
on: an index that might be negative would have to be wrapped, which keeps a loop from being vectorised.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba.core import types
from numba.extending import overload, register_jitable

from ...kernels import kernel
from ...operators import CSR, Dense, Diagonals, Stencil

__all__ = [
    "BandArrays",
    "CSRArrays",
    "CSRStack",
    "DenseArrays",
    "HermitianArrays",
    "DenseStack",
    "ShiftedArrays",
    "StencilArrays",
    "StencilStack",
    "SymmetricBandArrays",
    "arrays_of",
    "block_product",
    "is_kind",
    "member",
    "on_three_axes",
    "row_defect",
    "three_axes",
]


class CSRArrays(NamedTuple):
    """Compressed sparse rows; 32-bit indices are taken as unsigned, which spares a sign extension an entry."""

    indptr: Any
    indices: Any
    data: Any


class DenseArrays(NamedTuple):
    """A full matrix in C order."""

    matrix: Any


class HermitianArrays(NamedTuple):
    """The same, equal to its conjugate transpose to the last bit: columns may be read as rows."""

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
    """Sizes of a grid of one to three dimensions, and the coefficients of a point and its neighbours."""

    planes: Any
    lines: Any
    points: Any
    center: Any
    plane_lower: Any
    plane_upper: Any
    line_lower: Any
    line_upper: Any
    lower: Any
    upper: Any


class ShiftedArrays(NamedTuple):
    """H + shift I of a symmetric full matrix H in C order, whose rows are taken for its columns.

    ``known`` is empty, or the one product that is asked, known before.
    """

    matrix: Any
    shift: Any
    known: Any


class CSRStack(NamedTuple):
    """Matrices of one pattern, ``data`` holding the values of each by rows."""

    indptr: Any
    indices: Any
    data: Any


class DenseStack(NamedTuple):
    """Full matrices, (m, n, n) in C order."""

    matrices: Any


class StencilStack(NamedTuple):
    """Constant stencils on one grid: its three sizes, and by rows the seven coefficients of each."""

    planes: Any
    lines: Any
    points: Any
    coefficients: Any


def is_kind(A: Any, kind: type) -> bool:
    """Whether a Numba type is one of the tuples above."""
    return isinstance(A, types.BaseNamedTuple) and A.instance_class is kind  # type: ignore[attr-defined]


def block_product(A, x, low, high, y):  # type: ignore[no-untyped-def]
    """Rows low..high of A x, written to y, which has as many entries."""
    raise NotImplementedError


def row_defect(A, x, start, i, backward):  # type: ignore[no-untyped-def]
    """start - (A x)_i, the neighbours that a sweep in this direction has just changed subtracted last."""
    raise NotImplementedError


@overload(block_product)
def _block_product(A, x, low, high, y):  # type: ignore[no-untyped-def]
    for kind, implementation in _BLOCKS.items():
        if is_kind(A, kind):
            return implementation
    return None


def member(stack, i):  # type: ignore[no-untyped-def]
    """The arrays of matrix i of a stack."""
    raise NotImplementedError


@overload(member, inline="always")
def _member(stack, i):  # type: ignore[no-untyped-def]
    if is_kind(stack, CSRStack):
        return lambda stack, i: CSRArrays(stack.indptr, stack.indices, stack.data[i])
    if is_kind(stack, DenseStack):
        return lambda stack, i: DenseArrays(stack.matrices[i])
    if is_kind(stack, StencilStack):

        def stencil(stack, i):  # type: ignore[no-untyped-def]
            c = stack.coefficients[i]
            return StencilArrays(stack.planes, stack.lines, stack.points, c[0], c[1], c[2], c[3], c[4], c[5], c[6])

        return stencil
    return None


# Forced into its caller, where the direction is a constant: a call a row would cost more than the row.
@overload(row_defect, jit_options={"forceinline": True})
def _row_defect(A, x, start, i, backward):  # type: ignore[no-untyped-def]
    for kind, implementation in _ROWS.items():
        if is_kind(A, kind):
            return implementation
    return None


def _csr_block(A, x, low, high, y):  # type: ignore[no-untyped-def]
    _csr_rows(A.indptr, A.indices, A.data, x, low, high, y)


# Two sums a row, and in this order: where sums may be reassociated, the compiler gathers entries into registers, which
# takes three times as long.
@kernel(fastmath={"contract"})
def _csr_rows(indptr, indices, data, x, low, high, y):  # type: ignore[no-untyped-def]
    zero = x.dtype.type(0)
    ends = indptr[low : high + 1]
    end = ends[0]
    one = end - end + 1
    for i in range(high - low):
        k, end = end, ends[i + 1]
        even, odd = zero, zero
        while k + one < end:
            even += data[k] * x[indices[k]]
            odd += data[k + one] * x[indices[k + one]]
            k += one + one
        if k < end:
            even += data[k] * x[indices[k]]
        y[i] = even + odd


def _csr_row(A, x, start, i, backward):  # type: ignore[no-untyped-def]
    total = start
    k, end = np.uint64(A.indptr[i]), np.uint64(A.indptr[i + 1])
    if backward:
        while k < end:
            total -= A.data[k] * x[A.indices[k]]
            k += np.uint64(1)
    else:
        while end > k:
            end -= np.uint64(1)
            total -= A.data[end] * x[A.indices[end]]
    return total


def _dense_block(A, x, low, high, y):  # type: ignore[no-untyped-def]
    rows = A.matrix[low:high]
    zero = x.dtype.type(0)
    together = rows.shape[0] // 8 * 8
    # Eight rows at a time: their sums are reduced side by side, which for short rows takes as long as adding up.
    for i in range(0, together, 8):
        a, b, c, d = rows[i], rows[i + 1], rows[i + 2], rows[i + 3]
        e, f, g, h = rows[i + 4], rows[i + 5], rows[i + 6], rows[i + 7]
        ya = yb = yc = yd = ye = yf = yg = yh = zero
        for j in range(x.size):
            xj = x[j]
            ya += a[j] * xj
            yb += b[j] * xj
            yc += c[j] * xj
            yd += d[j] * xj
            ye += e[j] * xj
            yf += f[j] * xj
            yg += g[j] * xj
            yh += h[j] * xj
        y[i], y[i + 1], y[i + 2], y[i + 3] = ya, yb, yc, yd
        y[i + 4], y[i + 5], y[i + 6], y[i + 7] = ye, yf, yg, yh
    for i in range(together, rows.shape[0]):
        row = rows[i]
        total = zero
        for j in range(x.size):
            total += row[j] * x[j]
        y[i] = total


def _dense_row(A, x, start, i, backward):  # type: ignore[no-untyped-def]
    total = start
    row = A.matrix[i]
    for j in range(x.size):
        total -= row[j] * x[j]
    return total


def _shifted_block(A, x, low, high, y):  # type: ignore[no-untyped-def]
    H, shift, here = A.matrix, A.shift, x[low:high]
    if A.known.size > 0:
        known = A.known[low:high]
        for j in range(high - low):
            y[j] = known[j]
        return
    for j in range(high - low):
        y[j] = shift * here[j]
    # Rows are added up, eight at a time: y is then read and written once for eight of them. Unsigned indices are never
    # wrapped; a slice of each row would cost as much as adding up a short one.
    first, n = np.uint64(low), np.uint64(y.size)
    together = x.size // 8 * 8
    for i in range(0, together, 8):
        a, b, c, d, e, f, g, h = H[i], H[i + 1], H[i + 2], H[i + 3], H[i + 4], H[i + 5], H[i + 6], H[i + 7]
        xa, xb, xc, xd, xe, xf, xg, xh = x[i], x[i + 1], x[i + 2], x[i + 3], x[i + 4], x[i + 5], x[i + 6], x[i + 7]
        for j in range(n):
            k = first + j
            y[j] += (xa * a[k] + xb * b[k] + xc * c[k] + xd * d[k]) + (xe * e[k] + xf * f[k] + xg * g[k] + xh * h[k])
    for i in range(together, x.size):
        row, entry = H[i], x[i]
        for j in range(n):
            y[j] += entry * row[first + j]


def _band_block(A, x, low, high, y):  # type: ignore[no-untyped-def]
    for i in range(high - low):
        y[i] = 0
    for d in range(A.offsets.size):
        _add_band(A.data, d, A.offsets[d], 0, x, low, high, y)


@register_jitable
def _add_band(data, d, offset, shift, x, low, high, y):  # type: ignore[no-untyped-def]
    """Rows low..high of one diagonal's product, added to y: data[d, i + shift] multiplies x[i + offset] in row i."""
    begin, end = max(low, -offset), min(high, x.size - offset)
    if begin < end:
        band, there, here = data[d, begin + shift : end + shift], x[begin + offset : end + offset], y[begin - low :]
        for i in range(end - begin):
            here[i] += band[i] * there[i]


def _band_row(A, x, start, i, backward):  # type: ignore[no-untyped-def]
    total = start
    for d in range(A.offsets.size):
        j = i + A.offsets[d]
        if 0 <= j < x.size:
            total -= A.data[d, i] * x[j]
    return total


def _symmetric_block(A, x, low, high, y):  # type: ignore[no-untyped-def]
    n = x.size
    band, here = A.data[0, low:high], x[low:high]
    for i in range(high - low):
        y[i] = band[i] * here[i]
    for d in range(1, A.offsets.size):
        offset = A.offsets[d]
        if low >= offset and high <= n - offset:
            above, below = A.data[d, low:high], A.data[d, low - offset : high - offset]
            ahead, behind = x[low + offset : high + offset], x[low - offset : high - offset]
            for i in range(high - low):
                y[i] += above[i] * ahead[i] + below[i] * behind[i]
        else:
            _add_band(A.data, d, offset, 0, x, low, high, y)
            _add_band(A.data, d, -offset, -offset, x, low, high, y)


def _symmetric_row(A, x, start, i, backward):  # type: ignore[no-untyped-def]
    total = start
    total -= A.data[0, i] * x[i]
    for d in range(1, A.offsets.size):
        offset = A.offsets[d]
        if i + offset < x.size:
            total -= A.data[d, i] * x[i + offset]
        if i >= offset:
            total -= A.data[d, i - offset] * x[i - offset]
    return total


def _stencil_block(A, x, low, high, y):  # type: ignore[no-untyped-def]
    planes, lines, points, center, plane_lower, plane_upper, line_lower, line_upper, lower, upper = A
    zero = x.dtype.type(0)
    plane = lines * points
    i = low
    while i < high:
        line = i // points
        first = line * points
        stop = min(first + points, high)
        begin, end = max(i, first + 1), min(stop, first + points - 1)
        if begin < end:
            here, left, right = x[begin:end], x[begin - 1 : end - 1], x[begin + 1 : end + 1]
            out = y[begin - low : end - low]
            if lines == 1 and planes == 1:
                for t in range(end - begin):
                    out[t] = center * here[t] + lower * left[t] + upper * right[t]
            else:
                # A neighbour beyond the boundary becomes the point itself with coefficient zero: one loop for all.
                j = line % lines
                back, c_below = (points, line_lower) if j > 0 else (0, zero)
                ahead, c_above = (points, line_upper) if j < lines - 1 else (0, zero)
                below, above = x[begin - back : end - back], x[begin + ahead : end + ahead]
                if planes == 1:
                    for t in range(end - begin):
                        out[t] = (
                            center * here[t]
                            + lower * left[t]
                            + upper * right[t]
                            + c_below * below[t]
                            + c_above * above[t]
                        )
                else:
                    k = line // lines
                    back, c_behind = (plane, plane_lower) if k > 0 else (0, zero)
                    ahead, c_front = (plane, plane_upper) if k < planes - 1 else (0, zero)
                    behind, front = x[begin - back : end - back], x[begin + ahead : end + ahead]
                    for t in range(end - begin):
                        out[t] = (
                            center * here[t]
                            + lower * left[t]
                            + upper * right[t]
                            + c_below * below[t]
                            + c_above * above[t]
                            + c_behind * behind[t]
                            + c_front * front[t]
                        )
        if i == first:
            y[i - low] = -_stencil_row(A, x, zero, i, False)
        last = first + points - 1
        if last < stop and (points > 1 or i != first):
            y[last - low] = -_stencil_row(A, x, zero, last, False)
        i = stop


@register_jitable
def _stencil_row(A, x, start, i, backward):  # type: ignore[no-untyped-def]
    total = start
    planes, lines, points, center, plane_lower, plane_upper, line_lower, line_upper, lower, upper = A
    point = i % points
    line = i // points
    total -= center * x[i]
    if planes > 1:
        k = line // lines
        plane = lines * points
        if k > 0:
            total -= plane_lower * x[i - plane]
        if k < planes - 1:
            total -= plane_upper * x[i + plane]
    if lines > 1:
        j = line % lines
        if j > 0:
            total -= line_lower * x[i - points]
        if j < lines - 1:
            total -= line_upper * x[i + points]
    if backward:
        if point > 0:
            total -= lower * x[i - 1]
        if point < points - 1:
            total -= upper * x[i + 1]
    else:
        if point < points - 1:
            total -= upper * x[i + 1]
        if point > 0:
            total -= lower * x[i - 1]
    return total


_BLOCKS = {
    CSRArrays: _csr_block,
    DenseArrays: _dense_block,
    ShiftedArrays: _shifted_block,
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
    if isinstance(A, CSR):
        if A.indices.itemsize == A.indptr.itemsize == 4:
            return CSRArrays(A.indptr.view(np.uint32), A.indices.view(np.uint32), A.data)
        return CSRArrays(A.indptr.astype(np.int64, copy=False), A.indices.astype(np.int64, copy=False), A.data)
    if isinstance(A, Diagonals):
        kind = SymmetricBandArrays if A.symmetric else BandArrays
        return kind(np.ascontiguousarray(A.data), A.offsets)
    if isinstance(A, Dense):
        return DenseArrays(np.ascontiguousarray(A.matrix))
    if isinstance(A, Stencil):
        return StencilArrays(*three_axes(A.grid), *on_three_axes(A.coefficients))
    return None


def three_axes(grid: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes of a grid, with 1 for the axes that it lacks."""
    return (1,) * (3 - len(grid)) + tuple(int(size) for size in grid)


def on_three_axes(coefficients: np.ndarray) -> np.ndarray:
    """Coefficients (..., 1 + 2 d) with zeros for the axes that are lacking: (..., 7)."""
    full = np.zeros((*coefficients.shape[:-1], 7), coefficients.dtype)
    full[..., 0] = coefficients[..., 0]
    full[..., 7 - (coefficients.shape[-1] - 1) :] = coefficients[..., 1:]
    return full
