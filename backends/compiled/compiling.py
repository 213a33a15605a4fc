"""How kernels are compiled, and shared among threads: one function for any number of them, cached on disk.

A kernel's first argument is the team that runs it, (own number, members, address): each member takes its ``share`` of
the blocks, and they ``meet`` where one needs what another wrote. ``ALONE`` is a team of one, for which nothing of this
is left. Reductions run over fixed blocks of rows, whose partial sums, ``sums_of`` a team, are added in order: the
result does not depend on the number of threads.

Sums may be reassociated (vectorised) and multiplications contracted into additions; NaN and infinities keep their
meaning.
"""

from __future__ import annotations

import ctypes
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba import carray
from numba.core import types
from numba.extending import intrinsic, register_jitable

from ...kernels import kernel

__all__ = ["ALONE", "BLOCK", "FAST", "PARALLEL_FROM", "Shared", "meet", "share", "sums_of", "threads"]

BLOCK = 2048  # rows a block: a few vectors of a block fit the first-level cache
PARALLEL_FROM = 1 << 18  # rows from which a second thread pays even where the machine has other work
FAST = frozenset({"reassoc", "contract"})
ALONE = (0, 1, 0)

# What a team shares, in words of eight bytes: three on lines of the cache of their own, how many sums there is room
# for, and that room.
ARRIVED, TURN, ABANDONED, ROOM, SUMS = 0, 8, 16, 24, 32
ROWS_A_SUM = 128  # at least: sixteen kinds of sums a block
PATIENCE = 4096  # looks at the turn before the processor is offered to others


class Shared:
    """A kernel over blocks of rows, which are shared among threads where there are many.

    Used as a decorator. ``fastmath`` is a set of LLVM flags, empty for kernels whose order of operations is the point.

    Attributes
    ----------
    kernel : dispatcher
        For use in other kernels, with the team as its first argument.
    """

    def __init__(self, function: Callable[..., Any], fastmath: frozenset[str] = FAST) -> None:
        self.kernel = kernel(fastmath=set(fastmath))(function)

    def serial(self, *arguments: Any) -> Any:
        """The kernel run by one thread."""
        return self.kernel(ALONE, *arguments)

    def parallel(self, *arguments: Any) -> Any:
        """The kernel run by all threads."""
        return _CREW.run(self.kernel, threads(), arguments)

    def for_size(self, n: int) -> Any:
        """The way that is faster for n rows on this machine."""
        return self.parallel if n >= PARALLEL_FROM and threads() > 1 else self.serial


def threads() -> int:
    """How many threads share a kernel that is called from this one.

    As many as Numba would take: those of ``NUMBA_NUM_THREADS``, unless ``numba.set_num_threads`` says otherwise. Numba
    is not asked before its own threads have started, since asking would start them, and set those of OpenMP.
    """
    own = sys.modules.get("numba.np.ufunc.parallel")
    return numba.get_num_threads() if getattr(own, "_is_initialized", False) else numba.config.NUMBA_NUM_THREADS


class _Crew:
    """Threads that wait for work; one caller at a time has them, and whoever comes meanwhile works alone."""

    def __init__(self) -> None:
        self.taken = threading.Lock()
        self.dismiss()

    def dismiss(self) -> None:
        """Have none, and nothing in common with those that may still be at work."""
        self.waiting: list[queue.SimpleQueue[Any]] = []
        self.common = np.zeros(SUMS, np.int64)

    def run(self, kernel: Any, size: int, arguments: tuple[Any, ...]) -> Any:
        """What the kernel returns to the first member of a team."""
        if size == 1 or not self.taken.acquire(blocking=False):
            return kernel(ALONE, *arguments)
        common = None
        try:
            common = self._gathered(size, max(a.shape[-1] for a in arguments if isinstance(a, np.ndarray)))
            address = common.ctypes.data
            done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
            for me in range(1, size):
                self.waiting[me - 1].put((kernel, ((me, size, address), *arguments), common, done))
            result = kernel((0, size, address), *arguments)
            for _ in range(1, size):
                if failure := done.get():
                    raise failure
            return result
        except BaseException:
            if common is not None:
                common[ABANDONED] = 1
            for tasks in self.waiting:
                tasks.put(None)
            self.dismiss()
            raise
        finally:
            self.taken.release()

    def _gathered(self, size: int, rows: int) -> np.ndarray:
        """What so many members have in common; the threads of all but the first are there."""
        words = SUMS + rows // ROWS_A_SUM + 8
        if self.common.size < words:
            self.common = np.zeros(words, np.int64)
            self.common[ROOM] = words - SUMS
        while len(self.waiting) < size - 1:
            tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
            threading.Thread(target=_member, args=(tasks,), daemon=True).start()
            self.waiting.append(tasks)
        return self.common


