"""Incomplete LU factors with the pattern of A, whose product approximates A."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import BackendError, InputError, SingularError
from ...naming import refusing_other_names
from .base import BoundPreconditioner, Preconditioner

__all__ = ["ILU0Preconditioner", "ilu0"]

SMALLEST = 1e-8  # pivot, of the largest entry of its row


class ILU0Preconditioner(Preconditioner):
    """M = (L U)^{-1}, or its conjugate transpose.

    Attributes
    ----------
    indptr, indices, data : ndarray
        L below the diagonal, which is 1, and U, by rows; in place of the diagonal of U its inverse.
    diagonal : ndarray, (n,)
        Where in ``data`` the diagonal stands.
    transposed : bool
    """

    def __init__(
        self, indptr: Any, indices: Any, data: np.ndarray, diagonal: np.ndarray, transposed: bool = False
    ) -> None:
        self.indptr, self.indices, self.data, self.diagonal, self.transposed = (
            indptr, indices, data, diagonal, transposed
        )  # fmt: skip
        self.shape, self.dtype = (len(diagonal),) * 2, data.dtype

    def memory(self, dtype: np.dtype) -> float:
        return float(self.data.size) * (dtype.itemsize + self.indices.itemsize) + 8.0 * self.shape[0]

    def adjoint(self) -> ILU0Preconditioner:
        """M^H."""
        return ILU0Preconditioner(self.indptr, self.indices, self.data, self.diagonal, not self.transposed)

    def bind(self, backend: Any, dtype: np.dtype) -> BoundPreconditioner:
        if backend.library != "numpy":
            raise BackendError(
                f"M: incomplete LU factors solve in NumPy arrays, the system is on the {backend.name} backend; wanted "
                "an M of its library, such as precondition.polynomial, since nothing is moved silently"
            )
        if self.dtype.kind == "c" and dtype.kind != "c":
            raise InputError(f"M: found {self.dtype} for a {dtype} system; pass A or b as complex to solve in complex")
        return _Substitution(self, backend, dtype)


class _Substitution(BoundPreconditioner):
    def __init__(self, M: ILU0Preconditioner, backend: Any, dtype: np.dtype) -> None:
        from ...backends.compiled.incomplete import solve_adjoint_by_rows, solve_by_rows

        self.backend = backend
        own = dtype if M.dtype.kind == "c" else np.dtype(dtype.type(0).real.dtype)
        self.factors = M.indptr, M.indices, M.data.astype(own, copy=False), M.diagonal
        self.solve = solve_adjoint_by_rows if M.transposed else solve_by_rows
        self.solved = np.empty(M.shape[0], dtype)

    def work(self, entries: int) -> int:
        return len(self.factors[1]) + 2 * len(self.solved)

    def apply(self, r: Any, out: Any) -> Any:
        self.solve(*self.factors, r, self.solved)
        return self.backend.assign(self.backend.copy(self.solved, r.dtype), out)


@refusing_other_names
def ilu0(A: Any, *, backend: Any = None) -> ILU0Preconditioner:
    """Incomplete LU factors of A with entries where A has some, compiled.

    Parameters
    ----------
    A : matrix with entries at hand, (n, n)
        Rows are eliminated in their order, without pivoting: an order in which neighbours stand near each other, and
        along the wind where there is one, makes better factors.
    backend : str, optional
        As in ``resolvent.cg``.

    Returns
    -------
    ILU0Preconditioner
        Not Hermitian, even where A is: for gmres, bicgstab and idrs. It takes the memory of A; an application reads it
        once, row after row, in one thread. It is made at the cost of some products with A.

    Raises
    ------
    InputError
        For a matrix-free A.
    SingularError
        Where the diagonal of A lacks an entry, or a pivot is next to zero: ``ilu`` pivots.
    BackendError
        For an A that is not in NumPy arrays.

    References
    ----------
    Meijerink & van der Vorst (1977), "An iterative solution method for linear systems of which the coefficient matrix
    is a symmetric M-matrix"; Saad (2003), "Iterative methods for sparse linear systems", algorithm 10.4.

    Examples
    --------
    >>> import resolvent as rv
    >>> wind = rv.gallery.convection_diffusion((32, 32), 100.0)
    >>> [rv.gmres(wind.A, wind.b, M=M, rtol=1e-8).iterations for M in (None, "ilu0")]
    [149, 5]
    """
    from ...backends import choose_backend
    from ...backends.compiled.incomplete import factor_rows, solve_by_rows

    chosen = choose_backend(backend, A)
    operator = chosen.operator(A)
    operator.diagonal()
    if operator.library != "numpy":
        raise BackendError(f"A: found a matrix on the {chosen.name} backend; wanted NumPy arrays or SciPy matrices")
    matrix = operator.tocsr()
    n = matrix.shape[0]
    wide = np.dtype(np.complex128 if operator.dtype.kind == "c" else np.float64)
    rows = np.repeat(np.arange(n), np.diff(matrix.indptr))
    diagonal = np.flatnonzero(rows == matrix.indices)
    if len(diagonal) < n:
        row = int(np.setdiff1d(np.arange(n), matrix.indices[diagonal])[0])
        raise SingularError(
            f"A: row {row} has no diagonal entry, so there are no incomplete LU factors without pivoting; use ilu"
        )
    data = np.array(matrix.data, wide)
    done = factor_rows(matrix.indptr, matrix.indices, data, diagonal, SMALLEST)
    if done < n:
        raise SingularError(
            f"A: the pivot of row {done} is next to zero, so there are no incomplete LU factors without pivoting; use "
            "ilu"
        )
    factors = matrix.indptr, matrix.indices, data, diagonal
    solved = np.empty(n, wide)
    solve_by_rows(*factors, np.ones(n, wide), solved)
    if not np.isfinite(solved).all():
        raise SingularError("A: what its incomplete LU factors solve for overflows, so they are of no use; use ilu")
    return ILU0Preconditioner(*factors)
