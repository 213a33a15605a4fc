"""Matrices that are tensors, dense or sparse: their entries, their facts, and what their layouts are checked for."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import scipy.sparse as sparse
import torch

from ..errors import BackendError, InputError
from ..operators import Facts, Operator
from ..precision import working_dtype
from ..precision.sparse_arrays import SORTED, UNSORTED, coordinates_fault, look_at_rows, rows_kind
from .array_api_backend import csr_facts, dense_facts
from .compiled import facts as kernels
from .protocol import powers_of_two

__all__ = [
    "TorchCSR",
    "TorchDense",
    "TorchMatrix",
    "checked_layout",
    "TORCH_DTYPES",
    "NUMPY_DTYPES",
    "WIDER",
    "WORDS",
    "as_number",
    "plain_tensor",
    "host_array",
    "numpy_dtype_of",
    "working_dtype_of",
    "sparse_csr_of",
    "canonical",
]

_LARGEST_SINGLE = float(np.finfo(np.float32).max)
TORCH_DTYPES = {np.dtype(name): getattr(torch, name) for name in ("float32", "float64", "complex64", "complex128")}
NUMPY_DTYPES = {known: dtype for dtype, known in TORCH_DTYPES.items()} | {
    getattr(torch, name): np.dtype(name) for name in ("bool", "uint8", "int8", "int16", "int32", "int64", "float16")
}
NUMPY_DTYPES[torch.bfloat16] = np.dtype("float16")  # NumPy lacks it; both half precisions are carried in float32
WORDS = {torch.float32: torch.int32} | dict.fromkeys((torch.float64, torch.complex64, torch.complex128), torch.int64)
WIDER = {torch.float32: torch.float64, torch.complex64: torch.complex128}
# Compressed layouts: whether by rows, whether in blocks, and what messages call starts, lines and places.
_COMPRESSED = {
    torch.sparse_csr: (True, False, ("crow_indices", "row", "column")),
    torch.sparse_csc: (False, False, ("ccol_indices", "column", "row")),
    torch.sparse_bsr: (True, True, ("crow_indices", "block row", "block column")),
    torch.sparse_bsc: (False, True, ("ccol_indices", "block column", "block row")),
}


class TorchMatrix(Operator):
    """A tensor with entries. ``tocsr`` copies them to the host, which only orderings of relaxations ask for."""

    library = "torch"

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix
        self.shape = (matrix.shape[0], matrix.shape[1])
        self.dtype = NUMPY_DTYPES[matrix.dtype]

    def matvec(self, x: Any) -> Any:
        return torch.mv(self.matrix, x)

    def rescaled(self, exponent: int) -> Operator:
        return self.mapped(lambda values: _times_power_of_two(values, exponent))

    def rows(self, part: slice, dtype: Any) -> Any:
        """Some rows in another precision."""
        raise NotImplementedError


class TorchDense(TorchMatrix):
    """A full matrix."""

    kind = "dense"

    @property
    def entries(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def values(self) -> Any:
        return self.matrix

    def adjoint(self) -> TorchDense:
        return TorchDense(self.matrix.mH.resolve_conj())

    def tocsr(self) -> Any:
        return sparse.csr_array(host_array(self.matrix))

    def diagonal(self) -> Any:
        return self.matrix.diagonal().clone()

    def facts(self) -> Facts:
        return dense_facts(self.matrix)

    def mapped(self, function: Callable[[Any], Any]) -> TorchDense:
        return TorchDense(function(self.matrix))

    def astype(self, dtype: np.dtype) -> TorchDense:
        return self if dtype == self.dtype else TorchDense(self.matrix.to(TORCH_DTYPES[dtype]))

    def rows(self, part: slice, dtype: Any) -> Any:
        return self.matrix[part].to(dtype)

    def over(self, omega: float) -> Any:
        """A with its diagonal divided by omega; A itself for 1, and the last one asked for is kept."""
        if omega == 1:
            return self.matrix
        kept = self.__dict__.get("_over")
        if kept is None or kept[0] != omega:
            matrix = self.matrix.clone()
            matrix.diagonal().div_(omega)
            kept = self.__dict__["_over"] = (omega, matrix)
        return kept[1]


class TorchCSR(TorchMatrix):
    """A sparse CSR tensor, its columns sorted and without duplicates."""

    kind = "csr"

    @property
    def entries(self) -> int:
        return self.matrix.values().numel()

    @property
    def values(self) -> Any:
        return self.matrix.values()

    def adjoint(self) -> TorchCSR:
        rows, columns = _coordinates(self.matrix)
        values = self.matrix.values().conj().resolve_conj()
        where = torch.stack((columns, rows))
        size = self.shape[::-1]
        flipped = torch.sparse_coo_tensor(where, values, size, device=values.device, check_invariants=False)
        return TorchCSR(flipped.coalesce().to_sparse_csr())

    def tocsr(self) -> Any:
        A = self.matrix
        parts = (host_array(A.values()), host_array(A.col_indices()), host_array(A.crow_indices()))
        matrix = sparse.csr_array(parts, shape=self.shape)
        matrix.has_canonical_format = True
        return matrix

    def diagonal(self) -> Any:
        rows, columns = _coordinates(self.matrix)
        result = self.matrix.values().new_zeros(self.shape[0])
        result[rows[rows == columns]] = self.matrix.values()[rows == columns]
        return result

    def facts(self) -> Facts:
        starts = self.matrix.crow_indices()
        return csr_facts(
            starts,
            self.matrix.col_indices(),
            self.matrix.values(),
            lambda values: torch.segment_reduce(values, "sum", offsets=starts),
        )

    def mapped(self, function: Callable[[Any], Any]) -> TorchCSR:
        return self._with(function(self.matrix.values()))

    def astype(self, dtype: np.dtype) -> TorchCSR:
        return self if dtype == self.dtype else self._with(self.matrix.values().to(TORCH_DTYPES[dtype]))

    def rows(self, part: slice, dtype: Any) -> Any:
        A = self.matrix
        starts = A.crow_indices()[part.start : part.stop + 1]
        low, high = int(starts[0]), int(starts[-1])
        size = (part.stop - part.start, self.shape[1])
        return sparse_csr_of(starts - starts[0], A.col_indices()[low:high], A.values()[low:high].to(dtype), size)

    def _with(self, values: Any) -> TorchCSR:
        return TorchCSR(sparse_csr_of(self.matrix.crow_indices(), self.matrix.col_indices(), values, self.shape))


def plain_tensor(x: Any) -> Any:
    """A tensor outside of any graph, without the lazy conjugate or negative that some kernels do not take."""
    return x.detach().resolve_conj().resolve_neg()


def host_array(x: Any) -> Any:
    """A tensor as a NumPy array; bfloat16, which NumPy lacks, in single precision."""
    x = plain_tensor(x).cpu()
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy()


def as_number(a: complex, x: Any) -> complex:
    """A factor in x's precision: torch refuses one out of range where a product would have given infinity."""
    if x.dtype in WIDER and not abs(a) <= _LARGEST_SINGLE:
        return a if a != a else complex(np.complex64(a)) if isinstance(a, complex) else math.copysign(math.inf, a)
    return a


