"""What a person reads of a Solution: one screen in a terminal, or one figure with its data beside it."""

from __future__ import annotations

import csv
import io
import math
import os
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ...errors import InputError
from ...io.safe_writing import writing
from ...precision import times_power_of_two
from ..driver.solution import LARGEST_SLACK
from ..spectra.spectrum import energy_errors

if TYPE_CHECKING:
    from ..driver.solution import Solution

__all__ = ["plot", "report"]

WIDTH = 100
REASON_LINES = 9
BLOCKS = "▁▂▃▄▅▆▇█"
# The colours of Okabe and Ito (2008), told apart by colour-blind readers too.
BLUE, VERMILLION, GREEN, ORANGE, GREY = "#0072B2", "#D55E00", "#009E73", "#B37400", "#8C8C8C"
INK = "#333333"
MOST_CURVES = 20
ROUNDING = 10  # attainable residuals: what rounding may add to a bound


# In the terminal.


def report(solution: Solution) -> str:
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
    return "\n".join(_batch_lines(solution) if _is_batch(solution) else _lines(solution))


def _is_batch(s: Solution) -> bool:
    """A batch may hold no system at all."""
    return bool(s.systems) or np.ndim(s.relative_residual) > 0


def _lines(s: Solution) -> list[str]:
    lines = [_headline(s, s.status.value), *_wrapped(s.reason), ""]
    predicted = f"   predicted in advance: {s.predicted_iterations}" if s.predicted_iterations is not None else ""
    lines += [
        _row("iterations", f"{s.iterations}{predicted}"),
        _row("products with A", f"{s.matvecs}"),
        _row("time", _time(s.seconds)),
        _row("true residual", f"{_number(s.relative_residual)} of ||b||, {_number(s.tolerance)} asked for"),
        _row("backward error", _backward_error(s)),
    ]
    if s.error_bound is not None:
        lines.append(_row("error at most", f"{_number(s.error_bound)} of ||x||"))
    elif s.error_estimate is not None:
        lines.append(
            _row("error about", f"{_number(s.error_estimate)} of ||x||, if no eigenvalue hides below the Ritz values")
        )
    lines += _spectrum_rows(s)
    if drawn := _sparkline(s):
        lines += ["", _row("residual", drawn)]
    return lines


def _headline(s: Solution, said: str) -> str:
    mark = "✓" if s.converged else "!" if s.status.name in _UNFINISHED else "✗"
    how = "preconditioned " if s.preconditioned else ""
    where = f": {how}{s.method} on {s.backend} in {s.precision}" if s.method else ""
    return _cut(f"{mark} {said}{where}")


# Ended before the answer was there, though nothing went wrong.
_UNFINISHED = ("MAX_ITERATIONS", "STAGNATED", "TIME_LIMIT", "INTERRUPTED", "STOPPED")


def _backward_error(s: Solution) -> str:
    error, u = float(s.backward_error), s.unit_roundoff
    return f"{_number(error)} = {_plain(error / u)} u   (u = {u:.1e})"


def _spectrum_rows(s: Solution) -> list[str]:
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


def _batch_lines(s: Solution) -> list[str]:
    """Counts by status, and the worst system."""
    systems = s.systems
    if not systems:
        return [_headline(s, s.status.value), *_wrapped(s.reason)]
    failed = sum(not system.converged for system in systems)
    some = f"{failed} of {len(systems)} systems did not converge" if failed else f"all {len(systems)} systems converged"
    lines = [_headline(s, some), *_wrapped(s.reason), ""]
    lines.append(f"  {'':40}{'systems':>9}{'iterations':>16}{'largest residual':>20}")
    by_status: dict[Any, list[Solution]] = {}
    for system in systems:
        by_status.setdefault(system.status, []).append(system)
    # Enum order, so that the table does not depend on which system came first.
    for status in type(s.status):
        if group := by_status.get(status):
            steps = [int(system.iterations) for system in group]
            span = f"{min(steps)}" if min(steps) == max(steps) else f"{min(steps)} to {max(steps)}"
            largest = np.max([system.relative_residual for system in group])
            lines.append(f"  {status.value:40}{len(group):>9}{span:>16}{_number(largest):>20}")
    # The worst is the one furthest from its own tolerance; NaN is worse than any number.
    short = [_shortfall(system) for system in systems]
    worst = int(np.argmax(short))
    shape = np.shape(s.iterations)
    at = tuple(int(k) for k in np.unravel_index(worst, shape)) if shape else (worst,)
    system = systems[worst]
    name = f"{at[0]}" if len(at) == 1 else f"{at}"
    lines += [
        "",
        _row("worst system", f"{name}: {system.status.value} after {system.iterations} iterations"),
        _row("true residual", f"{_number(system.relative_residual)} of ||b||, {_number(system.tolerance)} asked for"),
        _row("backward error", _backward_error(system)),
        _row("time", f"{_time(s.seconds)} in all"),
    ]
    if drawn := _sparkline(system):
        lines += ["", _row("its residual", drawn)]
    return lines


