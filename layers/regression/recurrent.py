"""The recurrent form: the definition, token by token in plain PyTorch; exact, it is what all else is held to."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import forward_ad

from .arguments import Info, Inputs, primal
from .ridge import ends, entries
from .solving import Solved, Solver, condition_number, iterate, upper_end

__all__ = ["recurrent"]


def recurrent(
    inputs: Inputs, solver: Solver, want_info: bool
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor], Info | None]:
    """Token by token: decay, rank-one update, norm, solve, readout.

    All is differentiated by PyTorch, the exact solve, too; through an iterative one goes the implicit derivative, which
    is another solve. Every state is kept for that: D^2 + D V numbers a token and head.

    Parameters
    ----------
    inputs : Inputs
    solver : Solver
    want_info : bool
    """
    batch, tokens = inputs.q.shape[:2]
    if inputs.lengths == (tokens,) * batch:
        return _run(inputs, slice(None), inputs.H, inputs.U, solver, want_info)
    outputs, H, U, facts = [], [], [], []
    first = 0
    for n, length in enumerate(inputs.lengths):
        o, state, info = _run(
            inputs, slice(first, first + length), inputs.H[n : n + 1], inputs.U[n : n + 1], solver, want_info
        )
        first += length
        outputs.append(o)
        H.append(state[0])
        U.append(state[1])
        facts.append(info)
    joined = Info(*(torch.cat(fact, 1) for fact in zip(*facts, strict=True))) if want_info else None
    return torch.cat(outputs, 1), (torch.cat(H), torch.cat(U)), joined


def _run(inputs: Inputs, part: slice, H: torch.Tensor, U: torch.Tensor, solver: Solver, want_info: bool) -> Any:
    """The tokens of a slice of T, of sequences that are equally long."""
    q, k, v = inputs.q[:, part], inputs.k[:, part], inputs.v[:, part]
    gates = (inputs.gk, inputs.g, inputs.alpha, inputs.strength)
    gk, g, alpha, strength = (None if gate is None else gate[:, part] for gate in gates)
    ridge = inputs.ridge.expand(q.shape[2]) if inputs.ridge.ndim < 2 else inputs.ridge
    outputs, facts = [], []
    for t in range(q.shape[1]):
        written = k[:, t] if strength is None else strength[:, t].unsqueeze(-1) * k[:, t]
        H = _decayed(H, gk, t) + written.unsqueeze(-1) * k[:, t].unsqueeze(-2)
        U = _decayed(U, g, t) + k[:, t].unsqueeze(-1) * v[:, t].unsqueeze(-2)
        norm, trace = _norm(H)
        added = entries(ridge, norm.unsqueeze(-1)).squeeze(-2).expand_as(q[:, t])
        with torch.no_grad():
            lower, greatest = (end.squeeze(-1) for end in ends(ridge, norm.unsqueeze(-1)))
            upper = upper_end(norm, trace, greatest, H.shape[-1], solver.interval)
        A = H + torch.diag_embed(added)
        x, iterations = _solve(A, q[:, t], lower, upper, solver)
        mixed = x if alpha is None else q[:, t] + alpha[:, t].unsqueeze(-1) * (x - q[:, t])
        outputs.append(inputs.scale * (U.transpose(-1, -2) @ mixed.unsqueeze(-1)).squeeze(-1))
        if want_info:
            with torch.no_grad():
                facts.append(Info(_residual(A, x, q[:, t]), condition_number(lower, upper), iterations))
    shape = q.shape[:3]
    o = torch.stack(outputs, 1) if outputs else torch.zeros_like(v)
    if not want_info:
        return o, (H, U), None
    if not facts:
        return o, (H, U), Info(q.new_zeros(shape), q.new_zeros(shape), q.new_zeros(shape, dtype=torch.int32))
    return o, (H, U), Info(*(torch.stack(fact, 1) for fact in zip(*facts, strict=True)))


def _decayed(state: torch.Tensor, gates: torch.Tensor | None, t: int) -> torch.Tensor:
    return state if gates is None else gates[:, t, :, None, None].exp() * state


def _norm(H: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """||H||_F and tr H; squares are of entries over the trace, and can neither underflow nor overflow."""
    trace = H.detach().diagonal(dim1=-2, dim2=-1).sum(-1)
    empty = trace <= 0  # where torch's second derivative of the norm is NaN
    unit = torch.where(empty, 1, trace)
    scaled = torch.where(empty[..., None, None], 1, H / unit[..., None, None])
    return (unit * scaled.square().sum((-2, -1)).sqrt()).masked_fill(empty, 0), trace


def _solve(A: torch.Tensor, q: torch.Tensor, lower: torch.Tensor, upper: torch.Tensor, solver: Solver) -> Solved:
    """x = A^{-1} q; 0 where A is."""
    if solver.name != "exact":
        return Solved(*_ImplicitSolve.apply(A, q, lower, upper, solver))
    empty = lower == 0
    factor = torch.linalg.cholesky(A + torch.diag_embed(empty.unsqueeze(-1).expand_as(q).to(q.dtype)))
    x = torch.cholesky_solve(torch.where(empty.unsqueeze(-1), 0.0, q).unsqueeze(-1), factor).squeeze(-1)
    return Solved(x, torch.zeros(lower.shape, dtype=torch.int32, device=q.device))


def _iterate(A: torch.Tensor, rhs: torch.Tensor, lower: torch.Tensor, upper: torch.Tensor, solver: Solver) -> Solved:
    """The iterations of the chunk-wise form, on matrices."""

    def product(p: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        return torch.matmul(A, p.unsqueeze(-1), out=out.unsqueeze(-1)).squeeze(-1)

    return iterate(product, rhs, lower, upper, solver)


class _ImplicitSolve(torch.autograd.Function):
    """x = A^{-1} q, and the derivative of the exact solution at the x that was found, A^{-1} (dq - dA x)."""

    @staticmethod
    def forward(A: torch.Tensor, q: torch.Tensor, lower: torch.Tensor, upper: torch.Tensor, solver: Solver) -> Any:
        return tuple(_iterate(A, q, lower, upper, solver))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        A, _q, lower, upper, ctx.solver = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(A, output[0], lower, upper)
        ctx.save_for_forward(A, output[0], lower, upper)

    @staticmethod
    def backward(ctx: Any, dx: Any, _: Any) -> tuple[Any, ...]:
        A, x, lower, upper = ctx.saved_tensors
        z, _ = _ImplicitSolve.apply(A, dx, lower, upper, ctx.solver)
        return -z.unsqueeze(-1) * x.unsqueeze(-2), z, None, None, None

    @staticmethod
    def jvp(ctx: Any, A_change: Any, q_change: Any, *_: Any) -> tuple[Any, None]:
        # Torch switches forward mode off in here, which would lose the derivatives of this derivative.
        with forward_ad._set_fwd_grad_enabled(True):
            A, x, lower, upper = map(primal, ctx.saved_tensors)
            rhs = torch.zeros_like(x) if q_change is None else primal(q_change)
            if A_change is not None:
                rhs = rhs - (primal(A_change) @ x.unsqueeze(-1)).squeeze(-1)
            return _ImplicitSolve.apply(A, rhs, lower, upper, ctx.solver)[0], None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *given: Any) -> tuple[Any, Any]:
        *tensors, solver = given
        fronts = [
            tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip(tensors, in_dims[:-1], strict=True)
        ]
        return _ImplicitSolve.apply(*fronts, solver), (0, 0)


def _residual(A: torch.Tensor, x: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """||q - A x|| / ||q||; 0 where q or A is zero."""
    size = torch.linalg.vector_norm(q, dim=-1)
    error = torch.linalg.vector_norm(q - (A @ x.unsqueeze(-1)).squeeze(-1), dim=-1)
    solved = (size > 0) & (A.diagonal(dim1=-2, dim2=-1).sum(-1) > 0)
    return torch.where(solved, error / torch.where(size > 0, size, 1), 0)
