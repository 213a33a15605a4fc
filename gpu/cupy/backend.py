"""CuPy arrays on a CUDA device: NumPy's operations by way of CuPy, with the passes that matter fused into kernels.

The class stands on NumpyBackend with another namespace, so all that it inherits or composes is exercised with NumPy in
its place; only the kernels need a device. Data cross to the host as scalars of reductions, and once for an ordering.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sparse

from ...backends.array_api_backend import csr_facts, dense_facts
from ...backends.block import Block
from ...backends.protocol import powers_of_two
from ...errors import BackendError, InputError, undeclared
from ...operators import BlackBox, CSRStack, Facts, Operator, Stencil, check_matrix, guarded
from ...operators.exchange import PRODUCT, Wording
from ...precision import working_dtype
from ...precision.sparse_arrays import SORTED, UNSORTED, coordinates_fault, look_at_rows, rows_kind
from .bands import bands_of_rows, diagonals_of_columns, stencil_of_bands
from .fused import FusedBackend
from .matrices import DeviceDiagonals, DeviceStencil

try:
    import cupy
    import cupyx.scipy.sparse as device_sparse
except ImportError:  # the class can be looked at, and its shared part tested, without CuPy
    cupy = device_sparse = None

__all__ = ["CupyBackend", "DeviceCSR", "DeviceDense", "DeviceMatrix"]

BLOCK = 1 << 22  # entries that an accurate residual widens at a time
_WIDER = {"f": np.float64, "F": np.complex128}


class CupyBackend(FusedBackend):
    """Vector operations on CuPy arrays of the current device.

    Raises
    ------
    ImportError
        Where CuPy is not installed.
    BackendError
        Where there is no device.
    """

    name: ClassVar[str] = "cupy"
    library: ClassVar[str] = "cupy"
    xp: Any = cupy
    sparse: Any = device_sparse

    def __init__(self) -> None:
        if self.xp is None:
            raise ImportError("CuPy is not installed")
        if not _device_present():
            raise BackendError(
                "backend: 'cupy' found no CUDA device; wanted an NVIDIA GPU and its driver, which nvidia-smi shows, or "
                "NumPy arrays, which are worked on without one"
            )

    def bound_to(self, arrays: Sequence[Any]) -> CupyBackend:
        matrices = [
            array.values if isinstance(array, CSRStack) else getattr(array, "matrix", array) for array in arrays
        ]
        parts = [A if isinstance(A, self.xp.ndarray) else getattr(A, "data", None) for A in matrices]
        devices = {str(part.device) for part in parts if isinstance(part, self.xp.ndarray)}
        current = self.current_device()
        if devices - {current}:
            raise BackendError(
                f"A, b and x0 lie on {' and '.join(sorted(devices))}, and the current device is {current}; move them "
                "to one device, and make it the current one by `with cupy.cuda.Device(k):`"
            )
        return self

    def current_device(self) -> str:
        """The device on which kernels run."""
        return str(self.xp.cuda.Device())

    def operator(self, A: Any, name: str = "A", square: bool = True) -> Operator:
        if isinstance(A, Operator):
            check_matrix(A.shape, name, square)
            if type(A) is Stencil:  # which has nothing that would have to be moved
                return DeviceStencil(A, self)
            if A.library != self.library:
                raise BackendError(f"{name}: found an operator on {A.library} arrays; wanted {self.library} arrays")
            return guarded(A, self, name)
        if isinstance(A, CSRStack):
            check_matrix(A.shape, name, square)
            indptr, indices = (self.xp.asarray(part) for part in (A.pattern.indptr, A.pattern.indices))
            return DeviceCSR(self.compressed_rows(indptr, indices, self.vector(A.values, name), A.shape), self)
        if isinstance(A, self.xp.ndarray):
            check_matrix(A.shape, name, square)
            return DeviceDense(A.astype(self._working(A.dtype, name), copy=False), self)
        if self.sparse.issparse(A):
            check_matrix(A.shape, name, square)
            dtype = self._working(A.dtype, name)
            if A.format == "dia" and A.shape[0] == A.shape[1]:
                data, offsets = diagonals_of_columns(A.data.astype(dtype), self.to_numpy(A.offsets), A.shape[0])
                return DeviceDiagonals(data, offsets, False, self)
            matrix = self._canonical(A, name)
            return DeviceCSR(matrix if matrix.dtype == dtype else matrix.astype(dtype), self)
        multiply = getattr(A, "matvec", None) or (A if callable(A) else None)
        if multiply is None or hasattr(A, "__array__"):
            sparse = hasattr(A, "tocsr")
            how = f"cupyx.scipy.sparse.csr_matrix({name})" if sparse else f"cupy.asarray({name})"
            raise BackendError(f"{name}: found {type(A).__name__}; move it to the device first, by {how}")
        shape, kind = getattr(A, "shape", None), getattr(A, "dtype", None)
        if shape is None or kind is None:
            raise undeclared(A, name)
        check_matrix(shape, name, square)
        dtype = self._working(np.dtype(kind), name)
        return BlackBox(multiply, shape, dtype, self.library, self, name, getattr(A, "rmatvec", None))

    def vector(self, b: Any, name: str) -> Any:
        if not isinstance(b, self.xp.ndarray):
            raise BackendError(f"{name}: found {type(b).__name__}; wanted a CuPy array, as cupy.asarray makes")
        return b

    def numpy_dtype(self, x: Any) -> Any:
        return _half_or(x.dtype)

    def lend(self, x: Any, dtype: np.dtype) -> Any:
        return self.copy(x, dtype)  # device arrays have no views that are read-only

    def received(self, result: Any, name: str, words: Wording = PRODUCT) -> Any:
        return self.vector(result, f"the {words.noun} {words.of} {name}").reshape(-1)

    def ldexp(self, x: Any, exponent: int) -> Any:
        for power in powers_of_two(exponent, x.dtype):
            x *= x.dtype.type(power)
        return x

    def dot(self, x: Any, y: Any) -> complex:
        return self.real_dot(x, y) if x.dtype.kind == "f" else self.xp.vdot(x, y).item()

    def norm(self, x: Any) -> float:
        return math.sqrt(self.real_dot(x, x))

    def axpy(self, a: Any, x: Any, y: Any) -> Any:
        return self.update("axpy", (self.factor(a, y), x), (y,))

    def axpby(self, a: Any, x: Any, b: Any, y: Any) -> Any:
        return self.update("axpby", (self.factor(a, y), x, self.factor(b, y)), (y,))

    def factor(self, a: Any, x: Any) -> Any:
        # Kernels take arrays of one type; they spread numbers over the vectors of a stack themselves.
        return a.astype(x.dtype, copy=False) if isinstance(a, self.xp.ndarray) else x.dtype.type(a)

    def dots_each(self, x: Any, y: Any) -> Any:
        return self.xp.sum((x.conj() * y).real, axis=-1, keepdims=True)

    def parts(self, V: Block, W: Block) -> Iterator[slice]:
        return iter((slice(None),))

    def momentum(self, beta: Any, gamma: Any, x: Any, previous: Any, z: Any) -> Any:
        return self.update("momentum", (self.factor(beta, x), self.factor(gamma, x), x, z), (previous,))

    def update(self, name: str, given: tuple[Any, ...], changed: tuple[Any, ...]) -> Any:
        """One pass of a fused kernel over all its vectors; the first changed one."""
        elementwise(name)(*given, *changed)
        return changed[0]

    def real_dot(self, x: Any, y: Any) -> float:
        """Real part of x^H y, summed in float64 in one pass."""
        return float(real_dot(x.dtype.kind)(x, y))

    def accurate_residual(self, A: Operator, x: Any, b: Any, out: Any) -> Any:
        """b - A x with products and sums in float64 for single precision, block by block of rows."""
        if self.multiplied(A, x) is not None:
            return self.certify(A, x, b, out)[0]
        wide = _WIDER.get(out.dtype.char)
        if wide is None or not isinstance(A, DeviceMatrix):
            return self.residual(A, x, b, out)
        vector = x.astype(wide)
        rows = max(1, BLOCK * out.size // max(1, A.entries))
        for low in range(0, out.size, rows):
            part = slice(low, min(low + rows, out.size))
            out[part] = b[part] - A.matrix[part].astype(wide) @ vector
        return out

    def prepare(self, A: Operator, facts: Facts | None) -> Operator:
        """A large matrix of a few diagonals as such, half of them if it is symmetric; or as the stencil that it is."""
        square = isinstance(A, DeviceCSR) and A.shape[0] == A.shape[1]
        arrays = self.arrays(A) if square else None
        bands = None if arrays is None else bands_of_rows(arrays)
        if bands is None:
            return A
        stencil = stencil_of_bands(*bands)
        return DeviceDiagonals(*bands, self) if stencil is None else DeviceStencil(stencil, self)

    def stage_arrays(self, rows: Any, block: Any, inverse_diagonal: Any) -> tuple[Any, Any, Any]:
        return self.xp.asarray(rows), self.sparse.csr_matrix(block), self.xp.asarray(inverse_diagonal)

    def compressed_rows(self, indptr: Any, indices: Any, values: Any, shape: tuple[int, int]) -> Any:
        return self.sparse.csr_matrix((values, indices, indptr), shape=shape)

    def to_numpy(self, x: Any) -> Any:
        return x.get()

    def small_matrices(self, batch: Any) -> Any:
        from .small_batches import BandedMatrices, FullMatrices

        stack = self.sparse_stack(batch.A)
        if stack is not None:
            return BandedMatrices(self.vector(stack.values, "A"), batch.matrices, batch.n, stack.pattern)
        return FullMatrices.of(batch.A) if isinstance(batch.A, self.xp.ndarray) else None

    def _working(self, dtype: Any, name: str) -> np.dtype:
        try:
            return working_dtype(_half_or(dtype))
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from None

    def _canonical(self, A: Any, name: str) -> Any:
        """By rows, increasing columns in each, as read off the arrays: flags on the caller's matrix may be stale."""
        kind = self._checked(A, name)
        if A.format != "csr":
            A = self.sparse.csr_matrix(A)
            kind = self._checked(A, name)
        end = int(A.indptr[-1])
        parts = (A.data[:end], A.indices[:end], A.indptr)
        if kind == SORTED:
            return A if end == len(A.data) == len(A.indices) else self.sparse.csr_matrix(parts, shape=A.shape)
        matrix = self.sparse.csr_matrix(tuple(part.copy() for part in parts), shape=A.shape)
        matrix.sum_duplicates()
        return matrix

    def _checked(self, A: Any, name: str) -> int:
        """Refuse arrays that point out of A, on the device; what ``rows_kind`` says, UNSORTED of what has no rows."""
        kind, fault, (rows, columns) = UNSORTED, None, A.shape
        if A.format in ("csr", "csc"):
            words = ("indptr", "row", "column") if A.format == "csr" else ("indptr", "column", "row")
            shape = (rows, columns) if A.format == "csr" else (columns, rows)
            kind, fault = look_at_rows(
                A.indptr, A.indices, len(A.data), shape, words, kind=rows_kind, host=self.to_numpy
            )
        elif A.format == "coo":
            i, j = A.row, A.col
            wrong = not len(i) == len(j) == len(A.data)
            if wrong or bool(((i < 0) | (i >= rows) | (j < 0) | (j >= columns)).any()):
                fault = coordinates_fault((self.to_numpy(i), self.to_numpy(j)), len(A.data), A.shape)
        if fault:
            raise InputError(f"{name}: {fault}")
        return kind


