"""What `make demo` runs: finite-element systems from Matrix Market files, solved in the terminal.

Two systems are written to files and read back, as if they came from elsewhere: an elastic bar of 128 hexahedra, clamped
at one end (a small but stubborn mesh problem that PyAMG ships), and an elastic plate of bilinear elements under its own
weight, large enough to watch. Each is solved in six ways, with a live line while they run, Gauss-Seidel for contrast;
then follow the report of the first and two figures.

Needs PyAMG and matplotlib: pip install 'resolvent[amg,plot]'.
"""

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from pyamg.gallery import linear_elasticity
from scipy.io import mmread, mmwrite

import resolvent as rv

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B37400", "#8C8C8C")


def main() -> None:
    """Make the files, solve them, say where everything is."""
    parser = argparse.ArgumentParser(description="Solve finite-element systems from Matrix Market files.")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parents[1] / "build" / "demo")
    parser.add_argument("--cells", type=int, default=150, help="elements along each side of the plate")
    arguments = parser.parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)

    bar = rv.gallery.load_finite_elements("bar")
    write(folder / "bar", bar.A, bar.b)
    print(f"An elastic bar: 128 hexahedra, {bar.A.shape[0]} displacements, condition {bar.condition:.3g}")
    solve_file(folder / "bar")

    plate, _ = linear_elasticity((arguments.cells, arguments.cells), format="csr")
    weight = np.zeros(plate.shape[0])
    weight[1::2] = -1.0  # every second unknown is a vertical displacement
    write(folder / "plate", plate, weight)
    print(f"\nAn elastic plate: {arguments.cells} x {arguments.cells} elements, {plate.shape[0]} displacements")
    solve_file(folder / "plate")

    print("\nThe files are in", folder.resolve())
    for path in sorted(folder.iterdir()):
        print(f"  {path.name:22}{path.stat().st_size / 1024:>10.0f} KiB")


def write(path: Path, A: object, b: np.ndarray) -> None:
    """A and b as Matrix Market files."""
    mmwrite(path.with_suffix(".mtx"), A)
    mmwrite(path.with_name(path.name + "_b.mtx"), b[:, None])


def solve_file(path: Path) -> None:
    """Read a system, solve it in six ways, print a table and a report, draw two figures."""
    A = mmread(path.with_suffix(".mtx")).tocsr()
    b = mmread(path.with_name(path.name + "_b.mtx")).ravel()
    methods = {
        "chosen by rv.solve": lambda **options: rv.solve(A, b, **options),
        "conjugate gradients": lambda **options: rv.cg(A, b, **options),
        "  with Jacobi": lambda **options: rv.cg(A, b, M=rv.precondition.jacobi(A), **options),
        "  with SSOR": lambda **options: rv.cg(A, b, M=rv.precondition.ssor(A, 1.5), **options),
        "Chebyshev iteration": lambda **options: rv.chebyshev(A, b, **options),
        "Gauss-Seidel": lambda **options: rv.gauss_seidel(A, b, **{"maxiter": 2000, **options}),
    }
    print(f"\n  {'':22}{'iterations':>10}{'products':>10}{'time':>11}{'true residual':>15}")
    solutions = {}
    for name, method in methods.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rv.ConvergenceWarning)  # the table says it
            # Methods are compiled when they are first used, which is not what is to be timed here.
            method(maxiter=2)
            solution = solutions[name] = method(rtol=1e-8, progress=sys.stderr.isatty())
        mark = "✓" if solution.converged else "✗"
        counts = f"{solution.iterations:>10}{solution.matvecs:>10}{solution.seconds * 1e3:>8.1f} ms"
        print(f"{mark} {name:22}{counts}{solution.relative_residual:>15.2e}")
    print()
    print(solutions["chosen by rv.solve"])
    solutions["chosen by rv.solve"].plot(file=path.with_name(path.name + "_residual.png"))
    compare(solutions, path)


def compare(solutions: dict[str, rv.Solution], path: Path) -> None:
    """All methods in one figure."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for (name, solution), colour in list(zip(solutions.items(), COLOURS, strict=True))[1:]:
        norms = solution.residual_norms / solution.residual_norms[0]
        # Dashed, since on a constant diagonal it lies on the curve of conjugate gradients.
        dashes = "--" if "Jacobi" in name else "-"
        label = name.replace("  with", "… with")
        axes.loglog(solution.residual_iterations, norms, color=colour, linestyle=dashes, label=label)
    # Logarithmic, since the counts differ a hundredfold; iteration 0, of which all residuals are 1, is not on it.
    axes.set_xlim(left=0.95)
    axes.set(xlabel="iteration (logarithmic)", ylabel="relative residual", title=f"Ways to solve the {path.name}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#EBEBEB")
    axes.legend(frameon=False, loc="lower left")
    figure.savefig(path.with_name(path.name + "_methods.png"), dpi=150)


if __name__ == "__main__":
    main()
