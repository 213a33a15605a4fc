"""o_t = scale U_t^T m_t for all tokens, U_t = exp(gate_t) U_{t-1} + k_t v_t^T: linear attention with decay."""

from __future__ import annotations

from functools import partial

import torch

from .layout import Decay, Layout, adjoint, differentiable_scan, gate_gradient, inner, states_before

__all__ = ["readout"]


def readout(
    m: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    gates: torch.Tensor,
    initial: torch.Tensor,
    layout: Layout,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Read the memory of every token.

    Parameters
    ----------
    m, k : Tensor, (chunks, H, C, D)
    v : Tensor, (chunks, H, C, V)
    gates : Tensor, (chunks, H, C)
    initial : Tensor, (sequences, H, D, V)
    layout : Layout
    scale : float

    Returns
    -------
    o : Tensor, (chunks, H, C, V)
    final : Tensor, (sequences, H, D, V)

    Notes
    -----
    With R_t the adjoint of U_t: R_t = scale m_t do_t^T + exp(gate_{t+1}) R_{t+1}, dk_t = R_t v_t, dv_t = R_t^T k_t, and
    dgate_t = exp(gate_t) <R_t, U_{t-1}> = do_t^T o_t - v_t^T dv_t + dgate_{t+1}.

    References
    ----------
    Yang et al. (2024), "Gated linear attention transformers with hardware-efficient training", section 4.
    """
    return _Readout.apply(m, k, v, gates, initial, layout, scale)


class _Readout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, m, k, v, gates, initial, layout, scale):  # type: ignore[no-untyped-def]
        before, final = states_before(k, v, Decay(gates), initial, layout)
        o = torch.empty_like(v)
        for part in layout.groups(m.shape[1], max(m.shape[-1], v.shape[-1])):
            decay, M, K = Decay(gates[part]), m[part], k[part]
            read = torch.matmul(M, before[part]).mul_(decay.since_start)
            o[part] = read.add_(torch.matmul((M @ K.transpose(-1, -2)).mul_(decay.within), v[part])).mul_(scale)
        ctx.save_for_backward(m, k, v, gates, initial, o)
        ctx.layout, ctx.scale = layout, scale
        return o, final

    @staticmethod
    def backward(ctx, do, d_final):  # type: ignore[no-untyped-def]
        m, k, v, gates, initial, o = ctx.saved_tensors
        layout, scale = ctx.layout, ctx.scale
        if torch.is_grad_enabled():  # what follows is to be differentiated again
            again = partial(_readout, layout=layout, scale=scale)
            return *adjoint(again, (m, k, v, gates, initial), (do, d_final)), None, None
        decay = Decay(gates)
        before, _final = states_before(k, v, decay, initial, layout)
        dm, dk, dv = torch.empty_like(m), torch.empty_like(k), torch.empty_like(v)
        after = torch.matmul((m * decay.since_start).transpose(-1, -2), do).mul_(scale)
        d_initial = layout.scan(after, decay.whole, d_final, reverse=True)
        boundary = decay.whole * inner(before, after)
        for part in layout.groups(m.shape[1], max(m.shape[-1], v.shape[-1])):
            here, M, K, V, dO, R = Decay(gates[part]), m[part], k[part], v[part], do[part] * scale, after[part]
            pairs = (dO @ V.transpose(-1, -2)).mul_(here.within)
            read = torch.matmul(dO, before[part].transpose(-1, -2)).mul_(here.since_start)
            dm[part] = read.add_(pairs @ K)
            later = torch.matmul(V, R.transpose(-1, -2)).mul_(here.to_end)
            dk[part] = later.add_(pairs.transpose(-1, -2) @ M)
            written = torch.matmul(K, R).mul_(here.to_end)
            boundary[part] += torch.linalg.vecdot(written, V).sum(-1)
            dv[part] = written.add_((M @ K.transpose(-1, -2)).mul_(here.within).transpose(-1, -2) @ dO)
        d_gates = gate_gradient(
            torch.linalg.vecdot(do, o).double() - torch.linalg.vecdot(v, dv).double(), boundary, gates
        )
        return dm, dk, dv, d_gates, d_initial, None, None


def _readout(
    m: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    gates: torch.Tensor,
    initial: torch.Tensor,
    layout: Layout,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same of all chunks at once, in operations that are differentiable any number of times."""
    decay = Decay(gates)
    increments = (k * decay.to_end).transpose(-1, -2) @ v
    before, final = differentiable_scan(increments, decay.whole, initial, layout)
    pairs = (m @ k.transpose(-1, -2)) * decay.within
    return scale * (decay.since_start * (m @ before) + pairs @ v), final