class DeviceMatrix(Operator):
    """A matrix with entries on a device. ``tocsr`` copies them to the host, which only orderings ask for."""

    def __init__(self, matrix: Any, backend: CupyBackend) -> None:
        self.matrix, self.backend, self.library = matrix, backend, backend.library
        self.shape = (matrix.shape[0], matrix.shape[1])
        self.dtype = matrix.dtype

    def matvec(self, x: Any) -> Any:
        return self.matrix @ x

    def astype(self, dtype: np.dtype) -> DeviceMatrix:
        return self if dtype == self.dtype else type(self)(self.matrix.astype(dtype), self.backend)

    def mapped(self, function: Callable[[Any], Any]) -> DeviceMatrix:
        matrix = self.matrix.copy()
        self.values_of(matrix)[...] = function(self.values_of(self.matrix))
        return type(self)(matrix, self.backend)

    def rescaled(self, exponent: int) -> DeviceMatrix:
        return self.mapped(lambda values: self.backend.ldexp(values.copy(), exponent))

    def values_of(self, matrix: Any) -> Any:
        """The entries of a matrix of this kind, as one array."""
        return matrix

    @property
    def values(self) -> Any:
        return self.values_of(self.matrix)

    def adjoint(self) -> DeviceMatrix:
        return type(self)(self.matrix.conj().T.copy(), self.backend)


