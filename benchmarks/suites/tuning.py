"""Learning to relax: iterations over whole sequences, exact on any machine, and what the tuners take themselves.

The figures that these are held to are those of Khodak et al. (2024) as reproduced, and of the closed forms.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import resolvent as rv
from resolvent import tuning
from resolvent.solvers.krylov.ssor_cg import ssor_omega

INTERVAL = (-0.15, 0.65)
SYSTEMS = 5000


class Silent:
    """A tuner that sees no matrices; without ``evidence`` no rates, without ``context`` no contexts either."""

    parameter = "omega"

    def __init__(self, tuner: Any, evidence: bool, context: bool) -> None:
        self.tuner, self.evidence, self.context = tuner, evidence, context

    def suggest(self, context: float | None = None) -> float:
        """What the tuner says."""
        return self.tuner.suggest(context if self.context else None)

    def observe(self, cost: float, evidence: Any = None) -> None:
        """The cost, and what else may be seen."""
        self.tuner.observe(cost, evidence if self.evidence else None)


class Young:
    """Young's omega for the exact radius of each shifted Laplacian."""

    parameter = "omega"

    def suggest(self, context: float) -> float:
        """2 / (1 + sqrt(1 - radius^2))."""
        return 2 / (1 + math.sqrt(1 - (math.cos(math.pi / 11) * 4 / (4 + context)) ** 2))

    def observe(self, cost: float, evidence: Any = None) -> None:
        """Nothing to learn."""


ON_LAPLACIANS: dict[str, Callable[[], Any]] = {
    "omega = 1.6": lambda: tuning.Fixed(1.6),
    "omega = 1.8": lambda: tuning.Fixed(1.8),
    "TsallisINF": lambda: tuning.TsallisINF(seed=0),
    "TsallisINF reduced": lambda: tuning.TsallisINF(variance_reduced=True, seed=0),
    "TsallisINFBinned": lambda: tuning.TsallisINFBinned(INTERVAL, seed=0),
    "ChebCB": lambda: tuning.ChebCB(INTERVAL, seed=0),
    "GaussianThompson": lambda: tuning.GaussianThompson(seed=0),
    "AdaptiveSOR": tuning.AdaptiveSOR,
    "Spectral": tuning.Spectral,
    "Auto": lambda: tuning.Auto(seed=0),
    "Auto, rates and contexts": lambda: Silent(tuning.Auto(method="sor", seed=0), True, True),
    "Auto, counts": lambda: Silent(tuning.Auto(method="sor", seed=0), False, False),
    "Young": Young,
}

GRID = np.round(np.linspace(1, 1.95, 20), 2).tolist()

# By name: the method, and what makes its tuner of n_x and the largest context.
ON_HEAT: dict[str, tuple[str, Callable[[int, float], Any]]] = {
    "conjugate gradients": ("cg", lambda n_x, largest: None),
    "omega = 1": ("ssor_cg", lambda n_x, largest: tuning.Fixed(1.0)),
    "omega = 1.5": ("ssor_cg", lambda n_x, largest: tuning.Fixed(1.5)),
    "TsallisINF": ("ssor_cg", lambda n_x, largest: tuning.TsallisINF(seed=0)),
    "ChebCB": ("ssor_cg", lambda n_x, largest: tuning.ChebCB((0.0, 1.001 * largest), seed=0)),
    "closed form": ("ssor_cg", lambda n_x, largest: ClosedForm(n_x)),
    "Spectral": ("ssor_cg", lambda n_x, largest: tuning.Spectral()),
    "Auto": ("ssor_cg", lambda n_x, largest: tuning.Auto(seed=0)),
}

CHANGING: dict[str, Callable[[], Any]] = {
    "TsallisINF": lambda: tuning.TsallisINF(seed=0),
    "TsallisINF reduced": lambda: tuning.TsallisINF(variance_reduced=True, seed=0),
    "ChebCB": lambda: tuning.ChebCB((-0.2, 0.5), seed=0),
    "GaussianThompson": lambda: tuning.GaussianThompson(seed=0),
    "Auto": lambda: tuning.Auto(method="sor", seed=0),
    "Auto, counts": lambda: Silent(tuning.Auto(method="sor", seed=0), False, False),
}


