"""Chandrasekhar's H-equation."""

from __future__ import annotations

from functools import partial

import numpy as np

from .problem import FixedPoint, integer, newton, number

__all__ = ["kelley_h"]


def kelley_h(n: int = 512, c: float = 0.99) -> FixedPoint:
    """``g(u)_i = 1 / (1 - c / (2 n) sum_j mu_i u_j / (mu_i + mu_j))`` with ``mu_i = (i - 1/2) / n``, from ones.

    The midpoint rule of Chandrasekhar's H-equation of radiative transfer. At c = 1 the derivative of ``g(u) - u`` is
    singular at the solution, and iteration converges only like 1 / k.

    Parameters
    ----------
    n : int
        Nodes of the rule; 512 in the published counts.
    c : float
        The albedo, between 0 and 1; 0.99 in the published counts.

    Returns
    -------
    FixedPoint
        Its tolerance is 1e-8 times the first residual, plus 1e-8.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    C. T. Kelley, "Solving Nonlinear Equations with Iterative Methods", SIAM 2022, chapter 4, and SIAMFANLEquations.jl,
    test/Chapter4/heq_aa.jl.

    Examples
    --------
    >>> problem = kelley_h(16)
    >>> problem.solution[[0, -1]].round(3)
    array([1.083, 2.437])
    """
    n = integer("n", n)
    c = number("c", c, above=0.0, below=1.0, closed=(True, True))
    mu = (np.arange(n) + 0.5) / n
    kernel = c / (2 * n) * mu[:, None] / (mu[:, None] + mu)
    g = partial(_albedo, kernel)
    counts = {f"anderson_{depth}": count for depth, count in enumerate((11, 10, 10, 11, 12, 12), 1)}
    return FixedPoint(
        name=f"kelley_h({n}, {c:g})",
        map=g,
        x0=np.ones(n),
        description="the midpoint rule of Chandrasekhar's H-equation",
        reference="Kelley, Solving Nonlinear Equations with Iterative Methods, SIAM 2022, chapter 4",
        tolerance=1e-8 * (1.0 + float(np.linalg.norm(g(np.ones(n)) - 1.0))),
        solve=partial(newton, g, np.ones(n), partial(_albedo_derivative, kernel)),
        published=counts if (n, c) == (512, 0.99) else {},
    )


def _albedo(kernel: np.ndarray, u: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 - kernel @ u)


def _albedo_derivative(kernel: np.ndarray, u: np.ndarray) -> np.ndarray:
    return _albedo(kernel, u)[:, None] ** 2 * kernel
