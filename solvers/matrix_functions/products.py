"""What matrix functions are made of: products of stacks of matrices, and the few passes between them.

Arrays are stacks (k, m, n). As with vectors, each operation returns its result and may do so in place of the array that
it names last, so that a library without in-place operations fits too. Kernels of another library, or faster ones for
one that is here, are another class and a row of ``PRODUCTS``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from ...backends import Backend
from .factors import Degree17Factors
from .polynomial import polar_step, quadratic

__all__ = ["PRODUCTS", "NumpyProducts", "PortableProducts", "Products", "TorchProducts", "products_for"]

# library: (module of the package, class). That of "numba" is for stacks of small matrices of NumPy's, that of "triton"
# for tensors on CUDA devices.
PRODUCTS: dict[str, tuple[str, str]] = {
    "numpy": ("solvers.matrix_functions.products", "NumpyProducts"),
    "numba": ("solvers.matrix_functions.compiled", "CompiledProducts"),
    "torch": ("solvers.matrix_functions.products", "TorchProducts"),
    "triton": ("gpu.triton.products", "TritonProducts"),
    "cupy": ("solvers.matrix_functions.products", "PortableProducts"),
    "array_api": ("solvers.matrix_functions.products", "PortableProducts"),
}
NEAR_ONE = 6  # exponents of entries whose fourth powers, and sums of them, are far from the ends of single precision
CACHED = 1 << 20  # bytes of an array that stays in the cache with the others of a step
SMALL = 192  # below this order a symmetric product by syrk takes longer than an ordinary one
STRIPS = 4  # of rows, in which a symmetric product of two matrices is computed up to the diagonal
FROM_STRIPS = 384  # from this order on that is faster than all of it
# A stack of so many matrices of at most this order is worked on by compiled loops, one matrix after the other.
COMPILED_ORDER, COMPILED_COUNT = 96, 32
TRITON_DTYPES = ("torch.bfloat16", "torch.float16", "torch.float32") if find_spec("triton") is not None else ()


def products_for(backend: Backend, like: Any, compiled: bool = False) -> Products:
    """The products of the library that an array belongs to; of stacks of small matrices, compiled ones if wanted.

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.backends import choose_backend
    >>> from resolvent.solvers.matrix_functions.products import products_for
    >>> x = np.ones((1, 3, 2))
    >>> products_for(choose_backend(None, x), x).gram(x, None).tolist()
    [[[3.0, 3.0], [3.0, 3.0]]]
    """
    key = backend.library
    if compiled and key == "numpy" and like.dtype.kind == "f":
        count, rows, columns = like.shape
        if count >= COMPILED_COUNT and rows <= COMPILED_ORDER and columns <= COMPILED_ORDER:
            key = "numba"
    if key == "torch" and like.is_cuda and str(like.dtype) in TRITON_DTYPES:
        key = "triton"
    module, cls = PRODUCTS[key]
    return getattr(import_module(f"{__name__.partition('.')[0]}.{module}"), cls)(backend, like)


class Products:
    """Operations on stacks of matrices, (k, m, n), through a namespace of the array API; ``out`` is not used.

    Parameters
    ----------
    backend : Backend
    like : array
        Of its library.

    Attributes
    ----------
    xp : namespace
    count : int
        Products of two matrices so far, those with vectors not counted.
    """

    def __init__(self, backend: Backend, like: Any) -> None:
        self.xp = backend.namespace(like)
        self._to_numpy = backend.to_numpy
        self.count = 0
        self._free: dict[Any, list[Any]] = {}

    # Memory that steps write to: taken, used and given back, so that a solve allocates in its first step alone.

    def room(self, shape: Sequence[int], like: Any) -> Any:
        """An array of this shape and of another's type and place, of any values."""
        free = self._free.get((tuple(shape), like.dtype))
        return free.pop() if free else self.empty(tuple(shape), like)

    def done(self, *arrays: Any) -> None:
        """Arrays that nobody uses any longer."""
        for array in arrays:
            if array is not None:
                self._free.setdefault((tuple(array.shape), array.dtype), []).append(array)

    def empty(self, shape: tuple[int, ...], like: Any) -> Any:
        """A new array of this shape."""
        return self.xp.empty(shape, dtype=like.dtype, device=like.device)

    def batches(self, which: np.ndarray, array: Any) -> list[np.ndarray]:
        """Members in groups that are best worked on together, one group after the other."""
        return [which]

    # Products.

    def multiply(self, A: Any, B: Any, out: Any) -> Any:
        """A B."""
        self.count += 1
        return self._matmul(A, B, out)

    def multiply_add(self, A: Any, B: Any, a: float, out: Any) -> Any:
        """a A + A B for square B, which may be overwritten."""
        return self.multiply(A, self.add_identity(B, a), out)

    def add_multiply(self, A: Any, B: Any, a: float, out: Any) -> Any:
        """a A + B A for square B, which may be overwritten."""
        return self.multiply(self.add_identity(B, a), A, out)

    def multiply_commuting(self, A: Any, B: Any, out: Any) -> Any:
        """A B for Hermitian A and B that commute, so that it is Hermitian."""
        return self.multiply(A, B, out)

    def gram(self, X: Any, out: Any) -> Any:
        """X^H X."""
        self.count += 1
        return self._matmul(self.adjoint(X), X, out)

    def square(self, A: Any, out: Any) -> Any:
        """A A for Hermitian A."""
        self.count += 1
        return self._matmul(A, A, out)

    def quadratic(self, A: Any, b: float, c: float, out: Any) -> Any:
        """b A + c A^2 for Hermitian A."""
        return quadratic(self, A, b, c, out)

    def orthogonal(self, X: Any, steps: Sequence[Sequence[float]], scaling: str, eps: float) -> Any:
        """All of an iteration X <- X h(X^H X) from X over a bound of its norm where one kernel does it, else None."""
        return None

    def _matmul(self, A: Any, B: Any, out: Any) -> Any:
        return self.xp.matmul(A, B)

    def adjoint(self, A: Any) -> Any:
        """A^H, where possible without copying."""
        A = self.xp.matrix_transpose(A)
        return self.xp.conj(A) if self.xp.isdtype(A.dtype, "complex floating") else A

    def polar_step(
        self, X: Any, A: Any, coefficients: Sequence[float], square: Any, factors: Degree17Factors | None
    ) -> tuple[Any, Any]:
        """X h(A) for A = X^H X, and its Gram matrix; both may lie in X and A."""
        return polar_step(self, X, A, coefficients, square, factors)

    # Passes.

    def combine(self, terms: Sequence[tuple[float, Any]], out: Any, identity: float = 0.0) -> Any:
        """The sum of c M over the terms (c, M), and a multiple of I; ``out`` is none of the M but perhaps the first."""
        (c, M), *others = terms
        out = self.scale(M, c, out)
        for c, M in others:
            out = self.add(out, M, c)
        return self.add_identity(out, identity) if identity else out

    def scale(self, A: Any, c: Any, out: Any) -> Any:
        """c A; c may be an array (k,)."""
        return A * self.factors(c, A)

    def add(self, A: Any, B: Any, c: float) -> Any:
        """A + c B, in place of A."""
        return A + c * B

    def add_identity(self, A: Any, c: float) -> Any:
        """A + c I for square A, in place of A."""
        return A + c * self.xp.eye(A.shape[-1], dtype=A.dtype, device=A.device)

    def hermitian_part(self, A: Any, out: Any) -> Any:
        """(A + A^H) / 2."""
        return 0.5 * (A + self.adjoint(A))

    def factors(self, c: Any, A: Any) -> Any:
        """Numbers, one for each matrix, as an array that multiplies A; a number as it is."""
        if not isinstance(c, np.ndarray):
            return c
        real = {"complex64": "float32", "complex128": "float64"}.get(str(A.dtype).rpartition(".")[2])
        dtype = A.dtype if real is None else getattr(self.xp, real)
        return self.xp.asarray(c, dtype=dtype, device=A.device)[:, None, None]

    def ldexp(self, A: Any, exponents: np.ndarray, out: Any) -> Any:
        """2**e A of each matrix, exactly unless the result leaves the range."""
        if not exponents.any():
            return A
        half = exponents // 2
        return self.scale(self.scale(A, np.ldexp(1.0, half), out), np.ldexp(1.0, exponents - half), out)

    # One number for each matrix, on the host.

    def host(self, values: Any) -> np.ndarray:
        """Numbers, one or more a matrix, as a NumPy array of float64."""
        return np.asarray(self._to_numpy(values), dtype=np.float64)

    def squares(self, A: Any) -> Any:
        """The sum of squares of the entries of each."""
        size = self.xp.abs(A)
        return self.xp.sum(size * size, axis=(-2, -1))

    def norms(self, A: Any) -> np.ndarray:
        """Frobenius norms."""
        return np.sqrt(self.host(self.squares(A)))

    def largest(self, A: Any) -> np.ndarray:
        """The largest modulus of an entry; NaN where there is one."""
        return self.host(self.xp.max(self.xp.abs(A), axis=(-2, -1)))

    def row_sums(self, A: Any) -> Any:
        """Of the moduli of the entries, (k, m)."""
        return self.xp.sum(self.xp.abs(A), axis=-1)

    def infinity_norms(self, A: Any) -> np.ndarray:
        """The largest row sum of moduli."""
        return self.host(self.xp.max(self.row_sums(A), axis=-1))

    def one_norms(self, A: Any) -> np.ndarray:
        """The largest column sum of moduli."""
        return self.host(self.xp.max(self.xp.sum(self.xp.abs(A), axis=-2), axis=-1))

    def diagonals(self, A: Any) -> np.ndarray:
        """Real parts of the diagonals, (k, n)."""
        d = self.xp.linalg.diagonal(A)
        return self.host(self.xp.real(d) if self.xp.isdtype(d.dtype, "complex floating") else d)

    def traces(self, A: Any) -> np.ndarray:
        """Real parts of the traces."""
        return self.diagonals(A).sum(-1)

    def distances(self, A: Any, B: Any) -> np.ndarray:
        """||A - B||_F."""
        return self.norms(A - B)

    def identity_distances(self, P: Any, c: float = 1.0) -> np.ndarray:
        """||P - c I||_F, P being left as it was."""
        return self.norms(P - c * self.xp.eye(P.shape[-1], dtype=P.dtype, device=P.device))

    def asymmetries(self, A: Any) -> np.ndarray:
        """The largest modulus of an entry of A - A^H."""
        return self.largest(A - self.adjoint(A))

    # Members of a stack.

    def copy(self, A: Any) -> Any:
        """A contiguous copy."""
        return self.xp.asarray(A, copy=True)

    def members(self, A: Any, which: np.ndarray) -> Any:
        """Those with these numbers, as a stack of their own."""
        return self.xp.take(A, self._indices(which, A), axis=0)

    def put(self, A: Any, which: np.ndarray, values: Any) -> Any:
        """A with these members, in place of A."""
        A[self._indices(which, A), ...] = values
        return A

    def _indices(self, which: np.ndarray, A: Any) -> Any:
        return self.xp.asarray(which, device=A.device)


