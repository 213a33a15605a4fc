"""The one result type: the solution, how it was reached, and everything one may ask about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

import numpy as np

from ...errors import ConvergenceError
from ...precision import times_power_of_two
from ..spectra.ritz import RitzValues, SpectralEvidence
from .method import Norm
from .no_array import NoArray
from .problem import Words
from .status import Cause, Status

__all__ = ["Bound", "Displacement", "Solution", "Status"]

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault  # which Python has from 3.13 on

    V = TypeVarWithDefault("V", default=np.ndarray[tuple[Any, ...], np.dtype[Any]])  # an array of some library
else:
    V = TypeVar("V")

LINEAR = Words(residual="||b - A x||", reference="||b||", products="products with A")

# Of Lanczos coefficients that may still serve as a lower bound of ||A||: that of replacements in single precision.
LARGEST_PERTURBATION = 1e-3


@dataclass(frozen=True)
class Bound:
    """What is known of every iteration besides its residual, for a figure.

    Attributes
    ----------
    iterations, values : ndarray of shape (k,)
        Values are relative: to ``reference`` where they bound the residual, to the first error where they are errors.
    label : str
        Says "at most" of what holds whatever A is, "about" of what rests on estimates of its spectrum.
    """

    iterations: np.ndarray
    values: np.ndarray
    label: str


@dataclass(frozen=True)
class Displacement(Generic[V]):
    """The smallest displacement of a nonexpansive map g, estimated: v, the shortest vector in the closure of x - g(x).

    It is nothing where g has a fixed point; where it is not, iterates move away by -v each.

    Attributes
    ----------
    vector : array
        The estimate of v, in the structure of x: how far the iterates went, over the number of steps that is worth. It
        is a mean of values of x - g(x).
    norm : float
    error : float
        About how far it is from v, by its distance from another estimate, the last x - g(x), in all steps: too much
        where an undamped iteration turns. Never more than the norm.
    error_per_distance : float
        It is never farther than this times the distance from x0 to the nearest x that g moves by v alone.
    settled : bool
        Its length and that of x - g(x) have stopped to change.
    """

    vector: V
    norm: float
    error: float
    error_per_distance: float
    settled: bool


def no_bound(solution: Solution[Any]) -> Bound | None:
    """Nothing is known."""
    return None


@dataclass(eq=False)
class Solution(NoArray, Generic[V]):
    """What a solve returns; of a batch, a ``BatchSolution``.

    Attributes
    ----------
    x : array
        The solution, in b's shape; without convergence the best iterate met.
    status : Status
    reason : str
        Sentences: what was done, why it ended so, and what to do about it.
    iterations, matvecs : int
        Iterations, and products with A in all of them, checks included.
    seconds : float
    relative_residual : float
        ``||b - A x|| / ||b||``, recomputed from x, accumulated in more than working precision where possible.
    residual_norm : float
        ``||b - A x||`` in the units of b.
    method, backend, precision : str
        Precision: the name of the dtype or of the format that was iterated in.
    unit_roundoff : float
        u of that precision.
    predicted_iterations : int or None
        What theory promised, where the method has an a-priori bound.
    tolerance : float
        What ``relative_residual`` had to reach: ``max(rtol, atol / ||b||)``, or the backward error asked for where that
        is more.
    reference : float
        What ``relative_residual`` is relative to, in the caller's units: of a linear system ``||b||``.
    cause : Cause or None
        What ended a solve that did not converge, where more is known than the status.
    carries : Norm
        What the residual norms of the history are.
    theory : callable
        From the Solution to what theory promises of it; asked for by ``bound``.
    words : Words
        What reports call the parts of the problem.
    displacement : Displacement or None
        Of a fixed-point problem that did not converge, by a method with a theory for nonexpansive maps: by how much g
        moves every point at least, and where to.
    distance_bound : float or None
        Of a fixed-point problem: no fixed point is nearer to x0 than this, provided that g is nonexpansive. None where
        the caller did not say so, by the choice of a method that asks for it.
    moved : float
        Of such a problem, the distance from x0 to the last iterate.

    Notes
    -----
    ``reason``, ``history``, ``evidence``, ``predicted_iterations`` and ``distance_bound`` may be given as functions of
    the Solution, which are asked when somebody first reads them; so are all fields of a small system but x, the status
    and the seconds.
    """

    x: V
    status: Status
    reason: str
    iterations: Any
    matvecs: Any
    seconds: float
    relative_residual: Any
    residual_norm: Any
    method: str
    backend: str
    precision: str
    unit_roundoff: float = math.nan
    history: tuple[Any, Any] = ((), ())
    exponent: int = 0
    spectral_exponent: int = 0
    evidence: SpectralEvidence | None = None
    norms: tuple[float, float, float] = (math.nan, math.nan, math.nan)
    predicted_iterations: int | None = None
    tolerance: float = math.nan
    reference: float = math.nan
    smallest_eigenvalue: float = -math.inf
    preconditioned: bool = False
    cause: Cause | None = None
    carries: Norm = Norm.RECURRENCE
    theory: Callable[[Solution[V]], Bound | None] = no_bound
    words: Words = LINEAR
    displacement: Displacement[V] | None = None
    distance_bound: float | None = None
    moved: float = math.nan

    is_batch: ClassVar[bool] = False

    @property
    def converged(self) -> bool:
        """Whether ``||b - A x|| <= tolerance ||b||`` was verified of the true residual."""
        return self.status is Status.CONVERGED

    @property
    def converged_each(self) -> Any:
        """The same as ``converged``; of a batch, for each system."""
        return self.converged

    @property
    def overall_status(self) -> Status:
        """The status; of a batch CONVERGED, or that of the first system that did not."""
        return self.status

    def raise_for_status(self) -> Solution[V]:
        """Itself when converged, otherwise a ``ConvergenceError`` with the reason."""
        if not self.converged:
            raise ConvergenceError(f"{self.status.value}: {self.reason}")
        return self

    @cached_property
    def bound(self) -> Bound | None:
        """What theory promises of every iteration, as the method says it."""
        return self.theory(self)

    @property
    def evaluations(self) -> Any:
        """Of an equation given by a function, how often that was evaluated: the same as ``matvecs``."""
        return self.matvecs

    @property
    def rhs_norm(self) -> float:
        """``||b||`` of a linear system: the same as ``reference``."""
        return self.reference

    @property
    def residual_norms(self) -> np.ndarray:
        """Residual norms at ``residual_iterations``, in the units of b, as the method carried them."""
        return np.ldexp(np.asarray(self.history[1], dtype=np.float64), self.exponent)

    @property
    def relative_residual_norms(self) -> np.ndarray:
        """The same relative to ``reference``; to the first of them where that is nothing."""
        norms = self.residual_norms
        size = self.reference if 0 < self.reference < math.inf else float(norms[0]) if norms.size else 0.0
        return norms / size if size > 0 else norms

    @property
    def systems(self) -> Sequence[Solution[V]]:
        """The systems of a batch, one Solution each; none of a single system."""
        return ()

    @property
    def residual_iterations(self) -> np.ndarray:
        """The iterations at which the residual norm was known."""
        return np.asarray(self.history[0], dtype=np.int64)

    @cached_property
    def ritz(self) -> RitzValues | None:
        """Extreme Ritz values of A (of M A with a preconditioner), or None where no coefficients tell."""
        found = None if self.evidence is None else self.evidence.ritz
        if found is None:
            return None
        scale = self.spectral_exponent
        values = (found.smallest, found.largest, found.smallest_error, found.largest_error)
        return RitzValues(*(times_power_of_two(value, scale) for value in values))

    @cached_property
    def spectrum(self) -> tuple[float, float] | None:
        """Smallest and largest eigenvalue as far as they showed: estimates from inside, or the Chebyshev interval."""
        if self.ritz is not None:
            return self.ritz.smallest, self.ritz.largest
        if self.evidence is not None and self.evidence.interval is not None:
            low, high = np.ldexp(self.evidence.interval, self.spectral_exponent)
            return float(low), float(high)
        return None

    @property
    def condition(self) -> float | None:
        """Estimate of the condition number in the 2-norm of A (of M A with a preconditioner).

        A lower bound where Ritz values tell it, unless rounding may have moved the smallest of them: see
        ``condition_sense``. The ratio of the interval after Chebyshev iteration.
        """
        if self.spectrum is None or self.evidence is None or not self.evidence.hermitian:
            return None
        low, high = self.spectrum
        if self.evidence.ritz is not None:  # in its own units, where no digit of a small one is lost
            low, high = self.evidence.ritz.smallest, self.evidence.ritz.largest
        if low > 0:
            return high / low
        # Ritz values on both sides of zero do not tell how near to it an eigenvalue lies.
        return None if low < -self.unit_roundoff * high else math.inf

    @property
    def condition_sense(self) -> str:
        """ "at least" or "about": whether ``condition`` is a lower bound, up to a tenth."""
        if self.ritz is None or self.evidence is None:
            return "about"
        return "at least" if self.evidence.perturbation * self.ritz.largest <= 0.1 * self.ritz.smallest else "about"

    @cached_property
    def backward_error(self) -> Any:
        """Normwise backward error ``||b - A x|| / (||A|| ||x|| + ||b||)`` (Rigal & Gaches 1967).

        ||A|| is estimated from below, by the largest row norm or Ritz value, so that the error is never understated.
        Without an estimate the term is left out.
        """
        return self.norms[0] / self._data_norm if self.norms[0] else 0.0

    @property
    def attainable_residual(self) -> Any:
        """Prediction of the relative residual that this precision can reach: u (||A|| ||x|| + ||b||) / ||b||.

        That much rounding x alone may leave (Higham 2002, section 7.1). Conjugate gradients, Chebyshev iteration and
        relaxation come within a factor of ten of it, which the tests hold them to.
        """
        rhs = times_power_of_two(self.reference, -self.exponent)
        return self.unit_roundoff * self._data_norm / rhs if rhs else 0.0

    @property
    def attainable_error(self) -> float | None:
        """Prediction of the relative error of x that this precision can reach: condition times u, if it is known."""
        return None if self.condition is None else min(1.0, self.condition * self.unit_roundoff)

    @property
    def _data_norm(self) -> float:
        """||A|| ||x|| + ||b|| in internal units, ||A|| estimated from below."""
        _, solution, matrix = self.norms
        if not self.preconditioned and self.ritz is not None:
            perturbation = self.evidence.perturbation if self.evidence is not None else 0.0
            if perturbation < LARGEST_PERTURBATION:
                matrix = max(
                    matrix, (1 - perturbation) * times_power_of_two(self.ritz.largest, -self.spectral_exponent)
                )
        return matrix * solution + times_power_of_two(self.reference, -self.exponent)

    @property
    def error_bound(self) -> float | None:
        """Bound of ``||x - A^{-1} b|| / ||x||`` for Hermitian A: the residual over a lower bound of the spectrum.

        That bound is Gershgorin's, or the lower end of the interval that the caller gave to Chebyshev; None where
        neither is positive. See ``error_estimate`` for what the Ritz values suggest.
        """
        return self._error(self.smallest_eigenvalue)

    @cached_property
    def error_estimate(self) -> float | None:
        """Estimate of ``||x - A^{-1} b|| / ||x||``: the residual over the smallest Ritz value less its error bar.

        Right when no eigenvalue hides below the smallest Ritz value, which the coefficients alone cannot rule out.
        None before that value has settled (an error bar of a tenth), and with a preconditioner.
        """
        ritz = self.ritz
        if ritz is None or self.evidence is None or not self.evidence.hermitian or self.preconditioned:
            return None
        settled = ritz.settled
        return None if settled is None else self._error(times_power_of_two(settled, -self.spectral_exponent))

    def _error(self, smallest: float) -> float | None:
        residual, solution, _ = self.norms
        return residual / (smallest * solution) if smallest > 0 and solution > 0 else None

    @classmethod
    def later(cls, rest: Callable[[], Mapping[str, Any]], **own: Any) -> Self:
        """A Solution of these fields, and of the others when somebody first reads one of them."""
        solution = cls.__new__(cls)
        solution.__dict__.update(own, _rest=rest)
        return solution

    if not TYPE_CHECKING:  # a type checker would take any name for one of its fields

        def __getattr__(self, name: str) -> Any:
            rest = self.__dict__.get("_rest")
            if rest is not None:
                for field, value in rest().items():
                    self.__dict__.setdefault(field, value)
                self.__dict__.pop("_rest", None)
            elif name not in self.__dict__:  # where it is, another thread has asked at the same time
                raise AttributeError(self._no_attribute(name), name=name, obj=self)
            return getattr(self, name)

    def __getstate__(self) -> dict[str, Any]:
        for name in LAZY:
            getattr(self, name)  # what is to be asked for goes by no file
        return self.__dict__

    def __str__(self) -> str:
        from ..report.text import report

        return report(self)

    def __repr__(self) -> str:
        return (
            f"<Solution {self.status.name} by {self.method} in {self.iterations} iterations, relative residual "
            f"{np.max(self.relative_residual, initial=0.0):.2e}>"
        )

    def _repr_html_(self) -> str:
        from ..report.facts import facts_of
        from ..report.html import in_html

        return in_html(facts_of(self))

    def __rich__(self) -> Any:
        from ..report.facts import facts_of
        from ..report.terminal import in_panel

        return in_panel(facts_of(self))

    def plot(self, axes: Any = None, *, file: Any = None) -> Any:
        """Residual history as a figure (needs matplotlib); saved when ``file`` is given.

        Parameters
        ----------
        axes : matplotlib Axes, optional
            Where to draw; a new figure when absent.
        file : path, optional
            PNG, PDF or SVG to write; the data are saved beside it as CSV.

        Returns
        -------
        matplotlib Axes
        """
        from ..report.figures import plot

        return plot(self, axes, file)


class Lazy:
    """A field that may be set to a function of the Solution."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, solution: Any, owner: type | None = None) -> Any:
        if solution is None:
            return self
        if self.name not in solution.__dict__:
            raise AttributeError(self.name)
        value = solution.__dict__[self.name]
        if callable(value):
            value = solution.__dict__[self.name] = value(solution)
        return value

    def __set__(self, solution: Any, value: Any) -> None:
        solution.__dict__[self.name] = value


LAZY = ("reason", "history", "evidence", "predicted_iterations", "distance_bound")
for _field in fields(Solution):
    if _field.default is not MISSING:
        delattr(Solution, _field.name)  # the default of a field that is yet to be asked for is not its value
for _name in LAZY:
    setattr(Solution, _name, Lazy(_name))
