"""The regressions of all tokens of a chunk, iterated together in one program."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ....layers.regression.solving import Solver
from ..launching import tuned
from ..table import register
from .iterations import chebyshev_next, condition_number, settings, steps_for
from .norms import norms_and_uppers
from .tiles import (
    chunk_rows,
    decay_since,
    load_block,
    load_numbers,
    load_rows,
    load_written_rows,
    log_decays,
    multiply,
    store_numbers,
    store_rows,
)

__all__ = ["solve", "solve_adjoint"]

# Parts of a chunk, each of which has a program that iterates its rows.
CONFIGURATIONS = (
    {"PARTS": 1, "num_warps": 8, "num_stages": 2},
    {"PARTS": 1, "num_warps": 4, "num_stages": 2},
    {"PARTS": 2, "num_warps": 8, "num_stages": 1},
)
# D for which a state, in as many parts as the products take, is held in shared memory; of a larger one BLOCK rows are
# read at a time.
WHOLE_UP_TO = {"bf16": 128, "bf16x3": 128, "tf32": 128, "tf32x3": 64, "ieee": 64}
BLOCK = 32
READ = tl.constexpr(BLOCK)
REACHED = tl.constexpr(0.02)  # by what a sweep with products of bfloat16 reduces most residuals; more steps do not pay
MOST_SWEEPS = tl.constexpr(8)
FINER = {"bf16": "bf16x3", "tf32": "tf32x3"}  # what residuals and norms are computed with


@triton.jit
def _size(b):  # type: ignore[no-untyped-def]
    """For each row a factor with which its squares neither under- nor overflow, and its length times that."""
    largest = tl.max(tl.abs(b), 1)
    unit = 1.0 / tl.where(largest > 0, largest, 1.0)
    scaled = b * unit[:, None]
    return unit, tl.sqrt(tl.sum(scaled * scaled, 1))


@triton.jit
def _product_of_rows(  # type: ignore[no-untyped-def]
    stored,
    K,
    M,
    zeta,
    shift,
    before,
    state,
    k,
    base,
    rows,
    tokens,
    count,
    H,
    D: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """A_t p_t = zeta_t H_0 p_t + sum_j M_tj (k_j^T p_t) k_j + shift_t p_t, p_t being the stored rows."""
    every = tl.arange(0, WIDTH)
    p = load_written_rows(stored, base, rows, every, count, H, D).to(tl.float32)
    Y = tl.zeros(p.shape, tl.float32)
    W = tl.zeros(M.shape, tl.float32)
    for start in range(0, D, BLOCK):
        along = start + tl.arange(0, BLOCK)
        part = load_written_rows(stored, base, rows, along, count, H, D).to(tl.float32)
        Y = multiply(part, load_block(before, state, along, every, D, D), Y, PRECISION)
        W = multiply(part, tl.trans(load_rows(k, base, tokens, along, count, H, D)), W, PRECISION)
    return multiply(W * M, K, shift[:, None] * p, PRECISION) + zeta[:, None] * Y


@triton.jit
def _product(  # type: ignore[no-untyped-def]
    p,
    H0,
    scratch,
    K,
    M,
    zeta,
    shift,
    before,
    state,
    k,
    base,
    rows,
    tokens,
    count,
    H,
    D: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The same of a tile, with the state on the chip where it has room."""
    if BLOCK == WIDTH:
        Y = multiply(p, H0, tl.zeros(p.shape, tl.float32), PRECISION)
        W = multiply(p, tl.trans(K), tl.zeros(M.shape, tl.float32), PRECISION)
        # In this order the two large products do not depend on each other, and Triton gives each its own layout.
        return multiply(W * M, K, shift[:, None] * p, PRECISION) + zeta[:, None] * Y
    else:  # Columns of a tile cannot be taken out of it: they are read from where it is stored.
        store_rows(scratch, base, rows, tl.arange(0, WIDTH), count, H, D, p)
        tl.debug_barrier()
        found = _product_of_rows(
            scratch, K, M, zeta, shift, before, state, k, base, rows, tokens, count, H, D, WIDTH, BLOCK, PRECISION
        )
        tl.debug_barrier()
        return found


