"""Emulated precision: products whose results are rounded to a format, as a ``Precision`` says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...backends import Backend
from ...errors import InputError
from ...precision import tensor_core_matmul
from ...precision.policy import Precision
from .polynomial import polar_step, quadratic
from .products import Products

__all__ = ["RoundedProducts"]


class RoundedProducts:
    """``inner``, every matrix that it writes rounded; sums of a product are those of the carrier, or of a tensor core.

    Parameters
    ----------
    inner : Products
    backend : Backend
        Without emulation, which knows how to round.
    precision : Precision
        Of policy "storage", "matvec" or "tensor-core". The last two keep what is summed outside products in the
        carrier, and round the factors of products.

    Raises
    ------
    InputError
        For the policy "op", and a tensor core where there are no real NumPy arrays.
    """

    def __init__(self, inner: Products, backend: Backend, precision: Precision) -> None:
        if precision.policy == "op":
            raise InputError(
                'precision: found the policy "op"; wanted "storage", "matvec" or "tensor-core" for matrix products'
            )
        if precision.policy == "tensor-core" and backend.library != "numpy":
            raise InputError(f"precision: tensor cores are emulated for NumPy arrays; found {backend.library}")
        self._inner, self._backend, self._precision = inner, backend, precision
        self._stored = precision.policy == "storage"
        self._steps = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def rounded(self, A: Any) -> Any:
        """A in the format, in place of A."""
        self._steps += 1
        return self._backend.rounded(A, self._precision, self._steps)

    def _written(self, A: Any) -> Any:
        return self.rounded(A) if self._stored else A

    def _factor(self, A: Any) -> Any:
        """A as the factor of a product."""
        return A if self._stored else self.rounded(self._inner.copy(A))

    def _product(self, A: Any, B: Any, out: Any) -> Any:
        A, B = self._factor(A), self._factor(B)
        if self._precision.policy != "tensor-core":
            return self.rounded(self._inner.multiply(A, B, out))
        if A.dtype.kind == "c":
            raise InputError("precision: tensor cores multiply real numbers; found a complex matrix")
        self._inner.count += 1
        found = tensor_core_matmul(A, B, device=self._precision.device, input=self._precision.format)
        return found if out is None else self._copied(found, out)

    @staticmethod
    def _copied(found: np.ndarray, out: Any) -> Any:
        out[...] = found
        return out

    def multiply(self, A: Any, B: Any, out: Any) -> Any:
        return self._product(A, B, out)

    def multiply_add(self, A: Any, B: Any, a: float, out: Any) -> Any:
        if self._stored:
            return self.rounded(self._inner.multiply_add(A, B, a, out))
        return self._inner.add(self._product(A, B, out), A, a)

    def add_multiply(self, A: Any, B: Any, a: float, out: Any) -> Any:
        if self._stored:
            return self.rounded(self._inner.add_multiply(A, B, a, out))
        return self._inner.add(self._product(B, A, out), A, a)

    def multiply_commuting(self, A: Any, B: Any, out: Any) -> Any:
        return self._product(A, B, out)

    def polar_step(self, X: Any, A: Any, coefficients: Any, square: Any, factors: Any) -> tuple[Any, Any]:
        return polar_step(self, X, A, coefficients, square, factors)  # type: ignore[arg-type]

    def gram(self, X: Any, out: Any) -> Any:
        return self._product(self._inner.adjoint(X), X, out)

    def square(self, A: Any, out: Any) -> Any:
        return self._product(A, A, out)

    def quadratic(self, A: Any, b: float, c: float, out: Any) -> Any:
        return quadratic(self, A, b, c, out)  # type: ignore[arg-type]

    def combine(self, terms: Sequence[tuple[float, Any]], out: Any, identity: float = 0.0) -> Any:
        return self._written(self._inner.combine(terms, out, identity))

    def scale(self, A: Any, c: Any, out: Any) -> Any:
        return self._written(self._inner.scale(A, c, out))

    def add(self, A: Any, B: Any, c: float) -> Any:
        return self._written(self._inner.add(A, B, c))

    def add_identity(self, A: Any, c: float) -> Any:
        return self._written(self._inner.add_identity(A, c))

    def hermitian_part(self, A: Any, out: Any) -> Any:
        return self._written(self._inner.hermitian_part(A, out))
