"""The call of a solver: what all of them take, declared once, with the types that a caller sees."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    ParamSpec,
    Protocol,
    TypedDict,
    TypeVar,
    Unpack,
    get_args,
    get_origin,
    overload,
)

import numpy as np
from numpy.typing import NDArray

from ...naming import refusing_other_names
from ..driver.progress import Progress
from ..driver.solution import Solution

if TYPE_CHECKING:
    from ...backends import Backend
    from ...precision import Precision
    from ...precision.formats import BlockFormat, Format

__all__ = ["Array", "Common", "Nested", "Preconditioned", "SolverFunction", "solver", "with_signature"]


class Array(Protocol):
    """An array of NumPy, PyTorch, CuPy or any library that follows the array API standard."""

    @property
    def shape(self) -> Any:
        """Lengths of the axes."""

    @property
    def dtype(self) -> Any:
        """Type of the entries."""


class SupportsArray(Protocol):
    """What NumPy makes an array of."""

    def __array__(self) -> Any:
        """The array."""


V = TypeVar("V", bound=Array)
P = ParamSpec("P")

# Numbers in lists, which become NumPy arrays.
Nested = Sequence[complex] | Sequence[Sequence[complex]] | Sequence[Sequence[Sequence[complex]]]

# What A may be: what has a shape and a type, products included, or becomes an array.
Matrix = Array | SupportsArray | Nested


class Common(TypedDict, total=False):
    """What every solver takes by keyword; ``resolvent.cg`` documents it, and defaults are those of ``DEFAULTS``."""

    x0: Array | Nested | None
    rtol: float
    atol: float
    maxiter: int | None
    callback: Callable[[Progress], Any] | None
    progress: bool
    time_limit: float | None
    backend: str | Backend | None
    precision: str | Format | BlockFormat | Precision | None
    errors: Literal["raise", "collect"]


class Preconditioned(Common, total=False):
    """The same with a preconditioner: a name, a matrix, an operator, a callable, or one of ``rv.precondition``."""

    M: Any


DEFAULTS: dict[str, Any] = {
    "x0": None,
    "M": None,
    "rtol": 1e-5,
    "atol": 0.0,
    "maxiter": None,
    "callback": None,
    "progress": False,
    "time_limit": None,
    "backend": None,
    "precision": None,
    "errors": "raise",
}


class SolverFunction(Protocol[P]):
    """A function that solves A x = b: x is of b's kind, a NumPy array for a list, float64 for integers."""

    __name__: str

    @overload
    def __call__(
        self, A: Matrix, b: NDArray[np.integer | np.bool], *args: P.args, **kwargs: P.kwargs
    ) -> Solution[NDArray[np.float64]]: ...

    @overload
    def __call__(self, A: Matrix, b: V, *args: P.args, **kwargs: P.kwargs) -> Solution[V]: ...

    @overload
    def __call__(self, A: Matrix, b: Nested, *args: P.args, **kwargs: P.kwargs) -> Solution[np.ndarray]: ...


def solver(function: Callable[Concatenate[Any, Any, P], Solution[Any]]) -> SolverFunction[P]:
    """The solver with its types; one that ends in ``**common`` with its full signature, which refuses other names."""
    return with_signature(function)


def with_signature(
    function: Callable[..., Solution[Any]],
    defaults: Mapping[str, Any] = DEFAULTS,
) -> Any:
    """A function that ends in ``**common`` with its full signature; any function with other names refused.

    Which of the common parameters it takes, the annotation says: ``Unpack[Common]`` or ``Unpack[Preconditioned]``.
    """
    signature = inspect.signature(function)
    *own, rest = signature.parameters.values()
    if rest.kind is not inspect.Parameter.VAR_KEYWORD:
        return refusing_other_names(function)
    kind = eval(rest.annotation, function.__globals__)  # this one alone: the others name what need not be loaded
    if get_origin(kind) is not Unpack:
        return refusing_other_names(function)
    annotations = _annotations(get_args(kind)[0])
    common = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotations[name])
        for name, default in defaults.items()
        if name in annotations
    ]
    call = refusing_other_names(function, [one.name for one in [*own, *common]])
    call.__signature__ = signature.replace(parameters=[*own, *common])  # type: ignore[attr-defined]
    return call


def _annotations(kind: Any) -> dict[str, str]:
    """The types of the parameters as they are written."""
    return {name: getattr(known, "__forward_arg__", known) for name, known in kind.__annotations__.items()}
