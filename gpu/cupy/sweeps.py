"""Relaxation sweeps on a device: a kernel for each stage of an ordering, whose rows do not depend on each other.

Bytes a sweep: those of the matrix, and for each row x and b read, x written, its number and its inverse diagonal entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...operators.ordering import Ordering
from ...solvers.driver.loops import CompiledLoop, Stretch
from .matrices import csr_arrays
from .resident import Replay

try:
    import cupy
except ImportError:
    cupy = None

if TYPE_CHECKING:
    from ...solvers.linear.system import LinearSystem
    from ...solvers.relaxation.sor import SOR

__all__ = ["build", "sweep"]

MOST_STAGES = 64  # of a sweep that is captured in a graph: colours are few, the levels of natural order many

TEXT = """
// x_i += omega (b - A x)_i / a_ii in the rows of one stage, of which the matrix is made
extern "C" __global__ void relax(
    MATRIX_PARAMETERS, long long n, long long tiles, const long long* rows, const T* inverse_diagonal, const T* b, T* x,
    const double* omega)
{
    T factor = (T)omega[0];
    FOR_TILES(tile, tiles) {
        long long at = row_of(MATRIX, n, tile);
        double value = tile_product(MATRIX, n, tile, x);
        if (at < 0) continue;
        long long row = rows[at];
        x[row] += factor * inverse_diagonal[at] * (T)((double)b[row] - value);
    }
}
"""


def sweep(backend: Any, ordering: Ordering, x: Any, b: Any, omega: Any, reverse: bool) -> Any:
    """One sweep over the stages of an ordering, in place of x; ``omega`` is one number on the device."""
    for stage in ordering.stages(backend, reverse):
        block = stage.block
        arrays = csr_arrays(block.indptr, block.indices, block.data)
        arrays.launch("relax", TEXT, stage.rows, stage.inverse_diagonal, b, x, omega)
    return x


def build(arrays: Any, rounding: Any, method: SOR, system: LinearSystem, state: Any) -> CompiledLoop | None:
    """The loop of this method on this system, or None where the textbook step has to be taken."""
    if rounding is not None or state.ordering.count > MOST_STAGES:
        return None
    backend, reverses, omega = system.backend, method.reverses, cupy.empty(1)

    def iteration(k: int) -> None:
        for reverse in reverses:
            sweep(backend, state.ordering, state.x, system.rhs, omega, reverse)

    replay = Replay(iteration)

    def loop(steps: int, target: float) -> Stretch:
        taken = 0
        with replay.running():
            omega.set(np.array([float(state.omega)]), replay.stream)
            while taken < steps:
                taken += replay.play(steps - taken, (state.x, system.rhs))
        state.residual_norm = None
        state.work, norm = system.residual_norm(state.x, state.work)
        return Stretch([norm], steps, False, len(reverses) * steps)

    return loop
