"""The one stopping rule, and the options every solve takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from ...errors import InputError
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
                raise TypeError(f"maxiter: found {self.maxiter!r}; wanted an integer")
            if self.maxiter < 0:
                raise InputError(f"maxiter: found {self.maxiter}; wanted at least 0")
        if self.time_limit is not None and not (_is_real(self.time_limit) and self.time_limit > 0):
            raise InputError(f"time_limit: found {self.time_limit!r}; wanted a number of seconds above 0")
        if self.errors not in ("raise", "collect"):
            raise InputError(f'errors: found {self.errors!r}; wanted "raise" or "collect"')
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
    """Follows many systems that make their steps side by side: the looks of each, and its end, are those it has alone.

    A system is no longer followed when it meets its target, has made all its steps, or leaves the ordinary course:
    where its norm is not finite, diverges, stands still (as ``Watch`` tells), or is above what theory allows.

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
    iterations, looks : ndarray of int
    norm, best : ndarray of float
        Seen last; the smallest of those that halved the one before it.
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
        self.wanted, self.predicted, self.limit, self.window = wanted, predicted, limit, window
        self.check_every, self.largest = check_every, first / unit_roundoff
        self.norm, self.best, self._lowest, self._window_norm = first, first, first, first
        self.iterations, self.looks, self._lowest_at, self._window_start = np.zeros((4, *first.shape), int)
        self._rate = np.full(first.shape, math.nan)
        self.going = (first > wanted) & np.isfinite(first)
        self.lost = np.zeros(first.shape, bool)
        self._next = np.ones(first.shape, int)

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
        gap = np.where(due, iteration - self.iterations, 1)
        falls = due & (self.norm > 0) & (norms > 0)
        with np.errstate(all="ignore"):
            self._rate = np.where(falls, (norms / self.norm) ** (1 / gap), self._rate)
        self.norm = np.where(due, norms, self.norm)
        self.iterations, self.looks = np.where(due, iteration, self.iterations), self.looks + due
        lower = due & (norms < self._lowest)
        self._lowest = np.where(lower, norms, self._lowest)
        self._lowest_at = np.where(lower, iteration, self._lowest_at)
        follow = due & (norms > self.wanted) & (norms <= self.largest)
        progress = follow & (norms <= 0.9 * self._window_norm)
        still = follow & ~progress & (iteration - self._window_start >= self.window)
        above = follow & (norms > allowed) if allowed is not None else np.zeros_like(follow)
        flat = still & (norms > 0.999 * self._window_norm)
        if still.any() or above.any():
            level = floor()
            long = iteration - self._lowest_at >= 10 * self.window
            follow &= ~(still & ((norms <= 10 * level) | (long & (norms <= 1e6 * level))))
            if allowed is not None:
                follow &= ~(norms > allowed + 30 * level)
        self._window_norm = np.where(progress | (still & ~flat), norms, self._window_norm)
        self._window_start = np.where(progress | still, iteration - flat * (self.window // 2), self._window_start)
        self.lost |= due & (norms > self.wanted) & ~follow | due & ~np.isfinite(norms)
        follow &= iteration < self.limit
        self.best = np.where(follow & (norms <= 0.5 * self.best), norms, self.best)
        self.going = (self.going & ~due) | follow
        self._next = np.where(follow, iteration + self._steps(iteration), self._next)
        return due

    def _steps(self, iteration: int) -> np.ndarray:
        """Until the next look: fewer where the target is near at the rate seen, or where theory says it is."""
        steps = np.full(self.norm.shape, min(self.check_every, self.limit - iteration, max(1, iteration)))
        with np.errstate(all="ignore"):
            expected = np.maximum(0.0, (np.log(self.wanted) - np.log(self.norm)) / np.log(self._rate))
            near = (self._rate > 0) & (self._rate < 1) & (self.wanted > 0) & (expected < steps)
        steps[near] = np.maximum(1, expected[near].astype(int))
        left = self.predicted - iteration
        return np.where(left > 0, np.minimum(steps, left), steps)
