"""Derivatives of the regression and of the readout: adjoints of the states chunk after chunk, of the rows in parallel.

Nothing of one program is added to what another wrote, so results do not depend on the order in which they run.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from ....layers.regression.layout import Layout
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
    store_block,
    store_gate_gradient,
    store_numbers,
    store_rows,
)

__all__ = ["read_rows_adjoint", "read_states_adjoint", "rows_adjoint", "states_adjoint"]

CONFIGURATIONS = [{"num_warps": 8, "num_stages": 2}, {"num_warps": 4, "num_stages": 2}]


@tuned(CONFIGURATIONS, key=["D", "C", "OPERANDS"])
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
    BLOCK: tl.constexpr,
    OPERANDS: tl.constexpr,
    PRECISION: tl.constexpr,
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
        X = load_rows(x, base, rows, wide, count, H, D).to(OPERANDS)
        Z = (load_rows(z, base, rows, high, count, H, D).to(tl.float32) * half).to(OPERANDS)
        P = tl.dot(tl.trans(Z), X, P, input_precision=PRECISION)
        X = (load_rows(x, base, rows, high, count, H, D).to(tl.float32) * half).to(OPERANDS)
        Z = load_rows(z, base, rows, wide, count, H, D).to(OPERANDS)
        P = tl.dot(tl.trans(X), Z, P, input_precision=PRECISION)
        K = (load_rows(k, base, rows, high, count, H, D).to(tl.float32) * -b[:, None]).to(OPERANDS)
        P = tl.dot(tl.trans(K), load_rows(k, base, rows, wide, count, H, D).to(OPERANDS), P, input_precision=PRECISION)
    store_block(d_initial, ends, high, wide, D, D, P)


@tuned(CONFIGURATIONS, key=["D", "C", "OPERANDS"])
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
    BLOCK: tl.constexpr,
    OPERANDS: tl.constexpr,
    PRECISION: tl.constexpr,
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

    KX = tl.zeros((C, C), tl.float32)
    KZ = tl.zeros((C, C), tl.float32)
    KK = tl.zeros((C, C), tl.float32)
    for first in range(0, D, BLOCK):
        columns = first + tl.arange(0, BLOCK)
        K = load_rows(k, base, rows, columns, count, H, D).to(OPERANDS)
        X = load_rows(x, base, rows, columns, count, H, D).to(OPERANDS)
        Z = load_rows(z, base, rows, columns, count, H, D).to(OPERANDS)
        KX = tl.dot(K, tl.trans(X), KX, input_precision=PRECISION)
        KZ = tl.dot(K, tl.trans(Z), KZ, input_precision=PRECISION)
        KK = tl.dot(K, tl.trans(K), KK, input_precision=PRECISION)
    M = decay_between(total, rows)
    Mt = tl.trans(M)
    b = tl.sum(Mt * (w * zeta)[None, :], 1)
    pairs = tl.dot(Mt.to(OPERANDS), (M * w[:, None]).to(OPERANDS), input_precision=PRECISION)
    KX, KZ, KK = (KX * Mt).to(OPERANDS), (KZ * Mt).to(OPERANDS), (2.0 * pairs * KK).to(OPERANDS)

    boundary = tl.zeros((BLOCK,), tl.float32)
    own = tl.zeros((C,), tl.float32)
    carried = tl.zeros((C,), tl.float32)
    for first in range(0, D, BLOCK):
        columns = first + tl.arange(0, BLOCK)
        later = tl.zeros((C, BLOCK), tl.float32)
        earlier = tl.zeros((C, BLOCK), tl.float32)
        for start in range(0, D, BLOCK):
            others = start + tl.arange(0, BLOCK)
            K = load_rows(k, base, rows, others, count, H, D).to(OPERANDS)
            P = load_block(after, state, others, columns, D, D).to(tl.float32)
            H0 = load_block(before, state, others, columns, D, D).to(tl.float32)
            boundary += tl.sum(P * H0, 0)
            later = tl.dot(K, P.to(OPERANDS), later, input_precision=PRECISION)
            earlier = tl.dot(K, H0.to(OPERANDS), earlier, input_precision=PRECISION)
        later = later * left[:, None]
        K = load_rows(k, base, rows, columns, count, H, D)
        carried += tl.sum(later * K.to(tl.float32), 1)
        found = 2.0 * (b[:, None] * earlier - later)
        Z = load_rows(z, base, rows, columns, count, H, D).to(OPERANDS)
        found = tl.dot(KX, Z, found, input_precision=PRECISION)
        X = load_rows(x, base, rows, columns, count, H, D).to(OPERANDS)
        found = tl.dot(KZ, X, found, input_precision=PRECISION)
        found = -tl.dot(KK, K.to(OPERANDS), found, input_precision=PRECISION)
        own += tl.sum(found * K.to(tl.float32), 1)
        store_rows(dk, base, rows, columns, count, H, D, found)
    end = tl.exp(whole.to(tl.float32)) * tl.sum(boundary, 0) + tl.sum(carried, 0)
    terms = -load_numbers(curvature, base, rows, count, H).to(tl.float64) - 0.5 * own.to(tl.float64)
    store_gate_gradient(d_gates, gates, base, rows, count, H, terms, end)


@tuned(CONFIGURATIONS, key=["D", "C", "OPERANDS"])
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
    BLOCK: tl.constexpr,
    MIXED: tl.constexpr,
    OPERANDS: tl.constexpr,
    PRECISION: tl.constexpr,
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
        dO = load_rows(do, base, rows, wide, count, H, V).to(OPERANDS)
        R = tl.dot(
            tl.trans((m * (scale * zeta)[:, None]).to(OPERANDS)),
            dO,
            tl.exp(whole.to(tl.float32)) * R,
            input_precision=PRECISION,
        )
    store_block(d_initial, ends, high, wide, D, V, R)


@tuned(CONFIGURATIONS, key=["D", "C", "OPERANDS"])
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
    BLOCK: tl.constexpr,
    MIXED: tl.constexpr,
    OPERANDS: tl.constexpr,
    PRECISION: tl.constexpr,
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
        values = load_rows(v, base, rows, columns, count, H, V).to(OPERANDS)
        pairs = tl.dot(dO.to(OPERANDS), tl.trans(values), pairs, input_precision=PRECISION)
    pairs = (scale * pairs * M).to(OPERANDS)
    scores = tl.zeros((C, C), tl.float32)
    share = tl.zeros((C,), tl.float32)
    if MIXED:
        share += load_numbers(alpha, base, rows, count, H)
    towards = tl.zeros((C,), tl.float32)
    for first in range(0, D, BLOCK):
        columns = first + tl.arange(0, BLOCK)
        read = tl.zeros((C, BLOCK), tl.float32)
        later = tl.zeros((C, BLOCK), tl.float32)
        for start in range(0, V, BLOCK):
            others = start + tl.arange(0, BLOCK)
            U = tl.trans(load_block(before, state, columns, others, D, V).to(OPERANDS))
            R = tl.trans(load_block(after, state, columns, others, D, V).to(OPERANDS))
            dO = load_rows(do, base, rows, others, count, H, V).to(OPERANDS)
            values = load_rows(v, base, rows, others, count, H, V).to(OPERANDS)
            read = tl.dot(dO, U, read, input_precision=PRECISION)
            later = tl.dot(values, R, later, input_precision=PRECISION)
        K = load_rows(k, base, rows, columns, count, H, D).to(OPERANDS)
        dm = tl.dot(pairs, K, (scale * zeta)[:, None] * read, input_precision=PRECISION)
        m, difference = mixed_rows(x, q, alpha, base, rows, columns, count, H, D, MIXED)
        m = m.to(OPERANDS)
        scores = tl.dot(m, tl.trans(K), scores, input_precision=PRECISION)
        found = tl.dot(tl.trans(pairs), m, left[:, None] * later, input_precision=PRECISION)
        store_rows(dk, base, rows, columns, count, H, D, found)
        if MIXED:
            towards += tl.sum(difference * dm, 1)
            store_rows(dx, base, rows, columns, count, H, D, share[:, None] * dm)
            store_rows(dq, base, rows, columns, count, H, D, (1.0 - share)[:, None] * dm)
        else:
            store_rows(dx, base, rows, columns, count, H, D, dm)
    if MIXED:
        store_numbers(d_alpha, base, rows, count, H, towards)

    scores = tl.trans((scale * scores * M).to(OPERANDS))
    boundary = tl.zeros((BLOCK,), tl.float32)
    own = tl.zeros((C,), tl.float32)
    carried = tl.zeros((C,), tl.float32)
    for first in range(0, V, BLOCK):
        columns = first + tl.arange(0, BLOCK)
        written = tl.zeros((C, BLOCK), tl.float32)
        for start in range(0, D, BLOCK):
            others = start + tl.arange(0, BLOCK)
            R = load_block(after, state, others, columns, D, V).to(tl.float32)
            boundary += tl.sum(R * load_block(before, state, others, columns, D, V).to(tl.float32), 0)
            K = load_rows(k, base, rows, others, count, H, D).to(OPERANDS)
            written = tl.dot(K, R.to(OPERANDS), written, input_precision=PRECISION)
        written = written * left[:, None]
        values = load_rows(v, base, rows, columns, count, H, V).to(tl.float32)
        carried += tl.sum(written * values, 1)
        dO = load_rows(do, base, rows, columns, count, H, V).to(OPERANDS)
        found = tl.dot(scores, dO, written, input_precision=PRECISION)
        own += tl.sum(found * values, 1)
        store_rows(dv, base, rows, columns, count, H, V, found)
    end = tl.exp(whole.to(tl.float32)) * tl.sum(boundary, 0) + tl.sum(carried, 0)
    store_gate_gradient(d_gates, gates, base, rows, count, H, terms.to(tl.float64) - own.to(tl.float64), end)


def _settings(k: torch.Tensor, layout: Layout) -> dict[str, Any]:
    """The constants of a launch: 16-bit rows are multiplied as they are if their range allows, all others in TF32."""
    half = k.dtype is torch.bfloat16
    return {
        "C": max(triton.next_power_of_2(layout.size), 16),
        "BLOCK": min(max(triton.next_power_of_2(k.shape[-1]), 16), 64 if half else 32),
        "OPERANDS": tl.bfloat16 if half else tl.float32,
        "PRECISION": "tf32x3" if k.dtype is torch.float32 else "tf32",
    }


def states_adjoint(
    x: torch.Tensor,
    z: torch.Tensor,
    weight: torch.Tensor,
    k: torch.Tensor,
    gates: torch.Tensor,
    before: torch.Tensor,
    d_final: torch.Tensor,
    layout: Layout,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``Pieces.states_adjoint``."""
    x, z, weight, k, gates = (rows.contiguous() for rows in (x, z, weight, k, gates))
    d_final = d_final.contiguous()
    after, d_initial = torch.empty_like(before), torch.empty_like(d_final)
    H, D, settings = k.shape[1], k.shape[2], _settings(k, layout)
    blocks = triton.cdiv(D, settings["BLOCK"])
    with torch.cuda.device_of(k):
        _states_adjoint_kernel[(d_final.shape[0] * H, blocks, blocks)](
            x, z, weight, k, gates, before, d_final, after, d_initial, layout.sequences, layout.table, H, D, **settings
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
) -> tuple[torch.Tensor, torch.Tensor]:
    """``Pieces.rows_adjoint``."""
    x, z, weight, curvature, k, gates = (rows.contiguous() for rows in (x, z, weight, curvature, k, gates))
    dk, d_gates = torch.empty_like(k), torch.empty_like(gates)
    H, D = k.shape[1:]
    with torch.cuda.device_of(k):
        _rows_adjoint_kernel[(layout.chunks * H,)](
            x, z, weight, curvature, k, gates, before, after, dk, d_gates, layout.table, H, D, **_settings(k, layout)
        )
    return dk, d_gates


