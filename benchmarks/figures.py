"""Print the figures that Resolvent promises, each with its target and what was measured: python benchmarks/figures.py.

Everything is measured in one process and in turns, so that each ratio holds for one machine at one time. "best" is the
ratio of the fastest times and decides; "median" is that of the rounds, and where it is far from the best, something
else ran. Times of an iteration are differences of two solves, without set-up and the last look at the residual.
"""

from __future__ import annotations

import argparse
import fnmatch
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

# First of all: it pins the threads, which must be done before a library starts its own.
from suites import comparisons, measure
from suites import rounding as rounders

MILLION = 1_000_000


class Row(NamedTuple):
    """One line of the table: what, at least or at most how much, the best and the median, and what they are made of."""

    what: str
    sense: str
    target: float | None
    best: float
    median: float | None
    behind: str
    quiet: bool = True


class Budget(NamedTuple):
    """Seconds for a comparison, and whether the largest sizes are left out."""

    seconds: float
    quick: bool


def cg_large(budget: Budget) -> Iterator[Row]:
    """CG and Chebyshev at a million unknowns against SciPy and each other."""
    times = {}
    for storage in ("csr", "irregular", "stencil"):
        found = times[storage] = comparisons.iterations_against(
            MILLION, storage, ("scipy", "cg", "chebyshev"), 3 * budget.seconds
        )
        target = {"csr": 2.2, "irregular": 2.2, "stencil": 4.0}[storage]
        yield faster(f"cg, {storage}, 1e6: SciPy's iteration over ours", target, found["scipy"], found["cg"])
        if storage == "stencil":
            what = f"chebyshev, {storage}, 1e6: SciPy's cg iteration over ours"
            yield faster(what, 6.0, found["scipy"], found["chebyshev"])
    for storage, found in times.items():
        target = 0.6 if storage == "stencil" else 0.95
        what = f"chebyshev over our cg, {storage}, 1e6"
        yield slower(what, target, found["chebyshev"], found["cg"])


def cg_pyamg(budget: Budget) -> Iterator[Row]:
    """PyAMG's CG, for the record."""
    for n in (64, 10_000, MILLION):
        found = comparisons.iterations_against(n, "csr", ("pyamg", "cg"), budget.seconds)
        yield faster(f"cg, csr, {n}: PyAMG's iteration over ours", None, found["pyamg"], found["cg"])


def roofline(budget: Budget) -> Iterator[Row]:
    """Least bytes an iteration over the time it takes, as a part of the copy bandwidth measured in turns with it."""
    n = MILLION if budget.quick else 4 * MILLION
    cases = (("cg", "csr", 0.8), ("cg", "irregular", 0.8), ("cg", "stencil", None), ("chebyshev", "stencil", None))
    for method, storage, target in cases:
        short, long, found = comparisons.roofline(n, storage, method, 3 * budget.seconds)
        least = comparisons.BYTES[method, storage]
        times, quiet = shown(found[method].best), found[method].quiet
        behind = f"{least} B/row, {times}; copy of n values {16e-9 * n / found['copy'].best:.1f} GB/s"
        yield Row(f"{method}, {storage}, {n}: part of the roofline", ">=", target, *short, behind, quiet)
        behind = f"copy {1e-9 * least * n / found[f'stream{least}'].best:.1f} GB/s"
        yield Row("  the same against a copy of as many bytes", ">=", None, *long, behind, quiet)


def chebyshev_4e6(budget: Budget) -> Iterator[Row]:
    """Chebyshev over CG where nothing fits a cache."""
    if not budget.quick:
        for storage, target in (("csr", 0.95), ("irregular", 0.95), ("stencil", 0.6)):
            found = comparisons.iterations_against(4 * MILLION, storage, ("cg", "chebyshev"), 3 * budget.seconds)
            yield slower(f"chebyshev over our cg, {storage}, 4e6", target, found["chebyshev"], found["cg"])


def small(budget: Budget) -> Iterator[Row]:
    """Small systems: an iteration, and whole warm calls."""
    for n, target in ((64, 10.0), (10_000, None)):
        found = comparisons.iterations_against(n, "csr", ("scipy", "cg"), budget.seconds)
        yield faster(f"cg, csr, {n}: SciPy's iteration over ours", target, found["scipy"], found["cg"])
    for n, target in ((100, 5.0), (10_000, 2.0)):
        found = comparisons.whole_calls(n, budget.seconds)
        yield faster(f"cg, csr, {n}: SciPy's whole call to 1e-8 over ours", target, found["scipy"], found["cg"])


def batches(budget: Budget) -> Iterator[Row]:
    """Whole calls for one small system, and for many, against SciPy's for one after the other."""
    for name in ("poisson", "prepared", "dense"):
        found = measure.call_times(comparisons.small_calls(name), budget.seconds)
        yield faster(f"cg, one small system, {name}: SciPy's call over ours", None, found["scipy"], found["cg"])
    for name in ("dense", "tridiagonal"):
        many = comparisons.many_systems(name)
        found = measure.call_times({"cg": many.solve, "scipy": many.sample}, budget.seconds)
        share = many.sampled / many.count
        best, median = measure.ratio(found["scipy"], found["cg"])
        behind = f"{shown(found['scipy'].best / many.sampled)} over {shown(found['cg'].best / many.count)}"
        what = f"cg, {many.count} systems, {name}: SciPy's call over a system of ours"
        yield Row(what, ">=", None, best / share, median / share, behind, found["cg"].quiet)


