"""Preconditioners from the right: x = M y, so that the problem in y has the operator A M and the same residual."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import InputError
from ...naming import choice
from ..preconditioners.base import BoundPreconditioner
from ..preconditioners.given import MORE, PRECONDITIONERS, is_named
from ..preconditioners.superlu import SuperLUPreconditioner, with_products

if TYPE_CHECKING:
    from ...backends import Backend
    from ...operators import Operator
    from .problem import LeastSquares

__all__ = ["RightPreconditioner", "column_norms", "right_preconditioner"]


class RightPreconditioner(ABC):
    """M, (n, n), on the vectors of one problem."""

    @abstractmethod
    def apply(self, y: Any, out: Any) -> Any:
        """M y, in place of out, which is not y."""

    @abstractmethod
    def apply_adjoint(self, x: Any, out: Any) -> Any:
        """M^H x, in place of out, which is not x."""


class Columns(RightPreconditioner):
    """The inverse of the norms of the columns, of [A; damp I] where there is damping."""

    def __init__(self, backend: Backend, inverse: Any) -> None:
        self.backend, self.inverse = backend, inverse

    def apply(self, y: Any, out: Any) -> Any:
        return self.backend.multiply(self.inverse, y, out)

    def apply_adjoint(self, x: Any, out: Any) -> Any:
        return self.apply(x, out)


class Inverse(RightPreconditioner):
    """What solves with factors, and with those of the conjugate transpose."""

    def __init__(self, direct: BoundPreconditioner, adjoint: BoundPreconditioner) -> None:
        self.direct, self.adjoint = direct, adjoint

    def apply(self, y: Any, out: Any) -> Any:
        return self.direct.apply(y, out)

    def apply_adjoint(self, x: Any, out: Any) -> Any:
        return self.adjoint.apply(x, out)


class Matrix(RightPreconditioner):
    """What the caller passed, which is multiplied with."""

    def __init__(self, backend: Backend, operator: Operator) -> None:
        self.backend, self.operator, self.adjoint = backend, operator, operator.adjoint()

    def apply(self, y: Any, out: Any) -> Any:
        return self.backend.matvec(self.operator, y, out)

    def apply_adjoint(self, x: Any, out: Any) -> Any:
        return self.backend.matvec(self.adjoint, x, out)


def right_preconditioner(M: Any, problem: LeastSquares) -> RightPreconditioner | None:
    """M for this problem.

    Parameters
    ----------
    M : None, "jacobi", or a matrix, LinearOperator, callable or SuperLU of shape (n, n)
        "jacobi" divides each column by its norm. An operator needs ``rmatvec`` too.

    Raises
    ------
    InputError
        For other words and shapes, complex numbers for real ones, and "jacobi" for an A that only multiplies.
    """
    backend, n = problem.backend, problem.n
    if M is None or isinstance(M, RightPreconditioner):
        return M
    if is_named(M):
        choice("M", M, [name for name, kind in PRECONDITIONERS.items() if kind.of_columns], more=MORE)
        norms = np.hypot(column_norms(problem.true_adjoint, backend.exact), problem.damp)
        norms[norms == 0] = 1
        return Columns(backend, backend.copy(backend.exact.from_numpy(1 / norms, problem.true_dtype), problem.dtype))
    M = with_products(M)
    operator = M if isinstance(M, SuperLUPreconditioner) else backend.operator(M, "M")
    if operator.shape != (n, n):
        raise InputError(f"M: found shape {operator.shape}; wanted {(n, n)}, as many as A has columns")
    if isinstance(operator, SuperLUPreconditioner):
        return Inverse(*(one.bind(backend, problem.dtype) for one in (operator, operator.adjoint())))
    if operator.dtype.kind == "c" and problem.dtype.kind != "c":
        raise InputError(f"M: found {operator.dtype} for a {problem.dtype} problem; pass A or b as complex")
    return Matrix(backend, backend.store(operator, problem.dtype))


def column_norms(adjoint: Operator, backend: Backend) -> np.ndarray:
    """The norms of the columns of A, (n,), in float64 on the host, from its conjugate transpose: one pass over it."""
    if not adjoint.explicit:
        raise InputError('M: "jacobi" needs the entries of A, but A only multiplies; pass a matrix, or another M')
    wide = adjoint.astype(np.result_type(adjoint.dtype, np.float64))
    squares = wide.mapped(lambda values: abs(values) ** 2)
    ones = backend.from_numpy(np.ones(adjoint.shape[1]), squares.dtype)
    return np.sqrt(np.asarray(backend.to_numpy(squares.matvec(ones)), np.float64).real)
