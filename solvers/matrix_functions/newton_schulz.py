"""Schedules for Newton-Schulz iterations: made for an interval, or by the names they are published under.

Reached as ``rv.newton_schulz``.
"""

from __future__ import annotations

import math
import operator
from functools import lru_cache
from typing import Any

from ...errors import InputError
from ...naming import named_in
from ...precision.formats import Format, format_named, fp32, fp64
from .factors import Degree17Factors, degree_17_factors
from .mixes import Composition, Steps, best_mix, in_turn, until
from .presets import preset, presets
from .schedule import Schedule, step_products
from .step_rounding import cushion_for, noise

__all__ = ["Degree17Factors", "Schedule", "degree_17_factors", "preset", "presets", "schedule"]

DEGREES = {3: 1, 5: 2, 7: 3, 9: 4, 17: 8}  # of f, and of h
MIXED = (1, 2, 4, 8)  # degree 7 costs as much as 9
MOST_STEPS = 1000
FARTHEST_UPPER = 1e15  # its 17th power still is a double


def schedule(
    lower: float,
    upper: float = 1.0,
    *,
    degree: int | str = "best",
    steps: int | None = None,
    tolerance: float | None = None,
    products: int | None = None,
    cushion: float | None = None,
    safety: float | None = None,
    root: int = 1,
    precision: Any = None,
) -> Schedule:
    """The composition of polynomials that takes [lower, upper] closest to one.

    Each step is the minimax polynomial for the interval that the steps before it leave, which is the best composition
    there is. Exactly one of ``steps``, ``tolerance`` and ``products`` is given.

    Parameters
    ----------
    lower, upper : float
        Bounds of the singular values, or of the r-th roots of the eigenvalues. The upper one must hold. A lower one
        that is k times too small costs log(k) / log(4.2) quintic steps; what lies below it does not reach one.
    degree : {"best", 3, 5, 7, 9, 17}
        Of every step's polynomial; with ``root`` r > 1 that of the step for r = 2 with as many coefficients. "best" is
        the best mix for the products or the tolerance; for a number of steps the highest degree that the precision
        allows.
    steps : int, optional
        How many.
    tolerance : float, optional
        For ``error_bound``, that is for exact evaluation; rounding of steps of degree 17 may add more than a fine one.
    products : int, optional
        Dense products to spend at most: 2 for a step of degree 3, 3 for 5, 4 for 7 and 9, 5 for 17. The best mix spends
        no more than take it to the unit roundoff.
    cushion : float, optional
        A step is the best one for what lies above this part of the upper end of its interval, scaled to be centred at
        one on all of it; 0 for pure minimax polynomials. By default as large as the rounding of ``precision`` asks for.
    safety : float, optional
        Every step but the last is f(x / safety), and stands arguments larger than the upper end by that factor; 1 for
        none. By default every step is made for an interval that reaches farther up, by as much as rounding in
        ``precision`` may carry values, at most a hundredth.
    root : int
        1 for orthogonal factors and signs, r for A^(-1/r) by the coupled iteration.
    precision : str or Format, optional
        In which the products are computed: "bf16", "fp16", "tf32", "fp32" or "fp64", which is the default.

    Returns
    -------
    Schedule

    Raises
    ------
    InputError
        For bad input, and for what cannot work: degree 17 below fp32, degree 9 in bfloat16, a tolerance below the
        precision.

    Notes
    -----
    Greedy composition: Amsel, Persson, Musco and Gower, arXiv:2505.16932; cubic: Grishina, Smirnov and Rakhuba,
    arXiv:2506.10935.

    Examples
    --------
    >>> import resolvent as rv
    >>> print(rv.newton_schulz.schedule(1e-3, products=14))
    minimax schedule: degrees 9, 17, 17, 14 products, [0.001, 1] to within 0.0833 of one
    """
    low, high = _interval(lower, upper)
    r = _whole("root", root, 1, 100)
    format = _format(precision)
    wanted = {"steps": steps, "tolerance": tolerance, "products": products}
    given = [name for name, value in wanted.items() if value is not None]
    if len(given) != 1:
        raise InputError(
            f"steps, tolerance, products: found {' and '.join(given) or 'none of them'}; wanted exactly one"
        )
    if steps is not None:
        steps = _whole("steps", steps, 1, MOST_STEPS)
    if products is not None:
        products = _whole("products", products, 1, 5 * MOST_STEPS)
    if tolerance is not None:
        tolerance = _number("tolerance", tolerance)
        if not 0 < tolerance < 1:
            raise InputError(f"tolerance: found {tolerance:g}; wanted a number between 0 and 1")
        if tolerance < 4 * format.unit_roundoff:
            raise InputError(
                f"tolerance: found {tolerance:g}, which {format} cannot hold; wanted at least four times its unit "
                f"roundoff, {4 * format.unit_roundoff:.2g}"
            )
    if cushion is not None and not 0 <= (cushion := _number("cushion", cushion)) < 1:
        raise InputError(f"cushion: found {cushion:g}; wanted a number from 0 to below 1")
    if safety is not None and not 1 <= (safety := _number("safety", safety)) < 2:
        raise InputError(f"safety: found {safety:g}; wanted a number from 1 to below 2")
    if safety is not None and safety - 1 < format.unit_roundoff and format.significand_bits < fp32.significand_bits:
        raise InputError(
            f"safety: found {safety:g} with precision {format}, whose rounding carries values beyond the upper end, "
            f"where they diverge; wanted at least {1 + format.unit_roundoff:.5g}"
        )
    return _made(low, high, _degree(degree), steps, tolerance, products, cushion, safety, r, format)


