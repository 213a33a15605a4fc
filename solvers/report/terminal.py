"""What is told as rich renders it: a panel, for terminals with colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .facts import Facts, Outcome
from .text import bars, cut_reason

if TYPE_CHECKING:
    from rich.panel import Panel

__all__ = ["in_panel"]

COLOURS = {Outcome.REACHED: "green", Outcome.UNFINISHED: "yellow", Outcome.FAILED: "red", None: "default"}


def in_panel(facts: Facts) -> Panel:
    """Facts as a panel: the headline above, the reason, the table and the rows within.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    rich.panel.Panel

    Examples
    --------
    >>> import numpy as np, rich, resolvent as rv
    >>> rich.print(rv.cg(np.diag([1.0, 2.0]), np.ones(2)))  # doctest: +SKIP
    """
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    colour = COLOURS[facts.outcome]
    # Text, not strings: what stands in a reason is no markup.
    parts: list[Text | Table] = []
    if facts.reason:
        parts.append(Text(cut_reason(facts)))
    if facts.table is not None:
        groups = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        groups.add_column(Text(facts.table.headings[0]), overflow="fold")
        for heading in facts.table.headings[1:]:
            groups.add_column(Text(heading), justify="right")
        for row in facts.table.rows:
            groups.add_row(*map(Text, row))
        parts.append(groups)
    if facts.rows:
        rows = Table.grid(padding=(0, 2, 0, 0))
        rows.add_column(style="dim", no_wrap=True)
        rows.add_column(overflow="fold")
        for name, value in facts.rows:
            rows.add_row(Text(name), Text(value))
        parts.append(rows)
    if facts.curves:
        drawn = Table.grid(padding=(0, 2, 0, 0))
        drawn.add_column(style="dim", no_wrap=True)
        drawn.add_column(no_wrap=True, overflow="crop")
        for curve in facts.curves:
            drawn.add_row(Text(curve.name), Text(bars(curve, 40), style="cyan"))
        parts.append(drawn)
    spaced = [part for k, part in enumerate(parts) for part in ([Text(""), part] if k else [part])]
    return Panel(
        Group(*spaced),
        title=Text(facts.headline, style=f"bold {colour}"),
        title_align="left",
        border_style=colour,
        expand=False,
        padding=(0, 1),
    )
