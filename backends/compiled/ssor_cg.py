"""The compiled loop of SSOR-preconditioned conjugate gradients: two passes an iteration by Eisenstat's trick.

With T = D / omega + L and s = (2 - omega) / omega, the preconditioner is M = s T^-H D T^-1, and A = T + T^H - s D.
Conjugate gradients are run on T^-1 A T^-H: a product with it is two substitutions, and what is left of M is a diagonal.
Beside x and the direction p, the loop keeps the transformed residual T^-1 r and the transformed direction h = T^H p.

Since p^H A p = 2 Re(p^H h) - s p^H D p, the step length is known as soon as the backward substitution has given p. So
the forward one is fused with all that follows, the norm of r = T (T^-1 r) included. Each entry of A is read once an
iteration, there is no product beside the substitutions, and p makes room for the second of them.

Rows are visited run by run as ``pipeline`` says, which is in natural order as far as a substitution can tell.
"""

from __future__ import annotations

import numpy as np

from ...kernels import kernel
from .cg import BROKE, REPLACE
from .compiling import FAST, Shared, meet, share
from .triangles import ORDERED, add_lower, block_factors, fetch, fetch_rows, solve_lower, solve_upper, span
from .vectors import real_product

__all__ = ["ssor_cg_begin", "ssor_cg_enter", "ssor_cg_leave", "ssor_cg_loop"]

_FORWARD, _BACKWARD = 0, 3  # the first columns of the sums of a pass; the backward one has but one
AHEAD = 256  # rows before the end of a run at which the next one begins to be loaded: within a run, hardware does it

_ordered = kernel(fastmath=set(ORDERED))
_summing = kernel(fastmath=set(FAST))


# Loops over rows low..high; buffers begin with the first of them. Those of the backward pass run down.


@_summing
def _step(alpha, p, x, low, high):  # type: ignore[no-untyped-def]
    """x += alpha p; returns ||x||^2."""
    xs, ps = x[low:high], p[low:high]
    total = 0.0
    for i in range(xs.size):
        xs[i] += alpha * ps[i]
        total += real_product(xs[i], xs[i])
    return total


@_ordered
def _set_out(alpha, f, h, p, r, low, high):  # type: ignore[no-untyped-def]
    """r -= alpha p, then p = h - f p."""
    hs, ps, rs = h[low:high], p[low:high], r[low:high]
    for i in range(ps.size):
        rs[i] -= alpha * ps[i]
        ps[i] = hs[i] - f[i] * ps[i]


@_summing
def _arrive(alpha, f, t, r, low, high):  # type: ignore[no-untyped-def]
    """r -= alpha t; returns r^H f r."""
    ts, rs = t[low:high], r[low:high]
    total = 0.0
    for i in range(rs.size):
        rs[i] -= alpha * ts[i]
        total += np.float64(f[i]) * real_product(rs[i], rs[i])
    return total


@_ordered
def _times_diagonal(factor, f, r, low, high, out):  # type: ignore[no-untyped-def]
    """out = factor f r."""
    rs = r[low:high]
    for i in range(rs.size):
        out[i] = (factor * f[i]) * rs[i]


@_summing
def _weighted_square(f, r, low, high):  # type: ignore[no-untyped-def]
    """r^H f r."""
    rs = r[low:high]
    total = 0.0
    for i in range(rs.size):
        total += np.float64(f[i]) * real_product(rs[i], rs[i])
    return total


@_summing
def _square(x, count):  # type: ignore[no-untyped-def]
    """||x||^2 of the first so many."""
    total = 0.0
    for i in range(count):
        total += real_product(x[i], x[i])
    return total


@_ordered
def _turn(beta, f, r, h, p, low, high):  # type: ignore[no-untyped-def]
    """h = s D r + beta h, and a copy of it in p."""
    hs, ps, rs = h[low:high], p[low:high], r[low:high]
    for k in range(hs.size):
        i = np.uint64(hs.size - 1 - k)
        turned = beta * hs[i] + f[i] * rs[i]
        hs[i] = turned
        ps[i] = turned


