"""The delta rule and its derivative, of checked tensors: the launches in their order."""

from __future__ import annotations

import torch

from ....layers.recurrence.layout import Layout
from ..gated_kalmanet.backward import read_rows_adjoint
from ..gated_kalmanet.readout import read
from ..launching import check_devices
from .backward import erasure_adjoint, scan_adjoint, written_adjoint
from .forward import factors, scan

__all__ = ["CHUNK", "backward", "forward", "precision_for"]

CHUNK = 64  # whatever the lengths, so that a sequence gives the same bits packed and alone


def precision_for(dtype: torch.dtype) -> str:
    """Of the products: three of TF32 for single precision, of bfloat16 for values of 16 bits."""
    return "tf32x3" if dtype is torch.float32 else "bf16x3"


def forward(
    r: torch.Tensor,
    w: torch.Tensor,
    e: torch.Tensor,
    v: torch.Tensor,
    gates: torch.Tensor,
    initial: torch.Tensor,
    layout: Layout,
    scale: float,
    undecayed: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The outputs, (tokens, H, V), and the last states, (sequences, H, D, V), in float32.

    Parameters
    ----------
    r, w, e, v : Tensor, (tokens, H, D) and (tokens, H, V)
        Contiguous, as are all; of 16 or 32 bits each.
    gates : Tensor of float32, (tokens, H)
    initial : Tensor of float32, (sequences, H, D, V)
    layout : Layout
        In chunks of ``CHUNK`` tokens, of which there is one at least.
    scale : float
    undecayed : bool
        Whether a token erases of the state before it decays.
    """
    check_devices(r=r, w=w, e=e, v=v, g=gates, initial_state=initial)
    precision = precision_for(v.dtype)
    _, erases, values = factors(w, e, v, gates, layout, undecayed, precision)
    before, written, final = scan(w, erases, values, gates, initial, layout, precision)
    return read(r, None, None, w, written, gates, before, layout.table, layout.size, scale, precision), final


def backward(
    d_final: torch.Tensor,
    do: torch.Tensor,
    o: torch.Tensor,
    r: torch.Tensor,
    w: torch.Tensor,
    e: torch.Tensor,
    v: torch.Tensor,
    gates: torch.Tensor,
    initial: torch.Tensor,
    layout: Layout,
    scale: float,
    undecayed: bool,
) -> tuple[torch.Tensor, ...]:
    """The gradients of r, w, e, v, the gates and the first states; states before chunks are computed again.

    Parameters
    ----------
    d_final : Tensor of float32, (sequences, H, D, V)
    do, o : Tensor of float32, (tokens, H, V)
    r, w, e, v, gates, initial, layout, scale, undecayed :
        Of ``forward``.
    """
    precision = precision_for(v.dtype)
    inverse, erases, values = factors(w, e, v, gates, layout, undecayed, precision)
    before, written, _ = scan(w, erases, values, gates, initial, layout, precision)
    d_written = written_adjoint(do, r, w, gates, layout, scale, precision)
    after, d_initial = scan_adjoint(do, d_written, r, w, erases, gates, d_final, layout, scale, precision)
    found = read_rows_adjoint(
        do, o, r, None, None, w, written, gates, before, after, layout, scale, precision=precision
    )
    dr, _, _, dw, d_written, d_gates = found
    dw_too, de, dv, d_gates_too = erasure_adjoint(
        d_written, written, inverse, w, e, gates, before, layout, undecayed, precision
    )
    return dr, dw_too.add_(dw), de, dv, d_gates_too.add_(d_gates), d_initial
