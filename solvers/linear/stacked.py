"""Batches on any array library: the systems are a stack, iterated side by side by operations on whole arrays.

As in the compiled solves, systems that leave the ordinary course are the driver's, from the start.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sparse
from array_api_compat import array_namespace

from ...backends.compiled.found import ALONE, CONVERGED, FOUND, MAX_ITERATIONS, ZERO
from ...operators import CSR, CSRStack, StencilStack
from ...operators.libraries import library_of
from ...operators.stack import Pattern
from ...precision import precision_facts, working_dtype
from ..driver.batch import Batch
from ..driver.stopping import Options
from .method import LinearMethod
from .small import Found, Small

__all__ = ["STACKED", "Came", "Stack", "solve_stack"]


@dataclass(frozen=True)
class Stack:
    """The systems of a batch, (..., n), in units in which b is of size one.

    Attributes
    ----------
    backend : Backend
    product : callable
        ``product(x, out)`` gives A x of every system.
    row : callable, or None
        ``row(i, entries)`` gives (A x)_i of every system from the list of the entries of x; None where A only
        multiplies.
    b, x, r : array, (..., n)
        Right-hand sides, first guesses and their residuals.
    target : array, (...)
        Of the residual norms.
    diagonal : array, (..., n)
        Of the matrices.
    inverse_diagonal : array, (..., n), or None
        What preconditions.
    """

    backend: Any
    product: Callable[[Any, Any], Any]
    row: Callable[[int, list[Any]], Any] | None
    b: Any
    x: Any
    r: Any
    target: Any
    diagonal: Any
    inverse_diagonal: Any = None

    def residual(self, x: Any) -> tuple[Any, Any]:
        """b - A x, new, and its norms, (...)."""
        xp = array_namespace(x)
        r = self.backend.axpby(1.0, self.b, -1.0, self.product(x, xp.empty_like(x)))
        return r, self.backend.norms_each(r)[..., 0]


class Came(NamedTuple):
    """What an iteration came to.

    Attributes
    ----------
    x : array, (..., n)
    iterations, products : array or int, (...)
    norms : array, (...)
        Of the residuals, as they were carried.
    """

    x: Any
    iterations: Any
    products: Any
    norms: Any


# From (method, stack, iterations at most) to what it came to; None where a parameter is to be found for each system, or
# where it cannot be done with these matrices. By class of the method; filled by ``solvers.stacked_loops``.
STACKED: dict[type[LinearMethod[Any]], Callable[[Any, Stack, int], Came | None]] = {}


@np.errstate(all="ignore")  # what is not finite is looked for
def solve_stack(small: Small, backend: Any, batch: Batch, options: Options) -> Found | None:
    """The systems of a batch that take the ordinary course; None where that is not for this batch."""
    began = time.perf_counter()
    limit = options.most_iterations(batch.n)
    if not options.unobserved or type(small.method) not in STACKED or batch.n == 0 or limit == 0:
        return None
    taken = _Matrices.of(backend, batch)
    if taken is None:
        return None
    b = backend.vector(batch.b, "b")
    x0 = None if batch.x0 is None else backend.vector(batch.x0, "x0")
    try:
        dtype = working_dtype(taken.dtype, *(backend.numpy_dtype(part) for part in (b, x0) if part is not None))
    except TypeError:
        return None  # which the driver puts into words
    matrices = taken.astype(dtype)
    rhs = _stacked(backend, batch, b, dtype)
    guess = None if x0 is None else _stacked(backend, batch, x0, dtype)
    found = np.zeros((*rhs.shape[:-1], len(FOUND)))
    at = {name: found[..., k] for k, name in enumerate(FOUND)}
    for name, values in matrices.facts().items():
        at[name][...] = values
    known, real = precision_facts(dtype), np.empty(0, dtype).real.dtype
    course = small.course(backend.name, dtype)
    stack, plain = _begun(small, backend, matrices, rhs, guess, options, (known, real), at)
    came = STACKED[type(small.method)](small.method, stack, limit)
    if came is None:
        return None
    wide = np.result_type(dtype, np.float64)  # single precision certifies in double, as the driver does
    truth = matrices if wide == dtype else matrices.astype(wide)
    product = truth.product(backend.copy(came.x, wide), None)
    residual = backend.norms_each(backend.axpby(1.0, backend.copy(stack.b, wide), -1.0, product))[..., 0]
    x = _finished(stack, came, residual, plain, limit, (known, real), at)
    if guess is not None:
        at["products"][plain] += 1
    return Found(
        course,
        batch,
        backend,
        backend.reshape(x, (len(batch), batch.n)),
        found.reshape(len(batch), -1),
        np.empty((0, 3, 0)),
        len(batch),
        None,
        time.perf_counter() - began,
    )


def _begun(
    small: Small, backend: Any, matrices: _Matrices, b: Any, guess: Any, options: Options, precision: Any, at: Any
) -> tuple[Stack, np.ndarray]:
    """The stack in its units, and which of its systems take the ordinary course so far."""
    xp, host = array_namespace(b), backend.to_numpy
    known, real = precision
    u, comfortable = known.unit_roundoff, known.comfortable_exponent
    size = host(xp.max(xp.abs(b), axis=-1)).astype(float)
    zero = size == 0
    exponent = np.where(zero | ~np.isfinite(size), 1, np.frexp(np.where(np.isfinite(size), size, 1.0))[1]) - 1
    hermitian = at["asymmetry"] <= 1e3 * u * at["max_abs"]
    plain = np.isfinite(at["max_abs"]) & (np.abs(_exponent_of(at["max_abs"])) <= comfortable)
    if small.method.needs_hermitian:
        plain &= hermitian
    at["status"][...] = np.where(plain & zero, ZERO, ALONE)
    at["tolerance"][...] = options.rtol
    plain &= np.isfinite(size) & ~zero & (at["empty_row"] < 0) & (np.abs(exponent) <= comfortable)
    diagonal = matrices.diagonal()
    inverse = None
    if small.why is not None:  # as rv.solve chooses
        plain &= hermitian & (at["diagonal_positive"] != 0) & (at["lower"] == 0) & (at["upper"] == 0)
        with np.errstate(all="ignore"):
            varies = xp.max(xp.abs(diagonal), axis=-1) > 1.01 / xp.max(xp.abs(1 / diagonal), axis=-1)
            inverse = xp.where(varies[..., None], 1 / diagonal, xp.ones_like(diagonal))
        at["jacobi"][...] = host(varies)
    power = backend.from_numpy(np.where(plain, np.ldexp(1.0, -exponent), 0.0)[..., None], real)
    b = xp.where(power > 0, b * power, xp.zeros_like(b))
    reference = host(backend.norms_each(b)[..., 0]).astype(float)
    target = options.rtol * reference
    if options.atol:
        target = np.maximum(target, np.ldexp(options.atol, -exponent))
    at["exponent"][...], at["reference"][...] = exponent, np.where(plain, reference, 0.0)
    at["first"][...] = reference
    x, r = xp.zeros_like(b), backend.copy(b)
    stack = Stack(backend, matrices.product, matrices.row, b, x, r, target, diagonal, inverse)
    if guess is not None:
        x = xp.where(power > 0, guess * power, xp.zeros_like(b))
        r, norms = stack.residual(x)
        first = host(norms).astype(float)
        plain &= np.isfinite(first) & (first <= reference / u)
        at["first"][...] = first
    wanted = np.maximum(target, u * u * reference)
    plain &= at["first"] > wanted
    # Those apart are solved at once: their residual is zero, and so is what is asked of it.
    apart = backend.from_numpy(plain[..., None].astype(float), real) == 0
    x, r, b = (xp.where(apart, xp.zeros_like(part), part) for part in (x, r, b))
    asked = backend.from_numpy(np.where(plain, wanted, 0.0), real)
    at["tolerance"][...] = np.where(reference > 0, target / np.where(reference > 0, reference, 1.0), options.rtol)
    return Stack(backend, matrices.product, matrices.row, b, x, r, asked, diagonal, inverse), plain


def _finished(stack: Stack, came: Came, norms: Any, plain: np.ndarray, limit: int, precision: Any, at: Any) -> Any:
    """Judge what it came to by its true residual norms, (...); returns x in the caller's units."""
    backend, (known, real) = stack.backend, precision
    xp, host = array_namespace(came.x), backend.to_numpy
    residual, size = host(norms).astype(float), host(backend.norms_each(came.x)[..., 0]).astype(float)
    reference, exponent = at["reference"], at["exponent"].astype(int)
    target = at["tolerance"] * reference
    iterations, last = host(came.iterations).astype(float), host(came.norms).astype(float)
    reached = np.frexp(np.where(np.isfinite(size), size, 1.0))[1] + exponent
    digits = 2 * round(-math.log2(known.unit_roundoff))
    inside = (reached <= known.largest_exponent - 1) & (reached >= known.smallest_exponent + digits)
    sound = plain & np.isfinite(residual) & (inside | (exponent == 0) | (size == 0)) & (iterations > 0)
    met = sound & (residual <= target)
    limited = sound & ~met & (iterations >= limit) & (residual <= at["first"]) & (last <= 0.9 * at["first"])
    at["status"][met], at["status"][limited] = CONVERGED, MAX_ITERATIONS
    at["iterations"][...], at["looks"][...] = iterations, iterations
    at["products"][...] = np.where(plain, host(came.products).astype(float) + 1, 0)
    at["residual"][...], at["size"][...], at["last"][...] = residual, size, last
    divisor = np.where(reference > 0, reference, 1.0)
    at["relative_residual"][...] = np.where(plain, residual / divisor, 0.0)
    at["residual_norm"][...], at["rhs_norm"][...] = np.ldexp(residual, exponent), np.ldexp(reference, exponent)
    done = (met | limited)[..., None]
    power = backend.from_numpy(np.where(done, np.ldexp(1.0, exponent)[..., None], 0.0), real)
    return xp.where(power > 0, came.x * power, xp.zeros_like(came.x))