def _times_power_of_two(values: Any, exponent: int) -> Any:
    values = values.clone()
    for power in powers_of_two(exponent, NUMPY_DTYPES[values.dtype]):
        values.mul_(power)
    return values


def numpy_dtype_of(dtype: Any) -> np.dtype:
    """The NumPy dtype for torch's, or for a name or type that NumPy knows."""
    if not isinstance(dtype, torch.dtype):
        return np.dtype(dtype)
    if dtype not in NUMPY_DTYPES:
        raise TypeError(f"dtype {dtype} is not a working precision; wanted float32, float64, complex or half")
    return NUMPY_DTYPES[dtype]


@cache
def working_dtype_of(dtype: Any, name: str) -> np.dtype:
    """The precision that such entries are worked in; errors name the argument."""
    try:
        return working_dtype(numpy_dtype_of(dtype))
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None


def sparse_csr_of(starts: Any, columns: Any, values: Any, size: Any) -> Any:
    """A sparse CSR tensor of arrays that are known to fit."""
    parts = (starts, columns, values, tuple(size))
    # The device is named, since a default one set by the caller would move the parts there.
    return torch.sparse_csr_tensor(*parts, device=values.device, check_invariants=False)


def canonical(A: Any, name: str, dtype: Any) -> Any:
    """Any sparse layout as CSR in a working precision, with increasing columns in each row."""
    kind = checked_layout(A, name)
    A = A.to(dtype)
    if A.layout != torch.sparse_csr:
        return A.to_sparse_coo().coalesce().to_sparse_csr()
    starts, columns, values = A.crow_indices(), A.col_indices(), A.values()
    end = int(starts[-1])
    if end < max(len(columns), len(values)):
        A = sparse_csr_of(starts, columns[:end], values[:end], A.shape)
    if kind == SORTED:
        return A
    where = torch.stack(_coordinates(A))
    coordinates = torch.sparse_coo_tensor(where, A.values(), tuple(A.shape), device=A.device)
    return coordinates.coalesce().to_sparse_csr()


def _have_it_said() -> None:
    """Have torch say unheard, once a process as it does, that sparse tensors are young.

    Here rather than around each of them: filters of warnings are one list for all threads.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        torch.ones(1, 1, device="cpu").to_sparse_csr()


def checked_layout(A: Any, name: str) -> int:
    """Refuse a sparse tensor whose indices point out of it, which torch takes when it is told not to check.

    Returns
    -------
    int
        What ``rows_kind`` says; UNSORTED of coordinates.
    """
    kind, fault, (rows, columns) = UNSORTED, None, A.shape
    if A.layout == torch.sparse_coo:
        places, count = A._indices(), len(A._values())
        limits = torch.tensor([[rows], [columns]], device=places.device)
        if places.shape != (2, count) or bool(((places < 0) | (places >= limits)).any()):
            fault = coordinates_fault(tuple(map(host_array, places)), count, (rows, columns))
    elif A.layout in _COMPRESSED:
        by_rows, blocks, words = _COMPRESSED[A.layout]
        starts, indices = (A.crow_indices(), A.col_indices()) if by_rows else (A.ccol_indices(), A.row_indices())
        if blocks:
            rows, columns = rows // A.values().shape[1], columns // A.values().shape[2]
        shape = (rows, columns) if by_rows else (columns, rows)
        look = _rows_kind if A.is_cpu else rows_kind
        kind, fault = look_at_rows(starts, indices, len(A.values()), shape, words, kind=look, host=host_array)
    else:
        raise BackendError(f"{name}: found a tensor of layout {A.layout}; wanted a dense or a sparse one")
    if fault:
        raise InputError(f"{name}: {fault}")
    return kind


def _rows_kind(starts: Any, indices: Any, width: int) -> int:
    """``rows_kind`` in one compiled pass."""
    return int(kernels.rows_kind(np.ascontiguousarray(starts.numpy()), np.ascontiguousarray(indices.numpy()), width))


def _coordinates(A: Any) -> tuple[Any, Any]:
    """Row and column of each entry."""
    starts, columns = A.crow_indices().to(torch.int64), A.col_indices().to(torch.int64)
    rows = torch.arange(A.shape[0], device=columns.device)
    return torch.repeat_interleave(rows, starts.diff()), columns


_have_it_said()