def relaxation(budget: Budget) -> Iterator[Row]:
    """Gauss-Seidel sweeps at a million unknowns."""
    found = comparisons.sweeps(MILLION, seconds=3 * budget.seconds)
    for order, target in (("natural", 1.0), ("multicolor", 1.6)):
        yield faster(f"{order} sweep, 1e6: PyAMG's over ours", target, found["pyamg"], found[order])
        what = f"{order} gauss_seidel, 1e6: PyAMG's sweep over our iteration"
        yield faster(what, None, found["pyamg"], found[f"{order}_method"])


def threads(budget: Budget) -> Iterator[Row]:
    """SSOR-CG in natural order at a million unknowns: one thread over two."""
    for storage, target in (("csr", 1.4), ("stencil", None)):
        found = comparisons.threads(MILLION, storage, seconds=3 * budget.seconds)
        yield faster(f"ssor_cg, {storage}, 1e6: one thread over two", target, found[1], found[2])


def rounding(budget: Budget) -> Iterator[Row]:
    """Rounding a million numbers on one core, against ml_dtypes and pychop."""
    found = rounders.against_ml_dtypes(seconds=budget.seconds)
    what = "round float32 to bf16, 1e6: ml_dtypes' round trip over"
    yield faster(f"{what} our NumPy", 1.2, found["ml_dtypes"], found["numpy"])
    yield faster(f"{what} our Numba", 4.0, found["ml_dtypes"], found["numba"])
    found = rounders.against_pychop(seconds=budget.seconds)
    yield faster("round float64 to fp16, 1e6: pychop's Chop over ours", 300.0, found["pychop"], found["numba"])
    for name in rounders.NARROW:
        if name != "fp64":  # which has nothing to round
            times = rounders.nanoseconds(name, seconds=budget.seconds / 5)
            what = f"round float64 to {name}, 1e6: nanoseconds an element"
            yield Row(what, "<=", 1.0, times.best, times.median, "", times.quiet)


def emulation(budget: Budget) -> Iterator[Row]:
    """Conjugate gradients in emulated formats over float32, at a million unknowns."""
    for storage in ("csr", "irregular", "stencil"):
        found = comparisons.emulated_iterations(MILLION, storage, seconds=3 * budget.seconds)
        for name in ("bf16", "fp16"):
            yield slower(f"cg in {name}, {storage}, 1e6: over float32", 2.0, found[name], found[None])


def refinement(budget: Budget) -> Iterator[Row]:
    """Refinement over cg in float64, whole calls to 1e-12, for the record: low precisions are emulated here."""
    found = comparisons.refinements(10_000, seconds=budget.seconds)
    for name in ("bf16", "tf32", "fp32"):
        yield slower(f"refine in {name}, csr, 10000: over cg in float64, to 1e-12", None, found[name], found[None])


def layers(budget: Budget) -> Iterator[Row]:
    """Gated KalmaNet: T = 4096, 8 heads, float32, residuals of at most 1e-3; a decode step with 16 heads."""
    from suites import layers as suite  # torch takes a while

    for dimension in (64, 128):
        for solver in ("cg", "chebyshev"):
            case = suite.Prefill()
            case.setup(dimension, solver)
            what, wanted = f"{solver}, D = {dimension}:", solver == "cg"
            found = case.cholesky()
            target = {64: 5.0, 128: 10.0}[dimension] if wanted else None
            yield faster(f"{what} Cholesky for each token over ours", target, found["other"], found["ours"])
            found = case.frobenius()
            yield faster(f"{what} 30 Frobenius steps over ours", 2.0 if wanted else None, found["other"], found["ours"])
            found = case.backward()
            yield slower(f"{what} forward and backward over forward", 3.5, found["both"], found["forward"])
    for solver in ("cg", "chebyshev"):
        step = suite.Decode()
        step.setup(solver)
        found = step.times(solver)
        yield faster(
            f"{solver}, decode, D = 128, 16 heads: plain PyTorch over ours", 4.0, found["other"], found["ours"]
        )
    length = suite.Length()
    times = length.times()
    per_token = times[32768].best / times[4096].best / 8
    yield Row("time per token at T = 32768 over 4096", "<=", None, per_token, None, "", times[4096].quiet)
    yield Row("peak of forward and backward in sizes of q, k, v", "<=", 12, length.track_memory(), None, "T = 32768")


