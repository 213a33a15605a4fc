"""Kernels that make the coarser of two grids, one axis at a time: interpolation by the matrix, and P^T A P.

Along the axis every other point stays, those with odd coordinates. A point between two of them is interpolated by the
couplings of its row to either side, each added up over the other axes (Dendy 1982, section 4).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba.extending import register_jitable

from ...kernels import kernel
from ...operators.grid import GridMatrix
from .compiling import FAST, Shared, share

__all__ = [
    "GridArrays", "add", "arrays_of_grid", "clear", "interpolation", "product_of_moduli", "product_on_coarse",
]  # fmt: skip


class GridArrays(NamedTuple):
    """A ``GridMatrix`` for kernels: sides, the fields of that name, and the inverse of the diagonal."""

    units: Any
    lines: Any
    points: Any
    at: Any
    offsets: Any
    steps: Any
    data: Any
    inverse: Any


def arrays_of_grid(A: GridMatrix) -> GridArrays:
    """Those of a matrix on a grid."""
    with np.errstate(divide="ignore"):
        return GridArrays(*A.sides, A.at, A.offsets, A.steps, A.data, 1 / A.data[0])


@Shared
def interpolation(team, A, kept, axis, left, right, ratios):  # type: ignore[no-untyped-def]
    """Weights of the neighbours on either side of the points with even coordinates along an axis.

    ``left`` and ``right`` have a row for each of the units ``kept``, ratios a number: the largest sum of moduli in a
    row of the matrix over its diagonal entry, infinity where that is not positive.

    Where the two couplings are all that there is, the weights add up to 1. At the ends of an axis what the row lacks to
    be zero in sum, which a boundary value of zero took away, has its share.
    """
    size, half = A.data.shape[2], (A.points + 1) // 2
    before, after, total, moduli = np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    first, last = share(team, kept.size)
    count = (A.units, A.lines, A.points)[axis]
    for t in range(first, last):
        u = kept[t]
        _collapsed(A, u, axis, before, after, total, moduli)
        ratios[t] = _largest_ratio(moduli, A.data[0, A.at[u]])
        for line in range(A.lines):
            begin = line * A.points
            if axis == 2:
                for i in range(half):
                    boundary = max(total[begin + 2 * i], 0.0) if i == 0 or 2 * i + 1 == count else 0.0
                    lower, upper = _weights(before[begin + 2 * i], after[begin + 2 * i], boundary)
                    left[t, line * half + i], right[t, line * half + i] = lower, upper
                continue
            place = line if axis else u
            if place % 2 == 0:
                to = place // 2 * A.points if axis else begin
                at_end = 1.0 if place == 0 or place + 1 == count else 0.0
                for i in range(A.points):
                    boundary = at_end * max(total[begin + i], 0.0)
                    lower, upper = _weights(before[begin + i], after[begin + i], boundary)
                    left[t, to + i], right[t, to + i] = lower, upper


@register_jitable
def _weights(before, after, boundary):  # type: ignore[no-untyped-def]
    """Of the points before and after, whose couplings these are, and the boundary."""
    before, after = max(-before, 0.0), max(-after, 0.0)
    whole = before + after + boundary
    scale = 1.0 / whole if whole > 0.0 else 0.0
    return scale * before, scale * after


@kernel(fastmath=set(FAST))
def _collapsed(A, u, axis, before, after, total, moduli):  # type: ignore[no-untyped-def]
    """Couplings of the points of a unit to either side, and sums of their rows and of the moduli in them."""
    size = total.size
    for i in range(size):
        before[i] = after[i] = total[i] = moduli[i] = 0.0
    for d in range(A.offsets.shape[0]):
        low, high = max(0, -A.steps[d]), min(size, size - A.steps[d])
        for end in range(2 if d else 1):
            unit = u - end * A.offsets[d, 0]  # of the two that are coupled the one before, where the coupling is kept
            if unit < 0 or unit + A.offsets[d, 0] >= A.units:
                continue
            couplings, at = A.data[d, A.at[unit], low:high], low + end * A.steps[d]
            along = A.offsets[d, axis] * (1 - 2 * end)
            add(couplings, total[at:])
            _add_moduli(couplings, moduli[at:])
            if along:
                add(couplings, before[at:] if along < 0 else after[at:])


@kernel(fastmath=set(FAST))
def add(given, to):  # type: ignore[no-untyped-def]
    """to += given."""
    for i in range(given.size):
        to[i] += given[i]


@kernel(fastmath=set(FAST))
def _add_moduli(given, to):  # type: ignore[no-untyped-def]
    for i in range(given.size):
        to[i] += abs(given[i])


@kernel(fastmath=set(FAST))
def _largest_ratio(moduli, diagonal):  # type: ignore[no-untyped-def]
    largest = 0.0
    for i in range(diagonal.size):
        if not diagonal[i] > 0.0:
            return np.inf
        largest = max(largest, moduli[i] / diagonal[i])
    return largest


@Shared
def product_of_moduli(team, A, x, y):  # type: ignore[no-untyped-def]
    """y = |A| x, the moduli entry by entry."""
    size = A.data.shape[2]
    first, last = share(team, A.units)
    for u in range(first, last):
        to = y[u * size : (u + 1) * size]
        clear(to)
        for d in range(A.offsets.shape[0]):
            s, low, high = A.steps[d], max(0, -A.steps[d]), min(size, size - A.steps[d])
            for end in range(2 if d else 1):
                unit = u - end * A.offsets[d, 0]
                if unit < 0 or unit + A.offsets[d, 0] >= A.units:
                    continue
                couplings = A.data[d, A.at[unit], low:high]
                there = x[(u + (1 - 2 * end) * A.offsets[d, 0]) * size + low + (1 - end) * s :]
                at = to[low + end * s :]
                for i in range(couplings.size):
                    at[i] += abs(couplings[i]) * there[i]


@Shared
def product_on_coarse(team, A, axis, left, right, kept, index, one, out):  # type: ignore[no-untyped-def]
    """P^T A P.

    Parameters
    ----------
    left, right : (units of A kept, points a unit with an even coordinate), of ``interpolation``
    kept : the units of the result, of which ``out`` has the coefficients
    index : (27,), where in ``out`` the coefficients of a step are, -1 for those before the point itself
    one : the number 1 in an array like a row of left
    """
    first, last = share(team, kept.size)
    for t in range(first, last):
        for d in range(out.shape[0]):
            clear(out[d, t])
        # A coarse point has parts of three fine ones, from ``shift`` points before it, and those have neighbours.
        for shift in range(-1, 2):
            for d in range(A.offsets.shape[0]):
                for sign in range(1, -2 if d else 0, -2):
                    step = (sign * A.offsets[d, 0], sign * A.offsets[d, 1], sign * A.offsets[d, 2])
                    hop = shift + step[axis]
                    # The neighbour is itself a coarse point, or lies between two.
                    for side in range(1 + hop % 2):
                        parent = (hop - hop % 2) // 2 + side
                        unit = parent if axis == 0 else step[0]
                        line = parent if axis == 1 else step[1]
                        point = parent if axis == 2 else step[2]
                        place = index[9 * (unit + 1) + 3 * (line + 1) + point + 1]
                        if place >= 0:
                            _add_part(
                                A, axis, left, right, kept[t], d, sign, step, shift, hop, side, one, out[place, t]
                            )


@kernel(fastmath=set(FAST))
def _add_part(A, axis, left, right, unit, d, sign, step, shift, hop, side, one, out):  # type: ignore[no-untyped-def]
    """The part of the fine points ``shift`` from the coarse ones of a unit, and of their neighbours at a step."""
    between, odd = abs(shift), hop % 2  # 0 or 1: how far weights advance from one point to the next
    theirs = left if side == 0 else right
    lines, points = A.lines, A.points
    here = 2 * unit + 1 + shift if axis == 0 else unit
    there = here + step[0]
    if here < 0 or here >= A.units or there < 0 or there >= A.units:
        return
    mine, yours = A.at[here], A.at[there]
    own = one if between == 0 else (right if shift < 0 else left)[mine]
    other = one if odd == 0 else theirs[yours]
    couplings = A.data[d, mine if sign > 0 else yours]
    if axis == 0:
        s = sign * A.steps[d]
        low, high = max(0, -s), min(out.size, out.size - s)
        begin = low if sign > 0 else low + s
        _multiply(own, low, between, couplings, begin, 1, other, low + s, odd, out, low, high - low)
        return
    if axis == 1:
        low, high = max(0, -step[2]), min(points, points - step[2])
        for coarse in range(lines // 2):
            line = 2 * coarse + 1 + shift
            neighbour = line + step[1]
            if 0 <= line < lines and 0 <= neighbour < lines:
                begin = (line if sign > 0 else neighbour) * points + low + (0 if sign > 0 else step[2])
                mine_at = line // 2 * points + low
                other_at = neighbour // 2 * points + low + step[2]
                to = coarse * points + low
                _multiply(own, mine_at, between, couplings, begin, 1, other, other_at, odd, out, to, high - low)
        return
    low, high, half = 0, points // 2, (points + 1) // 2
    while 2 * low + 1 + min(shift, hop) < 0:
        low += 1
    while 2 * high - 1 + max(shift, hop) >= points:
        high -= 1
    for line in range(lines):
        neighbour = line + step[1]
        if 0 <= neighbour < lines:
            begin = line * points + 2 * low + 1 + shift if sign > 0 else neighbour * points + 2 * low + 1 + hop
            mine_at = line * half + (2 * low + 1 + shift) // 2
            other_at = neighbour * half + (2 * low + 1 + hop) // 2
            to = line * (points // 2) + low
            _multiply(own, mine_at, between, couplings, begin, 2, other, other_at, odd, out, to, high - low)


@kernel(fastmath=set(FAST))
def clear(x):  # type: ignore[no-untyped-def]
    """x = 0."""
    for i in range(x.size):
        x[i] = 0


@kernel(fastmath=set(FAST))
def _multiply(own, i, own_step, couplings, j, step, other, k, other_step, out, to, count):  # type: ignore[no-untyped-def]
    """Add products of weight, coupling and weight; a step of 0 takes the first weight for all."""
    i, j, k, to = np.uint64(i * own_step), np.uint64(j), np.uint64(k * other_step), np.uint64(to)
    di, dj, dk = np.uint64(own_step), np.uint64(step), np.uint64(other_step)
    for point in range(np.uint64(max(count, 0))):
        out[to + point] += own[i + di * point] * couplings[j + dj * point] * other[k + dk * point]
