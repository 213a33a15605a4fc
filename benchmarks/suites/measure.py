"""How the benchmarks measure: interleaved in one process, and judged by ratios.

On a shared machine the same code may take twice as long a minute later. What is compared is therefore timed in turns,
A B A B ..., and two figures are drawn from the rounds: the ratio of the minima, which other load can only approach from
one side, and the median of the ratios within a round. Rounds during which other processes were busy are left out, and
made up for, as far as Linux tells and patience lasts.
"""

from __future__ import annotations

import os
import time
import tracemalloc
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numba import prange

from resolvent import ConvergenceWarning

__all__ = [
    "Loop",
    "Times",
    "call_times",
    "copy_bandwidth",
    "copy_call",
    "iteration_times",
    "peak_vectors",
    "ratio",
    "usable_cores",
]

# Solves are cut short on purpose here.
warnings.simplefilter("ignore", ConvergenceWarning)

SAMPLE = 2e-3  # seconds that a sample lasts at least; shorter calls are repeated within it
GROUP = 0.2  # seconds after which it is asked what other processes did meanwhile
FEWEST_ROUNDS = 3
PATIENCE = 2.0  # how many times the seconds asked for may be spent when the machine is busy


@dataclass(frozen=True)
class Loop:
    """A solver that can be told how many iterations to make.

    Attributes
    ----------
    run : callable
        ``run(k)`` makes exactly k iterations, with whatever set-up comes before and after.
    few, many : int
        The two counts; the time of an iteration is the difference of their times over ``many - few``, so that set-up
        and the last look at the residual cancel.
    """

    run: Callable[[int], Any]
    few: int
    many: int


@dataclass(frozen=True)
class Times:
    """Seconds of one thing: the best, and one figure a round; ``quiet`` if nothing else ran meanwhile."""

    best: float
    rounds: np.ndarray
    quiet: bool = True

    @property
    def median(self) -> float:
        """Of the rounds."""
        return float(np.median(self.rounds))


def ratio(slow: Times, fast: Times) -> tuple[float, float]:
    """How many times faster ``fast`` is: by the best times, and as the median of the paired rounds."""
    return slow.best / fast.best, float(np.median(slow.rounds / fast.rounds))


def call_times(calls: Mapping[str, Callable[[], Any]], seconds: float = 2.0) -> dict[str, Times]:
    """Seconds a call of each, in turns, for about so many quiet seconds; each is called once before."""
    numbers = {}
    for name, call in calls.items():
        call()
        began = time.perf_counter()
        call()
        numbers[name] = max(1, round(SAMPLE / (time.perf_counter() - began)))
    groups: list[tuple[bool, list[list[float]]]] = []
    began = time.perf_counter()
    quiet_seconds, quiet_rounds = 0.0, 0
    while True:
        start, others = time.perf_counter(), others_seconds()
        rounds: list[list[float]] = []
        while not rounds or time.perf_counter() - start < GROUP:
            rounds.append([_seconds(call, numbers[name]) for name, call in calls.items()])
        lasted = time.perf_counter() - start
        quiet = others_seconds() - others <= 0.02 + 0.05 * lasted
        groups.append((quiet, rounds))
        if quiet:
            quiet_seconds, quiet_rounds = quiet_seconds + lasted, quiet_rounds + len(rounds)
        done = sum(len(rounds) for _, rounds in groups)
        spent = time.perf_counter() - began
        enough = quiet_rounds >= FEWEST_ROUNDS
        if (enough and quiet_seconds >= seconds) or (done >= FEWEST_ROUNDS and spent >= PATIENCE * seconds):
            break
        if not quiet:
            time.sleep(GROUP)
    kept = np.array([taken for quiet, rounds in groups if quiet or not enough for taken in rounds])
    return {name: Times(float(column.min()), column, enough) for name, column in zip(calls, kept.T, strict=True)}


def _seconds(call: Callable[[], Any], number: int) -> float:
    began = time.perf_counter()
    for _ in range(number):
        call()
    return (time.perf_counter() - began) / number


def others_seconds() -> float:
    """Processor time that everything but this process has used since the machine started; 0 where it is not told."""
    try:
        with open("/proc/stat") as file:
            user, nice, system, _, _, interrupts, soft, steal = map(int, file.readline().split()[1:9])
    except (OSError, ValueError):
        return 0.0
    own = os.times()
    busy = user + nice + system + interrupts + soft + steal
    return busy / os.sysconf("SC_CLK_TCK") - own.user - own.system


def iteration_times(loops: Mapping[str, Loop], seconds: float = 2.0) -> dict[str, Times]:
    """Seconds an iteration of each, in turns, set-up excluded."""
    calls = {}
    for name, loop in loops.items():
        calls[name, "few"] = _bound(loop.run, loop.few)
        calls[name, "many"] = _bound(loop.run, loop.many)
    taken = call_times(calls, seconds)
    result = {}
    for name, loop in loops.items():
        few, many, steps = taken[name, "few"], taken[name, "many"], loop.many - loop.few
        result[name] = Times((many.best - few.best) / steps, (many.rounds - few.rounds) / steps, few.quiet)
    return result


def _bound(run: Callable[[int], Any], count: int) -> Callable[[], Any]:
    return lambda: run(count)


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@numba.njit(parallel=True, cache=True)
def _copy(x, y):  # type: ignore[no-untyped-def]
    for i in prange(x.size):
        y[i] = x[i]


def copy_call(n: int) -> Callable[[], Any]:
    """A copy of n float64 values by as many threads as the solvers use: 16 n bytes."""
    x, y = np.ones(n), np.zeros(n)
    return lambda: _copy(x, y)


def copy_bandwidth(n: int, seconds: float = 1.0) -> float:
    """Bytes a second of that copy, one read and one write of each value counted."""
    return 16 * n / call_times({"copy": copy_call(n)}, seconds)["copy"].best


def peak_vectors(call: Callable[[], Any], n: int) -> float:
    """Peak of what a call allocates in Python and NumPy, in vectors of n float64 values.

    What exists before the call, the caller's A and b, is not counted; what compiled kernels allocate for themselves is
    not seen: it is a few numbers for each block of 2048 rows. The call is made once before, to load what it needs.
    """
    call()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        call()
        return (tracemalloc.get_traced_memory()[1] - before) / (8 * n)
    finally:
        tracemalloc.stop()
