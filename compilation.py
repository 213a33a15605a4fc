"""Who is told that kernels are being compiled. It needs no compiler, so that listening costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["LISTENERS", "tell", "told"]

# Called with the name of a kernel before it is compiled, with None when the last of those begun is done.
LISTENERS: list[Callable[[str | None], None]] = []


@contextmanager
def told(listener: Callable[[str | None], None]) -> Iterator[None]:
    """Within, the listener is told.

    Examples
    --------
    >>> from resolvent.compilation import tell, told
    >>> names = []
    >>> with told(names.append):
    ...     tell("dot")
    >>> names
    ['dot']
    """
    LISTENERS.append(listener)
    try:
        yield
    finally:
        LISTENERS.remove(listener)


def tell(name: str | None) -> None:
    """Every listener."""
    for listener in list(LISTENERS):
        listener(name)
