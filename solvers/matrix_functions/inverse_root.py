"""Inverse p-th roots of Hermitian positive definite matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar, Unpack

import numpy as np

from ...errors import InputError
from ..driver.method import Breakdown
from ..driver.problem import Vector, Words
from .call import MatrixCommon, matrix_function, solve_matrix
from .inverse import inverse
from .method import ScheduledMethod, StackState, Step
from .newton_schulz import Schedule
from .polynomial import evaluate
from .products import Products
from .scaling import margin, upper_bound
from .solution import MatrixSolution
from .sqrt import PositiveProblem, not_positive, singular

__all__ = ["CoupledNewton", "InverseRootProblem", "inverse_root"]


class InverseRootProblem(PositiveProblem):
    """X^p A = I, measured by ||X^p A - I|| / ||I||.

    Parameters
    ----------
    A, backend, precision :
        As in ``MatrixProblem``.
    p : int
    """

    words = Words(residual="||X^p A - I||", reference="||I||", products="matrix products")

    def __init__(self, A: Any, p: int, *, backend: Any = None, precision: Any = None) -> None:
        self.p = self.multiple = p  # type: ignore[misc]
        super().__init__(A, backend=backend, precision=precision)

    def residuals_of(self, x: Vector, known: Any) -> np.ndarray:
        p = self.exact
        whole = p.multiply(power(p, x, self.p), self.data, None)
        return p.identity_distances(whole) / math.sqrt(self.columns)

    @property
    def output_exponents(self) -> np.ndarray:
        return -(self.exponents // self.p)

    def fields(self, x: Vector) -> Mapping[str, Any]:
        # Of commuting matrices x / lambda^(-1/p) - 1 is less than x^p lambda - 1.
        return {"error": self.bounded(float(np.max(self.residuals, initial=0.0)) * math.sqrt(self.columns))}


def power(products: Products, A: Any, exponent: int) -> Any:
    """A^exponent by repeated squaring; A itself where that is 1."""
    result, square = None, A
    while True:
        if exponent & 1:
            result = square if result is None else products.multiply(result, square, None)
        exponent >>= 1
        if not exponent:
            return result
        square = products.multiply(square, square, None)


@dataclass(frozen=True)
class CoupledNewton(ScheduledMethod[InverseRootProblem]):
    """W = h(M), X <- X W, M <- W^p M: from M = A / s and X = I to X = (A / s)^(-1/p) and M = I.

    Parameters
    ----------
    p : int
    schedule, lower, scaling, products :
        As in ``CoupledNewtonSchulz``; the schedule is one for ``root=p``.

    Notes
    -----
    A step with h of degree 1, 2, 4, 8 takes 0, 1, 2, 3 products for W, two more, and those of W^p by squaring. X and M
    part from each other by rounding, so that the attainable residual is larger than that of ``CoupledNewtonSchulz``.

    References
    ----------
    Higham, Functions of Matrices (2008), (7.16); with minimax polynomials, Amsel et al. (arXiv:2505.16932).
    """

    name: ClassVar[str] = "coupled_newton"
    title: ClassVar[str] = "Coupled Newton iteration"
    purpose: ClassVar[str] = "inverse p-th roots by products alone"

    share: ClassVar[float] = 1e5

    p: int = 2
    schedule: Schedule | str | None = None
    lower: float | None = None
    scaling: str = "schatten-8"
    products: int | None = None

    @property
    def root(self) -> int:  # type: ignore[override]
        return self.p

    @property
    def power(self) -> int:  # type: ignore[override]
        return self.p

    @property
    def default(self) -> float:
        return 1e-6 ** (1 / self.p)

    def lower_of_x(self) -> float:
        assert self.lower is not None
        return self.lower ** (1 / self.p)

    def margin_of_x(self, problem: InverseRootProblem) -> float:
        return margin(self.scaling, problem.columns) ** (2 / self.p)

    def finest(self, problem: InverseRootProblem) -> float:
        return (problem.columns * problem.unit_roundoff) ** (1 / self.p)

    def begin(self, problem: InverseRootProblem, s: StackState) -> tuple[Any, ...]:
        p, A = problem.exact, problem.data
        bound, s.first = upper_bound(p, A, self.scaling)
        s.scale = np.where(bound > 0, bound, 1.0)
        problem.unit = s.scale ** (-1 / self.p)
        M = p.scale(A, 1 / s.scale, None)
        s.first = None if s.first is None else p.scale(s.first, s.scale**-2, s.first)
        if problem.two_precisions:
            M, s.first = problem.iterated(M), None
        X = problem.products.combine([(0.0, M)], problem.products.room(M.shape, M), 1.0)
        return X, M

    def advance(self, problem: InverseRootProblem, s: StackState, arrays: tuple[Any, ...], h: Step) -> tuple[Any, ...]:
        p, (X, M) = problem.products, arrays
        kept = p.combine([(1.0, M)], p.room(M.shape, M))
        square = h.square
        if square is None and len(h.h) > 2:
            square = p.multiply(M, M, p.room(M.shape, M))
        B, a = evaluate(p, h.h, M, square, h.factors)
        W = p.add_identity(B, a)
        new = p.combine([(1.0, W)], X) if h.first else p.multiply(X, W, p.room(X.shape, X))
        out = p.multiply(power(p, W, self.p), kept, p.room(M.shape, M))
        p.done(kept, M, *([] if h.first else [X]), *([] if B is M else [B]))
        return new, out

    def measured(self, problem: InverseRootProblem, arrays: tuple[Any, ...]) -> np.ndarray:
        return problem.exact.identity_distances(arrays[1]) / math.sqrt(problem.columns)

    def judged(self, problem: InverseRootProblem, s: StackState, which: np.ndarray, norms: np.ndarray) -> np.ndarray:
        problem.failed[s.active[which]] |= s.growth * self.finest(problem) >= 1
        return norms

    def blame(self, problem: InverseRootProblem, s: StackState) -> Breakdown:
        return not_positive() if self.negative(problem, s) else singular("A")

    def assumed(self, s: StackState) -> float:
        return float(s.schedule.lower) ** self.p


@matrix_function
def inverse_root(
    A: Any,
    p: int,
    *,
    schedule: Schedule | str | None = None,
    lower: float | None = None,
    scaling: str = "schatten-8",
    products: int | None = None,
    **common: Unpack[MatrixCommon],
) -> MatrixSolution[Any]:
    """A^(-1/p) of a Hermitian positive definite matrix, by products alone.

    Parameters
    ----------
    A : array of shape (..., n, n)
        Real symmetric or complex Hermitian, of any array library. Never written to.
    p : int
        At least 1; for 1 this is ``resolvent.inverse``.
    schedule : Schedule or str, optional
        Of ``rv.newton_schulz.schedule`` with ``root=p``, for p above 1, or for p = 2 the name of a preset; by default
        the cheapest one that reaches ``rtol``.
    lower : float, optional
        A lower bound of the smallest eigenvalue relative to the largest, in (0, 1]; by default 1e-6 of the bound of the
        largest. Where that was too much, more steps follow.
    scaling, products :
        As in ``resolvent.sqrtm``.
    rtol : float
        Converged when ||X^p A - I||_F <= rtol sqrt(n).
    maxiter, callback, progress, time_limit, backend, precision :
        As in ``resolvent.sqrtm``.

    Returns
    -------
    MatrixSolution

    Raises
    ------
    InputError, TypeError, BackendError, NotHermitianError, SingularError
        As in ``resolvent.invsqrtm``, and for a p below 1.

    Warns
    -----
    ConvergenceWarning
        When the tolerance was not reached, with the reason: of a matrix that is singular to rounding, that.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> A = np.array([[5.0, 4.0], [4.0, 5.0]])
    >>> X = rv.inverse_root(A, 4, rtol=1e-10).x
    >>> np.allclose(X @ X @ X @ X @ A, np.eye(2))
    True
    """
    if not isinstance(p, Integral) or isinstance(p, bool):
        raise TypeError(f"p: found {p!r}; wanted an integer of at least 1")
    if p < 1:
        raise InputError(f"p: found {p}; wanted an integer of at least 1")
    if p == 1:
        if schedule is not None:
            raise InputError("schedule: found one for p = 1; wanted none, since that is rv.inverse")
        return inverse(A, positive=True, lower=lower, scaling=scaling, products=products, **common)
    return solve_matrix(
        CoupledNewton(int(p), schedule, lower, scaling, products), InverseRootProblem, A, int(p), **common
    )
