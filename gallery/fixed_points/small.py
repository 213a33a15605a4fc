"""Maps of a few variables, each the example by which some program is known."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from .problem import FixedPoint, newton, number

__all__ = ["absolute_value", "cosine", "kinsol_3d", "roberts_step", "toth_kelley"]


def cosine() -> FixedPoint:
    """``g(x) = cos x`` from 1.1.

    Returns
    -------
    FixedPoint
        Its solution is 0.7390851332151607.

    References
    ----------
    S. Baumann, M. Klymak, FixedPointAcceleration, documentation.

    Examples
    --------
    >>> cosine().solution
    array([0.73908513])
    """
    return FixedPoint(
        name="cosine()",
        map=np.cos,
        x0=np.array([1.1]),
        description="cos x",
        reference="Baumann, Klymak, FixedPointAcceleration, documentation",
        solve=partial(np.array, [0.7390851332151607]),
        tolerance=1e-10,
        lipschitz=1.0,
    )


def absolute_value(*, guarded: bool = True) -> FixedPoint:
    """``g(x) = (sqrt|x1 + x2| / 2, 3 x1 / 2 + x2 / 2)``, whose solution (1, 3) lies far from the start (0.3, 900).

    Parameters
    ----------
    guarded : bool
        Without it, the absolute value is left out, and the map gives NaN where ``x1 + x2`` is negative, as
        accelerated iterates may be.

    Returns
    -------
    FixedPoint

    References
    ----------
    S. Baumann, M. Klymak, FixedPointAcceleration, documentation.

    Examples
    --------
    >>> absolute_value().g(np.array([-1.0, 0.75]))
    array([ 0.25 , -1.125])
    """
    return FixedPoint(
        name="absolute_value()" if guarded else "absolute_value(guarded=False)",
        map=partial(_square_root, guarded),
        x0=np.array([0.3, 900.0]),
        description="(sqrt|x1 + x2| / 2, 3 x1 / 2 + x2 / 2)",
        reference="Baumann, Klymak, FixedPointAcceleration, documentation",
        solve=partial(np.array, [1.0, 3.0]),
        tolerance=1e-10,
        norm="max",
        published={"picard": 105, "anderson_fpa": 14} if guarded else {},
    )


def _square_root(guarded: bool, x: np.ndarray) -> np.ndarray:
    total = x[0] + x[1]
    return np.array([0.5 * np.sqrt(abs(total) if guarded else total), 1.5 * x[0] + 0.5 * x[1]])


def toth_kelley() -> FixedPoint:
    """``g1 = cos((u1 + u2) / 2)``, ``g2 = g1 + 1e-8 sin(u1**2)``, from (1, 1): differences soon almost parallel.

    Returns
    -------
    FixedPoint
        Published counts are of residuals, until the last is at most 1e-10 times the first one plus 1e-10.

    References
    ----------
    A. Toth, C. T. Kelley, "Convergence analysis for Anderson acceleration", SIAM J. Numer. Anal. 53 (2015); C. T.
    Kelley, SIAMFANLEquations.jl, documentation of aasol.

    Examples
    --------
    >>> problem = toth_kelley()
    >>> round(problem.residual(problem.x0), 6)
    0.650111
    """
    return FixedPoint(
        name="toth_kelley()",
        map=_toth_kelley,
        x0=np.ones(2),
        description="(cos((u1 + u2) / 2), the same + 1e-8 sin(u1**2))",
        reference="Toth, Kelley, SIAM J. Numer. Anal. 53 (2015), pages 805-819",
        tolerance=1e-10 * (1.0 + 0.650111),
        solve=partial(newton, _toth_kelley, np.full(2, 0.74)),
        published={"anderson_2": 8},
    )


def _toth_kelley(u: np.ndarray) -> np.ndarray:
    first = np.cos(0.5 * (u[0] + u[1]))
    return np.array([first, first + 1e-8 * np.sin(u[0] ** 2)])


def kinsol_3d() -> FixedPoint:
    """``(cos((y - 1) z) / 3 + 1/6, sqrt(x**2 + sin z + 1.06) / 9 + 0.9, -exp(-x (y - 1)) / 20 - (10 pi - 3) / 60)``.

    Returns
    -------
    FixedPoint
        Its solution is (1/2, 1, -pi/6). Published counts are of iterations, until the step falls below the tolerance.

    References
    ----------
    SUNDIALS, examples/kinsol/serial/kinAnalytic_fp.c.

    Examples
    --------
    >>> problem = kinsol_3d()
    >>> problem.residual(problem.solution) < 1e-15
    True
    """
    return FixedPoint(
        name="kinsol_3d()",
        map=_kinsol,
        x0=np.array([0.1, 0.1, -0.1]),
        description="(cos((y - 1) z) / 3 + 1/6, sqrt(x**2 + sin z + 1.06) / 9 + 0.9, -exp(-x (y - 1)) / 20 - ...)",
        reference="SUNDIALS, examples/kinsol/serial/kinAnalytic_fp.c",
        tolerance=100 * math.sqrt(np.spacing(1.0)),
        norm="max",
        solve=partial(np.array, [0.5, 1.0, -math.pi / 6]),
        published={"picard": 5, "anderson_2": 5},
    )


def _kinsol(u: np.ndarray) -> np.ndarray:
    x, y, z = u
    return np.array(
        [
            np.cos((y - 1.0) * z) / 3 + 1 / 6,
            np.sqrt(x**2 + np.sin(z) + 1.06) / 9 + 0.9,
            -np.exp(-x * (y - 1.0)) / 20 - (10 * math.pi - 3) / 60,
        ]
    )


def roberts_step(step: float = 0.1) -> FixedPoint:
    """One implicit Euler step, from (1, 0, 0), of Robertson's reactions with the fastest of them slowed down.

    ``g(y) = (1 - a, a - b, b)`` with ``a = h (0.04 y1 - 1e4 y2 y3)`` and ``b = 300 h y2**2``; h is the step.

    Parameters
    ----------
    step : float
        Positive; 0.1 in the published counts.

    Returns
    -------
    FixedPoint
        Published counts are of iterations, until the step falls below the tolerance.

    Raises
    ------
    TypeError, ValueError
        If step is not positive.

    References
    ----------
    SUNDIALS, examples/kinsol/serial/kinRoberts_fp.c.

    Examples
    --------
    >>> problem = roberts_step()
    >>> float(problem.g(problem.solution).sum().round(12))
    1.0
    """
    step = number("step", step, above=0.0)
    g = partial(_roberts, step)
    return FixedPoint(
        name=f"roberts_step({step:g})",
        map=g,
        x0=np.array([1.0, 0.0, 0.0]),
        description="an implicit Euler step of Robertson's reactions, the fastest of them slowed down",
        reference="SUNDIALS, examples/kinsol/serial/kinRoberts_fp.c",
        tolerance=1e-10,
        norm="max",
        solve=partial(newton, g, np.array([1.0, 0.0, 0.0])),
        published={"anderson_1": 11, "anderson_2": 8} if step == 0.1 else {},
    )


def _roberts(h: float, y: np.ndarray) -> np.ndarray:
    first = h * (0.04 * y[0] - 1e4 * y[1] * y[2])
    second = h * 300.0 * y[1] ** 2
    return np.array([1.0 - first, first - second, second])
