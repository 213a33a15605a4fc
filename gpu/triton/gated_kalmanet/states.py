"""The scan of a state over the chunks of each sequence: S before every chunk, and at the end."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ..launching import tuned
from ..table import register
from .tiles import chunk_rows, load_block, load_rows, log_decays, multiply, store_block

__all__ = ["states"]

# A program of few rows and columns leaves others for the rest of the device; the loop over chunks is sequential.
CONFIGURATIONS = (
    {"ROWS": 32, "COLUMNS": 64, "num_warps": 4, "num_stages": 2},
    {"ROWS": 64, "COLUMNS": 64, "num_warps": 4, "num_stages": 2},
    {"ROWS": 128, "COLUMNS": 64, "num_warps": 8, "num_stages": 2},
)


@triton.jit
def _states_kernel(  # type: ignore[no-untyped-def]
    k,
    values,
    gates,
    initial,
    before,
    final,
    sequences,
    table,
    H,
    D: tl.constexpr,
    V: tl.constexpr,
    C: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """A block of S of one sequence and head, from its first chunk to its last, in float32.

    After a chunk S is exp(G_C) S + sum_j exp(G_C - G_j) k_j v_j^T, G_j being the sum of the gates up to token j.
    """
    sequence, head = (tl.program_id(0) // H).to(tl.int64), tl.program_id(0) % H
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(2) * COLUMNS + tl.arange(0, COLUMNS)
    tokens = tl.arange(0, C)
    ends = (sequence * H + head) * D * V
    S = load_block(initial, ends, rows, columns, D, V).to(tl.float32)
    for chunk in range(tl.load(sequences + sequence), tl.load(sequences + sequence + 1)):
        store_block(before, (chunk * H + head) * D * V, rows, columns, D, V, S.to(before.dtype.element_ty))
        base, count = chunk_rows(table, chunk, H, head)
        total, whole = log_decays(gates, base, tokens, count, H, C)
        left = tl.exp((whole - total).to(tl.float32))
        K = load_rows(k, base, tokens, rows, count, H, D).to(tl.float32) * left[:, None]
        W = load_rows(values, base, tokens, columns, count, H, V)
        S = multiply(tl.trans(K), W, tl.exp(whole.to(tl.float32)) * S, PRECISION)
    store_block(final, ends, rows, columns, D, V, S)


_TUNED = tuned(CONFIGURATIONS, key=["D", "V", "PRECISION"])(_states_kernel)


def states(
    k: torch.Tensor,
    values: torch.Tensor,
    gates: torch.Tensor,
    initial: torch.Tensor,
    sequences: torch.Tensor,
    table: torch.Tensor,
    chunks: int,
    size: int,
    precision: str,
    dtype: torch.dtype,
) -> tuple[torch.Tensor, torch.Tensor]:
    """S before each chunk and at the end of each sequence, S_t = exp(gate_t) S_{t-1} + k_t v_t^T.

    Parameters
    ----------
    k, values : Tensor, (tokens, H, D) and (tokens, H, V)
    gates : Tensor, (tokens, H)
    initial : Tensor of float32, (sequences, H, D, V)
    sequences, table : Tensor
        Of the ``Layout``.
    chunks, size : int
        How many there are, and tokens of each but the last of a sequence.
    precision : str
        Of the products, which are sums over the tokens of a chunk.
    dtype : torch.dtype
        What the states before chunks are rounded to; S itself is carried in float32.

    Returns
    -------
    before : Tensor, (chunks, H, D, V)
    final : Tensor of float32, (sequences, H, D, V)
    """
    H, D, V = k.shape[1], k.shape[2], values.shape[2]
    before = torch.empty(chunks, H, D, V, dtype=dtype, device=k.device)
    final = torch.empty(initial.shape, dtype=torch.float32, device=k.device)
    if not final.numel():
        return before, final

    def grid(constants: dict[str, int]) -> tuple[int, int, int]:
        return len(initial) * H, triton.cdiv(D, constants["ROWS"]), triton.cdiv(V, constants["COLUMNS"])

    with torch.cuda.device_of(k):
        _TUNED[grid](
            k.contiguous(),
            values.contiguous(),
            gates.contiguous(),
            initial.contiguous(),
            before,
            final,
            sequences,
            table,
            H,
            D,
            V,
            C=size,
            PRECISION=precision,
        )
    return before, final


def _register() -> None:
    """For bfloat16 tokens in heads of 128, in the first configuration."""
    types = {"k": "*bf16", "values": "*bf16", "sequences": "*i64", "table": "*i64", "H": "i32"}
    constants = {"D": 128, "V": 128, "C": 64, "PRECISION": "tf32x3"}
    first = dict(CONFIGURATIONS[0])
    launch = {name: first.pop(name) for name in ("num_warps", "num_stages")}
    constants |= first
    signature = {name: types.get(name, "*fp32") for name in _states_kernel.arg_names if name not in constants}
    register("states[tf32x3]", _states_kernel, signature, constants, **launch)


_register()