def _shortfall(system: Solution) -> float:
    residual, tolerance = float(system.relative_residual), system.tolerance
    if math.isnan(residual):
        return math.inf
    return residual / tolerance if tolerance > 0 else residual


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
    return f"{float(value):.2e}"


def _plain(value: float) -> str:
    """Four digits, without an exponent where the number is of everyday size."""
    return f"{value:.4g}" if 1e-3 <= abs(value) < 1e6 or value == 0 else f"{value:.3e}"


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.0f} µs"


def _sparkline(s: Solution, width: int = 56) -> str:
    """log10 of the relative residual, first to last, with its ends."""
    _, carried = _relative_history(s)
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


def _relative_history(s: Solution) -> tuple[np.ndarray, np.ndarray]:
    """Iterations, and the residual norms as the method carried them over ||b||."""
    norms = s.residual_norms
    if norms.size == 0:
        return np.zeros(0, dtype=np.int64), norms
    true, relative = float(s.residual_norm), float(s.relative_residual)
    if 0 < relative < math.inf and 0 < true < math.inf:
        size = true / relative
    else:
        # ||b|| does not follow from a residual of zero; the first residual is b itself unless a guess was given.
        size = float(norms[0])
    return s.residual_iterations, norms / size if size > 0 else norms


# As a figure.


