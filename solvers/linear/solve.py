"""rv.solve: any method by name, or the one that fits what A is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..driver.batch import Batch, Solver, Together, one_or_many
from ..driver.solution import Solution
from ..driver.stopping import Options
from ..krylov.cg import CG
from ..methods import CHOSEN, METHODS, MethodName, is_auto, method_named
from .call import solver as with_types
from .choose import solve_by_choice
from .run import ByMethod, solve_alone, solve_together
from .small import Small, small_solver
from .system import LinearSystem

if TYPE_CHECKING:
    from ...backends import Backend
    from ...precision import Precision
    from ...precision.formats import BlockFormat, Format
    from ..driver.progress import Progress
    from .call import Array, Nested

__all__ = ["solve"]


@with_types
def solve(
    A: Any,
    b: Any,
    *,
    method: Literal["auto"] | MethodName = "auto",
    x0: Array | Nested | None = None,
    M: Any = None,
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    callback: Callable[[Progress], Any] | None = None,
    progress: bool = False,
    time_limit: float | None = None,
    backend: str | Backend | None = None,
    precision: str | Format | BlockFormat | Precision | None = None,
    errors: Literal["raise", "collect"] = "raise",
    **parameters: Any,
) -> Solution[Any]:
    """Solve A x = b by a method that fits A.

    With ``method="auto"`` the entries of A decide: diagonal and triangular matrices take one sweep; Hermitian ones
    with a positive diagonal go to conjugate gradients, preconditioned by the diagonal where it varies; negative
    definite ones likewise after a change of sign; diagonally dominant ones to Gauss-Seidel. When a method breaks down,
    the next that fits is tried. ``Solution.reason`` says what was chosen and why, or why nothing here fits.

    Parameters
    ----------
    A, b, x0, M, rtol, atol, maxiter, callback, progress, time_limit, backend, precision, errors :
        As in ``resolvent.cg``.
    method : str
        "auto" or a name in ``resolvent.METHODS``.
    **parameters
        Of the method named: ``omega``, ``interval``, ``sweep``, ``order``, ``accelerate``, ``flexible``.

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
    options = Options(rtol, atol, maxiter, callback, progress, time_limit, errors=errors)
    solver: Solver
    if is_auto(method, parameters):
        solver = ByChoice(small_solver(CG(), CG.why_chosen), M, backend, precision)
    else:
        chosen = method_named(method, parameters)
        solver = ByMethod(chosen, small_solver(chosen), M, backend, precision)
    return one_or_many(solver, A, b, x0, options)


class ByChoice(NamedTuple):
    """Solves with the methods that recommend themselves."""

    small: Small | None
    M: Any
    backend: Any
    precision: Any

    def alone(self, A: Any, b: Any, x0: Any, options: Options) -> Solution:
        """One system."""
        return solve_alone(self, _by_choice, A, b, x0, options)

    def together(self, batch: Batch, options: Options) -> Together | None:
        """Those that conjugate gradients are chosen for, with or without Jacobi's preconditioner."""
        return solve_together(self, batch, options)


def _by_choice(system: LinearSystem, options: Options) -> Solution:
    return solve_by_choice(system, [METHODS[name] for name in CHOSEN], options)
