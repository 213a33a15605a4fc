"""x = g(x), and what it shares with other equations: checked once, on the flat vectors of one backend."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from ...backends import Backend
from ...errors import InputError
from ...precision import precision_facts, times_power_of_two
from ..driver.problem import Delivered, Vector, Words
from ..driver.solution import Solution
from ..driver.status import Cause, Ending, Status
from ..linear.units import Units, exponent_of
from .structure import Structure

__all__ = ["WORDS", "EquationProblem", "FixedPointProblem"]

WORDS = Words(residual="||g(x) - x||", reference="max(||x0||, ||g(x0)||)", products="evaluations of g")
SUSPICIOUS = 1e-3  # a residual that falls by more than that below all that was seen or expected is looked at twice


class Evaluated(NamedTuple):
    """The point of the last evaluation.

    Attributes
    ----------
    x, residual : vector
    norm : float
    sudden : bool
        The residual fell as nothing had foretold.
    """

    x: Vector
    residual: Vector
    norm: float
    sudden: bool


class EquationProblem(Units):
    """An equation in the values of one function of the caller's, given a first guess.

    Subclasses say what its residual is, what that is relative to, and in which units it is iterated.

    Attributes
    ----------
    called, started_from : str
        What messages call the function and the first guess.
    function : callable
    guess : vector
        In internal units.
    matvecs : int
        Evaluations so far.
    """

    repeatable = False
    replayable = False
    called: ClassVar[str]
    started_from: ClassVar[str]

    def __init__(
        self, function: Callable[[Any], Any], x0: Any, *, backend: str | Backend | None = None, precision: Any = None
    ) -> None:
        if not callable(function):
            raise TypeError(f"{self.called}: found {type(function).__name__}; wanted a callable")
        self.structure = x0 if isinstance(x0, Structure) else Structure(x0, self.started_from, backend)
        self.backend = self.structure.backend
        self.function = self.backend.undifferentiated(function)
        self.n = self.local = self.structure.n
        self.matvecs, self.exponent, self.matrix_exponent = 0, 0, 0
        self._set_precision(self.structure.dtype, precision)
        exact = self.backend.exact
        self.guess = exact.copy(self.structure.values, self.true_dtype)
        size = exact.max_abs(self.guess)
        if not math.isfinite(size):
            found = "NaN" if size != size else "infinite"
            raise InputError(f"{self.started_from}: has {found} entries; wanted finite ones")
        self.last: Evaluated | None = None
        self.lowest = math.inf
        self.raised = ""
        self._reference: float | None = None

    # The first evaluation.

    @property
    def reference(self) -> float:  # type: ignore[override]
        """What residuals are relative to, in internal units; evaluated when it is first asked for."""
        if self._reference is None:
            self._evaluate_first()
        assert self._reference is not None
        return self._reference

    def _evaluate_first(self) -> None:
        exact = self.backend.exact
        value = exact.copy(self._value(self.guess), self.true_dtype)
        self.exponent, self.matrix_exponent = self._exponents(self.guess, value)
        self.guess = exact.ldexp(self.guess, -self.iterate_exponent)
        value = exact.ldexp(value, -self.exponent)
        self._reference = self._reference_of(self.guess, value)
        self.first_residual = self._residual(exact, value, self.guess, exact.zeros(self.n, self.true_dtype))
        self.first_norm = exact.norm(self.first_residual)
        if self.first_norm == self.first_norm:
            self.lowest = self.first_norm

    def known(self, reference: float, first_norm: float, evaluations: int) -> None:
        """What the first evaluation told, made by somebody else in the caller's units."""
        self._reference, self.first_norm, self.lowest, self.matvecs = reference, first_norm, first_norm, evaluations

    def begin_at(self, x: Any) -> None:
        """Take x, in the structure of x0, for the first guess; what residuals are relative to stays."""
        exact, _ = self.backend.exact, self.reference
        given = Structure(x, self.started_from, self.backend)
        self.guess = exact.ldexp(exact.copy(given.values, self.true_dtype), -self.iterate_exponent)
        value = self._scaled(self._value(self.guess))
        self.first_residual = self._residual(exact, value, self.guess, self.first_residual)
        self.first_norm = exact.norm(self.first_residual)

    @property
    def iterate_exponent(self) -> int:
        """An iterate in the caller's units is 2**this times the internal one."""
        return self.exponent - self.matrix_exponent

    @abstractmethod
    def _exponents(self, guess: Vector, value: Vector) -> tuple[int, int]:
        """Of the residual and of the function, by the first guess and the value there, in the caller's units."""

    @abstractmethod
    def _reference_of(self, guess: Vector, value: Vector) -> float:
        """What residuals are relative to."""

    @abstractmethod
    def _residual(self, backend: Backend, value: Vector, x: Vector, out: Vector) -> Vector:
        """That of x, in place of out, by the value there."""

    def _taken_out(self, size: float) -> int:
        """The exponent that is taken out: none where squares stay within the range."""
        if not math.isfinite(size) or not self.scaled:
            return 0
        if self.emulated is not None and self.emulated.narrow:
            return exponent_of(size) - self.rhs_level
        return 0 if self.comfortable(size) else exponent_of(size)

    def settled(self, target: float = 0.0) -> Ending | None:
        if not math.isfinite(self.reference):
            return self.not_finite(first=True)
        return None

    def initial(self) -> tuple[Vector, Vector, float]:
        if self._reference is None:
            self._evaluate_first()
        backend = self.backend
        if self.two_precisions:
            x = backend.copy(self.guess, self.dtype)
            return x, *self.residual_norm(x, self.vector())
        x, residual = backend.copy(self.guess), backend.copy(self.first_residual)
        self.last = Evaluated(x, residual, self.first_norm, False)
        return x, residual, self.first_norm

    def first_guess(self) -> tuple[Vector, Vector, float]:
        backend = self.backend
        x, residual = backend.copy(self.guess, self.dtype), backend.copy(self.first_residual, self.dtype)
        return x, residual, self.first_norm

    # Evaluations.

    def vector(self) -> Any:
        """A new vector, zero."""
        return self.backend.zeros(self.n, self.dtype)

    def residual_norm(self, x: Vector, out: Vector) -> tuple[Vector, float]:
        return self.evaluate(x, out)

    def evaluate(self, x: Vector, out: Vector, expected: float = math.inf) -> tuple[Vector, float]:
        """The residual of x, in place of out, and its norm, which is not finite where the function is not.

        Parameters
        ----------
        x : vector
            Not to be written to while it is the current iterate.
        out : vector
        expected : float
            The norm that earlier evaluations make one expect.
        """
        self.raised = ""
        try:
            value = self._value(x)
        except ArithmeticError as error:
            self.raised = f"{type(error).__name__}: {error}"
            return out, math.nan
        out = self._residual(self.backend, self._scaled(value), x, out)
        norm = self.backend.norm(out)
        self.last = Evaluated(x, out, norm, norm < SUSPICIOUS * min(expected, self.lowest))
        if norm == norm:
            self.lowest = min(self.lowest, norm)
        return out, norm

    def certify(self, x: Vector, out: Vector) -> tuple[Vector, float]:
        last = self.last
        if not self.two_precisions:
            if last is None or last.x is not x:
                return self.evaluate(x, out)
            if last.sudden:
                again, norm = self.evaluate(x, self.vector())
                self.last = Evaluated(x, again, max(norm, last.norm), False)
                last = self.last
            out = out if last.residual is out else self.backend.assign(last.residual, out)
            self.last = last._replace(residual=out)
            return out, last.norm
        exact = self.backend.exact
        wide = exact.copy(x, self.true_dtype)
        value = self._scaled(self._value(wide))
        residual = self._residual(exact, value, wide, exact.zeros(self.n, self.true_dtype))
        return self.backend.assign(self.backend.copy(residual, self.dtype), out), exact.norm(residual)

    def _value(self, x: Vector) -> Vector:
        """The function at x in the caller's units, possibly in memory of the caller's."""
        self.matvecs += 1
        exact = self.backend.exact
        if self.iterate_exponent:
            x = exact.ldexp(exact.copy(x), self.iterate_exponent)
        lent, flat = self.structure.lent(x)
        return self.structure.received(self.function(lent), flat, self.called)

    def _scaled(self, value: Vector) -> Vector:
        """The same in internal units."""
        if not self.exponent:
            return value
        exact = self.backend.exact
        return exact.ldexp(exact.copy(value), -self.exponent)

    def varies(self, x: Vector, residual: Vector, work: Vector) -> tuple[Vector, float]:
        """How far a second evaluation at x lies from the first, whose residual is given; ``work`` is overwritten."""
        first = self.last
        work, _ = self.evaluate(x, work)
        self.last = first  # which is what the method goes on from
        work = self.backend.axpy(-1.0, residual, work)
        return work, self.backend.norm(work)

    # What the driver asks for.

    @property
    def work(self) -> int:
        return 1 << 24  # an evaluation may cost anything, so that each is looked at

    @property
    def coarse(self) -> bool:  # type: ignore[override]
        return self.emulated is not None

    def not_finite(self, first: bool) -> Ending:
        if first:
            at = f"{self.called}({self.started_from})"
            return Ending(
                Status.DIVERGED, f"{at} is NaN or infinite: begin at another {self.started_from}.", Cause.NOT_FINITE
            )
        return Ending(Status.DIVERGED, cause=Cause.NOT_FINITE)

    def unscaled(self, x: Vector, fresh: bool = True) -> Any:
        exact = self.backend.exact
        x = exact.copy(x, self.true_dtype) if fresh or self.two_precisions else x
        return self.structure.outside(exact.ldexp(x, self.iterate_exponent))

    def deliver(
        self, x: Vector, work: Vector, residual: float, ending: Ending, target: float, evidence: Any
    ) -> Delivered:
        self.floor = self.rounding_floor(x)
        return Delivered(self.unscaled(x, fresh=False), residual if residual == residual else math.inf, ending)

    def verdict(self, solution: Solution, ending: Ending) -> Ending:
        """What stood still at the rounding of x can do no better."""
        if ending.status is not Status.STAGNATED or ending.reason or not self.floor:
            return ending
        units = times_power_of_two(solution.residual_norm, -self.exponent) / self.floor
        if units > 100:
            return ending
        return ending._replace(
            reason=f"{self.precision_name} can do no better: the residual stopped at {solution.relative_residual:.2e} "
            f"of {self.words.reference}, {units:.1f} times the rounding of x, short of the {solution.tolerance:.2e} "
            f"asked for. {self.advice(solution)}"
        )

    def advice(self, solution: Solution) -> str:
        if solution.status is Status.STAGNATED:
            wider = "Take a wider precision" if self.emulated is not None else f"Compute {self.called} in more digits"
            return f"{wider}, or ask for less."
        return self.go_on(solution)

    @abstractmethod
    def go_on(self, solution: Solution) -> str:
        """What to do about a solve that was too short."""


