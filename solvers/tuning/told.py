"""What sequences and tuners tell alike: the values that were chosen, and the costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..report.facts import Curve

__all__ = ["MANY", "curve_of", "name_of_numbers", "numbers_in", "rows_of_values"]

MANY = 300  # values that are tried in turn, of which a line would hide how often each was


def numbers_in(values: Sequence[Any]) -> np.ndarray:
    """Values as numbers, NaN where they are none; of the same length."""
    return np.array([_number(value) for value in values], dtype=float)


def _number(value: Any) -> float:
    """A value as a number: itself, or the only number in a dict."""
    if isinstance(value, dict):
        found = [one for one in value.values() if isinstance(one, (int, float))]
        return float(found[0]) if len(found) == 1 else float("nan")
    return float(value) if isinstance(value, (int, float)) else float("nan")


def name_of_numbers(values: Sequence[Any], parameter: str) -> str:
    """What those numbers are values of: the parameter, or what the dicts name."""
    names = {
        name
        for value in values
        if isinstance(value, dict)
        for name, inner in value.items()
        if isinstance(inner, (int, float))
    }
    return parameter if not names else names.pop() if len(names) == 1 else "parameter"


def rows_of_values(values: Sequence[Any], things: str) -> list[tuple[str, str]]:
    """What was chosen last and in all; of methods, how often each, for so many of these things."""
    rows = []
    numbers = numbers_in(values)
    seen = numbers[np.isfinite(numbers)]
    if seen.size:
        rows.append(("parameter", f"{seen[-1]:.4g} last, {seen.min():.4g} to {seen.max():.4g} in all"))
    methods = [value["method"] for value in values if isinstance(value, dict) and "method" in value]
    rows += [("method", f"{name} for {methods.count(name)} {things}") for name in sorted(set(methods))]
    return rows


def curve_of(name: str, label: str, values: Any, thing: str, first: int = 1) -> Curve:
    """Numbers by system or by round, which are counted from ``first``."""
    y = np.asarray(values, dtype=float)
    return Curve(name, label, np.arange(first, first + len(y)), y, thing, label, scattered=len(y) > MANY)
