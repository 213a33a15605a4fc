"""A schedule: the polynomials that a Newton-Schulz iteration applies in turn, and what they do to an interval."""

from __future__ import annotations

import os
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np

from .minimax import arithmetic, image

__all__ = ["MOST_DIVERGED", "PRODUCTS", "Schedule", "step_products"]

# Of h in its argument, by its degree: cubic steps, quintic, 7, 9 and 17 (see degree_17_factors).
PRODUCTS = {1: 0, 2: 1, 3: 2, 4: 2, 8: 3}
MOST_DIVERGED = Decimal("1e300")


def step_products(degree: int, root: int = 1) -> int:
    """Dense products of a step whose h has the given degree.

    A polar step forms X X^T, h of it and h X. A step of the coupled iteration for A^(-1/root) forms W = h(P), X W and
    W^root P; the power is taken by squaring.

    Examples
    --------
    >>> [step_products(degree) for degree in (1, 2, 4, 8)], step_products(2, root=2)
    ([2, 3, 4, 5], 4)
    """
    # Horner's rule in the square, of an h that nobody factored, as that of a schedule of one's own.
    inner = PRODUCTS.get(degree, (degree + 1) // 2)
    return inner + (2 if root == 1 else 2 + root.bit_length() + root.bit_count() - 2)


@dataclass(frozen=True)
class Schedule:
    """Polynomials f_1, ..., f_T, applied in turn, that take an interval close to one.

    Parameters
    ----------
    coefficients : tuple of tuples of float
        Step t maps x to the sum of ``coefficients[t][k] * x**(2*k + 1)``; with ``root`` r > 1 to x times the sum of
        ``coefficients[t][k] * x**(r*k)``, where x is the r-th root of an eigenvalue.
    lower, upper : float
        The interval it is meant for: of singular values, or of the r-th roots of eigenvalues.
    root : int
        1 for orthogonal factors and signs, r for A^(-1/r); 2 has the same polynomials as 1.
    cushion : float
        The largest part of the upper end below which a step did not look; 0 for pure minimax polynomials.
    safety : float
        How far above the upper end an argument may lie; all steps but the last were made for it.
    name : str, optional
        What figures and reports call it.

    Examples
    --------
    >>> import resolvent as rv
    >>> s = rv.newton_schulz.schedule(1e-3, degree=5, steps=5)
    >>> s.degrees, s.products, round(s.error_bound, 4)
    ((5, 5, 5, 5, 5), 15, 0.1134)
    >>> bool(abs(1 - s(0.02)) <= s.error_bound)
    True
    """

    coefficients: tuple[tuple[float, ...], ...]
    lower: float
    upper: float = 1.0
    root: int = 1
    cushion: float = 0.0
    safety: float = 1.0
    name: str = ""

    @property
    def power(self) -> int:
        """r in x h(x^r)."""
        return 2 if self.root == 1 else self.root

    @property
    def steps(self) -> int:
        """T."""
        return len(self.coefficients)

    @property
    def degrees(self) -> tuple[int, ...]:
        """Of the steps, as polynomials in x."""
        return tuple(self.power * (len(step) - 1) + 1 for step in self.coefficients)

    @property
    def products(self) -> int:
        """Dense products of all steps: of a polar step 2, 3, 4 or 5 for degree 3, 5, 9 or 17."""
        return sum(step_products(len(step) - 1, self.root) for step in self.coefficients)

    @cached_property
    def _intervals(self) -> tuple[tuple[Decimal, Decimal], ...]:
        found = [(Decimal(self.lower), Decimal(self.upper))]
        for step in self.coefficients:
            low, high = found[-1]
            if -MOST_DIVERGED < low <= high < MOST_DIVERGED:
                found.append(image([Decimal(c) for c in step], low, high, self.power))
            else:
                found.append((Decimal("-Infinity"), Decimal("Infinity")))
        return tuple(found)

    @cached_property
    def error_bound(self) -> float:
        """The largest ``|1 - composite|`` on [lower, upper], of the coefficients as they are, evaluated exactly."""
        low, high = self._intervals[-1]
        with arithmetic(60):
            return float(max(1 - low, high - 1))

    def interval(self, t: int) -> tuple[float, float]:
        """The smallest and the largest value of the composite of the first t steps on [lower, upper]."""
        low, high = self._intervals[t]
        return float(low), float(high)

    def step(self, coefficients: tuple[float, ...], x: Any) -> Any:
        """One polynomial at x, by Horner's rule."""
        y, h = x**self.power, coefficients[-1]
        for c in coefficients[-2::-1]:
            h = h * y + c
        return h * x

    def __call__(self, x: Any) -> Any:
        """The composite at x, a number or an array; not finite where it diverges."""
        x = np.asarray(x)[()]
        with np.errstate(over="ignore", invalid="ignore"):
            for coefficients in self.coefficients:
                x = self.step(coefficients, x)
        return x

    def plot(self, axes: Any = None, file: str | os.PathLike[str] | None = None) -> Any:
        """Draw the composite after each step on the interval and a decade below it, with matplotlib.

        Parameters
        ----------
        axes : matplotlib Axes, optional
            Where to draw. When absent, a figure of its own is made, outside pyplot.
        file : path, optional
            PNG, PDF or SVG to write.

        Returns
        -------
        matplotlib Axes
        """
        from .figure import plot_schedule

        return plot_schedule(self, axes, file)

    @property
    def title(self) -> str:
        """What it is called, or how it was made."""
        made = "minimax" if self.cushion == 0 and self.safety < 1.001 else "cushioned minimax"
        return f"{self.name or made} schedule{f' for root {self.root}' if self.root != 1 else ''}"

    def __str__(self) -> str:
        what = f"degrees {', '.join(map(str, self.degrees))}" if self.coefficients else "no steps"
        return (
            f"{self.title}: {what}, {self.products} products, [{self.lower:g}, {self.upper:g}] to within "
            f"{self.error_bound:.3g} of one"
        )

    def __repr__(self) -> str:
        return f"<{self}>"
