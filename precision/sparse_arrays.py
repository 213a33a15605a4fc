"""Whether the arrays of a sparse matrix describe one: asked before anything multiplies with them or converts them.

SciPy checks arrays when it is given them, and not what is done to them afterwards; its conversions and every compiled
product write and read where the arrays say. So they are looked at once, in the pass that finds out whether columns are
sorted.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np

__all__ = ["FAULTY", "SORTED", "UNSORTED", "coordinates_fault", "csr_arrays", "look_at_rows", "rows_fault", "rows_kind"]

# What a look at rows finds: every index in range and increasing strictly within its row; in range; anything else.
SORTED, UNSORTED, FAULTY = 0, 1, 2


def csr_arrays(
    A: Any,
    name: str = "A",
    *,
    kind: Callable[[Any, Any, int], int] | None = None,
    error: type[Exception] = ValueError,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """The arrays of a SciPy sparse matrix by rows, and whether the columns of each row increase strictly.

    Parameters
    ----------
    A : SciPy sparse array or matrix, (m, n)
        Of any format. Flags that it carries are not believed. Entries beyond those that ``indptr`` names are left out.
    name : str
        What messages call it.
    kind : callable, optional
        A faster ``rows_kind``.
    error : type
        Raised where the arrays do not describe a matrix.

    Returns
    -------
    indptr, indices, data : ndarray
        Views of A's own arrays where A is CSR.
    bool

    Examples
    --------
    >>> import scipy.sparse as sparse
    >>> from resolvent.precision.sparse_arrays import csr_arrays
    >>> A = sparse.eye_array(3, format="csr")
    >>> A.indices[1] = 7
    >>> csr_arrays(A)
    Traceback (most recent call last):
        ...
    ValueError: A: row 1 holds column 7; wanted columns 0 to 2
    """
    if A.format != "csr":
        fault = _unconvertible(A)
        if fault:
            raise error(f"{name}: {fault}")
        A = A.tocsr()
    if A.data.ndim != 1:
        raise error(f"{name}: data is of shape {A.data.shape}; wanted one dimension")
    indptr, indices = _as_index(A.indptr), _as_index(A.indices)
    found, fault = look_at_rows(indptr, indices, len(A.data), A.shape, kind=kind or rows_kind)
    if fault:
        raise error(f"{name}: {fault}")
    end = int(indptr[-1])
    return indptr, indices[:end], A.data[:end], found == SORTED


def look_at_rows(
    starts: Any,
    indices: Any,
    values: int,
    shape: tuple[int, int],
    words: tuple[str, str, str] = ("indptr", "row", "column"),
    *,
    kind: Callable[[Any, Any, int], int],
    host: Callable[[Any], np.ndarray] = np.asarray,
) -> tuple[int, str | None]:
    """What ``kind`` says of compressed rows, and in words what is wrong with them, if anything.

    Parameters
    ----------
    starts, indices : arrays of any library
    values, shape, words :
        As for ``rows_fault``.
    kind : callable
        ``rows_kind`` for this library.
    host : callable
        Brings an array into NumPy, for the words.
    """
    lines, width = shape
    integers = starts.ndim == indices.ndim == 1 and _integral(starts) and _integral(indices)
    found = kind(starts, indices, width) if integers and len(starts) == lines + 1 else FAULTY
    if found == FAULTY or int(starts[-1]) > values:
        return FAULTY, rows_fault(host(starts), host(indices), values, shape, words)
    return found, None


def rows_kind(starts: Any, indices: Any, width: int) -> int:
    """SORTED, UNSORTED or FAULTY: what the indices of rows are, for a matrix of ``width`` columns.

    Parameters
    ----------
    starts, indices : arrays of integers, (lines + 1,) and (entries or more,)
    width : int
        Every index has to be at least 0 and less than this.

    Notes
    -----
    For arrays of NumPy, CuPy or torch; four scalars come back from their device.
    """
    end = int(starts[-1])
    if not 0 <= end <= len(indices):
        return FAULTY
    indices = indices[:end]
    wrong = (starts[1:] < starts[:-1]).any() | (starts[:1] != 0).any()
    if bool(wrong | (indices < 0).any() | (indices >= width).any()):
        return FAULTY
    # Columns increase strictly in each row where, wherever they do not, a row begins.
    begins = starts[:-1][(starts[:-1] > 0) & (starts[:-1] < starts[1:])]
    falls = (indices[1:] <= indices[:-1]).sum() - (indices[begins] <= indices[begins - 1]).sum()
    return UNSORTED if bool(falls) else SORTED


def rows_fault(
    starts: np.ndarray,
    indices: np.ndarray,
    values: int,
    shape: tuple[int, int],
    words: tuple[str, str, str] = ("indptr", "row", "column"),
) -> str | None:
    """What is wrong with compressed rows, in words, or None.

    Parameters
    ----------
    starts, indices : ndarray
    values : int
        How many there are.
    shape : (int, int)
        Number of rows and of columns; the other way round for compressed columns.
    words : (str, str, str)
        What starts, rows and columns are called.
    """
    starts_name, line, place = words
    lines, width = shape
    for part, called in ((starts, starts_name), (indices, "indices")):
        if part.ndim != 1 or part.dtype.kind not in "iu":
            return f"{called} is an array of {part.dtype} of shape {part.shape}; wanted integers in one dimension"
    if len(starts) != lines + 1:
        return f"{starts_name} has {len(starts)} entries; wanted {lines + 1} for {lines} {line}s"
    if starts[0] != 0:
        return f"{starts_name} begins with {starts[0]}; wanted 0"
    falling = np.flatnonzero(starts[1:] < starts[:-1])
    if falling.size:
        i = falling[0]
        return (
            f"{line} {i} begins at entry {starts[i]} and ends at {starts[i + 1]}; wanted {starts_name} not to decrease"
        )
    held = min(len(indices), values)
    if starts[-1] > held:
        i = np.searchsorted(starts, held, side="right") - 1
        return f"{line} {i} ends at entry {starts[i + 1]}, of {len(indices)} indices and {values} values"
    outside = np.flatnonzero((indices[: starts[-1]] < 0) | (indices[: starts[-1]] >= width))
    if outside.size:
        i = np.searchsorted(starts, outside[0], side="right") - 1
        return f"{line} {i} holds {place} {indices[outside[0]]}; wanted {place}s 0 to {width - 1}"
    return None


def coordinates_fault(coordinates: Any, values: int, shape: tuple[int, int]) -> str | None:
    """What is wrong with entries given by row and column, in words, or None.

    Parameters
    ----------
    coordinates : (rows, columns), each an ndarray
    values : int
        How many there are.
    shape : (int, int)
    """
    counts = [len(part) for part in coordinates]
    if len(counts) != 2 or counts[0] != counts[1] or counts[0] != values:
        return f"found {' and '.join(map(str, counts))} indices for {values} values; wanted a row and a column for each"
    for part, size, called in zip(coordinates, shape, ("row", "column"), strict=True):
        if part.ndim != 1 or part.dtype.kind not in "iu":
            return f"{called} indices are {part.dtype} of shape {part.shape}; wanted integers in one dimension"
        outside = np.flatnonzero((part < 0) | (part >= size))
        if outside.size:
            return f"entry {outside[0]} lies in {called} {part[outside[0]]}; wanted {called}s 0 to {size - 1}"
    return None


def _integral(part: Any) -> bool:
    """Whether an array of any library holds integers."""
    dtype = part.dtype
    return dtype.kind in "iu" if hasattr(dtype, "kind") else not (dtype.is_floating_point or dtype.is_complex)


def _as_index(part: np.ndarray) -> np.ndarray:
    """In a type of index that products are compiled for; one too large for it becomes negative, and is found."""
    kind = part.dtype.kind
    compiled = kind == "i" and part.dtype.itemsize >= 4 and part.dtype.isnative
    return part if compiled or kind not in "iu" else part.astype(np.int64)


def _unconvertible(A: Any) -> str | None:
    """What is wrong with another format than CSR, so far as converting it relies on it."""
    rows, columns = A.shape
    if A.format == "csc":
        return rows_fault(A.indptr, A.indices, len(A.data), (columns, rows), ("indptr", "column", "row"))
    if A.format == "bsr":
        if A.data.ndim != 3:
            return f"data is of shape {A.data.shape}; wanted blocks in three dimensions"
        high, wide = A.data.shape[1:]
        if not (high and wide) or rows % high or columns % wide:
            return f"blocks of {high} x {wide} do not divide a matrix of {rows} x {columns}"
        words = ("indptr", "block row", "block column")
        return rows_fault(A.indptr, A.indices, len(A.data), (rows // high, columns // wide), words)
    if A.format == "coo":
        return coordinates_fault(A.coords, len(A.data), A.shape)
    if A.format == "dok":
        places = np.array(list(A.keys())).reshape(-1, 2)
        return coordinates_fault(tuple(places.T), len(places), A.shape) if places.size else None
    if A.format == "lil":
        if len(A.rows) != rows or len(A.data) != rows:
            return f"found {len(A.rows)} lists of columns and {len(A.data)} of values; wanted {rows} of each"
        for i, (places, values) in enumerate(zip(A.rows, A.data, strict=True)):
            if len(places) != len(values):
                return f"row {i} holds {len(places)} columns and {len(values)} values"
        places = np.array(list(chain.from_iterable(A.rows)))
        lines = np.repeat(np.arange(rows), [len(row) for row in A.rows])
        return coordinates_fault((lines, places), len(places), A.shape) if places.size else None
    if A.format == "dia":
        if A.data.ndim != 2 or A.offsets.shape != A.data.shape[:1]:
            return f"data is of shape {A.data.shape} for {len(A.offsets)} offsets; wanted a row for each"
        if A.offsets.dtype.kind not in "iu":
            return f"offsets are {A.offsets.dtype}; wanted integers"
    return None
