"""Rounding as operations on whole arrays of signed integers, for NumPy and torch alike: the reference.

Patterns are as the carrier stores them, read as int32 or int64. Magnitudes are not negative, so that arithmetic shifts
are logical ones, and no operation overflows unless its result is not used.
"""

from __future__ import annotations

from typing import Any

from .rounding_rule import Carrier, RoundInMode

__all__ = ["round_patterns"]


def round_patterns(xp: Any, bits: Any, rule: RoundInMode, carrier: Carrier, random: Any = None) -> Any:
    """Any format in any mode.

    Parameters
    ----------
    xp : module
        numpy or torch.
    bits : array of int32 or int64
        Patterns of the carrier; as int64 for stochastic rounding.
    how : RoundInMode
        The format and the mode, for this carrier.
    carrier : Carrier
        Their layout.
    random : array of int64, optional
        63 random bits for each pattern, for stochastic rounding.

    Returns
    -------
    Array of the same type and shape
    """
    f, infinity = carrier.fraction_bits, carrier.infinity
    negative = bits >> (carrier.width - 1)  # all ones or none
    magnitude = bits & (carrier.sign - 1)

    def of_sign(name: str) -> Any:
        one, other = getattr(rule.positive, name), getattr(rule.negative, name)
        return one if one == other else one ^ ((one ^ other) & negative)

    # The significand with its hidden bit, and what its place adds to the pattern.
    field = xp.clip(magnitude >> f, 1, None)
    base = (field - 1) << f
    significand = magnitude - base

    # s of its bits do not fit; from s = f + 2 on, it is less than half of the smallest number.
    s = rule.discarded + xp.clip(rule.normal - field, 0, None)
    if rule.stochastic:
        significand = significand >> xp.clip(s - 63, 0, 63)
        top, s = 63, xp.clip(s, None, 63)
    else:
        top, s = carrier.width - 1, xp.clip(s, None, f + 2)
    below = ((1 << top) - 1) >> (top - s)
    lost, kept = significand & below, significand >> s

    # What the mode adds to the lost bits; they carry where the sum exceeds ``below``.
    away = of_sign("away")
    if rule.stochastic:
        more = random >> (63 - s)
    elif rule.nearest:
        more = ((below >> 1) + ((kept & 1) if rule.even else 1)) & below
    else:
        more = away & below
    kept = kept + (more > below - lost)
    if rule.odd:
        kept = kept | (lost != 0)

    result = xp.where(s > f + 1, rule.smallest, base + (kept << s))
    result = xp.where(kept == 0, 0, result)
    if rule.flushed:
        up = away & rule.flushed
        result = xp.where(result < rule.flushed, xp.where(magnitude > 0, up, 0), result)
    result = xp.where(result > of_sign("largest"), of_sign("beyond"), result)
    result = xp.where(magnitude == infinity, of_sign("infinite"), result)
    result = xp.where(magnitude > infinity, (magnitude | carrier.quiet) & rule.quiet, result)
    return result | (bits & -carrier.sign)
