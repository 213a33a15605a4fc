"""Tokens that are not finite, kept from tokens before them.

In products of whole chunks a later token counts zero times, and zero times NaN is NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from .arguments import Inputs
from .info import Info

__all__ = ["Reach", "spared"]

PARTS = ("q", "k", "v", "g", "gk", "alpha")


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
