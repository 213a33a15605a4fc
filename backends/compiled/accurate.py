"""The certificate's residual: b - A x as if computed in twice the working precision, then rounded.

Products are split into a rounded part and its error by a fused multiply-add, sums by Knuth's TwoSum, and the errors
are added up beside the sum: Ogita, Rump & Oishi (2005), Algorithm 5.3 (Dot2), whose error is u |result| + gamma_n^2
times the absolute sum. Single precision is accumulated in double instead. Reassociation would destroy the algorithm,
so these kernels are compiled without fast-math, but for the norm.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import prange
from numba.core import types
from numba.extending import intrinsic, overload

from .compiling import FAST, Variants
from .products import (
    BandArrays,
    CSRArrays,
    DenseArrays,
    HermitianArrays,
    StencilArrays,
    SymmetricBandArrays,
    is_kind,
)
from .vectors import ordered_sum, real_product

__all__ = ["accurate_residual"]

ROWS = 512  # a block: sums and their errors stay in the first-level cache beside what is read


@intrinsic
def fma(typing_context, a, b, c):  # type: ignore[no-untyped-def]
    """a b + c in float64, rounded once."""

    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), build


def subtract_product(total, error, a, x):  # type: ignore[no-untyped-def]
    """(total, error) of total + error - a x."""
    raise NotImplementedError


@numba.njit(cache=True, inline="always", fastmath=False)
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


def wide_buffer(x, size):  # type: ignore[no-untyped-def]
    """So many numbers in double precision, complex where x is."""
    raise NotImplementedError


@overload(wide_buffer)
def _wide_buffer(x, size):  # type: ignore[no-untyped-def]
    dtype = np.complex128 if isinstance(x.dtype, types.Complex) else np.float64
    return lambda x, size: np.empty(size, dtype)


def subtract_rows(A, x, low, high, total, error):  # type: ignore[no-untyped-def]
    """(total, error) of total + error - A x in rows low..high, accumulated twice as precisely.

    Storage by diagonals goes diagonal by diagonal, and a Hermitian matrix column by column: that is vectorised, and in
    every row the same sum.
    """
    raise NotImplementedError


@overload(subtract_rows)
def _subtract_rows(A, x, low, high, total, error):  # type: ignore[no-untyped-def]
    if is_kind(A, CSRArrays):

        def csr(A, x, low, high, total, error):  # type: ignore[no-untyped-def]
            for i in range(low, high):
                t, e = total[i - low], error[i - low]
                for k in range(A.indptr[i], A.indptr[i + 1]):
                    t, e = subtract_product(t, e, A.data[k], x[A.indices[k]])
                total[i - low], error[i - low] = t, e

        return csr
    if is_kind(A, DenseArrays):

        def dense(A, x, low, high, total, error):  # type: ignore[no-untyped-def]
            for i in range(low, high):
                t, e = total[i - low], error[i - low]
                for j in range(x.size):
                    t, e = subtract_product(t, e, A.matrix[i, j], x[j])
                total[i - low], error[i - low] = t, e

        return dense
    if is_kind(A, HermitianArrays):

        def hermitian(A, x, low, high, total, error):  # type: ignore[no-untyped-def]
            for j in range(x.size):
                column, there = A.matrix[j, low:high], x[j]
                for i in range(column.size):
                    total[i], error[i] = subtract_product(total[i], error[i], np.conj(column[i]), there)

        return hermitian
    if is_kind(A, BandArrays):

        def band(A, x, low, high, total, error):  # type: ignore[no-untyped-def]
            for d in range(A.offsets.size):
                _subtract_band(A.data[d], A.offsets[d], 0, x, low, high, total, error)

        return band
    if is_kind(A, SymmetricBandArrays):

        def symmetric(A, x, low, high, total, error):  # type: ignore[no-untyped-def]
            done, count = 0, A.offsets.size
            if count > 2 and low >= A.offsets[2] and high <= x.size - A.offsets[2]:
                _subtract_five(A.data, A.offsets[1], A.offsets[2], x, low, high, total, error)
                done = 3
            for d in range(done, count):
                offset = A.offsets[d]
                _subtract_band(A.data[d], offset, 0, x, low, high, total, error)
                if d:
                    _subtract_band(A.data[d], -offset, -offset, x, low, high, total, error)

        return symmetric
    if is_kind(A, StencilArrays):

        def stencil(A, x, low, high, total, error):  # type: ignore[no-untyped-def]
            planes, lines, points, center, plane_lower, plane_upper, line_lower, line_upper, lower, upper = A
            for i in range(low, high):
                t, e = subtract_product(total[i - low], error[i - low], center, x[i])
                point, line = i % points, i // points
                row, plane = line % lines, line // lines
                if point > 0:
                    t, e = subtract_product(t, e, lower, x[i - 1])
                if point < points - 1:
                    t, e = subtract_product(t, e, upper, x[i + 1])
                if row > 0:
                    t, e = subtract_product(t, e, line_lower, x[i - points])
                if row < lines - 1:
                    t, e = subtract_product(t, e, line_upper, x[i + points])
                if plane > 0:
                    t, e = subtract_product(t, e, plane_lower, x[i - lines * points])
                if plane < planes - 1:
                    t, e = subtract_product(t, e, plane_upper, x[i + lines * points])
                total[i - low], error[i - low] = t, e

        return stencil
    return None


@numba.njit(cache=True, error_model="numpy", fastmath=False)
def _subtract_band(band, offset, shift, x, low, high, total, error):  # type: ignore[no-untyped-def]
    """The same for one diagonal, band[i + shift] being what multiplies x[i + offset] in row i."""
    begin, end = max(low, -offset), min(high, x.size - offset)
    if begin < end:
        values, there = band[begin + shift : end + shift], x[begin + offset : end + offset]
        totals, errors = total[begin - low : end - low], error[begin - low : end - low]
        for i in range(values.size):
            totals[i], errors[i] = subtract_product(totals[i], errors[i], values[i], there[i])


@numba.njit(cache=True, error_model="numpy", fastmath=False)
def _subtract_five(data, near, far, x, low, high, total, error):  # type: ignore[no-untyped-def]
    """The same in one pass, and in the same order, for three diagonals and the mirror images of two."""
    diagonal, center = data[0, low:high], x[low:high]
    right, to_right = data[1, low:high], x[low + near : high + near]
    left, to_left = data[1, low - near : high - near], x[low - near : high - near]
    after, to_after = data[2, low:high], x[low + far : high + far]
    before, to_before = data[2, low - far : high - far], x[low - far : high - far]
    for i in range(diagonal.size):
        t, e = subtract_product(total[i], error[i], diagonal[i], center[i])
        t, e = subtract_product(t, e, right[i], to_right[i])
        t, e = subtract_product(t, e, left[i], to_left[i])
        t, e = subtract_product(t, e, after[i], to_after[i])
        total[i], error[i] = subtract_product(t, e, before[i], to_before[i])


@numba.njit(cache=True, fastmath=set(FAST), error_model="numpy")
def _square(x):  # type: ignore[no-untyped-def]
    """||x||^2, where the order of summation may be any."""
    total = 0.0
    for i in range(x.size):
        total += real_product(x[i], x[i])
    return total


def _accurate_residual(A, x, b, out):  # type: ignore[no-untyped-def]
    """b - A x into out; returns its norm."""
    n = out.size
    blocks = (n + ROWS - 1) // ROWS
    partial = np.zeros(blocks)
    for block in prange(blocks):
        low = block * ROWS
        high = min(n, low + ROWS)
        total, error = wide_buffer(x, high - low), wide_buffer(x, high - low)
        for i in range(high - low):
            total[i] = b[low + i]
            error[i] = 0
        subtract_rows(A, x, low, high, total, error)
        for i in range(high - low):
            total[i] += error[i]
            out[low + i] = total[i]
        partial[block] = _square(total)
    return np.sqrt(ordered_sum(partial))


accurate_residual = Variants(_accurate_residual, fastmath=frozenset())
