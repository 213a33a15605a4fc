"""The passes of least squares: a product with A or A^H fused with the vector it goes into, and the updates of LSMR."""

from __future__ import annotations

import numpy as np
from numba import prange

from .compiling import BLOCK, Variants
from .products import block_product
from .vectors import inner, ordered_sum

__all__ = ["lsmr_update", "product_update"]

ROWS = 1024  # a block: its product waits in the first-level cache for the vector that it is added to


@Variants
def product_update(A, a, x, b, y, c, z):  # type: ignore[no-untyped-def]
    """y <- a A x + b y, and c z besides unless z is empty; returns its norm."""
    blocks = (y.size + ROWS - 1) // ROWS
    partial = np.zeros(blocks)
    for block in prange(blocks):
        low = block * ROWS
        high = min(y.size, low + ROWS)
        product, here = np.empty(high - low, y.dtype), y[low:high]
        block_product(A, x, low, high, product)
        for i in range(here.size):
            here[i] = a * product[i] + b * here[i]
        if z.size:
            there = z[low:high]
            for i in range(here.size):
                here[i] += c * there[i]
        partial[block] = inner(here, here)
    return np.sqrt(ordered_sum(partial))


@Variants
def lsmr_update(scale, v, theta, h, older, hbar, step, x):  # type: ignore[no-untyped-def]
    """hbar <- h + older hbar, x <- x + step hbar, h <- scale v + theta h; returns the norm of x."""
    blocks = (x.size + BLOCK - 1) // BLOCK
    partial = np.zeros(blocks)
    for block in prange(blocks):
        low, high = block * BLOCK, (block + 1) * BLOCK
        vs, hs, bars, xs = v[low:high], h[low:high], hbar[low:high], x[low:high]
        for i in range(xs.size):
            bars[i] = hs[i] + older * bars[i]
            xs[i] += step * bars[i]
            hs[i] = scale * vs[i] + theta * hs[i]
        partial[block] = inner(xs, xs)
    return np.sqrt(ordered_sum(partial))
