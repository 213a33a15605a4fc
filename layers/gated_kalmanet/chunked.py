"""The chunk-wise form: all tokens of a chunk at once, chunks in parallel, in plain PyTorch on any device."""

from __future__ import annotations

import torch

from .arguments import Inputs
from .info import Info
from .layout import Layout
from .readout import readout
from .regression import regression
from .settings import Solver
from .spared import spared

__all__ = ["chunk_wise"]

CHUNK = 64
LEAST_CHUNK = 16


def chunk_wise(
    inputs: Inputs, solver: Solver, want_info: bool, chunk: int | None = None
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor], Info | None]:
    """Regression, mixing with alpha, and readout.

    Parameters
    ----------
    inputs : Inputs
    solver : Solver
    want_info : bool
    chunk : int, optional
        Tokens a chunk: by default 64, or fewer for short sequences.

    Notes
    -----
    A step of a solver takes 2 D (D + 2 C) multiplications and additions a token and head, all else about 2 D^2 + 2 D V
    + 2 C (2 D + V + C). States before chunks take D (D + V) / C numbers a token and head while they are needed, and are
    not kept for the backward pass.
    """
    inputs, reach = spared(inputs)
    longest = max(inputs.lengths, default=0)
    size = chunk or min(CHUNK, max(LEAST_CHUNK, -(-longest // LEAST_CHUNK) * LEAST_CHUNK))
    layout = Layout(inputs.lengths, size, inputs.q.device)
    split, shape = layout.split, inputs.q.shape
    q, k, v = split(inputs.q), split(inputs.k), split(inputs.v)
    flat = torch.zeros(q.shape[:-1], dtype=q.dtype, device=q.device)
    gk = flat if inputs.gk is None else split(inputs.gk)
    g = flat if inputs.g is None else gk if inputs.g is inputs.gk else split(inputs.g)
    x, H, facts = regression(q, k, gk, inputs.ridge_ratio, inputs.H, layout, solver, want_info)
    mixed = x if inputs.alpha is None else torch.lerp(q, x, split(inputs.alpha).unsqueeze(-1))
    o, U = readout(mixed, k, v, g, inputs.U, layout, inputs.scale)
    info = None if facts is None else Info(*(layout.join(fact, shape) for fact in facts))
    o = layout.join(o, shape)
    return (o, (H, U), info) if reach is None else reach.marked(o, H, U, info)
