"""A fixed polynomial in A: no inner products, no entries needed."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from ...errors import InputError
from ...naming import choice, refusing_other_names
from ...operators import Operator
from ...precision import times_power_of_two
from .base import BoundPreconditioner, Preconditioner
from .gmres_polynomial import GMRESPolynomialPreconditioner, gmres_polynomial

__all__ = ["PolynomialPreconditioner", "guarded_largest", "polynomial"]


class PolynomialPreconditioner(Preconditioner):
    """M = p(A), the iterate after some steps of x <- x + beta_k (x - x_before) + gamma_k (r - A x) from zero."""

    vectors: ClassVar[int] = 2

    def __init__(self, A: Operator, coefficients: list[tuple[float, float]]) -> None:
        self.operator, self.coefficients = A, coefficients
        self.shape, self.dtype = A.shape, A.dtype

    def rescaled(self, exponent: int) -> tuple[Preconditioner, int]:
        scaled = [(beta, times_power_of_two(gamma, exponent)) for beta, gamma in self.coefficients]
        return PolynomialPreconditioner(self.operator.rescaled(-exponent), scaled), exponent

    def bind(self, backend: Any, dtype: np.dtype) -> BoundPreconditioner:
        operator = backend.store(self.operator, dtype)
        return _Steps(backend, backend.prepare(operator, backend.facts(operator)), self.coefficients)


class _Steps(BoundPreconditioner):
    def __init__(self, backend: Any, operator: Operator, coefficients: list[tuple[float, float]]) -> None:
        self.backend, self.operator, self.coefficients = backend, operator, coefficients
        self.previous: Any = None
        self.residual: Any = None
        self.product: Any = None  # of stacks

    def of_stacks(self) -> BoundPreconditioner | None:
        other = _Steps(self.backend, self.operator, self.coefficients)
        other.product = self.backend.product_each(self.operator)
        return None if other.product is None else other

    def work(self, entries: int) -> int:
        return (len(self.coefficients) - 1) * (entries + 6 * self.operator.shape[0])

    def apply(self, r: Any, out: Any) -> Any:
        backend = self.backend
        if self.previous is None:
            self.previous, self.residual = backend.copy(r), backend.copy(r)
        # From x = 0 the first step needs no product: its residual is r itself.
        x = backend.axpby(self.coefficients[0][1], r, 0.0, out)
        previous = backend.axpby(0.0, r, 0.0, self.previous)
        for beta, gamma in self.coefficients[1:]:
            if self.product is None:
                self.residual = backend.residual(self.operator, x, r, self.residual)
            else:
                self.residual = backend.axpby(1.0, r, -1.0, self.product(x, self.residual))
            previous = backend.momentum(beta, gamma, x, previous, self.residual)
            x, previous = previous, x
        if x is out:
            self.previous = previous
            return x
        self.previous = x
        return backend.assign(x, previous)


@refusing_other_names
def polynomial(
    A: Any,
    degree: int = 4,
    *,
    kind: str = "chebyshev",
    interval: tuple[float, float] | None = None,
    omega: float | None = None,
    backend: Any = None,
) -> PolynomialPreconditioner | GMRESPolynomialPreconditioner:
    """A polynomial in A that approximates its inverse.

    Parameters
    ----------
    A : matrix or operator, (n, n)
        Hermitian positive definite, but for ``kind="gmres"``.
    degree : int
        Of the residual polynomial 1 - t p(t): ``degree`` steps, ``degree - 1`` products with A an application.
    kind : {"chebyshev", "neumann", "gmres"}
        Chebyshev: smallest over an interval. Neumann: omega times the sum of (I - omega A)^j, j < degree. GMRES: what
        as many steps of GMRES from a random start make of any nonsingular A.
    interval : (float, float), optional
        For Chebyshev, 0 < a < b in the units of A; by default [b / 30, b] with b from 20 Lanczos steps: a few
        iterations of conjugate gradients take care of what lies below.
    omega : float, optional
        For Neumann, 0 < omega < 2 / lambda_max, in the units of 1 / A; by default 1 / lambda_max.
    backend : str, optional
        As in ``resolvent.cg``.

    Returns
    -------
    PolynomialPreconditioner, or GMRESPolynomialPreconditioner
        Hermitian, and positive definite while the spectrum of A lies in (0, b] (0 < t < 2 / omega for Neumann with even
        degree); two vectors kept. That of GMRES keeps three, and is Hermitian where A is, but need not be definite.

    Raises
    ------
    InputError
        For a degree below 1, an unknown kind, an interval or omega out of range.

    References
    ----------
    Saad (1985), "Practical use of polynomial preconditionings"; Dubois, Greenbaum & Rodrigue (1979) for Neumann; Loe &
    Morgan (2022), "Toward efficient polynomial preconditioning for GMRES".

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> A = np.diag([1.0, 2.0, 4.0])
    >>> rv.precondition.polynomial(A, 30, interval=(1, 4)).matvec(np.ones(3)).round(6)
    array([1.  , 0.5 , 0.25])
    """
    from ...backends import choose_backend

    if not isinstance(degree, (int, np.integer)) or isinstance(degree, bool) or degree < 1:
        raise InputError(f"degree: found {degree!r}; wanted an integer of at least 1")
    kind = choice("kind", kind, ("chebyshev", "neumann", "gmres"))
    ends = () if np.ndim(interval) != 1 else tuple(interval)  # type: ignore[arg-type]
    if interval is not None and not (len(ends) == 2 and 0 < ends[0] < ends[1] < math.inf):
        raise InputError(f"interval: found {interval!r}; wanted two finite numbers with 0 < lower < upper")
    if omega is not None and not 0 < omega < math.inf:
        raise InputError(f"omega: found {omega!r}; wanted a positive finite number")
    chosen = choose_backend(backend, A)
    operator = chosen.operator(A)
    if kind == "gmres":
        return gmres_polynomial(chosen, operator, int(degree))
    if kind == "neumann":
        omega = omega if omega is not None else 1 / guarded_largest(chosen, operator)
        return PolynomialPreconditioner(operator, [(0.0, omega)] * degree)
    if interval is None:
        largest = guarded_largest(chosen, operator)
        interval = (largest / 30, largest)
    from ..chebyshev.chebyshev import Chebyshev, ChebyshevState

    state = ChebyshevState(x=None, work=None, residual_norm=None, low=float(interval[0]), high=float(interval[1]))
    method = Chebyshev((state.low, state.high))
    return PolynomialPreconditioner(operator, [method.coefficients(state) for _ in range(degree)])


def guarded_largest(backend: Any, operator: Operator, steps: int = 20) -> float:
    """The largest eigenvalue of a Hermitian positive definite A from Lanczos steps, with a margin for their error."""
    from ..linear.system import LinearSystem
    from ..spectra.lanczos import estimate_spectrum

    ones = backend.from_numpy(np.ones(operator.shape[0]), operator.dtype)
    system = LinearSystem(operator, ones, backend=backend)
    ritz, broken = estimate_spectrum(system, steps)
    if ritz is None or broken:
        raise InputError(f"A: not positive definite as far as {steps} Lanczos steps show; give interval or omega")
    return times_power_of_two(1.01 * (ritz.largest + ritz.largest_error), system.matrix_exponent)
