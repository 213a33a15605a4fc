"""A performance profile: how often each solver is within a factor of the fastest, over systems of every kind.

    python benchmarks/performance_profile.py            measures, and writes table and figure for the documentation
    python benchmarks/performance_profile.py --quick    the small systems alone, nothing written
    python benchmarks/performance_profile.py --resume   goes on with what is not on file; --systems 5: with so many

Each solver is given A as a CSR matrix and b, and is to reach ||b - A x|| <= 1e-8 ||b||, which is looked at in extended
precision afterwards; set-up counts. An answer that misses it counts as a failure, whatever the solver says of it, and
so does one that takes thirty times as long as the fastest before it, and more than a second, or more than 30 s. Of
repeated calls the shortest counts, the first one, in which kernels may be compiled or loaded, apart. Solvers run in a
process beside this one (profiled_solvers.py), which is ended when their time is up, on the threads that the environment
gives them. PETSc takes part where petsc4py can be imported, or in a Python of its own:
``--petsc "env PYTHONPATH=FOLDER python3"``.

What was measured is kept system by system: a run that was broken off is continued with ``--resume``.

References
----------
Dolan & More (2002), "Benchmarking optimization software with performance profiles".
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import platform
import select
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import scipy.sparse as sparse
from suites.problems import linear_elements

import resolvent as rv

LONGEST = 30.0  # seconds that a solver may take
COMPILING = 60.0  # seconds that the first call of Resolvent may take
HOPELESS = 30.0  # times the fastest so far, and one is stopped
HERE = Path(__file__).parents[1] / "docs"
FACTORS = (1, 1.1, 2, 5, 10)


def random_sparse(kind: str, n: int, seed: int) -> Any:
    """A random sparse matrix of one kind, about six entries a row."""
    rng = np.random.default_rng(seed)
    G = sparse.random_array((n, n), density=5 / n, rng=rng, data_sampler=rng.standard_normal)
    S = (G + G.T) / 2
    sums = np.asarray(abs(S).sum(axis=1)).ravel()
    if kind == "definite":
        return S + sparse.diags_array(sums + rng.uniform(1e-3, 1, n))
    if kind == "scaled":
        d = sparse.diags_array(10.0 ** rng.uniform(-3, 3, n))
        return d @ (S + sparse.diags_array(sums + 0.1)) @ d
    if kind == "indefinite":
        return S + sparse.diags_array(rng.choice([-1.0, 1.0], n) * (sums + 0.1))
    if kind == "nonsymmetric":
        return G + sparse.diags_array(np.asarray(abs(G).sum(axis=1)).ravel() + rng.uniform(0.1, 1, n))
    if kind == "general":  # neither definite nor dominant
        return G + sparse.eye_array(n) + sparse.eye_array(n, k=1) * 3
    raise ValueError(kind)


def systems() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Names and makers of the matrices, small ones first in each family."""
    gallery = rv.gallery
    grids = (30, 100, 300)
    for n in (2000, 200000):
        yield f"Poisson, {n}", lambda n=n: gallery.poisson(n).A
    for n in (*grids, 700):
        yield f"Poisson, {n} x {n}", lambda n=n: gallery.poisson((n, n)).A
    for n in (12, 30, 60):
        yield f"Poisson, {n}^3", lambda n=n: gallery.poisson((n, n, n)).A
    for n in grids:
        yield f"anisotropic, {n} x {n}", lambda n=n: gallery.anisotropic((n, n), 0.01).A
        yield f"anisotropic, rotated, {n} x {n}", lambda n=n: gallery.anisotropic((n, n), 0.05, np.pi / 6).A
        yield f"diffusion, contrast 1e2, {n} x {n}", lambda n=n: gallery.diffusion((n, n), contrast=1e2).A
        yield f"diffusion, contrast 1e6, {n} x {n}", lambda n=n: gallery.diffusion((n, n), contrast=1e6).A
        yield f"convection 1, {n} x {n}", lambda n=n: gallery.convection_diffusion((n, n), 1.0).A
        yield f"convection 100, {n} x {n}", lambda n=n: gallery.convection_diffusion((n, n), (100.0, 40.0)).A
    for n in (10, 30):
        yield f"convection, {n}^3", lambda n=n: gallery.convection_diffusion((n, n, n), (10.0, 5.0, -3.0)).A
    for n in (20, 60, 150):
        shift = 0.3 * (20 / n) ** 2
        yield f"Helmholtz, {n} x {n}", lambda n=n, s=shift: gallery.poisson((n, n)).A - s * sparse.eye_array(n * n)
    for name in gallery.finite_element_names():
        yield f"PyAMG's {name}", lambda name=name: gallery.load_finite_elements(name).A
    for count in (1000, 10000, 100000):
        yield f"elements, {count}", lambda count=count: linear_elements(count)
    for kind in ("definite", "scaled", "indefinite", "nonsymmetric", "general"):
        for n in (300, 3000, 30000):
            if n == 30000 and kind in ("indefinite", "general"):
                continue  # no solver here solves them in the time allowed
            yield f"random {kind}, {n}", lambda kind=kind, n=n: random_sparse(kind, n, seed=n)
    yield "graph, random, 2000", lambda: gallery.graph_laplacian("random", 2000, shift=0.01).A
    yield "graph, grid, 100 x 100", lambda: gallery.graph_laplacian("grid", (100, 100), shift=0.01).A
    yield "spectrum of Strakos, 100", lambda: gallery.strakos(100).A
    yield "random spectrum, 200", lambda: gallery.randsvd(200, 1e4).A


