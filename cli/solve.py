"""``resolvent solve``: a system from files, by any method; in the least-squares sense where A is rectangular."""

from __future__ import annotations

import argparse
from typing import Any

from .system import (
    add_outcome,
    add_parameters,
    add_precision,
    add_system,
    parameters_of,
    precision_of,
    preconditioned,
    solved,
)

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "solve A x = b from files, by least squares where A is rectangular; exit status 0 only when converged"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the command."""
    from .. import METHODS
    from ..solvers.least_squares.lstsq import METHODS as LEAST_SQUARES

    add = parser.add_argument
    add_system(parser)
    names = [*METHODS, *LEAST_SQUARES]
    said = f"auto, {', '.join(METHODS)}; of least squares {', '.join(LEAST_SQUARES)}"
    add("--method", default="auto", choices=["auto", *names], metavar="NAME", help=said)
    add_parameters(parser)
    add("--damp", type=float, help="least squares of ||b - A x||^2 + damp^2 ||x||^2")
    tolerance = "stop at ||b - A x|| <= max(rtol ||b||, atol); of least squares both tolerances; %(default)s by default"
    add("--rtol", type=float, default=1e-5, help=tolerance)
    add("--maxiter", type=int, help="10 n by default, at least 1000")
    add("--precision", metavar="FORMAT", help="format to iterate in, emulated: see resolvent formats")
    add_precision(parser)
    add_outcome(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    from .. import lstsq, solve

    def run(A: Any, b: Any, options: dict[str, Any]) -> Any:
        options |= {"method": arguments.method, "maxiter": arguments.maxiter, "precision": precision_of(arguments)}
        if _is_least_squares(arguments, A.shape):
            own = _least_squares_options(arguments, options)
            return lstsq(A, b, **options, **own)
        return solve(A, b, **options, **preconditioned(arguments, A))

    return solved(arguments, run)


def _is_least_squares(arguments: argparse.Namespace, shape: tuple[int, int]) -> bool:
    """A is rectangular or damped, or a method of least squares is named; one for square matrices must have one."""
    from .. import METHODS
    from ..errors import InputError
    from ..operators import check_square

    if arguments.method in METHODS:
        check_square(shape)
        if arguments.damp is not None:
            raise InputError(f"--damp: {arguments.method} solves A x = b; name a method of least squares, or none")
        return False
    return shape[0] != shape[1] or arguments.damp is not None or arguments.method != "auto"


def _least_squares_options(arguments: argparse.Namespace, options: dict[str, Any]) -> dict[str, Any]:
    """Those of ``lstsq``, whose tolerances are relative alone."""
    from ..errors import InputError

    for name in parameters_of(arguments):
        raise InputError(f"--{name}: the methods of least squares have no such parameter")
    if arguments.preconditioner not in ("none", "jacobi"):
        raise InputError(
            f"--preconditioner: found {arguments.preconditioner!r}; wanted none or jacobi, which divides the columns "
            "by their norms, for least squares"
        )
    tolerance = options.pop("rtol")
    if options.pop("atol"):
        raise InputError("--atol: least squares have relative tolerances alone, which --rtol sets")
    M = None if arguments.preconditioner == "none" else arguments.preconditioner
    return {"atol": tolerance, "btol": tolerance, "damp": arguments.damp or 0.0, "M": M}
