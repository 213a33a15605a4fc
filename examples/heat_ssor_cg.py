"""Learning omega of SSOR-CG along a heat equation: the second experiment of Khodak et al. (ICLR 2024).

A conductivity that changes a hundredfold, twice a unit of time, makes every system of a Crank-Nicolson run want
another omega. What is counted are iterations of conjugate gradients to 1e-8, started from the state before.

    python heat_ssor_cg.py                                  25 x 25 intervals, one period: a quarter of a minute
    python heat_ssor_cg.py --sizes 25 50 100 200 --steps 5000 --kept heat    as in the reference: about an hour, of
                                                            which the oracle takes most (--no-grid leaves it out)
    python heat_ssor_cg.py --long --kept heat               400 x 400 intervals too: hours
    python heat_ssor_cg.py --figure heat.png                a figure as well; needs matplotlib

With --kept, runs are kept in a folder, and those found there are not made again.
"""

import argparse
import math
import re
import time
from pathlib import Path

import numpy as np

import resolvent as rv
from resolvent import tuning
from resolvent.solvers.krylov.ssor_cg import ssor_omega

GRID = np.round(np.linspace(1, 1.95, 20), 2).tolist()
DRAWN = {
    "omega = 1": "#8C8C8C",
    "TsallisINF": "#E69F00",
    "best fixed omega": "#56B4E9",
    "ChebCB": "#D55E00",
    "Auto": "#009E73",
    "oracle": "#333333",
}


class ClosedForm:
    """ITPACK's omega for the exact eigenvalue, rounded to the grid; the context is the c of I + c K."""

    parameter = "omega"

    def __init__(self, n_x):
        self.n_x = n_x

    def suggest(self, context):
        """Both branches, with the smallest eigenvalue of K in closed form."""
        diagonal = 1 + 4 * context
        radius = 1 - (1 + 8 * context * math.sin(math.pi / (2 * self.n_x)) ** 2) / diagonal
        omega = ssor_omega(radius, (2 * context / diagonal) ** 2)
        return min(GRID, key=lambda value: abs(value - omega))

    def observe(self, cost, evidence=None):
        """Nothing to learn."""


def made(n_x, steps, seed, grid):
    """By name: the method, and what makes its tuner."""
    interval = (0.0, 1.001 * rv.gallery.heat_sequence(n_x, steps).coefficients.max())
    found = {
        "conjugate gradients": ("cg", lambda: None),
        "TsallisINF": ("ssor_cg", lambda: tuning.TsallisINF(seed=seed)),
        "TsallisINF, variance reduced": ("ssor_cg", lambda: tuning.TsallisINF(variance_reduced=True, seed=seed)),
        "TsallisINFBinned, 6 bins": ("ssor_cg", lambda: tuning.TsallisINFBinned(interval, bins=6, seed=seed)),
        "ChebCB": ("ssor_cg", lambda: tuning.ChebCB(interval, seed=seed)),
        "closed form, exact eigenvalue": ("ssor_cg", lambda: ClosedForm(n_x)),
        "Spectral": ("ssor_cg", tuning.Spectral),
        "Auto": ("ssor_cg", lambda: tuning.Auto(seed=seed)),
    }
    for omega in GRID if grid else (1.0, 1.5):
        found[f"omega = {omega:g}"] = "ssor_cg", lambda omega=omega: tuning.Fixed(omega)
    return found


def run(method, tuner, n_x, steps):
    """Iterations step by step, and the seconds that the solves and the tuner took."""
    sequence = rv.Sequence(method, tuner=tuner, rtol=1e-8, give_up=None)
    seconds = 0.0

    def solve(problem, u):
        nonlocal seconds
        began = time.perf_counter()
        solution = sequence.solve(problem.A, problem.b, context=problem.context)
        seconds += time.perf_counter() - began
        return solution.raise_for_status()

    for _ in rv.gallery.heat_sequence(n_x, steps).march(solve):
        pass
    return np.array(sequence.history.iterations), seconds


