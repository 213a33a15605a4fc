"""The matrix sign, as a differentiable function."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from ...solvers.matrix_functions.method import LOWER
from ...solvers.matrix_functions.newton_schulz import Schedule
from ...solvers.matrix_functions.sign import matrix_sign as rv_matrix_sign
from .equations import Equation
from .forward import Solver, checked_matrix, of_finite
from .implicit import MatrixFunction, SelfAdjoint, hermitian_part, implicit
from .lyapunov import derivative_equation
from .unrolled import newton_sign, orthogonal
from .ways import Way, differentiable

__all__ = ["matrix_sign"]


@dataclass(frozen=True)
class HermitianSign(SelfAdjoint):
    """N of A = N S = S N: S dN + dN S = dA - N dA N."""

    solver: Solver
    equation: Equation

    def run(self, *tensors: Any) -> Any:
        return hermitian_part(self.solver(tensors[0]))

    def derivative(self, A: Any, x: Any, E: Any) -> Any:
        E = hermitian_part(E)
        return self.equation(hermitian_part(A @ x), E - x @ E @ x)


@dataclass(frozen=True)
class Sign(MatrixFunction):
    """The sign of any matrix: that of [[A, E], [0, A]] has its derivative in the direction E above the diagonal."""

    solver: Solver
    of_blocks: bool = False

    def run(self, *tensors: Any) -> Any:
        return of_finite(self.solver, *tensors) if self.of_blocks else self.solver(*tensors)

    def derivative(self, A: Any, x: Any, E: Any) -> Any:
        n = A.shape[-1]
        A, E = torch.broadcast_tensors(A, E)
        above, below = torch.cat([A, E], dim=-1), torch.cat([torch.zeros_like(A), A], dim=-1)
        return implicit(replace(self, of_blocks=True), torch.cat([above, below], dim=-2))[..., :n, n:].contiguous()


def matrix_sign(
    A: Any,
    *,
    hermitian: bool = True,
    method: str = "implicit",
    singular: str = "raise",
    rtol: float | None = None,
    schedule: Schedule | str | None = None,
    lower: float | None = None,
    scaling: str = "schatten-8",
    equations: str = "eigh",
) -> Any:
    r"""The matrix sign, differentiably: every eigenvalue becomes 1 or -1, as its real part is positive or negative.

    Parameters
    ----------
    A : Tensor (..., n, n)
        Real or complex. Half precision is worked on and returned in float32.
    hermitian : bool
        The function is that of the Hermitian part of A, with Hermitian gradients. Otherwise that of A, by Newton's
        iteration.
    method : {"implicit", "unrolled", "checkpoint"}
        As in ``orthogonalize``.
    singular, equations :
        As in ``orthogonalize``, for Hermitian A; what is to be zero are sums of moduli of eigenvalues.
    rtol, schedule, lower, scaling :
        As in ``resolvent.matrix_sign``; rtol by default 1e-12 in double precision and 1e-5 in single,
        or what rounding allows. Of an A that is not Hermitian, unrolled, ``lower`` is how near to the imaginary axis
        eigenvalues may lie, relative to their moduli; by default 1e-3.

    Returns
    -------
    Tensor (..., n, n)

    Raises
    ------
    InputError, TypeError, NotHermitianError, SingularError
        As in ``resolvent.matrix_sign`` and ``orthogonalize``.

    Warns
    -----
    ConvergenceWarning
        When a solve did not reach its tolerance: above all for eigenvalues on the imaginary axis.

    Notes
    -----
    For Hermitian A = N S, with S = (A A)^(1/2), the derivative in the direction E solves
    :math:`S X + X S = E - N E N`. Of another A it is the upper right block of the sign of [[A, E], [0, A]].

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import matrix_sign
    >>> A = torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64, requires_grad=True)
    >>> N = matrix_sign(A)
    >>> torch.allclose(N, torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64))
    True
    >>> N[0, 0].backward()
    >>> torch.allclose(A.grad, torch.tensor([[0.25, 0.0], [0.0, -0.25]], dtype=torch.float64))
    True
    """
    A, way = checked_matrix(A, square=True), Way(method, rtol, schedule, lower, scaling)
    if not hermitian:
        general = Sign(Solver(rv_matrix_sign, "matrix_sign", rtol, {"hermitian": False, **way.parameters}))
        return differentiable(way, general, newton_sign, partial(_newton_steps, way), A)
    solver = Solver(rv_matrix_sign, "matrix_sign", rtol, {"hermitian": True, **way.parameters})
    rule = HermitianSign(solver, derivative_equation(equations, "matrix_sign", singular))
    A = A if method == "implicit" else hermitian_part(A)
    return differentiable(way, rule, partial(orthogonal, scaling=scaling), partial(way.polynomials, root=1), A)


def _newton_steps(way: Way, A: Any) -> range:
    """As many of Newton's steps as take every eigenvalue to the tolerance, scaled or not.

    z -> (z + 1/z) / 2 squares w = (z - 1) / (z + 1), and |w|^2 <= (1 - d) / (1 + d) for |z| = 1 and Re z >= d.
    """
    nearest = LOWER if way.lower is None else way.lower
    return range(max(1, math.ceil(math.log2(-math.log(way.tolerance(A.dtype)) / nearest))))
