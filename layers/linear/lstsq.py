"""layers.lstsq: the least-squares solution as a differentiable function of the matrix, the right-hand side and damping.

With damping, A stands for [A; damp I] throughout. Among matrices of one rank, x = A^+ b has the differential (Golub &
Pereyra 1973)

    dx = A^+ (db - dA x) + A^+ A^+H dA^H r + (I - A^+ A) dA^H A^+H x,    r = b - A x,

whose second term vanishes where the rows are independent, and whose third where the columns are. Each A^+ is one more
least-squares solve, so that derivatives are differentiated again in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.autograd import forward_ad

from ...errors import InputError
from ...solvers.driver.batch import TELL, warn_of
from ...solvers.least_squares.lstsq import lstsq as drive
from ..tensors import HALF, check_place, check_tensor
from .driver import full_precision
from .maps import to_front
from .plan import BACKWARD, FORWARD, TANGENT, Solves

__all__ = ["lstsq"]


def lstsq(
    A: Any,
    b: Any,
    *,
    damp: Any = 0.0,
    method: str = "auto",
    atol: float = 1e-6,
    btol: float = 1e-6,
    maxiter: int | None = None,
    adjoint_atol: float | None = None,
    adjoint_btol: float | None = None,
    full_rank: bool = True,
    return_solution: bool = False,
) -> Any:
    r"""Minimise ||b - A x||^2 + damp^2 ||x||^2, differentiably in A, b and damp, to any order and in both modes.

    For the gradient g of a loss with respect to x, with :math:`w = A^{+H} g`, that of b is w, and that of A is
    :math:`-w x^H + r q^H`, :math:`q = A^+ w`, where the columns of A are independent.

    Parameters
    ----------
    A : Tensor (..., m, n)
        Full.
    b : Tensor
        Vectors where its shape is (m,) or ``A.shape[:-1]``, otherwise columns (..., m, k); leading dimensions are
        broadcast.
    damp : float or Tensor of no dimension
        At least 0.
    method, atol, btol, maxiter :
        As in ``resolvent.lstsq``.
    adjoint_atol, adjoint_btol : float, optional
        For the solves of derivatives; by default atol and btol.
    full_rank : bool
        A has rank min(m, n). If not, derivatives are those among matrices of the rank that it has, as those of
        ``torch.linalg.pinv`` are, and cost all of the terms; where the rank changes, x has none.
    return_solution : bool
        Return ``(x, Solves)``, which holds the Solution of every solve, those of derivatives as they are done.

    Returns
    -------
    Tensor
        x, (..., n) or (..., n, k). Half-precision input is solved and returned in float32.

    Raises
    ------
    InputError
        For shapes that do not fit, NaN or infinite entries, tolerances and damping out of range.
    TypeError
        For integer tensors, and its subclass BackendError for layouts other than strided and for several devices.

    Warns
    -----
    ConvergenceWarning
        When a tolerance is not met; it begins with "forward solve", "backward solve" or "tangent solve". A gradient
        with respect to x that is not finite makes derivatives NaN, of its own problem only, with no warning.

    Notes
    -----
    Costs: one solve forwards, one with A^H backwards for b, and one more for A.

    References
    ----------
    Golub & Pereyra (1973), "The differentiation of pseudo-inverses and nonlinear least squares problems whose variables
    separate", equation 4.12.

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import lstsq
    >>> A = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    >>> b = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64, requires_grad=True)
    >>> x = lstsq(A, b, atol=1e-12)
    >>> x.sum().backward()
    >>> b.grad
    tensor([0.3333, 0.6667, 0.3333], dtype=torch.float64)
    """
    check_tensor(A, "A")
    check_tensor(b, "b")
    check_place(A, "A", b)
    shape, size = tuple(A.shape), tuple(b.shape)
    if len(shape) < 2:
        raise InputError(f"A: found shape {shape}; wanted a matrix (..., m, n)")
    *lead, m, n = shape
    is_vector = size in ((m,), shape[:-1])
    columns = (*size, 1) if is_vector else size
    try:
        if len(columns) < 2 or columns[-2] != m:
            raise RuntimeError
        batch = torch.broadcast_shapes(tuple(lead), columns[:-2])
    except RuntimeError:
        raise InputError(
            f"b: found shape {size} for A of shape {shape}; wanted {shape[:-1]} (a vector a problem) or "
            f"{(*lead, m, 'k')} (k right-hand sides a problem)"
        ) from None
    dtype = torch.promote_types(A.dtype, b.dtype)
    dtype = torch.float32 if dtype in HALF else dtype
    A = A.to(dtype).expand(*batch, m, n)
    b = b.to(dtype).reshape(columns).expand(*batch, m, columns[-1])
    if isinstance(damp, torch.Tensor) or damp:
        A, b = _damped(A, b, damp)
    terms = (A.shape[-2] >= n or not full_rank, A.shape[-2] < n or not full_rank)
    plan = _Plan(method, (atol, btol), (adjoint_atol, adjoint_btol), maxiter, terms, FORWARD, Solves())
    with full_precision(b):
        x = _LeastSquares.apply(plan, A, b)
    x = x.squeeze(-1) if is_vector else x
    return (x, plan.record) if return_solution else x


def _damped(A: Any, b: Any, damp: Any) -> tuple[Any, Any]:
    """[A; damp I] and [b; 0]."""
    n = A.shape[-1]
    damp = torch.as_tensor(damp, dtype=A.dtype.to_real(), device=A.device)
    if damp.ndim or not (torch._C._are_functorch_transforms_active() or (damp >= 0 and bool(damp.isfinite()))):
        found = tuple(damp.shape) if damp.ndim else damp.item()
        raise InputError(f"damp: found {found}; wanted a finite number of at least 0")
    below = (damp * torch.eye(n, dtype=A.dtype, device=A.device)).expand(*A.shape[:-2], n, n)
    return torch.cat([A, below], -2), torch.cat([b, b.new_zeros(*b.shape[:-2], n, b.shape[-1])], -2)


@dataclass(frozen=True)
class _Plan:
    """All solves of one call.

    Parameters
    ----------
    method : str
    tolerance, derivative_tolerance : (atol, btol)
        For the solve at hand and for those of derivatives.
    maxiter : int, optional
    terms : (bool, bool)
        Whether the differential has its second term, and its third.
    role : str
        What messages call the solve at hand.
    record : Solves
        Where solutions are kept.
    """

    method: str
    tolerance: tuple[float, float]
    derivative_tolerance: tuple[float | None, float | None]
    maxiter: int | None
    terms: tuple[bool, bool]
    role: str
    record: Solves

    def of_derivative(self, role: str, adjoint: bool = False) -> _Plan:
        """For a solve with the same matrix, or with its adjoint, in a derivative."""
        (atol, btol), (own_atol, own_btol) = self.derivative_tolerance, self.tolerance
        tolerance = (own_atol if atol is None else atol, own_btol if btol is None else btol)
        return replace(self, tolerance=tolerance, role=role, terms=self.terms[::-1] if adjoint else self.terms)


class _LeastSquares(torch.autograd.Function):
    """A^+ b for columns b (..., m, k), with derivatives made of itself."""

    @staticmethod
    def forward(plan: _Plan, A: Any, b: Any) -> Any:
        return _run(plan, A, b)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.plan, A, b = inputs
        ctx.save_for_backward(A, b, output)
        ctx.save_for_forward(A, b, output)

    @staticmethod
    def backward(ctx: Any, cotangent: Any) -> tuple[Any, ...]:
        A, b, x = ctx.saved_tensors
        _, wants_A, wants_b = ctx.needs_input_grad
        plan = ctx.plan.of_derivative(BACKWARD)
        adjoint = ctx.plan.of_derivative(BACKWARD, adjoint=True)
        with full_precision(cotangent):
            w = _LeastSquares.apply(adjoint, A.mH, cotangent)
            if not wants_A:
                return None, None, w if wants_b else None
            gradient = -w @ x.mH
            if plan.terms[0]:
                gradient = gradient + (b - A @ x) @ _LeastSquares.apply(plan, A, w).mH
            if plan.terms[1]:
                s = _LeastSquares.apply(adjoint, A.mH, x)
                gradient = gradient + s @ (cotangent - A.mH @ w).mH
        return None, gradient, w if wants_b else None

    @staticmethod
    def jvp(ctx: Any, _: Any, dA: Any, db: Any) -> Any:
        with forward_ad._set_fwd_grad_enabled(True):
            A, b, x = (forward_ad.unpack_dual(tensor).primal for tensor in ctx.saved_tensors)
            plan = ctx.plan.of_derivative(TANGENT)
            adjoint = ctx.plan.of_derivative(TANGENT, adjoint=True)
            with full_precision(x):
                if dA is None:
                    return _LeastSquares.apply(plan, A, db)
                change = -dA @ x if db is None else db - dA @ x
                tangent = _LeastSquares.apply(plan, A, change)
                if plan.terms[0]:
                    c = _LeastSquares.apply(adjoint, A.mH, dA.mH @ (b - A @ x))
                    tangent = tangent + _LeastSquares.apply(plan, A, c)
                if plan.terms[1]:
                    p = dA.mH @ _LeastSquares.apply(adjoint, A.mH, x)
                    tangent = tangent + p - _LeastSquares.apply(plan, A, A @ p)
            return tangent

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], plan: _Plan, A: Any, b: Any) -> Any:
        A, b = (to_front(tensor, dim, info.batch_size) for tensor, dim in zip((A, b), in_dims[1:], strict=True))
        return _LeastSquares.apply(plan, A, b), 0


def _run(plan: _Plan, A: Any, b: Any) -> Any:
    """The numbers, by the one driver of the solvers; warns where the tolerance is not met."""
    finite = None
    with torch.no_grad():
        if plan.role != FORWARD and not bool(b.isfinite().all()):
            finite = b.isfinite().all(-2, keepdim=True)
            b = torch.where(finite, b, 0)
        before = TELL.set(lambda solution: None)
        try:
            (atol, btol), limits = plan.tolerance, {"maxiter": plan.maxiter}
            solution = drive(A.resolve_conj(), b.resolve_conj(), method=plan.method, atol=atol, btol=btol, **limits)
        except InputError as error:
            raise type(error)(f"{plan.role} solve: {error}" if plan.role != FORWARD else str(error)) from None
        finally:
            TELL.reset(before)
        plan.record.add(plan.role, solution)
        if not solution.converged:
            warn_of(solution, f"{plan.role} solve: ")
        x = solution.x.to(b.dtype).reshape(*b.shape[:-2], A.shape[-1], b.shape[-1])
        return x if finite is None else torch.where(finite, x, torch.nan)
