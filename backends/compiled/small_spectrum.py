"""What methods learn of the spectrum of a small system before they begin: the Lanczos process, and its Ritz values."""

from __future__ import annotations

import math

import numpy as np

from . import vectors
from .compiling import ALONE, Shared, share
from .products import member
from .small import FACTS, compiled, copy, diagonal_into, dot, exponent_of, limits_of, look, max_abs, scale
from .tridiagonal import ends_of

__all__ = ["ends_of_each", "learn", "learn_all"]

axpby, matvec_dot = vectors.axpby.kernel, vectors.matvec_dot.kernel
FAR = 20  # the exponent at which a power of two is taken out of a vector


@compiled
def lanczos(A, scaled, d, start, limits, work, diagonal, off):  # type: ignore[no-untyped-def]
    """The process on A, or on D^{-1} A with d = 1 / diagonal: as many rows of T as there is room for, or fewer.

    The steps, and where they end, are those of ``Lanczos`` and ``estimate_spectrum``. Returns the rows; 0 where T_k
    shows that A is not positive definite, or numbers leave the range.
    """
    r, before, q, z = work[0], work[1], work[2], work[3]
    copy(start, r)
    if scaled:
        for i in range(r.size):
            z[i] = d[i] * r[i]
        size = max_abs(ALONE, z)
        if not (size < np.inf and abs(exponent_of(size)) <= limits.comfortable):
            return 0
        square = dot(ALONE, r, z)[0]
    else:
        square = dot(ALONE, r, r)[0]
    u = limits.unit_roundoff
    pivot, residual, ratio, beta = np.inf, 1.0, 0.0, 0.0
    largest, widest = 0.0, 0.0
    for k in range(diagonal.size):
        if k and (residual <= 4.0 * u or beta <= u * (largest + widest)):
            return k
        widest = max(widest, beta)
        earlier = residual
        curvature = matvec_dot(ALONE, A, z, q) if scaled else matvec_dot(ALONE, A, r, q)
        alpha = curvature / square if square != 0.0 else np.nan
        axpby(ALONE, r.dtype.type(-alpha), r, r.dtype.type(1.0), q)
        if k:
            axpby(ALONE, r.dtype.type(-ratio), before, r.dtype.type(1.0), q)
        r, before, q = q, r, before
        if scaled:
            for i in range(r.size):
                z[i] = d[i] * r[i]
            following = dot(ALONE, r, z)[0]
        else:
            following = dot(ALONE, r, r)[0]
        if not (abs(alpha) < np.inf and abs(following) < np.inf):
            return 0
        pivot = alpha - (beta * beta / pivot if k else 0.0)
        beta = np.sqrt(max(following / square, 0.0))
        residual *= beta / abs(pivot) if pivot != 0.0 else np.inf
        largest = max(largest, abs(alpha))
        diagonal[k], off[k] = alpha, beta
        if not pivot > 0.0:
            # Where conjugate gradients would have converged, a pivot is what rounding left.
            return 0 if earlier > 1e-10 else k + 1
        ratio = following / square
        square = following
        if square > 0.0:
            exponent = math.frexp(square)[1] // 2
            if abs(exponent) >= limits.highest:
                return 0
            if abs(exponent) > FAR:
                power = r.real.dtype.type(2.0**-exponent)
                scale(ALONE, r, power)
                if scaled:
                    scale(ALONE, z, power)
                square, ratio = math.ldexp(square, -2 * exponent), math.ldexp(ratio, -exponent)
    return diagonal.size


@compiled
def ritz(A, start, limits, scaled, work, T, found, ends):  # type: ignore[no-untyped-def]
    """The facts of A, and of its extreme eigenvalues, or those of D^{-1} A, what the Lanczos process tells.

    ``ends`` are the four numbers of ``ends_of``, and the rows of T that they rest on: 0 where D^{-1} A is no matter
    for the process, since A is not Hermitian with a positive diagonal; -1 where the system is the driver's.
    """
    ends[4] = -1.0
    if not limits.looked:
        look(A, found)
    f = found[FACTS:]
    largest, asymmetry, positive, empty_row = f[0], f[3], f[6], f[8]
    if not largest < np.inf or abs(exponent_of(largest)) > limits.comfortable or empty_row >= 0.0:
        return
    d = work[4]
    if scaled:
        if asymmetry > limits.skew * largest or positive == 0.0:
            ends[4] = 0.0
            return
        diagonal_into(A, d)
        for i in range(d.size):
            d[i] = 1 / d[i]
    rows = lanczos(A, scaled, d, start, limits, work, T[0], T[1])
    if rows == 0:
        return
    ends_of(T[0, :rows], T[1, :rows], ends)
    if not (np.isfinite(ends[0]) and np.isfinite(ends[1]) and np.isfinite(ends[2]) and np.isfinite(ends[3])):
        return
    ends[4] = rows


@compiled
def learn(A, start, limits, steps, scaled, found, ends):  # type: ignore[no-untyped-def]
    """``ritz`` of one system, of at most so many steps."""
    work = np.empty((5, start.size), start.dtype)
    ritz(A, start, limits_of(limits), scaled, work, np.empty((2, steps)), found, ends)


@Shared
def learn_all(team, stack, which, start, given, steps, scaled, found, ends):  # type: ignore[no-untyped-def]
    """``ritz`` of matrix which[i] of the stack, for each row i of ``found`` and of ``ends``."""
    limits = limits_of(given)
    work, T = np.empty((5, start.size), start.dtype), np.empty((2, steps))
    first, last = share(team, found.shape[0])
    for i in range(first, last):
        ritz(member(stack, which[i]), start, limits, scaled, work, T, found[i], ends[i])


@compiled
def ends_of_each(diagonal, off, rows, ends):  # type: ignore[no-untyped-def]
    """``ends_of`` for the first rows[i] rows of each Lanczos matrix, where there are any, and beside them how many.

    ``ends`` is left alone where a number is not finite.
    """
    found = np.empty(4)
    for i in range(rows.size):
        if rows[i] == 0:
            continue
        ends_of(diagonal[i, : rows[i]], off[i, : rows[i]], found)
        if np.isfinite(found[0]) and np.isfinite(found[1]) and np.isfinite(found[2]) and np.isfinite(found[3]):
            copy(found, ends[i, :4])
            ends[i, 4] = rows[i]
