"""Block fused multiply-add in Numba: products of matrices and rows of a sparse matrix, as tensor cores compute them.

All numbers are float32. A block is summed in float64 as integers, in units of the last bit that the hardware keeps, so
that every operation but the deliberate truncations is exact, in whatever order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..kernels import kernel

__all__ = ["KernelParameters", "csr_block_fma", "dense_block_fma", "exponents_of", "pair_position"]


# Exponents of zeros, and of NaN and infinities: the sum of the former and any finite one stays below every floor, that
# of the latter and anything else above _SPECIAL. Sums of two fit 16 bits.
_ZERO, _NOT_FINITE, _SPECIAL = -2000, 10000, 5000
_TILE = 256  # columns at a time: with a block of rows of B they fit the first-level cache


class KernelParameters(NamedTuple):
    """A ``BlockFMA`` as the kernels take it; see there."""

    block: int
    fraction_bits: int
    exponent_floor: int
    input_min_exponent: int
    significand_bits: int
    min_exponent: int
    max_exponent: int
    nearest: bool
    deferred: bool


@kernel(forceinline=True)
def _power(exponent):  # type: ignore[no-untyped-def]
    """2**exponent, a normal number of float64."""
    return np.uint64(np.uint64(exponent + 1023) << np.uint64(52)).view(np.float64)


@kernel(forceinline=True)
def _exponent(value, least):  # type: ignore[no-untyped-def]
    """Of a float32: ``least`` where it is less than that, as for numbers that are subnormal in their own format."""
    magnitude = np.uint32(np.float32(value).view(np.uint32) & np.uint32(0x7FFFFFFF))
    exponent = np.int16(max(np.int32(magnitude >> np.uint32(23)) - np.int32(127), np.int32(least)))
    exponent = np.int16(_ZERO) if magnitude == 0 else exponent
    return np.int16(_NOT_FINITE) if magnitude >= np.uint32(0x7F800000) else exponent


@kernel()
def exponents_of(values, least, out):  # type: ignore[no-untyped-def]
    """Out, int16 of shape (n,) <- exponents of the values, float32 of shape (n,)."""
    for i in range(values.size):
        out[i] = _exponent(values[i], least)


@kernel(forceinline=True)
def _rounded(total, unit, p, lowest, highest, nearest):  # type: ignore[no-untyped-def]
    """total 2**unit in p bits, for an integer total: to nearest even or toward zero, infinite from 2**(highest + 1)."""
    exponent = np.int64((np.float64(total).view(np.uint64) >> np.uint64(52)) & np.uint64(2047)) - 1023
    drop = max(exponent + 1 - p, lowest - (p - 1) - unit, 0)
    kept = total * _power(-drop)
    kept = np.rint(kept) if nearest else np.trunc(kept)
    result = kept * _power(unit + drop)
    return np.float32(np.copysign(np.inf, result) if abs(result) >= _power(highest + 1) else result)


@kernel(forceinline=True)
def _term(x, y, scale):  # type: ignore[no-untyped-def]
    """A product in units of the last bit kept."""
    return np.trunc(np.float64(x) * np.float64(y) * scale)


@kernel(forceinline=True)
def _only_if_infinite(total, term):  # type: ignore[no-untyped-def]
    """The sum of a block with NaN or infinities, to which nothing else contributes: NaN where they do not agree."""
    return total if abs(term) < np.inf else total + term


@kernel(forceinline=True)
def _added(x, y, fma):  # type: ignore[no-untyped-def]
    """x + y rounded to nearest; in float64 first, harmlessly, as 53 bits are more than twice 24 and two."""
    total = np.float64(x) + np.float64(y)
    if not 0 < abs(total) < np.inf:
        return np.float32(total)
    exponent = np.int64((np.float64(total).view(np.uint64) >> np.uint64(52)) & np.uint64(2047)) - 1023
    integer = total * _power(52 - exponent)
    return _rounded(integer, exponent - 52, fma.significand_bits, fma.min_exponent, fma.max_exponent, True)


@kernel(forceinline=True)
def pair_position(k):  # type: ignore[no-untyped-def]
    """Where product k of 32 is summed when they are split over two blocks of 16: two by two, in turn."""
    return (k & 2) * 8 + (k >> 2) * 2 + (k & 1)


@kernel(forceinline=True)
def _gathered_block(accumulator, indices, data, x, x_exponents, start, stop, half, fma):  # type: ignore[no-untyped-def]
    """accumulator + data . x[indices] from start to stop; of a pair of blocks only half 0 or 1, of a single one -1."""
    mask = np.int64(0 if half < 0 else 2)
    wanted = np.int64(max(2 * half, 0))
    highest = max(_exponent(accumulator, -126), np.int16(fma.exponent_floor))
    for k in range(start, stop):
        exponent = np.int16(_exponent(data[k], fma.input_min_exponent) + x_exponents[indices[k]])
        highest = exponent if exponent > highest and (k - start) & mask == wanted else highest
    if highest > _SPECIAL:
        infinite = _only_if_infinite(0.0, np.float64(accumulator))
        for k in range(start, stop):
            if (k - start) & mask == wanted:
                infinite = _only_if_infinite(infinite, np.float64(data[k]) * np.float64(x[indices[k]]))
        return np.float32(infinite)
    unit = np.int64(highest) - fma.fraction_bits
    scale = _power(-unit)
    total = 0.0 + _term(accumulator, 1.0, scale)
    for k in range(start, stop):
        if (k - start) & mask == wanted:
            total += _term(data[k], x[indices[k]], scale)
    return _rounded(total, unit, fma.significand_bits, fma.min_exponent, fma.max_exponent, fma.nearest)


@kernel()
def csr_block_fma(indptr, indices, data, x, out, fma):  # type: ignore[no-untyped-def]
    """Out <- A x for a CSR matrix: the stored entries of a row, one after the other, fill its blocks.

    Parameters
    ----------
    indptr, indices, data : arrays of shape (m + 1,), (nnz,), (nnz,)
        The matrix; data are float32 numbers of the input format.
    x, out : float32 arrays of shape (n,), (m,)
        x holds numbers of the input format.
    fma : KernelParameters

    Notes
    -----
    Two passes over each row while it lies in cache, and one over x for its exponents.
    """
    x_exponents = np.empty(x.size, np.int16)
    exponents_of(x, fma.input_min_exponent, x_exponents)
    length = 2 * fma.block if fma.deferred else fma.block
    for i in range(indptr.size - 1):
        total = np.float32(0)
        for start in range(indptr[i], indptr[i + 1], length):
            stop = min(start + length, indptr[i + 1])
            if fma.deferred:
                part = _gathered_block(np.float32(0), indices, data, x, x_exponents, start, stop, 0, fma)
                part = _gathered_block(part, indices, data, x, x_exponents, start, stop, 1, fma)
                total = _added(total, part, fma)
            else:
                total = _gathered_block(total, indices, data, x, x_exponents, start, stop, -1, fma)
        out[i] = total


@kernel()
def dense_block_fma(A, B, A_exponents, B_exponents, C, fma):  # type: ignore[no-untyped-def]
    """C <- C + A B, block after block along k.

    Parameters
    ----------
    A, B, C : contiguous float32 arrays of shape (m, k), (k, n), (m, n)
        A and B hold numbers of the input format. k is filled up with zeros to whole blocks; where the addition is
        deferred, to pairs of blocks, each pair in the order of ``pair_position``.
    A_exponents, B_exponents : int16 arrays of shape (m, k), (k, n)
        From ``exponents_of``.
    fma : KernelParameters

    Notes
    -----
    Columns of B are worked on side by side, which compilers turn into vector instructions.
    """
    m, k = A.shape
    n = B.shape[1]
    part, buffers = np.empty(_TILE, np.float32), (np.empty(_TILE, np.int16), np.empty(_TILE), np.empty(_TILE))
    for left in range(0, n, _TILE):
        right = min(left + _TILE, n)
        for i in range(m):
            row = C[i, left:right]
            if not fma.deferred:
                for at in range(0, k, fma.block):
                    _row_block(row, A[i], A_exponents[i], B, B_exponents, left, at, fma, buffers)
                continue
            for at in range(0, k, 2 * fma.block):
                some = part[: right - left]
                some[:] = 0
                for start in range(at, at + 2 * fma.block, fma.block):
                    _row_block(some, A[i], A_exponents[i], B, B_exponents, left, start, fma, buffers)
                for j in range(right - left):
                    row[j] = _added(row[j], some[j], fma)


@kernel()
def _row_block(row, a, a_exponents, B, B_exponents, left, at, fma, buffers):  # type: ignore[no-untyped-def]
    """Row <- row + the product of one block of a with the rows of B from ``at`` on."""
    n = row.size
    highest, scale, total = buffers
    floor = np.int16(fma.exponent_floor)
    for j in range(n):
        highest[j] = max(_exponent(row[j], -126), floor)
    for k in range(at, at + fma.block):
        exponent, exponents = a_exponents[k], B_exponents[k, left : left + n]
        for j in range(n):
            highest[j] = max(highest[j], np.int16(exponent + exponents[j]))
    top = np.int16(0)
    for j in range(n):
        top = max(top, highest[j])
        scale[j] = _power(fma.fraction_bits - np.int64(highest[j]))
        total[j] = 0.0 + _term(row[j], 1.0, scale[j])
    for k in range(at, at + fma.block):
        value, values = np.float64(a[k]), B[k, left : left + n]
        for j in range(n):
            total[j] += _term(value, values[j], scale[j])
    p, lowest, largest, nearest = fma.significand_bits, fma.min_exponent, fma.max_exponent, fma.nearest
    if top > _SPECIAL:
        for j in range(n):
            if highest[j] > _SPECIAL:
                infinite = _only_if_infinite(0.0, np.float64(row[j]))
                for k in range(at, at + fma.block):
                    infinite = _only_if_infinite(infinite, np.float64(a[k]) * np.float64(B[k, left + j]))
                row[j] = infinite
            else:
                row[j] = _rounded(total[j], highest[j] - fma.fraction_bits, p, lowest, largest, nearest)
        return
    for j in range(n):
        row[j] = _rounded(total[j], np.int64(highest[j]) - fma.fraction_bits, p, lowest, largest, nearest)
