"""Frobenius norms of the Gram matrices of all tokens, and the intervals that hold the spectra."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ....layers.regression.solving import Solver
from ..launching import tuned
from ..table import register
from .iterations import upper_end
from .tiles import (
    chunk_rows,
    decay_between,
    load_block,
    load_rows,
    log_decays,
    multiply,
    store_numbers,
)

__all__ = ["norms_and_uppers"]

CONFIGURATIONS = (
    {"BLOCK": 32, "num_warps": 4, "num_stages": 2},
    {"BLOCK": 64, "num_warps": 8, "num_stages": 2},
    {"BLOCK": 32, "num_warps": 8, "num_stages": 3},
)


@triton.jit
def _norms_kernel(  # type: ignore[no-untyped-def]
    k,
    gates,
    ridge_ratio,
    before,
    table,
    norms,
    uppers,
    H,
    D: tl.constexpr,
    C: tl.constexpr,
    WIDTH: tl.constexpr,
    FROBENIUS: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """||H_t||_F and the upper end, of one chunk and head, by sums of positive terms throughout:

    ||H_t||_F^2 = zeta_t^2 ||H_0||_F^2 + 2 zeta_t sum_j M_tj k_j^T H_0 k_j + sum_ij M_ti M_tj (k_i^T k_j)^2.
    """
    chunk, head = (tl.program_id(0) // H).to(tl.int64), tl.program_id(0) % H
    base, count = chunk_rows(table, chunk, H, head)
    state = tl.program_id(0).to(tl.int64) * D * D
    rows = tl.arange(0, C)
    every = tl.arange(0, WIDTH)
    diagonal = tl.load(before + state + every * (D + 1), mask=every < D, other=0.0).to(tl.float32)
    lengths = tl.zeros((C,), tl.float32)
    pairs = tl.zeros((C, C), tl.float32)
    for start in range(0, D, BLOCK):
        along = start + tl.arange(0, BLOCK)
        keys = load_rows(k, base, rows, along, count, H, D)
        wide = keys.to(tl.float32)
        lengths += tl.sum(wide * wide, 1)
        pairs = multiply(wide, tl.trans(keys), pairs, PRECISION)
    # All is divided by the largest diagonal entry, which no entry of a semidefinite matrix exceeds, before it is
    # squared.
    size = tl.maximum(tl.max(lengths, 0), tl.max(diagonal, 0))
    unit = 1.0 / tl.where(size == 0, 1.0, size)
    squares = tl.zeros((BLOCK,), tl.float32)
    quadratic = tl.zeros((C,), tl.float32)
    for first in range(0, D, BLOCK):
        columns = first + tl.arange(0, BLOCK)
        KH = tl.zeros((C, BLOCK), tl.float32)
        for start in range(0, D, BLOCK):
            along = start + tl.arange(0, BLOCK)
            block = load_block(before, state, along, columns, D, D)
            scaled = block.to(tl.float32) * unit
            squares += tl.sum(scaled * scaled, 0)
            KH = multiply(load_rows(k, base, rows, along, count, H, D).to(tl.float32), block, KH, PRECISION)
        quadratic += tl.sum(KH * unit * load_rows(k, base, rows, columns, count, H, D).to(tl.float32), 1) * unit
    total, _ = log_decays(gates, base, rows, count, H, C)
    zeta, M = tl.exp(total.to(tl.float32)), decay_between(total, rows)
    pairs *= unit
    within = tl.sum(multiply(M, pairs * pairs, tl.zeros((C, C), tl.float32), PRECISION) * M, 1)
    cross = 2.0 * zeta * tl.sum(M * quadratic[None, :], 1)
    norm = tl.sqrt(zeta * zeta * tl.sum(squares, 0) + cross + within) * size
    trace = zeta * tl.sum(diagonal, 0) + tl.sum(M * lengths[None, :], 1)
    store_numbers(norms, base, rows, count, H, norm)
    upper = upper_end(norm, trace, tl.load(ridge_ratio + head) * norm, D, FROBENIUS)
    store_numbers(uppers, base, rows, count, H, upper)


_TUNED = tuned(CONFIGURATIONS, key=["D", "PRECISION"])(_norms_kernel)


def norms_and_uppers(
    k: torch.Tensor,
    gates: torch.Tensor,
    ridge_ratio: torch.Tensor,
    before: torch.Tensor,
    table: torch.Tensor,
    size: int,
    solver: Solver,
    precision: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    """||H_t||_F, and the upper end of the interval that holds the spectrum of A_t, (tokens, H) of float32.

    Parameters
    ----------
    k, gates, ridge_ratio, before, table, size, solver :
        Of ``solve``.
    precision : str
        Of the products.
    """
    H, D = k.shape[1:]
    norms, uppers = (torch.empty(gates.shape, dtype=torch.float32, device=k.device) for _ in range(2))
    if norms.numel():
        with torch.cuda.device_of(k):
            _TUNED[(len(before) * H,)](
                k.contiguous(),
                gates.contiguous(),
                ridge_ratio.contiguous(),
                before,
                table,
                norms,
                uppers,
                H,
                D,
                C=size,
                WIDTH=triton.next_power_of_2(D),
                FROBENIUS=solver.interval == "frobenius",
                PRECISION=precision,
            )
    return norms, uppers


def _register() -> None:
    """For bfloat16 tokens in heads of 128, in the first configuration."""
    types = {"k": "*bf16", "table": "*i64", "H": "i32"}
    constants = {"D": 128, "C": 64, "WIDTH": 128, "FROBENIUS": False, "PRECISION": "tf32x3"}
    first = dict(CONFIGURATIONS[0])
    launch = {name: first.pop(name) for name in ("num_warps", "num_stages")}
    constants |= first
    signature = {name: types.get(name, "*fp32") for name in _norms_kernel.arg_names if name not in constants}
    register("norms[tf32x3]", _norms_kernel, signature, constants, **launch)


_register()
