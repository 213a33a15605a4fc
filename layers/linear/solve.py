"""layers.solve: the solution of a linear system as a differentiable function of the system."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.autograd import forward_ad

from ...errors import BackendError, InputError
from ..tensors import HALF, check_place, check_tensor
from .exact import factored, is_cheap
from .implicit import linear_solve
from .maps import Dense, LinearMap, MatrixFree, Pattern, Sparse
from .plan import Plan, Solver, Solves, checked_tolerance, plain_solvers

if TYPE_CHECKING:
    from ...solvers.methods import MethodName

__all__ = ["Solves", "solve"]


def solve(
    A: Any,
    b: Any,
    *,
    params: Sequence[Any] = (),
    method: Literal["auto", "exact"] | MethodName = "auto",
    x0: Any = None,
    M: Any = None,
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    precision: Any = None,
    hermitian: bool = False,
    rmatvec: Callable[..., Any] | None = None,
    adjoint_method: Literal["auto", "exact"] | MethodName | None = None,
    adjoint_parameters: Mapping[str, Any] | None = None,
    adjoint_M: Any = None,
    adjoint_rtol: float | None = None,
    adjoint_atol: float = 0.0,
    adjoint_maxiter: int | None = None,
    return_solution: bool = False,
    **parameters: Any,
) -> Any:
    r"""Solve A x = b by any method, differentiably in A, b and the parameters of a matrix-free A.

    Derivatives are implicit: each is one more solve, with A in forward mode and with :math:`A^H` in reverse mode, and
    no iterate is stored. For the gradient g of a loss with respect to x, that of b is :math:`w = A^{-H} g` and that of
    A is :math:`-w x^H`: in full for a full A, on the stored entries alone for a sparse one. As with
    ``torch.linalg.solve`` it is not symmetrised, also where the method needs a Hermitian A: parametrise A by what is
    free in it.

    Parameters
    ----------
    A : Tensor (..., n, n), sparse CSR tensor (n, n), callable or Module
        A callable multiplies: ``A(x, *params)`` is A x for x of shape (n,), linear in x. Of a Module the parameters
        and buffers are found. An object with ``matvec`` serves as well.
    b : Tensor
        Vectors where its shape is (n,) or ``A.shape[:-1]``, otherwise columns (..., n, k), as for
        ``torch.linalg.solve``; leading dimensions are broadcast. Every column is a system that stops by itself.
    params : sequence of Tensors
        What a callable depends on; other tensors that it holds must not require gradients. For a CSR tensor A,
        ``params=(values,)``, of shape (..., entries), stand in for its values, which gives double backward, forward
        mode, ``vmap`` and batches: torch differentiates what it makes of a CSR tensor itself once and no further.
    method : str
        "exact" factorises a full A; a name in ``resolvent.METHODS``; or "auto". That factorises a full A of at most
        1024 unknowns unless x0, M or precision is given; otherwise, or where the factors do not meet the tolerance,
        it chooses as ``resolvent.solve`` does, and factorises a full A that no method there fits.
    x0 : Tensor like b, optional
        First guess. No gradient flows to it.
    M, precision :
        As in ``resolvent.solve``.
    rtol, atol, maxiter :
        For A x = b: stop when ||b - A x|| <= max(rtol ||b||, atol), which "exact" is held to as well.
    hermitian : bool
        A is Hermitian whatever its parameters are: "exact" then uses Cholesky's factorisation, and needs it positive
        definite, and "auto" tries it; the adjoint of a callable is itself.
    rmatvec : callable, optional
        ``rmatvec(x, *params)`` is A^H x for a callable A; by default it is derived by ``torch.func.vjp``.
    adjoint_method, adjoint_parameters, adjoint_M : optional
        For solves with A^H; by default as for A, with sweeps the other way and the adjoint of M.
    adjoint_rtol, adjoint_atol, adjoint_maxiter : optional
        For the solves of derivatives of both modes; rtol and maxiter by default. adjoint_atol is in the units of the
        gradient with respect to x.
    return_solution : bool
        Return ``(x, Solves)``, which holds the Solution of every solve, those of derivatives as they are done.
    **parameters
        Of the method: ``omega``, ``interval``, ``sweep``, ``order``, ``accelerate``, ``flexible``.

    Returns
    -------
    Tensor
        x, in the shape of b (broadcast), without convergence the best iterate met. Half-precision input is solved and
        returned in float32, inside ``torch.autocast`` too, which is switched off for the solve.

    Raises
    ------
    InputError
        For shapes that do not fit, NaN or infinite entries, a tolerance out of range, an unknown method or parameter,
        tensors that require gradients and are hidden in a callable, a second derivative through a CSR tensor; with
        "exact" and ``hermitian``, an A that is not positive definite. From the backward solve too, whose messages say
        so.
    NotHermitianError
        Where the method needs a Hermitian A and the entries show that it is not.
    SingularError
        With "exact", for an exactly singular A.
    TypeError
        For integer tensors. Its subclass BackendError for other layouts than strided and CSR, and several devices.

    Warns
    -----
    ConvergenceWarning
        When a tolerance is not met; it begins with "forward solve", "backward solve" or "tangent solve". A gradient
        with respect to x that is not finite makes derivatives NaN, of its own system only, with such a warning.

    Notes
    -----
    Costs: one solve forwards, one with A^H backwards, whose result is that of the derivative of b; for the gradient of
    A one outer product, for that of parameters one ``vjp`` of a product. "exact" factorises once for both.

    What a truncated solve does to the gradient: let :math:`r = b - A\tilde x` and :math:`s = g - A^H\tilde w` be the
    residuals. The computed gradient of A, :math:`\tilde G = -\tilde w\tilde x^H`, differs from that of the exact
    solution for the same g by

    .. math:: \|\tilde G - G\|_F \le \|A^{-1}\|_2\,(\|s\|\,\|\tilde x\| + \|w\|\,\|r\|)

    and that of b by at most :math:`\|A^{-1}\|_2\|s\|`, since :math:`\tilde x - x = -A^{-1}r` and
    :math:`\tilde w - w = -A^{-H}s`. With tolerances :math:`\tau` forwards and :math:`\tau'` backwards that is

    .. math:: \|\tilde G - G\|_F \le (\kappa(\tau + \tau') + \kappa^2\tau\tau')\,\|G\|_F .

    Both tolerances matter alike for A, the backward one alone for b. The error that g inherits from being taken at
    :math:`\tilde x` comes on top, :math:`\|A^{-1}\|_2\|r\|` times a Lipschitz constant of the loss's gradient. The
    gradient of the iterate itself, as backpropagation through the iterations would give, is something else: finite
    differences of a truncated solve agree with this one only as far as the solve converges.

    ``torch.compile`` keeps the solve of a full A in one graph, as a node that runs eagerly; with a sparse or
    matrix-free A, M, return_solution or a precision that is no string it breaks the graph. Compiled code has no forward
    mode.

    References
    ----------
    Giles (2008), "Collected matrix derivative results for forward and reverse mode algorithmic differentiation";
    Christianson (1994), "Reverse accumulation and attractive fixed points", for the error of truncation.

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import solve
    >>> A = torch.tensor([[4.0, 1.0], [1.0, 3.0]], dtype=torch.float64, requires_grad=True)
    >>> b = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    >>> x = solve(A, b, method="cg", rtol=1e-12)
    >>> x.sum().backward()
    >>> torch.allclose(b.grad, torch.tensor([2 / 11, 3 / 11], dtype=torch.float64))
    True
    >>> scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    >>> x, solves = solve(lambda x, s: s * x, b.detach(), params=(scale,), method="cg", return_solution=True)
    >>> x.sum().backward()
    >>> scale.grad, solves.forward.iterations, len(solves.backward)
    (tensor(-0.7500, dtype=torch.float64), 1, 1)
    """
    compiling = torch.compiler.is_compiling()
    given = (M, precision, adjoint_method, adjoint_parameters, adjoint_M)
    if compiling or parameters or any(one is not None for one in given):
        solver = Solver.checked(method, parameters, M, precision)
        adjoint_solver = _adjoint_solver(solver, adjoint_method, adjoint_parameters, adjoint_M)
    else:
        solver, adjoint_solver = plain_solvers(method)
    tolerance = checked_tolerance("", rtol, atol, maxiter)
    derivative_tolerance = (
        rtol if adjoint_rtol is None else adjoint_rtol,
        adjoint_atol,
        maxiter if adjoint_maxiter is None else adjoint_maxiter,
    )
    if derivative_tolerance != tolerance:
        derivative_tolerance = checked_tolerance("adjoint_", *derivative_tolerance)
    plan = Plan(solver, adjoint_solver, tolerance, derivative_tolerance, record=Solves() if return_solution else None)
    if not compiling and "torch._dynamo" not in sys.modules:
        in_graph = True  # of none: Dynamo, which takes longer to load than all else here, is not at work
    else:
        # A graph would lose the tangents of forward mode unsaid.
        in_graph = isinstance(A, torch.Tensor) and A.layout == torch.strided and plan.is_text
        in_graph = in_graph and not (forward_ad._current_level >= 0 or _forward_mode())
    differentiable = _solve if in_graph else torch.compiler.disable(_solve)
    x = differentiable(A, b, params, x0, hermitian, rmatvec, plan)
    return (x, plan.record) if return_solution else x


def _adjoint_solver(solver: Solver, method: str | None, parameters: Mapping[str, Any] | None, M: Any) -> Solver:
    """For A^H: what was asked for, by default what is asked for A."""
    if method is None and parameters is None:
        return solver.adjoint(M)
    method = solver.method if method is None else method
    precision = None if method == "exact" else solver.precision
    if M is None and method != "exact":
        M = solver.adjoint_M()
    try:
        return Solver.checked(method, dict(parameters or {}), M, precision)
    except InputError as error:
        raise InputError(f"adjoint_{error}") from None


def _solve(A: Any, b: Any, params: Any, x0: Any, hermitian: bool, rmatvec: Any, plan: Plan) -> Any:
    """The checks, and from the caller's shapes to columns and back."""
    linear_map, p, lead, n = _linear_map(A, b, params, hermitian, rmatvec)
    dtype = _common_dtype(linear_map, p, b, x0)
    if "exact" in (plan.solver.method, plan.adjoint_solver.method) and not isinstance(linear_map, Dense):
        kind = "sparse" if isinstance(linear_map, Sparse) else "matrix-free"
        raise InputError(f'method: "exact" factorises a full A, but A is {kind}; pass A.to_dense(), or name a method')
    if not isinstance(linear_map, MatrixFree):
        p = [tensor if tensor.dtype == dtype else tensor.to(dtype) for tensor in p]

    shape = tuple(b.shape)
    is_vector = shape in ((n,), (*lead, n))
    if x0 is not None and tuple(x0.shape) != shape:
        raise InputError(f"x0: found shape {tuple(x0.shape)}; wanted {shape}, the shape of b")
    columns = (*shape, 1) if is_vector else shape
    if len(columns) < 2 or columns[-2] != n or not (lead == columns[:-2] or _broadcast(lead, columns[:-2])):
        raise InputError(
            f"b: found shape {shape} for A of shape {(*lead, n, n)}; wanted {(*lead, n)} (a vector a system) or "
            f"{(*lead, n, 'k')} (k right-hand sides a system)"
        )
    batch = lead if lead == columns[:-2] else torch.broadcast_shapes(lead, columns[:-2])
    folded = not lead and len(batch) > 0  # one matrix for all: what is batched becomes columns

    def to_columns(tensor: Any) -> Any:
        tensor = (tensor if tensor.dtype == dtype else tensor.to(dtype)).reshape(columns)
        if folded:
            return tensor.movedim(-2, 0).flatten(1)
        return tensor if batch == columns[:-2] else tensor.expand((*batch, *columns[-2:]))

    if not folded and batch != lead:
        p = [tensor.expand((*batch, *tensor.shape[len(lead) :])) for tensor in p]
    if plan.solver.method == "exact" or is_cheap(linear_map, plan.solver, x0, n):
        linear_map, p = factored(p[0], hermitian)
    x = linear_solve(linear_map, plan, None if x0 is None else to_columns(x0), to_columns(b), p)
    if folded:
        x = x.reshape(n, *batch, columns[-1]).movedim(0, -2)
    return x.squeeze(-1) if is_vector else x


def _forward_mode() -> bool:
    return forward_ad._current_level >= 0


# As torch.compiler.assume_constant_result does, which loads Dynamo: it then asks anew each time, where it keeps what it
# read of a global before.
_forward_mode._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _broadcast(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    shared = min(len(one), len(other))
    return all(one[-i] == other[-i] or 1 in (one[-i], other[-i]) for i in range(1, shared + 1))


def _linear_map(
    A: Any, b: Any, params: Sequence[Any], hermitian: bool, rmatvec: Any
) -> tuple[LinearMap, list[Any], tuple[int, ...], int]:
    """A as a map, its tensors, its leading dimensions and its size."""
    check_tensor(b, "b")
    if isinstance(A, torch.Tensor):
        check_place(A, "A", b)
    if b.is_meta:
        raise BackendError("b: is a meta tensor, which has a shape but no numbers; wanted one with entries")
    if not isinstance(A, torch.Tensor):
        return _matrix_free(A, b, params, hermitian, rmatvec)
    if rmatvec is not None:
        raise InputError("rmatvec: is for a callable A; the adjoint of a tensor is at hand")
    shape = tuple(A.shape)
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise InputError(f"A: found shape {shape}; wanted a square matrix (..., n, n)")
    if A.layout == torch.strided:
        if len(params):
            raise InputError("params: are for a callable or a sparse A; a full A is itself what is differentiated")
        check_tensor(A, "A")
        return Dense(), [A], shape[:-2], shape[-1]
    if A.layout != torch.sparse_csr:
        raise BackendError(f"A: found a tensor of layout {A.layout}; wanted a full one, or A.to_sparse_csr()")
    if len(shape) != 2:
        raise InputError(f"A: found a CSR tensor of shape {shape}; for a batch pass one pattern (n, n), and params")
    if len(params) > 1:
        raise InputError(f"params: found {len(params)}; of a CSR tensor one stands in for its values")
    pattern = Pattern.of(A)
    values = params[0] if len(params) else _Once.apply(A.values()) if A.requires_grad else A.values()
    name = "params[0]" if len(params) else "A"
    check_tensor(values, name)
    check_place(values, name, b)
    entries = pattern.columns.numel()
    if values.ndim < 1 or values.shape[-1] != entries:
        raise InputError(f"params[0]: found shape {tuple(values.shape)}; wanted (..., {entries}), the entries of A")
    return Sparse(pattern), [values], tuple(values.shape[:-1]), shape[0]


class _Once(torch.autograd.Function):
    """Refuses what torch would lose: it makes gradients of CSR tensors, but no graph of them."""

    @staticmethod
    def forward(ctx: Any, values: Any) -> Any:
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, cotangent: Any) -> Any:
        if torch.is_grad_enabled():
            raise InputError(
                "A: a CSR tensor is differentiated once; for a graph of its gradient pass its values beside it, "
                "params=(values,)"
            )
        return cotangent


def _matrix_free(
    A: Any, b: Any, params: Sequence[Any], hermitian: bool, rmatvec: Any
) -> tuple[LinearMap, list[Any], tuple[int, ...], int]:
    product = getattr(A, "matvec", A)
    if not callable(product):
        raise TypeError(f"A: found {type(A).__name__}; wanted a tensor, a callable, or an object with matvec")
    p = list(params)
    for index, tensor in enumerate(p):
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"params[{index}]: found {type(tensor).__name__}; wanted a tensor")
        check_place(tensor, f"params[{index}]", b)
    if isinstance(A, torch.nn.Module):
        named = {**dict(A.named_parameters()), **dict(A.named_buffers())}
        names = list(named)
        p = [*named.values(), *p]

        def product(x: Any, *tensors: Any) -> Any:
            own = dict(zip(names, tensors, strict=False))
            return torch.func.functional_call(A, own, (x, *tensors[len(names) :]))

    if len(b.shape) == 0:
        raise InputError("b: found a number; wanted a vector (n,) or columns (..., n, k)")
    n = b.shape[0] if b.ndim == 1 else b.shape[-2]
    dtype = torch.float32 if b.dtype in HALF else b.dtype
    # One product with zero: what its type is, and whether it depends on tensors that would get no gradient.
    seen = product(torch.zeros(n, dtype=dtype, device=b.device), *(tensor.detach() for tensor in p))
    if not isinstance(seen, torch.Tensor) or tuple(seen.shape) != (n,):
        found = tuple(seen.shape) if isinstance(seen, torch.Tensor) else type(seen).__name__
        raise InputError(f"A: its product with a vector of shape {(n,)} is {found}; wanted a tensor of shape {(n,)}")
    if not torch._C._are_functorch_transforms_active() and bool(seen.any()):
        raise InputError("A: its product with zero is not zero, so that it is not linear; leave out the bias")
    if seen.requires_grad or _has_tangent(seen):
        raise InputError(
            "A: its product depends on tensors that are differentiated with respect to and are not in params, so that "
            "their derivatives would be lost; pass them as params, or detach them"
        )
    return MatrixFree(product, rmatvec, hermitian, n, torch.promote_types(dtype, seen.dtype)), p, (), n


def _has_tangent(tensor: Any) -> bool:
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(tensor).tangent is not None


def _common_dtype(linear_map: LinearMap, p: Sequence[Any], b: Any, x0: Any) -> Any:
    """What is worked in: half precision in float32, otherwise the wider of A and b."""
    dtype = linear_map.dtype if isinstance(linear_map, MatrixFree) else p[0].dtype
    dtype = dtype if dtype == b.dtype else torch.promote_types(dtype, b.dtype)
    if x0 is not None:
        check_tensor(x0, "x0")
        check_place(x0, "x0", b)
        dtype = torch.promote_types(dtype, x0.dtype)
    return torch.float32 if dtype in HALF else dtype
