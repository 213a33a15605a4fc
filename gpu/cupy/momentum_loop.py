"""Chebyshev, Richardson and Jacobi iteration on a device: one kernel an iteration, no reduction.

Bytes an iteration on n unknowns of s bytes: those of the matrix, and 4 n s (x, the one before and b are read, the one
before is overwritten); 3 n s without momentum, where the one before is not read; n s more for a diagonal of M.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...solvers.driver.loops import CompiledLoop, Stretch
from .matrices import Arrays
from .resident import Replay

try:
    import cupy
except ImportError:
    cupy = None

if TYPE_CHECKING:
    from ...solvers.chebyshev.momentum import MomentumMethod
    from ...solvers.linear.system import LinearSystem

__all__ = ["build"]

TEXT = """
// x + beta (x - previous) + gamma M (b - A x), in place of previous
extern "C" __global__ void momentum_step(
    MATRIX_PARAMETERS, long long n, long long tiles, const T* __restrict__ x, T* previous, const T* __restrict__ b,
    const T* __restrict__ inverse_diagonal, long long preconditioned, const double* coefficients, long long k)
{
    T beta = (T)coefficients[2 * k], gamma = (T)coefficients[2 * k + 1];
    FOR_TILES(tile, tiles) {
        long long row = row_of(MATRIX, n, tile);
        T value = (T)tile_product(MATRIX, n, tile, x);
        if (row < 0) continue;
        T here = x[row], z = b[row] - value;
        if (preconditioned) z *= inverse_diagonal[row];
        T moved = here + gamma * z;
        previous[row] = beta == (T)0 ? moved : moved + beta * (here - previous[row]);
    }
}
"""


def build(
    arrays: Arrays, rounding: Any, method: MomentumMethod, system: LinearSystem, state: Any
) -> CompiledLoop | None:
    """The loop of this method on this system, or None where the textbook step has to be taken."""
    if rounding is not None:
        return None
    inverse: Any = state.inverse_diagonal
    if inverse is None and system.preconditioner is not None:
        inverse = system.preconditioner.inverse_diagonal
    preconditioned = int(inverse is not None)
    rhs = system.rhs
    inverse = rhs if inverse is None else inverse

    def iteration(k: int) -> None:
        x, previous = (state.x, state.previous) if k % 2 == 0 else (state.previous, state.x)
        arrays.launch("momentum_step", TEXT, x, previous, rhs, inverse, preconditioned, coefficients, k)

    replay = Replay(iteration, period=2)
    coefficients = cupy.empty(2 * replay.stretch)

    def loop(steps: int, target: float) -> Stretch:
        pairs = np.array([method.coefficients(state) for _ in range(steps)], float)
        with replay.running():
            for first in range(0, steps, replay.stretch):
                part = pairs[first : first + replay.stretch].reshape(-1)
                coefficients[: part.size].set(part, replay.stream)
                replay.play(part.size // 2, (state.x, state.previous))
        if steps % 2:
            state.x, state.previous = state.previous, state.x
        state.residual_norm = None
        state.work, norm = system.residual_norm(state.x, state.work)
        return Stretch([norm], steps, False, steps)

    return loop
