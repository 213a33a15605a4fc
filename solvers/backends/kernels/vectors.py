"""Vector operations in one pass, and products fused with what is done with them."""

from __future__ import annotations

import numpy as np
from numba import prange
from numba.core import types
from numba.extending import overload, register_jitable

from .compiling import BLOCK, Variants
from .products import block_product

__all__ = [
    "axpby",
    "descend",
    "dot",
    "matvec",
    "matvec_dot",
    "max_abs",
    "momentum",
    "ordered_sum",
    "real_product",
    "residual",
    "scaled_copy",
]


def real_product(a, b):  # type: ignore[no-untyped-def]
    """Real part of conj(a) b in double precision."""
    raise NotImplementedError


@overload(real_product, inline="always")
def _real_product(a, b):  # type: ignore[no-untyped-def]
    if isinstance(a, types.Complex):
        return lambda a, b: float(a.real) * float(b.real) + float(a.imag) * float(b.imag)
    return lambda a, b: float(a) * float(b)


def imaginary_product(a, b):  # type: ignore[no-untyped-def]
    """Imaginary part of conj(a) b in double precision."""
    raise NotImplementedError


@overload(imaginary_product, inline="always")
def _imaginary_product(a, b):  # type: ignore[no-untyped-def]
    if isinstance(a, types.Complex):
        return lambda a, b: float(a.real) * float(b.imag) - float(a.imag) * float(b.real)
    return lambda a, b: 0.0


@register_jitable
def ordered_sum(partial):  # type: ignore[no-untyped-def]
    """The blocks' sums added first to last: the same bits for any number of threads."""
    total = 0.0
    for block in range(partial.size):
        total += partial[block]
    return total


@Variants
def max_abs(x):  # type: ignore[no-untyped-def]
    """Largest modulus; NaN if any entry is NaN."""
    blocks = (x.size + BLOCK - 1) // BLOCK
    largest = np.zeros(blocks)
    for block in prange(blocks):
        top = 0.0
        bad = False
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            size = float(abs(x[i]))
            top = max(top, size)
            bad |= size != size
        largest[block] = np.nan if bad else top
    top = 0.0
    for block in range(blocks):
        if not largest[block] <= top:
            top = largest[block]
            if top != top:
                return top
    return top


@Variants
def scaled_copy(x, first, second, out):  # type: ignore[no-untyped-def]
    """first second x into out; the factor comes in two powers of two because it may itself overflow."""
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            out[i] = (x[i] * first) * second


@Variants
def dot(x, y):  # type: ignore[no-untyped-def]
    """Real and imaginary part of x^H y, accumulated in double precision."""
    blocks = (x.size + BLOCK - 1) // BLOCK
    partial = np.zeros((2, blocks))
    for block in prange(blocks):
        real, imaginary = 0.0, 0.0
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            real += real_product(x[i], y[i])
            imaginary += imaginary_product(x[i], y[i])
        partial[0, block] = real
        partial[1, block] = imaginary
    return ordered_sum(partial[0]), ordered_sum(partial[1])


@Variants
def axpby(a, x, b, y):  # type: ignore[no-untyped-def]
    """y <- a x + b y."""
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            y[i] = a * x[i] + b * y[i]


@Variants
def matvec(A, x, out):  # type: ignore[no-untyped-def]
    """out <- A x."""
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        low = block * BLOCK
        block_product(A, x, low, min(x.size, low + BLOCK), out, 0)


@Variants
def residual(A, x, b, out):  # type: ignore[no-untyped-def]
    """out <- b - A x; returns its norm."""
    blocks = (x.size + BLOCK - 1) // BLOCK
    partial = np.zeros(blocks)
    for block in prange(blocks):
        low = block * BLOCK
        high = min(x.size, low + BLOCK)
        block_product(A, x, low, high, out, 0)
        total = 0.0
        for i in range(low, high):
            out[i] = b[i] - out[i]
            total += real_product(out[i], out[i])
        partial[block] = total
    return np.sqrt(ordered_sum(partial))


@Variants
def matvec_dot(A, p, q):  # type: ignore[no-untyped-def]
    """q <- A p; returns the real part of p^H q."""
    blocks = (p.size + BLOCK - 1) // BLOCK
    partial = np.zeros(blocks)
    for block in prange(blocks):
        low = block * BLOCK
        high = min(p.size, low + BLOCK)
        block_product(A, p, low, high, q, 0)
        total = 0.0
        for i in range(low, high):
            total += real_product(p[i], q[i])
        partial[block] = total
    return ordered_sum(partial)


@Variants
def descend(alpha, p, q, x, r):  # type: ignore[no-untyped-def]
    """x <- x + alpha p, r <- r - alpha q; returns the norm of r."""
    blocks = (p.size + BLOCK - 1) // BLOCK
    partial = np.zeros(blocks)
    for block in prange(blocks):
        total = 0.0
        for i in range(block * BLOCK, min(p.size, (block + 1) * BLOCK)):
            x[i] += alpha * p[i]
            r[i] -= alpha * q[i]
            total += real_product(r[i], r[i])
        partial[block] = total
    return np.sqrt(ordered_sum(partial))


@Variants
def momentum(beta, gamma, x, previous, z):  # type: ignore[no-untyped-def]
    """previous <- x + beta (x - previous) + gamma z."""
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            previous[i] = x[i] + beta * (x[i] - previous[i]) + gamma * z[i]
