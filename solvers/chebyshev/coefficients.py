"""The coefficients of Chebyshev iteration and its bound, for one interval or one each of many systems."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...backends.compiled.coefficients import chebyshev_interval, chebyshev_next

__all__ = ["allowed_norm", "chebyshev_coefficients"]


def chebyshev_coefficients(low: Any, high: Any) -> Iterator[tuple[Any, Any]]:
    """beta_k and gamma_k of x_{k+1} = x_k + beta_k (x_k - x_{k-1}) + gamma_k r_k, without end.

    With c the middle of the interval, mu its half width over c, and rho_k = T_{k-1}(1 / mu) / T_k(1 / mu):

        rho_{k+1} = mu / (2 - mu rho_k),    beta_k = rho_{k+1} rho_k,    gamma_k = 2 / (c (2 - mu rho_k)),

    from beta_0 = 0, gamma_0 = 1 / c, rho_1 = mu. Ratios of Chebyshev polynomials cannot overflow, and an interval that
    is a point needs no case of its own. Golub and Varga's weights of the semi-iteration are omega_k = 1 + beta_k.

    Parameters
    ----------
    low, high : float, or arrays (..., 1)
        0 < low <= high.

    References
    ----------
    Saad (2003), "Iterative methods for sparse linear systems", algorithm 12.1; Golub & Varga (1961), "Chebyshev
    semi-iterative methods, successive overrelaxation iterative methods, and second order Richardson iterative methods".

    Examples
    --------
    >>> from itertools import islice
    >>> from resolvent.solvers.chebyshev.coefficients import chebyshev_coefficients
    >>> [(round(beta, 4), round(gamma, 4)) for beta, gamma in islice(chebyshev_coefficients(1.0, 3.0), 3)]
    [(0.0, 0.5), (0.1429, 0.5714), (0.0769, 0.5385)]
    """
    center, ratio = chebyshev_interval(low, high)
    yield 0.0, 1 / center
    rho = ratio
    while True:
        rho, beta, gamma = chebyshev_next(center, ratio, rho)
        yield beta, gamma


def allowed_norm(first: Any, decay: Any, steps: int) -> Any:
    """||r_0|| / T_k(cosh(decay)) for k > 0, numbers or arrays, without overflow; somewhat more, for rounding in it."""
    return 1.05 * first * 2 * np.exp(-decay * steps) / (1 + np.exp(-2 * decay * steps))
