"""Linear matrix equations with Hermitian coefficients, as differentiable functions that call themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .forward import Solver, of_finite
from .implicit import Rule, hermitian_part, implicit
from .singular import divided

__all__ = ["Equation"]


@dataclass(frozen=True)
class Equation(Rule):
    """The X with A^(p-1) X + A^(p-2) X B + ... + X B^(p-1) = R, for Hermitian positive semidefinite A and B.

    For p = 2 that is Sylvester's equation, and with A = B Lyapunov's: the tensors are (A, B, R), or (A, R). For larger
    p it is the equation of the derivative of p-th roots. The map from R to X is self-adjoint.

    Parameters
    ----------
    p : int
        At least 2.
    singular : str
        What becomes of entries that are divided by zero, as in ``singular.divided``.
    root : int
        What is zero to rounding: eigenvalues of A that are r-th roots of rounding, relative to the largest.
    name : str
        Of the function that it is a derivative of.
    solver : Solver, optional
        Solves it by products alone, for p = 2 and definite coefficients; by default eigenvectors do.
    derived : Equation, optional
        What solves the equations of its derivatives; by default itself.

    Notes
    -----
    Solved in the eigenvectors of A and B, where it is a division by sums of products of eigenvalues: the error is u
    times the condition number of A, and there are no differences, so that multiple eigenvalues do no harm.
    """

    p: int = 2
    singular: str = "raise"
    root: int = 1
    name: str = "solve_sylvester"
    solver: Solver | None = None
    derived: Equation | None = None

    def __call__(self, *tensors: Any) -> Any:
        """X, differentiable in all tensors."""
        return implicit(self, *tensors)

    def _derived(self, *tensors: Any) -> Any:
        return (self if self.derived is None else self.derived)(*tensors)

    def run(self, *tensors: Any) -> Any:
        return self._by_eigenvectors(*tensors) if self.solver is None else self._by_products(*tensors)

    def _by_products(self, *tensors: Any) -> Any:
        lead = torch.broadcast_shapes(*(tensor.shape[:-2] for tensor in tensors))
        expanded = [tensor.expand(*lead, *tensor.shape[-2:]) for tensor in tensors]
        assert self.solver is not None
        return self.solver(*expanded) if self.derived is not None else of_finite(self.solver, *expanded)

    def _by_eigenvectors(self, *tensors: Any) -> Any:
        R = tensors[-1]
        eigen = [_eigh(A) for A in tensors[:-1]]
        (alpha, V, good_A), (beta, W, good_B) = eigen[0], eigen[-1]
        powers = range(self.p)
        d = sum(alpha[..., :, None] ** k * beta[..., None, :] ** (self.p - 1 - k) for k in powers)
        rounding = max(R.shape[-2:]) * torch.finfo(R.dtype).eps
        tolerance = rounding ** ((self.p - 1) / self.root)
        X = V @ divided(V.mH @ R @ W, d, self.singular, tolerance, self.name) @ W.mH
        return torch.where((good_A & good_B)[..., None, None], X, torch.nan)

    def tangent(self, tensors: Sequence[Any], x: Any, tangents: Sequence[Any]) -> Any:
        A, B = tensors[0], tensors[-2]
        dA, dB, dR = tangents[0], tangents[-2], tangents[-1]
        change = dR
        for part in self._changes(A, B, x, dA, dB):
            change = -part if change is None else change - part
        return self._derived(*tensors[:-1], change)

    def _changes(self, A: Any, B: Any, x: Any, dA: Any, dB: Any) -> Any:
        """The changes of the left-hand side by those of A and of B, x held fixed."""
        sums = _sums(self.p, A, x, B)
        if dA is not None:
            dA = hermitian_part(dA)
            found = dA @ sums[0]
            for one in sums[1:]:  # A^a dA (A^b x B^c), by Horner's rule in A
                found = A @ found + dA @ one
            yield found
        if dB is not None:
            dB = hermitian_part(dB)
            found = sums[0] @ dB
            for one in sums[1:]:
                found = found @ B + one @ dB
            yield found

    def cotangents(self, tensors: Sequence[Any], x: Any, cotangent: Any) -> tuple[Any, ...]:
        A, B = tensors[0], tensors[-2]
        w = self._derived(*tensors[:-1], cotangent)
        sums, y = _sums(self.p, A, w, B), x.mH
        of_A, of_B = -sums[0] @ y, -y @ sums[0]
        for one in sums[1:]:
            of_A, of_B = of_A @ A - one @ y, B @ of_B - y @ one
        found = (of_A + of_B,) if len(tensors) == 2 else (of_A, of_B)
        coefficients = (hermitian_part(part) for part in found)
        return tuple(_reduced(part, like) for part, like in zip((*coefficients, w), tensors, strict=True))


def _sums(p: int, A: Any, x: Any, B: Any) -> list[Any]:
    """The sums of A^b x B^c over b + c = q, for q = 0, ..., p - 2."""
    found, right = [x], x
    for _ in range(p - 2):
        right = right @ B
        found.append(A @ found[-1] + right)
    return found


def _reduced(cotangent: Any, tensor: Any) -> Any:
    """Summed over the axes along which the tensor was repeated."""
    return cotangent if cotangent.shape == tensor.shape else cotangent.sum_to_size(tensor.shape)


def _eigh(A: Any) -> tuple[Any, Any, Any]:
    """Eigenvalues, negative ones that rounding brought about as zero, vectors, and which matrices are finite."""
    finite = A.isfinite().all(-1).all(-1)
    values, vectors = torch.linalg.eigh(torch.where(finite[..., None, None], hermitian_part(A), 0))
    return values.clamp(min=0), vectors, finite
