"""Maps whose fixed points are known: `rv.gallery.fixed_points.bratu()` and its kin.

Each function returns a `FixedPoint`: a map g, where to begin, and what is known of the x with ``g(x) = x``. The
problems of `FIXED_POINTS` need no arguments; `names` lists them and `by_name` makes them.

Examples
--------
>>> from resolvent.gallery import fixed_points
>>> problem = fixed_points.power_iteration()
>>> problem
<power_iteration(100): 100 unknowns, best published 13>
>>> x = problem.x0
>>> for evaluations in range(1, 100):
...     x, before = problem.g(x), x
...     if problem.size(x - before) < problem.tolerance:
...         break
>>> evaluations
34
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ...naming import choice
from .economics import exchange_economy, value_iteration
from .elliptic import bratu, poisson_sweeps
from .hard import (
    constant_increments,
    cyclic_permutation,
    logistic,
    negation,
    noisy,
    reflection,
    rotation,
    symmetric_spectrum,
    translation,
)
from .integral import kelley_h
from .linear import linear_diagonal, pagerank, power_iteration
from .matrices import candecomp, nearest_correlation
from .mixtures import hasselblad, mixture_means, normal_mixture
from .portfolios import risk_parity
from .problem import FixedPoint
from .rankings import bradley_terry
from .selfconsistent import self_consistent_field
from .small import absolute_value, cosine, kinsol_3d, roberts_step, toth_kelley
from .splitting import admm, alternating_projections, douglas_rachford, ista
from .transport import sinkhorn

__all__ = [
    # published counts of evaluations
    "hasselblad",
    "exchange_economy",
    "normal_mixture",
    "power_iteration",
    "linear_diagonal",
    "bratu",
    "poisson_sweeps",
    "kelley_h",
    "toth_kelley",
    "kinsol_3d",
    "roberts_step",
    "absolute_value",
    "cosine",
    "risk_parity",
    # from all over
    "nearest_correlation",
    "candecomp",
    "mixture_means",
    "pagerank",
    "value_iteration",
    "sinkhorn",
    "bradley_terry",
    "ista",
    "admm",
    "alternating_projections",
    "douglas_rachford",
    "self_consistent_field",
    # where methods fail
    "rotation",
    "negation",
    "reflection",
    "cyclic_permutation",
    "logistic",
    "symmetric_spectrum",
    "constant_increments",
    "translation",
    "noisy",
    # results and tables
    "FixedPoint",
    "FIXED_POINTS",
    "names",
    "by_name",
]

FIXED_POINTS: dict[str, Callable[..., FixedPoint]] = {
    "hasselblad": hasselblad,
    "exchange_economy": exchange_economy,
    "normal_mixture": normal_mixture,
    "power_iteration": power_iteration,
    "linear_diagonal": linear_diagonal,
    "bratu": bratu,
    "poisson_jacobi": partial(poisson_sweeps, "jacobi"),
    "poisson_gauss_seidel": partial(poisson_sweeps, "gauss_seidel"),
    "poisson_sor": partial(poisson_sweeps, "sor"),
    "kelley_h": kelley_h,
    "toth_kelley": toth_kelley,
    "kinsol_3d": kinsol_3d,
    "roberts_step": roberts_step,
    "absolute_value": absolute_value,
    "cosine": cosine,
    "risk_parity": risk_parity,
    "nearest_correlation": nearest_correlation,
    "candecomp": candecomp,
    "mixture_means": mixture_means,
    "pagerank": pagerank,
    "value_iteration": value_iteration,
    "sinkhorn": sinkhorn,
    "bradley_terry_newman": partial(bradley_terry, "newman"),
    "bradley_terry_zermelo": partial(bradley_terry, "zermelo"),
    "ista": ista,
    "admm": admm,
    "alternating_lines": partial(alternating_projections, "lines"),
    "alternating_discs": partial(alternating_projections, "discs"),
    "alternating_halfspaces": partial(alternating_projections, "halfspaces"),
    "douglas_rachford_lines": partial(douglas_rachford, "lines"),
    "douglas_rachford_discs": partial(douglas_rachford, "discs"),
    "douglas_rachford_halfspaces": partial(douglas_rachford, "halfspaces"),
    "self_consistent_field": self_consistent_field,
    "rotation": rotation,
    "negation": negation,
    "reflection": reflection,
    "cyclic_permutation": cyclic_permutation,
    "logistic": logistic,
    "spectrum_expansive": partial(symmetric_spectrum, "expansive"),
    "spectrum_outliers": partial(symmetric_spectrum, "outliers"),
    "spectrum_stiff": partial(symmetric_spectrum, "stiff"),
    "constant_increments": constant_increments,
    "translation": translation,
    "noisy": noisy,
}


def names() -> tuple[str, ...]:
    """The keys of `FIXED_POINTS`.

    Examples
    --------
    >>> names()[:3]
    ('hasselblad', 'exchange_economy', 'normal_mixture')
    """
    return tuple(FIXED_POINTS)


def by_name(name: str, **options: Any) -> FixedPoint:
    """Make a problem of the table `FIXED_POINTS`.

    Parameters
    ----------
    name : str
        A key of `FIXED_POINTS`.
    **options
        Arguments of the function, by name.

    Returns
    -------
    FixedPoint

    Raises
    ------
    TypeError, ValueError
        If there is no such problem, or as the function does.

    Examples
    --------
    >>> by_name("negation", gamma=2.0)
    <negation(2): 1 unknown, contraction 0.5>
    """
    return FIXED_POINTS[choice("name", name, names())](**options)
