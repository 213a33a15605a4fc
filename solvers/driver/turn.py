"""One at a time: what keeps an order or a workspace of its own is not to be entered twice at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ...errors import BusyError

__all__ = ["Turn"]


class Turn:
    """Lets one caller in at a time, and refuses the others rather than let them wait: their order would be chance.

    A copy is free.

    Examples
    --------
    >>> from resolvent.solvers.driver.turn import Turn
    >>> turn = Turn()
    >>> with turn.taken("the sequence"), turn.taken("the sequence"):
    ...     pass
    Traceback (most recent call last):
    resolvent.errors.BusyError: the sequence: is in use already, further up in this very thread; ...
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder: int | None = None

    def taken(self, what: str) -> Taken:
        """Within, others are refused.

        Raises
        ------
        BusyError
            Where somebody is in.
        """
        return Taken(self, what)

    def enter(self, what: str) -> None:
        """What ``taken`` does first."""
        if not self._lock.acquire(blocking=False):
            here = self._holder == threading.get_ident()
            raise BusyError(
                f"{what}: is in use already, {'further up in this very thread' if here else 'by another thread'}; "
                "wanted one for each thread, or calls in turn"
            )
        self._holder = threading.get_ident()

    def leave(self) -> None:
        """What ``taken`` does last."""
        self._holder = None
        self._lock.release()

    def __reduce__(self) -> tuple[Callable[[], Any], tuple[()]]:
        return Turn, ()


class Taken:
    """A turn while it is taken: a context manager, by hand since it is entered for every small solve."""

    __slots__ = ("_turn", "_what")

    def __init__(self, turn: Turn, what: str) -> None:
        self._turn, self._what = turn, what

    def __enter__(self) -> None:
        self._turn.enter(self._what)

    def __exit__(self, *exception: object) -> None:
        self._turn.leave()