@_summing
def _curvature(f, h, p, low, high):  # type: ignore[no-untyped-def]
    """2 Re(p^H h) - p^H f p."""
    hs, ps = h[low:high], p[low:high]
    total = 0.0
    for k in range(ps.size):
        i = np.uint64(ps.size - 1 - k)
        total += 2.0 * real_product(ps[i], hs[i]) - np.float64(f[i]) * real_product(ps[i], ps[i])
    return total


@_ordered
def _product_with(A, factor, f, y, low, high, out):  # type: ignore[no-untyped-def]
    """out = (factor f + L) y."""
    _times_diagonal(factor, f, y, low, high, out)
    add_lower(A, y, low, high, out)


# Passes over some runs of rows. What they add up goes to the rows of ``partial`` that ``owners`` names.


@_ordered
def _forward(A, runs, owners, omega, s, alpha, x, r, h, p, partial):  # type: ignore[no-untyped-def]
    """x += alpha p, T^-1 r -= alpha T^-1 A p; the parts of ||r||^2, r^H M r and ||x||^2."""
    rows = span(A)
    c, f = np.empty(rows, x.real.dtype), np.empty(rows, x.real.dtype)
    e = np.empty(rows, x.dtype)
    scale = x.real.dtype.type(1 / (s * omega))
    for run in range(runs.shape[0]):
        begin, end = runs[run, 0], runs[run, 1]
        square, weighted, solution = 0.0, 0.0, 0.0
        for low in range(begin, end, rows):
            high = min(low + rows, end)
            if low + AHEAD >= end and run + 1 < runs.shape[0] and runs[run + 1, 0] != end:
                first = runs[run + 1, 0] + low + AHEAD - end
                last = min(first + rows, runs[run + 1, 1])
                fetch_rows(A, first, last)
                fetch(x, first, last)
                fetch(r, first, last)
                fetch(h, first, last)
                fetch(p, first, last)
            block_factors(A, low, high, omega, s, c, f, False)
            solution += _step(alpha, p, x, low, high)
            # T^-1 A p = p + t with T t = h - s D p, and t takes the place of p.
            _set_out(alpha, f, h, p, r, low, high)
            solve_lower(A, p, low, high, c, e)
            weighted += _arrive(alpha, f, p, r, low, high)
            _product_with(A, scale, f, r, low, high, e)
            square += _square(e, high - low)
        partial[owners[run], 0] += square
        partial[owners[run], 1] += weighted
        partial[owners[run], 2] += solution


@_ordered
def _backward(A, runs, owners, omega, s, beta, r, h, p, partial):  # type: ignore[no-untyped-def]
    """h <- s D T^-1 r + beta h, p <- T^-H h; the parts of p^H A p."""
    rows = span(A)
    c, f = np.empty(rows, r.real.dtype), np.empty(rows, r.real.dtype)
    e = np.empty(rows, r.dtype)
    for run in range(runs.shape[0] - 1, -1, -1):
        begin, end = runs[run, 0], runs[run, 1]
        total = 0.0
        for high in range(end, begin, -rows):
            low = max(high - rows, begin)
            if high - AHEAD <= begin and run > 0 and runs[run - 1, 1] != begin:
                last = runs[run - 1, 1] + high - AHEAD - begin
                first = max(last - rows, runs[run - 1, 0])
                fetch_rows(A, first, last)
                fetch(r, first, last)
                fetch(h, first, last)
                fetch(p, first, last)
            block_factors(A, low, high, omega, s, c, f, True)
            _turn(beta, f, r, h, p, low, high)
            solve_upper(A, p, low, high, c, e)
            total += _curvature(f, h, p, low, high)
        partial[owners[run], _BACKWARD] += total


