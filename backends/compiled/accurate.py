"""The certificate's residual: b - A x as if computed in twice the working precision, then rounded.

Products are split into a rounded part and its error by a fused multiply-add, sums by Knuth's TwoSum, and the errors
are added up beside the sum: Ogita, Rump & Oishi (2005), Algorithm 5.3 (Dot2), whose error is u |result| + gamma_n^2
times the absolute sum. Single precision is accumulated in double instead. Reassociation would destroy the algorithm,
so what works on a sum and its error is compiled without fast-math, whatever calls it.
"""

from __future__ import annotations

import numpy as np
from numba.core import types
from numba.extending import intrinsic, overload, register_jitable

from .compiling import Shared, meet, share, sums_of
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


# No flags, whatever those of the kernel that calls.
_EXACT = {"forceinline": True, "fastmath": False, "error_model": "numpy"}


@register_jitable(**_EXACT)
def _real(total, error, a, x):  # type: ignore[no-untyped-def]
    product = a * x
    product_error = fma(a, x, -product)
    result = total - product
    back = result - total
    return result, error + ((total - (result - back)) - (product + back) - product_error)


@overload(subtract_product, jit_options=_EXACT)
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
                _subtract_band(A.data, d, A.offsets[d], 0, x, low, high, total, error)

        return band
    if is_kind(A, SymmetricBandArrays):

        def symmetric(A, x, low, high, total, error):  # type: ignore[no-untyped-def]
            # The main diagonal, then each with its mirror image.
            for step in range(2 * A.offsets.size - 1):
                d = (step + 1) // 2
                offset = A.offsets[d] if step % 2 else -A.offsets[d]
                _subtract_band(A.data, d, offset, min(offset, 0), x, low, high, total, error)

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


@register_jitable
def _subtract_band(data, d, offset, shift, x, low, high, total, error):  # type: ignore[no-untyped-def]
    """The same for one diagonal, data[d, i + shift] being what multiplies x[i + offset] in row i."""
    begin, end = max(low, -offset), min(high, x.size - offset)
    if begin < end:
        values, there = data[d, begin + shift : end + shift], x[begin + offset : end + offset]
        totals, errors = total[begin - low : end - low], error[begin - low : end - low]
        for i in range(values.size):
            totals[i], errors[i] = subtract_product(totals[i], errors[i], values[i], there[i])


@register_jitable
def _square(x, count):  # type: ignore[no-untyped-def]
    """||x||^2 of the first so many, where the order of summation may be any."""
    total = 0.0
    for i in range(count):
        total += real_product(x[i], x[i])
    return total


@Shared
def accurate_residual(team, A, x, b, out):  # type: ignore[no-untyped-def]
    """b - A x into out; returns its norm."""
    n = out.size
    blocks = (n + ROWS - 1) // ROWS
    sums = sums_of(team, 1, blocks)
    first, last = share(team, blocks)
    total, error = wide_buffer(x, min(n, ROWS)), wide_buffer(x, min(n, ROWS))
    for block in range(first, last):
        low = block * ROWS
        high = min(n, low + ROWS)
        for i in range(high - low):
            total[i] = b[low + i]
            error[i] = 0
        subtract_rows(A, x, low, high, total, error)
        for i in range(high - low):
            total[i] += error[i]
            out[low + i] = total[i]
        sums[0, block] = _square(total, high - low)
    meet(team)
    return np.sqrt(ordered_sum(sums, 0))
