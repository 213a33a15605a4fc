"""Steps of stacks of small matrices, one matrix after the other: what a step is made of stays in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...backends.compiled.compiling import FAST
from ...kernels import kernel
from .factors import Degree17Factors
from .products import NumpyProducts
from .schedule import step_products

__all__ = ["CompiledProducts"]


class CompiledProducts(NumpyProducts):
    """Those of NumPy, with each polar step, and each pass of its certificate, as one compiled loop; of real numbers.

    Parameters
    ----------
    backend, like :
        As of ``Products``.

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.backends import choose_backend
    >>> from resolvent.solvers.matrix_functions.products import products_for
    >>> x = np.ones((50, 3, 2))
    >>> type(products_for(choose_backend("numpy", x), x, compiled=True)).__name__
    'CompiledProducts'
    """

    def batches(self, which: np.ndarray, array: Any) -> list[np.ndarray]:
        return [which]

    def polar_step(
        self, X: Any, A: Any, coefficients: Sequence[float], square: Any, factors: Degree17Factors | None
    ) -> tuple[Any, Any]:
        degree = len(coefficients) - 1
        self.count += step_products(degree) + (degree == 8 and factors is None)
        self.count -= square is not None and degree > 1
        c = np.array(coefficients, X.dtype)
        f = np.array(() if factors is None else factors, X.dtype)
        _polar_steps(X, A, c, f, A[:0] if square is None else square)
        self.done(square)
        return X, A

    def gram(self, X: Any, out: Any) -> Any:
        self.count += 1
        out = self._out((X.shape[0], X.shape[2], X.shape[2]), X) if out is None else out
        _grams(X, out)
        return out

    def hermitian_part(self, A: Any, out: Any) -> Any:
        out = self._out(A.shape, A) if out is None else out
        _symmetric_parts(A, out)
        return out

    def distances(self, A: Any, B: Any) -> np.ndarray:
        return np.sqrt(_squared_distances(A, B))

    def identity_distances(self, P: Any, c: float = 1.0) -> np.ndarray:
        return np.sqrt(_squared_identity_distances(P, c))

    def row_sums(self, A: Any) -> Any:
        return _row_sums(A)


compiled = kernel(fastmath=set(FAST))


@compiled
def _grams(X, out):  # type: ignore[no-untyped-def]
    for k in range(X.shape[0]):
        np.dot(X[k].T, X[k], out[k])


@compiled
def _symmetric_parts(A, out):  # type: ignore[no-untyped-def]
    for k in range(A.shape[0]):
        for i in range(A.shape[1]):
            for j in range(i + 1):
                out[k, i, j] = out[k, j, i] = (A[k, i, j] + A[k, j, i]) / 2


@compiled
def _squared_distances(A, B):  # type: ignore[no-untyped-def]
    found = np.zeros(A.shape[0])
    for k in range(A.shape[0]):
        for i in range(A.shape[1]):
            row = A.dtype.type(0)
            for j in range(A.shape[2]):
                row += (A[k, i, j] - B[k, i, j]) ** 2
            found[k] += row
    return found


@compiled
def _squared_identity_distances(P, c):  # type: ignore[no-untyped-def]
    found = np.zeros(P.shape[0])
    for k in range(P.shape[0]):
        for i in range(P.shape[1]):
            row = P.dtype.type(0)
            for j in range(i):
                row += P[k, i, j] ** 2
            for j in range(i + 1, P.shape[2]):
                row += P[k, i, j] ** 2
            found[k] += row + (P[k, i, i] - c) ** 2
    return found


@compiled
def _row_sums(A):  # type: ignore[no-untyped-def]
    found = np.empty(A.shape[:2], A.dtype)
    for k in range(A.shape[0]):
        for i in range(A.shape[1]):
            row = A.dtype.type(0)
            for j in range(A.shape[2]):
                row += abs(A[k, i, j])
            found[k, i] = row
    return found


@compiled
def _polar_steps(X, A, c, f, squares):  # type: ignore[no-untyped-def]
    """X <- X h(A), A <- X^T X, of each; h has the coefficients c, and the factors f if it has any."""
    count, m, n = X.shape
    square, B = np.empty((n, n), X.dtype), np.empty((n, n), X.dtype)
    work, y = np.empty((n, n), X.dtype), np.empty((n, n), X.dtype)
    new = np.empty((m, n), X.dtype)
    for k in range(count):
        x, a = X[k], A[k]
        if c.size > 2:
            if squares.shape[0]:
                square[:] = squares[k]
            else:
                np.dot(a, a, square)
        if f.size:  # (y + d2 A2 + d1 A)(y + e2 A2) + e0 y + c2 A2 + c1 A + c0 I with y = (s A2 + t A) A2
            s, t, d1, d2, e0, e2 = f[0], f[1], f[2], f[3], f[4], f[5]
            for i in range(n):
                for j in range(n):
                    work[i, j] = s * square[i, j] + t * a[i, j]
            np.dot(work, square, y)
            for i in range(n):
                for j in range(n):
                    work[i, j] = y[i, j] + e2 * square[i, j]
                    new_left = y[i, j] + d2 * square[i, j] + d1 * a[i, j]
                    y[i, j], B[i, j] = e0 * y[i, j] + c[2] * square[i, j] + c[1] * a[i, j], new_left
            np.dot(B, work, square)
            for i in range(n):
                for j in range(n):
                    B[i, j] = square[i, j] + y[i, j]
                B[i, i] += c[0]
        else:  # Horner's rule in A2, with linear polynomials of A for coefficients
            top = 2 * ((c.size - 1) // 2)
            linear = c[top + 1] if top + 1 < c.size else c[top] * 0
            if linear == 0 and top:  # the last product is one with a number
                top -= 2
                for i in range(n):
                    for j in range(n):
                        B[i, j] = c[top + 2] * square[i, j] + c[top + 1] * a[i, j]
                    B[i, i] += c[top]
            else:
                for i in range(n):
                    for j in range(n):
                        B[i, j] = linear * a[i, j]
                    B[i, i] += c[top]
            while top:
                top -= 2
                np.dot(square, B, work)
                for i in range(n):
                    for j in range(n):
                        B[i, j] = work[i, j] + c[top + 1] * a[i, j]
                    B[i, i] += c[top]
        np.dot(x, B, new)
        x[:] = new
        np.dot(x.T, x, a)
