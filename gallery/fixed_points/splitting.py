"""Proximal splitting: the lasso by ISTA and by ADMM, and points common to two convex sets, if there are any."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ...naming import choice
from .problem import FixedPoint, integer, number

__all__ = ["admm", "alternating_projections", "douglas_rachford", "ista"]


def _lasso(m: int, n: int, seed: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A, b, the minimiser x of ``|A x - b|**2 / 2 + |x|_1``, and the subgradient ``A' (b - A x)`` there.

    The residual r is drawn first, and the columns of A are scaled until ``A' r`` is a subgradient of the chosen x.
    """
    m, n = integer("m", m), integer("n", n)
    rng = np.random.default_rng(seed)
    A, r = rng.standard_normal((m, n)) / math.sqrt(m), rng.standard_normal(m)
    product = A.T @ r
    chosen = np.argsort(-np.abs(product), kind="stable")[: max(1, min(m, n) // 5)]
    subgradient = 0.9 * product / np.abs(product).max()
    subgradient[chosen] = np.sign(product[chosen])
    A *= subgradient / product
    x = np.zeros(n)
    x[chosen] = subgradient[chosen] * (1.0 + rng.random(chosen.size))
    return A, A @ x + r, x, subgradient


def _shrunk(x: np.ndarray, by: float) -> np.ndarray:
    return np.sign(x) * np.maximum(np.abs(x) - by, 0.0)


def ista(m: int = 50, n: int = 100, *, seed: Any = 0) -> FixedPoint:
    """``g(x) = shrink(x - A' (A x - b) / L, 1 / L)``: a step of gradient and prox for ``|A x - b|**2 / 2 + |x|_1``.

    L is the largest eigenvalue of A' A, so that g is nonexpansive. The minimiser is chosen first, then A and b are
    made for it.

    Parameters
    ----------
    m, n : int
        The shape of A.
    seed : int, numpy.random.Generator or None
        Of A and of the solution.

    Returns
    -------
    FixedPoint
        Its objective is the function that is minimised.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    A. Beck, M. Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear inverse problems", SIAM J.
    Imaging Sci. 2 (2009), equation 1.4.

    Examples
    --------
    >>> problem = ista()
    >>> problem
    <ista(50, 100): 100 unknowns, nonexpansive>
    >>> problem.residual(problem.solution) < 1e-14
    True
    """
    A, b, x, _ = _lasso(m, n, seed)
    return FixedPoint(
        name=f"ista({m}, {n})",
        map=partial(_ista, A, b, float(np.linalg.norm(A, 2)) ** 2),
        x0=np.zeros(n),
        description="shrink(x - A' (A x - b) / L, 1 / L)",
        reference="Beck, Teboulle, SIAM J. Imaging Sci. 2 (2009), pages 183-202",
        solve=x.copy,
        objective=partial(_lasso_objective, A, b),
        lipschitz=1.0,
    )


def _ista(A: np.ndarray, b: np.ndarray, L: float, x: np.ndarray) -> np.ndarray:
    return _shrunk(x - A.T @ (A @ x - b) / L, 1.0 / L)


def _lasso_objective(A: np.ndarray, b: np.ndarray, x: np.ndarray) -> float:
    return float(0.5 * ((A @ x - b) ** 2).sum() + np.abs(x).sum())


def admm(m: int = 50, n: int = 100, rho: float = 1.0, *, seed: Any = 0) -> FixedPoint:
    """``g(w) = w - z + x``, ``z = shrink(w, 1 / rho)``, ``x = (A' A + rho I)^-1 (A' b + rho (2 z - w))``.

    The alternating direction method of multipliers for the lasso of `ista`, as the Douglas-Rachford map it is, in
    w = z + u of its z and scaled multipliers u. g is firmly nonexpansive: the mean of the identity and of a
    nonexpansive map.

    Parameters
    ----------
    m, n : int
        The shape of A.
    rho : float
        The penalty, positive.
    seed : int, numpy.random.Generator or None
        Of A and of the solution.

    Returns
    -------
    FixedPoint
        Its solution is x plus the subgradient over rho.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    S. Boyd, N. Parikh, E. Chu, B. Peleato, J. Eckstein, "Distributed optimization and statistical learning via the
    alternating direction method of multipliers", Found. Trends Mach. Learn. 3 (2011), section 6.4.

    Examples
    --------
    >>> problem = admm()
    >>> problem.residual(problem.solution) < 1e-13
    True
    """
    rho = number("rho", rho, above=0.0)
    A, b, x, subgradient = _lasso(m, n, seed)
    inverse = np.linalg.inv(A.T @ A + rho * np.eye(n))
    return FixedPoint(
        name=f"admm({m}, {n}, {rho:g})",
        map=partial(_admm, inverse, inverse @ (A.T @ b), rho),
        x0=np.zeros(n),
        description="the alternating direction method of multipliers for the lasso",
        reference="Boyd and others, Found. Trends Mach. Learn. 3 (2011), section 6.4",
        solve=partial(np.add, x, subgradient / rho),
        lipschitz=1.0,
    )


def _admm(inverse: np.ndarray, free: np.ndarray, rho: float, w: np.ndarray) -> np.ndarray:
    z = _shrunk(w, 1.0 / rho)
    return w - z + free + rho * (inverse @ (2 * z - w))


# Two convex sets: the projections onto them, a common point if there is one, and the shortest vector of A - B.
SETS = ("lines", "discs", "halfspaces")
_Projection = Callable[[np.ndarray], np.ndarray]


def _two_sets(sets: str, gap: float, angle: float) -> tuple[_Projection, _Projection, np.ndarray, np.ndarray]:
    """The projections onto A and onto B, a point of B nearest to A, and the shortest vector of A - B."""
    if sets == "lines":
        along = np.array([math.cos(angle), math.sin(angle), 0.0])
        above = np.array([0.0, 0.0, gap])
        projections = partial(_onto_line, np.eye(3)[0], np.zeros(3)), partial(_onto_line, along, above)
        return *projections, above, np.array([0.0, 0.0, -gap])
    if sets == "discs":
        centre = np.array([2.0 + gap, 0.0])
        projections = partial(_onto_disc, np.zeros(2)), partial(_onto_disc, centre)
        return *projections, np.array([1.0 + gap, 0.0]), np.array([-max(gap, 0.0), 0.0])
    up = np.array([0.0, 1.0])
    projections = partial(_onto_halfspace, up, 0.0), partial(_onto_halfspace, -up, -gap)
    return *projections, np.array([3.0, gap]), np.array([0.0, -max(gap, 0.0)])


def _onto_line(along: np.ndarray, point: np.ndarray, x: np.ndarray) -> np.ndarray:
    return point + along * (along @ (x - point))


def _onto_disc(centre: np.ndarray, x: np.ndarray) -> np.ndarray:
    away = x - centre
    return centre + away / max(1.0, float(np.linalg.norm(away)))


def _onto_halfspace(normal: np.ndarray, level: float, x: np.ndarray) -> np.ndarray:
    return x - normal * max(0.0, float(normal @ x) - level)


def _checked(sets: str, gap: float, angle: float) -> tuple[str, float, float]:
    sets = choice("sets", sets, SETS)
    least = {"lines": 0.0, "discs": -2.0, "halfspaces": -math.inf}[sets]
    return (
        sets,
        number("gap", gap, above=least, closed=(True, False)),
        number("angle", angle, above=0.0, below=math.pi / 2, closed=(False, True)),
    )


def alternating_projections(sets: str = "lines", gap: float = 0.0, *, angle: float = 0.3) -> FixedPoint:
    """``g(x) = P_B(P_A(x))``: a point of B nearest to A, common to both if the sets meet.

    Parameters
    ----------
    sets : {"lines", "discs", "halfspaces"}
        Two lines in space at an angle, the second one lifted by `gap`; two unit discs whose centres are ``2 + gap``
        apart; the half-planes ``y <= 0`` and ``y >= gap``.
    gap : float
        The distance between the sets; at zero they touch, and a negative one, not less than -2 of discs, makes discs
        and half-planes overlap.
    angle : float
        Between the lines, at most a right one.

    Returns
    -------
    FixedPoint
        Always feasible: with a gap too, g has a fixed point, at that distance from A. Discs that touch are reached only
        like ``k**-0.5``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    H. H. Bauschke, P. L. Combettes, "Convex Analysis and Monotone Operator Theory in Hilbert Spaces", Springer 2017.

    Examples
    --------
    >>> alternating_projections("lines")
    <alternating_projections('lines'): 3 unknowns, contraction 0.955336>
    >>> alternating_projections("discs", 1.0).solution
    array([2., 0.])
    """
    sets, gap, angle = _checked(sets, gap, angle)
    onto_A, onto_B, nearest, _ = _two_sets(sets, gap, angle)
    return FixedPoint(
        name=f"alternating_projections({sets!r}" + (f", {gap:g})" if gap else ")"),
        map=partial(_alternating, onto_A, onto_B),
        x0=_begin(sets),
        description=f"projections onto two {sets} in turn",
        reference="Bauschke, Combettes, Convex Analysis and Monotone Operator Theory in Hilbert Spaces, Springer 2017",
        solve=nearest.copy,
        lipschitz=math.cos(angle) if sets == "lines" else 1.0,
    )


def _begin(sets: str) -> np.ndarray:
    return np.array({"lines": [3.0, 2.0, 0.0], "discs": [3.0, 2.0], "halfspaces": [3.0, -2.0]}[sets])


def _alternating(onto_A: _Projection, onto_B: _Projection, x: np.ndarray) -> np.ndarray:
    return onto_B(onto_A(x))


def douglas_rachford(sets: str = "lines", gap: float = 0.0, *, angle: float = 0.3) -> FixedPoint:
    """``g(x) = x + P_B(2 P_A(x) - x) - P_A(x)``: P_A of a fixed point lies in both sets, and none is where none does.

    Parameters
    ----------
    sets : {"lines", "discs", "halfspaces"}
        As of `alternating_projections`.
    gap : float
        The distance between the sets. If it is positive, g has no fixed point: iterates drift off, in the end by the
        shortest vector from A to B a step, which is minus `displacement`.
    angle : float
        Between the lines, at most a right one.

    Returns
    -------
    FixedPoint
        Firmly nonexpansive.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    H. H. Bauschke, W. M. Moursi, "The Douglas-Rachford algorithm for two (not necessarily intersecting) affine
    subspaces", SIAM J. Optim. 26 (2016); "On the Douglas-Rachford algorithm", Math. Program. 164 (2017).

    Examples
    --------
    >>> douglas_rachford("discs", 0.5)
    <douglas_rachford('discs', 0.5): 2 unknowns, nonexpansive, no fixed point>
    >>> douglas_rachford("discs", 0.5).displacement
    array([-0.5,  0. ])
    """
    sets, gap, angle = _checked(sets, gap, angle)
    onto_A, onto_B, nearest, shortest = _two_sets(sets, gap, angle)
    feasible = gap <= 0
    return FixedPoint(
        name=f"douglas_rachford({sets!r}" + (f", {gap:g})" if gap else ")"),
        map=partial(_douglas_rachford, onto_A, onto_B),
        x0=_begin(sets),
        description=f"Douglas and Rachford's map for a point common to two {sets}",
        reference="Bauschke, Moursi, Math. Program. 164 (2017), pages 263-284",
        solve=nearest.copy if feasible else None,
        lipschitz=1.0,
        feasible=feasible,
        displacement=None if feasible else shortest,
    )


def _douglas_rachford(onto_A: _Projection, onto_B: _Projection, x: np.ndarray) -> np.ndarray:
    a = onto_A(x)
    return x + onto_B(2 * a - x) - a