def _member(tasks: queue.SimpleQueue[Any]) -> None:
    while task := tasks.get():
        kernel, arguments, common, done = task
        failure = None
        try:
            kernel(*arguments)
        except BaseException as error:  # raised where the others of the team will hear of it
            common[ABANDONED] = 1
            failure = error
        task = kernel = arguments = common = None
        done.put(failure)


_CREW = _Crew()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_CREW.__init__)  # type: ignore[misc]


# What kernels call.


@register_jitable
def share(team, count):  # type: ignore[no-untyped-def]
    """The first of a member's blocks, and the one after its last."""
    return team[0] * count // team[1], (team[0] + 1) * count // team[1]


@register_jitable
def sums_of(team, kinds, blocks):  # type: ignore[no-untyped-def]
    """Room for so many kinds of sums a block, common to all members, who are to meet before they read.

    A sum stands for ``ROWS_A_SUM`` rows or more, but for the last blocks.
    """
    if team[1] == 1:
        return np.empty((kinds, blocks))
    if kinds * blocks > _load(team[2] + 8 * ROOM):
        raise ValueError("a kernel asks for more kinds of sums than its team has room for")
    return carray(_numbers(team[2] + 8 * SUMS), (kinds, blocks))


@register_jitable
def meet(team):  # type: ignore[no-untyped-def]
    """Wait until every member of the team is here."""
    common = team[2]
    if team[1] > 1:
        turn = _load(common + 8 * TURN)
        if _add(common + 8 * ARRIVED, 1) == team[1] - 1:
            _add(common + 8 * ARRIVED, -team[1])
            _add(common + 8 * TURN, 1)
        else:
            looks = 0
            while _load(common + 8 * TURN) == turn and _load(common + 8 * ABANDONED) == 0:
                looks += 1
                if looks > PATIENCE:
                    _yield()


def _processor_offered() -> Any:
    """The system's function by which a thread lets another one run; kernels that call it can be cached."""
    library = ctypes.WinDLL("kernel32") if os.name == "nt" else ctypes.CDLL(None)  # type: ignore[attr-defined,unused-ignore]
    function = library.SwitchToThread if os.name == "nt" else library.sched_yield
    llvm.add_symbol("resolvent_yield", ctypes.cast(function, ctypes.c_void_p).value)
    return types.ExternalFunction("resolvent_yield", types.int32())


_yield = _processor_offered()


@intrinsic
def _load(typing_context, address):  # type: ignore[no-untyped-def]
    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.load_atomic(builder.inttoptr(arguments[0], ir.IntType(64).as_pointer()), "seq_cst", 8)

    return types.int64(types.int64), build


@intrinsic
def _add(typing_context, address, amount):  # type: ignore[no-untyped-def]
    """What was there before."""

    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pointer = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", pointer, arguments[1], "seq_cst")

    return types.int64(types.int64, types.int64), build


@intrinsic
def _numbers(typing_context, address):  # type: ignore[no-untyped-def]
    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.inttoptr(arguments[0], ir.DoubleType().as_pointer())

    return types.CPointer(types.float64)(types.int64), build  # type: ignore[attr-defined]
