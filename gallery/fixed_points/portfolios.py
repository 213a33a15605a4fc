"""Portfolios in which every asset contributes the same, or a given part, to the risk."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .problem import FixedPoint, integer

__all__ = ["risk_parity"]

# Variances and covariances, in 1e-4, of five assets.
_FIVE = np.array(
    [
        [94.868, 33.750, 12.325, -1.178, 8.778],
        [33.750, 445.642, 98.955, -7.901, 84.954],
        [12.325, 98.955, 117.265, 0.503, 45.184],
        [-1.178, -7.901, 0.503, 5.460, 1.057],
        [8.778, 84.954, 45.184, 1.057, 34.126],
    ]
)


def risk_parity(assets: int = 5, *, seed: Any = 0) -> FixedPoint:
    """Cyclic coordinate descent for the w > 0 with ``w_i (C w)_i = 1 / n``, C a correlation matrix.

    One after the other ``w_i <- sqrt(a**2 + 1 / n) - a`` with ``a = ((C w)_i - w_i) / 2``, which solves equation i for
    w_i; after a sweep ``w <- w / sqrt(w' C w)``. It begins at ``1 / sqrt(sum C)``. The portfolio is w over the standard
    deviations, normalised to sum 1.

    Parameters
    ----------
    assets : int
        5 stands for the covariances of the reference's example. Any other number, at least 2, draws a correlation
        matrix whose eigenvalues are uniformly distributed, as its comparisons do.
    seed : int, numpy.random.Generator or None
        Of the matrix.

    Returns
    -------
    FixedPoint
        Its solution is by Newton's method for ``C w = 1 / (n w)``. The published count is of sweeps, until ``w_i (C
        w)_i`` is 1 / n to 1e-6.

    Raises
    ------
    TypeError, ValueError
        If assets is no integer of at least 2.

    References
    ----------
    J. Choi, R. Chen, "Improved iterative methods for solving risk parity portfolio", J. Deriv. Quant. Stud. 30 (2022).

    Examples
    --------
    >>> problem = risk_parity()
    >>> w = problem.solution / np.sqrt([94.868, 445.642, 117.265, 5.460, 34.126])
    >>> (w / w.sum()).round(3)
    array([0.125, 0.047, 0.083, 0.613, 0.132])
    """
    assets = integer("assets", assets, least=2)
    if assets == 5:
        deviations = np.sqrt(np.diagonal(_FIVE))
        C = _FIVE / np.outer(deviations, deviations)
    else:
        C = _random_correlations(assets, np.random.default_rng(seed))
    return FixedPoint(
        name=f"risk_parity({assets})",
        map=partial(_descent, C),
        x0=np.full(assets, 1.0 / np.sqrt(C.sum())),
        description="cyclic coordinate descent for w_i (C w)_i = 1 / n",
        reference="Choi, Chen, J. Deriv. Quant. Stud. 30 (2022)",
        tolerance=1e-6,
        norm="max",
        solve=partial(_equal_risks, C),
        published={"picard": 6} if assets == 5 else {},
    )


def _random_correlations(n: int, rng: np.random.Generator) -> np.ndarray:
    """Random eigenvalues, uniform but for their sum, and random eigenvectors, turned until the diagonal is all ones.

    Each turn is in a plane of two axes, one with less than 1 on the diagonal and one with more (Bendel and Mickey,
    1978).
    """
    values = rng.random(n)
    V = np.linalg.qr(rng.standard_normal((n, n)))[0]
    C = (V * (values * (n / values.sum()))) @ V.T
    for i in range(n - 1):
        rest = np.diagonal(C)[i + 1 :] - 1.0
        here = C[i, i] - 1.0
        j = i + 1 + int(rest.argmax() if here < 0 else rest.argmin())
        there = C[j, j] - 1.0
        # t with here - 2 t C_ij + t**2 there = 0, for a turn by the angle whose tangent is t
        root = C[i, j] + np.copysign(np.sqrt(max(C[i, j] ** 2 - here * there, 0.0)), C[i, j])
        t = here / root if root else 0.0
        c = 1.0 / np.hypot(1.0, t)
        turn = np.array([[c, -c * t], [c * t, c]])
        C[[i, j]] = turn @ C[[i, j]]
        C[:, [i, j]] = C[:, [i, j]] @ turn.T
    scale = np.sqrt(np.diagonal(C))
    return (C + C.T) / (2.0 * np.outer(scale, scale))


def _descent(C: np.ndarray, w: np.ndarray) -> np.ndarray:
    w = np.array(w)
    for i in range(w.size):
        a = 0.5 * (C[i] @ w - w[i])
        w[i] = np.sqrt(a * a + 1.0 / w.size) - a
    return w / np.sqrt(w @ C @ w)


def _equal_risks(C: np.ndarray) -> np.ndarray:
    """The minimum of ``w' C w / 2 - sum log w / n`` by damped Newton steps, for which it is self-concordant."""
    n = len(C)
    w, least = np.full(n, 1.0 / np.sqrt(C.sum())), np.inf
    while True:
        gradient = C @ w - 1.0 / (n * w)
        step = np.linalg.solve(C + np.diag(1.0 / (n * w**2)), gradient)
        decrement = float(np.sqrt(n * max(gradient @ step, 0.0)))
        if decrement < 0.25 and not decrement < least:
            return w
        least = decrement
        w = w - (step if decrement < 0.25 else step / (1.0 + decrement))
