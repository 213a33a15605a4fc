"""Implicit differentiation of x = A(p)^{-1} b: each derivative is one more solve, whatever made x.

From A x = b follows A dx = db - dA x. Hence forward mode solves with A, and reverse mode with A^H: for the cotangent g
of x, w = A^{-H} g is that of b, and -w x^H that of A. Both are solves of the same kind, so that they are
differentiated again in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.autograd import forward_ad

from .driver import full_precision, over_batch, run
from .maps import LinearMap
from .plan import Plan

__all__ = ["linear_solve"]


def linear_solve(linear_map: LinearMap, plan: Plan, x0: Any, b: Any, p: Sequence[Any]) -> Any:
    """x of A(p) x = b, differentiable in b and p; b and x are columns (..., n, k)."""
    if torch.compiler.is_compiling():
        return _InGraph.apply(linear_map, plan, x0, b, *[*p, None, None][:3])
    if torch._C._are_functorch_transforms_active():
        return _BothModes.apply(linear_map, plan, x0, b, *p)
    in_graph = torch.is_grad_enabled() and (b.requires_grad or any(tensor.requires_grad for tensor in p))
    if in_graph or forward_ad._current_level >= 0:
        return _Untransformed.apply(linear_map, plan, x0, b, *p)
    return run(linear_map, plan, x0, b, p)


class _LinearSolve(torch.autograd.Function):
    @staticmethod
    def forward(linear_map: LinearMap, plan: Plan, x0: Any, b: Any, *p: Any) -> Any:
        return run(linear_map, plan, x0, b, p)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.linear_map, ctx.plan, _, _, *p = inputs
        ctx.save_for_backward(output, *p)
        ctx.save_for_forward(output, *p)

    @staticmethod
    def backward(ctx: Any, cotangent: Any) -> tuple[Any, ...]:
        x, *p = ctx.saved_tensors
        wants_b, *wanted = ctx.needs_input_grad[3:]
        with full_precision(cotangent):
            adjoint, q = ctx.linear_map.adjoint(p)
            w = linear_solve(adjoint, ctx.plan.adjoint(), None, cotangent, q)
            return None, None, None, w if wants_b else None, *ctx.linear_map.cotangents(p, -w, x, wanted)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], linear_map: LinearMap, plan: Plan, x0: Any, b: Any, *p: Any) -> Any:
        _, _, x0_dim, b_dim, *dims = in_dims

        def again(batched: LinearMap, x0: Any, b: Any, p: Sequence[Any]) -> Any:
            return linear_solve(batched, plan, x0, b, p)

        return over_batch(again, info.batch_size, linear_map, (x0, x0_dim), (b, b_dim), (p, dims))


class _BothModes(_LinearSolve):
    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        # Torch switches forward mode off in here, which would lose the derivatives of this derivative; the primal parts
        # keep those of outer levels, and no more.
        with forward_ad._set_fwd_grad_enabled(True), full_precision(ctx.saved_tensors[0]):
            x, *p = map(_primal, ctx.saved_tensors)
            db, *dp = map(_primal, tangents[3:])
            change = ctx.linear_map.tangent(p, dp, x)
            rhs = db if change is None else -change if db is None else db - change
            return linear_solve(ctx.linear_map, ctx.plan.tangent(), None, rhs, p)


class _Untransformed(_BothModes):
    """Outside of ``torch.func``: the context is set up in forward, since torch binds names to arguments otherwise.

    That takes as long as the solve of a small system.
    """

    setup_context = staticmethod(torch.autograd.Function.setup_context)

    @staticmethod
    def forward(ctx: Any, linear_map: LinearMap, plan: Plan, x0: Any, b: Any, *p: Any) -> Any:  # type: ignore[override]
        x = run(linear_map, plan, x0, b, p)
        _LinearSolve.setup_context(ctx, (linear_map, plan, x0, b, *p), x)
        return x


class _InGraph(_LinearSolve):
    """What Dynamo traces: without a rule for forward mode, which it refuses, and with a fixed number of arguments.

    It takes a surplus of arguments for the context, and passes that on where forward wants none.
    """

    @staticmethod
    def forward(linear_map: LinearMap, plan: Plan, x0: Any, b: Any, A: Any, factor: Any, pivots: Any) -> Any:
        return run(linear_map, plan, x0, b, [tensor for tensor in (A, factor, pivots) if tensor is not None])


def _primal(tensor: Any) -> Any:
    return tensor if tensor is None else forward_ad.unpack_dual(tensor).primal
