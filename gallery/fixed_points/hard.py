"""Maps on which methods fail: cycles, chaos, expansion, noise, and maps without fixed points."""

from __future__ import annotations

import math
import zlib
from functools import partial
from typing import Any

import numpy as np

from ...naming import choice
from .problem import FixedPoint, integer, number

__all__ = [
    "constant_increments",
    "cyclic_permutation",
    "logistic",
    "negation",
    "noisy",
    "reflection",
    "rotation",
    "symmetric_spectrum",
    "translation",
]


def _linear(A: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    return A @ x + b


def rotation(N: int = 20) -> FixedPoint:
    """The plane turned by ``pi / (N + 1)`` about zero, from (1, 0): plain iteration never comes nearer.

    Halpern's iteration has exactly the residual ``2 / (N + 1)`` of its bound after N steps.

    Parameters
    ----------
    N : int
        The step at which the bound is attained; with 1 the angle is a right one.

    Returns
    -------
    FixedPoint

    Raises
    ------
    TypeError, ValueError
        If N is no positive integer.

    References
    ----------
    F. Lieder, "On the convergence rate of the Halpern-iteration", Optim. Lett. 15 (2021), theorem 2.1.

    Examples
    --------
    >>> problem = rotation(1)
    >>> problem.g(problem.x0).round(12)
    array([0., 1.])
    """
    N = integer("N", N)
    c, s = math.cos(math.pi / (N + 1)), math.sin(math.pi / (N + 1))
    return FixedPoint(
        name=f"rotation({N})",
        map=partial(_linear, np.array([[c, -s], [s, c]]), np.zeros(2)),
        x0=np.array([1.0, 0.0]),
        description="the plane turned by pi / (N + 1)",
        reference="Lieder, Optim. Lett. 15 (2021), pages 405-418",
        solve=partial(np.zeros, 2),
        lipschitz=1.0,
    )


def negation(gamma: float = 1.0) -> FixedPoint:
    """``g(x) = -x / gamma`` from 1: the worst of all maps for Halpern's iteration and for its contractive form.

    Parameters
    ----------
    gamma : float
        At least 1.

    Returns
    -------
    FixedPoint

    Raises
    ------
    TypeError, ValueError
        If gamma is less than 1.

    References
    ----------
    J. Park, E. K. Ryu, "Exact optimal accelerated complexity for fixed-point iterations", ICML 2022.

    Examples
    --------
    >>> negation(2.0).g(np.array([1.0]))
    array([-0.5])
    """
    gamma = number("gamma", gamma, above=1.0, closed=(True, False))
    return FixedPoint(
        name=f"negation({gamma:g})",
        map=partial(np.multiply, -1.0 / gamma),
        x0=np.ones(1),
        description="-x / gamma",
        reference="Park, Ryu, ICML 2022",
        solve=partial(np.zeros, 1),
        lipschitz=1.0 / gamma,
    )


def reflection() -> FixedPoint:
    """``g(x) = 1 - x`` from 0: plain iteration alternates, and one difference tells all.

    Returns
    -------
    FixedPoint
        Its solution is 1/2.

    References
    ----------
    H. F. Walker, P. Ni, "Anderson acceleration for fixed-point iterations", SIAM J. Numer. Anal. 49 (2011), theorem
    2.2: differences of enough iterates settle a linear map.

    Examples
    --------
    >>> reflection().g(np.array([0.0]))
    array([1.])
    """
    return FixedPoint(
        name="reflection()",
        map=partial(np.subtract, 1.0),
        x0=np.zeros(1),
        description="1 - x, a cycle of two",
        reference="Walker, Ni, SIAM J. Numer. Anal. 49 (2011), pages 1715-1735",
        solve=partial(np.full, 1, 0.5),
        lipschitz=1.0,
    )


def cyclic_permutation(n: int = 7, drift: float = 0.0) -> FixedPoint:
    """``g(x) = x, moved on by one place, + b``: an isometry of which differences of full memory find the end.

    b is ``1, 2, ..., n`` less its mean, plus `drift`. Without drift the fixed points are a line, on which `solution` is
    the one nearest to x0 = 0; with it there are none.

    Parameters
    ----------
    n : int
        Length of x, at least 2.
    drift : float
        What is added to each entry of b.

    Returns
    -------
    FixedPoint

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    H. F. Walker, P. Ni, "Anderson acceleration for fixed-point iterations", SIAM J. Numer. Anal. 49 (2011), theorem
    2.2: differences of enough iterates settle a linear map.

    Examples
    --------
    >>> cyclic_permutation(3).solution
    array([-0.33333333, -0.33333333,  0.66666667])
    >>> cyclic_permutation(3, drift=0.5)
    <cyclic_permutation(3, drift=0.5): 3 unknowns, nonexpansive, no fixed point>
    """
    n = integer("n", n, least=2)
    drift = number("drift", drift)
    b = np.arange(1.0, n + 1) - (n + 1) / 2
    return FixedPoint(
        name=f"cyclic_permutation({n}" + (f", drift={drift:g})" if drift else ")"),
        map=partial(_linear, np.roll(np.eye(n), 1, axis=0), b + drift),
        x0=np.zeros(n),
        description="the entries moved on by one place, + b",
        reference="Walker, Ni, SIAM J. Numer. Anal. 49 (2011), pages 1715-1735",
        solve=None if drift else partial(_summed, b),
        lipschitz=1.0,
        feasible=not drift,
        displacement=np.full(n, -drift) if drift else None,
    )


def _summed(b: np.ndarray) -> np.ndarray:
    """The x of mean zero with x_i = x_(i-1) + b_i."""
    x = np.cumsum(b)
    return x - x.mean()


def logistic(r: float = 3.5) -> FixedPoint:
    """``g(x) = r x (1 - x)`` from 0.3: above r = 3 the fixed point ``1 - 1 / r`` repels, at 3.5 in favour of a 4-cycle.

    Parameters
    ----------
    r : float
        Above 1, at most 4.

    Returns
    -------
    FixedPoint

    Raises
    ------
    TypeError, ValueError
        If r lies outside.

    References
    ----------
    R. M. May, "Simple mathematical models with very complicated dynamics", Nature 261 (1976).

    Examples
    --------
    >>> logistic().solution
    array([0.71428571])
    """
    r = number("r", r, above=1.0, below=4.0, closed=(False, True))
    return FixedPoint(
        name=f"logistic({r:g})",
        map=partial(_logistic, r),
        x0=np.array([0.3]),
        description="r x (1 - x)",
        reference="May, Nature 261 (1976), pages 459-467",
        solve=partial(np.full, 1, 1.0 - 1.0 / r),
    )


def _logistic(r: float, x: np.ndarray) -> np.ndarray:
    return r * x * (1.0 - x)


SPECTRA = {
    "expansive": np.linspace(-3.0, 0.9, 20),
    "outliers": np.concatenate([np.linspace(-0.9, 0.9, 18), [-5.0, 3.0]]),
    "stiff": 1.0 - np.logspace(-6, 0, 50),
}


def symmetric_spectrum(kind: str = "expansive", *, seed: Any = 0) -> FixedPoint:
    """``g(x) = A x + b``, A symmetric, its eigenvectors random and its eigenvalues such that plain iteration is no use.

    Parameters
    ----------
    kind : {"expansive", "outliers", "stiff"}
        20 eigenvalues evenly spread over [-3, 0.9]; 18 over [-0.9, 0.9] and, outside, -5 and 3; 50 that are
        ``1 - 10**t`` with t evenly spread over [-6, 0].
    seed : int, numpy.random.Generator or None
        Of the eigenvectors and of the solution.

    Returns
    -------
    FixedPoint

    Raises
    ------
    ValueError
        If there is no such kind.

    References
    ----------
    H. F. Walker, P. Ni, "Anderson acceleration for fixed-point iterations", SIAM J. Numer. Anal. 49 (2011), theorem
    2.2: differences of enough iterates settle a linear map.

    Examples
    --------
    >>> symmetric_spectrum("outliers")
    <symmetric_spectrum('outliers'): 20 unknowns, expansive 5>
    """
    values = SPECTRA[choice("kind", kind, tuple(SPECTRA))]
    rng = np.random.default_rng(seed)
    V = np.linalg.qr(rng.standard_normal((values.size, values.size)))[0]
    x = rng.standard_normal(values.size)
    return FixedPoint(
        name=f"symmetric_spectrum({kind!r})",
        map=partial(_linear, (V * values) @ V.T, V @ ((1.0 - values) * (V.T @ x))),
        x0=np.zeros(values.size),
        description="A x + b, A symmetric with eigenvalues below -1, above 1, or next to 1",
        reference="Walker, Ni, SIAM J. Numer. Anal. 49 (2011), pages 1715-1735",
        solve=x.copy,
        lipschitz=float(np.abs(values).max()),
    )


def constant_increments(start: float = 50.0) -> FixedPoint:
    """``g(x) = max(x - 1, 0)``: each step is the one before, and all differences of residuals are zero, up to the end.

    Parameters
    ----------
    start : float
        Where to begin, positive; plain iteration takes that many steps.

    Returns
    -------
    FixedPoint

    Raises
    ------
    TypeError, ValueError
        If start is not positive.

    Examples
    --------
    >>> constant_increments().g(np.array([50.0]))
    array([49.])
    """
    start = number("start", start, above=0.0)
    return FixedPoint(
        name=f"constant_increments({start:g})",
        map=_one_less,
        x0=np.array([start]),
        description="max(x - 1, 0)",
        reference="elementary",
        solve=partial(np.zeros, 1),
        lipschitz=1.0,
    )


def _one_less(x: np.ndarray) -> np.ndarray:
    return np.maximum(x - 1.0, 0.0)


def translation(v: Any = (1.0, 2.0), angle: float = 0.0) -> FixedPoint:
    """``g(x) = x - v``: no fixed point, and the displacement v. With an angle, two further entries turn about zero.

    Parameters
    ----------
    v : sequence of float, shape (n,)
        Not zero.
    angle : float
        By which the two further entries are turned; zero means that there are none.

    Returns
    -------
    FixedPoint

    Raises
    ------
    TypeError, ValueError
        If v is zero or not a finite vector.

    References
    ----------
    J. Park, E. K. Ryu, "Accelerated infeasibility detection of constrained optimization and fixed-point iterations",
    ICML 2023.

    Examples
    --------
    >>> translation([3.0]).g(np.array([1.0]))
    array([-2.])
    >>> translation([3.0], angle=0.7).displacement
    array([3., 0., 0.])
    """
    v = np.array(v, dtype=np.float64)
    if v.ndim != 1 or not np.isfinite(v).all() or not v.any():
        raise ValueError(f"v is {v.tolist()!r}; it must be a finite vector, not zero")
    angle = number("angle", angle)
    A, x0, displacement = np.eye(v.size), np.zeros(v.size), v
    if angle:
        n = v.size
        A = np.eye(n + 2)
        A[n:, n:] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        x0, displacement = np.append(x0, [1.0, 0.0]), np.append(v, [0.0, 0.0])
    return FixedPoint(
        name=f"translation({v.tolist()}" + (f", angle={angle:g})" if angle else ")"),
        map=partial(_linear, A, -displacement),
        x0=x0,
        description="x - v" + (", with two entries turned about zero" if angle else ""),
        reference="Park, Ryu, ICML 2023",
        lipschitz=1.0,
        feasible=False,
        displacement=displacement.copy(),
    )


def noisy(n: int = 50, sigma: float = 1e-4, *, seed: Any = 0) -> FixedPoint:
    """``g(x) = A x + b + noise``, A symmetric with eigenvalues evenly spread over [-0.9, 0.9].

    The noise is normal with standard deviation sigma, and drawn anew for each x: two that differ in one bit see noise
    that has nothing in common, and the same x sees the same.

    Parameters
    ----------
    n : int
        Length of x.
    sigma : float
        Not negative.
    seed : int, numpy.random.Generator or None
        Of A and of the solution.

    Returns
    -------
    FixedPoint
        Its solution is that without noise; the residual there is about ``sigma sqrt(n)``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    A. Toth, J. A. Ellis, T. Evans, S. Hamilton, C. T. Kelley, R. Pawlowski, S. Slattery, "Local improvement results for
    Anderson acceleration with inaccurate function evaluations", SIAM J. Sci. Comput. 39 (2017).

    Examples
    --------
    >>> problem = noisy()
    >>> 5e-4 < problem.residual(problem.solution) < 1e-3
    True
    """
    n = integer("n", n)
    sigma = number("sigma", sigma, above=0.0, closed=(True, False))
    rng = np.random.default_rng(seed)
    values = np.linspace(-0.9, 0.9, n)
    V = np.linalg.qr(rng.standard_normal((n, n)))[0]
    x = rng.standard_normal(n)
    return FixedPoint(
        name=f"noisy({n}, {sigma:g})",
        map=partial(_noisy, (V * values) @ V.T, V @ ((1.0 - values) * (V.T @ x)), sigma),
        x0=np.zeros(n),
        description="A x + b and normal noise that looks random and is a function of x",
        reference="Toth and others, SIAM J. Sci. Comput. 39 (2017), pages S47-S65",
        solve=x.copy,
        noise=sigma,
    )


def _noisy(A: np.ndarray, b: np.ndarray, sigma: float, x: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(np.ascontiguousarray(x).tobytes()))
    return A @ x + b + sigma * rng.standard_normal(x.size)
