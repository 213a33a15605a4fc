"""What is told of a Solution: rows, a table and curves, which text, terminals and notebooks each render."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..driver.method import Norm
from ..driver.status import Status

if TYPE_CHECKING:
    from ..driver.batch_solution import BatchSolution
    from ..driver.problem import Words
    from ..driver.solution import Solution

__all__ = [
    "Chart",
    "Counts",
    "Curve",
    "End",
    "Facts",
    "Level",
    "Outcome",
    "Table",
    "carried_by_recurrence",
    "duration",
    "facts_of",
    "number",
    "plain",
    "quotient",
    "typeset",
]


class Outcome(enum.Enum):
    """How it went, with the sign that says so where there is no colour."""

    REACHED = "✓"
    UNFINISHED = "!"
    FAILED = "✗"


# Ended before the answer was there, though nothing went wrong.
_UNFINISHED = (Status.MAX_ITERATIONS, Status.STAGNATED, Status.TIME_LIMIT, Status.INTERRUPTED, Status.STOPPED)


def outcome_of(status: Status) -> Outcome:
    """That of a status."""
    if status is Status.CONVERGED:
        return Outcome.REACHED
    return Outcome.UNFINISHED if status in _UNFINISHED else Outcome.FAILED


@dataclass(frozen=True)
class Level:
    """A horizontal line in a chart.

    Attributes
    ----------
    value : float
    name : str
    kind : {"tolerance", "attainable"}
        How it is drawn.
    decades : int
        It may lie so far below the rest of a logarithmic chart. Farther down it is named at the lower edge, since it
        would press the curve flat.
    """

    value: float
    name: str
    kind: str
    decades: int


@dataclass(frozen=True)
class End:
    """A point of its own at the end of a curve, and what it says."""

    x: float
    y: float
    name: str
    reached: bool


@dataclass(frozen=True, eq=False)
class Curve:
    """Numbers in their order.

    Attributes
    ----------
    name : str
        Of the row in which it is drawn as blocks.
    drawn : str
        What the line is, in a legend.
    x, y : arrays of shape (k,)
    x_label, y_label : str
        With the units of the two.
    logarithmic : bool
    levels : tuple of Level
    end : End or None
    scattered : bool
        Values that are tried in turn, of which a line would hide how often each was.
    """

    name: str
    drawn: str
    x: np.ndarray
    y: np.ndarray
    x_label: str
    y_label: str
    logarithmic: bool = False
    levels: tuple[Level, ...] = ()
    end: End | None = None
    scattered: bool = False

    def drawable(self) -> tuple[np.ndarray, np.ndarray]:
        """The points that have a place in a chart: neither NaN nor infinite, nor zero under a logarithm."""
        keep = np.isfinite(self.y) & ((self.y > 0) | (not self.logarithmic))
        return self.x[keep], self.y[keep]

    def said(self, value: float) -> str:
        """A value of it in words."""
        return number(value) if self.logarithmic else plain(value)


@dataclass(frozen=True, eq=False)
class Counts:
    """How many systems took how many iterations, and how they ended.

    Attributes
    ----------
    values : int array of shape (k,)
    outcomes : array of Outcome, of shape (k,)
    x_label, y_label : str
    """

    values: np.ndarray
    outcomes: np.ndarray
    x_label: str
    y_label: str


Chart = Curve | Counts


@dataclass(frozen=True)
class Table:
    """The same numbers of several groups, each after its name."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Facts:
    """What is told, in the order in which it is.

    Attributes
    ----------
    said : str
        The headline: how it ended, or what this is.
    how : str
        By what, on what and in what precision; may be empty.
    outcome : Outcome or None
        None of what does not end well or badly.
    reason : str
        Sentences.
    table : Table or None
    rows : tuple of (name, value)
    charts : tuple of Curve and Counts
    more : str
        Where a reason that is too long to be shown stands in full.
    """

    said: str
    how: str = ""
    outcome: Outcome | None = None
    reason: str = ""
    table: Table | None = None
    rows: tuple[tuple[str, str], ...] = ()
    charts: tuple[Chart, ...] = ()
    more: str = "solution.reason"

    @property
    def headline(self) -> str:
        """The first line, with its sign."""
        mark = f"{self.outcome.value} " if self.outcome else ""
        return f"{mark}{self.said}{f': {self.how}' if self.how else ''}"

    @property
    def curves(self) -> list[Curve]:
        """Those of the charts that are curves with at least two points to draw."""
        return [chart for chart in self.charts if isinstance(chart, Curve) and chart.drawable()[0].size > 1]


def facts_of(solution: Solution[Any]) -> Facts:
    """What is told of a solution.

    Parameters
    ----------
    solution : Solution

    Returns
    -------
    Facts

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> dict(facts_of(rv.cg(np.diag([1.0, 2.0]), np.ones(2))).rows)["iterations"]
    '2'
    """
    return _of_batch(cast("BatchSolution", solution)) if solution.is_batch else _of_one(solution)


def _of_one(s: Solution[Any]) -> Facts:
    predicted = f"   predicted in advance: {s.predicted_iterations}" if s.predicted_iterations is not None else ""
    rows = [
        ("iterations", f"{s.iterations}{predicted}"),
        (s.words.products, f"{s.matvecs}"),
        ("time", duration(s.seconds)),
        *_quality(s),
    ]
    if s.error_bound is not None:
        rows.append(("error at most", f"{number(s.error_bound)} of ||x||"))
    elif s.error_estimate is not None:
        rows.append(
            ("error about", f"{number(s.error_estimate)} of ||x||, if no eigenvalue hides below the Ritz values")
        )
    if s.displacement is not None and s.displacement.settled:
        off = f"give or take {number(s.displacement.error)}"
        rows.append(("displacement", f"{number(s.displacement.norm)}, {off}: g moves every x as far as that"))
    if s.distance_bound is not None:
        rows.append(("fixed points", f"at least {number(s.distance_bound)} from x0, if g is nonexpansive"))
    rows += _spectrum_rows(s)
    return Facts(
        s.status.value, _how(s), outcome_of(s.status), s.reason, rows=tuple(rows), charts=(_residual(s, "residual"),)
    )


