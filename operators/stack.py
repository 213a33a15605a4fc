"""Many matrices of one shape: the pattern of a sparse matrix taken apart from its values, and stacks on one pattern."""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import Operator
from .csr import CSR

__all__ = ["CSRStack", "Pattern"]


class Pattern:
    """Where the entries of a sparse matrix lie, and how values in the order of their owner come to lie there.

    Parameters
    ----------
    indptr, indices : ndarray
        Of n rows; every index is at least 0 and less than n.
    is_sorted : bool
        Columns increase strictly in each row.
    """

    def __init__(self, indptr: np.ndarray, indices: np.ndarray, is_sorted: bool) -> None:
        self.given = len(indices)
        self._order: np.ndarray | None = None
        self._starts: np.ndarray | None = None
        if not is_sorted:
            n = len(indptr) - 1
            rows = np.repeat(np.arange(n), np.diff(indptr))
            self._order = order = np.lexsort((indices, rows))
            rows, indices = rows[order], indices[order]
            first = np.append(True, (np.diff(rows) != 0) | (np.diff(indices) != 0))[: len(indices)]
            if not first.all():
                self._starts = np.flatnonzero(first)
                rows, indices = rows[first], indices[first]
            indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n))]).astype(indptr.dtype)
        self.indptr, self.indices = indptr, indices

    @property
    def n(self) -> int:
        """Rows, and columns."""
        return len(self.indptr) - 1

    def placed(self, values: np.ndarray) -> np.ndarray:
        """The values, (..., given), in the order of this pattern, those of one place added up; a contiguous copy."""
        if self._order is not None:
            values = values[..., self._order]
        if self._starts is not None:
            return np.add.reduceat(values, self._starts, axis=-1)
        return np.array(values, order="C")


class CSRStack:
    """Sparse matrices of one pattern.

    Parameters
    ----------
    pattern : Pattern
    values : ndarray of shape (..., entries)
        In the order of the pattern.

    Attributes
    ----------
    shape : tuple of int
        (..., n, n).

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> values = np.array([[2.0, 4.0], [1.0, 8.0]])
    >>> A = rv.as_operator(([0, 1, 2], [0, 1], values), (2, 2))
    >>> A
    <CSRStack of (2,) matrices 2x2 float64>
    >>> rv.cg(A, np.ones((2, 2)), rtol=1e-12).x
    array([[0.5  , 0.25 ],
           [1.   , 0.125]])
    """

    library = "numpy"

    def __init__(self, pattern: Pattern, values: np.ndarray) -> None:
        self.pattern, self.values = pattern, values
        self.shape = (*values.shape[:-1], pattern.n, pattern.n)
        self.dtype = values.dtype

    def __getitem__(self, at: Any) -> Operator:
        values = self.values[at]
        if values.ndim != 1:
            raise IndexError(f"found the index {at} of a stack of {self.shape[:-2]} matrices")
        return CSR(self.pattern.indptr, self.pattern.indices, values)

    def __repr__(self) -> str:
        n = self.pattern.n
        return f"<CSRStack of {self.shape[:-2]} matrices {n}x{n} {self.dtype}>"
