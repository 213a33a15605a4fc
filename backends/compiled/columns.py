"""Blocks of vectors, (k, n): what block methods do with them, in passes over panels of rows that stay in cache.

Small matrices between blocks are of the precision of the vectors; inner products are summed in double precision, by
fixed blocks of rows, so that they do not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numba.core import types
from numba.extending import overload, register_jitable

from .compiling import BLOCK, Shared, meet, share
from .products import block_product

__all__ = ["block_turn", "block_update", "combine", "csr_product", "gram", "product"]

PANEL = 128  # rows of which all vectors of a block are in the first-level cache
SUMMED = 256  # rows summed up at a time


@register_jitable
def add_combined(C, X, Y, low, high):  # type: ignore[no-untyped-def]
    """Y[j] += sum over a of C[a, j] X[a], in rows low..high of X and from zero on of Y: a panel's."""
    given, made = C.shape
    rows = high - low
    fours, pairs = given // 4 * 4, made // 2 * 2
    for j in range(0, pairs, 2):
        y, z = Y[j, :rows], Y[j + 1, :rows]
        for a in range(0, fours, 4):
            xa, xb, xc, xd = X[a, low:high], X[a + 1, low:high], X[a + 2, low:high], X[a + 3, low:high]
            ca, cb, cc, cd = C[a, j], C[a + 1, j], C[a + 2, j], C[a + 3, j]
            da, db, dc, dd = C[a, j + 1], C[a + 1, j + 1], C[a + 2, j + 1], C[a + 3, j + 1]
            for i in range(y.size):
                p, q, r, s = xa[i], xb[i], xc[i], xd[i]
                y[i] += (ca * p + cb * q) + (cc * r + cd * s)
                z[i] += (da * p + db * q) + (dc * r + dd * s)
        for a in range(fours, given):
            x, c, d = X[a, low:high], C[a, j], C[a, j + 1]
            for i in range(y.size):
                y[i] += c * x[i]
                z[i] += d * x[i]
    for j in range(pairs, made):
        y = Y[j, :rows]
        for a in range(given):
            x, c = X[a, low:high], C[a, j]
            for i in range(y.size):
                y[i] += c * x[i]


def conjugate_product(a, b):  # type: ignore[no-untyped-def]
    """conj(a) b in double precision."""
    raise NotImplementedError


@overload(conjugate_product, jit_options={"forceinline": True, "fastmath": {"reassoc", "contract"}})
def _conjugate_product(a, b):  # type: ignore[no-untyped-def]
    if isinstance(a, types.Complex):
        return lambda a, b: np.complex128(a.conjugate()) * np.complex128(b)
    return lambda a, b: np.float64(a) * np.float64(b)


@register_jitable
def add_inner(X, Y, low, high, sums):  # type: ignore[no-untyped-def]
    """Add X[a]^H Y[b] over rows low..high to sums[a, b]."""
    pairs, twos = X.shape[0] // 2 * 2, Y.shape[0] // 2 * 2
    zero = sums.dtype.type(0)
    for a in range(0, pairs, 2):
        x, z = X[a, low:high], X[a + 1, low:high]
        for b in range(0, twos, 2):
            y, w = Y[b, low:high], Y[b + 1, low:high]
            xy = xw = zy = zw = zero
            for i in range(x.size):
                xy += conjugate_product(x[i], y[i])
                xw += conjugate_product(x[i], w[i])
                zy += conjugate_product(z[i], y[i])
                zw += conjugate_product(z[i], w[i])
            sums[a, b] += xy
            sums[a, b + 1] += xw
            sums[a + 1, b] += zy
            sums[a + 1, b + 1] += zw
    for a in range(X.shape[0]):
        x = X[a, low:high]
        for b in range(twos if a < pairs else 0, Y.shape[0]):
            y = Y[b, low:high]
            total = zero
            for i in range(x.size):
                total += conjugate_product(x[i], y[i])
            sums[a, b] += total


