"""The last steps of a fixed-point iteration, orthogonalised: the least-squares problem of Anderson acceleration.

The columns of dF are differences of residuals f = g(x) - x, those of dG of values g(x). An orthonormal basis
Q is updated from step to step: a column is added by two passes of Gram-Schmidt, the oldest one leaves by rotations.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...backends import Backend
from ..driver.problem import Vector

__all__ = ["CompiledHistory", "History", "history_on"]

REORTHOGONALISED = 100  # columns dropped until Q is orthogonalised anew: each leaves rounding behind


class History:
    """At most ``depth`` differences of residuals and of values.

    Parameters
    ----------
    backend : Backend
    n : int
    dtype : dtype
    depth : int
    kind : {"II", "I"}
        Of what Q is a basis: type II minimises ||f - dF gamma||, type I makes f - dF gamma orthogonal to the steps dX.
    unit_roundoff : float
    regularisation : float
        The square of ||R||_F gamma, times this, is minimised along.

    Attributes
    ----------
    R : ndarray of shape (depth, depth)
        Q R is dF (type I: dX).
    products : ndarray of shape (depth, depth)
        Q^H dF, which is R itself for type II.
    """

    def __init__(
        self,
        backend: Backend,
        n: int,
        dtype: Any,
        depth: int,
        kind: str = "II",
        *,
        unit_roundoff: float = 2.0**-53,
        regularisation: float = 0.0,
    ) -> None:
        self.backend, self.n, self.dtype, self.depth, self.kind = backend, n, dtype, depth, kind
        self.regularisation = regularisation
        self.dependent = 16 * (depth + 1) * unit_roundoff
        wide = np.complex128 if np.dtype(dtype).kind == "c" else np.float64
        self.R = np.zeros((depth, depth), wide)
        self.products = self.R if kind == "II" else np.zeros((depth, depth), wide)
        self.Q: list[Vector] = []
        self.dG: list[Vector] = []
        self.dF: list[Vector] = []
        self.free: list[Vector] = []
        self.dropped = 0

    @property
    def size(self) -> int:
        """Columns held."""
        return len(self.Q)

    def clear(self) -> None:
        """Forget all."""
        self.free += self.Q + self.dG + self.dF
        self.Q, self.dG, self.dF = [], [], []
        self.dropped = 0

    def append(
        self, x: Vector, previous_x: Vector, f: Vector, previous_f: Vector, condition_limit: float = math.inf
    ) -> None:
        """Take in the last step; old ones go where the depth, the rank or the Frobenius condition of R asks for it.

        A step that changed no residual tells nothing: nothing is left then, and the plain map goes on.
        """
        if self.size == self.depth:
            self.drop_oldest()
        while not self._added(x, previous_x, f, previous_f) and self.size:
            self.drop_oldest()
        while self.size > 1 and condition_limit < math.inf and self._condition() > condition_limit:
            self.drop_oldest()
        if self.dropped >= REORTHOGONALISED:
            self._reorthogonalise()

    def _added(self, x: Vector, previous_x: Vector, f: Vector, previous_f: Vector) -> bool:
        """Add a column, unless it depends on those that there are."""
        backend, k = self.backend, self.size
        df = backend.difference(f, previous_f, self._vector())
        dg = backend.difference(x, previous_x, self._vector())
        v = df if self.kind == "II" else backend.assign(dg, self._vector())
        dg = backend.axpy(1.0, df, dg)
        length = backend.norm(v)
        v, h = self._orthogonal(v)
        rest = backend.norm(v)
        if not rest > self.dependent * length:
            self.free += [v, dg] if self.kind == "II" else [v, dg, df]
            return False
        v = backend.axpby(0.0, v, 1.0 / rest, v)
        self.Q.append(v)
        self.dG.append(dg)
        self.R[:k, k], self.R[k, :k], self.R[k, k] = h, 0.0, rest
        if self.kind == "I":
            self.dF.append(df)
            self.products[: k + 1, k] = backend.dots(self.Q, df)
            self.products[k, :k] = np.conj(backend.dots(self.dF[:k], v)) if k else 0.0
        return True

    def _orthogonal(self, v: Vector) -> tuple[Vector, np.ndarray]:
        """v without its part in the span of Q, and the coefficients of that; by two passes of Gram-Schmidt."""
        total = np.zeros(self.size, self.R.dtype)
        if not self.size:
            return v, total
        for _ in range(2):
            h = self.backend.dots(self.Q, v)
            rest = self.backend.combine([v, *self.Q], np.concatenate([[1.0], -h]), self._vector())
            self.free.append(v)
            v, total = rest, total + h
        return v, total

    def drop_oldest(self) -> None:
        """Without the first column, R is a Hessenberg matrix, which rotations make triangular again."""
        k = self.size
        H = self.R[:k, 1:k].copy()
        M = H if self.kind == "II" else self.products[:k, 1:k].copy()
        for i in range(k - 1):
            a, b = H[i, i], H[i + 1, i]
            r = math.hypot(abs(a), abs(b))
            c, s = a / r, b / r
            G = np.array([[np.conj(c), np.conj(s)], [-s, c]])
            H[i : i + 2] = G @ H[i : i + 2]
            if M is not H:
                M[i : i + 2] = G @ M[i : i + 2]
            self.Q[i], self.Q[i + 1] = self.backend.rotate(c.item(), s.item(), self.Q[i], self.Q[i + 1])
        self.R[: k - 1, : k - 1] = np.triu(H[: k - 1])
        self.products[: k - 1, : k - 1] = self.R[: k - 1, : k - 1] if self.kind == "II" else M[: k - 1]
        self.free += [self.Q.pop(), self.dG.pop(0)]
        if self.dF:
            self.free.append(self.dF.pop(0))
        self.dropped += 1

    def _reorthogonalise(self) -> None:
        """Q T in place of Q, T R in place of R, where Q T is orthonormal to rounding."""
        held, R = self.Q, self.R[: self.size, : self.size].copy()
        T = np.zeros_like(R)
        self.Q = []
        for k, q in enumerate(held):
            v, T[:k, k] = self._orthogonal(q)
            T[k, k] = self.backend.norm(v)
            self.Q.append(self.backend.axpby(0.0, v, 1.0 / T[k, k].real, v))
        k = self.size
        self.R[:k, :k] = T @ R
        if self.kind == "I":
            self.products[:k, :k] = np.stack([self.backend.dots(self.Q, df) for df in self.dF], axis=1)
        self.dropped = 0

    def _condition(self) -> float:
        R = self.R[: self.size, : self.size]
        return float(np.linalg.norm(R) * np.linalg.norm(np.linalg.inv(R)))

    def extrapolated(self, x: Vector, f: Vector, norm: float, beta: float | str, out: Vector) -> tuple[Vector, float]:
        """x + beta f - (dX + beta dF) gamma, in place of out, and the part of f, squared, that f - dF gamma is.

        Parameters
        ----------
        norm : float
            Of f.
        beta : float or "adaptive"
        """
        gamma, c = self.solve(f)
        rest = 1.0 - float(np.vdot(c, c).real) / (norm * norm) if norm > 0 else 0.0
        if isinstance(beta, str):
            beta = float(gained(rest))
        vectors, coefficients = [x, f, *self.dG], [1.0, beta, *(-gamma)]
        if beta != 1:
            vectors += self.dF or self.Q
            coefficients += [*((1 - beta) * (gamma if self.dF else c))]
        return self.backend.combine(vectors, np.array(coefficients), out), rest

    def solve(self, f: Vector) -> tuple[np.ndarray, np.ndarray]:
        """gamma, and the coefficients c with which Q c is dF gamma (type I: the same from dF)."""
        k = self.size
        c = self.backend.dots(self.Q, f)
        M = self.products[:k, :k]
        if self.regularisation:
            ridge = math.sqrt(self.regularisation) * float(np.linalg.norm(M))
            M, rhs = np.vstack([M, ridge * np.eye(k)]), np.concatenate([c, np.zeros(k)])
            gamma = np.linalg.lstsq(M, rhs, rcond=None)[0]
        elif self.kind == "I":
            gamma = np.linalg.lstsq(M, c, rcond=self.dependent)[0]
        else:
            gamma = back_substituted(M, c)
        return gamma, c if self.kind == "II" and not self.regularisation else self.products[:k, :k] @ gamma

    def _vector(self) -> Vector:
        return self.free.pop() if self.free else self.backend.zeros(self.n, self.dtype)


class CompiledHistory(History):
    """The same for type II on the Numba backend, a column or an iterate in one call.

    Attributes
    ----------
    basis, values : ndarray of shape (depth, n)
    scale : ndarray of shape (depth,)
    at : (int, int)
        The size and the first row of ``values``: see the kernels.
    """

    def __init__(self, backend: Backend, n: int, dtype: Any, depth: int, **parameters: Any) -> None:
        from ...backends.compiled import anderson

        super().__init__(backend, n, dtype, depth, **parameters)
        self.kernels, self.at = anderson, (0, 0)
        self.basis, self.values = np.empty((2, depth, n), dtype)
        self.scale, self.work = np.ones(depth), np.zeros((6, depth), self.R.dtype)
        self.zero = self.R.dtype.type(0)

    @property
    def size(self) -> int:
        return self.at[0]

    def clear(self) -> None:
        self.at, self.dropped = (0, 0), 0

    def append(
        self, x: Vector, previous_x: Vector, f: Vector, previous_f: Vector, condition_limit: float = math.inf
    ) -> None:
        before, arrays = self.at[0], (self.basis, self.values, self.R, self.scale)
        vectors, room = (x, previous_x, f, previous_f), (self.work, self.zero)
        self.at = self.kernels.append(*arrays, self.at, *vectors, self.dependent, *room)
        if condition_limit < math.inf:
            self.at = self.kernels.bound_condition(self.basis, self.R, self.scale, self.at, f, condition_limit, *room)
        self.dropped += before + 1 - self.at[0]
        if self.dropped >= REORTHOGONALISED:
            self.kernels.orthogonalise(self.basis, self.R, self.scale, self.at[0], self.work, self.zero)
            self.dropped = 0

    def extrapolated(self, x: Vector, f: Vector, norm: float, beta: float | str, out: Vector) -> tuple[Vector, float]:
        """The same for the f that was appended last."""
        adaptive = isinstance(beta, str)
        arrays = (self.basis, self.values, self.R, self.scale)
        mixed = 1.0 if isinstance(beta, str) else float(beta)
        rest = self.kernels.extrapolate(*arrays, self.at, x, f, norm, mixed, adaptive, out, self.work)
        return out, rest


def history_on(backend: Backend, n: int, dtype: Any, depth: int, kind: str = "II", **parameters: Any) -> History:
    """The history that is the fastest on this backend; the parameters are those of ``History``."""
    if backend.compiles_solves and kind == "II" and not parameters.get("regularisation"):
        return CompiledHistory(backend, n, dtype, depth, **parameters)
    return History(backend, n, dtype, depth, kind, **parameters)


def gained(rest: Any) -> Any:
    """The mixing of Evans, Pollock, Rebholz and Xiao for the square of the gain, or for several."""
    return 0.9 - 0.5 * np.sqrt(np.maximum(rest, 0.0))


def back_substituted(R: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The gamma with R gamma = c, R upper triangular."""
    gamma = c.astype(R.dtype)
    for i in range(len(c) - 1, -1, -1):
        gamma[i] = (gamma[i] - R[i, i + 1 :] @ gamma[i + 1 :]) / R[i, i]
    return gamma
