"""Incomplete Cholesky factors by columns, incomplete LU factors by rows, and substitution with them."""

from __future__ import annotations

import numpy as np

from ...kernels import kernel

__all__ = ["BROKE", "factor", "factor_rows", "solve_adjoint_by_rows", "solve_by_rows", "solve_with_factors"]

BROKE = -1
SMALLEST = 1e-8  # pivot, of a diagonal that is 1


@kernel()
def factor(indptr, indices, data, scale, shift, drop, more, L_indptr, L_indices, L_data):  # type: ignore[no-untyped-def]
    """L of S A S + shift I = L L^H - R, S = diag(scale), column after column.

    Parameters
    ----------
    indptr, indices, data : ndarray
        The lower triangle of A by columns, rows increasing, the diagonal included.
    scale : ndarray, (n,)
        So that the diagonal of S A S is 1.
    drop : float
        Entries are kept that are larger than this times the norm of their column of S A S; negative to keep those, and
        only those, where A has one.
    more : int
        Entries below the diagonal that a column keeps at most, beyond as many as A has there.
    L_indptr, L_indices, L_data : ndarray
        Room for L, by columns, rows increasing, the diagonal first: enough for ``more`` entries more in each.

    Returns
    -------
    int
        Entries of L; BROKE where a pivot is not positive.
    """
    n = indptr.size - 1
    w = np.zeros(n, L_data.dtype)
    pattern = np.full(n, -1, np.int64)  # the last column in which a row stood
    rows = np.empty(n, L_indices.dtype)
    # Columns before, by the row of their next entry: a list for each row.
    head, following, place = np.full(n, -1, np.int64), np.full(n, -1, np.int64), np.zeros(n, np.int64)
    end = 0
    for j in range(n):
        count, square, pivot = 0, 0.0, 1.0 + shift
        for k in range(indptr[j], indptr[j + 1]):
            i = indices[k]
            if i > j:
                w[i] = data[k] * (scale[i] * scale[j])
                square += abs(w[i]) ** 2
                pattern[i] = j
                rows[count] = i
                count += 1
        given = count
        column = head[j]
        while column >= 0:
            after, at, last = following[column], place[column], L_indptr[column + 1]
            factor_of_row = np.conj(L_data[at])
            pivot -= abs(factor_of_row) ** 2
            for k in range(at + 1, last):
                i = L_indices[k]
                if pattern[i] == j:
                    w[i] -= L_data[k] * factor_of_row
                elif drop >= 0:
                    pattern[i] = j
                    w[i] = -L_data[k] * factor_of_row
                    rows[count] = i
                    count += 1
            at += 1
            if at < last:
                place[column], following[column] = at, head[L_indices[at]]
                head[L_indices[at]] = column
            column = after
        if not pivot > SMALLEST:
            return BROKE
        diagonal = np.sqrt(pivot)
        least = drop * np.sqrt(square)
        kept = 0
        for k in range(count):
            i = rows[k]
            w[i] /= diagonal
            if drop < 0 or abs(w[i]) > least:
                rows[kept] = i
                kept += 1
        allowed = given + more
        if kept > allowed:
            sizes = np.empty(kept)
            for k in range(kept):
                sizes[k] = -abs(w[rows[k]])
            chosen = rows[:kept][np.argsort(sizes)[:allowed]]
            rows[:allowed] = chosen
            kept = allowed
        ordered = np.sort(rows[:kept])
        L_indices[end], L_data[end] = j, diagonal
        for k in range(kept):
            i = ordered[k]
            L_indices[end + 1 + k], L_data[end + 1 + k] = i, w[i]
        L_indptr[j], L_indptr[j + 1] = end, end + 1 + kept
        if kept:
            place[j], following[j] = end + 1, head[ordered[0]]
            head[ordered[0]] = j
        end += 1 + kept
    return end


@kernel()
def solve_with_factors(indptr, indices, data, inverse_diagonal, scale, r, x):  # type: ignore[no-untyped-def]
    """x = S L^-H L^-1 S r, L by columns without its diagonal; ``inverse_diagonal`` is that of L, S = diag(scale)."""
    n = x.size
    for j in range(n):
        x[j] = scale[j] * r[j]
    for j in range(n):
        value = x[j] * inverse_diagonal[j]
        x[j] = value
        for k in range(indptr[j], indptr[j + 1]):
            x[indices[k]] -= data[k] * value
    for j in range(n - 1, -1, -1):
        total = x[j]
        for k in range(indptr[j], indptr[j + 1]):
            total -= np.conj(data[k]) * x[indices[k]]
        x[j] = total * inverse_diagonal[j]
    for j in range(n):
        x[j] *= scale[j]


@kernel()
def factor_rows(indptr, indices, data, diagonal, least):  # type: ignore[no-untyped-def]
    """L U = A where A has entries, row after row, in place of A; L has a diagonal of ones, that of U is inverted.

    Parameters
    ----------
    indptr, indices, data : ndarray
        A by rows, columns increasing.
    diagonal : ndarray, (n,)
        Where in ``data`` the diagonal stands.
    least : float
        Of the largest entry of its row: what a pivot has to exceed.

    Returns
    -------
    int
        n, or the first row whose pivot is too small.
    """
    n = indptr.size - 1
    place = np.full(n, -1, np.int64)  # where in the row at hand a column stands
    for i in range(n):
        first, last = indptr[i], indptr[i + 1]
        largest = 0.0
        for k in range(first, last):
            place[indices[k]] = k
            largest = max(largest, abs(data[k]))
        for k in range(first, diagonal[i]):
            j = indices[k]
            data[k] *= data[diagonal[j]]
            for m in range(diagonal[j] + 1, indptr[j + 1]):
                at = place[indices[m]]
                if at >= 0:
                    data[at] -= data[k] * data[m]
        for k in range(first, last):
            place[indices[k]] = -1
        if not abs(data[diagonal[i]]) > least * largest:
            return i
        data[diagonal[i]] = 1 / data[diagonal[i]]
    return n


@kernel()
def solve_by_rows(indptr, indices, data, diagonal, r, x):  # type: ignore[no-untyped-def]
    """x = U^-1 L^-1 r."""
    n = x.size
    for i in range(n):
        total = r[i]
        for k in range(indptr[i], diagonal[i]):
            total -= data[k] * x[indices[k]]
        x[i] = total
    for i in range(n - 1, -1, -1):
        total = x[i]
        for k in range(diagonal[i] + 1, indptr[i + 1]):
            total -= data[k] * x[indices[k]]
        x[i] = total * data[diagonal[i]]


@kernel()
def solve_adjoint_by_rows(indptr, indices, data, diagonal, r, x):  # type: ignore[no-untyped-def]
    """x = L^-H U^-H r."""
    n = x.size
    for i in range(n):
        x[i] = r[i]
    for i in range(n):
        value = x[i] * np.conj(data[diagonal[i]])
        x[i] = value
        for k in range(diagonal[i] + 1, indptr[i + 1]):
            x[indices[k]] -= np.conj(data[k]) * value
    for i in range(n - 1, -1, -1):
        value = x[i]
        for k in range(indptr[i], diagonal[i]):
            x[indices[k]] -= np.conj(data[k]) * value