class PortableProducts(Products):
    """Those of any library with the functions of the array API, CuPy's among them."""

    def put(self, A: Any, which: np.ndarray, values: Any) -> Any:
        rows = {int(k): place for place, k in enumerate(which)}
        return self.xp.stack([values[rows[k], ...] if k in rows else A[k, ...] for k in range(A.shape[0])])


class InPlace(Products):
    """What libraries share whose arrays can be written to: every pass writes to ``out``."""

    def _matmul(self, A: Any, B: Any, out: Any) -> Any:
        return self.xp.matmul(A, B, out=self._out(A.shape[:-1] + B.shape[-1:], A) if out is None else out)

    def _out(self, shape: Any, like: Any) -> Any:
        return self.room(tuple(shape), like)

    def scale(self, A: Any, c: Any, out: Any) -> Any:
        return self.xp.multiply(A, self.factors(c, A), out=self._out(A.shape, A) if out is None else out)

    def add_identity(self, A: Any, c: float) -> Any:
        self._diagonal(A)[...] += c
        return A

    def hermitian_part(self, A: Any, out: Any) -> Any:
        out = self._out(A.shape, A) if out is None else out
        return self.scale(self.xp.add(A, self.adjoint(A), out=out), 0.5, out)

    def identity_distances(self, P: Any, c: float = 1.0) -> np.ndarray:
        d = self._diagonal(P)
        kept = self.copy(d)
        d[...] -= c
        norms = self.norms(P)
        d[...] = kept
        return norms

    def distances(self, A: Any, B: Any) -> np.ndarray:
        work = self.xp.subtract(A, B, out=self._out(A.shape, A))
        norms = self.norms(work)
        self.done(work)
        return norms

    def put(self, A: Any, which: np.ndarray, values: Any) -> Any:
        A[self._indices(which, A)] = values
        return A

    def _diagonal(self, A: Any) -> Any:
        """A view of the diagonals, (k, n), of contiguous square A."""
        n = A.shape[-1]
        return A.reshape(A.shape[0], n * n)[:, :: n + 1]

    def diagonals(self, A: Any) -> np.ndarray:
        return self.host(self._diagonal(A).real)