def read_states_adjoint(
    do: torch.Tensor,
    x: torch.Tensor,
    q: torch.Tensor | None,
    alpha: torch.Tensor | None,
    gates: torch.Tensor,
    d_final: torch.Tensor,
    layout: Layout,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``Pieces.read_states_adjoint``."""
    do, x, gates, d_final = (rows.contiguous() for rows in (do, x, gates, d_final))
    H, D, V, settings = x.shape[1], x.shape[2], do.shape[2], _settings(x, layout)
    after, d_initial = d_final.new_empty(layout.chunks, H, D, V), torch.empty_like(d_final)
    grid = (d_final.shape[0] * H, *(triton.cdiv(width, settings["BLOCK"]) for width in (D, V)))
    with torch.cuda.device_of(do):
        _read_states_adjoint_kernel[grid](
            do,
            x,
            x if q is None else q.contiguous(),
            gates if alpha is None else alpha.contiguous(),
            gates,
            d_final,
            after,
            d_initial,
            layout.sequences,
            layout.table,
            scale,
            H,
            D,
            V,
            MIXED=alpha is not None,
            **settings,
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
) -> tuple[torch.Tensor | None, ...]:
    """``Pieces.read_rows_adjoint``."""
    do, o, x, k, v, gates = (rows.contiguous() for rows in (do, o, x, k, v, gates))
    dx, dk, dv, d_gates = (torch.empty_like(rows) for rows in (x, k, v, gates))
    mixed = q is not None and alpha is not None
    q, alpha = (q.contiguous(), alpha.contiguous()) if mixed else (x, gates)
    dq, d_alpha = (torch.empty_like(q), torch.empty_like(alpha)) if mixed else (dx, d_gates)
    H, D, V = k.shape[1], k.shape[2], v.shape[2]
    with torch.cuda.device_of(k):
        _read_rows_adjoint_kernel[(layout.chunks * H,)](
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
            layout.table,
            scale,
            H,
            D,
            V,
            MIXED=mixed,
            **_settings(k, layout),
        )
    return dx, dq if mixed else None, d_alpha if mixed else None, dk, dv, d_gates


def _register() -> None:
    """Each kernel as launched for bfloat16 rows in heads of 128."""
    types = dict.fromkeys(("do", "o", "x", "z", "q", "k", "v", "dx", "dq", "dk", "dv"), "*bf16")
    types |= dict.fromkeys(("table", "sequences"), "*i64") | {"H": "i32", "scale": "fp32"}
    constants = {"D": 128, "V": 128, "C": 64, "BLOCK": 64, "MIXED": True, "OPERANDS": tl.bfloat16, "PRECISION": "tf32"}
    for name, kernel in (
        ("states_adjoint", _states_adjoint_kernel),
        ("rows_adjoint", _rows_adjoint_kernel),
        ("read_states_adjoint", _read_states_adjoint_kernel),
        ("read_rows_adjoint", _read_rows_adjoint_kernel),
    ):
        arguments = kernel.arg_names
        register(
            f"{name}[bf16]",
            kernel,
            {argument: types.get(argument, "*fp32") for argument in arguments if argument not in constants},
            {argument: constant for argument, constant in constants.items() if argument in arguments},
        )


_register()
