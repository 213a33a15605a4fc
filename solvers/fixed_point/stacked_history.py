"""The last steps of each member of a stack, orthogonalised: Anderson acceleration of many iterations side by side.

As in ``History``, for type II, by operations on whole arrays of any library. What a member comes
to does not depend on the others: arrays have the same shapes whatever these do, and where they do something else it is
by masks.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from ...backends import Backend
from .history import REORTHOGONALISED, gained

__all__ = ["StackedHistory"]


class StackedHistory:
    """At most ``depth`` differences of residuals and of values of each member.

    Parameters
    ----------
    backend : Backend
    like : array, (members, n)
        A stack of vectors.
    depth : int
    unit_roundoff : float
    regularisation : float
        The square of ||R||_F gamma, times this, is minimised along.

    Attributes
    ----------
    size, first : ndarray of int, (members,)
        Columns held, and the row of ``dG`` that belongs to the oldest one; as in ``CompiledHistory``.
    Q, dG : array, (members, room, n)
        Row j of Q is a vector of the orthonormal basis, zero from ``size`` on.
    R : array, (members, room, room)
    """

    def __init__(
        self, backend: Backend, like: Any, depth: int, unit_roundoff: float, regularisation: float = 0.0
    ) -> None:
        self.backend, self.depth, self.regularisation = backend, depth, regularisation
        self.dependent = 16 * (depth + 1) * unit_roundoff
        self.dtype = backend.numpy_dtype(like)
        self.real = np.empty(0, self.dtype).real.dtype
        self.wide = np.result_type(self.dtype, np.float64)
        self.xp = array_namespace(like)
        count = like.shape[0]
        self.size, self.first, self.dropped = np.zeros((3, count), int)
        self.Q, self.dG = (self.xp.zeros_like(like)[:, None, :] for _ in range(2))
        self.R = backend.copy(self.xp.zeros_like(like[:, :1]), self.wide)[:, None, :]
        self.used = 0  # rows that may have been written to, in any member

    @property
    def room(self) -> int:
        """Rows that there are."""
        return int(self.Q.shape[1])

    def clear(self, which: np.ndarray) -> None:
        """Forget all of these members."""
        self.size[which] = self.first[which] = self.dropped[which] = 0
        held = self._held()
        self.Q = self.xp.where(held, self.Q, self.xp.zeros_like(self.Q))
        self.R = self.xp.where(held, self.R, self.xp.zeros_like(self.R))

    def append(self, which: np.ndarray, x: Any, previous_x: Any, f: Any, previous_f: Any, limit: np.ndarray) -> None:
        """Take in the last step of these members; old ones go where depth, rank or ``limit``, of the condition, ask it.

        A step that changed no residual tells nothing: nothing is left of that member then.
        """
        self._make_room()
        self._drop_oldest(which & (self.size == self.depth))
        df = f - previous_f
        dg = (x - previous_x) + df
        length = self._norms(df)
        pending = which.copy()
        while pending.any():
            v, h = self._orthogonal(df)
            rest = self._norms(v)
            good = rest > self.dependent * length
            self._add(pending & good, v, h, rest, dg)
            pending &= ~good & (self.size > 0)
            self._drop_oldest(pending)
        tight = which & (limit < np.inf)
        while (tight := tight & (self.size > 1)).any():
            tight &= self._condition(tight) > limit
            self._drop_oldest(tight)
        worn = self.dropped >= REORTHOGONALISED
        if worn.any():
            self._reorthogonalise(worn)

    def extrapolated(self, x: Any, f: Any, norm: np.ndarray, beta: np.ndarray) -> tuple[Any, np.ndarray]:
        """x + beta f - (dX + beta dF) gamma of each member, and the part of f, squared, that f - dF gamma is.

        Where beta is NaN it is that of "adaptive".
        """
        c = self._dots(f)
        gamma = self._regularised(c) if self.regularisation else self._solved(c)
        if self.regularisation:
            c = self.backend.copy(self.xp.matmul(self.R, gamma[..., None])[..., 0], self.dtype)
        sizes = np.abs(self.backend.to_numpy(c)) ** 2
        with np.errstate(all="ignore"):
            rest = np.where(norm > 0, 1.0 - sizes.sum(axis=-1, dtype=float) / (norm * norm), 0.0)
        mixed = np.where(np.isnan(beta), gained(rest), beta)
        factor = self.backend.from_numpy(mixed[:, None], self.real)
        out = x + factor * f - self._combined(self._in_rows(gamma), self.dG)
        if np.any(mixed != 1):
            out = out + (1 - factor) * self._combined(c, self.Q)
        return out, rest

    # Pieces.

    def _mask(self, which: np.ndarray) -> Any:
        """Booleans on the host as those of the arrays' library."""
        return self.backend.from_numpy(which.astype(float), np.dtype(np.float64)) > 0

    def _norms(self, x: Any) -> np.ndarray:
        return np.asarray(self.backend.to_numpy(self.backend.norms_each(x)), float)[..., 0]

    def _conj(self, x: Any) -> Any:
        return self.xp.conj(x) if self.dtype.kind == "c" else x

    def _dots(self, v: Any) -> Any:
        """Q^H v of each member, (members, room)."""
        return self._conj(self.xp.matmul(self.Q, self._conj(v)[..., None])[..., 0])

    def _combined(self, coefficients: Any, vectors: Any) -> Any:
        return self.xp.matmul(coefficients[:, None, :], vectors)[:, 0, :]

    def _orthogonal(self, v: Any) -> tuple[Any, Any]:
        """v without its part in the span of Q, and the coefficients of that; by two passes of Gram-Schmidt."""
        h = self._dots(v)
        v = v - self._combined(h, self.Q)
        again = self._dots(v)
        return v - self._combined(again, self.Q), h + again

    def _make_room(self) -> None:
        """For one more row: as many as there were appends, whatever the members came to."""
        self.used = min(self.used + 1, self.depth)
        if self.used <= self.room:
            return
        more = min(self.room, self.depth - self.room)
        empty = self.xp.zeros_like(self.Q[:, :more, :])
        self.Q, self.dG = (self.xp.concat((rows, empty), axis=1) for rows in (self.Q, self.dG))
        below = self.xp.zeros_like(self.R[:, :more, :])
        R = self.xp.concat((self.R, below), axis=1)
        self.R = self.xp.concat((R, self.xp.zeros_like(R[:, :, :more])), axis=2)

    def _add(self, which: np.ndarray, v: Any, h: Any, rest: np.ndarray, dg: Any) -> None:
        """A column of these members, whose norm orthogonal to the others is ``rest``."""
        if not which.any():
            return
        xp, backend = self.xp, self.backend
        slot = (self.first + self.size) % self.depth
        length = backend.from_numpy(np.where(which, rest, 1.0)[:, None], self.real)
        self.Q = backend.put_each(self.Q, np.where(which, self.size, -1), v / length)
        self.dG = backend.put_each(self.dG, np.where(which, slot, -1), dg)
        place = which[:, None] & (np.arange(self.room) == self.size[:, None])
        at = self._mask(place)
        corner = self.backend.from_numpy(np.where(place, rest[:, None], 0.0), self.wide)
        column = self.backend.copy(h, self.wide) + corner
        self.R = xp.where(at[:, None, :], column[:, :, None], self.R)
        self.size += which

    def _drop_oldest(self, which: np.ndarray) -> None:
        """The oldest column of these members: R without its first one is made triangular again by rotations."""
        if not which.any():
            return
        xp, room = self.xp, self.room
        dropping = self._mask(which)
        shifted = xp.concat((self.R[:, :, 1:], xp.zeros_like(self.R[:, :, :1])), axis=2)
        H = xp.where(dropping[:, None, None], shifted, self.R)
        W = xp.zeros_like(H) + self.backend.from_numpy(np.eye(room), self.wide)
        both = xp.concat((H, W), axis=2)
        rows = [both[:, i, :] for i in range(room)]
        for i in range(room - 1):
            a, b = rows[i][:, i], rows[i + 1][:, i]
            r = xp.sqrt(xp.abs(a) ** 2 + xp.abs(b) ** 2)
            turned = dropping & (r > 0)
            r = xp.where(turned, r, xp.ones_like(r))
            c = xp.where(turned, a / r, xp.ones_like(a))[:, None]
            s = xp.where(turned, b / r, xp.zeros_like(b))[:, None]
            upper, lower = rows[i], rows[i + 1]
            rows[i], rows[i + 1] = self._conj(c) * upper + self._conj(s) * lower, c * lower - s * upper
        both = xp.stack(rows, axis=1)
        self.size -= which
        self.first = np.where(which, (self.first + 1) % self.depth, self.first)
        self.dropped += which
        both = xp.where(self._held(), both, xp.zeros_like(both))
        self.R, W = xp.triu(both[:, :, :room]), both[:, :, room:]
        self.Q = xp.matmul(self.backend.copy(self._conj(W), self.dtype), self.Q)

    def _held(self) -> Any:
        """Which rows have columns that are held, (members, room, 1)."""
        return self._mask(np.arange(self.room) < self.size[:, None])[:, :, None]

    def _solved(self, c: Any) -> Any:
        """The gamma with R gamma = c, (members, room); zero beyond the columns that are held."""
        xp = self.xp
        c = self.backend.copy(c, self.wide)
        found: list[Any] = [None] * self.room
        for i in range(self.room - 1, -1, -1):
            diagonal = self.R[:, i, i]
            found[i] = c[:, i] / xp.where(diagonal != 0, diagonal, xp.ones_like(diagonal))
            c = c - self.R[:, :, i] * found[i][:, None]
        return xp.stack(found, axis=1)

    def _regularised(self, c: Any) -> Any:
        """The gamma that makes ||R gamma - c||^2 + regularisation ||R||_F^2 ||gamma||^2 the smallest."""
        xp, backend, room = self.xp, self.backend, self.room
        size = np.sqrt(np.asarray(backend.to_numpy(xp.sum(xp.abs(self.R) ** 2, axis=(1, 2))), float))
        held = np.arange(room) < self.size[:, None]
        ridge = np.where(held, math.sqrt(self.regularisation) * size[:, None], 1.0)
        below = backend.from_numpy(ridge[:, :, None] * np.eye(room), self.wide)
        Q, R = xp.linalg.qr(xp.concat((self.R, below), axis=1))
        rhs = xp.matmul(self._conj(xp.matrix_transpose(Q[:, :room, :])), backend.copy(c, self.wide)[..., None])
        return xp.linalg.solve(R, rhs)[..., 0]

    def _condition(self, which: np.ndarray) -> np.ndarray:
        """||R||_F ||R^-1||_F of these members, nothing of the others."""
        xp, backend = self.xp, self.backend
        held = (np.arange(self.room) < self.size[which][:, None]).astype(float)[:, :, None]
        R = self.R[self._mask(which)]
        inverse = xp.linalg.inv(R + backend.from_numpy((1 - held) * np.eye(self.room), self.wide))
        parts = (R, inverse * backend.from_numpy(held, self.wide))
        squares = [np.asarray(backend.to_numpy(xp.sum(xp.abs(M) ** 2, axis=(1, 2))), float) for M in parts]
        condition = np.zeros(which.size)
        condition[which] = np.sqrt(squares[0] * squares[1])
        return condition

    def _in_rows(self, gamma: Any) -> Any:
        """gamma in the order of the rows of dG."""
        values = np.asarray(self.backend.to_numpy(gamma))
        column = (np.arange(self.room) - self.first[:, None]) % self.depth
        inside = column < self.size[:, None]
        found = np.take_along_axis(values, np.where(inside, column, 0), axis=1)
        return self.backend.from_numpy(np.where(inside, found, 0), self.dtype)

    def _reorthogonalise(self, which: np.ndarray) -> None:
        """Q T in place of Q, T R in place of R, where Q T is orthonormal to rounding."""
        xp, held, R = self.xp, self.Q, self.R
        self.Q = xp.zeros_like(held)
        columns = []
        for k in range(self.room):
            v, h = self._orthogonal(held[:, k, :])
            rest = self._norms(v)
            length = self.backend.from_numpy(np.where(rest > 0, rest, 1.0)[:, None], self.real)
            at = np.broadcast_to(np.arange(self.room) == k, (len(rest), self.room))
            self.Q = xp.where(self._mask(at)[:, :, None], (v / length)[:, None, :], self.Q)
            corner = self.backend.from_numpy(np.where(at, rest[:, None], 0.0), self.wide)
            columns.append(self.backend.copy(h, self.wide) + corner)
        T, worn = xp.stack(columns, axis=2), self._mask(which)[:, None, None]
        self.Q, self.R = xp.where(worn, self.Q, held), xp.where(worn, xp.matmul(T, R), R)
        self.dropped[which] = 0
