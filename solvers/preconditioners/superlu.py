"""Factors of SciPy's SuperLU, whole or incomplete, as the inverse of what was factored."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import scipy.sparse as sparse

from ...errors import BackendError, InputError, SingularError
from ...naming import refusing_other_names
from .base import BoundPreconditioner, Preconditioner

__all__ = ["SuperLUPreconditioner", "ilu", "with_products"]


class SuperLUPreconditioner(Preconditioner):
    """M r solves with both factors, or with their conjugate transposes.

    Parameters
    ----------
    factors : SuperLU
        Of ``scipy.sparse.linalg.splu`` or ``spilu``.
    adjoint : bool
    """

    def __init__(self, factors: Any, adjoint: bool = False) -> None:
        self.factors, self.shape, self.trans = factors, tuple(factors.shape), "H" if adjoint else "N"
        # It does not tell its type, but answers in that.
        self.dtype = factors.solve(np.zeros(self.shape[0], np.float32)).dtype

    def memory(self, dtype: np.dtype) -> float:
        return float(self.factors.nnz) * (self.dtype.itemsize + 4.0)

    def adjoint(self) -> SuperLUPreconditioner:
        """M^H."""
        return SuperLUPreconditioner(self.factors, adjoint=self.trans == "N")

    def bind(self, backend: Any, dtype: np.dtype) -> BoundPreconditioner:
        if backend.library != "numpy":
            raise BackendError(
                f"M: factors of SuperLU solve in NumPy arrays, the system is on the {backend.name} backend; wanted an "
                "M of its library, since nothing is moved silently"
            )
        if self.dtype.kind == "c" and dtype.kind != "c":
            raise InputError(f"M: found {self.dtype} for a {dtype} system; pass A or b as complex to solve in complex")
        return _Solves(self, backend)


class _Solves(BoundPreconditioner):
    def __init__(self, M: SuperLUPreconditioner, backend: Any) -> None:
        self.M, self.backend = M, backend

    def work(self, entries: int) -> int:
        return int(self.M.factors.nnz)

    def of_stacks(self) -> BoundPreconditioner:
        return self

    def apply(self, r: Any, out: Any) -> Any:
        vectors = r.reshape(-1, r.shape[-1]).T  # SuperLU takes columns
        if r.dtype.kind == "c" and self.M.dtype.kind != "c":
            solved = self._solved(vectors.real) + 1j * self._solved(vectors.imag)
        else:
            solved = self._solved(vectors)
        return self.backend.assign(self.backend.copy(solved.T.reshape(r.shape), r.dtype), out)

    def _solved(self, columns: np.ndarray) -> np.ndarray:
        return self.M.factors.solve(columns.astype(self.M.dtype), self.M.trans)


def with_products(M: Any) -> Any:
    """M, as what multiplies where it is factors that solve."""
    kind = getattr(sys.modules.get("scipy.sparse.linalg"), "SuperLU", ())  # loaded by whoever has factors
    return SuperLUPreconditioner(M) if isinstance(M, kind) else M


@refusing_other_names
def ilu(
    A: Any, *, drop_tol: float = 1e-4, fill_factor: float = 10.0, backend: Any = None, **options: Any
) -> SuperLUPreconditioner:
    """Incomplete LU factors of A, by SciPy's SuperLU.

    Parameters
    ----------
    A : matrix with entries at hand, (n, n)
    drop_tol : float
        Entries of a column of the factors that are smaller than this times its norm are left out.
    fill_factor : float
        Entries of the factors over those of A, at most.
    backend : str, optional
        As in ``resolvent.cg``.
    **options
        For ``scipy.sparse.linalg.spilu``.

    Returns
    -------
    SuperLUPreconditioner
        Not Hermitian, even where A is: for gmres, bicgstab and idrs. An application reads the factors once, in one
        thread; they take at most ``fill_factor`` times the memory of A.

    Raises
    ------
    InputError
        For a matrix-free A, a ``drop_tol`` outside [0, 1], a ``fill_factor`` below 1.
    SingularError
        Where the factors have a pivot that is zero.
    BackendError
        For an A that is not in NumPy arrays.

    References
    ----------
    Li & Shao (2011), "A supernodal approach to incomplete LU factorization with partial pivoting".

    Examples
    --------
    >>> import resolvent as rv
    >>> wind = rv.gallery.convection_diffusion((32, 32), 1.0)
    >>> rv.gmres(wind.A, wind.b, M=rv.precondition.ilu(wind.A), rtol=1e-8).iterations < 10
    True
    """
    from scipy.sparse.linalg import spilu

    from ...backends import choose_backend

    if not 0 <= drop_tol <= 1:
        raise InputError(f"drop_tol: found {drop_tol!r}; wanted a number in [0, 1]")
    if not 1 <= fill_factor < math.inf:
        raise InputError(f"fill_factor: found {fill_factor!r}; wanted a finite number of at least 1")
    chosen = choose_backend(backend, A)
    operator = chosen.operator(A)
    operator.diagonal()
    if operator.library != "numpy":
        raise BackendError(f"A: found a matrix on the {chosen.name} backend; wanted NumPy arrays or SciPy matrices")
    matrix = sparse.csc_array(operator.tocsr())
    matrix.indices, matrix.indptr = matrix.indices.astype(np.intc), matrix.indptr.astype(np.intc)
    try:
        factors = spilu(matrix, drop_tol=drop_tol, fill_factor=fill_factor, **options)
    except RuntimeError:
        raise SingularError(
            "A: a pivot of its incomplete factors is zero; lower drop_tol, raise fill_factor, or precondition with a "
            "shifted A"
        ) from None
    return SuperLUPreconditioner(factors)
