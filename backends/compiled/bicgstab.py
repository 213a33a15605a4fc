"""The compiled loop of BiCGSTAB: five passes an iteration, many iterations a call."""

from __future__ import annotations

import math

import numpy as np

from .coefficients import ALONG
from .compiling import BLOCK, Shared, meet, share, sums_of
from .products import block_product
from .vectors import crosswise, inner, number, ordered_sum

__all__ = ["BROKE", "ENDED", "bicgstab_loop"]

# Why the loop came back before its buffer was full, when not for the target: the direction is of no use or
# all that is needed, or the recurrence is to be begun anew from the residual.
BROKE, ENDED = 1, 2


@Shared
def bicgstab_loop(team, A, inverse_diagonal, x, r, p, v, shadow, t, z, y, last, shadow_norm, target, u, norms):  # type: ignore[no-untyped-def]
    """Iterate until the residual norm is at most target, the buffer is full, or the recurrence ends.

    ``inverse_diagonal`` is the Jacobi preconditioner, applied to p into z and to r into y; or it is empty, and z is p,
    y is r. ``last`` holds rho, the rho before, alpha and omega of the last step; a rho before of zero says that there
    was none, and p is the first direction. Rounding, u, leaves no digit of a product that is below u times both norms.
    Returns iterations done, ``last`` and 0, BROKE or ENDED.
    """
    n = x.size
    blocks = (n + BLOCK - 1) // BLOCK
    # A kind a pass: while some still read the sums of one pass, others may write those of the next.
    sums = sums_of(team, 9, blocks)
    first, until = share(team, blocks)
    preconditioned = inverse_diagonal.size > 0
    rho, before, alpha, omega = last
    nothing = number(x, 0.0, 0.0)
    for k in range(norms.size):
        going = before != 0
        if going or preconditioned:
            beta = (rho / before) * (alpha / omega) if going else nothing
            turn, back = x.dtype.type(beta), x.dtype.type(-beta * omega)
            for block in range(first, until):
                low = block * BLOCK
                high = min(n, low + BLOCK)
                ps = p[low:high]
                if going:
                    rs, vs = r[low:high], v[low:high]
                    for i in range(high - low):
                        ps[i] = rs[i] + back * vs[i] + turn * ps[i]
                if preconditioned:
                    ds, zs = inverse_diagonal[low:high], z[low:high]
                    for i in range(high - low):
                        zs[i] = ds[i] * ps[i]
            meet(team)

        for block in range(first, until):
            low = block * BLOCK
            high = min(n, low + BLOCK)
            vs, shadows = v[low:high], shadow[low:high]
            block_product(A, z, low, high, vs)
            sums[0, block], sums[1, block], sums[2, block] = inner(shadows, vs), crosswise(shadows, vs), inner(vs, vs)
        meet(team)
        sigma = number(x, ordered_sum(sums, 0), ordered_sum(sums, 1))
        square = ordered_sum(sums, 2)
        lost = abs(sigma) <= u * shadow_norm * np.sqrt(square)
        # The textbook step ends at the half step where the first direction is an eigenvector.
        if lost or (not going and abs(sigma) ** 2 >= (1.0 - ALONG * u) * abs(rho) * square):
            return k, (rho, before, alpha, omega), BROKE
        alpha = rho / sigma
        before = rho
        step = x.dtype.type(-alpha)

        for block in range(first, until):
            low = block * BLOCK
            high = min(n, low + BLOCK)
            rs, vs = r[low:high], v[low:high]
            for i in range(high - low):
                rs[i] += step * vs[i]
            if preconditioned:
                ds, ys = inverse_diagonal[low:high], y[low:high]
                for i in range(high - low):
                    ys[i] = ds[i] * rs[i]
        meet(team)

        for block in range(first, until):
            low = block * BLOCK
            high = min(n, low + BLOCK)
            ts, rs = t[low:high], r[low:high]
            block_product(A, y, low, high, ts)
            sums[3, block], sums[4, block], sums[5, block] = inner(ts, rs), crosswise(ts, rs), inner(ts, ts)
        meet(team)
        product, square = number(x, ordered_sum(sums, 3), ordered_sum(sums, 4)), ordered_sum(sums, 5)
        omega = product / square if square != 0.0 else nothing
        along, across = x.dtype.type(alpha), x.dtype.type(omega)

        for block in range(first, until):
            low = block * BLOCK
            high = min(n, low + BLOCK)
            xs, zs, ys, ts = x[low:high], z[low:high], y[low:high], t[low:high]
            rs, shadows = r[low:high], shadow[low:high]
            for i in range(high - low):
                xs[i] += along * zs[i] + across * ys[i]
            for i in range(high - low):
                rs[i] -= across * ts[i]
            sums[6, block], sums[7, block], sums[8, block] = inner(shadows, rs), crosswise(shadows, rs), inner(rs, rs)
        meet(team)
        rho = number(x, ordered_sum(sums, 6), ordered_sum(sums, 7))
        norm = np.sqrt(ordered_sum(sums, 8))
        norms[k] = norm
        # The norm of the half step by Pythagoras.
        size = np.sqrt(square)
        half = math.hypot(norm, abs(product) / size) if size > 0.0 else norm
        if not (abs(product) > u * size * half and abs(rho) > u * shadow_norm * norm):
            return k + 1, (rho, before, alpha, omega), ENDED
        if not norm > target:
            return k + 1, (rho, before, alpha, omega), 0
    return norms.size, (rho, before, alpha, omega), 0
