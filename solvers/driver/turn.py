"""One at a time: what keeps an order or a workspace of its own is not to be entered twice at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

    @contextmanager
    def taken(self, what: str) -> Iterator[None]:
        """Within, others are refused.

        Raises
        ------
        BusyError
            Where somebody is in.
        """
        entered = False
        try:
            entered = self._lock.acquire(blocking=False)
            if not entered:
                here = self._holder == threading.get_ident()
                raise BusyError(
                    f"{what}: is in use already, {'further up in this very thread' if here else 'by another thread'}; "
                    "wanted one for each thread, or calls in turn"
                )
            self._holder = threading.get_ident()
            yield
        finally:
            if entered:
                self._holder = None
                self._lock.release()

    def __reduce__(self) -> tuple[Callable[[], Any], tuple[()]]:
        return Turn, ()
