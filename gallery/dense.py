"""What the dense classical matrices share: spectra by way of inverses that are known."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy import linalg, sparse

from .exact import product, short_vector
from .problem import Known, Problem

__all__ = ["dense", "ends"]


def dense(
    name: str,
    A: np.ndarray,
    seed: Any,
    positive_definite: bool,
    reference: str,
    inverse: Any = None,
    *,
    tridiagonal: tuple[np.ndarray, np.ndarray] | None = None,
    eigenvalues: np.ndarray | None = None,
) -> Problem:
    """Put together a symmetric problem with a random solution, b in twice the working precision.

    Parameters
    ----------
    name, A, seed, positive_definite, reference
        As in `Problem`; seed is of the solution.
    inverse : callable, optional
        Returns the inverse, shape (n, n); the smallest eigenvalue is then computed from it.
    tridiagonal : pair of arrays, optional
        In place of inverse, where that is tridiagonal: its diagonal, shape (n,), and what is beside it, shape (n - 1,).
    eigenvalues : numpy.ndarray, optional
        All of them, ascending, shape (n,).

    Examples
    --------
    >>> dense("two", np.diag([2.0, 3.0]), 0, True, "", eigenvalues=np.array([2.0, 3.0])).condition
    1.5
    """
    extremes = partial(_extremes_by_inverse, A, inverse) if inverse is not None else None
    if tridiagonal is not None:
        inverse, extremes = partial(_tridiagonal, *tridiagonal), partial(_extremes_by_tridiagonal, *tridiagonal)
    if eigenvalues is not None:
        extremes = partial(ends, eigenvalues)
    x = short_vector(A.shape[0], seed)
    return Problem(
        name=name,
        A=A,
        b=product(A, x),
        x=x,
        symmetric=True,
        positive_definite=positive_definite,
        reference=reference,
        known=Known(eigenvalues.copy if eigenvalues is not None else None, extremes, inverse=inverse),
    )


def _extremes_by_inverse(A: np.ndarray, inverse: Any) -> tuple[float, float]:
    # An eigenvalue solver is accurate relative to the largest eigenvalue: ask the inverse for the smallest one.
    return 1.0 / float(np.linalg.eigvalsh(inverse())[-1]), float(np.linalg.eigvalsh(A)[-1])


def _extremes_by_tridiagonal(diagonal: np.ndarray, beside: np.ndarray) -> tuple[float, float]:
    values = linalg.eigvalsh_tridiagonal(diagonal, beside) if diagonal.size > 1 else diagonal
    return 1.0 / float(values[-1]), 1.0 / float(values[0])


def _tridiagonal(diagonal: np.ndarray, beside: np.ndarray) -> sparse.csr_array:
    return sparse.diags_array([beside, diagonal, beside], offsets=[-1, 0, 1], format="csr")


def ends(values: np.ndarray) -> tuple[float, float]:
    """The first and the last entry as floats."""
    return float(values[0]), float(values[-1])
