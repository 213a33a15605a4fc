"""GMRES with a space kept from one system to the next: GCRO with deflated restarting."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ...backends.block import Block
from ..driver.method import Cost, State, Traffic
from ..driver.problem import Vector
from ..driver.status import Ending, Status
from ..linear.method import LinearMethod
from ..linear.system import LinearSystem
from .arnoldi import HessenbergProblem
from .gmres import GMRES, stands_still
from .recycled import Recycled, check_recycle, combined, harmonic, images, said_of_space, unit_vectors

__all__ = ["GCRODR"]


@dataclass(kw_only=True)
class GCRODRState(State):
    """The iterate x at which the basis was begun, the space U, the basis W of its images and the Krylov space.

    Attributes
    ----------
    U : Block or None
        Of k vectors, with A M U = C orthonormal.
    W : Block
        Orthonormal: the vectors of C, then V, which begins along the residual of x without its part in C.
    B : ndarray
        C^H A M V.
    within : ndarray of shape (k,)
        C^H r of the residual r of x.
    z : vector or None
        What M made of the last vector.
    problem : HessenbergProblem
        That of V.
    formed, formed_at :
        Room for the current iterate, and the columns that it was formed of; -1 where it was not.
    began : float
        The residual norm of x, without the part in C.
    begun, ended : bool
        The space has been recalled; the Krylov space cannot be enlarged.
    recalled : int
        Vectors of the systems before that were used.
    deflating : bool
        The space is of use, as far as is known.
    cycles : int
        Bases begun, the first one apart.
    """

    U: Block | None = None
    W: Block
    B: np.ndarray
    within: np.ndarray
    z: Vector
    problem: HessenbergProblem
    formed: Vector
    formed_at: int = -1
    began: float
    begun: bool = False
    ended: bool = False
    recalled: int = 0
    deflating: bool = True
    cycles: int = 0

    @property
    def k(self) -> int:
        """Vectors of U."""
        return 0 if self.U is None else len(self.U)


@dataclass(frozen=True)
class GCRODR(LinearMethod[GCRODRState]):
    """GCRO-DR(m, k): of m vectors of a basis, k are harmonic Ritz vectors, kept by the next basis and the next system.

    ``restart`` is m, ``recycle`` k; ``kept`` are the vectors of the systems before. Preconditioned from the right.
    """

    restart: int = 30
    recycle: int = 10
    kept: Recycled = field(default_factory=Recycled, compare=False)

    name: ClassVar[str] = "gmres"
    title: ClassVar[str] = "GCRO-DR"
    purpose: ClassVar[str] = "sequences of nonsymmetric A"
    traffic: ClassVar[Traffic] = Traffic(vectors=54, passes=65, reductions=3, matvecs=1, compiled_passes=61)
    monotone: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_recycle(self.recycle, GMRES(self.restart).restart)

    def vectors_memory(self, system: LinearSystem) -> float:
        return (min(self.restart, system.n) + 3.0 * self.recycle + 4.0) * system.local * system.dtype.itemsize

    def start(self, system: LinearSystem) -> GCRODRState:
        x, r, norm = system.initial()
        backend, m = system.backend, min(self.restart, system.n)
        return GCRODRState(
            x=x,
            work=r,
            residual_norm=norm,
            W=backend.basis(m + 1, system.local, system.dtype),
            B=np.zeros((0, m)),
            within=np.zeros(0),
            z=None if system.preconditioner is None else system.vector(),
            problem=HessenbergProblem(m, system.dtype, norm, system.unit_roundoff),
            formed=system.unset(),
            began=norm,
        )

    def renew(self, system: LinearSystem, state: GCRODRState) -> None:
        self._take(system, state)
        self._begin(system, state)

    def step(self, system: LinearSystem, state: GCRODRState) -> None:
        s, W = state, state.W
        if not s.begun:
            self._recall(system, s)
        elif s.ended or s.k + len(s.problem) == len(W) - 1:
            self._next_basis(system, s)
        if not s.residual_norm:
            return  # the space has the solution
        at = s.k + len(s.problem)
        z = s.z = system.precondition(W[at], s.z)
        W[at + 1] = system.matvec(z, W[at + 1])
        h, rest = system.backend.orthogonalise(W, at + 1, system.unit_roundoff)
        s.B[:, len(s.problem)] = h[: s.k]
        s.ended = s.problem.append(h[s.k :], rest) or rest == 0
        if not s.ended:
            W[at + 1] = system.backend.axpby(0.0, W[at + 1], 1.0 / rest, W[at + 1])
        s.residual_norm = s.problem.residuals[-1]

    def iterate(self, system: LinearSystem, state: GCRODRState) -> Vector:
        """x + M (V y + U (C^H r - B y))."""
        s, backend, j = state, system.backend, len(state.problem)
        if s.formed_at == j:
            return s.formed
        y = s.problem.solution()
        parts = [(s.W[s.k : s.k + y.size], y)] if y.size else []
        if s.U is not None:
            parts.append((s.U, s.within - s.B[:, : y.size] @ y))
        if not parts:
            return s.x
        s.formed = backend.assign(s.x, s.formed)
        if system.preconditioner is None:
            for block, coefficients in parts:
                s.formed = backend.add_block(block, coefficients, s.formed)
        else:
            s.work = backend.combine(*parts[0], s.work)
            for block, coefficients in parts[1:]:
                s.work = backend.add_block(block, coefficients, s.work)
            s.z = system.precondition(s.work, s.z)
            s.formed = backend.axpy(1.0, s.z, s.formed)
        s.formed_at = j
        return s.formed

    def _recall(self, system: LinearSystem, state: GCRODRState) -> None:
        """U of the systems before, and C = A M U of this A."""
        s, m = state, len(state.W) - 1
        vectors = self.kept.recall(system, min(self.recycle, m - 1))
        found = images(system, vectors, lambda u, out: system.matvec(system.precondition(u, s.z), out))
        if found is not None:
            self._use(system, s, found.U, found.C)
        s.begun, s.recalled = True, s.k
        self._begin(system, s)

    def _use(self, system: LinearSystem, state: GCRODRState, U: Block, C: Block) -> None:
        state.U = U
        for j, c in enumerate(C):
            state.W[j] = system.backend.assign(c, state.W[j])

    def _begin(self, system: LinearSystem, state: GCRODRState) -> None:
        """A new basis, along the residual in ``work`` without its part in C."""
        s, backend, k, m = state, system.backend, state.k, len(state.W) - 1
        s.W[k] = backend.assign(s.work, s.W[k])
        if k:
            s.within, norm = backend.orthogonalise(s.W, k, system.unit_roundoff)
        else:
            s.within, norm = np.zeros(0), backend.norm(s.work)
        if norm > 0:
            s.W[k] = backend.axpby(0.0, s.W[k], 1.0 / norm, s.W[k])
        s.problem = HessenbergProblem(m - k, system.dtype, norm, system.unit_roundoff)
        s.B = np.zeros((k, m - k), s.problem.H.dtype)
        s.residual_norm = s.began = norm
        s.formed_at, s.ended = -1, False

    def _take(self, system: LinearSystem, state: GCRODRState) -> None:
        """The current iterate becomes x, and the basis gives the next space."""
        s = state
        if self.iterate(system, s) is not s.x:
            s.x, s.formed = s.formed, s.x
        s.formed_at = -1
        found = self._harmonic(system, s) if s.deflating else None
        if found is not None:
            P, image = found
            self._use(system, s, self._combinations(system, s, P), combined(system, s.W[: len(image)], image))
        s.cycles += 1

    def _next_basis(self, system: LinearSystem, state: GCRODRState) -> None:
        """Begin anew from the true residual; where the space was of no use, without it, as GMRES does."""
        s = state
        s.work, norm = system.certify(self.iterate(system, s), s.work)
        if not norm < (1 - math.sqrt(system.unit_roundoff)) * s.began:
            if not s.deflating or not s.k:
                raise stands_still(system, s.x, len(s.problem), s.ended, norm)
            s.deflating = False
        self._take(system, s)
        if not s.deflating:
            s.U = None
        self._begin(system, s)

    def _harmonic(self, system: LinearSystem, state: GCRODRState) -> tuple[np.ndarray, np.ndarray] | None:
        """P and G P: [U V] P are harmonic Ritz vectors, and their images W G P. A M [U V] = W G, G = [1 B; 0 H]."""
        s, k, j = state, state.k, len(state.problem)
        if j == 0:
            return None
        G = np.zeros((k + j + 1, k + j), s.problem.H.dtype)
        G[:k, :k], G[:k, k:], G[k:, k:] = np.eye(k), s.B[:, :j], s.problem.matrix
        if s.ended:  # the last vector of W is none
            G = G[:-1]
        overlap = np.eye(*G.shape, dtype=G.dtype)
        if s.U is not None:
            overlap[:, :k] = system.backend.block_dots(s.W[: len(G)], s.U)
        P = harmonic(G, overlap, min(self.recycle, len(s.W) - 2), system.unit_roundoff)
        return None if P is None else (P, G @ P)

    def _combinations(self, system: LinearSystem, state: GCRODRState, P: np.ndarray) -> Block:
        """[U V] P."""
        s, k, j = state, state.k, len(state.problem)
        U = combined(system, s.W[k : k + j], P[k:])
        return U if s.U is None else system.backend.block_add(s.U, P[:k], U)

    def conclude(self, system: LinearSystem, state: GCRODRState, ending: Ending) -> tuple[Ending, Mapping[str, Any]]:
        """Of a system that was solved, what the next one may use."""
        s = state
        if ending.status is Status.CONVERGED and s.begun and s.deflating:
            found = self._harmonic(system, s)
            U = s.U if found is None else self._combinations(system, s, found[0])
            self.kept.found = None if U is None else unit_vectors(system.backend, U)
        return ending, {}

    def applications(self, iterations: int) -> int:
        return iterations + min(len(self.kept.vectors), self.recycle)

    def cost(self, iterations: int) -> Cost:
        """That of GMRES whose bases begin with the k vectors that were kept, and of what these are made of."""
        k, m = min(len(self.kept.vectors), self.recycle), self.restart
        plain = GMRES(m)
        full, own = plain.cost(m), plain.cost(k)
        cycles, rest = divmod(iterations, m - k)
        cycle = [getattr(full, name) - getattr(own, name) for name in ("passes", "reductions", "compiled_passes")]
        part = plain.cost(min(rest + k, m))
        last = [getattr(part, name) - getattr(own, name) for name in ("passes", "reductions", "compiled_passes")]
        passes, reductions, compiled = (cycles * a + b for a, b in zip(cycle, last, strict=True))
        made = (cycles + 1) * (3 * (m + 1) + 4 * self.recycle) + 12 * k
        return Cost(passes + made, reductions + 2 * cycles + 2, iterations, compiled + made)

    def describe(self, state: GCRODRState) -> str:
        return said_of_space(state.recalled, not state.deflating)
