"""Relaxation sweeps over a stack of systems: row after row, all systems at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from array_api_compat import array_namespace

__all__ = ["stacked_sweep"]


def stacked_sweep(
    row: Callable[[int, list[Any]], Any], x: Any, b: Any, inverse_diagonal: Any, omega: Any, reverse: bool
) -> Any:
    """One SOR sweep of every system of a stack, forwards or backwards.

    Parameters
    ----------
    row : callable
        ``row(i, entries)`` gives (A x)_i of every system, (...), from the list of the n entries of x, each (...).
    x, b : array, (..., n)
    inverse_diagonal : array, (..., n)
    omega : float or array, (...)
    reverse : bool

    Returns
    -------
    array, (..., n)
        A new one.

    Notes
    -----
    n steps, each an inner product of every system: as many operations as a product, in n times as many calls.

    References
    ----------
    Saad (2003), "Iterative methods for sparse linear systems", equation 4.12.

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.solvers.relaxation.stacked_sweeps import stacked_sweep
    >>> A, b = np.array([[[2.0, 0.0], [1.0, 4.0]]]), np.array([[2.0, 5.0]])
    >>> row = lambda i, entries: (A[:, i] * np.stack(entries, axis=-1)).sum(axis=-1)
    >>> stacked_sweep(row, np.zeros((1, 2)), b, np.array([[0.5, 0.25]]), 1.0, reverse=False)
    array([[1., 1.]])
    """
    xp = array_namespace(x)
    columns = [x[..., i] for i in range(x.shape[-1])]
    rows = range(x.shape[-1])
    for i in reversed(rows) if reverse else rows:
        defect = b[..., i] - row(i, columns)
        columns[i] = columns[i] + omega * inverse_diagonal[..., i] * defect
    return xp.stack(columns, axis=-1)
