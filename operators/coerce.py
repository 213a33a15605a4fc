"""From what users have to an Operator: arrays, any SciPy sparse format, LinearOperator, callables."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, overload

import numpy as np
import scipy.sparse as sparse
from array_api_compat import array_namespace, device

from ..errors import BackendError, InputError, undeclared
from ..precision import working_dtype
from ..precision.sparse_arrays import SORTED, csr_arrays, look_at_rows
from ..precision.sparse_arrays import rows_kind as sorted_or_not
from .base import Operator
from .black_box import BlackBox, MatrixFree, guarded
from .csr import CSR
from .dense import Dense
from .exchange import NumpyExchange, refuse_masked
from .libraries import dtype_of, library_of, on_host
from .stack import CSRStack, Pattern

__all__ = ["as_operator", "check_matrix", "check_square", "pattern_of"]

_EXCHANGE = NumpyExchange()


def check_square(shape: Any, name: str = "A") -> None:
    """Refuse anything but (n, n)."""
    check_matrix(shape, name, square=True)


def check_matrix(shape: Any, name: str = "A", square: bool = False) -> None:
    """Refuse anything but (m, n), or but (n, n) where it has to be square."""
    if len(shape) != 2 or (square and shape[0] != shape[1]):
        wanted = "a square matrix (n, n)" if square else "a matrix (m, n)"
        raise InputError(f"{name}: found shape {tuple(shape)}; wanted {wanted}")


@overload
def as_operator(
    A: tuple[Any, Any, Any],
    shape: tuple[int, int],
    *,
    name: str = "A",
    rows_kind: Callable[[Any, Any, int], int] | None = None,
) -> CSR | CSRStack: ...


@overload
def as_operator(
    A: Callable[[Any], Any], shape: tuple[int, int], dtype: Any = ..., *, rmatvec: Callable[[Any], Any] | None = None
) -> MatrixFree: ...


@overload
def as_operator(
    A: Any, *, name: str = "A", rows_kind: Callable[[Any, Any, int], int] | None = None, square: bool = True
) -> Operator: ...


def as_operator(
    A: Any,
    shape: tuple[int, int] | None = None,
    dtype: Any = None,
    *,
    name: str = "A",
    rows_kind: Callable[[Any, Any, int], int] | None = None,
    square: bool = True,
    rmatvec: Callable[[Any], Any] | None = None,
) -> Operator | CSRStack | MatrixFree:
    """An Operator over NumPy arrays, a stack of sparse matrices of one pattern, or a callable with shape and dtype.

    Parameters
    ----------
    A : Operator, array_like of shape (n, n), SciPy sparse array or matrix, LinearOperator, or callable
        A callable needs ``shape`` and ``dtype`` attributes and maps (n,) to (n,). Sparse formats other than CSR, and
        CSR with unsorted or repeated indices, are converted into a copy; the caller's arrays are never changed.
        Entries beyond those that ``indptr`` names are left out. With ``shape``: the arrays (indptr, indices, values)
        of compressed rows, values of shape (..., entries) for as many matrices of that pattern; of NumPy, or all three
        of torch or CuPy and on one device.
    shape : (int, int), optional
        (n, n) of the matrices that the three arrays stand for; (m, n) of a callable, which is then taken as the product
        with A of vectors of any library.
    dtype : dtype, optional
        Of the products of such a callable: float64 unless given.
    rmatvec : callable, optional
        From (m,) to (n,), its product with A^H.
    name : str
        What messages call it.
    rows_kind : callable, optional
        A faster ``rows_kind``, the look at (indptr, indices, n) that finds out whether they describe sorted rows.
    square : bool
        Refuse (m, n) of other m than n, which least squares alone take. A LinearOperator or callable then needs a
        method ``rmatvec``, the product with A^H, beside it.

    Raises
    ------
    InputError
        For anything not square unless told otherwise, and for a sparse matrix whose arrays point out of themselves or
        of its shape.
    TypeError
        For what cannot be multiplied with a vector, or is in no working precision.
    BackendError
        For arrays of another library than NumPy; for three arrays of several libraries or on several devices.

    Examples
    --------
    >>> import numpy as np, scipy.sparse as sparse
    >>> from resolvent.operators import as_operator
    >>> as_operator(sparse.eye_array(3, format="coo"))
    <CSR 3x3 float64>
    >>> as_operator(([0, 1, 2], [0, 1], np.ones((5, 2))), (2, 2))
    <CSRStack of (5,) matrices 2x2 float64>
    >>> as_operator(lambda x: 2 * x, (3, 3))
    <matrix-free 3x3 float64>
    """
    if shape is not None and callable(A):
        m, n = shape
        return MatrixFree(A, (operator.index(m), operator.index(n)), np.float64 if dtype is None else dtype, rmatvec)
    if dtype is not None or rmatvec is not None:
        raise InputError("dtype, rmatvec: are of a callable, declared with its shape")
    if shape is not None:
        return _of_arrays(A, shape, name, rows_kind)
    if library_of(A) not in (None, "numpy"):
        raise BackendError(f"{name}: found {type(A).__name__} of {library_of(A)}; convert it to NumPy first")
    if isinstance(A, Operator):
        check_matrix(A.shape, name, square)
        return guarded(A, _EXCHANGE, name)
    if isinstance(A, np.ndarray):
        refuse_masked(A, name)
        check_matrix(A.shape, name, square)
        return Dense(_in_working_precision(A, name))
    if sparse.issparse(A):
        check_matrix(A.shape, name, square)
        indptr, indices, data, is_sorted = csr_arrays(A, name, kind=rows_kind, error=InputError)
        data = _in_working_precision(data, name)
        if not is_sorted:
            matrix = sparse.csr_array((data.copy(), indices.copy(), indptr.copy()), shape=A.shape)
            matrix.sum_duplicates()
            indptr, indices, data = matrix.indptr, matrix.indices, matrix.data
        return CSR(indptr, indices, np.ascontiguousarray(data), int(A.shape[1]))
    multiply = getattr(A, "matvec", None) or (A if callable(A) else None)
    if multiply is not None:
        shape, dtype = getattr(A, "shape", None), getattr(A, "dtype", None)
        if shape is None or dtype is None:
            raise undeclared(A, name)
        check_matrix(shape, name, square)
        adjoint = getattr(A, "rmatvec", None)
        return BlackBox(multiply, shape, _dtype(dtype, name), name=name, adjoint_multiply=adjoint)
    try:
        array = np.asarray(A)
    except ValueError as error:
        raise InputError(f"{name}: cannot be read as a matrix ({error})") from None
    if array.dtype.kind not in "biufc":
        raise TypeError(
            f"{name}: found {type(A).__name__}; wanted an array, a sparse matrix, a LinearOperator or a callable"
        )
    check_matrix(array.shape, name, square)
    return Dense(_in_working_precision(array, name))


def _of_arrays(arrays: Any, shape: Any, name: str, kind: Callable[[Any, Any, int], int] | None) -> CSR | CSRStack:
    """The matrices of compressed rows (indptr, indices, values), values (..., entries)."""
    try:
        indptr, indices, values = arrays
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: wanted three arrays (indptr, indices, values) beside a shape ({error})") from None
    library = library_of(values)
    if library not in ("numpy", "torch", "cupy"):
        raise BackendError(f"{name}: values is a {type(values).__name__}; wanted an array of NumPy, torch or CuPy")
    for part, what in ((indptr, "indptr"), (indices, "indices"), (values, "values")):
        if library_of(part) != library:
            raise BackendError(
                f"{name}: {what} is a {type(part).__name__}, but values a {type(values).__name__}; wanted arrays of "
                "one library, since nothing is moved silently"
            )
        if library != "numpy" and device(part) != device(values):
            raise BackendError(
                f"{name}: {what} lies on {device(part)}, but values on {device(values)}; move one of them first, since "
                "nothing is moved silently"
            )
        refuse_masked(part, f"{name}: {what}")
    try:
        indptr, indices = map(on_host, (indptr, indices))
        values = np.asarray(values) if library == "numpy" else getattr(values, "detach", lambda: values)()
        shape = tuple(operator.index(size) for size in shape)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: wanted arrays (indptr, indices, values) and a shape (n, n) ({error})") from None
    check_square(shape, name)
    if values.ndim == 0:
        raise InputError(f"{name}: values is a number; wanted an array of shape (..., {len(indices)})")
    pattern = pattern_of(indptr, indices, values.shape[-1], shape, name, kind)
    placed = pattern.placed(_in_working_precision(values, name))
    if values.ndim == 1 and library == "numpy":
        return CSR(pattern.indptr, pattern.indices, placed)
    return CSRStack(pattern, placed)


def pattern_of(
    indptr: Any,
    indices: Any,
    values: int,
    shape: tuple[int, int],
    name: str = "A",
    kind: Callable[[Any, Any, int], int] | None = None,
) -> Pattern:
    """The pattern of compressed rows, copies of their arrays; an error where they do not describe one."""
    found, fault = look_at_rows(indptr, indices, values, shape, kind=kind or sorted_or_not)
    if fault is None and not int(indptr[-1]) == len(indices) == values:
        fault = f"its rows hold {int(indptr[-1])} entries, for {len(indices)} indices and {values} values"
    if fault:
        raise InputError(f"{name}: {fault}")
    index = [
        np.array(part, np.int64 if part.dtype.kind != "i" or part.dtype.itemsize != 4 else np.int32)
        for part in (indptr, indices)
    ]
    return Pattern(index[0], index[1], found == SORTED)


def _dtype(dtype: Any, name: str) -> np.dtype:
    try:
        return working_dtype(dtype)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None


def _in_working_precision(values: Any, name: str) -> Any:
    try:
        found = dtype_of(values)
    except TypeError:
        raise TypeError(f"{name}: dtype {values.dtype} is not a working precision; wanted float32 or float64") from None
    dtype = _dtype(found, name)
    if isinstance(values, np.ndarray):
        return values if values.dtype == dtype else values.astype(dtype)
    xp = array_namespace(values)
    return xp.astype(values, getattr(xp, dtype.name), copy=False)
