"""Diffusion that is fast in one direction and slow across it."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from . import lattice
from .checks import grid_shape, number
from .exact import short_vector
from .problem import Known, Problem


def anisotropic(
    grid: int | tuple[int, int],
    epsilon: float = 1e-2,
    theta: float = 0.0,
    *,
    matrix_free: bool = False,
    seed: Any = 0,
) -> Problem:
    """Minus the divergence of D grad u on a rectangle, D with eigenvalues 1 and epsilon, zero values outside.

    D = Q diag(1, epsilon) Q', with Q the rotation by theta. Second differences along the axes and the central
    difference of the mixed derivative give five points where D is diagonal and nine otherwise; the symbol is not
    negative, so the matrix is positive definite for every theta. The stencil is unscaled, as in `poisson`.

    Parameters
    ----------
    grid : int or tuple of 2 ints
        Interior points along both axes; an int means a square. C order, the last axis fastest.
    epsilon : float
        Diffusion across the fast direction, relative to that along it; positive.
    theta : float
        Angle of the fast direction in radians, from the first axis towards the second. At a multiple of pi / 2 the
        spectrum is known in closed form.
    matrix_free : bool
        Whether A is a stencil operator (of five points) or one of diagonals (of nine) in place of a sparse matrix.
    seed : int, numpy.random.Generator or None
        Of the random solution.

    Returns
    -------
    Problem

    Raises
    ------
    TypeError, ValueError
        If grid, epsilon or theta is not as described.

    References
    ----------
    U. Trottenberg, C. Oosterlee, A. Schüller, "Multigrid", Academic Press 2001, section 5.1.

    Examples
    --------
    >>> anisotropic(16, 0.001)
    <anisotropic(16, 0.001): 256 x 256 csr, float64, 1216 nonzeros, symmetric positive definite, condition 116.5>
    >>> anisotropic((8, 8), 0.01, theta=0.5).A.nnz
    484
    """
    shape = grid_shape(grid, dimensions=(2,))
    epsilon = number("epsilon", epsilon, above=0.0)
    theta = number("theta", theta)
    cos, sin = math.cos(theta), math.sin(theta)
    first, second = cos * cos + epsilon * sin * sin, epsilon * cos * cos + sin * sin
    mixed = (1.0 - epsilon) * cos * sin
    sides = [(-first, -first), (-second, -second)]
    centre = 2.0 * (first + second)
    entries = lattice.cross(centre, sides)
    known = Known()
    # cos(pi / 2) is not exactly zero in floating point; what it leaves is below the rounding of the coefficients
    rotated = abs(mixed) > np.finfo(np.float64).eps * (first + second)
    if rotated:
        for step in (-1, 1):
            entries[step, step] = -0.5 * mixed
            entries[step, -step] = 0.5 * mixed
    else:
        axes = [lattice.Toeplitz(n, 2.0 * c, -c, -c) for n, c in zip(shape, (first, second), strict=True)]
        known = Known(partial(lattice.kronecker_eigenvalues, axes), partial(lattice.kronecker_extremes, axes))
    A: Any
    if not matrix_free:
        A = lattice.csr(shape, entries)
    elif rotated:
        A = lattice.diagonals(shape, entries)
    else:
        A = lattice.stencil(shape, centre, sides)
    x = short_vector(math.prod(shape), seed)
    return Problem(
        name=f"anisotropic({grid!r}, {epsilon:g}" + (f", theta={theta:g})" if theta else ")"),
        A=A,
        b=lattice.apply(shape, entries, x),
        x=x,
        symmetric=True,
        positive_definite=True,
        reference="Trottenberg, Oosterlee, Schüller, Multigrid, Academic Press 2001, section 5.1",
        known=known,
    )
