"""MINRES with a space kept from one system to the next: recycling MINRES."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..driver.method import Cost
from ..driver.problem import Vector
from ..linear.system import LinearSystem
from .deflating import Deflating, DeflatingState
from .minres import MINRES, MINRESState
from .recycled import window_length

__all__ = ["RMINRES"]


@dataclass(kw_only=True)
class RMINRESState(DeflatingState, MINRESState):
    """Of MINRES, whose iterate x lacks what lies in the space U, with C = A U, D = M C, and C^H D = 1.

    Attributes
    ----------
    b : ndarray of shape (k,)
        D^H A z of the latest Lanczos vector z.
    formed, formed_at :
        Room for the current iterate, and the steps that it was formed after; -1 where it was not.
    """

    b: np.ndarray = field(default_factory=lambda: np.zeros(0))
    formed: Vector = None
    formed_at: int = -1


@dataclass(frozen=True)
class RMINRES(Deflating, MINRES):
    """MINRES on what a space leaves: the Lanczos process of (1 - C D^H) A."""

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
            self.use(system, s, self.recall(system, s))
            s.formed = s.formed if s.space is None else system.unset()
        if s.space is not None:
            s.v = backend.add_block(s.space.C, -backend.dots(s.space.D, s.v), s.v)
            s.residual_norm = backend.norm(s.v)
        MINRES.begin(self, system, s)

    def _lanczos(self, system: LinearSystem, state: MINRESState) -> float:
        """Orthogonal to C besides; D^H A z is what had to be taken away."""
        assert isinstance(state, RMINRESState)
        s = state
        delta = super()._lanczos(system, s)
        if s.space is not None:
            s.b = system.backend.dots(s.space.D, s.v)
            s.v = system.backend.add_block(s.space.C, -s.b, s.v)
        return delta

    def step_with_space(self, system: LinearSystem, state: RMINRESState) -> None:
        s, window = state, state.window
        watched = s.begun and window is not None and not window.full
        if watched and window is not None:
            window.vector(s.v, s.z, self._scale(s))
        MINRES.step(self, system, s)
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
        self.close(s)
        s.space = None
        super().renew(system, s)

    def close(self, state: RMINRESState) -> None:
        """The last Lanczos vector; none follows."""
        if state.window is not None and state.begun:
            state.window.close(state.v, state.z, self._scale(state))

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

    def cost(self, iterations: int) -> Cost:
        """That of MINRES, of C and D in every step, and of what is kept."""
        plain, k = super().cost(iterations), min(len(self.kept.vectors), self.recycle)
        length = window_length(self.recycle)
        watched = min(iterations, length) if k else iterations
        made = 5 * watched + (1 if k else iterations // length) * 6 * (self.recycle + length)
        passes = (iterations * (2 * k + 3) + 12 * k if k else 0) + made
        return Cost(plain.passes + passes, plain.reductions + iterations, plain.matvecs, plain.compiled_passes + passes)
