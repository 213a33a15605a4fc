"""The triple momentum method."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from .method import Coefficients, MomentumMethod

__all__ = ["TripleMomentum"]


@dataclass(frozen=True)
class TripleMomentum(MomentumMethod):
    """The step whose guarantee is the best for smooth strongly convex functions: rho = 1 - sqrt(mu / L) an iteration.

    alpha = (1 + rho) / L, beta = rho^2 / (2 - rho), gamma = beta / (1 + rho).

    Notes
    -----
    Per iteration: 1 evaluation, 11 vector passes, 1 reduction; 6 vectors kept.

    References
    ----------
    Van Scoy, Freeman and Lynch (2018), "The fastest known globally convergent first-order method for minimizing
    strongly convex functions", equation (7). Of its outputs the one is given at which the gradient is known.
    """

    name: ClassVar[str] = "triple_momentum"
    title: ClassVar[str] = "Triple momentum method"
    purpose: ClassVar[str] = "smooth strongly convex functions"

    def coefficients(self, L: float, mu: float) -> Coefficients:
        rho = self.rate(L / mu)
        beta = rho**2 / (2 - rho)
        return Coefficients((1 + rho) / L, beta, beta / (1 + rho))

    def rate(self, condition: float) -> float:
        return 1 - 1 / math.sqrt(condition)