def compare(n_x, options):
    """Everything at one mesh size: iterations and seconds by name."""
    found = {}
    for name, (method, tuner) in made(n_x, options.steps, options.seed, not options.no_grid).items():
        slug = re.sub(r"[^a-z0-9.]+", "_", name.lower())
        file = options.kept and options.kept / f"{n_x}_{options.steps}_{options.seed}_{slug}.npz"
        if file and file.exists():
            with np.load(file) as stored:
                found[name] = stored["counts"], float(stored["seconds"])
            continue
        run(method, tuner(), n_x, 3)  # whatever has to be compiled
        found[name] = run(method, tuner(), n_x, options.steps)
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez(file, counts=found[name][0], seconds=found[name][1])
    fixed = {name: counts for name, (counts, _) in found.items() if name.startswith("omega")}
    if not options.no_grid:
        best = min(fixed, key=lambda name: fixed[name].sum())
        found["best fixed omega"] = found[best]
        found["oracle"] = np.min(list(fixed.values()), axis=0), math.nan
    return {name: one for name, one in found.items() if name not in fixed or name in ("omega = 1", "omega = 1.5")}


def main():
    """One table, and one figure."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--sizes", type=int, nargs="+", default=[25])
    arguments.add_argument("--steps", type=int, default=1000)
    arguments.add_argument("--long", action="store_true", help="5000 steps, 25 to 400 intervals")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--no-grid", action="store_true", help="leave out the best fixed omega and the oracle")
    arguments.add_argument("--kept", type=Path, help="folder to keep runs in")
    arguments.add_argument("--figure", type=Path, help="PNG, PDF or SVG to write")
    options = arguments.parse_args()
    if options.long:
        options.sizes, options.steps = [25, 50, 100, 200, 400], 5000
    found = {n_x: compare(n_x, options) for n_x in options.sizes}
    against = "closed form, exact eigenvalue" if options.no_grid else "oracle"
    largest = found[options.sizes[-1]]
    print(f"{options.steps} steps: iterations, and these relative to {against}\n")
    print(f"{'':<31}" + "".join(f"{f'n_x = {n_x}':>18}" for n_x in found) + f"{'seconds':>10}")
    for name in sorted(largest, key=lambda name: -largest[name][0].sum()):
        cells = [(one[name][0].sum(), one[name][0].sum() / one[against][0].sum()) for one in found.values()]
        seconds = "" if math.isnan(largest[name][1]) else f"{largest[name][1]:.1f}"
        print(f"{name:<31}" + "".join(f"{total:>11,}{ratio:>7.3f}" for total, ratio in cells) + f"{seconds:>10}")
    print(f"\nseconds: of the solves and the tuner together, at n_x = {options.sizes[-1]}")
    if options.figure:
        draw(found, against, options)


def draw(found, against, options):
    """Left: totals by mesh size, relative to the oracle. Right: iterations over the last period at the largest size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes = list(found)
    last = found[sizes[-1]]
    for name, colour in DRAWN.items():
        if name not in last:
            continue
        style = {"color": colour, "linewidth": 1.6, "linestyle": "--" if name == "oracle" else "-"}
        ratios = [one[name][0].sum() / one[against][0].sum() for one in found.values()]
        left.plot(range(len(sizes)), ratios, marker="o", markersize=4, label=name, **style)
        counts = last[name][0][-1000:]
        right.plot(1e-3 * np.arange(options.steps - len(counts), options.steps), median(counts), **style)
    left.set_xticks(range(len(sizes)), [str(n_x) for n_x in sizes])
    left.set_xlabel("mesh intervals a side")
    left.set_yscale("log")
    ticks = [1, 1.2, 1.5, 2, 2.5, 3]
    left.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    left.minorticks_off()
    left.set_title(f"Iterations over {options.steps} steps / {against}", loc="left", fontsize=10.5)
    right.set_title(f"Iterations a step, n_x = {sizes[-1]}, last period", loc="left", fontsize=10.5)
    right.set_xlabel("time")
    for axes in (left, right):
        axes.grid(color="#EBEBEB", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=9, frameon=False)
    figure.savefig(options.figure, dpi=110)
    print(f"wrote {options.figure}")


def median(values, width=15):
    """Running medians, the ends repeated."""
    padded = np.pad(values, width // 2, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=1)


if __name__ == "__main__":
    main()
