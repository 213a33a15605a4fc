"""Square roots and inverse square roots of Hermitian positive matrices, by one coupled iteration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Unpack

import numpy as np

from ...errors import InputError, SingularError
from ..driver.method import Breakdown
from ..driver.problem import Vector, Words
from ..driver.status import Cause, Ending, Status
from .call import MatrixCommon, matrix_function, solve_matrix
from .method import ScheduledMethod, StackState, Step
from .newton_schulz import Schedule
from .polynomial import evaluate
from .problem import ASYMMETRY, MatrixProblem
from .products import relative
from .scaling import upper_bound
from .solution import MatrixSolution

__all__ = [
    "CoupledNewtonSchulz", "InverseSqrtProblem", "PositiveProblem", "SqrtProblem", "invsqrtm", "not_positive", "sqrtm",
]  # fmt: skip

ABOVE_ROUNDING = 8.0  # times the root of rounding: eigenvalues' roots that a first schedule is for


class PositiveProblem(MatrixProblem):
    """A function of a Hermitian positive semidefinite matrix.

    Parameters
    ----------
    A, backend, precision :
        As in ``MatrixProblem``.

    Raises
    ------
    NotHermitianError
        For what is not Hermitian.
    InputError
        For a negative diagonal entry, which no positive semidefinite matrix has.
    SingularError
        For a zero one, where the function needs a definite matrix.
    """

    hermitian = True
    definite: ClassVar[bool] = True

    def _to_units(self) -> None:
        super()._to_units()
        diagonal = self.exact.diagonals(self.data)
        least = diagonal.min(axis=-1)
        if (least < 0).any():
            k = int(np.argmin(least))
            size = float(np.ldexp(least[k], self.exponents[k]))
            found = f"{self.name}: found the diagonal entry {size:.3g}{self._named(k)}"
            raise InputError(f"{found}; wanted a positive semidefinite matrix")
        if self.definite and (least == 0).any():
            k = int(np.argmin(least))
            raise SingularError(
                f"{self.name}: found a diagonal entry of zero{self._named(k)}; wanted a positive definite matrix"
            )

    def _named(self, k: int) -> str:
        return f" in matrix {tuple(map(int, np.unravel_index(k, self.lead)))}" if self.lead else ""


class SqrtProblem(PositiveProblem):
    """S S = A, measured by ||S S - A|| / ||A||."""

    words = Words(residual="||S S - A||", reference="||A||", products="matrix products")
    multiple = 2
    definite = False

    def residuals_of(self, x: Vector, known: Any) -> np.ndarray:
        p = self.exact
        square = p.square(x, p.room(x.shape, x))
        found = relative(p.distances(square, self.data), p.norms(self.data))
        p.done(square)
        return found

    @property
    def output_exponents(self) -> np.ndarray:
        return self.exponents // 2


class InverseSqrtProblem(PositiveProblem):
    """Z A Z = I, measured by ||Z A Z - I|| / ||I||."""

    words = Words(residual="||Z A Z - I||", reference="||I||", products="matrix products")
    multiple = 2

    def residuals_of(self, x: Vector, known: Any) -> np.ndarray:
        p = self.exact
        half = p.multiply(x, self.data, None)
        whole = p.multiply(half, x, p.room(x.shape, x))
        found = p.identity_distances(whole) / math.sqrt(self.columns)
        p.done(half, whole)
        return found

    @property
    def output_exponents(self) -> np.ndarray:
        return -(self.exponents // 2)

    def fields(self, x: Vector) -> Mapping[str, Any]:
        # Of D = Z - A^(-1/2) the residual is D A^(1/2) + A^(1/2) D to first order.
        return {"error": self.bounded(float(np.max(self.residuals, initial=0.0)) * math.sqrt(self.columns))}


@dataclass(frozen=True)
class CoupledNewtonSchulz(ScheduledMethod[PositiveProblem]):
    """P = Z Y, W = h(P), Y <- Y W, Z <- W Z: from Y = A / s and Z = I to (A / s)^(1/2) and (A / s)^(-1/2).

    Parameters
    ----------
    inverse : bool
        Whether Z is wanted, or Y.
    schedule, lower, scaling, products :
        As in ``NewtonSchulz``; ``lower`` is of eigenvalues.

    Notes
    -----
    A step of degree 3, 5, 9, 17 takes 3, 4, 5, 6 products, fewer the first time. In this order of factors rounding
    errors are not amplified (Higham 1997), as long as W is a polynomial of that very P: neither it nor Y and Z may be
    made symmetric, nor P^2 formed as P^T P, which in double precision costs up to seven digits.

    References
    ----------
    Higham, Functions of Matrices (2008), (6.35).
    """

    name: ClassVar[str] = "coupled_newton_schulz"
    title: ClassVar[str] = "Coupled Newton-Schulz iteration"
    purpose: ClassVar[str] = "square roots by products alone"
    root: ClassVar[int] = 2

    inverse: bool = False
    schedule: Schedule | str | None = None
    lower: float | None = None
    scaling: str = "schatten-8"
    products: int | None = None

    def lower_of_x(self) -> float:
        assert self.lower is not None
        return math.sqrt(self.lower)

    def finest(self, problem: PositiveProblem) -> float:
        return math.sqrt(problem.columns * problem.unit_roundoff)

    def chosen(self, problem: PositiveProblem) -> Schedule:
        if self.inverse or self.schedule is not None or self.lower is not None:
            return super().chosen(problem)
        # One that does not make one of rounding: a negative eigenvalue would leave the range.
        least = min(max(self.default, ABOVE_ROUNDING * self.finest(problem)), 1.0)
        return replace(self, lower=least**2).chosen(problem)

    def begin(self, problem: PositiveProblem, s: StackState) -> tuple[Any, ...]:
        p, A = problem.exact, problem.data
        bound, s.first = upper_bound(p, A, self.scaling)
        bound = np.where(bound > 0, bound, 1.0)
        s.scale = bound
        problem.unit = np.sqrt(bound) if not self.inverse else 1 / np.sqrt(bound)
        Y = p.scale(A, 1 / bound, None)
        s.first = None if s.first is None else p.scale(s.first, bound**-2, s.first)
        if problem.two_precisions:
            Y, s.first = problem.iterated(Y), None
        p = problem.products
        Z = p.combine([(0.0, Y)], p.room(Y.shape, Y), 1.0)
        P = p.combine([(1.0, Y)], p.room(Y.shape, Y))
        return (Z, Y, P) if self.inverse else (Y, Z, P)

    def advance(self, problem: PositiveProblem, s: StackState, arrays: tuple[Any, ...], h: Step) -> tuple[Any, ...]:
        p, (x, other, P) = problem.products, arrays
        Y, Z = (other, x) if self.inverse else (x, other)
        square = h.square
        if square is None and len(h.h) > 2:
            square = p.multiply(P, P, p.room(P.shape, P))
        B, a = evaluate(p, h.h, P, square, h.factors)
        W = p.add_identity(B, a)
        new_Y = p.multiply(Y, W, p.room(Y.shape, Y))
        p.done(Y)
        if h.first:
            new_Z = p.combine([(1.0, W)], Z)
        else:
            new_Z = p.multiply(W, Z, p.room(Z.shape, Z))
            p.done(Z)
        if B is not P:
            p.done(B)
        P = p.multiply(new_Z, new_Y, P)
        return (new_Z, new_Y, P) if self.inverse else (new_Y, new_Z, P)

    def measured(self, problem: PositiveProblem, arrays: tuple[Any, ...]) -> np.ndarray:
        return problem.exact.identity_distances(arrays[2]) / math.sqrt(problem.columns)

    def judged(self, problem: PositiveProblem, s: StackState, which: np.ndarray, norms: np.ndarray) -> np.ndarray:
        """A square root is there where its square is A, though A be singular; of an inverse one that is the end."""
        if self.inverse:
            problem.failed[s.active[which]] |= s.growth * self.finest(problem) >= 1
            return norms
        p, Y = problem.exact, problem.exact.members(s.arrays[0], which)
        numbers = s.active[which]
        A = p.scale(p.members(problem.data, numbers), 1 / s.scale[numbers], None)
        true = relative(p.distances(p.square(Y, None), A), p.norms(A))
        s.stuck[numbers] |= self._negative_by_rounding(problem, s, which, norms)
        return np.where(true <= s.target, true, norms)

    def _negative_by_rounding(
        self, problem: PositiveProblem, s: StackState, which: np.ndarray, norms: np.ndarray
    ) -> np.ndarray:
        """Where rounding left a negative eigenvalue, which another round would carry out of the range."""
        found, p = np.zeros(which.size, bool), problem.exact
        tame = np.flatnonzero(norms < self.widest)
        if tame.size:
            P = p.hermitian_part(p.members(s.arrays[2], which[tame]), None)
            least = p.host(p.xp.linalg.eigvalsh(P))[:, 0]
            found[tame] = (least <= 0) & (least >= -ASYMMETRY * (s.growth * self.finest(problem)) ** 2)
        return found

    def blame(self, problem: PositiveProblem, s: StackState) -> Breakdown:
        return not_positive() if self.negative(problem, s) or not self.inverse else singular("A")

    def conclude(self, problem: PositiveProblem, s: StackState, ending: Ending) -> tuple[Ending, Mapping[str, Any]]:
        ending, fields = super().conclude(problem, s, ending)
        # |y / sqrt(lambda) - 1| <= |z y - 1|, which are the eigenvalues of P - I.
        error = float(np.max(s.norms, initial=0.0)) * math.sqrt(problem.columns)
        return ending, fields if self.inverse else {**fields, "error": problem.bounded(error)}

    def assumed(self, s: StackState) -> float:
        return float(s.schedule.lower) ** 2


def singular(name: str) -> Breakdown:
    """The end where an inverse is asked for of what has none."""
    return Breakdown(
        f"{name} is singular to rounding: after steps that make all of it one that is not rounding, some of it is not. "
        "Add a ridge to the diagonal, or work in a wider precision.",
        Cause.SINGULAR,
        Status.INFEASIBLE,
    )


def not_positive() -> Breakdown:
    """The end where an eigenvalue is negative."""
    return Breakdown(
        "A has a negative eigenvalue, of more than rounding, where a positive semidefinite matrix is wanted. Add a "
        "ridge to the diagonal if it is meant to be positive.",
        Cause.INDEFINITE,
        Status.INFEASIBLE,
    )


@matrix_function
def sqrtm(
    A: Any,
    *,
    schedule: Schedule | str | None = None,
    lower: float | None = None,
    scaling: str = "schatten-8",
    products: int | None = None,
    **common: Unpack[MatrixCommon],
) -> MatrixSolution[Any]:
    """The positive square root of a Hermitian positive semidefinite matrix, by products alone.

    Parameters
    ----------
    A : array of shape (..., n, n)
        Real symmetric or complex Hermitian, of any array library. Never written to.
    schedule : Schedule or str, optional
        Of ``rv.newton_schulz.schedule`` with ``root=2``, or the name of a preset; by default the cheapest one that
        reaches ``rtol``.
    lower : float, optional
        A lower bound of the smallest eigenvalue relative to the largest, in (0, 1]: one over the condition number. By
        default the schedule is for 1e-6 of the bound of the largest; where that was too much, more steps follow.
    scaling, products :
        As in ``resolvent.polar``; bounds are those of the largest eigenvalue, squares of those of its root.
    rtol : float
        Converged when ||S S - A||_F <= rtol ||A||_F.
    maxiter, callback, progress, time_limit, backend, precision :
        As in ``resolvent.polar``. Formats of fewer digits than single precision do not suffice.

    Returns
    -------
    MatrixSolution

    Raises
    ------
    InputError, TypeError, BackendError
        As in ``resolvent.polar``, for matrices that are not square, and for a negative diagonal entry.
    NotHermitianError
        For what is not Hermitian.

    Warns
    -----
    ConvergenceWarning
        When the tolerance was not reached, with the reason.

    Notes
    -----
    The attainable relative error is about u k^(1/2) for the condition number k, that of the inverse square root u k.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> rv.sqrtm(np.array([[5.0, 4.0], [4.0, 5.0]]), rtol=1e-12).x.round(8)
    array([[2., 1.],
           [1., 2.]])
    """
    return solve_matrix(CoupledNewtonSchulz(False, schedule, lower, scaling, products), SqrtProblem, A, **common)


@matrix_function
def invsqrtm(
    A: Any,
    *,
    schedule: Schedule | str | None = None,
    lower: float | None = None,
    scaling: str = "schatten-8",
    products: int | None = None,
    **common: Unpack[MatrixCommon],
) -> MatrixSolution[Any]:
    """The inverse of the positive square root of a Hermitian positive definite matrix, by products alone.

    Parameters
    ----------
    A, schedule, lower, scaling, products :
        As in ``resolvent.sqrtm``.
    rtol : float
        Converged when ||Z A Z - I||_F <= rtol sqrt(n).
    maxiter, callback, progress, time_limit, backend, precision :
        As in ``resolvent.sqrtm``.

    Returns
    -------
    MatrixSolution

    Raises
    ------
    InputError, TypeError, BackendError, NotHermitianError
        As in ``resolvent.sqrtm``.
    SingularError
        For a diagonal entry of zero.

    Warns
    -----
    ConvergenceWarning
        When the tolerance was not reached, with the reason: of a matrix that is singular to rounding, that.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> A = np.array([[5.0, 4.0], [4.0, 5.0]])
    >>> Z = rv.invsqrtm(A, rtol=1e-12).x
    >>> np.allclose(Z @ A @ Z, np.eye(2))
    True
    """
    return solve_matrix(CoupledNewtonSchulz(True, schedule, lower, scaling, products), InverseSqrtProblem, A, **common)
