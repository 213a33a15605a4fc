"""Levels and colours of the graph of a matrix, compiled. Importing this imports Numba, so it is done on first use."""

from __future__ import annotations

import numpy as np

from ..kernels import kernel

__all__ = ["colors", "levels"]


@kernel(error_model="python")
def levels(indptr, indices):  # type: ignore[no-untyped-def]
    """Level of each row in a symmetric pattern: one more than the highest among the neighbours before it."""
    n = indptr.size - 1
    level = np.zeros(n, np.int64)
    for i in range(n):
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            if j < i and level[j] >= level[i]:
                level[i] = level[j] + 1
    return level


@kernel(error_model="python")
def colors(indptr, indices):  # type: ignore[no-untyped-def]
    """Colour of each row: the first that no neighbour before it has."""
    n = indptr.size - 1
    color = np.full(n, -1, np.int64)
    taken_by = np.full(n + 1, -1, np.int64)
    for i in range(n):
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            if j != i and color[j] >= 0:
                taken_by[color[j]] = i
        choice = 0
        while taken_by[choice] == i:
            choice += 1
        color[i] = choice
    return color
