"""Polynomials of a matrix in fewer products than Horner's rule takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ...errors import InputError

__all__ = ["Degree17Factors", "degree_17_factors"]


class Degree17Factors(NamedTuple):
    """h(A) of degree 8 in three products: A2 = A A; y = (s A2 + t A) A2; h = (y + d2 A2 + d1 A)(y + e2 A2) + e0 y + ...

    The rest of the last line is a2 A2 + a1 A + a0 I.
    """

    s: float
    t: float
    d1: float
    d2: float
    e0: float
    e2: float
    a2: float
    a1: float
    a0: float


def degree_17_factors(coefficients: Sequence[float]) -> Degree17Factors:
    """The numbers with which h of degree 8 takes three products (Sastre, LAA 539, 2018), and x h(x^2) five.

    Parameters
    ----------
    coefficients : sequence of 9 floats
        Of h, from the constant on; the last one positive.

    Returns
    -------
    Degree17Factors

    Raises
    ------
    InputError
        Where the quadratic equation for e2 has no real root, so that h has no real factors of this kind.

    Notes
    -----
    Comparing coefficients: s^2 = a8, 2 s t = a7, d2 + e2 = K = (a6 - t^2) / s, d1 = (a5 - t K) / s, and e2 solves
    t e2^2 / s + (d1 - t K / s) e2 + t (a4 - t d1) / s - a3 = 0. Of the minimax polynomials that were tried the
    discriminant is positive.

    Examples
    --------
    >>> import resolvent as rv
    >>> step = rv.newton_schulz.schedule(1e-3, degree=17, steps=1).coefficients[0]
    >>> f = rv.newton_schulz.degree_17_factors(step)
    >>> y = (f.s * 0.25 + f.t * 0.5) * 0.25
    >>> h = (y + f.d2 * 0.25 + f.d1 * 0.5) * (y + f.e2 * 0.25) + f.e0 * y + f.a2 * 0.25 + f.a1 * 0.5 + f.a0
    >>> bool(abs(h - sum(c * 0.5**k for k, c in enumerate(step))) < 1e-9)
    True
    """
    if len(coefficients) != 9:
        raise InputError(f"coefficients: found {len(coefficients)} of them; wanted the 9 of h of degree 8")
    a0, a1, a2, a3, a4, a5, a6, a7, a8 = map(float, coefficients)
    if not all(map(math.isfinite, coefficients)) or a8 <= 0:
        raise InputError(f"coefficients: found a last one of {a8:g}; wanted finite numbers, the last one positive")
    s = math.sqrt(a8)
    t = a7 / (2 * s)
    total = (a6 - t * t) / s
    d1 = (a5 - t * total) / s
    square, linear, constant = t / s, d1 - t * total / s, t / s * (a4 - t * d1) - a3
    discriminant = linear * linear - 4 * square * constant
    if not discriminant > 0 or square == 0:
        raise InputError(f"coefficients: found {discriminant:g} as the discriminant for e2; wanted a positive one")
    # The root of smaller size, free of cancellation.
    e2 = -2 * constant / (linear + math.copysign(math.sqrt(discriminant), linear))
    d2 = total - e2
    e0 = (a4 - d2 * e2 - t * d1) / s
    return Degree17Factors(s, t, d1, d2, e0, e2, a2, a1, a0)
