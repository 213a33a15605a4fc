"""F(z) = 0 for a monotone F."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, ClassVar

from ...backends import Backend
from ...errors import InputError
from ...precision import precision_facts, times_power_of_two
from ..driver.problem import Vector, Words
from ..driver.solution import Solution
from ..fixed_point.problem import EquationProblem
from ..linear.units import exponent_of

__all__ = ["MonotoneProblem"]

PROBES = 5  # points at which F may be infinite before it is given up to find out its slope


class MonotoneProblem(EquationProblem):
    """The z for which F(z) = 0, where Re <F(z) - F(w), z - w> >= 0 and ||F(z) - F(w)|| <= L ||z - w||.

    Solved when ||F(z)|| <= max(rtol ||F(z0)||, atol), in the 2-norm over all blocks.

    Parameters
    ----------
    F : callable
        From z to F(z), in the structure, the shapes and the kind of numbers of z0. What it is handed has the values of
        an iterate, and cannot be used to change it; what it returns is read before it is called again.
    z0 : array, number, or tuple, list or dict of such
        As in ``FixedPointProblem``.
    lipschitz : float, optional
        L. By default it is estimated from below while F is evaluated.
    backend, precision :
        As in ``FixedPointProblem``.

    Attributes
    ----------
    lipschitz : float
        In internal units: what was given, or the largest seen; 0 before anything was.
    estimated : bool
        It was not given.
    matvecs : int
        Evaluations of F so far, the first at z0 included.

    Raises
    ------
    InputError
        For a z0 without entries or with NaN or infinite ones, where F returns another structure, shape or type, and for
        an L that is not positive.
    TypeError
        For an F that cannot be called, and a z0 that holds no numbers.

    Notes
    -----
    z and F(z) may be of quite different sizes, so that each has a power of two of its own, where one is needed at all.

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.solvers.monotone.problem import MonotoneProblem
    >>> problem = MonotoneProblem(lambda z: (z[1], -z[0]), (3.0, 4.0), lipschitz=1.0)
    >>> problem.initial()[2]
    5.0
    """

    words = Words(residual="||F(z)||", reference="||F(z0)||", products="evaluations of F")
    called: ClassVar[str] = "F"
    started_from: ClassVar[str] = "z0"
    constant: ClassVar[str] = "lipschitz"

    def __init__(
        self,
        F: Callable[[Any], Any],
        z0: Any,
        *,
        lipschitz: float | None = None,
        backend: str | Backend | None = None,
        precision: Any = None,
    ) -> None:
        super().__init__(F, z0, backend=backend, precision=precision)
        if lipschitz is not None and not (isinstance(lipschitz, Real) and 0 < lipschitz < math.inf):
            raise InputError(f"{self.constant}: found {lipschitz!r}; wanted a finite number above 0")
        self.estimated = lipschitz is None
        self.lipschitz = float(lipschitz or 0.0)
        self.nothing = self.backend.exact.zeros(self.n, self.true_dtype)

    def _exponents(self, guess: Vector, value: Vector) -> tuple[int, int]:
        exact = self.backend.exact
        largest = exact.max_abs(value)
        if self.estimated and 0 < largest < math.inf:
            self.lipschitz = self._first_estimate(guess, value)
        # A guess of zero says nothing of how large z will be; F / L does.
        size = max(exact.max_abs(guess), largest / self.lipschitz if self.lipschitz else 0.0)
        exponent = self._taken_out(largest)
        matrix_exponent = exponent - self._taken_out(size)
        self.lipschitz = times_power_of_two(self.lipschitz, -matrix_exponent)
        return exponent, matrix_exponent

    def _first_estimate(self, guess: Vector, value: Vector) -> float:
        """Of L, from one or two more points, in the caller's units."""
        size, norm = self._norm(guess), self._norm(value)
        if size > 0:
            found = self._slope(guess, value, math.sqrt(precision_facts(self.true_dtype).unit_roundoff) * size / norm)
        else:  # nothing says how far is near: of two slopes the flatter is that of the nearer point, or both will do
            found = self._slope(guess, value, 1.0)
            found = min(found, self._slope(guess, value, 1 / found)) if found > 0 else 0.0
        # A stretch of constant F says nothing: then a step reaches as far as z is large.
        return found or (norm / size if size > 0 else 1.0)

    def _slope(self, guess: Vector, value: Vector, t: float) -> float:
        """||F(z - t F(z)) - F(z)|| / ||t F(z)||, with a smaller t where F is not finite there; 0 if it never is."""
        exact = self.backend.exact
        for _ in range(PROBES):
            step = exact.axpby(0.0, value, -t, exact.copy(value))
            t /= 1024
            try:
                there = exact.copy(self._value(exact.axpy(1.0, guess, exact.copy(step))), self.true_dtype)
            except ArithmeticError:
                continue
            rise, distance = self._norm(exact.axpy(-1.0, value, there)), self._norm(step)
            if math.isfinite(rise) and distance > 0:
                return rise / distance
        return 0.0

    def _norm(self, x: Vector) -> float:
        """The 2-norm, of numbers of any size."""
        exact = self.backend.exact
        largest = exact.max_abs(x)
        if not 0 < largest < math.inf:
            return largest
        exponent = exponent_of(largest)
        return times_power_of_two(exact.norm(exact.ldexp(exact.copy(x), -exponent)), exponent)

    def _reference_of(self, guess: Vector, value: Vector) -> float:
        return self.backend.exact.norm(value)

    def _residual(self, backend: Backend, value: Vector, x: Vector, out: Vector) -> Vector:
        return backend.difference(value, self.nothing, out)

    def rounding_floor(self, x: Vector) -> float:
        return self.unit_roundoff * self.lipschitz * self.backend.exact.norm(x)

    def go_on(self, solution: Solution) -> str:
        return "Raise maxiter, or try another method."

    @property
    def remarks(self) -> str:
        said = []
        if self.iterate_exponent:
            said.append(f"z was multiplied by 2^{-self.iterate_exponent}")
        if self.exponent:
            said.append(f"{self.called} by 2^{-self.exponent}")
        return f"To stay in range, {' and '.join(said)}, which changes no digit." if said else ""
