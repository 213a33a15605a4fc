"""Evaluations of g that methods need on the gallery of maps, beside published counts: make fixed-point-table.

A count is the number of the evaluation at which ||g(x) - x|| was first below the tolerance of the problem, in its norm.
Every method has one setting for all problems: those of the other libraries are their defaults. A dash says that the
count was not reached within the evaluations or the seconds allowed, or that the library failed.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import logging
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import resolvent as rv
from resolvent.gallery import fixed_points

# Not counted: maps without fixed points, and one whose values are noise above the tolerance.
LEFT_OUT = ("alternating_discs", "alternating_halfspaces", "noisy", "translation")


class Enough(Exception):
    """The tolerance is reached, or the evaluations or seconds are over."""


class Counted:
    """g of a problem, which ends the iteration by ``Enough`` once its count is known.

    Attributes
    ----------
    evaluations : int
    reached : int or None
        The evaluation at which the residual was first below the tolerance.
    """

    def __init__(self, problem: Any, most: int, seconds: float) -> None:
        self.problem, self.most, self.end = problem, most, time.perf_counter() + seconds
        self.evaluations, self.reached = 0, None

    def __call__(self, x: Any) -> Any:
        x = np.asarray(x, np.float64)
        shape, x = x.shape, x.reshape(self.problem.x0.shape)
        value = self.problem.g(x)
        self.evaluations += 1
        if self.problem.size(value - x) < self.problem.tolerance:
            self.reached = self.evaluations
        if self.reached or self.evaluations >= self.most or time.perf_counter() > self.end:
            raise Enough
        return value.reshape(shape)


def ours(method: str, **parameters: Any) -> Callable[[Counted, np.ndarray], Any]:
    """A method of Resolvent."""

    def run(g: Counted, x0: np.ndarray) -> Any:
        return rv.fixed_point(g, x0, method=method, rtol=0.0, maxiter=g.most, **parameters)

    return run


def with_scipy(g: Counted, x0: np.ndarray) -> Any:
    """scipy.optimize.anderson."""
    from scipy.optimize import anderson

    return anderson(lambda x: g(x) - x, x0, f_tol=0.0, maxiter=g.most)


def with_jaxopt(g: Counted, x0: np.ndarray) -> Any:
    """jaxopt.AndersonAcceleration, in double precision; g is called back from what it compiles."""
    import jax

    jax.config.update("jax_enable_x64", True)
    logging.getLogger("jax").setLevel(logging.CRITICAL)  # it would tell of every Enough
    import jaxopt

    like = jax.ShapeDtypeStruct(x0.shape, x0.dtype)

    def map(x: Any) -> Any:
        return jax.pure_callback(g, like, x)

    return jaxopt.AndersonAcceleration(map, maxiter=g.most, tol=0.0, implicit_diff=False).run(x0)


def with_torchdeq(g: Counted, x0: np.ndarray) -> Any:
    """torchdeq's Anderson solver, in double precision."""
    import torch
    from torchdeq.solver.anderson import anderson_solver

    def map(x: Any) -> Any:
        return torch.from_numpy(np.asarray(g(x.numpy())))

    return anderson_solver(map, torch.from_numpy(x0.copy())[None], max_iter=g.most, tol=0.0)


METHODS: dict[str, Callable[[Counted, np.ndarray], Any]] = {
    "auto": ours("auto"),
    "anderson": ours("anderson"),
    "picard": ours("picard"),
    "scipy": with_scipy,
    "jaxopt": with_jaxopt,
    "torchdeq": with_torchdeq,
}
NEEDS = {"jaxopt": "jaxopt", "torchdeq": "torchdeq"}


