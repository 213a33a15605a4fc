"""The table of methods for fixed points, from which they are looked up by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import InputError
from ..driver.method import named_parameters
from .anderson import Anderson
from .auto import Auto
from .halpern import Halpern
from .method import FixedPointMethod
from .picard import Picard
from .restarted_halpern import RestartedHalpern

__all__ = ["FIXED_POINT_METHODS", "fixed_point_method"]

FIXED_POINT_METHODS: dict[str, type[FixedPointMethod]] = {
    cls.name: cls for cls in (Auto, Picard, Anderson, Halpern, RestartedHalpern)
}


def fixed_point_method(given: str | FixedPointMethod, parameters: Mapping[str, Any]) -> FixedPointMethod:
    """A method by its name, with its parameters, or the one given; errors name what is unknown."""
    if isinstance(given, FixedPointMethod):
        if parameters:
            raise InputError(f"{next(iter(parameters))}: is a parameter of a method named; found one that has its own")
        return given
    if not isinstance(given, str) or given not in FIXED_POINT_METHODS:
        raise InputError(f"method: found {given!r}; wanted {', '.join(FIXED_POINT_METHODS)} or a FixedPointMethod")
    kind = FIXED_POINT_METHODS[given]
    known = named_parameters(kind)
    for name in parameters:
        if name not in known:
            raise InputError(f"{name}: {kind.name} has no such parameter; it has {', '.join(known) or 'none'}")
    return kind(**parameters)
