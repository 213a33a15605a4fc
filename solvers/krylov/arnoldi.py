"""The Arnoldi process by block inner products, and the least-squares problem that goes with its matrix."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...backends import Backend
from ...backends.block import Block

__all__ = ["HessenbergProblem", "orthogonalised"]

CANCELLED = 1 / math.sqrt(2)  # a vector that a pass leaves shorter than this has lost digits, and takes another pass
NEAR = 2  # vectors of the basis that the next one mostly lies along


def orthogonalised(backend: Backend, V: Block, k: int, unit_roundoff: float) -> tuple[np.ndarray, float]:
    """V[k] made orthogonal to the k vectors before it; the coefficients of what was taken away, and the norm left.

    What lies along the last two vectors is taken away first: where A is near to Hermitian, that is all but the new
    vector, and what the pass over the whole basis takes away is small. So that pass cancels nothing, and leaves the
    vector orthogonal to working precision; where it does cancel, by more than a factor of sqrt(2), a second one follows
    (Daniel, Gragg, Kaufman & Stewart 1976; that two suffice, Giraud, Langou, Rozloznik & van den Eshof 2005).

    The norm is 0 where rounding has left nothing of the vector.
    """
    near = max(0, k - NEAR)
    h = np.zeros(k, np.complex128 if backend.numpy_dtype(V[k]).kind == "c" else np.float64)
    h[near:] = backend.dots(V[near:k], V[k])
    V[k] = backend.add_block(V[near:k], -h[near:], V[k])
    *along, square = backend.dots(V[: k + 1], V[k])
    before = math.sqrt(max(square.real, 0.0)) if square == square else math.nan
    h += along
    V[k] = backend.add_block(V[:k], -np.array(along), V[k])
    rest = backend.norm(V[k])
    if rest < CANCELLED * before:
        again = backend.dots(V[:k], V[k])
        h += again
        V[k] = backend.add_block(V[:k], -again, V[k])
        rest = backend.norm(V[k])
    return h, 0.0 if rest <= 4 * unit_roundoff * float(np.linalg.norm(h)) else rest


class HessenbergProblem:
    """min ||beta e_1 - H y|| over a Hessenberg matrix that grows by columns, kept triangular by rotations.

    Parameters
    ----------
    most : int
        Columns at most.
    dtype : dtype
    beta : float
    unit_roundoff : float

    Attributes
    ----------
    H : ndarray of shape (most + 1, most)
    R : ndarray of shape (most, most)
        Its triangular factor.
    residuals : list of float
        The minima, from no column on.
    """

    def __init__(self, most: int, dtype: Any, beta: float, unit_roundoff: float) -> None:
        wide = np.complex128 if np.dtype(dtype).kind == "c" else np.float64
        self.H, self.R = np.zeros((most + 1, most), wide), np.zeros((most, most), wide)
        self.unit_roundoff, self.largest = unit_roundoff, 0.0
        self.rotations: list[tuple[float, complex]] = []
        self.rotated: list[complex] = [beta]
        self.residuals = [beta]

    def __len__(self) -> int:
        return len(self.rotations)

    def append(self, h: np.ndarray, rest: float) -> bool:
        """Add the column of h and, below it, rest; whether it depends on those before, as far as rounding lets see."""
        k = len(self)
        self.H[: k + 1, k], self.H[k + 1, k] = h, rest
        column = h.tolist()
        for j, (c, s) in enumerate(self.rotations):
            above, below = column[j], column[j + 1]
            column[j], column[j + 1] = c * above + s * below, c * below - s.conjugate() * above
        size = abs(column[k])
        pivot = math.hypot(size, rest)
        self.largest = max(self.largest, float(np.linalg.norm(h)), rest)
        dependent = pivot <= self.unit_roundoff * self.largest
        if dependent:
            c, s = 0.0, 1.0  # nothing is gained by it: the right-hand side goes down as it is
            column[k] = 0.0
        else:
            phase = column[k] / size if size > 0 else 1.0
            c, s = size / pivot, phase * (rest / pivot)
            column[k] = phase * pivot
        self.R[: k + 1, k] = column
        last = self.rotated[k]
        self.rotated[k:] = [c * last, -s.conjugate() * last]
        self.rotations.append((c, s))
        self.residuals.append(abs(self.rotated[k + 1]))
        return dependent

    def solution(self) -> np.ndarray:
        """y over the first columns: of all spaces on the way that of the smallest residual, rounding of x included.

        That is the last one, unless its column was all but dependent: y is then so long that x rounds to nothing.
        """
        from scipy.linalg import solve_triangular

        best, smallest = np.zeros(0), math.inf
        for k in range(len(self), -1, -1):
            if not self.residuals[k] < smallest:
                break
            if k and self.R[k - 1, k - 1] == 0:
                continue
            y = solve_triangular(self.R[:k, :k], np.array(self.rotated[:k]), check_finite=False) if k else np.zeros(0)
            left = self.residuals[k] + self.unit_roundoff * self.largest * float(np.linalg.norm(y))
            if left < smallest:
                best, smallest = y, left
        return best

    @property
    def matrix(self) -> np.ndarray:
        """H as far as it goes, (k + 1, k)."""
        return self.H[: len(self) + 1, : len(self)]
