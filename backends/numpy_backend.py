"""The reference backend: every operation in plain NumPy and SciPy; CuPy's stands on it, sharing NumPy's interface."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sparse

from ..operators import CSR, Dense, Diagonals, Operator, Stencil, as_operator
from ..operators.exchange import NumpyExchange, refuse_masked
from ..precision import round as round_to
from ..precision.policy import Precision
from .block import Block, add_rows, products_with_rows
from .protocol import Backend

__all__ = ["NumpyBackend"]

PRODUCTS_AT_ONCE = 1 << 17  # of a product of blocks; a BLAS does not think of threads for so few


class NumpyBackend(NumpyExchange, Backend):
    """Operations through a namespace with NumPy's functions, ufuncs and ``out=``."""

    name: ClassVar[str] = "numpy"
    library: ClassVar[str] = "numpy"
    xp: ModuleType = np

    def operator(self, A: Any, name: str = "A", square: bool = True) -> Operator:
        return as_operator(A, name=name, square=square)

    def vector(self, b: Any, name: str) -> Any:
        refuse_masked(b, name)
        return self.xp.asarray(b)

    def zeros(self, n: int, dtype: Any) -> Any:
        return self.xp.zeros(n, dtype)

    def from_numpy(self, x: Any, dtype: Any) -> Any:
        return self.xp.array(x, dtype=dtype)

    def copy(self, x: Any, dtype: Any = None) -> Any:
        return self.xp.array(x, dtype=dtype, order="C")

    def assign(self, x: Any, out: Any) -> Any:
        out[...] = x
        return out

    def ldexp(self, x: Any, exponent: int) -> Any:
        if exponent:
            for part in (x.real, x.imag) if x.dtype.kind == "c" else (x,):
                self.xp.ldexp(part, exponent, out=part)
        return x

    def max_abs(self, x: Any) -> float:
        if x.dtype.kind in "biu":
            x = x.astype(np.float64)  # the smallest integer has no modulus of its own type
        return self.greatest(float(self.xp.abs(x).max()) if x.size else 0.0)

    def dot(self, x: Any, y: Any) -> complex:
        return self.total(self.xp.vdot(x, y).item())

    def norms(self, *vectors: Any) -> tuple[float, ...]:
        squares = self.total(np.array([self.xp.vdot(x, x).real.item() for x in vectors]))
        return tuple(np.sqrt(squares).tolist())

    def dots(self, V: Any, w: Any) -> np.ndarray:
        if isinstance(V, Block):
            return self.total(self.products_with_rows(V.array, w))
        return self.total(np.array([self.xp.vdot(v, w).item() for v in V]))

    def basis(self, k: int, n: int, dtype: Any) -> Block:
        array = self.xp.empty((k, n), dtype)
        return Block(list(array), array)

    def add_block(self, V: Any, y: Any, w: Any) -> Any:
        return self.add_rows(V.array, np.asarray(y), w) if isinstance(V, Block) else super().add_block(V, y, w)

    def block_dots(self, V: Block, W: Block) -> np.ndarray:
        wide = np.result_type(V.array.dtype, np.float64)
        found = np.zeros((len(V), len(W)), wide)
        for part in self.parts(V, W):
            found += self.to_numpy(V.array[:, part].conj() @ W.array[:, part].T)
        return self.total(found)

    def block_combine(self, V: Block, Y: np.ndarray, out: Block) -> Block:
        factors = self.xp.asarray(Y.T, V.array.dtype)
        for part in self.parts(V, out):
            self.xp.matmul(factors, V.array[:, part], out=out.array[:, part])
        return out

    def block_add(self, V: Block, Y: np.ndarray, out: Block) -> Block:
        factors = self.xp.asarray(Y.T, V.array.dtype)
        for part in self.parts(V, out):
            out.array[:, part] += factors @ V.array[:, part]
        return out

    def parts(self, V: Block, W: Block) -> Iterator[slice]:
        """Of the entries of vectors, so many that a product of two blocks keeps to the cache, and to one thread."""
        n = V.array.shape[1]
        step = max(1, PRODUCTS_AT_ONCE // max(1, len(V) * len(W)))
        return (slice(low, low + step) for low in range(0, n, step))

    def products_with_rows(self, V: Any, w: Any) -> np.ndarray:
        """conj(V) w of an array of rows, on the host in double precision."""
        return products_with_rows(V, w).astype(np.result_type(V.dtype, np.float64))

    def add_rows(self, V: Any, y: np.ndarray, w: Any) -> Any:
        """w + V^T y, in place of w."""
        return add_rows(V, y, w)

    def norm(self, x: Any) -> float:
        return float(np.sqrt(self.total(self.xp.vdot(x, x).real.item())))

    def axpy(self, a: Any, x: Any, y: Any) -> Any:
        y += self.factor(a, x) * x
        return y

    def axpby(self, a: Any, x: Any, b: Any, y: Any) -> Any:
        y *= self.factor(b, y)
        if x is y and isinstance(a, float) and a == 0.0:
            return y
        y += x if isinstance(a, float) and a == 1.0 else self.factor(a, x) * x
        return y

    def difference(self, x: Any, y: Any, out: Any) -> Any:
        return self.xp.subtract(x, y, out=out)

    def multiply(self, d: Any, x: Any, out: Any) -> Any:
        return self.xp.multiply(d, x, out=out)

    def factor(self, a: Any, x: Any) -> Any:
        """A number in x's precision; an array, one number for each system of a stack, as it is."""
        return a if isinstance(a, self.xp.ndarray) else x.dtype.type(a)

    def namespace(self, x: Any) -> Any:
        return self.xp

    def keep(self, which: Any, x: Any) -> Any:
        self.xp.copyto(x, 0, where=~which)
        return x

    def put_each(self, x: Any, rows: np.ndarray, values: Any) -> Any:
        systems = np.flatnonzero(rows >= 0)
        at, to = self.xp.asarray(systems), self.xp.asarray(rows[systems])
        x[at, to] = values[at]
        return x

    def matvec(self, A: Operator, x: Any, out: Any) -> Any:
        out[...] = A.matvec(x)
        return out

    def put(self, x: Any, rows: Any, values: Any) -> Any:
        x[rows] = values
        return x

    def rounded(self, x: Any, precision: Precision, step: int) -> Any:
        return round_to(x, precision.format, precision.rounding, out=x, seed=precision.seed, step=step)

    def stage_arrays(self, rows: Any, block: Any, inverse_diagonal: Any) -> tuple[Any, Any, Any]:
        return rows, block, inverse_diagonal

    def compressed_rows(self, indptr: Any, indices: Any, values: Any, shape: tuple[int, int]) -> Any:
        return sparse.csr_array((values, indices, indptr), shape=shape)

    def stack(self, vectors: list[Any], shape: tuple[int, ...], columns: bool) -> Any:
        stacked = self.xp.stack(vectors).reshape(*shape, -1)
        return self.xp.ascontiguousarray(self.xp.swapaxes(stacked, -1, -2)) if columns else stacked

    def accurate_residual(self, A: Operator, x: Any, b: Any, out: Any) -> Any:
        """b - A x with products and sums in extended precision (float64 for single), block by block of rows."""
        wide = _wider(out.dtype)
        if wide is None or self.xp is not np:
            return self.residual(A, x, b, out)
        if isinstance(A, Dense):
            for low in range(0, out.size, 1024):
                rows = slice(low, low + 1024)
                out[rows] = b[rows] - (A.matrix[rows].astype(wide) * x).sum(axis=1)
        elif isinstance(A, CSR):
            for low in range(0, out.size, 65536):
                rows = slice(low, min(low + 65536, out.size))
                out[rows] = b[rows] - _wide_rows(A, x, rows, wide)
        elif isinstance(A, (Diagonals, Stencil)):
            out[...] = b - A.matvec(x.astype(wide))
        else:
            return self.residual(A, x, b, out)
        return out


def _wider(dtype: np.dtype) -> Any:
    """A type with at least ten more bits of significand, or None where the platform has none."""
    wide: Any = {"f": np.float64, "d": np.longdouble, "F": np.complex128, "D": np.clongdouble}[dtype.char]
    return wide if np.finfo(wide).eps < 1e-3 * np.finfo(dtype).eps else None


def _wide_rows(A: CSR, x: Any, rows: slice, wide: Any) -> Any:
    """The products of some rows of A with x, in the wide type."""
    indptr = A.indptr[rows.start : rows.stop + 1]
    held = slice(indptr[0], indptr[-1])
    result = np.zeros(rows.stop - rows.start, wide)
    filled = np.flatnonzero(np.diff(indptr))
    if filled.size:
        products = A.data[held].astype(wide) * x[A.indices[held]]
        result[filled] = np.add.reduceat(products, indptr[filled] - indptr[0])
    return result
