"""Whole solves on regular grids, set-up included, as ratios to PyAMG's."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyamg
import scipy.sparse as sparse

import resolvent as rv
from resolvent import gallery

PROBLEMS = ("square", "stencil", "cube", "lognormal")
PEERS: dict[str, Callable[[Any], Any]] = {
    "ruge_stuben": pyamg.ruge_stuben_solver,
    "smoothed_aggregation": pyamg.smoothed_aggregation_solver,
}
TOLERANCE = 1e-8


def diffusion(coefficients: np.ndarray) -> sparse.csr_matrix:
    """Finite volumes with these coefficients in the cells, zero on the boundary."""
    grid, n = coefficients.shape, coefficients.size
    index, diagonal = np.arange(n).reshape(grid), np.zeros(grid)
    rows, columns, values = [], [], []
    for axis in range(coefficients.ndim):
        K, at, D = (np.moveaxis(array, axis, 0) for array in (coefficients, index, diagonal))
        between = 2 * K[1:] * K[:-1] / (K[1:] + K[:-1])
        D[1:] += between
        D[:-1] += between
        D[0] += K[0]
        D[-1] += K[-1]
        rows.append(at[1:].ravel())
        columns.append(at[:-1].ravel())
        values.append(-between.ravel())
    place = np.concatenate(rows), np.concatenate(columns)
    half = sparse.coo_matrix((np.concatenate(values), place), (n, n)).tocsr()
    return (half + half.T + sparse.diags(diagonal.ravel())).tocsr()


def problem(name: str, n: int) -> tuple[Any, sparse.csr_matrix, np.ndarray]:
    """A as Resolvent is given it, as CSR, and a random b, of about n unknowns.

    "square" and "cube" are Poisson's equation from CSR, "stencil" that on the square without a matrix. The coefficients
    of "lognormal" are exp(1.5 g), g normally distributed and correlated over 3 points.
    """
    rng = np.random.default_rng(7)
    side = round(n ** (1 / 3 if name == "cube" else 1 / 2))
    grid = (side,) * (3 if name == "cube" else 2)
    if name in ("square", "stencil", "cube"):
        A = sparse.csr_matrix(gallery.poisson(grid).A)
        given = gallery.poisson(grid, matrix_free=True).A if name == "stencil" else A
        return given, A, rng.standard_normal(A.shape[0])
    field = rng.standard_normal(grid)
    for axis in (0, 1):
        field = sum(np.roll(field, shift, axis) for shift in (-1, 0, 1))
    A = diffusion(np.exp(1.5 * field / field.std()))
    return A, A, rng.standard_normal(A.shape[0])


def ours(A: Any, b: np.ndarray) -> Callable[[], Any]:
    """rv.solve."""

    def solve() -> None:
        assert rv.solve(A, b, rtol=TOLERANCE).converged

    return solve


def theirs(make: Callable[[Any], Any], A: sparse.csr_matrix, b: np.ndarray) -> Callable[[], Any]:
    """A hierarchy of PyAMG, and conjugate gradients with it, to a residual that is as small."""

    def solve() -> None:
        # Its conjugate gradients stop by the preconditioned residual; some more digits make the true one small enough.
        for digits in (1.0, 0.1, 0.01, 0.001):
            x = make(A).solve(b, tol=digits * TOLERANCE, accel="cg", maxiter=300)
            if np.linalg.norm(b - A @ x) <= TOLERANCE * np.linalg.norm(b):
                return
        raise AssertionError("not solved")

    return solve


def once(call: Callable[[], Any]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


class Whole:
    """From the matrix to 1e-8."""

    params = (PROBLEMS, [1_000_000])
    param_names = ("problem", "n")
    timeout = 600

    def track_against_pyamg(self, name: str, n: int) -> float:
        """The better of PyAMG's two over ours, both warm."""
        A, csr, b = problem(name, n)
        solve = ours(A, b)
        solve()
        mine = min(once(solve) for _ in range(3))
        return min(once(theirs(make, csr, b)) for make in PEERS.values()) / mine

    def track_iterations(self, name: str, n: int) -> int:
        """Of conjugate gradients."""
        A, _, b = problem(name, n)
        return rv.solve(A, b, rtol=TOLERANCE).iterations

    track_against_pyamg.unit = "times faster"  # type: ignore[attr-defined]
    track_iterations.unit = "iterations"  # type: ignore[attr-defined]
