"""The chunk-wise form as operators of PyTorch, whose inside nothing that traces a graph looks into.

They have a derivative, which is an operator, too, and know the shapes of their results without computing them: so there
are meta and fake tensors, ``torch.export`` and ``torch.compile`` for all that uses them.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from ..recurrence.layout import adjoint
from .arguments import Info, Inputs, check_values
from .chunked import PARTS, Rows, differentiable, spared
from .pieces import Pieces, Solutions
from .plain import PLAIN
from .readout import read, read_adjoint
from .regression import solved, solved_adjoint
from .solving import Solver

__all__ = ["chunk_wise"]

TENSORS = (*PARTS, "ridge", "H", "U")  # in this order throughout
ARGUMENTS = (
    "Tensor q, Tensor k, Tensor v, Tensor? g, Tensor? gk, Tensor? alpha, Tensor? strength, Tensor ridge, Tensor H, "
    "Tensor U, Tensor? cu_seqlens, float scale, str solver, str interval, int? num_iter, float? rtol, "
    "int? chunk, bool kernels, bool want_info, bool unchecked, bool kept"
)


def chunk_wise(
    inputs: Inputs, solver: Solver, want_info: bool, chunk: int | None = None, kernels: bool = False
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor], Info | None]:
    """Regression, mixing with alpha, and readout.

    Parameters
    ----------
    inputs : Inputs
    solver : Solver
    want_info : bool
    chunk : int, optional
        Tokens a chunk: by default 64, or fewer for short sequences.
    kernels : bool
        Whether in Triton kernels, rather than in plain PyTorch.

    Notes
    -----
    A step of a solver takes 2 D (D + 2 C) multiplications and additions a token and head, all else about 2 D^2 + 2 D V
    + 2 C (2 D + V + C). States before chunks take D (D + V) / C numbers a token and head while they are needed, and are
    not kept for the backward pass.
    """
    tensors = (getattr(inputs, name) for name in (*TENSORS, "cu_seqlens"))
    how = (solver.name, solver.interval, solver.num_iter, solver.rtol, chunk, kernels)
    call = (*tensors, inputs.scale, *how, want_info, inputs.unchecked, inputs.requires_gradient())
    found = Results._make(_operator(*call))
    info = Info(found.relative_residual, found.condition, found.iterations) if want_info else None
    return found.o, (found.H, found.U), info


class Call(NamedTuple):
    """The arguments of the operator: those of ``Inputs``, ``Solver`` and ``chunk_wise``; ``kept`` for a derivative."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    g: torch.Tensor | None
    gk: torch.Tensor | None
    alpha: torch.Tensor | None
    strength: torch.Tensor | None
    ridge: torch.Tensor
    H: torch.Tensor
    U: torch.Tensor
    cu_seqlens: torch.Tensor | None
    scale: float
    solver: str
    interval: str
    num_iter: int | None
    rtol: float | None
    chunk: int | None
    kernels: bool
    want_info: bool
    unchecked: bool
    kept: bool

    def inputs(self) -> Inputs:
        return Inputs(*self[:6], self.ridge, self.scale, self.H, self.U, self.cu_seqlens, strength=self.strength)

    def how(self) -> Solver:
        return Solver(self.solver, self.interval, self.num_iter, self.rtol)

    def pieces(self) -> Pieces:
        if not self.kernels:
            return PLAIN
        from ...gpu.triton.gated_kalmanet.pieces import pieces_for

        return pieces_for(self.q.dtype, self.how())


class Results(NamedTuple):
    """Those of the operator: what a user gets, and what is kept for the derivative, empty where it is not asked for.

    ``finite`` is one number on the host: whether all inputs are.
    """

    o: torch.Tensor
    H: torch.Tensor
    U: torch.Tensor
    relative_residual: torch.Tensor
    condition: torch.Tensor
    iterations: torch.Tensor
    x: torch.Tensor
    norms: torch.Tensor
    uppers: torch.Tensor
    finite: torch.Tensor


def _forward(*arguments: Any) -> tuple[torch.Tensor, ...]:
    call = Call(*arguments)
    inputs, solver, pieces = call.inputs(), call.how(), call.pieces()
    if call.unchecked:
        check_values(inputs)
    if pieces.step is not None and not call.kept and set(inputs.lengths) == {1}:
        o, states, info = pieces.step(inputs, solver, call.want_info)
        return Results._make((o, *states, *(info or _nothing(call)[:3]), *_nothing(call)[3:], torch.tensor(True)))
    inputs, reach = spared(inputs)
    rows = Rows(inputs, call.chunk, pieces)
    solutions, H = solved(
        rows.q, rows.k, rows.gk, rows.ridge, inputs.H, rows.strength, rows.layout, solver, call.want_info, pieces
    )
    o, U = read(solutions.x, *rows.mixed, rows.k, rows.v, rows.g, inputs.U, rows.layout, inputs.scale, pieces)
    o = rows.join(o)
    facts = _nothing(call)[:3] if solutions.facts is None else [rows.join(fact) for fact in solutions.facts]
    kept = [rows.join(part) for part in solutions[:3]] if call.kept else _nothing(call)[3:]
    if reach is not None:
        o, H, U = reach.marked(o, H, U)
        if call.want_info:
            facts[0] = facts[0].masked_fill(reach.o, math.nan)
    return Results._make((o, H, U, *facts, *kept, torch.tensor(reach is None)))


