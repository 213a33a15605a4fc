"""An operator that can only multiply: a SciPy LinearOperator, or any callable with a shape and a dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import InputError
from .base import Operator

__all__ = ["BlackBox"]


def _flat(product: Any) -> Any:
    return np.asarray(product).reshape(-1)


class BlackBox(Operator):
    """x -> multiply(x), scaled by a power of two when the units ask for it.

    ``convert`` makes a vector (n,) of this library out of what ``multiply`` returned.
    """

    kind = "matrix-free"

    def __init__(
        self,
        multiply: Callable[[Any], Any],
        shape: tuple[int, int],
        dtype: Any,
        library: str = "numpy",
        exponent: int = 0,
        convert: Callable[[Any], Any] = _flat,
        name: str = "A",
    ) -> None:
        self.name = name
        self.multiply, self.exponent, self.library, self.convert = multiply, exponent, library, convert
        self.shape = (int(shape[0]), int(shape[1]))
        self.dtype = np.dtype(dtype)

    @property
    def explicit(self) -> bool:
        return False

    def matvec(self, x: Any) -> Any:
        result = self.convert(self.multiply(x))
        if tuple(result.shape) != tuple(x.shape):
            raise InputError(
                f"{self.name}: its product with a vector of shape {tuple(x.shape)} has shape {tuple(result.shape)}"
            )
        return result * 2.0**self.exponent if self.exponent else result

    def rescaled(self, exponent: int) -> BlackBox:
        total = self.exponent + exponent
        return BlackBox(self.multiply, self.shape, self.dtype, self.library, total, self.convert, self.name)

    def astype(self, dtype: np.dtype) -> BlackBox:
        return BlackBox(self.multiply, self.shape, dtype, self.library, self.exponent, self.convert, self.name)
