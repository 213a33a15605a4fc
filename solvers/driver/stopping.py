"""The one stopping rule, and the options every solve takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from ...errors import InputError
from ...naming import choose_fields
from .status import Status

__all__ = ["Deadline", "Options", "Watch", "Watches"]


@dataclass(slots=True)  # frozen, it would cost a small solve two microseconds more
class Options:
    """When to stop and whom to tell. The tolerance is ||b - A x|| <= max(rtol ||b||, atol), of the true residual.

    Parameters
    ----------
    rtol : float
        Relative tolerance, in [0, 1).
    atol : float
        Absolute tolerance in the units of b, at least 0.
    maxiter : int, optional
        Iterations at most; by default 10 n, and at least 1000.
    callback : callable, optional
        Called with a ``Progress`` after every iteration; a true result stops the solve.
    progress : bool
        Show a live line in the terminal.
    time_limit : float, optional
        Seconds after which the best iterate is returned; those of a batch are for all of its systems.
    backward_error : float
        Stop as well when ||b - A x|| <= this times (||A|| ||x|| + ||b||).
    errors : {"raise", "collect"}
        What a system of a batch that is refused does: raise its error, or come back with the status REFUSED and NaN.

    Raises
    ------
    InputError
        For a tolerance, limit or callback outside its range.
    """

    rtol: float = 1e-5
    atol: float = 0.0
    maxiter: int | None = None
    callback: Callable[[Any], Any] | None = None
    progress: bool = False
    time_limit: float | None = None
    backward_error: float = 0.0
    errors: str = "raise"

    def __post_init__(self) -> None:
        if not (_is_real(self.rtol) and 0 <= self.rtol < 1):
            raise InputError(f"rtol: found {self.rtol!r}; wanted a number in [0, 1)")
        if not (_is_real(self.atol) and 0 <= self.atol < math.inf):
            raise InputError(f"atol: found {self.atol!r}; wanted a finite number of at least 0")
        if not (_is_real(self.backward_error) and 0 <= self.backward_error < 1):
            raise InputError(f"backward_error: found {self.backward_error!r}; wanted a number in [0, 1)")
        if self.maxiter is not None:
            if not isinstance(self.maxiter, Integral) or isinstance(self.maxiter, bool):
                whole = _is_real(self.maxiter) and self.maxiter % 1 == 0
                meant = f"; did you mean {int(self.maxiter)}?" if whole else ""
                raise TypeError(f"maxiter: found {self.maxiter!r}; wanted an integer{meant}")
            if self.maxiter < 0:
                raise InputError(f"maxiter: found {self.maxiter}; wanted at least 0")
        if self.time_limit is not None and not (_is_real(self.time_limit) and self.time_limit > 0):
            raise InputError(f"time_limit: found {self.time_limit!r}; wanted a number of seconds above 0")
        choose_fields(self, errors=("raise", "collect"))
        if self.callback is not None and not callable(self.callback):
            raise TypeError(f"callback: found {type(self.callback).__name__}; wanted a callable")

    @property
    def unobserved(self) -> bool:
        """Nobody watches, and no clock limits it."""
        return self.callback is None and not self.progress and self.time_limit is None and self.backward_error == 0

    def most_iterations(self, n: int) -> int:
        """``maxiter``, or what it is by default for n unknowns."""
        return self.maxiter if self.maxiter is not None else max(10 * n, 1000)


def _is_real(value: Any) -> bool:
    return type(value) is float or isinstance(value, Real)


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a solve has to end.

    Attributes
    ----------
    at : float
        Seconds on that clock.
    clock : callable
        The clock that all processes agree on.
    """

    at: float
    clock: Callable[[], float]

    @property
    def passed(self) -> bool:
        """Whether it is over."""
        return self.left < 0

    @property
    def left(self) -> float:
        """Seconds until then."""
        return self.at - self.clock()


