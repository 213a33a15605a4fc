"""Batches of small systems: each by itself, systems shared among threads."""

from __future__ import annotations

import numpy as np
from numba.extending import overload

from .compiling import Shared, share
from .products import is_kind, member
from .small import limits_of
from .small_bicgstab import VECTORS as STABILISED
from .small_bicgstab import Stabilised, bicgstab
from .small_cg import ConjugateGradients, cg
from .small_gmres import VECTORS as RESTARTED
from .small_gmres import Restarted, gmres
from .small_stationary import Momentum, Sweeps, stationary

__all__ = ["SHARED", "solve_all"]

SHARED = 1 << 20  # entries and vector elements that a step of all systems touches, from which a second thread pays


def solve(A, given, x0, x, limits, scheme, work, numbers, found):  # type: ignore[no-untyped-def]
    """One system by a scheme."""
    raise NotImplementedError


@overload(solve)
def _solve(A, given, x0, x, limits, scheme, work, numbers, found):  # type: ignore[no-untyped-def]
    if is_kind(scheme, ConjugateGradients):
        return lambda A, given, x0, x, limits, scheme, work, numbers, found: cg(
            A, given, x0, x, limits, scheme, work, numbers, found
        )
    if is_kind(scheme, Stabilised):
        return lambda A, given, x0, x, limits, scheme, work, numbers, found: bicgstab(
            A, given, x0, x, limits, scheme, work, numbers, found
        )
    if is_kind(scheme, Restarted):
        return lambda A, given, x0, x, limits, scheme, work, numbers, found: gmres(
            A, given, x0, x, limits, scheme, work, numbers, found
        )
    return lambda A, given, x0, x, limits, scheme, work, numbers, found: stationary(
        A, given, x0, x, limits, scheme, work, numbers, found
    )


def scheme_of(kind, row):  # type: ignore[no-untyped-def]
    """The scheme of this kind with these numbers."""
    raise NotImplementedError


@overload(scheme_of, inline="always")
def _scheme_of(kind, row):  # type: ignore[no-untyped-def]
    if is_kind(kind, Momentum):
        return lambda kind, row: Momentum(row[0], row[1], row[2], row[3], row[4] != 0.0)
    if is_kind(kind, Sweeps):
        return lambda kind, row: Sweeps(row[0], row[1] != 0.0, row[2] != 0.0)
    return lambda kind, row: kind


def vectors_of(kind):  # type: ignore[no-untyped-def]
    """How many vectors a scheme of this kind works with."""
    raise NotImplementedError


@overload(vectors_of, inline="always")
def _vectors_of(kind):  # type: ignore[no-untyped-def]
    if is_kind(kind, Restarted):
        return lambda kind: RESTARTED + kind.restart + 1
    return (lambda kind: STABILISED) if is_kind(kind, Stabilised) else (lambda kind: 5)


@Shared
def solve_all(team, stack, which, b, x0, x, given, kind, schemes, numbers, found):  # type: ignore[no-untyped-def]
    """Row i of b, x and ``found`` belongs to matrix which[i] of the stack.

    ``schemes`` holds the numbers of a scheme of this kind for each system, or one row for all; Krylov methods are told
    by ``kind`` alone. x0 and ``numbers``, (systems, rows of the scheme, steps + 1), may hold nothing: for zero, and for
    what is not to be kept.
    """
    systems, n = b.shape
    limits = limits_of(given)
    guessed, kept = x0.shape[0] > 0, numbers.shape[0] > 0
    work = np.empty((vectors_of(kind), n), x.dtype)
    own = np.empty((numbers.shape[1], 0 if kept else limits.steps + 1))
    first, last = share(team, systems)
    for i in range(first, last):
        guess = x0[i] if guessed else work[0, :0]
        place = numbers[i] if kept else own
        scheme = scheme_of(kind, schemes[i if schemes.shape[0] > 1 else 0])
        solve(member(stack, which[i]), b[i], guess, x[i], limits, scheme, work, place, found[i])
