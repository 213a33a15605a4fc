"""Rounding of torch tensors, on any device, in operations on integers: the compiler keeps them, as it does not casts."""

from __future__ import annotations

from typing import Any

import torch

from .counter import Stream, random_bits
from .formats import FixedPoint, Format
from .patterns import round_patterns, round_significands
from .recipe import CARRIERS, RoundInMode, RoundSignificand, carrier_of, how_to_round, recipe

__all__ = [
    "carried",
    "cast",
    "checked_out",
    "finished",
    "is_complex",
    "parts",
    "round_array",
    "whole",
    "xp",
]

xp = torch
is_complex = torch.is_complex
# dtype: (its layout, integers of its width)
_LAYOUTS = {getattr(torch, c.name): (c, getattr(torch, f"int{c.width}")) for c in CARRIERS.values()}


def carried(x: Any) -> Any:
    """x, or a copy, as a strided tensor of float32, float64, complex64 or complex128, without its history."""
    x = x.detach()
    dtype = x.dtype
    if x.layout != torch.strided or x.is_quantized:
        raise TypeError(f"x: found a tensor of layout {x.layout}; wanted a strided one, such as its values")
    if dtype in (torch.float32, torch.float64):
        return x
    if dtype in (torch.complex64, torch.complex128):
        return x.resolve_conj()
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
        bits = round_significands(torch, bits, mode.discarded, carrier)
    else:
        random = None
        if mode.stochastic:
            bits = bits.to(torch.int64)
            positions = torch.arange(bits.numel(), device=bits.device, dtype=torch.int64)
            random = random_bits(positions.reshape(bits.shape), key)
        bits = round_patterns(torch, bits, mode, carrier, random).to(integers)
    result = bits.view(real.dtype)
    result = whole(result) if is_complex(x) else result
    return result if out is None else out.copy_(result)


def _recipes(format: Format | FixedPoint, carrier: str, rounding: str) -> tuple[bool, RoundInMode]:
    """Whether only significands are to be rounded, and how in general."""
    how = how_to_round(format, carrier, rounding)
    return isinstance(how, RoundSignificand), recipe(format, carrier_of(carrier), rounding)


# As torch.compiler.assume_constant_result does, which would import the compiler for it.
_recipes._dynamo_marked_constant = True  # type: ignore[attr-defined]
