"""The compiled loop of conjugate gradients: three passes an iteration, many iterations a call."""

from __future__ import annotations

import numpy as np

from ...precision.rounding_kernels import rounded
from .compiling import BLOCK, Shared, meet, share, sums_of
from .products import block_product
from .vectors import inner, ordered_sum, real_product

__all__ = ["BROKE", "REPLACE", "cg_loop"]

# Why the loop came back before its buffers were full, when not for the target.
BROKE, REPLACE = 1, 2


@Shared
def cg_loop(team, A, inverse_diagonal, x, r, p, q, rho, target, gap, rule, norms, alphas, betas):  # type: ignore[no-untyped-def]
    """Iterate until the residual norm is at most target, the buffers are full, or p^H A p is not positive.

    ``inverse_diagonal`` is the Jacobi preconditioner, or empty. ``gap`` follows how far the carried residual may have
    parted from the true one: the attributes of ``Gap`` in ``solvers.krylov.cg``; None compiles to a loop that does not
    follow it. Vectors are rounded as ``rule`` says when they are written. Returns iterations done, rho, the bound of
    the gap, and 0, BROKE or REPLACE.
    """
    n = x.size
    blocks = (n + BLOCK - 1) // BLOCK
    # A kind a pass: while some still read the sums of one pass, others may write those of the next.
    sums = sums_of(team, 4, blocks)
    first, last = share(team, blocks)
    preconditioned = inverse_diagonal.size > 0
    curvature, bound = 0.0, 0.0
    if gap is not None:
        bound, renewed, per_solution, unit_roundoff, before = gap
        tolerance = np.sqrt(unit_roundoff)
    for k in range(norms.size):
        for block in range(first, last):
            low = block * BLOCK
            high = min(n, low + BLOCK)
            qs = q[low:high]
            block_product(A, p, low, high, qs)
            for i in range(high - low):
                qs[i] = rounded(rule, qs[i])
            sums[0, block] = inner(p[low:high], qs)
        meet(team)
        curvature = ordered_sum(sums, 0)
        if not curvature > 0.0:
            return k, rho, bound, BROKE
        alpha = rho / curvature
        step = x.real.dtype.type(alpha)

        for block in range(first, last):
            low = block * BLOCK
            high = min(n, low + BLOCK)
            rs, qs = r[low:high], q[low:high]
            for i in range(high - low):
                rs[i] = rounded(rule, rs[i] - step * qs[i])
            sums[1, block] = inner(rs, rs)
            if preconditioned:
                ds = inverse_diagonal[low:high]
                total = 0.0
                for i in range(high - low):
                    total += real_product(rs[i], rounded(rule, ds[i] * rs[i]))
                sums[2, block] = total
        meet(team)
        square = ordered_sum(sums, 1)
        next_rho = ordered_sum(sums, 2) if preconditioned else square
        beta = next_rho / rho
        turn = x.real.dtype.type(beta)

        # x is brought up to date here, where p is read anyway, which spares one pass over p.
        for block in range(first, last):
            low = block * BLOCK
            high = min(n, low + BLOCK)
            xs, ps, rs = x[low:high], p[low:high], r[low:high]
            for i in range(high - low):
                xs[i] = rounded(rule, xs[i] + step * ps[i])
            if gap is not None:
                sums[3, block] = inner(xs, xs)
            if preconditioned:
                ds = inverse_diagonal[low:high]
                for i in range(high - low):
                    ps[i] = rounded(rule, rounded(rule, ds[i] * rs[i]) + turn * ps[i])
            else:
                for i in range(high - low):
                    ps[i] = rounded(rule, rs[i] + turn * ps[i])
        meet(team)
        rho = next_rho
        alphas[k] = alpha
        betas[k] = beta
        norms[k] = np.sqrt(square)
        if gap is not None:
            below = bound <= tolerance * before
            before = norms[k]
            bound += per_solution * np.sqrt(ordered_sum(sums, 3)) + unit_roundoff * before
        if not norms[k] > target:
            return k + 1, rho, bound, 0
        if gap is not None and below and bound > max(tolerance * before, 10.0 * renewed, 0.1 * target):
            return k + 1, rho, bound, REPLACE
    return norms.size, rho, bound, 0