def _nothing(call: Call) -> list[torch.Tensor]:
    """In place of facts and of what is kept."""
    number, count = call.H.new_empty(0), call.H.new_empty(0, dtype=torch.int32)
    return [number, number.clone(), count, *(number.clone() for _ in range(3))]


def _shapes(*arguments: Any) -> tuple[torch.Tensor, ...]:
    call = Call(*arguments)
    number, tokens = call.H.new_empty, call.q.shape
    facts, kept = (tokens[:3] if wanted else (0,) for wanted in (call.want_info, call.kept))
    return Results(
        call.v.new_empty(call.v.shape),
        number(call.H.shape),
        number(call.U.shape),
        number(facts),
        number(facts),
        number(facts, dtype=torch.int32),
        number(tokens if call.kept else (0,)),
        number(kept),
        number(kept),
        torch.empty((), dtype=torch.bool, device="cpu"),
    )


def _backward(*arguments: Any) -> tuple[torch.Tensor, ...]:
    """The gradients by ``TENSORS``; empty of what was not given."""
    (do, dH, dU, o, x, norms, uppers, finite), call = arguments[:8], Call(*arguments[8:])
    inputs, solver, pieces = call.inputs(), call.how(), call.pieces()
    inputs, reach = (inputs, None) if finite else spared(inputs)
    if reach is not None:
        do, dH, dU = reach.unmarked(do, dH, dU)
        o, _, _ = reach.unmarked(o, dH, dU)
    rows = Rows(inputs, call.chunk, pieces)
    layout, (do, o, x, norms, uppers) = rows.layout, map(rows.split, (do, o, x, norms, uppers))
    solutions = Solutions(x, norms, uppers, None)
    found: Any = read_adjoint(do, dU, o, x, *rows.mixed, rows.k, rows.v, rows.g, inputs.U, layout, inputs.scale, pieces)
    dx, dq, d_alpha, dk, dv, dg, dU = found
    found = solved_adjoint(
        dx, dH, solutions, rows.k, rows.gk, rows.ridge, inputs.H, rows.strength, layout, solver, pieces
    )
    z, dk_too, dgk, d_ridge, dH, d_strength = found
    d_tokens = (z if dq is None else dq.add_(z), dk.add_(dk_too), dv, dg, dgk, d_alpha, d_strength)
    found = [None if part is None else rows.join(part) for part in d_tokens]
    if reach is not None:
        spoilt = [reach.bad[name] for name in PARTS]
        found = [None if d is None else d.masked_fill(bad, 0.0) for d, bad in zip(found, spoilt, strict=True)]
    found += [d_ridge if inputs.ridge.ndim else d_ridge.sum(), dH, dU]
    return tuple(
        call.H.new_empty(0) if given is None else part.to(given.dtype) for given, part in zip(call, found, strict=False)
    )


def _shapes_of_gradients(*arguments: Any) -> tuple[torch.Tensor, ...]:
    call, given = Call(*arguments[8:]), arguments[8 : 8 + len(TENSORS)]
    return tuple(call.H.new_empty(0) if part is None else part.new_empty(part.shape) for part in given)


_operator = torch.library.custom_op(
    "resolvent::gated_kalmanet",
    torch.no_grad()(_forward),
    mutates_args=(),
    schema=f"({ARGUMENTS}) -> ({', '.join(f'Tensor {name}' for name in Results._fields)})",
)
_operator.register_fake(_shapes)
_adjoint = torch.library.custom_op(
    "resolvent::gated_kalmanet_backward",
    torch.no_grad()(_backward),
    mutates_args=(),
    schema=(
        "(Tensor do, Tensor dH, Tensor dU, Tensor o, Tensor x, Tensor norms, Tensor uppers, Tensor finite, "
        f"{ARGUMENTS}) -> ({', '.join('Tensor' for _ in TENSORS)})"
    ),
)
_adjoint.register_fake(_shapes_of_gradients)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    call, found = Call(*inputs), Results(*output)
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*found[3:])
    ctx.save_for_backward(found.o, found.x, found.norms, found.uppers, found.finite, *call[: len(TENSORS) + 1])
    ctx.rest = call[len(TENSORS) + 1 :]


def _differentiate(ctx: Any, do: Any, dH: Any, dU: Any, *_: Any) -> tuple[Any, ...]:
    o, x, norms, uppers, finite, *given = ctx.saved_tensors
    call = Call(*given, *ctx.rest)
    cotangents = [
        like.new_zeros(like.shape) if part is None else part
        for part, like in zip((do, dH, dU), (o, call.H, call.U), strict=True)
    ]
    found: Any
    if torch.is_grad_enabled():  # what follows is to be differentiated again
        found = _again(call, Solutions(x, norms, uppers, None), cotangents)
    else:
        found = _adjoint(*cotangents, o, x, norms, uppers, finite, *call)
    gradients = [None if part is None else d for part, d in zip(given, found, strict=False)]
    return *gradients, *[None] * (len(call) - len(gradients))


def _again(call: Call, known: Solutions, cotangents: list[torch.Tensor]) -> list[torch.Tensor | None]:
    names = [name for name in TENSORS if getattr(call, name) is not None]

    def function(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        inputs = replace(call.inputs(), **dict(zip(names, tensors, strict=True)))
        return differentiable(inputs, call.how(), call.chunk, call.pieces(), known)

    gradients = iter(adjoint(function, [getattr(call, name) for name in names], cotangents))
    return [next(gradients) if name in names else None for name in TENSORS]


_operator.register_autograd(_differentiate, setup_context=_keep)