class Watch:
    """Follows the residual norms: the rate, the best, whether they diverge or stand still.

    Two kinds of standing still are told apart: at the rounding level, where nothing more can be had, and above it,
    where the method is merely slow. Progress is less than a tenth within ``window`` iterations. ``floor`` is asked for
    u (||A|| ||x|| + ||b||) only when progress has ceased.
    """

    def __init__(self, norm: float, unit_roundoff: float, floor: Callable[[], float], window: int) -> None:
        self.window = window
        self.initial = self.best = norm
        self.limit = norm / unit_roundoff
        self.floor = floor
        self.window_norm, self.window_start = norm, 0
        self.last_norm, self.last_iteration, self.rate = norm, 0, math.nan
        self.best_at = 0

    def observe(self, iteration: int, norm: float) -> Status | None:
        """Take note of a norm; DIVERGED or STAGNATED when it is so."""
        if iteration > self.last_iteration and self.last_norm > 0 and norm > 0:
            self.rate = (norm / self.last_norm) ** (1 / (iteration - self.last_iteration))
        self.last_norm, self.last_iteration = norm, iteration
        if norm < self.best:
            self.best, self.best_at = norm, iteration
        if not norm <= self.limit:
            return Status.DIVERGED
        if norm <= 0.9 * self.window_norm:
            self.window_norm, self.window_start = norm, iteration
        elif iteration - self.window_start >= self.window:
            floor = self.floor()
            if norm <= 10 * floor:
                return Status.STAGNATED
            if norm <= 1e6 * floor and iteration - self.best_at >= 10 * self.window:
                return Status.STAGNATED
            if norm > 0.999 * self.window_norm:
                self.window_start = iteration - self.window // 2
            else:
                self.window_norm, self.window_start = norm, iteration
        return None

    def iterations_to(self, target: float) -> float:
        """Further iterations to the target at the observed rate; infinite where there is none."""
        if not 0 < self.rate < 1 or target <= 0:
            return math.inf
        return max(0.0, (math.log(target) - math.log(self.last_norm)) / math.log(self.rate))


