"""Small systems by conjugate gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...precision.rounding_rule import Unrounded
from .cg import cg_loop as cg_iterations
from .compiling import ALONE
from .small import (
    FACTS,
    FIRST,
    JACOBI,
    PRODUCTS,
    begin,
    compiled,
    conclude,
    copy,
    diagonal_into,
    dot,
    limits_of,
    max_abs,
    precondition,
    target_of,
)

__all__ = ["ConjugateGradients", "cg", "cg_solve"]

cg_loop = cg_iterations.kernel
UNROUNDED = Unrounded()


class ConjugateGradients(NamedTuple):
    """The scheme of conjugate gradients.

    Attributes
    ----------
    inverse_diagonal : ndarray of shape (n,) or (0,)
        What preconditions; empty for nothing, or for what ``Limits.choose`` makes of the diagonal.
    """

    inverse_diagonal: Any


@compiled
def cg_solve(A, given, x0, x, limits, scheme, numbers, found):  # type: ignore[no-untyped-def]
    """Conjugate gradients for A x = ``given``.

    ``numbers`` holds three rows of one more than ``limits.steps``, for the residual norms, the first included, and from
    the second place on for the coefficients of the steps.
    """
    cg(A, given, x0, x, limits_of(limits), scheme, np.empty((5, x.size), x.dtype), numbers, found)


@compiled
def cg(A, given, x0, x, limits, scheme, work, numbers, found):  # type: ignore[no-untyped-def]
    """The same with the limits by name and five vectors to work with."""
    r, p, q, d, b = work[0], work[1], work[2], work[3], work[4]
    stepping = begin(A, given, x0, b, x, r, limits, True, found)
    found[JACOBI] = scheme.inverse_diagonal.size > 0
    if not stepping:
        return
    diagonal = d[:0]
    initial = found[FIRST]
    if limits.choose:
        diagonal_into(A, d)
        high = max_abs(ALONE, d)
        for i in range(d.size):
            d[i] = 1 / d[i]
        if high > 1.01 * (1.0 / max_abs(ALONE, d)):
            diagonal = d
    elif scheme.inverse_diagonal.size > 0:
        copy(scheme.inverse_diagonal, d)
        diagonal = d
    if diagonal.size > 0:
        found[JACOBI] = 1.0
        if not precondition(diagonal, r, p, limits):
            return
        rho = dot(ALONE, r, p)[0]
    else:
        copy(r, p)
        rho = initial * initial
    target, wanted = target_of(limits, found)
    norms = numbers[0]
    norms[0] = initial
    if not (rho > 0.0 and initial > wanted):
        return
    u = limits.unit_roundoff
    gap = (0.0, 0.0, u * found[FACTS + 2], u, initial)
    taken, rho, _, why = cg_loop(
        ALONE, A, diagonal, x, r, p, q, rho, wanted, gap, UNROUNDED, norms[1:], numbers[1, 1:], numbers[2, 1:]
    )
    found[PRODUCTS] += taken
    if not why:
        conclude(A, b, x, q, norms, taken, target, wanted, limits, found)
