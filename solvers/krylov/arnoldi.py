"""The least-squares problem that goes with the matrix of the Arnoldi process."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["HessenbergProblem"]


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