class Watches:
    """The same for many iterations side by side, each as if it were alone; what is a number there is an array here.

    Parameters
    ----------
    norms : ndarray, (...)
    unit_roundoff : float
    window : int
    """

    def __init__(self, norms: np.ndarray, unit_roundoff: float, window: int) -> None:
        self.window, self.unit_roundoff = window, unit_roundoff
        self.initial, self.limit = norms, norms / unit_roundoff
        self.best, self.window_norm, self.last_norm = (norms.copy() for _ in range(3))
        self.best_at, self.window_start, self.last_iteration = np.zeros((3, *norms.shape), int)
        self.rate = np.full(norms.shape, math.nan)

    def observe(
        self, which: np.ndarray, iterations: np.ndarray, norms: np.ndarray, floor: Callable[[], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Take note of the norms of these members; who of them diverges, and who stands still.

        ``floor`` gives what rounding may leave of each; it is asked for only when progress has ceased.
        """
        steps = iterations - self.last_iteration
        with np.errstate(all="ignore"):
            rate = (norms / self.last_norm) ** (1 / np.maximum(steps, 1))
        moved = which & (steps > 0) & (self.last_norm > 0) & (norms > 0)
        self.rate[moved] = rate[moved]
        self.last_norm[which], self.last_iteration[which] = norms[which], iterations[which]
        better = which & (norms < self.best)
        self.best[better], self.best_at[better] = norms[better], iterations[better]
        diverged = which & ~(norms <= self.limit)
        fell = which & ~diverged & (norms <= 0.9 * self.window_norm)
        self.window_norm[fell], self.window_start[fell] = norms[fell], iterations[fell]
        still = which & ~diverged & ~fell & (iterations - self.window_start >= self.window)
        if not still.any():
            return diverged, still
        level, long = floor(), iterations - self.best_at >= 10 * self.window
        stagnated = still & ((norms <= 10 * level) | ((norms <= 1e6 * level) & long))
        nowhere = still & ~stagnated & (norms > 0.999 * self.window_norm)
        slow = still & ~stagnated & ~nowhere
        self.window_start[nowhere] = iterations[nowhere] - self.window // 2
        self.window_norm[slow], self.window_start[slow] = norms[slow], iterations[slow]
        return diverged, stagnated

    def of(self, k: int, floor: float) -> Watch:
        """What one member was seen to do."""
        watch = Watch(float(self.initial[k]), self.unit_roundoff, lambda: floor, self.window)
        watch.best, watch.best_at = float(self.best[k]), int(self.best_at[k])
        watch.window_norm, watch.window_start = float(self.window_norm[k]), int(self.window_start[k])
        watch.last_norm, watch.last_iteration = float(self.last_norm[k]), int(self.last_iteration[k])
        watch.rate = float(self.rate[k])
        return watch


class Looks:
    """Follows many systems that make their steps side by side: the looks of each, and its end, are those it has alone.

    A system is no longer followed when it meets its target, has made all its steps, or leaves the ordinary course:
    where its norm is not finite, diverges, stands still (as ``Watches`` tell), or is above what theory allows.

    Parameters
    ----------
    first : ndarray of float, (...)
        Residual norms at the start.
    wanted : ndarray of float, (...)
        At which each is solved.
    predicted : ndarray of int, (...)
        Iterations that theory promises, 0 where it promises nothing.
    limit, check_every, window : int
        Iterations at most, between two looks at most, and within which there is to be progress.
    unit_roundoff : float

    Attributes
    ----------
    going : ndarray of bool
        Which are still followed.
    lost : ndarray of bool
        Which have left the ordinary course.
    looks : ndarray of int
    best : ndarray of float
        The smallest norm of those that halved the one before it.
    """

    def __init__(
        self,
        first: np.ndarray,
        wanted: np.ndarray,
        predicted: np.ndarray,
        limit: int,
        check_every: int,
        window: int,
        unit_roundoff: float,
    ) -> None:
        self.wanted, self.predicted, self.limit, self.check_every = wanted, predicted, limit, check_every
        self.watches = Watches(first, unit_roundoff, window)
        self.best, self.looks = first, np.zeros(first.shape, int)
        self.going = (first > wanted) & np.isfinite(first)
        self.lost = np.zeros(first.shape, bool)
        self._next = np.ones(first.shape, int)

    @property
    def norm(self) -> np.ndarray:
        """Residual norms, as seen last."""
        return self.watches.last_norm

    @property
    def iterations(self) -> np.ndarray:
        """After which they were seen."""
        return self.watches.last_iteration

    @property
    def next_look(self) -> int:
        """The iteration after which the next of those that are going is to be looked at."""
        return int(self._next[self.going].min())

    def observe(
        self, iteration: int, norms: np.ndarray, floor: Callable[[], np.ndarray], allowed: np.ndarray | None
    ) -> np.ndarray:
        """Take note of the norms of those whose look it is; which these are.

        ``floor`` gives what rounding alone leaves, ``allowed`` is what no norm exceeds but for that.
        """
        due = self.going & (self._next == iteration)
        self.looks = self.looks + due
        diverged, stagnated = self.watches.observe(due, np.full(norms.shape, iteration), norms, floor)
        follow = due & (norms > self.wanted) & ~diverged & ~stagnated
        if allowed is not None and (follow & (norms > allowed)).any():
            follow &= ~(norms > allowed + 30 * floor())
        self.lost |= due & (norms > self.wanted) & ~follow | due & ~np.isfinite(norms)
        follow &= iteration < self.limit
        self.best = np.where(follow & (norms <= 0.5 * self.best), norms, self.best)
        self.going = (self.going & ~due) | follow
        self._next = np.where(follow, iteration + self._steps(iteration), self._next)
        return due

    def _steps(self, iteration: int) -> np.ndarray:
        """Until the next look: fewer where the target is near at the rate seen, or where theory says it is."""
        steps = np.full(self.norm.shape, min(self.check_every, self.limit - iteration, max(1, iteration)))
        rate = self.watches.rate
        with np.errstate(all="ignore"):
            expected = np.maximum(0.0, (np.log(self.wanted) - np.log(self.norm)) / np.log(rate))
            near = (rate > 0) & (rate < 1) & (self.wanted > 0) & (expected < steps)
        steps[near] = np.maximum(1, expected[near].astype(int))
        left = self.predicted - iteration
        return np.where(left > 0, np.minimum(steps, left), steps)
