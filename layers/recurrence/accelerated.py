"""The form of Triton kernels: what they take, and the operators around them."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import replace
from typing import Any

import torch
from torch.nn.functional import pad

from .chunked import chunked
from .layout import Layout, adjoint
from .recurrence import Recurrence

__all__ = ["accelerated", "refusal"]

INSTALLED = importlib.util.find_spec("triton") is not None
LARGEST = 128
DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def refusal(recurrence: Recurrence) -> str | None:
    """What was found and what would be wanted, where the kernels do not take a recurrence; None where they do."""
    r, g, D, V = recurrence.r, recurrence.g, recurrence.r.shape[3], recurrence.v.shape[3]
    if not INSTALLED:
        return "found no Triton; wanted it installed: pip install triton"
    if r.device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return f"found tensors on {r.device}; wanted them on a CUDA device, or form='chunk'"
    if r.dtype not in DTYPES:
        return f"found numbers of {r.dtype}; wanted float16, bfloat16 or float32, or form='chunk'"
    if max(D, V) > LARGEST:
        return f"found D = {D} and V = {V}; wanted at most {LARGEST}, or form='chunk'"
    if recurrence.e is None:
        return "found a recurrence that only adds; wanted one that erases, or form='chunk'"
    if g is not None and g.ndim == 4:
        return "found decays of channels; wanted none or one a head, or form='chunk'"
    return None


def accelerated(recurrence: Recurrence) -> tuple[torch.Tensor, torch.Tensor]:
    """The outputs, (B, T, H, V), and the states after the last tokens, (N, H, D, V), both in float32.

    The form in chunks, of 64 corrections, with one decay a head or none. Where decays are of channels, or nothing is
    erased, there is only that in plain PyTorch. Of several corrections a token each is a token of its own, of which the
    last is read. The derivative is of kernels, too; one that is to be differentiated again is that of the plain form.

    Parameters
    ----------
    recurrence : Recurrence
        For which there is no ``refusal``; its values may be of 16 bits, and products are then of bfloat16, three each.
    """
    n, lengths = recurrence.corrections, recurrence.lengths
    r, w, v, e, g = recurrence.r, recurrence.w, recurrence.v, recurrence.e, recurrence.g
    if recurrence.b is not None:
        w = recurrence.b * w
    g = r.new_zeros(r.shape[:3]) if g is None else g
    if n > 1:
        r = pad(r.unsqueeze(2), (0, 0, 0, 0, n - 1, 0)).flatten(1, 2)
        g = pad(g.unsqueeze(2), (0, 0, 0, n - 1)).flatten(1, 2)
    o, final = _operator(
        r,
        w,
        e,
        v,
        g,
        recurrence.initial,
        [n * length for length in lengths],
        recurrence.scale,
        recurrence.erase_undecayed,
    )
    return (o if n == 1 else o[:, n - 1 :: n]), final


TENSORS = 6
ARGUMENTS = (
    "Tensor r, Tensor w, Tensor e, Tensor v, Tensor g, Tensor initial, SymInt[] lengths, float scale, bool undecayed"
)


def _rows(*tensors: torch.Tensor) -> Any:
    return [tensor.flatten(0, 1).contiguous() for tensor in tensors]


def _forward(
    r: torch.Tensor,
    w: torch.Tensor,
    e: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor,
    initial: torch.Tensor,
    lengths: list[int],
    scale: float,
    undecayed: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    from ...gpu.triton.delta_rule.operation import CHUNK, forward

    layout, initial = Layout(lengths, CHUNK, r.device), initial.float().contiguous()
    if not (layout.chunks and initial.numel()):
        return v.new_zeros(v.shape, dtype=torch.float32), initial.clone()
    given = (*_rows(r, w, e, v, g.float()), initial, layout, scale, undecayed)
    o, final = forward(*given)
    return o.unflatten(0, v.shape[:2]), final


def _shapes(r: Any, w: Any, e: Any, v: Any, g: Any, initial: Any, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return v.new_empty(v.shape, dtype=torch.float32), initial.new_empty(initial.shape, dtype=torch.float32)


def _backward(do: torch.Tensor, d_final: torch.Tensor, o: torch.Tensor, *call: Any) -> tuple[torch.Tensor, ...]:
    """The gradients of r, w, e, v, g and initial."""
    from ...gpu.triton.delta_rule.operation import CHUNK, backward

    given: Any = call[:TENSORS]
    lengths, scale, undecayed = call[TENSORS:]
    layout, initial = Layout(lengths, CHUNK, do.device), given[-1].float().contiguous()
    if not (layout.chunks and initial.numel()):
        return *(torch.zeros_like(part) for part in given[:-1]), d_final.to(given[-1].dtype, copy=True)
    rows = _rows(do, o, *given[:4], given[4].float())
    arguments = (d_final.contiguous(), *rows, initial, layout, scale, undecayed)
    found = backward(*arguments)
    return tuple(part.view(like.shape).to(like.dtype) for part, like in zip(found, given, strict=True))


def _shapes_of_gradients(do: Any, d_final: Any, o: Any, *call: Any) -> tuple[torch.Tensor, ...]:
    return tuple(part.new_empty(part.shape) for part in call[:TENSORS])


_operator = torch.library.custom_op(
    "resolvent::delta_rule",
    torch.no_grad()(_forward),
    mutates_args=(),
    schema=f"({ARGUMENTS}) -> (Tensor o, Tensor final)",
)
_operator.register_fake(_shapes)
_adjoint = torch.library.custom_op(
    "resolvent::delta_rule_backward",
    torch.no_grad()(_backward),
    mutates_args=(),
    schema=f"(Tensor do, Tensor d_final, Tensor o, {ARGUMENTS}) -> ({', '.join(['Tensor'] * TENSORS)})",
)
_adjoint.register_fake(_shapes_of_gradients)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    ctx.save_for_backward(output[0], *inputs[:TENSORS])
    ctx.rest = inputs[TENSORS:]


def _differentiate(ctx: Any, do: torch.Tensor, d_final: torch.Tensor) -> tuple[Any, ...]:
    o, *given = ctx.saved_tensors
    if not torch.is_grad_enabled():
        return *_adjoint(do, d_final, o, *given, *ctx.rest), None, None, None
    lengths, scale, undecayed = ctx.rest

    def plain(r: Any, w: Any, e: Any, v: Any, g: Any, initial: Any) -> tuple[torch.Tensor, torch.Tensor]:
        r, w, e, v, g, initial = (part.float() for part in (r, w, e, v, g, initial))
        start = Recurrence(r, w, v, initial, tuple(lengths), e=e, g=g, scale=scale)
        return chunked(replace(start, erase_undecayed=undecayed))

    return *adjoint(plain, given, (do, d_final)), None, None, None


_operator.register_autograd(_differentiate, setup_context=_keep)
