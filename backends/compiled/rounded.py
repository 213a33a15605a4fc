"""Arithmetic rounded after every single operation, in the order it is written: the policy ``op``.

Sums are taken one term after the other, so they stall as they do on a machine that has nothing but the format: 4096
ones add up to 256 in bf16. No kernel has fast-math flags: the order and the number of roundings are the point.
"""

from __future__ import annotations

import numpy as np
from numba.core import types
from numba.extending import overload, register_jitable

from ...kernels import kernel
from ...precision.rounding_kernels import rounded

__all__ = ["ordered_dot", "ordered_products", "ordered_rows", "ordered_sweep"]


def times(rule, a, b):  # type: ignore[no-untyped-def]
    """round(a b); of complex numbers by four products and two sums."""
    raise NotImplementedError


@overload(times)
def _times(rule, a, b):  # type: ignore[no-untyped-def]
    if isinstance(a, types.Complex):

        def both(rule, a, b):  # type: ignore[no-untyped-def]
            real = rounded(rule, rounded(rule, a.real * b.real) - rounded(rule, a.imag * b.imag))
            imaginary = rounded(rule, rounded(rule, a.real * b.imag) + rounded(rule, a.imag * b.real))
            return complex(real, imaginary)

        return both
    return lambda rule, a, b: rounded(rule, a * b)


@register_jitable
def row_sum(rule, indptr, indices, data, x, i):  # type: ignore[no-untyped-def]
    """(A x)_i."""
    total = x.dtype.type(0)
    for k in range(indptr[i], indptr[i + 1]):
        total = rounded(rule, total + times(rule, data[k], x[indices[k]]))
    return total


@kernel()
def ordered_dot(rule, x, y):  # type: ignore[no-untyped-def]
    """x^H y, first term first."""
    total = x.dtype.type(0)
    for i in range(x.size):
        total = rounded(rule, total + times(rule, np.conj(x[i]), y[i]))
    return total


@kernel()
def ordered_products(rule, d, x):  # type: ignore[no-untyped-def]
    """x_i <- d_i x_i."""
    for i in range(x.size):
        x[i] = times(rule, d[i], x[i])


@kernel()
def ordered_rows(rule, indptr, indices, data, x, out):  # type: ignore[no-untyped-def]
    """out <- A x, each row from its first column to its last."""
    for i in range(x.size):
        out[i] = row_sum(rule, indptr, indices, data, x, i)


@kernel()
def ordered_sweep(rule, indptr, indices, data, inverse_diagonal, x, b, omega, rows):  # type: ignore[no-untyped-def]
    """x_i <- x_i + omega (b - A x)_i / a_ii, row after row in the order given."""
    for i in rows:
        defect = rounded(rule, b[i] - row_sum(rule, indptr, indices, data, x, i))
        change = times(rule, rounded(rule, x.dtype.type(omega) * inverse_diagonal[i]), defect)
        x[i] = rounded(rule, x[i] + change)