class FixedPointProblem(EquationProblem):
    """The x for which g(x) = x, given a first guess.

    Solved when ||g(x) - x|| <= max(rtol max(||x0||, ||g(x0)||), atol), in the 2-norm over all blocks. For x0 = 0 and
    g(x) = x + b - A x that is ||b - A x|| <= max(rtol ||b||, atol).

    Parameters
    ----------
    g : callable
        From x to g(x), in the structure, the shapes and the kind of numbers of x0. What it is handed has the values of
        an iterate, and cannot be used to change it; what it returns is read before it is called again.
    x0 : array, number, or tuple, list or dict of such
        Real or complex, of any array library; integers are promoted to float64, half precision to float32. Blocks are
        handed to g in the widest precision among them. Never written to.
    backend : str or Backend, optional
        By default "numba" for NumPy arrays, otherwise the library of the arrays.
    precision : str, Format or Precision, optional
        To iterate in; by default that of the data. In emulated precision the iterates and their residuals are rounded,
        and g computes in the carrier. Certificates are evaluated in the precision of the data.

    Attributes
    ----------
    matvecs : int
        Evaluations of g so far, the first at x0 included.

    Raises
    ------
    InputError
        For an x0 without entries or with NaN or infinite ones, and where g returns another structure, shape or type.
    TypeError
        For a g that cannot be called, and an x0 that holds no numbers.

    Notes
    -----
    The value of g at the iterate is its certificate, so that a solve costs one evaluation more than iterations. Once
    more g is evaluated only in emulated or mixed precision, and where the residual fell in one step a thousand times
    below what all earlier evaluations made one expect: a second evaluation then has to agree. Where x has become larger
    than max(||x0||, ||g(x0)||) / sqrt(u), its residual counts as no less than u ||x||.

    Vectors are iterated on in the caller's units, unless these are so large or small that squares would leave the
    range: then a power of two, which changes no digit, is taken out.

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.solvers.fixed_point.problem import FixedPointProblem
    >>> problem = FixedPointProblem(np.cos, 1.0)
    >>> bool(problem.initial()[2] == 1 - np.cos(1.0))
    True
    """

    words = WORDS
    called = "g"
    started_from = "x0"

    def _exponents(self, guess: Vector, value: Vector) -> tuple[int, int]:
        exact = self.backend.exact
        return self._taken_out(max(exact.max_abs(guess), exact.max_abs(value))), 0

    def _reference_of(self, guess: Vector, value: Vector) -> float:
        return max(self.backend.exact.norms(guess, value))

    def _residual(self, backend: Backend, value: Vector, x: Vector, out: Vector) -> Vector:
        return backend.difference(value, x, out)

    def certify(self, x: Vector, out: Vector) -> tuple[Vector, float]:
        out, norm = super().certify(x, out)
        return out, max(norm, self.rounding_floor(x)) if self.lost(x) else norm

    def lost(self, x: Vector) -> bool:
        """Whether x is so large, beside where it began, that g(x) = x may be no more than rounding."""
        u = precision_facts(self.true_dtype).unit_roundoff
        return math.sqrt(u) * self.backend.exact.norm(x) > self.reference

    def rounding_floor(self, x: Vector) -> float:
        return self.unit_roundoff * self.backend.exact.norm(x)

    @property
    def remarks(self) -> str:
        if not self.exponent:
            return ""
        return f"x was multiplied by 2^{-self.exponent}, which changes no digit, to stay in range."

    def go_on(self, solution: Solution) -> str:
        return (
            "Raise maxiter, or try rv.anderson." if solution.method == "picard" else "Raise maxiter, or begin nearer."
        )
