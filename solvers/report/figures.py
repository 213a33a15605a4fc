"""Figures, which need matplotlib: the residual by iteration, with its data beside it, and a sequence by system."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ...errors import InputError
from ...io.safe_writing import writing
from .facts import carried_by_recurrence, quotient, typeset

if TYPE_CHECKING:
    from ..driver.problem import Words
    from ..driver.solution import Bound, Solution

__all__ = ["plot", "plot_sequence"]

# The colours of Okabe and Ito (2008), told apart by colour-blind readers too.
BLUE, VERMILLION, GREEN, ORANGE, GREY = "#0072B2", "#D55E00", "#009E73", "#B37400", "#8C8C8C"
INK = "#333333"
MOST_CURVES = 20


def new_figure(width: float, height: float) -> Any:
    """A figure of its own, outside pyplot."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'resolvent[plot]'") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plot(solution: Solution[Any], axes: Any = None, file: str | os.PathLike[str] | None = None) -> Any:
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
    own = new_figure(7.2, 4.4)
    path = figure_path(file, own.canvas.get_supported_filetypes())
    axes = own.add_subplot() if axes is None else axes
    drawn = _slowest(solution)
    bound = None if solution.is_batch else solution.bound
    _dress(axes, solution.words)
    if solution.is_batch:
        _draw_batch(axes, drawn)
    else:
        _draw_one(axes, solution, bound)
    _draw_levels(axes, solution, [system for _, system in drawn], [] if bound is None else bound.values.tolist())
    axes.set_title(
        _title(solution, len(drawn)), loc="left", fontsize=10.5, color=INK, pad=10 if solution.is_batch else 24
    )
    if path is not None:
        with writing(path) as stream:
            axes.figure.savefig(stream, dpi=160, format=path.suffix[1:].lower())
        with writing(path.with_suffix(".csv")) as stream:
            _save_data(solution, stream)
    return axes


def figure_path(file: str | os.PathLike[str] | None, known: Iterable[str]) -> Path | None:
    """Where to write a figure, of a format that is known; PNG where the name tells none."""
    if file is None:
        return None
    path = Path(file)
    if not path.suffix:
        path = path.with_suffix(".png")
    if path.suffix[1:].lower() not in known:
        raise InputError(f"file: found {path.name!r}; wanted a figure: .png, .pdf or .svg")
    return path


def _slowest(s: Solution[Any]) -> list[tuple[str, Solution]]:
    """The systems to draw, with their names, in their order in the batch."""
    if not s.is_batch:
        return [("", s)]
    shape = np.shape(s.iterations)
    chosen = sorted(np.argsort(-np.ravel(s.iterations), kind="stable")[:MOST_CURVES].tolist())
    return [(_index_name(k, shape), s.systems[k]) for k in chosen]


def _index_name(k: int, shape: tuple[int, ...]) -> str:
    return " ".join(str(int(part)) for part in np.unravel_index(k, shape)) if shape else str(k)


