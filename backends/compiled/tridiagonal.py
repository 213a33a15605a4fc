"""Extreme eigenvalues of a tridiagonal matrix by LAPACK's routines, called from kernels."""

from __future__ import annotations

import math

import llvmlite.binding as llvm
import numpy as np
from numba.core import types
from numba.extending import get_cython_function_address

from .small import compiled

__all__ = ["ends_of"]


def _routine(name: str, arguments: int):  # type: ignore[no-untyped-def]
    """A routine of SciPy's LAPACK, all of whose arguments are addresses; kernels that call it can be cached."""
    symbol = f"resolvent_{name}"
    llvm.add_symbol(symbol, get_cython_function_address("scipy.linalg.cython_lapack", name))
    return types.ExternalFunction(symbol, types.void(*[types.voidptr] * arguments))


dstebz, dstein = _routine("dstebz", 18), _routine("dstein", 13)


@compiled
def ends_of(diagonal, off, ends):  # type: ignore[no-untyped-def]
    """What ``ritz_values`` says of the Lanczos matrix with these entries: both ends, then how far each may be wrong.

    ``off`` is as long as ``diagonal``, and its last entry couples to the next row.
    """
    n = diagonal.size
    if n == 1:
        ends[0] = ends[1] = diagonal[0]
        ends[2] = ends[3] = abs(off[0])
        return
    largest = 0.0
    for i in range(n):
        largest = max(largest, abs(diagonal[i]))
        if i < n - 1:
            largest = max(largest, abs(off[i]))
    unit = math.frexp(largest)[1]
    numbers, integers = np.empty(10 * n + 3), np.empty(6 * n + 7, np.int32)
    d, e, values, vector, work = numbers[3:], numbers[n + 3 :], numbers[2 * n + 3 :], numbers[3 * n + 3 :], 4 * n + 3
    for i in range(n):
        d[i], e[i] = math.ldexp(diagonal[i], -unit), math.ldexp(off[i], -unit)
    numbers[0], numbers[1], numbers[2] = 0.0, 1.0, 0.0  # an interval that is not asked for, and the tolerance: rounding
    size, rank, count, splits, failed = integers, integers[1:], integers[2:], integers[3:], integers[4:]
    blocks, bounds, rest = integers[7:], integers[n + 7 :], integers[2 * n + 7 :]
    integers[0], integers[5] = n, 1
    by_rank, by_blocks = np.array([73], np.uint8), np.array([66], np.uint8)  # "I", "B"
    for end in range(2):
        integers[1] = 1 if end == 0 else n
        dstebz(
            by_rank.ctypes,
            by_blocks.ctypes,
            size.ctypes,
            numbers.ctypes,
            numbers[1:].ctypes,
            rank.ctypes,
            rank.ctypes,
            numbers[2:].ctypes,
            d.ctypes,
            e.ctypes,
            count.ctypes,
            splits.ctypes,
            values.ctypes,
            blocks.ctypes,
            bounds.ctypes,
            numbers[work:].ctypes,
            rest.ctypes,
            failed.ctypes,
        )
        ends[end] = math.ldexp(values[0], unit)
        dstein(
            size.ctypes,
            d.ctypes,
            e.ctypes,
            integers[5:].ctypes,
            values.ctypes,
            blocks.ctypes,
            bounds.ctypes,
            vector.ctypes,
            size.ctypes,
            numbers[work:].ctypes,
            rest.ctypes,
            integers[6:].ctypes,
            failed.ctypes,
        )
        ends[2 + end] = np.nan if failed[0] else abs(off[n - 1] * vector[n - 1])
