"""Methods that solve for the correction of the residual that was recomputed, whose first step gives the answer."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from ..driver.method import Breakdown, Norm, State, Traffic
from .method import LinearMethod
from .system import LinearSystem

__all__ = ["Correcting", "CorrectingState"]


@dataclass
class CorrectingState(State):
    """x, and its residual in ``work``.

    Attributes
    ----------
    said : str
        How the corrections are found.
    corrections : int
        Those made.
    ended : Breakdown or None
        Why there is no use in another one.
    """

    said: str = ""
    corrections: int = 0
    ended: Breakdown | None = None


S = TypeVar("S", bound=CorrectingState)


class Correcting(LinearMethod[S]):
    """x <- x + d, where d solves A d = b - A x as well as may be."""

    traffic: ClassVar[Traffic] = Traffic(vectors=1, passes=3, reductions=1, matvecs=1, compiled_passes=3)
    carries: ClassVar[Norm] = Norm.COMPUTED
    patience: ClassVar[int] = 2
    takes_preconditioner: ClassVar[bool] = False
    factors: ClassVar[bool] = True
    state_kind: ClassVar[type[Any]] = CorrectingState

    @abstractmethod
    def correction(self, system: LinearSystem, state: S) -> Any:
        """d for the residual in ``state.work``, (n,)."""

    @abstractmethod
    def ending(self, system: LinearSystem, state: S, before: float) -> Breakdown | None:
        """Why no other correction is of use, in view of this one and of the residual norm before it."""

    def start(self, system: LinearSystem) -> S:
        x, r, _ = system.initial()
        r, norm = system.certify(x, r)
        return self.state_kind(x=x, work=r, residual_norm=norm)

    def step(self, system: LinearSystem, state: S) -> None:
        if state.ended is not None:
            raise state.ended
        before = state.residual_norm or 0.0
        d = system.backend.copy(self.correction(system, state), system.dtype)
        state.x = system.backend.axpy(1.0, d, state.x)
        state.work, state.residual_norm = system.certify(state.x, state.work)
        state.corrections += 1
        state.ended = self.ending(system, state, before)

    def describe(self, state: S) -> str:
        return state.said
