"""A chart as SVG, written by hand: one curve or one histogram, axes with labelled ticks, named levels."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from html import escape

import numpy as np

from .facts import Counts, Curve, Outcome, plain, typeset

__all__ = ["escaped", "svg"]

WIDTH, HEIGHT = 460, 196
LEFT, RIGHT, TOP, BOTTOM = 54, 20, 24, 34
MOST_STRETCHES = 100  # of a long curve, each drawn by its first, smallest, largest and last point
MOST_BARS = 30
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def escaped(text: str) -> str:
    """Text for HTML and XML, which know no control characters."""
    return escape(UNPRINTABLE.sub("\ufffd", text))


def svg(chart: Curve | Counts) -> str:
    """The chart, or nothing where there are fewer than two points or no systems.

    Parameters
    ----------
    chart : Curve or Counts

    Returns
    -------
    str
        An ``svg`` element without colours; its classes, which begin with ``rv-``, are for a style sheet.
    """
    if isinstance(chart, Counts):
        return _histogram(chart) if chart.values.size else ""
    return _curve(chart) if chart.drawable()[0].size > 1 else ""


def _curve(curve: Curve) -> str:
    x, y = curve.drawable()
    ends = [] if curve.end is None else [curve.end.y]
    lowest, highest = min([float(y.min()), *ends]), max([float(y.max()), *ends])
    near = []
    for level in curve.levels:
        if level.value >= lowest * 10.0**-level.decades:
            near.append(level)
            lowest, highest = min(lowest, level.value), max(highest, level.value)
    low, high, ticks = _decades(lowest, highest) if curve.logarithmic else _round_ticks(lowest, highest)
    last = max(float(x[-1]), 0.0 if curve.end is None else float(curve.end.x))
    first, last = float(x[0]), max(last, float(x[0]) + 1)

    def across(value: float) -> float:
        return LEFT + (value - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def along(height: float) -> float:
        return HEIGHT - BOTTOM - (height - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def up(value: float) -> float:
        return along(math.log10(value) if curve.logarithmic else value)

    named = [(along(tick), said) for tick, said in ticks]
    parts = _axes(named, _integers(first, last), across, curve.x_label, curve.y_label)
    taken: list[float] = []
    for level in curve.levels:
        height, arrow = float(HEIGHT - BOTTOM), "↓ "
        if level in near:
            height, arrow = up(level.value), ""
            parts.append(f'<path class="rv-line rv-{level.kind}" d="M{LEFT} {height:.1f}H{WIDTH - RIGHT}"/>')
        # Two labels on one height would cover each other: the second goes to the other end.
        beside = any(abs(height - other) < 18 for other in taken)
        at = f'x="{WIDTH - RIGHT}" text-anchor="end"' if beside else f'x="{LEFT + 4}"'
        taken.append(height)
        name = f"{arrow}{escaped(level.name)}"
        parts.append(f'<text class="rv-on rv-{level.kind}" {at} y="{height - 4:.1f}">{name}</text>')
    chosen = _telling(y)
    points = [(f"{across(float(x[k])):.1f}", f"{up(float(y[k])):.1f}") for k in chosen]
    if curve.scattered:
        parts.append(f'<path class="rv-dots" d="{"".join(f"M{to} {height}h0" for to, height in points)}"/>')
    else:
        parts.append(f'<polyline class="rv-curve" points="{" ".join(map(",".join, points))}"/>')
    if curve.end is not None:
        parts.append(_mark(across(curve.end.x), up(curve.end.y), curve.end.reached))
    return _framed(f"{curve.y_label} by {curve.x_label}", _told(curve, x, y), parts)


def _told(curve: Curve, x: np.ndarray, y: np.ndarray) -> str:
    """The chart in a sentence or two."""
    axis = ", on a logarithmic axis" if curve.logarithmic else ""
    said = [
        f"{curve.drawn}{axis}: from {curve.said(y[0])} at {curve.x_label} {x[0]} to {curve.said(y[-1])} at {x[-1]}",
        f"smallest {curve.said(y.min())}, largest {curve.said(y.max())}",
        *(level.name for level in curve.levels),
    ]
    return "; ".join(said + ([curve.end.name] if curve.end else [])) + "."


def _telling(y: np.ndarray) -> list[int]:
    """The points to draw: all of few; of many the ends and the extremes of each stretch, so that no peak is lost."""
    if y.size <= 4 * MOST_STRETCHES:
        return list(range(y.size))
    chosen: set[int] = set()
    for part in np.array_split(np.arange(y.size), MOST_STRETCHES):
        chosen |= {int(part[0]), int(part[y[part].argmin()]), int(part[y[part].argmax()]), int(part[-1])}
    return sorted(chosen)


def _mark(x: float, y: float, reached: bool) -> str:
    """A disc where it got there, a cross where it did not."""
    if reached:
        return f'<circle class="rv-end rv-reached" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    return f'<path class="rv-end rv-failed" d="M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"/>'


def _histogram(counts: Counts) -> str:
    values = counts.values.astype(float)
    low, high = int(values.min()), int(values.max())
    width = max(1, math.ceil((high - low + 1) / MOST_BARS))
    bins = (counts.values - low) // width
    number = int(bins.max()) + 1
    tallest = int(np.bincount(bins).max())
    _, top, ticks = _round_ticks(0, tallest, whole=True)
    share = (WIDTH - LEFT - RIGHT) / number

    def across(value: float) -> float:
        return LEFT + (value - low + 0.5) / width * share

    def up(value: float) -> float:
        return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)

    named = [(up(tick), said) for tick, said in ticks]
    labels = _integers(low, low + number * width - 1)
    parts = _axes(named, labels, across, counts.x_label, counts.y_label)
    gap = min(1.5, share / 4)
    below = np.zeros(number, int)
    for outcome in Outcome:
        here = np.bincount(bins[counts.outcomes == outcome], minlength=number)
        for k in np.flatnonzero(here):
            y, height = up(below[k] + here[k]), up(0) - up(here[k])
            x, wide = LEFT + k * share + gap, min(share - 2 * gap, 40)
            x += (share - 2 * gap - wide) / 2
            shape = f'x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{height:.1f}"'
            parts.append(f'<rect class="rv-bar rv-{outcome.name.lower()}" {shape}/>')
        below += here
    ended = [(outcome, int(np.count_nonzero(counts.outcomes == outcome))) for outcome in Outcome]
    told = ", ".join(f"{outcome.name.lower()}: {count}" for outcome, count in ended if count)
    return _framed(
        f"{counts.y_label} by {counts.x_label}",
        f"Histogram of {values.size} {counts.y_label} from {low} to {high} {counts.x_label}, median "
        f"{plain(float(np.median(values)))}; {told}.",
        parts,
    )


def _axes(
    heights: list[tuple[float, str]],
    steps: list[int],
    across: Callable[[float], float],
    x_label: str,
    y_label: str,
) -> list[str]:
    """Grid lines with the numbers beside them, and what the axes are."""
    parts = [f'<path class="rv-grid" d="{"".join(f"M{LEFT} {y:.1f}H{WIDTH - RIGHT}" for y, _ in heights)}"/>']
    parts += [
        f'<text class="rv-y" x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{said}</text>' for y, said in heights
    ]
    for step in steps:
        x = f'x="{across(step):.1f}" y="{HEIGHT - BOTTOM + 14}"'
        parts.append(f'<text class="rv-x" {x} text-anchor="middle">{step}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 5}" text-anchor="end">{escaped(x_label)}</text>')
    parts.append(f'<text x="4" y="10">{escaped(typeset(y_label))}</text>')
    return parts


def _decades(lowest: float, highest: float) -> tuple[float, float, list[tuple[float, str]]]:
    """Ends of a logarithmic axis, whole decades, and at most six of them with their names."""
    low, high = math.floor(math.log10(lowest)), math.ceil(math.log10(highest))
    high = max(high, low + 1)
    step = math.ceil((high - low) / 5)
    return low, high, [(tick, f"1e{tick:+03d}") for tick in range(-(-low // step) * step, high + 1, step)]


def _round_ticks(lowest: float, highest: float, whole: bool = False) -> tuple[float, float, list[tuple[float, str]]]:
    """Ends of a linear axis, and round numbers along it."""
    size = max(abs(lowest), abs(highest))
    if not highest / 4 - lowest / 4 > max(1e-12 * size, sys.float_info.min):  # one number, to drawing
        room = size / 10 or 1.0
        lowest, highest = lowest - room, highest + room
    step = _step(highest / 4 - lowest / 4)
    step = max(step, 1) if whole else step
    first, last = math.floor(lowest / step), math.ceil(highest / step)
    digits = max(4, math.ceil(math.log10(size / step)) + 1) if size else 4
    return first * step, last * step, [(k * step, f"{k * step:.{digits}g}") for k in range(first, last + 1)]


def _integers(first: float, last: float) -> list[int]:
    """Round integers within an axis, its beginning among them."""
    if not last > first:
        return [int(first)]
    step = max(1, int(_step((last - first) / 5)))
    inside = range(math.ceil(first / step) * step, int(last) + 1, step)
    return [int(first), *(k for k in inside if k - first > step / 2)]


def _step(least: float) -> float:
    """The next of 1, 2, 5, 10, 20, ..."""
    size = 10.0 ** math.floor(math.log10(least))
    return next(part * size for part in (1, 2, 5, 10) if part * size >= least * (1 - 1e-9))


def _framed(title: str, told: str, parts: list[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
        f"<title>{escaped(typeset(title))}</title><desc>{escaped(told)}</desc>{''.join(parts)}</svg>"
    )
