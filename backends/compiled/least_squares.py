"""The passes of least squares: a product with A or A^H fused with the vector it goes into, and the updates of LSMR."""

from __future__ import annotations

import numpy as np

from .compiling import BLOCK, Shared, meet, share, sums_of
from .products import block_product
from .vectors import inner, ordered_sum

__all__ = ["lsmr_update", "product_update"]

ROWS = 1024  # a block: its product waits in the first-level cache for the vector that it is added to


@Shared
def product_update(team, A, a, x, b, y, c, z):  # type: ignore[no-untyped-def]
    """y <- a A x + b y, and c z besides unless z is empty; returns its norm."""
    blocks = (y.size + ROWS - 1) // ROWS
    sums = sums_of(team, 1, blocks)
    first, last = share(team, blocks)
    product = np.empty(ROWS, y.dtype)
    for block in range(first, last):
        low = block * ROWS
        high = min(y.size, low + ROWS)
        here = y[low:high]
        block_product(A, x, low, high, product[: high - low])
        for i in range(here.size):
            here[i] = a * product[i] + b * here[i]
        if z.size:
            there = z[low:high]
            for i in range(here.size):
                here[i] += c * there[i]
        sums[0, block] = inner(here, here)
    meet(team)
    return np.sqrt(ordered_sum(sums, 0))


@Shared
def lsmr_update(team, scale, v, theta, h, older, hbar, step, x):  # type: ignore[no-untyped-def]
    """hbar <- h + older hbar, x <- x + step hbar, h <- scale v + theta h; returns the norm of x."""
    blocks = (x.size + BLOCK - 1) // BLOCK
    sums = sums_of(team, 1, blocks)
    first, last = share(team, blocks)
    for block in range(first, last):
        low, high = block * BLOCK, (block + 1) * BLOCK
        vs, hs, bars, xs = v[low:high], h[low:high], hbar[low:high], x[low:high]
        for i in range(xs.size):
            bars[i] = hs[i] + older * bars[i]
            xs[i] += step * bars[i]
            hs[i] = scale * vs[i] + theta * hs[i]
        sums[0, block] = inner(xs, xs)
    meet(team)
    return np.sqrt(ordered_sum(sums, 0))
