"""A polynomial of a matrix in few products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .factors import Degree17Factors

if TYPE_CHECKING:
    from .products import Products

__all__ = ["evaluate", "odd_step", "polar_step", "quadratic"]


def evaluate(
    products: Products,
    coefficients: Sequence[float],
    A: Any,
    square: Any = None,
    factors: Degree17Factors | None = None,
    hermitian: bool = False,
) -> tuple[Any, float]:
    """B and a, where a I + B is the polynomial of A.

    The identity is left to the product that follows, which may add a multiple of its other factor instead: in few
    digits, those that a I + B would lose are kept.

    Parameters
    ----------
    products : Products
    coefficients : sequence of float
        From the constant on.
    A : array of shape (k, n, n)
        Hermitian, or whatever else ``products.square`` multiplies by itself. It may be overwritten: B may lie in it.
    square : array, optional
        A^2 where it is known already; it is given back to the room of ``products``.
    factors : Degree17Factors, optional
        Of a polynomial of degree 8, as ``degree_17_factors`` gives them.
    hermitian : bool
        Whether A is Hermitian to the last digit, and products of polynomials of it are to be.

    Notes
    -----
    Degree 1 takes no product, 2 one, 3 and 4 two (Paterson and Stockmeyer), 8 three with factors (Sastre 2018).

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.solvers.matrix_functions.polynomial import evaluate
    >>> from resolvent.backends import choose_backend
    >>> from resolvent.solvers.matrix_functions.products import products_for
    >>> x = np.full((1, 1, 1), 10.0)
    >>> B, a = evaluate(products_for(choose_backend(None, x), x), (1.0, 2.0, 3.0), x)
    >>> B.item(), a
    (320.0, 1.0)
    """
    c = [float(value) for value in coefficients]
    p = products
    if len(c) == 1:
        return p.scale(A, 0.0, A), c[0]
    if len(c) == 2:
        return p.scale(A, c[1], A), c[0]
    if hermitian and len(c) == 3 and square is None:
        return p.quadratic(A, c[1], c[2], p.room(A.shape, A)), c[0]
    A2 = p.square(A, p.room(A.shape, A)) if square is None else square
    multiply = p.multiply_commuting if hermitian else p.multiply
    if factors is not None:
        return _degree_8(p, multiply, c, factors, A, A2)
    # Horner's rule in A^2, with linear polynomials of A for coefficients.
    pairs = [(c[k], c[k + 1] if k + 1 < len(c) else 0.0) for k in range(0, len(c), 2)]
    low, high = pairs.pop()
    constant, linear = pairs.pop()
    if high == 0.0:
        B = p.combine([(low, A2), (linear, A)], p.room(A.shape, A))
    else:
        work = p.combine([(high, A)], p.room(A.shape, A), low)
        B = multiply(A2, work, p.room(A.shape, A))
        B = p.add(B, A, linear)
        p.done(work)
    while pairs:
        B = p.add_identity(B, constant)
        work = multiply(A2, B, p.room(A.shape, A))
        p.done(B)
        constant, linear = pairs.pop()
        B = p.add(work, A, linear)
    p.done(A2)
    return B, constant


def quadratic(products: Products, A: Any, b: float, c: float, out: Any) -> Any:
    """b A + c A^2 for Hermitian A.

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.solvers.matrix_functions.polynomial import quadratic
    >>> from resolvent.backends import choose_backend
    >>> from resolvent.solvers.matrix_functions.products import products_for
    >>> x = np.full((1, 1, 1), 10.0)
    >>> quadratic(products_for(choose_backend(None, x), x), x, 2.0, 3.0, None).item()
    320.0
    """
    square = products.square(A, products.room(A.shape, A))
    out = products.combine([(c, square), (b, A)], out)
    products.done(square)
    return out


def odd_step(
    products: Products,
    X: Any,
    A: Any,
    coefficients: Sequence[float],
    square: Any = None,
    factors: Degree17Factors | None = None,
) -> Any:
    """X h(A), h given as to ``evaluate``; X is given back to the room of ``products``, and A may be overwritten.

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.solvers.matrix_functions.polynomial import odd_step
    >>> from resolvent.backends import choose_backend
    >>> from resolvent.solvers.matrix_functions.products import products_for
    >>> x = np.full((1, 1, 1), 0.5)
    >>> odd_step(products_for(choose_backend(None, x), x), x, x * x, (1.5, -0.5)).item()
    0.6875
    """
    B, a = evaluate(products, coefficients, A, square, factors, hermitian=True)
    new = products.multiply_add(X, B, a, products.room(X.shape, X))
    products.done(X)
    if B is not A:
        products.done(B)
    return new


def polar_step(
    products: Products, X: Any, A: Any, coefficients: Sequence[float], square: Any, factors: Degree17Factors | None
) -> tuple[Any, Any]:
    """``odd_step``, and the Gram matrix of what it gives, which may lie in A.

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.solvers.matrix_functions.polynomial import polar_step
    >>> from resolvent.backends import choose_backend
    >>> from resolvent.solvers.matrix_functions.products import products_for
    >>> x = np.full((1, 1, 1), 0.5)
    >>> _, gram = polar_step(products_for(choose_backend(None, x), x), x, x * x, (1.5, -0.5), None, None)
    >>> gram.item()
    0.47265625
    """
    new = odd_step(products, X, A, coefficients, square, factors)
    return new, products.gram(new, A)


def _degree_8(
    p: Products, multiply: Any, c: Sequence[float], factors: Degree17Factors, A: Any, A2: Any
) -> tuple[Any, float]:
    """(y + d2 A2 + d1 A)(y + e2 A2) + e0 y + c2 A2 + c1 A + c0 I with y = (s A2 + t A) A2."""
    f = factors
    work = p.combine([(f.s, A2), (f.t, A)], p.room(A.shape, A))
    y = multiply(work, A2, p.room(A.shape, A))
    work = p.combine([(1.0, y), (f.e2, A2)], work)
    left = p.combine([(1.0, y), (f.d2, A2), (f.d1, A)], p.room(A.shape, A))
    B = multiply(left, work, p.room(A.shape, A))
    for factor, term in ((f.e0, y), (c[2], A2), (c[1], A)):
        B = p.add(B, term, factor)
    p.done(work, y, left, A2)
    return B, c[0]
