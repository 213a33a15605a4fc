"""What is loaded when somebody first asks for it: the public names of a package, and the rows of tables.

A place is written as entry points are, "module:name" or "module", relative to a package.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, TypeVar

__all__ = ["Rows", "lazy_names", "place_of"]

K = TypeVar("K", bound=str)
T = TypeVar("T")


def lazy_names(package: str, places: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package whose names lie in other modules (PEP 562).

    Type checkers do not follow them: they read the imports that the package has under ``if TYPE_CHECKING``.

    Parameters
    ----------
    package : str
        Its ``__name__``.
    places : dict
        From names to places. A name must not be that of another module of the package, which hides it once imported.

    Examples
    --------
    >>> from resolvent.lazy import lazy_names
    >>> get, names = lazy_names("resolvent", {"cg": "solvers.krylov.cg:cg"})
    >>> get("cg").__name__, names()
    ('cg', ['cg'])
    """

    def get(name: str) -> Any:
        module = sys.modules[package]
        if name not in places:
            from .naming import elsewhere, suggestion  # which most programs never need

            other = elsewhere(name, places)
            meant = f": {other}" if other else "" if name.startswith("_") else suggestion(name, places)
            message = f"module {package!r} has no attribute {name!r}{meant}"
            raise AttributeError(message, name=name, obj=module)
        found = loaded(package, places[name])
        setattr(module, name, found)
        return found

    return get, lambda: sorted(places)


class Rows(Mapping[K, T]):
    """A table of what lies elsewhere, each row loaded when it is first read.

    Parameters
    ----------
    package : str
    places : dict
        From names to places.

    Examples
    --------
    >>> from resolvent.lazy import Rows
    >>> methods = Rows("resolvent.solvers", {"cg": "krylov.cg:CG", "ssor_cg": "krylov.ssor_cg:SSORCG"})
    >>> list(methods), methods["cg"].title
    (['cg', 'ssor_cg'], 'Conjugate gradients')
    """

    def __init__(self, package: str, places: Mapping[K, str]) -> None:
        self._package, self._places = package, dict(places)
        self._found: dict[K, T] = {}

    def __getitem__(self, name: K) -> T:
        found = self._found.get(name)
        if found is None:
            found = self._found[name] = loaded(self._package, self._places[name])
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[K]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        return f"<table of {', '.join(self._places)}>"


def loaded(package: str, place: str) -> Any:
    """What lies at a place."""
    module, _, name = place.partition(":")
    found = import_module(f"{package}.{module}")
    return getattr(found, name) if name else found


def place_of(kind: type) -> str:
    """Of a class, by which tables know it without importing it."""
    return f"{kind.__module__}:{kind.__qualname__}"
