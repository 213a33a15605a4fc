"""The command line: ``resolvent solve A.mtx b.mtx``, also as ``python -m resolvent``.

What a command needs is imported inside it, so that help and errors come at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["main"]

CONVERGED, NOT_CONVERGED, BAD_INPUT, KILLED = 0, 1, 2, 130

# What a method is for, in a few words; one without a line here is described by the summary of its class.
PURPOSE = {
    "cg": "positive definite A: the first choice, best with a preconditioner",
    "chebyshev": "the same, where reductions are dear or the count must be known",
    "richardson": "A close to a multiple of the identity, or M close to the inverse",
    "jacobi": "diagonally dominant A, every row at once; smoothing",
    "gauss_seidel": "diagonally dominant or positive definite A; exact for triangular A",
    "sor": "positive definite A, with the relaxation factor chosen",
    "ssor": "the same, symmetric: also a preconditioner",
    "ssor_cg": "positive definite A: few iterations, once omega is known",
}

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


class _Parser(argparse.ArgumentParser):
    """With errors of one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: {message} (--help lists what there is)\n")


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : list of str, optional
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    int
        0 when the command succeeded (of ``solve``: converged), 1 when a solve did not converge, 2 for input that
        cannot be used and output that cannot be written, 130 after Ctrl-C outside a solve.

    Examples
    --------
    >>> main(["solve", "nowhere.mtx", "--quiet"])
    2
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal without Greek letters shows question marks rather than a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as done:
        return int(done.code or 0)
    try:
        return arguments.run(arguments)
    except KeyboardInterrupt:
        return _complain("interrupted", KILLED)
    except BrokenPipeError:
        # Whoever read the output has enough; the interpreter must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CONVERGED
    except MemoryError as error:
        return _complain(f"not enough memory: {error}")
    except (OSError, ValueError, TypeError, ImportError, ArithmeticError) as error:
        return _complain(error)


