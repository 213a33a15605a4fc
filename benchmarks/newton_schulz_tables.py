"""Tables and figure of Newton-Schulz schedules, for docs/newton_schulz.md and docs/schedules.md.

make newton-schulz-tables makes them anew. Errors are the largest distance of a singular value from one, over all that
lie in [l, 1]. Nothing is measured: all of it follows from the polynomials.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

import resolvent as rv
from resolvent.precision.formats import FORMATS as FORMATS_BY_NAME
from resolvent.solvers.matrix_functions.mixes import composed_errors
from resolvent.solvers.matrix_functions.presets import PRESETS
from resolvent.solvers.matrix_functions.schedule import Schedule
from resolvent.solvers.matrix_functions.step_rounding import cushion_for

IMAGES = Path(__file__).parents[1] / "docs" / "images"
LOWERS = ("1e-1", "1e-2", "1e-3", "1e-4")
TOLERANCES = (0.3, 0.1, 1e-2, 1e-6, 1e-12)
FORMATS = ("bf16", "fp16", "tf32", "fp32", "fp64")
MOST_STEPS = 8
UNREADABLE = 1e-99  # errors below it are printed as zero

Rows = list[list[str]]


def short(value: float) -> str:
    """Four digits, or three where that is a power of ten."""
    return "0" if value < UNREADABLE else f"{value:.4g}"


def errors() -> Rows:
    """Of one to eight steps of one degree, in exact arithmetic."""
    rows = [["degree", "l", *map(str, range(1, MOST_STEPS + 1))]]
    for degree in (3, 5, 7, 9, 17):
        for lower in LOWERS:
            found = until_nothing(Decimal(lower), (degree - 1) // 2)
            rows.append([str(degree), lower, *found, *[""] * (MOST_STEPS - len(found))])
    return rows


def until_nothing(lower: Decimal, degree: int) -> list[str]:
    """Errors up to the first that is far below every format's precision."""
    found: list[str] = []
    for steps in range(1, MOST_STEPS + 1):
        error = float(composed_errors(lower, [degree] * steps)[-1])
        found.append(short(error))
        if error < 1e-30:
            break
    return found


def tolerances() -> Rows:
    """Products until a tolerance, of minimax steps and of those that know no interval."""
    rows = [["l", "steps", *(f"{tolerance:g}" for tolerance in TOLERANCES)]]
    for lower in (0.1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-8, 1e-12):
        makers: dict[str, Callable[[float, float], Schedule]] = {
            "best mix": lambda l, t: rv.newton_schulz.schedule(l, tolerance=t),
            "degree 5": lambda l, t: rv.newton_schulz.schedule(l, degree=5, tolerance=t),
            "degree 3": lambda l, t: rv.newton_schulz.schedule(l, degree=3, tolerance=t),
            "`taylor`": lambda l, t: repeated("taylor", l, t),
            "`classical`": lambda l, t: repeated("classical", l, t),
        }
        for name, make in makers.items():
            rows.append([f"{lower:g}", name, *(str(make(lower, tolerance).products) for tolerance in TOLERANCES)])
    return rows


def repeated(name: str, lower: float, tolerance: float) -> Schedule:
    """The fewest steps of a preset."""
    steps = 1
    while (found := rv.newton_schulz.preset(name, steps, lower=lower)).error_bound > tolerance:
        steps += 1
    return found


def budgets() -> Rows:
    """The best mix of degrees for a number of products, on [1e-3, 1]."""
    rows = [["products", "degrees", "error", "degree 5 alone", "degree 3 alone"]]
    for products in range(6, 21):
        best = rv.newton_schulz.schedule(1e-3, products=products)
        alone = [rv.newton_schulz.schedule(1e-3, degree=degree, products=products).error_bound for degree in (5, 3)]
        degrees = ", ".join(map(str, best.degrees))
        rows.append([str(products), degrees, short(best.error_bound), *map(short, alone)])
    return rows


