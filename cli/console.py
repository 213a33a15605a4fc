"""What the commands print by: tables, one line for what went wrong, and the exit statuses."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

__all__ = ["BAD_INPUT", "CONVERGED", "KILLED", "NOT_CONVERGED", "complain", "table"]

CONVERGED, NOT_CONVERGED, BAD_INPUT, KILLED = 0, 1, 2, 130


def complain(what: Any, code: int = BAD_INPUT) -> int:
    """One line on stderr, whatever the message looked like."""
    if isinstance(what, OSError) and what.filename is not None:
        what = f"{what.filename}: {what.strerror}"
    print(f"resolvent: {' '.join(str(what).split()) or type(what).__name__}", file=sys.stderr)
    return code


def table(rows: Iterable[tuple[Any, ...]]) -> str:
    """Columns as wide as they need; numbers to the right."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    right = [all(cell.lstrip("-").isdigit() for cell in column[1:]) for column in zip(*texts, strict=True)]
    lines = []
    for row in texts:
        cells = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
