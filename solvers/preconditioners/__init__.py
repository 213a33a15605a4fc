"""Preconditioners: approximations of the inverse, passed to a solver as ``M=``."""

from .base import BoundPreconditioner, Preconditioner
from .jacobi import JacobiPreconditioner, jacobi
from .multigrid import MultigridPreconditioner, multigrid
from .polynomial import PolynomialPreconditioner, polynomial
from .ssor import SSORPreconditioner, ssor

__all__ = [
    "BoundPreconditioner",
    "JacobiPreconditioner",
    "MultigridPreconditioner",
    "PolynomialPreconditioner",
    "Preconditioner",
    "SSORPreconditioner",
    "jacobi",
    "multigrid",
    "polynomial",
    "ssor",
]
