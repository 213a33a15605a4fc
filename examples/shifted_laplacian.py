"""Learning omega of SOR on a stream of shifted Laplacians: the first experiment of Khodak et al. (ICLR 2024).

Each system is K + c I, K the five-point Laplacian of a 10 x 10 grid, with a random c: of low variance, or of high
variance, where K + c I comes close to singular. What is counted are iterations to a residual of 1e-8, exactly: here SOR
looks at its residual after each of them, which as a rule it does not.

    python shifted_laplacian.py                       600 systems, about twenty seconds
    python shifted_laplacian.py --systems 5000        as in the reference, about three minutes
    python shifted_laplacian.py --figure stream.png   running means as a figure; needs matplotlib
"""

import argparse
import math
from pathlib import Path

import numpy as np

import resolvent as rv
from resolvent import tuning
from resolvent.solvers.relaxation.sor import SOR

INTERVAL = (-0.15, 0.65)  # where the published programs let the contexts c lie
COLOURS = {
    "best fixed omega": "#8C8C8C",
    "TsallisINF": "#E69F00",
    "ChebCB": "#D55E00",
    "AdaptiveSOR": "#56B4E9",
    "Auto": "#009E73",
    "Young's omega": "#333333",
}


class CountedSOR(SOR):
    """SOR that knows its residual after every sweep, so that none is made too many."""

    name = "counted_sor"
    check_every = 1

    def step(self, system, state):
        """A sweep, and the residual."""
        super().step(system, state)
        state.work, state.residual_norm = system.residual_norm(state.x, state.work)


class CostsAlone:
    """A tuner that is told nothing but iteration counts."""

    parameter = "omega"

    def __init__(self, tuner):
        self.tuner = tuner

    def suggest(self, context=None):
        """Without the context."""
        return self.tuner.suggest()

    def observe(self, cost, evidence=None):
        """Without the evidence."""
        self.tuner.observe(cost)


class Young:
    """Young's omega for the exact Jacobi radius of each system, which nobody knows in practice."""

    parameter = "omega"

    def suggest(self, context):
        """2 / (1 + sqrt(1 - radius^2)), the radius being that of K times 4 / (4 + c)."""
        radius = math.cos(math.pi / 11) * 4 / (4 + context)
        return 2 / (1 + math.sqrt(1 - radius**2))

    def observe(self, cost, evidence=None):
        """Nothing to learn."""


def learners(seed):
    """Name, tuner, and what it goes by."""
    return [
        ("omega = 1", tuning.Fixed(1.0), ""),
        ("TsallisINF", tuning.TsallisINF(seed=seed), "counts"),
        ("TsallisINF, variance reduced", tuning.TsallisINF(variance_reduced=True, seed=seed), "counts"),
        ("GaussianThompson", tuning.GaussianThompson(seed=seed), "counts"),
        ("Auto on counts", CostsAlone(tuning.Auto(method="sor", seed=seed)), "counts"),
        ("TsallisINFBinned", tuning.TsallisINFBinned(INTERVAL, seed=seed), "counts, c"),
        ("ChebCB", tuning.ChebCB(INTERVAL, seed=seed), "counts, c"),
        ("AdaptiveSOR", tuning.AdaptiveSOR(), "rates within the solve"),
        ("Spectral", tuning.Spectral("sor"), "rates, matrices"),
        ("Auto", tuning.Auto(method="sor", seed=seed), "counts, rates, matrices, c"),
        ("Young's omega", Young(), "exact radius"),
    ]


def run(tuner, problems):
    """Iterations, system by system; nothing is given up, as in the reference."""
    method = "sor" if isinstance(tuner, tuning.AdaptiveSOR) else CountedSOR
    sequence = rv.Sequence(method, tuner=tuner, rtol=1e-8, warm_start=None, give_up=None, maxiter=10_000)
    for problem in problems:
        sequence.solve(problem.A, problem.b, context=problem.context).raise_for_status()
    return np.array(sequence.history.iterations)


def main():
    """Both streams: a table each, and a panel of the figure."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--systems", type=int, default=600)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--figure", type=Path, help="PNG, PDF or SVG to write")
    options = arguments.parse_args()
    curves = {}
    for variance in ("low", "high"):
        problems = list(rv.gallery.shifted_laplacians(10, options.systems, shifts=variance, seed=options.seed))
        found = {name: (run(tuner, problems), what) for name, tuner, what in learners(options.seed)}
        grid = {omega: run(tuning.Fixed(omega), problems) for omega in np.arange(1.5, 1.96, 0.05).round(2)}
        best = min(grid, key=lambda omega: grid[omega].sum())
        found["best fixed omega"] = grid[best], f"hindsight: {best}"
        oracle = np.min(list(grid.values()), axis=0)
        found["best of a grid for each system"] = oracle, "hindsight"
        cg = rv.Sequence("cg", rtol=1e-8, warm_start=None)
        for problem in problems:
            cg.solve(problem.A, problem.b)
        found["conjugate gradients"] = np.array(cg.history.iterations), "another method"
        exact = found["Young's omega"][0].sum()
        title = f"{len(problems)} systems, {variance} variance"
        print(f"\n{title:<50}{'total':>10}{'a system':>11}{'/ Young':>9}   goes by")
        for name, (counts, what) in sorted(found.items(), key=lambda one: -one[1][0].sum()):
            print(f"  {name:<48}{counts.sum():>10}{counts.mean():>11.1f}{counts.sum() / exact:>9.3f}   {what}")
        curves[variance] = {name: found[name][0] for name in COLOURS}
    if options.figure:
        draw(curves, options.figure)


def draw(curves, file):
    """Running means over the stream."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 4.0), layout="constrained")
    for axes, (variance, lines) in zip(figure.subplots(1, 2), curves.items(), strict=True):
        for name, counts in lines.items():
            systems = np.arange(1, len(counts) + 1)
            axes.loglog(systems, counts.cumsum() / systems, color=COLOURS[name], linewidth=1.7, label=name)
        axes.set_title(f"{variance} variance", loc="left", fontsize=10.5)
        axes.set_xlabel("systems solved")
        axes.set_ylabel("mean iterations of SOR so far")
        axes.set_yticks([40, 60, 100, 200, 300, 500], ["40", "60", "100", "200", "300", "500"], minor=False)
        axes.minorticks_off()
        axes.grid(which="major", color="#EBEBEB", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=9, frameon=False)
    figure.savefig(file, dpi=140)
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
