"""One look at the entries of a CSR or dense matrix, without transposing it."""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["canonical", "csr_facts", "csr_offsets", "csr_to_bands", "dense_facts"]


@numba.njit(cache=True, error_model="numpy", nogil=True)
def csr_facts(indptr, indices, data):  # type: ignore[no-untyped-def]
    """Facts of a canonical CSR matrix, in the order of the fields of ``Facts``.

    Rows are visited in order and columns are sorted, so the partners a_ji of the entries above the diagonal are met
    in the order in which row j holds them: one pointer a row replaces the transposition.
    """
    n = indptr.size - 1
    max_abs = 0.0
    for k in range(data.size):
        size = np.float64(abs(data[k]))
        if not size < np.inf:
            return size, 0.0, 0.0, np.nan, False, False, False, False, -1, -1, -np.inf
        max_abs = max(max_abs, size)
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


@numba.njit(cache=True, nogil=True)
def canonical(indptr, indices):  # type: ignore[no-untyped-def]
    """Whether the columns of each row increase strictly."""
    for i in range(indptr.size - 1):
        for k in range(indptr[i] + 1, indptr[i + 1]):
            if indices[k] <= indices[k - 1]:
                return False
    return True


@numba.njit(cache=True, error_model="numpy", nogil=True)
def dense_facts(matrix):  # type: ignore[no-untyped-def]
    """The same for a full matrix."""
    n = matrix.shape[0]
    max_abs = 0.0
    for i in range(n):
        for j in range(n):
            size = np.float64(abs(matrix[i, j]))
            if not size < np.inf:
                return size, 0.0, 0.0, np.nan, False, False, False, False, -1, -1, -np.inf
            max_abs = max(max_abs, size)
    unit = 2.0 ** -np.floor(np.log2(max_abs)) if 1e-300 < max_abs < 1e300 else 1.0
    scale = 1.0 if unit == 1.0 else 1.0 / unit
    asymmetry = 0.0
    lower = upper = positive = dominant = True
    empty_row, zero_diagonal = -1, -1
    row_square, row_sum_largest, margin = 0.0, 0.0, np.inf
    for i in range(n):
        square, total = 0.0, 0.0
        has_entry = False
        for j in range(n):
            value = matrix[i, j]
            size = np.float64(abs(value)) * unit
            square += size * size
            total += size
            has_entry |= value != 0
            if j > i:
                if value != 0:
                    lower = False
                asymmetry = max(asymmetry, np.float64(abs(value - np.conj(matrix[j, i]))))
            elif j < i and value != 0:
                upper = False
        diagonal = matrix[i, i]
        has_diagonal = diagonal != 0
        diagonal_size = np.float64(abs(diagonal)) * unit
        asymmetry = max(asymmetry, 2 * np.float64(abs(diagonal.imag)))
        row_square = max(row_square, square)
        row_sum_largest = max(row_sum_largest, total)
        margin = min(margin, np.float64(diagonal.real) * unit + diagonal_size - total)
        if not (diagonal.real > 0 and diagonal.imag == 0):
            positive = False
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


@numba.njit(cache=True, nogil=True)
def csr_offsets(indptr, indices, limit):  # type: ignore[no-untyped-def]
    """The distinct values of column - row, or more than ``limit`` values when there are too many to matter."""
    n = indptr.size - 1
    found = np.empty(limit + 1, np.int64)
    count = 0
    for i in range(n):
        last = 0
        for k in range(indptr[i], indptr[i + 1]):
            offset = np.int64(indices[k]) - i
            # Rows resemble their predecessor: the search starts where the last entry was found.
            known = False
            for step in range(count):
                at = last + step
                if at >= count:
                    at -= count
                if found[at] == offset:
                    known = True
                    last = at + 1
                    break
            if not known:
                found[count] = offset
                count += 1
                if count > limit:
                    return found
    return found[:count]


@numba.njit(cache=True, nogil=True)
def csr_to_bands(indptr, indices, data, offsets, bands):  # type: ignore[no-untyped-def]
    """Fill bands[d, i] with the entry (i, i + offsets[d]) of a CSR matrix; offsets not listed are skipped."""
    n = indptr.size - 1
    count = offsets.size
    for i in range(n):
        d = 0
        for k in range(indptr[i], indptr[i + 1]):
            offset = np.int64(indices[k]) - i
            while d < count and offsets[d] < offset:
                d += 1
            if d < count and offsets[d] == offset:
                bands[d, i] = data[k]
