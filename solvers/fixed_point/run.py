"""From a call to a Solution."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ...errors import InputError
from ..driver.batch import TELL, solve_each, warn_of
from ..driver.iterate import iterate
from ..driver.method import Method
from ..driver.solution import Solution
from ..driver.stopping import Options
from .members import FixedPoints
from .method import FixedPointMethod
from .problem import EquationProblem, FixedPointProblem

__all__ = ["solve_problem", "solve_with"]


def solve_with(
    method: FixedPointMethod,
    g: Callable[[Any], Any],
    x0: Any,
    *,
    backend: Any = None,
    precision: Any = None,
    batch_ndim: int = 0,
    **limits: Any,
) -> Solution[Any]:
    """Find x = g(x) by one method, and warn when it did not converge.

    Parameters
    ----------
    method : FixedPointMethod
    g, x0, backend, precision :
        As in ``FixedPointProblem``.
    batch_ndim : int
        Axes of a batch.
    **limits
        As in ``Options``.

    Examples
    --------
    >>> import math
    >>> from resolvent.solvers.fixed_point.picard import Picard
    >>> from resolvent.solvers.fixed_point.run import solve_with
    >>> round(solve_with(Picard(), math.cos, 1.0).x, 4)
    0.7391
    """
    if not isinstance(batch_ndim, int) or isinstance(batch_ndim, bool):
        raise TypeError(f"batch_ndim: found {batch_ndim!r}; wanted an integer")
    if batch_ndim < 0:
        raise InputError(f"batch_ndim: found {batch_ndim}; wanted at least 0")
    if not batch_ndim:
        return solve_problem(method, partial(FixedPointProblem, g, x0), backend=backend, precision=precision, **limits)
    options = Options(**limits)
    with np.errstate(all="ignore"):
        solution = solve_each(FixedPoints(method, g, x0, batch_ndim, backend, precision), options)
    if not solution.converged:
        TELL.get(warn_of)(solution)
    return solution


def solve_problem(
    method: Method[Any, Any],
    make: Callable[..., EquationProblem],
    *,
    backend: Any = None,
    precision: Any = None,
    **limits: Any,
) -> Solution[Any]:
    """The same for the problem that ``make`` makes of ``backend=`` and ``precision=``."""
    options = Options(**limits)
    with np.errstate(all="ignore"):  # overflow and NaN are looked for, and reported in words
        solution = iterate(make(backend=backend, precision=precision), method, options)
    if not solution.converged:
        TELL.get(warn_of)(solution)
    return solution
