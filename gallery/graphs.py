"""Laplacians of graphs: singular and consistent, or shifted and positive definite."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from ..naming import choice
from . import lattice
from .checks import grid_shape, integer, number
from .exact import DoubleSum, short_vector
from .problem import Known, Problem

KINDS = ("path", "cycle", "grid", "complete", "star", "random")


def graph_laplacian(kind: str, n: int | tuple[int, ...], shift: float = 0.0, *, seed: Any = 0) -> Problem:
    """Degrees on the diagonal, -1 for every edge, plus shift times the identity; the graph is connected.

    Without shift the constant vector spans the null space; b then lies in the range and x is the shortest solution.
    With it, the condition number is at most ``(2 d + shift) / shift``, d being the largest degree.

    Parameters
    ----------
    kind : {"path", "cycle", "grid", "complete", "star", "random"}
        "random" is a random recursive tree and 2 n random edges besides. All other spectra are known.
    n : int or tuple of 1 to 3 ints
        Number of vertices, at least 2 (of a cycle 3); of a grid, the vertices along each axis, an int meaning a square.
    shift : float
        Not negative.
    seed : int, numpy.random.Generator or None
        Of the random graph and the random solution.

    Returns
    -------
    Problem

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    A. E. Brouwer, W. H. Haemers, "Spectra of Graphs", Springer 2012, section 1.4.

    Examples
    --------
    >>> graph_laplacian("star", 5).eigenvalues()
    array([0., 1., 1., 1., 5.])
    >>> graph_laplacian("complete", 7, shift=1.0).condition
    8.0
    """
    kind = choice("kind", kind, KINDS)
    shift = number("shift", shift, above=0.0, closed=(True, False))
    shape = grid_shape(n, dimensions=(2, 1, 3), name="n") if kind == "grid" else ()
    size = math.prod(shape) if shape else integer("n", n, least=3 if kind == "cycle" else 2)
    rng = np.random.default_rng(seed)
    tails, heads = _edges(kind, size, shape, rng)
    coordinates = (np.concatenate([tails, heads]), np.concatenate([heads, tails]))
    adjacency = sparse.coo_array((np.ones(2 * tails.size), coordinates), shape=(size, size)).tocsr()
    adjacency.sum_duplicates()
    adjacency.data[:] = 1.0  # an edge drawn twice is still one edge
    degree = adjacency.sum(axis=1)
    diagonal = degree + shift
    A = (sparse.diags_array(diagonal, format="csr") - adjacency).tocsr()
    A.sum_duplicates()
    x = short_vector(size, rng, zero_sum=shift == 0)
    total = DoubleSum((size,))
    total.add(slice(None), diagonal, x)
    total.add(slice(None), -1.0, adjacency @ x)  # a sum of short numbers, hence exact
    axes = _axes(kind, size, shape)
    return Problem(
        name=f"graph_laplacian({kind!r}, {n!r}" + (f", shift={shift:g})" if shift else ")"),
        A=A,
        b=total.result(),
        x=x,
        symmetric=True,
        positive_definite=bool((diagonal > degree).any()),  # a shift that rounding swallows does not count
        reference="Brouwer, Haemers, Spectra of Graphs, Springer 2012, section 1.4",
        known=Known(partial(_eigenvalues, axes, shift), partial(_extremes, axes, shift)) if axes else Known(),
    )


class _Spectrum(NamedTuple):
    """The spectrum of one graph, in the form that Kronecker sums take."""

    n: int
    values: Callable[[int], np.ndarray]

    def eigenvalues(self) -> np.ndarray:
        return self.values(self.n)


def _path(n: int) -> np.ndarray:
    return 4 * np.sin(np.arange(n) * np.pi / (2 * n)) ** 2


def _cycle(n: int) -> np.ndarray:
    return np.sort(4 * np.sin(np.arange(n) * np.pi / n) ** 2)


def _complete(n: int) -> np.ndarray:
    return np.append(0.0, np.full(n - 1, float(n)))


def _star(n: int) -> np.ndarray:
    return np.concatenate([[0.0], np.ones(n - 2), [float(n)]])


def _axes(kind: str, size: int, shape: tuple[int, ...]) -> list[_Spectrum]:
    """Graphs whose Cartesian product this one is; empty where nothing is known."""
    if kind == "grid":
        return [_Spectrum(side, _path) for side in shape]
    known = {"path": _path, "cycle": _cycle, "complete": _complete, "star": _star}
    return [_Spectrum(size, known[kind])] if kind in known else []


def _eigenvalues(axes: list[_Spectrum], shift: float) -> np.ndarray:
    return lattice.kronecker_eigenvalues(axes) + shift


def _extremes(axes: list[_Spectrum], shift: float) -> tuple[float, float]:
    low, high = lattice.kronecker_extremes(axes)
    return low + shift, high + shift


def _edges(kind: str, n: int, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of every edge, as 32-bit integers."""
    index = np.arange(n, dtype=np.int32)
    if kind == "path":
        return index[:-1], index[1:]
    if kind == "cycle":
        return index, np.roll(index, -1)
    if kind == "grid":
        points = index.reshape(shape)
        lines = [np.moveaxis(points, axis, 0) for axis in range(len(shape))]
        return np.concatenate([p[:-1].ravel() for p in lines]), np.concatenate([p[1:].ravel() for p in lines])
    if kind == "complete":
        i, j = np.triu_indices(n, 1)
        return i.astype(np.int32), j.astype(np.int32)
    if kind == "star":
        return np.zeros(n - 1, dtype=np.int32), index[1:]
    parents = rng.integers(index[1:], dtype=np.int32)  # of vertex i, one of those before it
    extra = rng.integers(n, size=(2, 2 * n), dtype=np.int32)
    extra = extra[:, extra[0] != extra[1]]
    return np.concatenate([index[1:], extra[0]]), np.concatenate([parents, extra[1]])
