"""The history of Anderson acceleration: a column added, old ones dropped, and the next iterate, by blocks of rows.

Row j of Q, times ``scale[j]``, is a vector of the orthonormal basis: the latest one is divided by its norm when it is
used. Row ``(first + j) % depth`` of dG belongs to column j. Sums are accumulated in double precision, block after
block, by one thread.
"""

from __future__ import annotations

import numpy as np
from numba.core import types
from numba.extending import overload, register_jitable

from ...kernels import kernel
from .compiling import FAST

__all__ = ["append", "bound_condition", "extrapolate", "orthogonalise"]

BLOCK = 512  # rows: so few that a block of every vector of a short history fits the first-level cache


def conjugate(a):  # type: ignore[no-untyped-def]
    """The complex conjugate."""
    raise NotImplementedError


@overload(conjugate, inline="always")
def _conjugate(a):  # type: ignore[no-untyped-def]
    if isinstance(a, types.Complex):
        return lambda a: a.conjugate()
    return lambda a: a


@register_jitable
def product(x, y, zero):  # type: ignore[no-untyped-def]
    """x^H y over a block."""
    total = zero
    for i in range(x.size):
        total += conjugate(x[i]) * y[i]
    return total


@register_jitable
def orthogonal(Q, scale, size, v, f, h, again, zero):  # type: ignore[no-untyped-def]
    """v <- v - Q h, where again <- Q^H v is what a second pass would take; returns the norm of v, and v^H f."""
    square, latest = 0.0, zero
    for j in range(size):
        again[j] = zero
    for low in range(0, v.size, BLOCK):
        vs = v[low : low + BLOCK]
        for j in range(size):
            qs, factor = Q[j, low : low + BLOCK], scale[j] * h[j]
            for i in range(vs.size):
                vs[i] -= factor * qs[i]
        for j in range(size):
            again[j] += scale[j] * product(Q[j, low : low + BLOCK], vs, zero)
        square += product(vs, vs, zero).real
        latest += product(vs, f[low : low + BLOCK], zero)
    return np.sqrt(square), latest


@register_jitable
def twice_orthogonal(Q, scale, size, v, f, total, h, again, small, zero):  # type: ignore[no-untyped-def]
    """The same with a second pass, unless the first one left next to nothing for it; the sum of both h in total."""
    for j in range(size):
        total[j] = h[j]
    rest, latest = orthogonal(Q, scale, size, v, f, h, again, zero)
    if np.sqrt(product(again[:size], again[:size], zero).real) > small * rest:
        for j in range(size):
            total[j] += again[j]
            h[j] = again[j]
        rest, latest = orthogonal(Q, scale, size, v, f, h, again, zero)
    return rest, latest


@register_jitable
def rotations_of(R, size, c, s):  # type: ignore[no-untyped-def]
    """R without its first column, made triangular again by rotations, which are left in c and s."""
    for j in range(size - 1):
        for k in range(j + 2):
            R[k, j] = R[k, j + 1]
    for k in range(size - 1):
        a, b = R[k, k], R[k + 1, k]
        r = np.sqrt(abs(a) ** 2 + abs(b) ** 2)
        c[k], s[k] = a / r, b / r
        for j in range(k, size - 1):
            t, u = R[k, j], R[k + 1, j]
            R[k, j] = conjugate(c[k]) * t + conjugate(s[k]) * u
            R[k + 1, j] = c[k] * u - s[k] * t
    for j in range(size):
        R[size - 1, j] = 0.0


@register_jitable
def rotate(Q, scale, size, c, s, low):  # type: ignore[no-untyped-def]
    """The same rotations of a block of the basis; its last vector is void thereafter."""
    for k in range(size - 1):
        q, p = Q[k, low : low + BLOCK], Q[k + 1, low : low + BLOCK]
        first = scale[0] if k == 0 else 1.0  # rotated ones have no scale
        second = scale[k + 1]
        cq, sp = c[k] * first, s[k] * second
        cp, sq = conjugate(c[k]) * second, conjugate(s[k]) * first
        for i in range(q.size):
            t, u = q[i], p[i]
            q[i] = cq * t + sp * u
            p[i] = cp * u - sq * t


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


