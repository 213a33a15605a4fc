"""What the methods for least squares share: the two vectors of the residual, and a watch on preconditioned ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

from ..driver.method import Breakdown, Method, Norm, State
from ..driver.problem import Vector
from ..driver.status import Cause, Status
from ..spectra.ritz import SpectralEvidence
from .evidence import SingularEvidence
from .problem import LeastSquares

__all__ = ["LeastSquaresMethod", "LeastSquaresState", "Preconditioned"]


@dataclass
class LeastSquaresState(State):
    """x is base + M y for the y that is iterated on; see ``LeastSquares.point``.

    Attributes
    ----------
    x : vector
        y, (n,).
    work : vector
        Room for b - A x, (m,).
    normar : float
        ||M^H A'^H r'||, as it is carried.
    size : float
        ||base||.
    couplings, longest : list of float
        Entries of the bidiagonal matrix since the last start, and of the longest run before it.
    reviewed, parted : float
        What ``normar`` was when it was last compared with the true one, and the true one after which the method last
        began anew.
    """

    normar: float = 0.0
    size: float = 0.0
    couplings: list[float] = field(default_factory=list)
    longest: list[float] = field(default_factory=list)
    reviewed: float = math.inf
    parted: float = math.inf


S = TypeVar("S", bound=LeastSquaresState)


class LeastSquaresMethod(Method[LeastSquares, S]):
    """A method for least squares. Of ``traffic``, vectors kept are of length n, those passed over of either length.

    ``columns`` are the vectors of length m that it keeps besides, b not among them.
    """

    columns: ClassVar[int] = 1

    @classmethod
    def memory(cls, problem: LeastSquares) -> float:
        """Bytes that it takes at most, foreseen from the size of the problem; infinity where it does not work."""
        return float(cls.traffic.vectors * problem.n + cls.columns * problem.m) * problem.dtype.itemsize

    def vectors_memory(self, problem: LeastSquares) -> float:
        return self.traffic.vectors * float(problem.n) * problem.dtype.itemsize

    def iterate(self, problem: LeastSquares, state: S) -> Vector:
        return problem.point(state.x)

    def missed(self, problem: LeastSquares, state: S, normr: float, normy: float) -> float:
        """What of the tolerance the iterate misses, by carried norms."""
        normx = normy
        if problem.M is not None:
            normx = problem.found.normx if problem.found is not None else 0.0
        elif problem.base is not None:
            normx = abs(normy - state.size)  # no more than ||x||, so that no test is passed by it alone
        return problem.certificate(normr, state.normar, normx).measure

    def evidence(self, state: S) -> SpectralEvidence | None:
        couplings = max(state.longest, state.couplings, key=len)
        return SingularEvidence(couplings) if couplings else None

    def ended(self) -> Breakdown:
        """Where rounding is all that the process has left to go on with."""
        return Breakdown("", Cause.DIGITS, Status.STAGNATED)


class Preconditioned(LeastSquaresMethod[S]):
    """A method that carries ||M^H A^H r||, which is not what the tolerance is asked of."""

    carries: ClassVar[Norm] = Norm.OTHER

    def review(self, problem: LeastSquares, state: S, iteration: int, norm: float, best: Vector | None) -> None:
        """Each time the carried norm has fallen tenfold, compare it with the true one; begin anew where they parted."""
        super().review(problem, state, iteration, norm, best)
        if not state.normar <= 0.1 * state.reviewed:
            return
        state.work, _ = problem.certify(problem.point(state.x), state.work)
        true = problem.preconditioned_gradient()
        if true > 2 * state.normar:
            if not true <= 0.5 * state.parted:
                raise self.ended()
            state.parted = true
            self.renew(problem, state)
        state.reviewed = state.normar
