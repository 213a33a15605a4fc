"""Inverses and pseudo-inverses by hyperpower iteration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral
from typing import Any, ClassVar, Unpack

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial

from ...errors import InputError, SingularError
from ..driver.method import Breakdown
from ..driver.problem import Vector, Words
from .call import MatrixCommon, matrix_function, solve_matrix
from .method import ScheduledMethod, StackState, Step
from .polynomial import evaluate
from .problem import MatrixProblem
from .products import Products, relative
from .scaling import margin, tail, upper_bound
from .solution import MatrixSolution
from .sqrt import PositiveProblem, not_positive, singular

__all__ = ["Hyperpower", "InverseProblem", "PositiveInverseProblem", "PseudoInverseProblem", "inverse", "pinv"]

# The largest factor by which the smallest eigenvalues of X A, which are rounding, u, may grow: what they come to has to
# stay well below one half, and a round makes them about a hundred times larger than those that it is for.
NOISE = 2e4
PURIFY = (0.0, 3.0, -2.0)  # h of y -> 3 y^2 - 2 y^3, which goes to one from above one half, and to zero from below


class InverseProblem(MatrixProblem):
    """A X = I and X A = I: the larger of ||A X - I|| / ||I|| and ||X A - I|| / ||I||.

    Parameters
    ----------
    A, backend, precision :
        As in ``MatrixProblem``.

    Raises
    ------
    SingularError
        For a row or column of zeros.
    """

    words = Words(residual="||A X - I||, ||X A - I||", reference="||I||", products="matrix products")

    def _to_units(self) -> None:
        super()._to_units()
        p = self.exact
        for sums, what in (
            (p.host(p.row_sums(self.data)), "row"),
            (p.host(p.row_sums(p.adjoint(self.data))), "column"),
        ):
            if (sums == 0).any():
                k, line = (int(part[0]) for part in np.nonzero(sums == 0))
                where = f" of matrix {tuple(map(int, np.unravel_index(k, self.lead)))}" if self.lead else ""
                raise SingularError(f"A: {what} {line}{where} is zero; wanted an invertible matrix, or rv.pinv")

    def guess(self) -> Vector:
        return self.exact.copy(self.exact.adjoint(self.data))

    def residuals_of(self, x: Vector, known: Any) -> np.ndarray:
        p, n = self.exact, math.sqrt(self.columns)
        right = p.multiply(self.data, x, None)
        off = p.identity_distances(right) / n
        left = p.multiply(x, self.data, right)
        return np.maximum(off, p.identity_distances(left) / n)

    @property
    def output_exponents(self) -> np.ndarray:
        return -self.exponents

    def fields(self, x: Vector) -> Mapping[str, Any]:
        # X - A^-1 = (X A - I) A^-1.
        return {"error": self.bounded(float(np.max(self.residuals, initial=0.0)) * math.sqrt(self.columns))}


class PositiveInverseProblem(InverseProblem, PositiveProblem):
    """The same of a Hermitian positive definite matrix."""


class PseudoInverseProblem(MatrixProblem):
    """A X A = A and X A X = X: the larger of ||A X A - A|| / ||A|| and ||X A X - X|| / ||X||.

    Parameters
    ----------
    A, backend, precision :
        As in ``MatrixProblem``.

    Attributes
    ----------
    wide : bool
        The data are those of A^H.
    partial : ndarray of bool
        Of each matrix, whether it lacks rank.
    """

    words = Words(
        residual="||A X A - A|| / ||A||, ||X A X - X|| / ||X||",
        reference="one",
        products="matrix products",
        relative=True,
    )
    square = False

    def __init__(self, A: Any, *, backend: Any = None, precision: Any = None) -> None:
        super().__init__(A, backend=backend, precision=precision)
        self.wide = self.rows < self.columns
        if self.wide:
            self.data = self.exact.copy(self.exact.adjoint(self.data))
            self.rows, self.columns = self.columns, self.rows
        self.partial = np.zeros(self.count, bool)

    def guess(self) -> Vector:
        return self.exact.copy(self.exact.adjoint(self.data))

    def residuals_of(self, x: Vector, known: Any) -> np.ndarray:
        p = self.exact
        P = p.multiply(x, self.data, None)
        first = relative(p.distances(p.multiply(self.data, P, None), self.data), p.norms(self.data))
        return np.maximum(first, relative(p.distances(p.multiply(P, x, None), x), p.norms(x)))

    def unscaled(self, x: Vector, fresh: bool = True) -> Any:
        return super().unscaled(self.exact.copy(self.exact.adjoint(x)) if self.wide else x, fresh)

    @property
    def output_exponents(self) -> np.ndarray:
        return -self.exponents


def projection_defects(products: Products, Y: Any, X: Any) -> np.ndarray:
    """||Y X - X|| / ||X||: in X there is rounding that Y = X A has no trace of."""
    again = products.multiply(Y, X, products.room(X.shape, X))
    found = relative(products.distances(again, X), products.norms(X))
    products.done(again)
    return found


@dataclass(frozen=True)
class ChebyshevSchedule:
    """Steps y -> y g(y) of which the residual 1 - y g(y) is the Chebyshev polynomial of an interval.

    Attributes
    ----------
    coefficients : tuple of tuples of float
        Of g, one a step.
    lower : float
        The interval of y is [lower, 1].
    error_bound : float
        Of |1 - y| after the last step.
    """

    coefficients: tuple[tuple[float, ...], ...]
    lower: float
    error_bound: float

    @property
    def steps(self) -> int:
        """How many."""
        return len(self.coefficients)

    @property
    def degrees(self) -> tuple[int, ...]:
        """Of the steps."""
        return tuple(len(step) for step in self.coefficients)


@lru_cache(maxsize=128)
def chebyshev_schedule(lower: float, tolerance: float, order: int) -> ChebyshevSchedule:
    """The fewest steps of an order that take [lower, 1] to within the tolerance of one.

    Composed, they are the best residual polynomial of their degree, since Chebyshev polynomials of Chebyshev
    polynomials are such again (Pan and Schreiber, SIAM J. Sci. Stat. Comput. 12, 1991).

    Examples
    --------
    >>> from resolvent.solvers.matrix_functions.inverse import chebyshev_schedule
    >>> s = chebyshev_schedule(0.01, 1e-6, 2)
    >>> s.steps, s.coefficients[-1]
    (7, (2.0..., -1.0...))
    """
    low, high = lower, 1.0
    steps: list[tuple[float, ...]] = []
    while True:
        error = (high - low) / (high + low)
        if error <= tolerance and steps:
            return ChebyshevSchedule(tuple(steps), lower, error)
        centre, half = (high + low) / 2, max((high - low) / 2, 1e-8 * high)
        T = Chebyshev.basis(order)
        residual = T.convert(kind=Polynomial)(Polynomial([centre / half, -1 / half])) / T(centre / half)
        steps.append(tuple(float(-c) for c in residual.coef[1:]))
        error = 1 / float(T(centre / half))
        low, high = 1 - error, 1 + error
        if error <= tolerance:
            return ChebyshevSchedule(tuple(steps), lower, error)


@dataclass(frozen=True)
class Hyperpower(ScheduledMethod[Any]):
    """X <- g(Y) X with Y = X A, from X = A^H / s (X = I / s where A is positive definite).

    Parameters
    ----------
    order : int
        p: the residual I - Y becomes a polynomial of itself of degree p, and its p-th power in the end.
    positive : bool
        Whether A is Hermitian positive definite.
    rcond : float, optional
        Of a pseudo-inverse: singular values below it, relative to the largest, are taken for zero.
    lower, scaling, products :
        As in ``NewtonSchulz``.

    Notes
    -----
    A step of order 2, 3, 4, 5 takes 2, 3, 4, 4 products. Y is computed from X and A in every step, so that rounding
    errors do not accumulate.

    References
    ----------
    Schulz (1933); Altman (1960); Ben-Israel and Cohen (1966); Pan and Schreiber (1991) on acceleration.
    """

    name: ClassVar[str] = "hyperpower"
    title: ClassVar[str] = "Hyperpower iteration"
    purpose: ClassVar[str] = "inverses by products alone"
    power: ClassVar[int] = 1

    order: int = 3
    positive: bool = False
    pseudo: bool = False
    rcond: float | None = None
    lower: float | None = None
    scaling: str = "schatten-8"
    products: int | None = None

    def check(self) -> None:
        super().check()
        if not isinstance(self.order, Integral) or isinstance(self.order, bool) or not 2 <= self.order <= 9:
            raise InputError(f"order: found {self.order!r}; wanted an integer from 2 to 9")
        if self.rcond is not None and not 0 < self.rcond < 1:
            raise InputError(f"rcond: found {self.rcond!r}; wanted a number between 0 and 1")

    def chosen(self, problem: Any) -> Any:
        least = self.lower if self.lower is not None else self.default
        if self.pseudo:
            least = self.rcond or math.sqrt(NOISE * problem.unit_roundoff)
        y = least if self.positive else least**2
        if self.lower is not None or self.pseudo:
            y /= margin(self.scaling, problem.columns) ** 2
        tolerance = max(problem.asked / 1.1, 4 * problem.unit_roundoff)
        return chebyshev_schedule(min(y, 1.0), min(tolerance, 0.5), self.order)

    def finest(self, problem: Any) -> float:
        if self.pseudo:
            return 1.0  # after one round, which is for all that is not taken for zero
        finest = problem.columns * problem.unit_roundoff
        return finest if self.positive else finest**2

    def begin(self, problem: Any, s: StackState) -> tuple[Any, ...]:
        p, A = problem.exact, problem.data
        G = A if self.positive else p.gram(A, None)
        bound, _ = upper_bound(p, G, self.scaling)
        bound = np.where(bound > 0, bound, 1.0)
        s.scale = bound if self.positive else np.sqrt(bound)
        if self.positive:
            X = p.scale(p.combine([(0.0, A)], p.room(A.shape, A), 1.0), 1 / bound, None)
        else:
            X = p.scale(p.copy(p.adjoint(A)), 1 / bound, None)
        if problem.two_precisions:
            X = problem.iterated(X)
            problem.low = problem.iterated(A)
        else:
            problem.low = A
        return X, problem.products.multiply(X, problem.low, None), *self._numbers(problem)

    @staticmethod
    def _numbers(problem: Any) -> tuple[Any, ...]:
        return (problem.low,)

    def advance(self, problem: Any, s: StackState, arrays: tuple[Any, ...], h: Step) -> tuple[Any, ...]:
        p, (X, Y, A) = problem.products, arrays
        square = p.multiply(Y, Y, p.room(Y.shape, Y)) if len(h.h) > 2 else None
        B, a = evaluate(p, h.h, Y, square, h.factors)
        new = p.add_multiply(X, B, a, p.room(X.shape, X))
        p.done(X)
        if B is not Y:
            p.done(B)
        return new, p.multiply(new, A, Y), A

    def measured(self, problem: Any, arrays: tuple[Any, ...]) -> np.ndarray:
        norms = problem.exact.identity_distances(arrays[1]) / math.sqrt(problem.columns)
        if not self.pseudo or not problem.partial.any() or norms.size != problem.partial.sum():
            return norms
        return projection_defects(problem.exact, arrays[1], arrays[0])

    def judged(self, problem: Any, s: StackState, which: np.ndarray, norms: np.ndarray) -> np.ndarray:
        """What has not become one when all but rounding should have is nothing: of an inverse that is the end."""
        if s.growth * self.finest(problem) < 1:
            return norms
        numbers = s.active[which]
        if not self.pseudo:
            problem.failed[numbers] = True
            return norms
        problem.partial[numbers] = True
        X, Y = (problem.exact.members(array, which) for array in s.arrays[:2])
        return projection_defects(problem.exact, Y, X)

    def finishing(self, problem: Any, s: StackState, near: np.ndarray) -> tuple[np.ndarray, tuple[float, ...]]:
        if self.pseudo:
            partial = problem.partial[s.active[near]]
            if partial.any():
                return near[partial], PURIFY
        return near, tail(1, self.order - 1)

    def _near(self, problem: Any, s: StackState) -> np.ndarray:
        near = super()._near(problem, s)
        return near | problem.partial[s.active] if self.pseudo else near

    def blame(self, problem: Any, s: StackState) -> Breakdown:
        return not_positive() if self.positive and self.negative(problem, s) else singular("A")

    def assumed(self, s: StackState) -> float:
        return float(s.schedule.lower) if self.positive else math.sqrt(s.schedule.lower)


@matrix_function
def inverse(
    A: Any,
    *,
    positive: bool = False,
    order: int = 3,
    lower: float | None = None,
    scaling: str = "schatten-8",
    products: int | None = None,
    **common: Unpack[MatrixCommon],
) -> MatrixSolution[Any]:
    """The inverse, by products alone.

    Parameters
    ----------
    A : array of shape (..., n, n)
        Real or complex, of any array library. Never written to.
    positive : bool
        A is Hermitian positive definite: then half the steps will do.
    order : int
        Of the iteration, from 2 to 9.
    lower : float, optional
        A lower bound of the smallest singular value relative to the largest, in (0, 1]. By default the schedule is for
        1e-3; where that was too much, more steps follow.
    scaling, products :
        As in ``resolvent.polar``.
    rtol : float
        Converged when ||A X - I||_F <= rtol sqrt(n) and ||X A - I||_F <= rtol sqrt(n).
    maxiter, callback, progress, time_limit, backend, precision :
        As in ``resolvent.polar``.

    Returns
    -------
    MatrixSolution

    Raises
    ------
    InputError, TypeError, BackendError
        As in ``resolvent.polar``, and for matrices that are not square.
    SingularError
        For a row or column of zeros.
    NotHermitianError
        For a matrix that is said to be positive and is not Hermitian.

    Warns
    -----
    ConvergenceWarning
        When the tolerance was not reached, with the reason: of a matrix that is singular to rounding, that.

    Notes
    -----
    The attainable relative error is about u k for the condition number k, and so is the residual.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> np.allclose(rv.inverse(np.array([[2.0, 1.0], [1.0, 1.0]]), rtol=1e-12).x, [[1, -1], [-1, 2]])
    True
    """
    problem = PositiveInverseProblem if positive else InverseProblem
    return solve_matrix(Hyperpower(order, positive, False, None, lower, scaling, products), problem, A, **common)


@matrix_function
def pinv(
    A: Any,
    *,
    rcond: float | None = None,
    order: int = 3,
    scaling: str = "schatten-8",
    products: int | None = None,
    **common: Unpack[MatrixCommon],
) -> MatrixSolution[Any]:
    """The pseudo-inverse of Moore and Penrose, by products alone.

    Parameters
    ----------
    A : array of shape (..., m, n)
        Real or complex, of any array library. Never written to.
    rcond : float, optional
        Singular values below it, relative to the largest, are taken for zero. By default 140 sqrt(u), 1.5e-6 in double
        precision: the iteration is of A^H A, in which smaller ones are hard to tell from rounding. Larger ones save
        steps.
    order, scaling, products :
        As in ``resolvent.inverse``.
    rtol : float
        Converged when ||A X A - A||_F <= rtol ||A||_F and ||X A X - X||_F <= rtol ||X||_F.
    maxiter, callback, progress, time_limit, backend, precision :
        As in ``resolvent.polar``.

    Returns
    -------
    MatrixSolution
        Of zero matrices zero.

    Raises
    ------
    InputError, TypeError, BackendError
        As in ``resolvent.polar``.

    Warns
    -----
    ConvergenceWarning
        When the tolerance was not reached, with the reason.

    Notes
    -----
    Where A lacks rank, the iteration would magnify rounding in directions of no size without end. It stops when all
    above ``rcond`` has converged, and steps y -> 3 y^2 - 2 y^3 on the eigenvalues y of X A take what is below one half
    to zero.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> np.allclose(rv.pinv(np.array([[1.0, 2.0], [2.0, 4.0], [0.0, 0.0]]), rtol=1e-8).x * 25, [[1, 2, 0], [2, 4, 0]])
    True
    """
    method = Hyperpower(order, False, True, rcond, None, scaling, products)
    return solve_matrix(method, PseudoInverseProblem, A, **common)