class DeviceDense(DeviceMatrix):
    """A full matrix."""

    kind = "dense"

    @property
    def entries(self) -> int:
        return self.shape[0] * self.shape[1]

    def tocsr(self) -> Any:
        return sparse.csr_array(self.backend.to_numpy(self.matrix))

    def diagonal(self) -> Any:
        return self.matrix.diagonal().copy()

    def facts(self) -> Facts:
        return dense_facts(self.matrix)


class DeviceCSR(DeviceMatrix):
    """A sparse matrix by rows, its columns sorted and without duplicates."""

    kind = "csr"

    @property
    def entries(self) -> int:
        return int(self.matrix.data.size)

    def tocsr(self) -> Any:
        parts = (self.matrix.data, self.matrix.indices, self.matrix.indptr)
        matrix = sparse.csr_array(tuple(self.backend.to_numpy(part) for part in parts), shape=self.shape)
        matrix.has_canonical_format = True
        return matrix

    def diagonal(self) -> Any:
        return self.matrix.diagonal()

    def adjoint(self) -> DeviceCSR:
        matrix = self.backend.sparse.csr_matrix(self.matrix.conj().T)
        matrix.sort_indices()
        return DeviceCSR(matrix, self.backend)

    def facts(self) -> Facts:
        A = self.matrix
        ones = self.backend.xp.ones(self.shape[0], np.float64)

        def row_sums(values: Any) -> Any:
            return self.backend.sparse.csr_matrix((values, A.indices, A.indptr), shape=self.shape) @ ones

        return csr_facts(A.indptr, A.indices, A.data, row_sums)

    def values_of(self, matrix: Any) -> Any:
        return matrix.data


