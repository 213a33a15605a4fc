"""Unknown matrices: the correlation matrix nearest to a given one, and the factors of a tensor."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .problem import FixedPoint, integer

__all__ = ["candecomp", "nearest_correlation"]


def nearest_correlation(n: int = 6) -> FixedPoint:
    """Dykstra's alternating projections from a symmetric matrix to the nearest correlation matrix, in two triangles.

    The state holds the upper triangles of Y and S. ``R = Y - S`` is projected onto the positive semidefinite matrices,
    to X; the new S is ``X - R``, the new Y is X with ones on the diagonal. The matrix to begin with has ones on and
    beside its diagonal and zeros elsewhere, and is indefinite; of order 3 it is Higham's example. The published counts
    for matrix "mmb13" of order 6 do not apply.

    Parameters
    ----------
    n : int
        Order of the matrix, at least 3; the state has n (n + 1) entries.

    Returns
    -------
    FixedPoint
        Its solution is that of the dual problem, by `scipy.optimize.root`; the map has others, to which other starts
        lead.

    Raises
    ------
    TypeError, ValueError
        If n is no integer of at least 3.

    References
    ----------
    N. J. Higham, "Computing the nearest correlation matrix: a problem from finance", IMA J. Numer. Anal. 22 (2002);
    N. J. Higham, N. Strabić, "Anderson acceleration of the alternating projections method for computing the nearest
    correlation matrix", Numer. Algorithms 72 (2016).

    Examples
    --------
    >>> problem = nearest_correlation(3)
    >>> problem.solution[:6].round(4)  # the upper triangle, row by row
    array([1.    , 0.7607, 0.1573, 1.    , 0.7607, 1.    ])
    """
    n = integer("n", n, least=3)
    A = np.eye(n) + np.eye(n, k=1) + np.eye(n, k=-1)
    upper = np.triu_indices(n)
    return FixedPoint(
        name=f"nearest_correlation({n})",
        map=partial(_dykstra, n, upper),
        x0=np.concatenate([A[upper], np.zeros(upper[0].size)]),
        description="Dykstra's alternating projections to the nearest correlation matrix",
        reference="Higham, IMA J. Numer. Anal. 22 (2002), pages 329-343",
        solve=partial(_nearest, A, upper),
    )


def _semidefinite(R: np.ndarray) -> np.ndarray:
    """The nearest positive semidefinite matrix."""
    values, V = np.linalg.eigh(R)
    return (V * np.maximum(values, 0.0)) @ V.T


def _dykstra(n: int, upper: tuple[np.ndarray, np.ndarray], state: np.ndarray) -> np.ndarray:
    Y, S = state.reshape(2, -1)
    R = np.zeros((n, n))
    R[upper] = Y - S
    R = R + np.triu(R, 1).T
    X = _semidefinite(R)
    S = (X - R)[upper]
    np.fill_diagonal(X, 1.0)
    return np.concatenate([X[upper], S])


def _nearest(A: np.ndarray, upper: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The diagonal d for which the positive part X of A + diag(d) has ones on its diagonal; Y = X, S = X - A - diag(d).

    The map leaves Y - S as it is, but for the diagonal.
    """
    from scipy.optimize import root

    def excess(d: np.ndarray) -> np.ndarray:
        return np.diagonal(_semidefinite(A + np.diag(d))) - 1.0

    R = A + np.diag(root(excess, np.zeros(len(A)), tol=np.spacing(1.0)).x)
    X = _semidefinite(R)
    return np.concatenate([X[upper], (X - R)[upper]])


def candecomp(side: int = 50, rank: int = 3, *, seed: Any = 0) -> FixedPoint:
    """Alternating least squares for the factors of a tensor ``sum_r a_r o b_r o c_r`` whose terms are nearly parallel.

    Each sweep replaces A, B and C in turn by the best factor given the two others. The columns of each factor of the
    tensor have cosines of 0.9 with each other, which makes for long stretches of hardly any progress. The tensor is
    drawn here: published counts for another one of as many unknowns do not apply.

    Parameters
    ----------
    side : int
        Length of each side of the tensor, at least 2.
    rank : int
        Number of terms, at most `side`; x has ``3 side rank`` entries.
    seed : int, numpy.random.Generator or None
        Of the tensor and of where to begin.

    Returns
    -------
    FixedPoint
        Its objective is half the sum of squares of what the factors leave of the tensor, zero at a solution. Solutions
        are many: columns may be scaled and permuted.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    T. G. Kolda, B. W. Bader, "Tensor decompositions and applications", SIAM Rev. 51 (2009), section 3.4.

    Examples
    --------
    >>> problem = candecomp(8, 2)
    >>> problem.objective(problem.g(problem.x0)) < problem.objective(problem.x0)
    True
    """
    side = integer("side", side, least=2)
    rank = integer("rank", rank)
    if rank > side:
        raise ValueError(f"rank is {rank}; it must be at most side, {side}")
    rng = np.random.default_rng(seed)
    correlated = np.linalg.cholesky(np.full((rank, rank), 0.9) + 0.1 * np.eye(rank)).T
    factors = [np.linalg.qr(rng.standard_normal((side, rank)))[0] @ correlated for _ in range(3)]
    tensor = np.einsum("ir,jr,kr->ijk", *factors, optimize=True)
    return FixedPoint(
        name=f"candecomp({side}, {rank})",
        map=partial(_least_squares_sweep, tensor, rank),
        x0=rng.random(3 * side * rank),
        description="alternating least squares for the factors of a tensor",
        reference="Kolda, Bader, SIAM Rev. 51 (2009), section 3.4",
        objective=partial(_left_over, tensor, rank),
    )


def _least_squares_sweep(tensor: np.ndarray, rank: int, x: np.ndarray) -> np.ndarray:
    factors = list(x.reshape(3, len(tensor), rank))
    for mode in range(3):
        one, two = (factors[k] for k in range(3) if k != mode)
        unfolded = np.moveaxis(tensor, mode, 0).reshape(len(tensor), -1)
        khatri_rao = (one[:, None, :] * two[None, :, :]).reshape(-1, rank)
        gram = (one.T @ one) * (two.T @ two)
        factors[mode] = (unfolded @ khatri_rao) @ np.linalg.pinv(gram, hermitian=True)  # singular where terms coincide
    return np.concatenate(factors).ravel()


def _left_over(tensor: np.ndarray, rank: int, x: np.ndarray) -> float:
    factors = x.reshape(3, len(tensor), rank)
    return 0.5 * float(((tensor - np.einsum("ir,jr,kr->ijk", *factors, optimize=True)) ** 2).sum())
