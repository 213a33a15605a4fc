"""What is told of a Solution as text: one screen in a terminal."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from .facts import Curve, Facts, Table, facts_of

if TYPE_CHECKING:
    from ..driver.solution import Solution

__all__ = ["bars", "cut_reason", "in_text", "report", "shortened"]

WIDTH = 100
REASON_LINES = 9
REASON_LENGTH = REASON_LINES * (WIDTH - 2)
BLOCKS = "▁▂▃▄▅▆▇█"


def report(solution: Solution[Any]) -> str:
    """A solution as text: at most 24 lines of at most 100 columns, without colours.

    Parameters
    ----------
    solution : Solution

    Returns
    -------
    str

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> print(rv.cg(np.diag([1.0, 2.0]), np.ones(2)))
    ✓ converged: cg on numba in float64
    ...
    """
    return in_text(facts_of(solution))


def in_text(facts: Facts) -> str:
    """Facts as lines of at most 100 columns, parts of them with an empty line between."""
    parts = [[shortened(facts.headline, WIDTH), *_wrapped(facts)]]
    if facts.table is not None:
        parts.append(_table_lines(facts.table))
    parts.append([_row(name, value) for name, value in facts.rows])
    parts.append([_row(curve.name, bars(curve)) for curve in facts.curves])
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def _table_lines(table: Table) -> list[str]:
    lines = (table.headings, *table.rows)
    name, *numbers = (max(map(len, column)) for column in zip(*lines, strict=True))
    widths = [w + 3 for w in numbers]
    return [
        shortened(f"  {head:{name}}" + "".join(f"{cell:>{w}}" for cell, w in zip(rest, widths, strict=True)), WIDTH)
        for head, *rest in lines
    ]


def _row(name: str, value: str) -> str:
    return shortened(f"  {name:<17} {value}", WIDTH)


def shortened(line: str, most: int) -> str:
    """At most so many characters, with a sign where there were more."""
    return line if len(line) <= most else line[: most - 1] + "…"


def _wrapped(facts: Facts) -> list[str]:
    """The reason in indented lines; one too long for a screen is cut, and stands in full elsewhere."""
    return textwrap.wrap(
        facts.reason,
        WIDTH - 2,
        initial_indent="  ",
        subsequent_indent="  ",
        max_lines=REASON_LINES,
        placeholder=_more(facts),
    )


def cut_reason(facts: Facts) -> str:
    """The reason in one line for a medium that breaks lines itself, cut as that of the text is, after a word."""
    if len(facts.reason) <= REASON_LENGTH:
        return facts.reason
    head = facts.reason[:REASON_LENGTH]
    at = head.rfind(" ", REASON_LENGTH - WIDTH)  # nearer to the beginning a word would be as long as a line
    return (head[:at] if at > 0 else head) + _more(facts)


def _more(facts: Facts) -> str:
    return f" … (more in {facts.more})"


def bars(curve: Curve, width: int = 56) -> str:
    """A curve of at least two points as blocks, first to last, with its ends; of a logarithmic one, the logarithms."""
    _, y = curve.drawable()
    heights = np.log10(y) if curve.logarithmic else y
    if heights.size > width:
        heights = np.array([part.mean() for part in np.array_split(heights, width)])
    low, high = heights.min(), heights.max()
    share = (heights - low) / (high - low) if high > low else np.full(heights.shape, 0.5)
    drawn = "".join(BLOCKS[min(int(part * len(BLOCKS)), len(BLOCKS) - 1)] for part in share)
    return f"{curve.said(y[0])} {drawn} {curve.said(y[-1])}"
