"""Compiled functions kept on disk: compiled once, by one process, and again when anything that they call has changed.

Numba's own cache looks at the file of a function alone. Here the state of every file that kernels are made of is looked
at, whichever of them a kernel calls. Of several processes that want the same kernel one compiles it, and the others
wait for it. Where the cache cannot be read or written, kernels are compiled in each process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import pickle
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import numba
from numba.core.caching import FunctionCache

from .compilation import tell

try:
    import fcntl
except ImportError:  # there are systems without; each process then compiles for itself
    fcntl = None  # type: ignore[assignment]

__all__ = ["SOURCES", "kernel"]

# What kernels are made of, by patterns below the package.
SOURCES = (
    "kernels.py",
    "backends/block.py",
    "backends/compiled/*.py",
    "layers/regression/compiled.py",
    "operators/fill_kernels.py",
    "operators/graph_kernels.py",
    "precision/*.py",
    "solvers/chebyshev/coefficients.py",
    "solvers/matrix_functions/compiled.py",
    "solvers/tuning/*.py",
)
PATIENCE = 120.0  # seconds to wait for another process that compiles the same kernel
# Of files that cannot be had, and of torn ones.
ERRORS = (OSError, EOFError, pickle.UnpicklingError, AttributeError, ImportError, IndexError)


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator of a kernel.

    Parameters
    ----------
    **options
        Of ``numba.njit``. By default a division by zero is no error, and threads may run meanwhile.

    Returns
    -------
    callable
        The decorator, which returns Numba's dispatcher.

    Notes
    -----
    Operations are done in the order in which they are written unless ``fastmath`` says otherwise. That has to be said:
    else a kernel takes after the one in whose compilation it is met first.

    Examples
    --------
    >>> from resolvent.kernels import kernel
    >>> @kernel()
    ... def half(x):
    ...     return x / 2
    >>> half(1.0)
    0.5
    """
    compiled = numba.njit(**{"error_model": "numpy", "nogil": True, "fastmath": False, **options})

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = compiled(function)
        with suppress(RuntimeError):  # nowhere to keep it
            dispatcher._cache = SharedCache(function)
        return dispatcher

    return decorate


class SharedCache(FunctionCache):
    """Numba's cache of a function, which knows the state of all sources and is shared among processes."""

    _begun = 0  # kernels, each for the sake of the one before

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._kernel = function.__name__
        self._lock: Any = None
        file = self._cache_file
        file._source_stamp = (file._source_stamp, state_of_sources())

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """What is kept, or None, and then nobody else compiles it until it is saved."""
        found = self._kept(signature, target_context)
        if found is None:
            deadline = time.monotonic() + PATIENCE
            while found is None and not self._locked() and time.monotonic() < deadline:
                time.sleep(0.02)
                found = self._kept(signature, target_context)
            if found is None:
                # It may have been saved between the last look and the lock.
                found = self._kept(signature, target_context)
            if found is not None:
                self._unlock()
        if found is None:
            SharedCache._begun += 1
            tell(self._kernel)
        return found

    def save_overload(self, signature: Any, data: Any) -> None:
        """Keep it, if that can be done."""
        try:
            with contextlib.suppress(*ERRORS):
                self._forget_other_states()
                super().save_overload(signature, data)
        finally:
            self._unlock()
            SharedCache._begun -= 1
            if not SharedCache._begun:
                tell(None)

    def _kept(self, signature: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(signature, target_context)
        except ERRORS:
            return None

    def _forget_other_states(self) -> None:
        """Remove what was compiled of other sources, so that it is neither taken for this nor heaped up."""
        file = self._cache_file
        if not file._load_index():
            folder, name = os.path.split(file._index_path)
            for path in pathlib.Path(folder).glob(f"{name.removesuffix('.nbi')}.*.nbc"):
                path.unlink(missing_ok=True)

    def _locked(self) -> bool:
        """Whether this process is the one to compile, as it is where there are no locks."""
        if fcntl is None or self._lock is not None:
            return True
        try:
            os.makedirs(self._cache_path, exist_ok=True)
            lock = open(self._cache_file._index_path.removesuffix("nbi") + "lock", "ab")  # noqa: SIM115
        except OSError:
            return True
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        except OSError:
            lock.close()
            return True
        self._lock = lock
        return True

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


@cache
def state_of_sources() -> str:
    """A digest of the names, sizes and dates of the files that kernels are made of."""
    root = pathlib.Path(__file__).parent
    state = []
    for pattern in SOURCES:
        folder, name = os.path.split(pattern)
        with suppress(OSError), os.scandir(root / folder) as entries:  # there are packages that are no folders
            for entry in entries:
                if entry.name == name or (name == "*.py" and entry.name.endswith(".py")):
                    found = entry.stat()
                    state.append((folder, entry.name, found.st_size, found.st_mtime_ns))
    return hashlib.sha256(repr(sorted(state)).encode()).hexdigest()
