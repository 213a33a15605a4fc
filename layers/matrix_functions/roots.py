"""Square roots, inverse square roots and inverse p-th roots, as differentiable functions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import Any

import torch

from ...errors import InputError
from ...solvers.matrix_functions.inverse_root import inverse_root as rv_inverse_root
from ...solvers.matrix_functions.newton_schulz import Schedule
from ...solvers.matrix_functions.sqrt import invsqrtm as rv_invsqrtm
from ...solvers.matrix_functions.sqrt import sqrtm as rv_sqrtm
from .equations import Equation
from .forward import Solver, checked_matrix
from .implicit import SelfAdjoint, hermitian_part
from .inverses import inverse
from .lyapunov import derivative_equation
from .unrolled import coupled, inverse_roots
from .ways import Way, differentiable

__all__ = ["inverse_root", "invsqrtm", "sqrtm"]


@dataclass(frozen=True)
class SquareRoot(SelfAdjoint):
    """S with S S = A: S dS + dS S = dA."""

    solver: Solver
    equation: Equation

    def run(self, *tensors: Any) -> Any:
        return hermitian_part(self.solver(tensors[0]))

    def derivative(self, A: Any, x: Any, E: Any) -> Any:
        return self.equation(x, hermitian_part(E))


@dataclass(frozen=True)
class InverseRoot(SelfAdjoint):
    """Z with Z^p = A^-1: the sum of Z^i dZ Z^(p-1-i) is -A^-1 dA A^-1, in which A^-1 is Z^p."""

    solver: Solver
    equation: Equation
    p: int

    def run(self, *tensors: Any) -> Any:
        return hermitian_part(self.solver(tensors[0]))

    def derivative(self, A: Any, x: Any, E: Any) -> Any:
        inverse = torch.linalg.matrix_power(x, self.p)
        return self.equation(x, -inverse @ hermitian_part(E) @ inverse)


def sqrtm(
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
    r"""The positive square root of a Hermitian positive semidefinite matrix, differentiably.

    Parameters
    ----------
    A : Tensor (..., n, n)
        Real symmetric or complex Hermitian. Half precision is worked on and returned in float32.
    method : {"implicit", "unrolled", "checkpoint"}
        As in ``orthogonalize``.
    singular : {"raise", "clamp", "zero"}
        Of implicit derivatives, as in ``orthogonalize``, where sums of two eigenvalues of the root are zero to
        rounding: relative to the largest, the square root of 2 n u. "zero" gives the derivative along matrices of the
        same rank.
    rtol : float, optional
        Of the forward solve, as in ``resolvent.sqrtm``; by default 1e-12 in double precision and 1e-5 in single,
        or what rounding allows.
    schedule, lower, scaling :
        As in ``resolvent.sqrtm``, without "power" for unrolled iterations.
    equations : {"eigh", "products"}
        As in ``orthogonalize``.

    Returns
    -------
    Tensor (..., n, n)

    Raises
    ------
    InputError, TypeError, NotHermitianError
        For bad input, as in ``resolvent.sqrtm``, and other names than those above.
    SingularError
        In the derivative, with ``singular="raise"``.

    Warns
    -----
    ConvergenceWarning
        When the forward solve did not reach its tolerance.

    Notes
    -----
    The function is that of the Hermitian part of A: gradients are symmetric (Hermitian), and finite differences agree
    with them along symmetric changes. Unrolled iterations take that part of any A, without a check.

    The derivative in the direction E solves :math:`S X + X S = E`, and so does the cotangent of A for that of S.

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import sqrtm
    >>> A = torch.tensor([[5.0, 4.0], [4.0, 5.0]], dtype=torch.float64, requires_grad=True)
    >>> sqrtm(A).trace().backward()
    >>> torch.allclose(A.grad, 0.5 * torch.linalg.inv(sqrtm(A.detach())))
    True
    """
    way = Way(method, rtol, schedule, lower, scaling)
    solver = Solver(rv_sqrtm, "sqrtm", rtol, way.parameters)
    rule = SquareRoot(solver, derivative_equation(equations, "sqrtm", singular, root=2))
    iteration = partial(coupled, scaling=scaling, inverse=False)
    return differentiable(way, rule, iteration, partial(way.polynomials, root=2), checked_matrix(A, square=True))


def invsqrtm(
    A: Any,
    *,
    method: str = "implicit",
    rtol: float | None = None,
    schedule: Schedule | str | None = None,
    lower: float | None = None,
    scaling: str = "schatten-8",
    equations: str = "eigh",
) -> Any:
    r"""The inverse of the positive square root of a Hermitian positive definite matrix, differentiably.

    Parameters
    ----------
    A, method, rtol, schedule, lower, scaling, equations :
        As in ``sqrtm``.

    Returns
    -------
    Tensor (..., n, n)

    Raises
    ------
    InputError, TypeError, NotHermitianError, SingularError
        As in ``resolvent.invsqrtm``.

    Warns
    -----
    ConvergenceWarning
        When the forward solve did not reach its tolerance: of a matrix that is singular to rounding.

    Notes
    -----
    Of the Hermitian part of A, as in ``sqrtm``. The derivative in the direction E solves
    :math:`Z X + X Z = -A^{-1} E A^{-1}`, in which :math:`A^{-1} = Z Z`.

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import invsqrtm
    >>> A = torch.tensor([[5.0, 4.0], [4.0, 5.0]], dtype=torch.float64, requires_grad=True)
    >>> invsqrtm(A).trace().backward()
    >>> torch.allclose(A.grad, -0.5 * torch.linalg.matrix_power(invsqrtm(A.detach()), 3))
    True
    """
    way = Way(method, rtol, schedule, lower, scaling)
    solver = Solver(rv_invsqrtm, "invsqrtm", rtol, way.parameters)
    rule = InverseRoot(solver, derivative_equation(equations, "invsqrtm"), 2)
    iteration = partial(coupled, scaling=scaling, inverse=True)
    return differentiable(way, rule, iteration, partial(way.polynomials, root=2), checked_matrix(A, square=True))


def inverse_root(
    A: Any,
    p: int,
    *,
    method: str = "implicit",
    rtol: float | None = None,
    schedule: Schedule | str | None = None,
    lower: float | None = None,
    scaling: str = "schatten-8",
) -> Any:
    r"""A^(-1/p) of a Hermitian positive definite matrix, differentiably.

    Parameters
    ----------
    A : Tensor (..., n, n)
    p : int
        At least 1.
    method, rtol, schedule, lower, scaling :
        As in ``sqrtm``, with a schedule for ``root=p``.

    Returns
    -------
    Tensor (..., n, n)

    Raises
    ------
    InputError, TypeError, NotHermitianError, SingularError
        As in ``resolvent.inverse_root``.

    Warns
    -----
    ConvergenceWarning
        When the forward solve did not reach its tolerance.

    Notes
    -----
    Of the Hermitian part of A, as in ``sqrtm``. The derivative X in the direction E solves
    :math:`\sum_{i<p} Z^i X Z^{p-1-i} = -A^{-1} E A^{-1}`, in which :math:`A^{-1} = Z^p`, in the eigenvectors of Z. For
    p = 2 ``invsqrtm`` is the more accurate iteration.

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import inverse_root
    >>> A = torch.tensor([[5.0, 4.0], [4.0, 5.0]], dtype=torch.float64, requires_grad=True)
    >>> inverse_root(A, 4).trace().backward()
    >>> torch.allclose(A.grad, -0.25 * torch.linalg.matrix_power(inverse_root(A.detach(), 4), 5))
    True
    """
    if not isinstance(p, Integral) or isinstance(p, bool):
        raise TypeError(f"p: found {p!r}; wanted an integer of at least 1")
    if p == 1:
        if schedule is not None:
            raise InputError("schedule: found one for p = 1; wanted none, since that is the inverse")
        return inverse(A, positive=True, method=method, rtol=rtol, lower=lower, scaling=scaling)
    p = int(p)
    A, way = checked_matrix(A, square=True), Way(method, rtol, schedule, lower, scaling)
    solver = Solver(rv_inverse_root, "inverse_root", rtol, {"p": p, **way.parameters})
    rule = InverseRoot(solver, Equation(p, name="inverse_root"), p)
    iteration = partial(inverse_roots, scaling=scaling, p=p)
    return differentiable(way, rule, iteration, partial(way.polynomials, root=p), A)
