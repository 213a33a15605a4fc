"""Rounding of torch tensors on any device, by operations on integers: the compiler keeps these, but not casts."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch

from .formats import FixedPoint, Format
from .philox import Stream, random_bits
from .rounding_reference import round_patterns
from .rounding_rule import (
    FLOAT32,
    FLOAT64,
    Carrier,
    RoundInMode,
    RoundSignificand,
    carrier_of,
    rounding_rule,
    rounding_rule_of,
)

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

xp = torch
is_complex = torch.is_complex
# dtype: (its layout, integers of its width)
_LAYOUTS = {torch.float32: (FLOAT32, torch.int32), torch.float64: (FLOAT64, torch.int64)}


def carried(x: Any) -> Any:
    """x, or a copy, as a strided tensor of float32, float64, complex64 or complex128, without its history."""
    x = x.detach()
    dtype = x.dtype
    if x.layout != torch.strided or x.is_quantized:
        raise TypeError(f"x: found a tensor of layout {x.layout}; wanted a strided one, such as its values")
    if dtype in (torch.float32, torch.float64, torch.complex64, torch.complex128):
        return x.resolve_conj().resolve_neg()  # views with signs still to be changed
    if dtype.is_floating_point:
        return x.to(torch.float32)
    if dtype == torch.bool or dtype.is_complex:
        raise TypeError(f"x: found {dtype} values; wanted floats, complex numbers or integers of at most 64 bits")
    wide = x.to(torch.float64)
    if dtype.itemsize == 8 and not _exact_in_float64(x, wide):
        raise ValueError("x: found integers beyond 2**53 that float64 does not hold; convert x to floats first")
    return wide


def _exact_in_float64(x: Any, wide: Any) -> bool:
    # Back in integers where that is possible: 2**63 is not an integer of 64 bits.
    return bool(((wide.abs() < 2.0**63) & (wide.to(x.dtype) == x) | (x == -(2**63))).all())


def cast(array: Any, dtype: Any) -> Any:
    """The tensor, of that dtype."""
    return array.to(dtype)


def quietly() -> Any:
    """A context without floating-point warnings; torch gives none."""
    return nullcontext()


def checked_out(out: Any, array: Any) -> None:
    """Refuse an ``out`` that cannot take the result."""
    if not isinstance(out, torch.Tensor):
        raise TypeError(f"out: found {type(out).__name__}; wanted a tensor")
    if out.shape != array.shape or out.dtype != array.dtype or out.device != array.device:
        raise ValueError(
            f"out: found shape {tuple(out.shape)} of {out.dtype} on {out.device}; wanted shape {tuple(array.shape)} of "
            f"{array.dtype} on {array.device}, as x is carried"
        )
    if out.requires_grad:
        raise ValueError("out: found a tensor that requires a gradient; rounding has none, so give out.detach()")


def finished(x: Any, result: Any) -> Any:
    """The result as it is."""
    return result


def parts(array: Any) -> Any:
    """Real and imaginary parts along a last axis of two."""
    return torch.view_as_real(array)


def whole(array: Any) -> Any:
    """The inverse of ``parts``."""
    return torch.view_as_complex(array)


def round_array(x: Any, format: Format | FixedPoint, rounding: str, out: Any, key: Stream) -> Any:
    """Round a carried tensor; numbers do not wrap around yet."""
    real = parts(x) if is_complex(x) else x
    carrier, integers = _LAYOUTS[real.dtype]
    significand, mode = _recipes(format, carrier.name, rounding)
    bits = real.view(integers)
    if significand:
        bits = _round_significands(real, bits, mode.discarded, carrier)
    else:
        random = None
        if mode.stochastic:
            bits = bits.to(torch.int64)
            random = (_random_operation if torch.compiler.is_compiling() else _random)(bits, *key)
        bits = round_patterns(torch, bits, mode, carrier, random).to(integers)
    result = bits.view(real.dtype)
    result = whole(result) if is_complex(x) else result
    return result if out is None else out.copy_(result)


def _recipes(format: Format | FixedPoint, carrier: str, rounding: str) -> tuple[bool, RoundInMode]:
    """Whether only significands are to be rounded, and how in general."""
    rule = rounding_rule_of(format, carrier, rounding)
    return isinstance(rule, RoundSignificand), rounding_rule(format, carrier_of(carrier), rounding)


# As torch.compiler.assume_constant_result does, which would import the compiler for it.
_recipes._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _round_significands(real: Any, bits: Any, discarded: int, carrier: Carrier) -> Any:
    """Nearest even in a format with the carrier's exponents; the carry into the exponent is right by itself."""
    up = bits >> discarded
    up &= 1
    up += bits
    up += (1 << (discarded - 1)) - 1
    up = torch.where(torch.isnan(real), bits | carrier.quiet, up)
    up &= -(1 << discarded)
    return up


def _random(like: Any, *key: int) -> Any:
    """Random bits by position, in pieces that fit a cache."""
    result = torch.empty(like.shape, dtype=torch.int64, device=like.device)
    flat, piece = result.reshape(-1), 1 << (14 if like.device.type == "cpu" else 24)
    for start in range(0, flat.numel(), piece):
        end = min(start + piece, flat.numel())
        flat[start:end] = random_bits(torch.arange(start, end, dtype=torch.int64, device=like.device), Stream(*key))
    return result


# An operation of its own when compiled: ten rounds, each of which uses the last one twice, would become one formula.
_random_operation = torch.library.custom_op(
    "resolvent::random_bits",
    _random,
    mutates_args=(),
    schema="(Tensor like, int seed_low, int seed_high, int step_low, int step_high) -> Tensor",
)


@_random_operation.register_fake
def _(like: Any, *key: int) -> Any:
    return torch.empty(like.shape, dtype=torch.int64, device=like.device)
