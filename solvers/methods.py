"""The method table, which everything reads that lists methods: solve, the command line, the docs, the tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast

from ..lazy import Rows
from ..naming import choice, named_in, parameter_of_a_method, parameter_of_another
from .driver.method import named_parameters
from .linear.call import DEFAULTS
from .linear.method import LinearMethod
from .relaxation.method import Relaxation

__all__ = ["METHODS", "RECYCLING", "STAGES", "MethodName", "is_auto", "method_named", "method_of", "parameters_of"]

MethodName = Literal[
    "cg", "ssor_cg", "minres", "gmres", "bicgstab", "idrs",
    "chebyshev", "richardson", "jacobi", "gauss_seidel", "sor", "ssor",
]  # fmt: skip

PLACES: Mapping[MethodName, str] = {
    "cg": "krylov.cg:CG",
    "ssor_cg": "krylov.ssor_cg:SSORCG",
    "minres": "krylov.minres:MINRES",
    "gmres": "krylov.gmres:GMRES",
    "bicgstab": "krylov.bicgstab:BiCGSTAB",
    "idrs": "krylov.idrs:IDRs",
    "chebyshev": "chebyshev.chebyshev:Chebyshev",
    "richardson": "relaxation.richardson:Richardson",
    "jacobi": "relaxation.jacobi:Jacobi",
    "gauss_seidel": "relaxation.sor:GaussSeidel",
    "sor": "relaxation.sor:SOR",
    "ssor": "relaxation.sor:SSOR",
}
METHODS: Mapping[MethodName, type[LinearMethod[Any]]] = Rows(__package__, PLACES)
# The same methods with a space that is kept from one system to the next.
RECYCLING: Mapping[str, type[LinearMethod[Any]]] = Rows(
    __package__,
    {
        "cg": "krylov.deflated_cg:DeflatedCG",
        "minres": "krylov.rminres:RMINRES",
        "gmres": "krylov.gcrodr:GCRODR",
    },
)
# Those that may recommend themselves to rv.solve, by stages: the next is loaded when one has failed.
STAGES: tuple[Mapping[str, type[LinearMethod[Any]]], ...] = tuple(
    Rows(__package__, stage)
    for stage in (
        {name: PLACES[name] for name in ("cg", "jacobi", "gauss_seidel")} | {"lu": "linear.direct:BandLU"},
        {"lu": "linear.direct:LU"} | {name: PLACES[name] for name in ("minres", "bicgstab", "gmres")},
        {"lu": "linear.direct:LastResort", "lstsq": "linear.shortest:ShortestSolution"},
    )
)

# What is taken beside the parameters of a method.
COMMON = ("method", *DEFAULTS)


def method_named(name: str, parameters: Mapping[str, Any]) -> LinearMethod[Any]:
    """A method of the table with its parameters; errors name what is unknown."""
    return method_of(METHODS[cast("MethodName", choice("method", name, ("auto", *METHODS)))], parameters)


def is_auto(method: Any, parameters: Mapping[str, Any]) -> bool:
    """Whether the entries of A are to choose the method, for which there are no parameters."""
    if method is not None and named_in(method, ("auto",)) is None:
        return False
    if parameters:
        known = {name for kind in METHODS.values() for name in parameters_of(kind)}
        raise parameter_of_a_method(next(iter(parameters)), known, COMMON)
    return True


def method_of(
    kind: type[LinearMethod[Any]], parameters: Mapping[str, Any], common: Iterable[str] = COMMON
) -> LinearMethod[Any]:
    """A method of a class with its parameters; errors name what is unknown, ``common`` being what all methods take."""
    known = parameters_of(kind)
    for given in parameters:
        if given not in known:
            raise parameter_of_another(kind.name, given, known, common)
    if not issubclass(kind, Relaxation):
        return kind(**parameters)
    own = dict(parameters)
    accelerate = own.pop("accelerate", None)
    return kind(**own).accelerated(accelerate)


def parameters_of(kind: type[LinearMethod[Any]]) -> tuple[str, ...]:
    """The names of what may be given with a method: its own parameters, and how relaxations are accelerated."""
    return (*named_parameters(kind), *(("accelerate",) if issubclass(kind, Relaxation) else ()))
