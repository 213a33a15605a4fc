"""Maximum likelihood by expectation and maximisation (EM): mixtures of Poisson and of normal distributions."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .lcg import uniforms
from .problem import FixedPoint, integer, newton

__all__ = ["hasselblad", "mixture_means", "normal_mixture"]

DEATHS = np.array([162.0, 267, 271, 185, 111, 61, 27, 8, 3, 1])  # days with 0, 1, ..., 9 of them
SIZES = (300, 200, 500)
MEANS = ((0.0, 8.0), (-4.0, 10.0), (-3.0, 2.0))
COVARIANCES = ((2.0, 0.5, 2.0), (2.0, -0.5, 12.0), (4.0, 2.0, 3.0))  # of x, of x and y, of y
START = (0.4, 0.2, 0.0, 7.5, -4.0, 12.0, -2.0, 0.0, 2.0, 0.0, 1.0, 2.0, 0.0, 2.0, 4.0, 0.0, 2.0)
MEANS_WEIGHTS = (0.3, 0.3, 0.4)
INSIDE = 1e-7  # how near to the ends of its interval a parameter may come


def hasselblad() -> FixedPoint:
    """EM for a mixture of two Poisson distributions: deaths of women over 80 per day, as reported by The Times.

    With ``z_y = p e^-a a^y / (p e^-a a^y + (1 - p) e^-b b^y)``, the chance that a day with y deaths is of the first
    kind, and n_y such days, ``p = sum n z / sum n``, ``a = sum n y z / sum n z`` and ``b = sum n y (1 - z) / sum n (1 -
    z)``. x = (p, a, b); the map first clips p to [1e-7, 1 - 1e-7] and the means to 1e-7 and above.

    Returns
    -------
    FixedPoint
        Its objective is the negative log-likelihood, 1989.94585988 at the best.

    References
    ----------
    V. Hasselblad, "Estimation of finite mixtures of distributions from the exponential family", J. Amer. Statist.
    Assoc. 64 (1969).

    Examples
    --------
    >>> problem = hasselblad()
    >>> problem.solution.round(4)
    array([0.3599, 1.2561, 2.6634])
    >>> round(problem.objective(problem.solution), 8)
    1989.94585988
    """
    return FixedPoint(
        name="hasselblad()",
        map=_poisson_step,
        x0=np.array([0.25, 1.0, 2.0]),
        description="EM for a mixture of two Poisson distributions: weight and means",
        reference="Hasselblad, J. Amer. Statist. Assoc. 64 (1969), pages 1459-1471",
        solve=partial(newton, _poisson_step, np.array([0.36, 1.26, 2.66])),
        objective=_poisson_likelihood,
        published={
            "fixed_point_jl": 21627,
            "anderson_fpa": 23,
            "anderson": 21,
            "anderson_adaptive": 21,
            "anderson_monotone": 17,
            "anderson_monotone_adaptive": 17,
            "acx": 52,
            "sea": 37,
        },
    )


def _poisson_parts(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The share of each distribution in the chance of y deaths, but for y!, shape (2, 10); and y."""
    y = np.arange(DEATHS.size)
    p = min(max(x[0], INSIDE), 1.0 - INSIDE)
    means = np.maximum(x[1:], INSIDE)[:, None]
    return np.array([[p], [1.0 - p]]) * np.exp(-means) * means**y, y


def _poisson_step(x: np.ndarray) -> np.ndarray:
    parts, y = _poisson_parts(x)
    weights = DEATHS * parts / parts.sum(axis=0)
    totals = weights.sum(axis=1)
    return np.array([totals[0] / DEATHS.sum(), *(weights @ y / totals)])


def _poisson_likelihood(x: np.ndarray) -> float:
    from scipy.special import gammaln

    parts, y = _poisson_parts(x)
    return float(-DEATHS @ (np.log(parts.sum(axis=0)) - gammaln(y + 1.0)))


def normal_mixture() -> FixedPoint:
    """EM for a mixture of three normal distributions in the plane: 2 weights, 6 means, 9 covariances, 1000 points.

    The points are drawn one by one with a congruential generator and the normal quantile function, the second
    coordinate given the first. With r the share of each distribution in the density at each point, new weights are the
    means of r, new means and covariances those of the points weighted with r.

    Returns
    -------
    FixedPoint
        Its objective is the negative log-likelihood.

    References
    ----------
    N. Lepage-Saucier, FixedPointTestProblems.jl, "mixture of 3 normals".

    Examples
    --------
    >>> problem = normal_mixture()
    >>> problem.solution[:2].round(3)
    array([0.311, 0.221])
    """
    points = _points()
    g = partial(_normal_step, points)
    # where 2000 evaluations of g lead, to four digits
    near = [0.311, 0.2212, -0.0631, 7.874, -3.936, 9.145, -3.176, 1.782, 2.032, 0.396, 2.494, 2.107, -1.294, 15.64]
    return FixedPoint(
        name="normal_mixture()",
        map=g,
        x0=np.array(START),
        description="EM for a mixture of three normal distributions in the plane",
        reference="Lepage-Saucier, FixedPointTestProblems.jl",
        solve=partial(newton, g, np.array([*near, 4.231, 1.807, 2.829])),
        objective=partial(_normal_likelihood, points),
        published={
            "fixed_point_jl": 4220,
            "anderson_fpa": 32,
            "anderson": 29,
            "anderson_adaptive": 33,
            "anderson_monotone": 28,
            "anderson_monotone_adaptive": 27,
            "acx": 55,
        },
    )


