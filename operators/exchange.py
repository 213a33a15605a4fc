"""How vectors are handed to code that is not ours, and how its results are taken."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..precision import supported_dtypes

__all__ = ["PRODUCT", "VALUE", "Exchange", "NumpyExchange", "Wording", "is_ours", "refuse_masked"]


@dataclass(frozen=True)
class Wording:
    """What messages call what was returned.

    Attributes
    ----------
    noun, of : str
        "its product" and "with": the product with a vector.
    residual, data : str
        What its digits are to tell, and the arguments that it goes with.
    complex : str
        How to ask for complex numbers.
    """

    noun: str
    of: str
    residual: str
    data: str
    complex: str


PRODUCT = Wording("product", "with", "b - A x", "A, b and x0", "Declare a complex dtype")
VALUE = Wording("value", "at", "g(x) - x", "x0", "Pass a complex x0")


class Exchange(ABC):
    """Lends vectors of one library to code that is not ours, and takes what it returns.

    That code may write to a vector it got, keep it, or return it, now or at its next call. What it is lent has the
    values of our vector and no way to its memory; what it returns is read before it runs again.
    """

    @abstractmethod
    def lend(self, x: Any, dtype: np.dtype) -> Any:
        """The values of x, (n,), in this precision: a copy, or a view that cannot be written to."""

    @abstractmethod
    def received(self, result: Any, name: str, words: Wording = PRODUCT) -> Any:
        """What code called ``name`` returned, as a flat array of this library, not copied; an error where it is none.

        A library without places to write to may have to copy it all the same.
        """

    def undifferentiated(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function as it is called here: where its library follows what is computed, without that."""
        return function

    def returned(self, x: Any) -> Any:
        """A vector that nobody here keeps, as an array of the caller's library, not copied."""
        return x

    @abstractmethod
    def numpy_dtype(self, x: Any) -> Any:
        """The NumPy dtype that corresponds to x's."""

    def take(
        self, result: Any, x: Any, name: str, *, exact: bool = False, words: Wording = PRODUCT, size: int | None = None
    ) -> Any:
        """What was returned for the vector x, as a vector of its shape, or of this size.

        Parameters
        ----------
        exact : bool
            Refuse a result in fewer digits than x, which could certify nothing.
        words : Wording
            Of messages.

        Raises
        ------
        InputError, TypeError
            For what is no vector of that shape, complex numbers for real ones, too few digits.
        """
        vector = self.received(result, name, words)
        if tuple(vector.shape) != (tuple(x.shape) if size is None else (size,)):
            raise InputError(
                f"{name}: its {words.noun} {words.of} a vector of shape {tuple(x.shape)} has shape "
                f"{tuple(vector.shape)}"
            )
        if vector.dtype != x.dtype:
            self._check_type(self.numpy_dtype(vector), self.numpy_dtype(x), name, exact, words)
        return vector

    def _check_type(self, found: np.dtype, wanted: np.dtype, name: str, exact: bool, words: Wording = PRODUCT) -> None:
        what = f"{name}: its {words.noun} {words.of} a vector of {wanted}"
        if found.kind not in "biufc":
            raise TypeError(f"{what} is an array of {found}; wanted numbers")
        if found.kind == "c" and wanted.kind != "c":
            raise InputError(
                f"{what} is {found}; wanted real numbers. {words.complex}, or return the real part where the imaginary "
                "one is rounding"
            )
        if exact and (found.kind in "biu" or np.finfo(found).eps > np.finfo(wanted).eps):
            advice = f", or pass {words.data} in {found}" if found in supported_dtypes else ""
            raise InputError(
                f"{what} is {found}, whose digits cannot tell how small {words.residual} is; return {wanted}{advice}"
            )


class NumpyExchange(Exchange):
    """Of NumPy arrays: no copies, since there are views that stay read-only."""

    def lend(self, x: Any, dtype: np.dtype) -> Any:
        if x.dtype != dtype:
            return x.astype(dtype)
        # A plain view can be made writeable again by whoever holds it, one of a read-only buffer cannot.
        return np.asarray(memoryview(x).toreadonly())

    def received(self, result: Any, name: str, words: Wording = PRODUCT) -> Any:
        if type(result) is not np.ndarray:
            refuse_masked(result, f"the {words.noun} {words.of} {name}")
        try:
            vector = np.asarray(result)
        except ValueError as error:
            raise InputError(f"{name}: its {words.noun} cannot be read as an array ({error})") from None
        if vector.dtype.kind not in "biufc":
            raise TypeError(f"{name}: its {words.noun} is a {type(result).__name__}; wanted an array of numbers")
        return vector.reshape(-1)

    def numpy_dtype(self, x: Any) -> Any:
        return x.dtype


def refuse_masked(array: Any, name: str) -> None:
    """An error where entries are masked: what lies under a mask is no number to compute with."""
    if isinstance(array, np.ndarray) and type(array) is not np.ndarray and np.ma.is_masked(array):
        at = tuple(int(k) for k in np.argwhere(np.ma.getmaskarray(array))[0])
        where = at[0] if len(at) == 1 else at
        raise InputError(f"{name}: entry {where} is masked; wanted numbers everywhere, from .filled() or .compressed()")


def is_ours(function: Any) -> bool:
    """Whether a function or method was written in this package, which keeps to the vectors that it is handed."""
    module = getattr(function, "__module__", None) or ""
    return module.partition(".")[0] == __name__.partition(".")[0]
