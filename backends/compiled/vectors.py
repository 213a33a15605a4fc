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
    "axpbypcz",
    "bicgstab_update",
    "cg_update",
    "distance",
    "dot",
    "dot_and_square",
    "inner",
    "largest_modulus",
    "matvec",
    "matvec_dot",
    "max_abs",
    "momentum",
    "ordered_sum",
    "real_product",
    "residual",
    "scale",
]


def real_product(a, b):  # type: ignore[no-untyped-def]
    """Real part of conj(a) b in double precision."""
    raise NotImplementedError


@overload(real_product, inline="always")
def _real_product(a, b):  # type: ignore[no-untyped-def]
    if isinstance(a, types.Complex):
        return lambda a, b: np.float64(a.real) * np.float64(b.real) + np.float64(a.imag) * np.float64(b.imag)
    return lambda a, b: np.float64(a) * np.float64(b)


def imaginary_product(a, b):  # type: ignore[no-untyped-def]
    """Imaginary part of conj(a) b in double precision."""
    raise NotImplementedError


@overload(imaginary_product, inline="always")
def _imaginary_product(a, b):  # type: ignore[no-untyped-def]
    if isinstance(a, types.Complex):
        return lambda a, b: np.float64(a.real) * np.float64(b.imag) - np.float64(a.imag) * np.float64(b.real)
    return lambda a, b: 0.0


@register_jitable
def ordered_sum(partial):  # type: ignore[no-untyped-def]
    """The blocks' sums added first to last: the same bits for any number of threads."""
    total = 0.0
    for block in range(partial.size):
        total += partial[block]
    return total


def largest_modulus(x):  # type: ignore[no-untyped-def]
    """Largest modulus of a contiguous vector; NaN if any entry is NaN."""
    raise NotImplementedError


@overload(largest_modulus)
def _largest_modulus(x):  # type: ignore[no-untyped-def]
    if isinstance(x.dtype, types.Complex):

        def largest_complex(x):  # type: ignore[no-untyped-def]
            top = 0.0
            for i in range(x.size):
                size = np.float64(abs(x[i]))
                if not size <= top:
                    top = size
                    if top != top:
                        return top
            return top

        return largest_complex
    # Without their signs, numbers are ordered as their bits are, NaN last; integers are compared many at a time.
    integer = np.int32 if x.dtype == types.float32 else np.int64
    real = np.float32 if x.dtype == types.float32 else np.float64
    moduli = np.iinfo(integer).max

    def largest_real(x):  # type: ignore[no-untyped-def]
        bits = x.view(integer)
        top = np.zeros(1, integer)
        largest = integer(0)
        for i in range(bits.size):
            largest = max(largest, integer(bits[i] & moduli))
        top[0] = largest
        return np.float64(top.view(real)[0])

    return largest_real


@Variants
def max_abs(x):  # type: ignore[no-untyped-def]
    """Largest modulus; NaN if any entry is NaN."""
    blocks = (x.size + BLOCK - 1) // BLOCK
    largest = np.zeros(blocks)
    for block in prange(blocks):
        largest[block] = largest_modulus(x[block * BLOCK : (block + 1) * BLOCK])
    return largest_modulus(largest)


@Variants
def scale(x, factor):  # type: ignore[no-untyped-def]
    """x <- factor x."""
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        part = x[block * BLOCK : (block + 1) * BLOCK]
        for i in range(part.size):
            part[i] *= factor


@register_jitable
def inner(x, y):  # type: ignore[no-untyped-def]
    """Real part of x^H y over a block."""
    total = 0.0
    for i in range(x.size):
        total += real_product(x[i], y[i])
    return total


@register_jitable
def distance(x, y):  # type: ignore[no-untyped-def]
    """||x - y||^2 over a block."""
    total = 0.0
    for i in range(x.size):
        difference = x[i] - y[i]
        total += real_product(difference, difference)
    return total


@Variants
def dot(x, y):  # type: ignore[no-untyped-def]
    """Real and imaginary part of x^H y, accumulated in double precision."""
    blocks = (x.size + BLOCK - 1) // BLOCK
    partial = np.zeros((2, blocks))
    for block in prange(blocks):
        xs, ys = x[block * BLOCK : (block + 1) * BLOCK], y[block * BLOCK : (block + 1) * BLOCK]
        partial[0, block], partial[1, block] = inner(xs, ys), crosswise(xs, ys)
    return ordered_sum(partial[0]), ordered_sum(partial[1])


@Variants
def axpby(a, x, b, y):  # type: ignore[no-untyped-def]
    """y <- a x + b y."""
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        xs, ys = x[block * BLOCK : (block + 1) * BLOCK], y[block * BLOCK : (block + 1) * BLOCK]
        for i in range(xs.size):
            ys[i] = a * xs[i] + b * ys[i]


