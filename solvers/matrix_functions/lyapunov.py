"""Sylvester and Lyapunov equations with positive definite coefficients, as the sign of a block triangular matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Unpack

import numpy as np

from ...errors import BackendError, InputError
from ..driver.batch import as_array
from ..driver.method import Breakdown
from ..driver.problem import Vector, Words
from ..driver.status import Cause, Ending, Status
from .call import MatrixCommon, matrix_function, solve_matrix
from .method import ScheduledMethod, StackState, Step
from .newton_schulz import Schedule
from .polynomial import evaluate
from .problem import MatrixProblem
from .products import Products, relative
from .scaling import margin, upper_bound
from .solution import MatrixSolution
from .sqrt import PositiveProblem

__all__ = ["BlockSign", "LyapunovProblem", "SylvesterProblem", "solve_lyapunov", "solve_sylvester"]


class Coefficient(PositiveProblem):
    """A coefficient of the equation, checked as every positive definite matrix is."""

    words = Words(residual="", reference="", products="matrix products")

    def residuals_of(self, x: Vector, known: Any) -> np.ndarray:
        raise NotImplementedError


class SylvesterProblem(MatrixProblem):
    """A X + X B = C for Hermitian positive definite A and B, measured by ||A X + X B - C|| / ||C||.

    Parameters
    ----------
    C : array of shape (..., m, n)
    A : array of shape (..., m, m)
    B : array of shape (..., n, n) or None
        None for A itself.
    backend, precision :
        As in ``MatrixProblem``.
    """

    words = Words(residual="||A X + X B - C||", reference="||C||", products="matrix products")
    square = False

    def __init__(self, C: Any, A: Any, B: Any = None, *, backend: Any = None, precision: Any = None) -> None:
        given = [as_array(one, name) for one, name in ((C, "C"), (A, "A"), (B, "B")) if one is not None]
        kinds = {type(one).__module__.partition(".")[0] for one in given}
        if len(kinds) > 1:
            raise BackendError(f"A, B and C come from {' and '.join(sorted(kinds))}; convert them to one library first")
        self.left = Coefficient(A, backend=backend, precision=precision)
        self.right = self.left if B is None else Coefficient(B, backend=backend, precision=precision, name="B")
        super().__init__(C, backend=backend, precision=precision, name="C")
        lead = self.lead
        for one, name, order in ((self.left, "A", self.rows), (self.right, "B", self.columns)):
            shape = (*one.lead, one.rows, one.columns)
            if shape != (*lead, order, order):
                raise InputError(f"{name}: found shape {shape}; wanted {(*lead, order, order)}, to fit C")
        wide = np.result_type(self.true_dtype, self.left.true_dtype, self.right.true_dtype)
        if {one.true_dtype for one in (self, self.left, self.right)} != {wide}:
            raise InputError(
                f"A, B, C: found {self.left.true_dtype}, {self.right.true_dtype} and {self.true_dtype}; wanted one type"
            )
        # Both coefficients in one unit.
        common = np.maximum(self.left.exponents, self.right.exponents)
        self.A = self.exact.ldexp(self.left.data, self.left.exponents - common, None)
        self.B = self.exact.ldexp(self.right.data, self.right.exponents - common, None)
        self.one = B is None
        self.coefficient_exponents = common
        self.sizes = self.exact.norms(self.data) if self.n else np.zeros(self.count)

    def residuals_of(self, x: Vector, known: Any) -> np.ndarray:
        p = self.exact
        left = p.multiply(self.A, x, None)
        left = p.add(left, p.multiply(x, self.B, None), 1.0)
        return relative(p.distances(left, self.data), self.sizes)

    @property
    def output_exponents(self) -> np.ndarray:
        return self.exponents - self.coefficient_exponents


class LyapunovProblem(SylvesterProblem):
    """A X + X A = C."""

    words = Words(residual="||A X + X A - C||", reference="||C||", products="matrix products")


class Block:
    """[[a, c], [0, b]], where b may be left out for a times a sign."""

    def __init__(self, a: Any, c: Any, b: Any, sign: int = 1) -> None:
        self.a, self.c, self.b, self.sign = a, c, b, sign

    @property
    def shape(self) -> Block:
        """What ``room`` makes another one like."""
        return self


class Blocks:
    """Products of block triangular matrices, in the words of ``Products`` that polynomials are written in."""

    def __init__(self, products: Products) -> None:
        self.p = products

    def room(self, shape: Block, like: Any) -> Block:
        """One of the same shape, of any values."""
        p = self.p
        b = None if shape.b is None else p.room(shape.b.shape, shape.b)
        return Block(p.room(shape.a.shape, shape.a), p.room(shape.c.shape, shape.c), b)

    def done(self, *blocks: Block) -> None:
        """Those that nobody uses any longer."""
        for one in blocks:
            self.p.done(one.a, one.c, one.b)

    def square(self, A: Block, out: Block) -> Block:
        """A A."""
        return self.multiply(A, A, out)

    def multiply(self, A: Block, B: Block, out: Block) -> Block:
        """A B: a a', a c' + c b', b b'."""
        p = self.p
        a = p.multiply(A.a, B.a, out.a)
        c = p.multiply(A.a, B.c, out.c)
        last = B.a if B.b is None else B.b
        work = p.multiply(A.c, last, p.room(A.c.shape, A.c))
        c = p.add(c, work, float(B.sign) if B.b is None else 1.0)
        p.done(work)
        b = None if A.b is None else p.multiply(A.b, B.b, out.b)
        return Block(a, c, b, A.sign * B.sign)

    def combine(self, terms: Sequence[tuple[float, Block]], out: Block, identity: float = 0.0) -> Block:
        """The sum, of blocks of one sign."""
        p = self.p
        a = p.combine([(c, M.a) for c, M in terms], out.a, identity)
        c = p.combine([(c, M.c) for c, M in terms], out.c)
        b = None if terms[0][1].b is None else p.combine([(c, M.b) for c, M in terms], out.b, identity)
        return Block(a, c, b, terms[0][1].sign)

    def scale(self, A: Block, c: float, out: Block) -> Block:
        """c A."""
        return self.combine([(c, A)], out)

    def add(self, A: Block, B: Block, c: float) -> Block:
        """A + c B."""
        p = self.p
        b = None if A.b is None else p.add(A.b, B.b, c)
        return Block(p.add(A.a, B.a, c), p.add(A.c, B.c, c), b, A.sign)

    def add_identity(self, A: Block, c: float) -> Block:
        """A + c I."""
        b = None if A.b is None else self.p.add_identity(A.b, c)
        return Block(self.p.add_identity(A.a, c), A.c, b, A.sign)


@dataclass(frozen=True)
class BlockSign(ScheduledMethod[SylvesterProblem]):
    """M <- M h(M^2) from M = [[A, C], [0, -B]] / s, whose sign is [[I, 2 X], [0, -I]].

    Parameters
    ----------
    schedule, lower, scaling, products :
        As in ``NewtonSchulz``; ``lower`` is of the eigenvalues of both coefficients.

    Notes
    -----
    A product of block matrices takes four products, three where B is A. A step of degree 3, 5, 9, 17 takes 2, 3, 4, 5
    of them. Entry (i, j) of X, in bases of eigenvectors, has the error (f(a_i) + f(b_j)) / 2 - 1.

    References
    ----------
    Roberts (1980); Song, Sebe and Wang (arXiv:2201.08663) with the classical cubic.
    """

    name: ClassVar[str] = "block_sign"
    title: ClassVar[str] = "Newton-Schulz iteration for the sign of a block matrix"
    purpose: ClassVar[str] = "Lyapunov and Sylvester equations by products alone"

    schedule: Schedule | str | None = None
    lower: float | None = None
    scaling: str = "schatten-8"
    products: int | None = None

    def margin_of_x(self, problem: SylvesterProblem) -> float:
        return margin(self.scaling, max(problem.rows, problem.columns)) ** 2

    def sides(self, problem: SylvesterProblem) -> int:
        return problem.rows + problem.columns

    def cost_of(self, h: tuple[float, ...]) -> int:
        return 4 * super().cost_of(h)

    def begin(self, problem: SylvesterProblem, s: StackState) -> tuple[Any, ...]:
        p = problem.exact
        bound = upper_bound(p, problem.A, self.scaling)[0]
        if not problem.one:
            bound = np.maximum(bound, upper_bound(p, problem.B, self.scaling)[0])
        s.scale = np.where(bound > 0, bound, 1.0)
        problem.unit = np.full(problem.count, 0.5)
        a, c = (problem.iterated(p.scale(one, 1 / s.scale, None)) for one in (problem.A, problem.data))
        b = None if problem.one else problem.iterated(p.scale(problem.B, -1 / s.scale, None))
        M = Block(a, c, b, -1)
        blocks = Blocks(problem.products)
        return self._flat(M, blocks.multiply(M, M, blocks.room(M, None)))

    @staticmethod
    def _flat(M: Block, P: Block) -> tuple[Any, ...]:
        return tuple(one for one in (M.c, M.a, M.b, P.c, P.a, P.b) if one is not None)

    @staticmethod
    def _blocks(arrays: tuple[Any, ...]) -> tuple[Block, Block]:
        if len(arrays) == 4:
            return Block(arrays[1], arrays[0], None, -1), Block(arrays[3], arrays[2], None)
        return Block(arrays[1], arrays[0], arrays[2]), Block(arrays[4], arrays[3], arrays[5])

    def advance(self, problem: SylvesterProblem, s: StackState, arrays: tuple[Any, ...], h: Step) -> tuple[Any, ...]:
        blocks = Blocks(problem.products)
        M, P = self._blocks(arrays)
        B, a = evaluate(blocks, h.h, P, None, h.factors)  # type: ignore[arg-type]
        B = blocks.add_identity(B, a)
        new = blocks.multiply(M, B, blocks.room(M, None))
        blocks.done(M)
        if B.a is not P.a:
            blocks.done(B)
        return self._flat(new, blocks.multiply(new, new, P))

    def measured(self, problem: SylvesterProblem, arrays: tuple[Any, ...]) -> np.ndarray:
        M, _ = self._blocks(arrays)
        p = problem.exact
        off = p.identity_distances(M.a)
        if M.b is None:
            return off / math.sqrt(problem.columns)
        return np.hypot(off, p.identity_distances(M.b, -1.0)) / math.sqrt(self.sides(problem))

    def judged(self, problem: SylvesterProblem, s: StackState, which: np.ndarray, norms: np.ndarray) -> np.ndarray:
        problem.failed[s.active[which]] |= s.growth * self.finest(problem) >= 1
        return norms

    def blame(self, problem: SylvesterProblem, s: StackState) -> Breakdown:
        return Breakdown(
            "A, or B, is not positive definite to rounding, as it has to be here: it has an eigenvalue that is "
            "negative, or nothing to the others. Add a ridge to the diagonal.",
            Cause.INDEFINITE,
            Status.INFEASIBLE,
        )

    def conclude(self, problem: SylvesterProblem, s: StackState, ending: Ending) -> tuple[Ending, Mapping[str, Any]]:
        scale = np.ldexp(s.scale, problem.coefficient_exponents).reshape(problem.lead)[()]
        return ending, {"lower": self.assumed(s), "scale": scale}


@matrix_function
def solve_sylvester(
    A: Any,
    B: Any,
    C: Any,
    *,
    schedule: Schedule | str | None = None,
    lower: float | None = None,
    scaling: str = "schatten-8",
    products: int | None = None,
    **common: Unpack[MatrixCommon],
) -> MatrixSolution[Any]:
    """Solve A X + X B = C for Hermitian positive definite A and B, by products alone.

    Parameters
    ----------
    A, B : arrays of shape (..., m, m) and (..., n, n)
        Real symmetric or complex Hermitian. Never written to.
    C : array of shape (..., m, n)
        Of the same library and type.
    schedule : Schedule or str, optional
        Of ``rv.newton_schulz.schedule``, or the name of a preset; by default the cheapest one that reaches ``rtol``.
    lower : float, optional
        A lower bound of the smallest eigenvalue of A and B relative to the largest of both, in (0, 1]. By default the
        schedule is for 1e-3; where that was too much, more steps follow.
    scaling, products :
        As in ``resolvent.polar``, of A and B.
    rtol : float
        Converged when ||A X + X B - C||_F <= rtol ||C||_F.
    maxiter, callback, progress, time_limit, backend, precision :
        As in ``resolvent.polar``.

    Returns
    -------
    MatrixSolution

    Raises
    ------
    InputError, TypeError, BackendError, NotHermitianError, SingularError
        As in ``resolvent.invsqrtm``, and for shapes and types that do not fit.

    Warns
    -----
    ConvergenceWarning
        When the tolerance was not reached, with the reason.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> A, B, C = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([[3.0]]), np.array([[1.0], [2.0]])
    >>> X = rv.solve_sylvester(A, B, C, rtol=1e-12).x
    >>> np.allclose(A @ X + X @ B, C)
    True
    """
    return solve_matrix(BlockSign(schedule, lower, scaling, products), SylvesterProblem, C, A, B, **common)


@matrix_function
def solve_lyapunov(
    A: Any,
    C: Any,
    *,
    schedule: Schedule | str | None = None,
    lower: float | None = None,
    scaling: str = "schatten-8",
    products: int | None = None,
    **common: Unpack[MatrixCommon],
) -> MatrixSolution[Any]:
    """Solve A X + X A = C for a Hermitian positive definite A, by products alone.

    Parameters
    ----------
    A, C : arrays of shape (..., n, n)
        C may be any matrix.
    schedule, lower, scaling, products :
        As in ``resolvent.solve_sylvester``.
    rtol, maxiter, callback, progress, time_limit, backend, precision :
        As in ``resolvent.solve_sylvester``.

    Returns
    -------
    MatrixSolution

    Raises
    ------
    InputError, TypeError, BackendError, NotHermitianError, SingularError
        As in ``resolvent.solve_sylvester``.

    Warns
    -----
    ConvergenceWarning
        When the tolerance was not reached, with the reason.

    Notes
    -----
    The derivatives of polar factors and square roots are solutions of such equations, for the same schedule.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> A, C = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([[0.0, 1.0], [2.0, 3.0]])
    >>> X = rv.solve_lyapunov(A, C, rtol=1e-12).x
    >>> np.allclose(A @ X + X @ A, C)
    True
    """
    return solve_matrix(BlockSign(schedule, lower, scaling, products), LyapunovProblem, C, A, **common)
