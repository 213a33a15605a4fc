"""Relaxations accelerated by Anderson's method: a sweep is a map whose fixed point is the solution."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...naming import choice
from ..driver.method import Norm, State, Traffic
from ..driver.problem import Vector
from ..driver.status import Breakdown
from ..fixed_point.anderson import Anderson, AndersonState
from ..fixed_point.methods import FIXED_POINT_METHODS, fixed_point_method
from ..linear.method import Fit, LinearMethod
from ..linear.system import LinearSystem

if TYPE_CHECKING:
    from .method import Relaxation

__all__ = ["Accelerated", "SweptMap", "accelerated"]


class SweptMap:
    """The step of a relaxation as what the methods for fixed points evaluate.

    Attributes
    ----------
    system : LinearSystem
    method : Relaxation
    state : State
        The method's own.
    """

    called = "The sweep"
    raised = ""

    def __init__(self, system: LinearSystem, method: Relaxation, state: State) -> None:
        self.system, self.method, self.state = system, method, state
        self.backend, self.dtype, self.n, self.local = system.backend, system.dtype, system.n, system.local
        self.unit_roundoff = system.unit_roundoff

    def vector(self) -> Vector:
        """A new vector, zero."""
        return self.system.vector()

    def evaluate(self, x: Vector, out: Vector, expected: float = math.inf) -> tuple[Vector, float]:
        """What a step adds to x, in place of out, and its norm."""
        out = self.method.change(self.system, self.state, x, out)
        return out, self.backend.norm(out)

    def lost(self, x: Vector) -> bool:
        """Never: what is certified is b - A x, which loses nothing where x is large."""
        return False


@dataclass
class AcceleratedState(State):
    """With the states of both methods."""

    swept: SweptMap = None  # type: ignore[assignment]
    anderson: AndersonState = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Accelerated(LinearMethod[AcceleratedState]):
    """Anderson acceleration of the steps of a relaxation; the residual looked at is b - A x."""

    method: Relaxation
    by: Anderson

    carries: ClassVar[Norm] = Norm.COMPUTED
    check_every: ClassVar[int] = 16
    patience: ClassVar[int] = 100
    when_diverging: ClassVar[str] = "Keep more differences, sweep by another method, or let rv.solve choose one."

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"{self.method.name} accelerated by {self.by.name}"

    @property
    def title(self) -> str:  # type: ignore[override]
        return f"{self.method.title}, accelerated"

    @property
    def traffic(self) -> Traffic:  # type: ignore[override]
        """That of both once all differences are held, of type II with beta = 1."""
        sweep, depth = self.method.traffic, self.by.depth
        return Traffic(
            vectors=sweep.vectors + 2 * depth + 6,
            passes=sweep.passes + 10 * depth + 22,
            reductions=sweep.reductions + self.by.traffic.reductions - 1,  # ||x|| is not asked for
            matvecs=sweep.matvecs,
            compiled_passes=sweep.compiled_passes + 4 * depth + 14,
        )

    def fits(self, system: LinearSystem) -> Fit:  # type: ignore[override]
        return self.method.fits(system)

    def adjoint(self) -> LinearMethod[Any]:
        return accelerated(self.method.adjoint(), self.by)

    def tuned(self, system: LinearSystem, state: AcceleratedState) -> LinearMethod[Any]:
        return accelerated(self.method.tuned(system, state.swept.state), self.by)

    def start(self, system: LinearSystem) -> AcceleratedState:
        own = self.method.start(system)
        swept = SweptMap(system, self.method, own)
        x, norm = system.backend.copy(own.x), own.residual_norm
        change, size = swept.evaluate(x, swept.vector())
        anderson = self.by.new_state(swept, x, change, size)  # type: ignore[arg-type]
        return AcceleratedState(
            x, own.work, norm, own.work_is_residual, notes=own.notes, swept=swept, anderson=anderson
        )

    def step(self, system: LinearSystem, state: AcceleratedState) -> None:
        try:
            self.by.step(state.swept, state.anderson)  # type: ignore[arg-type]
        except Breakdown:
            if math.isfinite(state.anderson.next_norm):
                raise
            state.residual_norm = math.nan  # of which the system says whose fault it is
            return
        state.x, state.work, state.residual_norm = state.anderson.x, state.swept.state.work, None

    def describe(self, state: AcceleratedState) -> str:
        said = self.method.describe(state.swept.state), self.by.describe(state.anderson)
        return " ".join(filter(None, said))


def accelerated(method: LinearMethod[Any], accelerate: str | Mapping[str, Any] | Anderson) -> LinearMethod[Any]:
    """The method, accelerated as asked for.

    Parameters
    ----------
    method : Relaxation
    accelerate : {"anderson", "auto"}, dict or Anderson
        A dict holds parameters of ``resolvent.anderson``.

    Raises
    ------
    InputError
        For anything else, and for parameters unknown or outside their range.

    Examples
    --------
    >>> from resolvent.solvers.relaxation.accelerated import accelerated
    >>> from resolvent.solvers.relaxation.sor import SOR
    >>> accelerated(SOR(1.5), {"depth": 4}).by.depth
    4
    """
    if isinstance(accelerate, Mapping):
        return Accelerated(method, fixed_point_method("anderson", accelerate))  # type: ignore[arg-type]
    if not isinstance(accelerate, Anderson):
        names = [name for name, kind in FIXED_POINT_METHODS.items() if issubclass(kind, Anderson)]
        accelerate = choice("accelerate", accelerate, names, more=", a dict of parameters of anderson, or None")
    return Accelerated(method, fixed_point_method(accelerate, {}))  # type: ignore[arg-type]
