"""Least squares, checked once, in units in which nothing can overflow, and certified from A, b and x alone."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from ...backends import Backend, choose_backend
from ...errors import InputError
from ...operators import Operator
from ...operators.facts import no_facts
from ...precision import times_power_of_two, working_dtype
from ..driver.problem import Delivered, Vector, Words, first_bad, given_vector
from ..driver.solution import Solution
from ..driver.status import Cause, Ending, Status
from ..driver.stopping import Options
from ..linear.system import check_entries
from ..linear.units import Units, exponent_of
from .right import RightPreconditioner, right_preconditioner
from .solution import LeastSquaresSolution, attainable

__all__ = ["Certificate", "LeastSquares"]

PRODUCTS = "products with A and A^H"
VALUES = "singular values"
GRADIENT = Words("||A^H (b - A x)||", "||A|| ||b - A x||", PRODUCTS, spectrum=VALUES)
DAMPED = Words("||A^H (b - A x) - damp^2 x||", "||(A, damp)|| ||(b - A x, damp x)||", PRODUCTS, spectrum=VALUES)
CONSISTENT = Words("||b - A x||", "||A|| ||x|| + ||b||", PRODUCTS, spectrum=VALUES)


class Certificate(NamedTuple):
    """What was found of one x, in internal units.

    Attributes
    ----------
    measure : float
        The smaller of the two backward errors, weighed by atol and btol.
    consistent : bool
        It is that of a consistent system.
    normr, normar, normx : float
        ||b - A x|| with damping below it, the norm of the gradient, ||x||.
    """

    measure: float
    consistent: bool
    normr: float
    normar: float
    normx: float


class LeastSquares(Units):
    """min ||b - A x||^2 + damp^2 ||x - x0||^2 on one backend.

    With A' = [A; damp I], r' = [b - A x; -damp (x - x0)] and tau = max(atol, btol) it is solved when

        ||A'^H r'|| <= atol ||A'|| ||r'||    or    ||r'|| <= btol ||b|| + atol ||A'|| ||x||,

    Paige and Saunders' tests, both of r' and A'^H r' recomputed from x in more than the precision of the data where the
    backend can. Of ||A'|| the largest lower bound that was met is taken, so that neither is passed lightly. What the
    driver sees is the smaller of both quotients, and tau.

    Parameters
    ----------
    A : anything that ``as_operator`` or its sister in another backend takes, (m, n)
        One that only multiplies needs products with A^H: ``rmatvec``.
    b : array_like of shape (m,) or (m, 1)
    damp : float
    x0 : array_like of shape (n,) or (n, 1), optional
        Where the iteration begins, and what damping draws x to; zero when absent. Of an A that lacks rank, the solution
        nearest to x0 is found. Never written to.
    M : optional
        See ``right_preconditioner``.
    atol, btol : float
    backend, precision :
        As in ``LinearSystem``.

    Attributes
    ----------
    operator, adjoint : Operator
        2**-matrix_exponent A and its conjugate transpose, in the precision of the iteration.
    rhs : vector
        2**-exponent b, likewise.
    truth, true_adjoint, true_rhs : Operator, Operator, vector
        The same in the precision of the data.
    m, n, local : int
        Rows, columns, and how many of the columns lie in this process.
    operator_norm : float
        ||A'|| from below.
    base : vector or None
        x = base + M y for the y that a method iterates on.
    found : Certificate or None
        The last one.
    matvecs : int
        Products with A and with A^H so far.

    Raises
    ------
    InputError
        For shapes that do not fit, NaN or infinite entries, tolerances and damping out of range.
    BackendError
        For arrays of different libraries.
    """

    solution_kind = LeastSquaresSolution
    reference = 1.0

    def __init__(
        self,
        A: Any,
        b: Any,
        *,
        damp: Any = 0.0,
        x0: Any = None,
        M: Any = None,
        atol: float = 1e-6,
        btol: float = 1e-6,
        backend: str | Backend | None = None,
        precision: Any = None,
    ) -> None:
        self.atol, self.btol = (_tolerance(value, name) for value, name in ((atol, "atol"), (btol, "btol")))
        self.backend = choose_backend(backend, A, b, x0)
        given = self.backend.operator(A, square=False)
        self.m, self.n = given.shape
        vector = given_vector(self.backend, b, "b", self.m, "as many entries as A has rows")
        guess = None if x0 is None else given_vector(self.backend, x0, "x0", self.n, "as many entries as A has columns")
        dtypes = [given.dtype, self.backend.numpy_dtype(vector)]
        if guess is not None:
            dtypes.append(self.backend.numpy_dtype(guess))
        self._set_precision(working_dtype(*dtypes), precision)
        self.column = getattr(b, "ndim", 1) == 2
        self.local, self.local_rows = (self.backend.local_length(size) for size in (self.n, self.m))
        self.matvecs, self.prepared = 0, False
        self._set_matrix(given.astype(self.true_dtype), _damping(damp))
        self._set_rhs(vector, guess)
        self.M: RightPreconditioner | None = right_preconditioner(M, self)
        self.base: Vector | None = None
        self._place: Vector | None = None
        self._through: Vector | None = None
        self.found: Certificate | None = None
        self.gradient: Vector | None = None

    def _set_matrix(self, operator: Operator, damp: float) -> None:
        """A and its adjoint in both precisions, in units in which its entries and damp are of size one at most."""
        exact = self.backend.exact
        self.explicit, self.matrix_exponent, largest = operator.explicit, 0, 0.0
        if self.explicit and min(operator.shape):
            largest = exact.max_abs(exact.reshape(operator.values, (-1,)))
            check_entries(operator, no_facts(largest))
            self._check_range("A", largest)
        size = max(largest, damp)
        if self.scaled and abs(exponent_of(size)) > self.comfortable_exponent:
            self._take_out(exponent_of(size) if not largest else self._lossless(operator, exponent_of(size)))
            operator = operator.rescaled(-self.matrix_exponent)
        self.largest = times_power_of_two(largest, -self.matrix_exponent)
        self.damp = times_power_of_two(damp, -self.matrix_exponent)
        self.given_damp, self.operator_norm = damp, math.hypot(self.largest, self.damp)
        self._set_operators(operator)

    def _take_out(self, exponent: int) -> None:
        self.matrix_exponent = exponent

    def _set_operators(self, operator: Operator) -> None:
        exact = self.backend.exact
        hermitian = False
        if operator.explicit and operator.kind != "dense" and self.m == self.n > 0:
            facts = exact.facts(operator)
            hermitian = facts is not None and facts.asymmetry == 0
        self.truth, self.true_adjoint = operator, operator if hermitian else operator.adjoint()
        self.operator, self.adjoint = self.truth, self.true_adjoint
        if self.two_precisions:
            self.operator = self.backend.store(operator, self.dtype)
            self.adjoint = self.operator if hermitian else self.operator.adjoint()

    def _set_rhs(self, vector: Any, guess: Any) -> None:
        """b and x0, in units in which the entries of b, or those of A x0, are of size one."""
        exact = self.backend.exact
        self.true_rhs = exact.copy(vector, self.true_dtype)
        largest = exact.max_abs(self.true_rhs)
        if not math.isfinite(largest):
            raise InputError(f"b: entry {first_bad(self.backend, vector)} is not finite")
        self.guess = None if guess is None else exact.copy(guess, self.true_dtype)
        exponent = exponent_of(largest)
        if self.guess is not None:
            size = exact.max_abs(self.guess)
            if not math.isfinite(size):
                raise InputError(f"x0: entry {first_bad(self.backend, guess)} is not finite")
            image = exponent_of(size) + exponent_of(max(self.largest, self.damp)) + self.matrix_exponent
            if size and self.explicit:
                exponent = max(exponent, image) if largest else image
        self.zero_rhs = largest == 0
        self.exponent_of_rhs = exponent - self.rhs_level if self.scaled else 0
        self._check_range("b", largest)
        self.true_rhs = exact.ldexp(self.true_rhs, -self.exponent_of_rhs)
        self.rhs_norm = exact.norm(self.true_rhs)
        self.rhs = self.backend.copy(self.true_rhs, self.dtype) if self.two_precisions else self.true_rhs
        if self.guess is not None:
            self.guess = exact.ldexp(self.guess, self.matrix_exponent - self.exponent_of_rhs)

    # What the driver asks for.

    @property
    def words(self) -> Words:  # type: ignore[override]
        """Of the test that the last iterate is nearer to passing."""
        if self.found is not None and self.found.consistent:
            return CONSISTENT
        return DAMPED if self.damp else GRADIENT

    @property
    def tolerance(self) -> float:
        """max(atol, btol)."""
        return max(self.atol, self.btol)

    def target(self, options: Options) -> float:
        return self.tolerance

    def settled(self, target: float = 0.0) -> Ending | None:
        if self.m == 0 or self.n == 0:
            return Ending(Status.CONVERGED, "The problem is empty.")
        if self.zero_rhs and self.guess is None:
            return Ending(Status.CONVERGED, "b is zero, so x = 0 is exact.")
        return None

    @property
    def repeatable(self) -> bool:  # type: ignore[override]
        return self.explicit

    @property
    def coarse(self) -> bool:  # type: ignore[override]
        return self.emulated is not None

    @property
    def work(self) -> int:
        return 2 * self.operator.entries + 10 * self.n + 4 * self.m

    def prepare(self) -> None:
        """Of an A that only multiplies, units are found by a product, and whether its two products belong together."""
        if self.prepared or self.explicit:
            return
        self.prepared = True
        probe = self.backend.matvec(self.adjoint, self.rhs, self.columns())
        self.matvecs += 1
        size = self.backend.max_abs(probe)
        if not math.isfinite(size):
            raise self.range_left("A product with A^H was not finite: the operator returned NaN or infinity.")
        self._check_adjoint(self.backend.ldexp(probe, -exponent_of(size)), exponent_of(size))
        exponent = exponent_of(max(size, self.damp))
        if self.scaled and abs(exponent) > self.comfortable_exponent:
            exact = self.backend.exact
            self._take_out(exponent)
            self._set_operators(self.truth.rescaled(-exponent))
            self.damp = self.operator_norm = times_power_of_two(self.given_damp, -exponent)
            if self.guess is not None:
                self.guess = exact.ldexp(self.guess, exponent)

    def _check_adjoint(self, probe: Vector, exponent: int) -> None:
        """b^H A p has to be ||A^H b||^2 for p = A^H b, of which ``probe`` is 2**-exponent."""
        if self.two_precisions:
            return  # whose products are rounded
        image = self.backend.matvec(self.operator, probe, self.rows())
        self.matvecs += 1
        found, size = self.backend.dot(self.rhs, image), self.backend.norm(image)
        wanted = times_power_of_two(self.backend.norm(probe) ** 2, exponent)
        if abs(found - wanted) > math.sqrt(self.unit_roundoff) * self.rhs_norm * size:
            raise InputError(
                f"A: its products contradict each other: b^H (A p) is {found:.6g} for p = A^H b, but p^H p is "
                f"{wanted:.6g}, in internal units; wanted an rmatvec that is the adjoint of matvec"
            )

    def initial(self) -> tuple[Vector, Vector, float]:
        """The first iterate, its residual b - A x, and what of the tolerance it misses; new vectors."""
        if self.guess is None:
            return self.columns(), self.backend.copy(self.rhs), 1.0
        x = self.backend.copy(self.guess, self.dtype)
        return x, *self.certify(x, self.rows())

    def first_guess(self) -> tuple[Vector, Vector, float]:
        x, r, _ = self.initial()
        if self.settled() is not None:
            size = self.backend.exact.norm(x)
            self.found = Certificate(0.0, True, 0.0 if self.zero_rhs else self.rhs_norm, 0.0, size)
            return x, r, 0.0
        return x, *self.certify(x, r)

    def residual_norm(self, x: Vector, out: Vector) -> tuple[Vector, float]:
        return self.certify(x, out)

    def certify(self, x: Vector, out: Vector) -> tuple[Vector, float]:
        """b - A x in place of out, and the smaller of the two backward errors; the gradient is left in ``gradient``."""
        exact, self.matvecs = self.backend.exact, self.matvecs + 2
        wide = exact.copy(x, self.true_dtype) if self.two_precisions else x
        r = exact.zeros(self.local_rows, self.true_dtype) if self.two_precisions else out
        r, normr = exact.certify(self.truth, wide, self.true_rhs, r)
        normr = self.size(r, normr)
        damping = exact.zeros(self.local, self.true_dtype)
        if self.damp:
            damping = exact.axpy(self.damp, wide, damping)
            if self.guess is not None:
                damping = exact.axpy(-self.damp, self.guess, damping)
            normr = math.hypot(normr, self.size(damping, exact.norm(damping)))
            damping = exact.axpby(0.0, wide, self.damp, damping)
        if self.gradient is None:
            self.gradient = exact.zeros(self.local, self.true_dtype)
        self.gradient, normar = exact.certify(self.true_adjoint, r, damping, self.gradient)
        normar = self.size(self.gradient, normar)
        if normr > 0:
            self.norm_at_least(normar / normr)
        self.found = self.certificate(normr, normar, self.size(wide, exact.norm(wide)))
        out = self.backend.assign(self.backend.copy(r, self.dtype), out) if self.two_precisions else r
        return out, self.found.measure

    def certificate(self, normr: float, normar: float, normx: float) -> Certificate:
        """The two tests with these norms."""
        tau = self.tolerance
        by_matrix, by_rhs = (self.atol / tau, self.btol / tau) if tau else (1.0, 1.0)
        if not (math.isfinite(normr) and math.isfinite(normar)):
            return Certificate(math.nan, False, normr, normar, normx)
        if self._vanishes(normx):
            return Certificate(0.0, True, 0.0, 0.0, 0.0)
        weighed = by_matrix * self.operator_norm
        own = 0.0 if normar == 0 else normar / (weighed * normr) if weighed * normr > 0 else math.inf
        data = by_rhs * self.rhs_norm + weighed * normx
        small = 0.0 if normr == 0 else normr / data if data > 0 else math.inf
        return Certificate(min(own, small), small <= own, normr, normar, normx)

    def _vanishes(self, normx: float) -> bool:
        """All that is left of x0 is its rounding, and b is zero: x = 0 is exact, and no farther from what was found."""
        if not self.zero_rhs or self.damp or self.guess is None:
            return False
        return normx <= 100 * self.unit_roundoff * self.backend.exact.norm(self.guess)

    def norm_at_least(self, value: float) -> None:
        """A' was seen to have at least this norm, up to rounding."""
        if math.isfinite(value):
            self.operator_norm = max(self.operator_norm, (1 - 4 * self.unit_roundoff) * value)

    def rounding_floor(self, x: Vector) -> float:
        found = self.found
        if found is None:
            return self.unit_roundoff
        image = self.operator_norm * self.backend.exact.norm(x)
        return attainable(self.unit_roundoff, image, found.normr, image + self.rhs_norm)

    def not_finite(self, first: bool) -> Ending:
        blame = "A product with A, A^H or M was not finite: the operator returned NaN or infinity."
        if self.explicit and self.M is None and not self.two_precisions:
            blame = "The iterates are no longer finite."
        return self.range_left(blame).ending

    # What the methods use.

    def columns(self) -> Vector:
        """A new vector of n zeros."""
        return self.backend.zeros(self.local, self.dtype)

    def rows(self) -> Vector:
        """A new vector of m zeros."""
        return self.backend.zeros(self.local_rows, self.dtype)

    def point(self, y: Vector) -> Vector:
        """x = base + M y; y itself where that is the same, otherwise a vector that the next call overwrites."""
        if self.M is None and self.base is None:
            return y
        if self._place is None:
            self._place = self.columns()
        place = self.backend.assign(y, self._place) if self.M is None else self.M.apply(y, self._place)
        self._place = place if self.base is None else self.backend.axpy(1.0, self.base, place)
        return self._place

    def begin_at(self, x: Vector) -> Vector:
        """Make x, which is copied, the point that y = 0 stands for; returns the part of r' that damping adds, or None.

        Damping adds nothing where x is x0, and so it is at first: what is added is then zero.
        """
        self.base = self.backend.copy(x)
        return self.damping_residual(x) if self.damp else None

    def damping_residual(self, x: Vector) -> Vector:
        """-damp (x - x0), a new vector."""
        tail = self.backend.axpy(-self.damp, x, self.columns())
        if self.guess is not None:
            tail = self.backend.axpy(self.damp, self.backend.copy(self.guess, self.dtype), tail)
        return tail

    def start_anew(self) -> None:
        """Forget where an earlier solve came to."""
        self.base = self.found = None

    @property
    def on_host(self) -> bool:
        """Whether the entries are at hand in NumPy arrays."""
        return self.explicit and self.truth.library == "numpy"

    def forward(self, a: float, y: Vector, b: float, u: Vector, tail: Vector) -> tuple[Vector, Vector, float]:
        """a A' M y + b [u; tail], in place of u and tail, and its norm."""
        self.matvecs += 1
        backend = self.backend
        if self.M is not None:
            self._through = self.M.apply(y, self._scratch())
            y = self._through
        u, norm = backend.product_update(self.operator, a, y, b, u)
        if tail is not None:
            tail = backend.axpby(a * self.damp, y, b, tail)
            norm = math.hypot(norm, backend.norm(tail))
        return u, tail, norm

    def backward(self, a: float, u: Vector, tail: Vector, b: float, y: Vector) -> tuple[Vector, float]:
        """a M^H A'^H [u; tail] + b y, in place of y, and its norm."""
        self.matvecs += 1
        backend = self.backend
        if self.M is None:
            return backend.product_update(self.adjoint, a, u, b, y, a * self.damp, tail)
        x = backend.matvec(self.adjoint, u, self.columns())
        if tail is not None:
            x = backend.axpy(self.damp, tail, x)
        y = backend.axpby(a, self.M.apply_adjoint(x, self._scratch()), b, y)
        return y, backend.norm(y)

    def preconditioned_gradient(self) -> float:
        """||M^H A'^H r'|| of the last certificate."""
        gradient = self.backend.copy(self.gradient, self.dtype)
        assert self.M is not None
        return self.backend.norm(self.M.apply_adjoint(gradient, self._scratch()))

    def _scratch(self) -> Vector:
        if self._through is None:
            self._through = self.columns()
        return self._through

    # Back to the caller's units.

    def unscaled(self, x: Any, fresh: bool = True) -> Any:
        exact = self.backend.exact
        x = exact.copy(x, self.true_dtype) if fresh or self.two_precisions else x
        x = exact.ldexp(x, self.exponent_of_rhs - self.matrix_exponent)
        return exact.returned(exact.reshape(x, (-1, 1)) if self.column else x)

    def deliver(
        self, x: Vector, work: Vector, residual: float, ending: Ending, target: float, evidence: Any
    ) -> Delivered:
        exact = self.backend.exact
        if self.found is None or self.found.measure != residual:
            work, residual = self.certify(x, work)
        assert self.found is not None
        if self._vanishes(self.found.normx):
            x = self.columns()
        shift = self.exponent_of_rhs - self.matrix_exponent
        lossy = shift != 0 and self._leaves_range(exact.norm(x), shift)
        result = self.unscaled(x, fresh=False)
        if lossy and self.settled() is None:
            again = exact.copy(exact.reshape(exact.vector(result, "x"), (-1,)))
            _, residual = self.certify(self.backend.copy(exact.ldexp(again, -shift), self.dtype), work)
            if not residual <= target:
                ending = Ending(Status.OVERFLOW, cause=Cause.RANGE)
        found = self.found
        fields = {
            "consistent": found.consistent,
            "normr": times_power_of_two(found.normr, self.exponent_of_rhs),
            "normar": times_power_of_two(found.normar, self.exponent_of_rhs + self.matrix_exponent),
            "norma": times_power_of_two(self.operator_norm, self.matrix_exponent),
            "normx": times_power_of_two(found.normx, shift),
            "normb": times_power_of_two(self.rhs_norm, self.exponent_of_rhs),
            "damp": self.given_damp,
            "spectral_exponent": self.matrix_exponent,
            "preconditioned": self.M is not None,
        }
        return Delivered(result, residual if residual == residual else math.inf, ending, fields)

    def verdict(self, solution: Solution, ending: Ending) -> Ending:
        """Which test is told of, unweighed; and what of a solve that stood still is the rounding of x."""
        self._tell(solution)
        if ending.status in _UNDECIDED and solution.relative_residual <= solution.tolerance:
            return Ending(Status.CONVERGED)  # of the best iterate, where another one was looked at
        if ending.status is not Status.STAGNATED or ending.reason:
            return ending
        reached, floor = solution.relative_residual, solution.attainable_residual
        if not reached <= 100 * floor:
            return ending
        return ending._replace(
            reason=f"{self.precision_name} can do no better: {self.words.residual} stopped at {reached:.2e} of "
            f"{self.words.reference}, {reached / floor:.1f} times what rounding x alone may leave, short of the "
            f"{solution.tolerance:.2e} asked for. {self.advice(solution)}"
        )

    def _tell(self, solution: Any) -> None:
        """The quotient of the test that x is nearer to passing, and what is asked of that."""
        if not solution.consistent:
            own = solution.normar / (solution.norma * solution.normr) if solution.normar else 0.0
            solution.relative_residual, solution.tolerance = own, self.atol
        elif self.atol != self.btol:
            image = solution.norma * solution.normx
            data = image + solution.normb
            solution.relative_residual = solution.normr / data if data else 0.0
            solution.tolerance = (self.atol * image + self.btol * solution.normb) / data if data else self.btol

    def advice(self, solution: Solution) -> str:
        if solution.status is Status.OVERFLOW:
            return "Rescale A or b."
        if solution.status is Status.STAGNATED:
            if self.emulated is not None or self.dtype in (np.dtype(np.float32), np.dtype(np.complex64)):
                return "Take a wider precision, or ask for less."
            return "Ask for less, or precondition."
        return 'Raise maxiter, scale the columns (M="jacobi"), damp, or let rv.lstsq choose.'


_UNDECIDED = (Status.STAGNATED, Status.MAX_ITERATIONS, Status.BREAKDOWN)


def _tolerance(value: Any, name: str) -> float:
    if value is None:
        return 1e-6  # as SciPy takes it
    if not (isinstance(value, Real) and 0 <= float(value) < 1):
        raise InputError(f"{name}: found {value!r}; wanted a number in [0, 1)")
    return float(value)


def _damping(damp: Any) -> float:
    if damp is None:
        return 0.0
    if not (isinstance(damp, Real) and 0 <= float(damp) < math.inf):
        raise InputError(f"damp: found {damp!r}; wanted a finite number of at least 0")
    return float(damp)
