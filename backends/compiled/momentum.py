"""The compiled loop of Chebyshev, Richardson and Jacobi iteration: one pass and no reduction an iteration."""

from __future__ import annotations

import numpy as np

from ...precision.rounding_kernels import rounded
from .compiling import Shared, meet, share, sums_of
from .products import block_product
from .vectors import distance, ordered_sum

__all__ = ["momentum_loop"]

BLOCK = 512  # rows: without sums to keep in order, blocks are as small as keeps four vectors in the first-level cache


@Shared
def momentum_loop(team, A, inverse_diagonal, x, previous, b, rule, betas, gammas, limit):  # type: ignore[no-untyped-def]
    """x_{k+1} = x_k + beta_k (x_k - x_{k-1}) + gamma_k D^{-1} (b - A x_k), for as many k as there are coefficients.

    Each iterate overwrites the one before the last: 3 vectors, 4 passes. After an even number of steps the last
    iterate is in x, after an odd number in previous. Vectors are rounded as ``rule`` says. ``limit`` is a squared
    residual norm at which to stop, looked at in every step; None compiles to a loop without. Returns the steps taken.
    """
    n = x.size
    blocks = (n + BLOCK - 1) // BLOCK
    first, last = share(team, blocks)
    buffer = np.empty(min(n, BLOCK), x.dtype)
    preconditioned = inverse_diagonal.size > 0
    if limit is not None:
        sums = sums_of(team, 2, blocks)
    for k in range(betas.size):
        beta = x.real.dtype.type(betas[k])
        gamma = x.real.dtype.type(gammas[k])
        now, then = (x, previous) if k % 2 == 0 else (previous, x)
        for block in range(first, last):
            low = block * BLOCK
            high = min(n, low + BLOCK)
            product = buffer[: high - low]
            block_product(A, now, low, high, product)
            here, before, bs = now[low:high], then[low:high], b[low:high]
            if limit is not None:
                sums[k % 2, block] = distance(bs, product)
            if preconditioned:
                ds = inverse_diagonal[low:high]
                for i in range(high - low):
                    z = rounded(rule, ds[i] * rounded(rule, bs[i] - product[i]))
                    before[i] = rounded(rule, here[i] + beta * (here[i] - before[i]) + gamma * z)
            elif beta == 0:
                for i in range(high - low):
                    before[i] = rounded(rule, here[i] + gamma * rounded(rule, bs[i] - product[i]))
            else:
                for i in range(high - low):
                    z = rounded(rule, bs[i] - product[i])
                    before[i] = rounded(rule, here[i] + beta * (here[i] - before[i]) + gamma * z)
        meet(team)
        if limit is not None and ordered_sum(sums, k % 2) <= limit:
            return k
    return betas.size
