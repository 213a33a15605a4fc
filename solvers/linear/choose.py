"""Which method fits what A is: the methods recommend themselves, the best is tried first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ...errors import SingularError
from ..driver.iterate import iterate
from ..driver.solution import Solution
from ..driver.status import Cause, Status
from ..driver.stopping import Deadline, Options
from ..preconditioners.jacobi import JacobiPreconditioner
from .method import NOTHING, Candidate, LinearMethod, said_of_choice
from .system import LinearSystem

__all__ = ["candidates", "solve_by_choice"]

# What a method ends with where another one may still do.
_TRY_ANOTHER = (Status.BREAKDOWN, Status.DIVERGED, Status.INFEASIBLE)


def candidates(system: LinearSystem, methods: Iterable[type[LinearMethod[Any]]]) -> list[Candidate]:
    """What the methods recommend, best first."""
    found = [candidate for method in methods for candidate in method.candidates(system)]
    best = min((candidate.rank for candidate in found), default=0)
    # What is exact in one step needs no second.
    return sorted((c for c in found if best > 0 or c.rank == 0), key=lambda candidate: candidate.rank)


def solve_by_choice(system: LinearSystem, methods: Iterable[type[LinearMethod[Any]]], options: Options) -> Solution:
    """Try what fits, best first, until one converges or nothing is left."""
    methods = list(methods)
    said: list[str] = []
    clock = system.backend.clock
    deadline = None if options.time_limit is None else Deadline(clock() + options.time_limit, clock)
    solution = None
    if system.n == 0 or system.zero_rhs:
        recommended = [Candidate(0, methods[0](), NOTHING)]
    else:
        recommended = candidates(system, methods)
    for candidate in recommended:
        method = candidate.method
        if candidate.sign < 0:
            system.negate()
        if deadline is not None:
            options = replace(options, time_limit=max(deadline.left, 1e-9))
        unused = system.preconditioner is not None and not method.takes_preconditioner
        if unused:
            system.use_preconditioner(None)
        said.append(said_of_choice(method.name, candidate.why, unused))
        try:
            if candidate.preconditioner is not None:
                bound = JacobiPreconditioner(system.operator).bind(system.backend, system.dtype)
                system.use_preconditioner(bound, system.matrix_exponent)
            solution = iterate(system, method, options)
        except SingularError as error:  # on the face of it in this precision, where it is not in its own
            said.append(f"{error}.")
            continue
        narrow = system.emulated is not None and solution.status is Status.OVERFLOW
        if not (solution.status in _TRY_ANOTHER or narrow):
            solution.reason = " ".join([*said, solution.reason])
            return solution
        if solution.cause is Cause.NOT_FINITE:
            return solution  # whatever A is, its products are not numbers
        said.append(solution.reason)
        if candidate.preconditioner is not None:
            system.use_preconditioner(None)
    if solution is None:
        solution = iterate(system, methods[0](), Options(maxiter=0))
        said.append(solution.reason if solution.converged else "")
    if not solution.converged:
        said.append(_nothing_fits(system))
        solution.status = Status.INFEASIBLE
    solution.reason = " ".join(filter(None, said))
    return solution


def _nothing_fits(system: LinearSystem) -> str:
    if system.emulated is not None:
        return (
            f"No method here solves it in {system.precision_name}, which may be too coarse for its condition: take a "
            "wider format, or rv.refine."
        )
    if system.hermitian is False:
        return (
            "No method is chosen: A is not symmetric and not diagonally dominant. Name a nonsymmetric Krylov method "
            "(gmres, bicgstab or idrs), or use a factorisation (scipy.sparse.linalg.spsolve)."
        )
    return (
        "No method is chosen: A is symmetric but not positive definite. Name minres, which also finds the shortest "
        "solution where A is singular, or use a factorisation (scipy.sparse.linalg.spsolve)."
    )
