"""Operators: what A may be, and the products and facts that the solvers need of it."""

from .base import Operator
from .black_box import BlackBox, MatrixFree, guarded
from .coerce import as_operator, check_matrix, check_square
from .csr import CSR
from .dense import Dense
from .diagonals import Diagonals
from .facts import Facts
from .stack import CSRStack, StencilStack
from .stencil import Stencil

__all__ = [
    "CSR",
    "CSRStack",
    "BlackBox",
    "MatrixFree",
    "Dense",
    "Diagonals",
    "Facts",
    "Operator",
    "Stencil",
    "StencilStack",
    "as_operator",
    "check_matrix",
    "check_square",
    "guarded",
]
