"""o_t = scale U_t^T m_t for all tokens, U_t = exp(gate_t) U_{t-1} + k_t v_t^T: linear attention with decay."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from ..recurrence.layout import Decay, Layout, adjoint, differentiable_scan
from .pieces import Pieces
from .plain import PLAIN

__all__ = ["read", "read_adjoint", "read_by_operations", "readout"]


def readout(
    x: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    gates: torch.Tensor,
    initial: torch.Tensor,
    layout: Layout,
    scale: float,
    q: torch.Tensor | None = None,
    alpha: torch.Tensor | None = None,
    pieces: Pieces = PLAIN,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Read the memory of every token, at m_t = q_t + alpha_t (x_t - q_t), or at x_t.

    Parameters
    ----------
    x, k, v : Tensor
        Rows of the pieces: of the plain ones (chunks, H, C, D), v with V in place of D.
    gates : Tensor
        One number a row.
    initial : Tensor, (sequences, H, D, V)
    layout : Layout
    scale : float
    q, alpha : Tensor, optional
        Both or neither; alpha is one number a row.
    pieces : Pieces

    Returns
    -------
    o : Tensor
        Rows as v.
    final : Tensor, (sequences, H, D, V)

    Notes
    -----
    With R_t the adjoint of U_t: R_t = scale m_t do_t^T + exp(gate_{t+1}) R_{t+1}, dk_t = R_t v_t, dv_t = R_t^T k_t, and
    dgate_t = exp(gate_t) <R_t, U_{t-1}> = do_t^T o_t - v_t^T dv_t + dgate_{t+1}.

    References
    ----------
    Yang et al. (2024), "Gated linear attention transformers with hardware-efficient training", section 4.
    """
    return _Readout.apply(x, q, alpha, k, v, gates, initial, layout, scale, pieces)


def read(
    x: torch.Tensor,
    q: torch.Tensor | None,
    alpha: torch.Tensor | None,
    k: torch.Tensor,
    v: torch.Tensor,
    gates: torch.Tensor,
    initial: torch.Tensor,
    layout: Layout,
    scale: float,
    pieces: Pieces,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``readout`` without its derivative."""
    before, final = pieces.states(k, v, gates, initial, layout)
    return pieces.read(x, q, alpha, k, v, gates, before, layout, scale), final


def read_adjoint(
    do: torch.Tensor,
    d_final: torch.Tensor,
    o: torch.Tensor,
    x: torch.Tensor,
    q: torch.Tensor | None,
    alpha: torch.Tensor | None,
    k: torch.Tensor,
    v: torch.Tensor,
    gates: torch.Tensor,
    initial: torch.Tensor,
    layout: Layout,
    scale: float,
    pieces: Pieces,
) -> tuple[torch.Tensor | None, ...]:
    """The gradients of x, q, alpha, k, v, gates and initial."""
    before, _final = pieces.states(k, v, gates, initial, layout)
    after, d_initial = pieces.read_states_adjoint(do, x, q, alpha, gates, d_final, layout, scale)
    return *pieces.read_rows_adjoint(do, o, x, q, alpha, k, v, gates, before, after, layout, scale), d_initial


class _Readout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, q, alpha, k, v, gates, initial, layout, scale, pieces):  # type: ignore[no-untyped-def]
        o, final = read(x, q, alpha, k, v, gates, initial, layout, scale, pieces)
        ctx.save_for_backward(x, q, alpha, k, v, gates, initial, o)
        ctx.layout, ctx.scale, ctx.pieces = layout, scale, pieces
        return o, final

    @staticmethod
    def backward(ctx, do, d_final):  # type: ignore[no-untyped-def]
        x, q, alpha, k, v, gates, initial, o = ctx.saved_tensors
        layout, scale, pieces = ctx.layout, ctx.scale, ctx.pieces
        found: tuple[torch.Tensor | None, ...]
        if torch.is_grad_enabled():  # what follows is to be differentiated again
            again = partial(read_by_operations, layout=layout, scale=scale, pieces=pieces)
            given = (x, k, v, gates, initial) if alpha is None else (x, k, v, gates, initial, q, alpha)
            dx, dk, dv, d_gates, d_initial, *rest = adjoint(again, given, (pieces.as_chunks(do, layout), d_final))
            dq, d_alpha = rest or (None, None)
            found = (dx, dq, d_alpha, dk, dv, d_gates, d_initial)
        else:
            found = read_adjoint(do, d_final, o, x, q, alpha, k, v, gates, initial, layout, scale, pieces)
        return *found, None, None, None


def read_by_operations(
    x: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    gates: torch.Tensor,
    initial: torch.Tensor,
    q: torch.Tensor | None = None,
    alpha: torch.Tensor | None = None,
    *,
    layout: Layout,
    scale: float,
    pieces: Pieces = PLAIN,
    scan: Callable[..., tuple[torch.Tensor, torch.Tensor]] = differentiable_scan,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``readout`` of all chunks at once, in operations that are differentiable any number of times, as ``scan`` is."""
    x, k, v, gates = (pieces.as_chunks(part, layout) for part in (x, k, v, gates))
    if q is not None and alpha is not None:
        x = torch.lerp(pieces.as_chunks(q, layout), x, pieces.as_chunks(alpha, layout).unsqueeze(-1))
    decay = Decay(gates)
    increments = (k * decay.to_end).transpose(-1, -2) @ v
    before, final = scan(increments, decay.whole, initial, layout)
    pairs = (x @ k.transpose(-1, -2)) * decay.within
    return scale * (decay.since_start * (x @ before) + pairs @ v), final
