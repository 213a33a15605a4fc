"""The shortest solution, or where there is none the least-squares solution: for what is singular to rounding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from ...errors import InputError
from ..driver.method import Breakdown, Norm, State, Traffic
from ..driver.status import Cause, Status
from ..driver.stopping import Options
from ..least_squares.lstsq import by_choice
from ..least_squares.problem import LeastSquares
from .method import Candidate, LinearMethod
from .system import LinearSystem

__all__ = ["ShortestSolution"]

STEPS = 3  # solves for a correction at most
WORK = 3e10  # entries of A that its iterations may touch: about a minute
GRADIENT = 1e-10  # of ||A|| ||r||, the ||A^H r|| of a least-squares solution


@dataclass
class ShortestState(State):
    """x, its residual, what was said of the last correction, and what ends the iteration after it."""

    said: str = ""
    ended: Breakdown | None = None


@dataclass(frozen=True)
class ShortestSolution(LinearMethod[ShortestState]):
    """A step adds the shortest d that makes ||r - A d|| smallest, r the residual that was recomputed.

    Where r is orthogonal to the range of A before it is small, no solution exists, and x is a least-squares solution.
    """

    name: ClassVar[str] = "lstsq"
    title: ClassVar[str] = "Least squares"
    purpose: ClassVar[str] = "singular A"
    traffic: ClassVar[Traffic] = Traffic(vectors=1, passes=3, reductions=1, matvecs=1, compiled_passes=3)
    carries: ClassVar[Norm] = Norm.COMPUTED
    patience: ClassVar[int] = 2
    takes_preconditioner: ClassVar[bool] = False
    finds_least_squares: ClassVar[bool] = True

    @classmethod
    def candidates(cls, system: LinearSystem) -> Iterator[Candidate]:
        if not system.two_precisions:
            yield Candidate(2, cls(), "A may be singular, and least squares finds the shortest solution", maxiter=STEPS)

    def start(self, system: LinearSystem) -> ShortestState:
        x, r, _ = system.initial()
        r, norm = system.certify(x, r)
        return ShortestState(x=x, work=r, residual_norm=norm)

    def step(self, system: LinearSystem, state: ShortestState) -> None:
        if state.ended is not None:
            raise state.ended
        target = 0.5 * state.target / state.residual_norm if state.residual_norm else 0.0
        limit = max(1000, min(10 * system.n, int(WORK / system.work)))
        left = None if system.deadline is None else max(system.deadline.left, 1e-9)
        try:
            tolerances = {"atol": GRADIENT, "btol": min(target, 0.5)}
            problem = LeastSquares(system.truth, state.work, **tolerances, backend=system.backend)
            solution: Any = by_choice(problem, Options(maxiter=limit, time_limit=left))
        except InputError as error:  # of an A whose products with A^H cannot be had
            raise Breakdown(f"{error}.") from None
        system.matvecs += solution.matvecs
        state.said = solution.reason
        state.x = system.backend.axpy(1.0, system.backend.copy(solution.x), state.x)
        state.work, state.residual_norm = system.certify(state.x, state.work)
        if solution.converged and not solution.consistent and solution.rank != system.n:
            rank = "" if solution.rank is None else f", of rank {solution.rank} of {system.n}"
            state.ended = Breakdown(
                f"A is singular to rounding{rank}, and b has a part that A cannot reach, "
                f"{state.residual_norm / system.reference:.2e} of ||b||, so no solution exists. x is a least-squares "
                f"solution: ||A^H r|| is {solution.relative_residual:.1e} of ||A|| ||r||.",
                Cause.INCONSISTENT,
                Status.INFEASIBLE,
            )

    def describe(self, state: ShortestState) -> str:
        return state.said
