"""From a call to a Solution: one method on one least-squares problem, or on each of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np

from ..driver.batch import Batch, Together, one_or_many
from ..driver.iterate import iterate
from ..driver.solution import Solution
from ..driver.stopping import Options
from .method import LeastSquaresMethod
from .problem import LeastSquares
from .solution import LeastSquaresSolution

__all__ = ["Driven", "solve_least_squares"]

# From a problem and options to the solution.
Driver = Callable[[LeastSquares, Options], Solution[Any]]


class Driven(NamedTuple):
    """Solves by ``driver``.

    Attributes
    ----------
    driver : callable
        From a ``LeastSquares`` and ``Options`` to a Solution.
    given : dict
        What the problem is made of besides A, b and x0.
    """

    driver: Driver
    given: dict[str, Any]

    def alone(self, A: Any, b: Any, x0: Any, options: Options) -> Solution:
        """One problem."""
        with np.errstate(all="ignore"):  # overflow and NaN are looked for, and reported in words
            return self.driver(LeastSquares(A, b, x0=x0, **self.given), options)

    def together(self, batch: Batch, options: Options) -> Together | None:
        """None are solved side by side."""
        return None


def solve_least_squares(
    method: LeastSquaresMethod[Any] | Driver,
    A: Any,
    b: Any,
    *,
    damp: float = 0.0,
    atol: float = 1e-6,
    btol: float = 1e-6,
    x0: Any = None,
    M: Any = None,
    backend: Any = None,
    precision: Any = None,
    **limits: Any,
) -> LeastSquaresSolution[Any]:
    """Solve with one method, or by what chooses among them, and warn when it did not converge."""
    given = {"damp": damp, "atol": atol, "btol": btol, "M": M, "backend": backend, "precision": precision}
    options = Options(**limits)

    def driver(problem: LeastSquares, options: Options) -> Solution[Any]:
        if isinstance(method, LeastSquaresMethod):
            return iterate(problem, method, options)
        return method(problem, options)

    solution = one_or_many(Driven(driver, given), A, b, x0, options, square=False)
    return cast("LeastSquaresSolution[Any]", solution)
