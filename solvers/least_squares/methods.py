"""The table of iterative methods for least squares."""

from __future__ import annotations

from typing import Any

from .cgls import CGLS
from .lsmr import LSMR
from .method import LeastSquaresMethod

__all__ = ["LEAST_SQUARES_METHODS"]

LEAST_SQUARES_METHODS: dict[str, type[LeastSquaresMethod[Any]]] = {cls.name: cls for cls in (LSMR, CGLS)}
