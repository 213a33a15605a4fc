"""The heavy ball method."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from .method import Coefficients, MomentumMethod

__all__ = ["HeavyBall"]


@dataclass(frozen=True)
class HeavyBall(MomentumMethod):
    """x + beta (x - x before) - alpha gradient(x), for quadratic functions.

    alpha = 4 / (sqrt(L) + sqrt(mu))^2 and beta = q^2 with q = (sqrt(L) - sqrt(mu)) / (sqrt(L) + sqrt(mu)). On quadratic
    functions ||gradient(x_k)|| <= q^k (1 + k (1 + q)) ||gradient(x_0)||, with equality where all eigenvalues are L; q
    is the rate of the Chebyshev iteration, which no method improves upon.

    Notes
    -----
    On other functions it need not converge: with L = 25 and mu = 1 it runs into a cycle of three points on the
    piecewise quadratic f with f' = 25 x, x + 24 and 25 x - 24 for x below 1, from 1 to 2 and above. Near a minimum with
    a continuous Hessian it converges at the rate of quadratics.

    Per iteration: 1 evaluation, 11 vector passes, 1 reduction; 6 vectors kept.

    References
    ----------
    Polyak (1964); Lessard, Recht and Packard (2016), section 4.6 on the cycle.
    """

    name: ClassVar[str] = "heavy_ball"
    title: ClassVar[str] = "Heavy ball method"
    purpose: ClassVar[str] = "quadratic functions"
    when_diverging: ClassVar[str] = 'It is safe on quadratic functions only: try "triple_momentum".'

    def coefficients(self, L: float, mu: float) -> Coefficients:
        return Coefficients(4 / (math.sqrt(L) + math.sqrt(mu)) ** 2, self.rate(L / mu) ** 2, 0.0)

    def rate(self, condition: float) -> float:
        return (math.sqrt(condition) - 1) / (math.sqrt(condition) + 1)
