"""The step of one token: both states are read once and written once, and the solve runs on the chip in between."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from ....layers.regression.arguments import Info, Inputs
from ....layers.regression.solving import Solver
from ..launching import tuned
from ..table import register
from .iterations import chebyshev_next, condition_number, settings, steps_for, upper_end
from .tiles import load_block, store_block

__all__ = ["decode", "step"]

# Larger states are held in registers only up to a D of 128; beyond, what was written is read again from the cache.
CONFIGURATIONS = (
    {"COLUMNS": 32, "num_warps": 4, "num_stages": 1},
    {"COLUMNS": 64, "num_warps": 8, "num_stages": 1},
    {"COLUMNS": 32, "num_warps": 16, "num_stages": 1},
)
WHOLE_UP_TO = 128
BLOCK = 32


@triton.jit
def _load_vector(pointer, base, entries, width: tl.constexpr):  # type: ignore[no-untyped-def]
    return tl.load(pointer + base + entries, mask=entries < width, other=0.0).to(tl.float32)


@triton.jit
def _product(  # type: ignore[no-untyped-def]
    p,
    S,
    shift,
    H_after,
    state,
    scratch,
    vector,
    entries,
    D: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """(S + shift I) p, S being symmetric: a sum of its rows."""
    if BLOCK == WIDTH:
        total = tl.sum(S * p[:, None], 0)
    else:  # Entries of a vector cannot be taken out of it: they are read from where it is stored.
        tl.store(scratch + vector + entries, p, mask=entries < D)
        tl.debug_barrier()
        total = tl.zeros((WIDTH,), tl.float32)
        for start in range(0, D, BLOCK):
            rows = start + tl.arange(0, BLOCK)
            part = _load_vector(scratch, vector, rows, D)
            total += tl.sum(load_block(H_after, state, rows, entries, D, D) * part[:, None], 0)
        tl.debug_barrier()
    return total + shift * p


@triton.jit
def _step_kernel(  # type: ignore[no-untyped-def]
    q,
    k,
    v,
    gates_H,
    gates_U,
    alpha,
    ridge_ratio,
    H_before,
    U_before,
    H_after,
    U_after,
    o,
    scratch,
    residuals,
    conditions,
    iterations,
    heads,
    scale,
    steps,
    reach,
    rtol,
    D: tl.constexpr,
    V: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    CG: tl.constexpr,
    FROBENIUS: tl.constexpr,
    FIXED: tl.constexpr,
    DECAY_H: tl.constexpr,
    DECAY_U: tl.constexpr,
    MIXED: tl.constexpr,
    FACTS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """One token of one sequence and head; all in float32."""
    place = tl.program_id(0).to(tl.int64)
    vector, state = place * D, place * D * D
    entries = tl.arange(0, WIDTH)
    keys = _load_vector(k, vector, entries, D)
    b = _load_vector(q, vector, entries, D)
    kept = 1.0
    if DECAY_H:
        kept = tl.exp(tl.load(gates_H + place).to(tl.float32))

    if BLOCK == WIDTH:
        before = load_block(H_before, state, entries, entries, D, D).to(tl.float32)
        S = kept * before + keys[:, None] * keys[None, :]
        store_block(H_after, state, entries, entries, D, D, S)
        trace = tl.sum(tl.sum(tl.where(entries[:, None] == entries[None, :], S, 0.0), 1), 0)
        scaled = S * (1.0 / tl.where(trace > 0, trace, 1.0))  # its squares neither under- nor overflow
        squares = tl.sum(tl.sum(scaled * scaled, 1), 0)
    else:
        S = keys
        diagonal = tl.load(H_before + state + entries * (D + 1), mask=entries < D, other=0.0).to(tl.float32)
        trace = tl.sum(kept * diagonal + keys * keys, 0)
        unit = 1.0 / tl.where(trace > 0, trace, 1.0)
        sums = tl.zeros((WIDTH,), tl.float32)
        for start in range(0, D, BLOCK):
            rows = start + tl.arange(0, BLOCK)
            block = kept * load_block(H_before, state, rows, entries, D, D).to(tl.float32)
            block += _load_vector(k, vector, rows, D)[:, None] * keys[None, :]
            store_block(H_after, state, rows, entries, D, D, block)
            sums += tl.sum((block * unit) * (block * unit), 0)
        squares = tl.sum(sums, 0)
        tl.debug_barrier()

    norm = trace * tl.sqrt(squares)
    shift = tl.load(ridge_ratio + place % heads) * norm
    upper = upper_end(norm, trace, shift, D, FROBENIUS)
    condition = condition_number(shift, upper)
    most = steps
    if not FIXED:
        most = steps_for(condition, reach)
    empty = norm == 0  # x = 0 there
    if CG:
        # In exact arithmetic the bound of Chebyshev iteration holds for conjugate gradients, too; rounding delays them.
        if not FIXED:
            most = 2 * most + 2
        largest = tl.max(tl.abs(b), 0)
        r = b / tl.where(largest > 0, largest, 1.0)  # its squares neither under- nor overflow
        square = tl.sum(r * r, 0)
        target = rtol * rtol * square
        left = tl.where((square > target) & (empty == 0), most, 0)  # steps that may still be made
        taken = most * 0
        X = tl.zeros((WIDTH,), tl.float32)
        p = r
        while left > 0:
            Ap = _product(p, S, shift, H_after, state, scratch, vector, entries, D, WIDTH, BLOCK)
            curvature = tl.sum(p * Ap, 0)
            along = square / curvature
            r -= along * Ap
            new = tl.sum(r * r, 0)
            going = (curvature > 0) & (new < float("inf"))  # else the step cannot be made
            X += tl.where(going, along * p, 0.0)
            taken += going.to(tl.int32)
            left = tl.where(going & (new > target), left - 1, 0)
            p = r + (new / square) * p
            square = new
        X *= largest
    else:
        taken = most
        center = tl.where(empty, 1.0, 0.5 * (shift + upper))
        ratio = tl.where(empty, 0.0, (upper - shift) / tl.where(empty, 1.0, upper + shift))
        rho = ratio
        d = tl.where(empty, 0.0, 1.0 / center) * b
        X = d
        for _ in range(tl.where(empty, 0, taken)):
            AX = _product(X, S, shift, H_after, state, scratch, vector, entries, D, WIDTH, BLOCK)
            rho, beta, gamma = chebyshev_next(center, ratio, rho)
            d = beta * d + gamma * (b - AX)
            X += d

    if FACTS:
        AX = _product(X, S, shift, H_after, state, scratch, vector, entries, D, WIDTH, BLOCK)
        largest = tl.max(tl.abs(b), 0)
        unit = 1.0 / tl.where(largest > 0, largest, 1.0)
        error, length = (b - AX) * unit, b * unit
        known = (largest > 0) & (empty == 0)
        relative = tl.sqrt(tl.sum(error * error, 0) / tl.where(known, tl.sum(length * length, 0), 1.0))
        tl.store(residuals + place, tl.where(known, relative, 0.0))
        tl.store(conditions + place, condition)
        tl.store(iterations + place, taken)

    if MIXED:
        X = b + tl.load(alpha + place).to(tl.float32) * (X - b)
    if BLOCK != WIDTH:
        tl.store(scratch + vector + entries, X, mask=entries < D)
        tl.debug_barrier()
    forgotten = 1.0
    if DECAY_U:
        forgotten = tl.exp(tl.load(gates_U + place).to(tl.float32))
    for first in range(0, V, COLUMNS):
        columns = first + tl.arange(0, COLUMNS)
        values = _load_vector(v, place * V, columns, V)
        read = tl.zeros((COLUMNS,), tl.float32)
        for start in range(0, D, BLOCK):
            rows = start + tl.arange(0, BLOCK)
            m, key = X, keys
            if BLOCK != WIDTH:
                m, key = _load_vector(scratch, vector, rows, D), _load_vector(k, vector, rows, D)
            U = forgotten * load_block(U_before, place * D * V, rows, columns, D, V).to(tl.float32)
            U += key[:, None] * values[None, :]
            store_block(U_after, place * D * V, rows, columns, D, V, U.to(U_after.dtype.element_ty))
            read += tl.sum(U * m[:, None], 0)
        tl.store(o + place * V + columns, (scale * read).to(o.dtype.element_ty), mask=columns < V)


# States may be written where they were read: what a configuration that is tried overwrites is put back.
_TUNED = tuned(CONFIGURATIONS, key=["D", "V", "CG", "FACTS"], restore_value=["H_before", "U_before"])(_step_kernel)


def step(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor | None,
    gk: torch.Tensor | None,
    alpha: torch.Tensor | None,
    ridge_ratio: torch.Tensor,
    H: torch.Tensor,
    U: torch.Tensor,
    scale: float,
    solver: Solver,
    facts: bool,
    out: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, ...]:
    """One token of each sequence.

    Parameters
    ----------
    q, k : Tensor, (sequences, H, D)
    v : Tensor, (sequences, H, V)
    g, gk, alpha : Tensor, (sequences, H), optional
    ridge_ratio : Tensor, (H,)
    H, U : Tensor, (sequences, H, D, D) and (sequences, H, D, V)
        States before the token.
    scale : float
    solver : Solver
    facts : bool
        For one more product.
    out : pair of Tensor, optional
        Where to write the states after it: H and U themselves, or contiguous ones like them.

    Returns
    -------
    o : Tensor, (sequences, H, V)
    H, U : Tensor
        ``out``, where it is given.
    relative_residual, condition, iterations : Tensor, (sequences, H)
        Only where ``facts``.
    """
    N, heads, D = q.shape
    V = v.shape[2]
    H, U = H.contiguous(), U.contiguous()
    H_after, U_after = (torch.empty_like(H), torch.empty_like(U)) if out is None else out
    o = torch.empty(v.shape, dtype=v.dtype, device=v.device)
    width = max(triton.next_power_of_2(D), 16)
    whole = width <= WHOLE_UP_TO
    # Where they are not needed, other tensors take the places of these.
    scratch = H if whole else torch.empty(q.shape, dtype=torch.float32, device=q.device)
    numbers = [torch.empty((N, heads), dtype=torch.float32, device=q.device) for _ in range(2)] if facts else [H, H]
    counts = torch.empty((N, heads), dtype=torch.int32, device=q.device) if facts else H
    optional = [ridge_ratio if gate is None else gate.contiguous() for gate in (gk, g, alpha)]
    if o.numel():
        with torch.cuda.device_of(q):
            _TUNED[(N * heads,)](
                q.contiguous(),
                k.contiguous(),
                v.contiguous(),
                *optional,
                ridge_ratio,
                H,
                U,
                H_after,
                U_after,
                o,
                scratch,
                *numbers,
                counts,
                heads,
                scale,
                **settings(solver),
                D=D,
                V=V,
                WIDTH=width,
                BLOCK=width if whole else BLOCK,
                FROBENIUS=solver.interval == "frobenius",
                DECAY_H=gk is not None,
                DECAY_U=g is not None,
                MIXED=alpha is not None,
                FACTS=facts,
            )
    return (o, H_after, U_after, *numbers, counts) if facts else (o, H_after, U_after)


def decode(inputs: Inputs, solver: Solver, want_info: bool) -> Any:
    """The form of sequences of one token each, without derivatives."""
    shape = inputs.q.shape

    def rows(tokens: Any) -> Any:
        return None if tokens is None else tokens.detach().flatten(0, 1)

    o, H, U, *facts = step(
        rows(inputs.q),
        rows(inputs.k),
        rows(inputs.v),
        rows(inputs.g),
        rows(inputs.gk),
        rows(inputs.alpha),
        inputs.ridge.detach().expand(shape[2]).contiguous(),
        inputs.H.detach(),
        inputs.U.detach(),
        inputs.scale,
        solver,
        want_info,
    )
    info = Info(*(fact.unflatten(0, shape[:2]) for fact in facts)) if want_info else None
    return o.unflatten(0, shape[:2]), (H, U), info


def _register() -> None:
    """For bfloat16 tokens, in the second configuration."""
    types = dict.fromkeys(("q", "k", "v", "o"), "*bf16") | dict.fromkeys(("heads", "steps"), "i32")
    types |= dict.fromkeys(("scale", "reach", "rtol"), "fp32")
    shared = {"FROBENIUS": False, "FIXED": False, "DECAY_H": True, "DECAY_U": True, "MIXED": True, "FACTS": False}
    for D, CG in ((128, False), (128, True), (256, False)):
        configuration = dict(CONFIGURATIONS[1])
        launch = {name: configuration.pop(name) for name in ("num_warps", "num_stages")}
        block = D if D <= WHOLE_UP_TO else BLOCK
        constants = {**shared, **configuration, "D": D, "V": D, "WIDTH": D, "BLOCK": block, "CG": CG}
        signature = {name: types.get(name, "*fp32") for name in _step_kernel.arg_names if name not in constants}
        register(f"decode[{D}, {'cg' if CG else 'chebyshev'}]", _step_kernel, signature, constants, **launch)


_register()