def _exponent_of(size: np.ndarray) -> np.ndarray:
    return np.where((size > 0) & np.isfinite(size), np.frexp(np.where(np.isfinite(size), size, 1.0))[1] - 1, 0)


def _stacked(backend: Any, batch: Batch, given: Any, dtype: np.dtype) -> Any:
    """b or x0 as (*lead, k, n), k = 1 where each matrix has one right-hand side; a copy."""
    xp = array_namespace(given)
    rows = xp.moveaxis(given, -2, -1) if batch.columns else given[..., None, :]
    wide = xp.broadcast_to(rows, (*batch.lead, *(batch.columns or (1,)), batch.n))
    return backend.copy(wide, dtype)


class _Matrices:
    """The matrices of a batch: a stack of full ones, or one for all systems."""

    def __init__(self, backend: Any, array: Any, operator: Any) -> None:
        self.backend, self.operator = backend, operator
        self._full = array

    @staticmethod
    def of(backend: Any, batch: Batch) -> _Matrices | None:
        """Those of a batch; None where they are given in another form."""
        if not batch.matrices:
            operator = backend.operator(batch.A)
            full = getattr(operator, "matrix", None) if operator.kind == "dense" else None
            if full is not None:
                return _Matrices(backend, full, None)
            return _Matrices(backend, None, operator) if _multiplier(operator) is not None else None
        if isinstance(batch.A, (CSRStack, StencilStack)):
            return _SparseMatrices.of_stack(backend, batch) if "numpy" in backend.libraries else None
        if library_of(batch.A) not in backend.libraries:
            return None  # of another kind, from which the matrices can be had one by one
        try:
            return _Matrices(backend, backend.vector(batch.A, "A"), None)
        except TypeError:
            return None  # sparse tensors, of patterns of their own

    @property
    def dtype(self) -> np.dtype:
        """Of the entries."""
        return self.operator.dtype if self.operator is not None else self.backend.numpy_dtype(self._full)

    def astype(self, dtype: np.dtype) -> _Matrices:
        """In the precision that is worked in."""
        if self.operator is not None:
            return _Matrices(self.backend, None, self.operator.astype(dtype))
        return _Matrices(self.backend, self.backend.copy(self._full, dtype), None)

    def product(self, x: Any, out: Any) -> Any:
        """A x of every system, (..., k, n)."""
        xp = array_namespace(x)
        if self.operator is not None:
            flat = self.backend.reshape(x, (-1, x.shape[-1]))
            result = _multiplier(self.operator) @ xp.matrix_transpose(flat)
            return self.backend.reshape(xp.matrix_transpose(result), tuple(x.shape))
        return xp.matmul(x, xp.matrix_transpose(self._full))

    @property
    def row(self) -> Callable[[int, list[Any]], Any] | None:
        """As in ``Stack``."""
        if self._full is None:
            return None
        full, xp = self._full[..., None, :, :], array_namespace(self._full)  # beside the axis of right-hand sides
        return lambda i, entries: xp.sum(full[..., i, :] * xp.stack(entries, axis=-1), axis=-1)

    def diagonal(self) -> Any:
        """(..., 1, n), or (n,) of one matrix."""
        if self.operator is not None:
            return self.operator.diagonal()
        return array_namespace(self._full).linalg.diagonal(self._full)[..., None, :]

    def facts(self) -> dict[str, Any]:
        """What is known of each matrix, on the host, (..., 1) or numbers."""
        if self.operator is not None:
            known = self.backend.facts(self.operator)
            return {name: float(getattr(known, name)) for name in FOUND if hasattr(known, name)}
        A, xp = self._full, array_namespace(self._full)
        size = xp.abs(A)
        adjoint = xp.conj(xp.matrix_transpose(A)) if self.dtype.kind == "c" else xp.matrix_transpose(A)
        diagonal = xp.linalg.diagonal(A)
        real = xp.real(diagonal) if self.dtype.kind == "c" else diagonal
        imaginary = xp.imag(diagonal) if self.dtype.kind == "c" else xp.zeros_like(diagonal)
        sums = xp.sum(size, axis=-1)
        empty, zero = xp.any(sums == 0, axis=-1), xp.any(diagonal == 0, axis=-1)
        largest = xp.max(size, axis=(-2, -1))
        unit = xp.where(largest > 0, largest, xp.ones_like(largest))
        found = {
            "max_abs": largest,
            "row_norm": xp.sqrt(xp.max(xp.sum((size / unit[..., None, None]) ** 2, axis=-1), axis=-1)) * unit,
            "row_sum": xp.max(sums, axis=-1),
            "asymmetry": xp.max(xp.abs(A - adjoint), axis=(-2, -1)),
            "lower": ~xp.any(xp.triu(A, k=1) != 0, axis=(-2, -1)),
            "upper": ~xp.any(xp.tril(A, k=-1) != 0, axis=(-2, -1)),
            "diagonal_positive": xp.all((real > 0) & (imaginary == 0), axis=-1),
            "margin": xp.min(real + xp.abs(diagonal) - sums, axis=-1),
        }
        known = {name: self.backend.to_numpy(values).astype(float)[..., None] for name, values in found.items()}
        for name, flags in (("empty_row", empty), ("zero_diagonal", zero)):
            known[name] = self.backend.to_numpy(flags).astype(float)[..., None] - 1  # which one is not asked
        return known