def _complain(what: Any, code: int = BAD_INPUT) -> int:
    """One line on stderr, whatever the message looked like."""
    if isinstance(what, OSError) and what.filename is not None:
        what = f"{what.filename}: {what.strerror}"
    print(f"resolvent: {' '.join(str(what).split()) or type(what).__name__}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    from . import METHODS, __version__

    parser = _Parser(prog="resolvent", description="Iterative solvers for linear systems.")
    parser.add_argument("--version", action="version", version=f"resolvent {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        added.set_defaults(run=run)
        return added

    solve = command("solve", _solve, "solve A x = b from files; exit status 0 only when converged")
    add = solve.add_argument
    _add_system(solve)
    add("--method", default="auto", choices=["auto", *METHODS], metavar="NAME", help=f"auto, {', '.join(METHODS)}")
    _add_parameters(solve)
    add("--rtol", type=float, default=1e-5, help="stop at ||b - A x|| <= max(rtol ||b||, atol); %(default)s by default")
    add("--maxiter", type=int, help="10 n by default, at least 1000")
    add("--precision", metavar="FORMAT", help="format to iterate in, emulated: see resolvent formats")
    _add_precision(solve)
    _add_outcome(solve)

    refine = command("refine", _refine, "solve A x = b in float64 by corrections solved in a low precision")
    add = refine.add_argument
    _add_system(refine)
    add("--precision", metavar="FORMAT", default="bf16", help="format of the corrections; %(default)s by default")
    _add_precision(refine)
    add("--no-escalate", action="store_true", help="end, rather than go on in a wider format, where this one fails")
    add(
        "--residual",
        choices=["fp64", "fp128"],
        default="fp64",
        help="for b - A x; %(default)s by default",
    )
    add(
        "--method",
        default="cg",
        choices=list(METHODS),
        metavar="NAME",
        help="of the corrections; %(default)s by default",
    )
    _add_parameters(refine)
    add("--rtol", type=float, default=0.0, help="stop as well at ||b - A x|| <= max(rtol ||b||, atol)")
    add("--maxiter", type=int, default=100, help="corrections at most; %(default)s by default")
    _add_outcome(refine)

    condition = command("condition", _condition, "extreme eigenvalues and the condition number of a matrix")
    condition.add_argument("A", help="matrix file, as for solve")
    condition.add_argument("--norm", type=int, choices=[1, 2], default=2, help="%(default)s by default")
    condition.add_argument("--steps", type=int, default=1000, help="Lanczos steps at most; %(default)s by default")

    advise = command("advise", _advise, "the cheapest precision in which A x = b can be solved to an accuracy")
    advise.add_argument("A", help="matrix file, as for solve")
    advise.add_argument("--accuracy", type=float, required=True, help="relative error that x may have, such as 1e-6")
    advise.add_argument("--condition", type=float, help="condition number; by default it is found out")

    command("formats", _formats, "table of the formats that can be emulated")

    command("methods", _methods, "table of the methods and what an iteration costs")

    gallery = command("gallery", _gallery, "make a test problem")
    gallery.add_argument("name", nargs="?", help="one of those that --list lists")
    gallery.add_argument("--size", type=int, nargs="+", metavar="N", help="order, or points along each axis of a grid")
    gallery.add_argument("--list", action="store_true", help="list the names")
    gallery.add_argument("--output", metavar="A.mtx", help="write the matrix: .mtx, .mtx.gz, .npz or .npy; - as .mtx")
    gallery.add_argument("--rhs", nargs="?", const="", metavar="FILE", help="write b; beside A as A_b.mtx by default")

    command("info", _info, "versions, backends and devices found here")
    return parser


def _add_system(parser: argparse.ArgumentParser) -> None:
    kinds = "Matrix Market (plain, .gz or .bz2), .npz or .npy"
    parser.add_argument("A", help=f"matrix: {kinds}; - reads standard input")
    parser.add_argument("b", nargs="?", help=f"right-hand side: {kinds}; - reads standard input; ones by default")


def _add_parameters(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--preconditioner", default="none", choices=["none", "jacobi", "ssor", "chebyshev", "neumann"])
    add("--omega", type=float, help="relaxation factor, of the preconditioner if it takes one, else of the method")
    add("--interval", type=float, nargs=2, metavar=("LOW", "HIGH"), help="spectrum, for chebyshev")


def _add_precision(parser: argparse.ArgumentParser) -> None:
    from .precision.policy import POLICIES
    from .precision.recipe import ROUNDINGS

    add = parser.add_argument
    add("--policy", choices=list(POLICIES), metavar="NAME", help=f"what is rounded: {', '.join(POLICIES)}")
    add("--rounding", choices=ROUNDINGS, metavar="NAME", help=f"how: {', '.join(ROUNDINGS)}")
    add("--seed", type=int, help="of stochastic rounding; 0 by default")


def _add_outcome(parser: argparse.ArgumentParser) -> None:
    from . import BACKENDS

    add = parser.add_argument
    add("--atol", type=float, default=0.0)
    add("--time-limit", type=float, metavar="SECONDS")
    add("--backend", choices=list(BACKENDS), metavar="NAME", help=f"{', '.join(BACKENDS)}; numba by default")
    add("--plot", metavar="FILE.png", help="draw the residual by iteration; the data lie beside it as .csv")
    add("--output", metavar="FILE", help="write x: .mtx, .mtx.gz or .npy; - for standard output, as .mtx")
    add("--json", metavar="FILE", help="write everything but x as JSON; - for standard output")
    add("--quiet", action="store_true", help="no report, which goes to standard error where - takes standard output")


# solve, refine


def _solve(arguments: argparse.Namespace) -> int:
    from . import solve

    def run(A: Any, b: Any, parameters: dict[str, Any]) -> Any:
        precision = _precision(arguments)
        return solve(A, b, method=arguments.method, precision=precision, maxiter=arguments.maxiter, **parameters)

    return _solved(arguments, run)


def _refine(arguments: argparse.Namespace) -> int:
    from . import refine

    def run(A: Any, b: Any, parameters: dict[str, Any]) -> Any:
        return refine(
            A,
            b,
            inner=arguments.method,
            inner_precision=_precision(arguments),
            residual=arguments.residual,
            escalate=not arguments.no_escalate,
            maxiter=arguments.maxiter,
            **parameters,
        )

    return _solved(arguments, run)


def _precision(arguments: argparse.Namespace) -> Any:
    """What --precision and its kin ask for; None where they are absent."""
    from .errors import InputError
    from .precision import Precision
    from .precision.formats import FORMATS

    asked = {name: getattr(arguments, name) for name in ("policy", "rounding", "seed")}
    asked = {name: value for name, value in asked.items() if value is not None}
    if arguments.precision is None:
        if asked:
            raise InputError(f"--{next(iter(asked))}: says how to round; name a format with --precision")
        return None
    if arguments.precision not in FORMATS:
        raise InputError(
            f"--precision: found {arguments.precision!r}; wanted one of the formats that resolvent formats lists"
        )
    return Precision(arguments.precision, **asked)


def _solved(arguments: argparse.Namespace, run: Callable[[Any, Any, dict[str, Any]], Any]) -> int:
    """Read A and b, solve, report and write: what the commands that solve have in common."""
    from importlib.util import find_spec

    from .errors import ConvergenceWarning, InputError
    from .io.matrix_files import is_standard_input, read_matrix, read_vector, write_vector, written_kind
    from .io.safe_writing import check_room
    from .solvers.driver.solution import Status

    if arguments.plot:
        if not arguments.plot.lower().endswith((".png", ".pdf", ".svg")):
            raise InputError(f"--plot: found {arguments.plot!r}; wanted a name that ends in .png, .pdf or .svg")
        if find_spec("matplotlib") is None:
            raise InputError("--plot: needs matplotlib: pip install 'resolvent[plot]'")
    if arguments.output:
        written_kind(arguments.output, "vector")
    drawn = arguments.plot and str(Path(arguments.plot).with_suffix(".csv"))
    targets = {"--plot": arguments.plot, "--plot (.csv)": drawn, "--output": arguments.output, "--json": arguments.json}
    report = _check_targets(targets, {"A": arguments.A, "b": arguments.b})
    if is_standard_input(arguments.A) and is_standard_input(arguments.b):
        raise InputError("b: found standard input, which is A's; wanted another file")
    A = read_matrix(arguments.A)
    b = _ones(A) if arguments.b is None else read_vector(arguments.b, A.shape[0])
    if arguments.output:
        check_room(arguments.output, b.nbytes)
    with warnings.catch_warnings():
        # The report says the same, and more.
        warnings.simplefilter("ignore", ConvergenceWarning)
        M, parameters = _preconditioner_and_parameters(arguments, A)
        parameters |= {name: getattr(arguments, name) for name in ("rtol", "atol", "time_limit", "backend")}
        progress = not arguments.quiet and sys.stderr.isatty()
        solution = run(A, b, {"M": M, "progress": progress, **parameters})
    infeasible = solution.status is Status.INFEASIBLE
    if not (arguments.quiet or infeasible):
        print(solution, file=report)
    written = []
    if arguments.output and not infeasible:
        write_vector(arguments.output, solution.x, comment="x of A x = b")
        written.append(arguments.output)
    if arguments.json:
        _write_json(arguments.json, solution, arguments)
        written.append(arguments.json)
    if arguments.plot and not infeasible:
        solution.plot(file=arguments.plot)
        written += [arguments.plot, drawn]
    if written and not arguments.quiet:
        print(f"\n  wrote {', '.join(written)}", file=report)
    if infeasible:
        return _complain(solution.reason)
    return CONVERGED if solution.converged else NOT_CONVERGED


def _check_targets(targets: dict[str, str | None], sources: dict[str, str | None]) -> Any:
    """Find out before the work whether files can be written; the stream for the report, which - of one displaces."""
    from .io.safe_writing import check_distinct, check_writable, is_standard_output

    check_distinct(targets, sources)
    for path in targets.values():
        if path is not None:
            check_writable(path)
    return sys.stderr if any(map(is_standard_output, targets.values())) else sys.stdout


def _ones(A: Any) -> Any:
    import numpy as np

    return np.ones(A.shape[0], dtype=np.result_type(A.dtype, np.float32))


def _preconditioner_and_parameters(arguments: argparse.Namespace, A: Any) -> tuple[Any, dict[str, Any]]:
    """M, and the parameters of the method; omega and interval go to whichever of the two takes them."""
    from . import precondition
    from .errors import InputError
    from .operators import check_square

    check_square(A.shape)
    name, backend = arguments.preconditioner, arguments.backend
    omega = arguments.omega
    interval = None if arguments.interval is None else tuple(arguments.interval)
    if interval is not None and not 0 < interval[0] <= interval[1] < float("inf"):
        raise InputError(f"--interval: found {interval[0]:g} {interval[1]:g}; wanted 0 < LOW <= HIGH")
    if omega is not None and not 0 < omega < float("inf"):
        raise InputError(f"--omega: found {omega:g}; wanted a positive finite number")
    M: Any = None
    if name == "jacobi":
        M = precondition.jacobi(A, backend=backend)
    elif name == "ssor":
        M = precondition.ssor(A, 1.0 if omega is None else omega, backend=backend)
        omega = None
    elif name == "neumann":
        M = precondition.polynomial(A, kind="neumann", omega=omega, backend=backend)
        omega = None
    elif name == "chebyshev":
        # The interval is the preconditioner's unless the method is Chebyshev's too, which then works with M A.
        own = arguments.method != "chebyshev"
        M = precondition.polynomial(A, kind="chebyshev", interval=interval if own else None, backend=backend)
        interval = None if own else interval
    given = {"omega": omega, "interval": interval}
    return M, {key: value for key, value in given.items() if value is not None}


def _write_json(path: str, solution: Any, arguments: argparse.Namespace) -> None:
    import json

    from . import __version__
    from .io.safe_writing import writing

    document = {"resolvent": __version__, "matrix": arguments.A, "rhs": arguments.b, **_fields(solution)}
    text = json.dumps(document, indent=1, allow_nan=False)
    with writing(path) as stream:
        stream.write(f"{text}\n".encode())


def _fields(solution: Any) -> dict[str, Any]:
    """Everything of a Solution but x, as JSON knows it."""
    found: dict[str, Any] = {
        "status": solution.status.name,
        "converged": solution.converged,
        "reason": solution.reason,
        "shape": list(solution.x.shape),
    }
    found |= {name: _plain(getattr(solution, name)) for name in FIELDS}
    if solution.systems:
        found["systems"] = [_fields(system) for system in solution.systems]
    return found


def _plain(value: Any) -> Any:
    """Arrays as lists, and what JSON has no number for: NaN as null, infinities as strings."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, float) and abs(value) == float("inf"):
        return "Infinity" if value > 0 else "-Infinity"
    return value


# condition


def _condition(arguments: argparse.Namespace) -> int:
    import numpy as np

    from . import condition_number
    from .errors import InputError
    from .io.matrix_files import read_matrix
    from .solvers.linear.system import LinearSystem

    if arguments.steps < 1:
        raise InputError(f"--steps: found {arguments.steps}; wanted at least 1")
    A = read_matrix(arguments.A)
    # The system checks the matrix: square, finite, in a working precision.
    system = LinearSystem(A, _ones(A))
    if system.facts is None:
        raise InputError(f"{arguments.A}: the matrix is empty")
    found = condition_number(A, norm=arguments.norm, steps=arguments.steps)
    kind = "Hermitian" if system.hermitian else "not Hermitian"
    rows = [("matrix", f"{system.n} x {system.n}, {getattr(A, 'nnz', A.size)} entries, {system.dtype}, {kind}")]
    what = "eigenvalue" if system.hermitian else "singular value"
    for name, ends in (("smallest", found.smallest), ("largest", found.largest)):
        if ends is not None:
            rows.append((f"{name} {what}", _between(*ends, found.method == "exact")))
    bound = float(np.ldexp(system.facts.row_sum, system.matrix_exponent))
    rows.append(("bound of |eigenvalues|", f"{bound:.6g} from above, by the largest absolute row sum (Gershgorin)"))
    rows += [("condition", str(found)), ("how", found.reason)]
    print("\n".join(f"{name:<24}{value}" for name, value in rows))
    return CONVERGED


def _between(low: float, high: float, exact: bool) -> str:
    """A number from its bounds."""
    if exact:
        return f"{(low + high) / 2:.6g}"
    if low == -float("inf"):
        return f"at most {high:.6g}"
    return f"{low:.6g} to {high:.6g}" if high < float("inf") else f"at least {low:.6g}"


# advise


def _advise(arguments: argparse.Namespace) -> int:
    from . import precision_for
    from .io.matrix_files import read_matrix

    print(precision_for(read_matrix(arguments.A), arguments.accuracy, condition=arguments.condition))
    return CONVERGED


# formats, methods, gallery, info


def _formats(arguments: argparse.Namespace) -> int:
    from .precision.formats import FORMATS, BlockFormat

    singles: list[tuple[Any, ...]] = [
        ("format", "p", "emin", "emax", "u", "largest", "smallest normal", "smallest", "beyond the largest")
    ]
    blocks: list[tuple[Any, ...]] = [("block format", "elements", "to a block", "scale of a block")]
    for name, format in FORMATS.items():
        if name != format.name:
            continue  # one of its other names
        if isinstance(format, BlockFormat):
            scale = "a power of two" if format.scale is None else f"{format.scale}, and one of the tensor in fp32"
            blocks.append((name, format.element, format.block, scale))
            continue
        sizes = (format.unit_roundoff, format.largest, format.smallest_normal, format.smallest)
        beyond = {"infinity": "infinity", "saturate": "stays the largest", "nan": "NaN"}[format.overflow]
        bits = (format.significand_bits, format.min_exponent, format.max_exponent)
        singles.append((name, *bits, *(f"{size:.5g}" for size in sizes), beyond))
    print(f"{_table(singles)}\n\n{_table(blocks)}\n")
    print("p: bits of the significand, the hidden one included. u = 2^-p: the largest relative error of rounding to")
    print("nearest between the smallest normal number and the largest.")
    return CONVERGED


def _methods(arguments: argparse.Namespace) -> int:
    from . import METHODS

    kinds: list[tuple[Any, ...]] = [("name", "method", "for")]
    costs: list[tuple[Any, ...]] = [("an iteration of", "needs", "vectors", "passes", "reductions", "matvecs")]
    for name, method in METHODS.items():
        kinds.append((name, method.title, _purpose(name, method)))
        needs = "Hermitian A" if method.needs_hermitian else "entries of A" if method.needs_entries else "products"
        cost = method.traffic
        costs.append((name, needs, cost.vectors, cost.passes, cost.reductions, cost.matvecs))
    print(f"{_table(kinds)}\n\n{_table(costs)}\n")
    print("Without preconditioner: vectors of length n kept; such vectors read and written; inner products and norms;")
    print("products with A, a relaxation sweep counting as one.")
    return CONVERGED


def _purpose(name: str, method: Any) -> str:
    return PURPOSE.get(name) or (method.__doc__ or method.title).strip().splitlines()[0]


def _table(rows: Iterable[tuple[Any, ...]]) -> str:
    """Columns as wide as they need; numbers to the right."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    right = [all(cell.lstrip("-").isdigit() for cell in column[1:]) for column in zip(*texts, strict=True)]
    lines = []
    for row in texts:
        cells = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _gallery(arguments: argparse.Namespace) -> int:
    from .errors import InputError
    from .gallery import GALLERY, by_name, finite_element_names, load_finite_elements
    from .io.matrix_files import write_matrix, write_vector, written_kind
    from .io.safe_writing import is_standard_output

    def shipped() -> tuple[str, ...]:
        try:
            return finite_element_names()
        except ImportError:
            return ()

    if arguments.list:
        print("of any size:      " + ", ".join(GALLERY))
        print("finite elements:  " + (", ".join(shipped()) or "none here; they come with pip install 'resolvent[amg]'"))
        return CONVERGED
    if arguments.name is None:
        raise InputError("gallery: name a problem, or --list them")
    rhs = arguments.rhs
    if rhs == "":
        if arguments.output is None or is_standard_output(arguments.output):
            raise InputError("--rhs: name a file, or the one for A with --output")
        rhs = _beside(arguments.output)
    for path, what in ((arguments.output, "matrix"), (rhs, "vector")):
        if path is not None:
            written_kind(path, what)
    report = _check_targets({"--output": arguments.output, "--rhs": rhs}, {})
    if arguments.name in GALLERY:
        if arguments.size is None:
            raise InputError(f"--size: {arguments.name} needs one, such as --size 32 or --size 32 32")
        problem = by_name(arguments.name, tuple(arguments.size))
    elif arguments.name in shipped():
        if arguments.size is not None:
            raise InputError(f"--size: {arguments.name} has the size it has")
        problem = load_finite_elements(arguments.name)
    else:
        raise InputError(f"gallery: found {arguments.name!r}; wanted one of {', '.join([*GALLERY, *shipped()])}")
    if arguments.output is not None:
        write_matrix(arguments.output, problem.A, comment=problem.name)
    if rhs is not None:
        write_vector(rhs, problem.b, comment=f"right-hand side of {problem.name}")
    print(problem, file=report)
    written = [path for path in (arguments.output, rhs) if path is not None]
    if written:
        print(f"wrote {', '.join(written)}", file=report)
    return CONVERGED


def _beside(path: str) -> str:
    """A.mtx -> A_b.mtx; a suffix that only matrices have becomes .npy."""
    folder, name = os.path.split(path)
    stem, dot, suffix = name.partition(".")
    return os.path.join(folder, f"{stem}_b{dot}{'npy' if suffix == 'npz' else suffix}")


def _info(arguments: argparse.Namespace) -> int:
    import platform

    from . import __version__

    # As distributions are called; CuPy's name tells the CUDA version it was built for.
    packages = {"cupy": ("cupy-cuda13x", "cupy-cuda12x", "cupy")}
    rows = [("resolvent", __version__), ("python", f"{platform.python_version()} on {platform.platform()}")]
    for name in ("numpy", "scipy", "numba", "torch", "cupy", "pyamg", "matplotlib"):
        rows.append((name, _version(packages.get(name, (name,)))))
    devices = _cuda_devices()
    print(_table(rows))
    print("\nbackends")
    print(_table([(f"  {name}", said) for name, said in _backends(bool(devices))]))
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"\nthreads    {processors} processors for this process")
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        if name in os.environ:
            print(f"           {name}={os.environ[name]}")
    print(f"devices    {', '.join(devices) or 'no CUDA device'}")
    return CONVERGED


def _version(names: Iterable[str]) -> str:
    """Of the first of these distributions that is installed, without importing it."""
    from importlib.metadata import PackageNotFoundError, version

    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "not installed"


def _backends(device: bool) -> list[tuple[str, str]]:
    """Which backends can be used here, told without importing the libraries."""
    from importlib.util import find_spec

    from . import BACKENDS

    needs = {"numpy": "scipy", "array_api": "array_api_compat"}
    rows = []
    for name, (module, _) in BACKENDS.items():
        library = needs.get(name, name)
        if find_spec(library) is None:
            said = f"no: {library} is not installed"
        elif find_spec(f"{__package__}.{module}") is None:
            said = "no: not part of this installation"
        elif name == "cupy" and not device:
            said = "no: there is no CUDA device"
        else:
            said = "yes"
        rows.append((name, said))
    return rows


def _cuda_devices() -> list[str]:
    """Names and memory of the CUDA devices, asked of the driver itself, which takes no library to be imported."""
    import ctypes

    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
        count, device, size = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return []
        names = []
        for index in range(count.value):
            name = ctypes.create_string_buffer(256)
            driver.cuDeviceGet(ctypes.byref(device), index)
            driver.cuDeviceGetName(name, len(name), device)
            driver.cuDeviceTotalMem_v2(ctypes.byref(size), device)
            names.append(f"{name.value.decode(errors='replace')} ({size.value / 2**30:.0f} GiB)")
        return names
    except (OSError, AttributeError):  # no driver, or one that is too old to have these functions
        return []


if __name__ == "__main__":
    sys.exit(main())
