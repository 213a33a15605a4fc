"""What the relaxations have in common: a step is a map of x alone, which Anderson's method can accelerate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..driver.problem import Vector
from ..linear.method import LinearMethod

if TYPE_CHECKING:
    from ..fixed_point.anderson import Anderson
    from ..linear.system import LinearSystem

__all__ = ["Relaxation"]


class Relaxation(LinearMethod[Any]):
    """A method whose step x + M^-1 (b - A x) depends on nothing but x."""

    def change(self, system: LinearSystem, state: Any, x: Vector, out: Vector) -> Vector:
        """What a step from any x adds to it, in place of out; ``state`` is that of the last such x."""
        state.x = system.backend.assign(x, state.x)
        self.step(system, state)
        return system.backend.difference(state.x, x, out)

    def accelerated(self, accelerate: str | Mapping[str, Any] | Anderson | None) -> LinearMethod[Any]:
        """This method, accelerated as asked for; itself for None."""
        if accelerate is None:
            return self
        from .accelerated import accelerated  # with all methods for fixed points, which few sweeps need

        return accelerated(self, accelerate)
