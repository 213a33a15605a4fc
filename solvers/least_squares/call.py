"""The call of a least-squares solver: what all of them take, declared once, with the types that a caller sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from ..driver.progress import Progress
from ..linear.call import Array, Nested, with_signature

if TYPE_CHECKING:
    from ...backends import Backend
    from ...precision import Precision
    from ...precision.formats import BlockFormat, Format

__all__ = ["LeastSquaresOptions", "least_squares_solver"]


class LeastSquaresOptions(TypedDict, total=False):
    """What every least-squares solver takes by keyword; ``resolvent.lsmr`` documents it."""

    damp: float
    atol: float
    btol: float
    maxiter: int | None
    x0: Array | Nested | None
    M: Any
    callback: Callable[[Progress], Any] | None
    progress: bool
    time_limit: float | None
    backend: str | Backend | None
    precision: str | Format | BlockFormat | Precision | None
    errors: Literal["raise", "collect"]


DEFAULTS: dict[str, Any] = {
    "damp": 0.0,
    "atol": 1e-6,
    "btol": 1e-6,
    "maxiter": None,
    "x0": None,
    "M": None,
    "callback": None,
    "progress": False,
    "time_limit": None,
    "backend": None,
    "precision": None,
    "errors": "raise",
}


def least_squares_solver(function: Callable[..., Any]) -> Any:
    """The solver with its full signature, which refuses other names."""
    return with_signature(function, DEFAULTS)
