"""The orthogonal factor of a matrix and its polar decomposition, as differentiable functions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ...naming import choice
from ...solvers.matrix_functions.decompose import orthogonalize as rv_orthogonalize
from ...solvers.matrix_functions.decompose import polar as rv_polar
from ...solvers.matrix_functions.newton_schulz import Schedule
from ...solvers.matrix_functions.polar import SIDES
from .equations import Equation
from .forward import Solver, checked_matrix
from .implicit import Rule, SelfAdjoint, hermitian_part, implicit
from .lyapunov import derivative_equation
from .singular import singular_error
from .unrolled import orthogonal
from .ways import Way, differentiable

__all__ = ["orthogonalize", "polar"]


@dataclass(frozen=True)
class Orthogonal(SelfAdjoint):
    """U of A = U H, for A with no fewer rows than columns."""

    solver: Solver
    equation: Equation

    def run(self, *tensors: Any) -> Any:
        return self.solver(tensors[0])

    def derivative(self, A: Any, x: Any, E: Any) -> Any:
        U, H = x, hermitian_part(x.mH @ A)
        C = U.mH @ E
        if A.shape[-2] == A.shape[-1] and self.equation.singular == "raise":
            return implicit(Complete(self.equation.name), U) @ self.equation(H, C - C.mH)
        # The inverse of H solves H X + X H = 2 I, in the same eigenvectors.
        right = torch.stack(
            torch.broadcast_tensors(C - C.mH, 2 * torch.eye(A.shape[-1], dtype=A.dtype, device=A.device))
        )
        omega, inverse = self.equation(H.unsqueeze(0), right).unbind(0)
        return U @ omega + (E - U @ C) @ inverse


@dataclass(frozen=True)
class Complete(Rule):
    """U as it is, or an error where A lacks rank and U is a partial isometry."""

    name: str

    def run(self, *tensors: Any) -> Any:
        (U,) = tensors
        missing = U.shape[-1] - torch.linalg.matrix_norm(U) ** 2
        if bool((missing > 0.5).any()):
            raise singular_error(self.name)
        return U.clone()

    def tangent(self, tensors: Any, x: Any, tangents: Any) -> Any:
        return tangents[0]

    def cotangents(self, tensors: Any, x: Any, cotangent: Any) -> tuple[Any, ...]:
        return (cotangent,)


def orthogonalize(
    A: Any,
    *,
    method: str = "implicit",
    singular: str = "raise",
    rtol: float | None = None,
    schedule: Schedule | str | None = None,
    lower: float | None = None,
    scaling: str = "schatten-8",
    equations: str = "eigh",
) -> Any:
    r"""The matrix with orthonormal columns (rows, of a wide A) that is nearest to A, differentiably.

    Parameters
    ----------
    A : Tensor (..., m, n)
        Real or complex. Half precision is worked on and returned in float32.
    method : {"implicit", "unrolled", "checkpoint"}
        "implicit" gives the derivatives of the orthogonal factor, whatever computed it. "unrolled" gives the function
        that the schedule computes, not iterated further, and its own derivatives, by autograd through all steps;
        "checkpoint" the same, keeping no iterate between the passes, for twice the products.
    singular : {"raise", "clamp", "zero"}
        Of implicit derivatives, where U jumps because :math:`\sigma_i + \sigma_j = 0` to rounding for two singular
        values (or, unless A is real and square, one is zero): an error; the sum is replaced by 2 n u for the unit
        roundoff u, relative to the largest; or these components are zero. Where they are multiplied by zero in any
        case, there is no error. Singular values that are equal and not zero do no harm.
    rtol : float, optional
        Of the forward solve, as in ``resolvent.polar``; by default 1e-12 in double precision and 1e-5 in single,
        or what rounding allows.
    schedule, lower, scaling :
        As in ``resolvent.orthogonalize``, without "aol", which is another function; for unrolled iterations without
        "power".
    equations : {"eigh", "products"}
        Solve the equations of implicit derivatives in eigenvectors, which on a CPU takes a fifth of the time, or by
        products alone, for which the smallest sums must not be zero to rounding.

    Returns
    -------
    Tensor (..., m, n)

    Raises
    ------
    InputError, TypeError
        For bad input, as in ``resolvent.orthogonalize``, and other names than those above.
    SingularError
        In the derivative, with ``singular="raise"``.

    Warns
    -----
    ConvergenceWarning
        When the forward solve did not reach its tolerance.

    Notes
    -----
    With :math:`C = U^H E`, :math:`\Omega` from :math:`H\Omega + \Omega H = C - C^H` and A = U H, the derivative in the
    direction E is :math:`U\Omega + (E - UC)H^{-1}`, and so is the cotangent of A for E that of U. It depends on U and A
    by products and by solutions of Lyapunov's equation, which are differentiated likewise: there are derivatives of any
    order, in any mix of modes, and under ``torch.func``.

    Few steps of a schedule, as Muon takes, are another function than the orthogonal factor, with other derivatives:
    small singular values are multiplied by the slope of the composite, 485 for Muon's five, and not by one over their
    sums.

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import orthogonalize
    >>> A = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, 3.0]], dtype=torch.float64, requires_grad=True)
    >>> U = orthogonalize(A)
    >>> torch.allclose(U.mT @ U, torch.eye(2, dtype=torch.float64))
    True
    >>> U[0, 0].backward()
    >>> torch.allclose((A * A.grad).sum(), torch.zeros((), dtype=torch.float64))  # U does not depend on the size of A
    True
    """
    way = Way(method, rtol, schedule, lower, scaling)
    return _factor(rv_orthogonalize, "orthogonalize", checked_matrix(A), way, singular, equations)


def polar(
    A: Any,
    *,
    side: str = "right",
    method: str = "implicit",
    singular: str = "raise",
    rtol: float | None = None,
    schedule: Schedule | str | None = None,
    lower: float | None = None,
    scaling: str = "schatten-8",
    equations: str = "eigh",
) -> tuple[Any, Any]:
    r"""The polar decomposition A = U H, U orthonormal and H Hermitian positive semidefinite, differentiably.

    Parameters
    ----------
    A : Tensor (..., m, n)
    side : {"right", "left"}
        A = U H with H of shape (..., n, n), or A = H U with H of shape (..., m, m).
    method, singular, rtol, schedule, lower, scaling, equations :
        As in ``orthogonalize``.

    Returns
    -------
    U : Tensor (..., m, n)
    H : Tensor (..., n, n) or (..., m, m)

    Raises
    ------
    InputError, TypeError, SingularError
        As in ``orthogonalize``.

    Warns
    -----
    ConvergenceWarning
        When the forward solve did not reach its tolerance.

    Notes
    -----
    H is the Hermitian part of :math:`U^H A`, and differentiated as such: its derivative stays bounded where singular
    values go to zero, and where it does not exist is chosen as ``singular`` says. It is Hermitian, and of its cotangent
    the Hermitian part alone counts.

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import polar
    >>> A = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, 3.0]], dtype=torch.float64, requires_grad=True)
    >>> U, H = polar(A)
    >>> torch.allclose(U @ H, A)
    True
    >>> H.diagonal().sum().backward()  # the nuclear norm, whose gradient is U
    >>> torch.allclose(A.grad, U)
    True
    """
    side = choice("side", side, SIDES, more=" (A = U H or A = H U)")
    A = checked_matrix(A)
    U = _factor(rv_polar, "polar", A, Way(method, rtol, schedule, lower, scaling), singular, equations)
    return U, hermitian_part(U.mH @ A if side == "right" else A @ U.mH)


def _factor(function: Any, name: str, A: Any, way: Way, singular: str, equations: str) -> Any:
    """U, by that of A^H where A is wide."""
    wide = A.shape[-2] < A.shape[-1]
    A = A.mH if wide else A
    solver = Solver(function, name, way.rtol, way.parameters)
    rule = Orthogonal(solver, derivative_equation(equations, name, singular))
    U = differentiable(way, rule, partial(orthogonal, scaling=way.scaling), partial(way.polynomials, root=1), A)
    return U.mH if wide else U
