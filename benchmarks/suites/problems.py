"""The systems that the benchmarks solve: 5-point Poisson problems in the storages that differ in speed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sparse
from scipy.spatial import Delaunay

from resolvent import gallery

__all__ = [
    "STORAGES",
    "System",
    "definite_stack",
    "in_single",
    "linear_elements",
    "poisson",
    "stretched",
    "tridiagonal_stack",
]

STORAGES = ("csr", "irregular", "stencil")


@dataclass(frozen=True)
class System:
    """A in the storage that Resolvent is given, the same matrix as CSR for the others, a random b, and the spectrum."""

    A: Any
    csr: Any
    b: np.ndarray
    spectrum: tuple[float, float]

    @property
    def n(self) -> int:
        """Unknowns."""
        return self.b.size


def poisson(n: int, storage: str = "csr") -> System:
    """The 5-point Laplacian on a square of n points.

    Parameters
    ----------
    n : int
        A square number.
    storage : str
        "csr": as SciPy holds it; Resolvent may find out that it has few diagonals, and keep those.
        "irregular": CSR with 17 far-off pairs of entries besides, which no few diagonals hold, so that it is multiplied
        as CSR. The rest is the same, down to bytes and order.
        "stencil": the coefficients alone.
    """
    side = math.isqrt(n)
    if side * side != n:
        raise ValueError(f"n is {n}; it must be a square number")
    problem = gallery.poisson((side, side))
    assert problem.spectrum is not None
    low, high = problem.spectrum
    matrix = sparse.csr_matrix(problem.A)
    if storage == "irregular":
        matrix, high = _with_far_pairs(matrix), high + 0.02
    A = gallery.poisson((side, side), matrix_free=True).A if storage == "stencil" else matrix
    return System(A, matrix, np.random.default_rng(7).standard_normal(n), (low, high))


def stretched(n: int) -> System:
    """D A D with A as above and a diagonal D from 1 to 1e4: the same pattern, but it keeps CG busy much longer than n.

    For small n, where Poisson's equation is solved before a clock has moved.
    """
    system = poisson(n)
    scale = sparse.diags_array(np.logspace(0, 4, n))
    matrix = sparse.csr_matrix(scale @ system.csr @ scale)
    matrix.sort_indices()
    return System(matrix, matrix, system.b, (system.spectrum[0], 1e8 * system.spectrum[1]))


def in_single(system: System) -> System:
    """The same in float32."""
    A, csr, b = (part.astype(np.float32) for part in (system.A, system.csr, system.b))
    return System(A, csr, b, system.spectrum)


def definite_stack(count: int, n: int) -> np.ndarray:
    """Full positive definite matrices, (count, n, n), with eigenvalues between 1 and a condition of up to 1e3."""
    rng = np.random.default_rng(7)
    condition = 10 ** rng.uniform(0, 3, (count, 1))
    eigenvalues = condition ** np.linspace(0, 1, n)
    Q = np.linalg.qr(rng.standard_normal((count, n, n)))[0]
    A = (Q * eigenvalues[:, None]) @ Q.mT
    return (A + A.mT) / 2


def tridiagonal_stack(count: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Diagonally dominant tridiagonal matrices as (indptr, indices, values), values (count, 3 n - 2)."""
    pattern = sparse.csr_array(sparse.diags_array([1.0, 2.0, 1.0], offsets=[-1, 0, 1], shape=(n, n)))
    rng = np.random.default_rng(7)
    coupling = np.pad(rng.uniform(0.5, 2, (count, n - 1)), ((0, 0), (1, 1)))
    rows = np.repeat(np.arange(n), np.diff(pattern.indptr))
    left, right = coupling[:, :-1], coupling[:, 1:]
    values = np.where(pattern.indices < rows, -left[:, rows], -right[:, rows])
    values[:, pattern.indices == rows] = left + right + rng.uniform(0.1, 1, (count, n))
    return pattern.indptr, pattern.indices, values


def _with_far_pairs(matrix: Any) -> Any:
    """The matrix with 17 symmetric pairs far from the diagonal, each kept positive semidefinite by its diagonal."""
    n, pairs, weight = matrix.shape[0], 17, 0.01
    rows = np.arange(pairs) * (n // (4 * pairs))
    columns = n - 1 - 2 * rows - np.arange(pairs)
    both = np.concatenate
    change = sparse.coo_matrix(
        (
            both([np.full(2 * pairs, -weight), np.full(2 * pairs, weight)]),
            (both([rows, columns, rows, columns]), both([columns, rows, rows, columns])),
        ),
        matrix.shape,
    )
    result = sparse.csr_matrix(matrix + change.tocsr())
    result.sort_indices()
    return result


def linear_elements(count: int) -> sparse.csr_array:
    """The stiffness matrix of linear elements on a Delaunay triangulation of random points, without a margin."""
    points = np.random.default_rng(0).random((count, 2))
    corners = Delaunay(points).simplices
    p = points[corners]
    normals = np.stack([p[:, 1] - p[:, 2], p[:, 2] - p[:, 0], p[:, 0] - p[:, 1]], 1)
    area = 0.5 * np.abs(np.linalg.det(p[:, 1:] - p[:, :1]))
    local = normals @ normals.transpose(0, 2, 1) / (4 * area)[:, None, None]
    rows, columns = np.repeat(corners, 3, axis=1).ravel(), np.tile(corners, (1, 3)).ravel()
    A = sparse.coo_array((local.ravel(), (rows, columns)), shape=(count, count)).tocsr()
    inside = np.flatnonzero((points.min(axis=1) > 0.02) & (points.max(axis=1) < 0.98))
    return sparse.csr_array((A + A.T)[inside][:, inside] / 2)
