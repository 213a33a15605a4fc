"""Small classical matrices that are nearly singular: Hilbert and Moler."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy import linalg

from .checks import integer
from .dense import dense
from .problem import Problem


def hilbert(n: int, *, seed: Any = 0) -> Problem:
    """The Hilbert matrix, 1 / (i + j - 1) for i, j = 1 ... n: the standard ill-conditioned one.

    Its inverse has integer entries and its condition number grows as exp(3.5 n). Both belong to the exact matrix: by
    n = 14 rounding its entries to float64 has destroyed its definiteness, and `positive_definite` says so. The
    condition number is given up to n = 200, where the inverse leaves the range of float64.

    Parameters
    ----------
    n : int
        Order.
    seed : int, numpy.random.Generator or None
        Of the random solution.

    Returns
    -------
    Problem

    Raises
    ------
    TypeError, ValueError
        If n is not a positive integer.

    References
    ----------
    M.-D. Choi, "Tricks or treats with the Hilbert matrix", Amer. Math. Monthly 90 (1983).

    Examples
    --------
    >>> hilbert(8)
    <hilbert(8): 8 x 8 dense, float64, symmetric positive definite, condition 1.526e+10>
    """
    n = integer("n", n)
    A = linalg.hilbert(n)
    inverse = partial(linalg.invhilbert, n) if n <= 200 else None
    return dense(
        f"hilbert({n})", A, seed, n <= 13, "Choi, American Mathematical Monthly 90 (1983), pages 301-312", inverse
    )


def moler(n: int, *, seed: Any = 0) -> Problem:
    """The Moler matrix: i on the diagonal, min(i, j) - 2 beside it; one eigenvalue is tiny.

    It is U'U with U unit upper triangular and -1 above the diagonal, so its determinant is 1; the smallest eigenvalue
    is about 0.5625 * 4**(2 - n), the others are moderate. A and b are exact; the entries of the inverse, integers, are
    exact up to n = 28. The condition number is given up to n = 500, where the inverse leaves the range of float64.

    Parameters
    ----------
    n : int
        Order.
    seed : int, numpy.random.Generator or None
        Of the random solution.

    Returns
    -------
    Problem

    Raises
    ------
    TypeError, ValueError
        If n is not a positive integer.

    References
    ----------
    J. C. Nash, "Compact Numerical Methods for Computers", Hilger 1990, appendix 1.

    Examples
    --------
    >>> moler(4).A
    array([[ 1., -1., -1., -1.],
           [-1.,  2.,  0.,  0.],
           [-1.,  0.,  3.,  1.],
           [-1.,  0.,  1.,  4.]])
    """
    n = integer("n", n)
    i = np.arange(1, n + 1, dtype=np.float64)
    A = np.minimum.outer(i, i) - 2.0
    np.fill_diagonal(A, i)
    inverse = partial(_moler_inverse, n) if n <= 500 else None
    return dense(f"moler({n})", A, seed, True, "Nash, Compact Numerical Methods for Computers, 1990", inverse)


def _moler_inverse(n: int) -> np.ndarray:
    # The inverse of U has 2**(j - i - 1) above its unit diagonal.
    i = np.arange(n)
    distance = i[None, :] - i[:, None]
    U_inverse = np.triu(np.ldexp(1.0, np.maximum(distance - 1, 0)), 1) + np.eye(n)
    return U_inverse @ U_inverse.T
