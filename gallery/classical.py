"""Small classical matrices with sparse or simple inverses: Lehmer, min(i, j), Pei and Kac-Murdock-Szegő."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy import linalg

from .checks import integer, number
from .dense import dense
from .problem import Problem


def lehmer(n: int, *, seed: Any = 0) -> Problem:
    """The Lehmer matrix, min(i, j) / max(i, j); its inverse is tridiagonal and n <= condition <= 4 n**2.

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
    M. Newman, J. Todd, "The evaluation of matrix inversion programs", J. SIAM 6 (1958).

    Examples
    --------
    >>> round(lehmer(4).condition, 1)
    12.2
    """
    n = integer("n", n)
    i = np.arange(1, n + 1, dtype=np.float64)
    diagonal = 4 * i**3 / (4 * i**2 - 1)
    diagonal[-1] = n**2 / (2 * n - 1)
    beside = -i[:-1] * (i[:-1] + 1) / (2 * i[:-1] + 1)
    return dense(
        f"lehmer({n})",
        np.minimum.outer(i, i) / np.maximum.outer(i, i),
        seed,
        True,
        "Newman, Todd, Journal of SIAM 6 (1958), pages 466-476",
        tridiagonal=(diagonal, beside),
    )


def minij(n: int, *, seed: Any = 0) -> Problem:
    """The matrix min(i, j): the inverse of a second difference that is fixed at one end and free at the other.

    Its eigenvalues are ``1 / (4 sin((2 k - 1) pi / (4 n + 2))**2)``; the inverse has 2 on the diagonal, but 1 at its
    end, and -1 beside it. A and b are exact.

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
    J. Fortiana, C. M. Cuadras, "A family of matrices, the discretized Brownian bridge, and distance-based regression",
    Linear Algebra Appl. 264 (1997).

    Examples
    --------
    >>> minij(3).inverse().toarray()
    array([[ 2., -1.,  0.],
           [-1.,  2., -1.],
           [ 0., -1.,  1.]])
    """
    n = integer("n", n)
    i = np.arange(1, n + 1, dtype=np.float64)
    diagonal = np.full(n, 2.0)
    diagonal[-1] = 1.0
    return dense(
        f"minij({n})",
        np.minimum.outer(i, i),
        seed,
        True,
        "Fortiana, Cuadras, Linear Algebra and its Applications 264 (1997), pages 173-188",
        tridiagonal=(diagonal, np.full(n - 1, -1.0)),
        eigenvalues=1.0 / (4.0 * np.sin((2.0 * i[::-1] - 1.0) * np.pi / (4 * n + 2)) ** 2),
    )


def pei(n: int, alpha: float = 1.0, *, seed: Any = 0) -> Problem:
    """The Pei matrix, alpha I plus all ones: eigenvalues alpha, n - 1 times, and n + alpha.

    Parameters
    ----------
    n : int
        Order.
    alpha : float
        Positive.
    seed : int, numpy.random.Generator or None
        Of the random solution.

    Returns
    -------
    Problem

    Raises
    ------
    TypeError, ValueError
        If n or alpha is not as described.

    References
    ----------
    M. L. Pei, "A test matrix for inversion procedures", Comm. ACM 5 (1962).

    Examples
    --------
    >>> pei(9, 3.0).condition
    4.0
    """
    n = integer("n", n)
    alpha = number("alpha", alpha, above=0.0)
    return dense(
        f"pei({n}, {alpha:g})",
        alpha * np.eye(n) + np.ones((n, n)),
        seed,
        True,
        "Pei, Communications of the ACM 5 (1962), page 508",
        partial(_pei_inverse, n, alpha),
        eigenvalues=np.append(np.full(n - 1, alpha), n + alpha),
    )


def _pei_inverse(n: int, alpha: float) -> np.ndarray:
    return (np.eye(n) - 1.0 / (n + alpha)) / alpha


def kms(n: int, rho: float = 0.5, *, seed: Any = 0) -> Problem:
    """The Kac-Murdock-Szegő matrix ``rho**|i - j|``: a Toeplitz matrix, the correlations of an autoregressive process.

    Its inverse is tridiagonal and its condition number below ``((1 + |rho|) / (1 - |rho|))**2``.

    Parameters
    ----------
    n : int
        Order.
    rho : float
        In (-1, 1).
    seed : int, numpy.random.Generator or None
        Of the random solution.

    Returns
    -------
    Problem

    Raises
    ------
    TypeError, ValueError
        If n or rho is not as described.

    References
    ----------
    M. Kac, W. L. Murdock, G. Szegő, "On the eigenvalues of certain Hermitian forms", J. Rational Mech. Anal. 2 (1953).

    Examples
    --------
    >>> kms(3, 0.5).A
    array([[1.  , 0.5 , 0.25],
           [0.5 , 1.  , 0.5 ],
           [0.25, 0.5 , 1.  ]])
    """
    n = integer("n", n)
    rho = number("rho", rho, above=-1.0, below=1.0)
    scale = (1.0 - rho) * (1.0 + rho)
    diagonal = np.full(n, (1.0 + rho * rho) / scale)
    diagonal[0] = diagonal[-1] = 1.0 / scale if n > 1 else 1.0
    return dense(
        f"kms({n}, {rho:g})",
        linalg.toeplitz(rho ** np.arange(n)),
        seed,
        True,
        "Kac, Murdock, Szegő, Journal of Rational Mechanics and Analysis 2 (1953), pages 767-800",
        tridiagonal=(diagonal, np.full(n - 1, -rho / scale)),
    )
