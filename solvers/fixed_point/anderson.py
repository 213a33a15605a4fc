"""Anderson acceleration."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Unpack

from ...errors import InputError
from ...naming import choose_fields, named_in
from ..driver.method import Traffic
from ..driver.problem import Vector
from ..driver.solution import Solution
from .call import FixedPointBatched, fixed_point_solver
from .history import History, history_on
from .method import FixedPointMethod, FixedPointState
from .problem import FixedPointProblem
from .run import solve_with

__all__ = ["EVERY", "Anderson", "AndersonState", "Mixing", "anderson"]

MOST_PLAIN = 1 << 20  # plain steps in a row after many rejections


class Mixing(NamedTuple):
    """How steps are mixed: accelerated ones with beta every ``period`` steps, the others x + omega f."""

    period: int
    beta: float | str
    omega: float

    @property
    def plain(self) -> float:
        """The factor of f where nothing is known yet, or no more."""
        return 1.0 if isinstance(self.beta, str) else self.beta


EVERY = Mixing(1, 1.0, 1.0)


@dataclass
class AndersonState(FixedPointState):
    """With the differences of the last steps; ``next_x`` holds what is to be tried next.

    Attributes
    ----------
    history : History
    mixing : Mixing
        In use.
    accelerated : bool
        ``next_x`` is more than a plain step.
    expected : float
        The residual norm that a linear g would have there.
    good : float
        The smallest residual norm since the last rejection.
    steps, plain, penalty : int
        Steps taken; plain ones still to take, and as many as the next rejection asks for.
    rejected : int
        Accelerated steps that were taken back.
    """

    history: History = None  # type: ignore[assignment]
    mixing: Mixing = EVERY
    accelerated: bool = False
    expected: float = math.inf
    good: float = math.inf
    steps: int = 0
    plain: int = 0
    penalty: int = 1
    rejected: int = 0


@dataclass(frozen=True)
class Anderson(FixedPointMethod):
    """x + beta f - (dX + beta dF) gamma, where f - dF gamma is as small as the last ``depth`` steps allow."""

    depth: int = 10
    type: str = "II"
    beta: float | str = 1.0
    period: int = 1
    omega: float = 1.0
    regularisation: float = 0.0
    condition_limit: float = math.inf
    safeguard: float = 10.0
    restart_every: int | None = None

    name: ClassVar[str] = "anderson"
    title: ClassVar[str] = "Anderson acceleration"
    purpose: ClassVar[str] = "maps that contract slowly, or not at all"
    traffic: ClassVar[Traffic] = Traffic(vectors=25, passes=121, reductions=7, matvecs=1, compiled_passes=55)
    when_diverging: ClassVar[str] = "Begin nearer, lower beta, or allow a smaller growth by safeguard."

    def __post_init__(self) -> None:
        for name in ("depth", "period", "restart_every"):
            value = getattr(self, name)
            if value is None and name == "restart_every":
                continue
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name}: found {value!r}; wanted an integer")
            if value < 1:
                raise InputError(f"{name}: found {value}; wanted at least 1")
        choose_fields(self, type=("I", "II"))
        if named_in(self.beta, ("adaptive",)):
            object.__setattr__(self, "beta", "adaptive")
        elif not (_is_number(self.beta) and self.beta != 0):
            raise InputError(f'beta: found {self.beta!r}; wanted a finite number other than 0, or "adaptive"')
        if not (_is_number(self.omega) and self.omega != 0):
            raise InputError(f"omega: found {self.omega!r}; wanted a finite number other than 0")
        if not (_is_number(self.regularisation) and 0 <= self.regularisation < 1):
            raise InputError(f"regularisation: found {self.regularisation!r}; wanted a number in [0, 1)")
        for name in ("condition_limit", "safeguard"):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and value > 1):
                raise InputError(f"{name}: found {value!r}; wanted a number above 1, or infinity for none")

    def new_state(self, problem: FixedPointProblem, x: Vector, residual: Vector, norm: float) -> AndersonState:
        s = self.empty_state(x, residual, norm)
        s.next_x, s.next_work, s.good = problem.vector(), problem.vector(), norm
        s.history = history_on(
            problem.backend,
            problem.local,
            problem.dtype,
            min(self.depth, problem.n if self.type == "II" else self.depth),
            self.type,
            unit_roundoff=problem.unit_roundoff,
            regularisation=self.regularisation,
        )
        s.mixing = self.mixing
        self._plain(problem, s, s.mixing.plain)
        return s

    @property
    def mixing(self) -> Mixing:
        """As the parameters say."""
        return Mixing(self.period, self.beta, self.omega)

    def empty_state(self, x: Vector, residual: Vector, norm: float) -> AndersonState:
        """A state of the kind that this method keeps."""
        return AndersonState(x, residual, norm)

    def step(self, problem: FixedPointProblem, s: AndersonState) -> None:  # type: ignore[override]
        if not s.accelerated:
            self.advance(problem, s)
        elif self.evaluate_next(problem, s, s.expected) and self._good_enough(s) and not problem.lost(s.next_x):
            self.accept(s)
            if s.next_norm < s.good:
                s.penalty = max(1, s.penalty // 2)
        else:
            self._reject(problem, s)
            self.advance(problem, s)
            s.good = s.next_norm
        s.good = min(s.good, s.next_norm)
        s.steps += 1
        self._propose(problem, s)

    def _good_enough(self, s: AndersonState) -> bool:
        """Whether an accelerated step let the residual grow so little, in one step and in all, that it may stand."""
        before = float(s.residual_norm)  # type: ignore[arg-type]
        return s.next_norm <= min(self.safeguard * before, self.safeguard**2 * s.good)

    def _reject(self, problem: FixedPointProblem, s: AndersonState) -> None:
        """Go on by plain steps from the iterate before, of which there are the more the oftener this happens."""
        s.history.clear()
        s.rejected += 1
        s.plain, s.penalty = s.penalty, min(2 * s.penalty, MOST_PLAIN)
        self._plain(problem, s, s.mixing.plain)

    def _propose(self, problem: FixedPointProblem, s: AndersonState) -> None:
        """Take in the step from (next_x, next_work) to (x, work), and put what is to be tried next into next_x."""
        history = s.history
        if self.restart_every is not None and s.steps % self.restart_every == 0:
            history.clear()
        else:
            history.append(s.x, s.next_x, s.work, s.next_work, self.condition_limit_of(s))
        s.plain = max(0, s.plain - 1)
        period, beta, omega = s.mixing
        if s.plain or not history.size:  # as this method was asked to, whatever is in use
            return self._plain(problem, s, self.omega if self.period > 1 else self.mixing.plain)
        if (s.steps + 1) % period:
            return self._plain(problem, s, omega)
        norm = float(s.residual_norm)  # type: ignore[arg-type]
        s.next_x, rest = history.extrapolated(s.x, s.work, norm, beta, s.next_x)
        # Below rounding the difference of two squares says no more than that it is small.
        s.expected = norm * math.sqrt(rest) if rest > 64 * problem.unit_roundoff else 0.0
        s.accelerated = True
        return None

    def condition_limit_of(self, s: AndersonState) -> float:
        """The condition that the history may have after the step just taken."""
        return self.condition_limit

    def _plain(self, problem: FixedPointProblem, s: AndersonState, factor: float) -> None:
        """x + factor f."""
        s.next_x = problem.backend.assign(s.x, s.next_x)
        s.next_x = problem.backend.axpy(factor, s.work, s.next_x)
        s.accelerated, s.expected = False, math.inf

    def renew(self, problem: FixedPointProblem, s: AndersonState) -> None:  # type: ignore[override]
        super().renew(problem, s)
        s.history.clear()
        s.good = float(s.residual_norm)  # type: ignore[arg-type]
        self._plain(problem, s, s.mixing.plain)

    def describe(self, s: AndersonState) -> str:  # type: ignore[override]
        if not s.rejected:
            return ""
        times = "step was" if s.rejected == 1 else "steps were"
        return (
            f"{s.rejected} accelerated {times} taken back, where the residual grew over {self.safeguard:g}-fold, or "
            "was not finite."
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


@fixed_point_solver
def anderson(
    g: Callable[[Any], Any],
    x0: Any,
    *,
    depth: int = 10,
    type: str = "II",
    beta: float | str = 1.0,
    period: int = 1,
    omega: float = 1.0,
    regularisation: float = 0.0,
    condition_limit: float = math.inf,
    safeguard: float = 10.0,
    restart_every: int | None = None,
    **common: Unpack[FixedPointBatched],
) -> Solution[Any]:
    """Find x = g(x) by Anderson acceleration.

    With f = g(x) - x, and dX, dF the differences of the last iterates and residuals, x <- x + beta f - (dX + beta dF)
    gamma, where gamma makes f - dF gamma small. For an affine map with full memory and beta = 1 the iterates are
    g(x_k), where the x_k are those of GMRES (type II) or of FOM (type I).

    Parameters
    ----------
    g, x0, rtol, atol, maxiter, callback, progress, time_limit, backend, precision, batch_ndim, errors :
        As in ``resolvent.fixed_point``.
    depth : int
        Differences kept; at most as many as there are unknowns.
    type : {"II", "I"}
        II: gamma minimises ||f - dF gamma||. I: f - dF gamma is orthogonal to dX.
    beta : float or "adaptive"
        Mixing, any number but zero: negative ones serve maps with eigenvalues above 1. "adaptive": 0.9 - theta / 2,
        where theta is what the least-squares problem leaves of f.
    period : int
        Only every so many steps are accelerated, the others are x + omega f (alternating Anderson-Richardson).
    omega : float
        Of these steps.
    regularisation : float
        The square of ||dF||_F ||gamma||, times this, is minimised along.
    condition_limit : float
        Differences are dropped, oldest first, until the condition of dF is at most this. Dropping them may cost
        convergence where the spectrum of g' is wide; it helps where g is far from affine.
    safeguard : float
        An accelerated step is taken back when the residual grew by more than this, or by more than its square over the
        smallest so far. Then the history is forgotten, and one plain step is taken from the iterate before, twice as
        many the next time.
    restart_every : int, optional
        The history is forgotten after so many steps.

    Returns
    -------
    Solution

    Raises
    ------
    InputError, TypeError
        As in ``resolvent.fixed_point``, and for a parameter outside its range.

    Notes
    -----
    Per iteration: 1 evaluation (2 where a step is taken back), 10 depth + 21 vector passes (4 depth + 15 compiled) and
    7 reductions once the history is full; 2 vectors are kept for each difference, and 5 more. dF = Q R is updated by
    two passes of Gram-Schmidt and by rotations, and R gamma = Q^H f solved: the normal equations, which square the
    condition, are never formed. Differences that the latest one depends on to rounding are dropped, oldest first.

    References
    ----------
    Anderson (1965); Fang and Saad (2009), on types I and II; Walker and Ni (2011), theorem 2.2 on GMRES, section 4 on
    updating Q and R; Pratapa, Suryanarayana and Pask (2016), on periods; Evans, Pollock, Rebholz and Xiao (2020), on
    the gain theta.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> rv.anderson(lambda x: 1 - x, np.zeros(1), rtol=1e-14).x
    array([0.5])
    >>> d = np.linspace(0.02, 2, 50)
    >>> rv.anderson(lambda x: (1 - d) * x + 1, np.zeros(50), depth=20).evaluations < 60
    True
    """
    method = Anderson(depth, type, beta, period, omega, regularisation, condition_limit, safeguard, restart_every)
    return solve_with(method, g, x0, **common)
