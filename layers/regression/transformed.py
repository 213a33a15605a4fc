"""The chunk-wise form in forward mode and under transforms of ``torch.func``.

Only the solves are a function with rules of its own, and each rule is an expression of arguments and solutions, in
which there are solves again: so they compose, in any mix and to any order. All else is operations of PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd import forward_ad

from ..recurrence.layout import Decay, Layout
from .arguments import Info, Inputs, primal
from .chunked import Rows, spared
from .grams import Grams
from .plain import PLAIN
from .readout import read_by_operations
from .regression import solved
from .ridge import entries, grows
from .solving import Solver

__all__ = ["transformed"]


def transformed(
    inputs: Inputs, solver: Solver, want_info: bool, chunk: int | None = None
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor], Info | None]:
    """Regression, mixing with alpha, and readout, as ``chunk_wise``.

    Parameters
    ----------
    inputs : Inputs
    solver : Solver
    want_info : bool
    chunk : int, optional
    """
    how = _How(inputs.cu_seqlens, solver, want_info, chunk)
    heads = inputs.q.shape[2]
    ridge = inputs.ridge.expand(heads) if inputs.ridge.ndim < 2 else inputs.ridge
    x, *facts = _Solutions.apply(how, inputs.q, inputs.k, inputs.gk, inputs.strength, ridge, inputs.H)
    rows = Rows(inputs, chunk, PLAIN)
    o, U = read_by_operations(
        rows.split(x), rows.k, rows.v, rows.g, inputs.U, *rows.mixed, layout=rows.layout, scale=inputs.scale, scan=_scan
    )
    _, H = _grams(rows, inputs.H)
    return rows.join(o), (H, U), Info(*facts) if want_info else None


@dataclass(frozen=True)
class _How:
    cu_seqlens: torch.Tensor | None
    solver: Solver
    want_info: bool
    chunk: int | None

    def inputs(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        gk: torch.Tensor | None,
        strength: torch.Tensor | None,
        ridge: torch.Tensor,
        H: torch.Tensor,
    ) -> Inputs:
        """Of the regression alone: nothing is read."""
        return Inputs(q, k, k, gk, gk, None, ridge, 1.0, H, H, self.cu_seqlens, strength=strength)


def _scan(
    increments: torch.Tensor, decay: torch.Tensor, initial: torch.Tensor, layout: Layout
) -> tuple[torch.Tensor, torch.Tensor]:
    """``Layout.scan`` in operations of PyTorch: S before each chunk, and after all of them."""
    before, final = [], []
    first = layout.sequences.tolist()
    for n, state in enumerate(initial.unbind(0)):
        for chunk in range(first[n], first[n + 1]):
            before.append(state)
            state = decay[chunk, :, None, None] * state + increments[chunk]
        final.append(state)
    return torch.stack(before) if before else increments, torch.stack(final) if final else initial


def _grams(rows: Rows, initial: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """H before each chunk, and at the end of each sequence."""
    decay = Decay(rows.gk)
    written = rows.k if rows.strength is None else rows.k * rows.strength.unsqueeze(-1)
    return _scan((rows.k * decay.to_end).transpose(-1, -2) @ written, decay.whole, initial, rows.layout)


class _Solutions(torch.autograd.Function):
    """x_t with A_t x_t = q_t of every token, (B, T, H, D), and the facts, which have no derivative."""

    @staticmethod
    def forward(how: _How, *tensors: Any) -> tuple[torch.Tensor, ...]:
        inputs, reach = spared(how.inputs(*tensors))
        rows = Rows(inputs, how.chunk, PLAIN)
        solutions, _ = solved(
            rows.q, rows.k, rows.gk, rows.ridge, inputs.H, rows.strength, rows.layout, how.solver, how.want_info, PLAIN
        )
        x = rows.join(solutions.x)
        if reach is not None:
            x = x.masked_fill(reach.o.unsqueeze(-1), math.nan)
        number, count = x.new_empty(0), x.new_empty(0, dtype=torch.int32)
        facts = [number, number.clone(), count] if solutions.facts is None else map(rows.join, solutions.facts)
        return x, *facts

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        ctx.how, *tensors = inputs
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(output[0], *tensors)
        ctx.save_for_forward(output[0], *tensors)

    @staticmethod
    def backward(ctx: Any, dx: Any, *_: Any) -> tuple[Any, ...]:
        """dq = z with A z = dx, and what multiplies z in -A x, as a function of all that A is made of."""
        if dx is None:
            return (None,) * 7
        x, _q, *given = ctx.saved_tensors
        z = _solution(ctx.how, dx, given)
        d_given = iter(torch.func.vjp(*_product(ctx.how, x, given))[1](-z))
        return None, z, *(None if part is None else next(d_given) for part in given)

    @staticmethod
    def jvp(ctx: Any, _: Any, q_change: Any, *changes: Any) -> tuple[Any, ...]:
        """A dx = dq - dA x."""
        # Torch switches forward mode off in here, which would lose the derivatives of this derivative; the primal parts
        # keep those of outer levels, and no more.
        with forward_ad._set_fwd_grad_enabled(True):
            x, _q, *given = map(primal, ctx.saved_tensors)
            rhs = torch.zeros_like(x) if q_change is None else primal(q_change)
            if any(change is not None for change in changes):
                product, *parts = _product(ctx.how, x, given)
                directions = [
                    torch.zeros_like(part) if change is None else primal(change)
                    for part, change in zip(given, changes, strict=True)
                    if part is not None
                ]

                # The derivative in a direction is the adjoint of the adjoint, which is linear.
                def pulled(u: torch.Tensor) -> tuple[torch.Tensor, ...]:
                    return torch.func.vjp(product, *parts)[1](u)

                rhs = rhs - torch.func.vjp(pulled, torch.zeros_like(x))[1](tuple(directions))[0]
            return _solution(ctx.how, rhs, given), None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], how: _How, *tensors: Any) -> tuple[Any, Any]:
        """What is mapped over counts as heads, which are independent of each other, as are members of a batch."""
        count = info.batch_size
        folded = [
            None if tensor is None else _as_heads(tensor, dim, axis, count)
            for tensor, dim, axis in zip(tensors, in_dims[1:], (2, 2, 2, 2, 0, 1), strict=True)
        ]
        found = _Solutions.apply(how, *folded)
        if not how.want_info:
            return (found[0].unflatten(2, (count, -1)), *found[1:]), (2, None, None, None)
        return tuple(part.unflatten(2, (count, -1)) for part in found), (2,) * 4


def _solution(how: _How, rhs: torch.Tensor, given: Sequence[Any]) -> torch.Tensor:
    return _Solutions.apply(_How(how.cu_seqlens, how.solver, False, how.chunk), rhs, *given)[0]


def _product(how: _How, x: torch.Tensor, given: Sequence[Any]) -> tuple[Any, ...]:
    """A_t x_t as a function of the k, gates, strength, ridge and H that there are; and these."""
    there = [part is not None for part in given]

    def product(*parts: torch.Tensor) -> torch.Tensor:
        values = iter(parts)
        inputs = how.inputs(x, *(next(values) if is_there else None for is_there in there))
        rows = Rows(inputs, how.chunk, PLAIN)
        initial = (inputs.H + inputs.H.transpose(-1, -2)) / 2
        before, _ = _grams(rows, initial)
        grams = Grams(rows.k, rows.gk, before, rows.strength)
        pairs = (rows.q @ rows.k.transpose(-1, -2)) * grams.pairs
        Hx = grams.decay.since_start * (rows.q @ before) + pairs @ rows.k
        norm = grams.norms()[0] if grows(rows.ridge) else rows.gk
        return rows.join(Hx + entries(rows.ridge, norm) * rows.q)

    return product, *(part for part in given if part is not None)


def _as_heads(tensor: torch.Tensor, dim: int | None, axis: int, count: int) -> torch.Tensor:
    mapped = tensor.expand(count, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
    return mapped.movedim(0, axis).flatten(axis, axis + 1)
