"""The solvers: one method a file, all run by the driver in ``iterate``."""

from . import precondition
from .cg import cg
from .chebyshev import chebyshev
from .jacobi import jacobi
from .refine import refine
from .richardson import richardson
from .solve import METHODS, solve
from .sor import gauss_seidel, sor, ssor
from .ssor_cg import ssor_cg

__all__ = [
    "METHODS",
    "cg",
    "chebyshev",
    "gauss_seidel",
    "jacobi",
    "precondition",
    "refine",
    "richardson",
    "solve",
    "sor",
    "ssor",
    "ssor_cg",
]
