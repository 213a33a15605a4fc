"""Halpern iteration on a finite sum, by estimates whose variance is reduced."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..driver.method import Norm, Traffic
from ..driver.problem import Vector
from ..fixed_point.method import FixedPointState
from .finite_sum import FiniteSumProblem
from .method import check_step
from .sampling import SamplingMethod

__all__ = ["VarianceReducedHalpern"]


@dataclass
class EstimateState(FixedPointState):
    """With an estimate of F at the iterate.

    Attributes
    ----------
    anchor, estimate : vector
    one, other : vector
        The means of the same components at two points.
    k : int
    generator : Generator
    """

    anchor: Vector = None
    estimate: Vector = None
    one: Vector = None
    other: Vector = None
    k: int = 0
    generator: np.random.Generator = None  # type: ignore[assignment]


@dataclass(frozen=True)
class VarianceReducedHalpern(SamplingMethod):
    """u+ = b u_0 + (1 - b) u - a G, where b = 2 / (k + 4), a = stepsize / L and G estimates F(u).

    With probability p G is F(u); else what G was, and the difference between u and the iterate before of the mean of a
    batch of components drawn at random. p is 4 / (k + 4) until k reaches sqrt(n) + 1, and stays.

    Parameters
    ----------
    batch : int, optional
        Components drawn at a time, with replacement; by default sqrt(n), rounded up.
    seed : int or numpy.random.Generator
        A generator goes on where it was left.
    stepsize : float
        In (0, 1].

    Notes
    -----
    F has to be cocoercive on average: the mean of ||F_i(u) - F_i(v)||^2 is at most L Re <F(u) - F(v), u - v>. Per
    iteration: n evaluations of components with probability p, otherwise 2 batches; in the long run 6 sqrt(n). The norm
    carried is that of the estimate; where it falls below the tolerance F is evaluated, and serves as an estimate.

    References
    ----------
    Cai, Alacaoglu and Diakonikolas (2024), "Variance reduced Halpern iteration for finite-sum monotone inclusions",
    algorithm 1, with G = 0; Li, Bao, Zhang and Richtarik (2021) on the estimate, named PAGE.
    """

    stepsize: float = 0.25

    name: ClassVar[str] = "direct"
    title: ClassVar[str] = "Variance-reduced Halpern iteration"
    purpose: ClassVar[str] = "sums of very many cocoercive operators that are alike"
    carries: ClassVar[Norm] = Norm.OTHER
    traffic: ClassVar[Traffic] = Traffic(vectors=8, passes=17, reductions=1, matvecs=1, compiled_passes=17)
    when_diverging: ClassVar[str] = "Is lipschitz large enough, and F cocoercive on average?"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_step(self.stepsize, "stepsize", math.nextafter(1.0, 2.0), "1]")

    def start(self, problem: FiniteSumProblem) -> EstimateState:
        x, residual, norm = problem.initial()
        copy, vector = problem.backend.copy, problem.vector
        s = EstimateState(x, residual, norm, next_x=vector(), next_work=vector(), work_is_residual=False)
        s.anchor, s.estimate, s.one, s.other = copy(x), copy(residual), vector(), vector()
        s.generator = np.random.default_rng(self.seed)
        return s

    def step(self, problem: FiniteSumProblem, s: EstimateState) -> None:  # type: ignore[override]
        backend = problem.backend
        if problem.last is not None and problem.last.x is s.x:  # the driver has looked
            s.estimate = backend.assign(problem.last.residual, s.estimate)
        b, a = 2 / (s.k + 4), self.stepsize / problem.lipschitz
        s.next_x = backend.combine([s.anchor, s.x, s.estimate], [b, 1 - b, -a], s.next_x)
        s.k += 1
        if s.generator.random() < 4 / (min(s.k, math.sqrt(problem.count)) + 5):
            s.work, s.next_norm = problem.evaluate(s.next_x, s.work)
            s.estimate = backend.assign(s.work, s.estimate)
        else:
            which = s.generator.integers(0, problem.count, self.size(problem))
            s.one = problem.sampled(s.next_x, which, s.one)
            s.other = problem.sampled(s.x, which, s.other)
            s.estimate = backend.axpy(1.0, s.one, s.estimate)
            s.estimate = backend.axpy(-1.0, s.other, s.estimate)
            s.next_norm = backend.norm(s.estimate)
            problem.last = None  # of an iterate in whose place others are put
        s.x, s.next_x = s.next_x, s.x
        s.residual_norm = s.next_norm

    def review(  # type: ignore[override]
        self, problem: FiniteSumProblem, s: EstimateState, iteration: int, norm: float, best: Vector | None
    ) -> None:
        """Estimates are noise by nature."""
