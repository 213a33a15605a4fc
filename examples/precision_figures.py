"""The figures and the table of the page on precision, and the data behind them.

Conjugate gradients in low precision: the carried residual and the true one, what each format attains as the condition
grows, and how rounding delays convergence on Strakoš's matrices. Writes residual_gap.png, condition_map.png,
strakos_delays.csv, and the data of the figures as CSV into docs/images, or the folder that is named. Needs matplotlib:
pip install 'resolvent[plot]'.
"""

import csv
import sys
import warnings
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import resolvent as rv

INK, GRID = "#333333", "#EBEBEB"
# One colour a format in all figures, of those that Okabe and Ito chose.
COLOURS = {
    "fp64": "#8C8C8C",
    "fp32": "#0072B2",
    "tf32": "#009E73",
    "bf16": "#D55E00",
    "fp8_e4m3fn": "#CC79A7",
}
LEGEND = {"frameon": False, "fontsize": 9, "labelcolor": INK}
norm = np.linalg.norm


def main() -> None:
    """Solve, draw, save."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    residual_gap(folder)
    condition_map(folder)
    strakos_delays(folder)


# The carried residual and the true one.


def residual_gap(folder: Path) -> None:
    """Conjugate gradients run on past the accuracy of the format, from a first guess ten times the size of x."""
    problem = rv.gallery.poisson((32, 32))
    A, b = problem.A, problem.b
    guess = 10 * norm(problem.x) / 32 * np.random.default_rng(0).standard_normal(b.size)
    figure = Figure(figsize=(9.6, 4.3), layout="constrained")
    rows = []
    for axes, replacement in zip(figure.subplots(1, 2, sharey=True), (False, True), strict=True):
        dress(axes, f"{'With' if replacement else 'Without'} residual replacement", "iteration")
        for name in ("fp32", "tf32", "bf16"):
            true = [norm(b - A @ guess) / norm(b)]
            solution = rv.cg(
                A,
                b,
                x0=guess,
                rtol=0,
                maxiter=160,
                precision=name,
                residual_replacement=replacement,
                callback=lambda told, true=true: true.append(norm(b - A @ told.x) / norm(b)),
            )
            carried = solution.residual_norms / norm(b)
            axes.plot(true, color=COLOURS[name], linewidth=1.8, label=f"{name}, true")
            axes.plot(carried, color=COLOURS[name], linewidth=1.3, linestyle=(0, (4, 1.5)), label=f"{name}, carried")
            axes.axhline(solution.attainable_residual, color=COLOURS[name], linewidth=0.9, linestyle=(0, (1, 2)))
            for at, pair in enumerate(zip(true, carried, strict=True)):
                rows.append((name, replacement, at, *(f"{value:.4e}" for value in pair)))
    figure.axes[0].set_ylabel("relative residual  ‖b − A x‖ / ‖b‖", color=INK)
    figure.axes[0].set_ylim(1e-10, 300)
    figure.axes[0].legend(**LEGEND, loc="upper right", ncols=3)
    save(figure, folder / "residual_gap.png")
    write(folder / "residual_gap.csv", ("format", "replacement", "iteration", "true", "carried"), rows)


# What a format attains as the condition grows.


def condition_map(folder: Path) -> None:
    """Backward and forward error of conjugate gradients and of refinement on random matrices of order 100."""
    conditions = np.logspace(1, 6, 11)
    problems = [rv.gallery.randsvd(100, condition) for condition in conditions]
    figure = Figure(figsize=(9.6, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    dress(left, "Backward error", "condition number κ")
    dress(right, "Forward error  ‖x − A⁻¹b‖ / ‖A⁻¹b‖", "condition number κ")
    rows = []
    for name, colour in COLOURS.items():
        plain = [rv.cg(p.A, p.b, rtol=1e-16, maxiter=20_000, precision=name) for p in problems]
        rows += draw(left, right, problems, plain, "cg", name, colour)
        if name in ("fp32", "tf32", "bf16"):
            refined = [rv.refine(p.A, p.b, inner_precision=name, escalate=False) for p in problems]
            rows += draw(left, right, problems, refined, "refine", name, colour)
        u = plain[0].unit_roundoff
        left.axhline(u, color=colour, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
        right.plot(conditions, np.minimum(conditions * u, 1), color=colour, linewidth=0.9, linestyle=(0, (1, 2)))
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_ylim(1e-17, 10)
    left.legend(**LEGEND, loc="lower left", bbox_to_anchor=(0, 0.1), ncols=2)
    save(figure, folder / "condition_map.png")
    head = ("method", "format", "condition", "status", "iterations", "backward error", "forward error")
    write(folder / "condition_map.csv", head, rows)


def draw(left, right, problems, solutions, method, name, colour) -> list[tuple]:
    """Two curves; of refinement only where it reached the accuracy of float64, of which it promises that."""
    conditions = np.array([p.condition for p in problems])
    backward = np.array([s.backward_error for s in solutions])
    forward = np.array([norm(s.x - p.x) / norm(p.x) for p, s in zip(problems, solutions, strict=True)])
    shown = np.array([method == "cg" or s.converged for s in solutions])
    style = {"color": colour, "markersize": 4.5, "linewidth": 1.6, "marker": "o"}
    if method == "refine":
        style |= {"linestyle": (0, (4, 1.5)), "marker": "s", "markerfacecolor": "white"}
    label = name if method == "cg" else f"{name}, refined"
    left.plot(conditions[shown], backward[shown], label=label, **style)
    right.plot(conditions[shown], forward[shown], **style)
    return [
        (method, name, f"{kappa:.4g}", s.status.name, s.iterations, f"{eta:.3e}", f"{error:.3e}")
        for kappa, s, eta, error in zip(conditions, solutions, backward, forward, strict=True)
    ]


# The delay by rounding.


def strakos_delays(folder: Path) -> None:
    """Iterations until the error in the A-norm has fallen to four levels, on three of Strakoš's matrices."""
    rows = []
    for n, largest, rho in ((24, 100.0, 0.65), (48, 1000.0, 0.8), (48, 1000.0, 0.9)):
        problem = rv.gallery.strakos(n, 0.1, largest, rho)
        found = {"exact": reorthogonalised(problem)}
        for name in ("fp64", "fp32", "tf32", "bf16"):
            iterates = []
            rv.cg(
                problem.A,
                problem.b,
                rtol=0,
                maxiter=400,
                precision=name,
                residual_replacement=False,
                callback=lambda told, iterates=iterates: iterates.append(told.x),
            )
            found[name] = iterates
        for name, iterates in found.items():
            errors = np.array([energy(problem, x) for x in iterates])
            counts = [int(np.argmax(errors <= level)) + 1 if (errors <= level).any() else "-" for level in LEVELS]
            rows.append((f"n = {n}, rho = {rho}", name, *counts, f"{errors.min():.1e}"))
    head = ("matrix", "arithmetic", *(f"{level:.0e}" for level in LEVELS), "smallest error")
    write(folder / "strakos_delays.csv", head, rows)
    widths = [max(len(str(row[column])) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


LEVELS = (1e-2, 1e-4, 1e-8, 1e-12)


def energy(problem: rv.gallery.Problem, x: np.ndarray) -> float:
    """The error in the A-norm, relative to that of zero."""
    e = x - problem.x
    return float(np.sqrt(e @ (problem.A @ e)) / np.sqrt(problem.x @ problem.b))


def reorthogonalised(problem: rv.gallery.Problem) -> list[np.ndarray]:
    """Conjugate gradients with each residual made orthogonal to all before it: as good as exact arithmetic."""
    A, r = problem.A, problem.b.copy()
    x, p, basis, iterates = np.zeros_like(r), r, [r / norm(r)], []
    for _ in range(r.size):
        q = A @ p
        alpha = (r @ r) / (p @ q)
        x, after = x + alpha * p, r - alpha * q
        for _ in range(2):
            after = after - np.transpose(basis) @ (np.array(basis) @ after)
        p, r = after + (after @ after) / (r @ r) * p, after
        iterates.append(x)
        if not norm(r) > 1e-15 * norm(problem.b):
            break
        basis.append(r / norm(r))
    return iterates


# Drawing and writing.


def dress(axes, title: str, xlabel: str) -> None:
    """Axes that leave the ink to the curves."""
    axes.set_yscale("log")
    axes.set_title(title, loc="left", fontsize=10.5, color=INK)
    axes.set_xlabel(xlabel, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#BBBBBB")
    axes.tick_params(which="both", color="#BBBBBB", labelcolor=INK, labelsize=9)
    axes.tick_params(which="minor", length=0)
    axes.grid(which="major", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def save(figure: Figure, file: Path) -> None:
    """As PNG."""
    figure.savefig(file, dpi=120)
    print(f"wrote {file.name}, {file.stat().st_size / 1024:.0f} KiB")


def write(file: Path, head: tuple, rows: list[tuple]) -> None:
    """As CSV."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows([head, *rows])


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)  # that formats reach their limits is the subject
        main()
