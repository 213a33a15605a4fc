"""Halpern iteration on the resolvent of a finite sum, each solved no better than it has to be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..driver.method import Traffic
from ..driver.problem import Vector
from ..fixed_point.method import FixedPointState
from .finite_sum import FiniteSumProblem
from .method import check_step
from .sampling import SamplingMethod

__all__ = ["VarianceReducedResolvent"]

MOST_SNAPSHOTS = 1000  # of one resolvent


@dataclass
class ResolventState(FixedPointState):
    """``x`` is the latest snapshot, at which F is known.

    Attributes
    ----------
    anchor, u : vector
        Where the Halpern iteration began, and where it is.
    z, before : vector
        The inner iterate, and the snapshot before the latest.
    one, other, gap : vector
        The means of the same components at two points; the inner residual.
    k, inner : int
        Resolvents so far, and inner iterations in all of them.
    generator : Generator
    """

    anchor: Vector = None
    u: Vector = None
    z: Vector = None
    before: Vector = None
    one: Vector = None
    other: Vector = None
    gap: Vector = None
    k: int = 0
    inner: int = 0
    generator: np.random.Generator = None  # type: ignore[assignment]


@dataclass(frozen=True)
class VarianceReducedResolvent(SamplingMethod):
    """u+ = u_0 / (k + 2) + (k + 1) / (k + 2) w, where w + e F(w) = u nearly and e = reach sqrt(n) / L.

    ||F(w)|| = ||u - w|| / e <= 2 ||u_0 - z*|| / (e (k + 1)), but for the errors of the w.

    w is found by the forward-reflected-backward method with variance reduction, with a = 1 - p and steps t:
    z+ = (a z + (1 - a) w - t (e (F(w) + F_B(z) - F_B(w before)) - u)) / (1 + t), where F_B is the mean of a batch drawn
    at random; with probability p = batch / n the snapshot w becomes z+, and F is evaluated there. It ends once
    ||w + e F(w) - u||, which bounds the error, is at most ||w - u|| / (k + 2).

    Parameters
    ----------
    batch : int, optional
        Components drawn at a time, with replacement; by default sqrt(n), rounded up.
    seed : int or numpy.random.Generator
        A generator goes on where it was left.
    reach : float
        Of the resolvent, above 0.
    stepsize : float
        t e L / sqrt(p), in (0, 1).

    Notes
    -----
    F has to be monotone. Per inner iteration: 2 batches of components, and n of them with probability p, 3 sqrt(n) on
    average; 15 vector passes. 11 vectors kept. The iterates are the snapshots, whose residuals are exact.

    References
    ----------
    Cai, Alacaoglu and Diakonikolas (2024), algorithm 2, with a tested error in place of a number of inner iterations;
    Lieder (2021) on the constant; Alacaoglu and Malitsky (2022), "Stochastic variance reduction for variational
    inequality methods", on the inner iteration.
    """

    reach: float = 1.0
    stepsize: float = 0.5

    name: ClassVar[str] = "resolvent"
    title: ClassVar[str] = "Variance-reduced Halpern iteration on inexact resolvents"
    purpose: ClassVar[str] = "sums of very many operators that are alike"
    traffic: ClassVar[Traffic] = Traffic(vectors=11, passes=15, reductions=0, matvecs=1, compiled_passes=15)
    when_diverging: ClassVar[str] = "Is lipschitz large enough, and F monotone?"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_step(self.reach, "reach", math.inf, "infinity")
        check_step(self.stepsize, "stepsize", 1.0, "1")

    def start(self, problem: FiniteSumProblem) -> ResolventState:
        x, residual, norm = problem.initial()
        copy, vector = problem.backend.copy, problem.vector
        s = ResolventState(x, residual, norm, next_x=vector(), next_work=vector())
        s.anchor, s.u, s.z, s.before = copy(x), copy(x), copy(x), copy(x)
        s.one, s.other, s.gap = vector(), vector(), vector()
        s.generator = np.random.default_rng(self.seed)
        return s

    def step(self, problem: FiniteSumProblem, s: ResolventState) -> None:  # type: ignore[override]
        reach = self.reach * math.sqrt(problem.count) / problem.lipschitz
        s.before = problem.backend.assign(s.x, s.before)
        for _ in range(MOST_SNAPSHOTS):
            self._to_next_snapshot(problem, s, reach)
            if self._near_enough(problem, s, reach) or problem.out_of_time:
                break
        b = 1 / (s.k + 2)
        s.u = problem.backend.combine([s.anchor, s.x], [b, 1 - b], s.u)
        s.k += 1

    def _to_next_snapshot(self, problem: FiniteSumProblem, s: ResolventState, reach: float) -> None:
        """Inner iterations until F is evaluated, at what becomes the iterate."""
        backend, size = problem.backend, self.size(problem)
        p = size / problem.count
        t = self.stepsize * math.sqrt(p) / (reach * problem.lipschitz)
        last = False
        while not last:
            which = s.generator.integers(0, problem.count, size)
            s.one = problem.sampled(s.z, which, s.one)
            s.other = problem.sampled(s.before, which, s.other)
            vectors = [s.z, s.x, s.u, s.work, s.one, s.other]
            coefficients = np.array([1 - p, p, t, -t * reach, -t * reach, t * reach]) / (1 + t)
            s.gap = backend.combine(vectors, coefficients, s.gap)
            s.z, s.gap = s.gap, s.z
            s.inner += 1
            # The snapshot before differs from this one in the first iteration after it was taken.
            s.before = backend.assign(s.x, s.before)
            last = s.generator.random() < p
        s.next_x = backend.assign(s.z, s.next_x)
        if not self.evaluate_next(problem, s):
            self.give_up(problem, "at the next snapshot")
        self.accept(s)

    def _near_enough(self, problem: FiniteSumProblem, s: ResolventState, reach: float) -> bool:
        """Whether w + e F(w) is as near to u as this iteration asks for, or as rounding allows."""
        backend = problem.backend
        s.gap = backend.difference(s.x, s.u, s.gap)
        distance = backend.norm(s.gap)
        s.gap = backend.axpy(reach, s.work, s.gap)
        sizes = backend.norm(s.u) + reach * problem.lipschitz * backend.norm(s.x)
        return backend.norm(s.gap) <= max(distance / (s.k + 2), 8 * problem.unit_roundoff * sizes)

    def describe(self, s: ResolventState) -> str:  # type: ignore[override]
        return f"The {s.k} resolvents took {s.inner} inner iterations."
