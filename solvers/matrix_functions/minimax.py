"""The polynomial x h(x^r) nearest to one on an interval: in closed form for cubics, else by Remez's exchange.

Everything is computed in decimals of as many digits as the interval asks for. On [1e-12, 1] the error differs from one
by 1e-11, on [1 - 1e-6, 1] a degree of 17 makes it 1e-57; double precision holds neither.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

import numpy as np

__all__ = ["Minimax", "arithmetic", "evaluate", "image", "minimax", "taylor", "working_digits"]

GUARD_DIGITS = 40
LEVELLED = Decimal("1e-24")  # of the error, or of what it falls short of one: how alike the extrema are in the end
NEAR_ZERO = Decimal("1e-40")
NEGLIGIBLE = Decimal("1e-20")
MOST_EXCHANGES = 100


@dataclass(frozen=True)
class Minimax:
    """x (c_0 + c_1 x^r + ... + c_q x^(qr)), its distance from one, and the q + 2 points at which that is attained."""

    coefficients: tuple[Decimal, ...]
    error: Decimal
    points: tuple[Decimal, ...]


def arithmetic(digits: int) -> AbstractContextManager[decimal.Context]:
    """Decimal arithmetic of so many digits, whatever the caller's context rounds or traps."""
    return decimal.localcontext(decimal.Context(prec=digits))


def working_digits(lower: Decimal, upper: Decimal, order: int) -> int:
    """Decimal digits that hold the error on an interval, about ((u - l) / 2u)^order, and 1 - E, about l / u."""
    if lower == upper:
        return GUARD_DIGITS
    with arithmetic(2 * GUARD_DIGITS):
        small, narrow = -(lower / upper).adjusted(), -((upper - lower) / upper).adjusted()
    return GUARD_DIGITS + max(small, (order + 1) * narrow, 0)


def evaluate(coefficients: Sequence[Decimal], x: Decimal, power: int = 2) -> Decimal:
    """x h(x^power) by Horner's rule."""
    y, h = x**power, Decimal(0)
    for c in reversed(coefficients):
        h = h * y + c
    return x * h


def taylor(degree: int, power: int = 2) -> tuple[Decimal, ...]:
    """h of the given degree that agrees with y^(-1/power) at one to the highest order; exact for power = 2.

    It is the sum of the first terms of the binomial series in 1 - y.

    Examples
    --------
    >>> [float(c) for c in taylor(2)]
    [1.875, -1.25, 0.375]
    """
    total, term = [Decimal(0)] * (degree + 1), Decimal(1)
    for k in range(degree + 1):
        for j in range(k + 1):
            total[j] += term * math.comb(k, j) * (-1) ** j
        term *= Decimal(1 + k * power) / ((k + 1) * power)
    return tuple(total)


def minimax(lower: Decimal, upper: Decimal, degree: int, power: int = 2) -> Minimax:
    """The polynomial x h(x^power), h of the given degree, nearest to one on [lower, upper].

    Parameters
    ----------
    lower, upper : Decimal
        0 < lower <= upper.
    degree : int
        q, of h.
    power : int
        r; with 2 the polynomial is odd, of degree 2q + 1.

    Returns
    -------
    Minimax

    Notes
    -----
    By Chebyshev's theorem it is the one whose error takes its largest value at q + 2 points with alternating signs, the
    first of them negative for 1 - f. Its lowest value is f(lower) = 1 - E.

    Examples
    --------
    >>> cubic = minimax(Decimal("0.001"), Decimal(1), 1)
    >>> float(round(cubic.error, 6))
    0.99482
    """
    digits = working_digits(lower, upper, degree + 1)
    with arithmetic(digits):
        unit = _on_unit_interval(lower / upper, degree, power)
        scaled = tuple(c / upper ** (power * k + 1) for k, c in enumerate(unit.coefficients))
        return Minimax(scaled, unit.error, tuple(x * upper for x in unit.points))


@lru_cache(maxsize=4096)
def _on_unit_interval(lower: Decimal, degree: int, power: int) -> Minimax:
    with arithmetic(working_digits(lower, Decimal(1), degree + 1)):
        if lower == 1:
            return Minimax(taylor(degree, power), Decimal(0), (lower,) * (degree + 2))
        if degree == 1 and power == 2:
            return cubic(lower)
        return exchange(lower, degree, power)


def cubic(l: Decimal) -> Minimax:
    """The cubic nearest to one on [l, 1] in closed form (Grishina, Smirnov and Rakhuba, arXiv:2506.10935)."""
    square = 1 + l + l * l
    e = (square / 3).sqrt()  # the extremum inside
    scale = 2 * e**3 + l * l + l
    return Minimax((2 * square / scale, -2 / scale), (2 * e**3 - l * l - l) / scale, (l, e, Decimal(1)))


def exchange(lower: Decimal, degree: int, power: int) -> Minimax:
    """Remez's exchange of all points on [lower, 1], with h in powers of z, which runs over [-1, 1] as y = x^power does.

    A reference on which the error alternates has a zero of 1 - f between any two of its points; between those lie all
    the zeros of f', whose degree in y is that of h. So an exchange never fails, from whatever points it starts.
    """
    least = lower**power
    middle, half = (1 + least) / 2, (1 - least) / 2
    points = _first_points(lower, degree, power)
    for _ in range(MOST_EXCHANGES):
        rows = []
        for i, x in enumerate(points):
            z = (x**power - middle) / half
            rows.append([x * z**k for k in range(degree + 1)] + [Decimal((-1) ** i), Decimal(1)])
        *h, error = _solved(rows)
        inside = [_polished(z, _slope(h, middle / half, power)) for z in _extrema(h, middle / half, power)]
        points = [lower, *(_root(middle + half * z, power) for z in inside), Decimal(1)]
        values = [x * _horner(h, z) for x, z in zip(points, [Decimal(-1), *inside, Decimal(1)], strict=True)]
        highest = max(abs(1 - value) for value in values)
        if highest - error <= LEVELLED * min(error, 1 - error):
            break
    else:
        raise ArithmeticError(f"Remez's exchange on [{lower:.3e}, 1] has not levelled the error")
    return Minimax(_shifted(h, middle, half), error, tuple(points))


