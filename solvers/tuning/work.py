"""What a solve costs: iterations, seconds, or a count of what it touched, which is the same on every machine."""

from __future__ import annotations

from typing import Any

from ..driver.solution import Solution
from ..linear.method import LinearMethod
from ..linear.system import LinearSystem

__all__ = ["COSTS", "cost_of"]

COSTS = ("iterations", "seconds", "work")


def cost_of(solution: Solution, system: LinearSystem, method: LinearMethod[Any], M: Any, kind: str) -> float:
    """The cost of a solve, in the unit asked for.

    Work is the number of matrix entries and vector elements touched: of each product with A, or sweep, the entries of
    A; of the iterations, the vector passes that the method declares, those of its compiled loop where the backend has
    such loops, and what M touches.
    """
    if kind == "iterations":
        return float(solution.iterations)
    if kind == "seconds":
        return float(solution.seconds)
    cost = method.cost(solution.iterations)
    compiled = system.backend.arrays(system.operator) is not None
    vectors = (cost.compiled_passes if compiled else cost.passes) * system.n
    bound = system.preconditioner
    touched = 0 if M is None or bound is None else bound.work(system.operator.entries)
    applied = method.applications(solution.iterations) * touched
    return float(solution.matvecs * system.operator.entries + vectors + applied)
