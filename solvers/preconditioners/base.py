"""The seam for preconditioners: an approximation of the inverse, bound to a backend when a solve begins."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ...errors import InputError
from ...operators import Operator
from ...operators.exchange import is_ours

__all__ = ["BoundPreconditioner", "GivenPreconditioner", "Preconditioner", "fitted", "guarded"]


class BoundPreconditioner(ABC):
    """A preconditioner on one backend in one precision.

    Attributes
    ----------
    kind : str
        With the method and the storage of A, the key of a compiled loop.
    matrix : Operator or None
        What it was made of, where compiled loops have to know that it is the A of the system.
    omega, order : float, str
        Of relaxation sweeps.
    inverse_diagonal : vector or None
        Set where M is diagonal, so that compiled loops can apply it themselves.
    """

    kind: ClassVar[str] = "other"
    matrix: Operator | None = None
    inverse_diagonal: Any = None
    omega: float = 1.0
    order: str = ""

    def rescaled(self, exponent: int) -> BoundPreconditioner | None:
        """2**exponent M, where that is as cheap to apply as M; otherwise None."""
        return None

    def work(self, entries: int) -> int:
        """Coefficients and vector elements that an application touches, A having so many entries."""
        return entries

    def of_stacks(self) -> BoundPreconditioner | None:
        """The same for stacks of vectors, (..., n); None where it takes single ones alone."""
        return None

    @abstractmethod
    def apply(self, r: Any, out: Any) -> Any:
        """M r, in place of out, which is not r; or a vector of its own, valid until the next application.

        Where a subclass was not written here, r is one that it cannot change, and out one that is read at once.
        """


class Preconditioner(ABC):
    """M, an approximation of the inverse of A, of shape (n, n).

    Besides serving as ``M=``, it multiplies: ``M @ r`` and ``M.matvec(r)``, so that SciPy's solvers take it too.
    """

    shape: tuple[int, int]
    dtype: np.dtype
    vectors: ClassVar[int] = 0  # of length n, that it keeps beside A

    def memory(self, dtype: np.dtype) -> float:
        """Bytes that it keeps beside A in a solve of this dtype."""
        return float(self.vectors) * self.shape[0] * dtype.itemsize

    @abstractmethod
    def bind(self, backend: Any, dtype: np.dtype) -> BoundPreconditioner:
        """Ready for use on a backend."""

    def rescaled(self, exponent: int) -> tuple[Preconditioner, int]:
        """The same made of 2**-exponent times its matrix, and the e of 2**e M, which that is."""
        return self, 0

    def adjoint(self) -> Preconditioner | None:
        """M^H; None where it is not known."""
        return None

    def matvec(self, r: Any) -> Any:
        """M r, on the backend that r's library suggests."""
        from ...backends import choose_backend

        backend = choose_backend(None, r, M=self)
        r = backend.vector(r, "r")
        if tuple(r.shape) != self.shape[:1]:
            raise InputError(f"r: found shape {tuple(r.shape)}; wanted {self.shape[:1]}")
        dtype = np.result_type(self.dtype, backend.numpy_dtype(r))
        vector = backend.copy(r, dtype)
        bound = fitted(self, backend, self.shape[0]).bind(backend, dtype)
        return backend.returned(bound.apply(vector, backend.zeros(self.shape[0], dtype)))

    def __matmul__(self, r: Any) -> Any:
        return self.matvec(r)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} preconditioner {self.shape[0]}x{self.shape[1]}>"


class GivenPreconditioner(Preconditioner):
    """What the caller passed: a matrix or operator that is multiplied with."""

    def __init__(self, operator: Operator) -> None:
        self.operator, self.shape, self.dtype = operator, operator.shape, operator.dtype

    def rescaled(self, exponent: int) -> tuple[Preconditioner, int]:
        return GivenPreconditioner(self.operator.rescaled(-exponent)), -exponent

    def bind(self, backend: Any, dtype: np.dtype) -> BoundPreconditioner:
        if self.dtype.kind == "c" and dtype.kind != "c":
            raise InputError(f"M: found {self.dtype} for a {dtype} system; pass A or b as complex to solve in complex")
        return _Product(backend, backend.store(self.operator, dtype))


class _Product(BoundPreconditioner):
    def __init__(self, backend: Any, operator: Operator) -> None:
        self.backend, self.operator = backend, operator

    def work(self, entries: int) -> int:
        return self.operator.entries

    def apply(self, r: Any, out: Any) -> Any:
        return self.backend.matvec(self.operator, r, out)

    def of_stacks(self) -> BoundPreconditioner | None:
        product = self.backend.product_each(self.operator)
        return None if product is None else _ProductOfStacks(self.backend, product)


class _ProductOfStacks(BoundPreconditioner):
    def __init__(self, backend: Any, product: Callable[[Any, Any], Any]) -> None:
        self.backend, self.product = backend, product

    def apply(self, r: Any, out: Any) -> Any:
        return self.backend.assign(self.product(r, out), out)


class _Foreign(BoundPreconditioner):
    """One that was not written here: it has vectors of its own to read from and to write to."""

    def __init__(self, bound: BoundPreconditioner, backend: Any, like: Any) -> None:
        self.bound, self.backend = bound, backend
        self.place = backend.copy(like)
        if bound.inverse_diagonal is not None:
            taken = backend.take(bound.inverse_diagonal, like, "M")
            self.inverse_diagonal = backend.copy(taken, backend.numpy_dtype(like))

    def rescaled(self, exponent: int) -> BoundPreconditioner | None:
        return self.bound.rescaled(exponent)

    def apply(self, r: Any, out: Any) -> Any:
        backend = self.backend
        result = self.bound.apply(backend.lend(r, backend.numpy_dtype(r)), self.place)
        return backend.assign(backend.take(result, r, "M"), out)


def guarded(bound: BoundPreconditioner, backend: Any, like: Any) -> BoundPreconditioner:
    """Itself if it was written here, otherwise without access to vectors of the solve, which are like ``like``."""
    return bound if is_ours(bound.apply) else _Foreign(bound, backend, like)


def fitted(M: Preconditioner, backend: Any, n: int) -> Preconditioner:
    """M on the operators of this backend, for n unknowns."""
    operator = getattr(M, "operator", None)
    if isinstance(operator, Operator) and operator.library != backend.library:
        # Tensors of the CPU and views of them are one thing; other libraries refuse each other's operators.
        M = copy.copy(M)
        vars(M)["operator"] = backend.operator(operator, "M")
    if M.shape != (n, n):
        raise InputError(f"M: found shape {M.shape}; wanted {(n, n)}, the shape of A")
    return M
