"""Richardson iteration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from ...errors import InputError
from ...precision import times_power_of_two
from ..chebyshev.momentum import MomentumState
from ..driver.method import Traffic
from ..driver.solution import Solution
from ..linear.call import Preconditioned, solver
from ..linear.method import Search
from ..linear.run import solve_with
from ..linear.system import LinearSystem
from ..spectra.lanczos import positive_spectrum
from ..spectra.ritz import RitzValues
from .stationary import Stationary

if TYPE_CHECKING:
    from ..fixed_point.anderson import Anderson

__all__ = ["Richardson", "richardson"]

LANCZOS_STEPS = 20
FOUND = f"omega was chosen as 2 / (lambda_min + lambda_max) from {LANCZOS_STEPS} Lanczos steps."


@dataclass
class RichardsonState(MomentumState):
    """With the step length in use."""

    omega: float = 0.0


@dataclass(frozen=True)
class Richardson(Stationary):
    """x + omega M (b - A x)."""

    omega: float | None = None

    name: ClassVar[str] = "richardson"
    title: ClassVar[str] = "Richardson iteration"
    purpose: ClassVar[str] = "A close to a multiple of the identity, or M close to the inverse"
    traffic: ClassVar[Traffic] = Traffic(vectors=3, passes=7, reductions=0, matvecs=1, compiled_passes=3)
    when_diverging: ClassVar[str] = "omega must lie between 0 and 2 / lambda_max: lower it, or leave it out."

    def __post_init__(self) -> None:
        if self.omega is not None and not 0 < self.omega < math.inf:
            raise InputError(f"omega: found {self.omega!r}; wanted a positive finite step length")

    def start(self, system: LinearSystem) -> RichardsonState:
        state = self.new_state(system, RichardsonState)
        if self.omega is not None:
            self.preconditioned(system, state)
            state.omega = times_power_of_two(self.omega, system.spectral_exponent)
            return state
        ends = positive_spectrum(system, self, "step length", "Give omega, or let rv.solve choose a method.")
        state.omega = best_step(*ends)
        state.notes.append(FOUND)
        return state

    @property
    def search(self) -> Search | None:
        return Search(LANCZOS_STEPS) if self.omega is None else None

    def ends(self, ritz: RitzValues, row_sum: float, unit_roundoff: float) -> tuple[float, float] | None:
        """Ritz values, widened by their error bars."""
        if ritz.smallest <= 0:
            return None
        return max(ritz.smallest - ritz.smallest_error, 0.0), ritz.largest + ritz.largest_error

    def state_without_vectors(
        self, first_norm: float, hermitian: bool, ends: tuple[float, float] | None = None
    ) -> RichardsonState | None:
        if self.omega is not None:
            return RichardsonState(None, None, first_norm, omega=self.omega)
        return None if ends is None else RichardsonState(None, None, first_norm, omega=best_step(*ends), notes=[FOUND])

    def coefficients(self, state: RichardsonState) -> tuple[float, float]:
        return 0.0, state.omega


def best_step(low: float, high: float) -> float:
    """2 / (low + high), which makes the largest of |1 - omega lambda| over the spectrum smallest."""
    return 2 / (low + high)


@solver
def richardson(
    A: Any,
    b: Any,
    *,
    omega: float | None = None,
    accelerate: str | Mapping[str, Any] | Anderson | None = None,
    **common: Unpack[Preconditioned],
) -> Solution[Any]:
    """Solve A x = b by x <- x + omega M (b - A x).

    Converges for Hermitian positive definite M A exactly when 0 < omega < 2 / lambda_max(M A); the best omega,
    2 / (lambda_min + lambda_max), reduces the error by (kappa - 1) / (kappa + 1) an iteration.

    Parameters
    ----------
    A, b, x0, M, rtol, atol, maxiter, callback, progress, time_limit, backend, precision, errors :
        As in ``resolvent.cg``; A need not be Hermitian when omega is given.
    omega : float, optional
        Step length in the units of 1 / (M A). By default the best one for the interval that 20 Lanczos steps find.
    accelerate :
        As in ``resolvent.sor``. With omega = 1 and all differences kept, the iterates are x + M (b - A x) of those of
        GMRES.

    Returns
    -------
    Solution

    Raises
    ------
    InputError
        As in ``resolvent.cg``, and for an omega that is not positive and finite.

    Notes
    -----
    Per iteration: 1 matvec, 7 vector passes (3 compiled), no reduction; 3 vectors kept. The residual norm is looked at
    every 16 iterations, and nearer to the end when the observed rate says so.

    References
    ----------
    Richardson (1910); Saad (2003), "Iterative methods for sparse linear systems", example 4.1.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> rv.richardson(np.diag([1.0, 2.0]), np.ones(2), omega=2 / 3, rtol=1e-10).converged
    True
    """
    return solve_with(Richardson(omega).accelerated(accelerate), A, b, **common)
