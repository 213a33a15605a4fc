"""A linear system, checked once, in units in which nothing can overflow.

Internally the right-hand side is divided by a power of two so that its largest entry lies in [1, 2), and A likewise
where its entries are so large or small that products with it could leave the range. Powers of two change no digit, so
the iterates are the same bits in any units; the solution is multiplied back at the end.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..precision import precision_facts, working_dtype
from .backends import Backend, choose_backend
from .errors import InputError
from .operators import Facts, Operator
from .precondition.base import BoundPreconditioner, as_preconditioner
from .status import Breakdown

__all__ = ["LinearSystem"]


class LinearSystem:
    """A x = b on one backend.

    Parameters
    ----------
    A : anything that ``as_operator`` or its sister in another backend takes, (n, n)
    b : array_like of shape (n,) or (n, 1)
    x0 : array_like like b, optional
        First guess; zero when absent, or when A x0 is so large that rounding it leaves more than b. Never written to.
    M : preconditioner, optional
        Approximates the inverse of A: a ``Preconditioner``, a matrix, a LinearOperator or a callable.
    backend : str or Backend, optional
        By default "numba" for NumPy arrays, otherwise the library of the arrays.

    Attributes
    ----------
    operator : Operator
        2**-matrix_exponent A.
    rhs : vector
        2**-rhs_exponent b, a copy.
    rhs_norm : float
        Norm of ``rhs``.
    facts : Facts or None
        What the entries of ``operator`` tell.
    matvecs : int
        Products with A so far.

    Raises
    ------
    InputError
        For shapes that do not fit, NaN or infinite entries, an empty right-hand side for a nonempty matrix.
    BackendError
        For arrays of different libraries.
    """

    def __init__(self, A: Any, b: Any, *, x0: Any = None, M: Any = None, backend: str | Backend | None = None) -> None:
        self.backend = choose_backend(backend, A, b, x0)
        given = self.backend.operator(A)
        n = given.shape[0]
        vector = self._vector(b, "b", n)
        guess = None if x0 is None else self._vector(x0, "x0", n)
        dtypes = [given.dtype, self.backend.numpy_dtype(vector)]
        if guess is not None:
            dtypes.append(self.backend.numpy_dtype(guess))
        self.dtype = working_dtype(*dtypes)
        self.precision = precision_facts(self.dtype)
        self.column = getattr(b, "ndim", 1) == 2
        self.n, self.matvecs, self.prepared = n, 0, False

        operator = given.astype(self.dtype)
        known = self.backend.facts(operator) if n else None
        self.matrix_exponent = 0
        if known is not None:
            self._check_entries(operator, known)
            exponent = _exponent(known.max_abs)
            if abs(exponent) > self.precision.comfortable_exponent:
                self.matrix_exponent = self._lossless(operator, exponent)
                operator = operator.rescaled(-self.matrix_exponent)
                known = self.backend.facts(operator)
        self.facts: Facts | None = known
        self.operator: Operator = operator

        self.rhs = self.backend.copy(vector, self.dtype)
        largest = self.backend.max_abs(self.rhs)
        if not math.isfinite(largest):
            raise InputError(f"b: entry {self._first_bad(vector)} is not finite")
        self.zero_rhs = largest == 0
        exponent = _exponent(largest)
        if guess is not None:
            size = self.backend.max_abs(self.backend.copy(guess, self.dtype))
            if not math.isfinite(size):
                raise InputError(f"x0: entry {self._first_bad(guess)} is not finite")
            # Of an A that only multiplies, the size shows with its first products: see prepare and initial.
            scale = None if known is None else _exponent(known.max_abs) + self.matrix_exponent
            excess = _exponent(size) + scale - exponent if size and scale is not None else 0
            if excess > -math.log2(self.precision.unit_roundoff):
                guess = None  # rounding A x0 alone leaves more than b: zero is the better guess
            elif excess > 0:
                exponent += excess
        self.rhs_exponent = exponent
        self.rhs = self.backend.ldexp(self.rhs, -exponent)
        self.rhs_norm = self.backend.norm(self.rhs)
        self.guess = guess
        self.preconditioner: BoundPreconditioner | None
        self.preconditioner_exponent: int | None
        self.use_preconditioner(
            None if M is None else as_preconditioner(M, self.backend, n).bind(self.backend, self.dtype)
        )

    def prepare(self) -> None:
        """Put A into the storage that this backend multiplies fastest, and into units found by a product if it must."""
        if self.n == 0 or self.prepared:
            return
        self.prepared = True
        self.operator = self.backend.prepare(self.operator, self.facts)
        if self.facts is None:
            size = self.backend.max_abs(self.matvec(self.rhs, self.vector()))
            if not math.isfinite(size):
                raise Breakdown("A product with A was not finite: the operator returned NaN or infinity.")
            exponent = _exponent(size)
            if abs(exponent) > self.precision.comfortable_exponent:
                self.operator, self.matrix_exponent = self.operator.rescaled(-exponent), exponent

    def negate(self) -> None:
        """Solve -A x = -b instead, which has the same solution."""
        self.operator = self.operator.negated()
        self.facts = self.backend.facts(self.operator)
        self.rhs = self.backend.axpby(0.0, self.rhs, -1.0, self.rhs)

    # What the methods use.

    @property
    def hermitian(self) -> bool | None:
        """A equals its conjugate transpose; None where the entries are not to be had."""
        return None if self.facts is None else self.facts.hermitian(self.precision.unit_roundoff)

    def initial(self) -> tuple[Any, Any, float]:
        """The first guess, its residual and the norm of that; new vectors."""
        if self.guess is None:
            return self.backend.zeros(self.n, self.dtype), self.backend.copy(self.rhs), self.rhs_norm
        x = self.backend.copy(self.guess, self.dtype)
        x = self.backend.ldexp(x, self.matrix_exponent - self.rhs_exponent)
        r, norm = self.certify(x, self.vector())
        if not norm <= self.rhs_norm / self.precision.unit_roundoff:
            self.guess = None  # rounding A x0 alone leaves more than b: zero is the better guess
            return self.initial()
        return x, r, norm

    def vector(self) -> Any:
        """A new vector."""
        return self.backend.zeros(self.n, self.dtype)

    def matvec(self, x: Any, out: Any) -> Any:
        """A x."""
        self.matvecs += 1
        return self.backend.matvec(self.operator, x, out)

    def matvec_dot(self, p: Any, q: Any) -> tuple[Any, float]:
        """A p and the real part of p^H A p."""
        self.matvecs += 1
        return self.backend.matvec_dot(self.operator, p, q)

    def residual(self, x: Any, out: Any) -> Any:
        """b - A x in working precision."""
        self.matvecs += 1
        return self.backend.residual(self.operator, x, self.rhs, out)

    def certify(self, x: Any, out: Any) -> tuple[Any, float]:
        """b - A x, accumulated in more than working precision where the backend can, and its norm."""
        self.matvecs += 1
        return self.backend.certify(self.operator, x, self.rhs, out)

    def precondition(self, r: Any, out: Any) -> Any:
        """M r, or r itself without a preconditioner.

        The result is scaled by the power of two that makes the first one of size one: no method depends on the scale
        of M, and inner products with it could otherwise leave the range. Half of that power is put on r beforehand,
        so that M r does not leave it either.
        """
        if self.preconditioner is None:
            return r
        exponent = self.preconditioner_exponent
        if exponent is None:
            out = self.preconditioner.apply(r, out)
            largest = self.backend.max_abs(out)
            if not math.isfinite(largest):
                raise Breakdown("M returned NaN or infinity for a finite residual; check the preconditioner.")
            exponent = _exponent(largest)
            if abs(exponent) <= self.precision.comfortable_exponent:
                exponent = 0
            self.preconditioner_exponent = exponent
            if not exponent:
                return out
            scaled = self.preconditioner.rescaled(-exponent)
            if scaled is not None:
                self.use_preconditioner(scaled, self.preconditioner_units - exponent)
                self.preconditioner_exponent = exponent = 0
        if not exponent:
            return self.preconditioner.apply(r, out)
        half = exponent // 2
        r = self.backend.ldexp(r, -half)
        out = self.preconditioner.apply(r, out)
        self.backend.ldexp(r, half)
        return self.backend.ldexp(out, half - exponent)

    def use_preconditioner(self, bound: BoundPreconditioner | None, exponent: int = 0) -> None:
        """Precondition with ``bound``, which is 2**exponent times what the caller would call M."""
        self.preconditioner, self.preconditioner_units = bound, exponent
        self.preconditioner_exponent = None

    @property
    def spectral_exponent(self) -> int:
        """The spectrum of the caller's A (or M A) is 2**this times that of the system as it is iterated on."""
        own = 0 if self.preconditioner is None else (self.preconditioner_exponent or 0) - self.preconditioner_units
        return self.matrix_exponent + own

    # Back to the caller's units.

    def unscaled(self, x: Any, copy: bool = True) -> Any:
        """x in the caller's units and shape."""
        x = self.backend.ldexp(self.backend.copy(x) if copy else x, self.rhs_exponent - self.matrix_exponent)
        return self.backend.reshape(x, (-1, 1)) if self.column else x

    def rescaled(self, x: Any) -> Any:
        """The inverse of ``unscaled``."""
        x = self.backend.copy(self.backend.reshape(x, (-1,)))
        return self.backend.ldexp(x, self.matrix_exponent - self.rhs_exponent)

    def _vector(self, b: Any, name: str, n: int) -> Any:
        vector = self.backend.vector(b, name)
        shape = tuple(vector.shape)
        if shape not in ((n,), (n, 1)):
            raise InputError(f"{name}: found shape {shape}; wanted ({n},), the size of A")
        try:
            working_dtype(self.backend.numpy_dtype(vector))
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from None
        return self.backend.reshape(vector, (-1,)) if len(shape) == 2 else vector

    def _check_entries(self, operator: Operator, known: Facts) -> None:
        if not math.isfinite(known.max_abs):
            matrix = operator.tocsr()
            at = int(np.flatnonzero(~np.isfinite(matrix.data))[0])
            row = int(np.searchsorted(matrix.indptr, at, side="right")) - 1
            value = matrix.data[at]
            raise InputError(f"A: entry ({row}, {int(matrix.indices[at])}) is {value}; wanted finite entries")

    def _lossless(self, operator: Operator, exponent: int) -> int:
        """The exponent, or as much of it as leaves every nonzero entry of A a normal number."""
        sizes = np.abs(operator.tocsr().data)
        smallest = float(sizes[sizes > 0].min())
        return (
            max(0, min(exponent, _exponent(smallest) - self.precision.smallest_exponent)) if exponent > 0 else exponent
        )

    def _first_bad(self, vector: Any) -> int:
        return int(np.flatnonzero(~np.isfinite(self.backend.to_numpy(vector)))[0])


def _exponent(size: float) -> int:
    """The e with 2**e <= size < 2**(e + 1); 0 for 0."""
    return math.frexp(size)[1] - 1 if size else 0
