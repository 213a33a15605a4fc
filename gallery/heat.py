"""A sequence of related systems: the heat equation with a conductivity that changes over time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse

from . import lattice
from .checks import integer, number
from .problem import Known, Problem

__all__ = ["HeatSequence", "heat_conductivity", "heat_sequence"]


def heat_conductivity(t: Any) -> Any:
    """The conductivity ``max(0.1 sin 2 pi t, -10 sin 2 pi t)``: mild for half a period, then a hundredfold.

    Examples
    --------
    >>> heat_conductivity(np.array([0.25, 0.75])).round(12)
    array([ 0.1, 10. ])
    """
    wave = np.sin(2 * np.pi * np.asarray(t))
    return np.maximum(0.1 * wave, -10.0 * wave)


def _bump(x: np.ndarray, y: np.ndarray, centre: tuple[float, float], radius: float) -> np.ndarray:
    """A smooth bump of height 1 that vanishes beyond the radius."""
    q = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / radius**2
    inside = q < 1
    result = np.zeros(q.shape)
    result[inside] = np.exp(1.0 - 1.0 / (1.0 - q[inside]))
    return result


@dataclass(frozen=True, eq=False, repr=False)
class HeatSequence:
    """The systems of `heat_sequence`, made one at a time; iterating solves each directly to get to the next.

    Parameters
    ----------
    n_x : int
        Mesh intervals along each side of the unit square; there are (n_x - 1)**2 unknowns.
    steps : int
        How many systems there are.
    dt : float
        Length of a time step.

    Attributes
    ----------
    laplacian : scipy.sparse.csr_array, shape (n, n)
        The unscaled five-point stencil K, 4 on the diagonal. All matrices share its index arrays: change none in place.
    """

    n_x: int
    steps: int
    dt: float
    laplacian: sparse.csr_array = field(init=False)
    _x: np.ndarray = field(init=False)
    _y: np.ndarray = field(init=False)
    _axes: list[lattice.Toeplitz] = field(init=False)
    _diagonal: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        m = self.n_x - 1
        K = lattice.csr((m, m), lattice.cross(4.0, [(-1.0, -1.0)] * 2))
        x, y = np.meshgrid(np.arange(1, m + 1) / self.n_x, np.arange(1, m + 1) / self.n_x, indexing="ij")
        rows = np.repeat(np.arange(m * m), np.diff(K.indptr))
        for name, value in (
            ("laplacian", K),
            ("_x", x.ravel()),
            ("_y", y.ravel()),
            ("_axes", [lattice.Toeplitz(m, 2.0, -1.0, -1.0)] * 2),
            ("_diagonal", np.flatnonzero(rows == K.indices)),
        ):
            object.__setattr__(self, name, value)  # the dataclass is frozen

    def __repr__(self) -> str:
        n = self._x.size
        return f"<heat_sequence({self.n_x}, {self.steps}, dt={self.dt:g}): {n} x {n} csr, float64>"

    def __len__(self) -> int:
        return self.steps

    @property
    def times(self) -> np.ndarray:
        """When each step begins, shape (steps,)."""
        return self.dt * np.arange(self.steps)

    @property
    def coefficients(self) -> np.ndarray:
        """The c of each matrix I + c K, shape (steps,): dt n_x**2 / 2 times the conductivity at mid-step."""
        return heat_conductivity(self.times + self.dt / 2) * (self.dt * self.n_x**2 / 2)

    def initial(self) -> np.ndarray:
        """The state before the first step, shape (n,): a bump of radius 1/4 in the middle."""
        return _bump(self._x, self._y, (0.5, 0.5), 0.25)

    def problem(self, step: int, u: np.ndarray) -> Problem:
        """The system that leads from the state u, shape (n,), at the beginning of a step to that at its end.

        Raises
        ------
        TypeError, ValueError
            If there is no such step or u has another shape.
        """
        step = integer("step", step, least=0)
        if step >= self.steps:
            raise ValueError(f"step is {step}; it must be below {self.steps}")
        if np.shape(u) != self._x.shape:
            raise ValueError(f"u has shape {np.shape(u)}; it must be {self._x.shape}")
        K, t = self.laplacian, self.dt * (step + 0.5)
        c = float(heat_conductivity(t)) * (self.dt * self.n_x**2 / 2)
        data = c * K.data
        data[self._diagonal] += 1.0
        centre = (0.5 + np.cos(16 * np.pi * t) / 4, 0.5 + np.sin(16 * np.pi * t) / 4)
        return Problem(
            name=f"heat_sequence({self.n_x}, {self.steps})[{step}]",
            A=sparse.csr_array((data, K.indices, K.indptr), shape=K.shape, copy=False),
            b=u - c * (K @ u) + (32 * self.dt) * _bump(self._x, self._y, centre, 0.125),
            x=None,
            symmetric=True,
            positive_definite=True,
            reference="Khodak, Chow, Balcan, Talwalkar, Learning to Relax, ICLR 2024",
            known=Known(partial(_eigenvalues, self._axes, c), partial(_extremes, self._axes, c)),
            context=c,
        )

    def solve(self, problem: Problem) -> np.ndarray:
        """Solve a system of the sequence directly, by sine transforms, which diagonalise every I + c K."""
        from scipy import fft  # here, because it takes as long to import as the rest of the gallery

        m = self.n_x - 1
        axis = self._axes[0].eigenvalues()
        values = 1.0 + problem.context * np.add.outer(axis, axis)
        return fft.idstn(fft.dstn(problem.b.reshape(m, m), type=1) / values, type=1).ravel()

    def __iter__(self) -> Iterator[Problem]:
        """Yield each system with its solution, from which the next one is made."""
        u = self.initial()
        for step in range(self.steps):
            problem = self.problem(step, u)
            u = self.solve(problem)
            yield replace(problem, x=u)

    def march(self, solve: Callable[[Problem, np.ndarray], Any]) -> Iterator[tuple[Problem, Any]]:
        """Yield each system with what ``solve(problem, u)`` made of it, from which the next one follows.

        Parameters
        ----------
        solve : callable
            Takes a problem, and the previous state as a starting guess; returns the new state, or anything that has it
            as its attribute ``x``, such as a `Solution`.

        Examples
        --------
        >>> from scipy.sparse.linalg import cg
        >>> sequence = heat_sequence(10, steps=3)
        >>> for problem, u in sequence.march(lambda problem, u: cg(problem.A, problem.b, x0=u, rtol=1e-8)[0]):
        ...     round(problem.context, 6)
        1.6e-05
        4.7e-05
        7.9e-05
        """
        u = self.initial()
        for step in range(self.steps):
            problem = self.problem(step, u)
            answer = solve(problem, u)
            u = np.asarray(getattr(answer, "x", answer))
            yield problem, answer


def heat_sequence(n_x: int, steps: int = 5000, *, dt: float = 1e-3) -> HeatSequence:
    """The heat equation on the unit square by Crank-Nicolson steps: one matrix I + c K per step, c varying 100-fold.

    ``u_t = kappa(t) (u_xx + u_yy) + f`` with zero boundary values and kappa as in `heat_conductivity`; f is 32 times a
    bump of radius 1/8 that circles the middle at distance 1/4, eight times per unit of time. K is the unscaled
    five-point stencil, ``c = kappa(t + dt / 2) dt n_x**2 / 2``, and ``b = (I - c K) u + dt f(t + dt / 2)``. Each
    problem's `context` is its c; the experiments of the reference use ``heat_conductivity(t)`` in its place, t being
    the beginning of the step. Nothing is random.

    Parameters
    ----------
    n_x : int
        Mesh intervals along each side, at least 2: 25, 50, 100, 200 and 400 in the reference.
    steps : int
        How many steps to make available; 5000, to time 5, in the reference.
    dt : float
        Length of a step, positive.

    Returns
    -------
    HeatSequence
        Iterable; holds one matrix at a time.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    M. Khodak, E. Chow, M.-F. Balcan, A. Talwalkar, "Learning to relax: setting solver parameters across a sequence of
    linear system instances", ICLR 2024; the constants are those of its published programs.

    Examples
    --------
    >>> sequence = heat_sequence(20, steps=750)
    >>> sequence
    <heat_sequence(20, 750, dt=0.001): 361 x 361 csr, float64>
    >>> float(sequence.coefficients.max().round(4))
    2.0
    """
    return HeatSequence(integer("n_x", n_x, least=2), integer("steps", steps), number("dt", dt, above=0.0))


def _eigenvalues(axes: list[lattice.Toeplitz], c: float) -> np.ndarray:
    return 1.0 + c * lattice.kronecker_eigenvalues(axes)


def _extremes(axes: list[lattice.Toeplitz], c: float) -> tuple[float, float]:
    low, high = lattice.kronecker_extremes(axes)
    return 1.0 + c * low, 1.0 + c * high
