"""What problems of matrix functions share: a stack of matrices, checked once and put into units of their own."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from ...backends import choose_backend
from ...errors import InputError, NotHermitianError
from ...precision import working_dtype
from ..driver.batch import as_array
from ..driver.problem import Delivered, Vector
from ..driver.solution import Solution
from ..driver.status import Cause, Ending, Status
from ..driver.stopping import Options
from ..linear.units import Units
from .products import products_for, unit_exponents
from .rounded import RoundedProducts
from .solution import MatrixSolution

__all__ = ["MatrixProblem"]

# Entries of A - A^H, in units of rounding of the largest entry of A, that are taken for rounding.
ASYMMETRY = 100.0


class MatrixProblem(Units):
    """A function of one matrix, or of each of a stack; residuals are relative to one, and those of the worst.

    Parameters
    ----------
    A : array of shape (..., m, n)
        Real or complex, of any array library. Integers are promoted to float64, half precision to float32. It is never
        written to.
    backend : str or Backend, optional
        By default the library of the array; "numba" stands for NumPy here.
    precision : str, Format or Precision, optional
        To iterate in; by default that of the data. Certificates are computed in the precision of the data.
    name : str
        What messages call it.

    Attributes
    ----------
    data : array of shape (k, m, n)
        In internal units: each matrix times a power of two that brings its largest entry near to one.
    exponents : ndarray of shape (k,)
        Of these powers: A is 2**exponent times the data.
    lead : tuple of int
        The axes of the stack.
    exact, products : Products
        In the precision of the data, and in that of the iteration.
    nothing : ndarray of bool
        The matrices that are zero.
    residuals : ndarray of shape (k,)
        Of the last certificate.
    failed : ndarray of bool
        The matrices that have no such function to rounding: theirs is NaN.
    unit : ndarray of shape (k,) or None
        What iterates are multiplied by to be functions of the data; None for one.

    Raises
    ------
    InputError
        For NaN and infinite entries, and shapes that do not fit.
    TypeError
        For what holds no numbers.
    """

    solution_kind = MatrixSolution
    repeatable = True
    replayable = False
    keeps_best = False
    reference = 1.0
    square: ClassVar[bool] = True
    hermitian: ClassVar[bool] = False
    multiple: ClassVar[int] = 1  # of which exponents are, so that roots of their powers of two are such as well

    def __init__(self, A: Any, *, backend: Any = None, precision: Any = None, name: str = "A") -> None:
        if sparse.issparse(A):
            raise InputError(f"{name}: found a sparse matrix; wanted a full array, as A.toarray() makes one")
        A = as_array(A, name)
        self.name = name
        self.backend = choose_backend(_without_numba(backend, A), A)
        values = self.backend.vector(A, name)
        shape = tuple(int(size) for size in values.shape)
        if len(shape) < 2:
            raise InputError(f"{self.name}: found shape {shape}; wanted a matrix (m, n), or a stack (..., m, n)")
        if self.square and shape[-1] != shape[-2]:
            raise InputError(f"{self.name}: found shape {shape}; wanted square matrices (..., n, n)")
        self._set_precision(working_dtype(self.backend.numpy_dtype(values)), precision)
        library = self.backend.exact
        self.lead, self.rows, self.columns = shape[:-2], shape[-2], shape[-1]
        self.count = math.prod(self.lead)
        self.n = self.local = self.count * self.rows * self.columns
        self.column = False
        self.data = library.reshape(library.copy(values, self.true_dtype), (self.count, self.rows, self.columns))
        self.exact = products_for(library, self.data, compiled=backend in (None, "numba"))
        self.products: Any = self.exact
        if self.emulated is not None:
            self.products = RoundedProducts(self.exact, library, self.emulated)
        self.exponents = np.zeros(self.count, np.int64)
        self.nothing = np.zeros(self.count, bool)
        self.asked = 0.0
        self.residuals = np.zeros(self.count)
        self.failed = np.zeros(self.count, bool)
        self.measured: tuple[Any, Any] = (None, None)
        self.unit: np.ndarray | None = None
        if self.n:
            self._to_units()

    def _to_units(self) -> None:
        p = self.exact
        largest = p.largest(self.data)
        if not np.isfinite(largest).all():
            k = int(np.flatnonzero(~np.isfinite(largest))[0])
            found = "NaN" if largest[k] != largest[k] else "infinite"
            where = f" in matrix {tuple(map(int, np.unravel_index(k, self.lead)))}" if self.lead else ""
            raise InputError(f"{self.name}: has {found} entries{where}; wanted finite ones")
        self.nothing = largest == 0
        self.exponents = unit_exponents(largest, self.multiple)
        self.data = p.ldexp(self.data, -self.exponents, self.data)
        if self.hermitian:
            limit = ASYMMETRY * 2.0 ** np.frexp(np.ldexp(largest, -self.exponents))[1] * self.precision.unit_roundoff
            off = p.asymmetries(self.data)
            if (off > limit).any():
                k = int(np.argmax(off - limit))
                size = off[k] / max(float(np.ldexp(largest[k], -self.exponents[k])), 1e-300)
                raise NotHermitianError(
                    f"{self.name}: found entries that differ from those of its adjoint by {size:.1e} of the largest; "
                    "wanted a symmetric (complex: Hermitian) matrix"
                )
            self.data = p.hermitian_part(self.data, None)

    # What iterations take and give.

    def iterated(self, A: Any) -> Any:
        """A in the precision of the iteration, a new array."""
        library = self.backend.exact
        if self.emulated is None:
            return library.copy(A, self.dtype)
        return self.products.rounded(library.copy(library.copy(A, self.true_dtype), self.dtype))

    def accurate(self, x: Any) -> Any:
        """An iterate as the function of the data that it stands for, in their precision."""
        x = self.backend.exact.copy(x, self.true_dtype) if self.two_precisions else x
        return x if self.unit is None else self.exact.scale(x, self.unit, None)

    @property
    def format(self) -> str:
        """The format of the iteration, for the generator of schedules."""
        if self.emulated is not None:
            return str(self.emulated.format)
        return "fp32" if self.dtype in (np.float32, np.complex64) else "fp64"

    @property
    def matvecs(self) -> int:
        """Products of two matrices so far."""
        return self.exact.count

    @matvecs.setter
    def matvecs(self, value: int) -> None:
        pass

    def measure(self, x: Any, measured: Any) -> None:
        """Note what is known of x, the current iterate."""
        self.measured = (x, measured)

    def known(self, x: Any) -> Any:
        """What is known of x in the precision of the data; None where that is nothing."""
        return self.measured[1] if self.measured[0] is x and not self.two_precisions else None

    # What the driver asks for.

    def target(self, options: Options) -> float:
        if options.atol:
            raise InputError(
                f"atol: found {options.atol!r}; matrix functions are measured relative to their size: rtol"
            )
        self.asked = options.rtol
        return options.rtol

    def settled(self, target: float = 0.0) -> Ending | None:
        return Ending(Status.CONVERGED) if not self.n or self.nothing.all() else None

    def initial(self) -> tuple[Vector, Vector, float]:
        return self.guess(), None, 1.0

    def first_guess(self) -> tuple[Vector, Vector, float]:
        x = self.guess()
        return (x, None, 0.0) if self.settled() else (x, *self.certify(x, None))

    def guess(self) -> Vector:
        """An iterate for a solve that does not begin: of zero matrices their function."""
        return self.backend.exact.copy(self.data, self.dtype)

    def residual_norm(self, x: Vector, out: Vector) -> tuple[Vector, float]:
        return self.certify(x, out)

    def certify(self, x: Vector, out: Vector) -> tuple[Vector, float]:
        with np.errstate(all="ignore"):
            self.residuals = np.where(self.nothing, 0.0, self.residuals_of(self.accurate(x), self.known(x)))
            self.residuals[self.failed | ~(self.residuals < math.inf)] = math.inf
        return out, float(np.max(self.residuals, initial=0.0))

    @abstractmethod
    def residuals_of(self, x: Vector, known: Any) -> np.ndarray:
        """The true relative residual of each matrix; ``known`` is what ``measure`` noted of x, or None."""

    def rounding_floor(self, x: Vector) -> float:
        return self.unit_roundoff

    @property
    def negligible(self) -> float:
        """Residuals are measured in the precision of the data: they do not run out of digits where a format does."""
        return self.unit_roundoff**2 * self.reference

    @property
    def work(self) -> int:
        return 1 << 24  # so that each step is looked at

    @property
    def coarse(self) -> bool:  # type: ignore[override]
        return self.emulated is not None

    def not_finite(self, first: bool) -> Ending:
        return Ending(Status.DIVERGED, cause=Cause.NOT_FINITE)

    def unscaled(self, x: Vector, fresh: bool = True) -> Any:
        library = self.backend.exact
        x = library.copy(x, self.true_dtype) if fresh or self.two_precisions else x
        if self.unit is not None:
            x = self.exact.scale(x, self.unit, x)
        if self.failed.any():
            x = self.exact.scale(x, np.where(self.failed, math.nan, 1.0), x)
        x = self.exact.ldexp(x, self.output_exponents, x)
        return library.returned(library.reshape(x, (*self.lead, *tuple(x.shape)[1:])))

    @property
    def output_exponents(self) -> np.ndarray:
        """The function in the caller's units is 2**this times the internal one."""
        return np.zeros(self.count, np.int64)

    def deliver(
        self, x: Vector, work: Vector, residual: float, ending: Ending, target: float, evidence: Any
    ) -> Delivered:
        residuals = self.residuals.reshape(self.lead)[()]
        fields = {"residuals": residuals, **self.fields(x)}
        if self._too_large(x):
            ending = Ending(Status.OVERFLOW, cause=Cause.RANGE)
        return Delivered(self.unscaled(x, fresh=False), residual if residual == residual else math.inf, ending, fields)

    def _too_large(self, x: Vector) -> bool:
        """Whether the function leaves the range in the caller's units, which it does not in internal ones."""
        if not self.n or not self.output_exponents.any():
            return False
        size = self.exact.largest(x) * (1.0 if self.unit is None else self.unit)
        return bool((np.frexp(size)[1] + self.output_exponents > self.precision.largest_exponent + 1).any())

    def fields(self, x: Vector) -> Mapping[str, Any]:
        """Fields of the Solution that this function alone has."""
        return {}

    @staticmethod
    def bounded(error: float) -> float | None:
        """A bound of a relative error, if it says anything."""
        return error if error < 1 else None

    @property
    def remarks(self) -> str:
        return ""

    def advice(self, solution: Solution) -> str:
        if solution.status is Status.OVERFLOW:
            return "Multiply A by a number that brings it nearer to one."
        if solution.status is Status.STAGNATED:
            return "Take a wider precision, or ask for less."
        return "Raise maxiter or products, or give a smaller lower."


def _without_numba(backend: Any, A: Any) -> Any:
    """Products are BLAS's on arrays of NumPy and torch's on tensors, whose loops Numba would have no part in."""
    if backend in (None, "numba"):
        from ...operators.libraries import library_of

        return library_of(A)
    return backend
