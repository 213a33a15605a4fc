"""The chunk-wise form: all tokens of a chunk at once, chunks in parallel."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from .arguments import Info, Inputs
from .layout import Layout
from .pieces import Pieces
from .plain import PLAIN
from .readout import readout
from .regression import regression
from .solving import Solver

__all__ = ["chunk_wise"]

CHUNK = 64
LEAST_CHUNK = 16
PARTS = ("q", "k", "v", "g", "gk", "alpha")


def chunk_wise(
    inputs: Inputs, solver: Solver, want_info: bool, chunk: int | None = None, pieces: Pieces = PLAIN
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor], Info | None]:
    """Regression, mixing with alpha, and readout.

    Parameters
    ----------
    inputs : Inputs
    solver : Solver
    want_info : bool
    chunk : int, optional
        Tokens a chunk: by default 64, or fewer for short sequences.
    pieces : Pieces
        What computes its steps.

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
    shape = inputs.q.shape

    def split(tokens: torch.Tensor | None) -> torch.Tensor | None:
        return None if tokens is None else pieces.split(tokens, layout)

    no_decay = inputs.H.new_zeros(shape[:3])
    gk = inputs.gk if inputs.gk is not None else no_decay
    g = inputs.g if inputs.g is not None else no_decay
    q, k, v, gk, g, alpha = map(split, (inputs.q, inputs.k, inputs.v, gk, g, inputs.alpha))
    x, H, facts = regression(q, k, gk, inputs.ridge_ratio, inputs.H, layout, solver, want_info, pieces)
    o, U = readout(x, k, v, g, inputs.U, layout, inputs.scale, None if alpha is None else q, alpha, pieces)
    info = None if facts is None else Info(*(pieces.join(fact, shape, layout) for fact in facts))
    o = pieces.join(o, shape, layout)
    return (o, (H, U), info) if reach is None else reach.marked(o, H, U, info)


@dataclass(frozen=True)
class Reach:
    """What tokens that are not finite make NaN.

    Attributes
    ----------
    o : Tensor of bool, (B, T, H)
    H, U : Tensor of bool, (N, H)
    """

    o: torch.Tensor
    H: torch.Tensor
    U: torch.Tensor

    def marked(
        self, o: torch.Tensor, H: torch.Tensor, U: torch.Tensor, info: Info | None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor], Info | None]:
        """The results with NaN there; no gradient passes through it."""
        if info is not None:
            info = info._replace(relative_residual=info.relative_residual.masked_fill(self.o, math.nan))
        H, U = (state.masked_fill(at[..., None, None], math.nan) for state, at in ((H, self.H), (U, self.U)))
        return o.masked_fill(self.o.unsqueeze(-1), math.nan), (H, U), info


def spared(inputs: Inputs) -> tuple[Inputs, Reach | None]:
    """The inputs with zeros for what is not finite, and how far that reaches.

    Costs one sum of each where all are finite.
    """
    numbers = [part.detach().sum() for part in (inputs.q, inputs.k, inputs.v, inputs.alpha) if part is not None]
    # Of gates, minus infinity is a decay like any other.
    gates = [part.detach().sum().clamp_min(-1.0) for part in (inputs.g, inputs.gk) if part is not None]
    if math.isfinite(float(sum([*numbers, *gates]))):
        return inputs, None

    none = torch.zeros(inputs.q.shape[:3], dtype=torch.bool, device=inputs.q.device)
    bad = {
        name: none if part is None else part.isnan() if name in ("g", "gk") else ~part.isfinite()
        for name, part in ((name, getattr(inputs, name)) for name in PARTS)
    }
    kept: dict[str, Any] = {
        name: None if (part := getattr(inputs, name)) is None else part.masked_fill(bad[name], 0.0) for name in PARTS
    }
    if inputs.g is inputs.gk:
        kept["g"] = kept["gk"]
    q, k, v = (bad[name].any(-1) for name in ("q", "k", "v"))
    in_H, in_U = k | bad["gk"], k | v | bad["g"]
    lengths = list(inputs.lengths)

    def afterwards(written: torch.Tensor) -> torch.Tensor:
        """From a token to the end of its sequence."""
        parts = written.flatten(0, 1).split(lengths)
        return torch.cat([part.cumsum(0) > 0 for part in parts]).view(none.shape)

    def at_the_end(written: torch.Tensor) -> torch.Tensor:
        return torch.stack([part.any(0) for part in written.flatten(0, 1).split(lengths)])

    reach = Reach(q | bad["alpha"] | afterwards(in_H | in_U), at_the_end(in_H), at_the_end(in_U))
    return replace(inputs, **kept), reach
