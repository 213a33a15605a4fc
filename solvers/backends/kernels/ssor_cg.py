"""The compiled loop of SSOR-preconditioned conjugate gradients: two passes an iteration by Eisenstat's trick.

With T = D / omega + L and s = (2 - omega) / omega, the preconditioner is M = s T^-H D T^-1, and A = T + T^H - s D.
Conjugate gradients are run on T^-1 A T^-H: a product with it is two substitutions, and what is left of M is a diagonal.
Beside x and the direction p, the loop keeps the transformed residual T^-1 r and the transformed direction h = T^H p.

Since p^H A p = 2 Re(p^H h) - s p^H D p, the step length is known as soon as the backward substitution has given p. So
the forward one is fused with all that follows, the norm of r = T (T^-1 r) included. Each entry of A is read once an
iteration, there is no product beside the substitutions, and p makes room for the second of them.

Rows are visited tile by tile as ``resolvent.solvers.operators.ordering.Tiles`` says, in natural order as far as a
substitution can tell.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import prange

from .cg import BROKE, REPLACE
from .compiling import FAST, Variants
from .triangles import add_lower, block_diagonal, span, substitute
from .vectors import ordered_sum, real_product

__all__ = ["ssor_cg_enter", "ssor_cg_leave", "ssor_cg_loop"]

# Vectors are to be the same bits in any variant, so only the sums over a block may be reassociated.
ORDERED = frozenset({"contract"})
exactly = numba.njit(cache=True, fastmath=set(ORDERED), error_model="numpy", nogil=True)
fast = numba.njit(cache=True, fastmath=set(FAST), error_model="numpy", nogil=True)


@fast
def square_sum(x):  # type: ignore[no-untyped-def]
    """x^H x."""
    total = 0.0
    for i in range(x.size):
        total += real_product(x[i], x[i])
    return total


@fast
def weighted_sum(d, x):  # type: ignore[no-untyped-def]
    """x^H D x."""
    total = 0.0
    for i in range(x.size):
        total += np.float64(d[i]) * real_product(x[i], x[i])
    return total


@fast
def curvature_sum(d, p, h, s):  # type: ignore[no-untyped-def]
    """2 Re(p^H h) - s p^H D p."""
    total = 0.0
    for i in range(p.size):
        total += 2.0 * real_product(p[i], h[i]) - np.float64(s) * np.float64(d[i]) * real_product(p[i], p[i])
    return total


@exactly
def _curvature(A, runs, s, h, p):  # type: ignore[no-untyped-def]
    """The part of p^H A p that belongs to some runs of rows."""
    rows = span(A)
    d = np.empty(rows, p.real.dtype)
    total = 0.0
    for run in range(runs.shape[0]):
        for low in range(runs[run, 0], runs[run, 1], rows):
            high = min(low + rows, runs[run, 1])
            block_diagonal(A, low, high, d)
            total += curvature_sum(d, p[low:high], h[low:high], s)
    return total


@exactly
def _forward(A, runs, omega, s, alpha, x, r, h, p):  # type: ignore[no-untyped-def]
    """x += alpha p, T^-1 r -= alpha T^-1 A p; returns the parts of ||r||^2, (T^-1 r)^H D (T^-1 r) and ||x||^2."""
    rows = span(A)
    d, c, e = np.empty(rows, x.real.dtype), np.empty(rows, x.real.dtype), np.empty(rows, x.dtype)
    square, weighted, solution = 0.0, 0.0, 0.0
    for run in range(runs.shape[0]):
        for low in range(runs[run, 0], runs[run, 1], rows):
            high = min(low + rows, runs[run, 1])
            count = high - low
            block_diagonal(A, low, high, d)
            xs, rs, hs, ps = x[low:high], r[low:high], h[low:high], p[low:high]
            for i in range(count):
                xs[i] += alpha * ps[i]
            solution += square_sum(xs)
            # T^-1 A p = p + t with T t = h - s D p, and t takes the place of p.
            for i in range(count):
                rs[i] -= alpha * ps[i]
            for i in range(count):
                ps[i] = hs[i] - s * d[i] * ps[i]
            for i in range(count):
                c[i] = omega / d[i]
            substitute(A, p, low, high, c, e, False)
            for i in range(count):
                rs[i] -= alpha * ps[i]
            weighted += weighted_sum(d, rs)
            for i in range(count):
                e[i] = rs[i] * (d[i] / omega)
            add_lower(A, r, low, high, e)
            square += square_sum(e[:count])
    return square, weighted, solution


@exactly
def _backward(A, runs, omega, s, beta, r, h, p):  # type: ignore[no-untyped-def]
    """h <- s D T^-1 r + beta h, p <- T^-H h; returns the part of p^H A p."""
    rows = span(A)
    d, c, e = np.empty(rows, r.real.dtype), np.empty(rows, r.real.dtype), np.empty(rows, r.dtype)
    total = 0.0
    for run in range(runs.shape[0] - 1, -1, -1):
        for high in range(runs[run, 1], runs[run, 0], -rows):
            low = max(high - rows, runs[run, 0])
            block_diagonal(A, low, high, d)
            rs, hs, ps = r[low:high], h[low:high], p[low:high]
            for i in range(high - low):
                hs[i] = s * d[i] * rs[i] + beta * hs[i]
            for i in range(high - low):
                ps[i] = hs[i]
            for i in range(high - low):
                c[i] = omega / d[i]
            substitute(A, p, low, high, c, e, True)
            total += curvature_sum(d, ps, hs, s)
    return total


@exactly
def _enter(A, runs, omega, s, fresh, r, h, p):  # type: ignore[no-untyped-def]
    """r <- T^-1 r; h <- s D T^-1 r where p is M r, otherwise h - (D - D / omega + L) p."""
    rows = span(A)
    d, c, e = np.empty(rows, r.real.dtype), np.empty(rows, r.real.dtype), np.empty(rows, r.dtype)
    for run in range(runs.shape[0]):
        for low in range(runs[run, 0], runs[run, 1], rows):
            high = min(low + rows, runs[run, 1])
            block_diagonal(A, low, high, d)
            rs, hs, ps = r[low:high], h[low:high], p[low:high]
            for i in range(high - low):
                c[i] = omega / d[i]
            substitute(A, r, low, high, c, e, False)
            if fresh:
                for i in range(high - low):
                    hs[i] = s * d[i] * rs[i]
            else:
                for i in range(high - low):
                    e[i] = (d[i] - d[i] / omega) * ps[i]
                add_lower(A, p, low, high, e)
                for i in range(high - low):
                    hs[i] -= e[i]


@exactly
def _leave(A, runs, omega, r):  # type: ignore[no-untyped-def]
    """T^-1 r <- r."""
    rows = span(A)
    d, e = np.empty(rows, r.real.dtype), np.empty(rows, r.dtype)
    for run in range(runs.shape[0] - 1, -1, -1):
        for high in range(runs[run, 1], runs[run, 0], -rows):
            low = max(high - rows, runs[run, 0])
            block_diagonal(A, low, high, d)
            rs = r[low:high]
            for i in range(high - low):
                e[i] = rs[i] * (d[i] / omega)
            add_lower(A, r, low, high, e)
            for i in range(high - low):
                rs[i] = e[i]


def _ssor_cg_loop(A, tiles, omega, x, r, h, p, rho, target, gap, norms, alphas, betas):  # type: ignore[no-untyped-def]
    """Iterate until the residual norm is at most target, the buffers are full, or p^H A p is not positive.

    r holds T^-1 r and h holds T^H p, which ``ssor_cg_enter`` sees to. ``gap`` follows how far the residual may have
    parted from the true one, as in ``cg_loop``. Returns iterations done, rho, the bound of the gap, and 0, BROKE or
    REPLACE.
    """
    stages, starts, runs = tiles
    count = starts.size - 1
    partial = np.zeros((3, count))
    real = x.real.dtype.type
    factor, s = real(omega), real((2.0 - omega) / omega)
    bound, renewed, per_solution, unit_roundoff, before = gap
    tolerance = np.sqrt(unit_roundoff)
    for tile in prange(count):
        partial[0, tile] = _curvature(A, runs[starts[tile] : starts[tile + 1]], s, h, p)
    curvature = ordered_sum(partial[0])
    for k in range(norms.size):
        if not curvature > 0.0:
            return k, rho, bound, BROKE
        alpha = rho / curvature
        step = real(alpha)
        for stage in range(stages.size - 1):
            for tile in prange(stages[stage], stages[stage + 1]):
                square, weighted, solution = _forward(
                    A, runs[starts[tile] : starts[tile + 1]], factor, s, step, x, r, h, p
                )
                partial[0, tile], partial[1, tile], partial[2, tile] = square, weighted, solution
        before_that, rho = rho, np.float64(s) * ordered_sum(partial[1])
        norm, solution_norm = np.sqrt(ordered_sum(partial[0])), np.sqrt(ordered_sum(partial[2]))
        beta = rho / before_that
        turn = real(beta)
        for stage in range(stages.size - 2, -1, -1):
            for tile in prange(stages[stage], stages[stage + 1]):
                partial[0, tile] = _backward(A, runs[starts[tile] : starts[tile + 1]], factor, s, turn, r, h, p)
        curvature = ordered_sum(partial[0])
        alphas[k] = alpha
        betas[k] = beta
        norms[k] = norm
        below = bound <= tolerance * before
        before = norm
        bound += per_solution * solution_norm + unit_roundoff * norm
        if not norm > target:
            return k + 1, rho, bound, 0
        if below and bound > max(tolerance * norm, 10.0 * renewed, 0.1 * target):
            return k + 1, rho, bound, REPLACE
    return norms.size, rho, bound, 0


def _ssor_cg_enter(A, tiles, omega, fresh, r, h, p):  # type: ignore[no-untyped-def]
    """From the textbook's state to the loop's: r becomes T^-1 r, and h becomes T^H p.

    Where p is the preconditioned residual (``fresh``), h is made of r; otherwise it comes as A p.
    """
    stages, starts, runs = tiles
    real = r.real.dtype.type
    factor, s = real(omega), real((2.0 - omega) / omega)
    for stage in range(stages.size - 1):
        for tile in prange(stages[stage], stages[stage + 1]):
            _enter(A, runs[starts[tile] : starts[tile + 1]], factor, s, fresh, r, h, p)


def _ssor_cg_leave(A, tiles, omega, r):  # type: ignore[no-untyped-def]
    """Back: r becomes the residual again."""
    stages, starts, runs = tiles
    factor = r.real.dtype.type(omega)
    for stage in range(stages.size - 2, -1, -1):
        for tile in prange(stages[stage], stages[stage + 1]):
            _leave(A, runs[starts[tile] : starts[tile + 1]], factor, r)


ssor_cg_loop = Variants(_ssor_cg_loop, fastmath=ORDERED)
ssor_cg_enter = Variants(_ssor_cg_enter, fastmath=ORDERED)
ssor_cg_leave = Variants(_ssor_cg_leave, fastmath=ORDERED)