def plot(solution: Solution, axes: Any = None, file: str | os.PathLike[str] | None = None) -> Any:
    """Relative residual by iteration, with the tolerance and the unit roundoff.

    Of conjugate gradients the error in the A-norm is drawn as well, of Chebyshev iteration the bound of the residual,
    where they are known from the first iteration on. "At most" is said where nothing but rounding stands
    against it: the smallest eigenvalue is bounded by Gershgorin's theorem, or the interval is the caller's. What rests
    on estimates of the spectrum is said to be "about" so much.

    Parameters
    ----------
    solution : Solution
        Of a batch, at most 20 systems are drawn: those that took longest.
    axes : matplotlib Axes, optional
        Where to draw. When absent, a figure of its own is made, outside pyplot.
    file : path, optional
        PNG, PDF or SVG to write; the data lie beside it as CSV.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        Without matplotlib.
    InputError
        If ``file`` is not of a format that matplotlib writes.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> axes = rv.cg(np.diag([1.0, 2.0]), np.ones(2)).plot()
    >>> axes.get_yscale()
    'log'
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'resolvent[plot]'") from error
    path = _figure_path(file, FigureCanvasAgg.get_supported_filetypes())
    if axes is None:
        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
    drawn = _slowest(solution)
    theory = None if _is_batch(solution) else _theory(solution)
    _dress(axes)
    if _is_batch(solution):
        _draw_batch(axes, drawn)
    else:
        _draw_one(axes, solution, theory)
    _draw_levels(axes, solution, [system for _, system in drawn], [] if theory is None else theory[1].tolist())
    axes.set_title(
        _title(solution, len(drawn)), loc="left", fontsize=10.5, color=INK, pad=10 if _is_batch(solution) else 24
    )
    if path is not None:
        with writing(path) as stream:
            axes.figure.savefig(stream, dpi=160, format=path.suffix[1:].lower())
        with writing(path.with_suffix(".csv")) as stream:
            _save_data(solution, stream)
    return axes


def _figure_path(file: str | os.PathLike[str] | None, known: Iterable[str]) -> Path | None:
    if file is None:
        return None
    path = Path(file)
    if not path.suffix:
        path = path.with_suffix(".png")
    if path.suffix[1:].lower() not in known:
        raise InputError(f"file: found {path.name!r}; wanted a figure: .png, .pdf or .svg")
    return path


def _slowest(s: Solution) -> list[tuple[str, Solution]]:
    """The systems to draw, with their names, in their order in the batch."""
    if not _is_batch(s):
        return [("", s)]
    shape = np.shape(s.iterations)
    order = sorted(range(len(s.systems)), key=lambda k: -int(s.systems[k].iterations))
    chosen = sorted(order[:MOST_CURVES])
    return [(_index_name(k, shape), s.systems[k]) for k in chosen]


def _index_name(k: int, shape: tuple[int, ...]) -> str:
    return " ".join(str(int(part)) for part in np.unravel_index(k, shape)) if shape else str(k)


def _dress(axes: Any) -> None:
    """Settings of these axes only; nothing of matplotlib's is changed globally."""
    axes.set_yscale("log")
    axes.set_xlabel("iteration", color=INK)
    axes.set_ylabel("relative residual  ‖b − A x‖ / ‖b‖", color=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#BBBBBB")
    axes.tick_params(which="both", color="#BBBBBB", labelcolor=INK, labelsize=9)
    axes.tick_params(which="minor", length=0)
    axes.grid(which="major", color="#EBEBEB", linewidth=0.7)
    axes.set_axisbelow(True)


def _title(s: Solution, drawn: int) -> str:
    if _is_batch(s) and not s.systems:
        return s.reason
    how = f"{'preconditioned ' if s.preconditioned else ''}{s.method}, {s.precision}, {s.backend}"
    if not _is_batch(s):
        return f"{how}: {s.status.value} after {s.iterations} iterations"
    failed = sum(not system.converged for system in s.systems)
    said = f"{failed} of {len(s.systems)} systems did not converge" if failed else f"{len(s.systems)} systems converged"
    return f"{how}: {said}" + (f"; the {drawn} slowest" if drawn < len(s.systems) else "")


def _carried_by_recurrence(s: Solution) -> bool:
    """Whether the history is what a recurrence carried, rather than norms of b - A x as the method recomputed it.

    Methods whose norm comes free with every step carry it; the others compute a residual, and look at it seldom.
    """
    from ..linear.solve import METHODS

    return s.method in METHODS and METHODS[s.method].check_every == 1


def _drawable(s: Solution) -> tuple[np.ndarray, np.ndarray]:
    at, carried = _relative_history(s)
    keep = np.isfinite(carried) & (carried > 0)
    return at[keep], carried[keep]


def _draw_one(axes: Any, s: Solution, theory: tuple[np.ndarray, np.ndarray, str] | None) -> None:
    at, carried = _drawable(s)
    recurred = _carried_by_recurrence(s)
    if at.size:
        axes.plot(
            at,
            carried,
            color=BLUE,
            linewidth=1.7,
            linestyle=(0, (5, 1.2)) if recurred else "solid",
            # Looked at seldom, the few points that were looked at are shown.
            marker="." if at.size <= 60 else None,
            markersize=5,
            label="carried residual" if recurred else "residual",
            zorder=3,
        )
    true = float(s.relative_residual)
    if 0 < true < math.inf:
        axes.plot(
            [s.iterations],
            [true],
            marker="o" if s.converged else "X",
            color=GREEN if s.converged else VERMILLION,
            markeredgecolor="white",
            markeredgewidth=0.9,
            markersize=9,
            linestyle="none",
            label=f"true residual {true:.1e}",
            zorder=5,
            clip_on=False,
        )
    if theory is not None:
        axes.plot(theory[0], theory[1], color=GREY, linewidth=1.1, label=theory[2], zorder=2)
    if axes.get_legend_handles_labels()[0]:
        # A row under the title: inside the axes there is no corner that the curves always leave free.
        legend = axes.legend(
            loc="lower left",
            bbox_to_anchor=(-0.01, 1.0),
            ncols=3,
            frameon=False,
            borderpad=0.2,
            handlelength=2.2,
            columnspacing=1.4,
            fontsize=8.5,
            labelcolor=INK,
        )
        legend.set_in_layout(False)  # a long row must not squeeze the axes
    else:
        said = "the residual is zero" if true == 0 else "there is no residual to draw"
        axes.text(0.5, 0.5, said, transform=axes.transAxes, ha="center", va="center", color=GREY)


def _draw_batch(axes: Any, drawn: list[tuple[str, Solution]]) -> None:
    from matplotlib import colormaps

    shades = colormaps["viridis"](np.linspace(0.05, 0.85, max(len(drawn), 2)))
    for (name, system), shade in zip(drawn, shades, strict=False):
        at, carried = _drawable(system)
        dashes = (0, (5, 1.2)) if _carried_by_recurrence(system) else "solid"
        axes.plot(at, carried, color=shade, linewidth=1.2, linestyle=dashes, label=f"system {name}", zorder=3)
        true = float(system.relative_residual)
        if 0 < true < math.inf:
            axes.plot(
                [system.iterations],
                [true],
                marker="o" if system.converged else "X",
                color=shade if system.converged else VERMILLION,
                markeredgecolor="white",
                markeredgewidth=0.8,
                markersize=7,
                zorder=5,
            )
    if 0 < len(drawn) <= 8:
        axes.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="upper right")