def _first_points(lower: Decimal, degree: int, power: int) -> list[Decimal]:
    """Between Chebyshev's points in x and those in x^power, where they lie for intervals that reach down to zero."""
    least, points = lower**power, []
    for j in range(degree + 2):
        share = Decimal((1 - math.cos(math.pi * j / (degree + 1))) / 2)
        points.append((lower + share * (1 - lower) + _root(least + share * (1 - least), power)) / 2)
    return points


def _root(y: Decimal, power: int) -> Decimal:
    return y.sqrt() if power == 2 else y if power == 1 else y ** (Decimal(1) / power)


def _solved(rows: list[list[Decimal]]) -> list[Decimal]:
    """Gaussian elimination with pivoting; the right-hand side is the last column, and rows are overwritten."""
    n = len(rows)
    for k in range(n):
        pivot = max(range(k, n), key=lambda i: abs(rows[i][k]))
        rows[k], rows[pivot] = rows[pivot], rows[k]
        for i in range(k + 1, n):
            factor = rows[i][k] / rows[k][k]
            rows[i][k:] = [a - factor * b for a, b in zip(rows[i][k:], rows[k][k:], strict=True)]
    x = [Decimal(0)] * n
    for k in reversed(range(n)):
        x[k] = (rows[k][n] - sum(rows[k][j] * x[j] for j in range(k + 1, n))) / rows[k][k]
    return x


def _horner(polynomial: Sequence[Decimal], z: Decimal) -> Decimal:
    total = Decimal(0)
    for c in reversed(polynomial):
        total = total * z + c
    return total


def _slope(h: Sequence[Decimal], centre: Decimal, power: int) -> list[Decimal]:
    """f' = h + power y h'(y) as a polynomial in z, where y / half = centre + z."""
    above = [*h[1:], Decimal(0)]
    return [(1 + power * k) * c + power * centre * (k + 1) * d for k, (c, d) in enumerate(zip(h, above, strict=True))]


def _extrema(h: Sequence[Decimal], centre: Decimal, power: int) -> list[Decimal]:
    """Zeros of f' in z, in double precision and in order; of a pair of complex ones the real part."""
    slope = _slope(h, centre, power)
    largest = max(map(abs, slope))
    # Terms that small do not count on [-1, 1]; as leading ones they would have zeros far away, beyond a double.
    while slope and abs(slope[-1]) <= NEGLIGIBLE * largest:
        slope.pop()
    found = np.roots([float(c / largest) for c in reversed(slope)])
    return [Decimal(z) for z in np.clip(np.sort(found.real), -1.0, 1.0).tolist()]


def _polished(z: Decimal, slope: Sequence[Decimal]) -> Decimal:
    """Newton's step from a zero in double precision to one of twice the digits."""
    steepness = _horner([k * c for k, c in enumerate(slope)][1:], z)
    return z - _horner(slope, z) / steepness if steepness else z


def _shifted(h: Sequence[Decimal], middle: Decimal, half: Decimal) -> tuple[Decimal, ...]:
    """h((y - middle) / half) in powers of y, by Horner's rule for polynomials."""
    total = [Decimal(0)] * len(h)
    for c in reversed(h):
        shifted = [Decimal(0), *total[:-1]]
        total = [(up - middle * here) / half for up, here in zip(shifted, total, strict=True)]
        total[0] += c
    return tuple(total)


def image(coefficients: Sequence[Decimal], lower: Decimal, upper: Decimal, power: int = 2) -> tuple[Decimal, Decimal]:
    """The smallest and the largest value of x h(x^power) on [lower, upper].

    Values are taken at the ends and at the zeros of the derivative; an error of these enters squared.

    Examples
    --------
    >>> low, high = image([Decimal(3), Decimal(-1)], Decimal(0), Decimal(2))
    >>> float(low), float(high)
    (-2.0, 2.0)
    """
    with arithmetic(GUARD_DIGITS):
        digits = working_digits(max(lower, upper * NEAR_ZERO), upper, 2) if lower >= 0 else 2 * GUARD_DIGITS
    with arithmetic(digits):
        if lower < 0:
            mirrored = [-c if power * k % 2 else c for k, c in enumerate(coefficients)]  # -f(-x)
            below = image(mirrored, max(-upper, Decimal(0)), -lower, power)
            above = image(coefficients, Decimal(0), upper, power) if upper > 0 else (-below[1], -below[0])
            return min(-below[1], above[0]), max(-below[0], above[1])
        ends = [evaluate(coefficients, x, power) for x in (lower, upper)]
        if lower == upper:
            return min(ends), max(ends)
        middle, half = (upper**power + lower**power) / 2, (upper**power - lower**power) / 2
        # In powers of z, where y = middle + half z = (z - m) / w with m = -middle / half and w = 1 / half.
        h = _shifted(coefficients, -middle / half, 1 / half)
        points = (_root(middle + half * z, power) for z in _extrema(h, middle / half, power))
        values = ends + [evaluate(coefficients, x, power) for x in points]
        return min(values), max(values)
