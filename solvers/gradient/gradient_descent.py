"""Gradient descent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from .method import Coefficients, MomentumMethod, MomentumState

__all__ = ["GradientDescent"]


@dataclass(frozen=True)
class GradientDescent(MomentumMethod):
    """x - 2 / (L + mu) gradient(x), and x - gradient(x) / L where mu is 0.

    Gradients fall by (L - mu) / (L + mu) an iteration, whatever f, and no more on some quadratic.

    Notes
    -----
    Per iteration: 1 evaluation, 11 vector passes, 1 reduction; 6 vectors kept.

    References
    ----------
    Polyak (1963); Taylor, Hendrickx and Glineur (2018), on the gradient's norm.
    """

    name: ClassVar[str] = "gradient"
    title: ClassVar[str] = "Gradient descent"
    purpose: ClassVar[str] = "convex functions, and as the yardstick"
    needs_strong_convexity: ClassVar[bool] = False

    def coefficients(self, L: float, mu: float) -> Coefficients:
        return Coefficients(2 / (L + mu) if mu else 1 / L, 0.0, 0.0)

    def rate(self, condition: float) -> float:
        return (condition - 1) / (condition + 1) if math.isfinite(condition) else 1.0

    def predicted_iterations(self, state: MomentumState, reduction: float) -> int | None:  # type: ignore[override]
        if not 0 < reduction < 1 or state.rate >= 1:
            return None
        return math.ceil(math.log(reduction) / math.log(state.rate)) if state.rate > 0 else 1
