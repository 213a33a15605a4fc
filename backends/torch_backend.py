"""PyTorch tensors, dense or sparse, on the device where they are, by torch's own operations."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sparse
import torch

from ..errors import BackendError, InputError
from ..operators import BlackBox, CSRStack, Facts, Operator, check_matrix, guarded
from ..operators.coerce import pattern_of
from ..operators.exchange import PRODUCT, Wording
from ..operators.ordering import Ordering
from ..precision import round as round_to
from ..precision import working_dtype
from ..precision.policy import Precision
from ..precision.sparse_arrays import SORTED, UNSORTED, coordinates_fault, look_at_rows, rows_kind
from .array_api_backend import csr_facts, dense_facts
from .block import Block
from .compiled import facts as kernels
from .protocol import Backend, powers_of_two

__all__ = ["TorchBackend", "TorchCSR", "TorchDense", "TorchMatrix", "checked_layout"]

BLOCK = 1 << 22  # entries that an accurate residual widens at a time
_LARGEST_SINGLE = float(np.finfo(np.float32).max)
_TORCH = {np.dtype(name): getattr(torch, name) for name in ("float32", "float64", "complex64", "complex128")}
_NUMPY = {known: dtype for dtype, known in _TORCH.items()} | {
    getattr(torch, name): np.dtype(name) for name in ("bool", "uint8", "int8", "int16", "int32", "int64", "float16")
}
_NUMPY[torch.bfloat16] = np.dtype("float16")  # NumPy lacks it; both half precisions are carried in float32
_WORDS = {torch.float32: torch.int32} | dict.fromkeys((torch.float64, torch.complex64, torch.complex128), torch.int64)
_WIDER = {torch.float32: torch.float64, torch.complex64: torch.complex128}
# Compressed layouts: whether by rows, whether in blocks, and what messages call starts, lines and places.
_COMPRESSED = {
    torch.sparse_csr: (True, False, ("crow_indices", "row", "column")),
    torch.sparse_csc: (False, False, ("ccol_indices", "column", "row")),
    torch.sparse_bsr: (True, True, ("crow_indices", "block row", "block column")),
    torch.sparse_bsc: (False, True, ("ccol_indices", "block column", "block row")),
}


class TorchBackend(Backend):
    """Vector operations on tensors of one device.

    No gradients flow through a solve: tensors that require them are detached, and callables run under
    ``torch.no_grad``. Half precision (float16, bfloat16) and integers are converted once, to float32 and float64, which
    is what a callable is then handed and in what the solution comes back.

    Parameters
    ----------
    device : torch.device, optional
        Where new vectors are made; the one that the tensors of the system lie on, found by ``bound_to``.
    """

    name: ClassVar[str] = "torch"
    library: ClassVar[str] = "torch"

    def __init__(self, device: Any = None) -> None:
        self.device = None if device is None else torch.device(device)

    def bound_to(self, arrays: Sequence[Any]) -> TorchBackend:
        tensors = [array.values if isinstance(array, CSRStack) else getattr(array, "matrix", array) for array in arrays]
        devices = {array.device for array in tensors if isinstance(array, torch.Tensor)}
        if len(devices) > 1:
            raise BackendError(
                f"A, b and x0 lie on {' and '.join(sorted(map(str, devices)))}; move them to one device with .to() "
                "first, since nothing is moved silently"
            )
        return TorchBackend(devices.pop()) if devices else self

    def operator(self, A: Any, name: str = "A", square: bool = True) -> Operator:
        if isinstance(A, Operator):
            check_matrix(A.shape, name, square)
            if A.tensor is not None:
                return self.operator(A.tensor, name, square)
            if A.library != "torch":
                raise BackendError(f"{name}: found an operator on {A.library} arrays; wanted torch tensors")
            if isinstance(A, TorchMatrix):
                self._check_device(A.matrix, name)
            return guarded(A, self, name)
        if isinstance(A, CSRStack):
            check_matrix(A.shape, name, square)
            values = self.vector(A.values, name)
            starts, columns = (
                torch.tensor(part, device=values.device) for part in (A.pattern.indptr, A.pattern.indices)
            )
            return TorchCSR(_sparse_csr(starts, columns, values, A.shape))
        if isinstance(A, torch.Tensor):
            check_matrix(A.shape, name, square)
            self._check_device(A, name)
            dtype = _TORCH[_working(A.dtype, name)]
            if A.layout == torch.strided:
                return TorchDense(_plain(A).to(dtype))
            return TorchCSR(_canonical(A.detach(), name, dtype))
        multiply = getattr(A, "matvec", None) or (A if callable(A) else None)
        if multiply is None or hasattr(A, "__array__"):
            raise BackendError(f"{name}: found {type(A).__name__}; convert it to a torch tensor first")
        shape, dtype = getattr(A, "shape", None), getattr(A, "dtype", None)
        if shape is None or dtype is None:
            raise TypeError(f"{name}: a callable needs the attributes shape and dtype; {type(A).__name__} lacks one")
        check_matrix(shape, name, square)
        adjoint = getattr(A, "rmatvec", None)
        adjoint = None if adjoint is None else torch.no_grad()(adjoint)
        return BlackBox(torch.no_grad()(multiply), shape, _working(dtype, name), "torch", self, name, adjoint)

    def vector(self, b: Any, name: str) -> Any:
        if not isinstance(b, torch.Tensor):
            raise BackendError(f"{name}: found {type(b).__name__}; convert it to a torch tensor first")
        if b.layout != torch.strided:
            raise BackendError(f"{name}: found a tensor of layout {b.layout}; wanted a dense one, from .to_dense()")
        self._check_device(b, name)
        return _plain(b)

    def numpy_dtype(self, x: Any) -> Any:
        return _numpy_dtype(x.dtype)

    def zeros(self, n: int, dtype: Any) -> Any:
        return torch.zeros(n, dtype=_TORCH[np.dtype(dtype)], device=self.device)

    def from_numpy(self, x: Any, dtype: Any) -> Any:
        return torch.tensor(np.asarray(x, dtype), dtype=_TORCH[np.dtype(dtype)], device=self.device)

    def copy(self, x: Any, dtype: Any = None) -> Any:
        wanted = x.dtype if dtype is None else _TORCH[np.dtype(dtype)]
        return x.to(dtype=wanted, copy=True, memory_format=torch.contiguous_format)

    def assign(self, x: Any, out: Any) -> Any:
        return out.copy_(x)

    def ldexp(self, x: Any, exponent: int) -> Any:
        for power in powers_of_two(exponent, _NUMPY[x.dtype]):
            x.mul_(power)
        return x

    def max_abs(self, x: Any) -> float:
        if x.numel() == 0:
            return 0.0
        if not (x.is_floating_point() or x.is_complex()):
            x = x.to(torch.float64)  # the smallest integer has no modulus of its own type, and booleans have none
        return float(x.abs().max())

    def dot(self, x: Any, y: Any) -> complex:
        return torch.vdot(x, y).item()

    def norm(self, x: Any) -> float:
        return torch.linalg.vector_norm(x).item()

    def axpy(self, a: Any, x: Any, y: Any) -> Any:
        if isinstance(a, torch.Tensor):
            return y.addcmul_(a, x)
        return torch.add(y, x, alpha=_number(a, x), out=y)

    def axpby(self, a: Any, x: Any, b: Any, y: Any) -> Any:
        if isinstance(a, torch.Tensor):
            return y.mul_(b).addcmul_(a, x)
        if isinstance(b, torch.Tensor):
            return torch.addcmul(x, b, y, out=y) if a == 1 else self.axpy(a, x, y.mul_(b))
        if a == 1:
            return torch.add(x, y, alpha=_number(b, x), out=y)
        return torch.add(y.mul_(b), x, alpha=_number(a, x), out=y)

    def difference(self, x: Any, y: Any, out: Any) -> Any:
        return torch.sub(x, y, out=out)

    def multiply(self, d: Any, x: Any, out: Any) -> Any:
        return torch.mul(d, x, out=out)

    def matvec(self, A: Operator, x: Any, out: Any) -> Any:
        if isinstance(A, TorchMatrix):
            return torch.mv(A.matrix, x, out=out)
        return out.copy_(A.matvec(x))

    def residual(self, A: Operator, x: Any, b: Any, out: Any) -> Any:
        if isinstance(A, TorchMatrix):
            return torch.addmv(b, A.matrix, x, alpha=-1, out=out)
        return torch.sub(b, A.matvec(x), out=out)

    def accurate_residual(self, A: Operator, x: Any, b: Any, out: Any) -> Any:
        """b - A x with products and sums in float64 for single precision, block by block of rows."""
        wide = _WIDER.get(out.dtype)
        if wide is None or not isinstance(A, TorchMatrix):
            return self.residual(A, x, b, out)
        vector = x.to(wide)
        rows = max(1, BLOCK * out.numel() // max(1, A.entries))
        for low in range(0, out.numel(), rows):
            part = slice(low, min(low + rows, out.numel()))
            out[part] = torch.addmv(b[part].to(wide), A.rows(part, wide), vector, alpha=-1)
        return out

    def basis(self, k: int, n: int, dtype: Any) -> Block:
        array = torch.empty((k, n), dtype=_TORCH[np.dtype(dtype)], device=self.device)
        return Block(list(array), array)

    def dots(self, V: Any, w: Any) -> np.ndarray:
        if not isinstance(V, Block):
            return super().dots(V, w)
        return torch.mv(V.array.conj(), w).cpu().resolve_conj().numpy().astype(np.result_type(_NUMPY[w.dtype], float))

    def add_block(self, V: Any, y: Any, w: Any) -> Any:
        if not isinstance(V, Block):
            return super().add_block(V, y, w)
        return w.addmv_(V.array.T, self.from_numpy(y, _NUMPY[w.dtype]))

    def momentum(self, beta: Any, gamma: Any, x: Any, previous: Any, z: Any) -> Any:
        if isinstance(gamma, torch.Tensor):
            if not isinstance(beta, torch.Tensor) and beta == 0:
                return torch.addcmul(x, gamma, z, out=previous)
            if x.is_floating_point():  # previous + (1 + beta) (x - previous), in one pass
                return previous.lerp_(x, 1 + beta).addcmul_(gamma, z)
        elif beta == 0:
            return torch.add(x, z, alpha=_number(gamma, x), out=previous)
        return super().momentum(beta, gamma, x, previous, z)

    def namespace(self, x: Any) -> Any:
        return torch

    def dots_each(self, x: Any, y: Any) -> Any:
        return torch.linalg.vecdot(x, y).real.unsqueeze(-1)

    def norms_each(self, x: Any) -> Any:
        return torch.linalg.vector_norm(x, dim=-1, keepdim=True)

    def keep(self, which: Any, x: Any) -> Any:
        # A product with zero that even NaN does not survive; on a CPU ten times as fast as choosing.
        x.view(_WORDS[x.dtype]).bitwise_and_(which.to(_WORDS[x.dtype]).neg_())
        return x

    def put_each(self, x: Any, rows: np.ndarray, values: Any) -> Any:
        systems = np.flatnonzero(rows >= 0)
        at, to = (torch.tensor(part, device=x.device) for part in (systems, rows[systems]))
        x[at, to] = values[at]
        return x

    def sweep(self, ordering: Ordering, x: Any, b: Any, omega: float, reverse: bool) -> Any:
        """One SOR sweep; of a full matrix in natural order as x + (D / omega + L)^{-1} (b - A x), one substitution."""
        A = ordering.operator
        if ordering.order != "natural" or not isinstance(A, TorchDense):
            return super().sweep(ordering, x, b, omega, reverse)
        r = torch.addmv(b, A.matrix, x, alpha=-1)
        return x.add_(torch.linalg.solve_triangular(A.over(omega), r[:, None], upper=reverse)[:, 0])

    def put(self, x: Any, rows: Any, values: Any) -> Any:
        return x.index_copy_(0, rows, values)

    def rounded(self, x: Any, precision: Precision, step: int) -> Any:
        return round_to(x, precision.format, precision.rounding, out=x, seed=precision.seed, step=step)

    def stage_arrays(self, rows: Any, block: Any, inverse_diagonal: Any) -> tuple[Any, Any, Any]:
        index = torch.tensor(np.asarray(rows, np.int64), device=self.device)
        matrix = _sparse_csr(
            torch.tensor(np.asarray(block.indptr, np.int64), device=self.device),
            torch.tensor(np.asarray(block.indices, np.int64), device=self.device),
            torch.tensor(block.data, device=self.device),
            block.shape,
        )
        return index, matrix, torch.tensor(inverse_diagonal, device=self.device)

    def compressed_rows(self, indptr: Any, indices: Any, values: Any, shape: tuple[int, int]) -> Any:
        return _sparse_csr(indptr, indices, values, shape)

    def sparse_stack(self, A: Any) -> CSRStack | None:
        """A batch of CSR tensors as well, where all have one pattern."""
        if not isinstance(A, torch.Tensor) or A.layout != torch.sparse_csr or A.ndim < 3:
            return super().sparse_stack(A)
        A = A.detach()
        rows = [part.reshape(-1, part.shape[-1]) for part in (A.crow_indices(), A.col_indices())]
        if any(len(part) == 0 or bool((part != part[0]).any()) for part in rows):
            return None
        values = self.vector(A.values(), "A")
        try:
            starts, columns = (_to_numpy(part[0]) for part in rows)
            pattern = pattern_of(starts, columns, values.shape[-1], tuple(A.shape[-2:]), kind=kernels.rows_kind)
            return CSRStack(pattern, pattern.placed(values.to(_TORCH[_working(values.dtype, "A")])))
        except (InputError, TypeError):
            return None  # whose systems are refused one by one

    def stack(self, vectors: list[Any], shape: tuple[int, ...], columns: bool) -> Any:
        stacked = torch.stack([x.reshape(-1) for x in vectors]).reshape(*shape, -1)
        return stacked.mT.contiguous() if columns else stacked

    def prepare(self, A: Operator, facts: Facts | None) -> Operator:
        """A full matrix with strides that no product takes is laid out anew, once instead of at every product."""
        if isinstance(A, TorchDense) and 1 not in A.matrix.stride():
            return TorchDense(A.matrix.contiguous())
        return A

    def to_numpy(self, x: Any) -> Any:
        return _to_numpy(x)

    def _check_device(self, x: Any, name: str) -> None:
        if self.device is not None and x.device != self.device:
            raise BackendError(
                f"{name}: lies on {x.device}, but the system on {self.device}; move one of them with .to() first"
            )
        if x.is_meta:
            raise BackendError(f"{name}: is a meta tensor, which has a shape but no numbers; wanted one with entries")

    def lend(self, x: Any, dtype: np.dtype) -> Any:
        return self.copy(x, dtype)  # tensors have no views that are read-only

    def undifferentiated(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return torch.no_grad()(function)

    def received(self, result: Any, name: str, words: Wording = PRODUCT) -> Any:
        if not isinstance(result, torch.Tensor):
            raise BackendError(f"{name}: its {words.noun} is a {type(result).__name__}; wanted a torch tensor")
        return self.vector(result, f"the {words.noun} {words.of} {name}").reshape(-1)


class TorchMatrix(Operator):
    """A tensor with entries. ``tocsr`` copies them to the host, which only orderings of relaxations ask for."""

    library = "torch"

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix
        self.shape = (matrix.shape[0], matrix.shape[1])
        self.dtype = _NUMPY[matrix.dtype]

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
        return sparse.csr_array(_to_numpy(self.matrix))

    def diagonal(self) -> Any:
        return self.matrix.diagonal().clone()

    def facts(self) -> Facts:
        return dense_facts(self.matrix)

    def mapped(self, function: Callable[[Any], Any]) -> TorchDense:
        return TorchDense(function(self.matrix))

    def astype(self, dtype: np.dtype) -> TorchDense:
        return self if dtype == self.dtype else TorchDense(self.matrix.to(_TORCH[dtype]))

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
        parts = (_to_numpy(A.values()), _to_numpy(A.col_indices()), _to_numpy(A.crow_indices()))
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
        return self if dtype == self.dtype else self._with(self.matrix.values().to(_TORCH[dtype]))

    def rows(self, part: slice, dtype: Any) -> Any:
        A = self.matrix
        starts = A.crow_indices()[part.start : part.stop + 1]
        low, high = int(starts[0]), int(starts[-1])
        size = (part.stop - part.start, self.shape[1])
        return _sparse_csr(starts - starts[0], A.col_indices()[low:high], A.values()[low:high].to(dtype), size)

    def _with(self, values: Any) -> TorchCSR:
        return TorchCSR(_sparse_csr(self.matrix.crow_indices(), self.matrix.col_indices(), values, self.shape))


def _plain(x: Any) -> Any:
    """A tensor outside of any graph, without the lazy conjugate or negative that some kernels do not take."""
    return x.detach().resolve_conj().resolve_neg()


def _to_numpy(x: Any) -> Any:
    x = _plain(x).cpu()
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy()


def _number(a: complex, x: Any) -> complex:
    """A factor in x's precision: torch refuses one out of range where a product would have given infinity."""
    if x.dtype in _WIDER and not abs(a) <= _LARGEST_SINGLE:
        return a if a != a else complex(np.complex64(a)) if isinstance(a, complex) else math.copysign(math.inf, a)
    return a


