"""The Lanczos process on a stack of matrices, each ending by itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...backends import Backend
from .lanczos import FAR

__all__ = ["stacked_lanczos"]


def stacked_lanczos(
    backend: Backend,
    product: Callable[[Any, Any], Any],
    start: Any,
    steps: int,
    unit_roundoff: float,
    inverse_diagonal: Any = None,
    *,
    suited: np.ndarray,
    most: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The tridiagonal matrices of A, or of D^-1 A in the inner product of D, on the Krylov spaces of a start vector.

    The steps, and where they end, are those of ``Lanczos`` and ``estimate_spectrum``. A matrix that is done stands
    still, and neither the steps of others nor their NaN reach it.

    Parameters
    ----------
    backend : Backend
    product : callable
        ``product(x, out)`` gives A x of every matrix, in place of out where the library can.
    start : array, (..., n)
        Overwritten.
    steps : int
        At most.
    unit_roundoff : float
    inverse_diagonal : array, (..., n) or (n,), optional
        1 / D.
    suited : ndarray of bool, (...)
        The matrices that are asked about.
    most : int
        The largest exponent that numbers may have.

    Returns
    -------
    diagonal, off : ndarray of float, (..., steps)
        On the host; the last entry of ``off`` would couple to the next row.
    rows : ndarray of int, (...)
        How many there are of each; 0 where T_k shows that A is not positive definite, or numbers leave the range.

    Notes
    -----
    Per step: 1 product, 2 reductions, 4 vector passes (5 with D), and two looks at the device's results; 3 vectors kept
    (4).

    References
    ----------
    Lanczos (1950); Saad (2011), "Numerical methods for large eigenvalue problems", algorithm 6.5.

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.backends import backend_named
    >>> from resolvent.solvers.spectra.stacked_lanczos import stacked_lanczos
    >>> A, suited = np.array([np.diag([1.0, 3.0]), np.diag([1.0, -3.0])]), np.array([True, True])
    >>> def product(x, out):
    ...     return (A @ x[..., None])[..., 0]
    >>> found = stacked_lanczos(backend_named("numpy"), product, np.ones((2, 2)), 2, 2.0**-53, suited=suited, most=1023)
    >>> [part[0].tolist() for part in found], found[2].tolist()
    ([[2.0, 2.0], [1.0, 0.0], 2], [2, 0])
    """
    xp, real = backend.namespace(start), backend.numpy_dtype(start).type(0).real.dtype

    def each(numbers: np.ndarray) -> Any:
        """One number a matrix, zero of those that are done, where vectors are."""
        return backend.from_numpy(np.where(going, numbers, 0.0)[..., None], real)

    def measured(r: Any, z: Any) -> tuple[Any, np.ndarray]:
        """z = D^-1 r, and r^H z."""
        z = r if inverse_diagonal is None else backend.multiply(inverse_diagonal, r, z)
        return z, backend.to_numpy(backend.dots_each(r, z))[..., 0].astype(float)

    going = suited & (steps > 0)
    shape = going.shape
    diagonal, off = np.zeros((2, *shape, steps))
    rows = np.zeros(shape, int)
    pivot, residual, ratio, beta = np.full(shape, math.inf), np.ones(shape), np.zeros(shape), np.zeros(shape)
    largest, widest = np.zeros(shape), np.zeros(shape)
    r, before, q = start, xp.zeros_like(start), xp.empty_like(start)
    z, square = measured(r, None if inverse_diagonal is None else xp.empty_like(start))
    with np.errstate(all="ignore"):
        for k in range(steps):
            if k:
                going = going & (residual > 4 * unit_roundoff) & (beta > unit_roundoff * (largest + widest))
            if not going.any():
                break
            q = product(z, q)
            alpha = backend.to_numpy(backend.dots_each(z, q))[..., 0].astype(float) / square
            q = backend.axpy(each(-alpha), r, q)
            if k:
                q = backend.axpy(each(-ratio), before, q)
            if not going.all():
                q = backend.keep(each(np.ones(shape)) > 0, q)
            r, before, q = q, r, before
            z, following = measured(r, z)
            earlier, widest = residual, np.maximum(widest, beta)
            pivot = alpha - (beta * beta / pivot if k else 0.0)
            beta, ratio = np.sqrt(np.maximum(following / square, 0.0)), following / square
            residual = residual * beta / np.abs(pivot)
            largest = np.maximum(largest, np.abs(alpha))
            diagonal[..., k], off[..., k] = alpha, beta
            exponent = np.where(following > 0, np.frexp(following)[1] // 2, 0)
            finite = np.isfinite(alpha) & np.isfinite(following) & (np.abs(exponent) < most)
            # Where conjugate gradients would have converged, a pivot that is not positive is what rounding left.
            sound = finite & ((pivot > 0) | (earlier <= 1e-10))
            rows = np.where(going, np.where(sound, k + 1, 0), rows)
            going = going & sound & (pivot > 0)
            shift = np.where(going & (np.abs(exponent) > FAR), exponent, 0)
            if shift.any():
                power = each(np.ldexp(1.0, -shift))
                r = backend.multiply(power, r, r)
                z = r if inverse_diagonal is None else backend.multiply(power, z, z)
            square, ratio = np.ldexp(following, -2 * shift), np.ldexp(ratio, -shift)
    return diagonal, off, rows
