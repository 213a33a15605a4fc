"""The method table, which everything reads that lists methods: solve, the command line, the docs, the tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from ..errors import InputError
from ..lazy import Rows
from .driver.method import named_parameters
from .linear.method import LinearMethod
from .relaxation.method import Relaxation

__all__ = ["CHOSEN", "METHODS", "MethodName", "method_named", "method_of", "parameters_of"]

MethodName = Literal["cg", "ssor_cg", "chebyshev", "richardson", "jacobi", "gauss_seidel", "sor", "ssor"]

METHODS: Mapping[MethodName, type[LinearMethod[Any]]] = Rows(
    __package__,
    {
        "cg": "krylov.cg:CG",
        "ssor_cg": "krylov.ssor_cg:SSORCG",
        "chebyshev": "chebyshev.chebyshev:Chebyshev",
        "richardson": "relaxation.richardson:Richardson",
        "jacobi": "relaxation.jacobi:Jacobi",
        "gauss_seidel": "relaxation.sor:GaussSeidel",
        "sor": "relaxation.sor:SOR",
        "ssor": "relaxation.sor:SSOR",
    },
)
# Those that may recommend themselves to rv.solve, which loads no others.
CHOSEN: tuple[MethodName, ...] = ("cg", "jacobi", "gauss_seidel")


def method_named(name: str, parameters: Mapping[str, Any]) -> LinearMethod[Any]:
    """A method of the table with its parameters; errors name what is unknown."""
    kind = METHODS.get(cast("MethodName", name))
    if kind is None:
        raise InputError(f"method: found {name!r}; wanted auto, {', '.join(METHODS)}")
    return method_of(kind, parameters)


def method_of(kind: type[LinearMethod[Any]], parameters: Mapping[str, Any]) -> LinearMethod[Any]:
    """A method of a class with its parameters; errors name what is unknown."""
    known = parameters_of(kind)
    for given in parameters:
        if given not in known:
            raise InputError(f"{given}: {kind.name} has no such parameter; it has {', '.join(known) or 'none'}")
    if not issubclass(kind, Relaxation):
        return kind(**parameters)
    own = dict(parameters)
    accelerate = own.pop("accelerate", None)
    return kind(**own).accelerated(accelerate)


def parameters_of(kind: type[LinearMethod[Any]]) -> tuple[str, ...]:
    """The names of what may be given with a method: its own parameters, and how relaxations are accelerated."""
    return (*named_parameters(kind), *(("accelerate",) if issubclass(kind, Relaxation) else ()))
