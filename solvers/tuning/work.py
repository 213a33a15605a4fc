"""What a solve costs: iterations, seconds, or a count of what it touched, which is the same on every machine."""

from __future__ import annotations

from typing import Any

from ...errors import InputError
from ..driver.method import Method
from ..driver.solution import Solution
from ..linear.system import LinearSystem
from ..preconditioners import PolynomialPreconditioner, SSORPreconditioner

__all__ = ["COSTS", "cost_of"]

COSTS = ("iterations", "seconds", "work")


def cost_of(solution: Solution, system: LinearSystem, method: Method, M: Any, kind: str) -> float:
    """The cost of a solve, in the unit asked for.

    Work is the number of matrix entries and vector elements touched: of each product with A, or sweep, the entries of
    A; of each iteration, the vector passes that the method declares, those of its compiled loop on Numba, and the
    entries of M.
    """
    if kind == "iterations":
        return float(solution.iterations)
    if kind == "seconds":
        return float(solution.seconds)
    entries = system.operator.entries
    traffic = method.traffic
    passes = traffic.compiled_passes if system.backend.name == "numba" else traffic.passes
    vectors = passes * system.n
    return float(solution.matvecs * entries + solution.iterations * (vectors + _entries_of(M, system)))


def _entries_of(M: Any, system: LinearSystem) -> int:
    """What an application of M touches; the diagonal and what is unknown count as much as a vector, or as A."""
    if M is None:
        return 0
    if isinstance(M, SSORPreconditioner):
        return 2 * system.operator.entries
    if isinstance(M, PolynomialPreconditioner):
        return (len(M.coefficients) - 1) * (system.operator.entries + 6 * system.n)
    bound = system.preconditioner
    if bound is not None and bound.inverse_diagonal is not None:
        return 2 * system.n
    given = getattr(getattr(bound, "operator", None), "entries", None)
    return system.operator.entries if given is None else int(given)


def checked_cost(kind: Any) -> str:
    """One of the units."""
    if kind not in COSTS:
        raise InputError(f"cost: found {kind!r}; wanted one of {', '.join(COSTS)}")
    return str(kind)