@lru_cache(maxsize=512)
def _made(
    lower: float,
    upper: float,
    degree: int | None,
    steps: int | None,
    tolerance: float | None,
    products: int | None,
    cushion: float | None,
    safety: float | None,
    root: int,
    format: Format,
) -> Schedule:
    power = 2 if root == 1 else root
    allowed = tuple(d for d in MIXED if noise(d, power, format) < 1)
    if degree is not None:
        _check_degree(degree, power, format)
        allowed = (degree,)
    elif not allowed:
        _check_degree(MIXED[0], power, format)

    def cushion_of(d: int) -> float:
        return cushion_for(d, power, format) if cushion is None else cushion

    how = Steps(root, format.unit_roundoff, cushion_of, safety)
    start = how.start(lower, upper)
    if steps is not None:
        made: Composition | None = in_turn(start, how, [allowed[-1]] * steps)
    elif degree is not None and products is not None:
        made = in_turn(start, how, [degree] * (products // step_products(degree, root)))
    elif degree is not None and tolerance is not None:
        made = until(start, how, degree, tolerance)
    else:
        made = best_mix(start, how, allowed, products, tolerance or format.unit_roundoff)
    if products is not None and (made is None or not made.coefficients):
        least = min(step_products(d, root) for d in allowed)
        raise InputError(f"products: found {products}; wanted at least {least}, for one step")
    if made is None:
        raise InputError(f"tolerance: found {tolerance:g}, which steps of this degree, cushion and safety do not reach")
    return Schedule(made.coefficients, lower, upper, root, made.cushion, made.safety)


def _check_degree(degree: int, power: int, format: Format) -> None:
    share = noise(degree, power, format)
    if share >= 1:
        raise InputError(
            f"degree: found {2 * degree + 1} with precision {format}, in which rounding errors of a step would be "
            f"{share:.2g}, and singular values lose their signs; wanted a lower degree or a higher precision"
        )


def _interval(lower: float, upper: float) -> tuple[float, float]:
    low, high = _number("lower", lower), _number("upper", upper)
    if not 0 < high < math.inf:
        raise InputError(f"upper: found {high:g}; wanted a positive number")
    if not 1 / FARTHEST_UPPER <= high <= FARTHEST_UPPER:
        raise InputError(f"upper: found {high:g}; wanted a number nearer to one, as coefficients hold its powers")
    if not 0 < low <= high:
        raise InputError(f"lower: found {low:g}; wanted a number from above 0 to upper, {high:g}")
    return low, high


def _degree(degree: int | str) -> int | None:
    """That of h; None for the best mix."""
    if named_in(degree, ("best",)):
        return None
    listed = f'"best" or one of {", ".join(map(str, DEGREES))}'
    if isinstance(degree, str):
        raise InputError(f"degree: found {degree!r}; wanted {listed}")
    if isinstance(degree, bool) or not hasattr(degree, "__index__"):
        raise TypeError(f"degree: found {degree!r}; wanted {listed}")
    found = operator.index(degree)
    if found not in DEGREES:
        near = min(DEGREES, key=lambda known: abs(known - found))
        raise InputError(f"degree: found {found} (did you mean {near}?); wanted {listed}")
    return DEGREES[found]


def _format(precision: Any) -> Format:
    if precision is None:
        return fp64
    format = format_named(precision, "precision")
    if not isinstance(format, Format):
        raise InputError(f"precision: found {format}; wanted a floating-point format")
    return format


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: found {type(value).__name__}; wanted a number") from None
    if math.isnan(number):
        raise InputError(f"{name}: found NaN; wanted a number")
    return number


def _whole(name: str, value: Any, least: int, most: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: found {value!r}; wanted an integer") from None
    if isinstance(value, bool):
        raise TypeError(f"{name}: found {value!r}; wanted an integer")
    if not least <= number <= most:
        raise InputError(f"{name}: found {number}; wanted {least} to {most}")
    return number
