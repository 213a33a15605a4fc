"""Conjugate gradients on a device: three kernels an iteration, and no number of them on the host.

Bytes an iteration on n unknowns of s bytes: those of the matrix, and 10 n s. The product reads p (what it reads of it
for other rows is in the cache) and writes q: 2; the residual, 3; the direction and the iterate, 5.

Of a stencil no matrix is read, and two kernels do: 8 n s. The first forms the direction where it multiplies it, in
neighbours' rows as well, and reads r and the direction before and writes the new one: 3. The second multiplies it again
instead of reading q, and reads it, x and r and writes these two: 5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...solvers.driver.loops import CompiledLoop, Stretch
from .matrices import Arrays
from .resident import BROKE, Board, Replay
from .sources import launch

if TYPE_CHECKING:
    from ...solvers.krylov.cg import CG
    from ...solvers.linear.system import LinearSystem

__all__ = ["build"]

NUMBERS = ("rho", "alpha", "beta", "norm", "bound", "renewed", "per_solution", "unit_roundoff", "before")
LISTS = ("norms", "alphas", "betas")
REPLACE = BROKE + 1  # the residual is to be replaced by the true one

_BOARD = Board.text(NUMBERS, LISTS) + f"enum {{ REPLACE = {REPLACE} }};\n"
_ENDS = """
// The step length, unless p^T A p is no number to divide by.
__device__ void set_step(double* board, double curvature)
{
    double alpha = board[RHO] / curvature;
    if (curvature > 0.0 && alpha > 0.0) board[ALPHA] = alpha;
    else board[WHY] = BROKE;
}

// The ratio of two r^T M r.
__device__ void set_turn(double* board, double square, double rho)
{
    board[BETA] = rho / board[RHO];
    board[RHO] = rho;
    board[NORM] = sqrt(square);
}

// The lists, how far the residual may have parted from the true one, and why not to go on.
__device__ void end_iteration(double* board, double square_of_x)
{
    int taken = (int)board[TAKEN];
    double norm = board[NORM], before = board[BEFORE], u = board[UNIT_ROUNDOFF], tolerance = sqrt(u);
    bool below = board[BOUND] <= tolerance * before;
    double bound = board[BOUND] + board[PER_SOLUTION] * sqrt(square_of_x) + u * norm;
    board[NORMS + taken] = norm;
    board[ALPHAS + taken] = board[ALPHA];
    board[BETAS + taken] = board[BETA];
    board[BOUND] = bound;
    board[BEFORE] = norm;
    board[TAKEN] = taken + 1;
    double most = tolerance * norm;
    if (10.0 * board[RENEWED] > most) most = 10.0 * board[RENEWED];
    if (0.1 * board[TARGET] > most) most = 0.1 * board[TARGET];
    if (!(norm > board[TARGET])) board[WHY] = REACHED;
    else if (below && bound > most) board[WHY] = REPLACE;
    else if (taken + 1 >= board[MOST]) board[WHY] = FULL;
}
"""
TEXT = (
    _BOARD
    + _ENDS
    + """
// q = A p, and the step length
extern "C" __global__ void cg_product(
    MATRIX_PARAMETERS, long long n, long long tiles, const T* p, T* q, double* board, double* partial,
    unsigned int* arrived)
{
    if (board[WHY]) return;
    double sums[1] = {0.0};
    FOR_TILES(tile, tiles) {
        long long row = row_of(MATRIX, n, tile);
        T value = (T)tile_product(MATRIX, n, tile, p);
        if (row < 0) continue;
        q[row] = value;
        sums[0] += (double)p[row] * (double)value;
    }
    if (summed(sums, partial, arrived) && threadIdx.x == 0) set_step(board, sums[0]);
}
"""
)
STENCIL_TEXT = (
    _BOARD
    + _ENDS
    + """
// next = r + beta p where rows are multiplied, and the step length; the first direction of a run is p itself
extern "C" __global__ void cg_direction_product(
    MATRIX_PARAMETERS, long long n, long long tiles, const T* __restrict__ r, const T* __restrict__ p, T* next,
    double* board, double* partial, unsigned int* arrived)
{
    if (board[WHY]) return;
    bool first = board[TAKEN] == 0.0;
    T new_part = first ? (T)0 : (T)1, old_part = first ? (T)1 : (T)board[BETA];
    double sums[1] = {0.0};
    FOR_TILES(tile, tiles) {
        long long row = row_of(MATRIX, n, tile);
        if (row < 0) continue;
        double value = 0.0;
        entries_of(MATRIX, n, tile, [&](double entry, long long column) {
            value += entry * (double)(T)(new_part * r[column] + old_part * p[column]);
        });
        T along = new_part * r[row] + old_part * p[row];
        next[row] = along;
        sums[0] += (double)along * (double)(T)value;
    }
    if (summed(sums, partial, arrived) && threadIdx.x == 0) set_step(board, sums[0]);
}

