"""Orthonormal bases of blocks of vectors, which find out what depends on the others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["Factors", "factors", "orthonormalised"]


class Factors:
    """Of a block T with the Gram matrix G = T^H M T: C, so that the vectors of T C are orthonormal in that product.

    Attributes
    ----------
    C : ndarray of shape (k, r)
    R : ndarray of shape (r, k)
        T = (T C) R, but for what was dropped.
    sure : bool
        T C is orthonormal to working precision; otherwise it is far better conditioned than T, and is to be
        orthonormalised again.
    """

    def __init__(self, C: np.ndarray, R: np.ndarray, sure: bool) -> None:
        self.C, self.R, self.sure = C, R, sure


def factors(G: np.ndarray, unit_roundoff: float, noise: float = 0.0, drop: bool = False) -> Factors | None:
    """The factors of one pass over a block with this Gram matrix; None where it is not positive semidefinite or finite.

    Vectors are brought to length one first, so that their sizes do not matter (van der Sluis 1969). The eigenvectors of
    what comes out tell what depends on the others. Where an eigenvalue is below sqrt(u), rounding may have touched the
    directions that belong to it: they are scaled as if it were no smaller than the rounding of G, and a second pass
    sees them as they are (shifted CholeskyQR: Fukaya, Kannan, Nakatsukasa, Yamamoto & Yanagisawa 2020).

    Parameters
    ----------
    G : ndarray of shape (k, k)
    unit_roundoff : float
        Of the vectors.
    noise : float
        Vectors that are no longer are rounding errors, and dropped.
    drop : bool
        Of a second pass: lengths tell then, and are left as they are; directions whose eigenvalues are within the
        rounding of G are dropped, since they depend on the others to working precision.
    """
    k = len(G)
    square = G.diagonal().real
    if not np.isfinite(G).all() or (square < 0).any():
        return None
    size = np.sqrt(square)
    kept = np.flatnonzero(size > noise)
    wide = np.eye(k, dtype=G.dtype)[:, kept]
    if kept.size == 0:
        return Factors(wide, wide.T, True)
    scale = np.ones(kept.size) if drop else size[kept]
    scaled = G[np.ix_(kept, kept)] / scale / scale[:, None]
    values, vectors = np.linalg.eigh((scaled + scaled.conj().T) / 2)
    floor = 8 * k * unit_roundoff * values[-1]
    if values[0] < -math.sqrt(unit_roundoff) * values[-1]:
        return None
    if drop:
        vectors, values = vectors[:, values > floor], values[values > floor]
    root = np.sqrt(np.maximum(values, floor))
    sure = bool(values[0] >= math.sqrt(unit_roundoff) * values[-1])
    return Factors(wide @ (vectors / root / scale[:, None]), (root[:, None] * vectors.conj().T * scale) @ wide.T, sure)


def orthonormalised(
    backend: Any, T: Any, G: np.ndarray, unit_roundoff: float, noise: float = 0.0
) -> tuple[Any, Factors] | None:
    """As ``factors``, in as many passes over T as it takes: all but the last one made, and the factors of that.

    R is that of all passes together. None where the Gram matrix, G or that of a pass, is not positive semidefinite.

    Parameters
    ----------
    backend : Backend
    T : block, or a tuple of blocks (T, M T)
    G : ndarray
        Their Gram matrix.
    """
    blocks = T if isinstance(T, tuple) else (T,)
    found = factors(G, unit_roundoff, noise)
    while found is not None and not found.sure:
        R = found.R
        blocks = tuple(backend.combinations(found.C, block) for block in blocks)
        found = factors(backend.gram(blocks[0], blocks[-1]), unit_roundoff, drop=True)
        if found is not None:
            found.R = found.R @ R
    return None if found is None else (blocks if isinstance(T, tuple) else blocks[0], found)
