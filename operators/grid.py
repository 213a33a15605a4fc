"""The regular grid behind a symmetric matrix of few diagonals: their offsets and the zeros at its edges tell it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from .diagonals import Diagonals
from .stencil import Stencil

__all__ = ["MOST_OFFSETS", "GridMatrix", "alike", "grid_matrix", "matrix_of_stencil", "sides_of_grid"]

MOST_OFFSETS = 14  # of a point and half of its 26 neighbours
ENDS = 8  # units at either end that are kept one by one where those in between are alike: coarsening mixes but a few
FEWEST = 3  # points along an axis


@dataclass(frozen=True)
class GridMatrix:
    """A symmetric matrix on a grid that couples points to their neighbours, the upper half of it.

    The grid is a sequence of units: the points of a line are one, the lines of a rectangle, the planes of a box. Units
    with the same coefficients are kept once.

    Attributes
    ----------
    sides : (int, int, int)
        Units, lines a unit, points a line.
    at : ndarray of int, (units,)
        Where the coefficients of a unit are kept.
    offsets : ndarray of int, (number, 3)
        Steps to neighbours along the three axes, each -1, 0 or 1; the point itself first, then those after it.
    data : ndarray, (number, units kept, points a unit)
        ``data[d, at[u], i]`` couples point i of unit u to the neighbour at offsets[d]; zero where there is none, but
        for neighbours in units before the first and after the last, of which nothing is read.
    """

    sides: tuple[int, int, int]
    at: np.ndarray
    offsets: np.ndarray
    data: np.ndarray

    @property
    def n(self) -> int:
        """Points."""
        return math.prod(self.sides)

    @property
    def steps(self) -> np.ndarray:
        """How far on the neighbours are in their units."""
        return self.offsets[:, 1] * self.sides[2] + self.offsets[:, 2]

    @property
    def kept(self) -> np.ndarray:
        """A unit for each of those that are kept, the first of its kind."""
        return np.unique(self.at, return_index=True)[1]

    def astype(self, dtype: np.dtype) -> GridMatrix:
        """The same in another precision."""
        return GridMatrix(self.sides, self.at, self.offsets, self.data.astype(dtype, copy=False))


def alike(units: int) -> np.ndarray:
    """Where units are kept if all but some at the ends are alike."""
    if units <= 2 * ENDS + 1:
        return np.arange(units)
    own = np.full(units, ENDS)
    own[:ENDS] = np.arange(ENDS)
    own[units - ENDS :] = np.arange(ENDS + 1, 2 * ENDS + 1)
    return own


def matrix_of_stencil(A: Stencil) -> GridMatrix:
    """Of a symmetric real stencil.

    Raises
    ------
    InputError
        For a complex or unsymmetric one.
    """
    if A.dtype.kind == "c":
        raise InputError(f"A: found {A.dtype}; wanted real coefficients")
    sides = _units(A.grid)
    coefficients = {(0, 0, 0): A.coefficients[0]}
    for axis, (lower, upper) in enumerate(zip(A.coefficients[1::2], A.coefficients[2::2], strict=True)):
        if lower != upper and A.grid[axis] > 1:
            raise InputError(f"A: found coefficients {lower} and {upper} along axis {axis}; wanted a symmetric stencil")
        place = 0 if axis == 0 and len(A.grid) > 1 else axis + 3 - len(A.grid)
        coefficients[int(place == 0), int(place == 1), int(place == 2)] = upper
    at = alike(sides[0])
    unit = np.empty((len(coefficients), *sides[1:]), A.dtype)
    for d, (step, value) in enumerate(coefficients.items()):
        unit[d] = value
        for axis in (1, 2):
            if step[axis]:
                unit[(d, *_end(axis, step)[1:])] = 0
    data = np.repeat(unit.reshape(len(unit), 1, -1), int(at.max(initial=0)) + 1, axis=1)
    return GridMatrix(sides, at, np.array(list(coefficients)), data)


def grid_matrix(A: Diagonals) -> GridMatrix:
    """Of the upper half of a matrix stored by diagonals.

    Raises
    ------
    InputError
        Where it couples others than neighbours of a grid.
    """
    found = _found(A)
    if found is None:
        raise InputError(
            f"A: found diagonals at {_some(A.offsets.tolist())} of {A.shape[0]} rows, which are not those of a grid of "
            "one to three axes numbered line after line, each point coupled to its neighbours"
        )
    grid, upper, steps = found
    sides = _units(grid)
    data = A.data if upper == list(range(len(A.data))) else A.data[upper]
    return _kept_once(sides, np.array(steps), data.reshape(len(data), sides[0], -1))


def sides_of_grid(A: Diagonals) -> tuple[int, ...] | None:
    """Points along the axes of the grid, the last one fastest; None where there is none. Entries are hardly read."""
    found = _found(A)
    return None if found is None else found[0]


def _found(A: Diagonals) -> tuple[tuple[int, ...], list[int], list[tuple[int, int, int]]] | None:
    """The grid, where in A the diagonals of the upper half are, and the steps that they belong to."""
    n = A.shape[0]
    upper = [d for d in np.argsort(A.offsets).tolist() if A.offsets[d] == 0 or (A.offsets[d] > 0 and A.data[d].any())]
    offsets = A.offsets[upper].tolist()
    if not n or offsets[:1] != [0] or len(offsets) > MOST_OFFSETS:
        return None
    for grid in _grids(offsets, n):
        sides = _units(grid)
        steps = [step for offset in offsets if (step := _step(offset, sides)) is not None]
        if len(steps) == len(offsets) and all(
            _ends_there(A.data[d].reshape(sides), step, offset)
            for d, step, offset in zip(upper, steps, offsets, strict=True)
        ):
            return grid, upper, steps
    return None


def _units(grid: tuple[int, ...]) -> tuple[int, int, int]:
    """The sides, of which the first are units: one for a line."""
    first, *rest = (1, *grid) if len(grid) == 1 else grid
    return (first, *(1,) * (2 - len(rest)), *rest)  # type: ignore[return-value]


def _grids(offsets: list[int], n: int) -> Iterator[tuple[int, ...]]:
    """Grids on which such offsets may be those of neighbours."""
    far = [offset for offset in offsets if offset > 1]
    if not far:
        yield (n,)
        return
    # The nearest neighbour in another line is the one beside, before or after the point there.
    for points in sorted({far[0], far[0] + 1, far[0] - 1}, key=lambda size: abs(size - far[0])):
        if points < FEWEST or n % points:
            continue
        if far[-1] <= points + 1:
            yield (n // points, points)
            continue
        for lines in range((far[-1] - 1) // points - 1, (far[-1] + 1) // points + 2):
            if lines >= FEWEST and n % (lines * points) == 0:
                yield (n // (lines * points), lines, points)


def _step(offset: int, sides: tuple[int, int, int]) -> tuple[int, int, int] | None:
    """The neighbour at this distance in the numbering; None where it is that of no neighbour."""
    _, lines, points = sides
    unit, rest = _nearest(offset, lines * points)
    line, point = _nearest(rest, points)
    found = (unit, line, point)
    return found if max(map(abs, found)) <= 1 else None


def _nearest(offset: int, size: int) -> tuple[int, int]:
    """How many times a size, and what is left, of either sign."""
    times = (2 * offset + size) // (2 * size)
    return times, offset - times * size


def _end(axis: int, step: Any) -> tuple[Any, ...]:
    """The points that have no neighbour at this step along an axis."""
    where: list[Any] = [slice(None)] * 3
    where[axis] = -1 if step[axis] > 0 else 0
    return tuple(where)


def _ends_there(values: np.ndarray, step: Any, offset: int) -> bool:
    """Whether a diagonal is zero where a unit has no such neighbour; what lies outside of the matrix does not count."""
    for axis in (1, 2):
        end = values[_end(axis, step)]
        if step[axis] and end.any():
            points = np.arange(values.size).reshape(values.shape)[_end(axis, step)]
            if points[end != 0].min() + offset < values.size:
                return False
    return True


def _kept_once(sides: tuple[int, int, int], offsets: np.ndarray, data: np.ndarray) -> GridMatrix:
    """Units between the ends once, if all are alike."""
    units = sides[0]
    between = data[:, ENDS : units - ENDS]
    if units <= 2 * ENDS + 1 or not all(
        np.array_equal(part, np.broadcast_to(part[:1], part.shape))
        for part in (between[:, [0, -1]].swapaxes(0, 1), *between)
    ):
        return GridMatrix(sides, np.arange(units), offsets, data)
    at = alike(units)
    kept = np.unique(at, return_index=True)[1]
    return GridMatrix(sides, at, offsets, np.ascontiguousarray(data[:, kept]))


def _some(offsets: list[int]) -> str:
    shown = ", ".join(map(str, offsets[:6]))
    return f"{shown}, ..." if len(offsets) > 6 else shown