// x += alpha p, r -= alpha A p
extern "C" __global__ void cg_iterate(
    MATRIX_PARAMETERS, long long n, long long tiles, const T* __restrict__ p, T* x, T* r, double* board,
    double* partial, unsigned int* arrived)
{
    if (board[WHY]) return;
    T step = (T)board[ALPHA];
    double sums[2] = {0.0, 0.0};
    FOR_TILES(tile, tiles) {
        long long row = row_of(MATRIX, n, tile);
        T value = (T)tile_product(MATRIX, n, tile, p);
        if (row < 0) continue;
        T here = x[row] + step * p[row], left = r[row] - step * value;
        x[row] = here;
        r[row] = left;
        sums[0] += (double)left * (double)left;
        sums[1] += (double)here * (double)here;
    }
    if (!summed(sums, partial, arrived) || threadIdx.x) return;
    set_turn(board, sums[0], sums[0]);
    end_iteration(board, sums[1]);
}
"""
)
VECTORS_TEXT = (
    _BOARD
    + _ENDS
    + """
// r -= alpha q, and the ratio of its squares; M is a diagonal where there is one
extern "C" __global__ void cg_residual(
    const T* q, T* r, const T* inverse_diagonal, long long preconditioned, long long n, double* board, double* partial,
    unsigned int* arrived)
{
    if (board[WHY]) return;
    T step = (T)board[ALPHA];
    double sums[2] = {0.0, 0.0};
    FOR_ROWS(i, n) {
        T left = r[i] - step * q[i];
        r[i] = left;
        sums[0] += (double)left * (double)left;
        if (preconditioned) sums[1] += (double)left * (double)(T)(inverse_diagonal[i] * left);
    }
    if (summed(sums, partial, arrived) && threadIdx.x == 0)
        set_turn(board, sums[0], preconditioned ? sums[1] : sums[0]);
}

// x += alpha p, p = M r + beta p
extern "C" __global__ void cg_direction(
    const T* r, T* x, T* p, const T* inverse_diagonal, long long preconditioned, long long n, double* board,
    double* partial, unsigned int* arrived)
{
    if (board[WHY]) return;
    T step = (T)board[ALPHA], turn = (T)board[BETA];
    double sums[1] = {0.0};
    FOR_ROWS(i, n) {
        T along = p[i], here = x[i] + step * along, z = preconditioned ? inverse_diagonal[i] * r[i] : r[i];
        x[i] = here;
        p[i] = z + turn * along;
        sums[0] += (double)here * (double)here;
    }
    if (summed(sums, partial, arrived) && threadIdx.x == 0) end_iteration(board, sums[0]);
}
"""
)


def build(arrays: Arrays, rounding: Any, method: CG, system: LinearSystem, state: Any) -> CompiledLoop | None:
    """The loop of this method on this system, or None where the textbook step has to be taken."""
    if method.flexible or rounding is not None:
        return None
    if not state.begun:
        method.begin(system, state)
        if system.preconditioner_exponent:
            return None  # the first product with M has shown that M is to be scaled
    n, dtype, board = system.n, system.dtype, Board(NUMBERS, LISTS)
    M: Any = system.preconditioner
    diagonal = (state.r, 0) if M is None else (M.inverse_diagonal, 1)

    def iteration(k: int) -> None:
        arrays.launch("cg_product", TEXT, state.p, state.work, *board.places)
        launch("cg_residual", VECTORS_TEXT, dtype, n, state.work, state.r, *diagonal, n, *board.places)
        launch("cg_direction", VECTORS_TEXT, dtype, n, state.r, state.x, state.p, *diagonal, n, *board.places)

    def stencil_iteration(k: int) -> None:
        p, following = (state.p, state.work) if k % 2 == 0 else (state.work, state.p)
        arrays.launch("cg_direction_product", STENCIL_TEXT, state.r, p, following, *board.places)
        arrays.launch("cg_iterate", STENCIL_TEXT, following, state.x, state.r, *board.places)

    twice = arrays.storage == "stencil" and M is None  # the product is made twice, and never kept
    replay = Replay(stencil_iteration, period=2) if twice else Replay(iteration)

    def loop(steps: int, target: float) -> Stretch:
        if not state.begun:  # a replaced residual may have begun the recurrence anew
            method.begin(system, state)
        gap = state.gap
        head = replay.until_stopped(
            board,
            steps,
            target,
            (state.x, state.r, state.p, state.work, diagonal[0]),
            rho=state.rho,
            bound=gap.bound,
            renewed=gap.renewed,
            per_solution=gap.per_solution,
            unit_roundoff=gap.unit_roundoff,
            before=gap.norm,
        )
        taken, why = int(head["taken"]), int(head["why"])
        if twice and taken:  # to what the textbook step begins from
            if taken % 2:
                state.p, state.work = state.work, state.p
            state.p = system.backend.axpby(1.0, state.r, head["beta"], state.p)
        state.rho, gap.bound, state.replace = head["rho"], head["bound"], why == REPLACE
        state.alphas.extend(board.list_of("alphas", taken))
        state.betas.extend(board.list_of("betas", taken))
        seen = board.list_of("norms", taken)
        if seen:
            state.residual_norm = gap.norm = seen[-1]
        return Stretch(seen, taken, why == BROKE, taken)

    return loop
