"""Iterations that stay on the device: launched many at a time, and looked at every ``STRETCH`` of them.

The numbers of an iteration lie on a *board* in device memory. A kernel reads them there, and the block that is done
last writes the next ones, so nothing waits for the host. The first thing there says why the iterations have come to an
end, zero while they go on; kernels that find another number there do nothing. So what is launched beyond the end
changes nothing, the iterates and their count are those of a loop that looks after every step, and a look is needed only
to stop launching.

``STRETCH`` iterations are captured in a CUDA graph, on a stream of their own, and launched as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .products import new_room

try:
    import cupy
except ImportError:
    cupy = None

__all__ = ["BROKE", "FULL", "REACHED", "STRETCH", "Board", "Replay"]

STRETCH = 16  # iterations a look, and a graph: at most so many launches but one find nothing to do
# Why iterations have come to an end: the target is reached, as many were made as were asked for, or the next one is not
# to be made in this way. Others belong to a method.
REACHED, FULL, BROKE = 1, 2, 3
MOST = 4096  # iterations a run, which is as many as the driver ever asks for at a time to go forwards
FIRST = ("why", "taken", "most", "target")


class Board:
    """Numbers of an iteration in device memory, and lists that grow by one number an iteration.

    Parameters
    ----------
    names : sequence of str
        Of the numbers, besides ``why``, ``taken``, ``most`` and ``target``, with which every board begins.
    lists : sequence of str
    """

    def __init__(self, names: Sequence[str], lists: Sequence[str]) -> None:
        self.names, self.lists = (*FIRST, *names), tuple(lists)
        self.array = cupy.zeros(len(self.names) + len(self.lists) * MOST)
        self.room = new_room()

    @staticmethod
    def text(names: Sequence[str], lists: Sequence[str]) -> str:
        """Its places, for the text of kernels: WHY, TAKEN, and so on, and where each list begins."""
        known = (*FIRST, *names)
        places = {name.upper(): at for at, name in enumerate(known)}
        places |= {name.upper(): len(known) + k * MOST for k, name in enumerate(lists)}
        places |= {"REACHED": REACHED, "FULL": FULL, "BROKE": BROKE}
        return "enum {" + ", ".join(f"{name} = {at}" for name, at in places.items()) + "};\n"

    @property
    def places(self) -> tuple[Any, Any, Any]:
        """The last arguments of kernels: the board, and room for sums."""
        return self.array, self.room.partial, self.room.arrived

    def put(self, stream: Any, steps: int, target: float, **numbers: float) -> None:
        """Begin a run of so many iterations at most, without waiting; numbers that are not named are zero."""
        head = {"why": 0.0, "taken": 0.0, "most": steps, "target": target, **numbers}
        self.array[: len(self.names)].set(np.array([float(head.get(name, 0.0)) for name in self.names]), stream)

    def head(self) -> dict[str, float]:
        """The numbers, once all that was launched is done."""
        return dict(zip(self.names, self.array[: len(self.names)].get().tolist(), strict=True))

    def list_of(self, name: str, count: int) -> list[float]:
        """The first numbers of a list."""
        start = len(self.names) + self.lists.index(name) * MOST
        return self.array[start : start + count].get().tolist()


class Replay:
    """Launches iterations on a stream of its own, ``STRETCH`` at a time by a graph.

    Parameters
    ----------
    launch : callable
        ``launch(k)`` launches the kernels of the k-th iteration after the vectors were last renamed.
    period : int
        Iterations after which vectors have their names again; a stretch is a multiple of it.
    """

    def __init__(self, launch: Callable[[int], None], period: int = 1) -> None:
        self.launch, self.stretch = launch, -(-STRETCH // period) * period
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self._graphs: dict[tuple[int, ...], Any] = {}

    @contextmanager
    def running(self) -> Iterator[None]:
        """On the stream: after what was launched on the caller's, and before what will be, interrupted or not."""
        callers = cupy.cuda.get_current_stream()
        self.stream.wait_event(callers.record())
        try:
            with self.stream:
                yield
        finally:
            callers.wait_event(self.stream.record())

    def play(self, count: int, vectors: Sequence[Any]) -> int:
        """Launch the next ``count`` iterations, or a stretch where that is less, on these vectors; how many.

        The first stretch is launched kernel by kernel: many a solve ends in it. So is the second, and captured while
        the device is busy with it.
        """
        count, key = min(count, self.stretch), tuple(vector.data.ptr for vector in vectors)
        if count == self.stretch and self._graphs.get(key) is not None:
            self._graphs[key].launch(self.stream)
            return count
        for k in range(count):
            self.launch(k)
        if count == self.stretch:
            self._graphs[key] = self._captured() if key in self._graphs else None
        return count

    def _captured(self) -> Any:
        self.stream.begin_capture()
        try:
            for k in range(self.stretch):
                self.launch(k)
        finally:
            graph = self.stream.end_capture()
        return graph

    def until_stopped(
        self, board: Board, steps: int, target: float, vectors: Sequence[Any], **numbers: float
    ) -> dict[str, float]:
        """Iterate until the board says why no further, looking at it once a stretch; what it says then."""
        launched, steps = 0, min(steps, MOST)
        with self.running():
            board.put(self.stream, steps, target, **numbers)
            while True:
                launched += self.play(steps - launched, vectors)
                head = board.head()
                if head["why"] or launched >= steps:
                    return head
