"""Diffusion through a medium that varies from place to place."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from . import lattice
from .checks import grid_shape, number
from .exact import short_vector
from .problem import Known, Problem


def diffusion(
    grid: int | tuple[int, ...],
    coefficient: np.ndarray | Callable[..., Any] | float | None = None,
    *,
    contrast: float | None = None,
    matrix_free: bool = False,
    seed: Any = 0,
) -> Problem:
    """Minus the divergence of k grad u with zero boundary values, k being given at the points of the grid.

    The flux between two neighbours uses the harmonic mean of their k, which keeps it continuous where k jumps, and the
    scheme is of second order where k is smooth. The mesh width is ``h = 1 / (max(grid) + 1)`` along every axis and the
    matrix is multiplied by h**2: with k = 1 it is that of `poisson`, and for -div(k grad u) = f the right-hand side is
    ``h**2 f``.

    Parameters
    ----------
    grid : int or tuple of 1 to 3 ints
        Interior points along each axis; an int means a line. C order, the last axis fastest.
    coefficient : array, callable or float, optional
        The positive k: an array of the grid's shape (the boundary then takes the value beside it), or of that shape
        plus 2 along each axis, boundary included; or a function of as many coordinate arrays as there are axes, called
        once with those of all points, boundary included, ``i h`` for i = 0 ... n + 1. 1 by default.
    contrast : float, optional
        In place of coefficient: k is random at each point, its logarithm uniform between 0 and log(contrast).
    matrix_free : bool
        Whether A is an operator of diagonals in place of a sparse matrix.
    seed : int, numpy.random.Generator or None
        Of the random coefficient and the random solution.

    Returns
    -------
    Problem

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or both coefficient and contrast are given.

    References
    ----------
    S. V. Patankar, "Numerical Heat Transfer and Fluid Flow", Hemisphere 1980, section 4.2-3.

    Examples
    --------
    >>> diffusion((20, 20), contrast=1e4)
    <diffusion((20, 20), contrast=10000): 400 x 400 csr, float64, 1920 nonzeros, symmetric positive definite>
    >>> diffusion(3, lambda x: np.where(x < 0.4, 1.0, 3.0)).A.toarray()
    array([[ 2.5, -1.5,  0. ],
           [-1.5,  4.5, -3. ],
           [ 0. , -3. ,  6. ]])
    """
    shape = grid_shape(grid)
    rng = np.random.default_rng(seed)
    name = f"diffusion({grid!r})"
    if contrast is not None:
        if coefficient is not None:
            raise ValueError("coefficient and contrast are both given; they exclude each other")
        contrast = number("contrast", contrast, above=1.0, closed=(True, False))
        name = f"diffusion({grid!r}, contrast={contrast:g})"
        coefficient = np.exp(rng.uniform(0.0, math.log(contrast), size=tuple(n + 2 for n in shape)))
    k = _at_points(shape, 1.0 if coefficient is None else coefficient)
    entries = _entries(k)
    x = short_vector(math.prod(shape), rng)
    known = Known()
    if k.min() == k.max():
        value = float(k.flat[0])
        axes = [lattice.Toeplitz(n, 2 * value, -value, -value) for n in shape]
        known = Known(partial(lattice.kronecker_eigenvalues, axes), partial(lattice.kronecker_extremes, axes))
    return Problem(
        name=name,
        A=lattice.diagonals(shape, entries) if matrix_free else lattice.csr(shape, entries),
        b=lattice.apply(shape, entries, x),
        x=x,
        symmetric=True,
        positive_definite=True,
        reference="Patankar, Numerical Heat Transfer and Fluid Flow, Hemisphere 1980, section 4.2-3",
        known=known,
    )


def _at_points(shape: tuple[int, ...], coefficient: Any) -> np.ndarray:
    """The coefficient at all points, boundary included: an array of shape + 2, checked."""
    full = tuple(n + 2 for n in shape)
    if callable(coefficient):
        h = 1.0 / (max(shape) + 1)
        k = np.asarray(coefficient(*np.meshgrid(*(h * np.arange(n) for n in full), indexing="ij")))
        if k.shape not in ((), full):
            raise ValueError(f"coefficient returned an array of shape {k.shape}; it must be {full}")
    else:
        k = np.asarray(coefficient)
        if k.shape not in ((), shape, full):
            raise ValueError(f"coefficient has shape {k.shape}; it must be {shape}, or {full} with the boundary")
    if k.dtype.kind not in "fiu":
        raise TypeError(f"coefficient is of dtype {k.dtype}; it must be real")
    k = k.astype(np.float64)
    if not (np.isfinite(k).all() and (k > 0).all()):
        raise ValueError(f"coefficient lies in [{k.min():g}, {k.max():g}]; it must be positive and finite")
    if k.shape == shape:
        return np.pad(k, 1, mode="edge")
    return np.broadcast_to(k, full)


def _entries(k: np.ndarray) -> dict[tuple[int, ...], Any]:
    """Stencil from the coefficients at all points; neighbours share their face, so that A is exactly symmetric."""
    inner = slice(1, -1)
    centre = np.zeros(tuple(n - 2 for n in k.shape))
    sides = []
    for axis in range(k.ndim):
        others = [inner] * k.ndim
        others[axis] = slice(None)
        line = np.moveaxis(k[tuple(others)], axis, 0)
        # the harmonic mean, arranged so that neither a product nor a quotient can overflow
        small, large = np.minimum(line[1:], line[:-1]), np.maximum(line[1:], line[:-1])
        face = small / (0.5 + 0.5 * (small / large))
        before, behind = np.moveaxis(face[:-1], 0, axis), np.moveaxis(face[1:], 0, axis)
        centre += before + behind
        sides.append((-before, -behind))
    return lattice.cross(centre, sides)
