"""The call of a solver of fixed points: what all of them take, declared once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, Protocol, TypedDict, TypeVar

from ..driver.progress import Progress
from ..driver.solution import Solution
from ..linear.call import DEFAULTS as LINEAR
from ..linear.call import with_signature

if TYPE_CHECKING:
    from ...backends import Backend
    from ...precision import Precision
    from ...precision.formats import BlockFormat, Format

__all__ = ["V", "FixedPointBatched", "FixedPointCommon", "FixedPointFunction", "fixed_point_solver"]

V = TypeVar("V")
P = ParamSpec("P")


class FixedPointCommon(TypedDict, total=False):
    """What every solver of fixed points takes by keyword; ``resolvent.fixed_point`` documents it."""

    rtol: float
    atol: float
    maxiter: int | None
    callback: Callable[[Progress], Any] | None
    progress: bool
    time_limit: float | None
    backend: str | Backend | None
    precision: str | Format | BlockFormat | Precision | None


class FixedPointBatched(FixedPointCommon, total=False):
    """The same of solvers that take batches."""

    batch_ndim: int
    errors: Literal["raise", "collect"]


DEFAULTS = {**LINEAR, "batch_ndim": 0}


class FixedPointFunction(Protocol[P]):
    """A function that finds x = g(x): the solution is in the structure of x0."""

    __name__: str

    def __call__(self, g: Callable[[Any], Any], x0: V, *args: P.args, **kwargs: P.kwargs) -> Solution[V]:
        """The solution."""


def fixed_point_solver(function: Callable[Concatenate[Any, Any, P], Solution[Any]]) -> FixedPointFunction[P]:
    """The solver with its types and its full signature, which refuses other names."""
    return with_signature(function, DEFAULTS)
