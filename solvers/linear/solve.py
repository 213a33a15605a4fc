"""rv.solve: any method by name, or the one that fits what A is."""

from __future__ import annotations

from typing import Any

from ...errors import InputError
from ..driver.batch import solve_each
from ..driver.iterate import iterate
from ..driver.solution import Solution
from ..driver.stopping import Options
from ..methods import METHODS, method_named
from .call import solver
from .choose import solve_by_choice
from .run import check_fits
from .system import LinearSystem

__all__ = ["solve"]


@solver
def solve(
    A: Any,
    b: Any,
    *,
    method: str = "auto",
    x0: Any = None,
    M: Any = None,
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    callback: Any = None,
    progress: bool = False,
    time_limit: float | None = None,
    backend: Any = None,
    precision: Any = None,
    **parameters: Any,
) -> Solution[Any]:
    """Solve A x = b by a method that fits A.

    With ``method="auto"`` the entries of A decide: diagonal and triangular matrices take one sweep; Hermitian ones
    with a positive diagonal go to conjugate gradients, preconditioned by the diagonal where it varies; negative
    definite ones likewise after a change of sign; diagonally dominant ones to Gauss-Seidel. When a method breaks down,
    the next that fits is tried. ``Solution.reason`` says what was chosen and why, or why nothing here fits.

    Parameters
    ----------
    A, b, x0, M, rtol, atol, maxiter, callback, progress, time_limit, backend, precision :
        As in ``resolvent.cg``.
    method : str
        "auto" or a name in ``resolvent.METHODS``.
    **parameters
        Of the method named: ``omega``, ``interval``, ``sweep``, ``order``, ``flexible``.

    Returns
    -------
    Solution
        With status INFEASIBLE when no method here fits.

    Raises
    ------
    InputError
        As in ``resolvent.cg``, for an unknown method, or a parameter that the method does not have.

    Notes
    -----
    Looking at A costs about two passes over its entries.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> rv.solve(np.diag([1.0, 2.0, 4.0]), np.ones(3)).x
    array([1.  , 0.5 , 0.25])
    >>> rv.solve(np.diag([1.0, 2.0, 4.0]), np.ones(3), method="chebyshev", interval=(1, 4)).method
    'chebyshev'
    """
    options = Options(rtol, atol, maxiter, callback, progress, time_limit)
    if method != "auto":
        chosen = method_named(method, parameters)
    elif parameters:
        raise InputError(f'{next(iter(parameters))}: is a parameter of a method; name one instead of method="auto"')

    def one(matrix: Any, rhs: Any, guess: Any, options: Options) -> Solution:
        system = LinearSystem(matrix, rhs, x0=guess, M=M, backend=backend, precision=precision)
        if method == "auto":
            return solve_by_choice(system, METHODS.values(), options)
        check_fits(chosen, system)
        return iterate(system, chosen, options)

    return solve_each(one, A, b, x0, options)
