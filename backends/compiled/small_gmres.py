"""Small systems by GMRES."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from . import vectors
from .arnoldi import orthogonalise as orthogonalised
from .arnoldi import room
from .compiling import ALONE
from .small import (
    FIRST,
    JACOBI,
    PRODUCTS,
    accurate_residual,
    begin,
    compiled,
    conclude,
    copy,
    limits_of,
    precondition,
    scale,
    target_of,
)
from .vectors import number, numbers_like

__all__ = ["Restarted", "gmres", "gmres_solve"]

matvec, orthogonalise = vectors.matvec.kernel, orthogonalised.kernel
VECTORS = 3  # besides the basis


class Restarted(NamedTuple):
    """The scheme of GMRES.

    Attributes
    ----------
    inverse_diagonal : ndarray of shape (n,) or (0,)
        What preconditions, from the right; empty for nothing.
    restart : int
        Iterations to a basis, at most n.
    """

    inverse_diagonal: Any
    restart: int


@compiled
def gmres_solve(A, given, x0, x, limits, scheme, numbers, found):  # type: ignore[no-untyped-def]
    """GMRES for A x = ``given``.

    ``numbers`` holds the residual norms, the first included, in its first row; in the next restart + 1, from the second
    place on, the Hessenberg matrix of the first basis, and in as many more its imaginary part, where it has one.
    """
    work = np.empty((VECTORS + scheme.restart + 1, x.size), x.dtype)
    gmres(A, given, x0, x, limits_of(limits), scheme, work, numbers, found)


@compiled
def append(h, k, rest, u, largest, R, rotated, cosines, sines):  # type: ignore[no-untyped-def]
    """The column of h[:k + 1] and, below it, rest is made triangular, as ``HessenbergProblem`` does it.

    Returns the residual norm, or -1 where the column depends on those before.
    """
    for j in range(k):
        above, below = h[j], h[j + 1]
        h[j] = cosines[j] * above + sines[j] * below
        h[j + 1] = cosines[j] * below - np.conj(sines[j]) * above
    size = abs(h[k])
    pivot = math.hypot(size, rest)
    if pivot <= u * largest:
        return -1.0
    phase = h[k] / size if size > 0.0 else number(h, 1.0, 0.0)
    cosines[k], sines[k] = size / pivot, phase * (rest / pivot)
    h[k] = phase * pivot
    for j in range(k + 1):
        R[j, k] = h[j]
    last = rotated[k]
    rotated[k], rotated[k + 1] = cosines[k] * last, -np.conj(sines[k]) * last
    return abs(rotated[k + 1])


@compiled
def solve_triangular(R, rotated, k, y):  # type: ignore[no-untyped-def]
    """y <- the solution of the first k rows of R y = rotated; returns its norm."""
    square = 0.0
    for i in range(k - 1, -1, -1):
        value = rotated[i]
        for j in range(i + 1, k):
            value -= R[i, j] * y[j]
        y[i] = value / R[i, i]
        square += abs(y[i]) ** 2
    return np.sqrt(square)


@compiled
def add_combination(V, k, y, x):  # type: ignore[no-untyped-def]
    """x <- x + the sum of y[j] V[j], for j below k."""
    for j in range(k):
        step, v = x.dtype.type(y[j]), V[j]
        for i in range(x.size):
            x[i] += step * v[i]


@compiled
def form(R, rotated, k, rounding, before, norm, V, d, z, y, x):  # type: ignore[no-untyped-def]
    """The iterate of the first k vectors of the basis: whether it is the best, rounding of x included.

    ``before`` is the residual norm without the last of them.
    """
    if before < norm + rounding * solve_triangular(R, rotated, k, y):
        return False
    if d.size == 0:
        add_combination(V, k, y, x)
        return True
    z.fill(0)
    add_combination(V, k, y, z)
    for i in range(x.size):
        x[i] += d[i] * z[i]
    return True


@compiled
def gmres(A, given, x0, x, limits, scheme, work, numbers, found):  # type: ignore[no-untyped-def]
    """The same with the limits by name, and room for the basis and the other vectors."""
    r, b, z, V = work[0], work[1], work[2], work[3:]
    stepping = begin(A, given, x0, b, x, r, limits, False, found)
    d = scheme.inverse_diagonal
    found[JACOBI] = d.size > 0
    if not stepping:
        return
    target, wanted = target_of(limits, found)
    norms, norm = numbers[0], found[FIRST]
    norms[0] = norm
    m, u, real = scheme.restart, limits.unit_roundoff, x.real.dtype.type
    R, rows = numbers_like(x, m, m), numbers_like(x, 4, m + 1)
    rotated, h, sines, y = rows[0], rows[1], rows[2], rows[3]
    cosines, sums = np.empty(m), room(m, x.size)
    taken, k, largest, began, before = 0, m, 0.0, np.inf, np.inf
    while norm > wanted and taken < limits.steps:
        if k == m:
            if taken:
                if not form(R, rotated, k, u * largest, before, norm, V, d, z, y, x):
                    return
                norm = accurate_residual(ALONE, A, x, b, r)
                found[PRODUCTS] += 1.0
            if not norm < (1.0 - np.sqrt(u)) * began:
                return
            copy(r, V[0])
            scale(ALONE, V[0], real(1.0 / norm))
            began, before, rotated[0], largest, k = norm, norm, norm, 0.0, 0
        if d.size == 0:
            z = V[k]
        elif not precondition(d, V[k], z, limits) and taken == 0:
            return
        matvec(ALONE, A, z, V[k + 1])
        rest = orthogonalise(ALONE, V, k + 1, u, h, sums)
        square = 0.0
        for j in range(k + 1):
            square += abs(h[j]) ** 2
        largest = max(largest, np.sqrt(square), rest)
        if taken < m:
            for j in range(k + 1):
                numbers[1 + j, k + 1] = h[j].real
                if numbers.shape[0] > m + 2:
                    numbers[m + 2 + j, k + 1] = h[j].imag
            numbers[k + 2, k + 1] = rest
            if numbers.shape[0] > m + 2:
                numbers[m + k + 3, k + 1] = 0.0
        before, norm = norm if k else began, append(h, k, rest, u, largest, R, rotated, cosines, sines)
        if norm < 0.0 or (rest == 0.0 and norm > wanted):
            return
        if rest > 0.0:
            scale(ALONE, V[k + 1], real(1.0 / rest))
        k, taken = k + 1, taken + 1
        norms[taken] = norm
    if taken == 0 or k == 0 or not form(R, rotated, k, u * largest, before, norm, V, d, z, y, x):
        return
    found[PRODUCTS] += taken
    conclude(A, b, x, r, norms, taken, target, wanted, limits, found)