class ClosedForm:
    """ITPACK's omega for the exact eigenvalue of I + c K, rounded to the grid."""

    parameter = "omega"

    def __init__(self, n_x: int) -> None:
        self.least = 8 * math.sin(math.pi / (2 * n_x)) ** 2

    def suggest(self, context: float) -> float:
        """Of c, which is the context."""
        diagonal = 1 + 4 * context
        omega = ssor_omega(1 - (1 + context * self.least) / diagonal, (2 * context / diagonal) ** 2)
        return float(min(GRID, key=lambda value: abs(value - omega)))

    def observe(self, cost: float, evidence: Any = None) -> None:
        """Nothing to learn."""


class ShiftedLaplacians:
    """SOR over 5000 shifted Laplacians, from zero to 1e-8."""

    params = (list(ON_LAPLACIANS), ["low", "high"])
    param_names = ("tuner", "variance")
    timeout = 300

    def track_iterations(self, tuner: str, variance: str) -> int:
        """In total."""
        sequence = rv.Sequence(
            "sor", tuner=ON_LAPLACIANS[tuner](), rtol=1e-8, warm_start=None, give_up=None, maxiter=10_000
        )
        for problem in rv.gallery.shifted_laplacians(10, SYSTEMS, shifts=variance):
            sequence.solve(problem.A, problem.b, context=problem.context)
        return sum(sequence.history.iterations)

    track_iterations.unit = "iterations"  # type: ignore[attr-defined]


def heat(method: str, tuner: Any, n_x: int) -> np.ndarray:
    """Iterations, step by step, along the heat equation; from the state before to 1e-8."""
    sequence = rv.Sequence(method, tuner=tuner, rtol=1e-8, give_up=None)
    problems = rv.gallery.heat_sequence(n_x, SYSTEMS)
    for _ in problems.march(lambda problem, u: sequence.solve(problem.A, problem.b, context=problem.context)):
        pass
    return np.array(sequence.history.iterations)


class Heat:
    """SSOR-preconditioned CG along the heat equation, and plain CG."""

    params = (list(ON_HEAT), [25, 50, 100, 200])
    param_names = ("tuner", "n_x")
    timeout = 1800

    def track_iterations(self, tuner: str, n_x: int) -> int:
        """In total, over 5000 steps."""
        largest = float(rv.gallery.heat_sequence(n_x, SYSTEMS).coefficients.max())
        method, made = ON_HEAT[tuner]
        return int(heat(method, made(n_x, largest), n_x).sum())

    track_iterations.unit = "iterations"  # type: ignore[attr-defined]


class HeatInHindsight:
    """What 20 omegas in turn would have taken; larger meshes take hours (``examples/heat_ssor_cg.py``)."""

    params = ([25, 50],)
    param_names = ("n_x",)
    timeout = 1800

    def setup_cache(self) -> dict[int, np.ndarray]:
        """Iterations by omega and step."""
        return {n_x: np.array([heat("ssor_cg", tuning.Fixed(omega), n_x) for omega in GRID]) for n_x in (25, 50)}

    setup_cache.timeout = 1800  # type: ignore[attr-defined]

    def track_best_fixed(self, counts: dict[int, np.ndarray], n_x: int) -> int:
        """The total of the best omega for all."""
        return int(counts[n_x].sum(axis=1).min())

    def track_oracle(self, counts: dict[int, np.ndarray], n_x: int) -> int:
        """The total of the best omega for each step."""
        return int(counts[n_x].min(axis=0).sum())

    track_best_fixed.unit = track_oracle.unit = "iterations"  # type: ignore[attr-defined]


