"""The history of Anderson acceleration: a column added or dropped, and the next iterate, in passes over blocks of rows.

Sums are accumulated in double precision, block after block, by one thread.
"""

from __future__ import annotations

import numba
import numpy as np
from numba.extending import register_jitable

from .compiling import BLOCK, FAST

__all__ = ["append", "extrapolate", "orthogonalise"]


@register_jitable
def product(x, y, zero):  # type: ignore[no-untyped-def]
    """x^H y over a block."""
    total = zero
    for i in range(x.size):
        total += np.conj(x[i]) * y[i]
    return total


@register_jitable
def orthogonal(Q, size, v, h, again, zero):  # type: ignore[no-untyped-def]
    """v without its part in the span of the first rows of Q, given h = Q^H v; returns the norm of what is left.

    ``h`` becomes the sum of the coefficients of two passes of Gram-Schmidt; the second one is in ``again``.
    """
    n = v.size
    again[:size] = zero
    square = 0.0
    for low in range(0, n, BLOCK):
        vs = v[low : low + BLOCK]
        for j in range(size):
            qs = Q[j, low : low + BLOCK]
            for i in range(vs.size):
                vs[i] -= h[j] * qs[i]
        for j in range(size):
            again[j] += product(Q[j, low : low + BLOCK], vs, zero)
        square += product(vs, vs, zero).real
    if size == 0:
        return np.sqrt(square)
    square = 0.0
    for low in range(0, n, BLOCK):
        vs = v[low : low + BLOCK]
        for j in range(size):
            qs = Q[j, low : low + BLOCK]
            for i in range(vs.size):
                vs[i] -= again[j] * qs[i]
        square += product(vs, vs, zero).real
    for j in range(size):
        h[j] += again[j]
    return np.sqrt(square)


@register_jitable
def drop_oldest(Q, dG, R, size):  # type: ignore[no-untyped-def]
    """Without the first column, R is a Hessenberg matrix, which rotations make triangular again."""
    for j in range(size - 1):
        R[: j + 2, j] = R[: j + 2, j + 1]
        dG[j] = dG[j + 1]
    for k in range(size - 1):
        a, b = R[k, k], R[k + 1, k]
        r = np.hypot(abs(a), abs(b))
        c, s = a / r, b / r
        for j in range(k, size - 1):
            t, u = R[k, j], R[k + 1, j]
            R[k, j] = np.conj(c) * t + np.conj(s) * u
            R[k + 1, j] = c * u - s * t
        q, p = Q[k], Q[k + 1]
        for i in range(q.size):
            t, u = q[i], p[i]
            q[i] = c * t + s * u
            p[i] = np.conj(c) * u - np.conj(s) * t
    R[size - 1, :size] = 0.0


@register_jitable
def condition(R, size, column):  # type: ignore[no-untyped-def]
    """||R||_F ||R^-1||_F of the leading part."""
    forward, inverse = 0.0, 0.0
    for j in range(size):
        for i in range(j, -1, -1):
            forward += abs(R[i, j]) ** 2
            total = R[0, 0] * 0.0
            if i == j:
                total += 1.0
            for k in range(i + 1, j + 1):
                total -= R[i, k] * column[k]
            column[i] = total / R[i, i]
            inverse += abs(column[i]) ** 2
    return np.sqrt(forward * inverse)


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath=set(FAST))
def append(Q, dG, R, size, x, previous_x, f, previous_f, dependent, limit, work, zero):  # type: ignore[no-untyped-def]
    """Add the last step as a column, and drop old ones for depth, rank and condition; returns size and drops."""
    depth, n = Q.shape
    dropped = 0
    if size == depth:
        drop_oldest(Q, dG, R, size)
        size, dropped = size - 1, 1
    h, again = work[0], work[1]
    while True:
        v, g = Q[size], dG[size]
        h[:size] = zero
        square = 0.0
        for low in range(0, n, BLOCK):
            high = min(n, low + BLOCK)
            vs, gs = v[low:high], g[low:high]
            fs, old_f, xs, old_x = f[low:high], previous_f[low:high], x[low:high], previous_x[low:high]
            for i in range(high - low):
                vs[i] = fs[i] - old_f[i]
                gs[i] = (xs[i] - old_x[i]) + vs[i]
            square += product(vs, vs, zero).real
            for j in range(size):
                h[j] += product(Q[j, low:high], vs, zero)
        rest = orthogonal(Q, size, v, h, again, zero)
        if rest > dependent * np.sqrt(square):
            factor = v.real.dtype.type(1.0 / rest)
            for i in range(n):
                v[i] *= factor
            R[:size, size] = h[:size]
            R[size, :size] = 0.0
            R[size, size] = rest
            size += 1
            break
        if size == 0:
            break
        drop_oldest(Q, dG, R, size)
        size, dropped = size - 1, dropped + 1
    if limit < np.inf:
        while size > 1 and condition(R, size, h) > limit:
            drop_oldest(Q, dG, R, size)
            size, dropped = size - 1, dropped + 1
    return size, dropped


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath=set(FAST))
def extrapolate(Q, dG, R, size, x, f, norm, beta, adaptive, out, work, zero):  # type: ignore[no-untyped-def]
    """out <- x + f - dG gamma - (1 - beta) (f - Q c), c = Q^H f = R gamma; returns ||f - Q c||^2 over ||f||^2."""
    n = x.size
    c, gamma = work[0], work[1]
    c[:size] = zero
    for low in range(0, n, BLOCK):
        fs = f[low : low + BLOCK]
        for j in range(size):
            c[j] += product(Q[j, low : low + BLOCK], fs, zero)
    square = 0.0
    for j in range(size - 1, -1, -1):
        square += abs(c[j]) ** 2
        total = c[j]
        for k in range(j + 1, size):
            total -= R[j, k] * gamma[k]
        gamma[j] = total / R[j, j]
    rest = 1.0 - square / (norm * norm) if norm > 0 else 0.0
    if adaptive:
        beta = 0.9 - 0.5 * np.sqrt(max(rest, 0.0))
    mixed = x.real.dtype.type(beta)
    for low in range(0, n, BLOCK):
        high = min(n, low + BLOCK)
        xs, fs, outs = x[low:high], f[low:high], out[low:high]
        for i in range(high - low):
            outs[i] = xs[i] + mixed * fs[i]
        for j in range(size):
            gs = dG[j, low:high]
            for i in range(high - low):
                outs[i] -= gamma[j] * gs[i]
        if beta != 1.0:
            for j in range(size):
                qs, factor = Q[j, low:high], (1.0 - beta) * c[j]
                for i in range(high - low):
                    outs[i] += factor * qs[i]
    return rest


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath=set(FAST))
def orthogonalise(Q, R, size, work, zero):  # type: ignore[no-untyped-def]
    """Q T in place of Q, T R in place of R, where the rows of Q T are orthonormal to rounding."""
    T = np.zeros_like(R)
    h, again = work[0], work[1]
    for k in range(size):
        v = Q[k]
        for j in range(k):
            h[j] = product(Q[j], v, zero)
        rest = orthogonal(Q, k, v, h, again, zero)
        factor = v.real.dtype.type(1.0 / rest)
        for i in range(v.size):
            v[i] *= factor
        T[:k, k] = h[:k]
        T[k, k] = rest
    for j in range(size):
        for i in range(j + 1):
            total = zero
            for k in range(i, j + 1):
                total += T[i, k] * R[k, j]
            R[i, j] = total
