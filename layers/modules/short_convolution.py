"""A short causal convolution of each channel over time."""

from __future__ import annotations

import math

import torch
from torch import nn

from ...errors import InputError
from ..tensors import check_width

__all__ = ["ShortConvolution"]


class ShortConvolution(nn.Module):
    """silu(sum_j w_j x_{t-W+1+j} + b), channel by channel, within each sequence.

    Parameters
    ----------
    channels : int
    width : int
        W, the tokens it sees.
    bias : bool
        Whether there is a b.
    activation : {"silu", None}
        None: the sum itself.

    Attributes
    ----------
    weight : Parameter, (channels, 1, W)
        As in ``torch.nn.Conv1d`` with as many groups as channels; the last one belongs to the token itself.
    bias : Parameter, (channels,), or None

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers.modules import ShortConvolution
    >>> convolution = ShortConvolution(8, 4)
    >>> x = torch.randn(2, 5, 8)
    >>> y, state = convolution(x)
    >>> again = torch.cat([convolution(x[:, :3])[0], convolution(x[:, 3:], convolution(x[:, :3])[1])[0]], dim=1)
    >>> torch.allclose(y, again, atol=1e-6), state.shape
    (True, torch.Size([2, 8, 3]))
    """

    def __init__(self, channels: int, width: int, bias: bool = False, activation: str | None = "silu") -> None:
        super().__init__()
        if width < 1:
            raise InputError(f"conv_size: found {width}; wanted at least 1")
        if activation not in ("silu", None):
            raise InputError(f"activation: found {activation!r}; wanted 'silu' or None")
        self.width, self.activation = width, activation
        bound = 1 / math.sqrt(width)
        self.weight = nn.Parameter(torch.empty(channels, 1, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-bound, bound)) if bias else None

    @property
    def state_shape(self) -> tuple[int, int]:
        """Of what it needs of one sequence: (channels, W - 1)."""
        return self.weight.shape[0], self.width - 1

    def forward(
        self, x: torch.Tensor, state: torch.Tensor | None = None, lengths: list[int] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Convolve.

        Parameters
        ----------
        x : Tensor, (B, T, channels)
        state : Tensor, (N, channels, W - 1), optional
            The inputs before the first token of each sequence, by default zeros.
        lengths : list of int, optional
            Of N sequences that follow each other in x, whose B is 1 then; by default N = B sequences of T tokens.

        Returns
        -------
        y : Tensor, (B, T, channels)
        state : Tensor, (N, channels, W - 1)
        """
        check_width(x, "x", self.weight.shape[0], "channels", "B T *")
        batch, tokens, channels = x.shape
        before = self.width - 1
        if state is None:
            state = x.new_zeros(batch if lengths is None else len(lengths), channels, before)
        history = state.to(x.dtype).transpose(1, 2)
        if lengths is None:
            extended = torch.cat([history, x], dim=1)
            y = self._sum(extended, tokens)
            return self._activated(y), extended[:, tokens:].transpose(1, 2)
        parts = [part for piece in zip(history, x[0].split(lengths), strict=True) for part in piece]
        extended = torch.cat(parts)
        ends = (torch.tensor(lengths) + before).cumsum(0).tolist()
        last = torch.stack([extended[end - before : end] for end in ends]).transpose(1, 2)
        # Each sequence stands behind its history; the sums that straddle two sequences are left out.
        kept = [range(end - before - size, end - before) for end, size in zip(ends, lengths, strict=True)]
        rows = torch.tensor([row for sequence in kept for row in sequence], dtype=torch.long, device=x.device)
        y = self._sum(extended.unsqueeze(0), extended.shape[0] - before).index_select(1, rows)
        return self._activated(y), last

    def _activated(self, y: torch.Tensor) -> torch.Tensor:
        if self.bias is not None:
            y = y + self.bias.to(y.dtype)
        return nn.functional.silu(y) if self.activation else y

    def _sum(self, extended: torch.Tensor, tokens: int) -> torch.Tensor:
        weight = self.weight.to(extended.dtype)
        y = extended[:, :tokens] * weight[:, 0, 0]
        for j in range(1, self.width):
            y = torch.addcmul(y, extended[:, j : j + tokens], weight[:, 0, j])
        return y