def _device_present() -> bool:
    try:
        return bool(cupy.cuda.is_available())
    except Exception:  # what a driver that is missing, or too old, raises differs by CuPy's version
        return False


def _half_or(dtype: Any) -> Any:
    """NumPy's half precision for bfloat16, which it lacks: both are carried in float32."""
    return np.dtype(np.float16) if np.dtype(dtype).name == "bfloat16" else dtype


# name: (given, changed, what is done to each element)
_PASSES = {
    "axpy": ("T a, T x", "T y", "y += a * x"),
    "axpby": ("T a, T x, T b", "T y", "y = a * x + b * y"),
    "momentum": ("T beta, T gamma, T x, T z", "T previous", "previous = x + beta * (x - previous) + gamma * z"),
}


@cache
def elementwise(name: str) -> Any:
    """The fused pass of that name, for any type T; products are rounded before they are added, as NumPy's are."""
    given, changed, operation = _PASSES[name]
    return cupy.ElementwiseKernel(given, changed, operation, f"resolvent_{name}", options=("--fmad=false",))


@cache
def real_dot(kind: str) -> Any:
    """The real part of conj(x) y, summed in float64, for real ("f") or complex ("c") vectors."""
    product = "double(x) * double(y)"
    if kind == "c":
        product = "double(x.real()) * double(y.real()) + double(x.imag()) * double(y.imag())"
    return cupy.ReductionKernel(
        "T x, T y", "float64 total", product, "a + b", "total = a", "0", f"resolvent_dot_{kind}"
    )
