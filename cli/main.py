"""The command line: ``resolvent solve A.mtx b.mtx``, also as ``python -m resolvent``.

What a command needs is imported inside it, so that help and errors come at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, NoReturn

from ..naming import named_in, not_chosen, suggestion
from . import advise, compare, condition, fixed_point, formats, gallery, info, methods, refine, solve, warm
from .completion import SHELLS, PrintCompletion
from .console import BAD_INPUT, CONVERGED, KILLED, complain

__all__ = ["main"]

# In the order in which help lists them. Each adds its arguments to a parser, and runs.
COMMANDS = {
    "solve": solve,
    "compare": compare,
    "refine": refine,
    "fixed-point": fixed_point,
    "condition": condition,
    "advise": advise,
    "formats": formats,
    "methods": methods,
    "gallery": gallery,
    "info": info,
    "warm": warm,
}


class Parser(argparse.ArgumentParser):
    """With errors of one line that suggest what was meant; options in full, words in any spelling."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})

    def _get_value(self, action: argparse.Action, text: str) -> Any:
        value = super()._get_value(action, text)
        if action.choices is None or isinstance(action, argparse._SubParsersAction):
            return value
        return named_in(value, action.choices) or value

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            called = "/".join(action.option_strings) or str(action.metavar or action.dest)
            raise argparse.ArgumentError(None, not_chosen(called, value, map(str, action.choices)))

    def refuse(self, option: str) -> NoReturn:
        """End with the error for an argument that a command does not take."""
        known = [name for action in self._actions for name in action.option_strings]
        meant = suggestion(option.partition("=")[0], known) if option.startswith("-") else ""
        self.error(f"{option}: there is no such {'option' if option.startswith('-') else 'argument'}{meant}")

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
    >>> from resolvent.cli.main import main
    >>> main(["solve", "nowhere.mtx", "--quiet"])
    2
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal without Greek letters shows question marks rather than a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        arguments, others = parser().parse_known_args(argv)
        if others:
            arguments.parser.refuse(others[0])
    except SystemExit as done:
        return int(done.code or 0)
    try:
        return arguments.run(arguments)
    except KeyboardInterrupt:
        return complain("interrupted", KILLED)
    except BrokenPipeError:
        # Whoever read the output has enough; the interpreter must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CONVERGED
    except MemoryError as error:
        return complain(f"not enough memory: {error}")
    except (OSError, ValueError, TypeError, ImportError, ArithmeticError) as error:
        return complain(error)


def parser() -> argparse.ArgumentParser:
    """Of all commands."""
    from .. import __version__

    made = Parser(prog="resolvent", description="Iterative solvers for linear systems and fixed points.")
    made.add_argument("--version", action="version", version=f"resolvent {__version__}")
    made.add_argument(
        "--print-completion",
        action=PrintCompletion,
        choices=SHELLS,
        help="print what makes this shell complete commands and options (needs shtab: resolvent[completion])",
    )
    added = made.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        text = command.SUMMARY
        one = added.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        one.set_defaults(run=command.run, parser=one)
        command.add_arguments(one)
    return made
