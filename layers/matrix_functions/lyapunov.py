"""Lyapunov's and Sylvester's equations, as differentiable functions, and who solves them in derivatives."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from ...errors import InputError
from ...naming import choice
from ...solvers.matrix_functions.lyapunov import solve_lyapunov as rv_solve_lyapunov
from ...solvers.matrix_functions.lyapunov import solve_sylvester as rv_solve_sylvester
from ...solvers.matrix_functions.newton_schulz import Schedule
from ..tensors import check_place
from .equations import Equation
from .forward import Solver, checked_matrix
from .singular import SINGULAR
from .unrolled import block_sign
from .ways import Way, differentiable

__all__ = ["EQUATIONS", "derivative_equation", "solve_lyapunov", "solve_sylvester"]

EQUATIONS = ("eigh", "products")


def derivative_equation(equations: Any, name: str, singular: Any = "raise", root: int = 1) -> Equation:
    """Lyapunov's equation in the derivatives of a function, solved as the caller wants it."""
    equations, singular = choice("equations", equations, EQUATIONS), choice("singular", singular, SINGULAR)
    if equations == "eigh":
        return Equation(singular=singular, root=root, name=name)
    if singular != "raise":
        raise InputError(f'singular: found {singular!r} with equations="products"; wanted equations="eigh" for that')
    return Equation(name=name, solver=Solver(rv_solve_lyapunov, f"derivative of {name}", None))


def solve_lyapunov(
    A: Any,
    C: Any,
    *,
    method: str = "implicit",
    equations: str = "eigh",
    rtol: float | None = None,
    schedule: Schedule | str | None = None,
    lower: float | None = None,
    scaling: str = "schatten-8",
) -> Any:
    r"""Solve A X + X A = C for a Hermitian positive definite A, differentiably.

    Parameters
    ----------
    A : Tensor (..., n, n)
        Real symmetric or complex Hermitian. Half precision is worked on and returned in float32.
    C : Tensor (..., n, n)
        Any matrix; leading dimensions are broadcast.
    method : {"implicit", "unrolled", "checkpoint"}
        As in ``orthogonalize``.
    equations : {"eigh", "products"}
        Solve the equations of derivatives in the eigenvectors of A, or by products alone, as forwards.
    rtol : float, optional
        Of the forward solve, as in ``resolvent.solve_lyapunov``; by default 1e-12 in double precision and 1e-5 in
        single, or what rounding allows.
    schedule, lower, scaling :
        As in ``resolvent.solve_lyapunov``, without "power" for unrolled iterations.

    Returns
    -------
    Tensor (..., n, n)

    Raises
    ------
    InputError, TypeError, NotHermitianError, SingularError
        As in ``resolvent.solve_lyapunov``.

    Warns
    -----
    ConvergenceWarning
        When a solve did not reach its tolerance.

    Notes
    -----
    The map from C to X is self-adjoint: the cotangent W of C solves :math:`A W + W A = G` for that of X, and that of A
    is the Hermitian part of :math:`-(W X^H + X^H W)`. Both are solutions of such equations and products, so that there
    are derivatives of any order.

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import solve_lyapunov
    >>> A = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    >>> C = torch.eye(2, dtype=torch.float64, requires_grad=True)
    >>> solve_lyapunov(A, C).trace().backward()
    >>> torch.allclose(C.grad, 0.5 * torch.linalg.inv(A.detach()))
    True
    """
    A, C = _checked(("A", "C"), A, C)
    if C.shape[-2:] != A.shape[-2:]:
        raise InputError(f"C: found shape {tuple(C.shape)}; wanted (..., {A.shape[-1]}, {A.shape[-1]}), to fit A")
    way = Way(method, rtol, schedule, lower, scaling)
    solver = Solver(rv_solve_lyapunov, "solve_lyapunov", rtol, way.parameters)
    derived = derivative_equation(equations, "solve_lyapunov")
    return _solution(way, Equation(name="solve_lyapunov", solver=solver, derived=derived), A, C)


def solve_sylvester(
    A: Any,
    B: Any,
    C: Any,
    *,
    method: str = "implicit",
    equations: str = "eigh",
    rtol: float | None = None,
    schedule: Schedule | str | None = None,
    lower: float | None = None,
    scaling: str = "schatten-8",
) -> Any:
    r"""Solve A X + X B = C for Hermitian positive definite A and B, differentiably.

    Parameters
    ----------
    A, B : Tensor (..., m, m) and (..., n, n)
        Real symmetric or complex Hermitian.
    C : Tensor (..., m, n)
        Leading dimensions are broadcast.
    method, equations, rtol, schedule, lower, scaling :
        As in ``solve_lyapunov``.

    Returns
    -------
    Tensor (..., m, n)

    Raises
    ------
    InputError, TypeError, NotHermitianError, SingularError
        As in ``resolvent.solve_sylvester``.

    Warns
    -----
    ConvergenceWarning
        When a solve did not reach its tolerance.

    Notes
    -----
    The cotangent W of C solves :math:`A W + W B = G` for that of X, and those of A and B are the Hermitian parts of
    :math:`-W X^H` and :math:`-X^H W`.

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import solve_sylvester
    >>> A = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    >>> B, C = torch.tensor([[3.0]], dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64)
    >>> X = solve_sylvester(A, B, C)
    >>> X.sum().backward()
    >>> torch.allclose(A @ X + X @ B, C), torch.allclose(A.grad, torch.full((2, 2), -1 / 36, dtype=torch.float64))
    (True, True)
    """
    A, B, C = _checked(("A", "B", "C"), A, B, C)
    if C.shape[-2:] != (A.shape[-1], B.shape[-1]):
        raise InputError(f"C: found shape {tuple(C.shape)}; wanted (..., {A.shape[-1]}, {B.shape[-1]}), to fit A and B")
    way = Way(method, rtol, schedule, lower, scaling)
    solver = Solver(rv_solve_sylvester, "solve_sylvester", rtol, way.parameters)
    derived = derivative_equation(equations, "solve_sylvester")
    if equations == "products":
        derived = Equation(solver=Solver(rv_solve_sylvester, "derivative of solve_sylvester", None))
    return _solution(way, Equation(solver=solver, derived=derived), A, B, C)


def _solution(way: Way, equation: Equation, *tensors: Any) -> Any:
    """Of the equation, by the sign of its block matrix."""
    steps = partial(way.polynomials, root=1, eigenvalues=True)
    return differentiable(way, equation, partial(block_sign, scaling=way.scaling), steps, *tensors)


def _checked(names: tuple[str, ...], *tensors: Any) -> list[Any]:
    """Coefficients and right-hand side in one type, on one device, with as many leading dimensions that fit."""
    *coefficients, C = zip(names, tensors, strict=True)
    found = [checked_matrix(A, name, square=True) for name, A in coefficients] + [checked_matrix(C[1], C[0])]
    for name, tensor in zip(names[1:], found[1:], strict=True):
        check_place(tensor, name, found[0], names[0])
    dtype = found[0].dtype
    for tensor in found[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    leads = [tuple(tensor.shape[:-2]) for tensor in found]
    try:
        lead = torch.broadcast_shapes(*leads)
    except RuntimeError:
        raise InputError(f"{', '.join(names)}: found leading dimensions {leads}; wanted some that fit") from None
    ones = [(1,) * (len(lead) - len(own)) for own in leads]
    return [tensor.to(dtype).reshape(*more, *tensor.shape) for more, tensor in zip(ones, found, strict=True)]
