"""A Solution as text: one screen in a terminal."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..driver.status import Status

if TYPE_CHECKING:
    from ..driver.batch_solution import BatchSolution
    from ..driver.solution import Solution

__all__ = ["report"]

WIDTH = 100
REASON_LINES = 9
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
    return "\n".join(_batch_lines(cast("BatchSolution", solution)) if solution.is_batch else _lines(solution))


def _lines(s: Solution[Any]) -> list[str]:
    lines = [_headline(s, s.status.value), *_wrapped(s.reason), ""]
    predicted = f"   predicted in advance: {s.predicted_iterations}" if s.predicted_iterations is not None else ""
    lines += [
        _row("iterations", f"{s.iterations}{predicted}"),
        _row(s.words.products, f"{s.matvecs}"),
        _row("time", _time(s.seconds)),
        _row(
            "true residual", f"{_number(s.relative_residual)} of {s.words.reference}, {_number(s.tolerance)} asked for"
        ),
    ]
    if not math.isnan(float(s.backward_error)):
        lines.append(_row("backward error", _backward_error(s)))
    if s.error_bound is not None:
        lines.append(_row("error at most", f"{_number(s.error_bound)} of ||x||"))
    elif s.error_estimate is not None:
        lines.append(
            _row("error about", f"{_number(s.error_estimate)} of ||x||, if no eigenvalue hides below the Ritz values")
        )
    if s.displacement is not None and s.displacement.settled:
        off = f"give or take {_number(s.displacement.error)}"
        lines.append(_row("displacement", f"{_number(s.displacement.norm)}, {off}: g moves every x as far as that"))
    if s.distance_bound is not None:
        lines.append(_row("fixed points", f"at least {_number(s.distance_bound)} from x0, if g is nonexpansive"))
    lines += _spectrum_rows(s)
    if drawn := _sparkline(s):
        lines += ["", _row("residual", drawn)]
    return lines


def _headline(s: Solution[Any], said: str) -> str:
    mark = "✓" if s.converged else "!" if s.overall_status in _UNFINISHED else "✗"
    how = "preconditioned " if s.preconditioned else ""
    where = f": {how}{s.method} on {s.backend} in {s.precision}" if s.method else ""
    return _cut(f"{mark} {said}{where}")


# Ended before the answer was there, though nothing went wrong.
_UNFINISHED = (Status.MAX_ITERATIONS, Status.STAGNATED, Status.TIME_LIMIT, Status.INTERRUPTED, Status.STOPPED)


def _residual(s: Solution[Any]) -> str:
    return f"{_number(s.relative_residual)} of {s.words.reference}, {_number(s.tolerance)} asked for"


def _backward_error(s: Solution[Any]) -> str:
    error, u = float(s.backward_error), s.unit_roundoff
    return f"{_number(error)} = {_plain(error / u)} u   (u = {u:.1e})"


def _spectrum_rows(s: Solution[Any]) -> list[str]:
    if s.spectrum is None or s.condition is None:
        return []
    matrix = "M A" if s.preconditioned else "A"
    low, high = s.spectrum
    inside = s.ritz is not None
    found = "Ritz values, inside the spectrum" if s.condition_sense == "at least" else "Ritz values, up to rounding"
    source = found if inside else "the interval worked with"
    return [
        _row(f"spectrum of {matrix}", f"{_plain(low)} to {_plain(high)}   ({source})"),
        _row(f"condition of {matrix}", f"{s.condition_sense} {_plain(s.condition)}"),
    ]


def _batch_lines(s: BatchSolution) -> list[str]:
    """Counts by status, and the slowest system."""
    systems = s.systems
    if not len(systems):
        return [_headline(s, Status.CONVERGED.value), *_wrapped(s.reason)]
    converged, statuses = np.ravel(s.converged_each), np.ravel(s.status)
    failed = int(np.count_nonzero(~converged))
    some = f"{failed} of {len(systems)} systems did not converge" if failed else f"all {len(systems)} systems converged"
    lines = [_headline(s, some), *_wrapped(s.reason), ""]
    lines.append(f"  {'':50}{'systems':>9}{'iterations':>16}{'largest residual':>20}")
    # Enum order, so that the table does not depend on which system came first.
    for status in Status:
        group = statuses == status
        if group.any():
            steps = np.ravel(s.iterations)[group]
            span = f"{steps.min()}" if steps.min() == steps.max() else f"{steps.min()} to {steps.max()}"
            largest = np.max(np.ravel(s.relative_residual)[group])
            lines.append(f"  {status.value:50}{np.count_nonzero(group):>9}{span:>16}{_number(largest):>20}")
    slowest = int(np.argmax(s.iterations))
    system = systems[slowest]
    at = systems.index_of(slowest)
    name = f"{at[0]}" if len(at) == 1 else f"{at}"
    lines += [
        "",
        _row("slowest system", f"{name}: {system.status.value} after {system.iterations} iterations"),
        _row(
            "true residual",
            f"{_number(system.relative_residual)} of {s.words.reference}, {_number(system.tolerance)} asked for",
        ),
    ]
    if not math.isnan(float(system.backward_error)):
        lines.append(_row("backward error", _backward_error(system)))
    lines.append(_row("time", f"{_time(s.seconds)} in all"))
    if drawn := _sparkline(system):
        lines += ["", _row("its residual", drawn)]
    return lines


def _row(name: str, value: str) -> str:
    return _cut(f"  {name:<18}{value}")


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def _wrapped(reason: str) -> list[str]:
    """The reason in indented lines; one too long for a screen is cut, and stands in full in ``Solution.reason``."""
    return textwrap.wrap(
        reason,
        WIDTH - 2,
        initial_indent="  ",
        subsequent_indent="  ",
        max_lines=REASON_LINES,
        placeholder=" … (more in solution.reason)",
    )


def _number(value: Any) -> str:
    return f"{float(value):.2e}" if value == value else "–"


def _plain(value: float) -> str:
    """Four digits, without an exponent where the number is of everyday size."""
    return f"{value:.4g}" if 1e-3 <= abs(value) < 1e6 or value == 0 else f"{value:.3e}"


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.0f} µs"


def _sparkline(s: Solution[Any], width: int = 56) -> str:
    """log10 of the relative residual, first to last, with its ends."""
    carried = s.relative_residual_norms
    carried = carried[np.isfinite(carried) & (carried > 0)]
    if carried.size < 2:
        return ""
    heights = np.log10(carried)
    if heights.size > width:
        heights = np.array([part.mean() for part in np.array_split(heights, width)])
    low, high = heights.min(), heights.max()
    share = (heights - low) / (high - low) if high > low else np.full(heights.shape, 0.5)
    bars = "".join(BLOCKS[min(int(part * len(BLOCKS)), len(BLOCKS) - 1)] for part in share)
    return f"{_number(carried[0])} {bars} {_number(carried[-1])}"
