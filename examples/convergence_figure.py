"""The README's figure: every method on one problem, and what a preconditioner does for a stubborn one.

Writes docs/images/convergence.png, or the file that is named. Needs matplotlib and PyAMG:
pip install 'resolvent[plot,amg]'.
"""

import sys
import warnings
from pathlib import Path

from matplotlib.figure import Figure

import resolvent as rv

INK, GRID = "#333333", "#EBEBEB"
# Okabe and Ito's colours. Richardson's is Jacobi's curve where the diagonal is constant, as on the left.
METHODS = {
    "cg": ("conjugate gradients", "#0072B2"),
    "ssor": ("SSOR", "#009E73"),
    "sor": ("SOR", "#CC79A7"),
    "chebyshev": ("Chebyshev", "#D55E00"),
    "gauss_seidel": ("Gauss-Seidel", "#E69F00"),
    "jacobi": ("Jacobi, Richardson", "#8C8C8C"),
}
RTOL = 1e-10
LEGEND = {"frameon": True, "framealpha": 0.9, "edgecolor": "none", "fontsize": 9, "labelcolor": INK}


def main() -> None:
    """Solve, draw, save."""
    default = Path(__file__).parents[1] / "docs" / "images" / "convergence.png"
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    figure = Figure(figsize=(9.6, 4.1), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    methods_on_poisson(left)
    preconditioners_on_bar(right)
    left.set_ylabel("relative residual  ‖b − A x‖ / ‖b‖", color=INK)
    left.set_ylim(2e-11, 4)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)
    print(f"wrote {file}, {file.stat().st_size / 1024:.0f} KiB")


def methods_on_poisson(axes) -> None:
    """All methods on a problem that all of them solve; a logarithmic axis, since the counts differ a hundredfold."""
    problem = rv.gallery.poisson((32, 32))
    dress(axes, f"All methods, Poisson on a 32 × 32 grid, κ = {problem.condition:.0f}", "iteration (logarithmic)")
    axes.set_xscale("log")
    for name, (label, colour) in METHODS.items():
        solution = rv.solve(problem.A, problem.b, method=name, rtol=RTOL, maxiter=20000)
        curve(axes, solution, colour, label)
    axes.set_xlim(left=0.93)
    axes.legend(**LEGEND, loc="lower left", bbox_to_anchor=(0.02, 0.08))


def preconditioners_on_bar(axes) -> None:
    """Conjugate gradients on an elastic bar of 128 finite elements."""
    problem = rv.gallery.load_finite_elements("bar")
    A, b = problem.A, problem.b
    dress(axes, "Preconditioned CG, elastic bar, κ = 3.4·10⁴", "iteration")
    made = {
        "no preconditioner": (None, "#0072B2"),
        "Jacobi": (rv.precondition.jacobi(A), "#56B4E9"),
        "SSOR, ω = 1.5": (rv.precondition.ssor(A, 1.5), "#009E73"),
        "Chebyshev polynomial, degree 8": (rv.precondition.polynomial(A, 8), "#D55E00"),
    }
    for name, (M, colour) in made.items():
        solution = rv.cg(A, b, M=M, rtol=RTOL)
        curve(axes, solution, colour, name)
    axes.legend(**LEGEND, loc="upper right")


def curve(axes, solution: rv.Solution, colour: str, label: str) -> None:
    """A residual history, and the true residual of x where it ends."""
    norms = solution.residual_norms / solution.residual_norms[0]
    axes.plot(solution.residual_iterations, norms, color=colour, linewidth=1.7, label=label)
    axes.plot(
        [solution.iterations],
        [solution.relative_residual],
        marker="o",
        color=colour,
        markeredgecolor="white",
        markersize=7,
        zorder=5,
    )


def dress(axes, title: str, xlabel: str) -> None:
    """Axes that leave the ink to the curves."""
    axes.set_yscale("log")
    axes.set_title(title, loc="left", fontsize=10.5, color=INK)
    axes.set_xlabel(xlabel, color=INK)
    axes.axhline(RTOL, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#BBBBBB")
    axes.tick_params(which="both", color="#BBBBBB", labelcolor=INK, labelsize=9)
    axes.tick_params(which="minor", length=0)
    axes.grid(which="major", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("error", rv.ConvergenceWarning)  # the figure shows converged solves only
        main()
