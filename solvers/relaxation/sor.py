"""Successive overrelaxation in all its forms: Gauss-Seidel, SOR, SSOR; any direction; natural or multicolour order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from ...errors import InputError
from ...naming import choose_fields, named_in
from ...operators.ordering import ORDERS, Ordering
from ...precision import times_power_of_two
from ..driver.method import Norm, State, Traffic
from ..driver.solution import Solution
from ..linear.call import Common, solver
from ..linear.method import Candidate, Search
from ..linear.run import solve_with
from ..linear.system import LinearSystem
from ..preconditioners.jacobi import JacobiPreconditioner
from ..spectra.lanczos import estimate_spectrum
from ..spectra.ritz import RitzValues
from .method import Relaxation

if TYPE_CHECKING:
    from ..fixed_point.anderson import Anderson

__all__ = ["SOR", "SSOR", "GaussSeidel", "gauss_seidel", "sor", "ssor"]

LANCZOS_STEPS = 40
_REVERSED = {"forward": "backward", "backward": "forward"}
SWEEPS = {"forward": (False,), "backward": (True,), "symmetric": (False, True)}


@dataclass(kw_only=True)
class SORState(State):
    """Iterate x, the order of visiting, which a state without vectors lacks, and the relaxation factor in use."""

    ordering: Any = None
    omega: float = 1.0


@dataclass(frozen=True)
class SOR(Relaxation):
    """x_i <- x_i + omega (b - A x)_i / a_ii, row after row, with the newest values."""

    omega: float | None = None
    sweep: str = "forward"
    order: str = "natural"

    name: ClassVar[str] = "sor"
    title: ClassVar[str] = "Successive overrelaxation"
    purpose: ClassVar[str] = "positive definite A, with the relaxation factor chosen"
    traffic: ClassVar[Traffic] = Traffic(vectors=3, passes=3, reductions=0, matvecs=1, compiled_passes=3)
    needs_entries: ClassVar[bool] = True
    takes_preconditioner: ClassVar[bool] = False
    carries: ClassVar[Norm] = Norm.COMPUTED
    check_every: ClassVar[int] = 16
    patience: ClassVar[int] = 32
    when_diverging: ClassVar[str] = (
        "Relaxation converges for Hermitian positive definite and for diagonally dominant A; rv.solve looks which A is."
    )

    def __post_init__(self) -> None:
        if self.omega is not None and not 0 < self.omega < 2:
            raise InputError(
                f"omega: found {self.omega!r}; wanted a number in (0, 2), outside of which it diverges (Kahan 1958)"
            )
        choose_fields(self, sweep=SWEEPS, order=ORDERS)

    @property
    def reverses(self) -> tuple[bool, ...]:
        """Of each sweep of a step, whether it goes from the last row to the first."""
        return SWEEPS[self.sweep]

    def start(self, system: LinearSystem) -> SORState:
        ordering = Ordering(system.operator, self.order)
        x, r, norm = system.initial()
        state = SORState(x=x, work=r, residual_norm=norm, ordering=ordering)
        if self.omega is not None:
            state.omega = self.omega
        elif system.hermitian and system.facts is not None and system.facts.diagonal_positive:
            self._choose(state, jacobi_scaled_spectrum(system))
        return state

    def _choose(self, state: SORState, ends: tuple[float, float]) -> None:
        """The relaxation factor for these ends of the spectrum of D^-1 A."""
        low, high = ends
        state.omega = self.best_omega(low, high)
        state.notes.append(
            f"omega = {state.omega:.4f} was chosen for a spectrum of D^-1 A in [{low:.4g}, {high:.4g}], found by "
            f"at most {LANCZOS_STEPS} Lanczos steps."
        )

    @property
    def search(self) -> Search | None:
        return Search(LANCZOS_STEPS, scaled=True) if self.omega is None else None

    def ends(self, ritz: RitzValues, row_sum: float, unit_roundoff: float) -> tuple[float, float]:
        return jacobi_scaled_ends(ritz, unit_roundoff)

    def state_without_vectors(
        self, first_norm: float, hermitian: bool, ends: tuple[float, float] | None = None
    ) -> SORState:
        state = SORState(x=None, work=None, residual_norm=first_norm, omega=self.omega or 1.0)
        if self.omega is None and ends is not None:
            self._choose(state, ends)
        return state

    @classmethod
    def adjoint_parameters(cls, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Sweeps run the other way, so that they converge as those of A do."""
        sweep = named_in(parameters.get("sweep", cls.sweep), _REVERSED)
        return dict(parameters) if sweep is None else {**parameters, "sweep": _REVERSED[sweep]}

    @staticmethod
    def best_omega(low: float, high: float) -> float:
        """2 / (1 + sqrt(1 - rho_J^2)), rho_J = 1 - low: exact for consistently ordered matrices (Young 1954)."""
        return 2 / (1 + math.sqrt(1 - max(1 - low, 0.0) ** 2))

    def tuned(self, system: LinearSystem, state: SORState) -> SOR:
        return replace(self, omega=state.omega)

    def step(self, system: LinearSystem, state: SORState) -> None:
        for reverse in self.reverses:
            state.x = system.backend.sweep(state.ordering, state.x, system.rhs, state.omega, reverse)
            system.matvecs += 1
        state.residual_norm = None

    def describe(self, state: SORState) -> str:
        if state.ordering is None or state.ordering.order == "natural":
            return ""
        return f"Rows were visited in {state.ordering.count} colours, not in natural order."


