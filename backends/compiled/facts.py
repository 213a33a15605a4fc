"""One look at the entries of a CSR matrix, its diagonals or a dense matrix, without transposing it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...kernels import kernel
from ...precision.sparse_arrays import FAULTY, SORTED, UNSORTED
from .compiling import FAST
from .vectors import largest_modulus

__all__ = [
    "band_facts",
    "csr_facts",
    "csr_offsets",
    "csr_to_bands",
    "csr_to_upper_bands",
    "dense_facts",
    "rows_kind",
    "stencil_facts",
]

ROWS = 1 << 14  # at a time, so that sums of rows stay in the second-level cache


@kernel()
def csr_facts(indptr, indices, data):  # type: ignore[no-untyped-def]
    """Facts of a canonical CSR matrix, in the order of the fields of ``Facts``.

    Rows are visited in order and columns are sorted, so the partners a_ji of the entries above the diagonal are met
    in the order in which row j holds them: one pointer a row replaces the transposition.
    """
    n = indptr.size - 1
    max_abs = largest_modulus(data)
    if not max_abs < np.inf:
        return max_abs, 0.0, 0.0, np.nan, False, False, False, False, -1, -1, -np.inf
    # Squares are taken of entries divided by a power of two, so that they neither overflow nor vanish.
    unit = 2.0 ** -np.floor(np.log2(max_abs)) if 1e-300 < max_abs < 1e300 else 1.0
    scale = 1.0 if unit == 1.0 else 1.0 / unit
    asymmetry = 0.0
    pointer = indptr[:-1].copy()
    lower = upper = positive = dominant = True
    empty_row, zero_diagonal = -1, -1
    row_square, row_sum_largest, margin = 0.0, 0.0, np.inf
    for i in range(n):
        square, total, diagonal_size, diagonal_real = 0.0, 0.0, 0.0, 0.0
        diagonal_positive, has_diagonal, has_entry = False, False, False
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            value = data[k]
            size = np.float64(abs(value)) * unit
            square += size * size
            total += size
            has_entry |= value != 0
            if j == i:
                has_diagonal = value != 0
                diagonal_size = size
                diagonal_real = np.float64(value.real) * unit
                diagonal_positive = value.real > 0 and value.imag == 0
                asymmetry = max(asymmetry, 2 * np.float64(abs(value.imag)))
            elif j > i:
                if value != 0:
                    lower = False
                # Entries of row j left of column i that met no partner must be negligible themselves.
                at = pointer[j]
                while at < indptr[j + 1] and indices[at] < i:
                    asymmetry = max(asymmetry, np.float64(abs(data[at])))
                    at += 1
                if at < indptr[j + 1] and indices[at] == i:
                    asymmetry = max(asymmetry, np.float64(abs(value - np.conj(data[at]))))
                    at += 1
                else:
                    asymmetry = max(asymmetry, np.float64(abs(value)))
                pointer[j] = at
            elif value != 0:
                upper = False
        while pointer[i] < indptr[i + 1] and indices[pointer[i]] < i:
            asymmetry = max(asymmetry, np.float64(abs(data[pointer[i]])))
            pointer[i] += 1
        row_square = max(row_square, square)
        row_sum_largest = max(row_sum_largest, total)
        margin = min(margin, diagonal_real + diagonal_size - total)
        positive &= diagonal_positive
        if not 2 * diagonal_size > total:
            dominant = False
        if not has_entry and empty_row < 0:
            empty_row = i
        if not has_diagonal and zero_diagonal < 0:
            zero_diagonal = i
    return (
        max_abs,
        np.sqrt(row_square) * scale,
        row_sum_largest * scale,
        asymmetry,
        lower,
        upper,
        positive,
        dominant,
        empty_row,
        zero_diagonal,
        margin * scale,
    )


def band_facts(bands: np.ndarray, offsets: np.ndarray, symmetric: bool) -> tuple[Any, ...]:
    """The same for diagonals, bands[d, i] being the entry (i, i + offsets[d]), or the upper half of a symmetric matrix.

    Offsets increase, and 0 is among them. Sums over rows are those of ``csr_facts`` to the last bit. By NumPy, some
    rows at a time: there is nothing to be compiled.
    """
    count, n = bands.shape
    middle = int(np.searchsorted(offsets, 0))
    largest = [_largest(band) for band in bands]
    max_abs = max(largest)
    if not all(size < math.inf for size in largest):
        unlike = next(size for size in largest if not size < math.inf)
        return unlike, 0.0, 0.0, math.nan, False, False, False, False, -1, -1, -math.inf
    exponent = math.frexp(max_abs)[1] - 1 if 1e-300 < max_abs < 1e300 else 0
    unit, scale = math.ldexp(1.0, -exponent), math.ldexp(1.0, exponent)
    asymmetry = 0.0 if symmetric else _asymmetry(bands, offsets, largest)
    places = [(d, -int(offsets[d])) for d in range(count - 1, 0, -1)] if symmetric else []
    places += [(d, 0) for d in range(count)]
    positive = dominant = True
    empty_row = zero_diagonal = -1
    row_square, row_sum, margin = 0.0, 0.0, math.inf
    room = np.empty((4, min(n, ROWS)))
    for low in range(0, n, ROWS):
        high = min(n, low + ROWS)
        squares, totals, sizes, products = room[:, : high - low]
        squares[:] = 0.0
        totals[:] = 0.0
        for d, shift in places:
            first = max(low, -shift)
            if first < high:
                here = slice(first - low, high - low)
                size = np.abs(bands[d, first + shift : high + shift], out=sizes[here], casting="same_kind")
                if unit != 1.0:
                    size *= unit
                totals[here] += size
                squares[here] += np.multiply(size, size, out=products[here])
        row_square, row_sum = max(row_square, float(squares.max())), max(row_sum, float(totals.max()))
        band = bands[middle, low:high]
        size = np.abs(band) * np.float64(unit)
        positive = positive and bool((band.real > 0).all() and (bands.dtype.kind != "c" or not band.imag.any()))
        dominant = dominant and bool((2 * size > totals).all())
        margin = min(margin, float((band.real * np.float64(unit) + size - totals).min()))
        if zero_diagonal < 0 and not band.all():
            zero_diagonal = low + int(np.argmax(band == 0))
        if empty_row < 0 and zero_diagonal >= 0:
            filled = np.zeros(high - low, bool)
            for d, shift in places:
                first = max(low, -shift)
                filled[first - low :] |= bands[d, first + shift : high + shift] != 0
            empty_row = -1 if filled.all() else low + int(np.argmin(filled))
    return (
        max_abs,
        math.sqrt(row_square) * scale,
        row_sum * scale,
        asymmetry,
        not any(largest[middle + 1 :]),
        not any(largest[1:] if symmetric else largest[:middle]),
        positive,
        dominant,
        empty_row,
        zero_diagonal,
        margin * scale,
    )


def _largest(x: np.ndarray) -> float:
    """The largest modulus; NaN if any entry is NaN."""
    if x.size == 0:
        return 0.0
    return float(np.abs(x).max()) if x.dtype.kind == "c" else max(float(x.max()), -float(x.min()))


def _asymmetry(bands: np.ndarray, offsets: np.ndarray, largest: list[float]) -> float:
    """The largest modulus of a_ij - conj(a_ji)."""
    n, found, at = bands.shape[1], 0.0, {int(offset): d for d, offset in enumerate(offsets)}
    for offset, d in at.items():
        mirror = at.get(-offset)
        if mirror is None:
            found = max(found, largest[d])
        elif offset >= 0:
            band, other = bands[d, : n - offset], bands[mirror, offset:]
            for low in range(0, n - offset, ROWS):
                difference = band[low : low + ROWS] - other[low : low + ROWS].conj()
                found = max(found, _largest(difference))
    return found


@kernel()
def _largest_difference(x, y):  # type: ignore[no-untyped-def]
    """The largest modulus of x_i - conj(y_i), all of them finite; what is equal, as most are, costs a comparison."""
    largest = 0.0
    for low in range(0, x.size, ROWS):
        xs, ys = x[low : low + ROWS], y[low : low + ROWS]
        unequal = 0
        for i in range(xs.size):
            unequal += xs[i] != np.conj(ys[i])
        if unequal:
            for i in range(xs.size):
                largest = max(largest, np.float64(abs(xs[i] - np.conj(ys[i]))))
    return largest


def rows_kind(indptr: Any, indices: Any, width: int) -> int:
    """SORTED, UNSORTED or FAULTY, as the reference of this name tells them apart, in one pass over the indices."""
    end = int(indptr[-1])
    if indptr[0] != 0 or not 0 <= end <= indices.size or (indptr[1:] < indptr[:-1]).any():
        return FAULTY
    return _kind_of(indptr, indices, min(width - 1, np.iinfo(indices.dtype).max))


@kernel()
def _kind_of(indptr, indices, last):  # type: ignore[no-untyped-def]
    """The same where indptr is as it should be. Columns increase in each row where, if they do not, a row begins."""
    end = indptr[-1]
    outside = falls = 0
    for k in range(end):
        outside += (indices[k] < 0) | (indices[k] > last)
    for k in range(1, end):
        falls += indices[k] <= indices[k - 1]
    if outside:
        return FAULTY
    for i in range(indptr.size - 1):
        k = indptr[i]
        if 0 < k < indptr[i + 1] and indices[k] <= indices[k - 1]:
            falls -= 1
    return UNSORTED if falls else SORTED


@kernel()
def dense_facts(matrix):  # type: ignore[no-untyped-def]
    """The same for a full matrix in C order."""
    n = matrix.shape[0]
    max_abs = largest_modulus(matrix.reshape(n * n))
    if not max_abs < np.inf:
        return max_abs, 0.0, 0.0, np.nan, False, False, False, False, -1, -1, -np.inf
    unit = 2.0 ** -np.floor(np.log2(max_abs)) if 1e-300 < max_abs < 1e300 else 1.0
    scale = 1.0 if unit == 1.0 else 1.0 / unit
    totals = np.empty(n)
    row_square, row_sum_largest, filled, empty_row = _rows(matrix, unit, totals)
    asymmetry, margin, positive, dominant, zero_diagonal, on_diagonal = _diagonal(matrix, unit, totals)
    below, unequal = _below(matrix)
    if unequal:
        for i in range(n):
            asymmetry = max(asymmetry, _largest_difference(matrix[i, :i], matrix[:i, i]))
    return (
        max_abs,
        np.sqrt(row_square) * scale,
        row_sum_largest * scale,
        asymmetry,
        filled == on_diagonal + below,
        below == 0,
        positive,
        dominant,
        empty_row,
        zero_diagonal,
        margin * scale,
    )


# Kernels of their own, since in a larger one the compiler leaves the sums of a row as calls, which cost as much again.
@kernel()
def _rows(matrix, unit, totals):  # type: ignore[no-untyped-def]
    """Largest sum of the squares and of the moduli of a row, entries that are not zero, the first row without one."""
    row_square = row_sum_largest = 0.0
    entries, empty_row = 0, -1
    for i in range(totals.size):
        square, totals[i], filled = _row_sums(matrix[i], unit)
        row_square = max(row_square, square)
        row_sum_largest = max(row_sum_largest, totals[i])
        entries += filled
        if filled == 0 and empty_row < 0:
            empty_row = i
    return row_square, row_sum_largest, entries, empty_row


@kernel()
def _diagonal(matrix, unit, totals):  # type: ignore[no-untyped-def]
    """What the diagonal tells, beside the sums of the moduli of each row."""
    asymmetry, margin = 0.0, np.inf
    positive = dominant = True
    zero_diagonal, filled = -1, 0
    for i in range(totals.size):
        diagonal = matrix[i, i]
        size = np.float64(abs(diagonal)) * unit
        asymmetry = max(asymmetry, 2 * np.float64(abs(diagonal.imag)))
        margin = min(margin, np.float64(diagonal.real) * unit + size - totals[i])
        positive &= diagonal.real > 0 and diagonal.imag == 0
        dominant &= 2 * size > totals[i]
        filled += diagonal != 0
        if diagonal == 0 and zero_diagonal < 0:
            zero_diagonal = i
    return asymmetry, margin, positive, dominant, zero_diagonal, filled


@kernel(fastmath=set(FAST))
def _row_sums(row, unit):  # type: ignore[no-untyped-def]
    """Of the squares and of the moduli of entries, and how many are not zero."""
    square = total = 0.0
    filled = 0
    for j in range(row.size):
        size = np.float64(abs(row[j])) * unit
        square += size * size
        total += size
        filled += row[j] != 0
    return square, total, filled


@kernel()
def _below(matrix):  # type: ignore[no-untyped-def]
    """Of the entries below the diagonal: how many are not zero, and how many differ from their mirror images."""
    filled = unequal = 0
    for i in range(1, matrix.shape[0]):
        row = matrix[i]
        for j in range(i):
            filled += row[j] != 0
            unequal += row[j] != np.conj(matrix[j, i])
    return filled, unequal


@kernel()
def stencil_facts(sizes, center, pairs):  # type: ignore[no-untyped-def]
    """The same for a constant stencil, in closed form: inner rows have all neighbours.

    ``sizes`` are those of three axes, 1 where there is none; ``pairs`` the coefficients below and above along each. NaN
    for the largest entry where the center is zero: whether a row is empty then takes a closer look.
    """
    largest = np.float64(abs(center))
    asymmetry = 2 * np.float64(abs(center.imag))
    lower = upper = True
    for axis in range(3):
        if sizes[axis] > 1:
            low, up = pairs[2 * axis], pairs[2 * axis + 1]
            largest = max(largest, np.float64(abs(low)), np.float64(abs(up)))
            asymmetry = max(asymmetry, np.float64(abs(low - np.conj(up))))
            lower &= up == 0
            upper &= low == 0
    if center == 0 or not largest < np.inf:
        return np.nan, 0.0, 0.0, np.nan, False, False, False, False, -1, -1, -np.inf
    unit = 2.0 ** -math.frexp(largest)[1]
    own = np.float64(abs(center)) * unit
    total, square = 0.0, 0.0
    for axis in range(3):
        if sizes[axis] > 1:
            low, up = np.float64(abs(pairs[2 * axis])) * unit, np.float64(abs(pairs[2 * axis + 1])) * unit
            if sizes[axis] > 2:
                total += low + up
                square += low * low + up * up
            else:
                total += max(low, up)
                square += max(low, up) * max(low, up)
    total, square = own + total, own * own + square
    real = np.float64(center.real) * unit
    return (
        largest,
        np.sqrt(square) / unit,
        total / unit,
        asymmetry,
        lower,
        upper,
        center.real > 0 and center.imag == 0,
        2 * own > total,
        -1,
        -1,
        (real + own - total) / unit,
    )


def csr_offsets(indptr: np.ndarray, indices: np.ndarray, limit: int, stride: int) -> np.ndarray:
    """0 and the values of column - row in every stride-th row, increasing; more than ``limit`` where there are more."""
    n = indptr.size - 1
    rows = np.arange(0, n, stride)
    seen = np.zeros(2 * n, bool)
    seen[n] = True
    found = np.array([n])
    for low in range(0, rows.size, ROWS):
        some = rows[low : low + ROWS]
        begin = indptr[some].astype(np.int64)
        counts = indptr[some + 1].astype(np.int64) - begin
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        seen[indices[np.repeat(begin, counts) + within].astype(np.int64) - np.repeat(some, counts) + n] = True
        found = np.flatnonzero(seen)
        if found.size > limit:
            break
    return found - n


@kernel()
def csr_to_bands(indptr, indices, data, offsets, bands):  # type: ignore[no-untyped-def]
    """bands[d, i] <- the entry (i, i + offsets[d]) of a canonical CSR matrix; False where an offset is not listed."""
    count = offsets.size
    for i in range(indptr.size - 1):
        k, end = np.int64(indptr[i]), np.int64(indptr[i + 1])
        for d in range(count):
            if k < end and np.int64(indices[k]) - i == offsets[d]:
                bands[d, i] = data[k]
                k += 1
            else:
                bands[d, i] = 0
        if k < end:
            return False
    return True


@kernel()
def csr_to_upper_bands(indptr, indices, data, offsets, bands):  # type: ignore[no-untyped-def]
    """The same for the upper half, 0 being the first offset; False as well where a matrix is not exactly symmetric."""
    count = offsets.size
    for i in range(indptr.size - 1):
        k, end = np.int64(indptr[i]), np.int64(indptr[i + 1])
        for d in range(count - 1, 0, -1):
            j = i - offsets[d]
            if k < end and np.int64(indices[k]) == j:
                if bands[d, j] != data[k]:
                    return False
                k += 1
            elif j >= 0 and bands[d, j] != 0:
                return False
        for d in range(count):
            if k < end and np.int64(indices[k]) - i == offsets[d]:
                bands[d, i] = data[k]
                k += 1
            else:
                bands[d, i] = 0
        if k < end:
            return False
    return True
