"""Passes over vectors that update some of them and take sums on the way: each reads and writes every number once.

Real vectors only; what is complex is composed of CuPy's own operations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...backends.block import CANCELLED, NEAR
from .products import room
from .sources import THREADS, blocks_of, kernel, launch, tiles_of

try:
    import cupy
except ImportError:
    cupy = None

__all__ = [
    "bicgstab_update",
    "block_add",
    "block_dots",
    "cg_update",
    "dot_and_square",
    "lsmr_update",
    "orthogonalise",
]

TEXT = """
// x += alpha p, r -= alpha q; ||x||^2 and ||r||^2
extern "C" __global__ void cg_update(
    double alpha, const T* p, const T* q, T* x, T* r, long long n, double* partial, unsigned int* arrived, double* out)
{
    T step = (T)alpha;
    double sums[2] = {0.0, 0.0};
    FOR_ROWS(i, n) {
        T here = x[i] + step * p[i], left = r[i] - step * q[i];
        x[i] = here;
        r[i] = left;
        sums[0] += (double)here * (double)here;
        sums[1] += (double)left * (double)left;
    }
    if (summed(sums, partial, arrived) && threadIdx.x == 0)
        for (int k = 0; k < 2; ++k) out[k] = sums[k];
}

// x += alpha p + omega s, r -= omega t; shadow^T r and ||r||^2. s may be r.
extern "C" __global__ void bicgstab_update(
    double alpha, const T* p, double omega, const T* s, const T* t, const T* shadow, T* x, T* r, long long n,
    double* partial, unsigned int* arrived, double* out)
{
    T along = (T)alpha, across = (T)omega;
    double sums[2] = {0.0, 0.0};
    FOR_ROWS(i, n) {
        x[i] += along * p[i] + across * s[i];
        T left = r[i] - across * t[i];
        r[i] = left;
        sums[0] += (double)shadow[i] * (double)left;
        sums[1] += (double)left * (double)left;
    }
    if (summed(sums, partial, arrived) && threadIdx.x == 0)
        for (int k = 0; k < 2; ++k) out[k] = sums[k];
}

// x^T y and ||y||^2
extern "C" __global__ void dot_and_square(
    const T* x, const T* y, long long n, double* partial, unsigned int* arrived, double* out)
{
    double sums[2] = {0.0, 0.0};
    FOR_ROWS(i, n) {
        double there = (double)y[i];
        sums[0] += (double)x[i] * there;
        sums[1] += there * there;
    }
    if (summed(sums, partial, arrived) && threadIdx.x == 0)
        for (int k = 0; k < 2; ++k) out[k] = sums[k];
}

// hbar = h + older hbar, x += step hbar, h = scale v + theta h; ||x||^2
extern "C" __global__ void lsmr_update(
    double scale, const T* v, double theta, T* h, double older, T* hbar, double step, T* x, long long n,
    double* partial, unsigned int* arrived, double* out)
{
    double sums[1] = {0.0};
    FOR_ROWS(i, n) {
        T along = h[i], moved = along + (T)older * hbar[i], here = x[i] + (T)step * moved;
        hbar[i] = moved;
        x[i] = here;
        h[i] = (T)scale * v[i] + (T)theta * along;
        sums[0] += (double)here * (double)here;
    }
    if (summed(sums, partial, arrived) && threadIdx.x == 0) out[0] = sums[0];
}
"""

# A block of vectors is given by where each of them lies. Of GROUP vectors at a time a thread keeps the sums, so that
# the other vector is read once for each group. The sums of the blocks are added by a block for each vector.
GROUP, BLOCK_BLOCKS = 8, 2048
BLOCK_TEXT = f"""
#define GROUP {GROUP}

extern "C" __global__ void block_dots(
    const unsigned long long* vectors, long long count, const T* w, long long n, double* partial)
{{
    for (long long first = 0; first < count; first += GROUP) {{
        const T* v[GROUP];
        double sums[GROUP];
        for (int k = 0; k < GROUP; ++k) {{
            v[k] = (const T*)vectors[first + k < count ? first + k : first];
            sums[k] = 0.0;
        }}
        FOR_ROWS(i, n) {{
            double there = (double)w[i];
            for (int k = 0; k < GROUP; ++k) sums[k] += (double)v[k][i] * there;
        }}
        block_sums(sums);
        if (threadIdx.x == 0)
            for (int k = 0; k < GROUP && first + k < count; ++k)
                partial[(first + k) * gridDim.x + blockIdx.x] = sums[k];
    }}
}}

extern "C" __global__ void block_totals(const double* partial, long long blocks, double* out)
{{
    const double* here = partial + blockIdx.x * blocks;
    double sums[1] = {{0.0}};
    for (long long block = threadIdx.x; block < blocks; block += THREADS) sums[0] += here[block];
    block_sums(sums);
    if (threadIdx.x == 0) out[blockIdx.x] = sums[0];
}}

