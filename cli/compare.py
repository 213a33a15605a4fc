"""``resolvent compare``: methods and preconditioners on a system from files."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from .console import CONVERGED, NOT_CONVERGED
from .system import add_system, check_targets, plain, read_system, write_json

if TYPE_CHECKING:
    from ..solvers.compare import Comparison, Trial

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "compare methods and preconditioners on A x = b from files, and say which to use"
FIELDS = ("method", "preconditioner", "iterations", "matvecs", "seconds", "memory", "relative_residual", "tolerance")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the command."""
    from .. import BACKENDS

    add = parser.add_argument
    add_system(parser)
    add("--method", nargs="+", metavar="NAME", help="those to compare; all that suit A by default")
    add("--preconditioner", nargs="+", metavar="NAME", help="none, jacobi, ssor, chebyshev, neumann; all by default")
    add("--rtol", type=float, default=1e-5, help="stop at ||b - A x|| <= max(rtol ||b||, atol); %(default)s by default")
    add("--atol", type=float, default=0.0)
    add("--maxiter", type=int, help="10 n by default, at least 1000")
    add("--time-limit", type=float, default=10.0, metavar="SECONDS", help="for each; %(default)s by default")
    add("--backend", choices=list(BACKENDS), metavar="NAME", help=f"{', '.join(BACKENDS)}; numba by default")
    add("--json", metavar="FILE", help="write all that was found as JSON; - for standard output")
    add("--quiet", action="store_true", help="no table, which goes to standard error where - takes standard output")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    from .. import compare

    report = check_targets({"--json": arguments.json}, {"A": arguments.A, "b": arguments.b})
    A, b = read_system(arguments)
    options = {name: getattr(arguments, name) for name in ("rtol", "atol", "maxiter", "time_limit", "backend")}
    progress = not arguments.quiet and sys.stderr.isatty()
    names = {"methods": arguments.method, "preconditioners": arguments.preconditioner}
    found = compare(A, b, **names, progress=progress, **options)
    if not arguments.quiet:
        print(found, file=report)
        if found.best:
            print(f"\n  {_command(arguments, found.best)}", file=report)
    if arguments.json:
        write_json(arguments.json, {"matrix": arguments.A, "rhs": arguments.b}, _fields(found))
    return CONVERGED if found.best and not found.interrupted else NOT_CONVERGED


def _command(arguments: argparse.Namespace, best: Trial) -> str:
    """The one that solves as the best did."""
    files = " ".join(name for name in (arguments.A, arguments.b) if name is not None)
    made = "" if best.preconditioner == "none" else f" --preconditioner {best.preconditioner}"
    return f"resolvent solve {files} --method {best.method}{made} --rtol {arguments.rtol:g}"


def _fields(found: Comparison) -> dict[str, Any]:
    """A comparison as JSON knows it."""
    rows = [
        {name: plain(getattr(row, name)) for name in FIELDS}
        | {"status": row.status and row.status.name, "reason": row.reason}
        for row in found.rows
    ]
    return {
        "shape": list(found.shape),
        "backend": found.backend,
        "interrupted": found.interrupted,
        "best": None if found.best is None else found.rows.index(found.best),
        "reason": found.reason,
        "rows": rows,
    }
