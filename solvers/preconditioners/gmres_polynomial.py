"""The polynomial in A that GMRES builds, as a product over its roots."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from ...errors import InputError
from ...operators import Operator
from .base import BoundPreconditioner, Preconditioner

__all__ = ["GMRESPolynomialPreconditioner", "gmres_polynomial"]

MOST_GROWTH = 1e4  # of the other factors at a root, beyond which the root stands twice (Embree, Loe & Morgan)


class GMRESPolynomialPreconditioner(Preconditioner):
    """M = p(A), 1 - z p(z) the product of all 1 - z / root.

    Parameters
    ----------
    A : Operator
    roots : ndarray of complex
        In the order in which they are multiplied; of real A, complex ones in pairs of conjugates, one after the other.
    """

    vectors: ClassVar[int] = 3

    def __init__(self, A: Operator, roots: np.ndarray) -> None:
        self.operator, self.roots = A, roots
        self.shape, self.dtype = A.shape, A.dtype

    def rescaled(self, exponent: int) -> tuple[Preconditioner, int]:
        roots = np.ldexp(self.roots.real, -exponent) + 1j * np.ldexp(self.roots.imag, -exponent)
        return GMRESPolynomialPreconditioner(self.operator.rescaled(-exponent), roots), exponent

    def bind(self, backend: Any, dtype: np.dtype) -> BoundPreconditioner:
        operator = backend.store(self.operator, dtype)
        return _Factors(backend, backend.prepare(operator, backend.facts(operator)), self.roots, dtype.kind == "c")


class _Factors(BoundPreconditioner):
    def __init__(self, backend: Any, operator: Operator, roots: np.ndarray, is_complex: bool) -> None:
        self.backend, self.operator, self.is_complex = backend, operator, is_complex
        self.roots = [complex(root) for root in roots]
        self.rest: Any = None  # r - A (what was found so far)
        self.product: Any = None
        self.pair: Any = None

    def work(self, entries: int) -> int:
        return len(self.roots) * (entries + 6 * self.operator.shape[0])

    def apply(self, r: Any, out: Any) -> Any:
        backend, roots = self.backend, self.roots
        if self.rest is None:
            self.rest, self.product, self.pair = backend.copy(r), backend.copy(r), backend.copy(r)
        rest = backend.assign(r, self.rest)
        out = backend.axpby(0.0, r, 0.0, out)
        k = 0
        while k < len(roots):
            root = roots[k]
            k += 1
            if self.is_complex or root.imag == 0:
                inverse = 1 / root if self.is_complex else 1 / root.real
                out = backend.axpy(inverse, rest, out)
                if k < len(roots):
                    self.product = backend.matvec(self.operator, rest, self.product)
                    rest = backend.axpy(-inverse, self.product, rest)
                continue
            # Two conjugate roots at once: (1 - z / a) (1 - z / conj(a)) = 1 - z (2 Re a - z) / |a|^2.
            k += 1
            weight = 1 / abs(root) ** 2
            self.product = backend.matvec(self.operator, rest, self.product)
            self.pair = backend.axpby(2 * root.real, rest, 0.0, self.pair)
            self.pair = backend.axpy(-1.0, self.product, self.pair)
            out = backend.axpy(weight, self.pair, out)
            if k < len(roots):
                self.product = backend.matvec(self.operator, self.pair, self.product)
                rest = backend.axpy(-weight, self.product, rest)
        self.rest = rest
        return out


def gmres_polynomial(backend: Any, A: Operator, degree: int) -> GMRESPolynomialPreconditioner:
    """That of a random start vector: its roots are the harmonic Ritz values of ``degree`` Arnoldi steps.

    References
    ----------
    Loe & Morgan (2022), "Toward efficient polynomial preconditioning for GMRES", algorithms 1 and 3; Embree, Loe &
    Morgan (2021), "Polynomial preconditioned Arnoldi with stability control", section 3.
    """
    roots = _harmonic_ritz_values(_hessenberg(backend, A, degree))
    if not (np.isfinite(roots).all() and np.abs(roots).min(initial=1.0) > 0):
        raise InputError("A: singular, or not finite, as far as an Arnoldi process shows; it has no such polynomial")
    return GMRESPolynomialPreconditioner(A, leja(stable(roots), pairs=A.dtype.kind != "c"))


def _hessenberg(backend: Any, A: Operator, steps: int) -> np.ndarray:
    """H of the Arnoldi process from a random start, (k + 1, k): k < ``steps`` where the space is exhausted."""
    n, unit_roundoff = A.shape[0], float(np.finfo(A.dtype).eps) / 2
    most = min(steps, n)
    V = backend.basis(most + 1, n, A.dtype)
    start = np.random.default_rng(0).standard_normal(n)
    V[0] = backend.assign(backend.from_numpy(start / np.linalg.norm(start), A.dtype), V[0])
    H = np.zeros((most + 1, most), np.complex128 if A.dtype.kind == "c" else np.float64)
    for k in range(most):
        V[k + 1] = backend.matvec(A, V[k], V[k + 1])
        H[: k + 1, k], H[k + 1, k] = backend.orthogonalise(V, k + 1, unit_roundoff)
        if H[k + 1, k] == 0:
            return H[: k + 2, : k + 1]
        V[k + 1] = backend.axpby(0.0, V[k + 1], 1.0 / H[k + 1, k].real, V[k + 1])
    return H


def _harmonic_ritz_values(H: np.ndarray) -> np.ndarray:
    """Eigenvalues of H_k + h^2 H_k^{-H} e_k e_k^H, h below the last column (Saad 2011, section 4.5)."""
    k = H.shape[1]
    square, below = H[:k].copy(), abs(H[k, k - 1]) ** 2
    last = np.zeros(k)
    last[-1] = 1.0
    with np.errstate(all="ignore"):
        try:
            square[:, -1] += below * np.linalg.solve(square.conj().T, last)
            return np.linalg.eigvals(square).astype(complex)
        except np.linalg.LinAlgError:
            return np.full(k, np.nan + 0j)


def stable(roots: np.ndarray) -> np.ndarray:
    """The roots, those twice, or more often, at which the product over the others is large."""
    added = []
    for k, root in enumerate(roots):
        others = np.abs(1 - root / np.delete(roots, k))
        growth = float(np.sum(np.log10(np.maximum(others, np.finfo(float).tiny))))
        times = math.ceil((growth - math.log10(MOST_GROWTH)) / 14) if growth > math.log10(MOST_GROWTH) else 0
        added += [root] * times
    return np.concatenate([roots, np.array(added, complex)])


def leja(roots: np.ndarray, pairs: bool) -> np.ndarray:
    """The roots, each as far from those before it as may be; with ``pairs``, conjugates one after the other."""
    left = list(roots)
    ordered: list[complex] = []
    while left:
        with np.errstate(divide="ignore"):
            distances = [
                float(np.sum(np.log(np.abs(root - np.array(ordered))))) if ordered else math.log(abs(root))
                for root in left
            ]
        root = left.pop(int(np.argmax(distances)))
        ordered.append(root)
        if pairs and root.imag != 0:
            partner = int(np.argmin([abs(other - root.conjugate()) for other in left]))
            ordered.append(left.pop(partner))
    return np.array(ordered, complex)