def matrix_functions(budget: Budget) -> Iterator[Row]:
    """Polar factors and square roots against SciPy's, float32, condition 100; the targets are for one thread."""
    from suites import matrix_functions as suite

    for what, stack, target in (("one", "512 x 512", 1.7), ("stack", "256 x (64 x 64)", 5.0)):
        polar = suite.Polar()
        polar.setup(what)
        found = polar.times(budget.seconds)
        yield faster(f"polar to 1e-2, {stack}: SciPy over ours", target, found["other"], found["ours"])
    for name in ("sqrtm", "invsqrtm"):
        for other, target in (("sqrtm", 2.0), ("eigh", None)):
            root = suite.SquareRoot()
            root.setup(name, other)
            found = root.times(budget.seconds)
            yield faster(f"{name} at 1e-5, 512 x 512: {other} over ours", target, found["other"], found["ours"])


def muon(budget: Budget) -> Iterator[Row]:
    """A step over 12 layers of width 256, no less orthogonal than PyTorch's."""
    from suites import optimizing as suite  # torch takes a while

    for schedule, target in (("muon", 2.0), ("you", None)):
        step = suite.MuonStep()
        step.setup(schedule)
        found = step.times(budget.seconds)
        yield faster(f"Muon, {schedule}: a step of torch.optim.Muon over ours", target, found["other"], found["ours"])


def memory(budget: Budget) -> Iterator[Row]:
    """Peak allocation of cg besides the caller's A and b, in whole vectors: histories and block sums are no vectors."""
    for storage in ("csr", "irregular", "stencil"):
        vectors = comparisons.cg_vectors(1024**2, storage)
        behind = f"{vectors:.3f} at 1024 x 1024" + ("; the bands found count as vectors" if storage == "csr" else "")
        yield Row(f"cg, {storage}: vectors allocated besides A and b", "<=", 6, round(vectors), None, behind)


FIGURES: dict[str, Callable[[Budget], Iterator[Row]]] = {
    function.__name__: function
    for function in (
        cg_large,
        roofline,
        chebyshev_4e6,
        small,
        batches,
        relaxation,
        threads,
        rounding,
        emulation,
        refinement,
        layers,
        matrix_functions,
        muon,
        memory,
        cg_pyamg,
    )
}


def shown(seconds: float) -> str:
    """A time in its natural unit."""
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} us"


def faster(what: str, target: float | None, slow: measure.Times, fast: measure.Times) -> Row:
    """How many times faster, at least."""
    return Row(
        what, ">=", target, *measure.ratio(slow, fast), f"{shown(slow.best)} over {shown(fast.best)}", slow.quiet
    )


def slower(what: str, target: float | None, ours: measure.Times, other: measure.Times) -> Row:
    """What part of the other's time, at most."""
    return Row(
        what, "<=", target, *measure.ratio(ours, other), f"{shown(ours.best)} over {shown(other.best)}", ours.quiet
    )


def line(row: Row) -> str:
    """The row as text."""
    target = "" if row.target is None else f"{row.sense} {row.target:g}"
    met = ""
    if row.target is not None:
        met = "yes" if (row.best >= row.target if row.sense == ">=" else row.best <= row.target) else "NO"
    median = "" if row.median is None else f"{row.median:.2f}"
    busy = "" if row.quiet else " (the machine was busy)"
    return f"{row.what:<64} {target:>8} {row.best:>7.2f} {met:>4} {median:>7}  {row.behind}{busy}"


def surroundings() -> str:
    """Machine, versions, threads and commit."""
    import numba

    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(text.partition(":")[2].strip() for text in lines if text.startswith("model name"))
    except (OSError, StopIteration):
        pass
    root = Path(__file__).parent
    commit = _output("git", "-C", str(root), "rev-parse", "--short", "HEAD") or "no repository"
    changed = " with changes" if _output("git", "-C", str(root), "status", "--porcelain") else ""
    versions, today = [], time.strftime("%Y-%m-%d")
    for name in ("numpy", "scipy", "numba", "torch", "pyamg", "ml_dtypes", "pychop"):
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"no {name}")
    return (
        f"{processor}, {measure.usable_cores()} cores usable; {platform.system()}; Python {platform.python_version()}; "
        f"{', '.join(versions)}\n{numba.get_num_threads()} threads; commit {commit}{changed}; {today}"
    )


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def main(arguments: list[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of the time, and no 4e6 unknowns")
    parser.add_argument("--seconds", type=float, help="for a comparison; the large ones take three times that")
    parser.add_argument("--only", default="*", help=f"pattern for the groups: {', '.join(FIGURES)}")
    parser.add_argument("--patience", type=float, default=3, help="times as long at most on a busy machine")
    chosen = parser.parse_args(arguments)
    measure.PATIENCE = chosen.patience
    budget = Budget(chosen.seconds or (1.0 if chosen.quick else 5.0), chosen.quick)
    print(surroundings())
    print(f"{'':<64} {'target':>8} {'best':>7} {'met':>4} {'median':>7}")
    for name, rows in FIGURES.items():
        if fnmatch.fnmatch(name, chosen.only):
            try:
                for row in rows(budget):
                    print(line(row), flush=True)
            except ImportError as missing:
                print(f"{name}: {missing}; make bench installs it", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
