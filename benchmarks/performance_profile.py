"""A performance profile: how often each solver is within a factor of the fastest, over systems of every kind.

    python benchmarks/performance_profile.py            measures, and writes table and figure for the documentation
    python benchmarks/performance_profile.py --quick    the small systems alone, nothing written

Each solver is given A as a CSR matrix and b, and is to reach ||b - A x|| <= 1e-8 ||b||, which is looked at in extended
precision afterwards; set-up counts. An answer that misses it counts as a failure, whatever the solver says of it. Of
repeated calls the shortest counts, the first one, in which kernels may be compiled or loaded, apart. All solvers run in
one process, on the threads that the environment gives them. PETSc takes part where petsc4py can be imported.

References
----------
Dolan & More (2002), "Benchmarking optimization software with performance profiles".
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import scipy.sparse as sparse
import scipy.sparse.linalg as splinalg
from suites.problems import linear_elements

import resolvent as rv

RTOL = 1e-8
ROOM = 1.01  # of the tolerance: what rounding in the norm of a peer's own may cost it
LONGEST = 30.0  # seconds that a solver may take
HOPELESS = 30.0  # times the fastest so far, and one is stopped
SHORTEST = 0.3  # seconds of calls, from which no more are made
HERE = Path(__file__).parents[1] / "docs"
FACTORS = (1, 1.1, 2, 5, 10, 100)

System = tuple[Any, np.ndarray, bool]
Solver = Callable[[Any, np.ndarray, float], np.ndarray]


class TooSlow(Exception):
    """The time of a solver is up."""


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


def stop_at(deadline: float) -> Callable[..., None]:
    """A callback that ends a solver."""

    def callback(*_: Any) -> None:
        if time.perf_counter() > deadline:
            raise TooSlow

    return callback


def scipys(method: str, factored: bool) -> Solver:
    """One of SciPy's, with or without SuperLU's incomplete factors."""
    solve = getattr(splinalg, method)

    def run(A: Any, b: np.ndarray, deadline: float) -> np.ndarray:
        options: dict[str, Any] = {"rtol": RTOL, "maxiter": 10 * b.size, "callback": stop_at(deadline)}
        if method == "gmres":
            options |= {"restart": 30, "callback_type": "pr_norm"}
        if factored:
            factors = splinalg.spilu(A.tocsc())
            options["M"] = splinalg.LinearOperator(A.shape, factors.solve, dtype=A.dtype)
        return solve(A, b, **options)[0]

    return run


def spsolve(A: Any, b: np.ndarray, deadline: float) -> np.ndarray:
    """SciPy's direct solver."""
    return splinalg.spsolve(A, b)


def blackbox(A: Any, b: np.ndarray, deadline: float) -> np.ndarray:
    """PyAMG's choice of its own."""
    import pyamg

    return pyamg.solve(A, b, tol=RTOL, verb=False, maxiter=400)


def aggregation(A: Any, b: np.ndarray, deadline: float) -> np.ndarray:
    """PyAMG's smoothed aggregation with conjugate gradients."""
    import pyamg

    hierarchy = pyamg.smoothed_aggregation_solver(A)
    return hierarchy.solve(b, tol=RTOL, accel="cg", maxiter=400, callback=stop_at(deadline))


def petscs(method: str, preconditioner: str) -> Solver:
    """PETSc, one process."""

    def run(A: Any, b: np.ndarray, deadline: float) -> np.ndarray:
        from petsc4py import PETSc

        csr = (A.indptr.astype(PETSc.IntType), A.indices.astype(PETSc.IntType), A.data)
        matrix = PETSc.Mat().createAIJ(size=A.shape, csr=csr)
        rhs, x = PETSc.Vec().createWithArray(b.copy()), PETSc.Vec().createSeq(b.size)
        solver = PETSc.KSP().create()
        solver.setOperators(matrix)
        solver.setType(method)
        solver.getPC().setType(preconditioner)
        if method == "gmres":
            solver.setPCSide(PETSc.PC.Side.RIGHT)
        solver.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
        solver.setTolerances(rtol=RTOL, max_it=10 * b.size)
        solver.setMonitor(lambda *_: stop_at(deadline)())
        solver.solve(rhs, x)
        return x.getArray().copy()

    return run


def resolvent(A: Any, b: np.ndarray, deadline: float) -> np.ndarray:
    """``rv.solve`` as it is called without arguments but the tolerance."""
    return rv.solve(A, b, rtol=RTOL, time_limit=max(0.01, deadline - time.perf_counter())).x


