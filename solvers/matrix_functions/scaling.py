"""Upper bounds of the largest eigenvalue of a Gram matrix, by which matrices are scaled."""

from __future__ import annotations

from typing import Any

import numpy as np

from .products import Products

__all__ = ["SCALINGS", "by_columns", "margin", "tail", "upper_bound"]

# name: what the largest singular value of X is bounded by, where G = X^H X.
SCALINGS: dict[str, str] = {
    "schatten-8": "||G G||_F^(1/4), which the first step needs anyway, or sqrt(||G||_inf) where that is less",
    "schatten-4": "||G||_F^(1/2), or sqrt(||G||_inf) where that is less",
    "frobenius": "||X||_F",
    "power": "1.1 times what power iterations find, which is a guess, and schatten-8 where that is less",
}
GUARD = 1.1
POWER_ITERATIONS = 8


def margin(scaling: str, n: int) -> float:
    """How many times too large the bound of a singular value may be, whatever the matrix of rank n.

    Examples
    --------
    >>> from resolvent.solvers.matrix_functions.scaling import margin
    >>> margin("frobenius", 256), margin("schatten-8", 256)
    (16.0, 2.0)
    """
    power = {"frobenius": 2, "schatten-4": 4, "schatten-8": 8, "aol": 8}.get(scaling)
    return GUARD if power is None else max(n, 1) ** (1 / power)


def upper_bound(products: Products, G: Any, scaling: str) -> tuple[np.ndarray, Any]:
    """Bounds of the largest eigenvalue of each Hermitian positive semidefinite G, and G G where it was formed."""
    if scaling == "frobenius":
        return products.traces(G), None
    bound = products.infinity_norms(G)
    if scaling == "schatten-4":
        return np.minimum(bound, products.norms(G)), None
    square = products.square(G, products.room(G.shape, G))
    bound = np.minimum(bound, np.sqrt(products.norms(square)))
    if scaling == "power":
        bound = np.minimum(bound, GUARD**2 * np.sqrt(_by_power_iteration(products, square)))
    return bound, square


def by_columns(products: Products, X: Any, G: Any) -> tuple[Any, Any]:
    """X D and D G D with a diagonal D for which ||X D|| <= 1 (Prach and Lampert 2022, "almost-orthogonal layers")."""
    sums = products.row_sums(G)
    d = products.xp.where(sums > 0, sums, products.xp.ones_like(sums)) ** -0.5
    return X * d[:, None, :], G * d[:, :, None] * d[:, None, :]


def _by_power_iteration(products: Products, G: Any) -> np.ndarray:
    """Norms of G v after some power iterations from the row sums of moduli, of which none is zero."""
    xp = products.xp
    v = products.row_sums(G)[..., None]
    v = v.astype(G.dtype) if hasattr(v, "astype") else v.to(G.dtype)
    size = products.norms(v)
    for _ in range(POWER_ITERATIONS):
        v = products.scale(v, 1 / np.where(size > 0, size, 1.0), None)
        w = xp.matmul(G, v)
        v, size = w, products.norms(w)
    return size


def tail(root: int, degree: int = 2) -> tuple[float, ...]:
    """The h of degree q in y for which x h(x^r) - 1 vanishes to order q + 1 at x = 1.

    Examples
    --------
    >>> from resolvent.solvers.matrix_functions.scaling import tail
    >>> tail(2), tail(1)
    ((1.875, -1.25, 0.375), (3.0, -3.0, 1.0))
    """
    h: np.ndarray = np.zeros(1)
    power: np.ndarray = np.ones(1)
    factor = 1.0
    for k in range(degree + 1):
        h = np.polynomial.polynomial.polyadd(h, factor * power)
        factor *= (1 + k * root) / ((k + 1) * root)
        power = np.polynomial.polynomial.polymul(power, [1.0, -1.0])
    return tuple(float(c) for c in h)
