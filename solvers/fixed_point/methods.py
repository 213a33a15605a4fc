"""The table of methods for fixed points, from which they are looked up by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from ..driver.named import COMMON, named_method
from .anderson import Anderson
from .auto import Auto
from .halpern import Halpern
from .method import FixedPointMethod
from .picard import Picard
from .restarted_halpern import RestartedHalpern

__all__ = ["FIXED_POINT_METHODS", "FixedPointMethodName", "fixed_point_method"]

FixedPointMethodName = Literal["auto", "picard", "anderson", "halpern", "restarted_halpern"]

FIXED_POINT_METHODS: dict[str, type[FixedPointMethod]] = {
    cls.name: cls for cls in (Auto, Picard, Anderson, Halpern, RestartedHalpern)
}


def fixed_point_method(
    given: str | FixedPointMethod, parameters: Mapping[str, Any], common: Iterable[str] = COMMON
) -> FixedPointMethod:
    """A method by its name, with its parameters, or the one given; errors name what is unknown.

    ``common`` is what is taken besides the parameters of a method.
    """
    return named_method(given, parameters, FIXED_POINT_METHODS, FixedPointMethod, common=common)
