"""Right-hand sides as exact as their solutions: short random vectors and products in twice the working precision."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

__all__ = ["DoubleSum", "product", "short_vector"]


def short_vector(n: int, seed: Any, *, zero_sum: bool = False) -> np.ndarray:
    """Random multiples of 2**-10 between -1 and 1: products with small integers, and their sums, are then exact.

    Parameters
    ----------
    n : int
        Length.
    seed : int, numpy.random.Generator or None
        Anything that ``numpy.random.default_rng`` takes.
    zero_sum : bool
        Whether the entries must add up to exactly zero.

    Returns
    -------
    numpy.ndarray of float64, shape (n,)

    Examples
    --------
    >>> x = short_vector(5, seed=0, zero_sum=True)
    >>> bool((1024 * x == np.rint(1024 * x)).all()), float(x.sum())
    (True, 0.0)
    """
    rng = np.random.default_rng(seed)
    x = rng.integers(-1024, 1025, size=n) / 1024.0
    if zero_sum:
        x[n - n // 2 :] = -x[: n // 2]
        if n % 2:
            x[n // 2] = 0.0
        rng.shuffle(x)
    return x


class DoubleSum:
    """An array of sums of products, each as accurate as if computed in twice the working precision and then rounded.

    Algorithm Dot2 of Ogita, Rump and Oishi, "Accurate sum and dot product", SIAM J. Sci. Comput. 26 (2005), with
    Dekker's splitting in place of a fused multiply-add. It uses float64 alone, so it gives the same on every machine.

    Parameters
    ----------
    shape : tuple of int
        Shape of the array.

    Examples
    --------
    >>> total = DoubleSum((1,))
    >>> for a in (1e16, 1.0, -1e16):
    ...     total.add(slice(None), a, 1.0)
    >>> total.result()
    array([1.])
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._sum = np.zeros(shape)
        self._error = np.zeros(shape)

    def add(self, where: Any, a: Any, x: Any) -> None:
        """Add the product a * x to the entries that the index `where` names, none of them twice."""
        p = a * x
        a_high, x_high = _high(a), _high(x)
        a_low, x_low = a - a_high, x - x_high
        # what rounding took from the product, exactly
        lost = a_low * x_low - (((p - a_high * x_high) - a_low * x_high) - a_high * x_low)
        old = self._sum[where]
        new = old + p
        z = new - old
        self._error[where] += ((old - (new - z)) + (p - z)) + lost
        self._sum[where] = new  # last, for old may be a view of it

    def result(self) -> np.ndarray:
        """The sums, rounded to float64."""
        return self._sum + self._error


def _high(a: Any) -> Any:
    """The leading 26 bits of each entry (Veltkamp)."""
    c = 134217729.0 * a  # 2**27 + 1
    return c - (c - a)


def product(A: Any, x: np.ndarray) -> np.ndarray:
    """Return A @ x computed in twice the working precision.

    Parameters
    ----------
    A : scipy.sparse.csr_array or numpy.ndarray, shape (n, n)
        Real or complex.
    x : numpy.ndarray, shape (n,)

    Returns
    -------
    numpy.ndarray, shape (n,)
        Of the dtype of A.

    Examples
    --------
    >>> product(np.array([[1e16, 1.0, -1e16]]), np.ones(3))
    array([1.])
    """
    if np.iscomplexobj(A) or np.iscomplexobj(x):
        return _product([(A.real, x.real), (-A.imag, x.imag)]) + 1j * _product([(A.real, x.imag), (A.imag, x.real)])
    return _product([(A, x)]).astype(A.dtype)


def _product(pairs: list[tuple[Any, np.ndarray]]) -> np.ndarray:
    """The sum of the real products of the pairs, term by term along all rows at once."""
    total = DoubleSum((pairs[0][0].shape[0],))
    for A, x in pairs:
        if sparse.issparse(A):
            counts = np.diff(A.indptr)
            order = np.argsort(-counts, kind="stable")  # long rows first: those with a k-th entry are then a prefix
            remaining = np.searchsorted(-counts[order], -np.arange(counts.max(initial=0)), side="left")
            for k, rows in enumerate(remaining):
                where = order[:rows]
                entry = A.indptr[where] + k
                total.add(where, A.data[entry].astype(np.float64), x[A.indices[entry]])
        else:
            for k in range(A.shape[1]):
                total.add(slice(None), A[:, k].astype(np.float64), float(x[k]))
    return total.result()