@_ordered
def _begin(A, runs, owners, omega, s, r, h, partial):  # type: ignore[no-untyped-def]
    """r <- T^-1 r, h <- 0; the parts of r^H M r."""
    rows = span(A)
    c, f = np.empty(rows, r.real.dtype), np.empty(rows, r.real.dtype)
    e = np.empty(rows, r.dtype)
    for run in range(runs.shape[0]):
        total = 0.0
        for low in range(runs[run, 0], runs[run, 1], rows):
            high = min(low + rows, runs[run, 1])
            block_factors(A, low, high, omega, s, c, f, False)
            solve_lower(A, r, low, high, c, e)
            h[low:high] = 0
            total += _weighted_square(f, r, low, high)
        partial[owners[run], 0] += total


@_ordered
def _enter(A, runs, owners, omega, s, r, h, p, partial):  # type: ignore[no-untyped-def]
    """r <- T^-1 r, h <- h - (D - D / omega + L) p; the parts of p^H A p."""
    rows = span(A)
    c, f = np.empty(rows, r.real.dtype), np.empty(rows, r.real.dtype)
    e = np.empty(rows, r.dtype)
    scale = r.real.dtype.type((omega - 1) / (s * omega))
    for run in range(runs.shape[0]):
        total = 0.0
        for low in range(runs[run, 0], runs[run, 1], rows):
            high = min(low + rows, runs[run, 1])
            block_factors(A, low, high, omega, s, c, f, False)
            solve_lower(A, r, low, high, c, e)
            _product_with(A, scale, f, p, low, high, e)
            for i in range(low, high):
                h[i] -= e[i - low]
            total += _curvature(f, h, p, low, high)
        partial[owners[run], 0] += total


@_ordered
def _leave(A, runs, omega, r):  # type: ignore[no-untyped-def]
    """r <- T r, from the last row up."""
    rows = span(A)
    c, f = np.empty(rows, r.real.dtype), np.empty(rows, r.real.dtype)
    e = np.empty(rows, r.dtype)
    one = r.real.dtype.type(1)
    for run in range(runs.shape[0] - 1, -1, -1):
        for high in range(runs[run, 1], runs[run, 0], -rows):
            low = max(high - rows, runs[run, 0])
            block_factors(A, low, high, omega, one / omega, c, f, True)
            _product_with(A, one, f, r, low, high, e)
            r[low:high] = e[: high - low]


# The loop, and the ways in and out. ``sums`` are zeros, a row for each owner of runs: the backward pass has a column of
# its own, so that the first member may clear those of one pass while all are at work on the other.


@_ordered
def _sum(sums, kind):  # type: ignore[no-untyped-def]
    """The owners' sums of a kind, first to last."""
    total = 0.0
    for owner in range(sums.shape[0]):
        total += sums[owner, kind]
    return total


@_ordered
def _clear(sums, begin, end):  # type: ignore[no-untyped-def]
    for owner in range(sums.shape[0]):
        for kind in range(begin, end):
            sums[owner, kind] = 0.0


def _ssor_cg_loop(team, A, tiles, omega, x, r, h, p, scalars, target, gap, norms, alphas, betas, sums):  # type: ignore[no-untyped-def]
    """Iterate until the residual norm is at most target, the buffers are full, or p^H A p is not positive.

    r holds T^-1 r and h holds T^H p, which ``ssor_cg_begin`` or ``ssor_cg_enter`` sees to; ``scalars`` are r^H M r and
    p^H A p. ``gap`` follows how far the residual may have parted from the true one, as in ``cg_loop``. Returns
    iterations done, the two scalars, the bound of the gap, and 0, BROKE or REPLACE.
    """
    parts, starts, runs, owners = tiles
    stages = (starts.size - 1) // parts
    first, last = share(team, parts)
    real = x.real.dtype.type
    factor, s = real(omega), real((2.0 - omega) / omega)
    bound, renewed, per_solution, unit_roundoff, before = gap
    tolerance = np.sqrt(unit_roundoff)
    rho, curvature = scalars
    for k in range(norms.size):
        if not curvature > 0.0:
            return k, (rho, curvature), bound, BROKE
        alpha = rho / curvature
        step = real(alpha)
        if team[0] == 0:
            _clear(sums, _BACKWARD, _BACKWARD + 1)
        for stage in range(stages):
            for tile in range(stage * parts + first, stage * parts + last):
                here = slice(starts[tile], starts[tile + 1])
                _forward(A, runs[here], owners[here], factor, s, step, x, r, h, p, sums)
            meet(team)
        rho_before, rho = rho, _sum(sums, 1)
        norm, solution_norm = np.sqrt(_sum(sums, 0)), np.sqrt(_sum(sums, 2))
        beta = rho / rho_before
        turn = real(beta)
        meet(team)
        if team[0] == 0:
            _clear(sums, _FORWARD, _BACKWARD)
        for stage in range(stages - 1, -1, -1):
            for tile in range(stage * parts + first, stage * parts + last):
                here = slice(starts[tile], starts[tile + 1])
                _backward(A, runs[here], owners[here], factor, s, turn, r, h, p, sums)
            meet(team)
        curvature = _sum(sums, _BACKWARD)
        meet(team)
        alphas[k] = alpha
        betas[k] = beta
        norms[k] = norm
        below = bound <= tolerance * before
        before = norm
        bound += per_solution * solution_norm + unit_roundoff * norm
        if not norm > target:
            return k + 1, (rho, curvature), bound, 0
        if below and bound > max(tolerance * norm, 10.0 * renewed, 0.1 * target):
            return k + 1, (rho, curvature), bound, REPLACE
    return norms.size, (rho, curvature), bound, 0