def _points() -> np.ndarray:
    """Shape (2, 1000)."""
    from scipy.special import ndtri

    normal = ndtri(uniforms(2 * sum(SIZES))).reshape(-1, 2).T
    drawn, begin = [], 0
    for size, mean, (xx, xy, yy) in zip(SIZES, MEANS, COVARIANCES, strict=True):
        first, second = normal[:, begin : begin + size]
        x = mean[0] + np.sqrt(xx) * first
        y = mean[1] + xy / xx * (x - mean[0]) + np.sqrt(yy - xy**2 / xx) * second
        drawn.append(np.array([x, y]))
        begin += size
    return np.hstack(drawn)


def _normal_parts(points: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The share of each distribution in the density at each point, shape (3, 1000)."""
    weights = np.array([x[0], x[1], 1.0 - x[0] - x[1]])
    means, (xx, xy, yy) = x[2:8].reshape(3, 2, 1), x[8:].reshape(3, 3).T[:, :, None]
    dx, dy = np.moveaxis(points - means, 1, 0)
    determinant = xx * yy - xy**2
    square = (yy * dx**2 - 2 * xy * dx * dy + xx * dy**2) / determinant
    return weights[:, None] / (2 * np.pi * np.sqrt(determinant)) * np.exp(-square / 2)


def _normal_step(points: np.ndarray, x: np.ndarray) -> np.ndarray:
    parts = _normal_parts(points, x)
    shares = parts / parts.sum(axis=0)
    totals = shares.sum(axis=1)
    means = shares @ points.T / totals[:, None]
    dx, dy = np.moveaxis(points - means[:, :, None], 1, 0)
    covariances = np.stack([(shares * product).sum(axis=1) for product in (dx * dx, dx * dy, dy * dy)], axis=1)
    covariances /= totals[:, None]
    return np.concatenate([totals[:2] / points.shape[1], means.ravel(), covariances.ravel()])


def _normal_likelihood(points: np.ndarray, x: np.ndarray) -> float:
    return float(-np.log(_normal_parts(points, x).sum(axis=0)).sum())


def mixture_means(samples: int = 100_000, *, seed: Any = 0) -> FixedPoint:
    """EM for the means 0, 1/2 and 1 of three normal distributions of variance 1 with weights 0.3, 0.3 and 0.4.

    The distributions overlap so much that convergence is slow. The samples are drawn here, not those of the reference.

    Parameters
    ----------
    samples : int
        How many; 100,000 in the reference.
    seed : int, numpy.random.Generator or None
        Of the samples.

    Returns
    -------
    FixedPoint
        Its objective is the negative log-likelihood of one sample, on average.

    Raises
    ------
    TypeError, ValueError
        If samples is no positive integer.

    References
    ----------
    SUNDIALS, examples/kinsol/parallel/kin_em_p.c.

    Examples
    --------
    >>> problem = mixture_means(1000)
    >>> problem.objective(problem.g(problem.x0)) < problem.objective(problem.x0)
    True
    """
    samples = integer("samples", samples)
    rng = np.random.default_rng(seed)
    drawn = np.array([0.0, 0.5, 1.0])[rng.choice(3, size=samples, p=MEANS_WEIGHTS)] + rng.standard_normal(samples)
    return FixedPoint(
        name=f"mixture_means({samples})",
        map=partial(_means_step, drawn),
        x0=np.array([0.25, 3.0, 0.75]),
        description="EM for the means of three overlapping normal distributions",
        reference="SUNDIALS, examples/kinsol/parallel/kin_em_p.c",
        tolerance=1e-8,
        norm="max",
        objective=partial(_means_likelihood, drawn),
    )


def _means_parts(drawn: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.array(MEANS_WEIGHTS)[:, None] * np.exp(-((drawn - x[:, None]) ** 2) / 2)


def _means_step(drawn: np.ndarray, x: np.ndarray) -> np.ndarray:
    parts = _means_parts(drawn, x)
    shares = parts / parts.sum(axis=0)
    return shares @ drawn / shares.sum(axis=1)


def _means_likelihood(drawn: np.ndarray, x: np.ndarray) -> float:
    return float(-np.log(_means_parts(drawn, x).sum(axis=0) / np.sqrt(2 * np.pi)).mean())
