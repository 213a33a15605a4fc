"""Memory, foreseen: a system that grants what it has not kills the process that takes it."""

from __future__ import annotations

import math
from pathlib import Path

__all__ = ["available_memory", "check_memory"]

ASKED_FROM = 2.0**28  # bytes; less is there, and asking takes longer than a small solve


def available_memory() -> float:
    """Bytes that may be taken without harm, as far as Linux tells: of the machine, and of the group of this process."""
    found = math.inf
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found = 1024.0 * float(line.split()[1])
        limit, used = (Path(f"/sys/fs/cgroup/memory.{name}").read_text().strip() for name in ("max", "current"))
        return min(found, float(limit) - float(used)) if limit.isdigit() else found
    except (OSError, ValueError):
        return found


def check_memory(wanted: float, who: str) -> None:
    """Refuse what does not fit.

    Parameters
    ----------
    wanted : float
        Bytes.
    who : str
        What takes them, in words.

    Raises
    ------
    MemoryError

    Examples
    --------
    >>> from resolvent.solvers.driver.room import check_memory
    >>> check_memory(1e3, "cg")
    """
    if wanted <= ASKED_FROM:
        return
    free = available_memory()
    if wanted > free:
        raise MemoryError(f"{who} keeps {wanted / 2**30:.1f} GiB, and {max(free, 0.0) / 2**30:.1f} GiB are free")