@Variants
def axpbypcz(a, x, b, y, c, z):  # type: ignore[no-untyped-def]
    """z <- a x + b y + c z."""
    for block in prange((z.size + BLOCK - 1) // BLOCK):
        low, high = block * BLOCK, (block + 1) * BLOCK
        xs, ys, zs = x[low:high], y[low:high], z[low:high]
        for i in range(zs.size):
            zs[i] = a * xs[i] + b * ys[i] + c * zs[i]


@register_jitable
def crosswise(x, y):  # type: ignore[no-untyped-def]
    """Imaginary part of x^H y over a block."""
    total = 0.0
    for i in range(x.size):
        total += imaginary_product(x[i], y[i])
    return total


@Variants
def dot_and_square(x, y):  # type: ignore[no-untyped-def]
    """Real and imaginary part of x^H y, and ||y||^2, accumulated in double precision."""
    blocks = (x.size + BLOCK - 1) // BLOCK
    partial = np.zeros((3, blocks))
    for block in prange(blocks):
        xs, ys = x[block * BLOCK : (block + 1) * BLOCK], y[block * BLOCK : (block + 1) * BLOCK]
        partial[0, block], partial[1, block], partial[2, block] = inner(xs, ys), crosswise(xs, ys), inner(ys, ys)
    return ordered_sum(partial[0]), ordered_sum(partial[1]), ordered_sum(partial[2])


@Variants
def bicgstab_update(alpha, p, omega, s, t, shadow, x, r):  # type: ignore[no-untyped-def]
    """x <- x + alpha p + omega s, r <- r - omega t; the parts of shadow^H r, and ||r||^2."""
    blocks = (x.size + BLOCK - 1) // BLOCK
    partial = np.zeros((3, blocks))
    for block in prange(blocks):
        low, high = block * BLOCK, (block + 1) * BLOCK
        ps, ss, ts, shadows = p[low:high], s[low:high], t[low:high], shadow[low:high]
        xs, rs = x[low:high], r[low:high]
        for i in range(xs.size):
            xs[i] += alpha * ps[i] + omega * ss[i]
        for i in range(rs.size):
            rs[i] -= omega * ts[i]
        partial[0, block] = inner(shadows, rs)
        partial[1, block], partial[2, block] = crosswise(shadows, rs), inner(rs, rs)
    return ordered_sum(partial[0]), ordered_sum(partial[1]), ordered_sum(partial[2])


@Variants
def matvec(A, x, out):  # type: ignore[no-untyped-def]
    """out <- A x."""
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        low = block * BLOCK
        high = min(x.size, low + BLOCK)
        block_product(A, x, low, high, out[low:high])


@Variants
def residual(A, x, b, out):  # type: ignore[no-untyped-def]
    """out <- b - A x; returns its norm."""
    blocks = (x.size + BLOCK - 1) // BLOCK
    partial = np.zeros(blocks)
    for block in prange(blocks):
        low = block * BLOCK
        high = min(x.size, low + BLOCK)
        product, bs = out[low:high], b[low:high]
        block_product(A, x, low, high, product)
        for i in range(high - low):
            product[i] = bs[i] - product[i]
        partial[block] = inner(product, product)
    return np.sqrt(ordered_sum(partial))


@Variants
def matvec_dot(A, p, q):  # type: ignore[no-untyped-def]
    """q <- A p; returns the real part of p^H q."""
    blocks = (p.size + BLOCK - 1) // BLOCK
    partial = np.zeros(blocks)
    for block in prange(blocks):
        low = block * BLOCK
        high = min(p.size, low + BLOCK)
        product = q[low:high]
        block_product(A, p, low, high, product)
        partial[block] = inner(p[low:high], product)
    return ordered_sum(partial)


@Variants
def cg_update(alpha, p, q, x, r):  # type: ignore[no-untyped-def]
    """x <- x + alpha p, r <- r - alpha q; returns the norms of both."""
    blocks = (p.size + BLOCK - 1) // BLOCK
    partial = np.zeros((2, blocks))
    for block in prange(blocks):
        low, high = block * BLOCK, (block + 1) * BLOCK
        ps, qs, xs, rs = p[low:high], q[low:high], x[low:high], r[low:high]
        for i in range(ps.size):
            xs[i] += alpha * ps[i]
        for i in range(ps.size):
            rs[i] -= alpha * qs[i]
        partial[0, block] = inner(xs, xs)
        partial[1, block] = inner(rs, rs)
    return np.sqrt(ordered_sum(partial[0])), np.sqrt(ordered_sum(partial[1]))


@Variants
def momentum(beta, gamma, x, previous, z):  # type: ignore[no-untyped-def]
    """previous <- x + beta (x - previous) + gamma z."""
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        low, high = block * BLOCK, (block + 1) * BLOCK
        xs, before, zs = x[low:high], previous[low:high], z[low:high]
        for i in range(xs.size):
            before[i] = xs[i] + beta * (xs[i] - before[i]) + gamma * zs[i]