@dataclass(frozen=True)
class GaussSeidel(SOR):
    """SOR with omega = 1."""

    omega: float | None = 1.0

    name: ClassVar[str] = "gauss_seidel"
    title: ClassVar[str] = "Gauss-Seidel iteration"
    purpose: ClassVar[str] = "diagonally dominant or positive definite A; exact for triangular A"

    @classmethod
    def candidates(cls, system: LinearSystem) -> Iterator[Candidate]:
        facts = system.facts
        if facts is None or facts.zero_diagonal >= 0:
            return
        if facts.lower != facts.upper:
            sweep, side = ("forward", "lower") if facts.lower else ("backward", "upper")
            why = f"A is {side} triangular, so one {sweep} sweep is a substitution"
            yield Candidate(0, cls(sweep=sweep), why)
        if facts.dominant:
            yield Candidate(2, cls(), "A is strictly diagonally dominant, for which Gauss-Seidel converges")


@dataclass(frozen=True)
class SSOR(SOR):
    """A forward and a backward sweep an iteration."""

    sweep: str = "symmetric"

    name: ClassVar[str] = "ssor"
    title: ClassVar[str] = "Symmetric successive overrelaxation"
    purpose: ClassVar[str] = "the same, symmetric: also a preconditioner"
    traffic: ClassVar[Traffic] = Traffic(vectors=3, passes=6, reductions=0, matvecs=2, compiled_passes=6)

    @staticmethod
    def best_omega(low: float, high: float) -> float:
        """2 / (1 + sqrt(2 (1 - rho_J))) where the spectrum of D^-1 A lies below 2 (Young 1971), otherwise 1."""
        return 2 / (1 + math.sqrt(2 * min(low, 0.5))) if high <= 2.01 else 1.0


def jacobi_scaled_spectrum(system: LinearSystem) -> tuple[float, float]:
    """Extreme eigenvalues of D^-1 A for Hermitian positive definite A by Lanczos; (1, 1) where A looks singular."""
    system.use_preconditioner(JacobiPreconditioner(system.operator).bind(system.backend.exact, system.dtype))
    ritz, _ = estimate_spectrum(system, LANCZOS_STEPS)
    scale = (system.preconditioner_exponent or 0) - system.preconditioner_units
    system.use_preconditioner(None)
    if ritz is None:
        return 1.0, 1.0
    found = (ritz.smallest, ritz.largest, ritz.smallest_error, ritz.largest_error)
    scaled = RitzValues(*(times_power_of_two(value, scale) for value in found))
    return jacobi_scaled_ends(scaled, system.precision.unit_roundoff)


def jacobi_scaled_ends(ritz: RitzValues, unit_roundoff: float) -> tuple[float, float]:
    """The same from Ritz values, the lower one less its error bar."""
    if ritz.smallest <= 1e3 * unit_roundoff * ritz.largest:
        return 1.0, 1.0  # omega would come out as 2, where nothing converges
    return max(ritz.smallest - ritz.smallest_error, 0.9 * ritz.smallest), ritz.largest