@kernel(fastmath=set(FAST))
def append(Q, dG, R, scale, at, x, old_x, f, old_f, small, work, zero):  # type: ignore[no-untyped-def]
    """Add the last step as a column; drop old ones for depth and rank. Leaves Q^H f in work[0].

    ``at`` is the size and the first row of dG, both are returned anew; ``small`` is what makes a column dependent.
    """
    depth, n = Q.shape
    size, first = at
    projected, total, h, again, c, s = work[0], work[1], work[2], work[3], work[4], work[5]
    full = size == depth
    while True:
        if full:
            rotations_of(R, size, c, s)
            size, first = size - 1, (first + 1) % depth
        v, g = Q[size], dG[(first + size) % depth]
        for j in range(size):
            h[j] = zero
            projected[j] = zero
        square = 0.0
        for low in range(0, n, BLOCK):
            high = min(n, low + BLOCK)
            if full:
                rotate(Q, scale, size + 1, c, s, low)
            vs, gs, fs = v[low:high], g[low:high], f[low:high]
            old_fs, xs, old_xs = old_f[low:high], x[low:high], old_x[low:high]
            for i in range(high - low):
                vs[i] = fs[i] - old_fs[i]
                gs[i] = (xs[i] - old_xs[i]) + vs[i]
            square += product(vs, vs, zero).real
            for j in range(size):
                h[j] += product(Q[j, low:high], vs, zero)
                projected[j] += product(Q[j, low:high], fs, zero)
        for j in range(size):
            scale[j] = 1.0 if full else scale[j]
            h[j] *= scale[j]
            projected[j] *= scale[j]
        rest, latest = twice_orthogonal(Q, scale, size, v, f, total, h, again, small, zero)
        if rest > small * np.sqrt(square):
            for j in range(size):
                R[j, size] = total[j]
                R[size, j] = 0.0
            R[size, size] = rest
            scale[size] = 1.0 / rest
            projected[size] = latest / rest
            size += 1
            break
        if size == 0:
            break
        full = True  # as if: the oldest column makes room for this one
    return size, first


@kernel(fastmath=set(FAST))
def bound_condition(Q, R, scale, at, f, limit, work, zero):  # type: ignore[no-untyped-def]
    """Drop old columns until the condition of R is within the limit; like ``append``, after which it is called."""
    depth, n = Q.shape
    size, first = at
    projected, h, c, s = work[0], work[2], work[4], work[5]
    before = size
    while size > 1 and condition(R, size, h) > limit:
        rotations_of(R, size, c, s)
        for low in range(0, n, BLOCK):
            rotate(Q, scale, size, c, s, low)
        for j in range(size):
            scale[j] = 1.0
        size, first = size - 1, (first + 1) % depth
    for j in range(size if size < before else 0):
        projected[j] = zero
        for low in range(0, n, BLOCK):
            projected[j] += product(Q[j, low : low + BLOCK], f[low : low + BLOCK], zero)
    return size, first


@kernel(fastmath=set(FAST))
def extrapolate(Q, dG, R, scale, at, x, f, norm, beta, adaptive, out, work):  # type: ignore[no-untyped-def]
    """out <- x + f - dG gamma - (1 - beta) (f - Q c), c = Q^H f = R gamma; returns ||f - Q c||^2 over ||f||^2.

    c is what ``append`` left in work[0].
    """
    n, depth = x.size, Q.shape[0]
    size, first = at
    c, gamma = work[0], work[1]
    square = 0.0
    for j in range(size - 1, -1, -1):
        square += abs(c[j]) ** 2
        rest = c[j]
        for k in range(j + 1, size):
            rest -= R[j, k] * gamma[k]
        gamma[j] = rest / R[j, j]
    part = 1.0 - square / (norm * norm) if norm > 0 else 0.0
    if adaptive:
        beta = 0.9 - 0.5 * np.sqrt(max(part, 0.0))
    mixed = x.real.dtype.type(beta)
    for low in range(0, n, BLOCK):
        high = min(n, low + BLOCK)
        xs, fs, outs = x[low:high], f[low:high], out[low:high]
        for i in range(high - low):
            outs[i] = xs[i] + mixed * fs[i]
        for j in range(size):
            gs = dG[(first + j) % depth, low:high]
            for i in range(high - low):
                outs[i] -= gamma[j] * gs[i]
        if beta != 1.0:
            for j in range(size):
                qs, factor = Q[j, low:high], (1.0 - beta) * c[j] * scale[j]
                for i in range(high - low):
                    outs[i] += factor * qs[i]
    return part


@kernel(fastmath=set(FAST))
def orthogonalise(Q, R, scale, size, work, zero):  # type: ignore[no-untyped-def]
    """Q T in place of Q, T R in place of R, where the rows of Q T are orthonormal to rounding."""
    T = np.zeros_like(R)
    total, h, again = work[1], work[2], work[3]
    for k in range(size):
        v = Q[k]
        for j in range(k):
            h[j] = scale[j] * product(Q[j], v, zero)
        rest, _ = twice_orthogonal(Q, scale, k, v, v, total, h, again, 0.0, zero)
        for j in range(k):
            T[j, k] = total[j] * scale[k]
        T[k, k] = rest * scale[k]
        scale[k] = 1.0 / rest
    for j in range(size):
        for i in range(j + 1):
            entry = zero
            for k in range(i, j + 1):
                entry += T[i, k] * R[k, j]
            R[i, j] = entry
