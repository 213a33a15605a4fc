"""BiCGSTAB on a device: five kernels an iteration, and no number of them on the host.

Bytes an iteration on n unknowns of s bytes: those of two products with the matrix, and 19 n s: the direction reads r, v
and p and writes p; the first product reads the shadow besides; the half step, 3; the second product, 2; and the
iterate, which reads x, p, r, A r and the shadow and writes x and r, 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...backends.compiled.coefficients import ALONG
from ...solvers.driver.loops import CompiledLoop, Stretch
from .matrices import Arrays
from .resident import BROKE, Board, Replay
from .sources import launch

if TYPE_CHECKING:
    from ...solvers.krylov.bicgstab import BiCGSTAB
    from ...solvers.linear.system import LinearSystem

__all__ = ["build"]

NUMBERS = ("rho", "rho_before", "alpha", "omega", "shadow_norm", "u", "product", "square")
LISTS = ("norms",)
ENDED = BROKE + 1  # the recurrence is to be begun anew

_BOARD = Board.text(NUMBERS, LISTS) + f"enum {{ ENDED = {ENDED} }};\n#define ALONG {float(ALONG)!r}\n"
TEXT = (
    _BOARD
    + """
// v = A z, and the first step length: of no use where rounding has left no digit of shadow^T v, and the textbook's
// where the first direction is an eigenvector, after half a step along which nothing is left
extern "C" __global__ void bicgstab_first_product(
    MATRIX_PARAMETERS, long long n, long long tiles, const T* z, const T* shadow, T* v, double* board, double* partial,
    unsigned int* arrived)
{
    if (board[WHY]) return;
    double sums[2] = {0.0, 0.0};
    FOR_TILES(tile, tiles) {
        long long row = row_of(MATRIX, n, tile);
        T value = (T)tile_product(MATRIX, n, tile, z);
        if (row < 0) continue;
        v[row] = value;
        sums[0] += (double)shadow[row] * (double)value;
        sums[1] += (double)value * (double)value;
    }
    if (!summed(sums, partial, arrived) || threadIdx.x) return;
    double sigma = sums[0], rho = board[RHO], u = board[U];
    bool lost = fabs(sigma) <= u * board[SHADOW_NORM] * sqrt(sums[1]);
    bool along = board[RHO_BEFORE] == 0.0 && sigma * sigma >= (1.0 - ALONG * u) * fabs(rho) * sums[1];
    if (lost || along) {
        board[WHY] = BROKE;
        return;
    }
    board[ALPHA] = rho / sigma;
    board[RHO_BEFORE] = rho;
}

// t = A y, and the second step length
extern "C" __global__ void bicgstab_second_product(
    MATRIX_PARAMETERS, long long n, long long tiles, const T* y, const T* r, T* t, double* board, double* partial,
    unsigned int* arrived)
{
    if (board[WHY]) return;
    double sums[2] = {0.0, 0.0};
    FOR_TILES(tile, tiles) {
        long long row = row_of(MATRIX, n, tile);
        T value = (T)tile_product(MATRIX, n, tile, y);
        if (row < 0) continue;
        t[row] = value;
        sums[0] += (double)r[row] * (double)value;
        sums[1] += (double)value * (double)value;
    }
    if (!summed(sums, partial, arrived) || threadIdx.x) return;
    board[PRODUCT] = sums[0];
    board[SQUARE] = sums[1];
    board[OMEGA] = sums[1] != 0.0 ? sums[0] / sums[1] : 0.0;
}
"""
)
VECTORS_TEXT = (
    _BOARD
    + """
// p = r + beta (p - omega v), z = M p; the first direction, which has no rho before it, is there already
extern "C" __global__ void bicgstab_direction(
    const T* r, const T* v, T* p, T* z, const T* inverse_diagonal, long long preconditioned, long long n, double* board)
{
    bool going = board[RHO_BEFORE] != 0.0;
    if (board[WHY] || !(going || preconditioned)) return;
    double beta = going ? (board[RHO] / board[RHO_BEFORE]) * (board[ALPHA] / board[OMEGA]) : 0.0;
    T turn = (T)beta, back = (T)(-beta * board[OMEGA]);
    FOR_ROWS(i, n) {
        T along = p[i];
        if (going) {
            along = r[i] + back * v[i] + turn * along;
            p[i] = along;
        }
        if (preconditioned) z[i] = inverse_diagonal[i] * along;
    }
}

