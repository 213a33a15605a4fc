"""The certificate's residual: b - A x as if computed in twice the working precision, then rounded.

Products are split into a rounded part and its error by a fused multiply-add, sums by Knuth's TwoSum, and the errors
are added up beside the sum: Ogita, Rump & Oishi (2005), Algorithm 5.3 (Dot2), whose error is u |result| + gamma_n^2
times the absolute sum. Single precision is accumulated in double instead. Reassociation would destroy the algorithm,
so these kernels are compiled without fast-math.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import prange
from numba.core import types
from numba.extending import intrinsic, overload

from .compiling import BLOCK, Variants
from .products import BandArrays, CSRArrays, DenseArrays, StencilArrays, SymmetricBandArrays, is_kind
from .vectors import ordered_sum, real_product

__all__ = ["accurate_residual"]


@intrinsic
def fma(typing_context, a, b, c):  # type: ignore[no-untyped-def]
    """a b + c in float64, rounded once."""

    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), build


def subtract_product(total, error, a, x):  # type: ignore[no-untyped-def]
    """(total, error) of total + error - a x."""
    raise NotImplementedError


@numba.njit(cache=True, inline="always")
def _real(total, error, a, x):  # type: ignore[no-untyped-def]
    product = a * x
    product_error = fma(a, x, -product)
    result = total - product
    back = result - total
    return result, error + ((total - (result - back)) - (product + back) - product_error)


@overload(subtract_product, inline="always")
def _subtract_product(total, error, a, x):  # type: ignore[no-untyped-def]
    if isinstance(a, types.Complex):
        if a == types.complex64:

            def single(total, error, a, x):  # type: ignore[no-untyped-def]
                return total - np.complex128(a) * np.complex128(x), error

            return single

        def double(total, error, a, x):  # type: ignore[no-untyped-def]
            real, real_error = _real(total.real, error.real, a.real, x.real)
            real, real_error = _real(real, real_error, -a.imag, x.imag)
            imag, imag_error = _real(total.imag, error.imag, a.real, x.imag)
            imag, imag_error = _real(imag, imag_error, a.imag, x.real)
            return complex(real, imag), complex(real_error, imag_error)

        return double
    if a == types.float32:

        def single_real(total, error, a, x):  # type: ignore[no-untyped-def]
            return total - np.float64(a) * np.float64(x), error

        return single_real
    return lambda total, error, a, x: _real(total, error, a, x)


def wide(value):  # type: ignore[no-untyped-def]
    """A number in double precision."""
    raise NotImplementedError


@overload(wide, inline="always")
def _wide(value):  # type: ignore[no-untyped-def]
    if isinstance(value, types.Complex):
        return lambda value: np.complex128(value)
    return lambda value: np.float64(value)


def row_residual(A, x, start, i):  # type: ignore[no-untyped-def]
    """start - (A x)_i, accumulated twice as precisely."""
    raise NotImplementedError


@overload(row_residual)
def _row_residual(A, x, start, i):  # type: ignore[no-untyped-def]
    if is_kind(A, CSRArrays):

        def csr(A, x, start, i):  # type: ignore[no-untyped-def]
            total, error = wide(start), wide(start * 0)
            for k in range(A.indptr[i], A.indptr[i + 1]):
                total, error = subtract_product(total, error, A.data[k], x[A.indices[k]])
            return total + error

        return csr
    if is_kind(A, DenseArrays):

        def dense(A, x, start, i):  # type: ignore[no-untyped-def]
            total, error = wide(start), wide(start * 0)
            for j in range(x.size):
                total, error = subtract_product(total, error, A.matrix[i, j], x[j])
            return total + error

        return dense
    if is_kind(A, BandArrays):

        def band(A, x, start, i):  # type: ignore[no-untyped-def]
            total, error = wide(start), wide(start * 0)
            for d in range(A.offsets.size):
                j = i + A.offsets[d]
                if 0 <= j < x.size:
                    total, error = subtract_product(total, error, A.data[d, i], x[j])
            return total + error

        return band
    if is_kind(A, SymmetricBandArrays):

        def symmetric(A, x, start, i):  # type: ignore[no-untyped-def]
            total, error = wide(start), wide(start * 0)
            total, error = subtract_product(total, error, A.data[0, i], x[i])
            for d in range(1, A.offsets.size):
                offset = A.offsets[d]
                if i + offset < x.size:
                    total, error = subtract_product(total, error, A.data[d, i], x[i + offset])
                if i >= offset:
                    total, error = subtract_product(total, error, A.data[d, i - offset], x[i - offset])
            return total + error

        return symmetric
    if is_kind(A, StencilArrays):

        def stencil(A, x, start, i):  # type: ignore[no-untyped-def]
            planes, lines, points, center, plane_lower, plane_upper, line_lower, line_upper, lower, upper = A
            total, error = wide(start), wide(start * 0)
            total, error = subtract_product(total, error, center, x[i])
            point, line = i % points, i // points
            row, plane = line % lines, line // lines
            if point > 0:
                total, error = subtract_product(total, error, lower, x[i - 1])
            if point < points - 1:
                total, error = subtract_product(total, error, upper, x[i + 1])
            if row > 0:
                total, error = subtract_product(total, error, line_lower, x[i - points])
            if row < lines - 1:
                total, error = subtract_product(total, error, line_upper, x[i + points])
            if plane > 0:
                total, error = subtract_product(total, error, plane_lower, x[i - lines * points])
            if plane < planes - 1:
                total, error = subtract_product(total, error, plane_upper, x[i + lines * points])
            return total + error

        return stencil
    return None


def _accurate_residual(A, x, b, out):  # type: ignore[no-untyped-def]
    """b - A x into out; returns its norm."""
    n = x.size
    blocks = (n + BLOCK - 1) // BLOCK
    partial = np.zeros(blocks)
    for block in prange(blocks):
        total = 0.0
        for i in range(block * BLOCK, min(n, (block + 1) * BLOCK)):
            value = row_residual(A, x, b[i], i)
            out[i] = value
            total += real_product(value, value)
        partial[block] = total
    return np.sqrt(ordered_sum(partial))


accurate_residual = Variants(_accurate_residual, fastmath=frozenset())
