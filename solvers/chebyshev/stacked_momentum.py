"""Chebyshev, Richardson and Jacobi iteration on a stack of systems, each for so many steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from ...backends import Backend

__all__ = ["momentum_steps", "stacked_momentum"]


def stacked_momentum(
    backend: Backend,
    product: Callable[[Any, Any], Any],
    rhs: Any,
    x: Any,
    r: Any,
    coefficients: Iterable[tuple[Any, Any]],
    steps: Any,
    inverse_diagonal: Any = None,
) -> Any:
    """The iterates x_{k+1} = x_k + beta_k (x_k - x_{k-1}) + gamma_k M (b - A x_k) of every system of a stack.

    A system that has made its steps stands still, and what it comes to is what it would have come to alone: neither the
    steps of others nor their NaN reach it.

    Parameters
    ----------
    backend : Backend
    product : callable
        ``product(x, out)`` gives A x of every system, in place of out where the library can.
    rhs : array, (..., n)
        b.
    x, r : array, (..., n)
        A first guess and b - A x. Both may be overwritten.
    coefficients : iterable of (beta, gamma)
        Numbers, or arrays (..., 1): those of ``chebyshev_coefficients``; 0 and omega for Richardson and Jacobi
        iteration.
    steps : array of integers, (...)
        Of each system.
    inverse_diagonal : array, (..., n) or (n,), optional
        M: the inverse diagonal of A for Jacobi iteration.

    Returns
    -------
    array, (..., n)

    Notes
    -----
    Per step: 1 product, 7 vector passes (8 with M), no reduction; 3 vectors kept (4). The residual of the last iterate
    is not computed.

    References
    ----------
    Gutknecht & Roellin (2002), "The Chebyshev iteration revisited", for the three-term form with recomputed residuals;
    Saad (2003), "Iterative methods for sparse linear systems", algorithm 12.1, example 4.1 and equation 4.4.

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.backends import backend_named
    >>> from resolvent.solvers.chebyshev.coefficients import chebyshev_coefficients
    >>> from resolvent.solvers.chebyshev.stacked_momentum import stacked_momentum
    >>> A, b = np.array([np.diag([1.0, 2.0]), np.diag([1.0, 4.0])]), np.ones((2, 2))
    >>> def product(x, out):
    ...     return (A @ x[..., None])[..., 0]
    >>> ahead = chebyshev_coefficients(np.ones((2, 1)), np.array([[2.0], [4.0]]))
    >>> x = stacked_momentum(backend_named("numpy"), product, b, np.zeros((2, 2)), b.copy(), ahead, np.array([10, 20]))
    >>> x.round(6).tolist()
    [[1.0, 0.5], [1.0, 0.25]]
    """
    return momentum_steps(backend, product, rhs, x, backend.copy(x), r, coefficients, steps, inverse_diagonal)[0]


def momentum_steps(
    backend: Backend,
    product: Callable[[Any, Any], Any],
    rhs: Any,
    x: Any,
    previous: Any,
    r: Any,
    coefficients: Iterable[tuple[Any, Any]],
    steps: Any,
    inverse_diagonal: Any = None,
) -> tuple[Any, Any]:
    """The same from an iterate and the one before it, for which the last two are returned, to be taken further.

    ``coefficients`` are those of the next steps: an iterator goes on where it stopped. ``previous`` may be overwritten.
    """
    if math.prod(steps.shape) == 0:
        return x, previous
    xp, steps = backend.namespace(rhs), steps[..., None]
    fewest, most = int(xp.min(steps)), int(xp.max(steps))
    z = None if inverse_diagonal is None else xp.empty_like(r)
    none = xp.zeros_like(backend.norms_each(rhs))
    # The range comes first: of an iterator no coefficient is taken that is not used.
    for k, (beta, gamma) in zip(range(most), coefficients, strict=False):
        if k > 0:
            r = backend.axpby(1.0, rhs, -1.0, product(x, r))
        z = r if inverse_diagonal is None else backend.multiply(inverse_diagonal, r, z)
        if k >= fewest:  # zero times z, which may by now be infinite, would not be zero
            going = k < steps
            beta, gamma = xp.where(going, none + beta, none), xp.where(going, none + gamma, none)
            z = backend.keep(going, z)
        previous = backend.momentum(beta, gamma, x, previous, z)
        x, previous = previous, x
    return x, previous