class _SparseMatrices(_Matrices):
    """Sparse matrices of one pattern, the blocks of a diagonal of blocks.

    Parameters
    ----------
    backend : Backend
    pattern : Pattern
    values : ndarray, (..., entries)
        Of each system.
    """

    def __init__(self, backend: Any, pattern: Pattern, values: np.ndarray) -> None:
        self.backend, self.pattern, self.values = backend, pattern, values
        self.blocks = _diagonal_of_blocks(pattern, values)

    @staticmethod
    def of_stack(backend: Any, batch: Batch) -> _SparseMatrices:
        """Those of a batch, one for each system."""
        stack = batch.A.tocsr() if isinstance(batch.A, StencilStack) else batch.A
        values = np.broadcast_to(stack.values, (*batch.lead, stack.values.shape[-1]))
        return _SparseMatrices(backend, stack.pattern, values)

    @property
    def dtype(self) -> np.dtype:
        return self.values.dtype

    def astype(self, dtype: np.dtype) -> _SparseMatrices:
        return self if dtype == self.dtype else _SparseMatrices(self.backend, self.pattern, self.values.astype(dtype))

    def product(self, x: Any, out: Any) -> Any:
        *lead, k, n = x.shape
        columns = np.swapaxes(x, -1, -2).reshape(-1, k)
        return np.swapaxes((self.blocks @ columns).reshape(*lead, n, k), -1, -2)

    @property
    def row(self) -> Callable[[int, list[Any]], Any]:
        starts, columns = self.pattern.indptr.tolist(), self.pattern.indices.tolist()

        def row(i: int, entries: list[Any]) -> Any:
            places = range(starts[i], starts[i + 1])
            return sum((self.values[..., k, None] * entries[columns[k]] for k in places), start=0 * entries[i])

        return row

    def diagonal(self) -> Any:
        return self._by_row(self.blocks.diagonal())[..., None, :]

    def _by_row(self, numbers: np.ndarray) -> np.ndarray:
        """(..., n)."""
        return numbers.reshape(*self.values.shape[:-1], self.pattern.n)

    def facts(self) -> dict[str, Any]:
        size, ones = np.abs(self.values), np.ones(self.blocks.shape[0])
        largest = size.max(axis=-1, initial=0.0)
        unit = np.where(largest > 0, largest, 1.0)[..., None]
        sums = self._by_row(_diagonal_of_blocks(self.pattern, size) @ ones)
        squares = self._by_row(_diagonal_of_blocks(self.pattern, (size / unit) ** 2) @ ones)
        skew = abs(self.blocks - self.blocks.conj().T).max(axis=1)
        skew = self._by_row(skew.toarray() if sparse.issparse(skew) else np.asarray(skew))
        diagonal = self._by_row(self.blocks.diagonal())
        rows = np.repeat(np.arange(self.pattern.n), np.diff(self.pattern.indptr))
        above, below = self.pattern.indices > rows, self.pattern.indices < rows
        known = {
            "max_abs": largest,
            "row_norm": np.sqrt(squares.max(axis=-1)) * unit[..., 0],
            "row_sum": sums.max(axis=-1),
            "asymmetry": skew.max(axis=-1),
            "lower": ~np.any(self.values[..., above] != 0, axis=-1),
            "upper": ~np.any(self.values[..., below] != 0, axis=-1),
            "diagonal_positive": np.all((diagonal.real > 0) & (diagonal.imag == 0), axis=-1),
            "margin": np.min(diagonal.real + np.abs(diagonal) - sums, axis=-1),
            "empty_row": np.any(sums == 0, axis=-1) - 1.0,  # which one is not asked
            "zero_diagonal": np.any(diagonal == 0, axis=-1) - 1.0,
        }
        return {name: values.astype(float)[..., None] for name, values in known.items()}


def _diagonal_of_blocks(pattern: Pattern, values: np.ndarray) -> Any:
    """One sparse matrix, of a block (n, n) for each row of values."""
    entries, n = values.shape[-1], pattern.n
    count = values.size // entries if entries else math.prod(values.shape[:-1])
    first = np.arange(count, dtype=np.int64)[:, None]
    indices = (pattern.indices + n * first).reshape(-1)
    indptr = np.append((pattern.indptr[:-1] + entries * first).reshape(-1), count * entries)
    return sparse.csr_array((values.reshape(-1), indices, indptr), shape=(count * n, count * n))


def _multiplier(operator: Any) -> Any:
    """What multiplies a block of vectors, of an operator in compressed rows; None for others."""
    return operator.tocsr() if isinstance(operator, CSR) else getattr(operator, "matrix", None)
