"""Jacobi iteration."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from ...errors import InputError
from ...operators.ordering import check_diagonal
from ..chebyshev.momentum import MomentumState
from ..driver.method import Traffic
from ..driver.solution import Solution
from ..linear.call import Common, solver
from ..linear.method import Candidate
from ..linear.run import solve_with
from ..linear.system import LinearSystem
from .stationary import Stationary

if TYPE_CHECKING:
    from ..fixed_point.anderson import Anderson

__all__ = ["Jacobi", "jacobi"]


@dataclass(frozen=True)
class Jacobi(Stationary):
    """x + omega D^{-1} (b - A x)."""

    omega: float = 1.0

    name: ClassVar[str] = "jacobi"
    title: ClassVar[str] = "Jacobi iteration"
    purpose: ClassVar[str] = "diagonally dominant A, every row at once; smoothing"
    traffic: ClassVar[Traffic] = Traffic(vectors=5, passes=10, reductions=0, matvecs=1, compiled_passes=4)
    needs_entries: ClassVar[bool] = True
    takes_preconditioner: ClassVar[bool] = False
    when_diverging: ClassVar[str] = (
        "Jacobi converges for diagonally dominant A; a smaller omega, Gauss-Seidel or rv.solve may do."
    )

    def __post_init__(self) -> None:
        if not 0 < self.omega < math.inf:
            raise InputError(f"omega: found {self.omega!r}; wanted a positive finite damping factor")

    @classmethod
    def candidates(cls, system: LinearSystem) -> Iterator[Candidate]:
        facts = system.facts
        if facts is not None and facts.lower and facts.upper and facts.zero_diagonal < 0:
            yield Candidate(0, cls(), "A is diagonal, so one step is exact")

    def start(self, system: LinearSystem) -> MomentumState:
        return self.new_state(system, inverse_diagonal=inverse_diagonal(system))

    def state_without_vectors(
        self, first_norm: float, hermitian: bool, ends: tuple[float, float] | None = None
    ) -> MomentumState:
        return MomentumState(None, None, first_norm)

    def coefficients(self, state: MomentumState) -> tuple[float, float]:
        return 0.0, self.omega


def inverse_diagonal(system: LinearSystem) -> Any:
    """1 / a_ii of the system's matrix."""
    diagonal = system.operator.diagonal()
    inverse = 1 / diagonal
    if not math.isfinite(system.backend.max_abs(inverse)):
        check_diagonal(system.operator, system.backend.to_numpy(diagonal), "Jacobi divides by it")
    return system.backend.copy(inverse, system.dtype)


@solver
def jacobi(
    A: Any,
    b: Any,
    *,
    omega: float = 1.0,
    accelerate: str | Mapping[str, Any] | Anderson | None = None,
    **common: Unpack[Common],
) -> Solution[Any]:
    """Solve A x = b by x <- x + omega D^{-1} (b - A x), D the diagonal of A.

    Converges when A is strictly diagonally dominant (omega = 1), and for Hermitian positive definite A when
    0 < omega < 2 / lambda_max(D^{-1} A).

    Parameters
    ----------
    A, b, x0, rtol, atol, maxiter, callback, progress, time_limit, backend, precision, errors :
        As in ``resolvent.cg``; A need not be Hermitian, but its entries must be at hand.
    omega : float
        Damping, without unit; 1 is the classical method.
    accelerate :
        As in ``resolvent.sor``.

    Returns
    -------
    Solution

    Raises
    ------
    InputError
        As in ``resolvent.cg``, for an omega that is not positive and finite, and for a matrix-free A.
    SingularError
        Where a diagonal entry is zero.

    Notes
    -----
    Per iteration: 1 matvec, 10 vector passes (4 compiled), no reduction; 5 vectors kept.

    References
    ----------
    Jacobi (1845); Saad (2003), "Iterative methods for sparse linear systems", equation 4.4.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> rv.jacobi(np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([4.0, 3.0]), rtol=1e-10).x.round(8)
    array([1., 1.])
    """
    return solve_with(Jacobi(omega).accelerated(accelerate), A, b, **common)
