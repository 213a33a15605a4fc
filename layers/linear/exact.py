"""method="exact": factorisation of full matrices by LAPACK, held to the same tolerance as the iterations."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...errors import InputError, NotHermitianError, SingularError
from ...precision import precision_facts
from ...solvers.driver.batch import stacked
from ...solvers.driver.solution import Solution
from ...solvers.driver.status import Status
from .maps import Dense, LinearMap
from .plan import Plan, Solver

__all__ = ["Factored", "factored", "factors", "is_cheap"]

# Unknowns up to which "auto" factorises a full A: there LU takes no longer than a dozen iterations of conjugate
# gradients each way, forwards and backwards, the fewest that are met in practice (32 ms against 35 on one core).
MOST_UNKNOWNS = 1024


@dataclass(frozen=True)
class Factored(Dense):
    """p = (A, L) of Cholesky's factorisation, or (A, LU, pivots), which serve for A and for A^H.

    The derivatives are those of A alone: the factors are passengers.

    References
    ----------
    Golub & Van Loan (2013), "Matrix Computations", algorithms 3.4.1 and 4.2.1.
    """

    transposed: bool = False

    def adjoint(self, p: Sequence[Any]) -> tuple[LinearMap, Sequence[Any]]:
        return Factored(not self.transposed), (p[0].mH, *p[1:])

    def substitute(self, p: Sequence[Any], b: Any) -> Any:
        """A^{-1} b by two triangular solves."""
        if len(p) == 2:
            return torch.cholesky_solve(b, p[1])
        return torch.linalg.lu_solve(p[1], p[2], b, adjoint=self.transposed)

    def solve(
        self, plan: Plan, p: Sequence[Any], b: Any, report: bool, attempt: bool = False
    ) -> tuple[Any, Solution | None] | None:
        """A^{-1} b, and how good it is: when asked for, or when the tolerance is not met.

        An ``attempt`` that does not meet it gives None.

        Raises
        ------
        InputError, NotHermitianError, SingularError
            For entries that are not finite, and for an A that has no such factorisation.
        """
        began = time.perf_counter()
        A = p[0]
        if b.numel() == 0:
            return b.clone(), _empty(b) if report else None
        x = self.substitute(p, b)
        residual, rhs = _norm(b - A @ x), _norm(b)
        rtol, atol, _ = plan.tolerance
        target = (rtol * rhs).clamp(min=atol)
        if attempt or not report:
            met = bool((residual <= target).all())
            if met and not report:
                return x, None
            if attempt and not met:
                return None
        _check(A, p, b)  # whatever it finds has made the residual large, or NaN
        size = _norm(A).max(-1).values[..., None].expand_as(rhs)
        figures = np.stack([t.double().cpu().numpy() for t in (residual, rhs, target, _norm(x), size)], -1)
        u = precision_facts(str(b.dtype).removeprefix("torch."))
        seconds = (time.perf_counter() - began) / residual.numel()
        lead, k = tuple(b.shape[:-2]), b.shape[-1]
        systems = tuple(_judged(x[at[:-1]][:, at[-1]], figures[at], u, seconds, rtol) for at in np.ndindex(*lead, k))
        if lead or k > 1:
            return x, stacked(systems, lead, (k,), int(b.shape[-2]), b)
        return x, systems[0]


def is_cheap(linear_map: LinearMap, solver: Solver, x0: Any, n: int) -> bool:
    """Whether "auto" goes by factors: of a full A, small or factorised, with nothing given for iterations alone."""
    if solver.method != "auto" or solver.M is not None or solver.precision is not None or x0 is not None:
        return False
    return isinstance(linear_map, Factored) or (isinstance(linear_map, Dense) and n <= MOST_UNKNOWNS)


def factored(A: Any, hermitian: bool) -> tuple[Factored, list[Any]]:
    """A with its factors, as a map and its tensors."""
    return Factored(), [A, *factors(A, hermitian)]


def factors(A: Any, hermitian: bool) -> tuple[Any, ...]:
    """(L,) for Hermitian A, NaN where it is not positive definite; otherwise (LU, pivots)."""
    A = A.detach()
    if hermitian:
        L, failed = torch.linalg.cholesky_ex(A)
        return (torch.where(failed[..., None, None] > 0, torch.nan, L),)
    LU, pivots, _ = torch.linalg.lu_factor_ex(A)
    return LU, pivots


def _norm(columns: Any) -> Any:
    """Euclidean norms of the columns, safe from overflow in single precision."""
    wide = torch.complex128 if columns.is_complex() else torch.float64
    return torch.linalg.vector_norm(columns.to(wide), dim=-2)


def _check(A: Any, p: Sequence[Any], b: Any) -> None:
    for name, tensor in (("A", A), ("b", b)):
        if not bool(tensor.isfinite().all()):
            at = tuple(torch.nonzero(~tensor.isfinite())[0].tolist())
            raise InputError(f"{name}: entry {at} is {tensor[at].item()}; wanted finite entries")
    if len(p) == 3:
        zero = (p[1].diagonal(dim1=-2, dim2=-1) == 0).any(-1)
        if bool(zero.any()):
            raise SingularError(f"A: {_which(zero)}is exactly singular: elimination met a zero pivot column")
        return
    u = precision_facts(str(A.dtype).removeprefix("torch.")).unit_roundoff
    asymmetry, largest = (A - A.mH).abs().amax((-2, -1)), A.abs().amax((-2, -1))
    skew = asymmetry > 1e3 * u * largest
    if bool(skew.any()):
        raise NotHermitianError(f"A: {_which(skew)}is not Hermitian, which hermitian=True says it is")
    failed = p[1].isnan().any(-1).any(-1)
    if bool(failed.any()):
        raise InputError(
            f"A: {_which(failed)}is not positive definite: Cholesky's factorisation met a pivot that is not positive; "
            "leave out hermitian=True for an indefinite matrix"
        )


def _which(bad: Any) -> str:
    """The first bad system of a batch, in words."""
    return f"system {tuple(torch.nonzero(bad)[0].tolist())} " if bad.ndim else ""


def _judged(x: Any, figures: Any, precision: Any, seconds: float, rtol: float) -> Solution:
    """The Solution of one system, out of its norms."""
    residual, rhs, target, size, matrix = map(float, figures)
    relative = residual / rhs if rhs else 0.0
    tolerance = target / rhs if rhs else rtol
    if residual <= target:
        status, said = Status.CONVERGED, f"at most the {tolerance:.2e} asked for"
    else:
        eta = residual / (matrix * size + rhs)
        status = Status.STAGNATED
        said = (
            f"not the {tolerance:.2e} asked for, a backward error of {eta / precision.unit_roundoff:.1f} u: A is "
            "nearly singular in this precision. Use a wider one, regularise, or ask for less"
        )
    return Solution(
        x=x,
        status=status,
        reason=f"A was factorised. The true residual is {relative:.2e} of ||b||, {said}.",
        iterations=0,
        matvecs=1,
        seconds=seconds,
        relative_residual=relative,
        residual_norm=residual,
        method="exact",
        backend="torch",
        precision=precision.name,
        unit_roundoff=precision.unit_roundoff,
        norms=(residual, size, matrix),
        tolerance=tolerance,
        reference=rhs,
    )


def _empty(b: Any) -> Solution:
    none = np.zeros((*b.shape[:-2], b.shape[-1]))
    return Solution(b, Status.CONVERGED, "There is nothing to solve.", 0, 0, 0.0, none, none, "exact", "torch", "")
