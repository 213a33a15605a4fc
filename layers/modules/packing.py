"""The sequences of a batch as a layer works on them: row by row, or one behind the other with the padding left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad

from ...errors import InputError
from ..recurrence.checks import boundaries, sequence_lengths

__all__ = ["Packing"]


@dataclass(frozen=True)
class Packing:
    """Where sequences lie.

    Attributes
    ----------
    batch, tokens : int
        Of the input.
    real : Tensor of bool, (batch, tokens), or None
        What is not padding, where that is left out.
    cu_seqlens : Tensor, (N + 1,), or None
        Where sequences that follow each other in one row begin and end.
    lengths : list of int, or None
        Of these sequences.
    """

    batch: int
    tokens: int
    real: torch.Tensor | None = None
    cu_seqlens: torch.Tensor | None = None
    lengths: list[int] | None = None

    @classmethod
    def of(cls, x: torch.Tensor, attention_mask: Any, cu_seqlens: Any) -> Packing:
        """That of an input (B, T, ...); boundaries that are given win over a mask.

        Raises
        ------
        InputError
            For a mask or boundaries that do not fit.
        """
        batch, tokens = x.shape[:2]
        if cu_seqlens is not None:
            ends = boundaries(cu_seqlens, x)
            assert ends is not None
            return cls(batch, tokens, None, ends, list(sequence_lengths(ends.tolist(), tokens)))
        if attention_mask is None:
            return cls(batch, tokens)
        real = _real_tokens(attention_mask, batch, tokens)
        if batch == 0:
            return cls(batch, tokens)  # there is no row to leave padding out of
        ends = pad(real.sum(1).cumsum(0), (1, 0))
        return cls(batch, tokens, real, ends, ends.diff().tolist())

    @property
    def sequences(self) -> int:
        return self.batch if self.lengths is None else len(self.lengths)

    def pack(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, ...) without its padding, (1, tokens that there are, ...)."""
        return x if self.real is None else x[self.real].unsqueeze(0)

    def unpack(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, ...) with zeros for padding."""
        if self.real is None:
            return x
        padded = x.new_zeros(self.batch, self.tokens, *x.shape[2:])
        padded[self.real] = x[0]
        return padded


def _real_tokens(mask: Any, batch: int, tokens: int) -> torch.Tensor:
    if not isinstance(mask, torch.Tensor):
        raise TypeError(f"attention_mask: found {type(mask).__name__}; wanted a torch tensor")
    if mask.ndim != 2 or mask.shape[0] != batch or mask.shape[1] < tokens:
        raise InputError(
            f"attention_mask: found shape {tuple(mask.shape)}; wanted ({batch}, {tokens}) or more columns, 1 for "
            "tokens and 0 for padding"
        )
    real = mask != 0
    wrong = mask[real & (mask != 1)]
    if wrong.numel():
        raise InputError(
            f"attention_mask: found {wrong[0].item():g}; wanted 1 for tokens and 0 for padding. Of an additive "
            "mask pass mask == 0"
        )
    if mask.is_floating_point() and mask.numel() and not bool(real.any()):
        raise InputError(
            "attention_mask: found zeros alone, which an additive mask has where there is no padding; wanted 1 for "
            "tokens and 0 for padding, as integers or booleans where all is padding"
        )
    return real[:, mask.shape[1] - tokens :]