def _times_power_of_two(values: Any, exponent: int) -> Any:
    values = values.clone()
    for power in powers_of_two(exponent, _NUMPY[values.dtype]):
        values.mul_(power)
    return values


def _numpy_dtype(dtype: Any) -> np.dtype:
    """The NumPy dtype for torch's, or for a name or type that NumPy knows."""
    if not isinstance(dtype, torch.dtype):
        return np.dtype(dtype)
    if dtype not in _NUMPY:
        raise TypeError(f"dtype {dtype} is not a working precision; wanted float32, float64, complex or half")
    return _NUMPY[dtype]


@cache
def _working(dtype: Any, name: str) -> np.dtype:
    try:
        return working_dtype(_numpy_dtype(dtype))
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None


def _sparse_csr(starts: Any, columns: Any, values: Any, size: Any) -> Any:
    """A sparse CSR tensor of arrays that are known to fit."""
    parts = (starts, columns, values, tuple(size))
    # The device is named, since a default one set by the caller would move the parts there.
    return torch.sparse_csr_tensor(*parts, device=values.device, check_invariants=False)


def _canonical(A: Any, name: str, dtype: Any) -> Any:
    """Any sparse layout as CSR in a working precision, with increasing columns in each row."""
    kind = checked_layout(A, name)
    A = A.to(dtype)
    if A.layout != torch.sparse_csr:
        return A.to_sparse_coo().coalesce().to_sparse_csr()
    starts, columns, values = A.crow_indices(), A.col_indices(), A.values()
    end = int(starts[-1])
    if end < max(len(columns), len(values)):
        A = _sparse_csr(starts, columns[:end], values[:end], A.shape)
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
            fault = coordinates_fault(tuple(map(_to_numpy, places)), count, (rows, columns))
    elif A.layout in _COMPRESSED:
        by_rows, blocks, words = _COMPRESSED[A.layout]
        starts, indices = (A.crow_indices(), A.col_indices()) if by_rows else (A.ccol_indices(), A.row_indices())
        if blocks:
            rows, columns = rows // A.values().shape[1], columns // A.values().shape[2]
        shape = (rows, columns) if by_rows else (columns, rows)
        look = _rows_kind if A.is_cpu else rows_kind
        kind, fault = look_at_rows(starts, indices, len(A.values()), shape, words, kind=look, host=_to_numpy)
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
