"""The page on hostile inputs: what Resolvent and the libraries that are installed here make of them.

python docs/hostile.py docs/hostile_inputs.md writes the page anew. Residuals are recomputed in extended precision by
this file, and by none of the libraries; a library that is not installed is not on the page.
"""

from __future__ import annotations

import argparse
import platform
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sparse
import scipy.sparse.linalg as scipy_linalg

import resolvent as rv

METHODS = ("cg", "minres", "gmres", "bicgstab")
PEERS = ("scipy", "pyamg")
LIMIT = 2000  # iterations, for all


@dataclass(frozen=True)
class Hostile:
    """One input.

    Attributes
    ----------
    title, why : str
        What it is, and what is to be expected of a solver.
    A, b : arrays
    rtol : float
    maxiter : int
    methods : tuple of str
        Those that are tried.
    """

    title: str
    why: str
    A: Any
    b: np.ndarray
    rtol: float = 1e-5
    maxiter: int = LIMIT
    methods: tuple[str, ...] = METHODS


@dataclass(frozen=True)
class Outcome:
    """What a solver said, and what it returned."""

    said: str
    success: bool
    x: np.ndarray | None = field(repr=False)


def inputs() -> Iterator[Hostile]:
    """All of them."""
    spread = np.diag(np.linspace(1, 10, 20))
    for dtype, size in (("f4", 1e-20), ("f4", 1e-24), ("f4", 1e18), ("f8", 1e-200), ("f8", 1e160)):
        name = np.dtype(dtype).name
        yield Hostile(
            f"b of size {size:.0e}, {name}",
            "The same system in other units; the answer is that of b = 1, multiplied.",
            spread.astype(dtype),
            np.full(20, size, dtype),
        )
    problem = rv.gallery.poisson((64, 64))
    yield Hostile(
        "Poisson, 64 x 64, float32, rtol 1e-7",
        "Rounding allows no such residual: a solver is to say so, with the residual it has.",
        problem.A.astype("f4"),
        problem.b.astype("f4"),
        1e-7,
    )
    yield Hostile(
        "Poisson, 64 x 64, float64, rtol 1e-10",
        "Nothing is wrong here.",
        problem.A,
        problem.b,
        1e-10,
    )
    small = np.diag([1.0, 2.0, 3.0, 4.0])
    for bad in (np.nan, np.inf):
        yield Hostile(f"{bad} in b", "There is no answer.", small, np.array([1.0, bad, 1.0, 1.0]))
        changed = small.copy()
        changed[1, 1] = bad
        yield Hostile(f"{bad} in A", "There is no answer.", changed, np.ones(4))
    yield Hostile("A = 0", "There is no solution.", np.zeros((4, 4)), np.ones(4))
    path = 2 * np.eye(6) - np.eye(6, k=1) - np.eye(6, k=-1)
    path[0, 0] = path[-1, -1] = 1
    yield Hostile("singular, b not in its range", "There is no solution.", path, np.eye(6)[0])
    yield Hostile("singular, b in its range", "There are solutions.", path, path @ np.arange(6.0))
    signs = np.diag([1.0, -1.0, 1.0, -1.0])
    yield Hostile("diag(1, -1, 1, -1)", "Indefinite, which cg is not for.", signs, np.ones(4))
    lopsided = np.array([[2.0, 1.0], [0.0, 3.0]])
    yield Hostile("nonsymmetric", "cg and minres are not for it.", lopsided, np.ones(2), methods=("cg", "minres"))
    yield Hostile("the identity, maxiter = 1", "One iteration is enough.", np.eye(5), np.arange(1.0, 6), maxiter=1)
    yield Hostile("rtol = -1", "No tolerance at all.", small, np.ones(4), -1.0)
    yield Hostile("rtol = NaN", "No tolerance at all.", small, np.ones(4), float("nan"))


def by_resolvent(case: Hostile, method: str) -> Outcome:
    """Its answer."""
    try:
        solution = rv.solve(sparse.csr_array(case.A), case.b, method=method, rtol=case.rtol, maxiter=case.maxiter)
    except (ValueError, TypeError) as refusal:
        return Outcome(f"refused: {refusal}", False, None)
    return Outcome(solution.status.name, solution.converged, solution.x)


