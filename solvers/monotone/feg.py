"""The fast extragradient method."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

from ...errors import InputError
from ...precision import times_power_of_two
from ..driver.method import Traffic
from .anchored import AnchoredMethod
from .method import MonotoneState
from .problem import MonotoneProblem

__all__ = ["FastExtragradient"]


@dataclass(frozen=True)
class FastExtragradient(AnchoredMethod):
    """An anchored extragradient step with b = 1 / (k + 1) and two step lengths.

    h   = z + b (z_0 - z) - (1 - b) (1 / L + 2 rho) F(z)
    z+  = z + b (z_0 - z) - F(h) / L - (1 - b) 2 rho F(z)

    ||F(z_k)|| <= 2 ||z_0 - z*|| / ((1 / L + 2 rho) k), which F(x, y) = (L y, -L x) attains at k = 2, 6, 10, ... with
    rho = 0.

    Parameters
    ----------
    comonotone : float
        rho, above -1 / (2 L): Re <F(z) - F(w), z - w> >= rho ||F(z) - F(w)||^2. 0 for monotone F; where it is negative
        F need not be monotone.
    restart_at : float, optional
        The iterate becomes the anchor once the residual is this part of that at the anchor; by default never.

    Notes
    -----
    Per iteration: 2 evaluations (the first one needs 1), 16 vector passes, 2 reductions; 7 vectors kept.

    References
    ----------
    Lee and Kim (2021), "Fast extra gradient methods for smooth structured nonconvex-nonconcave minimax problems".
    """

    comonotone: float = 0.0

    name: ClassVar[str] = "feg"
    title: ClassVar[str] = "Fast extragradient method"
    purpose: ClassVar[str] = "monotone F, and those that are not quite; the best guarantee"
    traffic: ClassVar[Traffic] = Traffic(vectors=7, passes=16, reductions=2, matvecs=2, compiled_passes=16)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isinstance(self.comonotone, Real) and math.isfinite(self.comonotone)):
            raise InputError(f"comonotone: found {self.comonotone!r}; wanted a finite number")

    def begin(self, problem: MonotoneProblem, s: MonotoneState) -> None:
        super().begin(problem, s)
        rho = self._rho(problem)
        if rho and problem.estimated:
            raise InputError(f"comonotone: found {self.comonotone!r}, without lipschitz; wanted both, or neither")
        if not 1 + 2 * rho * problem.lipschitz > 0 and problem.lipschitz:
            least = -0.5 / times_power_of_two(problem.lipschitz, problem.matrix_exponent)
            raise InputError(f"comonotone: found {self.comonotone!r}; wanted more than -1 / (2 lipschitz), {least:.6g}")

    def _rho(self, problem: MonotoneProblem) -> float:
        """In internal units."""
        return times_power_of_two(float(self.comonotone), problem.matrix_exponent)

    def attempt(self, problem: MonotoneProblem, s: MonotoneState) -> None:
        combine, L, rho = problem.backend.combine, problem.lipschitz, self._rho(problem)
        b = 1 / (s.k + 1)
        if s.k == 0:  # h is the anchor itself
            s.half, s.half_work = problem.backend.assign(s.x, s.half), problem.backend.assign(s.work, s.half_work)
        else:
            s.half = combine([s.x, s.anchor, s.work], [1 - b, b, -(1 - b) * (1 / L + 2 * rho)], s.half)
            self.evaluate_half(problem, s)
        vectors, coefficients = [s.x, s.anchor, s.half_work], [1 - b, b, -1 / L]
        if rho:
            vectors.append(s.work)
            coefficients.append(-(1 - b) * 2 * rho)
        s.next_x = combine(vectors, coefficients, s.next_x)
        self.evaluate_new(problem, s)
