"""Preconditioners: approximations of the inverse, passed to a solver as ``M=``."""

from .amg import amg
from .base import BoundPreconditioner, Preconditioner
from .block_jacobi import block_jacobi
from .gmres_polynomial import GMRESPolynomialPreconditioner
from .ilu0 import ILU0Preconditioner, ilu0
from .incomplete_cholesky import IncompleteCholeskyPreconditioner, incomplete_cholesky
from .jacobi import JacobiPreconditioner, jacobi
from .multigrid import MultigridPreconditioner, multigrid
from .multilevel import Hierarchy
from .polynomial import PolynomialPreconditioner, polynomial
from .ssor import SSORPreconditioner, ssor
from .superlu import SuperLUPreconditioner, ilu

__all__ = [
    "BoundPreconditioner",
    "GMRESPolynomialPreconditioner",
    "Hierarchy",
    "ILU0Preconditioner",
    "IncompleteCholeskyPreconditioner",
    "JacobiPreconditioner",
    "MultigridPreconditioner",
    "PolynomialPreconditioner",
    "Preconditioner",
    "SSORPreconditioner",
    "SuperLUPreconditioner",
    "amg",
    "block_jacobi",
    "ilu",
    "ilu0",
    "incomplete_cholesky",
    "jacobi",
    "multigrid",
    "polynomial",
    "ssor",
]
