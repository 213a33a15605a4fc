"""Decay inside chunks: what is left at one token of what was written at another."""

from __future__ import annotations

from functools import cached_property

import torch

__all__ = ["Decay", "gate_gradient"]

LOWEST = -800.0  # exp of it is zero in every format


class Decay:
    """exp of sums of log gates over stretches of a chunk.

    The sums are differences of cumulative sums in double precision, so that long stretches cost no accuracy; gates of
    minus infinity count as -800, since a difference of infinities would be none.

    Parameters
    ----------
    gates : Tensor, (chunks, H, C)
        Log decays, at most 0.

    Attributes
    ----------
    within : Tensor, (chunks, H, C, C)
        M_tj = exp(sum of the gates after j up to t) for j <= t, else 0.
    since_start, to_end : Tensor, (chunks, H, C, 1)
        What is left at a token of the state before the chunk; after the chunk, of what the token wrote.
    """

    def __init__(self, gates: torch.Tensor) -> None:
        self.dtype, self._total = gates.dtype, gates.double().clamp_min(LOWEST).cumsum(-1)
        self.since_start = self._total.exp().to(self.dtype).unsqueeze(-1)
        self.to_end = (self._total[..., -1:] - self._total).exp().to(self.dtype).unsqueeze(-1)

    @cached_property
    def within(self) -> torch.Tensor:
        difference = self._total.unsqueeze(-1) - self._total.unsqueeze(-2)
        return difference.to(self.dtype).tril_().exp_().tril()

    @property
    def whole(self) -> torch.Tensor:
        """Over the whole chunk, (chunks, H)."""
        return self.since_start[..., -1, 0]


def gate_gradient(terms: torch.Tensor, boundary: torch.Tensor, gates: torch.Tensor) -> torch.Tensor:
    """Gradient of the gates, (chunks, H, C), from dgate_t = terms_t + dgate_{t+1} within a chunk.

    ``boundary``, (chunks, H), is <P, S> of the state S after the chunk and its adjoint P, where the recurrence begins.
    Zero where a gate is minus infinity: nothing passes through it.
    """
    total = terms.double().flip(-1).cumsum(-1).flip(-1) + boundary.unsqueeze(-1)
    return torch.where(torch.isneginf(gates), 0.0, total).to(gates.dtype)
