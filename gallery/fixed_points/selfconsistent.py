"""A self-consistent field: electrons in the potential that they make themselves."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy import sparse

from .problem import FixedPoint, integer, newton, number

__all__ = ["self_consistent_field"]


def self_consistent_field(n: int = 10, electrons: int = 2, coupling: float = 0.7) -> FixedPoint:
    """``g(rho) = diag(X X')``, X the lowest eigenvectors of ``H(rho) = L + coupling diag(L^-1 rho)``.

    L is the tridiagonal matrix (-1, 2, -1) and rho a density on n points, whose sum is the number of electrons; it
    begins as that of L alone. Strong coupling makes plain iteration fall into a cycle of two densities.

    Parameters
    ----------
    n : int
        Points of the line.
    electrons : int
        How many, fewer than n.
    coupling : float
        Not negative. For 10 points and 2 electrons plain iteration converges up to about 0.8.

    Returns
    -------
    FixedPoint
        Its solution is by Newton's method along couplings that rise to the one asked for.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    C. Yang, W. Gao, J. C. Meza, "On the convergence of the self-consistent field iteration for a class of nonlinear
    eigenvalue problems", SIAM J. Matrix Anal. Appl. 30 (2009).

    Examples
    --------
    >>> problem = self_consistent_field()
    >>> problem.residual(problem.solution) < 1e-13
    True
    >>> float(problem.solution.sum().round(12))
    2.0
    """
    n = integer("n", n, least=2)
    electrons = integer("electrons", electrons)
    if electrons >= n:
        raise ValueError(f"electrons is {electrons}; it must be less than n, {n}")
    coupling = number("coupling", coupling, above=0.0, closed=(True, False))
    inverse = np.linalg.inv((sparse.diags_array([2.0, -1.0, -1.0], offsets=[0, 1, -1], shape=(n, n))).toarray())
    return FixedPoint(
        name=f"self_consistent_field({n}, {electrons}, {coupling:g})",
        map=partial(_density, inverse, electrons, coupling),
        x0=_density(inverse, electrons, 0.0, np.zeros(n)),
        description="the density of the lowest eigenvectors of L + coupling diag(L^-1 rho)",
        reference="Yang, Gao, Meza, SIAM J. Matrix Anal. Appl. 30 (2009), pages 1773-1788",
        solve=partial(_continued, inverse, electrons, coupling),
    )


def _density(inverse: np.ndarray, electrons: int, coupling: float, rho: np.ndarray) -> np.ndarray:
    from scipy.linalg import eigh_tridiagonal

    diagonal = 2.0 + coupling * (inverse @ rho)
    X = eigh_tridiagonal(diagonal, np.full(rho.size - 1, -1.0), select="i", select_range=(0, electrons - 1))[1]
    return (X**2).sum(axis=1)


def _continued(inverse: np.ndarray, electrons: int, coupling: float) -> Any:
    rho = np.full(len(inverse), electrons / len(inverse))
    for part in np.linspace(0.0, coupling, 2 + int(2 * coupling)):
        rho = newton(partial(_density, inverse, electrons, float(part)), rho)
    return rho