def _dress(axes: Any, words: Words) -> None:
    """Settings of these axes only; nothing of matplotlib's is changed globally."""
    axes.set_yscale("log")
    axes.set_xlabel("iteration", color=INK)
    axes.set_ylabel(f"relative residual  {typeset(quotient(words))}", color=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#BBBBBB")
    axes.tick_params(which="both", color="#BBBBBB", labelcolor=INK, labelsize=9)
    axes.tick_params(which="minor", length=0)
    axes.grid(which="major", color="#EBEBEB", linewidth=0.7)
    axes.set_axisbelow(True)


def _title(s: Solution[Any], drawn: int) -> str:
    if s.is_batch and not len(s.systems):
        return s.reason
    how = f"{'preconditioned ' if s.preconditioned else ''}{s.method}, {s.precision}, {s.backend}"
    if not s.is_batch:
        return f"{how}: {s.status.value} after {s.iterations} iterations"
    failed = int(np.count_nonzero(~np.asarray(s.converged_each)))
    said = f"{failed} of {len(s.systems)} systems did not converge" if failed else f"{len(s.systems)} systems converged"
    return f"{how}: {said}" + (f"; the {drawn} slowest" if drawn < len(s.systems) else "")


def _drawable(s: Solution[Any]) -> tuple[np.ndarray, np.ndarray]:
    at, carried = s.residual_iterations, s.relative_residual_norms
    keep = np.isfinite(carried) & (carried > 0)
    return at[keep], carried[keep]


def _draw_one(axes: Any, s: Solution[Any], bound: Bound | None) -> None:
    at, carried = _drawable(s)
    recurred = carried_by_recurrence(s)
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
    if bound is not None:
        axes.plot(bound.iterations, bound.values, color=GREY, linewidth=1.1, label=bound.label, zorder=2)
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
        dashes = (0, (5, 1.2)) if carried_by_recurrence(system) else "solid"
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


def _draw_levels(axes: Any, s: Solution[Any], systems: list[Solution], values: list[float]) -> None:
    """Tolerance and unit roundoff as dotted lines, and limits that show whatever was drawn."""
    known = list(values)
    last = 0
    for system in systems:
        at, carried = _drawable(system)
        known += carried.tolist()
        known += [float(system.relative_residual)] * (0 < float(system.relative_residual) < math.inf)
        last = max(last, int(at[-1]) if at.size else 0, int(system.iterations))
    u = s.unit_roundoff if s.unit_roundoff > 0 else 2.0**-53  # a system that was refused has none
    asked = float(np.max([system.tolerance for system in systems], initial=0.0))
    levels = [(asked, ORANGE, f"tolerance {asked:.1e}")] if 0 < asked < math.inf else []
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


def _save_data(s: Solution[Any], stream: BinaryIO) -> None:
    """The residuals that were drawn, and of a batch all of them, one row a norm; repr keeps every digit."""
    shape = np.shape(s.iterations)
    text = io.TextIOWrapper(stream, "utf-8", newline="", write_through=True)
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["system", "iteration", "residual_norm", "relative_residual", "kind"])
    for k, system in enumerate(s.systems if s.is_batch else (s,)):
        name = _index_name(k, shape) if s.is_batch else ""
        kind = "recurrence" if carried_by_recurrence(system) else "computed"
        at, relative = system.residual_iterations, system.relative_residual_norms
        for step, norm, share in zip(at.tolist(), system.residual_norms.tolist(), relative.tolist(), strict=True):
            rows.writerow([name, step, repr(norm), repr(share), kind])
        true = (repr(float(system.residual_norm)), repr(float(system.relative_residual)))
        rows.writerow([name, int(system.iterations), *true, "true"])
    text.detach()


def plot_sequence(
    title: str, curves: Mapping[str, tuple[str, np.ndarray]], file: str | os.PathLike[str] | None = None
) -> Any:
    """Numbers by system, one panel a curve, one below the other.

    Parameters
    ----------
    title : str
    curves : mapping of "cost", "parameter", "regret" to (label, array of shape (systems,))
        Those without a finite number are left out.
    file : path, optional
        To save it to.

    Returns
    -------
    array of matplotlib Axes
    """
    colours = {"cost": BLUE, "parameter": VERMILLION, "regret": GREY}
    drawn = {name: curve for name, curve in curves.items() if np.isfinite(curve[1]).any()}
    figure = new_figure(7.2, 2.0 * max(len(drawn), 1) + 0.6)
    panels = np.atleast_1d(figure.subplots(max(len(drawn), 1), 1, sharex=True))
    for axes, (name, (label, values)) in zip(panels, drawn.items(), strict=False):
        cloud = len(values) > 300 and name != "regret"  # of so many, a line would hide how often each value is taken
        axes.plot(np.arange(1, len(values) + 1), values, "." if cloud else "-", markersize=2, color=colours[name])
        axes.set_ylabel(label, color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#EBEBEB", linewidth=0.7)
    panels[0].set_title(title, loc="left", fontsize=10.5, color=INK)
    panels[-1].set_xlabel("system", color=INK)
    if file is not None:
        figure.savefig(file, dpi=160)
    return panels
