"""The matrix sign function: by products of a Hermitian matrix, by Newton's iteration of another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Unpack

import numpy as np

from ..driver.method import Breakdown
from ..driver.problem import Vector, Words
from ..driver.status import Cause, Status
from .call import MatrixCommon, matrix_function, solve_matrix
from .method import ScheduledMethod, StackState, Step, checked_schedule
from .newton_schulz import Schedule
from .polar import NewtonSchulz, OrthogonalProblem
from .problem import ASYMMETRY, MatrixProblem
from .products import relative
from .scaling import tail
from .solution import MatrixSolution

__all__ = ["HermitianSignProblem", "NewtonSign", "SignProblem", "matrix_sign"]

WORDS = Words(
    residual="||I - S S|| / ||I||, ||A S - S A|| / (||A|| ||S||)",
    reference="one",
    products="matrix products",
    relative=True,
)

# Newton steps: ten at most if no eigenvalue is near the imaginary axis, and one more each time it is half as near.
# Rounding alone moves away from the axis in -log2(u) steps, and then to either side.
FIRST_STEPS, TIMES_AS_NEAR = 6, 0.55


def commutator(p: Any, A: Any, S: Any) -> np.ndarray:
    """||A S - S A|| / (||A|| ||S||) of each."""
    left, right = p.multiply(A, S, None), p.multiply(S, A, None)
    found = relative(p.distances(left, right), p.norms(A) * p.norms(S))
    p.done(left, right)
    return found


class HermitianSignProblem(OrthogonalProblem):
    """The sign of a Hermitian matrix, which is its orthogonal factor.

    Parameters
    ----------
    A, backend, precision :
        As in ``MatrixProblem``.
    """

    words = WORDS
    square = True
    hermitian = True

    def residuals_of(self, x: Vector, known: Any) -> np.ndarray:
        return np.maximum(super().residuals_of(x, known), commutator(self.exact, self.data, x))


class SignProblem(MatrixProblem):
    """The S that commutes with A, S S = I, and whose product with A has its eigenvalues in the right half plane.

    Parameters
    ----------
    A, backend, precision :
        As in ``MatrixProblem``.
    """

    words = WORDS

    def residuals_of(self, x: Vector, known: Any) -> np.ndarray:
        p = self.exact
        P = p.multiply(x, x, None)
        off = p.identity_distances(P) / (math.sqrt(self.columns))
        p.done(P)
        return np.maximum(off, commutator(p, self.data, x))


@dataclass(frozen=True)
class NewtonSign(ScheduledMethod[SignProblem]):
    """X <- (m X + (m X)^-1) / 2, and X h(X^2) once ||I - X^2|| is small.

    m = (||X^-1|| / ||X||)^(1/2) makes both terms of one size. Newton's iteration converges for every A without
    eigenvalues on the imaginary axis; what has come within 1/2 of the sign takes products alone.

    Notes
    -----
    A Newton step takes an inverse, about two products, and one product to see how far it has come; others three.

    References
    ----------
    Higham, Functions of Matrices (2008), section 5.3 and 5.6.
    """

    name: ClassVar[str] = "newton_sign"
    title: ClassVar[str] = "Newton's iteration for the sign"
    purpose: ClassVar[str] = "signs of matrices that are not Hermitian"

    lower: float | None = None
    scaling: str = "frobenius"
    products: int | None = None

    def chosen(self, problem: SignProblem) -> Schedule:
        return Schedule((), 1.0)

    def begin(self, problem: SignProblem, s: StackState) -> tuple[Any, ...]:
        X = problem.iterated(problem.data)
        return X, problem.products.multiply(X, X, None)

    def measured(self, problem: SignProblem, arrays: tuple[Any, ...]) -> np.ndarray:
        return problem.exact.identity_distances(arrays[1]) / math.sqrt(problem.columns)

    def _near(self, problem: SignProblem, s: StackState) -> np.ndarray:
        return s.norms[s.active] * math.sqrt(problem.columns) <= 0.5

    def _next(self, problem: SignProblem, s: StackState) -> tuple[np.ndarray, tuple[float, ...]]:
        places, near = np.arange(s.active.size), self._near(problem, s)
        return (places[near], tail(2)) if near.any() else (places, (0.5,))

    def advance(self, problem: SignProblem, s: StackState, arrays: tuple[Any, ...], h: Step) -> tuple[Any, ...]:
        p, (X, P) = problem.products, arrays
        if len(h.h) > 1:
            work = p.combine([(h.h[2], P)], p.room(P.shape, P), h.h[1])
            B = p.multiply(work, P, p.room(P.shape, P))
            new = p.multiply_add(X, B, h.h[0], work)
            p.done(X, B)
            return new, p.multiply(new, new, P)
        inverse = self.inverses(p, X)
        m = np.sqrt(relative(p.norms(inverse), p.norms(X)))
        m = np.where(np.isfinite(m) & (m > 0), m, 1.0)
        new = p.scale(X, 0.5 * m, X)
        new = p.add(new, p.scale(inverse, 0.5 / m, None), 1.0)
        s.rounds += 1
        if s.rounds > FIRST_STEPS - TIMES_AS_NEAR * math.log2(problem.unit_roundoff):
            new = p.scale(new, math.nan, new)
        return new, p.multiply(new, new, P)

    @staticmethod
    def inverses(p: Any, X: Any) -> Any:
        """Inverses, those of singular matrices NaN."""
        try:
            return p.xp.linalg.inv(X)
        except (np.linalg.LinAlgError, RuntimeError):  # of any one in the stack
            if X.shape[0] == 1:
                return p.scale(X, math.nan, None)
            parts = [NewtonSign.inverses(p, p.members(X, np.array([k]))) for k in range(X.shape[0])]
            return p.xp.concatenate(parts)

    def wild(self, norms: np.ndarray) -> np.ndarray:
        return ~np.isfinite(norms)

    def blame(self, problem: SignProblem, s: StackState) -> Breakdown:
        return Breakdown(
            "A has eigenvalues on the imaginary axis, zero among them, or as close to it as rounding: there the sign "
            "jumps from -1 to 1, and is not defined.",
            Cause.SINGULAR,
            Status.INFEASIBLE,
        )

    def describe(self, s: StackState) -> str:
        return ""

    def conclude(self, problem: SignProblem, s: StackState, ending: Any) -> tuple[Any, Mapping[str, Any]]:
        return ending, {}


@matrix_function
def matrix_sign(
    A: Any,
    *,
    hermitian: bool | None = None,
    schedule: Schedule | str | None = None,
    lower: float | None = None,
    scaling: str = "schatten-8",
    products: int | None = None,
    **common: Unpack[MatrixCommon],
) -> MatrixSolution[Any]:
    """The matrix sign: every eigenvalue is replaced by 1 or -1, as its real part is positive or negative.

    Parameters
    ----------
    A : array of shape (..., n, n)
        Real or complex, of any array library. Never written to.
    hermitian : bool, optional
        Whether the matrices are Hermitian; by default as their entries show.
    schedule, lower, scaling, products :
        Of Hermitian matrices, as in ``resolvent.polar``; others take Newton's iteration, which has no schedule.
    rtol : float
        Converged when ||I - S S||_F <= rtol sqrt(n) and ||A S - S A||_F <= rtol ||A||_F ||S||_F.
    maxiter, callback, progress, time_limit, backend, precision :
        As in ``resolvent.polar``.

    Returns
    -------
    MatrixSolution
        Eigenvalues that are zero to rounding, of a Hermitian matrix, may come back as zero.

    Raises
    ------
    InputError, TypeError, BackendError
        As in ``resolvent.polar``, and for matrices that are not square.
    NotHermitianError
        Where ``hermitian`` says what the entries contradict.

    Warns
    -----
    ConvergenceWarning
        When the tolerance was not reached, with the reason: for eigenvalues on the imaginary axis, above all.

    Notes
    -----
    Products alone are the way of Hermitian matrices, whose eigenvalues are real. Of others they converge only near to
    the sign; Newton's iteration, with an inverse a step, goes there first.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> np.allclose(rv.matrix_sign(np.array([[1.0, 2.0], [2.0, 1.0]]), rtol=1e-12).x, [[0, 1], [1, 0]])
    True
    >>> np.allclose(rv.matrix_sign(np.array([[2.0, 5.0], [0.0, -3.0]]), rtol=1e-12).x, [[1, 2], [0, -1]])
    True
    """
    if hermitian is None:
        hermitian = looks_hermitian(A, common.get("backend"))
    if hermitian:
        return solve_matrix(NewtonSchulz(schedule, lower, scaling, products), HermitianSignProblem, A, **common)
    if schedule is not None:
        checked_schedule(schedule, 1)
    return solve_matrix(NewtonSign(products=products), SignProblem, A, **common)


def looks_hermitian(A: Any, backend: Any) -> bool:
    """Whether all matrices of a stack are Hermitian up to rounding."""
    problem = SignProblem(A, backend=backend)
    if not problem.n:
        return True
    limit = ASYMMETRY * problem.unit_roundoff * problem.exact.largest(problem.data)
    return bool((problem.exact.asymmetries(problem.data) <= limit).all())
