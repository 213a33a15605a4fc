"""What Chebyshev, Richardson and Jacobi iteration share: x_{k+1} = x_k + beta_k (x_k - x_{k-1}) + gamma_k M r_k.

The residual is recomputed from x every step, which costs the same product with A as updating it would and keeps the
attainable accuracy (Gutknecht & Roellin 2002, "The Chebyshev iteration revisited").
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from ..driver.method import Norm, State, Traffic
from ..driver.problem import Vector
from ..linear.method import LinearMethod
from ..linear.system import LinearSystem

__all__ = ["MomentumMethod", "MomentumState"]


@dataclass
class MomentumState(State):
    """Iterate x, the one before, and the residual of x in ``work``; z holds M r.

    ``inverse_diagonal`` is the method's own preconditioner, or None for the system's.
    """

    previous: Vector = None
    z: Vector = None
    inverse_diagonal: Vector | None = None


class MomentumMethod(LinearMethod[Any]):
    """A method that is nothing but a choice of beta_k and gamma_k."""

    traffic: ClassVar[Traffic] = Traffic(vectors=3, passes=7, reductions=0, matvecs=1, compiled_passes=4)
    carries: ClassVar[Norm] = Norm.COMPUTED
    check_every: ClassVar[int] = 16
    patience: ClassVar[int] = 32

    @abstractmethod
    def coefficients(self, state: Any) -> tuple[float, float]:
        """beta and gamma of the next step; advances the recurrence they come from."""

    def new_state(self, system: LinearSystem, kind: type = MomentumState, **extra: Any) -> Any:
        """The first guess with its residual."""
        x, r, norm = system.initial()
        z = None if system.preconditioner is None and "inverse_diagonal" not in extra else system.vector()
        return kind(
            x=x,
            work=r,
            residual_norm=norm,
            work_is_residual=True,
            previous=system.backend.copy(x),
            z=z,
            **extra,
        )

    def preconditioned(self, system: LinearSystem, state: Any) -> Any:
        """M r, by the method's own diagonal or the system's preconditioner."""
        if state.inverse_diagonal is not None:
            state.z = system.backend.multiply(state.inverse_diagonal, state.work, state.z)
            return state.z
        state.z = system.precondition(state.work, state.z)
        return state.z

    def step(self, system: LinearSystem, state: Any) -> None:
        s = state
        beta, gamma = self.coefficients(s)
        s.previous = system.backend.momentum(beta, gamma, s.x, s.previous, self.preconditioned(system, s))
        s.x, s.previous = s.previous, s.x
        s.work = system.residual(s.x, s.work)
        s.residual_norm = None