def _ssor_cg_begin(team, A, tiles, omega, r, h, p, sums):  # type: ignore[no-untyped-def]
    """The first direction, p = M r, on the way into the loop: half an iteration. Returns r^H M r and p^H A p.

    r becomes T^-1 r; h and p are written, whatever h holds and whatever numbers p, some of which are read times zero.
    """
    parts, starts, runs, owners = tiles
    stages = (starts.size - 1) // parts
    first, last = share(team, parts)
    real = r.real.dtype.type
    factor, s = real(omega), real((2.0 - omega) / omega)
    for stage in range(stages):
        for tile in range(stage * parts + first, stage * parts + last):
            here = slice(starts[tile], starts[tile + 1])
            _begin(A, runs[here], owners[here], factor, s, r, h, sums)
        meet(team)
    for stage in range(stages - 1, -1, -1):
        for tile in range(stage * parts + first, stage * parts + last):
            here = slice(starts[tile], starts[tile + 1])
            _backward(A, runs[here], owners[here], factor, s, real(0), r, h, p, sums)
        meet(team)
    return _sum(sums, 0), _sum(sums, _BACKWARD)


def _ssor_cg_enter(team, A, tiles, omega, r, h, p, sums):  # type: ignore[no-untyped-def]
    """From the textbook's state to the loop's: r becomes T^-1 r, and h, which comes as A p, T^H p. Returns p^H A p."""
    parts, starts, runs, owners = tiles
    first, last = share(team, parts)
    real = r.real.dtype.type
    factor, s = real(omega), real((2.0 - omega) / omega)
    for stage in range((starts.size - 1) // parts):
        for tile in range(stage * parts + first, stage * parts + last):
            here = slice(starts[tile], starts[tile + 1])
            _enter(A, runs[here], owners[here], factor, s, r, h, p, sums)
        meet(team)
    return _sum(sums, 0)


def _ssor_cg_leave(team, A, tiles, omega, r):  # type: ignore[no-untyped-def]
    """Back: r becomes the residual again."""
    parts, starts, runs, _ = tiles
    first, last = share(team, parts)
    factor = r.real.dtype.type(omega)
    for stage in range((starts.size - 1) // parts - 1, -1, -1):
        for tile in range(stage * parts + first, stage * parts + last):
            _leave(A, runs[starts[tile] : starts[tile + 1]], factor, r)
        meet(team)


ssor_cg_loop = Shared(_ssor_cg_loop, fastmath=ORDERED)
ssor_cg_begin = Shared(_ssor_cg_begin, fastmath=ORDERED)
ssor_cg_enter = Shared(_ssor_cg_enter, fastmath=ORDERED)
ssor_cg_leave = Shared(_ssor_cg_leave, fastmath=ORDERED)
