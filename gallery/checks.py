"""Checks of arguments; every message names the argument, what was found and what was wanted."""

from __future__ import annotations

import math
import operator
from typing import Any

__all__ = ["grid_shape", "integer", "number"]


def integer(name: str, value: Any, *, least: int = 1) -> int:
    """Return value as an int that is at least `least`.

    Raises
    ------
    TypeError
        If value is not an integer.
    ValueError
        If it is smaller than least.

    Examples
    --------
    >>> integer("n", 0)
    Traceback (most recent call last):
    ValueError: n is 0; it must be at least 1
    """
    if isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}; it must be an integer")
    try:
        found = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r} of type {type(value).__name__}; it must be an integer") from None
    if found < least:
        raise ValueError(f"{name} is {found}; it must be at least {least}")
    return found


def grid_shape(grid: Any, *, dimensions: tuple[int, ...] = (1, 2, 3), name: str = "grid") -> tuple[int, ...]:
    """Return the numbers of points along each axis; an int means the first of `dimensions`, with equal sides.

    Raises
    ------
    TypeError
        If grid is neither an integer nor a sequence of integers.
    ValueError
        If a side is not positive or the number of axes is not among `dimensions`.

    Examples
    --------
    >>> grid_shape(4), grid_shape(4, dimensions=(2,)), grid_shape([2, 3])
    ((4,), (4, 4), (2, 3))
    """
    if not isinstance(grid, (tuple, list)):
        try:
            return (integer(name, grid),) * dimensions[0]
        except TypeError:
            raise TypeError(f"{name} is {grid!r}; it must be an integer or a tuple of integers") from None
    if len(grid) not in dimensions:
        wanted = " or ".join(str(d) for d in dimensions)
        raise ValueError(f"{name} is {tuple(grid)!r}, which has {len(grid)} axes; it must have {wanted}")
    return tuple(integer(f"{name}[{axis}]", side) for axis, side in enumerate(grid))


def number(
    name: str,
    value: Any,
    *,
    above: float = -math.inf,
    below: float = math.inf,
    closed: tuple[bool, bool] = (False, False),
) -> float:
    """Return value as a finite float between the bounds; `closed` says whether the lower and the upper are allowed.

    Raises
    ------
    TypeError
        If value is not a real number.
    ValueError
        If it is not finite or lies outside.

    Examples
    --------
    >>> number("rho", 2, above=0.0, below=1.0, closed=(False, True))
    Traceback (most recent call last):
    ValueError: rho is 2.0; it must lie in (0, 1]
    """
    if isinstance(value, (bool, str, bytes)):
        raise TypeError(f"{name} is {value!r}; it must be a real number")
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is of type {type(value).__name__}; it must be a real number") from None
    inside = (found > above or (closed[0] and found == above)) and (found < below or (closed[1] and found == below))
    if not (inside and math.isfinite(found)):
        left, right = "[" if closed[0] else "(", "]" if closed[1] else ")"
        wanted = f"lie in {left}{above:g}, {below:g}{right}" if (above, below) != (-math.inf, math.inf) else "be finite"
        raise ValueError(f"{name} is {found!r}; it must {wanted}")
    return found
