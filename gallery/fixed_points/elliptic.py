"""Partial differential equations on the unit square: relaxation sweeps, and a reaction that nearly runs away."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np
from scipy import sparse

from ...naming import choice
from .. import lattice
from .problem import FixedPoint, integer, newton, number

__all__ = ["bratu", "poisson_sweeps"]


def bratu(n: int = 100, lam: float = 6.0) -> FixedPoint:
    """``g(u) = u + (lam e^u - A u) / a``: Jacobi's iteration for ``-(u_xx + u_yy) = lam e^u``, zero on the boundary.

    A is the five-point Laplacian for mesh width ``h = 1 / (n + 1)`` and ``a = 4 / h**2`` its diagonal. There are two
    solutions below lam = 6.808, of which the smaller one attracts, and none above (6.72 with 5 points along each side).
    At 6 the way is slow.

    Parameters
    ----------
    n : int
        Interior points along each side, at least 5; 100 in the published counts.
    lam : float
        Not negative, at most 6.7; 6 in the published counts.

    Returns
    -------
    FixedPoint
        Its solution is by Newton's method with sparse factors.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    R. Glowinski, H. B. Keller, L. Reinhart, "Continuation-conjugate gradient methods for the least squares solution of
    nonlinear boundary value problems", SIAM J. Sci. Stat. Comput. 6 (1985).

    Examples
    --------
    >>> problem = bratu(19)
    >>> float(problem.solution.max().round(3))
    0.797
    """
    n = integer("n", n, least=5)
    lam = number("lam", lam, above=0.0, below=6.7, closed=(True, True))
    A = lattice.csr((n, n), lattice.cross(4.0, [(-1.0, -1.0)] * 2))
    A.data *= (n + 1.0) ** 2
    scale = 4.0 * (n + 1.0) ** 2
    g = partial(_bratu, A, lam, scale)
    counts = {
        "anderson_fpa": 1425,
        "anderson": 865,
        "anderson_adaptive": 256,
        "acx": 2223,
    }
    return FixedPoint(
        name=f"bratu({n}, {lam:g})",
        map=g,
        x0=np.zeros(n * n),
        description="Jacobi's iteration for Bratu's equation, -(u_xx + u_yy) = lam e^u",
        reference="Glowinski, Keller, Reinhart, SIAM J. Sci. Stat. Comput. 6 (1985), pages 793-832",
        solve=partial(newton, g, np.zeros(n * n), partial(_bratu_derivative, A, lam, scale)),
        published=counts if (n, lam) == (100, 6.0) else {},
    )


def _bratu(A: Any, lam: float, scale: float, u: np.ndarray) -> np.ndarray:
    return u + (lam * np.exp(u) - A @ u) / scale


def _bratu_derivative(A: Any, lam: float, scale: float, u: np.ndarray) -> Any:
    return sparse.diags_array(1.0 + lam * np.exp(u) / scale) - A / scale


_SWEEPS: Mapping[str, Mapping[str, int]] = {
    "jacobi": {
        "fixed_point_jl": 196154,
        "anderson_fpa": 1052,
        "anderson": 768,
        "anderson_adaptive": 353,
        "acx": 893,
        "composite_adaptive": 437,
    },
    "gauss_seidel": {
        "fixed_point_jl": 115278,
        "anderson_fpa": 286,
        "anderson": 286,
        "anderson_adaptive": 281,
        "acx": 432,
    },
    "sor": {
        "anderson_fpa": 376,
        "anderson": 376,
        "anderson_adaptive": 373,
        "acx": 420,
        "composite_anderson": 356,
    },
}


def poisson_sweeps(kind: str = "gauss_seidel", n: int = 100, omega: float = 1.94) -> FixedPoint:
    """One sweep of a relaxation method for Poisson's equation with two charged lines, one positive and one negative.

    The grid has n points along each side, at distance ``h = 1 / (n - 1)``; those on the boundary are held at zero, and
    x has the others. The charge s is ``+-2 / (n h**2)`` on the points of two lines, a quarter of the side from its
    ends, and zero elsewhere; it is also where the iteration begins. A sweep adds ``omega (north + south + west + east +
    h**2 s_ij - 4 u_ij) / 4`` to each u_ij, with its four neighbours as they were (Jacobi) or as they are, row after row
    (Gauss-Seidel and SOR).

    Parameters
    ----------
    kind : {"jacobi", "gauss_seidel", "sor"}
        The method. omega is 1 but for SOR.
    n : int
        Points along each side, at least 8; 100 in the published counts.
    omega : float
        The relaxation factor of SOR, between 0 and 2; 1.94 in the published counts.

    Returns
    -------
    FixedPoint
        Jacobi's sweep is a contraction. The solution is that of a sparse direct solve.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    N. Lepage-Saucier, FixedPointTestProblems.jl, "electric field".

    Examples
    --------
    >>> problem = poisson_sweeps("sor", 20)
    >>> problem.residual(problem.solution) < 1e-12
    True
    """
    kind = choice("kind", kind, tuple(_SWEEPS))
    n = integer("n", n, least=8)
    omega = number("omega", omega, above=0.0, below=2.0) if kind == "sor" else 1.0
    h = 1.0 / (n - 1)
    s = np.zeros((n, n))
    near, far = n // 4, 3 * n // 4  # counted from 1
    s[near - 1 : far, near - 1] = 2.0 / (n * h**2)
    s[near - 1 : far, far - 1] = -2.0 / (n * h**2)
    s = s[1:-1, 1:-1]
    b = h**2 * s.ravel()
    published = n == 100 and omega in (1.0, 1.94)
    return FixedPoint(
        name=f"poisson_sweeps({kind!r}, {n}" + (f", omega={omega:g})" if kind == "sor" else ")"),
        map=partial(_jacobi, n - 2, b) if kind == "jacobi" else partial(_sor, n - 2, omega, b),
        x0=s.ravel(),
        description="a sweep of relaxation for Poisson's equation with two charged lines",
        reference="Lepage-Saucier, FixedPointTestProblems.jl",
        solve=partial(_poisson_solution, n - 2, b),
        published=_SWEEPS[kind] if published else {},
        lipschitz=math.cos(math.pi / (n - 1)) if kind == "jacobi" else None,
    )


def _laplacian(n: int) -> Any:
    return lattice.csr((n, n), lattice.cross(4.0, [(-1.0, -1.0)] * 2))


def _jacobi(n: int, b: np.ndarray, u: np.ndarray) -> np.ndarray:
    padded = np.pad(u.reshape(n, n), 1)
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return 0.25 * (around.ravel() + b)


def _sor(n: int, omega: float, b: np.ndarray, u: np.ndarray) -> np.ndarray:
    """(D / omega + L) v = b - (U + (1 - 1 / omega) D) u, by forward substitution."""
    lower, rest = _splitting(n, omega)
    return lower.solve(b - rest @ u)


@lru_cache(maxsize=8)
def _splitting(n: int, omega: float) -> tuple[Any, Any]:
    """D / omega + L, ready to be solved with, and the rest of the matrix."""
    from scipy.sparse.linalg import splu

    A = _laplacian(n)
    lower = sparse.tril(A, -1, format="csr") + sparse.diags_array(np.full(n * n, 4.0 / omega), format="csr")
    return splu(lower.tocsc(), permc_spec="NATURAL", diag_pivot_thresh=0.0), (A - lower).tocsr()


def _poisson_solution(n: int, b: np.ndarray) -> np.ndarray:
    from scipy.sparse.linalg import spsolve

    return spsolve(_laplacian(n).tocsc(), b)
