"""What a gallery function returns: the system, and what is known of it beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse


@dataclass(frozen=True)
class Known:
    """What is known of a matrix without solving anything; each is a function, so that nothing is computed unasked.

    Parameters
    ----------
    eigenvalues : callable, optional
        Returns all n eigenvalues, sorted, shape (n,).
    extremes : callable, optional
        Returns the pair (smallest, largest) of real eigenvalues.
    singular_values : callable, optional
        Returns the pair (smallest, largest) of singular values.
    inverse : callable, optional
        Returns the inverse, dense or sparse, shape (n, n).
    """

    eigenvalues: Callable[[], np.ndarray] | None = None
    extremes: Callable[[], tuple[float, float]] | None = None
    singular_values: Callable[[], tuple[float, float]] | None = None
    inverse: Callable[[], Any] | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Problem:
    """A linear system A x = b with known answers.

    Parameters
    ----------
    name : str
        The family and its parameters, as one would call it.
    A : scipy.sparse.csr_array, numpy.ndarray or matrix-free operator, shape (n, n)
        Sparse matrices have 32-bit indices, sorted within each row, and no duplicates.
    b : numpy.ndarray, shape (n,)
        Right-hand side.
    x : numpy.ndarray or None, shape (n,)
        The solution, where it is known. Most families choose it first, with entries that are multiples of 2**-10, and
        compute ``b = A x`` in twice the working precision or exactly. Of a singular system it is the shortest solution.
    symmetric : bool
        Whether A equals its conjugate transpose.
    positive_definite : bool
        Whether A is, in addition, positive definite.
    reference : str
        Where the problem comes from.
    known : Known
        Closed forms behind `eigenvalues`, `spectrum`, `condition` and `inverse`.
    context : float or None
        Of a member of a sequence: the number that tells it from the others.

    Examples
    --------
    >>> from resolvent.gallery import poisson
    >>> problem = poisson((3, 4))
    >>> problem
    <poisson((3, 4)): 12 x 12 csr, float64, 46 nonzeros, symmetric positive definite, condition 7.267>
    >>> bool((problem.A @ problem.x == problem.b).all())
    True
    """

    name: str
    A: Any
    b: np.ndarray
    x: np.ndarray | None
    symmetric: bool
    positive_definite: bool
    reference: str
    known: Known = field(default_factory=Known)
    context: float | None = None

    def eigenvalues(self) -> np.ndarray | None:
        """All eigenvalues, sorted, shape (n,); None where no closed form is known. Costs O(n log n)."""
        return None if self.known.eigenvalues is None else self.known.eigenvalues()

    def inverse(self) -> Any:
        """The inverse of A, shape (n, n), sparse where it is; None where no closed form is known."""
        return None if self.known.inverse is None else self.known.inverse()

    @property
    def spectrum(self) -> tuple[float, float] | None:
        """The smallest and the largest eigenvalue, where they are known and real."""
        return None if self.known.extremes is None else self.known.extremes()

    @property
    def condition(self) -> float | None:
        """The condition number in the 2-norm, where it is known; infinite for a singular matrix."""
        if self.known.singular_values is not None:
            small, large = self.known.singular_values()
        elif self.symmetric and self.spectrum is not None:
            low, high = self.spectrum
            large = max(abs(low), abs(high))
            small = min(abs(low), abs(high))
            if low < 0 < high:  # the eigenvalue nearest zero lies inside and only the full spectrum shows it
                inner = self.eigenvalues()
                if inner is None:
                    return None
                small = float(np.abs(inner).min())
        else:
            return None
        return float(large) / float(small) if small > 0 else float("inf")

    def __repr__(self) -> str:
        n = self.b.shape[0]
        kind, entries = type(self.A).__name__, ""
        if isinstance(self.A, np.ndarray):
            kind = "dense"
        elif sparse.issparse(self.A):
            kind, entries = self.A.format, f", {self.A.nnz} nonzeros"
        definiteness = " positive definite" if self.positive_definite else ""
        symmetry = ("symmetric" if self.symmetric else "nonsymmetric") + definiteness
        condition = "" if self.condition is None else f", condition {self.condition:.4g}"
        return f"<{self.name}: {n} x {n} {kind}, {self.b.dtype}{entries}, {symmetry}{condition}>"

    def __str__(self) -> str:
        lines = [repr(self)[1:-1]]
        if self.spectrum is not None:
            low, high = self.spectrum
            lines.append(f"  eigenvalues in [{low:.6g}, {high:.6g}]")
        lines.append(f"  solution {'known' if self.x is not None else 'not known'}")
        if self.context is not None:
            lines.append(f"  context {self.context:.6g}")
        lines.append(f"  {self.reference}")
        return "\n".join(lines)
