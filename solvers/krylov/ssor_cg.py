"""Conjugate gradients preconditioned by symmetric successive overrelaxation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Unpack

import numpy as np

from ...errors import InputError
from ...naming import choose_fields
from ...operators import Diagonals, Operator, Stencil
from ...operators.ordering import ORDERS
from ..driver.method import Breakdown, Traffic
from ..driver.solution import Solution
from ..driver.status import Cause
from ..linear.call import Common, solver
from ..linear.method import Candidate
from ..linear.run import solve_with
from ..linear.system import LinearSystem
from ..preconditioners.base import BoundPreconditioner
from ..preconditioners.ssor import SSORPreconditioner
from ..relaxation.sor import LANCZOS_STEPS, jacobi_scaled_spectrum
from .cg import CG, CGState

__all__ = ["SSORCG", "ssor_cg", "ssor_omega", "triangle_bound"]


@dataclass(kw_only=True)
class SSORCGState(CGState):
    """That of conjugate gradients, and the relaxation factor in use."""

    omega: float = 1.0


@dataclass(frozen=True)
class SSORCG(CG):
    """Conjugate gradients with one symmetric relaxation sweep as preconditioner."""

    omega: float | None = None
    order: str = "natural"
    flexible: ClassVar[bool] = False  # type: ignore[misc]

    name: ClassVar[str] = "ssor_cg"
    title: ClassVar[str] = "Conjugate gradients with SSOR"
    purpose: ClassVar[str] = "positive definite A: few iterations, once omega is known"
    traffic: ClassVar[Traffic] = Traffic(vectors=5, passes=22, reductions=3, matvecs=3, compiled_passes=11)
    needs_entries: ClassVar[bool] = True
    takes_preconditioner: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.omega is not None and not 0 < self.omega < 2:
            raise InputError(
                f"omega: found {self.omega!r}; wanted a number in (0, 2), outside of which relaxation diverges (Kahan "
                "1958) and the preconditioner is not positive definite"
            )
        choose_fields(self, order=ORDERS)

    def start(self, system: LinearSystem) -> SSORCGState:
        positive = system.facts is not None and system.facts.diagonal_positive
        if not positive:
            diagonal = system.backend.to_numpy(system.operator.diagonal()).real
            row = int(np.argmin(diagonal))
            if not diagonal[row] > 0:
                raise Breakdown(
                    f"A is not positive definite: the diagonal entry of row {row} is not positive. Conjugate gradients "
                    "need a positive definite matrix; rv.solve chooses a method that fits.",
                    Cause.INDEFINITE,
                )
        omega, note = (self.omega, "") if self.omega is not None else chosen_omega(system)
        nonzero = positive and not system.two_precisions
        sweeps = SSORPreconditioner(system.operator, omega, self.order, nonzero=nonzero)
        bound = sweeps.bind(system.backend, system.dtype)
        system.use_preconditioner(_Counted(bound, system), system.matrix_exponent)
        state = SSORCGState(**vars(super().start(system)), omega=omega)
        if note:
            state.notes.append(note)
        return state

    @classmethod
    def candidates(cls, system: LinearSystem) -> Iterator[Candidate]:
        """None: of the omega that makes it pay, the entries of A tell nothing."""
        return iter(())

    def tuned(self, system: LinearSystem, state: CGState) -> SSORCG:
        assert isinstance(state, SSORCGState)
        return replace(self, omega=state.omega)

    def describe(self, state: CGState) -> str:
        said = super().describe(state)
        if self.order == "natural":
            return said
        return (
            f"{said} Rows were visited in colours, which destroys the benefit of omega: natural order takes fewer "
            "iterations."
        ).lstrip()


class _Counted(BoundPreconditioner):
    """Sweeps that count as products with A."""

    kind = "ssor"

    def __init__(self, sweeps: BoundPreconditioner, system: LinearSystem) -> None:
        self.sweeps, self.system, self.matrix = sweeps, system, system.operator
        self.order, self.omega = sweeps.order, sweeps.omega

    def apply(self, r: Any, out: Any) -> Any:
        self.system.matvecs += 2
        return self.sweeps.apply(r, out)


def chosen_omega(system: LinearSystem) -> tuple[float, str]:
    """The closed form for what a few Lanczos steps and the entries tell, and a sentence about it."""
    low, high = jacobi_scaled_spectrum(system)
    if low == high:
        return (
            1.0,
            "omega = 1 was chosen: nothing could be learnt of the spectrum of D^-1 A, or there is one eigenvalue.",
        )
    radius, bound = 1 - low, triangle_bound(system.operator)
    omega = ssor_omega(radius, bound)
    branch = "below" if radius < 4 * bound else "at least"
    return omega, (
        f"omega = {omega:.4f} was chosen for a largest eigenvalue of I - D^-1 A of {radius:.4g}, found by at most "
        f"{LANCZOS_STEPS} Lanczos steps, {branch} four times the bound {bound:.4g} of rho(D^-1 L D^-1 U)."
    )


def ssor_omega(radius: float, bound: float) -> float:
    r"""The relaxation factor for which the bound of SSOR's rate is least (Young 1971; Kincaid et al. 1982).

    :math:`2/(1+\sqrt{1-2M+4\beta})` for :math:`M < 4\beta`, otherwise :math:`2/(1+\sqrt{1-4\beta})`, but not below 1:
    where :math:`\beta` is far above 1/4 the formula asks for less, and conjugate gradients do not thank for it.

    Parameters
    ----------
    radius : float
        M, the largest eigenvalue of I - D^{-1} A.
    bound : float
        beta, the spectral radius of D^{-1} L D^{-1} U or a bound of it.

    Examples
    --------
    >>> from resolvent.solvers.krylov.ssor_cg import ssor_omega
    >>> round(ssor_omega(0.9594929736, 0.25), 4), round(ssor_omega(0.28346, 0.0203), 4)  # Poisson; a short heat step
    (1.5569, 1.0212)
    """
    if radius < 4 * bound:
        return max(2 / (1 + math.sqrt(1 - 2 * radius + 4 * bound)), 1.0)
    return 2 / (1 + math.sqrt(1 - 4 * bound))


def triangle_bound(A: Operator) -> float:
    """An upper bound of rho(D^{-1} L D^{-1} U): the product of the largest row sums of both factors.

    1/4 where A is diagonally dominant and every row has its neighbours half before, half behind it; less for A + c I.

    Notes
    -----
    About the cost of a matvec.
    """
    if isinstance(A, Stencil):
        sides = np.abs(A.coefficients[1:]).reshape(-1, 2)[np.array(A.grid) > 1].sum(axis=0)
        return float(np.prod(sides / np.abs(A.coefficients[0])))
    n = A.shape[0]
    lower, upper = np.zeros(n), np.zeros(n)
    if isinstance(A, Diagonals):
        diagonal = A.diagonal()
        for offset, values in zip(A.offsets.tolist(), A.data, strict=True):
            for shift in {offset, -offset} if A.symmetric else {offset}:
                if 0 < abs(shift) < n:
                    sums, coupled = lower if shift < 0 else upper, slice(max(0, -shift), n - max(0, shift))
                    sums[coupled] += np.abs(values[max(0, -offset) : n - max(0, offset)])
    else:
        matrix = A.tocsr()
        diagonal = matrix.diagonal()
        rows, sizes = np.repeat(np.arange(n), np.diff(matrix.indptr)), np.abs(matrix.data)
        for sums, side in ((lower, matrix.indices < rows), (upper, matrix.indices > rows)):
            sums += np.bincount(rows[side], sizes[side], n)
    return float((lower / diagonal.real).max() * (upper / diagonal.real).max())


@solver
def ssor_cg(
    A: Any,
    b: Any,
    *,
    omega: float | None = None,
    order: str = "natural",
    **common: Unpack[Common],
) -> Solution[Any]:
    r"""Solve A x = b, A Hermitian positive definite, by conjugate gradients preconditioned by SSOR.

    On model problems the best omega makes the condition number proportional to the square root of that of A, and the
    iterations to its fourth root: 20 x 20 points of a Poisson problem have 178 without, 23.1 with omega = 1, 5.55
    with 1.75.

    Parameters
    ----------
    A, b, x0, rtol, atol, maxiter, callback, progress, time_limit, backend, precision, errors :
        As in ``resolvent.cg``; the entries of A must be at hand.
    omega : float, optional
        Relaxation factor in (0, 2), without unit. By default the closed form of ITPACK with an eigenvalue from a few
        Lanczos steps, which cost as many products as forty iterations of plain conjugate gradients: where related
        systems follow each other, give it.
    order : {"natural", "multicolor"}
        Natural order, unless a device leaves no choice. Colours destroy the benefit of omega: for the problem above
        red-black order has a condition number of 45.0, and no omega is better than 1.

    Returns
    -------
    Solution
        Its ``spectrum`` and ``condition`` are those of the preconditioned matrix.

    Raises
    ------
    InputError
        As in ``resolvent.cg``, for an omega outside (0, 2), an unknown order, and a matrix-free A.
    NotHermitianError
        Where the entries show that A is not Hermitian.

    Notes
    -----
    Per iteration: 1 product and 2 sweeps (the cost of 3 matvecs), 3 reductions, 22 vector passes (11 compiled); 5
    vectors kept. The compiled loop reads each entry of A once an iteration, as one matvec does, by Eisenstat's trick;
    in natural order, several threads work on it from 262144 rows on.

    References
    ----------
    Axelsson (1972), "A generalized SSOR method"; Eisenstat (1981), "Efficient implementation of a class of
    preconditioned conjugate gradient methods", section 2; Young (1971), "Iterative solution of large linear systems",
    chapter 15, and Kincaid, Respess, Young & Grimes (1982), "Algorithm 586: ITPACK 2C", for omega.

    Examples
    --------
    >>> import resolvent as rv
    >>> problem = rv.gallery.poisson((20, 20))
    >>> rv.cg(problem.A, problem.b, rtol=1e-8).iterations > 40
    True
    >>> rv.ssor_cg(problem.A, problem.b, omega=1.75, rtol=1e-8).iterations < 20
    True
    """
    return solve_with(SSORCG(omega=omega, order=order), A, b, **common)