def _draw_levels(axes: Any, s: Solution, systems: list[Solution], theory: list[float]) -> None:
    """Tolerance and unit roundoff as dotted lines, and limits that show whatever was drawn."""
    known = list(theory)
    last = 0
    for system in systems:
        at, carried = _drawable(system)
        known += carried.tolist()
        known += [float(system.relative_residual)] * (0 < float(system.relative_residual) < math.inf)
        last = max(last, int(at[-1]) if at.size else 0, int(system.iterations))
    u = s.unit_roundoff
    levels = [(s.tolerance, ORANGE, f"tolerance {s.tolerance:.1e}")] if 0 < s.tolerance < math.inf else []
    lowest = min([*known, *(level for level, _, _ in levels)], default=u)
    highest = max([*known, *(level for level, _, _ in levels)], default=1.0)
    # Six empty decades would press the curve flat; then the floor is named at the lower edge instead.
    near = u >= lowest * 1e-4
    if near:
        levels.append((u, VERMILLION, f"unit roundoff {u:.1e}"))
        lowest = min(lowest, u)
    last = max(last, 1)
    for level, color, text in levels:
        axes.axhline(level, color=color, linewidth=1.1, linestyle=(0, (1, 2)), zorder=1)
        axes.annotate(
            text,
            (0.006, level),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            fontsize=8.5,
            color=color,
        )
    if not near:
        axes.text(0.006, 0.015, f"↓ unit roundoff {u:.1e}", transform=axes.transAxes, fontsize=8.5, color=VERMILLION)
    room = (highest / lowest) ** 0.08
    axes.set_ylim(lowest / max(room, 2.0), highest * max(room, 2.0))
    axes.set_xlim(-0.01 * last, last * 1.02)


def _theory(s: Solution) -> tuple[np.ndarray, np.ndarray, str] | None:
    """What else is known of every iteration: iterations, values, label.

    "At most" is said of what holds whatever A is, "about" of what rests on estimates of its spectrum.
    """
    known, norms = s.evidence, s.residual_norms
    if known is None or norms.size < 2 or not norms[0] > 0:
        return None
    if known.decay > 0:
        at = np.arange(int(s.residual_iterations[-1]) + 1)
        with np.errstate(over="ignore"):
            polynomial = np.append(1.0, 1 / np.cosh(known.decay * at[1:]))
        values = _relative_history(s)[1][0] * polynomial + ROUNDING * s.attainable_residual
        return at, values, "at most 1/T$_k$(σ)" if known.given else "about 1/T$_k$(σ), interval estimated"
    if not (known.complete and norms[-1] > 0 and known.slack < LARGEST_SLACK):
        return None
    sure = s.smallest_eigenvalue > 0 and s.converged
    if sure:
        smallest = s.smallest_eigenvalue
    elif s.ritz is not None and s.ritz.settled is not None:
        smallest = times_power_of_two(s.ritz.settled, -s.spectral_exponent)
    else:
        return None
    errors = energy_errors(known.alphas, known.betas, smallest, max(1.0, float(s.residual_norm / norms[-1])))
    # Where the bound of the last one weighs little, the error is known to a factor of two; later it is not drawn.
    errors = errors[errors**2 > 4 / 3 * errors[-1] ** 2]
    if errors.size < 2:
        return None
    return np.arange(errors.size), errors, f"{'at most' if sure else 'about'} ‖x − x$_k$‖$_A$ / ‖x − x$_0$‖$_A$"


def _save_data(s: Solution, stream: BinaryIO) -> None:
    """The residuals that were drawn, and of a batch all of them, one row a norm; repr keeps every digit."""
    shape = np.shape(s.iterations)
    text = io.TextIOWrapper(stream, "utf-8", newline="", write_through=True)
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["system", "iteration", "residual_norm", "relative_residual", "kind"])
    for k, system in enumerate(s.systems if _is_batch(s) else (s,)):
        name = _index_name(k, shape) if s.systems else ""
        kind = "recurrence" if _carried_by_recurrence(system) else "computed"
        at, relative = _relative_history(system)
        for step, norm, share in zip(at.tolist(), system.residual_norms.tolist(), relative.tolist(), strict=True):
            rows.writerow([name, step, repr(norm), repr(share), kind])
        true = (repr(float(system.residual_norm)), repr(float(system.relative_residual)))
        rows.writerow([name, int(system.iterations), *true, "true"])
    text.detach()
