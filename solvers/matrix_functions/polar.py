"""Polar factors by Newton-Schulz iteration: the problems, and the method."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...naming import choice, choose_fields
from ..driver.problem import Vector, Words
from .method import ScheduledMethod, StackState, Step
from .newton_schulz import Schedule
from .problem import MatrixProblem
from .products import relative
from .scaling import SCALINGS, by_columns, upper_bound

__all__ = ["SIDES", "NewtonSchulz", "OrthogonalProblem", "PolarProblem", "isometry_defects"]

SIDES = ("right", "left")  # of the unitary factor at which the Hermitian one stands


class OrthogonalProblem(MatrixProblem):
    """U with orthonormal columns (rows, where A is wide), the nearest to A: the residual is ||I - U^H U|| / ||I||.

    A that lacks rank to working precision may have a partial isometry instead: then it is ||P - P P|| / ||I|| for
    P = U^H U.

    Parameters
    ----------
    A, backend, precision :
        As in ``MatrixProblem``.

    Attributes
    ----------
    wide : bool
        The data are those of A^H.
    partial : ndarray of bool
        Of each matrix, whether U is a partial isometry.
    """

    words = Words(residual="||I - U^H U||", reference="||I||", products="matrix products")
    square = False

    def __init__(self, A: Any, *, backend: Any = None, precision: Any = None) -> None:
        super().__init__(A, backend=backend, precision=precision)
        self.wide = self.rows < self.columns
        if self.wide:
            self.data = self.exact.copy(self.exact.adjoint(self.data))
            self.rows, self.columns = self.columns, self.rows
        self.partial = np.zeros(self.count, bool)
        self.orthogonality = np.zeros(self.count)

    def residuals_of(self, x: Vector, known: Any) -> np.ndarray:
        n = math.sqrt(self.columns)
        if known is not None and not self.partial.any():
            self.orthogonality = np.array(known)
            return self.orthogonality
        P = self.exact.gram(x, None)
        self.orthogonality = self.exact.identity_distances(P) / n
        if not self.partial.any():
            return self.orthogonality
        return np.where(self.partial, isometry_defects(self.exact, P), self.orthogonality)

    def oriented(self, x: Any) -> Any:
        """x in the orientation of A."""
        return self.exact.copy(self.exact.adjoint(x)) if self.wide else x

    def unscaled(self, x: Vector, fresh: bool = True) -> Any:
        return super().unscaled(self.oriented(x), fresh)

    def fields(self, x: Vector) -> Mapping[str, Any]:
        full = not self.partial.any() and bool(np.isfinite(self.orthogonality).all())
        bound = float(np.max(self.orthogonality, initial=0.0)) if full and not self.nothing.any() else None
        return {"orthogonality": self.orthogonality.reshape(self.lead)[()], "error": bound}


class PolarProblem(OrthogonalProblem):
    """A = U H (side "right") or A = H U (side "left"): the larger of the residuals of U and of ||A - U H|| / ||A||.

    Parameters
    ----------
    A, backend, precision :
        As in ``MatrixProblem``.
    side : {"right", "left"}
    """

    words = Words(
        residual="||I - U^H U|| / ||I||, ||A - U H|| / ||A||",
        reference="||I|| and ||A||",
        products="matrix products",
        relative=True,
    )

    def __init__(self, A: Any, *, side: str = "right", backend: Any = None, precision: Any = None) -> None:
        side = choice("side", side, SIDES, more=" (A = U H or A = H U)")
        super().__init__(A, backend=backend, precision=precision)
        self.right = (side == "right") != self.wide  # of the data
        self.factor: Any = None

    def residuals_of(self, x: Vector, known: Any) -> np.ndarray:
        p = self.exact
        if self.right:
            K = p.multiply(p.adjoint(x), self.data, None)
            self.factor = p.hermitian_part(K, None)
            A = p.multiply(x, self.factor, K if K.shape == x.shape else None)
        else:
            K = p.multiply(self.data, p.adjoint(x), None)
            self.factor = p.hermitian_part(K, None)
            A = p.multiply(self.factor, x, K if K.shape == x.shape else None)
        off = relative(p.distances(A, self.data), p.norms(self.data))
        p.done(A)
        return np.maximum(super().residuals_of(x, known), off)

    def fields(self, x: Vector) -> Mapping[str, Any]:
        library = self.backend.exact
        n = self.columns if self.right else self.rows
        factor = self.data[:, :0, :0] if self.factor is None else self.factor
        if self.factor is None:  # nothing was iterated: every matrix is zero, or there is none
            factor = self.exact.ldexp(self.exact.empty((self.count, n, n), self.data), self.exponents, None) * 0
        factor = self.exact.ldexp(factor, self.exponents, factor)
        return {**super().fields(x), "factor": library.returned(library.reshape(factor, (*self.lead, n, n)))}


def isometry_defects(products: Any, P: Any) -> np.ndarray:
    """||P - P P||_F / sqrt(n)."""
    square = products.square(P, products.room(P.shape, P))
    found = products.distances(P, square) / math.sqrt(P.shape[-1])
    products.done(square)
    return found


@dataclass(frozen=True)
class NewtonSchulz(ScheduledMethod[OrthogonalProblem]):
    """X <- X h(X^H X), the polynomials h being those of a schedule.

    Parameters
    ----------
    schedule : Schedule or str, optional
        By default the cheapest one for the tolerance.
    lower : float, optional
        A lower bound of the smallest singular value relative to the largest.
    scaling : str
        How the largest one is bounded from above.
    products : int, optional
        Products of two matrices at most.

    Notes
    -----
    A step of degree 3, 5, 9, 17 takes 2, 3, 4, 5 products, the Gram matrix of the next one among them, which is what
    its residual is read off.

    References
    ----------
    Björck and Bowie (1971); Amsel, Persson, Musco and Gower, The Polar Express (arXiv:2505.16932).
    """

    name: ClassVar[str] = "newton_schulz"
    title: ClassVar[str] = "Newton-Schulz iteration"
    purpose: ClassVar[str] = "polar factors by products alone"

    schedule: Schedule | str | None = None
    lower: float | None = None
    scaling: str = "schatten-8"
    products: int | None = None

    def check(self) -> None:
        choose_fields(self, scaling=(*SCALINGS, "aol"))
        super().check() if self.scaling != "aol" else type(self)(scaling="schatten-8", lower=self.lower).check()

    def begin(self, problem: OrthogonalProblem, s: StackState) -> tuple[Any, ...]:
        p = problem.exact
        X = problem.data
        G = p.gram(X, None)
        if self.scaling == "aol":  # which bounds the norm of X D by 1
            (X, G), square = by_columns(p, X, G), None
        else:
            bound, square = upper_bound(p, G, self.scaling)
            bound = np.where(bound > 0, bound, 1.0)
            s.scale = np.sqrt(bound)
            X, G = p.scale(X, 1 / s.scale, None), p.scale(G, 1 / bound, G)
            square = None if square is None else p.scale(square, bound**-2, square)
        if problem.two_precisions:
            X = problem.iterated(X)
            return X, problem.products.gram(X, None)
        s.first = square
        return X, G

    def advance(self, problem: OrthogonalProblem, s: StackState, arrays: tuple[Any, ...], h: Step) -> tuple[Any, ...]:
        return problem.products.polar_step(*arrays, h.h, h.square, h.factors)

    def measured(self, problem: OrthogonalProblem, arrays: tuple[Any, ...]) -> np.ndarray:
        return problem.exact.identity_distances(arrays[1]) / math.sqrt(problem.columns)

    def judged(self, problem: OrthogonalProblem, s: StackState, which: np.ndarray, norms: np.ndarray) -> np.ndarray:
        """Where all that is not rounding has grown to one, what is still small is nothing, and U a partial isometry."""
        if s.growth * self.finest(problem) < 1:
            return norms
        P = problem.exact.members(s.arrays[1], which)
        defects = isometry_defects(problem.exact, P)
        partial = defects <= max(s.target, 100 * problem.unit_roundoff)
        problem.partial[s.active[which]] |= partial
        return np.where(partial, defects, norms)

    def again(self, problem: OrthogonalProblem, x: Any) -> tuple[Any, ...]:
        return x, problem.products.gram(x, None)

    def finest(self, problem: OrthogonalProblem) -> float:
        return problem.rows * problem.unit_roundoff
