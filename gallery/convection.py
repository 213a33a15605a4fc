"""Convection and diffusion: the standard nonsymmetric system."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ..naming import choice
from . import lattice
from .checks import grid_shape, number
from .exact import short_vector
from .problem import Known, Problem


def convection_diffusion(
    grid: int | tuple[int, ...],
    velocity: float | Sequence[float] | np.ndarray = 1.0,
    scheme: str = "upwind",
    *,
    matrix_free: bool = False,
    seed: Any = 0,
) -> Problem:
    """Minus the Laplacian plus a constant velocity times the gradient, with zero boundary values.

    Along each axis the matrix is tridiagonal and Toeplitz, so its eigenvalues are known: real for the upwind scheme,
    and for the central one while ``|velocity| <= 2``, beyond which they leave the real axis. The matrix is not normal
    and they say little about how fast a Krylov method converges. Its symmetric part is positive definite.

    Parameters
    ----------
    grid : int or tuple of 1 to 3 ints
        Interior points along each axis; an int means a line. C order, the last axis fastest.
    velocity : float or sequence of floats
        Velocity times mesh width over diffusivity, along each axis; a number holds for all of them.
    scheme : {"upwind", "central"}
        One-sided differences against the flow (first order, an M-matrix) or central ones (second order).
    matrix_free : bool
        Whether A is a stencil operator in place of a sparse matrix.
    seed : int, numpy.random.Generator or None
        Of the random solution.

    Returns
    -------
    Problem
        Its `positive_definite` is said of symmetric matrices only, here without velocity.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    H. Elman, D. Silvester, A. Wathen, "Finite Elements and Fast Iterative Solvers", Oxford 2014, chapter 6.

    Examples
    --------
    >>> convection_diffusion(3, 2.0).A.toarray()
    array([[ 4., -1.,  0.],
           [-3.,  4., -1.],
           [ 0., -3.,  4.]])
    >>> convection_diffusion(3, 2.0).eigenvalues().round(6)
    array([1.55051, 4.     , 6.44949])
    """
    shape = grid_shape(grid)
    scheme = choice("scheme", scheme, ("upwind", "central"))
    each: Any = (velocity,) * len(shape) if np.ndim(velocity) == 0 else velocity
    if len(each) != len(shape):
        raise ValueError(f"velocity has {len(each)} components; it must have {len(shape)}, one for each axis of grid")
    speeds = [number("velocity", v) for v in each]
    axes = []
    for n, v in zip(shape, speeds, strict=True):
        if scheme == "upwind":
            axes.append(lattice.Toeplitz(n, 2.0 + abs(v), -1.0 - max(v, 0.0), -1.0 + min(v, 0.0)))
        else:
            axes.append(lattice.Toeplitz(n, 2.0, -1.0 - v / 2, -1.0 + v / 2))
    centre = sum(axis.diagonal for axis in axes)
    sides = [(axis.lower, axis.upper) for axis in axes]
    entries = lattice.cross(centre, sides)
    # an axis of a single point has no neighbours and so no imaginary part, whatever the coefficients
    real = all(axis.lower * axis.upper >= 0 or axis.n == 1 for axis in axes)
    still = not any(speeds)
    x = short_vector(math.prod(shape), seed)
    return Problem(
        name=f"convection_diffusion({grid!r}, ({', '.join(f'{v:g}' for v in speeds)}), {scheme!r})",
        A=lattice.stencil(shape, centre, sides) if matrix_free else lattice.csr(shape, entries),
        b=lattice.apply(shape, entries, x),
        x=x,
        symmetric=still,
        positive_definite=still,
        reference="Elman, Silvester, Wathen, Finite Elements and Fast Iterative Solvers, Oxford 2014, chapter 6",
        known=Known(
            partial(lattice.kronecker_eigenvalues, axes), partial(lattice.kronecker_extremes, axes) if real else None
        ),
    )
