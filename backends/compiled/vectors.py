"""Vector operations in one pass, and products fused with what is done with them."""

from __future__ import annotations

import numpy as np
from numba.core import types
from numba.extending import overload, register_jitable

from ...precision.rounding_kernels import bits_of, float_of
from .compiling import BLOCK, FAST, Shared, meet, share, sums_of
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
    "number",
    "numbers_like",
    "ordered_sum",
    "real_product",
    "residual",
    "scale",
]


def real_product(a, b):  # type: ignore[no-untyped-def]
    """Real part of conj(a) b in double precision."""
    raise NotImplementedError


# Told how to be compiled: otherwise they would take after the kernel in whose compilation they are met first.
_INLINED = {"forceinline": True, "fastmath": set(FAST), "error_model": "numpy"}


@overload(real_product, jit_options=_INLINED)
def _real_product(a, b):  # type: ignore[no-untyped-def]
    if isinstance(a, types.Complex):
        return lambda a, b: np.float64(a.real) * np.float64(b.real) + np.float64(a.imag) * np.float64(b.imag)
    return lambda a, b: np.float64(a) * np.float64(b)


def imaginary_product(a, b):  # type: ignore[no-untyped-def]
    """Imaginary part of conj(a) b in double precision."""
    raise NotImplementedError


@overload(imaginary_product, jit_options=_INLINED)
def _imaginary_product(a, b):  # type: ignore[no-untyped-def]
    if isinstance(a, types.Complex):
        return lambda a, b: np.float64(a.real) * np.float64(b.imag) - np.float64(a.imag) * np.float64(b.real)
    return lambda a, b: 0.0


@register_jitable
def ordered_sum(sums, kind):  # type: ignore[no-untyped-def]
    """The blocks' sums of a kind added first to last: the same bits for any number of threads."""
    total = 0.0
    for block in range(sums.shape[1]):
        total += sums[kind, block]
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
    integer = np.uint32 if x.dtype == types.float32 else np.uint64
    moduli = integer(np.iinfo(integer).max >> 1)

    def largest_real(x):  # type: ignore[no-untyped-def]
        largest = integer(0)
        for i in range(x.size):
            largest = max(largest, integer(bits_of(x[i]) & moduli))
        return np.float64(float_of(largest))

    return largest_real


def number(x, real, imaginary):  # type: ignore[no-untyped-def]
    """A number of the kind of x's entries, in double precision."""
    raise NotImplementedError


@overload(number, inline="always")
def _number(x, real, imaginary):  # type: ignore[no-untyped-def]
    if isinstance(x.dtype, types.Complex):
        return lambda x, real, imaginary: complex(real, imaginary)
    return lambda x, real, imaginary: real


def numbers_like(x, rows, columns):  # type: ignore[no-untyped-def]
    """Room for (rows, columns) numbers of that kind."""
    raise NotImplementedError


@overload(numbers_like)
def _numbers_like(x, rows, columns):  # type: ignore[no-untyped-def]
    kind = np.complex128 if isinstance(x.dtype, types.Complex) else np.float64
    return lambda x, rows, columns: np.empty((rows, columns), kind)


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


@Shared
def max_abs(team, x):  # type: ignore[no-untyped-def]
    """Largest modulus; NaN if any entry is NaN. For kernels: one member does it."""
    return largest_modulus(x)


@Shared
def scale(team, x, factor):  # type: ignore[no-untyped-def]
    """x <- factor x."""
    for i in range(x.size):
        x[i] *= factor


@Shared
def dot(team, x, y):  # type: ignore[no-untyped-def]
    """Real and imaginary part of x^H y, accumulated in double precision."""
    blocks = (x.size + BLOCK - 1) // BLOCK
    sums = sums_of(team, 2, blocks)
    first, last = share(team, blocks)
    for block in range(first, last):
        xs, ys = x[block * BLOCK : (block + 1) * BLOCK], y[block * BLOCK : (block + 1) * BLOCK]
        sums[0, block], sums[1, block] = inner(xs, ys), crosswise(xs, ys)
    meet(team)
    return ordered_sum(sums, 0), ordered_sum(sums, 1)


@Shared
def axpby(team, a, x, b, y):  # type: ignore[no-untyped-def]
    """y <- a x + b y."""
    first, last = share(team, x.size)
    xs, ys = x[first:last], y[first:last]
    for i in range(xs.size):
        ys[i] = a * xs[i] + b * ys[i]


@Shared
def axpbypcz(team, a, x, b, y, c, z):  # type: ignore[no-untyped-def]
    """z <- a x + b y + c z."""
    first, last = share(team, z.size)
    xs, ys, zs = x[first:last], y[first:last], z[first:last]
    for i in range(zs.size):
        zs[i] = a * xs[i] + b * ys[i] + c * zs[i]


