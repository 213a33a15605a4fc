"""The Dirichlet Laplacian on a line, a rectangle or a box."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from . import lattice
from .checks import grid_shape
from .exact import short_vector
from .problem import Known, Problem


def poisson(
    grid: int | tuple[int, ...], *, dtype: Any = np.float64, matrix_free: bool = False, seed: Any = 0
) -> Problem:
    """The 3-, 5- or 7-point Laplacian with zero values outside, 2 d on the diagonal and -1 beside it.

    The stencil is unscaled: for the differential operator on a mesh of width h, divide A and b by h**2. Its eigenvalues
    are all sums of one number ``4 sin(k pi / (2 (n + 1)))**2`` for each axis; with n points along every axis the
    condition number is ``cot(pi / (2 (n + 1)))**2``, whatever the dimension. The solution is random and b exact, in
    float32 as in float64.

    Parameters
    ----------
    grid : int or tuple of 1 to 3 ints
        Interior points along each axis; an int means a line. Unknowns are numbered in C order, the last axis fastest.
    dtype : dtype
        float64 or float32.
    matrix_free : bool
        Whether A is a stencil operator in place of a sparse matrix.
    seed : int, numpy.random.Generator or None
        Of the random solution.

    Returns
    -------
    Problem

    Raises
    ------
    TypeError, ValueError
        If grid or dtype is not as described.

    References
    ----------
    A. Greenbaum, "Iterative Methods for Solving Linear Systems", SIAM 1997, section 9.1.1.

    Examples
    --------
    >>> problem = poisson((32, 32))
    >>> problem
    <poisson((32, 32)): 1024 x 1024 csr, float64, 4992 nonzeros, symmetric positive definite, condition 440.7>
    >>> poisson(3).eigenvalues()
    array([0.58578644, 2.        , 3.41421356])
    """
    shape = grid_shape(grid)
    dtype = np.dtype(dtype)
    if dtype not in (np.dtype(np.float64), np.dtype(np.float32)):
        raise ValueError(f"dtype is {dtype}; it must be float64 or float32")
    axes = [lattice.Toeplitz(n, 2.0, -1.0, -1.0) for n in shape]
    sides = [(-1.0, -1.0)] * len(shape)
    centre = 2.0 * len(shape)
    x = short_vector(math.prod(shape), seed).astype(dtype)
    entries = lattice.cross(dtype.type(centre), [(dtype.type(-1), dtype.type(-1))] * len(shape))
    return Problem(
        name=f"poisson({grid!r})",
        A=lattice.stencil(shape, centre, sides, dtype) if matrix_free else lattice.csr(shape, entries, dtype),
        b=lattice.apply(shape, entries, x, exact=True),
        x=x,
        symmetric=True,
        positive_definite=True,
        reference="Greenbaum, Iterative Methods for Solving Linear Systems, SIAM 1997, section 9.1.1",
        known=Known(partial(lattice.kronecker_eigenvalues, axes), partial(lattice.kronecker_extremes, axes)),
    )
