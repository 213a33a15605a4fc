"""Strakoš's diagonal matrices, on which rounding errors delay conjugate gradients."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy import sparse

from .checks import integer, number
from .dense import ends
from .problem import Known, Problem


def strakos(n: int = 24, smallest: float = 0.1, largest: float = 100.0, rho: float = 0.65) -> Problem:
    """A diagonal matrix whose eigenvalues crowd at the lower end; b is all ones.

    ``lambda_i = smallest + (i - 1) / (n - 1) (largest - smallest) rho**(n - i)`` for i = 1 ... n. In exact arithmetic
    conjugate gradients need n iterations; in floating point the isolated large eigenvalues come back as copies in the
    Lanczos matrix and the count grows with the unit roundoff. The classical cases are the defaults and
    (48, 0.1, 1000, rho=0.8 or 0.9).

    Parameters
    ----------
    n : int
        Order, at least 2.
    smallest, largest : float
        Extreme eigenvalues, 0 < smallest < largest.
    rho : float
        In (0, 1]: 1 spaces the eigenvalues evenly, smaller values crowd them more.

    Returns
    -------
    Problem
        Its solution is 1 / lambda, correctly rounded.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    Z. Strakoš, "On the real convergence rate of the conjugate gradient method", Linear Algebra Appl. 154-156 (1991).

    Examples
    --------
    >>> strakos().condition
    1000.0
    >>> strakos(4, 1.0, 9.0, 0.5).A.diagonal().round(4)
    array([1.    , 1.6667, 3.6667, 9.    ])
    """
    n = integer("n", n, least=2)
    smallest = number("smallest", smallest, above=0.0)
    largest = number("largest", largest, above=smallest)
    rho = number("rho", rho, above=0.0, below=1.0, closed=(False, True))
    i = np.arange(1, n + 1)
    values = smallest + (i - 1) / (n - 1) * (largest - smallest) * rho ** (n - i)
    values[-1] = largest  # exactly, whatever the sum above rounds to
    index = np.arange(n + 1, dtype=np.int32)
    return Problem(
        name=f"strakos({n}, {smallest:g}, {largest:g}, {rho:g})",
        A=sparse.csr_array((values, index[:-1], index), shape=(n, n)),
        b=np.ones(n),
        x=1.0 / values,
        symmetric=True,
        positive_definite=True,
        reference="Strakoš, Linear Algebra and its Applications 154-156 (1991), pages 535-549",
        known=Known(values.copy, partial(ends, values)),
    )
