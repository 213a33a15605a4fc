"""What methods share that keep a space beside the Lanczos process from one system to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..driver.method import Breakdown, State
from ..driver.status import Ending, Status
from ..linear.method import LinearMethod
from ..linear.system import LinearSystem
from .lanczos_window import LanczosWindow
from .recycled import Images, Recycled, check_recycle, images, said_of_space, unit_vectors, window_length

__all__ = ["Deflating", "DeflatingState"]


@dataclass(kw_only=True)
class DeflatingState(State):
    """The space of a solve, beside the state of its method.

    Attributes
    ----------
    space : Images or None
        U and what A makes of it.
    window : LanczosWindow or None
        Where the next space comes from.
    recalled : int
        Vectors of the systems before that were used.
    left : bool
        They were of no use.
    """

    begun: bool
    space: Images | None = None
    window: LanczosWindow | None = None
    recalled: int = 0
    left: bool = False


@dataclass(frozen=True)
class Deflating(LinearMethod[Any]):
    """A method on what a space leaves; one that goes on without where the space is of no use.

    ``recycle`` is the number of vectors of U, harmonic Ritz vectors; ``kept`` those of the systems before.
    """

    recycle: int = 10
    kept: Recycled = field(default_factory=Recycled, compare=False)

    def __post_init__(self) -> None:
        check_recycle(self.recycle)

    def begin(self, system: LinearSystem, state: Any) -> None:
        """The first step, without what lies in the space."""
        raise NotImplementedError

    def step_with_space(self, system: LinearSystem, state: Any) -> None:
        """A step of the method, watched by the window."""
        raise NotImplementedError

    def close(self, state: Any) -> None:
        """The last Lanczos vector; none follows."""
        raise NotImplementedError

    def step(self, system: LinearSystem, state: Any) -> None:
        s = state
        if not s.begun:
            self.begin(system, s)
            if s.residual_norm is not None and s.residual_norm <= s.target:
                return  # the space has the solution
        try:
            self.step_with_space(system, s)
        except Breakdown:
            if s.space is None:
                raise
            self.go_on_without(system, s)
            self.step_with_space(system, s)

    def recall(self, system: LinearSystem, state: Any) -> Images | None:
        """U of the systems before, and C = A U of this A."""
        vectors = self.kept.recall(system, min(self.recycle, system.n - 1))
        weight = None if system.preconditioner is None else system.precondition
        return images(system, vectors, system.matvec, weight)

    def use(self, system: LinearSystem, state: Any, space: Images | None) -> None:
        """This space, if any, and room for the next."""
        s = state
        s.space, s.recalled = space, 0 if space is None else len(space.U)
        s.window = LanczosWindow(system, window_length(self.recycle), self.recycle, space)

    def go_on_without(self, system: LinearSystem, state: Any) -> None:
        """The space is of no use: begin anew as the method does."""
        s = state
        s.left = True
        s.work, _ = system.certify(self.iterate(system, s), s.work)
        self.renew(system, s)

    def conclude(self, system: LinearSystem, state: Any, ending: Ending) -> tuple[Ending, Mapping[str, Any]]:
        """Of a system that was solved, what the next one may use."""
        s = state
        if ending.status is Status.CONVERGED and s.window is not None:
            self.close(s)
            if s.window.U is not None and not s.left:
                self.kept.found = unit_vectors(system.backend, s.window.U)
        return ending, {}

    def evidence(self, state: Any) -> Any:
        return None if state.recalled else super().evidence(state)

    def describe(self, state: Any) -> str:
        return " ".join(filter(None, (said_of_space(state.recalled, state.left), super().describe(state))))

    def applications(self, iterations: int) -> int:
        return iterations + min(len(self.kept.vectors), self.recycle)
