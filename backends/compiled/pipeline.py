"""Substitutions by several threads in natural order: which rows may go side by side, in few and large pieces.

A row waits for its neighbours before it. The levels of that graph are too many to start threads for each (1999 on a
grid of 1000 x 1000 points), so the rows are cut into parts, such that a row waits for rows of its own part and of the
parts before, never after: on such a grid, vertical strips. Then part k may work on its next slice of rows while part
k - 1 is one slice ahead, a pipeline with a stage a slice. Every row still comes after all the rows it waits for, so
its value is that of the sequential order to the last bit; backwards, the stages are run in reverse.

The pieces are made of A and of nothing else, so that sums over them do not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...kernels import kernel
from .compiling import PARALLEL_FROM
from .products import CSRArrays, DenseArrays, StencilArrays, SymmetricBandArrays

__all__ = ["Tiles", "tiles_of"]

WIDTH = 512  # rows of a part that follow each other, where a line or plane has as many for each of two parts
MOST_PARTS = 16
SLICE = 8192  # rows a tile: some ten times what starting threads costs
MOST_SLICES = 32  # so that filling and emptying the pipeline takes a thirtieth of the time for two threads
LEAST_RUN = 64  # rows in a row, on the average: shorter ones are not worth setting out for
PADDED = 8  # numbers a line of the cache
WANTED, LEAST = 1.7, 1.3  # how many times the work of one thread two can do: what is good enough, what is too little


class Tiles(NamedTuple):
    """Rows by stages and parts.

    Attributes
    ----------
    parts : int
        Tiles a stage, which may be done side by side.
    starts : ndarray of int, (stages * parts + 1,)
        Tile t is made of the runs ``starts[t]:starts[t + 1]``; some are empty.
    runs : ndarray of int, (runs, 2)
        First row and the one after the last.
    owners : ndarray of int, (runs,)
        Where the sums over a run belong.
    """

    parts: int
    starts: np.ndarray
    runs: np.ndarray
    owners: np.ndarray

    def sums(self) -> np.ndarray:
        """Room for what is summed over them, a line of the cache for each owner, so that threads do not share one."""
        return np.zeros((int(self.owners.max()) + 1, PADDED))

    def sequential(self) -> Tiles:
        """The same runs for one thread, first row to last, their sums where they were: the same bits."""
        if len(self.runs) == 1:
            return self
        order = np.argsort(self.runs[:, 0])
        return Tiles(1, np.array([0, order.size]), self.runs[order], self.owners[order])


def tiles_of(A: Any, n: int) -> Tiles:
    """The tiles for a matrix given by its arrays: a single one where it is small, or where rows wait for too many.

    Notes
    -----
    About the time of three sweeps, for matrices of at least ``PARALLEL_FROM`` rows; nothing for others.
    """
    best, gain = Tiles(1, np.array([0, 1]), np.array([[0, n]]), np.array([0])), LEAST
    if n < PARALLEL_FROM or isinstance(A, DenseArrays):
        return best
    pattern = neighbours(A, n)
    width = line_length(pattern)
    position = positions(*pattern, width)
    parts = 2
    while parts < MOST_PARTS and 2 * WIDTH * parts <= width:
        parts *= 2
    while parts <= MOST_PARTS and gain < WANTED:
        tiles, found = _cut(pattern, position, parts)
        if n < LEAST_RUN * len(tiles.runs):
            break
        if found > gain:
            best, gain = tiles, found
        parts *= 2
    return best


def _cut(pattern: tuple[np.ndarray, np.ndarray], position: np.ndarray, parts: int) -> tuple[Tiles, float]:
    """Parts of equal size by position, cut into slices, and how many times the work of one thread two can do of it."""
    n = position.size
    before = np.cumsum(np.bincount(position))
    first = np.searchsorted(before, n * np.arange(1, parts) / parts)
    part = np.searchsorted(first, np.arange(before.size)).astype(np.int8)[position]
    slices = min(MOST_SLICES, max(4, n // (parts * SLICE)))
    stage = stages(*pattern, part, -(-n // (parts * slices)))
    # Threads take equal shares of the tiles of a stage from the first to the last. Tiles are put there by their slices,
    # bits reversed, so that a thread keeps to its slices of the vectors part after part: neighbouring rows stay in one
    # cache, and there is as much to do for everyone while the pipeline fills.
    bits = parts.bit_length() - 1
    place = np.array([int(f"{k:0{bits}b}"[::-1], 2) for k in range(parts)])
    tile = stage * parts + place[(stage - part) % parts]
    count = (int(stage.max()) + 1) * parts
    gain = n / np.bincount(2 * tile // parts, minlength=2 * count // parts).reshape(-1, 2).max(axis=1).sum()
    begin = np.flatnonzero(np.append(True, tile[1:] != tile[:-1]))
    runs, owners = np.stack([begin, np.append(begin[1:], n)], axis=1), tile[begin]
    order = np.argsort(owners, kind="stable")
    return Tiles(parts, np.searchsorted(owners[order], np.arange(count + 1)), runs[order], owners[order]), gain


def neighbours(A: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The pattern of a Hermitian A as rows of column numbers, (n + 1,) and (entries,); its upper half may be left out.

    Where a diagonal or stencil has no entry in a row, the row itself stands in its place.
    """
    if isinstance(A, CSRArrays):
        return tuple(array.view(np.int32) if array.dtype == np.uint32 else array for array in (A.indptr, A.indices))
    rows = np.arange(n, dtype=np.int32)
    if isinstance(A, StencilArrays):
        sizes = (A.planes, A.lines, A.points)
        steps = [(step, size) for step, size in zip((A.lines * A.points, A.points, 1), sizes, strict=True) if size > 1]
        indices = np.empty((n, len(steps)), np.int32)
        for column, (step, size) in zip(indices.T, steps, strict=True):
            column[:] = rows
            column.reshape(-1, size, step)[:, 1:] -= step
    else:
        offsets = [-offset if isinstance(A, SymmetricBandArrays) else offset for offset in A.offsets.tolist()]
        indices = np.repeat(rows[:, None], len(offsets), axis=1)
        for column, offset, band in zip(indices.T, offsets, A.data, strict=True):
            here = slice(max(0, -offset), n - max(0, offset))
            entries = band[: n + offset] if isinstance(A, SymmetricBandArrays) else band[here]
            column[here] += np.where(entries != 0, np.int32(offset), np.int32(0))
    return np.arange(n + 1) * indices.shape[1], indices.reshape(-1)


