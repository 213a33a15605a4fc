"""Block conjugate gradients: one Krylov space for several right-hand sides of one matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from ..driver.method import Breakdown
from ..driver.status import Cause
from .orthonormal import orthonormalised

__all__ = ["BlockCG"]


class BlockCG:
    """Conjugate gradients on k systems of one matrix, whose search directions serve all of them.

    The residuals are R = W sigma, W^H M W = I, with a W that spans them and has fewer vectors where some depend on the
    others. A step is

        X += S xi sigma,  T = W - A S xi,  xi = (S^H A S)^-1,
        W R = T,  S = M W + S R^H,  sigma = R sigma.

    Parameters
    ----------
    backend : Backend
    product : callable
        ``product(S, out)`` gives A of every vector of a block, in place of out where the library can.
    precondition : callable or None
        ``precondition(T, out)`` applies M, Hermitian positive definite, likewise.
    unit_roundoff : float
        Of the vectors.
    X, R : block, (k, n)
        Iterates and their residuals; both may be overwritten.

    Attributes
    ----------
    X : block
        The iterates.
    norms : ndarray
        Of the residuals of all columns, carried by recurrence.

    Notes
    -----
    Per iteration of k columns: 1 product with a block, 2 reductions (3 with a preconditioner), 11 k^2 n multiplications
    and additions in 4 passes; 4 blocks kept (5). What a single method reaches in m iterations it reaches in as many as
    it would take without the k - 1 smallest eigenvalues (O'Leary 1980, theorem 5).

    References
    ----------
    O'Leary (1980), "The block conjugate gradient algorithm and related methods"; Dubrulle (2001), "Retooling the method
    of block conjugate gradients", algorithm BCGrQ, which carries the factors of the residuals rather than these;
    Nikishin & Yeremin (1995), "Variable block CG algorithms for solving large sparse symmetric positive definite linear
    systems on parallel computers, I", for blocks that become smaller.

    Examples
    --------
    The second right-hand side is twice the first, so that one direction serves both.

    >>> import numpy as np
    >>> from resolvent.backends import backend_named
    >>> from resolvent.solvers.krylov.block_cg import BlockCG
    >>> A, b = np.diag([1.0, 2.0]), np.array([[1.0, 1.0], [2.0, 2.0]])
    >>> block = BlockCG(backend_named("numpy"), lambda S, out: S @ A, None, 2.0**-53, np.zeros((2, 2)), b)
    >>> block.width, block.step().round(2).tolist(), bool(block.step().max() < 1e-15)
    (1, [0.47, 0.94], True)
    >>> block.X.round(12).tolist()
    [[1.0, 0.5], [2.0, 1.0]]
    """

    def __init__(
        self,
        backend: Any,
        product: Callable[[Any, Any], Any],
        precondition: Callable[[Any, Any], Any] | None,
        unit_roundoff: float,
        X: Any,
        R: Any,
    ) -> None:
        self.backend, self.product, self.precondition = backend, product, precondition
        self.unit_roundoff = unit_roundoff
        self.X = X
        self.begin(R)

    @property
    def width(self) -> int:
        """Directions of the next step."""
        return int(self.W.shape[0])

    @property
    def cycle_ended(self) -> bool:
        """Whether no step can follow before it is begun anew: the residuals span nothing."""
        return not self.width

    def take(self) -> None:
        """The iterates are those that are begun from already."""

    def begin(self, R: Any) -> None:
        """Begin anew from the iterates, whose residuals are R."""
        xp = self.backend.namespace(R)
        self.Q, self.room = xp.empty_like(R), xp.empty_like(R)
        columns = int(R.shape[0])
        self.sigma, self.W, self.S = np.eye(columns), R, R[:0]
        self._turn(None, 0.0)

    def keep(self, columns: Sequence[int]) -> None:
        """Go on with these columns alone, whose numbers among the present ones are given."""
        self.sigma = self.sigma[:, columns]
        self.X = self.backend.namespace(self.X).stack([self.X[j, :] for j in columns])

    def formed(self, columns: Sequence[int]) -> list[Any]:
        """The iterates of these columns."""
        return [self.X[j, :] for j in columns]

    def step(self) -> np.ndarray:
        """One iteration; the residual norms of the columns, carried by recurrence.

        Raises
        ------
        Breakdown
            Where S^H A S is not positive definite, or something not finite.
        """
        if self.Q.shape[0] != self.width:
            self.Q = self.Q[: self.width, :]
        self.Q = self.product(self.S, self.Q)
        curvature = self.backend.gram(self.S, self.Q)
        xi = _inverse(curvature)
        self.X, self.W, square = self.backend.block_update(xi @ self.sigma, self.S, self.X, -xi, self.Q, self.W)
        norms = np.sqrt(np.maximum((self.sigma.conj() * (square @ self.sigma)).sum(axis=0).real, 0.0))
        self._turn(square, 8 * self.unit_roundoff)
        return norms

    def _turn(self, square: np.ndarray | None, noise: float) -> None:
        """Orthonormal residuals and new directions, of W as it is, whose Gram matrix may be known."""
        backend, T = self.backend, self.W
        Z = T
        if self.precondition is not None:
            Z = self.precondition(T, self.room[: T.shape[0], :])
            square = backend.gram(T, Z)
        elif square is None:
            square = backend.gram(T, T)
        found = orthonormalised(backend, (T, Z), square, self.unit_roundoff, noise)
        if found is None:
            raise Breakdown(
                "M is not positive definite, or gave NaN or infinity: r^H M r is not positive.", Cause.PRECONDITIONER
            )
        (T, Z), factors = found
        C, R = factors.C, factors.R
        sigma = R @ self.sigma
        if 2 * sigma.shape[1] <= sigma.shape[0]:  # few columns are left: the directions that serve them are enough
            basis, sigma = np.linalg.qr(sigma)
            C, R = C @ basis, basis.conj().T @ R
        self.sigma = sigma
        turned = R.conj().T if self.S.shape[0] else R.conj().T[:0]
        self.W, self.S = backend.block_turn(C, T, Z, turned, self.S)


def _inverse(curvature: np.ndarray) -> np.ndarray:
    """(S^H A S)^-1."""
    square = curvature.diagonal().real
    if not (np.isfinite(curvature).all() and (square > 0).all()):
        raise Breakdown("S^H A S is not positive definite.", Cause.INDEFINITE)
    scale = 1 / np.sqrt(square)
    scaled = curvature * scale * scale[:, None]
    try:
        factor = cho_factor((scaled + scaled.conj().T) / 2, lower=True, check_finite=False)
    except LinAlgError:
        raise Breakdown("S^H A S is not positive definite.", Cause.INDEFINITE) from None
    return scale[:, None] * cho_solve(factor, np.diag(scale), check_finite=False)
