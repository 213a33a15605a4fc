"""What a bidiagonal matrix tells of the singular values of A."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from ..spectra.ritz import RitzValues, SpectralEvidence, Tridiagonal, extreme_eigenpair

__all__ = ["SingularEvidence"]


class SingularEvidence(SpectralEvidence):
    """The bidiagonal matrix of Golub and Kahan's process, or of conjugate gradients on the normal equations.

    It is kept as the tridiagonal matrix with zero diagonal that has its entries in the order of the process for
    couplings: the eigenvalues of that are the singular values, with either sign (Golub & Kahan 1965). Unlike squared
    ones, small singular values do not drown in the rounding of large ones.

    Parameters
    ----------
    couplings : sequence of float
        Entries of the bidiagonal matrix, in the order in which the process made them, the last one coupling it to the
        next vector. An odd number for a process that began with b, an even one for a process that began with A^H b.
    perturbation : float
        As in ``SpectralEvidence``.
    """

    def __init__(self, couplings: Sequence[float], perturbation: float = 0.0) -> None:
        off = np.array(couplings, dtype=np.float64)
        super().__init__(matrix=Tridiagonal(np.zeros(off.size), off), perturbation=perturbation)
        self.steps = off.size // 2

    def __len__(self) -> int:
        return self.steps

    @cached_property
    def ritz(self) -> RitzValues | None:
        """The extreme singular values; those of A lie within the error bars."""
        T = self.matrix
        assert isinstance(T, Tridiagonal)
        if not self.steps or not np.isfinite(T.off).all():
            return None
        size = T.off.size
        (low, low_last), (high, high_last) = (extreme_eigenpair(T, index) for index in (size - self.steps, size - 1))
        last = math.sqrt(2) * float(T.off[-1])  # of an eigenvector, half belongs to either singular vector
        return RitzValues(max(low, 0.0), high, abs(last * low_last), abs(last * high_last))
