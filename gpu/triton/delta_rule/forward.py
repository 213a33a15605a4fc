"""The delta rule in chunks: their triangular systems in parallel, the states one after the other.

With S the state before a chunk, G_t the sum of log gates up to t in it, M_tj = exp(G_t - G_j), and rows of tokens in E,
W and V, what is written is U = T^{-1} (V - diag(exp(G)) E S), T = I + strictLower(M o E W^T), and S' = exp(G_C) S +
(diag(exp(G_C - G)) W)^T U. Given U, the outputs are those of ``gated_kalmanet.readout``.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ....layers.recurrence.layout import Layout
from ..gated_kalmanet.tiles import (
    chunk_rows,
    decay_since,
    load_block,
    load_numbers,
    load_rows,
    log_decays,
    multiply,
    store_block,
    store_rows,
)
from ..launching import tuned
from ..table import register

__all__ = ["decay_of_erasure", "factors", "scan"]

CHUNKS = ({"BLOCK": 32, "num_warps": 8, "num_stages": 2}, {"BLOCK": 32, "num_warps": 4, "num_stages": 2})
# A program of few columns leaves others for the rest of the device; the loop over chunks is sequential.
SCANS = ({"COLUMNS": 32, "num_warps": 8, "num_stages": 2}, {"COLUMNS": 16, "num_warps": 4, "num_stages": 2})


@triton.jit
def decay_of_erasure(total, gates, base, rows, count, H, UNDECAYED: tl.constexpr):  # type: ignore[no-untyped-def]
    """The sum of log gates up to the state of which a token erases: before its own decay where that is UNDECAYED."""
    if UNDECAYED:
        return total - tl.maximum(load_numbers(gates, base, rows, count, H).to(tl.float64), -800.0)
    else:
        return total


@triton.jit
def _inverse(L, rows, LEVELS: tl.constexpr, PRECISION: tl.constexpr):  # type: ignore[no-untyped-def]
    """(I + L)^{-1} of a strictly lower triangular L of the order 2^LEVELS.

    Inverses of diagonal blocks of 1, 2, 4, ... rows are joined two by two: that of [A 0; B C] has -C^{-1} B A^{-1}
    below the diagonal. Powers of L, which may be large where the inverse is not, are never formed.
    """
    X = tl.where(rows[:, None] == rows[None, :], 1.0, 0.0)
    nothing = tl.zeros_like(L)
    for level in range(LEVELS):
        block, column = rows[:, None] >> level, rows[None, :] >> level
        across = tl.where(((block >> 1) == (column >> 1)) & (block > column), L, 0.0)
        X -= multiply(multiply(X, across, nothing, PRECISION), X, nothing, PRECISION)
    return X


@tuned(CHUNKS, key=["D", "V", "PRECISION"])
@triton.jit
def _factors_kernel(  # type: ignore[no-untyped-def]
    w,
    e,
    v,
    gates,
    inverse,
    erases,
    values,
    table,
    H,
    D: tl.constexpr,
    V: tl.constexpr,
    C: tl.constexpr,
    LEVELS: tl.constexpr,
    UNDECAYED: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """T^{-1}, T^{-1} diag(exp(G)) E and T^{-1} V, of one chunk and head."""
    chunk, head = (tl.program_id(0) // H).to(tl.int64), tl.program_id(0) % H
    base, count = chunk_rows(table, chunk, H, head)
    rows = tl.arange(0, C)
    pairs = tl.zeros((C, C), tl.float32)
    for start in range(0, D, BLOCK):
        along = start + tl.arange(0, BLOCK)
        W = load_rows(w, base, rows, along, count, H, D)
        pairs = multiply(load_rows(e, base, rows, along, count, H, D), tl.trans(W), pairs, PRECISION)
    total, _ = log_decays(gates, base, rows, count, H, C)
    since = decay_of_erasure(total, gates, base, rows, count, H, UNDECAYED)
    X = _inverse(pairs * decay_since(since, rows - 1, total, rows), rows, LEVELS, PRECISION)
    store_block(inverse, tl.program_id(0).to(tl.int64) * C * C, rows, rows, C, C, X)
    for start in range(0, V, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        found = multiply(X, load_rows(v, base, rows, columns, count, H, V), tl.zeros((C, BLOCK), tl.float32), PRECISION)
        store_rows(values, base, rows, columns, count, H, V, found)
    X *= tl.exp(since.to(tl.float32))[None, :]
    for start in range(0, D, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        found = multiply(X, load_rows(e, base, rows, columns, count, H, D), tl.zeros((C, BLOCK), tl.float32), PRECISION)
        store_rows(erases, base, rows, columns, count, H, D, found)


@tuned(SCANS, key=["D", "V", "PRECISION"])
@triton.jit
def _scan_kernel(  # type: ignore[no-untyped-def]
    w,
    erases,
    values,
    gates,
    initial,
    before,
    written,
    final,
    sequences,
    table,
    H,
    D: tl.constexpr,
    V: tl.constexpr,
    C: tl.constexpr,
    WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Columns of U and of S before each chunk, of one sequence and head, from its first chunk to its last."""
    sequence, head = (tl.program_id(0) // H).to(tl.int64), tl.program_id(0) % H
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    channels, rows = tl.arange(0, WIDTH), tl.arange(0, C)
    ends = (sequence * H + head) * D * V
    S = load_block(initial, ends, channels, columns, D, V).to(tl.float32)
    for chunk in range(tl.load(sequences + sequence), tl.load(sequences + sequence + 1)):
        store_block(before, (chunk * H + head) * D * V, channels, columns, D, V, S)
        base, count = chunk_rows(table, chunk, H, head)
        E = load_rows(erases, base, rows, channels, count, H, D)
        U = multiply(-E, S, load_rows(values, base, rows, columns, count, H, V), PRECISION)
        store_rows(written, base, rows, columns, count, H, V, U)
        total, whole = log_decays(gates, base, rows, count, H, C)
        left = tl.exp((whole - total).to(tl.float32))
        W = load_rows(w, base, rows, channels, count, H, D).to(tl.float32) * left[:, None]
        S = multiply(tl.trans(W), U, tl.exp(whole.to(tl.float32)) * S, PRECISION)
    store_block(final, ends, channels, columns, D, V, S)


def factors(
    w: torch.Tensor,
    e: torch.Tensor,
    v: torch.Tensor,
    gates: torch.Tensor,
    layout: Layout,
    undecayed: bool,
    precision: str,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What can be computed of each chunk without its state.

    Parameters
    ----------
    w, e, v : Tensor, (tokens, H, D) and (tokens, H, V)
    gates : Tensor, (tokens, H)
    layout : Layout
    undecayed : bool
        Whether a token erases of the state before it decays.
    precision : str
        Of the products.

    Returns
    -------
    inverse : Tensor of float32, (chunks, H, C, C)
        T^{-1}.
    erases : Tensor of float32, (tokens, H, D)
        T^{-1} diag(exp(G)) E.
    values : Tensor of float32, (tokens, H, V)
        T^{-1} V.
    """
    H, D, V = w.shape[1], w.shape[2], v.shape[2]
    size = layout.size
    inverse = torch.empty(layout.chunks, H, size, size, dtype=torch.float32, device=w.device)
    erases, values = (torch.empty(part.shape, dtype=torch.float32, device=w.device) for part in (e, v))
    with torch.cuda.device_of(w):
        _factors_kernel[(layout.chunks * H,)](
            w,
            e,
            v,
            gates,
            inverse,
            erases,
            values,
            layout.table,
            H,
            D,
            V,
            C=size,
            LEVELS=size.bit_length() - 1,
            UNDECAYED=undecayed,
            PRECISION=precision,
        )
    return inverse, erases, values


def scan(
    w: torch.Tensor,
    erases: torch.Tensor,
    values: torch.Tensor,
    gates: torch.Tensor,
    initial: torch.Tensor,
    layout: Layout,
    precision: str,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The states before chunks, (chunks, H, D, V), U, (tokens, H, V), and the last states, all of float32."""
    H, D, V = w.shape[1], w.shape[2], values.shape[2]
    before = torch.empty(layout.chunks, H, D, V, dtype=torch.float32, device=w.device)
    written, final = torch.empty_like(values), torch.empty_like(initial)

    def grid(constants: dict[str, int]) -> tuple[int, int]:
        return len(initial) * H, triton.cdiv(V, constants["COLUMNS"])

    with torch.cuda.device_of(w):
        _scan_kernel[grid](
            w,
            erases,
            values,
            gates,
            initial,
            before,
            written,
            final,
            layout.sequences,
            layout.table,
            H,
            D,
            V,
            C=layout.size,
            WIDTH=max(triton.next_power_of_2(D), 16),
            PRECISION=precision,
        )
    return before, written, final


def _register() -> None:
    """For heads of 128, in single precision and for values in bfloat16."""
    types = dict.fromkeys(("sequences", "table"), "*i64") | {"H": "i32"}
    constants = {"D": 128, "V": 128, "C": 64, "LEVELS": 6, "WIDTH": 128, "UNDECAYED": False}
    for precision, values in (("tf32x3", "*fp32"), ("bf16x3", "*bf16")):
        for name, kernel, tile in (
            ("delta_factors", _factors_kernel, "BLOCK"),
            ("delta_scan", _scan_kernel, "COLUMNS"),
        ):
            given = {**constants, "PRECISION": precision}
            arguments = [argument for argument in kernel.arg_names if argument != tile]
            signature = {argument: types.get(argument, "*fp32") for argument in arguments if argument not in given}
            if "v" in signature:
                signature["v"] = values
            stated = {argument: given[argument] for argument in arguments if argument in given}
            register(f"{name}[{precision}]", kernel, signature, stated)


_register()
