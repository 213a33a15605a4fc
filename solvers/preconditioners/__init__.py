"""Preconditioners: approximations of the inverse, passed to a solver as ``M=``."""

from .amg import amg
from .base import BoundPreconditioner, Preconditioner
from .block_jacobi import block_jacobi
from .gmres_polynomial import GMRESPolynomialPreconditioner
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
    "incomplete_cholesky",
    "jacobi",
    "multigrid",
    "polynomial",
    "ssor",
]
