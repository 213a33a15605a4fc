"""Incomplete Cholesky factors, whose product approximates A."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.sparse as sparse

from ...errors import BackendError, InputError, NotHermitianError
from ...naming import refusing_other_names
from .base import BoundPreconditioner, Preconditioner

__all__ = ["IncompleteCholeskyPreconditioner", "incomplete_cholesky"]

FIRST_SHIFT = 1e-3  # of the diagonal, where factors of A itself do not exist
LARGEST_SHIFT = 1e3


class IncompleteCholeskyPreconditioner(Preconditioner):
    """M = (L L^H)^{-1}.

    Attributes
    ----------
    L : csc_array
        Without its diagonal, of S A S.
    inverse_diagonal : ndarray, (n,)
        Of L.
    scale : ndarray, (n,)
        The diagonal of S.
    shift : float
        What was added to the diagonal before it was factored, as a part of it.
    """

    def __init__(self, L: Any, inverse_diagonal: np.ndarray, scale: np.ndarray, shift: float) -> None:
        self.L, self.inverse_diagonal, self.scale, self.shift = L, inverse_diagonal, scale, shift
        self.shape, self.dtype = L.shape, L.dtype

    def memory(self, dtype: np.dtype) -> float:
        return float(self.L.nnz) * (dtype.itemsize + self.L.indices.itemsize) + 2.0 * self.shape[0] * dtype.itemsize

    def bind(self, backend: Any, dtype: np.dtype) -> BoundPreconditioner:
        if backend.library != "numpy":
            raise BackendError(
                f"M: incomplete Cholesky factors solve in NumPy arrays, the system is on the {backend.name} backend; "
                "wanted an M of its library, such as precondition.polynomial, since nothing is moved silently"
            )
        if self.dtype.kind == "c" and dtype.kind != "c":
            raise InputError(f"M: found {self.dtype} for a {dtype} system; pass A or b as complex to solve in complex")
        return _Substitution(self, backend, dtype)


class _Substitution(BoundPreconditioner):
    def __init__(self, M: IncompleteCholeskyPreconditioner, backend: Any, dtype: np.dtype) -> None:
        self.backend = backend
        real = np.dtype(dtype.type(0).real.dtype)
        L = M.L
        self.factors = (
            L.indptr,
            L.indices,
            L.data.astype(dtype if M.dtype.kind == "c" else real, copy=False),
            M.inverse_diagonal.astype(real, copy=False),
            M.scale.astype(real, copy=False),
        )
        self.solved = np.empty(M.shape[0], dtype)

    def work(self, entries: int) -> int:
        return 2 * len(self.factors[1]) + 4 * len(self.solved)

    def apply(self, r: Any, out: Any) -> Any:
        from ...backends.compiled.incomplete import solve_with_factors

        solve_with_factors(*self.factors, r, self.solved)
        return self.backend.assign(self.backend.copy(self.solved, r.dtype), out)


@refusing_other_names
def incomplete_cholesky(
    A: Any,
    *,
    drop_tol: float | None = None,
    fill_factor: float = 5.0,
    shift: float | None = None,
    backend: Any = None,
) -> IncompleteCholeskyPreconditioner:
    """Incomplete Cholesky factors of A: with entries where A has some (level 0), or with the large ones.

    A is scaled to a diagonal of ones first. Where a pivot is not positive, a multiple of the diagonal is added and the
    factorisation begins anew.

    Parameters
    ----------
    A : Hermitian positive definite matrix with entries at hand, (n, n)
    drop_tol : float, optional
        Entries of the factor are kept that are larger than this times the norm of their column of the scaled A; by
        default those where A has an entry.
    fill_factor : float
        With ``drop_tol``, entries below the diagonal of the factor over those of A, at most; at least 1. The smallest
        of a column are left out.
    shift : float, optional
        What is added to the diagonal, as a part of it. By default 0 where that will do, otherwise the first of
        1e-3, 2e-3, 4e-3, ... that does.
    backend : str, optional
        As in ``resolvent.cg``.

    Returns
    -------
    IncompleteCholeskyPreconditioner
        Hermitian positive definite. Kept: the entries of the lower triangle (or at most ``fill_factor`` times those)
        and two vectors. An application reads them twice, row after row, in one thread. It is made at the cost of some
        products with A, of more of them the more entries are kept.

    Raises
    ------
    InputError
        For a matrix-free A, one whose diagonal is not positive, a negative ``drop_tol`` or ``shift``, a ``fill_factor``
        below 1, and where no shift that is tried gives factors.
    NotHermitianError
        For an A that is not Hermitian: ``ilu`` takes those.
    BackendError
        For an A on another device.

    References
    ----------
    Meijerink & van der Vorst (1977), "An iterative solution method for linear systems of which the coefficient matrix
    is a symmetric M-matrix"; Manteuffel (1980), "An incomplete factorization technique for positive definite linear
    systems", for the shift; Lin & Moré (1999), "Incomplete Cholesky factorizations with limited memory", algorithm
    2.1, for the columns and the search for a shift.

    Examples
    --------
    >>> import resolvent as rv
    >>> grid = rv.gallery.poisson((40, 40))
    >>> [rv.cg(grid.A, grid.b, M=M, rtol=1e-8).iterations < most
    ...  for M, most in ((rv.precondition.incomplete_cholesky(grid.A), 45),
    ...                  (rv.precondition.incomplete_cholesky(grid.A, drop_tol=1e-3), 20))]
    [True, True]
    """
    from ...backends import choose_backend
    from ...precision import precision_facts

    if drop_tol is not None and not 0 <= drop_tol < 1:
        raise InputError(f"drop_tol: found {drop_tol!r}; wanted a number in [0, 1)")
    if not 1 <= fill_factor < math.inf:
        raise InputError(f"fill_factor: found {fill_factor!r}; wanted a finite number of at least 1")
    if shift is not None and not 0 <= shift < math.inf:
        raise InputError(f"shift: found {shift!r}; wanted a finite number that is not negative")
    chosen = choose_backend(backend, A)
    operator = chosen.operator(A)
    operator.diagonal()
    if operator.library != "numpy":
        raise BackendError(f"A: found a matrix on the {chosen.name} backend; wanted NumPy arrays or SciPy matrices")
    facts = operator.facts()
    if facts is not None and not facts.hermitian(precision_facts(operator.dtype).unit_roundoff):
        raise NotHermitianError("A: found a matrix that is not Hermitian, which has no Cholesky factors; use ilu")
    wide = np.dtype(np.complex128 if operator.dtype.kind == "c" else np.float64)
    lower = sparse.csc_array(sparse.tril(operator.tocsr(), format="csc"), dtype=wide)
    lower.sort_indices()
    diagonal = operator.tocsr().diagonal().real.astype(np.float64)
    if lower.shape[0] and not diagonal.min() > 0:
        row = int(np.argmin(diagonal > 0))
        raise InputError(
            f"A: the diagonal entry of row {row} is not positive, so A is not positive definite and has no Cholesky "
            "factors; use ilu"
        )
    return _factored(lower, 1 / np.sqrt(diagonal), drop_tol, fill_factor, shift)


def _factored(
    lower: Any, scale: np.ndarray, drop_tol: float | None, fill_factor: float, shift: float | None
) -> IncompleteCholeskyPreconditioner:
    from ...backends.compiled.incomplete import BROKE, factor

    n = lower.shape[0]
    below = lower.nnz - n
    drop, more = -1.0, 0
    if drop_tol is not None:
        drop, more = float(drop_tol), min(n, math.ceil((fill_factor - 1) * below / max(1, n)))
    room = min(below + n * (more + 1), n * (n + 1) // 2)
    counts = np.int32 if room < 2**31 else np.int64
    indptr, indices, data = np.zeros(n + 1, counts), np.empty(room, counts), np.empty(room, lower.dtype)
    tried = shift or 0.0
    while True:
        count = factor(lower.indptr, lower.indices, lower.data, scale, tried, drop, more, indptr, indices, data)
        if count != BROKE:
            break
        if shift is not None or tried > LARGEST_SHIFT:
            raise InputError(
                f"A: no incomplete Cholesky factors with a shift of {tried:.3g} times the diagonal; A may not be "
                "positive definite. Use another shift, or ilu"
            )
        tried = max(2 * tried, FIRST_SHIFT)
    first = indptr[:-1]
    inverse_diagonal = 1 / data[first].real
    keep = np.ones(count, bool)
    keep[first] = False
    L = sparse.csc_array(
        (data[:count][keep], indices[:count][keep], indptr - np.arange(n + 1, dtype=counts)), shape=(n, n)
    )
    return IncompleteCholeskyPreconditioner(L, inverse_diagonal, scale, tried)