def as_csr(A: Any) -> Any:
    """What every solver gets."""
    matrix = sparse.csr_matrix(A.tocsr() if hasattr(A, "tocsr") else A)
    matrix.sort_indices()
    return matrix


class Bench:
    """A process in which solvers run, ended and started anew where one does not come back in time.

    Parameters
    ----------
    command : list of str
        A Python, and its options.
    """

    def __init__(self, command: list[str]) -> None:
        self._command = [*command, str(Path(__file__).with_name("profiled_solvers.py"))]
        self._process: subprocess.Popen[str] | None = None
        self.solvers = json.loads(self._started().stdout.readline())

    def _started(self) -> Any:
        if self._process is None:
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self._process = subprocess.Popen(self._command, text=True, **pipes)
        return self._process

    def timed(self, request: dict[str, Any]) -> float | None:
        """The seconds that a solver takes; None where it fails."""
        fresh = self._process is None
        process = self._started()
        if fresh:
            process.stdout.readline()  # what solvers there are
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        # A good solver is called twice; the rest is for starting, reading and looking at the residual.
        ready, _, _ = select.select([process.stdout], [], [], 10 + 2 * request["first_limit"])
        answer = process.stdout.readline() if ready else ""
        if answer:
            return json.loads(answer)
        self.close()  # too slow, or it crashed
        return None

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def measure(
    benches: list[Bench], rows: list[dict[str, Any]], quick: bool, most: int | None
) -> Iterator[dict[str, Any]]:
    """Seconds by solver, system by system, of what is not yet in the rows; as many systems as are wanted."""
    known = {row["system"]: row for row in rows}
    chosen = {name: (bench, hermitian) for bench in benches for name, hermitian in bench.solvers.items()}
    done = 0
    for name, make in systems():
        seconds: dict[str, float | None] = dict(known[name]["seconds"]) if name in known else {}
        if done == most:
            return
        if set(chosen) <= set(seconds):
            continue
        A = as_csr(make())
        if quick and A.shape[0] > 2000:
            continue
        b = A @ np.random.default_rng(1).standard_normal(A.shape[0])
        difference = abs(A - A.conj().T)
        hermitian = difference.nnz == 0 or difference.max() <= 1e-12 * abs(A).max()
        with tempfile.TemporaryDirectory() as folder:
            file = f"{folder}/system.npz"
            np.savez(file, data=A.data, indices=A.indices, indptr=A.indptr, b=b)
            for solver, (bench, needs_hermitian) in chosen.items():
                if solver in seconds:
                    continue
                fastest = min((taken for taken in seconds.values() if taken is not None), default=LONGEST)
                limit = min(LONGEST, max(1.0, HOPELESS * fastest))
                first = COMPILING if solver == "Resolvent" else limit
                seconds[solver] = None
                if hermitian or not needs_hermitian:
                    request = {"solver": solver, "file": file, "limit": limit, "first_limit": first}
                    seconds[solver] = bench.timed(request)
        yield {"system": name, "n": A.shape[0], "entries": int(A.nnz), "seconds": seconds}
        done += 1


