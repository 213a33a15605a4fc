"""Many matrices of one shape: the pattern of a sparse matrix taken apart from its values, and stacks on one pattern."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from ..errors import InputError
from ..precision import working_dtype
from .base import Operator
from .csr import CSR
from .libraries import dtype_of, library_of
from .stencil import Stencil

__all__ = ["CSRStack", "Pattern", "StencilStack"]


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
        self._order: np.ndarray | None = None
        self._starts: np.ndarray | None = None
        self.indptr, self.indices = indptr, indices
        if not is_sorted:
            self._sort(np.repeat(np.arange(len(indptr) - 1), np.diff(indptr)), indices, len(indptr) - 1)

    @staticmethod
    def of_coordinates(rows: np.ndarray, columns: np.ndarray, n: int) -> Pattern:
        """Of entries given by row and column, in any order."""
        pattern = Pattern(np.zeros(n + 1, columns.dtype), columns[:0], True)
        pattern._sort(rows, columns, n)
        return pattern

    def _sort(self, rows: np.ndarray, columns: np.ndarray, n: int) -> None:
        order = np.lexsort((columns, rows))
        rows, columns = rows[order], columns[order]
        first = np.append(True, (np.diff(rows) != 0) | (np.diff(columns) != 0))[: len(columns)]
        if not first.all():
            self._starts = np.flatnonzero(first)
            rows, columns = rows[first], columns[first]
        if not np.array_equal(order, np.arange(len(order))):
            self._order = order
        ends = np.cumsum(np.bincount(rows, minlength=n))
        self.indptr = np.concatenate([[0], ends]).astype(columns.dtype)
        self.indices = columns

    @property
    def n(self) -> int:
        """Rows, and columns."""
        return len(self.indptr) - 1

    @cached_property
    def rows(self) -> np.ndarray:
        """The row of each entry."""
        return np.repeat(np.arange(self.n), np.diff(self.indptr))

    @cached_property
    def diagonal(self) -> np.ndarray:
        """Where the diagonal entry of each row is, or -1."""
        return self._place_of(np.arange(self.n), np.arange(self.n))

    @cached_property
    def transposed(self) -> np.ndarray:
        """Where the entry (j, i) of each entry (i, j) is, or -1."""
        return self._place_of(self.indices, self.rows)

    def _place_of(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        numbers, wanted = self.rows * self.n + self.indices, rows * np.int64(self.n) + columns
        if not len(numbers):
            return np.full(len(wanted), -1)
        at = np.minimum(np.searchsorted(numbers, wanted), len(numbers) - 1)
        return np.where(numbers[at] == wanted, at, -1)

    def placed(self, values: Any) -> Any:
        """The values, (..., given), in the order of this pattern, those of one place added up; a contiguous copy.

        An array of NumPy, torch or CuPy; so is what comes back.
        """
        xp = array_namespace(values)

        def taken(places: np.ndarray) -> Any:
            return xp.take(values, _index(places, values), axis=-1)

        if self._order is not None:
            values = taken(self._order)
        if self._starts is None:
            return np.array(values, order="C") if xp is np else xp.asarray(values, copy=True)
        given = values.shape[-1]
        ends, total = np.append(self._starts[1:], given), taken(self._starts)
        for k in range(1, int((ends - self._starts).max(initial=0))):
            more = np.flatnonzero(self._starts + k < ends)
            total[..., _index(more, values)] += taken(self._starts[more] + k)
        return total


def _index(places: np.ndarray, like: Any) -> Any:
    """Places as an array to index with, where another one lies."""
    return array_namespace(like).asarray(places, device=device(like))


class StencilStack:
    """Constant stencils on one grid, with coefficients of their own.

    Parameters
    ----------
    grid : tuple of 1 to 3 int
        As of a ``Stencil``.
    center : array_like, (...)
        Coefficients of the points themselves.
    axes : tuple of (array_like, array_like), one pair an axis
        Of the neighbours at index - 1 and index + 1, (...) or what broadcasts to that.

    Examples
    --------
    Three shifted Laplacians, and a right-hand side for each:

    >>> import numpy as np, resolvent as rv
    >>> A = rv.StencilStack((4,), 2.0 + np.array([0.0, 1.0, 2.0]), ((-1.0, -1.0),))
    >>> A.shape, rv.cg(A, np.ones((3, 4)), rtol=1e-10).converged
    ((3, 4, 4), True)
    """

    library = "numpy"

    def __init__(self, grid: Any, center: Any, axes: Any) -> None:
        pairs = [value for pair in axes for value in pair]
        parts = np.broadcast_arrays(center, *pairs)
        dtype = working_dtype(*(part.dtype for part in parts))
        self.coefficients = np.stack(parts, axis=-1).astype(dtype)
        self.dtype = dtype
        lead = self.coefficients.shape[:-1]
        if not lead:
            raise InputError("center, axes: found numbers; wanted arrays of coefficients, or a Stencil")
        self.grid = Stencil(grid, 1.0, [(0.0, 0.0)] * (len(pairs) // 2), dtype).grid  # which checks it
        n = math.prod(self.grid)
        self.shape = (*lead, n, n)

    def __getitem__(self, at: Any) -> Operator:
        center, *pairs = self.coefficients[at]
        return Stencil(self.grid, center, tuple(zip(pairs[::2], pairs[1::2], strict=True)), self.dtype)

    def tocsr(self) -> CSRStack:
        """The same as sparse matrices of one pattern."""
        count = self.coefficients.shape[-1]
        numbers = np.arange(1.0, count + 1)
        marked = Stencil(self.grid, numbers[0], tuple(zip(numbers[1::2], numbers[2::2], strict=True))).tocsr()
        values = self.coefficients[..., marked.data.astype(int) - 1]
        return CSRStack(Pattern(marked.indptr, marked.indices, True), np.ascontiguousarray(values))

    def __repr__(self) -> str:
        return f"<StencilStack of {self.shape[:-2]} stencils on {self.grid} {self.dtype}>"


class CSRStack:
    """Sparse matrices of one pattern, in arrays of NumPy, torch or CuPy.

    Parameters
    ----------
    pattern : Pattern
    values : array, (..., entries)
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

    def __init__(self, pattern: Pattern, values: Any) -> None:
        self.pattern, self.values = pattern, values
        self.shape = (*values.shape[:-1], pattern.n, pattern.n)
        self.library, self.dtype = library_of(values), dtype_of(values)

    def __getitem__(self, at: Any) -> Operator | CSRStack:
        """One of them: of NumPy an operator, else a stack of no axes, which backends take for a matrix."""
        values = self.values[at]
        if values.ndim != 1:
            raise IndexError(f"found the index {at} of a stack of {self.shape[:-2]} matrices")
        if self.library == "numpy":
            return CSR(self.pattern.indptr, self.pattern.indices, values)
        return CSRStack(self.pattern, values)

    def __repr__(self) -> str:
        n = self.pattern.n
        if len(self.shape) == 2:
            return f"<CSRStack of one matrix {n}x{n} {self.dtype}>"
        return f"<CSRStack of {self.shape[:-2]} matrices {n}x{n} {self.dtype}>"
