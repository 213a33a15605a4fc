"""From a plan to numbers: through the one driver of the solvers, outside of any graph."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, cast

import torch

from ...errors import InputError
from ...solvers.driver.batch import TELL, warn_of
from ...solvers.driver.solution import Solution
from ...solvers.driver.status import Status
from ...solvers.linear.solve import solve as drive
from .exact import Factored, factored, is_cheap
from .maps import Dense, LinearMap, to_front
from .plan import BACKWARD, FORWARD, Plan, Solver

if TYPE_CHECKING:
    from ...solvers.methods import MethodName

__all__ = ["full_precision", "over_batch", "run"]


def full_precision(tensor: Any) -> Any:
    """A context without autocast: products in half precision would not do what the tolerances say."""
    if torch.compiler.is_compiling() or torch.is_autocast_enabled(tensor.device.type):
        return torch.autocast(tensor.device.type, enabled=False)
    return nullcontext()


def run(linear_map: LinearMap, plan: Plan, x0: Any, b: Any, p: Sequence[Any]) -> Any:
    """x of A(p) x = b, columns (..., n, k); warns where the tolerance is not met."""
    if not torch.compiler.is_compiling():
        return _solve(linear_map, plan, x0, b, p)
    solver, numbers = plan.solver, _Numbers()
    rtol, atol, maxiter = plan.tolerance
    kind = (type(linear_map).__name__, getattr(linear_map, "transposed", False))
    parameters = tuple((name, numbers.taken_from(value)) for name, value in solver.parameters)
    text = (kind, (solver.method, parameters, solver.M, solver.precision), plan.role)
    return _in_graph(list(p), b, x0, f"{text!r}", rtol, atol, maxiter, numbers.floats, numbers.integers)


class _Numbers:
    """The numbers of a plan, which graphs of dynamic shapes hold as symbols, and text cannot."""

    def __init__(self, floats: Sequence[float] = (), integers: Sequence[int] = ()) -> None:
        self.floats, self.integers = list(floats), list(integers)

    def taken_from(self, value: Any) -> Any:
        """A parameter with its numbers replaced by their places."""
        if isinstance(value, tuple):
            return tuple([self.taken_from(part) for part in value])
        if isinstance(value, (str, bool)) or value is None:
            return ["", value]
        kind, numbers = ("float", self.floats) if isinstance(value, float) else ("integer", self.integers)
        numbers.append(value)
        return [kind, len(numbers) - 1]

    def put_into(self, value: Any) -> Any:
        """The inverse."""
        if isinstance(value, tuple):
            return tuple(map(self.put_into, value))
        kind, content = value
        return self.floats[content] if kind == "float" else self.integers[content] if kind else content


@torch.library.custom_op(
    "resolvent::linear_solve",
    mutates_args=(),
    schema="(Tensor[] p, Tensor b, Tensor? x0, str plan, float rtol, float atol, SymInt? maxiter, float[] floats, "
    "SymInt[] integers) -> Tensor",
)
def _in_graph(p: Any, b: Any, x0: Any, plan: str, *numbers: Any) -> Any:
    """``run`` as one node of a compiled graph, with the words of its plan written out and the numbers beside them."""
    *tolerance, floats, integers = numbers
    linear_map, (method, parameters, M, precision), role = _read(plan)
    put_into = _Numbers(floats, integers).put_into
    solver = Solver(method, tuple((name, put_into(value)) for name, value in parameters), M, precision)
    rtol, atol, maxiter = tolerance
    limits = (rtol, atol, maxiter)
    return _solve(linear_map, Plan(solver, solver, limits, limits, role), x0, b, p)


def _read(plan: str) -> Any:
    (kind, transposed), solver, role = ast.literal_eval(plan)
    return Factored(transposed) if kind == "Factored" else Dense(), solver, role


@_in_graph.register_fake
def _(p: Any, b: Any, x0: Any, plan: str, *numbers: Any) -> Any:
    return b.new_empty(b.shape)


@_in_graph.register_vmap
def _(info: Any, in_dims: Any, p: Any, b: Any, x0: Any, plan: str, *numbers: Any) -> Any:
    dims, b_dim, x0_dim, *_ = in_dims

    def again(batched: LinearMap, x0: Any, b: Any, p: Sequence[Any]) -> Any:
        return _in_graph(list(p), b, x0, plan, *numbers)

    dims = [None] * len(p) if dims is None else dims
    return over_batch(again, info.batch_size, _read(plan)[0], (x0, x0_dim), (b, b_dim), (p, dims))


def over_batch(
    again: Callable[..., Any],
    size: int,
    linear_map: LinearMap,
    x0: tuple[Any, int | None],
    b: tuple[Any, int | None],
    p: tuple[Sequence[Any], Sequence[int | None]],
) -> tuple[Any, int]:
    """``vmap`` over one more dimension, by one more solve; x0, b and p each with the dimension that is mapped over.

    Parameters
    ----------
    again : callable
        ``again(linear_map, x0, b, p)`` solves.
    """
    tensors, dims = p
    if all(dim is None for dim in dims):
        # One matrix for all: what is mapped over becomes columns.
        guess = None if x0[0] is None else _as_columns(x0[0], x0[1], size)
        x = again(linear_map, guess, _as_columns(b[0], b[1], size), tensors).unflatten(-1, (-1, size))
        return x, x.ndim - 1
    batched, tensors = linear_map.stacked(tensors, dims, size)
    guess = None if x0[0] is None else to_front(x0[0], x0[1], size)
    return again(batched, guess, to_front(b[0], b[1], size), tensors), 0


def _as_columns(tensor: Any, dim: int | None, size: int) -> Any:
    last = tensor[..., None].expand((*tensor.shape, size)) if dim is None else tensor.movedim(dim, -1)
    return last.flatten(-2)


def _solve(linear_map: LinearMap, plan: Plan, x0: Any, b: Any, p: Sequence[Any]) -> Any:
    in_graph = torch.is_grad_enabled()
    torch._C._set_grad_enabled(False)  # a context of torch's takes as long as ten iterations of a small solve
    try:
        if not torch.is_autocast_enabled(b.device.type):
            return _solve_plainly(linear_map, plan, x0, b, p)
        with full_precision(b):
            return _solve_plainly(linear_map, plan, x0, b, p)
    finally:
        torch._C._set_grad_enabled(in_graph)


def _solve_plainly(linear_map: LinearMap, plan: Plan, x0: Any, b: Any, p: Sequence[Any]) -> Any:
    finite = None
    # Loss scaling overflows on purpose: NaN has to come out of it, though not unsaid. A finite sum tells at once.
    if plan.role != FORWARD and not abs(b.sum().item()) < math.inf:
        finite = b.isfinite().all(-2, keepdim=True)
        if bool(finite.all()):
            finite = None
        else:
            b = torch.where(finite, b, 0)
    x, solution = _solution(linear_map, plan, x0, b, p)
    if solution is not None:
        if plan.record is not None:
            plan.record.add(plan.role, solution)
        if not solution.converged:
            warn_of(solution, f"{plan.role} solve: ")
    if finite is not None:
        what = "cotangent of x" if plan.role == BACKWARD else "right-hand side made of the tangents"
        warn_of(_lost(b, f"The {what} is not finite, so the derivative is NaN."), f"{plan.role} solve: ")
        x = torch.where(finite, x, torch.nan)
    if x.dtype == b.dtype and x.shape == b.shape and x.is_contiguous():
        return x
    return x.to(b.dtype).reshape(b.shape).contiguous()


def _solution(linear_map: LinearMap, plan: Plan, x0: Any, b: Any, p: Sequence[Any]) -> tuple[Any, Solution | None]:
    """x and what is to be said of it, if anything."""
    if plan.solver.method == "exact":
        return _factorised(linear_map, plan, b, p)
    if is_cheap(linear_map, plan.solver, x0, b.shape[-2]):
        if not isinstance(linear_map, Factored):
            linear_map, p = factored(p[0], hermitian=False)
        found = linear_map.solve(plan, p, b, report=plan.record is not None, attempt=True)
        if found is not None:
            return found
    rtol, atol, maxiter = plan.tolerance
    solver = plan.solver
    before = TELL.set(lambda solution: None)  # told by the caller of this, who knows which solve it was
    try:
        solution = drive(
            linear_map.systems(p),
            b,
            method=cast("MethodName", solver.method),
            x0=x0,
            M=solver.M,
            rtol=rtol,
            atol=atol,
            maxiter=maxiter,
            precision=solver.precision,
            **dict(solver.parameters),
        )
    except InputError as error:
        raise type(error)(f"{plan.role} solve: {error}" if plan.role != FORWARD else str(error)) from None
    finally:
        TELL.reset(before)
    if solver.method == "auto" and solution.status is Status.INFEASIBLE and isinstance(linear_map, Dense):
        return _factorised(linear_map, plan, b, p)
    return solution.x, solution


def _factorised(linear_map: LinearMap, plan: Plan, b: Any, p: Sequence[Any]) -> tuple[Any, Solution | None]:
    if plan.solver.method == "auto" or not isinstance(linear_map, Factored):
        linear_map, p = factored(p[0], hermitian=False)  # anew, where Cholesky's factors were of no use
    found = linear_map.solve(plan, p, b, report=plan.record is not None)
    assert found is not None
    return found


def _lost(b: Any, reason: str) -> Solution:
    nan = float("nan")
    return Solution(b, Status.BREAKDOWN, reason, 0, 0, 0.0, nan, nan, "", "torch", "")
