"""``resolvent refine``: a system from files, in double precision from a lower one."""

from __future__ import annotations

import argparse
from typing import Any

from .system import add_outcome, add_parameters, add_precision, add_system, precision_of, preconditioned, solved

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "solve A x = b in float64 by corrections solved in a low precision"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the command."""
    from .. import METHODS

    add = parser.add_argument
    add_system(parser)
    add("--precision", metavar="FORMAT", default="bf16", help="format of the corrections; %(default)s by default")
    add_precision(parser)
    add("--no-escalate", action="store_true", help="end, rather than go on in a wider format, where this one fails")
    add("--residual", choices=["fp64", "fp128"], default="fp64", help="for b - A x; %(default)s by default")
    methods = list(METHODS)
    add("--method", default="cg", choices=methods, metavar="NAME", help="of the corrections; %(default)s by default")
    add_parameters(parser)
    add("--rtol", type=float, default=0.0, help="stop as well at ||b - A x|| <= max(rtol ||b||, atol)")
    add("--maxiter", type=int, default=100, help="corrections at most; %(default)s by default")
    add_outcome(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    from .. import refine

    def run(A: Any, b: Any, options: dict[str, Any]) -> Any:
        return refine(
            A,
            b,
            inner=arguments.method,
            inner_precision=precision_of(arguments),
            residual=arguments.residual,
            escalate=not arguments.no_escalate,
            maxiter=arguments.maxiter,
            **options,
            **preconditioned(arguments, A),
        )

    return solved(arguments, run)
