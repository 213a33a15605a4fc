"""A linear system, checked once, in units in which nothing can overflow.

Internally the right-hand side is divided by a power of two so that its largest entry lies in [1, 2), and A likewise
where its entries are so large or small that products with it could leave the range. Powers of two change no digit, so
the iterates are the same bits in any units; the solution is multiplied back at the end.

Two copies of the system are kept where it is iterated on in another precision than it was given in: that of the
iteration, and the truth, to which every certificate refers.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ...backends import Backend, choose_backend
from ...errors import InputError
from ...operators import Facts, Operator
from ...precision import precision_facts, working_dtype
from ..driver.problem import Delivered, Vector, first_bad, given_vector
from ..driver.solution import LINEAR, Solution
from ..driver.status import Breakdown, Cause, Ending, Status
from ..driver.stopping import Options
from ..preconditioners.base import BoundPreconditioner, Preconditioner, guarded
from ..preconditioners.given import as_preconditioner
from .measure import looks_hermitian
from .units import Units, exponent_of

if TYPE_CHECKING:
    from ..driver.loops import Loops

__all__ = ["LinearSystem", "check_entries"]


class LinearSystem(Units):
    """A x = b on one backend.

    Parameters
    ----------
    A : anything that ``as_operator`` or its sister in another backend takes, (n, n)
    b : array_like of shape (n,) or (n, 1)
    x0 : array_like like b, optional
        First guess; zero when absent, or when A x0 is so large that rounding it leaves more than b. Never written to.
    M : preconditioner, optional
        Approximates the inverse of A: a name of ``PRECONDITIONERS``, a ``Preconditioner``, a matrix, a LinearOperator,
        a callable or factors of SuperLU. Kept as given.
    backend : str or Backend, optional
        By default "numba" for NumPy arrays, otherwise the library of the arrays.
    precision : str, Format or Precision, optional
        To iterate in; by default that of the data.

    Attributes
    ----------
    operator : Operator
        2**-matrix_exponent A, in the precision of the iteration.
    rhs : vector
        2**-exponent b, a copy, likewise.
    truth, true_rhs : Operator, vector
        The same in the precision of the data, or that of the iteration if it is the wider one.
    reference : float
        Norm of ``true_rhs``, which relative residuals refer to.
    dtype, true_dtype : dtype
        Of the iterates, of the truth.
    unit_roundoff : float
        Of the iteration: that of the format, where one is emulated.
    facts : Facts or None
        What the entries of ``operator`` tell.
    matrix_norm : float
        ||A|| from below, 0 where nothing is known of it.
    n, local : int
        Unknowns, and how many of them lie in this process.
    matvecs : int
        Products with A so far.
    least_squares : bool
        A least-squares solution is wanted where no solution exists.
    kept : dict
        What was found of A for one right-hand side and serves others: factors, say.

    Raises
    ------
    InputError
        For shapes that do not fit, NaN or infinite entries, an empty right-hand side for a nonempty matrix.
    BackendError
        For arrays of different libraries.
    """

    words = LINEAR

    def __init__(
        self,
        A: Any,
        b: Any,
        *,
        x0: Any = None,
        M: Any = None,
        backend: str | Backend | None = None,
        precision: Any = None,
    ) -> None:
        self.backend = choose_backend(backend, A, b, x0, M=M)
        given = self.backend.operator(A)
        n = given.shape[0]
        vector = given_vector(self.backend, b, "b", n, "the size of A")
        guess = None if x0 is None else given_vector(self.backend, x0, "x0", n, "the size of A")
        dtypes = [given.dtype, self.backend.numpy_dtype(vector)]
        if guess is not None:
            dtypes.append(self.backend.numpy_dtype(guess))
        self._set_precision(working_dtype(*dtypes), precision)
        self.column = getattr(b, "ndim", 1) == 2
        self.n, self.matvecs, self.prepared = n, 0, False
        self.least_squares = False
        self.kept: dict[str, Any] = {}
        self.local = self.backend.local_length(n)

        operator = given.astype(self.true_dtype)
        known = self.backend.facts(operator) if n else None
        self.matrix_exponent = 0
        if known is not None:
            check_entries(operator, known)
            exponent = exponent_of(known.max_abs)
            if self.scaled and abs(exponent) > self.comfortable_exponent:
                self.matrix_exponent = self._lossless(operator, exponent)
                operator = operator.rescaled(-self.matrix_exponent)
                known = self.backend.facts(operator)
        if known is not None:
            self._check_range("A", known.max_abs)
        self.facts: Facts | None = known
        self.matrix_norm = known.row_norm if known is not None else 0.0
        self.truth: Operator = operator
        self.operator: Operator = self.backend.store(operator, self.dtype) if self.two_precisions else operator

        self._set_rhs(vector, guess)
        self.M = M
        self.preconditioner: BoundPreconditioner | None
        self.preconditioner_exponent: int | None
        if M is None:
            self.use_preconditioner(None)
        else:
            self._bind(as_preconditioner(M, self.backend, n, given))

    def _bind(self, M: Preconditioner) -> None:
        """Precondition with M; in another precision than its own, in units in which its entries are of size one."""
        exponent = 0
        if self.two_precisions and self.scaled and self.n:
            operator = getattr(M, "operator", None)
            known = None if operator is None else self.backend.facts(operator)
            if known is not None and known.max_abs:
                M, exponent = M.rescaled(exponent_of(known.max_abs))
        self.use_preconditioner(M.bind(self.backend, self.dtype), exponent)

    def again(self, b: Any, x0: Any) -> LinearSystem:
        """The system with another right-hand side and first guess, checked as the first ones were.

        All that was done to A and M is shared; the types of b and x0 must not call for a wider one.
        """
        other = copy.copy(self)
        other.matvecs, other.column = 0, getattr(b, "ndim", 1) == 2
        vector = given_vector(self.backend, b, "b", self.n, "the size of A")
        other._set_rhs(vector, None if x0 is None else given_vector(self.backend, x0, "x0", self.n, "the size of A"))
        return other

    def with_rhs(self, b: Any) -> LinearSystem:
        """The system with another right-hand side, (n,), and zero as first guess; all that was done to A is shared."""
        other = copy.copy(self)
        other.matvecs = 0
        other._set_rhs(b, None)
        return other

    def _set_rhs(self, vector: Any, guess: Any) -> None:
        """Both copies of the right-hand side, in units in which its entries, or those of A x0, are of size one."""
        exact = self.backend.exact
        self.true_rhs = exact.copy(vector, self.true_dtype)
        largest = exact.max_abs(self.true_rhs)
        if not math.isfinite(largest):
            raise InputError(f"b: entry {first_bad(self.backend, vector)} is not finite")
        self.zero_rhs = largest == 0
        exponent = exponent_of(largest)
        if guess is not None:
            size = exact.max_abs(exact.copy(guess, self.true_dtype))
            if not math.isfinite(size):
                raise InputError(f"x0: entry {first_bad(self.backend, guess)} is not finite")
            if size == 0:
                guess = None  # whose residual is known without a product
            # Of an A that only multiplies, the size shows with its first products: see prepare and initial.
            scale = None if self.facts is None else exponent_of(self.facts.max_abs) + self.matrix_exponent
            excess = exponent_of(size) + scale - exponent if guess is not None and scale is not None else 0
            if excess > -math.log2(self.unit_roundoff):
                guess = None  # rounding A x0 alone leaves more than b: zero is the better guess
            elif excess > 0:
                exponent += excess
        self.exponent = exponent - self.rhs_level if self.scaled else 0
        self._check_range("b", largest)
        self.true_rhs = exact.ldexp(self.true_rhs, -self.exponent)
        self.reference = exact.norm(self.true_rhs)
        self.rhs = self.backend.copy(self.true_rhs, self.dtype) if self.two_precisions else self.true_rhs
        self.guess = guess

    # What the driver asks for.

    def settled(self, target: float = 0.0) -> Ending | None:
        if self.n == 0:
            return Ending(Status.CONVERGED, "The system is empty.")
        if self.zero_rhs:
            self.guess = None
            return Ending(Status.CONVERGED, "b is zero, so x = 0 is exact.")
        facts = self.facts
        if facts is not None and facts.empty_row >= 0 and not self.least_squares:
            row = facts.empty_row
            if abs(complex(self.true_rhs[row])) > target:  # which is then the residual of every x, at least
                return Ending(
                    Status.INFEASIBLE,
                    f"A is singular: row {row} has no nonzero, but b[{row}] is not zero, so no solution exists. Remove "
                    "the row, or solve the least-squares problem.",
                    Cause.INCONSISTENT,
                )
        return None

    def target_at(self, x: Vector, target: float, options: Options) -> float:
        return max(target, options.backward_error * self.data_norm(x))

    @property
    def work(self) -> int:
        return self.operator.entries + 10 * self.n

    @property
    def repeatable(self) -> bool:  # type: ignore[override]
        return self.facts is not None

    @property
    def coarse(self) -> bool:  # type: ignore[override]
        return self.emulated is not None

    @property
    def storage(self) -> str:  # type: ignore[override]
        return self.operator.storage

    @property
    def preconditioner_kind(self) -> str:  # type: ignore[override]
        """ "none", "diagonal", "ssor" where it sweeps over this very A, or "other"."""
        if self.preconditioner is None:
            return "none"
        if self.preconditioner_exponent and self.preconditioner.kind == "diagonal":
            return "other"  # which the loop would have to scale
        return self.preconditioner.kind if self.preconditioner.matrix in (None, self.operator) else "other"

    @property
    def compiled(self) -> tuple[Any, Any]:
        arrays = self.backend.arrays(self.operator)
        return arrays, None if arrays is None else self.backend.loop_rounding(self.dtype)

    @property
    def loops(self) -> Loops:
        from ..compiled_loops import LOOPS

        return LOOPS

    def prepare(self) -> None:
        """Put A into the storage that this backend multiplies fastest, and into units found by a product if it must."""
        if self.n == 0 or self.prepared:
            return
        self.prepared = True
        rounded_from = self.operator.rounded_from
        self.operator = self.backend.prepare(self.operator, self.facts)
        self.operator.rounded_from = rounded_from
        if not self.two_precisions:
            self.truth = self.operator
        if self.facts is None and self.scaled:
            size = self.backend.max_abs(self.matvec(self.rhs, self.vector()))
            if not math.isfinite(size):
                raise Breakdown(
                    "A product with A was not finite: the operator returned NaN or infinity.", Cause.NOT_FINITE
                )
            exponent = exponent_of(size)
            if abs(exponent) > self.comfortable_exponent:
                self.operator, self.matrix_exponent = self.operator.rescaled(-exponent), exponent
                self.truth = self.truth.rescaled(-exponent) if self.two_precisions else self.operator

    def negate(self) -> None:
        """Solve -A x = -b instead, which has the same solution."""
        exact = self.backend.exact
        self.operator, self.truth = self.operator.negated(), self.truth.negated()
        self.facts, self.kept = self.backend.facts(self.truth), {}
        self.true_rhs = exact.axpby(0.0, self.true_rhs, -1.0, self.true_rhs)
        self.rhs = self.backend.copy(self.true_rhs, self.dtype) if self.two_precisions else self.true_rhs

    # What the methods use.

    @property
    def hermitian(self) -> bool | None:
        """A equals its conjugate transpose; None where the entries are not to be had."""
        return None if self.facts is None else self.facts.hermitian(precision_facts(self.data_dtype).unit_roundoff)

    @property
    def looks_hermitian(self) -> bool:
        """The same, measured with two products where A only multiplies: (A b, A b) is (A A b, b) if A is Hermitian."""
        if self.facts is not None or self.n == 0:
            return self.hermitian is not False
        if "looks_hermitian" not in self.kept:
            self.kept["looks_hermitian"] = looks_hermitian(self)
        return bool(self.kept["looks_hermitian"])

    @property
    def on_host(self) -> bool:
        """Whether the entries are at hand in NumPy arrays, in the precision of the data."""
        whole = self.facts is not None and self.local == self.n
        return whole and self.truth.library == "numpy" and not self.two_precisions

    @property
    def negative_diagonal(self) -> bool:
        """Every diagonal entry has a negative real part."""
        facts = self.facts
        if facts is None or facts.diagonal_positive or facts.empty_row >= 0 or facts.zero_diagonal >= 0:
            return False
        return bool(self.backend.to_numpy(self.operator.diagonal()).real.max() < 0)

    @property
    def diagonal_preconditions(self) -> bool:
        """There is a diagonal without a zero, and it varies."""
        return self.facts is not None and self.facts.zero_diagonal < 0 and self.diagonal_varies

    @property
    def diagonal_varies(self) -> bool:
        """The diagonal has more than one value, without which its inverse preconditions nothing."""
        diagonal = self.operator.diagonal()
        low, high = 1 / self.backend.max_abs(1 / diagonal), self.backend.max_abs(diagonal)
        return high > 1.01 * low

    def not_finite(self, first: bool) -> Ending:
        if first:
            return self.range_left(
                "The first residual is not finite: A, or x0 multiplied with it, gave NaN or infinity."
            ).ending
        if self.facts is None or self.emulated is not None:
            return self.range_left(
                "A product with A (or M) was not finite: the operator returned NaN or infinity."
            ).ending
        return Ending(Status.DIVERGED)

    @property
    def matrix_name(self) -> str:
        """What the iteration works with, in words."""
        return "A" if self.emulated is None else f"A, rounded to {self.precision_name},"

    def rounding_floor(self, x: Any) -> float:
        """u (||A|| ||x|| + ||b||): what rounding x alone leaves as a residual."""
        return self.unit_roundoff * self.data_norm(x)

    def data_norm(self, x: Any) -> float:
        """||A|| ||x|| + ||b||, which backward errors are relative to; ||A|| from below, nothing where it is unknown."""
        return self.matrix_norm * self.backend.exact.norm(x) + self.reference

    def initial(self) -> tuple[Any, Any, float]:
        """The first guess, its residual and the norm of that; new vectors."""
        if self.guess is None:
            norm = self.backend.norm(self.rhs) if self.two_precisions else self.reference
            return self.backend.zeros(self.local, self.dtype), self.backend.copy(self.rhs), norm
        exact = self.backend.exact
        x = exact.ldexp(exact.copy(self.guess, self.true_dtype), self.matrix_exponent - self.exponent)
        x = self.backend.copy(x, self.dtype) if self.two_precisions else x
        r, norm = self.certify(x, self.unset())
        if not norm <= self.reference / self.unit_roundoff:
            self.guess = None  # rounding A x0 alone leaves more than b: zero is the better guess
            return self.initial()
        return x, r, norm

    def first_guess(self) -> tuple[Vector, Vector, float]:
        if self.guess is None:
            return self.vector(), self.backend.copy(self.rhs), self.reference
        return self.initial()

    def vector(self) -> Any:
        """A new vector, zero."""
        return self.backend.zeros(self.local, self.dtype)

    def unset(self) -> Any:
        """A new vector, to be written to before it is read."""
        return self.backend.unset(self.local, self.dtype)

    def matvec(self, x: Any, out: Any) -> Any:
        """A x."""
        self.matvecs += 1
        return self.backend.matvec(self.operator, x, out)

    def matvec_dot(self, p: Any, q: Any) -> tuple[Any, float]:
        """A p and the real part of p^H A p."""
        self.matvecs += 1
        return self.backend.matvec_dot(self.operator, p, q)

    def residual(self, x: Any, out: Any) -> Any:
        """b - A x in working precision."""
        self.matvecs += 1
        return self.backend.residual(self.operator, x, self.rhs, out)

    def residual_norm(self, x: Any, out: Any) -> tuple[Any, float]:
        """``residual`` and its norm."""
        self.matvecs += 1
        return self.backend.residual_norm(self.operator, x, self.rhs, out)

    def certify(self, x: Any, out: Any) -> tuple[Any, float]:
        """b - A x of the truth, accumulated in more than its precision where the backend can, and its norm."""
        self.matvecs += 1
        if not self.two_precisions:
            return self.backend.certify(self.truth, x, self.true_rhs, out)
        exact = self.backend.exact
        residual = exact.zeros(self.local, self.true_dtype)
        residual, norm = exact.certify(self.truth, exact.copy(x, self.true_dtype), self.true_rhs, residual)
        return self.backend.assign(self.backend.copy(residual, self.dtype), out), norm

    def precondition(self, r: Any, out: Any) -> Any:
        """M r, or r itself without a preconditioner.

        The result is scaled by the power of two that makes the first one of size one: no method depends on the scale
        of M, and inner products with it could otherwise leave the range. Half of that power is put on r beforehand,
        so that M r does not leave it either.
        """
        if self.preconditioner is None:
            return r
        exponent = self.preconditioner_exponent
        if exponent is None:
            out = self.preconditioner.apply(r, out)
            largest = self.backend.max_abs(out)
            if not math.isfinite(largest):
                raise self.range_left("M returned NaN or infinity for a finite residual; check the preconditioner.")
            if largest == 0 and self.two_precisions and self.backend.max_abs(r) > 0:
                raise Breakdown(
                    f"M r lies below the range of {self.precision_name}: pass M as a matrix or by rv.precondition, "
                    "which are scaled, or in other units.",
                    Cause.RANGE,
                    Status.OVERFLOW,
                )
            exponent = 0 if self.comfortable(largest) else exponent_of(largest)
            self.preconditioner_exponent = exponent
            if not exponent:
                return out
            scaled = self.preconditioner.rescaled(-exponent)
            if scaled is not None:
                self.use_preconditioner(scaled, self.preconditioner_units - exponent)
                self.preconditioner_exponent = exponent = 0
        if not exponent:
            return self.preconditioner.apply(r, out)
        half = exponent // 2
        r = self.backend.ldexp(r, -half)
        out = self.preconditioner.apply(r, out)
        self.backend.ldexp(r, half)
        return self.backend.ldexp(out, half - exponent)

    def use_preconditioner(self, bound: BoundPreconditioner | None, exponent: int = 0) -> None:
        """Precondition with ``bound``, which is 2**exponent times what the caller would call M."""
        self.preconditioner = None if bound is None else guarded(bound, self.backend, self.rhs)
        self.preconditioner_units = exponent
        self.preconditioner_exponent = None

    @property
    def spectral_exponent(self) -> int:
        """The spectrum of the caller's A (or M A) is 2**this times that of the system as it is iterated on."""
        own = 0 if self.preconditioner is None else (self.preconditioner_exponent or 0) - self.preconditioner_units
        return self.matrix_exponent + own

    # Back to the caller's units.

    def deliver(
        self, x: Vector, work: Vector, residual: float, ending: Ending, target: float, evidence: Any
    ) -> Delivered:
        exact = self.backend.exact
        size = exact.norm(x)
        shift = self.exponent - self.matrix_exponent
        residual = residual if residual == residual else math.inf
        lossy = shift != 0 and self._leaves_range(size, shift)
        result = self.unscaled(x, fresh=False)
        if lossy and ending.status is not Status.OVERFLOW:
            _, residual = self.certify(self.rescaled(result), work)
            residual = residual if residual == residual else math.inf
            if not residual <= target and (
                ending.status is Status.CONVERGED or not math.isfinite(exact.max_abs(exact.vector(result, "x")))
            ):
                ending = Ending(Status.OVERFLOW, cause=Cause.RANGE)
        fields = {
            "spectral_exponent": self.spectral_exponent,
            "norms": (residual, size, self.matrix_norm),
            "smallest_eigenvalue": self._smallest_eigenvalue(evidence),
            "preconditioned": self.preconditioner is not None,
        }
        return Delivered(result, residual, ending, fields)

    def _smallest_eigenvalue(self, evidence: Any) -> float:
        """A lower bound of the spectrum of a Hermitian A that does not rest on estimates."""
        if self.preconditioner is not None:
            return -math.inf
        given = float(evidence.interval[0]) if evidence is not None and evidence.given else -math.inf
        return max(given, self.facts.margin) if self.hermitian and self.facts is not None else given

    def verdict(self, solution: Solution, ending: Ending) -> Ending:
        """A residual that stood still, but not for want of digits, or that grew while the spectrum touches zero."""
        if self.emulated is not None or ending.status not in (Status.STAGNATED, Status.DIVERGED):
            return ending
        u, condition = solution.unit_roundoff, solution.condition
        stuck = ending.status is Status.STAGNATED and solution.backward_error > 1e6 * u
        grew = ending.status is Status.DIVERGED and condition is not None and condition > 1e-2 / u
        if not (stuck or grew):
            return ending
        known = f" (condition {solution.condition_sense} {condition:.1e})" if condition and condition > 0 else ""
        return Ending(
            Status.BREAKDOWN,
            f"The residual stands still at {solution.relative_residual:.2e} of ||b|| while x grows: A is singular or "
            f"nearly so{known}, and b has a part that it cannot reach. Regularise, or solve the least-squares problem.",
            Cause.SINGULAR,
        )

    def advice(self, solution: Solution) -> str:
        if solution.status is Status.OVERFLOW:
            return "Rescale A or b."
        if solution.status is not Status.STAGNATED:
            return "Raise maxiter, precondition (rv.precondition), or try another method."
        if self.emulated is not None and not self.scaled:
            return "It was asked not to be scaled; leave scale at auto, or take a wider format."
        if self.emulated is not None:
            return "Take a wider format, refine (rv.refine), or ask for less."
        if self.dtype in (np.dtype(np.float32), np.dtype(np.complex64)):
            return "Use float64, or ask for less."
        return "Ask for less, or precondition so that ||A|| ||x|| is nearer to ||b||."


def check_entries(operator: Operator, known: Facts) -> None:
    """Refuse entries that are not finite, naming the first."""
    if not math.isfinite(known.max_abs):
        matrix = operator.tocsr()
        at = int(np.flatnonzero(~np.isfinite(matrix.data))[0])
        row = int(np.searchsorted(matrix.indptr, at, side="right")) - 1
        value = matrix.data[at]
        raise InputError(f"A: entry ({row}, {int(matrix.indices[at])}) is {value}; wanted finite entries")
