"""What the commands that solve have in common: a system and its parameters from arguments, a report, files written."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .console import CONVERGED, NOT_CONVERGED, complain

__all__ = [
    "FIELDS",
    "LEAST_SQUARES_FIELDS",
    "add_outcome",
    "add_parameters",
    "add_precision",
    "add_system",
    "check_targets",
    "delivered",
    "ones",
    "parameters_of",
    "plain",
    "precision_of",
    "preconditioned",
    "read_system",
    "solved",
    "write_json",
]

# What the JSON report holds of a Solution, besides its status and reason.
FIELDS = (
    "iterations",
    "matvecs",
    "seconds",
    "tolerance",
    "relative_residual",
    "residual_norm",
    "backward_error",
    "unit_roundoff",
    "attainable_residual",
    "attainable_error",
    "error_bound",
    "error_estimate",
    "condition",
    "spectrum",
    "predicted_iterations",
    "method",
    "backend",
    "precision",
    "preconditioned",
    "residual_iterations",
    "residual_norms",
)
# And what of a LeastSquaresSolution.
LEAST_SQUARES_FIELDS = ("consistent", "rank", "normr", "normar", "norma", "normx", "normb", "damp")


def add_system(parser: argparse.ArgumentParser) -> None:
    """The files of A and b."""
    kinds = "Matrix Market (plain, .gz or .bz2), .npz or .npy"
    parser.add_argument("A", help=f"matrix: {kinds}; - reads standard input")
    parser.add_argument("b", nargs="?", help=f"right-hand side: {kinds}; - reads standard input; ones by default")


def add_parameters(parser: argparse.ArgumentParser) -> None:
    """The preconditioner and the parameters of a method."""
    from ..solvers.preconditioners.given import PRECONDITIONERS

    add = parser.add_argument
    add("--preconditioner", default="none", choices=["none", *PRECONDITIONERS])
    add("--omega", type=float, help="relaxation factor, of the preconditioner if it takes one, else of the method")
    add("--interval", type=float, nargs=2, metavar=("LOW", "HIGH"), help="spectrum, for chebyshev")
    add("--accelerate", choices=["anderson", "auto"], help="Anderson acceleration of a relaxation")


def add_precision(parser: argparse.ArgumentParser) -> None:
    """How a format is rounded to."""
    from ..precision.policy import POLICIES
    from ..precision.rounding_rule import ROUNDINGS

    add = parser.add_argument
    add("--policy", choices=list(POLICIES), metavar="NAME", help=f"what is rounded: {', '.join(POLICIES)}")
    add("--rounding", choices=ROUNDINGS, metavar="NAME", help=f"how: {', '.join(ROUNDINGS)}")
    add("--seed", type=int, help="of stochastic rounding; 0 by default")


def add_outcome(parser: argparse.ArgumentParser) -> None:
    """Limits, and what is written."""
    from .. import BACKENDS

    add = parser.add_argument
    add("--atol", type=float, default=0.0)
    add("--time-limit", type=float, metavar="SECONDS")
    add("--backend", choices=list(BACKENDS), metavar="NAME", help=f"{', '.join(BACKENDS)}; numba by default")
    add("--plot", metavar="FILE.png", help="draw the residual by iteration; the data lie beside it as .csv")
    add("--output", metavar="FILE", help="write x: .mtx, .mtx.gz or .npy; - for standard output, as .mtx")
    add("--json", metavar="FILE", help="write everything but x as JSON; - for standard output")
    add("--quiet", action="store_true", help="no report, which goes to standard error where - takes standard output")


def precision_of(arguments: argparse.Namespace) -> Any:
    """What --precision and its kin ask for; None where they are absent."""
    from ..errors import InputError
    from ..precision import Precision
    from ..precision.formats import format_named

    asked = {name: getattr(arguments, name) for name in ("policy", "rounding", "seed")}
    asked = {name: value for name, value in asked.items() if value is not None}
    if arguments.precision is None:
        if asked:
            raise InputError(f"--{next(iter(asked))}: says how to round; name a format with --precision")
        return None
    return Precision(format_named(arguments.precision, "--precision"), **asked)


def read_system(arguments: argparse.Namespace) -> tuple[Any, Any]:
    """A and b from their files; b is ones where none is named."""
    from ..errors import InputError
    from ..io.matrix_files import is_standard_input, read_matrix, read_vector

    if is_standard_input(arguments.A) and is_standard_input(arguments.b):
        raise InputError("b: found standard input, which is A's; wanted another file")
    A = read_matrix(arguments.A)
    return A, ones(A) if arguments.b is None else read_vector(arguments.b, A.shape[0])


def solved(arguments: argparse.Namespace, run: Callable[[Any, Any, dict[str, Any]], Any]) -> int:
    """Read A and b, solve, report and write: what the commands that solve linear systems have in common.

    ``run`` is called with A, b and the options that all of them have.
    """

    def read() -> tuple[int, Callable[[dict[str, Any]], Any]]:
        A, b = read_system(arguments)

        def solve(options: dict[str, Any]) -> Any:
            return run(A, b, options)

        return b.nbytes // max(b.shape[0], 1) * A.shape[1], solve

    named = {"matrix": arguments.A, "rhs": arguments.b}
    return delivered(arguments, {"A": arguments.A, "b": arguments.b}, named, read, "x of A x = b")


def delivered(
    arguments: argparse.Namespace,
    sources: dict[str, str | None],
    named: dict[str, str | None],
    read: Callable[[], tuple[int, Callable[[dict[str, Any]], Any]]],
    comment: str,
) -> int:
    """Check the outputs, read, solve, report and write; returns the exit status.

    Parameters
    ----------
    arguments : Namespace
        With those of ``add_outcome`` and rtol.
    sources : dict
        Input files, which no output may replace.
    named : dict
        What the JSON report says was given.
    read : callable
        Reads the input; returns the bytes of a solution, and what solves with the common options.
    comment : str
        In the header of a solution in Matrix Market.
    """
    from importlib.util import find_spec

    import numpy as np

    from ..errors import ConvergenceWarning, InputError
    from ..io.matrix_files import write_vector, written_kind
    from ..io.safe_writing import check_room
    from ..solvers.driver.solution import Status

    if arguments.plot:
        if not arguments.plot.lower().endswith((".png", ".pdf", ".svg")):
            raise InputError(f"--plot: found {arguments.plot!r}; wanted a name that ends in .png, .pdf or .svg")
        if find_spec("matplotlib") is None:
            raise InputError("--plot: needs matplotlib: pip install 'resolvent[plot]'")
    if arguments.output:
        written_kind(arguments.output, "vector")
    drawn = arguments.plot and str(Path(arguments.plot).with_suffix(".csv"))
    targets = {"--plot": arguments.plot, "--plot (.csv)": drawn, "--output": arguments.output, "--json": arguments.json}
    report = check_targets(targets, sources)
    size, solve = read()
    if arguments.output:
        check_room(arguments.output, size)
    with warnings.catch_warnings():
        # The report says the same, and more.
        warnings.simplefilter("ignore", ConvergenceWarning)
        options = {name: getattr(arguments, name) for name in ("rtol", "atol", "time_limit", "backend")}
        solution = solve({"progress": not arguments.quiet and sys.stderr.isatty(), **options})
    # A system that nothing fits was not iterated; a map that seems to have no fixed point was, and there is a report.
    infeasible = solution.overall_status is Status.INFEASIBLE and not np.any(solution.iterations)
    if not (arguments.quiet or infeasible):
        print(solution, file=report)
    written = []
    if arguments.output and not infeasible:
        write_vector(arguments.output, solution.x, comment=comment)
        written.append(arguments.output)
    if arguments.json:
        write_json(arguments.json, named, _fields(solution))
        written.append(arguments.json)
    if arguments.plot and not infeasible:
        solution.plot(file=arguments.plot)
        written += [arguments.plot, drawn]
    if written and not arguments.quiet:
        print(f"\n  wrote {', '.join(written)}", file=report)
    if infeasible:
        return complain(solution.reason)
    return CONVERGED if solution.converged else NOT_CONVERGED


def check_targets(targets: dict[str, str | None], sources: dict[str, str | None]) -> Any:
    """Find out before the work whether files can be written; the stream for the report, which - of one displaces."""
    from ..io.safe_writing import check_distinct, check_writable, is_standard_output

    check_distinct(targets, sources)
    for path in targets.values():
        if path is not None:
            check_writable(path)
    return sys.stderr if any(map(is_standard_output, targets.values())) else sys.stdout


def ones(A: Any) -> Any:
    """The right-hand side where none is given."""
    import numpy as np

    return np.ones(A.shape[0], dtype=np.result_type(A.dtype, np.float32))


def parameters_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Those that were given of methods and preconditioners."""
    interval = None if arguments.interval is None else tuple(arguments.interval)
    named = {"omega": arguments.omega, "interval": interval, "accelerate": arguments.accelerate}
    return {name: value for name, value in named.items() if value is not None}


