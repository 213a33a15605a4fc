"""The call of a matrix function: what all of them take, declared once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, cast

import numpy as np

from ..driver.batch import TELL, warn_of
from ..driver.iterate import iterate
from ..driver.progress import Progress
from ..driver.stopping import Options
from ..linear.call import with_signature
from .method import ScheduledMethod
from .problem import MatrixProblem
from .solution import MatrixSolution

if TYPE_CHECKING:
    from ...backends import Backend
    from ...precision import Precision
    from ...precision.formats import BlockFormat, Format

__all__ = ["MatrixCommon", "matrix_function", "solve_matrix"]

F = TypeVar("F", bound=Callable[..., Any])


class MatrixCommon(TypedDict, total=False):
    """What every matrix function takes by keyword; ``resolvent.polar`` documents it."""

    rtol: float
    maxiter: int | None
    callback: Callable[[Progress], Any] | None
    progress: bool
    time_limit: float | None
    backend: str | Backend | None
    precision: str | Format | BlockFormat | Precision | None


def matrix_function(function: F) -> F:
    """The function with its full signature, which refuses other names."""
    return cast(F, with_signature(function))


def solve_matrix(
    method: ScheduledMethod[Any],
    problem: Callable[..., MatrixProblem],
    *data: Any,
    backend: Any = None,
    precision: Any = None,
    side: Any = None,
    **limits: Any,
) -> MatrixSolution[Any]:
    """Iterate, and warn when the tolerance was not reached."""
    options = Options(**limits)
    method.check()
    more = {} if side is None else {"side": side}
    with np.errstate(all="ignore"):  # overflow and NaN are looked for, and reported in words
        solution = iterate(problem(*data, backend=backend, precision=precision, **more), method, options)
    if not solution.converged:
        TELL.get(warn_of)(solution)
    return cast("MatrixSolution[Any]", solution)
