"""Block GMRES: one Krylov space for several right-hand sides of one matrix, restarted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..driver.method import Breakdown
from ..driver.status import Cause
from .orthonormal import orthonormalised

__all__ = ["BlockGMRES", "BlockHessenbergProblem"]


class BlockHessenbergProblem:
    """min ||E - H y|| for several columns of E, over a block Hessenberg matrix that grows by blocks of columns.

    It is kept triangular by a unitary matrix for each block. Blocks may become smaller from one to the next.

    Parameters
    ----------
    E : ndarray of shape (p, k)
        The residuals in the basis of the first block, of p vectors.

    Attributes
    ----------
    rotated : ndarray
        E, multiplied with all unitary matrices so far.
    """

    def __init__(self, E: np.ndarray) -> None:
        self.rotated = E
        self.columns: list[np.ndarray] = []  # of the triangular factor, of each block
        self.unitary: list[np.ndarray] = []
        self.starts = [0]

    def append(self, above: np.ndarray, below: np.ndarray) -> None:
        """Add a block of columns: ``above`` belongs to the vectors so far, ``below`` to the next block of them."""
        column = np.concatenate([above, below])
        for start, Q in zip(self.starts, self.unitary, strict=False):
            rows = slice(start, start + len(Q))
            column[rows] = Q @ column[rows]
        start, width = self.starts[-1], above.shape[1]
        Q, R = np.linalg.qr(column[start:], mode="complete")
        column[start:] = R
        self.columns.append(column[: start + width])
        self.unitary.append(Q.conj().T)
        self.starts.append(start + width)
        wide = np.zeros((len(below), self.rotated.shape[1]), self.rotated.dtype)
        self.rotated = np.concatenate([self.rotated, wide])
        self.rotated[start:] = self.unitary[-1] @ self.rotated[start:]

    @property
    def residuals(self) -> np.ndarray:
        """The minima, of each column of E."""
        return np.linalg.norm(self.rotated[self.starts[-1] :], axis=0)

    def solution(self) -> np.ndarray:
        """y of each column; the shortest where the matrix has dependent columns."""
        size = self.starts[-1]
        R = np.zeros((size, size), self.rotated.dtype)
        for start, column in zip(self.starts, self.columns, strict=False):
            R[: len(column), start : start + column.shape[1]] = column
        return np.linalg.lstsq(R, self.rotated[:size], rcond=None)[0]


class BlockGMRES:
    """GMRES(m) on k systems of one matrix, preconditioned from the right, whose basis serves all of them.

    Of all vectors in x0 + M K, K the sum of the Krylov spaces of all residuals, each iterate has the smallest residual.
    Directions that depend on those before are dropped, and the blocks that follow are smaller.

    Parameters
    ----------
    restart : int
        Blocks to a basis, after which it is begun anew.
    backend, product, precondition, unit_roundoff, X, R :
        As in ``BlockCG``; M and A may be any.

    Notes
    -----
    Per iteration of k columns, j blocks behind it: 1 product with a block, 2 j + 2 reductions, 4 (j + 1) k^2 n
    multiplications and additions twice; m + 4 blocks kept.

    References
    ----------
    Vital (1990), "Etude de quelques methodes de resolution de problemes lineaires de grande taille sur
    multiprocesseur"; Baker, Dennis & Jessup (2006), "On improving linear solver performance: a block variant of GMRES";
    Calandra, Gratton, Langou, Pinel & Vasseur (2012), "Flexible variants of block restarted GMRES methods with
    application to geophysics", for blocks that become smaller.

    Examples
    --------
    >>> import numpy as np
    >>> from resolvent.backends import backend_named
    >>> from resolvent.solvers.krylov.block_gmres import BlockGMRES
    >>> A, b = np.array([[1.0, 1.0], [0.0, 2.0]]), np.array([[2.0, 2.0], [1.0, 2.0]])
    >>> block = BlockGMRES(5, backend_named("numpy"), lambda S, out: S @ A.T, None, 2.0**-53, np.zeros((2, 2)), b)
    >>> bool(block.step().max() < 1e-14), np.round(block.formed([0, 1]), 12).tolist()
    (True, [[1.0, 1.0], [0.0, 1.0]])
    """

    def __init__(
        self,
        restart: int,
        backend: Any,
        product: Callable[[Any, Any], Any],
        precondition: Callable[[Any, Any], Any] | None,
        unit_roundoff: float,
        X: Any,
        R: Any,
    ) -> None:
        self.restart, self.backend, self.product, self.precondition = restart, backend, product, precondition
        self.unit_roundoff = unit_roundoff
        self.X = X
        self.begin(R)

    @property
    def width(self) -> int:
        """Directions of the next step."""
        return int(self.V[-1].shape[0])

    @property
    def cycle_ended(self) -> bool:
        """Whether the basis can grow no further, and is to be begun anew."""
        return len(self.V) > self.restart or not self.width

    def begin(self, R: Any) -> None:
        """Begin anew from the iterates, whose residuals are R."""
        block, factor = self._orthonormal(R, 0.0)
        self.V = [block]
        self.problem = BlockHessenbergProblem(factor)

    def keep(self, columns: Sequence[int]) -> None:
        """Go on with these columns alone, whose numbers among the present ones are given."""
        self.problem.rotated = self.problem.rotated[:, columns]
        self.X = self.backend.namespace(self.X).stack([self.X[j, :] for j in columns])

    def formed(self, columns: Sequence[int]) -> list[Any]:
        """The iterates of these columns."""
        if not columns:
            return []
        backend, xp = self.backend, self.backend.namespace(self.X)
        X = xp.stack([self.X[j, :] for j in columns])
        if self.problem.columns:
            y = self.problem.solution()[:, list(columns)]
            starts = self.problem.starts
            total = None
            for k, block in enumerate(self.V[: len(starts) - 1]):
                part = backend.combinations(y[starts[k] : starts[k + 1]], block)
                total = part if total is None else total + part
            X = X + (total if self.precondition is None else self.precondition(total, xp.empty_like(total)))
        return [X[j, :] for j in range(len(columns))]

    def take(self) -> None:
        """The iterates become those at which the next basis is begun."""
        self.X = self.backend.namespace(self.X).stack(self.formed(range(int(self.X.shape[0]))))
        self.problem = BlockHessenbergProblem(self.problem.rotated[:0])

    def step(self) -> np.ndarray:
        """One iteration; the residual norms of the columns, as the least-squares problem tells them.

        Raises
        ------
        Breakdown
            Where something is not finite.
        """
        backend, V = self.backend, self.V
        xp = backend.namespace(V[-1])
        Z = V[-1] if self.precondition is None else self.precondition(V[-1], xp.empty_like(V[-1]))
        W = self.product(Z, xp.empty_like(Z))
        size = math.sqrt(float(backend.gram(W, W).diagonal().real.max(initial=0.0)))
        above = [np.zeros((block.shape[0], W.shape[0])) for block in V]
        for _ in range(2):  # twice is enough: Giraud, Langou, Rozloznik & van den Eshof 2005
            found = [backend.gram(block, W) for block in V]
            for block, h in zip(V, found, strict=True):
                W = W + backend.combinations(-h, block)
            above = [one + h for one, h in zip(above, found, strict=True)]
        block, factor = self._orthonormal(W, 8 * self.unit_roundoff * size)
        V.append(block)
        self.problem.append(np.concatenate(above), factor)
        return self.problem.residuals

    def _orthonormal(self, W: Any, noise: float) -> tuple[Any, np.ndarray]:
        """An orthonormal basis of a block, and the block in it."""
        found = orthonormalised(self.backend, W, self.backend.gram(W, W), self.unit_roundoff, noise)
        if found is None:
            raise Breakdown("A product with A was not finite.", Cause.NOT_FINITE)
        W, factors = found
        return self.backend.combinations(factors.C, W), factors.R
