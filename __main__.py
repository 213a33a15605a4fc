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
DENSE_LIMIT = 500  # up to this order all eigenvalues are computed, in a fraction of a second

# What a method is for, in a few words; one without a line here is described by the summary of its class.
PURPOSE = {
    "cg": "positive definite A: the first choice, best with a preconditioner",
    "chebyshev": "the same, where reductions are dear or the count must be known",
    "richardson": "A close to a multiple of the identity, or M close to the inverse",
    "jacobi": "diagonally dominant A, every row at once; smoothing",
    "gauss_seidel": "diagonally dominant or positive definite A; exact for triangular A",
    "sor": "positive definite A, with the relaxation factor chosen",
    "ssor": "the same, symmetric: also a preconditioner",
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
        cannot be used, 130 after Ctrl-C outside a solve.

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
    from . import BACKENDS, METHODS, __version__

    parser = _Parser(prog="resolvent", description="Iterative solvers for linear systems.")
    parser.add_argument("--version", action="version", version=f"resolvent {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        added.set_defaults(run=run)
        return added

    solve = command("solve", _solve, "solve A x = b from files; exit status 0 only when converged")
    add = solve.add_argument
    add("A", help="matrix: Matrix Market (.mtx, .mtx.gz), or .npz of scipy.sparse.save_npz")
    add("b", nargs="?", help="right-hand side: .mtx, .mtx.gz, .npy or .npz; ones by default")
    add("--method", default="auto", choices=["auto", *METHODS], metavar="NAME", help=f"auto, {', '.join(METHODS)}")
    add("--preconditioner", default="none", choices=["none", "jacobi", "ssor", "chebyshev", "neumann"])
    add("--omega", type=float, help="relaxation factor, of the preconditioner if it takes one, else of the method")
    add("--interval", type=float, nargs=2, metavar=("LOW", "HIGH"), help="spectrum, for chebyshev")
    add("--rtol", type=float, default=1e-5, help="stop at ||b - A x|| <= max(rtol ||b||, atol); %(default)s by default")
    add("--atol", type=float, default=0.0)
    add("--maxiter", type=int, help="10 n by default, at least 1000")
    add("--time-limit", type=float, metavar="SECONDS")
    add("--backend", choices=list(BACKENDS), metavar="NAME", help=f"{', '.join(BACKENDS)}; numba by default")
    add("--plot", metavar="FILE.png", help="draw the residual by iteration; the data lie beside it as .csv")
    add("--output", metavar="FILE", help="write x: .mtx, .mtx.gz or .npy")
    add("--json", metavar="FILE", help="write everything but x as JSON")
    add("--quiet", action="store_true", help="print nothing but errors")

    condition = command("condition", _condition, "extreme eigenvalues and the condition number of a matrix")
    condition.add_argument("A", help="matrix file, as for solve")
    condition.add_argument("--steps", type=int, default=200, help="Lanczos steps at most; %(default)s by default")

    command("methods", _methods, "table of the methods and what an iteration costs")

    gallery = command("gallery", _gallery, "make a test problem")
    gallery.add_argument("name", nargs="?", help="one of those that --list lists")
    gallery.add_argument("--size", type=int, nargs="+", metavar="N", help="order, or points along each axis of a grid")
    gallery.add_argument("--list", action="store_true", help="list the names")
    gallery.add_argument("--output", metavar="A.mtx", help="write the matrix: .mtx, .mtx.gz, .npz or .npy")
    gallery.add_argument("--rhs", nargs="?", const="", metavar="FILE", help="write b; beside A as A_b.mtx by default")

    command("info", _info, "versions, backends and devices found here")
    return parser


# solve


def _solve(arguments: argparse.Namespace) -> int:
    from importlib.util import find_spec

    from . import solve
    from .solvers.errors import ConvergenceWarning, InputError
    from .solvers.matrix_files import check_writable, read_matrix, read_vector, write_vector
    from .solvers.solution import Status

    targets = [path for path in (arguments.plot, arguments.output, arguments.json) if path is not None]
    for path in targets:
        check_writable(path)
    if arguments.plot:
        if not arguments.plot.lower().endswith((".png", ".pdf", ".svg")):
            raise InputError(f"--plot: found {arguments.plot!r}; wanted a name that ends in .png, .pdf or .svg")
        if find_spec("matplotlib") is None:
            raise InputError("--plot: needs matplotlib: pip install 'resolvent[plot]'")
    if arguments.output and not arguments.output.lower().endswith((".mtx", ".mtx.gz", ".npy")):
        raise InputError(f"--output: found {arguments.output!r}; wanted a name that ends in .mtx, .mtx.gz or .npy")
    A = read_matrix(arguments.A)
    b = _ones(A) if arguments.b is None else read_vector(arguments.b)
    progress = not arguments.quiet and sys.stderr.isatty()
    with warnings.catch_warnings():
        # The report says the same, and more.
        warnings.simplefilter("ignore", ConvergenceWarning)
        M, parameters = _preconditioner_and_parameters(arguments, A)
        solution = solve(
            A,
            b,
            method=arguments.method,
            M=M,
            rtol=arguments.rtol,
            atol=arguments.atol,
            maxiter=arguments.maxiter,
            time_limit=arguments.time_limit,
            backend=arguments.backend,
            progress=progress,
            **parameters,
        )
    infeasible = solution.status is Status.INFEASIBLE
    if not (arguments.quiet or infeasible):
        print(solution)
    written = []
    if arguments.output and not infeasible:
        write_vector(arguments.output, solution.x, comment="x of A x = b")
        written.append(arguments.output)
    if arguments.json:
        _write_json(arguments.json, solution, arguments)
        written.append(arguments.json)
    if arguments.plot and not infeasible:
        solution.plot(file=arguments.plot)
        written += [arguments.plot, str(Path(arguments.plot).with_suffix(".csv"))]
    if written and not arguments.quiet:
        print(f"\n  wrote {', '.join(written)}")
    if infeasible:
        return _complain(solution.reason)
    return CONVERGED if solution.converged else NOT_CONVERGED


def _ones(A: Any) -> Any:
    import numpy as np

    return np.ones(A.shape[0], dtype=np.result_type(A.dtype, np.float32))


def _preconditioner_and_parameters(arguments: argparse.Namespace, A: Any) -> tuple[Any, dict[str, Any]]:
    """M, and the parameters of the method; omega and interval go to whichever of the two takes them."""
    from . import precondition
    from .solvers.errors import InputError
    from .solvers.operators import check_square

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

    document = {"resolvent": __version__, "matrix": arguments.A, "rhs": arguments.b, **_fields(solution)}
    text = json.dumps(document, indent=1, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


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

    from .solvers.errors import InputError
    from .solvers.matrix_files import read_matrix
    from .solvers.system import LinearSystem

    if arguments.steps < 1:
        raise InputError(f"--steps: found {arguments.steps}; wanted at least 1")
    A = read_matrix(arguments.A)
    # The system checks the matrix: square, finite, in a working precision.
    system = LinearSystem(A, _ones(A))
    n, facts = system.n, system.facts
    if facts is None:
        raise InputError(f"{arguments.A}: the matrix is empty")
    kind = "Hermitian" if system.hermitian else "not Hermitian"
    rows = [("matrix", f"{n} x {n}, {getattr(A, 'nnz', A.size)} entries, {system.dtype}, {kind}")]
    if n <= DENSE_LIMIT:
        dense = A.toarray() if hasattr(A, "toarray") else np.asarray(A)
        # In the system's own units nothing leaves the range; a power of two changes no digit.
        rows += _dense_condition(np.ldexp(1.0, -system.matrix_exponent) * dense.astype(system.dtype), system)
    elif system.hermitian:
        rows += _lanczos_condition(system, arguments.steps)
    else:
        rows += _one_norm_condition(system.operator.tocsr(), system.matrix_exponent)
    bound = float(np.ldexp(facts.row_sum, system.matrix_exponent))
    rows.append(("bound of |eigenvalues|", f"{bound:.6g} from above, by the largest absolute row sum (Gershgorin)"))
    print("\n".join(f"{name:<24}{value}" for name, value in rows))
    return CONVERGED


def _dense_condition(dense: Any, system: Any) -> list[tuple[str, str]]:
    """All eigenvalues, or singular values: exact to rounding."""
    import numpy as np

    unit = system.matrix_exponent
    singular = np.linalg.svd(dense, compute_uv=False) if not system.hermitian else None
    if singular is None:
        values = np.linalg.eigvalsh(dense)
        low, high = np.ldexp([values[0], values[-1]], unit)
        rows = [("smallest eigenvalue", f"{low:.6g}"), ("largest eigenvalue", f"{high:.6g}")]
        sizes = np.sort(np.abs(values))
        how = "all eigenvalues computed"
    else:
        sizes = singular[::-1]
        low, high = np.ldexp([sizes[0], sizes[-1]], unit)
        rows = [("smallest singular value", f"{low:.6g}"), ("largest singular value", f"{high:.6g}")]
        how = "all singular values computed"
    rounding = system.n * system.precision.unit_roundoff * sizes[-1]
    if sizes[0] <= rounding:
        said = f"infinite: singular to rounding in the 2-norm ({how})"
    else:
        said = f"{sizes[-1] / sizes[0]:.6g} in the 2-norm ({how}, exact to rounding)"
    return [*rows, ("condition", said)]


def _lanczos_condition(system: Any, steps: int) -> list[tuple[str, str]]:
    """Ritz values, which lie inside the spectrum; an indefinite matrix is left to a factorisation."""
    import numpy as np

    from .solvers.spectrum import estimate_spectrum

    ritz, broken = estimate_spectrum(system, steps)
    if ritz is None or broken or not ritz.smallest > 0:
        said = "indefinite, or singular: the Lanczos steps met a direction without positive curvature"
        return [("spectrum", said), *_one_norm_condition(system.operator.tocsr(), system.matrix_exponent)]
    unit = system.matrix_exponent
    low, high, low_error, high_error = (
        float(np.ldexp(value, unit)) for value in (ritz.smallest, ritz.largest, ritz.smallest_error, ritz.largest_error)
    )
    return [
        ("smallest eigenvalue", f"{low:.6g} or less, one lies within {low_error:.1e} (Lanczos)"),
        ("largest eigenvalue", f"{high:.6g} or more, one lies within {high_error:.1e} (Lanczos)"),
        ("condition", f"at least {high / low:.6g} in the 2-norm ({min(steps, system.n)} Lanczos steps)"),
    ]


def _one_norm_condition(A: Any, exponent: int) -> list[tuple[str, str]]:
    """||A|| in the 1-norm is exact; that of the inverse is estimated from a factorisation (Higham & Tisseur 2000)."""
    import numpy as np
    from scipy.sparse.linalg import LinearOperator, norm, onenormest, splu

    size = float(norm(A, 1))
    rows = [("1-norm", f"{float(np.ldexp(size, exponent)):.6g}")]
    try:
        factors = splu(A.tocsc())
    except RuntimeError:
        return [*rows, ("condition", "infinite: a factorisation found A exactly singular")]
    inverse = LinearOperator(
        A.shape,
        matvec=factors.solve,
        rmatvec=lambda y: factors.solve(y, "H"),
        matmat=factors.solve,
        rmatmat=lambda y: factors.solve(y, "H"),
        dtype=A.dtype,
    )
    found = float(onenormest(inverse)) * size
    return [*rows, ("condition", f"at least {found:.6g} in the 1-norm (estimated from a factorisation)")]


# methods, gallery, info


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
    right = [all(cell.isdigit() for cell in column[1:]) for column in zip(*texts, strict=True)]
    lines = []
    for row in texts:
        cells = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _gallery(arguments: argparse.Namespace) -> int:
    from .gallery import GALLERY, by_name, finite_element_names, load_finite_elements
    from .solvers.errors import InputError
    from .solvers.matrix_files import check_writable, write_matrix, write_vector

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
        if arguments.output is None:
            raise InputError("--rhs: name a file, or the one for A with --output")
        rhs = _beside(arguments.output)
    for path in (arguments.output, rhs):
        if path is not None:
            check_writable(path)
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
    print(problem)
    written = [path for path in (arguments.output, rhs) if path is not None]
    if written:
        print(f"wrote {', '.join(written)}")
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
