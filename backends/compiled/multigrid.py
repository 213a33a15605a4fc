"""The two halves of a multigrid cycle on one grid, each one pass over its units.

Going down: damped Jacobi steps from zero, the residual, and its restriction. Coming up: interpolation, and the same
steps again. Step j is a unit behind step j - 1, so that the units in work stay in cache; where members of a team meet,
a few units are done by both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba.extending import register_jitable

from ...kernels import kernel
from .coarsening import add, clear
from .compiling import FAST, Shared, share

__all__ = ["Transfer", "ascend", "descend"]

SEGMENT = 512  # points at a time, so that what is gathered of their neighbours stays in the first-level cache


class Transfer(NamedTuple):
    """Interpolation from a coarser grid, axis by axis.

    ``units``, ``lines`` and ``points`` are the coarser sides; ``left_units`` and so on the weights of the neighbours of
    points with even coordinates, by rows the units kept. They are empty along an axis that is not coarsened.
    """

    units: Any
    lines: Any
    points: Any
    left_units: Any
    right_units: Any
    left_lines: Any
    right_lines: Any
    left_points: Any
    right_points: Any


@Shared
def descend(team, A, P, factors, r, x, coarse):  # type: ignore[no-untyped-def]
    """x: from zero, a step x + factor D^-1 (r - A x) for each of ``factors``; coarse = P^T (r - A x)."""
    steps, size = factors.size, A.data.shape[2]
    first, last = share(team, P.units)
    if first == last:
        return
    low, high, own, end = first, last, first, last  # of residuals, of x
    if P.left_units.size:
        own, end = 2 * first, 2 * last
        if last == P.units:
            end = A.units
        low, high = own, min(end + 1, A.units)
    stages = np.empty((steps, 3, size), x.dtype)
    rest, half = np.empty(size, x.dtype), np.empty(A.lines * P.points, x.dtype)
    quarter = np.empty(P.lines * P.points, x.dtype)
    clear(coarse[first * quarter.size : last * quarter.size])
    for front in range(max(0, low - steps), high + steps):
        for stage in range(steps):
            u = front - stage
            if max(0, low - steps + stage) <= u < min(A.units, high + steps - stage):
                new = stages[stage, u % 3]
                if stage == 0:
                    _first_step(A, u, factors[0], r, new)
                else:
                    _step(A, u, factors[stage], r, stages[stage - 1], rest, new)
                if stage == steps - 1 and own <= u < end:
                    _copy(new, _unit(x, u, size))
        u = front - steps
        if low <= u < high:
            _residual(A, u, r, stages[steps - 1], rest)
            _restrict(A, P, A.at[u], rest, half, quarter)
            if not P.left_units.size:
                _copy(quarter, _unit(coarse, u, quarter.size))
            elif u % 2:
                add(quarter, _unit(coarse, u // 2, quarter.size))
            else:
                if first < u // 2 <= last:
                    _add_times(P.left_units[A.at[u]], quarter, _unit(coarse, u // 2 - 1, quarter.size))
                if first <= u // 2 < last:
                    _add_times(P.right_units[A.at[u]], quarter, _unit(coarse, u // 2, quarter.size))


@Shared
def ascend(team, A, P, factors, r, x, coarse, out):  # type: ignore[no-untyped-def]
    """out = x + P coarse, then a step out + factor D^-1 (r - A out) for each of ``factors``."""
    steps, size = factors.size, A.data.shape[2]
    first, last = share(team, A.units)
    stages = np.empty((steps + 1, 3, size), x.dtype)
    rest, half = np.empty(size, x.dtype), np.empty(A.lines * P.points, x.dtype)
    quarter = np.empty(P.lines * P.points, x.dtype)
    for front in range(max(0, first - steps), last + steps):
        for stage in range(steps + 1):
            u = front - stage
            if max(0, first - steps + stage) <= u < min(A.units, last + steps - stage):
                new = stages[stage, u % 3]
                if stage:
                    _step(A, u, factors[stage - 1], r, stages[stage - 1], rest, new)
                else:
                    _interpolate(A, P, u, coarse, quarter, half, new)
                    add(_unit(x, u, size), new)
                if stage == steps:
                    _copy(new, _unit(out, u, size))


@kernel(fastmath=set(FAST))
def _first_step(A, u, factor, r, new):  # type: ignore[no-untyped-def]
    """From zero."""
    inverse, given = A.inverse[A.at[u]], _unit(r, u, new.size)
    for i in range(new.size):
        new[i] = factor * inverse[i] * given[i]


@kernel(fastmath=set(FAST))
def _step(A, u, factor, r, x, rest, new):  # type: ignore[no-untyped-def]
    """Damped Jacobi on a unit; ``x`` holds it and its neighbours in turns."""
    kept = x.dtype.type(1) - factor
    for low in range(0, new.size, SEGMENT):
        high = min(low + SEGMENT, new.size)
        _without_diagonal(A, u, r, x, low, high, rest)
        inverse, old, to = A.inverse[A.at[u], low:high], x[u % 3, low:high], new[low:high]
        for i in range(to.size):
            to[i] = kept * old[i] + factor * inverse[i] * rest[i]


@kernel(fastmath=set(FAST))
def _residual(A, u, r, x, out):  # type: ignore[no-untyped-def]
    """r - A x of a unit."""
    for low in range(0, out.size, SEGMENT):
        high = min(low + SEGMENT, out.size)
        rest = out[low:high]
        _without_diagonal(A, u, r, x, low, high, rest)
        _subtract(A.data[0, A.at[u], low:high], x[u % 3, low:high], rest)


@kernel(fastmath=set(FAST))
def _without_diagonal(A, u, r, x, low, high, rest):  # type: ignore[no-untyped-def]
    """rest = r - (A - D) x at the points low..high of a unit."""
    size = x.shape[1]
    _copy(_unit(r, u, size)[low:high], rest[: high - low])
    for d in range(1, A.offsets.shape[0]):
        s, unit = A.steps[d], A.offsets[d, 0]
        if u + unit < A.units:
            begin, end = max(low, -s), min(high, size - s)
            there = x[(u + unit) % 3]
            _subtract(A.data[d, A.at[u], begin:end], there[begin + s : end + s], rest[begin - low : end - low])
        if u >= unit:
            begin, end = max(low, s), min(high, size + s)
            there = x[(u + 3 - unit) % 3, begin - s : end - s]
            _subtract(A.data[d, A.at[u - unit], begin - s : end - s], there, rest[begin - low : end - low])


@kernel(fastmath=set(FAST))
def _subtract(couplings, x, rest):  # type: ignore[no-untyped-def]
    for i in range(rest.size):
        rest[i] -= couplings[i] * x[i]


@kernel(fastmath=set(FAST))
def _restrict(A, P, at, rest, half, quarter):  # type: ignore[no-untyped-def]
    """P^T within a unit: along lines, then across them."""
    lines, points = half, P.points
    if P.left_points.size:
        left, right = P.left_points[at], P.right_points[at]
        between = (A.points + 1) // 2
        for line in range(A.lines):
            fine = rest[line * A.points : (line + 1) * A.points]
            new = half[line * points : (line + 1) * points]
            ls, rs = left[line * between : (line + 1) * between], right[line * between : (line + 1) * between]
            for i in range(points):
                new[i] = fine[2 * i + 1] + rs[i] * fine[2 * i]
            for i in range(between - 1):
                new[i] += ls[i + 1] * fine[2 * i + 2]
    else:
        lines = rest
    if not P.left_lines.size:
        _copy(lines, quarter)
        return
    left, right = P.left_lines[at], P.right_lines[at]
    for line in range(P.lines):
        new = _unit(quarter, line, points)
        _copy(_unit(lines, 2 * line + 1, points), new)
        _add_times(right[line * points :], lines[2 * line * points :], new)
        if 2 * line + 2 < A.lines:
            _add_times(left[(line + 1) * points :], lines[(2 * line + 2) * points :], new)


@kernel(fastmath=set(FAST))
def _interpolate(A, P, u, coarse, quarter, half, new):  # type: ignore[no-untyped-def]
    """P coarse in a unit: across units, across lines, along them."""
    at, size, points = A.at[u], quarter.size, P.points
    clear(quarter)
    if not P.left_units.size:
        _copy(_unit(coarse, u, size), quarter)
    elif u % 2:
        _copy(_unit(coarse, u // 2, size), quarter)
    else:
        if u > 0:
            _add_times(P.left_units[at], coarse[(u // 2 - 1) * size :], quarter)
        if u // 2 < P.units:
            _add_times(P.right_units[at], coarse[u // 2 * size :], quarter)
    lines = quarter
    if P.left_lines.size:
        lines = half
        clear(lines)
        left, right = P.left_lines[at], P.right_lines[at]
        for line in range(A.lines):
            to = _unit(lines, line, points)
            if line % 2:
                _copy(_unit(quarter, line // 2, points), to)
                continue
            if line > 0:
                _add_times(left[line // 2 * points :], quarter[(line // 2 - 1) * points :], to)
            if line // 2 < P.lines:
                _add_times(right[line // 2 * points :], quarter[line // 2 * points :], to)
    if not P.left_points.size:
        _copy(lines, new)
        return
    left, right = P.left_points[at], P.right_points[at]
    between = (A.points + 1) // 2
    for line in range(A.lines):
        fine, given = new[line * A.points : (line + 1) * A.points], lines[line * points : (line + 1) * points]
        ls, rs = left[line * between : (line + 1) * between], right[line * between : (line + 1) * between]
        fine[0] = rs[0] * given[0]
        fine[1] = given[0]
        for i in range(points - 1):
            fine[2 * i + 2] = ls[i + 1] * given[i] + rs[i + 1] * given[i + 1]
            fine[2 * i + 3] = given[i + 1]
        if between > points:
            fine[2 * points] = ls[points] * given[points - 1]


@kernel(fastmath=set(FAST))
def _add_times(weights, given, to):  # type: ignore[no-untyped-def]
    for i in range(to.size):
        to[i] += weights[i] * given[i]


@kernel(fastmath=set(FAST))
def _copy(given, to):  # type: ignore[no-untyped-def]
    for i in range(to.size):
        to[i] = given[i]


@register_jitable
def _unit(x, u, size):  # type: ignore[no-untyped-def]
    """Those entries of x."""
    return x[u * size : (u + 1) * size]