@register_jitable
def crosswise(x, y):  # type: ignore[no-untyped-def]
    """Imaginary part of x^H y over a block."""
    total = 0.0
    for i in range(x.size):
        total += imaginary_product(x[i], y[i])
    return total


@Shared
def dot_and_square(team, x, y):  # type: ignore[no-untyped-def]
    """Real and imaginary part of x^H y, and ||y||^2, accumulated in double precision."""
    blocks = (x.size + BLOCK - 1) // BLOCK
    sums = sums_of(team, 3, blocks)
    first, last = share(team, blocks)
    for block in range(first, last):
        xs, ys = x[block * BLOCK : (block + 1) * BLOCK], y[block * BLOCK : (block + 1) * BLOCK]
        sums[0, block], sums[1, block], sums[2, block] = inner(xs, ys), crosswise(xs, ys), inner(ys, ys)
    meet(team)
    return ordered_sum(sums, 0), ordered_sum(sums, 1), ordered_sum(sums, 2)


@Shared
def bicgstab_update(team, alpha, p, omega, s, t, shadow, x, r):  # type: ignore[no-untyped-def]
    """x <- x + alpha p + omega s, r <- r - omega t; the parts of shadow^H r, and ||r||^2."""
    blocks = (x.size + BLOCK - 1) // BLOCK
    sums = sums_of(team, 3, blocks)
    first, last = share(team, blocks)
    for block in range(first, last):
        low, high = block * BLOCK, (block + 1) * BLOCK
        ps, ss, ts, shadows = p[low:high], s[low:high], t[low:high], shadow[low:high]
        xs, rs = x[low:high], r[low:high]
        for i in range(xs.size):
            xs[i] += alpha * ps[i] + omega * ss[i]
        for i in range(rs.size):
            rs[i] -= omega * ts[i]
        sums[0, block] = inner(shadows, rs)
        sums[1, block], sums[2, block] = crosswise(shadows, rs), inner(rs, rs)
    meet(team)
    return ordered_sum(sums, 0), ordered_sum(sums, 1), ordered_sum(sums, 2)


@Shared
def matvec(team, A, x, out):  # type: ignore[no-untyped-def]
    """out <- A x."""
    first, last = share(team, (out.size + BLOCK - 1) // BLOCK)
    for block in range(first, last):
        low = block * BLOCK
        high = min(out.size, low + BLOCK)
        block_product(A, x, low, high, out[low:high])


@Shared
def residual(team, A, x, b, out):  # type: ignore[no-untyped-def]
    """out <- b - A x; returns its norm."""
    blocks = (out.size + BLOCK - 1) // BLOCK
    sums = sums_of(team, 1, blocks)
    first, last = share(team, blocks)
    for block in range(first, last):
        low = block * BLOCK
        high = min(out.size, low + BLOCK)
        product, bs = out[low:high], b[low:high]
        block_product(A, x, low, high, product)
        for i in range(high - low):
            product[i] = bs[i] - product[i]
        sums[0, block] = inner(product, product)
    meet(team)
    return np.sqrt(ordered_sum(sums, 0))


@Shared
def matvec_dot(team, A, p, q):  # type: ignore[no-untyped-def]
    """q <- A p; returns the real part of p^H q."""
    blocks = (p.size + BLOCK - 1) // BLOCK
    sums = sums_of(team, 1, blocks)
    first, last = share(team, blocks)
    for block in range(first, last):
        low = block * BLOCK
        high = min(p.size, low + BLOCK)
        product = q[low:high]
        block_product(A, p, low, high, product)
        sums[0, block] = inner(p[low:high], product)
    meet(team)
    return ordered_sum(sums, 0)


@Shared
def cg_update(team, alpha, p, q, x, r):  # type: ignore[no-untyped-def]
    """x <- x + alpha p, r <- r - alpha q; returns the norms of both."""
    blocks = (p.size + BLOCK - 1) // BLOCK
    sums = sums_of(team, 2, blocks)
    first, last = share(team, blocks)
    for block in range(first, last):
        low, high = block * BLOCK, (block + 1) * BLOCK
        ps, qs, xs, rs = p[low:high], q[low:high], x[low:high], r[low:high]
        for i in range(ps.size):
            xs[i] += alpha * ps[i]
        for i in range(ps.size):
            rs[i] -= alpha * qs[i]
        sums[0, block] = inner(xs, xs)
        sums[1, block] = inner(rs, rs)
    meet(team)
    return np.sqrt(ordered_sum(sums, 0)), np.sqrt(ordered_sum(sums, 1))


@Shared
def momentum(team, beta, gamma, x, previous, z):  # type: ignore[no-untyped-def]
    """previous <- x + beta (x - previous) + gamma z."""
    first, last = share(team, x.size)
    xs, before, zs = x[first:last], previous[first:last], z[first:last]
    for i in range(xs.size):
        before[i] = xs[i] + beta * (xs[i] - before[i]) + gamma * zs[i]
