"""The registry of backends. Each is imported when it is first asked for.

Tensors on the CPU are a matter of "numba" unless "torch" is asked for: it works on views of their memory, and tensors
come back. Elsewhere they stay on "torch".
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from ..errors import BackendError
from ..naming import choice, named_in
from ..operators.libraries import library_of
from .protocol import Backend

__all__ = ["BACKENDS", "Backend", "backend_named", "choose_backend"]

# name: (module, class); the order is the order in which tables list them.
BACKENDS: dict[str, tuple[str, str]] = {
    "numpy": ("backends.numpy_backend", "NumpyBackend"),
    "numba": ("backends.numba_backend", "NumbaBackend"),
    "array_api": ("backends.array_api_backend", "ArrayAPIBackend"),
    "torch": ("backends.torch_backend", "TorchBackend"),
    "cupy": ("gpu.cupy.backend", "CupyBackend"),
}
# The backend that a library's arrays are worked on with, unless another is asked for.
_DEFAULT = {"numpy": "numba", "torch": "torch", "cupy": "cupy", "array_api": "array_api"}
# How arrays of two libraries become those of one, where that is worth saying.
_CONVERSIONS: dict[tuple[str, ...], str] = {("cupy", "numpy"): "cupy.asarray(...) of NumPy's, or .get() of CuPy's, "}
# What "numba" is for tensors; those out of its reach it leaves to "torch".
_VIEWS = ("backends.torch_views", "TorchViews")


@cache
def backend_named(name: str) -> Backend:
    """The backend of that name; an error lists the names there are, or says what to install."""
    name = choice("backend", name, BACKENDS, error=BackendError)
    try:
        return _made(*BACKENDS[name])
    except ImportError as error:
        extra = "cuda12] or resolvent[cuda13" if name == "cupy" else name
        raise BackendError(f"backend: {name!r} cannot be used here ({error}); install resolvent[{extra}]") from error


@cache
def _made(module: str, cls: str) -> Backend:
    return getattr(import_module(f"{__name__.rpartition('.')[0]}.{module}"), cls)()


def choose_backend(asked: str | Backend | None, *arrays: Any, M: Any = None) -> Backend:
    """The backend for these arrays: the one asked for if it can work on them, else the default of their library.

    M preconditions; one of somebody else's making, bound to a backend, may keep tensors on "torch".
    """
    asked = named_in(asked, BACKENDS) or asked
    given = [array for array in arrays if array is not None]
    libraries = {library for array in given if (library := library_of(array)) is not None}
    if isinstance(asked, Backend) and libraries <= set(asked.libraries):
        return asked.bound_to(given)
    if len(libraries) > 1:
        how = _CONVERSIONS.get(tuple(sorted(libraries)), "")
        raise BackendError(
            f"A, b and x0 come from {' and '.join(sorted(libraries))}; convert them to one library first, "
            f"{how and 'by ' + how}since nothing is moved between libraries or devices silently"
        )
    library = next(iter(libraries), "numpy")
    if library == "torch" and (asked is None or asked == "numba"):
        backend = _made(*_VIEWS).bound_to([*given, M] if hasattr(M, "bind") else given)
        if asked is not None and backend.name != asked:
            raise BackendError(
                f"backend: {asked!r} works on plain tensors of the CPU, with operators and preconditioners of this "
                "package; leave it out, and they stay on the torch backend"
            )
        return backend
    if asked is None:
        return backend_named(_DEFAULT[library]).bound_to(given)
    backend = asked if isinstance(asked, Backend) else backend_named(asked)
    if libraries and library not in backend.libraries:
        raise BackendError(
            f"backend: {backend.name!r} works on {backend.library} arrays, but the system is given in {library} "
            "arrays; convert them, or leave backend out"
        )
    return backend.bound_to(given)
