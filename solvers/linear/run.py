"""From a call to a Solution: one method on one system, or on each system of a batch."""

from __future__ import annotations

from typing import Any

from ..driver.batch import solve_each
from ..driver.iterate import iterate
from ..driver.solution import Solution
from ..driver.stopping import Options
from .method import LinearMethod
from .system import LinearSystem

__all__ = ["check_fits", "solve_with"]


def solve_with(
    method: LinearMethod[Any],
    A: Any,
    b: Any,
    *,
    x0: Any = None,
    M: Any = None,
    backend: Any = None,
    precision: Any = None,
    **limits: Any,
) -> Solution[Any]:
    """Solve with one method, and warn when it did not converge.

    Parameters
    ----------
    method : LinearMethod
    A, b, x0, M, backend, precision :
        As in ``LinearSystem``; A may be a batch (..., n, n), and b may hold several right-hand sides.
    **limits
        As in ``Options``.

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.solvers.krylov.cg import CG
    >>> from resolvent.solvers.linear.run import solve_with
    >>> solve_with(CG(), np.eye(3), np.ones(3)).x
    array([1., 1., 1.])
    """

    def one(matrix: Any, rhs: Any, guess: Any, options: Options) -> Solution:
        system = LinearSystem(matrix, rhs, x0=guess, M=M, backend=backend, precision=precision)
        check_fits(method, system)
        return iterate(system, method, options)

    return solve_each(one, A, b, x0, Options(**limits))


def check_fits(method: LinearMethod[Any], system: LinearSystem) -> None:
    """Refuse a matrix whose entries show that the method's theory does not hold for it."""
    fit = method.fits(system)
    if not fit.suits:
        raise fit.error(fit.reason)
