"""``resolvent advise``: which precision a matrix needs."""

from __future__ import annotations

import argparse

from .console import CONVERGED

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "the cheapest precision in which A x = b can be solved to an accuracy"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the command."""
    parser.add_argument("A", help="matrix file, as for solve")
    parser.add_argument("--accuracy", type=float, required=True, help="relative error that x may have, such as 1e-6")
    parser.add_argument("--condition", type=float, help="condition number; by default it is found out")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    from .. import precision_for
    from ..io.matrix_files import read_matrix

    print(precision_for(read_matrix(arguments.A), arguments.accuracy, condition=arguments.condition))
    return CONVERGED
