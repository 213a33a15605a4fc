"""Factors of SciPy's SuperLU, whole or incomplete, as the inverse of what was factored."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ...errors import BackendError, InputError
from .base import BoundPreconditioner, Preconditioner

__all__ = ["SuperLUPreconditioner", "with_products"]


class SuperLUPreconditioner(Preconditioner):
    """M r solves with both factors, or with their conjugate transposes.

    Parameters
    ----------
    factors : SuperLU
        Of ``scipy.sparse.linalg.splu`` or ``spilu``.
    adjoint : bool
    """

    def __init__(self, factors: Any, adjoint: bool = False) -> None:
        self.factors, self.shape, self.trans = factors, tuple(factors.shape), "H" if adjoint else "N"
        # It does not tell its type, but answers in that.
        self.dtype = factors.solve(np.zeros(self.shape[0], np.float32)).dtype

    def adjoint(self) -> SuperLUPreconditioner:
        """M^H."""
        return SuperLUPreconditioner(self.factors, adjoint=self.trans == "N")

    def bind(self, backend: Any, dtype: np.dtype) -> BoundPreconditioner:
        if backend.library != "numpy":
            raise BackendError(
                f"M: factors of SuperLU solve in NumPy arrays, the system is on the {backend.name} backend; wanted an "
                "M of its library, since nothing is moved silently"
            )
        if self.dtype.kind == "c" and dtype.kind != "c":
            raise InputError(f"M: found {self.dtype} for a {dtype} system; pass A or b as complex to solve in complex")
        return _Solves(self, backend)


class _Solves(BoundPreconditioner):
    def __init__(self, M: SuperLUPreconditioner, backend: Any) -> None:
        self.M, self.backend = M, backend

    def work(self, entries: int) -> int:
        return int(self.M.factors.nnz)

    def of_stacks(self) -> BoundPreconditioner:
        return self

    def apply(self, r: Any, out: Any) -> Any:
        vectors = r.reshape(-1, r.shape[-1]).T  # SuperLU takes columns
        if r.dtype.kind == "c" and self.M.dtype.kind != "c":
            solved = self._solved(vectors.real) + 1j * self._solved(vectors.imag)
        else:
            solved = self._solved(vectors)
        return self.backend.assign(self.backend.copy(solved.T.reshape(r.shape), r.dtype), out)

    def _solved(self, columns: np.ndarray) -> np.ndarray:
        return self.M.factors.solve(columns.astype(self.M.dtype), self.M.trans)


def with_products(M: Any) -> Any:
    """M, as what multiplies where it is factors that solve."""
    kind = getattr(sys.modules.get("scipy.sparse.linalg"), "SuperLU", ())  # loaded by whoever has factors
    return SuperLUPreconditioner(M) if isinstance(M, kind) else M
