"""Derivatives of the delta rule in chunks: adjoints of the states one after the other, of the rows in parallel.

With dU of what is written, Z = T^{-T} dU is the gradient of V; those of E, W and the gates that stand in T, and of E
before S, follow from it. All others are those of the readout: given U, the recurrence only adds.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ....layers.recurrence.layout import Layout
from ..gated_kalmanet.tiles import (
    chunk_rows,
    decay_between,
    decay_since,
    load_block,
    load_rows,
    log_decays,
    multiply,
    store_block,
    store_gate_gradient,
    store_rows,
)
from ..launching import tuned
from ..table import register
from .forward import CHUNKS, SCANS, decay_of_erasure

__all__ = ["erasure_adjoint", "scan_adjoint", "written_adjoint"]


@tuned(CHUNKS, key=["D", "V", "PRECISION"])
@triton.jit
def _written_adjoint_kernel(  # type: ignore[no-untyped-def]
    do,
    r,
    w,
    gates,
    d_written,
    table,
    scale,
    H,
    D: tl.constexpr,
    V: tl.constexpr,
    C: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """scale (M o R W^T)^T dO, of one chunk and head: what U is read for in its own chunk."""
    chunk, head = (tl.program_id(0) // H).to(tl.int64), tl.program_id(0) % H
    base, count = chunk_rows(table, chunk, H, head)
    rows = tl.arange(0, C)
    pairs = tl.zeros((C, C), tl.float32)
    for start in range(0, D, BLOCK):
        along = start + tl.arange(0, BLOCK)
        W = load_rows(w, base, rows, along, count, H, D)
        pairs = multiply(load_rows(r, base, rows, along, count, H, D), tl.trans(W), pairs, PRECISION)
    total, _ = log_decays(gates, base, rows, count, H, C)
    pairs = tl.trans(scale * pairs * decay_between(total, rows))
    for start in range(0, V, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        dO = load_rows(do, base, rows, columns, count, H, V)
        found = multiply(pairs, dO, tl.zeros((C, BLOCK), tl.float32), PRECISION)
        store_rows(d_written, base, rows, columns, count, H, V, found)


@tuned(SCANS, key=["D", "V", "PRECISION"])
@triton.jit
def _scan_adjoint_kernel(  # type: ignore[no-untyped-def]
    do,
    d_written,
    r,
    w,
    erases,
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
    WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Columns of the adjoint P of the state after each chunk, of one sequence and head, from its last chunk on.

    P' = exp(G_C) P + scale (diag(exp(G)) R)^T dO - (T^{-1} diag(exp(G)) E)^T dU,
    where dU = scale (M o R W^T)^T dO + diag(exp(G_C - G)) W P.
    """
    sequence, head = (tl.program_id(0) // H).to(tl.int64), tl.program_id(0) % H
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    channels, rows = tl.arange(0, WIDTH), tl.arange(0, C)
    first, last = tl.load(sequences + sequence), tl.load(sequences + sequence + 1)
    ends = (sequence * H + head) * D * V
    P = load_block(d_final, ends, channels, columns, D, V).to(tl.float32)
    for back in range(last - first):
        chunk = last - 1 - back
        store_block(after, (chunk * H + head) * D * V, channels, columns, D, V, P)
        base, count = chunk_rows(table, chunk, H, head)
        total, whole = log_decays(gates, base, rows, count, H, C)
        left = tl.exp((whole - total).to(tl.float32))
        W = load_rows(w, base, rows, channels, count, H, D).to(tl.float32) * left[:, None]
        dU = multiply(W, P, load_rows(d_written, base, rows, columns, count, H, V), PRECISION)
        zeta = scale * tl.exp(total.to(tl.float32))
        R = load_rows(r, base, rows, channels, count, H, D).to(tl.float32) * zeta[:, None]
        dO = load_rows(do, base, rows, columns, count, H, V)
        P = multiply(tl.trans(R), dO, tl.exp(whole.to(tl.float32)) * P, PRECISION)
        E = load_rows(erases, base, rows, channels, count, H, D)
        P = multiply(tl.trans(-E), dU, P, PRECISION)
    store_block(d_initial, ends, channels, columns, D, V, P)


@tuned(CHUNKS, key=["D", "V", "PRECISION"])
@triton.jit
def _erasure_adjoint_kernel(  # type: ignore[no-untyped-def]
    d_written,
    written,
    inverse,
    w,
    e,
    gates,
    before,
    dw,
    de,
    dv,
    d_gates,
    table,
    H,
    D: tl.constexpr,
    V: tl.constexpr,
    C: tl.constexpr,
    UNDECAYED: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """dV = Z = T^{-T} dU and what erasure has as gradients of E, W and the gates, of one chunk and head.

    dE = N W - diag(exp(G)) Z S^T and dW = N^T E, N = -strictLower(M o Z U^T); G_t gets e_t^T de_t - w_t^T dw_t.
    """
    chunk, head = (tl.program_id(0) // H).to(tl.int64), tl.program_id(0) % H
    base, count = chunk_rows(table, chunk, H, head)
    state = tl.program_id(0).to(tl.int64) * D * V
    rows = tl.arange(0, C)
    X = tl.trans(load_block(inverse, tl.program_id(0).to(tl.int64) * C * C, rows, rows, C, C))
    pairs = tl.zeros((C, C), tl.float32)
    for start in range(0, V, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        dU = load_rows(d_written, base, rows, columns, count, H, V)
        Z = multiply(X, dU, tl.zeros((C, BLOCK), tl.float32), PRECISION)
        store_rows(dv, base, rows, columns, count, H, V, Z)
        U = load_rows(written, base, rows, columns, count, H, V)
        pairs = multiply(Z, tl.trans(U), pairs, PRECISION)
    total, _ = log_decays(gates, base, rows, count, H, C)
    since = decay_of_erasure(total, gates, base, rows, count, H, UNDECAYED)
    N = -pairs * decay_since(since, rows - 1, total, rows)
    X *= -tl.exp(since.to(tl.float32))[:, None]
    erased = tl.zeros((C,), tl.float32)
    wrote = tl.zeros((C,), tl.float32)
    for first in range(0, D, BLOCK):
        channels = first + tl.arange(0, BLOCK)
        read = tl.zeros((C, BLOCK), tl.float32)
        for start in range(0, V, BLOCK):
            columns = start + tl.arange(0, BLOCK)
            S = tl.trans(load_block(before, state, channels, columns, D, V))
            read = multiply(load_rows(d_written, base, rows, columns, count, H, V), S, read, PRECISION)
        E = load_rows(e, base, rows, channels, count, H, D)
        W = load_rows(w, base, rows, channels, count, H, D)
        dE = multiply(X, read, multiply(N, W, tl.zeros((C, BLOCK), tl.float32), PRECISION), PRECISION)
        dW = multiply(tl.trans(N), E, tl.zeros((C, BLOCK), tl.float32), PRECISION)
        store_rows(de, base, rows, channels, count, H, D, dE)
        store_rows(dw, base, rows, channels, count, H, D, dW)
        erased += tl.sum(dE * E.to(tl.float32), 1)
        wrote += tl.sum(dW * W.to(tl.float32), 1)
    own = erased if UNDECAYED else tl.zeros((C,), tl.float32)
    terms = erased.to(tl.float64) - wrote.to(tl.float64)
    store_gate_gradient(d_gates, gates, base, rows, count, H, terms, -own)


def written_adjoint(
    do: torch.Tensor,
    r: torch.Tensor,
    w: torch.Tensor,
    gates: torch.Tensor,
    layout: Layout,
    scale: float,
    precision: str,
) -> torch.Tensor:
    """What the outputs of a chunk give to dU, (tokens, H, V), in float32; all others as of ``scan_adjoint``."""
    H, D, V = w.shape[1], w.shape[2], do.shape[2]
    d_written = torch.empty(do.shape, dtype=torch.float32, device=do.device)
    with torch.cuda.device_of(do):
        _written_adjoint_kernel[(layout.chunks * H,)](
            do, r, w, gates, d_written, layout.table, scale, H, D, V, C=layout.size, PRECISION=precision
        )
    return d_written


def scan_adjoint(
    do: torch.Tensor,
    d_written: torch.Tensor,
    r: torch.Tensor,
    w: torch.Tensor,
    erases: torch.Tensor,
    gates: torch.Tensor,
    d_final: torch.Tensor,
    layout: Layout,
    scale: float,
    precision: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Adjoints of the states after chunks, (chunks, H, D, V), and of the first ones, both in float32.

    Parameters
    ----------
    do, d_written : Tensor, (tokens, H, V)
        Of the outputs; and what these give to dU in their own chunks.
    r, w, erases : Tensor, (tokens, H, D)
        ``erases`` of ``forward.factors``.
    gates : Tensor, (tokens, H)
    d_final : Tensor of float32, (sequences, H, D, V)
    layout : Layout
    scale : float
    precision : str
        Of the products.
    """
    sequences, H, D, V = d_final.shape
    after = torch.empty(layout.chunks, H, D, V, dtype=torch.float32, device=do.device)
    d_initial = torch.empty_like(d_final)

    def grid(constants: dict[str, int]) -> tuple[int, int]:
        return sequences * H, triton.cdiv(V, constants["COLUMNS"])

    with torch.cuda.device_of(do):
        _scan_adjoint_kernel[grid](
            do,
            d_written,
            r,
            w,
            erases,
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
            C=layout.size,
            WIDTH=max(triton.next_power_of_2(D), 16),
            PRECISION=precision,
        )
    return after, d_initial


def erasure_adjoint(
    d_written: torch.Tensor,
    written: torch.Tensor,
    inverse: torch.Tensor,
    w: torch.Tensor,
    e: torch.Tensor,
    gates: torch.Tensor,
    before: torch.Tensor,
    layout: Layout,
    undecayed: bool,
    precision: str,
) -> tuple[torch.Tensor, ...]:
    """The gradients of w, e, v and the gates by way of U, in float32, given all of dU."""
    H, D, V = w.shape[1], w.shape[2], written.shape[2]
    found = [torch.empty(like.shape, dtype=torch.float32, device=w.device) for like in (w, e, written, gates)]
    with torch.cuda.device_of(w):
        _erasure_adjoint_kernel[(layout.chunks * H,)](
            d_written,
            written,
            inverse,
            w,
            e,
            gates,
            before,
            *found,
            layout.table,
            H,
            D,
            V,
            C=layout.size,
            UNDECAYED=undecayed,
            PRECISION=precision,
        )
    return tuple(found)


def _register() -> None:
    """For heads of 128; products of both kinds."""
    types = dict.fromkeys(("sequences", "table"), "*i64") | {"H": "i32", "scale": "fp32"}
    constants = {"D": 128, "V": 128, "C": 64, "WIDTH": 128, "UNDECAYED": False}
    for precision in ("tf32x3", "bf16x3"):
        given = {**constants, "PRECISION": precision}
        for name, kernel, tile in (
            ("delta_written_adjoint", _written_adjoint_kernel, "BLOCK"),
            ("delta_scan_adjoint", _scan_adjoint_kernel, "COLUMNS"),
            ("delta_erasure_adjoint", _erasure_adjoint_kernel, "BLOCK"),
        ):
            arguments = [argument for argument in kernel.arg_names if argument != tile]
            register(
                f"{name}[{precision}]",
                kernel,
                {argument: types.get(argument, "*fp32") for argument in arguments if argument not in given},
                {argument: given[argument] for argument in arguments if argument in given},
            )


_register()
