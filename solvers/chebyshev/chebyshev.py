"""Chebyshev iteration, with the bound that it obeys watched while it runs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Unpack

import numpy as np

from ...errors import InputError
from ...precision import times_power_of_two
from ..driver.solution import Bound, Solution
from ..driver.status import Breakdown, Cause
from ..linear.call import Preconditioned, solver
from ..linear.method import Search
from ..linear.run import solve_with
from ..linear.system import LinearSystem
from ..spectra.lanczos import positive_spectrum
from ..spectra.ritz import RitzValues, SpectralEvidence
from .coefficients import allowed_norm, chebyshev_coefficients
from .momentum import MomentumMethod, MomentumState

__all__ = ["Chebyshev", "chebyshev"]

LANCZOS_STEPS = 20
FOUND = f"The interval was found by {LANCZOS_STEPS} Lanczos steps."
ROUNDING = 10  # attainable residuals: what rounding may add to the bound


@dataclass
class ChebyshevState(MomentumState):
    """With the interval in use and how far the present phase has come.

    ``ahead`` are the coefficients of the steps to come, None where a phase begins; ``first`` and ``first_norm`` belong
    to the start of the phase, a new one beginning whenever the interval is repaired; ``seen`` is the last measured
    (iteration, norm); ``bounded`` says that the bound is one of the Euclidean norm, for all that is known of A.
    """

    low: float = 0.0
    high: float = 0.0
    ahead: Iterator[tuple[float, float]] | None = None
    first: int = 0
    first_norm: float = 0.0
    initial_norm: float = 0.0
    seen: tuple[int, float] | None = None
    held: bool = True
    given: bool = False
    bounded: bool = False

    @property
    def center(self) -> float:
        """Middle of the interval."""
        return (self.high + self.low) / 2

    @property
    def half_width(self) -> float:
        """Half its length."""
        return (self.high - self.low) / 2

    @property
    def decay(self) -> float:
        """arccosh(sigma): the residual falls like exp(-decay k). Without cancellation for a narrow interval."""
        if self.half_width == 0:
            return math.inf
        return 2 * math.asinh(math.sqrt(self.low / (2 * self.half_width)))


@dataclass(frozen=True)
class Chebyshev(MomentumMethod):
    """Residuals are r_0 times the Chebyshev polynomials of the interval, scaled to one at zero."""

    interval: tuple[float, float] | None = None

    name: ClassVar[str] = "chebyshev"
    title: ClassVar[str] = "Chebyshev iteration"
    purpose: ClassVar[str] = "the same, where reductions are dear or the count must be known"
    when_diverging: ClassVar[str] = "The interval does not hold the spectrum, or A is not Hermitian positive definite."

    def __post_init__(self) -> None:
        if self.interval is not None:
            ends = () if np.ndim(self.interval) != 1 else tuple(float(end) for end in self.interval)
            if len(ends) != 2 or not 0 < ends[0] <= ends[1] < math.inf:
                raise InputError(
                    f"interval: found {self.interval!r}; wanted two finite numbers with 0 < lower <= upper"
                )
            object.__setattr__(self, "interval", ends)

    def start(self, system: LinearSystem) -> ChebyshevState:
        state = self.new_state(system, ChebyshevState)
        if self.interval is not None:
            self.preconditioned(system, state)
            state.low, state.high = (times_power_of_two(end, -system.spectral_exponent) for end in self.interval)
            if not (state.low > 0 and state.low + state.high < math.inf):
                low, high = self.interval
                raise Breakdown(
                    f"The interval [{low:.3g}, {high:.3g}] cannot hold the spectrum of A (of M A): in units in which A "
                    "is of size one its ends leave the range of numbers. Leave it out, or give it in the units of A.",
                    Cause.RANGE,
                )
            state.given = True
        else:
            advice = "Chebyshev iteration needs the spectrum on one side of zero; let rv.solve choose a method."
            state.low, state.high = positive_spectrum(system, self, "interval", advice)
            state.notes.append(FOUND)
        plain = system.preconditioner is None and system.emulated is None
        state.bounded = plain and system.hermitian is not False
        state.first_norm = state.initial_norm = self._norm(system, state, state.residual_norm or 0.0)
        return state

    def state_without_vectors(
        self, first_norm: float, hermitian: bool, ends: tuple[float, float] | None = None
    ) -> ChebyshevState | None:
        if (interval := self.interval or ends) is None:
            return None
        low, high = interval
        return ChebyshevState(
            None,
            None,
            first_norm,
            low=low,
            high=high,
            given=self.interval is not None,
            bounded=hermitian,
            first_norm=first_norm,
            initial_norm=first_norm,
            notes=[] if self.interval is not None else [FOUND],
        )

    @property
    def search(self) -> Search | None:
        return Search(LANCZOS_STEPS) if self.interval is None else None

    def ends(self, ritz: RitzValues, row_sum: float, unit_roundoff: float) -> tuple[float, float] | None:
        """Ritz values, widened by their error bars; the upper end never beyond the largest row sum."""
        if ritz.smallest <= 0:
            return None
        high = min(1.01 * (ritz.largest + min(ritz.largest_error, 0.2 * ritz.largest)), row_sum)
        return min(max(ritz.smallest - ritz.smallest_error, 0.5 * ritz.smallest), 0.999 * high), high

    def tuned(self, system: LinearSystem, state: ChebyshevState) -> Chebyshev:
        low, high = (times_power_of_two(end, system.spectral_exponent) for end in (state.low, state.high))
        return replace(self, interval=(low, high))

    def coefficients(self, state: ChebyshevState) -> tuple[float, float]:
        if state.ahead is None:
            state.ahead = chebyshev_coefficients(state.low, state.high)
        return next(state.ahead)

    def renew(self, system: LinearSystem, state: ChebyshevState) -> None:
        state.ahead = None
        state.seen = None
        state.residual_norm = system.backend.norm(state.work)
        state.first_norm = self._norm(system, state, state.residual_norm)
        state.first = -1

    def review(self, system: LinearSystem, state: ChebyshevState, iteration: int, norm: float, best: Any) -> None:
        """Hold the measured norm against ||r_0|| / T_k(sigma), which no Hermitian A with this spectrum exceeds."""
        s = state
        if s.first < 0:
            s.first = iteration
        steps = iteration - s.first
        if steps == 0 or system.hermitian is False:
            return
        norm = self._norm(system, s, norm)
        before, s.seen = s.seen, (iteration, norm)
        promised = allowed_norm(s.first_norm, s.decay, steps)
        if norm <= promised or norm <= promised + 30 * system.rounding_floor(s.x):
            return
        s.held = False
        if before is None or before[0] >= iteration:
            return
        fall = math.log(norm / before[1]) / (iteration - before[0])
        if fall > -0.8 * s.decay:
            self._repair(system, s, iteration, norm, fall, best)

    def _repair(
        self, system: LinearSystem, state: ChebyshevState, iteration: int, norm: float, fall: float, best: Any
    ) -> None:
        """Name the end that is wrong by the Rayleigh quotient of the residual, and move it by the observed rate.

        Outside the interval, at center ± half_width cosh(t), the residual changes by exp(t - decay) a step.
        """
        s = state
        quotient = self._rayleigh(system, s)
        if not quotient > 0:
            raise Breakdown(
                f"A is not positive definite: the residual of iteration {iteration} has the Rayleigh quotient "
                f"{quotient:.2e}. Chebyshev iteration needs the spectrum on one side of zero; let rv.solve choose.",
                Cause.INDEFINITE,
            )
        reach = s.half_width * math.cosh(min(max(fall + s.decay, 0.0), 300.0))
        rate, promised = math.exp(min(fall, 300.0)), math.exp(-s.decay)
        unit = system.spectral_exponent
        if quotient < s.center:
            wrong, was = "lower", s.low
            seen = min(s.center - reach, quotient)
            s.low = 0.9 * seen if 0 < seen < s.low else 0.25 * min(s.low, quotient)
            now, way = s.low, "high"
            s.given = False
        else:
            wrong, was = "upper", s.high
            s.high = 1.05 * max(s.center + reach, quotient, s.high)
            if system.preconditioner is None and system.facts is not None and s.high > system.facts.row_sum > was:
                s.high = system.facts.row_sum
            now, way = s.high, "low"
        was, now = times_power_of_two(was, unit), times_power_of_two(now, unit)
        s.notes.append(
            f"The {wrong} end {was:.4g} of the interval was too {way}: the residual changed by {rate:.3f} an iteration "
            f"where {promised:.3f} was promised; it was moved to {now:.4g} after iteration {iteration}."
        )
        if best is not None and norm > s.first_norm:
            s.x = system.backend.assign(best, s.x)
            s.work = system.residual(s.x, s.work)
        s.ahead, s.seen, s.held = None, None, True
        s.first = iteration
        s.first_norm = self._norm(system, s, system.backend.norm(s.work))

    def _norm(self, system: LinearSystem, state: ChebyshevState, norm: float) -> float:
        """The norm in which the bound holds: sqrt(r^H M r), which is the Euclidean one without M."""
        if system.preconditioner is None:
            return norm
        square = system.backend.dot(state.work, self.preconditioned(system, state)).real
        return math.sqrt(square) if square > 0 else norm

    def _rayleigh(self, system: LinearSystem, state: ChebyshevState) -> float:
        """z^H A z / z^H r with z = M r: a mean of the eigenvalues of M A, dominated by what was not damped."""
        backend = system.backend
        z = self.preconditioned(system, state)
        state.previous, inner = system.matvec_dot(z, state.previous)
        square = backend.dot(z, state.work).real
        if system.preconditioner is not None and not square > 0:
            raise Breakdown(
                f"M is not positive definite: r^H M r = {square:.2e} for a residual r, but Chebyshev iteration needs a "
                "Hermitian positive definite preconditioner. Use another M, or none.",
                Cause.PRECONDITIONER,
            )
        return inner / square if square else math.nan

    def predicted_iterations(self, state: ChebyshevState, reduction: float) -> int | None:
        """arccosh(1 / reduction) / arccosh(sigma), rounded up, from the start of the present phase."""
        if state.first_norm > 0:
            reduction *= state.initial_norm / state.first_norm
        if not 0 < reduction < 1:
            return None
        if state.half_width == 0:
            return state.first + 1
        if not state.decay > 0 or math.isinf(1 / reduction):
            return None
        steps = math.acosh(1 / reduction) / state.decay
        return max(state.first, 0) + math.ceil(steps * (1 - 1e-12)) if math.isfinite(steps) else None

    def describe(self, state: ChebyshevState) -> str:
        return f"The interval has the ratio {state.high / state.low:.4g}." if state.low > 0 else ""

    def bound(self, solution: Solution[Any]) -> Bound | None:
        """||r_0|| / T_k(sigma), which no residual exceeds whose matrix has its spectrum in the interval."""
        known, norms = solution.evidence, solution.residual_norms
        if known is None or not known.decay > 0 or norms.size < 2 or not norms[0] > 0:
            return None
        at = np.arange(int(solution.residual_iterations[-1]) + 1)
        with np.errstate(over="ignore"):
            polynomial = np.append(1.0, 1 / np.cosh(known.decay * at[1:]))
        values = norms[0] / solution.reference * polynomial + ROUNDING * solution.attainable_residual
        return Bound(at, values, "at most 1/T$_k$(σ)" if known.given else "about 1/T$_k$(σ), interval estimated")

    def evidence(self, state: ChebyshevState) -> SpectralEvidence | None:
        if not state.held:
            return None
        decay = state.decay if state.bounded and state.first == 0 else 0.0
        return SpectralEvidence(interval=(state.low, state.high), given=state.given, decay=decay)


@solver
def chebyshev(
    A: Any,
    b: Any,
    *,
    interval: tuple[float, float] | None = None,
    **common: Unpack[Preconditioned],
) -> Solution[Any]:
    r"""Solve A x = b, A Hermitian positive definite, by Chebyshev iteration.

    No inner products: the coefficients follow from an interval [a, b] that holds the spectrum (of M A with a
    preconditioner). The residual obeys :math:`\|r_k\| \le \|r_0\| / T_k(\sigma)`, :math:`\sigma = (b+a)/(b-a)`, so the
    number of iterations is known in advance: ``Solution.predicted_iterations``. A residual above the bound proves the
    interval wrong; the iteration then says which end it was, moves it, and goes on.

    Parameters
    ----------
    A, b, x0, M, rtol, atol, maxiter, callback, progress, time_limit, backend, precision, errors :
        As in ``resolvent.cg``. A that is not Hermitian is taken with a given interval, without bound and repairs.
    interval : (float, float), optional
        0 < a <= b, in the units of A (of M A). By default 20 Lanczos steps find it, the upper end widened by its error
        bar. Too wide costs little: 10 % at the upper end 5 % more iterations, half the lower end 40 %.

    Returns
    -------
    Solution

    Raises
    ------
    InputError
        As in ``resolvent.cg``, and for an interval that is not positive, finite and ordered.

    Notes
    -----
    Per iteration: 1 matvec, 7 vector passes (4 compiled), no reduction; 3 vectors kept. The residual norm is looked at
    every 16 iterations, at the predicted last one, and nearer to the end when the observed rate says so.

    References
    ----------
    Saad (2003), "Iterative methods for sparse linear systems", algorithm 12.1; Gutknecht & Roellin (2002), "The
    Chebyshev iteration revisited", for the three-term form with recomputed residuals.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> A = np.diag([1.0, 2.0, 4.0])
    >>> solution = rv.chebyshev(A, np.array([1.0, 0.0, 0.0]), interval=(1, 4), rtol=1e-6)
    >>> solution.converged, solution.iterations == solution.predicted_iterations
    (True, True)
    """
    return solve_with(Chebyshev(interval), A, b, **common)
