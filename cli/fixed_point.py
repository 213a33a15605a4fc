"""``resolvent fixed-point``: x = g(x) for a function of the caller's, from a first guess in a file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .system import add_outcome, add_precision, delivered, precision_of

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "find x = g(x) for a Python function g; exit status 0 only when converged"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the command."""
    from .. import FIXED_POINT_METHODS

    add = parser.add_argument
    add("g", metavar="module:function", help="a module, or a file that ends in .py, and a function in it")
    add("x0", help="first guess: Matrix Market (plain, .gz or .bz2), .npz or .npy; - reads standard input")
    names = ", ".join(FIXED_POINT_METHODS)
    add("--method", default="auto", choices=["auto", *FIXED_POINT_METHODS], metavar="NAME", help=f"auto, {names}")
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of the method, such as depth=5; may be given several times",
    )
    tolerance = "stop at ||g(x) - x|| <= max(rtol max(||x0||, ||g(x0)||), atol); %(default)s by default"
    add("--rtol", type=float, default=1e-5, help=tolerance)
    add("--maxiter", type=int, help="10 n by default, at least 1000")
    add("--precision", metavar="FORMAT", help="format to iterate in, emulated: see resolvent formats")
    add_precision(parser)
    add_outcome(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    from .. import fixed_point
    from ..io.matrix_files import read_array

    g, parameters = _function(arguments.g), _parameters(arguments.set)

    def read() -> tuple[int, Callable[[dict[str, Any]], Any]]:
        x0 = read_array(arguments.x0)

        def solve(options: dict[str, Any]) -> Any:
            options |= {"precision": precision_of(arguments), "maxiter": arguments.maxiter}
            return fixed_point(g, x0, method=arguments.method, **options, **parameters)

        return x0.nbytes, solve

    named = {"map": arguments.g, "x0": arguments.x0}
    return delivered(arguments, {"x0": arguments.x0}, named, read, "x of x = g(x)")


def _function(named: str) -> Callable[[Any], Any]:
    """The function of a module, which may lie in the current folder, or of a file."""
    from ..errors import InputError
    from ..naming import suggestion

    source, _, name = named.rpartition(":")
    if not (source and name):
        raise InputError(f"g: found {named!r}; wanted module:function or file.py:function")
    try:
        found: Any = _module(source)
    except Exception as error:  # whatever the code of a module may raise
        raise InputError(f"g: {source} cannot be imported ({type(error).__name__}: {error})") from error
    meant = ""
    for part in name.split("."):
        meant = meant or ("" if hasattr(found, part) else suggestion(part, dir(found)))
        found = getattr(found, part, None)
    if not callable(found):
        what = "nothing" if found is None else f"a {type(found).__name__}"
        raise InputError(f"g: found {what} as {name} in {source}; wanted a function{meant}")
    return found


def _module(source: str) -> Any:
    from importlib import import_module
    from importlib.machinery import SourceFileLoader
    from importlib.util import module_from_spec, spec_from_loader

    if not source.endswith(".py"):
        if "" not in sys.path:
            sys.path.insert(0, "")
        return import_module(source)
    loader = SourceFileLoader(Path(source).stem, source)
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def _parameters(given: list[str]) -> dict[str, Any]:
    """NAME=VALUE by name; a value is a Python literal, or a word."""
    import ast

    from ..errors import InputError

    parameters = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not (equals and name.isidentifier()):
            raise InputError(f"--set: found {one!r}; wanted NAME=VALUE")
        try:
            parameters[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            parameters[name] = value
    return parameters
