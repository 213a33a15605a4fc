"""Numbers that textbook steps and compiled loops share, and recurrences of such: plain functions, without Numba."""

from __future__ import annotations

from typing import Any

__all__ = ["ALONG", "chebyshev_interval", "chebyshev_next"]

ALONG = 8  # A M r lies along r where the square of the sine of their angle is below so many u


def chebyshev_interval(low: Any, high: Any) -> tuple[Any, Any]:
    """The middle c of an interval, and mu, its half width over c."""
    return low + (high - low) / 2, (high - low) / (high + low)


def chebyshev_next(center: Any, ratio: Any, rho: Any) -> tuple[Any, Any, Any]:
    """rho_{k+1}, beta_k and gamma_k from c, mu and rho_k: see ``chebyshev_coefficients``."""
    growth = 1 / (2 - ratio * rho)
    following = ratio * growth
    return following, following * rho, 2 * growth / center
