"""A method by its name in a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from ...errors import InputError
from ...naming import choice, parameter_of_another
from .method import Method, named_parameters

__all__ = ["COMMON", "named_method"]

M = TypeVar("M", bound=Method[Any, Any])

# What functions that take a method by its name have besides.
COMMON = (
    "method",
    "rtol",
    "atol",
    "maxiter",
    "callback",
    "progress",
    "time_limit",
    "backend",
    "precision",
)


def named_method(
    given: Any,
    parameters: Mapping[str, Any],
    table: Mapping[str, type[M]],
    base: Any,
    argument: str = "method",
    common: Iterable[str] = COMMON,
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
    common : iterable of str
        What is taken beside the parameters of a method.

    Raises
    ------
    InputError
        For an unknown name or parameter, which is named.
    """
    if isinstance(given, base):
        if parameters:
            raise InputError(f"{next(iter(parameters))}: is a parameter of a method named; found one that has its own")
        return given
    kind = table[choice(argument, given, table, more=f" or a {base.__name__}")]
    known = named_parameters(kind)
    for name in parameters:
        if name not in known:
            raise parameter_of_another(kind.name, name, known, common)
    return kind(**parameters)
