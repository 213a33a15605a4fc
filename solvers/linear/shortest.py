"""The shortest solution, or where there is none the least-squares solution: for what is singular to rounding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from ...errors import InputError
from ..driver.method import Breakdown
from ..driver.status import Cause, Status
from ..driver.stopping import Options
from ..least_squares.lstsq import by_choice
from ..least_squares.problem import LeastSquares
from .correcting import Correcting, CorrectingState
from .method import Candidate
from .system import LinearSystem

__all__ = ["ShortestSolution"]

STEPS = 3  # solves for a correction at most
WORK = 3e10  # entries of A that its iterations may touch: about a minute
GRADIENT = 1e-10  # of ||A|| ||r||, the ||A^H r|| of a least-squares solution


@dataclass
class ShortestState(CorrectingState):
    """The same, and what least squares found for the last correction."""

    found: Any = None


@dataclass(frozen=True)
class ShortestSolution(Correcting[ShortestState]):
    """A step adds the shortest d that makes ||r - A d|| smallest, r the residual that was recomputed.

    Where r is orthogonal to the range of A before it is small, no solution exists, and x is a least-squares solution.
    """

    name: ClassVar[str] = "lstsq"
    title: ClassVar[str] = "Least squares"
    purpose: ClassVar[str] = "singular A"
    finds_least_squares: ClassVar[bool] = True
    state_kind: ClassVar[type[Any]] = ShortestState

    @classmethod
    def candidates(cls, system: LinearSystem) -> Iterator[Candidate]:
        if not system.two_precisions:
            yield Candidate(2, cls(), "A may be singular, and least squares finds the shortest solution", maxiter=STEPS)

    def correction(self, system: LinearSystem, state: ShortestState) -> Any:
        target = 0.5 * state.target / state.residual_norm if state.residual_norm else 0.0
        limit = max(1000, min(10 * system.n, int(WORK / system.work)))
        left = None if system.deadline is None else max(system.deadline.left, 1e-9)
        try:
            tolerances = {"atol": GRADIENT, "btol": min(target, 0.5)}
            problem = LeastSquares(system.truth, state.work, **tolerances, backend=system.backend)
            found = by_choice(problem, Options(maxiter=limit, time_limit=left))
        except InputError as error:  # of an A whose products with A^H cannot be had
            raise Breakdown(f"{error}.") from None
        system.matvecs += found.matvecs
        state.found, state.said = found, found.reason
        return found.x

    def ending(self, system: LinearSystem, state: ShortestState, before: float) -> Breakdown | None:
        found = state.found
        if not found.converged or found.consistent or found.rank == system.n:
            return None
        rank = "" if found.rank is None else f", of rank {found.rank} of {system.n}"
        return Breakdown(
            f"A is singular to rounding{rank}, and b has a part that A cannot reach, "
            f"{(state.residual_norm or 0.0) / system.reference:.2e} of ||b||, so no solution exists. x is a "
            f"least-squares solution: ||A^H r|| is {found.relative_residual:.1e} of ||A|| ||r||.",
            Cause.INCONSISTENT,
            Status.INFEASIBLE,
        )
