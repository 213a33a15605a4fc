"""Conjugate gradients on a stack of systems, each stopping by its own residual."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...backends import Backend

__all__ = ["StackedCG", "stacked_cg"]


class StackedCG(NamedTuple):
    """What conjugate gradients came to, system by system.

    Attributes
    ----------
    x : array, (..., n)
    iterations : array of int32, (...)
    residual_norm : array, (...)
        ||r||, r carried by recurrence.
    broke : array of bool, (...)
        Where p^H A p or r^H M r was not positive, or something not finite: x is then the last iterate before.
    """

    x: Any
    iterations: Any
    residual_norm: Any
    broke: Any


def stacked_cg(
    backend: Backend,
    product: Callable[[Any, Any], Any],
    x: Any,
    r: Any,
    target: Any,
    maxiter: int,
    M: Callable[[Any, Any], Any] | None = None,
    seen: list[tuple[Any, Any, Any]] | None = None,
) -> StackedCG:
    """Solve A x = b for every system of a stack, from a first guess and its residual, until ||r|| <= target.

    A system that is done stands still, and what it comes to is what it would have come to alone: neither the steps of
    others nor their NaN reach it.

    Parameters
    ----------
    backend : Backend
    product : callable
        ``product(p, out)`` gives A p of every system, in place of out where the library can.
    x, r : array, (..., n)
        A first guess and b - A x, of a size whose squares neither over- nor underflow. Both may be overwritten.
    target : array, (...)
        Of the norm of each residual.
    maxiter : int
    M : callable, optional
        ``M(r, out)`` preconditions every system, in place of out where the library can.
    seen : list, optional
        Gets ||r||, alpha and beta of each iteration, arrays (...).

    Notes
    -----
    Per iteration: 1 product, 2 reductions (3 with a preconditioner), 11 vector passes, and two looks at the device's
    results; 4 vectors kept (5).

    References
    ----------
    Hestenes & Stiefel (1952), "Methods of conjugate gradients for solving linear systems", section 3; Saad (2003),
    "Iterative methods for sparse linear systems", algorithms 6.18 and 9.1.

    Examples
    --------
    Of three matrices the second is indefinite; the others do not notice.

    >>> import numpy as np
    >>> from resolvent.backends import backend_named
    >>> from resolvent.solvers.krylov.stacked_cg import stacked_cg
    >>> A, b = np.array([np.diag([1.0, 2.0]), np.diag([1.0, -2.0]), np.eye(2)]), np.ones((3, 2))
    >>> def product(p, out):
    ...     return (A @ p[..., None])[..., 0]
    >>> found = stacked_cg(backend_named("numpy"), product, np.zeros((3, 2)), b, np.full(3, 1e-12), 9)
    >>> found.iterations.tolist(), found.broke.tolist(), found.x[0].round(12).tolist()
    ([2, 0, 1], [False, True, False], [1.0, 0.5])
    """
    xp, target = backend.namespace(r), target[..., None]

    def precondition(r: Any, z: Any, norm: Any) -> tuple[Any, Any]:
        """M r, in place of z where there is an M, and r^H M r."""
        if M is None:
            return r, norm * norm
        z = M(r, z)
        return z, backend.dots_each(r, z)

    norm = backend.norms_each(r)
    z, rho = precondition(r, None if M is None else xp.zeros_like(r), norm)
    going = (norm > target) & (rho > 0) & (rho < math.inf)
    # Systems set apart have r = p = 0, so that nothing is added to their x, whatever their product comes to.
    apart, norm_apart = ~going, norm
    r = backend.keep(going, r)
    p = backend.copy(r if M is None else backend.keep(going, z))
    q = xp.empty_like(r)
    iterations = xp.zeros_like(going, dtype=xp.int32)
    for k in range(maxiter if bool(xp.any(going)) else 0):
        q = product(p, q)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            alpha = rho / backend.dots_each(p, q)
        going = going & (alpha > 0)
        alpha = xp.where(going, alpha, 0.0)
        r = backend.axpy(-alpha, q, r)
        before, norm = norm, backend.norms_each(r)
        if not math.isfinite(float(xp.sum(norm))):  # where p, q or alpha was not: a step that cannot be made
            finite = norm < math.inf
            norm_apart, apart = xp.where(apart | finite, norm_apart, before), apart | ~finite
            going, alpha = going & finite, xp.where(finite, alpha, 0.0)
            r, p = backend.keep(finite, r), backend.keep(finite, p)
        x = backend.axpy(alpha, p, x)
        iterations = xp.where(going, k + 1, iterations)
        rho_before = rho
        z, rho = precondition(r, z, norm)
        going = going & (norm > target)
        if M is not None:
            going = going & (rho > 0)
            z = backend.keep(going, z)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            beta = rho / rho_before
        if seen is not None:
            seen.append((norm[..., 0], alpha[..., 0], beta[..., 0]))
        if not bool(xp.any(going)):
            break
        p = backend.axpby(1.0, z, xp.where(going, beta, 0.0), p)
    norm = xp.where(apart, norm_apart, norm)
    broke = ~(going | (norm <= target))
    return StackedCG(x, iterations[..., 0], norm[..., 0], broke[..., 0])
