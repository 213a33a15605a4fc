"""Small systems by BiCGSTAB."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .bicgstab import BROKE, bicgstab_loop
from .compiling import ALONE
from .small import FIRST, JACOBI, PRODUCTS, begin, compiled, conclude, copy, limits_of, precondition, target_of
from .vectors import number

__all__ = ["Stabilised", "bicgstab", "bicgstab_solve"]

iterations = bicgstab_loop.kernel
VECTORS = 8


class Stabilised(NamedTuple):
    """The scheme of BiCGSTAB.

    Attributes
    ----------
    inverse_diagonal : ndarray of shape (n,) or (0,)
        What preconditions; empty for nothing.
    """

    inverse_diagonal: Any


@compiled
def bicgstab_solve(A, given, x0, x, limits, scheme, numbers, found):  # type: ignore[no-untyped-def]
    """BiCGSTAB for A x = ``given``; ``numbers`` holds a row for the residual norms, the first included."""
    bicgstab(A, given, x0, x, limits_of(limits), scheme, np.empty((VECTORS, x.size), x.dtype), numbers, found)


@compiled
def bicgstab(A, given, x0, x, limits, scheme, work, numbers, found):  # type: ignore[no-untyped-def]
    """The same with the limits by name and vectors to work with."""
    r, p, v, shadow, t, b = work[0], work[1], work[2], work[3], work[4], work[5]
    z, y, d = p, r, scheme.inverse_diagonal
    stepping = begin(A, given, x0, b, x, r, limits, False, found)
    found[JACOBI] = d.size > 0
    if not stepping:
        return
    copy(r, p)
    copy(r, shadow)
    if d.size > 0:
        z, y = work[6], work[7]
        if not precondition(d, p, z, limits):
            return
    initial = found[FIRST]
    target, wanted = target_of(limits, found)
    norms = numbers[0]
    norms[0] = initial
    if not initial > wanted:
        return
    nothing = number(x, 0.0, 0.0)
    last = (number(x, initial * initial, 0.0), nothing, nothing, nothing)
    u = limits.unit_roundoff
    taken, _, why = iterations(ALONE, A, d, x, r, p, v, shadow, t, z, y, last, initial, wanted, u, norms[1:])
    if why == BROKE or (why and norms[taken] > wanted):
        return
    found[PRODUCTS] += 2 * taken
    conclude(A, b, x, t, norms, taken, target, wanted, limits, found)
