"""All tokens of a chunk at once, chunks in parallel: inputs cut into chunks, and what is not finite among them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..recurrence.layout import Layout
from .arguments import Inputs
from .pieces import Pieces, Solutions
from .readout import readout
from .regression import regression
from .solving import Solver

__all__ = ["PARTS", "Reach", "Rows", "differentiable", "spared"]

CHUNK = 64
LEAST_CHUNK = 16
PARTS = ("q", "k", "v", "g", "gk", "alpha", "strength")


class Rows:
    """The inputs cut into chunks, as pieces take them.

    Parameters
    ----------
    inputs : Inputs
    chunk : int, optional
        Tokens a chunk: by default 64, or fewer for short sequences.
    pieces : Pieces
    """

    def __init__(self, inputs: Inputs, chunk: int | None, pieces: Pieces) -> None:
        longest = max(inputs.lengths, default=0)
        size = chunk or min(CHUNK, max(LEAST_CHUNK, -(-longest // LEAST_CHUNK) * LEAST_CHUNK))
        self.layout, self.pieces, self.shape = Layout(inputs.lengths, size, inputs.q.device), pieces, inputs.q.shape
        split = self.split
        no_decay = inputs.H.new_zeros(self.shape[:3]) if inputs.g is None or inputs.gk is None else None
        self.q, self.k, self.v = split(inputs.q), split(inputs.k), split(inputs.v)
        self.gk = split(no_decay if inputs.gk is None else inputs.gk)
        self.g = self.gk if inputs.g is inputs.gk else split(no_decay if inputs.g is None else inputs.g)
        self.alpha = None if inputs.alpha is None else split(inputs.alpha)
        self.mixed = (None if inputs.alpha is None else self.q, self.alpha)
        self.strength = None if inputs.strength is None else split(inputs.strength)
        self.ridge = inputs.ridge.expand(self.shape[2]) if inputs.ridge.ndim < 2 else inputs.ridge

    def split(self, tokens: Any) -> torch.Tensor:
        return self.pieces.split(tokens, self.layout)

    def join(self, rows: torch.Tensor) -> torch.Tensor:
        return self.pieces.join(rows, self.shape, self.layout)


def differentiable(
    inputs: Inputs, solver: Solver, chunk: int | None, pieces: Pieces, known: Solutions | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The outputs and final states by operations that torch differentiates, any number of times.

    Parameters
    ----------
    inputs : Inputs
    solver : Solver
    chunk : int, optional
    pieces : Pieces
    known : Solutions, optional
        The tokens' solutions and what belongs to them, so that they need not be found again.
    """
    inputs, reach = spared(inputs)
    rows = Rows(inputs, chunk, pieces)
    if known is not None:
        x, norms, uppers = (rows.split(part.detach()) for part in known[:3])
        known = Solutions(x, norms, uppers, None)
    layout = rows.layout
    x, H, _ = regression(
        rows.q, rows.k, rows.gk, rows.ridge, inputs.H, layout, solver, False, pieces, known, rows.strength
    )
    o, U = readout(x, rows.k, rows.v, rows.g, inputs.U, layout, inputs.scale, *rows.mixed, pieces)
    o = rows.join(o)
    return (o, H, U) if reach is None else reach.marked(o, H, U)


@dataclass(frozen=True)
class Reach:
    """What tokens that are not finite make NaN.

    Attributes
    ----------
    o : Tensor of bool, (B, T, H)
    H, U : Tensor of bool, (N, H)
    bad : dict
        What is not finite itself, by the names of ``PARTS``.
    """

    o: torch.Tensor
    H: torch.Tensor
    U: torch.Tensor
    bad: dict[str, torch.Tensor]

    def marked(self, o: torch.Tensor, H: torch.Tensor, U: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The results with NaN there; no gradient passes through it."""
        return self._filled(o, H, U, math.nan)

    def unmarked(self, o: torch.Tensor, H: torch.Tensor, U: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """With zero there."""
        return self._filled(o, H, U, 0.0)

    def _filled(self, o: torch.Tensor, H: torch.Tensor, U: torch.Tensor, value: float) -> tuple[torch.Tensor, ...]:
        H, U = (state.masked_fill(at[..., None, None], value) for state, at in ((H, self.H), (U, self.U)))
        return o.masked_fill(self.o.unsqueeze(-1), value), H, U


def spared(inputs: Inputs) -> tuple[Inputs, Reach | None]:
    """The inputs with zeros for what is not finite, and how far that reaches.

    Costs one sum of each where all are finite.
    """
    tokens = (inputs.q, inputs.k, inputs.v, inputs.alpha, inputs.strength)
    numbers = [part.detach().sum() for part in tokens if part is not None]
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
    in_H, in_U = k | bad["gk"] | bad["strength"], k | v | bad["g"]
    lengths = list(inputs.lengths)

    def afterwards(written: torch.Tensor) -> torch.Tensor:
        """From a token to the end of its sequence."""
        parts = written.flatten(0, 1).split(lengths)
        return torch.cat([part.cumsum(0) > 0 for part in parts]).view(none.shape)

    def at_the_end(written: torch.Tensor) -> torch.Tensor:
        return torch.stack([part.any(0) for part in written.flatten(0, 1).split(lengths)])

    reach = Reach(q | bad["alpha"] | afterwards(in_H | in_U), at_the_end(in_H), at_the_end(in_U), bad)
    return replace(inputs, **kept), reach