class Changing:
    """SOR on shifted Laplacians whose shift drifts, jumps, or is not what the context says; costs of an adversary."""

    params = (list(CHANGING), ["drift", "jump", "useless context", "adversary"])
    param_names = ("tuner", "sequence")
    timeout = 600
    systems = 2000

    def setup_cache(self) -> dict[str, float]:
        """The total of the best fixed omega on each sequence."""
        found = {"adversary": float(self.costs().sum(axis=0).min())}
        for kind in self.params[1][:3]:
            found[kind] = min(self.solved(tuning.Fixed(omega), kind) for omega in GRID[10:])
        return found

    setup_cache.timeout = 600  # type: ignore[attr-defined]

    def shifts(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """The shifts, and what is told of them as contexts."""
        t = np.arange(self.systems) / self.systems
        rng = np.random.default_rng(1)
        if kind == "drift":
            shifts = 0.15 + 0.29 * np.cos(3 * np.pi * t)
            return shifts, shifts
        if kind == "jump":
            return np.where(np.floor(4 * t) % 2 == 0, 0.4, -0.13), np.full(self.systems, 0.1)
        return 0.3 * rng.beta(0.5, 1.5, self.systems) - 0.13, rng.uniform(-0.15, 0.45, self.systems)

    def costs(self) -> np.ndarray:
        """All values get dear and cheap together, in blocks each 1.6 times as long as the last; 1.65 is best."""
        ends = np.cumsum(10 * 1.6 ** np.arange(20)).astype(int)
        level = np.where(np.searchsorted(ends, np.arange(self.systems), side="right") % 2 == 0, 20.0, 200.0)
        worse = 1 + 0.3 * np.minimum(1, np.abs(np.arange(len(GRID)) - 13) / 4)
        return level[:, None] * worse * np.random.default_rng(2).uniform(0.8, 1.2, (self.systems, len(GRID)))

    def solved(self, tuner: Any, kind: str) -> float:
        """Iterations in total."""
        shifts, contexts = self.shifts(kind)
        sequence = rv.Sequence("sor", tuner=tuner, rtol=1e-8, warm_start=None, give_up=None, maxiter=10_000)
        problems = rv.gallery.shifted_laplacians(10, self.systems, shifts=shifts)
        for problem, context in zip(problems, contexts, strict=True):
            sequence.solve(problem.A, problem.b, context=float(context))
        return float(sum(sequence.history.iterations))

    def track_over_best_fixed(self, best: dict[str, float], tuner: str, kind: str) -> float:
        """The total over that of the best fixed omega in hindsight."""
        made = CHANGING[tuner]()
        if kind != "adversary":
            return self.solved(made, kind) / best[kind]
        total = 0.0
        for row in self.costs():
            omega = made.suggest(0.1)
            cost = float(row[int(np.argmin(np.abs(np.array(GRID) - omega)))])
            made.observe(cost)
            total += cost
        return total / best[kind]

    track_over_best_fixed.unit = "of the best fixed omega's total"  # type: ignore[attr-defined]


class Overhead:
    """What a tuner takes for a system; a look at the matrix, some 4 microseconds, and the solves are left out."""

    params = (["TsallisINF", "TsallisINF reduced", "ChebCB", "GaussianThompson", "Spectral", "Auto", "Auto, counts"],)
    param_names = ("tuner",)

    def track_microseconds(self, name: str) -> float:
        """The median over 1000 systems, after 500."""
        sequence = rv.Sequence("sor", tuner=Timed(ON_LAPLACIANS[name]()), rtol=1e-8, warm_start=None, maxiter=10_000)
        for problem in rv.gallery.shifted_laplacians(10, 1500):
            sequence.solve(problem.A, problem.b, context=problem.context)
        return 1e6 * float(np.median(sequence.tuner.seconds[500:]))

    track_microseconds.unit = "microseconds"  # type: ignore[attr-defined]


class Timed:
    """A tuner and a stopwatch."""

    parameter = "omega"

    def __init__(self, tuner: Any) -> None:
        self.tuner, self.seconds = tuner, [0.0]
        self.wants_look = getattr(tuner, "wants_look", False)
        if isinstance(tuner, tuning.Tuner):
            tuner.bind("sor")

    def inspect(self, look: Any) -> None:
        """Hand on what was seen."""
        self.tuner.inspect(look)

    def suggest(self, context: float | None = None) -> float:
        """Timed."""
        began = time.perf_counter()
        value = self.tuner.suggest(context)
        self.seconds.append(time.perf_counter() - began)
        return value

    def observe(self, cost: float, evidence: Any = None) -> None:
        """Timed, and added to the suggestion before."""
        began = time.perf_counter()
        self.tuner.observe(cost, evidence)
        self.seconds[-1] += time.perf_counter() - began


def track_regret_slope() -> float:
    """Of TsallisINF against the best of 20 values over 10^3 to 10^5 rounds of random costs, in logarithms."""
    at = np.round(np.logspace(3, 5, 9)).astype(int)
    gaps = 0.1 * np.minimum(1, np.abs(np.arange(20) - 13) / 3)
    regrets = []
    for seed in (0, 1):
        tuner = tuning.TsallisINF(range(20), parameter="k", seed=seed)
        noise = np.random.default_rng(seed).random(at[-1])
        lost = np.empty(at[-1])
        for t in range(at[-1]):
            value = tuner.suggest()
            lost[t] = gaps[value]
            tuner.observe(gaps[value] + noise[t])
        regrets.append(lost.cumsum()[at - 1])
    return float(np.polyfit(np.log(at), np.log(np.mean(regrets, axis=0)), 1)[0])
