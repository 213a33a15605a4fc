"""Consecutive Lanczos vectors, of which harmonic Ritz vectors are made together with a space that there is already."""

from __future__ import annotations

import numpy as np

from ...backends.block import Block
from ..driver.problem import Vector
from ..linear.system import LinearSystem
from .recycled import Images, combined, harmonic

__all__ = ["LanczosWindow"]


class LanczosWindow:
    """The Lanczos process A Z = V T + C B, watched through a window of some vectors.

    V and Z = M V are orthonormal, V^H Z = 1; C = A U, C^H M C = 1, is taken out of the process where it is deflated.
    Harmonic Ritz vectors are made of [U Z], whose images are [C V] [1 B; 0 T]. Where the window moves on, those without
    the last vector are kept besides: together they stand for what is left behind (Stathopoulos & Orginos 2010,
    "Computing and deflating eigenvalues while solving multiple right-hand side linear systems in quantum
    chromodynamics").

    Parameters
    ----------
    system : LinearSystem
    length : int
        Columns of the window.
    most : int
        Vectors wanted.
    space : Images, optional
        That is deflated. Without one the window moves on, and each time [U Z] gives the next U; with one it is looked
        through once.

    Attributes
    ----------
    U : Block or None
        The harmonic Ritz vectors so far.
    full : bool
        Nothing more is wanted.
    """

    def __init__(self, system: LinearSystem, length: int, most: int, space: Images | None = None) -> None:
        backend, self.system = system.backend, system
        length = self.length = min(length, system.n)
        self.most = max(1, min(most, system.n - 1))
        self.U: Block | None = None if space is None else space.U
        self.C: Block | None = None if space is None else space.C
        self.moves, self.full = space is None, False
        self.V = backend.basis(length + 2, system.local, system.dtype)
        self.Z = self.V if system.preconditioner is None else backend.basis(length + 2, system.local, system.dtype)
        self.lead = self.count = 0  # vectors before the first column, vectors in all
        self.before = 0.0  # what couples the first column to the vector before it
        self.diagonal: list[float] = []
        self.off: list[float] = []
        self.B: list[np.ndarray] = []

    def vector(self, v: Vector, z: Vector, scale: float) -> None:
        """The next Lanczos vectors, of length one where multiplied by scale."""
        if len(self.diagonal) == self.length:
            self._put(v, z, scale)
            self.full = not self.moves
            self.reduce(goes_on=self.moves)
            if self.moves:
                self._move()
        else:
            self._put(v, z, scale)

    def column(self, delta: float, off: float, b: np.ndarray | None = None) -> None:
        """The column of T that the latest vector has, and that of B."""
        self.diagonal.append(delta)
        self.off.append(off)
        if b is not None:
            self.B.append(b)

    def close(self, v: Vector, z: Vector, scale: float) -> None:
        """The end of the process: of what there is, with the vector after the last column; nothing more is taken."""
        if not self.full and self.diagonal:
            if scale and self.count == self.lead + len(self.diagonal):  # it is not there from a step that failed
                self._put(v, z, scale)
            self.reduce(goes_on=False)
        self.full = True

    def _put(self, v: Vector, z: Vector, scale: float) -> None:
        backend, at = self.system.backend, self.count
        for block, vector in ((self.V, v), (self.Z, z))[: 1 if self.Z is self.V else 2]:
            block[at] = backend.assign(vector, block[at])
            block[at] = backend.axpby(0.0, block[at], scale, block[at])
        self.count += 1

    def _move(self) -> None:
        """The last two vectors are the first two of the next window."""
        backend, count = self.system.backend, self.count
        for block in (self.V, self.Z)[: 1 if self.Z is self.V else 2]:
            for to, at in enumerate((count - 2, count - 1)):
                block[to] = backend.assign(block[at], block[to])
        self.lead, self.count, self.before = 1, 2, self.off[-1]
        self.diagonal, self.off, self.B = [], [], []

    def reduce(self, goes_on: bool) -> None:
        """Harmonic Ritz vectors of [U Z], which become U."""
        system, backend, lead, c = self.system, self.system.backend, self.lead, len(self.diagonal)
        V, Z = self.V[: self.count], self.Z[: self.count]
        k = 0 if self.U is None else len(self.U)
        T = np.zeros((lead + c + 1, c))
        for i, (above, here, below) in enumerate(zip([self.before, *self.off], self.diagonal, self.off, strict=False)):
            T[lead + i, i], T[lead + i + 1, i] = here, below
            if lead + i:
                T[lead + i - 1, i] = above
        T = T[: self.count]
        G = np.zeros((k + len(T), k + c), np.complex128 if system.dtype.kind == "c" else np.float64)
        overlap, gram = np.zeros_like(G), np.eye(k + len(T), dtype=G.dtype)
        G[:k, :k], G[k:, k:] = np.eye(k), T
        overlap[k:, k:] = np.eye(len(T), c, -lead)
        if self.U is not None and self.C is not None:
            if self.B:
                G[:k, k:] = np.stack(self.B, axis=1)
            across = backend.block_dots(self.C, Z)
            gram[:k, k:], gram[k:, :k] = across, across.conj().T
            overlap[:k, :k], overlap[:k, k:] = backend.block_dots(self.C, self.U), across[:, lead : lead + c]
            overlap[k:, :k] = backend.block_dots(V, self.U)
        P = harmonic(G, overlap, self.most, system.unit_roundoff, gram, without_last=goes_on)
        if P is None:
            return
        image = G @ P
        U, C = self.U, self.C
        self.U = combined(system, Z[lead : lead + c], P[k:])
        if U is not None:
            self.U = backend.block_add(U, P[:k], self.U)
        if goes_on:
            self.C = _sum(system, C, image[:k], V, image[k:])


def _sum(system: LinearSystem, C: Block | None, X: np.ndarray, V: Block, Y: np.ndarray) -> Block:
    """C X + V Y, a new block."""
    found = combined(system, V, Y)
    return found if C is None else system.backend.block_add(C, X, found)
