"""Operators of somebody else's making: callables and LinearOperators that only multiply, and subclasses of Operator."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import InputError
from .base import Facts, Operator
from .csr import CSR
from .exchange import Exchange, NumpyExchange, is_ours

__all__ = ["BlackBox", "Foreign", "MatrixFree", "guarded"]

_NUMPY = NumpyExchange()


class MatrixFree:
    """A callable with the shape and the dtype that it was declared to have, for vectors of any library.

    Attributes
    ----------
    matvec : callable
        From (n,) to (m,).
    shape, dtype : (int, int), dtype
    rmatvec : callable or None
        From (m,) to (n,), the product with A^H.
    """

    def __init__(self, matvec: Callable[[Any], Any], shape: tuple[int, int], dtype: Any, rmatvec: Any = None) -> None:
        self.matvec, self.rmatvec = matvec, rmatvec
        self.shape, self.dtype = shape, np.dtype(dtype)

    def __call__(self, x: Any) -> Any:
        return self.matvec(x)

    def __repr__(self) -> str:
        return f"<matrix-free {self.shape[0]}x{self.shape[1]} {self.dtype}>"


class BlackBox(Operator):
    """x -> multiply(x), scaled by a power of two when the units ask for it.

    ``multiply`` is lent vectors in the precision of x, or its own if that is the wider one, and cannot write to ours.
    What it returns is valid until it runs again, and refused where it is no vector of numbers as wanted.

    Parameters
    ----------
    multiply : callable
        From (n,) to (m,).
    shape, dtype : (int, int), dtype
    library : str
        Of the arrays that it multiplies.
    exchange : Exchange
        Of that library.
    name : str
        What messages call it; the products of "M" may have fewer digits than the vectors.
    adjoint_multiply : callable, optional
        From (m,) to (n,), the product with A^H.
    """

    kind = "matrix-free"

    def __init__(
        self,
        multiply: Callable[[Any], Any],
        shape: tuple[int, int],
        dtype: Any,
        library: str = "numpy",
        exchange: Exchange = _NUMPY,
        name: str = "A",
        adjoint_multiply: Callable[[Any], Any] | None = None,
    ) -> None:
        self.multiply, self.library, self.exchange, self.name = multiply, library, exchange, name
        self.adjoint_multiply = adjoint_multiply
        self.shape = (int(shape[0]), int(shape[1]))
        self.dtype = self.own_dtype = np.dtype(dtype)
        self.exponent = 0

    @property
    def explicit(self) -> bool:
        return False

    def matvec(self, x: Any) -> Any:
        exchange = self.exchange
        dtype = exchange.numpy_dtype(x)
        if dtype != self.own_dtype:
            dtype = np.result_type(dtype, self.own_dtype)
        product, exact = self.multiply(exchange.lend(x, dtype)), self.name != "M"
        # Of a square operator each process has as many rows as it has of x.
        rows = None if self.shape[0] == self.shape[1] else self.shape[0]
        result = exchange.take(product, x, self.name, exact=exact, size=rows)
        if not self.exponent:
            return result
        half = self.exponent // 2  # the whole power may lie out of range
        return result * 2.0**half * 2.0 ** (self.exponent - half)

    def rescaled(self, exponent: int) -> BlackBox:
        other = copy.copy(self)
        other.exponent += exponent
        return other

    def adjoint(self) -> BlackBox:
        other = copy.copy(self)
        other.multiply, other.adjoint_multiply = self._adjoint_product, self.multiply
        other.shape = self.shape[::-1]
        return other

    def _adjoint_product(self, x: Any) -> Any:
        lacking = f"{self.name}: products with {self.name}^H are needed, but it only multiplies with {self.name}"
        if self.adjoint_multiply is None:
            raise InputError(f"{lacking}; wanted a method rmatvec beside it")
        try:
            return self.adjoint_multiply(x)
        except NotImplementedError as error:  # as a LinearOperator without rmatvec says it
            raise InputError(f"{lacking} ({error}); wanted one with rmatvec") from None

    def astype(self, dtype: np.dtype) -> BlackBox:
        other = copy.copy(self)
        other.dtype = np.dtype(dtype)
        return other


class Foreign(BlackBox):
    """An ``Operator`` that was not written here: its product is a black box, its entries are its own affair."""

    def __init__(self, operator: Operator, exchange: Exchange, name: str) -> None:
        super().__init__(operator.matvec, operator.shape, operator.dtype, operator.library, exchange, name)
        self.operator = operator
        self.kind = operator.kind  # type: ignore[misc]

    def _again(self, operator: Operator) -> Foreign:
        return Foreign(operator, self.exchange, self.name)

    def rescaled(self, exponent: int) -> Foreign:
        return self._again(self.operator.rescaled(exponent))

    def astype(self, dtype: np.dtype) -> Foreign:
        return self if dtype == self.dtype else self._again(self.operator.astype(dtype))

    def mapped(self, function: Callable[[Any], Any]) -> Foreign:
        return self._again(self.operator.mapped(function))

    def negated(self) -> Foreign:
        return self._again(self.operator.negated())

    def adjoint(self) -> Operator:  # type: ignore[override]
        operator = self.operator
        if type(operator).adjoint is Operator.adjoint and operator.explicit and self.library == "numpy":
            return CSR.of(operator.tocsr().conj().T)
        return self._again(operator.adjoint())

    @property
    def values(self) -> Any:
        return self.operator.values

    @property
    def entries(self) -> int:
        return self.operator.entries

    @property
    def explicit(self) -> bool:
        return self.operator.explicit

    def tocsr(self) -> Any:
        return self.operator.tocsr()

    def diagonal(self) -> Any:
        return self.operator.diagonal()

    def facts(self) -> Facts | None:
        return self.operator.facts()


def guarded(operator: Operator, exchange: Exchange, name: str) -> Operator:
    """The operator itself if its product is written here, otherwise with its product guarded."""
    return operator if is_ours(operator.matvec) else Foreign(operator, exchange, name)