def preconditioned(arguments: argparse.Namespace, A: Any) -> dict[str, Any]:
    """M, and the parameters of the method; omega and interval go to whichever of the two takes them."""
    from .. import METHODS
    from ..errors import InputError
    from ..operators import check_square
    from ..solvers.driver.method import named_parameters
    from ..solvers.preconditioners.given import PRECONDITIONERS

    check_square(A.shape)
    given = parameters_of(arguments)
    omega, interval = given.get("omega"), given.get("interval")
    if interval is not None and not 0 < interval[0] <= interval[1] < float("inf"):
        raise InputError(f"--interval: found {interval[0]:g} {interval[1]:g}; wanted 0 < LOW <= HIGH")
    if omega is not None and not 0 < omega < float("inf"):
        raise InputError(f"--omega: found {omega:g}; wanted a positive finite number")
    if arguments.preconditioner not in PRECONDITIONERS:
        return given
    kind = PRECONDITIONERS[arguments.preconditioner]
    takes, method = kind.takes, METHODS.get(arguments.method)
    # An interval is that of M A, which the method works with, if the method takes one.
    if takes == "interval" and method is not None and takes in named_parameters(method):
        takes = ""
    own = {takes: given.pop(takes)} if takes in given else {}
    return {"M": kind.made(A, arguments.backend, **own), **given}


def write_json(path: str, named: dict[str, str | None], fields: dict[str, Any]) -> None:
    """What was given, and what came of it."""
    import json

    from .. import __version__
    from ..io.safe_writing import writing

    document = {"resolvent": __version__, **named, **fields}
    text = json.dumps(document, indent=1, allow_nan=False)
    with writing(path) as stream:
        stream.write(f"{text}\n".encode())


def _fields(solution: Any) -> dict[str, Any]:
    """Everything of a Solution but x, as JSON knows it."""
    from ..solvers.least_squares.solution import LeastSquaresSolution

    found: dict[str, Any] = {
        "status": solution.overall_status.name,
        "converged": solution.converged,
        "reason": solution.reason,
        "shape": list(solution.x.shape),
    }
    own = LEAST_SQUARES_FIELDS if isinstance(solution, LeastSquaresSolution) else ()
    found |= {name: plain(getattr(solution, name)) for name in (*FIELDS, *own)}
    if solution.systems:
        found["systems"] = [_fields(system) for system in solution.systems]
    return found


def plain(value: Any) -> Any:
    """Arrays as lists, and what JSON has no number for: NaN as null, infinities as strings."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, float) and abs(value) == float("inf"):
        return "Infinity" if value > 0 else "-Infinity"
    return value