def line_length(pattern: tuple[np.ndarray, np.ndarray]) -> int:
    """The rows of a line or plane: of those rows that look back about as far as most, how far the nearest looks."""
    back = reaches(*pattern)
    return int(back[2 * back >= np.median(back[::64])].min())


@kernel()
def reaches(indptr, indices):  # type: ignore[no-untyped-def]
    """How far back the farthest neighbour of each row lies."""
    n = indptr.size - 1
    back = np.zeros(n, np.int32)
    for i in range(n):
        farthest = 0
        for k in range(indptr[i], indptr[i + 1]):
            farthest = max(farthest, i - indices[k])
        back[i] = farthest
    return back


@kernel()
def positions(indptr, indices, width):  # type: ignore[no-untyped-def]
    """A number for each row that is not below that of any row it waits for.

    It is the sum of two: the last of the first ``width`` rows that the row waits for, and the first of the last rows
    that wait for it. On grids in natural order it tells the columns, or oblique lines where the stencil has corners.
    """
    n = indptr.size - 1
    after = np.zeros(n, np.int32)
    before = np.full(n, width, np.int32)
    for i in range(width):
        after[i] = i
        before[n - width + i] = i
    # The pattern may be told by its lower half alone: what a row knows is pulled by some and pushed to others.
    for i in range(n):
        own = after[i]
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            if j < i:
                own = max(own, after[j])
        after[i] = own
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            if j > i:
                after[j] = max(after[j], own)
    for i in range(n - 1, -1, -1):
        own = before[i]
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            if j > i:
                own = min(own, before[j])
        before[i] = own
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            if j < i:
                before[j] = min(before[j], own)
    for i in range(n):
        after[i] += before[i]
    return after


@kernel()
def stages(indptr, indices, part, size):  # type: ignore[no-untyped-def]
    """The stage of each row: as soon as what it waits for in other parts is done, at most ``size`` rows a tile."""
    n = part.size
    stage = np.zeros(n, np.int32)
    now = np.zeros(256, np.int32)
    used = np.zeros(256, np.int64)
    for i in range(n):
        own = part[i]
        wanted = max(stage[i], now[own])
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            if j < i and part[j] != own:
                wanted = max(wanted, stage[j] + 1)
        if wanted == now[own] and used[own] >= size:
            wanted += 1
        if wanted > now[own]:
            now[own], used[own] = wanted, 0
        used[own] += 1
        stage[i] = wanted
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            if j > i and part[j] != own:
                stage[j] = max(stage[j], wanted + 1)
    return stage
