"""Products with a vector, by storage, and the copy that they are measured by."""

from __future__ import annotations

from typing import Any

import numpy as np

import resolvent as rv
from resolvent.backends import backend_named

from . import measure
from .problems import poisson


def operator(kind: str, n: int) -> Any:
    """A Poisson matrix as an operator in one of the storages."""
    if kind == "csr":
        return rv.as_operator(poisson(n).A)
    if kind == "bands":
        matrix = poisson(n).csr.todia()
        n = matrix.shape[0]
        held = np.zeros((matrix.offsets.size, n))
        for row, (offset, values) in enumerate(zip(matrix.offsets, matrix.data, strict=True)):
            # SciPy numbers a diagonal's entries by column, Diagonals by row.
            held[row, max(0, -offset) : n - max(0, offset)] = values[max(0, offset) : n - max(0, -offset)]
        return rv.Diagonals(held, matrix.offsets)
    if kind == "stencil":
        return poisson(n, "stencil").A
    return rv.as_operator(poisson(n).csr.toarray())


class Matvec:
    """A x on one backend."""

    params = (["csr", "bands", "stencil", "dense"], ["numpy", "numba"], [64, 2_500, 1_000_000])
    param_names = ("kind", "backend", "n")

    def setup(self, kind: str, backend: str, n: int) -> None:
        """The operator, compiled for."""
        if kind == "dense" and n > 10_000:
            raise NotImplementedError("a dense matrix of this size does not fit")
        self.backend, self.A = backend_named(backend), operator(kind, n)
        self.x, self.y = np.random.default_rng(3).standard_normal(n), np.zeros(n)
        self.time_matvec(kind, backend, n)

    def time_matvec(self, kind: str, backend: str, n: int) -> None:
        """Into a vector at hand."""
        self.backend.matvec(self.A, self.x, self.y)


class SciPyMatvec:
    """The same product by SciPy, which allocates its result."""

    params = ([64, 2_500, 1_000_000],)
    param_names = ("n",)

    def setup(self, n: int) -> None:
        """The matrix."""
        self.A, self.x = poisson(n).csr, np.ones(n)

    def time_csr(self, n: int) -> None:
        """A @ x."""
        self.A @ self.x


class Copy:
    """The yardstick of every roofline."""

    params = ([10_000, 1_000_000, 4_000_000],)
    param_names = ("n",)

    def track_copy_bandwidth(self, n: int) -> float:
        """Bytes read and written by the threads that the solvers use."""
        return measure.copy_bandwidth(n) * 1e-9

    track_copy_bandwidth.unit = "GB/s"  # type: ignore[attr-defined]
