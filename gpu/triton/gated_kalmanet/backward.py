"""Derivatives of the regression and of the readout: adjoints of the states chunk after chunk, of the rows in parallel.

Nothing of one program is added to what another wrote, so results do not depend on the order in which they run.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ....layers.recurrence.layout import Layout
from ..launching import tuned
from ..table import register
from .tiles import (
    chunk_rows,
    decay_between,
    load_block,
    load_numbers,
    load_rows,
    log_decays,
    mixed_rows,
    multiply,
    store_block,
    store_gate_gradient,
    store_numbers,
    store_rows,
)

__all__ = ["read_rows_adjoint", "read_states_adjoint", "rows_adjoint", "states_adjoint"]

# The scans have one program for each block of a state, the others one for each chunk and head.
SCANS = ({"BLOCK": 32, "num_warps": 4, "num_stages": 2}, {"BLOCK": 64, "num_warps": 8, "num_stages": 2})
CHUNKS = ({"BLOCK": 32, "num_warps": 8, "num_stages": 2}, {"BLOCK": 64, "num_warps": 8, "num_stages": 2})


@tuned(SCANS, key=["D", "PRECISION"])
@triton.jit
def _states_adjoint_kernel(  # type: ignore[no-untyped-def]
    x,
    z,
    weights,
    k,
    gates,
    before,
    d_final,
    after,
    d_initial,
    sequences,
    table,
    H,
    D: tl.constexpr,
    C: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A block of P, of one sequence and head, from its last chunk to its first.

    A chunk adds -(sum_t zeta_t (z_t x_t^T + x_t z_t^T) / 2 + (sum_t w_t zeta_t^2) H_0 + sum_j b_j k_j k_j^T), w being
    the weights, b = M^T (w o zeta).
    """
    sequence, head = (tl.program_id(0) // H).to(tl.int64), tl.program_id(0) % H
    high = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    wide = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    rows = tl.arange(0, C)
    first, last = tl.load(sequences + sequence), tl.load(sequences + sequence + 1)
    ends = (sequence * H + head) * D * D
    P = load_block(d_final, ends, high, wide, D, D).to(tl.float32)
    for back in range(last - first):
        chunk = last - 1 - back
        base, count = chunk_rows(table, chunk, H, head)
        state = (chunk * H + head) * D * D
        store_block(after, state, high, wide, D, D, P)
        total, whole = log_decays(gates, base, rows, count, H, C)
        zeta = tl.exp(total.to(tl.float32))
        w = load_numbers(weights, base, rows, count, H)
        b = tl.sum(decay_between(total, rows) * (w * zeta)[:, None], 0)
        share = tl.sum(w * zeta * zeta, 0)
        P = tl.exp(whole.to(tl.float32)) * P - share * load_block(before, state, high, wide, D, D).to(tl.float32)
        half = -0.5 * zeta[:, None]
        Z = load_rows(z, base, rows, high, count, H, D).to(tl.float32) * half
        P = multiply(tl.trans(Z), load_rows(x, base, rows, wide, count, H, D), P, PRECISION)
        X = load_rows(x, base, rows, high, count, H, D).to(tl.float32) * half
        P = multiply(tl.trans(X), load_rows(z, base, rows, wide, count, H, D), P, PRECISION)
        K = load_rows(k, base, rows, high, count, H, D).to(tl.float32) * -b[:, None]
        P = multiply(tl.trans(K), load_rows(k, base, rows, wide, count, H, D), P, PRECISION)
    store_block(d_initial, ends, high, wide, D, D, P)


@tuned(CHUNKS, key=["D", "PRECISION"])
@triton.jit
def _rows_adjoint_kernel(  # type: ignore[no-untyped-def]
    x,
    z,
    weights,
    curvature,
    k,
    gates,
    before,
    after,
    dk,
    d_gates,
    table,
    H,
    D: tl.constexpr,
    C: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """dk_i = 2 P_i k_i and the gradient of the gates, of one chunk and head.

    With L_t = -(z_t x_t^T + x_t z_t^T) / 2 - w_t H_t, P_i = sum_{t>=i} M_ti L_t + exp(G_C - G_i) P, P of the end.
    """
    chunk, head = (tl.program_id(0) // H).to(tl.int64), tl.program_id(0) % H
    base, count = chunk_rows(table, chunk, H, head)
    state = tl.program_id(0).to(tl.int64) * D * D
    rows = tl.arange(0, C)
    total, whole = log_decays(gates, base, rows, count, H, C)
    zeta, left = tl.exp(total.to(tl.float32)), tl.exp((whole - total).to(tl.float32))
    w = load_numbers(weights, base, rows, count, H)

    XK = tl.zeros((C, C), tl.float32)
    ZK = tl.zeros((C, C), tl.float32)
    KK = tl.zeros((C, C), tl.float32)
    for first in range(0, D, BLOCK):
        columns = first + tl.arange(0, BLOCK)
        K = load_rows(k, base, rows, columns, count, H, D)
        XK = multiply(load_rows(x, base, rows, columns, count, H, D), tl.trans(K), XK, PRECISION)
        ZK = multiply(load_rows(z, base, rows, columns, count, H, D), tl.trans(K), ZK, PRECISION)
        KK = multiply(K, tl.trans(K), KK, PRECISION)
    M = decay_between(total, rows)
    b = tl.sum(M * (w * zeta)[:, None], 0)
    KK *= multiply(tl.trans(M), M * (2.0 * w)[:, None], tl.zeros((C, C), tl.float32), PRECISION)
    KX, KZ = tl.trans(XK * M), tl.trans(ZK * M)

    boundary = tl.zeros((BLOCK,), tl.float32)
    own = tl.zeros((C,), tl.float32)
    carried = tl.zeros((C,), tl.float32)
    for first in range(0, D, BLOCK):
        columns = first + tl.arange(0, BLOCK)
        later = tl.zeros((C, BLOCK), tl.float32)
        earlier = tl.zeros((C, BLOCK), tl.float32)
        for start in range(0, D, BLOCK):
            others = start + tl.arange(0, BLOCK)
            K = load_rows(k, base, rows, others, count, H, D)
            P = load_block(after, state, others, columns, D, D)
            H0 = load_block(before, state, others, columns, D, D)
            boundary += tl.sum(P.to(tl.float32) * H0.to(tl.float32), 0)
            later = multiply(K, P, later, PRECISION)
            earlier = multiply(K, H0, earlier, PRECISION)
        later *= left[:, None]
        K = load_rows(k, base, rows, columns, count, H, D)
        carried += tl.sum(later * K.to(tl.float32), 1)
        found = 2.0 * (b[:, None] * earlier - later)
        found = multiply(KX, load_rows(z, base, rows, columns, count, H, D), found, PRECISION)
        found = multiply(KZ, load_rows(x, base, rows, columns, count, H, D), found, PRECISION)
        found = -multiply(KK, K, found, PRECISION)
        own += tl.sum(found * K.to(tl.float32), 1)
        store_rows(dk, base, rows, columns, count, H, D, found)
    end = tl.exp(whole.to(tl.float32)) * tl.sum(boundary, 0) + tl.sum(carried, 0)
    terms = -load_numbers(curvature, base, rows, count, H).to(tl.float64) - 0.5 * own.to(tl.float64)
    store_gate_gradient(d_gates, gates, base, rows, count, H, terms, end)


@tuned(SCANS, key=["D", "V", "PRECISION"])
@triton.jit
def _read_states_adjoint_kernel(  # type: ignore[no-untyped-def]
    do,
    x,
    q,
    alpha,
    gates,
    d_final,
    after,
    d_initial,
    sequences,
    table,
    scale,
    H,
    D: tl.constexpr,
    V: tl.constexpr,
    C: tl.constexpr,
    MIXED: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A block of R, of one sequence and head, from its last chunk to its first; one adds scale M^T diag(zeta) dO."""
    sequence, head = (tl.program_id(0) // H).to(tl.int64), tl.program_id(0) % H
    high = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    wide = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    rows = tl.arange(0, C)
    first, last = tl.load(sequences + sequence), tl.load(sequences + sequence + 1)
    ends = (sequence * H + head) * D * V
    R = load_block(d_final, ends, high, wide, D, V).to(tl.float32)
    for back in range(last - first):
        chunk = last - 1 - back
        base, count = chunk_rows(table, chunk, H, head)
        store_block(after, (chunk * H + head) * D * V, high, wide, D, V, R)
        total, whole = log_decays(gates, base, rows, count, H, C)
        zeta = tl.exp(total.to(tl.float32))
        m, _ = mixed_rows(x, q, alpha, base, rows, high, count, H, D, MIXED)
        dO = load_rows(do, base, rows, wide, count, H, V)
        R = multiply(tl.trans(m * (scale * zeta)[:, None]), dO, tl.exp(whole.to(tl.float32)) * R, PRECISION)
    store_block(d_initial, ends, high, wide, D, V, R)


@tuned(CHUNKS, key=["D", "V", "PRECISION"])
@triton.jit
def _read_rows_adjoint_kernel(  # type: ignore[no-untyped-def]
    do,
    o,
    x,
    q,
    alpha,
    k,
    v,
    gates,
    before,
    after,
    dx,
    dq,
    d_alpha,
    dk,
    dv,
    d_gates,
    table,
    scale,
    H,
    D: tl.constexpr,
    V: tl.constexpr,
    C: tl.constexpr,
    MIXED: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """All gradients of the readout of one chunk and head."""
    chunk, head = (tl.program_id(0) // H).to(tl.int64), tl.program_id(0) % H
    base, count = chunk_rows(table, chunk, H, head)
    state = tl.program_id(0).to(tl.int64) * D * V
    rows = tl.arange(0, C)
    total, whole = log_decays(gates, base, rows, count, H, C)
    zeta, left = tl.exp(total.to(tl.float32)), tl.exp((whole - total).to(tl.float32))
    M = decay_between(total, rows)

    pairs = tl.zeros((C, C), tl.float32)
    terms = tl.zeros((C,), tl.float32)
    for first in range(0, V, BLOCK):
        columns = first + tl.arange(0, BLOCK)
        dO = load_rows(do, base, rows, columns, count, H, V)
        terms += tl.sum(dO.to(tl.float32) * load_rows(o, base, rows, columns, count, H, V).to(tl.float32), 1)
        pairs = multiply(dO, tl.trans(load_rows(v, base, rows, columns, count, H, V)), pairs, PRECISION)
    pairs *= scale * M
    scores = tl.zeros((C, C), tl.float32)
    towards = tl.zeros((C,), tl.float32)
    for first in range(0, D, BLOCK):
        columns = first + tl.arange(0, BLOCK)
        read = tl.zeros((C, BLOCK), tl.float32)
        later = tl.zeros((C, BLOCK), tl.float32)
        for start in range(0, V, BLOCK):
            others = start + tl.arange(0, BLOCK)
            U = tl.trans(load_block(before, state, columns, others, D, V))
            R = tl.trans(load_block(after, state, columns, others, D, V))
            read = multiply(load_rows(do, base, rows, others, count, H, V), U, read, PRECISION)
            later = multiply(load_rows(v, base, rows, others, count, H, V), R, later, PRECISION)
        K = load_rows(k, base, rows, columns, count, H, D)
        dm = multiply(pairs, K, (scale * zeta)[:, None] * read, PRECISION)
        m, difference = mixed_rows(x, q, alpha, base, rows, columns, count, H, D, MIXED)
        scores = multiply(m, tl.trans(K), scores, PRECISION)
        found = multiply(tl.trans(pairs), m, left[:, None] * later, PRECISION)
        store_rows(dk, base, rows, columns, count, H, D, found)
        if MIXED:
            share = load_numbers(alpha, base, rows, count, H)
            towards += tl.sum(difference * dm, 1)
            store_rows(dx, base, rows, columns, count, H, D, share[:, None] * dm)
            store_rows(dq, base, rows, columns, count, H, D, (1.0 - share)[:, None] * dm)
        else:
            store_rows(dx, base, rows, columns, count, H, D, dm)
    if MIXED:
        store_numbers(d_alpha, base, rows, count, H, towards)

    scores = tl.trans(scale * scores * M)
    boundary = tl.zeros((BLOCK,), tl.float32)
    own = tl.zeros((C,), tl.float32)
    carried = tl.zeros((C,), tl.float32)
    for first in range(0, V, BLOCK):
        columns = first + tl.arange(0, BLOCK)
        written = tl.zeros((C, BLOCK), tl.float32)
        for start in range(0, D, BLOCK):
            others = start + tl.arange(0, BLOCK)
            R = load_block(after, state, others, columns, D, V)
            U = load_block(before, state, others, columns, D, V)
            boundary += tl.sum(R.to(tl.float32) * U.to(tl.float32), 0)
            written = multiply(load_rows(k, base, rows, others, count, H, D), R, written, PRECISION)
        written *= left[:, None]
        values = load_rows(v, base, rows, columns, count, H, V).to(tl.float32)
        carried += tl.sum(written * values, 1)
        found = multiply(scores, load_rows(do, base, rows, columns, count, H, V), written, PRECISION)
        own += tl.sum(found * values, 1)
        store_rows(dv, base, rows, columns, count, H, V, found)
    end = tl.exp(whole.to(tl.float32)) * tl.sum(boundary, 0) + tl.sum(carried, 0)
    store_gate_gradient(d_gates, gates, base, rows, count, H, terms.to(tl.float64) - own.to(tl.float64), end)


# As for the kernels of the forward pass, ``precision`` is that of the products; with "bf16" states are kept in it.


def states_adjoint(
    x: torch.Tensor,
    z: torch.Tensor,
    weight: torch.Tensor,
    k: torch.Tensor,
    gates: torch.Tensor,
    before: torch.Tensor,
    d_final: torch.Tensor,
    layout: Layout,
    *,
    precision: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``Pieces.states_adjoint``."""
    after, d_initial = torch.empty_like(before), torch.empty_like(d_final)
    sequences, H, D, _ = d_final.shape
    given = (rows.contiguous() for rows in (x, z, weight, k, gates, before, d_final))

    def grid(constants: dict[str, int]) -> tuple[int, int, int]:
        blocks = triton.cdiv(D, constants["BLOCK"])
        return sequences * H, blocks, blocks

    with torch.cuda.device_of(k):
        _states_adjoint_kernel[grid](
            *given, after, d_initial, layout.sequences, layout.table, H, D, C=layout.size, PRECISION=precision
        )
    return after, d_initial


def rows_adjoint(
    x: torch.Tensor,
    z: torch.Tensor,
    weight: torch.Tensor,
    curvature: torch.Tensor,
    k: torch.Tensor,
    gates: torch.Tensor,
    before: torch.Tensor,
    after: torch.Tensor,
    layout: Layout,
    *,
    precision: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``Pieces.rows_adjoint``."""
    dk, d_gates = (torch.empty(rows.shape, dtype=rows.dtype, device=rows.device) for rows in (k, gates))
    H, D = k.shape[1:]
    given = (rows.contiguous() for rows in (x, z, weight, curvature, k, gates, before, after))
    with torch.cuda.device_of(k):
        _rows_adjoint_kernel[(layout.chunks * H,)](
            *given, dk, d_gates, layout.table, H, D, C=layout.size, PRECISION=precision
        )
    return dk, d_gates


def _mixture(
    x: torch.Tensor, q: torch.Tensor | None, alpha: torch.Tensor | None, gates: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """q and alpha; where they are not given, what takes their places and is not read."""
    return (x, gates) if q is None or alpha is None else (q, alpha)


def read_states_adjoint(
    do: torch.Tensor,
    x: torch.Tensor,
    q: torch.Tensor | None,
    alpha: torch.Tensor | None,
    gates: torch.Tensor,
    d_final: torch.Tensor,
    layout: Layout,
    scale: float,
    *,
    precision: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``Pieces.read_states_adjoint``."""
    sequences, H, D, V = d_final.shape
    kept = torch.bfloat16 if precision == "bf16" else torch.float32
    after = torch.empty(layout.chunks, H, D, V, dtype=kept, device=do.device)
    d_initial = torch.empty(d_final.shape, dtype=d_final.dtype, device=do.device)
    mixed = q is not None and alpha is not None
    given = [part.contiguous() for part in (do, x, *_mixture(x, q, alpha, gates), gates, d_final)]

    def grid(constants: dict[str, int]) -> tuple[int, int, int]:
        return sequences * H, triton.cdiv(D, constants["BLOCK"]), triton.cdiv(V, constants["BLOCK"])

    with torch.cuda.device_of(do):
        _read_states_adjoint_kernel[grid](
            *given,
            after,
            d_initial,
            layout.sequences,
            layout.table,
            scale,
            H,
            D,
            V,
            C=layout.size,
            MIXED=mixed,
            PRECISION=precision,
        )
    return after, d_initial


def read_rows_adjoint(
    do: torch.Tensor,
    o: torch.Tensor,
    x: torch.Tensor,
    q: torch.Tensor | None,
    alpha: torch.Tensor | None,
    k: torch.Tensor,
    v: torch.Tensor,
    gates: torch.Tensor,
    before: torch.Tensor,
    after: torch.Tensor,
    layout: Layout,
    scale: float,
    *,
    precision: str,
) -> tuple[torch.Tensor | None, ...]:
    """``Pieces.read_rows_adjoint``."""
    mixed = q is not None and alpha is not None
    given = [rows.contiguous() for rows in (do, o, x, *_mixture(x, q, alpha, gates), k, v, gates)]
    dx, dq, d_alpha, dk, dv, d_gates = (torch.empty_like(rows) for rows in given[2:])
    H, D, V = k.shape[1], k.shape[2], v.shape[2]
    with torch.cuda.device_of(k):
        _read_rows_adjoint_kernel[(layout.chunks * H,)](
            *given,
            before.contiguous(),
            after.contiguous(),
            dx,
            dq,
            d_alpha,
            dk,
            dv,
            d_gates,
            layout.table,
            scale,
            H,
            D,
            V,
            C=layout.size,
            MIXED=mixed,
            PRECISION=precision,
        )
    return (dx, dq, d_alpha, dk, dv, d_gates) if mixed else (dx, None, None, dk, dv, d_gates)


def _register() -> None:
    """Each kernel as launched for bfloat16 tokens in heads of 128, with solutions and states in single precision."""
    types = dict.fromkeys(("do", "o", "q", "k", "v", "dq", "dk", "dv"), "*bf16")
    types |= dict.fromkeys(("table", "sequences"), "*i64") | {"H": "i32", "scale": "fp32"}
    constants = {"D": 128, "V": 128, "C": 64, "MIXED": True, "PRECISION": "bf16x3"}
    for name, kernel in (
        ("states_adjoint", _states_adjoint_kernel),
        ("rows_adjoint", _rows_adjoint_kernel),
        ("read_states_adjoint", _read_states_adjoint_kernel),
        ("read_rows_adjoint", _read_rows_adjoint_kernel),
    ):
        arguments = [argument for argument in kernel.arg_names if argument != "BLOCK"]
        register(
            f"{name}[bf16x3]",
            kernel,
            {argument: types.get(argument, "*fp32") for argument in arguments if argument not in constants},
            {argument: constant for argument, constant in constants.items() if argument in arguments},
        )


_register()
