"""MINRES on a device, without a preconditioner: three kernels an iteration, and no number of them on the host.

The new Lanczos vector is made where the product with A was put, and the vectors change names instead of places: until
an iteration is sure to be taken, nothing of the state is overwritten that the textbook step would begin from.

Bytes an iteration on n unknowns of s bytes: those of the matrix, and 12 n s: the product, 2; the Lanczos vector, 4; the
direction and the iterate, which read an older Lanczos vector, both directions and x, 6.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ...solvers.driver.loops import CompiledLoop, Stretch
from ...solvers.krylov.minres import KERNEL
from .matrices import Arrays
from .resident import BROKE, Board, Replay
from .sources import launch

if TYPE_CHECKING:
    from ...solvers.krylov.minres import MINRES
    from ...solvers.linear.system import LinearSystem

__all__ = ["build"]

# What goes on from one iteration to the next, by its names in the state.
CARRIED = ("gamma", "gamma_before", "c", "c_before", "s", "s_before", "eta", "size", "looked")
NUMBERS = (*CARRIED, "smallest", "first", "delta", "of_v", "of_w", "of_w_before", "step")
LISTS = ("norms", "diagonal", "off")

_BOARD = Board.text(NUMBERS, LISTS)
TEXT = (
    _BOARD
    + """
// q = A v, and the new entry on the diagonal of the Lanczos matrix
extern "C" __global__ void minres_product(
    MATRIX_PARAMETERS, long long n, long long tiles, const T* v, T* q, double* board, double* partial,
    unsigned int* arrived)
{
    if (board[WHY]) return;
    double sums[1] = {0.0};
    FOR_TILES(tile, tiles) {
        long long row = row_of(MATRIX, n, tile);
        T value = (T)tile_product(MATRIX, n, tile, v);
        if (row < 0) continue;
        q[row] = value;
        sums[0] += (double)v[row] * (double)value;
    }
    if (summed(sums, partial, arrived) && threadIdx.x == 0) board[DELTA] = sums[0] / board[GAMMA] / board[GAMMA];
}
"""
)
VECTORS_TEXT = (
    _BOARD
    + """
// The next Lanczos vector in place of q, the new column of the Lanczos matrix, rotated, and what x is to be moved by.
extern "C" __global__ void minres_lanczos(
    const T* v, const T* v_before, T* q, long long n, double* board, double* partial, unsigned int* arrived)
{
    if (board[WHY]) return;
    double gamma = board[GAMMA], delta = board[DELTA];
    T scale = (T)(1.0 / gamma), along = (T)(-delta / gamma), back = (T)(-gamma / board[GAMMA_BEFORE]);
    double sums[1] = {0.0};
    FOR_ROWS(i, n) {
        T value = scale * q[i] + along * v[i] + back * v_before[i];
        q[i] = value;
        sums[0] += (double)value * (double)value;
    }
    if (!summed(sums, partial, arrived) || threadIdx.x) return;
    double after = sqrt(sums[0]), c = board[C], s = board[S];
    double pivot = c * delta - board[C_BEFORE] * s * gamma, top = hypot(pivot, after);
    double beside = s * delta + board[C_BEFORE] * c * gamma, above = board[S_BEFORE] * gamma;
    double column = hypot(hypot(board[FIRST] ? 0.0 : gamma, delta), after);
    double size = column > board[SIZE] ? column : board[SIZE];
    double share = size > 0.0 ? hypot(pivot, c * after) / size : 0.0;  // ||A r|| of ||A|| ||r||
    double kernel = board[SMALLEST] < 0.5 * board[LOOKED] ? board[SMALLEST] : 0.5 * board[LOOKED];
    // Where r may lie in the kernel of A, and where the Krylov space ends, the textbook step is taken.
    if (share <= kernel || top == 0.0) {
        board[WHY] = BROKE;
        return;
    }
    board[OF_V] = 1.0 / gamma / top;
    board[OF_W] = -beside / top;
    board[OF_W_BEFORE] = -above / top;
    board[C_BEFORE] = c;
    board[S_BEFORE] = s;
    board[C] = pivot / top;
    board[S] = after / top;
    board[STEP] = board[C] * board[ETA];
    board[ETA] *= -board[S];
    board[GAMMA_BEFORE] = gamma;
    board[GAMMA] = after;
    board[SIZE] = size;
    board[FIRST] = 0.0;
}

// The next direction in place of the one before the last, and x moved along it; then the end of the iteration.
extern "C" __global__ void minres_iterate(
    const T* v, const T* w, T* w_before, T* x, long long n, double* board, double* partial, unsigned int* arrived)
{
    if (board[WHY]) return;
    T of_v = (T)board[OF_V], of_w = (T)board[OF_W], of_w_before = (T)board[OF_W_BEFORE], step = (T)board[STEP];
    FOR_ROWS(i, n) {
        T along = of_v * v[i] + of_w * w[i] + of_w_before * w_before[i];
        w_before[i] = along;
        x[i] += step * along;
    }
    if (!is_last_block(arrived) || threadIdx.x) return;
    int taken = (int)board[TAKEN];
    double norm = fabs(board[ETA]);
    board[NORMS + taken] = norm;
    board[DIAGONAL + taken] = board[DELTA];
    board[OFF + taken] = board[GAMMA];
    board[TAKEN] = taken + 1;
    if (!(norm > board[TARGET])) board[WHY] = REACHED;
    else if (taken + 1 >= board[MOST]) board[WHY] = FULL;
}
"""
)


def build(arrays: Arrays, rounding: Any, method: MINRES, system: LinearSystem, state: Any) -> CompiledLoop | None:
    """The loop of this method on this system, or None where the textbook step has to be taken."""
    if rounding is not None:
        return None
    s, n, dtype = state, system.n, system.dtype
    board = Board(NUMBERS, LISTS)

    def iteration(k: int) -> None:
        v, before, q = ((s.v, s.v_before, s.work), (s.work, s.v, s.v_before), (s.v_before, s.work, s.v))[k % 3]
        w, w_before = (s.w, s.w_before) if k % 2 == 0 else (s.w_before, s.w)
        arrays.launch("minres_product", TEXT, v, q, *board.places)
        launch("minres_lanczos", VECTORS_TEXT, dtype, n, v, before, q, n, *board.places)
        launch("minres_iterate", VECTORS_TEXT, dtype, n, v, w, w_before, s.x, n, *board.places)

    replay = Replay(iteration, period=6)

    def loop(steps: int, target: float) -> Stretch:
        if not s.begun:
            method.begin(system, s)
        head = replay.until_stopped(
            board,
            steps,
            target,
            (s.x, s.v, s.v_before, s.work, s.w, s.w_before),
            **{name: getattr(s, name) for name in CARRIED},
            smallest=KERNEL * math.sqrt(system.unit_roundoff),
            first=not s.diagonal,
        )
        taken, why = int(head["taken"]), int(head["why"])
        for name in CARRIED:
            setattr(s, name, head[name])
        for _ in range(taken % 3):
            s.v, s.v_before, s.work = s.work, s.v, s.v_before
        if taken % 2:
            s.w, s.w_before = s.w_before, s.w
        s.diagonal.extend(board.list_of("diagonal", taken))
        s.off.extend(board.list_of("off", taken))
        seen = board.list_of("norms", taken)
        if seen:
            s.residual_norm = seen[-1]
        return Stretch(seen, taken, why == BROKE, taken)

    return loop
