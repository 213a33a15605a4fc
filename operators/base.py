"""What every operator offers: its shape, its products, and what is known of its entries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..errors import InputError
from .facts import Facts, facts_of_csr

__all__ = ["Operator"]


class Operator(ABC):
    """A linear map of (n,) to (m,), held in the arrays of one library; square but for least squares.

    A subclass says how to multiply, and, where it has entries, hands them out as CSR. Operators never write to the
    arrays they were made of.

    Attributes
    ----------
    rounded_from : (Operator, str) or None
        What it was before its entries were rounded, and the name of what they were rounded to.
    portable : bool
        It has no arrays, and multiplies vectors of whatever library there is.
    tensor : Tensor or None
        What its arrays are views of, where the caller gave a torch tensor.
    """

    rounded_from: tuple[Operator, str] | None = None
    tensor: Any = None
    kind: ClassVar[str]
    library: str = "numpy"
    portable: bool = False
    shape: tuple[int, int]
    dtype: np.dtype

    @abstractmethod
    def matvec(self, x: Any) -> Any:
        """A x as a new vector, with this library's own product: the reference that compiled products are held to."""

    @abstractmethod
    def rescaled(self, exponent: int) -> Operator:
        """2**exponent A, exactly, in arrays of its own."""

    @abstractmethod
    def astype(self, dtype: np.dtype) -> Operator:
        """A in another working precision; itself when that is the one it has."""

    def mapped(self, function: Callable[[Any], Any]) -> Operator:
        """The operator whose coefficients are ``function`` of the array of A's."""
        raise InputError(f"A: the entries are needed, but a {self.kind} operator only multiplies; pass a matrix")

    def negated(self) -> Operator:
        """-A, in arrays of its own."""
        return self.mapped(lambda values: -values)

    def adjoint(self) -> Operator:
        """A^H, on arrays of its own or views of these."""
        raise InputError(f"A: products with A^H are needed, but a {self.kind} operator only multiplies with A")

    @property
    def values(self) -> Any:
        """The array of its coefficients; None where there are none."""
        return None

    @property
    def entries(self) -> int:
        """Number of stored coefficients that one product reads."""
        return max(self.shape)

    @property
    def bandwidth(self) -> int:
        """How far from the diagonal an entry lies at most, as far as that is quickly told."""
        return max(0, max(self.shape) - 1)

    @property
    def explicit(self) -> bool:
        """Whether the entries can be had (``tocsr``)."""
        return True

    def tocsr(self) -> Any:
        """The entries as a ``scipy.sparse.csr_array`` with sorted indices and no duplicates."""
        raise InputError(f"A: the entries are needed, but a {self.kind} operator only multiplies; pass a matrix")

    def diagonal(self) -> Any:
        """The diagonal, (n,), in this library's arrays."""
        raise InputError(f"A: the diagonal is needed, but a {self.kind} operator only multiplies; pass a matrix")

    def facts(self) -> Facts | None:
        """One look at the entries, or None where there are none to look at."""
        return facts_of_csr(self.tocsr()) if self.explicit else None

    @property
    def storage(self) -> str:
        """How its coefficients are kept, and by which library: with the method, the key of a compiled loop."""
        return self.kind if self.library == "numpy" else f"{self.library} {self.kind}"

    def __matmul__(self, x: Any) -> Any:
        return self.matvec(x)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.shape[0]}x{self.shape[1]} {self.dtype}>"
