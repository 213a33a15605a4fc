"""Matrices of difference stencils on a grid with zero values outside, and the spectra of Kronecker sums."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from .exact import DoubleSum

__all__ = ["Toeplitz", "apply", "cross", "csr", "diagonals", "kronecker_eigenvalues", "kronecker_extremes", "stencil"]

# Offset along each axis -> coefficient of that neighbour, a number or an array of the grid's shape (one per row).
Entries = Mapping[tuple[int, ...], Any]


class Toeplitz(NamedTuple):
    """A tridiagonal matrix of order n with constant diagonals: one axis of a Kronecker sum.

    Its eigenvalues are ``diagonal + 2 sqrt(lower upper) cos(k pi / (n + 1))`` for k = 1 ... n; the offset from the
    edge of the spectrum is computed as a squared sine, so that small eigenvalues keep their relative accuracy.

    Examples
    --------
    >>> Toeplitz(3, 2.0, -1.0, -1.0).eigenvalues()
    array([0.58578644, 2.        , 3.41421356])
    """

    n: int
    diagonal: float
    lower: float
    upper: float

    def eigenvalues(self) -> np.ndarray:
        """All n eigenvalues, ascending where they are real."""
        angle = np.arange(1, self.n + 1) * math.pi / (self.n + 1)
        square = self.lower * self.upper
        if square < 0:
            return self.diagonal - 2j * math.sqrt(-square) * np.cos(angle)
        root = math.sqrt(square)
        return (self.diagonal - 2 * root) + 4 * root * np.sin(angle / 2) ** 2


def kronecker_eigenvalues(axes: Sequence[Any]) -> np.ndarray:
    """Eigenvalues of a Kronecker sum, sorted: every sum of one eigenvalue of each axis.

    Parameters
    ----------
    axes : sequence
        Each with a method ``eigenvalues()``.

    Examples
    --------
    >>> axis = Toeplitz(2, 2.0, -1.0, -1.0)
    >>> kronecker_eigenvalues([axis, axis]).round(12)
    array([2., 4., 4., 6.])
    """
    total = np.zeros(1)
    for axis in axes:
        total = np.add.outer(total, axis.eigenvalues()).ravel()
    return np.sort(total)


def kronecker_extremes(axes: Sequence[Any]) -> tuple[float, float]:
    """The smallest and the largest eigenvalue of a Kronecker sum whose axes have real spectra."""
    spectra = [axis.eigenvalues() for axis in axes]
    return float(sum(s.min() for s in spectra)), float(sum(s.max() for s in spectra))


def cross(centre: Any, sides: Sequence[tuple[Any, Any]]) -> dict[tuple[int, ...], Any]:
    """Entries of a star-shaped stencil; ``sides[k]`` are the coefficients before and behind along axis k."""
    entries: dict[tuple[int, ...], Any] = {(0,) * len(sides): centre}
    for axis, pair in enumerate(sides):
        for step, coefficient in zip((-1, 1), pair, strict=True):
            entries[tuple(step if k == axis else 0 for k in range(len(sides)))] = coefficient
    return entries


def stencil(grid: tuple[int, ...], centre: float, sides: Sequence[tuple[float, float]], dtype: Any = np.float64) -> Any:
    """The matrix-free operator of a star-shaped stencil with constant coefficients."""
    from ..operators import Stencil

    return Stencil(grid, centre, tuple(sides), dtype)


def csr(grid: tuple[int, ...], entries: Entries, dtype: Any = np.float64) -> sparse.csr_array:
    """The sparse matrix of a stencil, points numbered in C order, the last axis fastest.

    Raises
    ------
    ValueError
        If the matrix would have too many entries for 32-bit indices.

    Examples
    --------
    >>> csr((3,), cross(2.0, [(-1.0, -1.0)])).toarray()
    array([[ 2., -1.,  0.],
           [-1.,  2., -1.],
           [ 0., -1.,  2.]])
    """
    size = math.prod(grid)
    if size * len(entries) > np.iinfo(np.int32).max:
        raise ValueError(f"grid is {grid}, too many points for 32-bit indices; take fewer or matrix_free=True")
    index = np.arange(size, dtype=np.int32).reshape(grid)
    rows, columns, values = [], [], []
    for offset, coefficient in entries.items():
        if np.ndim(coefficient) == 0 and coefficient == 0:
            continue
        target, source = _windows(grid, offset)
        value = np.broadcast_to(np.asarray(coefficient, dtype=dtype), grid)[target].ravel()
        rows.append(index[target].ravel())
        columns.append(index[source].ravel())
        values.append(value)
    coordinates = (np.concatenate(rows), np.concatenate(columns))
    A = sparse.coo_array((np.concatenate(values), coordinates), shape=(size, size)).tocsr()
    A.sum_duplicates()
    return A


def diagonals(grid: tuple[int, ...], entries: Entries) -> Any:
    """The matrix-free operator of a symmetric stencil: its diagonals on and above the main one, aligned by rows."""
    from ..operators import Diagonals

    data, offsets = upper_diagonals(grid, entries)
    return Diagonals(data, offsets, symmetric=True)


def upper_diagonals(grid: tuple[int, ...], entries: Entries) -> tuple[np.ndarray, tuple[int, ...]]:
    """Data of shape (diagonals, n) and ascending offsets, from 0, of a symmetric stencil's upper half.

    ``data[d, i]`` multiplies ``x[i + offsets[d]]`` in row i; it is zero where the neighbour lies outside the grid.

    Examples
    --------
    >>> data, offsets = upper_diagonals((2, 2), cross(4.0, [(-1.0, -1.0)] * 2))
    >>> offsets
    (0, 1, 2)
    >>> data
    array([[ 4.,  4.,  4.,  4.],
           [-1.,  0., -1.,  0.],
           [-1., -1.,  0.,  0.]])
    """
    strides = [math.prod(grid[axis + 1 :]) for axis in range(len(grid))]
    found: dict[int, np.ndarray] = {}
    for offset, coefficient in entries.items():
        distance = sum(step * stride for step, stride in zip(offset, strides, strict=True))
        target, _ = _windows(grid, offset)
        # On an axis of one point the neighbour does not exist, yet its distance may be that of another one.
        if distance < 0 or any(window.start == window.stop for window in target):
            continue
        diagonal = found.setdefault(distance, np.zeros(grid))
        diagonal[target] += np.broadcast_to(np.asarray(coefficient, dtype=np.float64), grid)[target]
    offsets = tuple(sorted(found))
    return np.stack([found[d].ravel() for d in offsets]), offsets


def apply(grid: tuple[int, ...], entries: Entries, x: np.ndarray, *, exact: bool = False) -> np.ndarray:
    """The stencil's product with x, shape (n,), without a matrix and in twice the working precision.

    `exact` says that no operation can round, as with short integers, so that a plain sum will do.
    """
    u = x.reshape(grid)
    if exact:
        plain = np.zeros_like(u)
        for offset, coefficient in entries.items():
            target, source = _windows(grid, offset)
            plain[target] += coefficient * u[source]
        return plain.ravel()
    total = DoubleSum(grid)
    for offset, coefficient in entries.items():
        target, source = _windows(grid, offset)
        total.add(target, coefficient[target] if np.ndim(coefficient) else coefficient, u[source])
    return total.result().ravel()


def _windows(grid: tuple[int, ...], offset: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of the points that have the neighbour at `offset`, and of those neighbours."""
    target = tuple(slice(max(0, -step), max(0, n - max(0, step))) for n, step in zip(grid, offset, strict=True))
    source = tuple(slice(max(0, step), max(0, n - max(0, -step))) for n, step in zip(grid, offset, strict=True))
    return target, source
