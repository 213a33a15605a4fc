"""The method table, which everything reads that lists methods: solve, the command line, the docs, the tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from .chebyshev.chebyshev import Chebyshev
from .driver.method import named_parameters
from .krylov.bicgstab import BiCGSTAB
from .krylov.cg import CG
from .krylov.gmres import GMRES
from .krylov.idrs import IDRs
from .krylov.minres import MINRES
from .krylov.ssor_cg import SSORCG
from .linear.method import LinearMethod
from .relaxation.accelerated import Relaxation, accelerated
from .relaxation.jacobi import Jacobi
from .relaxation.richardson import Richardson
from .relaxation.sor import SOR, SSOR, GaussSeidel

__all__ = ["METHODS", "method_named", "method_of", "parameters_of"]

METHODS: dict[str, type[LinearMethod[Any]]] = {
    cls.name: cls
    for cls in (CG, SSORCG, MINRES, GMRES, BiCGSTAB, IDRs, Chebyshev, Richardson, Jacobi, GaussSeidel, SOR, SSOR)
}


def method_named(name: str, parameters: Mapping[str, Any]) -> LinearMethod[Any]:
    """A method of the table with its parameters; errors name what is unknown."""
    if name not in METHODS:
        raise InputError(f"method: found {name!r}; wanted auto, {', '.join(METHODS)}")
    return method_of(METHODS[name], parameters)


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
    return accelerated(kind(**own), accelerate)


def parameters_of(kind: type[LinearMethod[Any]]) -> tuple[str, ...]:
    """The names of what may be given with a method: its own parameters, and how relaxations are accelerated."""
    return (*named_parameters(kind), *(("accelerate",) if issubclass(kind, Relaxation) else ()))
