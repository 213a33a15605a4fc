"""A sequence of related systems: the Laplacian of a square with random multiples of the identity added."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse

from ..naming import choice
from . import lattice
from .checks import integer
from .problem import Known, Problem

__all__ = ["ShiftedLaplacians", "shifted_laplacians"]

# Parameters of the beta distribution that (20 c + 3) / 12 has.
VARIANCES = {"low": (2.0, 6.0), "high": (0.5, 1.5)}


@dataclass(frozen=True, eq=False, repr=False)
class ShiftedLaplacians:
    """The systems of `shifted_laplacians`; iterating makes them one at a time, the same ones each time.

    Attributes
    ----------
    points : int
        Along each side of the square; there are points**2 unknowns.
    shifts : numpy.ndarray, shape (steps,)
        The c of each matrix K + c I.
    laplacian : scipy.sparse.csr_array, shape (n, n)
        The unscaled five-point stencil K, 4 on the diagonal. All matrices share its index arrays: change none in place.
    """

    points: int
    shifts: np.ndarray
    laplacian: sparse.csr_array
    _axes: list[lattice.Toeplitz] = field(repr=False)
    _rng_state: dict[str, Any] = field(repr=False)

    def __repr__(self) -> str:
        n = self.points**2
        return f"<shifted_laplacians({self.points}, {len(self)}): {n} x {n} csr, float64>"

    def __len__(self) -> int:
        return len(self.shifts)

    def __iter__(self) -> Iterator[Problem]:
        """Yield each system; its solution is not known."""
        rng = np.random.default_rng()
        rng.bit_generator.state = self._rng_state
        K, n = self.laplacian, self.points**2
        diagonal = np.flatnonzero(np.repeat(np.arange(n), np.diff(K.indptr)) == K.indices)
        for step, c in enumerate(self.shifts.tolist()):
            data = K.data.copy()
            data[diagonal] += c
            b = rng.standard_normal(n)
            while b @ b > n:
                b = rng.standard_normal(n)
            yield Problem(
                name=f"shifted_laplacians({self.points}, {len(self)})[{step}]",
                A=sparse.csr_array((data, K.indices, K.indptr), shape=K.shape, copy=False),
                b=b,
                x=None,
                symmetric=True,
                positive_definite=True,
                reference="Khodak, Chow, Balcan, Talwalkar, Learning to Relax, ICLR 2024",
                known=Known(partial(_eigenvalues, self._axes, c), partial(_extremes, self._axes, c)),
                context=c,
            )


def shifted_laplacians(points: int = 10, steps: int = 5000, *, shifts: Any = "low", seed: int = 0) -> ShiftedLaplacians:
    """The systems ``(K + c I) x = b``, K the five-point Laplacian of a square, c and b random.

    b is standard normal, drawn anew until its norm is at most sqrt(n). Each problem's `context` is its c.

    Parameters
    ----------
    points : int
        Interior grid points along each side; 10 in the reference.
    steps : int
        How many systems; 5000 in the reference.
    shifts : {"low", "high"} or array_like, shape (steps,)
        The c of each system, above minus the smallest eigenvalue of K. "low" and "high" variance: (12 z - 3) / 20, z
        beta distributed with parameters 2 and 6, or 1/2 and 3/2; at 10 points K + c I is then definite.
    seed : int
        Of the generator that draws c, then every b.

    Returns
    -------
    ShiftedLaplacians
        Iterable; holds one matrix at a time.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or some K + c I is not positive definite.

    References
    ----------
    M. Khodak, E. Chow, M.-F. Balcan, A. Talwalkar, "Learning to relax: setting solver parameters across a sequence of
    linear system instances", ICLR 2024; the constants are those of its published programs.

    Examples
    --------
    >>> sequence = shifted_laplacians(10, 1000)
    >>> sequence
    <shifted_laplacians(10, 1000): 100 x 100 csr, float64>
    >>> problem = next(iter(sequence))
    >>> problem.context == float(sequence.shifts[0])
    True
    """
    points, steps = integer("points", points), integer("steps", steps)
    rng = np.random.default_rng(integer("seed", seed, least=0))
    if isinstance(shifts, str):
        shifts = choice("shifts", shifts, VARIANCES, more=", or an array")
        values = (12 * rng.beta(*VARIANCES[shifts], size=steps) - 3) / 20
    else:
        values = np.array(shifts, dtype=np.float64)
        if values.shape != (steps,):
            raise ValueError(f"shifts has shape {values.shape}; it must be ({steps},)")
    axes = [lattice.Toeplitz(points, 2.0, -1.0, -1.0)] * 2
    least = -lattice.kronecker_extremes(axes)[0]
    if not values.min() > least:
        raise ValueError(f"shifts has the element {values.min():g}; all must be above {least:g}, for definite matrices")
    K = lattice.csr((points, points), lattice.cross(4.0, [(-1.0, -1.0)] * 2))
    return ShiftedLaplacians(points, values, K, axes, dict(rng.bit_generator.state))


def _eigenvalues(axes: list[lattice.Toeplitz], c: float) -> np.ndarray:
    return c + lattice.kronecker_eigenvalues(axes)


def _extremes(axes: list[lattice.Toeplitz], c: float) -> tuple[float, float]:
    low, high = lattice.kronecker_extremes(axes)
    return c + low, c + high
