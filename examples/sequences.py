"""Which tuner for which sequence: one that drifts, one that jumps, one whose context is useless, and an adversary.

The first three are shifted Laplacians K + c I solved by SOR, the c moving as the name says; what counts are iterations
to 1e-8. In the last, costs are laid down beforehand by somebody who knows that learners compare what they tried at
different times: all values get ten times as dear and cheap again together, in blocks of growing length.

    python sequences.py                               600 systems each, about a quarter of a minute
    python sequences.py --systems 5000                about two minutes
    python sequences.py --figure sequences.png        totals as a figure; needs matplotlib
"""

import argparse
from pathlib import Path

import numpy as np

import resolvent as rv
from resolvent import tuning

INTERVAL = (-0.2, 0.5)  # of contexts
GRID = np.round(np.linspace(1, 1.95, 20), 2).tolist()


def tuners(seed):
    """All that can be compared on every sequence."""
    return {
        "TsallisINF": tuning.TsallisINF(seed=seed),
        "TsallisINF, reduced": tuning.TsallisINF(variance_reduced=True, seed=seed),
        "ChebCB": tuning.ChebCB(INTERVAL, seed=seed),
        "Thompson": tuning.GaussianThompson(seed=seed),
        "Thompson, memory": tuning.GaussianThompson(memory=300, seed=seed),
        "Spectral": tuning.Spectral("sor"),
        "Auto": tuning.Auto(method="sor", seed=seed),
    }


def laplacians(kind, count, seed):
    """Shifts, and what is told of them as contexts."""
    t = np.arange(count) / count
    rng = np.random.default_rng([seed, 1])
    if kind == "drift":
        shifts = 0.15 + 0.29 * np.cos(3 * np.pi * t)
        return shifts, shifts
    if kind == "jump":
        shifts = np.where(np.floor(4 * t) % 2 == 0, 0.4, -0.13)
        return shifts, np.full(count, 0.1)  # nobody tells
    return 0.3 * rng.beta(0.5, 1.5, count) - 0.13, rng.uniform(-0.15, 0.45, count)


class Blind:
    """A tuner whose sequence shows neither matrices nor rates: iterations and contexts alone."""

    parameter = "omega"

    def __init__(self, tuner):
        self.tuner = tuner

    def suggest(self, context=None):
        """What the tuner says."""
        return self.tuner.suggest(context)

    def observe(self, cost, evidence=None):
        """Without the evidence."""
        self.tuner.observe(cost)


def solved(tuner, problems, contexts):
    """Iterations of SOR, system by system."""
    sequence = rv.Sequence("sor", tuner=tuner, rtol=1e-8, warm_start=None, give_up=None, maxiter=10_000)
    for problem, context in zip(problems, contexts, strict=True):
        sequence.solve(problem.A, problem.b, context=context).raise_for_status()
    return np.array(sequence.history.iterations)


def totals_on_laplacians(kind, count, seed):
    """By tuner, and of the best fixed omega."""
    shifts, contexts = laplacians(kind, count, seed)
    problems = list(rv.gallery.shifted_laplacians(10, count, shifts=shifts, seed=seed))
    found = {name: solved(tuner, problems, contexts).sum() for name, tuner in tuners(seed).items()}
    found["Auto, iterations alone"] = solved(Blind(tuning.Auto(method="sor", seed=seed)), problems, contexts).sum()
    best = min(solved(tuning.Fixed(omega), problems, contexts).sum() for omega in GRID[10:])
    return found, best


def totals_against_an_adversary(count, seed):
    """All values get dear and cheap together, in blocks each 1.6 times as long as the last; 1.65 is always best."""
    rng = np.random.default_rng([seed, 2])
    ends = np.cumsum(10 * 1.6 ** np.arange(20)).astype(int)
    level = np.where(np.searchsorted(ends, np.arange(count), side="right") % 2 == 0, 20.0, 200.0)
    worse = 1 + 0.3 * np.minimum(1, np.abs(np.arange(len(GRID)) - 13) / 4)
    costs = level[:, None] * worse * rng.uniform(0.8, 1.2, (count, len(GRID)))
    found = {}
    for name, tuner in (tuners(seed) | {"Auto, iterations alone": tuning.Auto(method="sor", seed=seed)}).items():
        if name in ("Spectral", "Auto"):
            continue  # there is no spectrum
        total = 0.0
        for row in costs:
            value = tuner.suggest(0.1)
            cost = float(row[int(np.argmin(np.abs(np.array(GRID) - value)))])
            tuner.observe(cost)
            total += cost
        found[name] = total
    return found, costs.sum(axis=0).min()


def main():
    """One column a sequence, relative to the best fixed value in hindsight."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--systems", type=int, default=600)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--figure", type=Path, help="PNG, PDF or SVG to write")
    options = arguments.parse_args()
    columns = {}
    for kind in ("drift", "jump", "useless context"):
        columns[kind] = totals_on_laplacians(kind, options.systems, options.seed)
    columns["adversary"] = totals_against_an_adversary(options.systems, options.seed)
    names = list(columns["drift"][0])
    print(f"{options.systems} systems; totals / total of the best fixed value\n")
    print(f"{'':<24}" + "".join(f"{kind:>17}" for kind in columns))
    for name in names:
        cells = [found[name] / best if name in found else None for found, best in columns.values()]
        print(f"{name:<24}" + "".join(f"{'-' if cell is None else format(cell, '.3f'):>17}" for cell in cells))
    print(f"{'best fixed value, total':<24}" + "".join(f"{best:>17.0f}" for _, best in columns.values()))
    if options.figure:
        draw(names, columns, options.figure)


def draw(names, columns, file):
    """Bars by sequence; 1 is the best fixed value."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    for axes, (kind, (found, best)) in zip(figure.subplots(1, len(columns), sharey=True), columns.items(), strict=True):
        ratios = [found.get(name, np.nan) / best for name in names]
        colours = ["#009E73" if name.startswith("Auto") else "#8C8C8C" for name in names]
        axes.barh(names, ratios, color=colours, height=0.7)
        axes.axvline(1, color="#333333", linewidth=0.9)
        axes.set_title(kind, loc="left", fontsize=10.5)
        axes.spines[["top", "right", "left"]].set_visible(False)
    axes.invert_yaxis()
    figure.supxlabel("total / total of the best fixed value", fontsize=9.5)
    figure.savefig(file, dpi=140)
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
