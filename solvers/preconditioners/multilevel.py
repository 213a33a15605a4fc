"""The V-cycle over a hierarchy of matrices, smoothed by Chebyshev iteration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from ...errors import BackendError, InputError
from ...operators import Operator, as_operator
from .base import BoundPreconditioner, Preconditioner

__all__ = ["Hierarchy", "Level"]


@dataclass(frozen=True)
class Level:
    """A matrix of a hierarchy, and how it hangs together with the next one.

    Attributes
    ----------
    A : csr_array, (n, n)
        Hermitian positive definite.
    P, R : csr_array, (n, coarse) and (coarse, n)
        Prolongation, and restriction: its conjugate transpose.
    largest : float
        At least the largest eigenvalue of D^{-1} A.
    """

    A: Any
    P: Any
    R: Any
    largest: float


class Hierarchy(Preconditioner):
    """M r = the iterate of one V-cycle for A x = r from x = 0.

    Before and after the correction from the level below, ``degree`` steps of Chebyshev iteration for the upper part of
    the spectrum of D^{-1} A, [largest / ``range_``, largest], smooth the error. Both polynomials are the same, so M is
    Hermitian, and positive definite with A.

    Parameters
    ----------
    levels : sequence of Level
        The finest first.
    coarsest : ndarray, (m, m)
        The last matrix; singular ones are solved in the sense of least squares.
    degree : int
    range_ : float
    """

    def __init__(self, levels: Sequence[Level], coarsest: np.ndarray, degree: int, range_: float) -> None:
        self.levels, self.coarsest, self.degree, self.range_ = tuple(levels), coarsest, degree, range_
        first = levels[0].A if levels else coarsest
        self.shape, self.dtype = first.shape, np.dtype(first.dtype)

    def memory(self, dtype: np.dtype) -> float:
        entries = sum(part.nnz for level in self.levels[1:] for part in (level.A,))
        entries += sum(part.nnz for level in self.levels for part in (level.P, level.R))
        vectors = 4.0 * sum(level.A.shape[0] for level in self.levels)
        return entries * (dtype.itemsize + 4.0) + vectors * dtype.itemsize

    def bind(self, backend: Any, dtype: np.dtype) -> BoundPreconditioner:
        if backend.library != "numpy":
            raise BackendError(
                f"M: found a hierarchy of NumPy arrays, the system is on the {backend.name} backend; wanted an M of "
                "its library, such as precondition.polynomial, since nothing is moved silently"
            )
        if self.dtype.kind == "c" and dtype.kind != "c":
            raise InputError(f"M: found {self.dtype} for a {dtype} system; pass A or b as complex to solve in complex")
        return _Cycle(self, backend, dtype)

    def __repr__(self) -> str:
        sizes = " -> ".join(str(n) for n in (*(level.A.shape[0] for level in self.levels), self.coarsest.shape[0]))
        return f"<{type(self).__name__} preconditioner {self.shape[0]}x{self.shape[1]}, levels {sizes}>"


class _Cycle(BoundPreconditioner):
    def __init__(self, hierarchy: Hierarchy, backend: Any, dtype: np.dtype) -> None:
        from scipy.linalg import pinvh

        self.backend, self.hierarchy = backend, hierarchy
        self.levels = [_Grid(level, hierarchy, backend, dtype) for level in hierarchy.levels]
        # In exact arithmetic the inverse; of a singular matrix, as rigid bodies leave it, that of the rest.
        self.coarsest = pinvh(hierarchy.coarsest).astype(dtype)

    def work(self, entries: int) -> int:
        steps = 2 * self.hierarchy.degree
        return sum(steps * (part.A.nnz + 6 * part.A.shape[0]) + 2 * part.P.nnz for part in self.hierarchy.levels)

    def apply(self, r: Any, out: Any) -> Any:
        return self.backend.assign(self._cycle(0, r), out)

    def _cycle(self, number: int, b: Any) -> Any:
        backend = self.backend
        if number == len(self.levels):
            return backend.from_numpy(self.coarsest @ backend.to_numpy(b), self.coarsest.dtype)
        grid = self.levels[number]
        x = grid.smoothed(b)
        grid.residual = backend.residual(grid.A, x, b, grid.residual)
        grid.restricted = backend.matvec(grid.R, grid.residual, grid.restricted)
        correction = self._cycle(number + 1, grid.restricted)
        grid.residual = backend.matvec(grid.P, correction, grid.residual)
        return grid.smoothed(b, backend.axpy(1.0, grid.residual, x))


class _Grid:
    """A level on a backend, with room for its vectors."""

    def __init__(self, level: Level, hierarchy: Hierarchy, backend: Any, dtype: np.dtype) -> None:
        from ..chebyshev.coefficients import chebyshev_coefficients

        self.backend = backend
        stored = backend.store(as_operator(level.A), dtype)
        self.A: Operator = backend.prepare(stored, backend.facts(stored))
        self.P, self.R = (backend.store(as_operator(part, square=False), dtype) for part in (level.P, level.R))
        self.inverse_diagonal = backend.copy(1 / self.A.diagonal(), dtype)
        ends = level.largest / hierarchy.range_, level.largest
        self.coefficients = list(islice(chebyshev_coefficients(*ends), hierarchy.degree))
        n, coarse = level.P.shape
        self.x, self.previous, self.z, self.residual = (backend.zeros(n, dtype) for _ in range(4))
        self.restricted = backend.zeros(coarse, dtype)

    def smoothed(self, b: Any, x: Any = None) -> Any:
        """Chebyshev iteration for A x = b from x, or from zero; the vector that comes back is this level's."""
        backend = self.backend
        coefficients = self.coefficients
        if x is None:  # the first step, whose residual is b
            self.z = backend.multiply(self.inverse_diagonal, b, self.z)
            x = self.x = backend.axpby(coefficients[0][1], self.z, 0.0, self.x)
            self.previous = backend.axpby(0.0, x, 0.0, self.previous)
            coefficients = coefficients[1:]
        else:
            self.previous = backend.assign(x, self.previous)
        for beta, gamma in coefficients:
            self.residual = backend.residual(self.A, x, b, self.residual)
            self.z = backend.multiply(self.inverse_diagonal, self.residual, self.z)
            self.previous = backend.momentum(beta, gamma, x, self.previous, self.z)
            x, self.previous = self.previous, x
        self.x = x
        return x
