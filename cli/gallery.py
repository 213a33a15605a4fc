"""``resolvent gallery``: a test problem as files."""

from __future__ import annotations

import argparse
import os

from .console import CONVERGED
from .system import check_targets

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "make a test problem"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the command."""
    add = parser.add_argument
    add("name", nargs="?", help="one of those that --list lists")
    add("--size", type=int, nargs="+", metavar="N", help="order, or points along each axis of a grid")
    add("--list", action="store_true", help="list the names")
    add("--output", metavar="A.mtx", help="write the matrix: .mtx, .mtx.gz, .npz or .npy; - as .mtx")
    add("--rhs", nargs="?", const="", metavar="FILE", help="write b; beside A as A_b.mtx by default")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    from ..errors import InputError
    from ..gallery import GALLERY, by_name, finite_element_names, load_finite_elements
    from ..io.matrix_files import write_matrix, write_vector, written_kind
    from ..io.safe_writing import is_standard_output
    from ..naming import choice

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
    report = check_targets({"--output": arguments.output, "--rhs": rhs}, {})
    name = choice("gallery", arguments.name, (*GALLERY, *shipped()))
    if name in GALLERY:
        if arguments.size is None:
            raise InputError(f"--size: {name} needs one, such as --size 32 or --size 32 32")
        problem = by_name(name, tuple(arguments.size))
    else:
        if arguments.size is not None:
            raise InputError(f"--size: {name} has the size it has")
        problem = load_finite_elements(name)
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
