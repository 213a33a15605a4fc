"""The inverse of the diagonal."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ...naming import refusing_other_names
from ...operators import Operator
from ...operators.ordering import check_diagonal
from .base import BoundPreconditioner, Preconditioner

__all__ = ["JacobiPreconditioner", "jacobi"]


class JacobiPreconditioner(Preconditioner):
    """M = D^{-1}."""

    vectors: ClassVar[int] = 1

    def __init__(self, A: Operator) -> None:
        self.operator, self.shape, self.dtype = A, A.shape, A.dtype

    def rescaled(self, exponent: int) -> tuple[Preconditioner, int]:
        return JacobiPreconditioner(self.operator.rescaled(-exponent)), exponent

    def bind(self, backend: Any, dtype: np.dtype) -> BoundPreconditioner:
        stored = backend.store(self.operator, dtype)
        diagonal = stored.diagonal()
        check_diagonal(stored, backend.to_numpy(diagonal), "it has no inverse")
        return _Diagonal(backend, backend.copy(1 / diagonal, dtype))


class _Diagonal(BoundPreconditioner):
    kind = "diagonal"

    def __init__(self, backend: Any, inverse_diagonal: Any) -> None:
        self.backend, self.inverse_diagonal = backend, inverse_diagonal

    def rescaled(self, exponent: int) -> BoundPreconditioner:
        return _Diagonal(self.backend, self.backend.ldexp(self.inverse_diagonal, exponent))

    def work(self, entries: int) -> int:
        return 2 * len(self.inverse_diagonal)

    def of_stacks(self) -> BoundPreconditioner:
        return self

    def apply(self, r: Any, out: Any) -> Any:
        return self.backend.multiply(self.inverse_diagonal, r, out)


@refusing_other_names
def jacobi(A: Any, *, backend: Any = None) -> JacobiPreconditioner:
    """The Jacobi preconditioner, the inverse of the diagonal of A.

    For Hermitian positive definite A it is within a factor n (the largest number of entries in a row) of the best
    diagonal preconditioner (van der Sluis 1969).

    Parameters
    ----------
    A : matrix with entries at hand, (n, n)
    backend : str, optional
        As in ``resolvent.cg``.

    Returns
    -------
    JacobiPreconditioner
        One vector kept; 3 vector passes an application, none of its own in compiled loops.

    Raises
    ------
    InputError
        For a matrix-free A.
    SingularError
        Where a diagonal entry is zero (when it is first used).

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> A = np.diag([1.0, 1e4]) + 0.1
    >>> rv.cg(A, np.ones(2), M=rv.precondition.jacobi(A), rtol=1e-10).converged
    True
    """
    from ...backends import choose_backend

    operator = choose_backend(backend, A).operator(A)
    operator.diagonal()
    return JacobiPreconditioner(operator)
