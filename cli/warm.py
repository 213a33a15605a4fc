"""``resolvent warm``: compile ahead of time."""

from __future__ import annotations

import argparse

from .console import CONVERGED

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "compile what solves call, once, so that the first one need not wait"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the command."""
    parser.add_argument("--storage", nargs="+", default=["csr", "dense"], help="csr, dense, diagonals, stencil; or all")
    parser.add_argument(
        "--dtype", nargs="+", default=["float64"], help="float64, float32, complex128, complex64; or all"
    )
    parser.add_argument("--method", nargs="+", default=["auto"], help="auto, names of methods, or all")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    from ..solvers.warm import warm

    given = [names[0] if len(names) == 1 else names for names in (arguments.storage, arguments.dtype, arguments.method)]
    print(warm(*given, progress=not arguments.quiet))
    return CONVERGED
