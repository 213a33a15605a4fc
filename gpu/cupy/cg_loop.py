"""Conjugate gradients on a device: three kernels an iteration, and no number of them on the host.

Bytes an iteration on n unknowns of s bytes: those of the matrix, and 10 n s. The product reads p (what it reads of it
for other rows is in the cache) and writes q: 2; the residual, 3; the direction and the iterate, 5.
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
TEXT = (
    _BOARD
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
    if (!summed(sums, partial, arrived) || threadIdx.x) return;
    double curvature = sums[0], alpha = board[RHO] / curvature;
    if (curvature > 0.0 && alpha > 0.0) board[ALPHA] = alpha;
    else board[WHY] = BROKE;
}
"""
)
VECTORS_TEXT = (
    _BOARD
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
    if (!summed(sums, partial, arrived) || threadIdx.x) return;
    double rho = preconditioned ? sums[1] : sums[0];
    board[BETA] = rho / board[RHO];
    board[RHO] = rho;
    board[NORM] = sqrt(sums[0]);
}

// x += alpha p, p = M r + beta p; then the end of the iteration: how far the residual may have parted from the true one
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
    if (!summed(sums, partial, arrived) || threadIdx.x) return;
    int taken = (int)board[TAKEN];
    double norm = board[NORM], before = board[BEFORE], u = board[UNIT_ROUNDOFF], tolerance = sqrt(u);
    bool below = board[BOUND] <= tolerance * before;
    double bound = board[BOUND] + board[PER_SOLUTION] * sqrt(sums[0]) + u * norm;
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
)


def build(arrays: Arrays, rounding: Any, method: CG, system: LinearSystem, state: Any) -> CompiledLoop | None:
    """The loop of this method on this system, or None where the textbook step has to be taken."""
    if method.flexible or rounding is not None:
        return None
    if not state.begun:
        method.begin(system, state)
        if system.preconditioner_exponent:
            return None  # the first product with M has shown that M is to be scaled
    n, dtype = system.n, system.dtype
    M: Any = system.preconditioner
    preconditioned, inverse = M is not None, state.r if M is None else M.inverse_diagonal
    board = Board(NUMBERS, LISTS)

    def iteration(k: int) -> None:
        shared = board.places
        arrays.launch("cg_product", TEXT, state.p, state.work, *shared)
        launch("cg_residual", VECTORS_TEXT, dtype, n, state.work, state.r, inverse, int(preconditioned), n, *shared)
        launch(
            "cg_direction", VECTORS_TEXT, dtype, n, state.r, state.x, state.p, inverse, int(preconditioned), n, *shared
        )

    replay = Replay(iteration)

    def loop(steps: int, target: float) -> Stretch:
        if not state.begun:  # a replaced residual may have begun the recurrence anew
            method.begin(system, state)
        gap = state.gap
        head = replay.until_stopped(
            board,
            steps,
            target,
            (state.x, state.r, state.p, state.work, inverse),
            rho=state.rho,
            bound=gap.bound,
            renewed=gap.renewed,
            per_solution=gap.per_solution,
            unit_roundoff=gap.unit_roundoff,
            before=gap.norm,
        )
        taken, why = int(head["taken"]), int(head["why"])
        state.rho, gap.bound, state.replace = head["rho"], head["bound"], why == REPLACE
        state.alphas.extend(board.list_of("alphas", taken))
        state.betas.extend(board.list_of("betas", taken))
        seen = board.list_of("norms", taken)
        if seen:
            state.residual_norm = gap.norm = seen[-1]
        return Stretch(seen, taken, why == BROKE, taken)

    return loop
