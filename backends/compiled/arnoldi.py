"""A vector made orthogonal to a basis, in two passes over the basis where no digits are lost."""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from ..block import CANCELLED, NEAR
from .compiling import BLOCK, Shared, meet, share
from .vectors import crosswise, inner, number, ordered_sum

__all__ = ["orthogonalise", "room"]


@register_jitable
def room(k, n):  # type: ignore[no-untyped-def]
    """What ``orthogonalise`` needs for its sums: two banks, of which one is read while the other is written."""
    return np.empty((4 * k + 2, (n + BLOCK - 1) // BLOCK))


@register_jitable
def measure(V, first, k, block, sums, bank):  # type: ignore[no-untyped-def]
    """The sums V[j]^H V[k] over a block, for j from first to k - 1, and ||V[k]||^2."""
    low, high = block * BLOCK, min(V.shape[1], (block + 1) * BLOCK)
    w = V[k, low:high]
    for j in range(first, k):
        v = V[j, low:high]
        sums[bank + 2 * j, block], sums[bank + 2 * j + 1, block] = inner(v, w), crosswise(v, w)
    sums[bank + 2 * k, block] = inner(w, w)


@register_jitable
def collect(V, first, k, sums, bank, c, total):  # type: ignore[no-untyped-def]
    """c[j] <- V[j]^H V[k], for j from first to k - 1, and their total; returns ||V[k]||."""
    for j in range(first, k):
        c[j] = number(V, ordered_sum(sums, bank + 2 * j), ordered_sum(sums, bank + 2 * j + 1))
        total[j] += c[j]
    return np.sqrt(ordered_sum(sums, bank + 2 * k))


@register_jitable
def subtract(V, first, k, block, c):  # type: ignore[no-untyped-def]
    """V[k] <- V[k] - sum of c[j] V[j] over a block, for j from first to k - 1."""
    low, high = block * BLOCK, min(V.shape[1], (block + 1) * BLOCK)
    w = V[k, low:high]
    for j in range(first, k):
        step, v = V.dtype.type(-c[j]), V[j, low:high]
        for i in range(w.size):
            w[i] += step * v[i]


@Shared
def orthogonalise(team, V, k, unit_roundoff, h, sums):  # type: ignore[no-untyped-def]
    """V[k] made orthogonal to the k rows before it, as ``Backend.orthogonalise`` says; returns the norm left.

    h takes the coefficients of what was taken away.
    """
    start, stop = share(team, sums.shape[1])
    c, total = np.zeros(k, h.dtype), np.zeros(k, h.dtype)
    before, rest = 0.0, 0.0
    # What is measured in a turn is taken away in the next: the near vectors, the whole basis, and that once more where
    # the last time has left too little.
    taken, asked = k, max(0, k - NEAR)
    for turn in range(5):
        bank = (2 * k + 1) * (turn % 2)
        for block in range(start, stop):
            subtract(V, taken, k, block, c)
            measure(V, asked, k, block, sums, bank)
        meet(team)
        before, rest = rest, collect(V, asked, k, sums, bank, c, total)
        if turn == 2 and not rest < CANCELLED * before:
            break
        taken, asked = asked, 0 if turn % 2 == 0 else k
    square = 0.0
    for j in range(k):
        square += abs(total[j]) ** 2
    if team[0] == 0:
        for j in range(k):
            h[j] = total[j]
    return 0.0 if rest <= 4.0 * unit_roundoff * np.sqrt(square) else rest