def _how(s: Solution[Any]) -> str:
    how = "preconditioned " if s.preconditioned else ""
    return f"{how}{s.method} on {s.backend} in {s.precision}" if s.method else ""


def _quality(s: Solution[Any]) -> list[tuple[str, str]]:
    """The certificate of one system."""
    asked = f"{number(s.relative_residual)} of {s.words.reference}, {number(s.tolerance)} asked for"
    rows = [("true residual", asked)]
    error, u = float(s.backward_error), s.unit_roundoff
    if not math.isnan(error):
        rows.append(("backward error", f"{number(error)} = {plain(error / u)} u   (u = {u:.1e})"))
    return rows


def _spectrum_rows(s: Solution[Any]) -> list[tuple[str, str]]:
    if s.spectrum is None or s.condition is None:
        return []
    matrix = "M A" if s.preconditioned else "A"
    low, high = s.spectrum
    inside = s.ritz is not None
    found = "Ritz values, inside the spectrum" if s.condition_sense == "at least" else "Ritz values, up to rounding"
    source = found if inside else "the interval worked with"
    return [
        (f"{s.words.spectrum} of {matrix}", f"{plain(low)} to {plain(high)}   ({source})"),
        (f"condition of {matrix}", f"{s.condition_sense} {plain(s.condition)}"),
    ]


def _residual(s: Solution[Any], name: str) -> Curve:
    """The relative residual by iteration, what was asked for, and what the precision can attain."""
    attainable, true = float(s.attainable_residual), float(s.relative_residual)
    levels = [Level(s.tolerance, f"tolerance {number(s.tolerance)}", "tolerance", 16)]
    levels.append(Level(attainable, f"attainable in {s.precision} {number(attainable)}", "attainable", 4))
    return Curve(
        name,
        "carried residual" if carried_by_recurrence(s) else "residual",
        s.residual_iterations,
        s.relative_residual_norms,
        "iteration",
        f"relative residual  {quotient(s.words)}",
        logarithmic=True,
        levels=tuple(level for level in levels if 0 < level.value < math.inf),
        end=End(s.iterations, true, f"true residual {number(true)}", s.converged) if 0 < true < math.inf else None,
    )


def quotient(words: Words) -> str:
    """What a relative residual is."""
    return words.residual if words.relative else f"{words.residual} / {words.reference}"


def carried_by_recurrence(s: Solution[Any]) -> bool:
    """Whether the history is what a recurrence carried, rather than norms of b - A x as the method recomputed it.

    Methods whose norm comes free with every step carry it; the others compute a residual, and look at it seldom.
    """
    return s.carries is not Norm.COMPUTED


def _of_batch(s: BatchSolution) -> Facts:
    """Counts by status, and the slowest system."""
    systems = s.systems
    outcome = outcome_of(s.overall_status)
    if not len(systems):
        return Facts(Status.CONVERGED.value, _how(s), outcome, s.reason)
    converged, statuses, iterations = np.ravel(s.converged_each), np.ravel(s.status), np.ravel(s.iterations)
    failed = int(np.count_nonzero(~converged))
    some = f"{failed} of {len(systems)} systems did not converge" if failed else f"all {len(systems)} systems converged"
    groups = []
    outcomes = np.empty(statuses.shape, object)
    # Enum order, so that the table does not depend on which system came first.
    for status in Status:
        group = statuses == status
        if group.any():
            outcomes[group] = outcome_of(status)
            steps = iterations[group]
            span = f"{steps.min()}" if steps.min() == steps.max() else f"{steps.min()} to {steps.max()}"
            largest = np.max(np.ravel(s.relative_residual)[group])
            groups.append((status.value, f"{np.count_nonzero(group)}", span, number(largest)))
    slowest = int(np.argmax(iterations))
    system = systems[slowest]
    at = systems.index_of(slowest)
    name = f"{at[0]}" if len(at) == 1 else f"{at}"
    rows = [
        ("slowest system", f"{name}: {system.status.value} after {system.iterations} iterations"),
        *_quality(system),
        ("time", f"{duration(s.seconds)} in all"),
    ]
    return Facts(
        some,
        _how(s),
        outcome,
        s.reason,
        Table(("", "systems", "iterations", "largest residual"), tuple(groups)),
        tuple(rows),
        (Counts(iterations, outcomes, "iterations", "systems"), _residual(system, "its residual")),
    )


def number(value: Any) -> str:
    """Three digits and an exponent; a dash for what is unknown."""
    return f"{float(value):.2e}" if value == value else "–"


def plain(value: float) -> str:
    """Four digits, without an exponent where the number is of everyday size."""
    return f"{value:.4g}" if 1e-3 <= abs(value) < 1e6 or value == 0 else f"{value:.3e}"


def duration(seconds: float) -> str:
    """Three digits, with a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.0f} µs"


def typeset(words: str) -> str:
    """With the signs of mathematics in place of those of a terminal."""
    return words.replace("||", "‖").replace(" - ", " − ")
