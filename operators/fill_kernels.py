"""How many entries the factors of a matrix may have, compiled. Importing this imports Numba: on first use."""

from __future__ import annotations

import numpy as np

from ..kernels import kernel

__all__ = ["column_counts"]


@kernel(error_model="python")
def column_counts(indptr, indices, columns):  # type: ignore[no-untyped-def]
    """Entries of each column of the Cholesky factor of A^H A, diagonal included, without forming it.

    ``indptr`` and ``indices`` hold the pattern of A by rows. Gilbert, Li, Ng & Peyton (2001), figure 3, after the
    elimination tree of Liu (1990); about three passes over the entries.
    """
    rows = indptr.size - 1
    parent = _elimination_tree(indptr, indices, columns)
    post = _postorder(parent)
    first = np.full(columns, -1, np.int64)  # descendant of each column that comes first in postorder
    count = np.zeros(columns, np.int64)
    place = np.empty(columns, np.int64)
    for k in range(columns):
        place[post[k]] = k
        j = post[k]
        count[j] = 1 if first[j] == -1 else 0
        while j != -1 and first[j] == -1:
            first[j] = k
            j = parent[j]
    # Each row belongs to the column of it that comes first.
    head = np.full(columns + 1, -1, np.int64)
    following = np.full(rows, -1, np.int64)
    for i in range(rows):
        least = columns
        for p in range(indptr[i], indptr[i + 1]):
            least = min(least, place[indices[p]])
        following[i] = head[least]
        head[least] = i
    latest = np.full(columns, -1, np.int64)
    leaf_before = np.full(columns, -1, np.int64)
    ancestor = np.arange(columns)
    for k in range(columns):
        j = post[k]
        if parent[j] != -1:
            count[parent[j]] -= 1
        i = head[k]
        while i != -1:
            for p in range(indptr[i], indptr[i + 1]):
                column = indices[p]
                if column <= j or first[j] <= latest[column]:
                    continue  # j is no leaf of the subtree of that row of the factor
                latest[column] = first[j]
                before = leaf_before[column]
                leaf_before[column] = j
                count[j] += 1
                if before != -1:
                    shared = before
                    while shared != ancestor[shared]:
                        shared = ancestor[shared]
                    while before != shared:
                        before, ancestor[before] = ancestor[before], shared
                    count[shared] -= 1
            i = following[i]
        if parent[j] != -1:
            ancestor[j] = parent[j]
    for k in range(columns):
        j = post[k]
        if parent[j] != -1:
            count[parent[j]] += count[j]
    return count


@kernel(error_model="python")
def _elimination_tree(indptr, indices, columns):  # type: ignore[no-untyped-def]
    """Parent of each column in the elimination tree of A^H A, -1 of a root.

    Row by row of A^H A in the order of columns: those that share a row are neighbours along a path.
    """
    rows = indptr.size - 1
    starts = np.zeros(columns + 1, np.int64)
    for p in range(indptr[0], indptr[rows]):
        starts[indices[p] + 1] += 1
    starts = np.cumsum(starts)
    at = starts[:-1].copy()
    row_of = np.empty(starts[columns], np.int64)
    for i in range(rows):
        for p in range(indptr[i], indptr[i + 1]):
            row_of[at[indices[p]]] = i
            at[indices[p]] += 1
    parent = np.full(columns, -1, np.int64)
    ancestor = np.full(columns, -1, np.int64)
    seen = np.full(rows, -1, np.int64)
    for k in range(columns):
        for p in range(starts[k], starts[k + 1]):
            i = seen[row_of[p]]
            while i != -1 and i < k:
                upper = ancestor[i]
                ancestor[i] = k
                if upper == -1:
                    parent[i] = k
                i = upper
            seen[row_of[p]] = k
    return parent


@kernel(error_model="python")
def _postorder(parent):  # type: ignore[no-untyped-def]
    """The nodes of a forest, children before their parent."""
    n = parent.size
    head = np.full(n, -1, np.int64)
    following = np.full(n, -1, np.int64)
    for j in range(n - 1, -1, -1):
        if parent[j] != -1:
            following[j] = head[parent[j]]
            head[parent[j]] = j
    post = np.empty(n, np.int64)
    stack = np.empty(n, np.int64)
    k = 0
    for root in range(n):
        if parent[root] != -1:
            continue
        top = 0
        stack[0] = root
        while top >= 0:
            j = stack[top]
            child = head[j]
            if child == -1:
                post[k] = j
                k += 1
                top -= 1
            else:
                head[j] = following[child]
                top += 1
                stack[top] = child
    return post
