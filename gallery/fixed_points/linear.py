"""Maps that are linear, or would be but for a scaling."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy import sparse

from ..graphs import graph_laplacian
from .problem import FixedPoint, integer, number

__all__ = ["linear_diagonal", "pagerank", "power_iteration"]


def linear_diagonal(n: int = 100) -> FixedPoint:
    """``g(x) = (1 - d) x + 1`` entry by entry, ``d_i = 2 i / (n + 1)``: a spectrum spread evenly over (-1, 1).

    Parameters
    ----------
    n : int
        Length of x; 100 in the published counts.

    Returns
    -------
    FixedPoint
        Its solution is 1 / d.

    Raises
    ------
    TypeError, ValueError
        If n is no positive integer.

    References
    ----------
    N. Lepage-Saucier, FixedPointTestProblems.jl, "linear".

    Examples
    --------
    >>> problem = linear_diagonal(3)
    >>> problem.solution
    array([2.        , 1.        , 0.66666667])
    """
    n = integer("n", n)
    d = 2 * np.arange(1, n + 1) / (n + 1)
    counts = {
        "fixed_point_jl": 8008,
        "anderson_fpa": 77,
        "anderson": 77,
        "anderson_adaptive": 72,
        "acx": 108,
        "sea": 7,
    }
    return FixedPoint(
        name=f"linear_diagonal({n})",
        map=partial(_affine_diagonal, 1.0 - d),
        x0=np.zeros(n),
        description="(1 - d) x + 1 entry by entry, d evenly spread over (0, 2)",
        reference="Lepage-Saucier, FixedPointTestProblems.jl",
        solve=partial(np.divide, 1.0, d),
        published=counts if n == 100 else {},
        lipschitz=float(1.0 - d[0]),
    )


def _affine_diagonal(factor: np.ndarray, x: np.ndarray) -> np.ndarray:
    return factor * x + 1.0


def power_iteration(n: int = 100) -> FixedPoint:
    """``g(x) = A x / max|A x|``, A having ones everywhere and 1, 2, ..., n added to its diagonal.

    Parameters
    ----------
    n : int
        Length of x; 100 in the published counts.

    Returns
    -------
    FixedPoint
        Its solution is the dominant eigenvector of A, by LAPACK.

    Raises
    ------
    TypeError, ValueError
        If n is no positive integer.

    References
    ----------
    N. Lepage-Saucier, FixedPointTestProblems.jl, "power iteration".

    Examples
    --------
    >>> problem = power_iteration(4)
    >>> problem.solution.round(4)
    array([0.4831, 0.5837, 0.7371, 1.    ])
    """
    n = integer("n", n)
    counts = {
        "fixed_point_jl": 303,
        "anderson_fpa": 14,
        "anderson": 14,
        "anderson_adaptive": 13,
        "acx": 18,
        "mpe": 14,
    }
    diagonal = np.arange(1.0, n + 1)
    return FixedPoint(
        name=f"power_iteration({n})",
        map=partial(_power, diagonal),
        x0=np.ones(n),
        description="A x / max|A x|, A = ones + diag(1, ..., n)",
        reference="Lepage-Saucier, FixedPointTestProblems.jl",
        solve=partial(_dominant, diagonal),
        published=counts if n == 100 else {},
    )


def _power(diagonal: np.ndarray, x: np.ndarray) -> np.ndarray:
    y = diagonal * x + x.sum()
    return y / np.abs(y).max()


def _dominant(diagonal: np.ndarray) -> np.ndarray:
    vector = np.linalg.eigh(np.ones((diagonal.size, diagonal.size)) + np.diag(diagonal))[1][:, -1]
    return vector / vector[np.abs(vector).argmax()]


def pagerank(n: int = 1000, *, damping: float = 0.85, seed: Any = 0) -> FixedPoint:
    """``g(x) = damping P x + (1 - damping) / n``: a surfer on a random graph, who now and then starts anew.

    P is column-stochastic, the adjacency matrix of ``graph_laplacian("random", n)`` with columns divided by degrees.

    Parameters
    ----------
    n : int
        Number of pages, at least 2.
    damping : float
        Between 0 and 1.
    seed : int, numpy.random.Generator or None
        Of the graph.

    Returns
    -------
    FixedPoint
        A contraction in the 1-norm; its solution, of sum 1, is that of a sparse direct solve.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    A. N. Langville, C. D. Meyer, "Google's PageRank and Beyond", Princeton 2006, section 4.5.

    Examples
    --------
    >>> problem = pagerank(50)
    >>> problem
    <pagerank(50, damping=0.85): 50 unknowns, contraction 0.85>
    >>> round(float(problem.solution.sum()), 12)
    1.0
    """
    n = integer("n", n, least=2)
    damping = number("damping", damping, above=0.0, below=1.0)
    L = graph_laplacian("random", n, seed=seed).A
    degree = L.diagonal()
    P = sparse.csr_array((sparse.diags_array(degree) - L) @ sparse.diags_array(1.0 / degree))
    P.eliminate_zeros()
    P.data *= damping
    return FixedPoint(
        name=f"pagerank({n}, damping={damping:g})",
        map=partial(_affine, P, (1.0 - damping) / n),
        x0=np.full(n, 1.0 / n),
        description="damping P x + (1 - damping) / n, P the random walk on a graph",
        reference="Langville, Meyer, Google's PageRank and Beyond, Princeton 2006, section 4.5",
        tolerance=1e-10,
        norm="1",
        solve=partial(_affine_solution, P, (1.0 - damping) / n),
        lipschitz=damping,
    )


def _affine(P: Any, b: Any, x: np.ndarray) -> np.ndarray:
    return P @ x + b


def _affine_solution(P: Any, b: float) -> np.ndarray:
    from scipy.sparse.linalg import spsolve

    n = P.shape[0]
    return spsolve((sparse.eye_array(n) - P).tocsc(), np.full(n, b))
