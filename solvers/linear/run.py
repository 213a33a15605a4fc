"""From a call to a Solution: one method on one system, or on each system of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from ...backends import choose_backend
from ...lazy import place_of
from ...naming import choice
from ..driver.batch import Batch, Together, one_or_many
from ..driver.iterate import iterate
from ..driver.solution import Solution
from ..driver.stopping import Options
from .method import LinearMethod
from .small import Small, small_solver
from .system import LinearSystem

if TYPE_CHECKING:
    from .block import BlockSolver

__all__ = ["ByMethod", "check_fits", "checked_block", "solve_in_blocks", "solve_alone", "solve_together", "solve_with"]


def solve_with(
    method: LinearMethod[Any],
    A: Any,
    b: Any,
    *,
    x0: Any = None,
    M: Any = None,
    backend: Any = None,
    precision: Any = None,
    block: Any = False,
    **limits: Any,
) -> Solution[Any]:
    """Solve with one method, and warn when it did not converge.

    Parameters
    ----------
    method : LinearMethod
    A, b, x0, M, backend, precision :
        As in ``LinearSystem``; A may be a batch (..., n, n), and b may hold several right-hand sides.
    block : bool or "auto"
        Whether those of one matrix share a Krylov space.
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

    options = Options(**limits)
    solver = ByMethod(method, small_solver(method), M, backend, precision, checked_block(block))
    return one_or_many(solver, A, b, x0, options)


def checked_block(given: Any) -> bool | str:
    """True, False or "auto"."""
    if isinstance(given, (bool, np.bool)):
        return bool(given)
    return choice("block", given, ("auto",), more=", True or False")


class ByMethod(NamedTuple):
    """Solves with one method."""

    method: LinearMethod[Any]
    small: Small | None
    M: Any
    backend: Any
    precision: Any
    block: Any = False

    def alone(self, A: Any, b: Any, x0: Any, options: Options) -> Solution:
        """One system."""
        return solve_alone(self, self._driven, A, b, x0, options)

    def _driven(self, system: LinearSystem, options: Options) -> Solution:
        check_fits(self.method, system)
        return iterate(system, self.method, options)

    def together(self, batch: Batch, options: Options) -> Together | None:
        """Those that take the ordinary course."""
        return solve_in_blocks(self, batch, options) or solve_together(self, batch, options)

    def by_block(self, system: LinearSystem) -> tuple[LinearMethod[Any], str, int | None]:
        """The method whose block form is taken, with nothing to be said of a choice, and no limit but the caller's."""
        check_fits(self.method, system)
        return self.method, "", None


class _Settings(Protocol):
    """What of a solver the small systems depend on."""

    @property
    def small(self) -> Small | None: ...
    @property
    def M(self) -> Any: ...
    @property
    def backend(self) -> Any: ...
    @property
    def precision(self) -> Any: ...


def solve_alone(
    solver: _Settings,
    driven: Callable[[LinearSystem, Options], Solution],
    A: Any,
    b: Any,
    x0: Any,
    options: Options,
) -> Solution:
    """One system: in one compiled call where it is small and takes the ordinary course, otherwise by ``driven``."""
    small, backend = solver.small, solver.backend
    if small is not None and solver.precision is None and options.unobserved:
        backend = choose_backend(backend, A, b, x0, M=solver.M)
        if backend.compiles_solves:
            A = backend.operator(A)
            guess = None if x0 is None else backend.vector(x0, "x0")
            solution = small.solve(backend, A, backend.vector(b, "b"), guess, options, None, solver.M)
            if solution is not None:
                return solution
    with np.errstate(all="ignore"):  # overflow and NaN are looked for, and reported in words
        system = LinearSystem(A, b, x0=x0, M=solver.M, backend=backend, precision=solver.precision)
        return driven(system, options)


def solve_together(solver: _Settings, batch: Batch, options: Options) -> Together | None:
    """The systems of a batch that are small and take the ordinary course; None where there are none such."""
    small = solver.small
    if small is None or solver.precision is not None:
        return None
    backend = choose_backend(solver.backend, batch.A, batch.b, batch.x0, M=solver.M)
    if backend.compiles_solves:
        return small.together(backend, batch, options, solver.M)
    from ..stacked_loops import STACKED
    from .stacked import solve_stack
    from .whole import solve_whole

    found = solve_whole(small, backend, batch, options, solver.M)
    if found is not None:
        return found
    stacked = STACKED.get(place_of(type(small.method)))
    return None if stacked is None else solve_stack(small, stacked, backend, batch, options, solver.M)


def solve_in_blocks(solver: BlockSolver, batch: Batch, options: Options) -> Together | None:
    """Several right-hand sides of one matrix by a block method; None where they are solved otherwise."""
    if not solver.block or len(batch) < 2 or batch.matrices:
        return None
    from .block import in_blocks

    return in_blocks(solver, batch, options)


def check_fits(method: LinearMethod[Any], system: LinearSystem) -> None:
    """Refuse a matrix whose entries show that the method's theory does not hold for it."""
    fit = method.fits(system)
    if not fit.suits:
        raise fit.error(fit.reason)