@triton.jit
def _solve_kernel(  # type: ignore[no-untyped-def]
    rhs,
    k,
    gates,
    ridge_ratio,
    before,
    table,
    x,
    norms,
    uppers,
    solution,
    scratch,
    first_numbers,
    second_numbers,
    iterations,
    H,
    steps,
    reach,
    rtol,
    D: tl.constexpr,
    C: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    CG: tl.constexpr,
    FIXED: tl.constexpr,
    REFINED: tl.constexpr,
    FACTS: tl.constexpr,
    ADJOINT: tl.constexpr,
    PRECISION: tl.constexpr,
    FINER: tl.constexpr,
    PARTS: tl.constexpr,
):
    """Rows of A_t x_t = rhs_t, of one chunk and head.

    Where Chebyshev iteration is refined, it starts again and again with the residual of what it found, until that is
    within the tolerance: residuals have products of the precision FINER, the iterations of PRECISION. Where that comes
    to nothing, it is made as if it were not refined, with products of FINER alone.

    As facts there are ||rhs - A x|| / ||rhs||, kappa and iterations. For the adjoint, whose solution is z, x is read,
    and z_t^T A_t x_t and z_t^T x_t are written.
    """
    place, part = tl.program_id(0) // PARTS, tl.program_id(0) % PARTS
    chunk, head = (place // H).to(tl.int64), place % H
    base, count = chunk_rows(table, chunk, H, head)
    state = place.to(tl.int64) * D * D
    tokens = tl.arange(0, C)
    rows = part * (C // PARTS) + tl.arange(0, C // PARTS)
    every = tl.arange(0, WIDTH)

    sums, _ = log_decays(gates, base, tokens, count, H, C)
    total = tl.sum(tl.where(rows[:, None] == tokens[None, :], sums[None, :], 0.0), 1)
    zeta = tl.exp(total.to(tl.float32))
    M = decay_since(total, rows, sums, tokens)
    K = load_rows(k, base, tokens, every, count, H, D)
    H0 = K
    if BLOCK == WIDTH:
        H0 = load_block(before, state, every, every, D, D)
    ratio = tl.load(ridge_ratio + head)

    norm, upper = load_numbers(norms, base, rows, count, H), load_numbers(uppers, base, rows, count, H)
    shift = ratio * norm
    condition = condition_number(shift, upper)
    most = tl.zeros(shift.shape, tl.int32) + steps
    if not FIXED:
        most = steps_for(condition, reach)
    empty = (norm == 0) | (rows >= count)  # x = 0 there
    b = load_rows(rhs, base, rows, every, count, H, D).to(tl.float32)
    if CG:
        # In exact arithmetic the bound of Chebyshev iteration holds for conjugate gradients, too; rounding delays them.
        if not FIXED:
            most = 2 * most + 2
        unit, length = _size(b)
        r = b * unit[:, None]
        square = length * length
        target = rtol * rtol * square
        going = (square > target) & (most > 0) & (empty == 0)
        taken = tl.zeros(shift.shape, tl.int32)
        X = tl.zeros((C // PARTS, WIDTH), tl.float32)
        p = tl.where(going[:, None], r, 0.0)
        while tl.max(going.to(tl.int32), 0) > 0:
            Ap = _product(
                p, H0, scratch, K, M, zeta, shift, before, state, k, base, rows, tokens, count, H,
                D, WIDTH, BLOCK, PRECISION,
            )  # fmt: skip
            curvature = tl.sum(p * Ap, 1)
            going = going & (curvature > 0)
            along = tl.where(going, square / tl.where(going, curvature, 1.0), 0.0)
            r -= along[:, None] * Ap
            new = tl.sum(r * r, 1)
            going = going & (new < float("inf"))  # else the step cannot be made
            X += tl.where(going[:, None], along[:, None] * p, 0.0)
            taken += going.to(tl.int32)
            going = going & (new > target) & (taken < most)
            p = tl.where(going[:, None], r + (new / tl.where(going, square, 1.0))[:, None] * p, 0.0)
            square = new
        X /= unit[:, None]
    else:
        center = tl.where(empty, 1.0, 0.5 * (shift + upper))
        width = tl.where(empty, 0.0, (upper - shift) / tl.where(empty, 1.0, upper + shift))
        taken = most
        going = empty == 0
        residual = tl.zeros(shift.shape, tl.float32) + 1.0
        unit, length = _size(b)
        if REFINED:
            taken = tl.zeros(shift.shape, tl.int32)
            going = going & (length > 0)
            store_rows(solution, base, rows, every, count, H, D, tl.zeros(b.shape, tl.float32))
            tl.debug_barrier()
        r, X, sweeps = b, b, 0
        while tl.max(going.to(tl.int32), 0) > 0:
            if REFINED:
                aim = tl.minimum(tl.maximum(rtol / residual, REACHED), 0.5)
                most = steps_for(condition, tl.log(1.0 / aim + tl.sqrt(1.0 / (aim * aim) - 1.0)))
            last = tl.where(going, most, 0)
            rho = width
            d = tl.where(going, 1.0 / center, 0.0)[:, None] * r
            X = d
            for step in range(tl.max(last, 0)):
                AX = _product(
                    X, H0, scratch, K, M, zeta, shift, before, state, k, base, rows, tokens, count, H,
                    D, WIDTH, BLOCK, PRECISION,
                )  # fmt: skip
                rho, beta, gamma = chebyshev_next(center, width, rho)
                d = tl.where((step < last)[:, None], beta[:, None] * d + gamma[:, None] * (r - AX), 0.0)
                X += d
            if REFINED:  # what is found adds up where it is stored, out of the way of the iteration
                X += load_written_rows(solution, base, rows, every, count, H, D)
                store_rows(solution, base, rows, every, count, H, D, X)
                tl.debug_barrier()
                AX = _product_of_rows(
                    solution, K, M, zeta, shift, before, state, k, base, rows, tokens, count, H, D, WIDTH, READ, FINER
                )
                tl.debug_barrier()
                r = load_rows(rhs, base, rows, every, count, H, D).to(tl.float32) - AX
                scaled = r * unit[:, None]
                new = tl.sqrt(tl.sum(scaled * scaled, 1)) / tl.where(length > 0, length, 1.0)
                taken += tl.where(going, last + 1, 0)
                sweeps += 1
                closer = going & (new < 0.5 * residual)  # else the precision of residuals is exhausted
                residual = tl.where(going, new, residual)
                going = closer & (new > rtol) & (sweeps < MOST_SWEEPS)
            else:
                going = going & (sweeps > 0)
        if REFINED:
            X = load_written_rows(solution, base, rows, every, count, H, D)
            failed = (empty == 0) & (length > 0) & (residual > rtol)
            if tl.max(failed.to(tl.int32), 0) > 0:  # a small ridge magnifies rounding to more than sweeps take away
                last = tl.where(failed, steps_for(condition, reach), 0)
                taken += last
                r = load_rows(rhs, base, rows, every, count, H, D).to(tl.float32)
                rho = width
                d = (1.0 / center)[:, None] * r
                found = d
                for step in range(tl.max(last, 0)):
                    store_rows(scratch, base, rows, every, count, H, D, found)
                    tl.debug_barrier()
                    AX = _product_of_rows(
                        scratch, K, M, zeta, shift, before, state, k, base, rows, tokens, count, H,
                        D, WIDTH, READ, FINER,
                    )  # fmt: skip
                    tl.debug_barrier()
                    rho, beta, gamma = chebyshev_next(center, width, rho)
                    d = tl.where((step < last)[:, None], beta[:, None] * d + gamma[:, None] * (r - AX), 0.0)
                    found += d
                X = tl.where(failed[:, None], found, X)
        else:
            X = tl.where(empty[:, None], 0.0, X)

    store_rows(solution, base, rows, every, count, H, D, X)
    if FACTS:
        tl.debug_barrier()
        AX = _product_of_rows(
            solution, K, M, zeta, shift, before, state, k, base, rows, tokens, count, H, D, WIDTH, READ, FINER
        )
        b = load_rows(rhs, base, rows, every, count, H, D).to(tl.float32)
        unit, length = _size(b)
        error = (b - AX) * unit[:, None]
        known = (length > 0) & (empty == 0)
        relative = tl.sqrt(tl.sum(error * error, 1)) / tl.where(known, length, 1.0)
        store_numbers(first_numbers, base, rows, count, H, tl.where(known, relative, 0.0))
        store_numbers(second_numbers, base, rows, count, H, condition)
        store_numbers(iterations, base, rows, count, H, taken)
    if ADJOINT:
        Ax = _product_of_rows(
            x, K, M, zeta, shift, before, state, k, base, rows, tokens, count, H, D, WIDTH, READ, FINER
        )
        other = load_rows(x, base, rows, every, count, H, D).to(tl.float32)
        store_numbers(first_numbers, base, rows, count, H, tl.sum(X * Ax, 1))
        store_numbers(second_numbers, base, rows, count, H, tl.sum(X * other, 1))


_TUNED = tuned(CONFIGURATIONS, key=["D", "CG", "FACTS", "ADJOINT", "REFINED", "PRECISION", "FINER"])(_solve_kernel)


def _launch(
    rhs: torch.Tensor,
    k: torch.Tensor,
    gates: torch.Tensor,
    ridge_ratio: torch.Tensor,
    before: torch.Tensor,
    table: torch.Tensor,
    size: int,
    solver: Solver,
    precision: str,
    x: torch.Tensor | None,
    norms: torch.Tensor,
    uppers: torch.Tensor,
    facts: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    H, D = k.shape[1:]
    solution = torch.empty(k.shape, dtype=torch.float32, device=k.device)
    written = facts or x is not None
    numbers = [torch.empty_like(norms) if written else norms for _ in range(2)]
    iterations = torch.empty_like(norms, dtype=torch.int32) if facts else norms
    if not solution.numel():
        return solution, *numbers, iterations
    width = max(triton.next_power_of_2(D), 16)
    refined = solver.name == "chebyshev" and solver.rtol is not None and precision in ("bf16x3", "tf32x3")
    products = "bf16" if refined else precision
    whole = width <= WHOLE_UP_TO[products]

    def grid(constants: dict[str, int]) -> tuple[int]:
        return (len(before) * H * constants["PARTS"],)

    with torch.cuda.device_of(k):
        _TUNED[grid](
            rhs.contiguous(),
            k.contiguous(),
            gates.contiguous(),
            ridge_ratio.contiguous(),
            before,
            table,
            solution if x is None else x.contiguous(),
            norms,
            uppers,
            solution,
            solution if whole and not refined else torch.empty_like(solution),
            *numbers,
            iterations,
            H,
            **settings(solver),
            D=D,
            C=size,
            WIDTH=width,
            BLOCK=width if whole else BLOCK,
            REFINED=refined,
            FACTS=facts,
            ADJOINT=x is not None,
            PRECISION=products,
            FINER=FINER.get(precision, precision),
        )
    return solution, *numbers, iterations


def solve(
    q: torch.Tensor,
    k: torch.Tensor,
    gates: torch.Tensor,
    ridge_ratio: torch.Tensor,
    before: torch.Tensor,
    table: torch.Tensor,
    size: int,
    solver: Solver,
    precision: str,
    facts: bool,
) -> tuple[torch.Tensor, ...]:
    """x_t of (H_t + ridge_ratio ||H_t||_F I) x_t = q_t, all but the last two in float32.

    Parameters
    ----------
    q, k : Tensor, (tokens, H, D)
    gates : Tensor, (tokens, H)
    ridge_ratio : Tensor of float32, (H,)
    before : Tensor, (chunks, H, D, D)
        H before each chunk.
    table : Tensor
        Of the ``Layout``.
    size : int
        Tokens of a chunk.
    solver : Solver
    precision : str
        Of the products.
    facts : bool
        For one more product a token.

    Returns
    -------
    x : Tensor of float32, (tokens, H, D)
    norms, uppers : Tensor of float32, (tokens, H)
    relative_residual, condition, iterations : Tensor, (tokens, H)
        Only where ``facts``.
    """
    norms, uppers = norms_and_uppers(
        k, gates, ridge_ratio, before, table, size, solver, FINER.get(precision, precision)
    )
    x, *found = _launch(q, k, gates, ridge_ratio, before, table, size, solver, precision, None, norms, uppers, facts)
    return (x, norms, uppers, *found) if facts else (x, norms, uppers)


def solve_adjoint(
    dx: torch.Tensor,
    x: torch.Tensor,
    k: torch.Tensor,
    gates: torch.Tensor,
    ridge_ratio: torch.Tensor,
    norms: torch.Tensor,
    uppers: torch.Tensor,
    before: torch.Tensor,
    table: torch.Tensor,
    size: int,
    solver: Solver,
    precision: str,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """z_t of A_t z_t = dx_t, z_t^T A_t x_t, and z_t^T x_t, in float32; norms and uppers are those of ``solve``."""
    z, curvature, overlap, _ = _launch(
        dx, k, gates, ridge_ratio, before, table, size, solver, precision, x, norms, uppers, False
    )
    return z, curvature, overlap


def _register() -> None:
    """For bfloat16 tokens, in the first configuration; heads of 256 in the last, which needs least room."""
    types = {"rhs": "*bf16", "k": "*bf16", "table": "*i64", "H": "i32", "steps": "i32", "reach": "fp32", "rtol": "fp32"}
    for D, kind, place in ((64, "refined", 0), (128, "refined", 0), (256, "refined", -1), (128, "cg", 0)):
        configuration = dict(CONFIGURATIONS[place])
        launch = {name: configuration.pop(name) for name in ("num_warps", "num_stages")}
        products = "bf16" if kind == "refined" else "bf16x3"
        constants = {
            **configuration,
            "D": D,
            "C": 64,
            "WIDTH": D,
            "BLOCK": D if WHOLE_UP_TO[products] >= D else BLOCK,
            "CG": kind == "cg",
            "FIXED": False,
            "REFINED": kind == "refined",
            "FACTS": False,
            "ADJOINT": False,
            "PRECISION": products,
            "FINER": "bf16x3",
        }
        signature = {name: types.get(name, "*fp32") for name in _solve_kernel.arg_names if name not in constants}
        register(f"solve[{D}, {kind}]", _solve_kernel, signature, constants, **launch)


_register()
