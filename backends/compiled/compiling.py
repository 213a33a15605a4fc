"""How kernels are compiled: a serial and a parallel variant of one function, both cached on disk.

Sums may be reassociated (vectorised) and multiplications contracted into additions; NaN and infinities keep their
meaning. Reductions run over fixed blocks of rows, whose partial sums are added in order: the result does not depend on
the number of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import numba

__all__ = ["BLOCK", "FAST", "PARALLEL_FROM", "Variants", "threads"]

BLOCK = 2048  # rows a block: a few vectors of a block fit the first-level cache
PARALLEL_FROM = 1 << 18  # rows from which a second thread pays even where the machine has other work
FAST = frozenset({"reassoc", "contract"})


class Variants:
    """One function compiled twice: serially, and with ``prange`` over its blocks.

    Used as a decorator. ``fastmath`` is a set of LLVM flags, empty for kernels whose order of operations is the point.
    """

    def __init__(self, function: Callable[..., Any], fastmath: frozenset[str] = FAST) -> None:
        flags = {"cache": True, "error_model": "numpy", "nogil": True, "fastmath": set(fastmath)}
        self.serial = numba.njit(**flags)(_renamed(function, "_serial"))
        self._parallel = numba.njit(parallel=True, **flags)(_renamed(function, "_parallel"))

    @property
    def parallel(self) -> Any:
        """The variant whose blocks are shared among threads."""
        _start_threads()
        return self._parallel if _enters_many() else self._in_turn

    def _in_turn(self, *arguments: Any) -> Any:
        with _ENTRY:
            return self._parallel(*arguments)

    def for_size(self, n: int) -> Any:
        """The variant that is faster for n rows on this machine."""
        return self.parallel if n >= PARALLEL_FROM and threads() > 1 else self.serial


def threads() -> int:
    """How many threads the parallel variants work with, when called from this one."""
    _start_threads()
    return numba.get_num_threads()


@cache
def _start_threads() -> None:
    """Have Numba start its threads, once a process, without a trace in the thread that calls.

    As it does so, Numba sets the number of threads of OpenMP, which torch works with as well. OpenMP keeps that number
    for each thread, and this one ends here.
    """
    starter = threading.Thread(target=numba.get_num_threads)
    starter.start()
    starter.join()


# Held while a parallel variant runs on threads that end the process where two callers meet.
_ENTRY = threading.Lock()


@cache
def _enters_many() -> bool:
    """Whether Numba's threads, once started, take work of several callers at a time; those of "workqueue" do not."""
    return numba.threading_layer() != "workqueue"


def _renamed(function: Any, suffix: str) -> FunctionType:
    """A copy with a name of its own, since Numba's disk cache tells functions apart by name and line only."""
    copy = FunctionType(function.__code__, function.__globals__, function.__name__ + suffix)
    copy.__qualname__ = function.__qualname__ + suffix
    copy.__module__ = function.__module__
    return copy