def solvers() -> dict[str, tuple[Solver, bool]]:
    """The solvers, and whether they are for Hermitian matrices alone."""
    found: dict[str, tuple[Solver, bool]] = {"Resolvent": (resolvent, False), "SciPy spsolve": (spsolve, False)}
    for method in ("cg", "minres", "gmres", "bicgstab"):
        hermitian = method in ("cg", "minres")
        found[f"SciPy {method}"] = (scipys(method, False), hermitian)
        if method != "minres":  # which wants a definite preconditioner
            found[f"SciPy {method} + spilu"] = (scipys(method, True), hermitian)
    found["PyAMG solve"] = (blackbox, False)
    found["PyAMG SA + CG"] = (aggregation, True)
    try:
        import petsc4py

        petsc4py.init([])
    except ImportError:
        return found
    for method, preconditioner in (("cg", "icc"), ("cg", "gamg"), ("gmres", "ilu"), ("bcgs", "ilu")):
        found[f"PETSc {method} + {preconditioner}"] = (petscs(method, preconditioner), method == "cg")
    return found


def missed(A: Any, x: Any, b: np.ndarray) -> float:
    """||b - A x|| / ||b||, summed in extended precision."""
    x = np.asarray(x).ravel()
    if x.shape != b.shape or not np.isfinite(x).all():
        return float("inf")
    wide = np.clongdouble if np.iscomplexobj(x) or A.dtype.kind == "c" else np.longdouble
    rows = np.repeat(np.arange(A.shape[0]), np.diff(A.indptr))
    r = b.astype(wide)
    np.subtract.at(r, rows, A.data.astype(wide) * x.astype(wide)[A.indices])
    return float(np.linalg.norm(r.astype(complex)) / np.linalg.norm(b))


def timed(solve: Solver, A: Any, b: np.ndarray, fastest: float) -> float | None:
    """The shortest of some calls in seconds; None for a failure."""
    limit = min(LONGEST, max(1.0, HOPELESS * fastest))
    best, spent, first = float("inf"), 0.0, True
    while True:
        began = time.perf_counter()
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                x = solve(A.copy(), b.copy(), began + (LONGEST if first else limit))
        except Exception:  # whatever a peer raises, it has not solved the system
            return None
        taken = time.perf_counter() - began
        if first and not missed(A, x, b) <= ROOM * RTOL:
            return None
        best, spent = min(best, taken), spent + taken
        if (spent > SHORTEST and not first) or taken > LONGEST / 3:
            return best
        first = False


def measure(quick: bool) -> dict[str, Any]:
    """Seconds by system and solver."""
    rows = []
    chosen = solvers()
    for name, make in systems():
        A = as_csr(make())
        if quick and A.shape[0] > 2000:
            continue
        b = A @ np.random.default_rng(1).standard_normal(A.shape[0])
        difference = abs(A - A.conj().T)
        hermitian = difference.nnz == 0 or difference.max() <= 1e-12 * abs(A).max()
        seconds: dict[str, float | None] = {}
        for solver, (solve, needs_hermitian) in chosen.items():
            fastest = min((taken for taken in seconds.values() if taken is not None), default=LONGEST)
            seconds[solver] = timed(solve, A, b, fastest) if hermitian or not needs_hermitian else None
        rows.append({"system": name, "n": A.shape[0], "entries": int(A.nnz), "seconds": seconds})
        solved = {solver: taken for solver, taken in seconds.items() if taken is not None}
        best = min(solved, key=solved.__getitem__, default="none")
        print(f"{name:40} {solved.get('Resolvent', float('nan')):10.4f}   {best} {solved.get(best, 0):.4f}", flush=True)
    return {
        "date": datetime.date.today().isoformat(),
        "machine": platform.processor() or platform.machine(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "resolvent": rv.__version__,
        "rows": rows,
    }


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


def table(found: dict[str, Any]) -> str:
    """Percent of the systems that each solves within a factor of the fastest, and of those that it solves at all."""
    of = ratios(found)
    lines = [
        "| solver | " + " | ".join(f"≤ {factor:g}" for factor in FACTORS) + " | solved |",
        "|---|" + "---|" * (len(FACTORS) + 1),
    ]
    for solver, each in sorted(of.items(), key=lambda item: -float(np.mean(item[1] <= 2))):
        shares = [f"{100 * np.mean(each <= factor):.0f} %" for factor in FACTORS]
        lines.append(f"| {solver} | " + " | ".join(shares) + f" | {100 * np.mean(np.isfinite(each)):.0f} % |")
    return "\n".join(lines)


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
    arguments = parser.parse_args()
    found = measure(arguments.quick)
    print(f"\n{len(found['rows'])} systems\n\n{table(found)}")
    if arguments.quick:
        return
    results = Path(__file__).parent / "results"
    (results / "performance_profile.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    draw(found, HERE / "images" / "performance_profile.svg")


if __name__ == "__main__":
    main()
