"""``resolvent --print-completion bash``: what makes a shell complete commands, options, methods and files."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, NoReturn

__all__ = ["FILES", "SHELLS", "PrintCompletion", "actions_of"]

SHELLS = ("bash", "zsh", "fish")
FILES = ("A", "b", "x0", "output", "plot", "json", "rhs")  # arguments that are files


class PrintCompletion(argparse.Action):
    """Print it, and end."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: Any = None) -> NoReturn:
        try:
            import shtab
        except ImportError:
            parser.error("--print-completion needs shtab; install resolvent[completion]")
        for action in actions_of(parser):
            if action.dest in FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        print(shtab.complete(parser, shell=values))
        parser.exit()


def actions_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Those of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from actions_of(command)