// kept w + sign times the sum of the vectors, each with its factor, in place of w; ||w||^2
extern "C" __global__ void block_add(
    const unsigned long long* vectors, long long count, const double* factors, double sign, double kept, T* w,
    long long n, double* partial, unsigned int* arrived, double* out)
{{
    double sums[1] = {{0.0}};
    FOR_ROWS(i, n) {{
        double value = kept ? (double)w[i] : 0.0;  // which may be unset
        for (long long k = 0; k < count; ++k) value += sign * factors[k] * (double)((const T*)vectors[k])[i];
        T here = (T)value;
        w[i] = here;
        sums[0] += (double)here * (double)here;
    }}
    if (summed(sums, partial, arrived) && threadIdx.x == 0) out[0] = sums[0];
}}
"""


def _with_sums(name: str, n: int, dtype: Any, count: int, *arguments: Any) -> list[float]:
    """Launch a pass over vectors of n numbers; the sums that it takes."""
    there = room()
    launch(name, TEXT, dtype, n, *arguments, n, *there)
    return there.out[:count].get().tolist()


def cg_update(alpha: float, p: Any, q: Any, x: Any, r: Any) -> tuple[Any, Any, float, float]:
    """As ``Backend.cg_update``: 6 passes."""
    solution, square = _with_sums("cg_update", x.size, x.dtype, 2, float(alpha), p, q, x, r)
    return x, r, math.sqrt(solution), math.sqrt(square)


def bicgstab_update(
    alpha: float, p: Any, omega: float, s: Any, t: Any, shadow: Any, x: Any, r: Any
) -> tuple[Any, Any, float, float]:
    """As ``Backend.bicgstab_update``: 8 passes, 7 where s is r."""
    rho, square = _with_sums("bicgstab_update", x.size, x.dtype, 2, float(alpha), p, float(omega), s, t, shadow, x, r)
    return x, r, rho, math.sqrt(square)


def dot_and_square(x: Any, y: Any) -> tuple[float, float]:
    """As ``Backend.dot_and_square``: 2 passes."""
    product, square = _with_sums("dot_and_square", x.size, x.dtype, 2, x, y)
    return product, square


def lsmr_update(
    scale: float, v: Any, theta: float, h: Any, older: float, hbar: Any, step: float, x: Any
) -> tuple[Any, Any, Any, float]:
    """As ``Backend.lsmr_update``: 7 passes."""
    numbers = float(scale), v, float(theta), h, float(older), hbar, float(step), x
    (solution,) = _with_sums("lsmr_update", x.size, x.dtype, 1, *numbers)
    return hbar, x, h, math.sqrt(solution)


def places(vectors: Sequence[Any]) -> Any:
    """Where vectors lie, on the device."""
    return cupy.asarray(np.array([vector.data.ptr for vector in vectors], np.uint64))


def block_dots(vectors: Sequence[Any], w: Any, out: Any = None) -> Any:
    """The inner products of k vectors with w, (k,) on the device.

    k passes, and one more for every ``GROUP`` vectors.
    """
    count, blocks = len(vectors), min(blocks_of(tiles_of(w.size)), BLOCK_BLOCKS)
    out = cupy.empty(count) if out is None else out
    if count:
        partial, char = cupy.empty(count * blocks), w.dtype.char
        kernel("block_dots", BLOCK_TEXT, char)((blocks,), (THREADS,), (places(vectors), count, w, w.size, partial))
        kernel("block_totals", BLOCK_TEXT, char)((count,), (THREADS,), (partial, blocks, out))
    return out


def block_add(vectors: Sequence[Any], factors: Any, w: Any, sign: float = 1.0, kept: float = 1.0) -> Any:
    """kept w + sign V y for k vectors and k factors on the device, in place of w; ||w||^2, there. k + 2 passes."""
    there = room()
    numbers = places(vectors), len(vectors), factors, sign, kept, w, w.size, *there
    kernel("block_add", BLOCK_TEXT, w.dtype.char)((blocks_of(tiles_of(w.size)),), (THREADS,), numbers)
    return there.out[:1]


def orthogonalise(V: Sequence[Any], k: int, unit_roundoff: float) -> tuple[np.ndarray, float]:
    """As ``Backend.orthogonalise``, and by its steps; the coefficients stay on the device until the norm is known."""
    near, w = max(0, k - NEAR), V[k]
    numbers = cupy.empty(2 * k - near + 2)
    first, along = numbers[: k - near], numbers[k - near : -1]
    block_dots(V[near:k], w, first)
    block_add(V[near:k], first, w, -1.0)
    block_dots(V[: k + 1], w, along)
    numbers[-1:] = block_add(V[:k], along, w, -1.0)
    found = numbers.get()
    h, square = np.zeros(k), found[-2]
    h[near:] = found[: k - near]
    h += found[k - near : -2]
    rest, before = math.sqrt(found[-1]), math.sqrt(square)
    if rest < CANCELLED * before:
        again = block_dots(V[:k], w)
        square = float(block_add(V[:k], again, w, -1.0)[0])
        h += again.get()
        rest = math.sqrt(square)
    return h, 0.0 if rest <= 4 * unit_roundoff * float(np.linalg.norm(h)) else rest
