"""The Gram form of the Newton-Schulz iteration, for matrices that are much longer than wide."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..driver.problem import Vector
from .method import StackState, Step
from .newton_schulz import Schedule
from .polar import NewtonSchulz, OrthogonalProblem
from .polynomial import evaluate

__all__ = ["GramNewtonSchulz", "GramStability", "gram_stability", "restarts_for"]

INDEFINITE = 4e-4  # of the largest eigenvalue: how negative those of a Gram matrix of half precision become


class GramStability(NamedTuple):
    """What a Gram matrix that rounding has made indefinite does to an iteration.

    Attributes
    ----------
    condition : float
        The largest condition number of the factor that is accumulated between two restarts.
    lowest : float
        The most negative eigenvalue that a Gram matrix comes to.
    """

    condition: float
    lowest: float


def gram_stability(
    schedule: Schedule, restarts: Collection[int] = (), perturbation: float = INDEFINITE
) -> GramStability:
    """Follow every eigenvalue of a Gram matrix from which ``perturbation`` was taken, at the start and at each restart.

    Parameters
    ----------
    schedule : Schedule
    restarts : collection of int
        The numbers of steps after which X is formed and the Gram matrix taken anew.
    perturbation : float

    Examples
    --------
    >>> import resolvent as rv
    >>> from resolvent.solvers.matrix_functions.gram import gram_stability
    >>> taylor = rv.newton_schulz.Schedule(((1.875, -1.25, 0.375),) * 5, 1e-3)
    >>> round(gram_stability(taylor).condition, 1)
    24.6
    """
    x = np.concatenate([[0.0], np.logspace(-10, 0, 4000)])
    r, q = x * x - perturbation, np.ones_like(x)
    worst, lowest = 1.0, float(r.min())
    for t, h in enumerate(schedule.coefficients):
        if t in restarts:
            worst = max(worst, float(np.abs(q).max() / np.abs(q).min()))
            x = np.abs(q * x)
            r, q = x * x - perturbation, np.ones_like(x)
        factor = np.polyval(h[::-1], r)
        q, r = q * factor, r * factor * factor
        lowest = min(lowest, float(r.min()))
    return GramStability(max(worst, float(np.abs(q).max() / np.abs(q).min())), lowest)


def restarts_for(schedule: Schedule, unit_roundoff: float, tolerance: float = 2.0) -> tuple[int, ...]:
    """The steps after which to begin anew, when the smallest values have grown by g since the last time.

    That is before a negative eigenvalue of rounding, u, has grown to u g^2 = 1, and before the error of singular
    vectors, about u g as measured, comes to half the tolerance.

    Examples
    --------
    >>> import resolvent as rv
    >>> from resolvent.solvers.matrix_functions.gram import restarts_for
    >>> five = rv.newton_schulz.schedule(1e-3, degree=5, steps=5)
    >>> restarts_for(five, 2.0**-11), restarts_for(five, 2.0**-24, 1e-5), restarts_for(five, 2.0**-53, 1e-9)
    ((2,), (2,), ())
    """
    found, growth = [], 1.0
    for t, h in enumerate(schedule.coefficients):
        after = growth * abs(h[0])
        if growth > 1 and (after**2 * unit_roundoff > 1 or after * unit_roundoff > tolerance / 2):
            found.append(t)
            growth = 1.0
        growth *= abs(h[0])
    return tuple(found)


@dataclass(frozen=True)
class GramNewtonSchulz(NewtonSchulz):
    """W = h(R), Q <- Q W, R <- W R W from R = X^H X and Q = I; X <- X Q at restarts and in the end.

    Steps after the schedule are those of ``NewtonSchulz``.

    Notes
    -----
    X takes part in two products a restart and two in the end; steps are of the small matrices R and Q alone. With rows
    m and columns n = m / a, a quintic step takes 4 n^3 multiplications rather than (3 a + 1) n^3 where symmetric
    products are half.

    References
    ----------
    Zhang, Amsel, Chen and Dao, Gram Newton-Schulz (2026).
    """

    name: ClassVar[str] = "gram_newton_schulz"
    title: ClassVar[str] = "Newton-Schulz iteration in Gram form"
    purpose: ClassVar[str] = "polar factors of long matrices by products alone"

    def begin(self, problem: OrthogonalProblem, s: StackState) -> tuple[Any, ...]:
        X, R = super().begin(problem, s)
        return X, R, problem.products.combine([(0.0, R)], problem.products.room(R.shape, R), 1.0)

    def again(self, problem: OrthogonalProblem, x: Any) -> tuple[Any, ...]:
        X, R = super().again(problem, x)
        return X, R, problem.products.combine([(0.0, R)], problem.products.room(R.shape, R), 1.0)

    def open(self, problem: OrthogonalProblem, s: StackState) -> bool:
        """Whether Q holds steps that X has not taken."""
        return 0 < s.position < s.schedule.steps and s.position not in self.restarts(problem, s)

    @staticmethod
    def restarts(problem: OrthogonalProblem, s: StackState) -> tuple[int, ...]:
        """The steps after which X is formed."""
        return restarts_for(s.schedule, problem.unit_roundoff, problem.asked)

    def advance(self, problem: OrthogonalProblem, s: StackState, arrays: tuple[Any, ...], h: Step) -> tuple[Any, ...]:
        p, (X, R, Q) = problem.products, arrays
        if s.position >= s.schedule.steps:
            return *super().advance(problem, s, (X, R), h), Q
        kept = p.combine([(1.0, R)], p.room(R.shape, R))
        square = h.square
        if square is None and len(h.h) > 2:
            square = p.multiply(R, R, p.room(R.shape, R))  # R is Hermitian but for rounding, which R^H R would add to
        B, a = evaluate(p, h.h, R, square, h.factors)
        W = p.add_identity(B, a)
        new = p.multiply(Q, W, p.room(Q.shape, Q)) if self.open(problem, s) else p.combine([(1.0, W)], Q)
        if s.position + 1 == s.schedule.steps or s.position + 1 in self.restarts(problem, s):
            whole = p.multiply(X, new, p.room(X.shape, X))
            p.done(X)
            out = whole, p.gram(whole, R if B is not R else p.room(R.shape, R)), new
        else:
            half = p.multiply(kept, W, p.room(R.shape, R))
            out = X, p.multiply(half, W, R if B is not R else p.room(R.shape, R)), new
            p.done(half)
        p.done(kept, B, *([Q] if new is not Q else []))
        return out

    def _retire(self, problem: OrthogonalProblem, s: StackState) -> None:
        if not self.open(problem, s):  # what is done needs X
            super()._retire(problem, s)

    def iterate(self, problem: OrthogonalProblem, s: StackState) -> Vector:
        if not self.open(problem, s):
            return s.x
        p = problem.products
        x = p.multiply(s.arrays[0], s.arrays[2], None)
        return x if s.done is None else p.put(p.copy(s.done), s.active, x)