def by_info(solve: Any, tolerance: str, per_limit: dict[str, int]) -> Callable[[Hostile, str], Outcome | None]:
    """Those of a library that return x and info; ``per_limit`` are the iterations that one of maxiter stands for."""

    def answer(case: Hostile, method: str) -> Outcome | None:
        function = getattr(solve, method, None)
        if function is None:
            return None
        limit = -(-case.maxiter // per_limit.get(method, 1))
        try:
            x, info = function(sparse.csr_array(case.A), case.b, **{tolerance: case.rtol, "maxiter": limit})
        except Exception as error:  # whatever a library raises is what it said
            return Outcome(f"{type(error).__name__}: {error}", False, None)
        return Outcome(f"info = {info}", info == 0, np.asarray(x))

    return answer


def solvers() -> dict[str, Callable[[Hostile, str], Outcome | None]]:
    """Those that are installed, by name."""
    # SciPy's gmres counts cycles of twenty iterations, by default; pyamg's counts iterations.
    found = {"resolvent": by_resolvent, "scipy": by_info(scipy_linalg, "rtol", {"gmres": 20})}
    try:
        import pyamg.krylov as pyamg
    except ImportError:
        return found
    return {**found, "pyamg": by_info(pyamg, "tol", {})}


def true_residual(case: Hostile, x: np.ndarray | None) -> float:
    """||b - A x|| / ||b|| in extended precision and range; NaN where there is none."""
    if x is None:
        return float("nan")
    A = case.A.toarray() if sparse.issparse(case.A) else case.A
    wide = [np.asarray(one).astype(np.longdouble) for one in (A, x, case.b)]
    r = wide[2] - wide[0] @ wide[1]
    return float(np.sqrt(np.sum(r**2)) / np.sqrt(np.sum(wide[2] ** 2)))


MISSED, ACCEPTED = "**success, x misses the tolerance**", "accepted"


def judged(case: Hostile, outcome: Outcome, residual: float) -> str:
    """Whether success was said of an x that misses the tolerance; or a tolerance accepted that is none."""
    if not 0 <= case.rtol < 1:
        return "" if outcome.x is None else ACCEPTED
    return MISSED if outcome.success and not residual <= case.rtol * (1 + 1e-3) else ""


def page() -> str:
    """The page in Markdown."""
    known = {}
    for name in ("resolvent", "numpy", *PEERS):
        try:
            known[name] = rv.__version__ if name == "resolvent" else version(name)
        except PackageNotFoundError:
            continue
    answers = solvers()
    versions = ", ".join(f"{name} {number}" for name, number in known.items())
    parts, wrong, asked = [], dict.fromkeys(answers, 0), dict.fromkeys(answers, 0)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for case in inputs():
            rows = []
            for method in case.methods:
                for name, answer in answers.items():
                    outcome = answer(case, method)
                    if outcome is None:
                        continue
                    residual = true_residual(case, outcome.x)
                    verdict = judged(case, outcome, residual)
                    asked[name] += 1
                    wrong[name] += verdict == MISSED
                    shown = "–" if outcome.x is None else f"{residual:.1e}"
                    rows.append((f"{name} `{method}`", _cell(outcome.said), shown, verdict))
            parts.append(f"## {case.title}\n\n{case.why}\n\n{_table(rows)}")
    counts = "\n".join(f"| {name} | {asked[name]} | {wrong[name]} |" for name in answers)
    return f"""# Hostile inputs

What Resolvent and other libraries make of inputs that are hard, or that have no answer. All of them get the same CSR
matrix, the same tolerance, 1e-5 where no other is named, and {LIMIT} iterations at most. Residuals, relative to
$\\|b\\|$, are recomputed in extended precision by the script that makes this page, `docs/hostile.py`. Marked is where
success was said of an x with $\\|b - Ax\\| >$ `rtol` $\\|b\\|$.

A mark is not always an error of the library. SciPy's `minres` stops by a rule of its own, relative to
$\\|A\\| \\|x\\|$, and for a singular A a least-squares solution is what it looks for. The inputs were chosen because
some library was seen to fail on them, so that the counts say nothing of how often that happens in practice.

It ran with {versions} on Python {platform.python_version()}.

| library | calls | success, x misses the tolerance |
| --- | ---: | ---: |
{counts}

{chr(10).join(parts)}"""


def _cell(text: str) -> str:
    """Of one line, without what Markdown would take for its own."""
    line = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
    return line if len(line) <= 110 else f"{line[:109]}…"


def _table(rows: list[tuple[str, ...]]) -> str:
    head = "| who | what it said | true residual | |\n| --- | --- | ---: | --- |\n"
    return head + "".join("| " + " | ".join(row) + " |\n" for row in rows)


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path, help="the page to write")
    parser.parse_args().file.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