def report(row: dict[str, Any]) -> str:
    """A line on one system: Resolvent's seconds, and the fastest."""
    solved = {solver: taken for solver, taken in row["seconds"].items() if taken is not None}
    best = min(solved, key=solved.__getitem__, default="none")
    own = solved.get("Resolvent", float("nan"))
    return f"{row['system']:40} {own:10.4f}   {best} {solved.get(best, 0):.4f}"


def ratios(found: dict[str, Any]) -> dict[str, np.ndarray]:
    """Of each solver its time over the fastest, by system; infinity for failures, and where none solved it nothing."""
    kept = [row["seconds"] for row in found["rows"] if any(taken is not None for taken in row["seconds"].values())]
    best = [min(taken for taken in row.values() if taken is not None) for row in kept]
    return {
        solver: np.array(
            [np.inf if row[solver] is None else row[solver] / one for row, one in zip(kept, best, strict=True)]
        )
        for solver in kept[0]
    }


def table(found: dict[str, Any]) -> list[list[str]]:
    """Percent of the systems that each solves within a factor of the fastest, and of those that it solves at all."""
    rows = [["solver", "fastest", *(f"within {factor:g}" for factor in FACTORS[1:]), "solved"]]
    for solver, each in sorted(ratios(found).items(), key=lambda item: -float(np.mean(item[1] <= 2))):
        shares = [f"{100 * np.mean(each <= factor):.0f} %" for factor in FACTORS]
        rows.append([solver, *shares, f"{100 * np.mean(np.isfinite(each)):.0f} %"])
    return rows


def draw(found: dict[str, Any], file: Path) -> None:
    """The profile: the share of systems within a factor of the fastest, by the factor."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    of = ratios(found)
    figure, axes = plt.subplots(figsize=(8, 4.8), layout="constrained")
    factors = np.geomspace(1, 1000, 400)
    for solver, each in sorted(of.items(), key=lambda item: -float(np.mean(item[1] <= 2))):
        shares = [100 * np.mean(each <= factor) for factor in factors]
        own = solver == "Resolvent"
        axes.step(factors, shares, where="post", label=solver, linewidth=2.5 if own else 1.0, zorder=3 if own else 2)
    axes.set(xscale="log", xlim=(1, 1000), ylim=(0, 101))
    axes.set_xlabel("time over that of the fastest")
    axes.set_ylabel("systems solved to 1e-8, percent")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(file)
    plt.close(figure)


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--systems", type=int, metavar="N", help="measure so many, and stop")
    parser.add_argument("--petsc", metavar="COMMAND", help="a Python of its own in which petsc4py can be imported")
    arguments = parser.parse_args()
    file = Path(__file__).parent / "results" / "performance_profile.json"
    found: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "machine": platform.processor() or platform.machine(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "resolvent": rv.__version__,
        "rows": [],
    }
    if arguments.resume and file.exists():
        found = json.loads(file.read_text(encoding="utf-8"))
    benches = [Bench([sys.executable])]
    if arguments.petsc:
        benches.append(Bench(shlex.split(arguments.petsc)))
    try:
        for row in measure(benches, found["rows"], arguments.quick, arguments.systems):
            found["rows"] = [*(other for other in found["rows"] if other["system"] != row["system"]), row]
            print(report(row), flush=True)
            if not arguments.quick:
                file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    finally:
        for bench in benches:
            bench.close()
    rows = table(found)
    print(f"\n{len(found['rows'])} systems\n")
    for line in rows:
        print(f"{line[0]:24}" + "".join(f"{cell:>12}" for cell in line[1:]))
    if not arguments.quick:
        with (HERE / "images" / "performance_profile.csv").open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows(rows)
        draw(found, HERE / "images" / "performance_profile.svg")


if __name__ == "__main__":
    main()
