"""Random dense matrices with singular values made to measure."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..naming import choice
from .checks import integer, number
from .dense import ends
from .exact import product, short_vector
from .problem import Known, Problem


def randsvd(n: int, condition: float = 1e3, mode: int = 3, kind: str = "spd", *, seed: Any = 0) -> Problem:
    """A dense matrix with random singular vectors and the singular values of one of five modes.

    The largest singular value is 1 and the smallest 1 / condition. Between them:

    1. one large: all others are 1 / condition;
    2. one small: all others are 1;
    3. geometric: equal ratios;
    4. arithmetic: equal differences;
    5. random: logarithms uniformly distributed.

    Rounding moves each singular value by about the unit roundoff, so the condition number is as asked while it is well
    below 1e16.

    Parameters
    ----------
    n : int
        Order.
    condition : float
        Ratio of the extreme singular values, at least 1; 1 if n is 1.
    mode : int
        1 to 5, as above.
    kind : {"spd", "symmetric", "general"}
        Q diag(s) Q'; the same with random signs, the largest positive and the smallest negative; or U diag(s) V', with
        Q, U and V drawn uniformly (by Haar measure) from the orthogonal matrices.
    seed : int, numpy.random.Generator or None
        Of the singular vectors, the signs and the solution.

    Returns
    -------
    Problem

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    N. J. Higham, "Accuracy and Stability of Numerical Algorithms", SIAM 2002, section 28.3.

    Examples
    --------
    >>> randsvd(50, 1e6, mode=2)
    <randsvd(50, 1e+06, mode=2, kind='spd'): 50 x 50 dense, float64, symmetric positive definite, condition 1e+06>
    >>> randsvd(5, 100.0, mode=4).eigenvalues()
    array([0.01  , 0.2575, 0.505 , 0.7525, 1.    ])
    """
    n = integer("n", n)
    condition = number("condition", condition, above=1.0, closed=(True, False))
    if n == 1 and condition != 1.0:
        raise ValueError(f"condition is {condition:g}; it must be 1 for n = 1")
    mode = integer("mode", mode)
    if mode > 5:
        raise ValueError(f"mode is {mode}; it must be 1, 2, 3, 4 or 5")
    kind = choice("kind", kind, ("spd", "symmetric", "general"))
    rng = np.random.default_rng(seed)
    values = _singular_values(n, condition, mode, rng)
    U = _orthogonal(n, rng)
    if kind == "general":
        A = (U * values) @ _orthogonal(n, rng).T
    else:
        if kind == "symmetric":
            values = values * rng.choice((-1.0, 1.0), size=n)
            values[-1], values[0] = -abs(values[-1]), abs(values[0])
        A = (U * values) @ U.T
        A = (A + A.T) / 2
    eigenvalues = np.sort(values)
    x = short_vector(n, rng)
    return Problem(
        name=f"randsvd({n}, {condition:g}, mode={mode}, kind={kind!r})",
        A=A,
        b=product(A, x),
        x=x,
        symmetric=kind != "general",
        positive_definite=kind == "spd",
        reference="Higham, Accuracy and Stability of Numerical Algorithms, SIAM 2002, section 28.3",
        known=Known(
            eigenvalues=eigenvalues.copy if kind != "general" else None,
            extremes=partial(ends, eigenvalues) if kind != "general" else None,
            singular_values=partial(ends, np.sort(np.abs(values))),
        ),
    )


def _singular_values(n: int, condition: float, mode: int, rng: np.random.Generator) -> np.ndarray:
    """From 1 down to 1 / condition, in the order of the mode."""
    if n == 1:
        return np.ones(1)
    if mode == 1:
        values = np.full(n, 1.0 / condition)
    elif mode == 2:
        values = np.ones(n)
    elif mode == 3:
        values = condition ** -np.linspace(0.0, 1.0, n)
    elif mode == 4:
        values = np.linspace(1.0, 1.0 / condition, n)
    else:
        values = condition ** -rng.uniform(size=n)
    values[0], values[-1] = 1.0, 1.0 / condition
    return values


def _orthogonal(n: int, rng: np.random.Generator) -> np.ndarray:
    """A Haar-distributed orthogonal matrix: Q of a Gaussian one, made unique by a positive diagonal of R."""
    Q, R = np.linalg.qr(rng.standard_normal((n, n)))
    return Q * np.copysign(1.0, R.diagonal())
