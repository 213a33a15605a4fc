"""What the anchored methods share: where the anchor is, and when it moves."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

from ...errors import InputError
from .method import MonotoneMethod, MonotoneState
from .problem import MonotoneProblem

__all__ = ["AnchoredMethod"]


@dataclass(frozen=True)
class AnchoredMethod(MonotoneMethod):
    """Iterates are drawn to the anchor, less and less.

    Parameters
    ----------
    restart : float, optional
        The iterate becomes the anchor once the residual is this part of that at the anchor; by default never.
    """

    restart_at: float | None = None

    def __post_init__(self) -> None:
        if self.restart_at is not None and not (isinstance(self.restart_at, Real) and 0 < self.restart_at < 1):
            raise InputError(f"restart_at: found {self.restart_at!r}; wanted a number in (0, 1), or None for never")

    def begin(self, problem: MonotoneProblem, s: MonotoneState) -> None:
        s.anchor = problem.backend.copy(s.x)
        s.anchor_norm = float(s.residual_norm)  # type: ignore[arg-type]

    def follow(self, problem: MonotoneProblem, s: MonotoneState) -> None:
        if self.restart_at is not None and s.residual_norm <= self.restart_at * s.anchor_norm:  # type: ignore[operator]
            s.k = 0
            self.begin(problem, s)
