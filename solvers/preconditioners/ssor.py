"""One symmetric relaxation sweep from zero."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import InputError
from ...naming import choice, refusing_other_names
from ...operators import Operator
from ...operators.ordering import ORDERS, Ordering
from .base import BoundPreconditioner, Preconditioner

__all__ = ["SSORPreconditioner", "ssor"]


class SSORPreconditioner(Preconditioner):
    """M r = the iterate of one SSOR iteration for A x = r from x = 0."""

    def __init__(self, A: Operator, omega: float, order: str, *, nonzero: bool = False) -> None:
        self.operator, self.omega, self.order = A, omega, order
        self.nonzero = nonzero  # no entry of the diagonal is zero, as it is stored
        self.shape, self.dtype = A.shape, A.dtype

    def rescaled(self, exponent: int) -> tuple[Preconditioner, int]:
        return SSORPreconditioner(self.operator.rescaled(-exponent), self.omega, self.order), exponent

    def bind(self, backend: Any, dtype: np.dtype) -> BoundPreconditioner:
        ordering = Ordering(backend.store(self.operator, dtype), self.order, nonzero=self.nonzero)
        return _Sweeps(backend, ordering, self.omega)


class _Sweeps(BoundPreconditioner):
    def __init__(self, backend: Any, ordering: Ordering, omega: float) -> None:
        self.backend, self.ordering, self.omega = backend, ordering, omega
        self.order = ordering.order

    def work(self, entries: int) -> int:
        return 2 * entries

    def apply(self, r: Any, out: Any) -> Any:
        out = self.backend.axpby(0.0, r, 0.0, out)
        for reverse in (False, True):
            out = self.backend.sweep(self.ordering, out, r, self.omega, reverse)
        return out


@refusing_other_names
def ssor(A: Any, omega: float = 1.0, *, order: str = "natural", backend: Any = None) -> SSORPreconditioner:
    """The SSOR preconditioner: a forward and a backward sweep from zero.

    Hermitian positive definite whenever A is and 0 < omega < 2, so conjugate gradients take it.

    Parameters
    ----------
    A : matrix with entries at hand, (n, n)
    omega : float
        Relaxation factor in (0, 2), without unit.
    order : {"natural", "multicolor"}
        Order of the rows; natural order preconditions better, colours run in parallel.
    backend : str, optional
        As in ``resolvent.cg``.

    Returns
    -------
    SSORPreconditioner
        Two sweeps (the cost of 2 matvecs) an application.

    Raises
    ------
    InputError
        For an omega outside (0, 2), an unknown order, a matrix-free A.
    SingularError
        Where a diagonal entry is zero (when it is first used).

    References
    ----------
    Axelsson (1972), "A generalized SSOR method"; Saad (2003), section 10.2.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> A = np.array([[4.0, -1, 0], [-1, 4, -1], [0, -1, 4]])
    >>> rv.cg(A, np.ones(3), M=rv.precondition.ssor(A, 1.1), rtol=1e-10).converged
    True
    """
    from ...backends import choose_backend

    if not 0 < omega < 2:
        raise InputError(f"omega: found {omega!r}; wanted a number in (0, 2), outside of which M is not definite")
    order = choice("order", order, ORDERS)
    operator = choose_backend(backend, A).operator(A)
    operator.diagonal()
    return SSORPreconditioner(operator, omega, order)
