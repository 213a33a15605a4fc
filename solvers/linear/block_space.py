"""Where block methods iterate: products and preconditioning of blocks of vectors, in a numbering that suits caches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...operators import CSR
from ..preconditioners.base import BoundPreconditioner
from .system import LinearSystem

__all__ = ["Space", "scattered"]

RENUMBERED_FROM = 1 << 14  # rows from which four vectors leave a second-level cache
FAR = 0.02  # of the rows: entries farther from the diagonal on average are gathered from all over memory
SAMPLED = 1000  # rows


class Space:
    """The system as block methods see it.

    A sparse matrix whose numbering scatters neighbours, as a mesh generator's does, is renumbered (reverse
    Cuthill-McKee): vectors enter and leave permuted. That is done where M is none or diagonal.

    Attributes
    ----------
    product : callable
        ``product(X, out)`` gives A of every vector of a block, (k, n), in place of out where the library can.
    precondition : callable or None
        ``precondition(R, out)`` gives M of every vector, likewise.
    """

    def __init__(self, system: LinearSystem) -> None:
        self.system, self.backend = system, system.backend
        operator = system.operator
        if system.preconditioner is not None:
            system.precondition(system.rhs, system.vector())  # which settles its units
        self.order = _order(system)
        self.precondition: Callable[[Any, Any], Any] | None = None
        if self.order is not None:
            matrix = operator.tocsr()[self.order][:, self.order]
            matrix.sort_indices()
            operator = CSR(matrix.indptr, matrix.indices, matrix.data)
            if system.preconditioner is not None:
                diagonal = system.preconditioner.inverse_diagonal[self.order]
                self.precondition = lambda R, out: self.backend.multiply(diagonal, R, out)
        elif system.preconditioner is not None:
            self.precondition = self._preconditioned()
        self.product: Callable[[Any, Any], Any] = self.backend.product_each(operator) or self._one_by_one(operator)

    def entered(self, vectors: list[Any]) -> Any:
        """A new block of these vectors of the system."""
        block = self.backend.namespace(vectors[0]).stack(vectors)
        return block if self.order is None else np.ascontiguousarray(block[:, self.order])

    def left(self, vectors: list[Any]) -> list[Any]:
        """Vectors of blocks as those of the system."""
        return vectors if self.order is None else [self._back(x) for x in vectors]

    def _back(self, x: np.ndarray) -> np.ndarray:
        back = np.empty_like(x)
        back[self.order] = x
        return back

    def _one_by_one(self, operator: Any) -> Callable[[Any, Any], Any]:
        backend = self.backend

        def product(X: Any, out: Any) -> Any:
            room = self.system.unset()
            made = [backend.copy(backend.matvec(operator, X[j, :], room)) for j in range(X.shape[0])]
            return backend.namespace(X).stack(made)

        return product

    def _preconditioned(self) -> Callable[[Any, Any], Any]:
        system, backend = self.system, self.backend
        bound = system.preconditioner if system.preconditioner_exponent == 0 else None
        together: dict[int, BoundPreconditioner | None] = {}  # by the number of vectors: it has rooms of that size

        def precondition(R: Any, out: Any) -> Any:
            count = int(R.shape[0])
            if bound is not None and count not in together:
                together.clear()
                together[count] = bound.of_stacks()
            stacked = together.get(count)
            if stacked is not None:
                return stacked.apply(R, out)
            room = system.vector()
            made = [backend.copy(system.precondition(R[j, :], room)) for j in range(count)]
            return backend.namespace(R).stack(made)

        return precondition


def scattered(system: LinearSystem) -> bool:
    """Whether neighbours are far apart in a large sparse matrix, so that it multiplies slower than memory is read."""
    A = system.operator
    if system.backend.name != "numba" or not isinstance(A, CSR) or A.shape[0] < RENUMBERED_FROM:
        return False
    n = A.shape[0]
    rows = np.arange(0, n, max(1, n // SAMPLED))
    near = zip(rows, A.indptr[rows], A.indptr[rows + 1], strict=True)
    distances = np.concatenate([np.abs(A.indices[low:high].astype(np.int64) - i) for i, low, high in near])
    return distances.size > 0 and bool(distances.mean() >= FAR * n)


def _order(system: LinearSystem) -> np.ndarray | None:
    """A numbering in which neighbours are near; None where they are, or it cannot be had."""
    M = system.preconditioner
    if M is not None and (M.inverse_diagonal is None or system.preconditioner_exponent != 0):
        return None
    if not scattered(system):
        return None
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    return reverse_cuthill_mckee(system.operator.tocsr(), symmetric_mode=bool(system.hermitian))
