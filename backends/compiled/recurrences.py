"""The recurrences of ``coefficients`` as kernels may call them: made known to Numba here, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.extending import register_jitable

from .coefficients import chebyshev_interval, chebyshev_next

__all__ = ["built_upon", "interval_of", "next_coefficients"]

interval_of, next_coefficients = register_jitable(chebyshev_interval), register_jitable(chebyshev_next)


def built_upon(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which calls the recurrences, made known to Numba as well."""
    return register_jitable(function)