class NumpyProducts(InPlace):
    """NumPy and BLAS: ``matmul`` calls syrk for A^T A, and gemm otherwise."""

    def empty(self, shape: tuple[int, ...], like: Any) -> Any:
        return np.empty(shape, like.dtype)

    def batches(self, which: np.ndarray, array: Any) -> list[np.ndarray]:
        groups = -(-which.size // max(1, CACHED // max(1, array[:1].nbytes)))
        return np.array_split(which, max(1, groups))

    def adjoint(self, A: Any) -> Any:
        A = A.swapaxes(-1, -2)
        return A.conj() if A.dtype.kind == "c" else A

    def gram(self, X: Any, out: Any) -> Any:
        self.count += 1
        return self._symmetric(self.adjoint(X), X, out)

    def square(self, A: Any, out: Any) -> Any:
        self.count += 1
        if A.shape[-1] < SMALL or A.dtype.kind == "c":
            return self._matmul(A, A, out)
        return self._matmul(A.swapaxes(-1, -2), A, out)

    def _symmetric(self, left: Any, right: Any, out: Any) -> Any:
        """left right, where left is the transpose of right: of one buffer syrk, of two gemm."""
        if right.shape[-1] >= SMALL or left.dtype.kind == "c":
            return self._matmul(left, right, out)
        copied = self.room(right.shape, right)
        np.copyto(copied, right)
        out = self._matmul(left, copied, out)
        self.done(copied)
        return out

    def multiply_commuting(self, A: Any, B: Any, out: Any) -> Any:
        n = A.shape[-1]
        if n < FROM_STRIPS:
            return self.multiply(A, B, out)
        self.count += 1
        out = self._out(A.shape, A) if out is None else out
        first = 0
        for last in (n * (k + 1) // STRIPS for k in range(STRIPS)):
            np.matmul(A[:, first:last], B[..., :last], out=out[:, first:last, :last])
            np.copyto(out[:, :first, first:last], self.adjoint(out[:, first:last, :first]))
            first = last
        return out

    def add(self, A: Any, B: Any, c: float) -> Any:
        from scipy.linalg.blas import get_blas_funcs

        axpy = get_blas_funcs("axpy", dtype=A.dtype)
        axpy(B.reshape(-1), A.reshape(-1), a=c)  # both contiguous: in one pass, and in place
        return A

    def squares(self, A: Any) -> Any:
        if A.shape[0] == 1 or A.dtype.kind == "c":
            return np.array([np.vdot(part, part).real for part in A.reshape(A.shape[0], -1)])
        return np.einsum("kij,kij->k", A, A)

    def largest(self, A: Any) -> np.ndarray:
        if A.dtype.kind == "c":
            return super().largest(A)
        return np.maximum(A.max(axis=(-2, -1)), -A.min(axis=(-2, -1))).astype(np.float64)

    def row_sums(self, A: Any) -> Any:
        if A.dtype.kind == "c":
            return super().row_sums(A)
        sums, ones = np.empty(A.shape[:-1], A.dtype), np.ones(A.shape[-1], A.dtype)
        part = max(1, CACHED // (8 * max(1, A[:, :1].nbytes)))  # rows that stay in the cache
        for first in range(0, A.shape[-2], part):
            rows = np.abs(A[:, first : first + part])
            np.matmul(rows, ones, out=sums[:, first : first + part])
        return sums

    def copy(self, A: Any) -> Any:
        return A.copy()

    def done(self, *arrays: Any) -> None:
        super().done(*(array for array in arrays if array is not None and array.base is None))

    def members(self, A: Any, which: np.ndarray) -> Any:
        return A[self._indices(which, A)]

    def put(self, A: Any, which: np.ndarray, values: Any) -> Any:
        if values.base is not A:
            A[self._indices(which, A)] = values
        return A

    def _indices(self, which: np.ndarray, A: Any) -> Any:
        """A range as such, so that its members are a view, which steps may write to."""
        if which.size and which[-1] - which[0] == which.size - 1:
            return slice(int(which[0]), int(which[-1]) + 1)
        return which


class TorchProducts(InPlace):
    """torch on the CPU and on CUDA: ``baddbmm`` takes the multiple of A along with the product."""

    def empty(self, shape: tuple[int, ...], like: Any) -> Any:
        return self.xp.empty(shape, dtype=like.dtype, device=like.device)

    def adjoint(self, A: Any) -> Any:
        return A.mH

    def multiply_add(self, A: Any, B: Any, a: float, out: Any) -> Any:
        self.count += 1
        return self.xp.baddbmm(A, A, B, beta=a, out=self._out(A.shape, A) if out is None else out)

    def add_multiply(self, A: Any, B: Any, a: float, out: Any) -> Any:
        self.count += 1
        return self.xp.baddbmm(A, B, A, beta=a, out=self._out(A.shape, A) if out is None else out)

    def add(self, A: Any, B: Any, c: float) -> Any:
        return A.add_(B, alpha=c)

    def squares(self, A: Any) -> Any:
        return self.xp.linalg.vector_norm(A, dim=(-2, -1)).double() ** 2

    def largest(self, A: Any) -> np.ndarray:
        return self.host(self.xp.amax(self.xp.abs(A), dim=(-2, -1)))

    def row_sums(self, A: Any) -> Any:
        return self.xp.linalg.vector_norm(A, ord=1, dim=-1)

    def infinity_norms(self, A: Any) -> np.ndarray:
        return self.host(self.xp.amax(self.row_sums(A), dim=-1))

    def one_norms(self, A: Any) -> np.ndarray:
        return self.host(self.xp.amax(self.xp.linalg.vector_norm(A, ord=1, dim=-2), dim=-1))

    def copy(self, A: Any) -> Any:
        return A.clone(memory_format=self.xp.contiguous_format)

    def members(self, A: Any, which: np.ndarray) -> Any:
        return A[self._indices(which, A)]

    def _indices(self, which: np.ndarray, A: Any) -> Any:
        return self.xp.as_tensor(which, device=A.device)


def unit_exponents(largest: np.ndarray, multiple: int = 1) -> np.ndarray:
    """For each matrix the exponent, a multiple of this, that brings its largest entry near to one; 0 where it is."""
    exponents = np.frexp(np.where(largest > 0, largest, 1.0))[1]
    rounded = multiple * np.round(exponents / multiple).astype(np.int64)
    return np.where(np.abs(exponents) <= NEAR_ONE, 0, rounded)


def relative(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """values / sizes, and 0 where both are nothing."""
    return np.where(sizes > 0, values / np.where(sizes > 0, sizes, 1.0), np.where(values > 0, math.inf, 0.0))
