"""A x = b for an A that is not square: the shortest solution where there is one, by least squares."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..driver.solution import Solution
from ..driver.status import Cause, Status
from ..driver.stopping import Options
from ..least_squares.lstsq import by_choice
from ..least_squares.problem import LeastSquares
from .shortest import GRADIENT

__all__ = ["solve_rectangular"]


def solve_rectangular(A: Any, b: Any, x0: Any, M: Any, backend: Any, precision: Any, options: Options) -> Solution[Any]:
    """CONVERGED where ||b - A x|| <= max(rtol ||b||, atol), as of any system; otherwise x is a least-squares solution.

    Parameters
    ----------
    A, b, x0, M, backend, precision :
        As in ``LeastSquares``.
    options : Options
    """
    with np.errstate(all="ignore"):  # overflow and NaN are looked for, and reported in words
        problem = LeastSquares(A, b, x0=x0, M=M, atol=GRADIENT, btol=options.rtol, backend=backend, precision=precision)
        solution: Any = by_choice(problem, options)
    target = max(options.rtol * solution.normb, options.atol)
    left = f"||b - A x|| is {solution.normr / solution.normb if solution.normb else 0.0:.2e} of ||b||"
    if solution.normr <= target:
        solution.status, solution.cause = Status.CONVERGED, None
        solution.reason = f"A has shape {tuple(A.shape)}, and {left}. {solution.reason}"
    elif solution.converged and not solution.consistent:
        solution.status, solution.cause = Status.INFEASIBLE, Cause.INCONSISTENT
        solution.reason = f"A x = b has no solution: {left} at a least-squares solution, which x is. {solution.reason}"
    elif solution.converged:
        solution.status, solution.cause = Status.STAGNATED, Cause.DIGITS
        solution.reason = f"{left}, which rounding does not let fall further. {solution.reason}"
    return solution
