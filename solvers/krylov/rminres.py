"""MINRES with a space kept from one system to the next: recycling MINRES."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..driver.method import Breakdown, Cost
from ..driver.problem import Vector
from ..driver.status import Ending, Status
from ..linear.system import LinearSystem
from ..spectra.ritz import SpectralEvidence
from .lanczos_window import LanczosWindow
from .minres import MINRES, MINRESState
from .recycled import Images, Recycled, check_recycle, images, said_of_space, unit_vectors, window_length

__all__ = ["RMINRES"]


@dataclass(kw_only=True)
class RMINRESState(MINRESState):
    """Of MINRES, whose iterate x lacks what lies in the space, and the space.

    Attributes
    ----------
    space : Images or None
        U and C = A U, D = M C, with C^H D = 1.
    b : ndarray of shape (k,)
        D^H A z of the latest Lanczos vector z.
    formed, formed_at :
        Room for the current iterate, and the steps that it was formed after; -1 where it was not.
    window : LanczosWindow or None
        Where the next space comes from.
    recalled : int
        Vectors of the systems before that were used.
    left : bool
        They were of no use.
    """

    space: Images | None = None
    b: np.ndarray = field(default_factory=lambda: np.zeros(0))
    formed: Vector = None
    formed_at: int = -1
    window: LanczosWindow | None = None
    recalled: int = 0
    left: bool = False


@dataclass(frozen=True)
class RMINRES(MINRES):
    """MINRES on what a space leaves: the Lanczos process of (1 - C D^H) A.

    ``recycle`` is the number of vectors of U, harmonic Ritz vectors; ``kept`` those of the systems before.
    """

    recycle: int = 10
    kept: Recycled = field(default_factory=Recycled, compare=False)

    def __post_init__(self) -> None:
        check_recycle(self.recycle)

    def vectors_memory(self, system: LinearSystem) -> float:
        M = 1 if system.preconditioner is None else 2
        own = (3.0 + M) * self.recycle + M * (window_length(self.recycle) + 2) + 1
        return super().vectors_memory(system) + own * system.local * system.dtype.itemsize

    def start(self, system: LinearSystem) -> RMINRESState:
        return RMINRESState(**vars(super().start(system)))

    def begin(self, system: LinearSystem, state: MINRESState) -> None:
        """The first Lanczos vector is the residual without its part in C."""
        assert isinstance(state, RMINRESState)
        s, backend = state, system.backend
        if s.window is None:
            self._recall(system, s)
        if s.space is not None:
            s.v = backend.add_block(s.space.C, -backend.dots(s.space.D, s.v), s.v)
            s.residual_norm = backend.norm(s.v)
        super().begin(system, s)

    def _recall(self, system: LinearSystem, state: RMINRESState) -> None:
        """U of the systems before, and C = A U of this A."""
        s = state
        vectors = self.kept.recall(system, min(self.recycle, system.n - 1))
        weight = None if system.preconditioner is None else system.precondition
        s.space = images(system, vectors, system.matvec, weight)
        if s.space is not None:
            s.recalled, s.formed = len(s.space.U), system.unset()
        s.window = LanczosWindow(system, window_length(self.recycle), self.recycle, s.space)

    def _lanczos(self, system: LinearSystem, state: MINRESState) -> float:
        """Orthogonal to C besides; D^H A z is what had to be taken away."""
        assert isinstance(state, RMINRESState)
        s = state
        delta = super()._lanczos(system, s)
        if s.space is not None:
            s.b = system.backend.dots(s.space.D, s.v)
            s.v = system.backend.add_block(s.space.C, -s.b, s.v)
        return delta

    def step(self, system: LinearSystem, state: MINRESState) -> None:
        assert isinstance(state, RMINRESState)
        s = state
        if not s.begun:
            self.begin(system, s)
            if s.residual_norm is not None and s.residual_norm <= s.target:
                return  # the space has the solution
        try:
            self._step(system, s)
        except Breakdown:
            if s.space is None:
                raise
            self._go_on_without(system, s)
            self._step(system, s)

    def _step(self, system: LinearSystem, state: RMINRESState) -> None:
        s, window = state, state.window
        watched = s.begun and window is not None and not window.full
        if watched and window is not None:
            window.vector(s.v, s.z, self._scale(s))
        super().step(system, s)
        if watched and window is not None and not window.full:
            window.column(s.diagonal[-1], s.off[-1], None if s.space is None else s.b)

    @staticmethod
    def _scale(state: RMINRESState) -> float:
        return 1 / state.gamma if state.gamma > 0 else 0.0

    def iterate(self, system: LinearSystem, state: MINRESState) -> Vector:
        """x + U D^H (b - A x): of the residual nothing is left in C."""
        assert isinstance(state, RMINRESState)
        s, backend = state, system.backend
        if s.space is None or not s.begun:
            return s.x
        at = s.steps_before + len(s.diagonal)
        if s.formed_at != at:
            s.work = system.residual(s.x, s.work)
            s.formed = backend.assign(s.x, s.formed)
            s.formed = backend.add_block(s.space.U, backend.dots(s.space.D, s.work), s.formed)
            s.formed_at = at
        return s.formed

    def renew(self, system: LinearSystem, state: MINRESState) -> None:
        """Without the space: at the limit of accuracy nothing but the method itself is to be trusted."""
        assert isinstance(state, RMINRESState)
        s = state
        if self.iterate(system, s) is not s.x:
            s.x, s.formed = s.formed, s.x
        self._close(s)
        s.space = None
        super().renew(system, s)

    def _close(self, state: RMINRESState) -> None:
        """The last Lanczos vector; none follows."""
        if state.window is not None and state.begun:
            state.window.close(state.v, state.z, self._scale(state))

    def _go_on_without(self, system: LinearSystem, state: RMINRESState) -> None:
        """The space is of no use: begin anew as MINRES does."""
        s = state
        s.work, _ = system.certify(self.iterate(system, s), s.work)
        s.left = True
        self.renew(system, s)

    def _look_into_kernel(self, system: LinearSystem, state: MINRESState) -> None:
        """At the whole iterate. What is found there is left to MINRES without the space, which has the shortest x."""
        assert isinstance(state, RMINRESState)
        s = state
        if s.space is None:
            super()._look_into_kernel(system, s)
            return
        without, s.x = s.x, system.backend.copy(self.iterate(system, s))
        try:
            super()._look_into_kernel(system, s)
        finally:
            s.x = without

    def conclude(self, system: LinearSystem, state: MINRESState, ending: Ending) -> tuple[Ending, Mapping[str, Any]]:
        """Of a system that was solved, what the next one may use."""
        assert isinstance(state, RMINRESState)
        s = state
        if ending.status is Status.CONVERGED and s.window is not None:
            self._close(s)
            if s.window.U is not None and not s.left:
                self.kept.found = unit_vectors(system.backend, s.window.U)
        return ending, {}

    def evidence(self, state: MINRESState) -> SpectralEvidence | None:
        assert isinstance(state, RMINRESState)
        return None if state.recalled else super().evidence(state)

    def describe(self, state: MINRESState) -> str:
        assert isinstance(state, RMINRESState)
        return said_of_space(state.recalled, state.left)

    def applications(self, iterations: int) -> int:
        return iterations + min(len(self.kept.vectors), self.recycle)

    def cost(self, iterations: int) -> Cost:
        """That of MINRES, of C and D in every step, and of what is kept."""
        plain, k = super().cost(iterations), min(len(self.kept.vectors), self.recycle)
        length = window_length(self.recycle)
        watched = min(iterations, length) if k else iterations
        made = 5 * watched + (1 if k else iterations // length) * 6 * (self.recycle + length)
        passes = (iterations * (2 * k + 3) + 12 * k if k else 0) + made
        return Cost(plain.passes + passes, plain.reductions + iterations, plain.matvecs, plain.compiled_passes + passes)
