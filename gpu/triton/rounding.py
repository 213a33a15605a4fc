"""Rounding of torch tensors on a CUDA device by one Triton kernel: as eager torch does in a score of passes.

It works on integers only: Triton's own casts to bfloat16 are not the same everywhere. With TRITON_INTERPRET=1 in the
environment it runs on the host, for tests.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from ...precision.formats import FixedPoint, Format, bf16
from ...precision.philox import Stream
from ...precision.rounding_rule import ROUNDINGS, Carrier, carrier_of, rounding_rule
from ...precision.rounding_torch import carried, cast, checked_out, finished, is_complex, parts, quietly, whole, xp
from .launching import check_devices
from .table import register

__all__ = [
    "carried",
    "cast",
    "checked_out",
    "finished",
    "is_complex",
    "parts",
    "quietly",
    "round_array",
    "whole",
    "xp",
]

BLOCK = 1024


@triton.jit(do_not_specialize=["n", "seed_low", "seed_high", "step_low", "step_high"])
def _round_kernel(  # type: ignore[no-untyped-def]
    bits_pointer,
    result_pointer,
    n,
    seed_low,
    seed_high,
    step_low,
    step_high,
    F: tl.constexpr,
    WIDTH: tl.constexpr,
    DISCARDED: tl.constexpr,
    NORMAL: tl.constexpr,
    SMALLEST: tl.constexpr,
    FLUSHED: tl.constexpr,
    QUIET: tl.constexpr,
    NEAREST: tl.constexpr,
    EVEN: tl.constexpr,
    ODD: tl.constexpr,
    STOCHASTIC: tl.constexpr,
    AWAY: tl.constexpr,
    LARGEST: tl.constexpr,
    BEYOND: tl.constexpr,
    INFINITE: tl.constexpr,
    AWAY_NEGATIVE: tl.constexpr,
    LARGEST_NEGATIVE: tl.constexpr,
    BEYOND_NEGATIVE: tl.constexpr,
    INFINITE_NEGATIVE: tl.constexpr,
    SIZE: tl.constexpr,
):
    """``precision.rounding_reference.round_patterns`` on a block of patterns, in integers of 64 bits."""
    index = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    inside = index < n
    bits = tl.load(bits_pointer + index, mask=inside, other=0).to(tl.int64)
    negative = bits < 0
    one = tl.full((SIZE,), 1, tl.int64)
    infinity = ((one << (WIDTH - 1 - F)) - 1) << F
    magnitude = bits & (infinity + ((one << F) - 1))
    field = tl.maximum(magnitude >> F, 1)
    base = (field - 1) << F
    significand = magnitude - base
    s = DISCARDED + tl.maximum(NORMAL - field, 0)
    if STOCHASTIC != 0:
        significand = significand >> tl.minimum(tl.maximum(s - 63, 0), 63)
        s = tl.minimum(s, 63)
    else:
        s = tl.minimum(s, F + 2)
    below = ((one << 62) - 1 + (one << 62)) >> (63 - s)
    lost = significand & below
    kept = significand >> s
    away = tl.where(negative, AWAY_NEGATIVE * one, AWAY * one)
    if STOCHASTIC != 0:
        c0, c1 = index & 0xFFFFFFFF, index >> 32
        c2, c3 = step_low * one, step_high * one
        k0, k1 = seed_low * one, seed_high * one
        for _ in tl.static_range(10):
            low0, low1 = c0 * 0x1F53, c2 * 0x8D57
            high0, high1 = c0 * 0xD251 + (low0 >> 16), c2 * 0xCD9E + (low1 >> 16)
            c0, c2 = (high1 >> 16) ^ c1 ^ k0, (high0 >> 16) ^ c3 ^ k1
            c1 = ((high1 & 0xFFFF) << 16) | (low1 & 0xFFFF)
            c3 = ((high0 & 0xFFFF) << 16) | (low0 & 0xFFFF)
            k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
        more = ((c0 << 31) | (c1 >> 1)) >> (63 - s)
    elif NEAREST != 0:
        more = ((below >> 1) + tl.where(EVEN != 0, kept & 1, one)) & below
    else:
        more = away & below
    kept += (more > below - lost).to(tl.int64)
    if ODD != 0:
        kept |= (lost != 0).to(tl.int64)
    result = tl.where(s > F + 1, SMALLEST * one, base + (kept << s))
    result = tl.where(kept == 0, 0 * one, result)
    result = tl.where(result < FLUSHED, tl.where(magnitude > 0, away & FLUSHED, 0 * one), result)
    largest = tl.where(negative, LARGEST_NEGATIVE * one, LARGEST * one)
    beyond = tl.where(negative, BEYOND_NEGATIVE * one, BEYOND * one)
    infinite = tl.where(negative, INFINITE_NEGATIVE * one, INFINITE * one)
    result = tl.where(result > largest, beyond, result)
    result = tl.where(magnitude == infinity, infinite, result)
    result = tl.where(magnitude > infinity, (magnitude | (one << (F - 1))) & QUIET, result)
    result |= tl.where(negative, -1 * one << (WIDTH - 1), 0 * one)
    tl.store(result_pointer + index, result, mask=inside)


def _constants(format: Format | FixedPoint, carrier: Carrier, rounding: str) -> dict[str, int]:
    """What the kernel is compiled for: the layout of the carrier and the rule."""
    *numbers, positive, negative = rounding_rule(format, carrier, rounding)
    values = (carrier.fraction_bits, carrier.width, *numbers, *positive, *negative, BLOCK)
    return dict(zip(_round_kernel.arg_names[-len(values) :], values, strict=True))


def round_array(x: Any, format: Format | FixedPoint, rounding: str, out: Any, key: Stream) -> Any:
    """Round a carried tensor; numbers do not wrap around yet."""
    check_devices(x=x)
    real = (parts(x) if is_complex(x) else x).contiguous()
    carrier = carrier_of(str(real.dtype).removeprefix("torch."))
    integers = getattr(torch, f"int{carrier.width}")
    result = torch.empty_like(real)
    constants = _constants(format, carrier, rounding)
    n = real.numel()
    if n:
        with torch.cuda.device_of(real):
            _round_kernel[(triton.cdiv(n, BLOCK),)](
                real.view(integers), result.view(integers), n, *(key or (0, 0, 0, 0)), **constants
            )
    result = whole(result) if is_complex(x) else result
    return result if out is None else out.copy_(result)


for _name in ("float32", "float64"):
    _carrier = carrier_of(_name)
    _words = f"*i{_carrier.width}"
    for _mode in ROUNDINGS:
        register(
            f"round[{_name}, {_mode}]",
            _round_kernel,
            {"bits_pointer": _words, "result_pointer": _words, "n": "i32"}
            | dict.fromkeys(("seed_low", "seed_high", "step_low", "step_high"), "i64"),
            _constants(bf16, _carrier, _mode),
        )
