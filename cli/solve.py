"""``resolvent solve``: a system from files, by any method."""

from __future__ import annotations

import argparse
from typing import Any

from .system import add_outcome, add_parameters, add_precision, add_system, precision_of, solved

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "solve A x = b from files; exit status 0 only when converged"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the command."""
    from .. import METHODS

    add = parser.add_argument
    add_system(parser)
    add("--method", default="auto", choices=["auto", *METHODS], metavar="NAME", help=f"auto, {', '.join(METHODS)}")
    add_parameters(parser)
    add("--rtol", type=float, default=1e-5, help="stop at ||b - A x|| <= max(rtol ||b||, atol); %(default)s by default")
    add("--maxiter", type=int, help="10 n by default, at least 1000")
    add("--precision", metavar="FORMAT", help="format to iterate in, emulated: see resolvent formats")
    add_precision(parser)
    add_outcome(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    from .. import solve

    def run(A: Any, b: Any, parameters: dict[str, Any]) -> Any:
        precision = precision_of(arguments)
        return solve(A, b, method=arguments.method, precision=precision, maxiter=arguments.maxiter, **parameters)

    return solved(arguments, run)
