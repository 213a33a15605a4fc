"""What a function of this gallery returns: a map, where to begin, and what is known of its fixed points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..checks import integer, number

__all__ = ["FixedPoint", "integer", "newton", "number"]

# Published counts of methods that ask for more than the map, or that treat every entry of x as a sequence of its own.
ASK_FOR_MORE = frozenset({"anderson_monotone", "anderson_monotone_adaptive", "sea"})

_NORMS: dict[str, Any] = {"1": 1, "2": 2, "max": np.inf}


@dataclass(frozen=True, eq=False, repr=False)
class FixedPoint:
    """A map g, and what is known of the x with g(x) = x.

    Parameters
    ----------
    name : str
        The family and its parameters, as one would call it.
    map : callable
        What `g` calls: takes an array of the shape of `x0` and returns another one, in memory of its own. It has no
        state: the same x gives the same g(x).
    x0 : numpy.ndarray, shape (n,)
        Where published counts begin. A copy is kept, which cannot be written to.
    description : str
        The map in a line.
    reference : str
        Where the problem comes from.
    tolerance : float
        Published counts are of evaluations of g, until the residual ``||g(x) - x||`` is below this.
    norm : {"2", "max", "1"}
        The norm in which `tolerance` and `lipschitz` are meant.
    solve : callable, optional
        Returns a fixed point by other means than iterating g; see `solution`.
    objective : callable, optional
        Takes x and returns a number that g does not increase: a negative log-likelihood, an energy, a sum of squares.
    published : mapping of str to int
        Evaluations of g by method: "anderson" (SpeedMapping.jl), "anderson_adaptive" (with its adaptive relaxation),
        "anderson_monotone" and "anderson_monotone_adaptive" (which watch the objective), "anderson_fpa"
        (FixedPointAcceleration.jl), "acx", "mpe", "sea" (the scalar epsilon algorithm, entry by entry),
        "composite_anderson" and "composite_adaptive" (composed with depth one), "fixed_point_jl" (FixedPoint.jl),
        "picard", and "anderson_1", "anderson_2", ... for a depth.
    lipschitz : float or None
        A Lipschitz constant of g: 1 for a nonexpansive map, less for a contraction. None where there is none below
        infinity, or none is known.
    feasible : bool
        Whether g has a fixed point.
    displacement : numpy.ndarray or None, shape (n,)
        Of a nonexpansive map without fixed points: the infimal displacement vector, the shortest vector in the closure
        of all ``x - g(x)``.
    noise : float
        The standard deviation of what is added to every entry of g(x); the residual stays about as large.

    Examples
    --------
    >>> from resolvent.gallery import fixed_points
    >>> problem = fixed_points.linear_diagonal()
    >>> problem
    <linear_diagonal(100): 100 unknowns, contraction 0.980198, best published 72>
    >>> problem.residual(problem.solution) < 1e-13
    True
    """

    name: str
    map: Callable[[np.ndarray], np.ndarray]
    x0: np.ndarray
    description: str
    reference: str
    tolerance: float = 1e-7
    norm: str = "2"
    solve: Callable[[], np.ndarray] | None = None
    objective: Callable[[np.ndarray], float] | None = None
    published: Mapping[str, int] = field(default_factory=dict)
    lipschitz: float | None = None
    feasible: bool = True
    displacement: np.ndarray | None = None
    noise: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "x0", _fixed(self.x0))  # the dataclass is frozen
        object.__setattr__(self, "published", dict(self.published))
        if self.displacement is not None:
            object.__setattr__(self, "displacement", _fixed(self.displacement))

    def g(self, x: np.ndarray) -> np.ndarray:
        """The map at x, shape (n,). Where it is not defined it is infinite or NaN, without a warning."""
        if not np.isfinite(x).all():
            return np.full_like(x, np.nan)
        with np.errstate(all="ignore"):
            return self.map(x)

    @cached_property
    def solution(self) -> np.ndarray | None:
        """A fixed point, computed when first asked for; None where there is none, or only iterating g would find it."""
        if self.solve is None:
            return None
        x = _fixed(self.solve())
        return x if self.noise or self.residual(x) < self.tolerance else None

    @property
    def best_published(self) -> int | None:
        """The fewest published evaluations of a method that needs g alone and is no matter of single entries."""
        return min((count for key, count in self.published.items() if key not in ASK_FOR_MORE), default=None)

    def size(self, x: np.ndarray) -> float:
        """The length of x in the problem's norm."""
        return float(np.linalg.norm(x, _NORMS[self.norm]))

    def residual(self, x: np.ndarray) -> float:
        """``||g(x) - x||`` in the problem's norm. Costs one evaluation."""
        return self.size(self.g(x) - x)

    def __repr__(self) -> str:
        facts = [f"{self.x0.size} unknown" + ("s" if self.x0.size > 1 else "")]
        if self.lipschitz is not None:
            kind = "contraction" if self.lipschitz < 1 else "expansive"
            facts.append("nonexpansive" if self.lipschitz == 1 else f"{kind} {self.lipschitz:.6g}")
        if not self.feasible:
            facts.append("no fixed point")
        if self.noise:
            facts.append(f"noise {self.noise:.3g}")
        if self.best_published is not None:
            facts.append(f"best published {self.best_published}")
        return f"<{self.name}: {', '.join(facts)}>"

    def __str__(self) -> str:
        return f"{repr(self)[1:-1]}\n  {self.description}\n  {self.reference}"


def _fixed(x: np.ndarray) -> np.ndarray:
    """A copy that cannot be written to."""
    x = np.array(x)
    x.setflags(write=False)
    return x


def newton(
    g: Callable[[np.ndarray], np.ndarray], x: np.ndarray, jacobian: Callable[[np.ndarray], Any] | None = None
) -> np.ndarray:
    """A fixed point of g near x by Newton's method, until the residual falls no further.

    Parameters
    ----------
    g : callable
        The map.
    x : numpy.ndarray, shape (n,)
        Where to begin; near enough, since there is no globalisation.
    jacobian : callable, optional
        Takes x and returns the derivative of g, dense or sparse, shape (n, n). Without it, central differences are
        taken, at 2 n evaluations a step.

    Examples
    --------
    >>> newton(np.cos, np.array([1.0]))
    array([0.73908513])
    """
    from scipy import sparse
    from scipy.sparse.linalg import spsolve

    best, least = x, np.inf
    while True:
        f = g(x) - x
        size = float(np.linalg.norm(f))
        if not size < least:
            return best
        best, least = x, size
        J = _differences(g, x) if jacobian is None else jacobian(x)
        if sparse.issparse(J):
            x = x + spsolve((sparse.eye_array(x.size, format="csc") - J).tocsc(), f)
        else:
            x = x + np.linalg.solve(np.eye(x.size) - J, f)


def _differences(g: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """The derivative of g at x by central differences, with steps that balance their error against rounding."""
    J = np.empty((x.size, x.size))
    for k in range(x.size):
        step = np.zeros_like(x)
        step[k] = np.spacing(1.0) ** (1 / 3) * max(abs(x[k]), 1.0)
        J[:, k] = (g(x + step) - g(x - step)) / (2 * step[k])
    return J