@Shared
def product(team, A, X, Y):  # type: ignore[no-untyped-def]
    """Y[j] <- A X[j]; rows of A that are in cache serve all vectors."""
    n = Y.shape[1]
    first, last = share(team, (n + BLOCK - 1) // BLOCK)
    for block in range(first, last):
        low = block * BLOCK
        high = min(n, low + BLOCK)
        for j in range(X.shape[0]):
            block_product(A, X[j], low, high, Y[j, low:high])


@Shared
def csr_product(team, A, X, Y, room):  # type: ignore[no-untyped-def]
    """The same of compressed rows, the vectors interleaved in ``room``, (n, k): an entry multiplies a row of it."""
    count, n = X.shape
    first, last = share(team, n)
    for low in range(first, last, PANEL):
        high = min(last, low + PANEL)
        for j in range(count):
            x = X[j]
            for i in range(low, high):
                room[i, j] = x[i]
    meet(team)
    indptr, indices, data = A.indptr, A.indices, A.data
    made = np.empty((PANEL, count), Y.dtype)
    for low in range(first, last, PANEL):
        high = min(last, low + PANEL)
        for i in range(low, high):
            row = made[i - low]
            row[:] = 0
            k, end = indptr[i], indptr[i + 1]
            one = end - end + 1
            while k + one < end:
                a, b, x, y = data[k], data[k + one], room[indices[k]], room[indices[k + one]]
                for j in range(row.size):
                    row[j] += a * x[j] + b * y[j]
                k += one + one
            if k < end:
                a, x = data[k], room[indices[k]]
                for j in range(row.size):
                    row[j] += a * x[j]
        for j in range(count):
            y = Y[j]
            for i in range(low, high):
                y[i] = made[i - low, j]


@Shared
def gram(team, X, Y, sums):  # type: ignore[no-untyped-def]
    """X[a]^H Y[b] of every block of rows, in sums, (blocks, a, b)."""
    n = X.shape[1]
    first, last = share(team, sums.shape[0])
    for block in range(first, last):
        end = min(n, (block + 1) * BLOCK)
        sums[block] = 0
        for low in range(block * BLOCK, end, SUMMED):
            add_inner(X, Y, low, min(end, low + SUMMED), sums[block])


@Shared
def combine(team, C, X, Y):  # type: ignore[no-untyped-def]
    """Y[j] <- sum over a of C[a, j] X[a]."""
    n = X.shape[1]
    first, last = share(team, (n + PANEL - 1) // PANEL)
    made = np.empty((Y.shape[0], PANEL), Y.dtype)
    for panel in range(first, last):
        low = panel * PANEL
        high = min(n, low + PANEL)
        made[:] = 0
        add_combined(C, X, made, low, high)
        for j in range(Y.shape[0]):
            Y[j, low:high] = made[j, : high - low]


@Shared
def block_update(team, alpha, S, X, xi, Q, W, sums):  # type: ignore[no-untyped-def]
    """X[j] += sum of alpha[a, j] S[a], W[j] += sum of xi[a, j] Q[a], and W^H W of every block of rows in sums."""
    n = X.shape[1]
    first, last = share(team, sums.shape[0])
    most = max(X.shape[0], W.shape[0])
    made = np.empty((most, PANEL), X.dtype)
    for block in range(first, last):
        end = min(n, (block + 1) * BLOCK)
        sums[block] = 0
        for low in range(block * BLOCK, end, PANEL):
            high = min(end, low + PANEL)
            made[:] = 0
            add_combined(alpha, S, made, low, high)
            add_panel(made, X, low, high)
            made[:] = 0
            add_combined(xi, Q, made, low, high)
            add_panel(made, W, low, high)
            add_inner(W, W, low, high, sums[block])


@register_jitable
def add_panel(made, X, low, high):  # type: ignore[no-untyped-def]
    """X += made in rows low..high."""
    for j in range(X.shape[0]):
        x, y = X[j, low:high], made[j, : high - low]
        for i in range(x.size):
            x[i] += y[i]


@Shared
def block_turn(team, C, T, Z, zeta, S, W, P):  # type: ignore[no-untyped-def]
    """W[j] <- sum of C[a, j] T[a], and P[j] <- sum of C[a, j] Z[a] + zeta[a, j] S[a]; W may be T, and P be S."""
    n = T.shape[1]
    first, last = share(team, (n + PANEL - 1) // PANEL)
    made = np.empty((C.shape[1], PANEL), T.dtype)
    turned = np.empty((C.shape[1], PANEL), T.dtype)
    for panel in range(first, last):
        low = panel * PANEL
        high = min(n, low + PANEL)
        turned[:] = 0
        add_combined(C, Z, turned, low, high)
        add_combined(zeta, S, turned, low, high)
        made[:] = 0
        add_combined(C, T, made, low, high)
        for j in range(C.shape[1]):
            W[j, low:high] = made[j, : high - low]
            P[j, low:high] = turned[j, : high - low]
