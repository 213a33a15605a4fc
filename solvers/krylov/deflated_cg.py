"""Conjugate gradients with a space kept from one system to the next: deflated CG."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..driver.method import Cost
from ..linear.system import LinearSystem
from .cg import CG, CGState
from .deflating import Deflating, DeflatingState
from .recycled import Images, window_length

__all__ = ["DeflatedCG"]

GROWN = 100  # a residual that has grown by this has found what the space should have held


@dataclass(kw_only=True)
class DeflatedCGState(DeflatingState, CGState):
    """Of conjugate gradients, and the space U, with C = A U.

    Attributes
    ----------
    E : ndarray of shape (k, k)
        U^H A U.
    mu : ndarray of shape (k,)
        E^-1 C^H z of the latest z.
    projected : float
        The residual norm when its part along U was last taken away.
    """

    E: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    mu: np.ndarray = field(default_factory=lambda: np.zeros(0))
    projected: float = 0.0


@dataclass(frozen=True)
class DeflatedCG(Deflating, CG):
    """Conjugate gradients on what a space leaves: residuals are orthogonal to U, directions A-orthogonal to it."""

    def vectors_memory(self, system: LinearSystem) -> float:
        M = 1 if system.preconditioner is None else 2
        window = window_length(self.recycle) + 2
        return super().vectors_memory(system) + (4.0 * self.recycle + M * window) * system.local * system.dtype.itemsize

    def start(self, system: LinearSystem) -> DeflatedCGState:
        return DeflatedCGState(**vars(super().start(system)))

    def begin(self, system: LinearSystem, state: CGState) -> None:
        """x and r so that U^H r = 0, and the first direction A-orthogonal to U."""
        assert isinstance(state, DeflatedCGState)
        s = state
        if s.window is None:
            self.use(system, s, self.recall(system, s))
        self._project(system, s)
        CG.begin(self, system, s)
        self._deflate(system, s)

    def recall(self, system: LinearSystem, state: CGState) -> Images | None:
        assert isinstance(state, DeflatedCGState)
        found = super().recall(system, state)
        if found is None:
            return None
        E = system.backend.block_dots(found.U, found.C)
        state.E = (E + E.conj().T) / 2
        return found if np.linalg.eigvalsh(state.E).min() > 0 else None

    def _project(self, system: LinearSystem, state: DeflatedCGState) -> None:
        """x <- x + U (U^H A U)^-1 U^H r, and its residual."""
        s, backend = state, system.backend
        if s.space is not None:
            y = np.linalg.solve(s.E, backend.dots(s.space.U, s.r))
            s.x = backend.add_block(s.space.U, y, s.x)
            s.r = backend.add_block(s.space.C, -y, s.r)
            solution, s.residual_norm = backend.norms(s.x, s.r)
            s.gap.replaced(solution, s.residual_norm)
            s.projected = s.residual_norm

    def _project_again(self, system: LinearSystem, state: DeflatedCGState) -> None:
        """What rounding left along U when r was larger is no longer small: it would make steps too long."""
        s, backend = state, system.backend
        s.p = backend.axpy(-1.0, s.z, s.p)
        self._project(system, s)
        s.z = system.precondition(s.r, s.z)
        s.p = backend.axpy(1.0, s.z, s.p)
        s.rho = self._rho(system, s)

    def review(self, system: LinearSystem, state: CGState, iteration: int, norm: float, best: Any) -> None:
        """A residual that was replaced has a part along U again, which no step would take away."""
        assert isinstance(state, DeflatedCGState)
        s, before = state, state.replacements
        super().review(system, s, iteration, norm, best)
        if s.begun and s.replacements > before and s.space is not None:
            self._project(system, s)
            s.z = system.precondition(s.r, s.z)
            s.rho = self._rho(system, s)

    def _deflate(self, system: LinearSystem, state: DeflatedCGState) -> None:
        """p <- p - U (U^H A U)^-1 (A U)^H z."""
        s = state
        if s.space is not None:
            z = s.r if system.preconditioner is None else s.z
            s.mu = np.linalg.solve(s.E, system.backend.dots(s.space.C, z))
            s.p = system.backend.add_block(s.space.U, -s.mu, s.p)

    def renew(self, system: LinearSystem, state: CGState) -> None:
        """Without the space: at the limit of accuracy nothing but the method itself is to be trusted."""
        assert isinstance(state, DeflatedCGState)
        self.close(state)
        state.space = None
        super().renew(system, state)

    def step_with_space(self, system: LinearSystem, state: DeflatedCGState) -> None:
        s, window = state, state.window
        watched = window is not None and not window.full
        mu, scale = s.mu, self._scale(s)
        if watched and window is not None:
            window.vector(s.r, s.z, scale)
        CG.step(self, system, s)
        if s.space is not None and not s.gap.norm <= GROWN * s.projected:
            self.go_on_without(system, s)
        elif s.space is not None and s.gap.norm < math.sqrt(system.unit_roundoff) * s.projected:
            self._project_again(system, s)
        self._deflate(system, s)
        if watched and window is not None and not window.full and s.alphas:
            last = s.betas[-2] / s.alphas[-2] if len(s.alphas) > 1 else 0.0
            window.column(
                1 / s.alphas[-1] + last,
                math.sqrt(s.betas[-1]) / s.alphas[-1],
                None if s.space is None else scale * mu,
            )

    @staticmethod
    def _scale(state: DeflatedCGState) -> float:
        """r times this is the Lanczos vector, of length one."""
        return (-1) ** len(state.alphas) / math.sqrt(state.rho) if state.rho > 0 else 0.0

    def close(self, state: DeflatedCGState) -> None:
        """The last Lanczos vector; none follows."""
        s = state
        if s.window is not None and s.begun:
            s.window.close(s.r, s.z, self._scale(s))

    def cost(self, iterations: int) -> Cost:
        """That of conjugate gradients, of U and C in every step, and of what is kept."""
        plain, k = super().cost(iterations), min(len(self.kept.vectors), self.recycle)
        length = window_length(self.recycle)
        watched = min(iterations, length) if k else iterations
        made = 7 * watched + (1 if k else iterations // length) * 6 * (self.recycle + length)
        passes = (iterations * (2 * k + 3) + 12 * k if k else 0) + made
        return Cost(plain.passes + passes, plain.reductions + iterations, plain.matvecs, plain.compiled_passes + passes)
