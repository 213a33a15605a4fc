"""``resolvent condition``: extreme eigenvalues and the condition number."""

from __future__ import annotations

import argparse

from .console import CONVERGED
from .system import ones

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "extreme eigenvalues and the condition number of a matrix"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the command."""
    parser.add_argument("A", help="matrix file, as for solve")
    parser.add_argument("--norm", type=int, choices=[1, 2], default=2, help="%(default)s by default")
    parser.add_argument("--steps", type=int, default=1000, help="Lanczos steps at most; %(default)s by default")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    import numpy as np

    from .. import condition_number
    from ..errors import InputError
    from ..io.matrix_files import read_matrix
    from ..solvers.linear.system import LinearSystem

    if arguments.steps < 1:
        raise InputError(f"--steps: found {arguments.steps}; wanted at least 1")
    A = read_matrix(arguments.A)
    # The system checks the matrix: square, finite, in a working precision.
    system = LinearSystem(A, ones(A))
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