@solver
def sor(
    A: Any,
    b: Any,
    *,
    omega: float | None = None,
    sweep: str = "forward",
    order: str = "natural",
    accelerate: str | Mapping[str, Any] | Anderson | None = None,
    **common: Unpack[Common],
) -> Solution[Any]:
    r"""Solve A x = b by successive overrelaxation.

    Row after row, x_i <- x_i + omega (b - A x)_i / a_ii with the newest values. Converges for Hermitian positive
    definite A and every omega in (0, 2) (Ostrowski 1954).

    Parameters
    ----------
    A, b, x0, rtol, atol, maxiter, callback, progress, time_limit, backend, precision, errors :
        As in ``resolvent.cg``; A need not be Hermitian, but its entries must be at hand.
    omega : float, optional
        Relaxation factor in (0, 2), without unit. By default Young's :math:`2/(1+\sqrt{1-\rho_J^2})` with the Jacobi
        spectral radius from a few Lanczos steps when A is Hermitian with a positive diagonal, otherwise 1.
    sweep : {"forward", "backward", "symmetric"}
        Direction; symmetric is one sweep each way an iteration.
    order : {"natural", "multicolor"}
        Natural order is sequential; colours let rows be relaxed side by side, with other iterates.
    accelerate : {"anderson", "auto"}, dict or Anderson, optional
        Mix every sweep with those before, as ``resolvent.anderson`` does for the map that a sweep is, or as
        ``resolvent.fixed_point`` does by default; a dict holds parameters of the former, ``{"depth": 20}``.

    Returns
    -------
    Solution

    Raises
    ------
    InputError
        As in ``resolvent.cg``, for an omega outside (0, 2), an unknown sweep or order, and a matrix-free A.
    SingularError
        Where a diagonal entry is zero.

    Notes
    -----
    Per iteration: 1 sweep (the cost of a matvec), 3 vector passes, no reduction; 3 vectors kept. The residual norm is
    looked at every 16 iterations, and nearer to the end when the observed rate says so. Accelerated: one sweep more at
    the start, and in every iteration what is stated in ``resolvent.anderson``.

    References
    ----------
    Young (1954), "Iterative methods for solving partial difference equations of elliptic type"; Saad (2003),
    equation 4.12.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> A = np.array([[4.0, -1, 0], [-1, 4, -1], [0, -1, 4]])
    >>> rv.sor(A, A @ np.ones(3), omega=1.1, rtol=1e-10).x.round(8)
    array([1., 1., 1.])
    >>> problem = rv.gallery.poisson((20, 20))
    >>> plain = rv.sor(problem.A, problem.b, omega=1.2)
    >>> rv.sor(problem.A, problem.b, omega=1.2, accelerate="anderson").iterations < plain.iterations / 2
    True
    """
    return solve_with(SOR(omega, sweep, order).accelerated(accelerate), A, b, **common)


@solver
def gauss_seidel(
    A: Any,
    b: Any,
    *,
    sweep: str = "forward",
    order: str = "natural",
    accelerate: str | Mapping[str, Any] | Anderson | None = None,
    **common: Unpack[Common],
) -> Solution[Any]:
    """Solve A x = b by Gauss-Seidel iteration: SOR with omega = 1.

    Converges for Hermitian positive definite and for strictly diagonally dominant A; solves a triangular A in one
    sweep in the right direction.

    Parameters
    ----------
    A, b, x0, rtol, atol, maxiter, callback, progress, time_limit, backend, precision, errors :
        As in ``resolvent.sor``.
    sweep, order, accelerate :
        Likewise.

    Returns
    -------
    Solution

    Raises
    ------
    InputError, SingularError
        As in ``resolvent.sor``.

    Notes
    -----
    Per iteration: 1 sweep (the cost of a matvec), 3 vector passes, no reduction; 3 vectors kept.

    References
    ----------
    Seidel (1874); Saad (2003), "Iterative methods for sparse linear systems", equation 4.8.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> rv.gauss_seidel(np.array([[2.0, 0], [1, 4]]), np.array([2.0, 5])).iterations
    1
    """
    return solve_with(GaussSeidel(1.0, sweep, order).accelerated(accelerate), A, b, **common)


@solver
def ssor(
    A: Any,
    b: Any,
    *,
    omega: float | None = None,
    order: str = "natural",
    accelerate: str | Mapping[str, Any] | Anderson | None = None,
    **common: Unpack[Common],
) -> Solution[Any]:
    r"""Solve A x = b by symmetric successive overrelaxation: a forward, then a backward sweep an iteration.

    Parameters
    ----------
    A, b, x0, order, accelerate, rtol, atol, maxiter, callback, progress, time_limit, backend, precision, errors :
        As in ``resolvent.sor``.
    omega : float, optional
        Relaxation factor in (0, 2). By default :math:`2/(1+\sqrt{2(1-\rho_J)})` with the Jacobi spectral radius from a
        few Lanczos steps when A is Hermitian with a positive diagonal, otherwise 1.

    Returns
    -------
    Solution

    Raises
    ------
    InputError, SingularError
        As in ``resolvent.sor``.

    Notes
    -----
    Per iteration: 2 sweeps (the cost of 2 matvecs), 6 vector passes, no reduction; 3 vectors kept.

    References
    ----------
    Sheldon (1955); Young (1971), "Iterative solution of large linear systems", chapter 15.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> A = np.array([[4.0, -1, 0], [-1, 4, -1], [0, -1, 4]])
    >>> rv.ssor(A, A @ np.ones(3), omega=1.0, rtol=1e-10).x.round(8)
    array([1., 1., 1.])
    """
    return solve_with(SSOR(omega, "symmetric", order).accelerated(accelerate), A, b, **common)
