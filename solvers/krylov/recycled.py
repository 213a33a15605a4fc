"""What the methods share that recycle: a space kept from one system to the next, and the vectors that it is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...backends import Backend
from ...backends.block import Block
from ...errors import InputError
from ..driver.problem import Vector
from ..linear.system import LinearSystem

__all__ = [
    "Images",
    "Recycled",
    "check_recycle",
    "combined",
    "harmonic",
    "images",
    "said_of_space",
    "unit_vectors",
    "window_length",
]


class Recycled:
    """The space that is carried from one system to the next.

    What a solve finds is taken over when the caller says so: one that ends badly leaves things as they were.

    Attributes
    ----------
    vectors : list of vectors
        In the order of their use: the first few span the best space of so many.
    found : list of vectors or None
        Those of the latest solve.
    """

    def __init__(self) -> None:
        self.vectors: list[Vector] = []
        self.found: list[Vector] | None = None

    def recall(self, system: LinearSystem, most: int) -> list[Vector]:
        """Those that fit the system, in its precision; at most so many."""
        backend, library = system.backend, type(system.rhs)
        if library is not np.ndarray:  # as it may be after loading
            self.vectors = [backend.from_numpy(x, x.dtype) if type(x) is np.ndarray else x for x in self.vectors]
        real = system.dtype.kind != "c"
        fitting = [
            x
            for x in self.vectors
            if x.shape[0] == system.local and type(x) is library and not (real and backend.numpy_dtype(x).kind == "c")
        ]
        return [backend.copy(x, system.dtype) for x in fitting[: max(0, most)]]

    def advance(self) -> None:
        """Take over what the latest solve has found, if it has found anything."""
        self.vectors, self.found = self.found or self.vectors, None


class Images(NamedTuple):
    """A space and what A makes of it.

    Attributes
    ----------
    U, C : Block
        C = A U (A M U with a preconditioner from the right), with C^H D = 1.
    D : Block
        M C where orthogonality is that of M; C itself elsewhere.
    """

    U: Block
    C: Block
    D: Block


def images(
    system: LinearSystem,
    vectors: Sequence[Vector],
    product: Callable[[Vector, Vector], Vector],
    weight: Callable[[Vector, Vector], Vector] | None = None,
) -> Images | None:
    """The images of some vectors, made orthonormal: a product each; without those that depend on the others.

    Parameters
    ----------
    system : LinearSystem
    vectors : sequence of vectors
    product : callable
        ``product(u, out)`` is the image of u.
    weight : callable, optional
        ``weight(c, out)`` is M c, where orthogonality is that of M.

    Returns
    -------
    Images, or None where no vector is left, or an image is not finite.

    Notes
    -----
    Twice by the Cholesky factor of the Gram matrix, in place of which its eigenvectors are taken: they show dependence
    (Stathopoulos & Wu 2002, "A block orthogonalization procedure with constant synchronization requirements").
    """
    backend, k = system.backend, len(vectors)
    if not k:
        return None
    U, C = (backend.basis(k, system.local, system.dtype) for _ in range(2))
    D = C if weight is None else backend.basis(k, system.local, system.dtype)
    z = None if weight is None else system.vector()
    for j, vector in enumerate(vectors):
        U[j] = backend.assign(vector, U[j])
        C[j] = backend.assign(product(U[j], C[j]), C[j])
        if weight is not None:
            z = weight(C[j], z)
            D[j] = backend.assign(z, D[j])
    for _ in range(2):
        T = _orthonormalising(backend.block_dots(C, D), system.unit_roundoff)
        if T is None:
            return None
        U, C = combined(system, U, T), combined(system, C, T)
        D = C if weight is None else combined(system, D, T)
    return Images(U, C, D)


def combined(system: LinearSystem, V: Block, Y: np.ndarray) -> Block:
    """V Y, a new block."""
    return system.backend.block_combine(V, Y, system.backend.basis(Y.shape[1], system.local, system.dtype))


def _orthonormalising(gram: np.ndarray, unit_roundoff: float) -> np.ndarray | None:
    """T with T^H gram T = 1, of as many columns as there are independent vectors; None where there are none."""
    if not np.isfinite(gram).all():
        return None
    squares = np.diag(gram).real
    used = np.flatnonzero(squares > 0)
    if not used.size:
        return None
    scale = 1 / np.sqrt(squares[used])
    values, vectors = np.linalg.eigh(scale[:, None] * gram[np.ix_(used, used)] * scale)
    independent = values > math.sqrt(unit_roundoff) * used.size
    T = np.zeros((len(squares), int(independent.sum())), vectors.dtype)
    T[used] = scale[:, None] * vectors[:, independent] / np.sqrt(values[independent])
    return T if T.shape[1] else None


def harmonic(
    G: np.ndarray,
    overlap: np.ndarray,
    most: int,
    unit_roundoff: float,
    gram: np.ndarray | None = None,
    without_last: bool = False,
) -> np.ndarray | None:
    r"""The combinations of vectors S that are harmonic Ritz vectors, of values near zero.

    Parameters
    ----------
    G : ndarray of shape (l + 1, l) or the like
        A S = F G.
    overlap : ndarray of shape (l + 1, l)
        F^H S.
    most : int
        Vectors wanted.
    unit_roundoff : float
    gram : ndarray, optional
        F^H F (F^H M F); by default F is orthonormal.
    without_last : bool
        Besides, those of S without its last vector: as many again.

    Returns
    -------
    ndarray of shape (l, k), or None
        P with A S P = F G P orthonormal; the first columns belong to the values nearest to zero. Of a pair of complex
        values of a real matrix both are taken, or none.

    Notes
    -----
    (A S)^H (A S) y = theta (A S)^H S y (Morgan 1995), in the form G^+ F^H S y = theta^-1 y, which squares no condition.
    """
    if gram is not None:
        try:
            L = np.linalg.cholesky(gram)
        except np.linalg.LinAlgError:
            return None
        G, overlap = L.conj().T @ G, np.linalg.solve(L, overlap)
    if not (G.size and np.isfinite(G).all() and np.isfinite(overlap).all()):
        return None
    Z = _nearest_to_zero(G, overlap, most)
    if without_last and G.shape[1] > 1:
        before = _nearest_to_zero(G[:, :-1], overlap[:, :-1], most)
        Z = np.hstack((Z, np.vstack((before, np.zeros((1, before.shape[1]))))))
    _, R = np.linalg.qr(G @ Z)
    pivots = abs(np.diag(R))
    independent = np.flatnonzero(pivots > math.sqrt(unit_roundoff) * np.linalg.norm(R[:, : len(pivots)], axis=0))
    if not (independent.size and np.isfinite(R).all()):
        return None
    Z = Z[:, independent]
    _, R = np.linalg.qr(G @ Z)
    return np.linalg.solve(R.T, Z.T).T


def _nearest_to_zero(G: np.ndarray, overlap: np.ndarray, most: int) -> np.ndarray:
    """Coefficients of the harmonic Ritz vectors, (l, k); those of a complex pair are its real and imaginary parts."""
    inverses, Y = np.linalg.eig(np.linalg.lstsq(G, overlap, rcond=None)[0])
    chosen: list[np.ndarray] = []
    for i in np.argsort(-abs(inverses), kind="stable"):
        y = Y[:, i]
        if np.iscomplexobj(G):
            taken = [y]
        elif inverses[i].imag == 0:
            taken = [y.real]
        else:
            taken = [y.real, y.imag] if inverses[i].imag > 0 else []
        if len(chosen) + len(taken) <= most:
            chosen += taken
    return np.stack(chosen, axis=1) if chosen else np.zeros((G.shape[1], 0))


def unit_vectors(backend: Backend, V: Block) -> list[Vector]:
    """Copies of the vectors, of length one; those that are not finite, or zero, are left out."""
    lengths = [backend.norm(v) for v in V]
    return [
        backend.axpby(0.0, v, 1 / length, backend.copy(v))
        for v, length in zip(V, lengths, strict=True)
        if 0 < length < math.inf
    ]


def check_recycle(recycle: Any, most: int | None = None) -> None:
    """Refuse a number of vectors that is none, or more than there is room for."""
    if not isinstance(recycle, (int, np.integer)) or isinstance(recycle, bool):
        raise TypeError(f"recycle: found {recycle!r}; wanted an integer")
    if recycle < 0:
        raise InputError(f"recycle: found {recycle}; wanted at least 0")
    if most is not None and recycle >= most:
        raise InputError(f"recycle: found {recycle}; wanted less than restart, which is {most}")


def said_of_space(recalled: int, left: bool) -> str:
    """What reports say of the vectors that were kept."""
    if not recalled:
        return ""
    said = (
        f"{recalled} vectors of the systems before were used" if recalled > 1 else "A vector of those before was used"
    )
    return f"{said}, and left where they were of no use." if left else f"{said}."


def window_length(recycle: int) -> int:
    """Lanczos vectors of which, with those kept, the next ones to be kept are made."""
    return 4 * recycle + 20
