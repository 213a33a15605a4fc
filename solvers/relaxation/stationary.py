"""What Richardson and Jacobi iteration share: steps along the preconditioned residual, of a length that stays."""

from __future__ import annotations

from typing import Any

from ..chebyshev.momentum import MomentumMethod
from ..driver.problem import Vector
from ..linear.system import LinearSystem
from .method import Relaxation

__all__ = ["Stationary"]


class Stationary(MomentumMethod, Relaxation):
    """A method without momentum, whose gamma is the same in every step."""

    def change(self, system: LinearSystem, state: Any, x: Vector, out: Vector) -> Vector:
        """gamma M (b - A x), with the residual left in the state."""
        state.work = system.residual(x, state.work)
        _, gamma = self.coefficients(state)
        out = system.backend.assign(self.preconditioned(system, state), out)
        return system.backend.axpby(0.0, out, gamma, out)