def count(problem: Any, method: str, most: int, seconds: float) -> int | None:
    """Evaluations until the tolerance; None where it was not reached."""
    g = Counted(problem, most, seconds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(Exception):  # Enough, in whatever a library wraps it, or its own failure
            METHODS[method](g, problem.x0.copy())
    return g.reached


def rows(names: list[str], methods: list[str], most: int, seconds: float) -> list[dict[str, Any]]:
    """One for each problem."""
    found = []
    for name in names:
        problem = fixed_points.by_name(name)
        row: dict[str, Any] = {"problem": name, "n": problem.x0.size, "published": problem.best_published}
        for method in methods:
            row[method] = count(problem, method, most, seconds)
        found.append(row)
        print(line(row), flush=True)
    return found


def line(row: dict[str, Any]) -> str:
    """A row as text."""
    cells = [f"{'-' if value is None else value:>{28 if key == 'problem' else 9}}" for key, value in row.items()]
    return " ".join(cells)


def verdict(found: list[dict[str, Any]], methods: list[str]) -> list[str]:
    """What the table says of ``auto``."""
    inf = float("inf")

    def of(row: dict[str, Any], key: str) -> float:
        return inf if row.get(key) is None else row[key]

    published = [row for row in found if row["published"] is not None]
    best = sum(of(row, "auto") <= row["published"] for row in published)
    near = [row["problem"] for row in published if of(row, "auto") > 1.5 * row["published"]]
    slower = [row["problem"] for row in found if of(row, "auto") > 1.1 * of(row, "picard")]
    lines = [
        f"auto: at most the best published count on {best} of {len(published)}; above 1.5 times it on {near or 'none'}",
        f"auto: more than 1.1 times Picard's on {slower or 'none'}",
    ]
    for peer in (name for name in methods if name in ("scipy", "jaxopt", "torchdeq")):
        more = [row["problem"] for row in found if of(row, "auto") > of(row, peer)]
        fewer = sum(of(row, "auto") < of(row, peer) for row in found)
        lost = [row["problem"] for row in found if of(row, "auto") == inf > of(row, peer)]
        lines.append(
            f"auto and {peer}: fewer on {fewer} of {len(found)}, more on {more or 'none'}, lost {lost or 'none'}"
        )
    return lines


def plot(found: list[dict[str, Any]], methods: list[str], path: str) -> None:
    """For each method, the part of the problems solved within so many times the fewest evaluations."""
    import matplotlib.pyplot as plt

    ratios: dict[str, list[float]] = {method: [] for method in methods}
    for row in found:
        counts = [row[method] for method in methods if row[method] is not None]
        for method in methods:
            if counts and row[method] is not None:
                ratios[method].append(row[method] / min(counts))
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for method in methods:
        x = np.sort(ratios[method])
        y = np.arange(1, len(x) + 1) / len(found)
        axes.step(np.concatenate([[1.0], x, [1e3]]), np.concatenate([[0.0], y, y[-1:]]), where="post", label=method)
    axes.set(xscale="log", xlim=(1, 300), ylim=(0, 1.02))
    axes.set_xlabel("evaluations of g, over the fewest of any method")
    axes.set_ylabel(f"part of {len(found)} problems")
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=150)


def main() -> None:
    """Print the table, and write it where asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", metavar="PROBLEM", help="problems; all by default")
    parser.add_argument("--most", type=int, default=20_000, help="evaluations at most; %(default)s")
    parser.add_argument("--seconds", type=float, default=60.0, help="for one count; %(default)s")
    parser.add_argument("--csv", metavar="FILE")
    parser.add_argument("--plot", metavar="FILE")
    given = parser.parse_args()
    names = given.only or [name for name in fixed_points.names() if name not in LEFT_OUT]
    methods = [name for name in METHODS if name not in NEEDS or find_spec(NEEDS[name]) is not None]
    columns = ("problem", "n", "published", *methods)
    print(line(dict(zip(columns, columns, strict=True))))
    found = rows(names, methods, given.most, given.seconds)
    print("\n".join(verdict(found, methods)))
    if given.csv:
        with Path(given.csv).open("w", newline="") as stream:
            writer = csv.DictWriter(stream, found[0].keys())
            writer.writeheader()
            writer.writerows(found)
    if given.plot:
        plot(found, methods, given.plot)


if __name__ == "__main__":
    main()
