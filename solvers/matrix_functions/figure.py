"""The figure of a schedule: what the composite of its steps does to an interval. It needs matplotlib."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ...io.safe_writing import writing
from ..report.figures import BLUE, GREY, INK, ORANGE, figure_path, new_figure

if TYPE_CHECKING:
    from .schedule import Schedule

__all__ = ["plot_schedule"]

POINTS = 20_000
BELOW = 10.0  # how far below the lower end of its interval a schedule is drawn


def plot_schedule(schedule: Schedule, axes: Any = None, file: str | os.PathLike[str] | None = None) -> Any:
    """The composite after each step, the last one in front, over the interval and a decade below it.

    The band is 1 ± ``error_bound``.

    Parameters
    ----------
    schedule : Schedule
    axes : matplotlib Axes, optional
        Where to draw. When absent, a figure of its own is made, outside pyplot.
    file : path, optional
        PNG, PDF or SVG to write.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        Without matplotlib.
    InputError
        If ``file`` is not of a format that matplotlib writes.
    """
    own = new_figure(7.2, 4.0)
    path = figure_path(file, own.canvas.get_supported_filetypes())
    axes = own.add_subplot() if axes is None else axes
    # Spaced evenly on both scales: steps oscillate near the upper end, where a logarithmic grid is coarse.
    x = np.union1d(
        np.geomspace(schedule.lower / BELOW, schedule.upper, POINTS),
        np.linspace(schedule.lower, schedule.upper, POINTS),
    )
    value = x
    for t, step in enumerate(schedule.coefficients, start=1):
        value = schedule.step(step, value)
        last = t == schedule.steps
        axes.plot(
            x,
            value,
            color=BLUE if last else GREY,
            linewidth=1.7 if last else 0.8,
            alpha=1.0 if last else 0.25 + 0.5 * t / schedule.steps,
            zorder=3 if last else 2,
            label=f"all {schedule.steps} steps" if last else "the first, the first two, ..." if t == 1 else None,
        )
    bound = schedule.error_bound
    if bound < 1:
        ends, label = [schedule.lower, schedule.upper], f"1 ± {bound:.2g}"
        axes.fill_between(ends, 1 - bound, 1 + bound, color=ORANGE, alpha=0.15, linewidth=0, label=label)
    axes.axvline(schedule.lower, color=GREY, linewidth=1.1, linestyle=(0, (1, 2)))
    axes.set_xscale("log")
    axes.set_xlim(float(x[0]), schedule.upper)
    axes.set_ylim(min(0.0, *(schedule.interval(t)[0] for t in range(1, schedule.steps + 1))), 2.05)
    axes.set_xlabel("singular value" if schedule.root == 1 else f"eigenvalue to the power 1/{schedule.root}", color=INK)
    axes.set_ylabel("composite of the steps", color=INK)
    axes.set_title(f"{schedule.title}: {schedule.products} products", loc="left", fontsize=10.5, color=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(which="major", color="#EBEBEB", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.legend(loc="upper left", frameon=False, fontsize=8.5, labelcolor=INK)
    if path is not None:
        with writing(path) as stream:
            axes.figure.savefig(stream, dpi=160, format=path.suffix[1:].lower())
    return axes
