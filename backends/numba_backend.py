"""The compiled backend for the CPU: fused passes, loops of many iterations a call, bands where a matrix has few."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..operators import CSR, CSRStack, Dense, Diagonals, Facts, Operator, Stencil, StencilStack, as_operator
from ..operators.libraries import library_of
from ..operators.ordering import Ordering
from ..operators.stack import Pattern
from ..precision.rounding_rule import Unrounded
from .block import Block
from .compiled import accurate, arnoldi, columns, facts, least_squares, products, small_batch, sweeps, vectors
from .compiled.compiling import BLOCK, threads
from .compiled.patterns import BandPattern
from .kept import PAGES, Kept
from .numpy_backend import NumpyBackend
from .protocol import powers_of_two

__all__ = ["NumbaBackend"]

UNROUNDED = Unrounded()
BANDS_FROM = 4096  # rows: below, finding the bands costs more than they save
BANDS_MOST = 16
SAMPLED = 60  # rows
PADDING = 1.25  # stored band entries per nonzero up to which bands are the smaller storage


class NumbaBackend(NumpyBackend):
    """NumPy arrays, compiled kernels. Whatever has no kernel, and stacks, are done as the NumPy backend does it."""

    name: ClassVar[str] = "numba"
    compiles_solves: ClassVar[bool] = True
    kept: Kept | None = None

    def keeping(self) -> NumbaBackend:
        """Vectors and diagonals in memory of earlier ones; the pattern of the last matrix is not searched again."""
        other = copy.copy(self)
        other.kept = Kept()
        return other

    def operator(self, A: Any, name: str = "A", square: bool = True) -> Operator:
        if self.kept is None:
            return as_operator(A, name=name, rows_kind=facts.rows_kind, square=square)
        self.kept.recognised = None
        operator = as_operator(A, name=name, rows_kind=self.kept.rows_kind, square=square)
        if self.kept.recognised is not None:
            operator.__dict__["_numba_pattern"] = self.kept.recognised
        return operator

    def zeros(self, n: int, dtype: Any) -> Any:
        if self.kept is None:
            return np.zeros(n, dtype)
        x = self.unset(n, dtype)
        x.fill(0)
        return x

    def unset(self, n: int, dtype: Any) -> Any:
        return self._empty((n,), dtype)

    def max_abs(self, x: Any) -> float:
        if x.dtype.kind != "f":
            return super().max_abs(x)
        return max(float(x.max()), -float(x.min())) if x.size else 0.0

    def copy(self, x: Any, dtype: Any = None) -> Any:
        if self.kept is None or type(x) is not np.ndarray or x.ndim != 1 or x.nbytes < PAGES:
            return np.array(x, dtype=dtype, order="C")
        out = self.unset(x.size, x.dtype if dtype is None else dtype)
        np.copyto(out, x, casting="unsafe")
        return out

    def ldexp(self, x: Any, exponent: int) -> Any:
        # One factor a pass: compiled together, they may be multiplied with each other first, which can overflow.
        for power in powers_of_two(exponent, x.dtype):
            x *= x.real.dtype.type(power)
        return x

    def dot(self, x: Any, y: Any) -> complex:
        real, imaginary = vectors.dot.for_size(x.size)(x, y)
        return complex(real, imaginary) if x.dtype.kind == "c" else real

    def norm(self, x: Any) -> float:
        return math.sqrt(vectors.dot.for_size(x.size)(x, x)[0])

    def axpy(self, a: Any, x: Any, y: Any) -> Any:
        return super().axpy(a, x, y) if x.ndim > 1 else self.axpby(a, x, 1.0, y)

    def axpby(self, a: Any, x: Any, b: Any, y: Any) -> Any:
        if x.ndim > 1:
            return super().axpby(a, x, b, y)
        number = y.dtype.type
        vectors.axpby.for_size(y.size)(number(a), x, number(b), y)
        return y

    def axpbypcz(self, a: Any, x: Any, b: Any, y: Any, c: Any, z: Any) -> Any:
        if z.ndim > 1:
            return super().axpbypcz(a, x, b, y, c, z)
        number = z.dtype.type
        vectors.axpbypcz.for_size(z.size)(number(a), x, number(b), y, number(c), z)
        return z

    def dot_and_square(self, x: Any, y: Any) -> tuple[complex, float]:
        real, imaginary, square = vectors.dot_and_square.for_size(x.size)(x, y)
        return complex(real, imaginary) if x.dtype.kind == "c" else real, square

    def bicgstab_update(
        self, alpha: complex, p: Any, omega: complex, s: Any, t: Any, shadow: Any, x: Any, r: Any
    ) -> tuple[Any, Any, complex, float]:
        kernel, number = vectors.bicgstab_update.for_size(x.size), x.dtype.type
        real, imaginary, square = kernel(number(alpha), p, number(omega), s, t, shadow, x, r)
        return x, r, complex(real, imaginary) if x.dtype.kind == "c" else real, math.sqrt(square)

    def orthogonalise(self, V: Block, k: int, unit_roundoff: float) -> tuple[np.ndarray, float]:
        n = V.array.shape[1]
        h = np.empty(k, np.result_type(V.array.dtype, np.float64))
        return h, arnoldi.orthogonalise.for_size(n)(V.array, k, unit_roundoff, h, arnoldi.room(k, n))

    def matvec(self, A: Operator, x: Any, out: Any) -> Any:
        arrays = self.arrays(A)
        if arrays is None:
            return super().matvec(A, x, out)
        vectors.matvec.for_size(out.size)(arrays, x, out)
        return out

    def residual(self, A: Operator, x: Any, b: Any, out: Any) -> Any:
        if self.arrays(A) is None:
            return super().residual(A, x, b, out)
        return self.residual_norm(A, x, b, out)[0]

    def accurate_residual(self, A: Operator, x: Any, b: Any, out: Any) -> Any:
        if self.arrays(A) is None:
            return super().accurate_residual(A, x, b, out)
        return self.certify(A, x, b, out)[0]

    def residual_norm(self, A: Operator, x: Any, b: Any, out: Any) -> tuple[Any, float]:
        arrays = self.arrays(A)
        if arrays is None:
            return super().residual_norm(A, x, b, out)
        return out, vectors.residual.for_size(out.size)(arrays, x, b, out)

    def certify(self, A: Operator, x: Any, b: Any, out: Any) -> tuple[Any, float]:
        arrays = self.arrays(A)
        if arrays is None:
            return super().certify(A, x, b, out)
        return out, accurate.accurate_residual.for_size(out.size)(arrays, x, b, out)

    def matvec_dot(self, A: Operator, p: Any, q: Any) -> tuple[Any, float]:
        arrays = self.arrays(A)
        if arrays is None:
            return super().matvec_dot(A, p, q)
        return q, vectors.matvec_dot.for_size(p.size)(arrays, p, q)

    def cg_update(self, alpha: float, p: Any, q: Any, x: Any, r: Any) -> tuple[Any, Any, float, float]:
        return x, r, *vectors.cg_update.for_size(x.size)(x.real.dtype.type(alpha), p, q, x, r)

    def product_update(
        self, A: Operator, a: float, x: Any, b: float, y: Any, c: float = 0.0, z: Any = None
    ) -> tuple[Any, float]:
        arrays = self.arrays(A)
        if arrays is None:
            return super().product_update(A, a, x, b, y, c, z)
        real = y.real.dtype.type
        z = y[:0] if z is None else z
        kernel = least_squares.product_update.for_size(max(x.size, y.size))
        return y, kernel(arrays, real(a), x, real(b), y, real(c), z)

    def lsmr_update(
        self, scale: float, v: Any, theta: float, h: Any, older: float, hbar: Any, step: float, x: Any
    ) -> tuple[Any, Any, Any, float]:
        real, kernel = x.real.dtype.type, least_squares.lsmr_update.for_size(x.size)
        return hbar, x, h, kernel(real(scale), v, real(theta), h, real(older), hbar, real(step), x)

    def momentum(self, beta: Any, gamma: Any, x: Any, previous: Any, z: Any) -> Any:
        if x.ndim > 1:
            return super().momentum(beta, gamma, x, previous, z)
        number = x.real.dtype.type
        vectors.momentum.for_size(x.size)(number(beta), number(gamma), x, previous, z)
        return previous

    def sweep(self, ordering: Ordering, x: Any, b: Any, omega: float, reverse: bool) -> Any:
        arrays = self.arrays(ordering.operator)
        inverse = ordering.inverse_diagonal
        if ordering.order == "natural":
            sweeps.natural_sweeps(arrays, inverse, x, b, float(omega), UNROUNDED, not reverse, reverse, 1)
        else:
            rows, starts = ordering.rows
            sweeps.staged_sweep.for_size(x.size)(arrays, inverse, rows, starts, x, b, float(omega), UNROUNDED, reverse)
        return x

    def product_each(self, A: Operator) -> Callable[[Any, Any], Any] | None:
        arrays = self.arrays(A)
        if arrays is None or isinstance(A, Dense):
            return super().product_each(A)
        work, room = A.entries, np.empty((0, 0), A.dtype)

        def product(x: Any, out: Any) -> Any:
            nonlocal room
            X, Y = x.reshape(-1, x.shape[-1]), out.reshape(-1, out.shape[-1])
            if isinstance(arrays, products.CSRArrays):
                if room.shape != X.shape[::-1] or room.dtype != X.dtype:
                    room = np.empty(X.shape[::-1], X.dtype)
                columns.csr_product.for_size(work * len(X))(arrays, X, Y, room)
            else:
                columns.product.for_size(work * len(X))(arrays, X, Y)
            return out

        return product

    def gram(self, X: Any, Y: Any) -> np.ndarray:
        sums = _sums(X, Y)
        columns.gram.for_size(X.size)(X, Y, sums)
        return sums.sum(axis=0)

    def combinations(self, C: np.ndarray, X: Any) -> Any:
        made = np.empty((C.shape[1], X.shape[1]), X.dtype)
        columns.combine.for_size(X.size)(_small(C, X), X, made)
        return made

    def block_update(
        self, alpha: np.ndarray, S: Any, X: Any, xi: np.ndarray, Q: Any, W: Any
    ) -> tuple[Any, Any, np.ndarray]:
        sums = _sums(W, W)
        columns.block_update.for_size(W.size)(_small(alpha, S), S, X, _small(xi, S), Q, W, sums)
        return X, W, sums.sum(axis=0)

    def block_turn(self, C: np.ndarray, T: Any, Z: Any, zeta: np.ndarray, S: Any) -> tuple[Any, Any]:
        made = C.shape[1]
        W = T if made == len(T) else np.empty((made, T.shape[1]), T.dtype)
        P = S if made == len(S) else np.empty((made, S.shape[1]), S.dtype)
        columns.block_turn.for_size(T.size)(_small(C, T), T, Z, _small(zeta, T), S, W, P)
        return W, P

    def facts(self, A: Operator) -> Facts | None:
        if isinstance(A, CSR):
            bands = self.bands(A)
            return Facts(*(facts.csr_facts(*self.arrays(A)) if bands is None else facts.band_facts(*bands)))
        if isinstance(A, Dense):
            return Facts(*facts.dense_facts(self.arrays(A).matrix))
        return A.facts()

    def prepare(self, A: Operator, known: Facts | None) -> Operator:
        """A large CSR matrix of a few diagonals as Diagonals, upper half only when it is exactly symmetric."""
        bands = self.bands(A) if isinstance(A, CSR) else None
        return A if bands is None else Diagonals.found(*bands)

    def bands(self, A: CSR) -> tuple[np.ndarray, np.ndarray, bool] | None:
        """The diagonals of a large CSR matrix that has few, as ``Diagonals`` takes them; kept on our own operator."""
        if A.shape[0] < BANDS_FROM:
            return None
        if "_numba_bands" not in A.__dict__:
            A.__dict__["_numba_bands"] = self._found_bands(A)
        return A.__dict__["_numba_bands"]

    def _found_bands(self, A: CSR) -> tuple[np.ndarray, np.ndarray, bool] | None:
        kept = self.kept if A.dtype.kind == "f" else None
        if kept is None:
            return self._searched_bands(A)
        pattern = kept.pattern
        if pattern is not None and (
            A.__dict__.get("_numba_pattern") is pattern or pattern.is_that_of(A.indptr, A.indices)
        ):
            bands = self._empty((pattern.offsets.size, A.shape[0]), A.dtype)
            if pattern.fill(A.data, bands):
                return bands, pattern.offsets, True
            return self._searched_bands(A)
        found = self._searched_bands(A)
        if found is not None and found[2]:
            kept.pattern = BandPattern(A.indptr, A.indices, found[1])
        return found

    def _searched_bands(self, A: CSR) -> tuple[np.ndarray, np.ndarray, bool] | None:
        indptr, indices, data = self.arrays(A)
        n = A.shape[0]
        # Some rows tell the offsets of most matrices; where they do not, all have to be asked.
        for stride in (max(1, n // SAMPLED), 1):
            offsets = facts.csr_offsets(indptr, indices, BANDS_MOST, stride)
            if offsets.size > BANDS_MOST or offsets.size * n > PADDING * A.entries:
                return None
            if A.dtype.kind == "f":
                upper = np.unique(np.abs(offsets))
                bands = self._empty((upper.size, n), A.dtype)
                if facts.csr_to_upper_bands(indptr, indices, data, upper, bands):
                    return bands, upper, True
            bands = self._empty((offsets.size, n), A.dtype)
            if facts.csr_to_bands(indptr, indices, data, offsets, bands):
                return bands, offsets, False
        return None

    def _empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.empty(shape, dtype) if self.kept is None else self.kept.memory.empty(shape, dtype)

    def loop_rounding(self, dtype: Any) -> Any:
        return UNROUNDED

    def arrays(self, A: Operator) -> Any:
        """The arrays of A that kernels take, or None; kept on our own operator so that it is done once."""
        held = A.__dict__.get("_numba_arrays")
        if held is None:
            held = A.__dict__["_numba_arrays"] = products.arrays_of(A)
        return held

    def stack_of(self, A: Any) -> tuple[Any, int] | None:
        """The matrices of a batch as a stack or an array (..., n, n), and the entries of each; None for others."""
        if isinstance(A, CSRStack):
            return A, A.values.shape[-1]
        if isinstance(A, StencilStack):
            return A, A.shape[-1]
        if len(getattr(A, "shape", ())) > 2:
            if library_of(A) not in self.libraries:
                return None  # whatever it is, it is taken one by one
            matrices = self.vector(A, "A")
            return matrices, matrices.shape[-1] ** 2
        one = self.operator(A)
        if isinstance(one, CSR):
            return CSRStack(Pattern(one.indptr, one.indices, True), one.data), one.entries
        if isinstance(one, Stencil):
            pairs = tuple(zip(one.coefficients[1::2, None], one.coefficients[2::2, None], strict=True))
            return StencilStack(one.grid, one.coefficients[:1], pairs), one.entries
        return (one.matrix, one.entries) if isinstance(one, Dense) else None

    def stack_arrays(self, A: Any, dtype: np.dtype) -> Any:
        """The arrays of a stack that kernels take."""
        if isinstance(A, CSRStack):
            values = np.ascontiguousarray(A.values, dtype)
            indptr, indices, _ = products.arrays_of(CSR(A.pattern.indptr, A.pattern.indices, values[..., :0]))
            return products.CSRStack(indptr, indices, values.reshape(-1, values.shape[-1]))
        if isinstance(A, StencilStack):
            coefficients = products.on_three_axes(A.coefficients.astype(dtype))
            planes, lines, points = products.three_axes(A.grid)
            return products.StencilStack(planes, lines, points, coefficients.reshape(-1, 7))
        return products.DenseStack(np.ascontiguousarray(A, dtype).reshape(-1, *A.shape[-2:]))

    def shared(self, kernel: Any, work: int) -> Any:
        """The variant of a kernel over many systems that is faster for so much work in all."""
        return kernel.parallel if work >= small_batch.SHARED and threads() > 1 else kernel.serial


def _sums(X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """Room for the inner products of two blocks of vectors, of each block of rows."""
    blocks = -(-X.shape[1] // BLOCK)
    return np.empty((blocks, len(X), len(Y)), np.result_type(X.dtype, np.float64))


def _small(C: np.ndarray, X: np.ndarray) -> np.ndarray:
    """A small matrix in the precision of a block."""
    return np.ascontiguousarray(C, X.dtype)
