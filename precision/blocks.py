"""Rounding to block formats and to fixed point that wraps: compositions, on any library, of what is rounded singly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .formats import BlockFormat, FixedPoint, fp32
from .philox import Stream

__all__ = ["round_blocks", "round_wrapping"]

_TENSOR_SCALE = replace(fp32, saturate=True)
_NEGLIGIBLE = 2.0**-400  # below any element of any block, so small that no random bits round it up


def round_wrapping(engine: Any, x: Any, format: FixedPoint, rounding: str, key: Stream) -> Any:
    """Rounded modulo 2**(integer_bits + 1), which is exact, and brought into range, which is exact too."""
    xp, modulus, half = engine.xp, -2.0 * format.lowest, -format.lowest
    result = engine.round_array(xp.fmod(x, modulus), format, rounding, None, key)
    result = xp.where(result >= half, result - modulus, result)
    return xp.where(result < -half, result + modulus, result)


def round_blocks(engine: Any, x: Any, format: BlockFormat, rounding: str, key: Stream, axis: int) -> Any:
    """Scales by block, then elements in units of them, both held in float64.

    Parameters
    ----------
    engine : module
        One of the modules that ``round`` works with.
    x : real array
        As carried, of at least one dimension.
    format : BlockFormat
        The format.
    rounding : str
        Of the elements.
    key : Stream
        For stochastic rounding.
    axis : int
        Along which the blocks lie.

    Returns
    -------
    Array of x's type and shape
        Products of an element and its scales. Where these need more bits than float32 has, they are rounded to it.
    """
    if 0 in x.shape:
        return x
    xp = engine.xp
    wide = engine.cast(x, xp.float64)
    size = xp.abs(wide)
    scale = _scales(engine, xp.where(xp.isfinite(wide), size, 0.0), format, axis)
    small = (wide != 0) & (size < _NEGLIGIBLE)
    wide = xp.where(small, xp.copysign(xp.full_like(wide, _NEGLIGIBLE), wide), wide)
    # Division is on the right side of every number and midpoint m of the elements: m scale has few enough bits to be
    # exact, and the next number to it is more than half a unit of m away in the quotient, too.
    result = engine.round_array(wide / scale, format.element, rounding, None, key) * scale
    largest = float(np.finfo(np.float32).max) if engine.cast(x[..., :0], xp.float64).dtype != x.dtype else np.inf
    result = xp.where(xp.isfinite(result), xp.clip(result, -largest, largest), result)
    return engine.cast(result, x.dtype)


def _scales(engine: Any, size: Any, format: BlockFormat, axis: int) -> Any:
    """The scale of each number, from the finite magnitudes."""
    xp, block = engine.xp, format.block
    rows = xp.moveaxis(size, axis, -1)
    outer, n = rows.shape[:-1], rows.shape[-1]
    cut = n - n % block
    pieces = [rows[..., :cut].reshape(*outer, -1, block)] if cut else []
    pieces += [rows[..., cut:].reshape(*outer, 1, n - cut)] if cut < n else []
    unit = _tensor_scale(engine, xp.amax(size), format)
    scales = []
    for piece in pieces:
        scale = _block_scale(engine, xp.amax(piece, -1)[..., None], unit, format)
        scales.append(xp.broadcast_to(scale, piece.shape).reshape(*outer, -1))
    return xp.moveaxis(xp.concatenate(scales, -1), -1, axis)


def _tensor_scale(engine: Any, largest: Any, format: BlockFormat) -> Any:
    if format.scale is None:
        return 1.0
    unit = largest / (format.element.largest * format.scale.largest)
    unit = engine.round_array(unit, _TENSOR_SCALE, "nearest-even", None, None)
    return engine.xp.where(unit == 0, fp32.smallest, unit)


def _block_scale(engine: Any, largest: Any, unit: Any, format: BlockFormat) -> Any:
    xp = engine.xp
    if format.scale is None:
        # The exponent field of float64 is floor(log2) + 1023; that of zero and of subnormal numbers is out of range.
        exponent = (largest.view(xp.int64) >> 52) - 1023 - format.element.max_exponent
        return ((xp.clip(exponent, -127, 127) + 1023) << 52).view(xp.float64)
    scale = engine.round_array(largest / (format.element.largest * unit), format.scale, "nearest-even", None, None)
    return xp.where(scale == 0, format.scale.smallest, scale) * unit
