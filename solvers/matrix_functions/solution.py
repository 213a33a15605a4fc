"""What a matrix function returns: a Solution, and what is asked about such alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from ..driver.solution import Solution

__all__ = ["MatrixSolution"]

V = TypeVar("V")


@dataclass(eq=False)
class MatrixSolution(Solution[V]):
    """A matrix function of one matrix or of each of a stack, of which the residuals are those of the worst.

    Attributes
    ----------
    x : array
        The function, in the shape that belongs to it.
    lower : float
        What the schedule took for granted: the smallest singular value (eigenvalue, of a function of a Hermitian
        matrix), as a fraction of the largest. Smaller ones cost further steps.
    scale : array of float
        The upper bound of the largest singular value (eigenvalue) of each matrix that it was divided by.
    residuals : array of float
        The relative residual of each matrix.
    orthogonality : array of float or None
        Of orthogonal factors, ``||I - U^H U||_F / sqrt(n)`` of each; of a partial isometry large, by the rank it lacks.
    factor : array or None
        The Hermitian factor of a polar decomposition.
    error : float or None
        A bound of the relative error of x in the Frobenius norm, but for the rounding of the data and of products.
    """

    _fields_said: ClassVar[str] = ".U and .H are the factors of a polar decomposition; .converged and .status say more"

    lower: float = float("nan")
    scale: Any = None
    residuals: Any = None
    orthogonality: Any = None
    factor: V | None = None
    error: float | None = None

    @property
    def products(self) -> int:
        """Products of two matrices, checks included; of a stack, those that each matrix took part in at most."""
        return int(self.matvecs)

    @property
    def U(self) -> V:
        """The orthogonal factor of a polar decomposition: the same as ``x``."""
        return self.x

    @property
    def H(self) -> V | None:
        """The Hermitian factor of a polar decomposition."""
        return self.factor

    @property
    def error_bound(self) -> float | None:
        """A bound of the relative error of x, but for rounding: the same as ``error``."""
        return self.error

    def __repr__(self) -> str:
        return (
            f"<MatrixSolution {self.status.name} by {self.method} in {self.iterations} steps of {self.products} "
            f"products, relative residual {float(self.relative_residual):.2e}>"
        )
