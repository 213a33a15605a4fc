"""The readout of every token, with the mixing of solution and query."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ..launching import tuned
from ..table import register
from .tiles import chunk_rows, decay_between, load_block, load_rows, log_decays, mixed_rows, multiply, store_rows

__all__ = ["read"]

CONFIGURATIONS = (
    {"COLUMNS": 64, "BLOCK": 64, "num_warps": 4, "num_stages": 2},
    {"COLUMNS": 128, "BLOCK": 32, "num_warps": 8, "num_stages": 2},
    {"COLUMNS": 64, "BLOCK": 32, "num_warps": 4, "num_stages": 3},
)


@triton.jit
def _read_kernel(  # type: ignore[no-untyped-def]
    x,
    q,
    alpha,
    k,
    v,
    gates,
    before,
    o,
    table,
    scale,
    H,
    D: tl.constexpr,
    V: tl.constexpr,
    C: tl.constexpr,
    MIXED: tl.constexpr,
    PRECISION: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Columns of o = scale (diag(zeta) m U_0 + (m K^T o M) v), of one chunk and head."""
    chunk, head = (tl.program_id(0) // H).to(tl.int64), tl.program_id(0) % H
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    base, count = chunk_rows(table, chunk, H, head)
    state = tl.program_id(0).to(tl.int64) * D * V
    rows = tl.arange(0, C)
    inter = tl.zeros((C, COLUMNS), tl.float32)
    pairs = tl.zeros((C, C), tl.float32)
    for start in range(0, D, BLOCK):
        along = start + tl.arange(0, BLOCK)
        m, _ = mixed_rows(x, q, alpha, base, rows, along, count, H, D, MIXED)
        inter = multiply(m, load_block(before, state, along, columns, D, V), inter, PRECISION)
        pairs = multiply(m, tl.trans(load_rows(k, base, rows, along, count, H, D)), pairs, PRECISION)
    total, _ = log_decays(gates, base, rows, count, H, C)
    inter *= tl.exp(total.to(tl.float32))[:, None]
    values = load_rows(v, base, rows, columns, count, H, V)
    found = scale * multiply(pairs * decay_between(total, rows), values, inter, PRECISION)
    store_rows(o, base, rows, columns, count, H, V, found.to(o.dtype.element_ty))


_TUNED = tuned(CONFIGURATIONS, key=["D", "V", "PRECISION"])(_read_kernel)


def read(
    x: torch.Tensor,
    q: torch.Tensor | None,
    alpha: torch.Tensor | None,
    k: torch.Tensor,
    v: torch.Tensor,
    gates: torch.Tensor,
    before: torch.Tensor,
    table: torch.Tensor,
    size: int,
    scale: float,
    precision: str,
) -> torch.Tensor:
    """o_t = scale U_t^T m_t, m_t = q_t + alpha_t (x_t - q_t), or x_t where alpha is None.

    Parameters
    ----------
    x, q, k : Tensor, (tokens, H, D)
    alpha, gates : Tensor, (tokens, H)
    v : Tensor, (tokens, H, V)
    before : Tensor, (chunks, H, D, V)
        U before each chunk.
    table : Tensor
        Of the ``Layout``.
    size : int
        Tokens of a chunk.
    scale : float
    precision : str
        Of the products.

    Returns
    -------
    Tensor, (tokens, H, V)
        Of the dtype of v.
    """
    H, D, V = k.shape[1], k.shape[2], v.shape[2]
    o = torch.empty(v.shape, dtype=v.dtype, device=v.device)
    if not o.numel():
        return o

    def grid(constants: dict[str, int]) -> tuple[int, int]:
        return len(before) * H, triton.cdiv(V, constants["COLUMNS"])

    with torch.cuda.device_of(k):
        _TUNED[grid](
            x.contiguous(),
            x if q is None else q.contiguous(),
            gates if alpha is None else alpha.contiguous(),
            k.contiguous(),
            v.contiguous(),
            gates.contiguous(),
            before,
            o,
            table,
            scale,
            H,
            D,
            V,
            C=size,
            MIXED=alpha is not None,
            PRECISION=precision,
        )
    return o


def _register() -> None:
    """For bfloat16 tokens in heads of 128, in the first configuration."""
    types = {"q": "*bf16", "k": "*bf16", "v": "*bf16", "o": "*bf16", "table": "*i64", "H": "i32", "scale": "fp32"}
    constants = {"D": 128, "V": 128, "C": 64, "MIXED": True, "PRECISION": "tf32x3"}
    first = dict(CONFIGURATIONS[0])
    launch = {name: first.pop(name) for name in ("num_warps", "num_stages")}
    constants |= first
    signature = {name: types.get(name, "*fp32") for name in _read_kernel.arg_names if name not in constants}
    register("read[tf32x3]", _read_kernel, signature, constants, **launch)


_register()
