"""rv.solve: any method by name, or the one that fits what A is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..driver.batch import Batch, Solver, Together, one_or_many
from ..driver.solution import Solution
from ..driver.stopping import Options
from ..krylov.cg import CG
from ..methods import STAGES, MethodName, is_auto, method_named
from ..preconditioners.jacobi import JacobiPreconditioner
from .call import solver as with_types
from .choose import candidates, patience_with, solve_by_choice
from .method import LinearMethod, said_of_choice
from .run import ByMethod, checked_block, solve_alone, solve_in_blocks, solve_together
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
    block: bool | Literal["auto"] = "auto",
    **parameters: Any,
) -> Solution[Any]:
    """Solve A x = b by a method that fits A.

    With ``method="auto"`` what is measured of A decides, and cheap ways come first. Diagonal and triangular matrices
    take one sweep; Hermitian ones with a positive diagonal go to conjugate gradients, preconditioned by multigrid where
    they lie on a regular grid of 100 000 points or more and are ill-conditioned, otherwise by the diagonal where it
    varies; negative definite ones likewise after a change of sign; diagonally dominant ones to Gauss-Seidel; other
    Hermitian ones to MINRES, the rest to BiCGSTAB and GMRES, or at once to a factorisation where that costs no more
    than some iterations. A method that breaks down, stands still, or has taken as long as a factorisation would is
    followed by the next. Last A is factored (by LAPACK or SuperLU) if the factors take 2 GiB at most, foreseen from its
    entries; and least squares find the shortest solution of a singular system. Whatever found it, x is certified, and
    ``Solution.reason`` tells what was tried and why.

    A rectangular A is taken too, with ``method="auto"``: the shortest solution is found where there are many.

    Parameters
    ----------
    A, b, x0, M, rtol, atol, maxiter, callback, progress, time_limit, backend, precision, errors :
        As in ``resolvent.cg``.
    method : str
        "auto" or a name in ``resolvent.METHODS``.
    block : bool or "auto"
        As in ``resolvent.cg`` and ``resolvent.gmres``, where these are named, and where conjugate gradients are chosen.
    **parameters
        Of the method named: ``omega``, ``interval``, ``sweep``, ``order``, ``accelerate``, ``flexible``.

    Returns
    -------
    Solution
        With status INFEASIBLE where no solution exists: x is then a least-squares solution; and where nothing came
        near one.

    Raises
    ------
    InputError
        As in ``resolvent.cg``, for an unknown method, or a parameter that the method does not have.

    Notes
    -----
    Looking at A costs about two passes over its entries; of an A that only multiplies two products tell whether it
    looks Hermitian. Making a multigrid preconditioner costs about as much as 20 products. ``maxiter`` is for all
    methods together, and so is ``time_limit``, which a factorisation does not heed.

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
    shared = checked_block(block)
    if is_auto(method, parameters):
        solver = ByChoice(small_solver(CG(), CG.why_chosen), M, backend, precision, shared)
        return one_or_many(solver, A, b, x0, options, square=False)
    chosen = method_named(method, parameters)
    solver = ByMethod(chosen, small_solver(chosen), M, backend, precision, shared)
    return one_or_many(solver, A, b, x0, options)


class ByChoice(NamedTuple):
    """Solves with the methods that recommend themselves."""

    small: Small | None
    M: Any
    backend: Any
    precision: Any
    block: Any = False

    def alone(self, A: Any, b: Any, x0: Any, options: Options) -> Solution:
        """One system, which need not be square."""
        shape = getattr(A, "shape", (0, 0))
        if shape[0] != shape[1]:
            from .rectangular import solve_rectangular  # which loads least squares

            return solve_rectangular(A, b, x0, self.M, self.backend, self.precision, options)
        return solve_alone(self, _by_choice, A, b, x0, options)

    def together(self, batch: Batch, options: Options) -> Together | None:
        """Those that conjugate gradients are chosen for, with or without Jacobi's preconditioner."""
        if not batch.square:
            return None
        return solve_in_blocks(self, batch, options) or solve_together(self, batch, options)

    def by_block(self, system: LinearSystem) -> tuple[LinearMethod[Any], str, int | None] | None:
        """Conjugate gradients where they are chosen first, with the preconditioner that is made for them."""
        recommended = candidates(system, STAGES[0].values())
        if not recommended or recommended[0].method != CG() or recommended[0].sign < 0:
            return None
        first = recommended[0]
        if first.preconditioner not in (None, "jacobi"):
            return None  # a cycle takes one vector at a time
        if first.preconditioner is not None:
            bound = JacobiPreconditioner(system.operator).bind(system.backend, system.dtype)
            system.use_preconditioner(bound, system.matrix_exponent)
        return first.method, said_of_choice(CG.name, first.why), patience_with(system)


def _by_choice(system: LinearSystem, options: Options) -> Solution:
    return solve_by_choice(system, STAGES, options)
