"""A method by its name in a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from ...errors import InputError
from .method import Method, named_parameters

__all__ = ["named_method"]

M = TypeVar("M", bound=Method[Any, Any])


def named_method(
    given: Any, parameters: Mapping[str, Any], table: Mapping[str, type[M]], base: Any, argument: str = "method"
) -> M:
    """The method of this name in the table, with its parameters, or the one given.

    Parameters
    ----------
    given : str or method
    parameters : dict
    table : dict
        From names to classes.
    base : type
        Of all of them.
    argument : str
        What the caller gave the name as.

    Raises
    ------
    InputError
        For an unknown name or parameter, which is named.
    """
    if isinstance(given, base):
        if parameters:
            raise InputError(f"{next(iter(parameters))}: is a parameter of a method named; found one that has its own")
        return given
    if not isinstance(given, str) or given not in table:
        raise InputError(f"{argument}: found {given!r}; wanted {', '.join(table)} or a {base.__name__}")
    kind = table[given]
    known = named_parameters(kind)
    for name in parameters:
        if name not in known:
            raise InputError(f"{name}: {kind.name} has no such parameter; it has {', '.join(known) or 'none'}")
    return kind(**parameters)