def precisions() -> Rows:
    """What each precision may do, and the best it can on [1e-3, 1]."""
    degrees = (3, 5, 9, 17)
    rows = [["precision", *(f"cushion of {degree}" for degree in degrees), "12 products", "15 products", "18 products"]]
    for name in FORMATS:
        cushions = [cushion_for((degree - 1) // 2, 2, FORMATS_BY_NAME[name]) for degree in degrees]
        cells = []
        for products in (12, 15, 18):
            found = rv.newton_schulz.schedule(1e-3, products=products, precision=name)
            cells.append(f"{short(found.error_bound)} ({', '.join(map(str, found.degrees))})")
        rows.append([f"`{name}`", *("-" if math.isinf(cushion) else f"{cushion:.2g}" for cushion in cushions), *cells])
    return rows


def presets() -> Rows:
    """What the published schedules do to singular values."""
    rows = [["name", "products", *(f"range from {lower} on" for lower in LOWERS), "slope at 0", "fails from"]]
    for name in PRESETS:
        ranges = []
        for lower in LOWERS:
            found = rv.newton_schulz.preset(name, lower=float(lower), allow_sign_flip=True)
            low, high = found.interval(found.steps)
            ranges.append(f"{low:.3f} to {high:.3f}")
        slope = math.prod(step[0] for step in found.coefficients)
        rows.append([f"`{name}`", str(found.products), *ranges, f"{slope:.3g}", limit(found)])
    return rows


def limit(schedule: Schedule) -> str:
    """The first value that has the wrong sign or leaves [0, 2]; steps that can be repeated are, until that shows."""
    longer = rv.newton_schulz.preset(schedule.name, PRESETS[schedule.name].tail and 40, allow_sign_flip=True)
    x = np.linspace(0.5, 2.0, 15_001)
    y = longer(x)
    return f"{x[np.argmin((y > 0) & (y < 2))]:.4f}"  # false where it is not finite


def curve(degree: int | str, precision: str) -> Iterator[tuple[int, float]]:
    """Products and errors on [1e-3, 1], while there is something to gain."""
    before = 0
    for products in range(2, 29):
        if degree == "best" or products % {3: 2, 5: 3}[int(degree)] == 0:
            found = rv.newton_schulz.schedule(1e-3, degree=degree, products=products, precision=precision)
            if found.products > before:
                yield found.products, found.error_bound
            if found.error_bound < LOWEST:
                return
            before = found.products


def plot(path: Path) -> None:
    """Errors against products on [1e-3, 1]: ours, and every preset that keeps signs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 4.8), layout="constrained")
    near, far = figure.subplots(1, 2, width_ratios=(1, 1))
    ours: tuple[tuple[int | str, str, str, str], ...] = (
        ("best", "fp64", "#0072B2", "best mix of degrees"),
        ("best", "bf16", "#D55E00", "the same for bfloat16"),
        (5, "fp64", "#009E73", "degree 5"),
        (3, "fp64", "#CC79A7", "degree 3"),
    )
    for axes in (near, far):
        for degree, precision, colour, label in ours:
            points = list(curve(degree, precision))
            axes.plot(
                *zip(*points, strict=True), ".-", color=colour, label=label, linewidth=1.6, markersize=7, zorder=3
            )
        for name in ("taylor", "classical"):
            found = [rv.newton_schulz.preset(name, steps) for steps in range(1, 22)]
            points = [(one.products, one.error_bound) for one in found if one.products <= 44]
            axes.plot(*zip(*points, strict=True), ".-", color="#8C8C8C", linewidth=1.0, markersize=4, zorder=2)
            if axes is far:
                at = points[-1]
                axes.annotate(name, at, xytext=BESIDE[name], textcoords="offset points", fontsize=8.5, color=INK)
        for name, beside in BESIDE.items():
            found_one = rv.newton_schulz.preset(name)
            at = (found_one.products, max(found_one.error_bound, LOWEST))
            if name in ("taylor", "classical") or (axes is near) != (at[1] > 0.1):
                continue
            axes.plot(*at, "v" if at[1] == LOWEST else "D", color=INK, markersize=5, zorder=4, clip_on=False)
            axes.annotate(name, at, xytext=beside, textcoords="offset points", fontsize=8.5, color=INK)
        axes.set_xlabel("dense products", color=INK)
        axes.grid(which="major", color="#EBEBEB", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    near.set(xlim=(7.5, 21.5), ylim=(0, 1.03), xticks=range(8, 22, 2))
    near.set_ylabel("largest distance from one on [0.001, 1]", color=INK)
    far.set(yscale="log", xlim=(1, 48), ylim=(LOWEST, 3))
    far.legend(frameon=False, loc="lower left", fontsize=9, labelcolor=INK)
    figure.savefig(path, dpi=150)


INK = "#333333"
LOWEST = 1e-15  # what is below is marked there
# Every preset that keeps signs, with the place of its name, in points.
BESIDE = {
    "classical": (6, -3),
    "taylor": (6, -3),
    "septic": (-10, -13),
    "muon": (7, 2),
    "su": (7, 0),
    "modula": (7, -3),
    "you": (7, -8),
    "you6": (7, -3),
    "polar-express": (7, -3),
    "polar-express-8": (7, 4),
    "turbo": (7, 4),
    "turbo-genetic": (7, -8),
    "cans": (7, -3),
    "cubic5": (4, 5),
    "deepseek": (7, -3),
}

TABLES: dict[str, Callable[[], Rows]] = {
    "errors": errors,
    "tolerances": tolerances,
    "budgets": budgets,
    "precisions": precisions,
    "presets": presets,
}


def main(argv: list[str] | None = None) -> None:
    """Print the tables, and write them and the figures for the documentation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=IMAGES, metavar="FOLDER", help="%(default)s")
    given = parser.parse_args(argv)
    for name, make in TABLES.items():
        rows: list[list[Any]] = make()
        with (given.into / f"newton_schulz_{name}.csv").open("w", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows(rows)
        widths = [max(len(str(row[k])) for row in rows) for k in range(len(rows[0]))]
        print(f"\n{name}")
        for row in rows:
            print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    plot(given.into / "newton_schulz_products.png")
    rv.newton_schulz.schedule(1e-3, products=12).plot(file=given.into / "newton_schulz_schedule.png")


if __name__ == "__main__":
    main()
