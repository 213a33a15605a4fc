"""``resolvent methods``: what there is, and what it costs."""

from __future__ import annotations

import argparse
from typing import Any

from .console import CONVERGED, table

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "table of the methods and what an iteration costs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the command."""
    return None


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    from .. import METHODS

    kinds: list[tuple[Any, ...]] = [("name", "method", "for")]
    costs: list[tuple[Any, ...]] = [("an iteration of", "needs", "vectors", "passes", "reductions", "matvecs")]
    for name, method in METHODS.items():
        kinds.append((name, method.title, method.purpose))
        cost = method.traffic
        costs.append((name, method.needs(), cost.vectors, cost.passes, cost.reductions, cost.matvecs))
    print(f"{table(kinds)}\n\n{table(costs)}\n")
    print("Without preconditioner: vectors of length n kept; such vectors read and written; inner products and norms;")
    print("products with A, a relaxation sweep counting as one.")
    return CONVERGED