// r -= alpha v, y = M r
extern "C" __global__ void bicgstab_half_step(
    const T* v, T* r, T* y, const T* inverse_diagonal, long long preconditioned, long long n, double* board)
{
    if (board[WHY]) return;
    T step = (T)board[ALPHA];
    FOR_ROWS(i, n) {
        T left = r[i] - step * v[i];
        r[i] = left;
        if (preconditioned) y[i] = inverse_diagonal[i] * left;
    }
}

// x += alpha z + omega y, r -= omega t; then the end of the iteration. y may be r.
extern "C" __global__ void bicgstab_iterate(
    const T* z, const T* y, const T* t, const T* shadow, T* x, T* r, long long n, double* board, double* partial,
    unsigned int* arrived)
{
    if (board[WHY]) return;
    T along = (T)board[ALPHA], across = (T)board[OMEGA];
    double sums[2] = {0.0, 0.0};
    FOR_ROWS(i, n) {
        x[i] += along * z[i] + across * y[i];
        T left = r[i] - across * t[i];
        r[i] = left;
        sums[0] += (double)shadow[i] * (double)left;
        sums[1] += (double)left * (double)left;
    }
    if (!summed(sums, partial, arrived) || threadIdx.x) return;
    int taken = (int)board[TAKEN];
    double u = board[U], rho = sums[0], norm = sqrt(sums[1]), size = sqrt(board[SQUARE]);
    double product = fabs(board[PRODUCT]), half = size > 0.0 ? hypot(norm, product / size) : norm;  // by Pythagoras
    board[RHO] = rho;
    board[NORMS + taken] = norm;
    board[TAKEN] = taken + 1;
    if (!(product > u * size * half && fabs(rho) > u * board[SHADOW_NORM] * norm)) board[WHY] = ENDED;
    else if (!(norm > board[TARGET])) board[WHY] = REACHED;
    else if (taken + 1 >= board[MOST]) board[WHY] = FULL;
}
"""
)


def build(arrays: Arrays, rounding: Any, method: BiCGSTAB, system: LinearSystem, state: Any) -> CompiledLoop | None:
    """The loop of this method on this system, or None where the textbook step has to be taken."""
    if rounding is not None:
        return None
    if not state.begun:
        method.begin(system, state)
        if system.preconditioner is not None:
            state.Mp = system.precondition(state.p, state.Mp)
            if system.preconditioner_exponent:
                return None  # the first product with M has shown that M is to be scaled
    s, n, dtype = state, system.n, system.dtype
    preconditioner: Any = system.preconditioner
    preconditioned = preconditioner is not None
    inverse = preconditioner.inverse_diagonal if preconditioned else s.r
    M = inverse, int(preconditioned), n
    board = Board(NUMBERS, LISTS)

    def iteration(k: int) -> None:
        z, y = (s.Mp, s.Mr) if preconditioned else (s.p, s.r)
        launch("bicgstab_direction", VECTORS_TEXT, dtype, n, s.r, s.v, s.p, z, *M, board.array)
        arrays.launch("bicgstab_first_product", TEXT, z, s.shadow, s.v, *board.places)
        launch("bicgstab_half_step", VECTORS_TEXT, dtype, n, s.v, s.r, y, *M, board.array)
        arrays.launch("bicgstab_second_product", TEXT, y, s.r, s.work, *board.places)
        launch("bicgstab_iterate", VECTORS_TEXT, dtype, n, z, y, s.work, s.shadow, s.x, s.r, n, *board.places)

    replay = Replay(iteration)

    def loop(steps: int, target: float) -> Stretch:
        if not s.begun:
            method.begin(system, s)
        going = s.rho_before != 0
        vectors = (s.x, s.r, s.p, s.v, s.shadow, s.work, inverse, *((s.Mp, s.Mr) if preconditioned else ()))
        last = {name: float(getattr(s, name)) for name in ("rho", "rho_before", "alpha", "omega", "shadow_norm")}
        head = replay.until_stopped(board, steps, target, vectors, **last, u=system.unit_roundoff)
        taken, why = int(head["taken"]), int(head["why"])
        s.rho, s.rho_before, s.alpha, s.omega = (head[name] for name in ("rho", "rho_before", "alpha", "omega"))
        seen = board.list_of("norms", taken)
        s.steps += taken
        if seen:
            s.residual_norm = seen[-1]
        s.begun, broke = why not in (BROKE, ENDED), why == BROKE
        if (going or taken) if broke else (not s.begun and s.residual_norm > target):
            s.renewals += 1
        return Stretch(seen, taken, broke, 2 * taken + broke)

    return loop
