"""rv.solve: any method by name, or the one that fits what A is."""

from __future__ import annotations

import time
from dataclasses import fields, replace
from typing import Any

from ...errors import InputError, SingularError
from ..chebyshev.chebyshev import Chebyshev
from ..driver.batch import check_fits, solve_each
from ..driver.iterate import iterate
from ..driver.method import Method
from ..driver.solution import Solution
from ..driver.status import NOT_FINITE, Status
from ..driver.stopping import Deadline, Options
from ..krylov.cg import CG
from ..krylov.ssor_cg import SSORCG
from ..preconditioners.jacobi import JacobiPreconditioner
from ..relaxation.jacobi import Jacobi
from ..relaxation.richardson import Richardson
from ..relaxation.sor import SOR, SSOR, GaussSeidel
from .system import LinearSystem

__all__ = ["METHODS", "solve"]

# The method table: everything that lists methods (solve, the command line, the docs, the conformance tests) reads it.
METHODS: dict[str, type[Method]] = {
    cls.name: cls for cls in (CG, SSORCG, Chebyshev, Richardson, Jacobi, GaussSeidel, SOR, SSOR)
}


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
) -> Solution:
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
            return _auto(system, options)
        check_fits(chosen, system)
        return iterate(system, chosen, options)

    return solve_each(one, A, b, x0, options)


def method_named(name: str, parameters: dict[str, Any]) -> Method:
    """A method of the table with its parameters; errors name what is unknown."""
    if name not in METHODS:
        raise InputError(f"method: found {name!r}; wanted auto, {', '.join(METHODS)}")
    known = [field.name for field in fields(METHODS[name])]  # type: ignore[arg-type]
    for given in parameters:
        if given not in known:
            raise InputError(f"{given}: {name} has no such parameter; it has {', '.join(known) or 'none'}")
    return METHODS[name](**parameters)


def _auto(system: LinearSystem, options: Options) -> Solution:
    """Try what fits, best first, until one converges or nothing is left."""
    said: list[str] = []
    solution = None
    deadline = None if options.time_limit is None else Deadline(time.perf_counter() + options.time_limit)
    for method, why in _candidates(system):
        diagonal = why.startswith("Jacobi-preconditioned")
        if deadline is not None:
            options = replace(options, time_limit=max(deadline.left, 1e-9))
        said.append(f"{method.name} was chosen: {why}.")
        try:
            if diagonal:
                bound = JacobiPreconditioner(system.operator).bind(system.backend, system.dtype)
                system.use_preconditioner(bound, system.matrix_exponent)
            solution = iterate(system, method, options)
        except SingularError as error:  # on the face of it in this precision, where it is not in its own
            said.append(f"{error}.")
            continue
        narrow = system.emulated is not None and solution.status is Status.OVERFLOW
        if solution.status not in (Status.BREAKDOWN, Status.DIVERGED, Status.INFEASIBLE) and not narrow:
            solution.reason = " ".join([*said, solution.reason])
            return solution
        if NOT_FINITE in solution.reason:
            return solution  # whatever A is, its products are not numbers
        said.append(solution.reason)
        if diagonal:
            system.use_preconditioner(None)
    if solution is None:
        solution = iterate(system, CG(), Options(maxiter=0))
        said.append(solution.reason if solution.converged else "")
    if not solution.converged:
        said.append(_nothing_fits(system))
        solution.status = Status.INFEASIBLE
    solution.reason = " ".join(filter(None, said))
    return solution


def _candidates(system: LinearSystem) -> Any:
    """Methods whose theory covers what the entries show, with the reason, best first."""
    facts = system.facts
    if system.n == 0 or system.zero_rhs:
        yield CG(), "there is nothing to iterate on"
        return
    if facts is None:
        yield CG(), "A only multiplies, and conjugate gradients need no more, if it is positive definite"
        return
    unused = "; M was not needed" if system.preconditioner is not None else ""
    own = system.preconditioner is not None
    solvable = facts.zero_diagonal < 0
    if facts.lower and facts.upper and solvable:
        yield Jacobi(), "A is diagonal, so one step is exact" + unused
        return
    if (facts.lower or facts.upper) and solvable:
        sweep, side = ("forward", "lower") if facts.lower else ("backward", "upper")
        yield GaussSeidel(sweep=sweep), f"A is {side} triangular, so one {sweep} sweep is a substitution{unused}"
        return
    if system.hermitian:
        diagonal = system.backend.to_numpy(system.operator.diagonal())
        if facts.empty_row < 0 and facts.zero_diagonal < 0 and diagonal.real.max() < 0:
            system.negate()
            yield CG(), "A is Hermitian with a negative diagonal, so (-A) x = -b is solved, the sign changed"
            return
        if facts.diagonal_positive and not own and _varies(system):
            yield CG(), "Jacobi-preconditioned, since A is Hermitian with a positive diagonal that varies"
        yield CG(), "A is Hermitian" + (" with a positive diagonal" if facts.diagonal_positive else "")
    if facts.dominant and solvable:
        yield GaussSeidel(), "A is strictly diagonally dominant, for which Gauss-Seidel converges" + unused


def _varies(system: LinearSystem) -> bool:
    """Whether the diagonal has more than one value, without which Jacobi changes nothing."""
    diagonal = system.operator.diagonal()
    low, high = 1 / system.backend.max_abs(1 / diagonal), system.backend.max_abs(diagonal)
    return high > 1.01 * low


def _nothing_fits(system: LinearSystem) -> str:
    if system.emulated is not None:
        return (
            f"No method here solves it in {system.precision_name}, which may be too coarse for its condition: take a "
            "wider format, or rv.refine."
        )
    if system.hermitian is False:
        return (
            "No method here fits: A is not symmetric and not diagonally dominant. Use a nonsymmetric Krylov method "
            "(scipy.sparse.linalg.gmres) or a factorisation (scipy.sparse.linalg.spsolve)."
        )
    return (
        "No method here fits: A is symmetric but not positive definite. Use scipy.sparse.linalg.minres or a "
        "factorisation (scipy.sparse.linalg.spsolve); for a singular A, a least-squares solver."
    )
