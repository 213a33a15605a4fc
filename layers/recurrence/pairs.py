"""What is read at one token of a chunk of what was written at another, the decay between them included."""

from __future__ import annotations

from typing import NamedTuple

import torch

from .layout import Decay

__all__ = ["Chunk", "undecayed", "with_channels", "with_heads"]


class Chunk(NamedTuple):
    """One chunk or many, with n corrections a token: rows are (..., C, D) for reads, (..., C n, D) for corrections.

    Attributes
    ----------
    read : Tensor, (..., C, C n)
        r_t^T (decay from i to t) w_i, where i is written at token t or before.
    erase : Tensor, (..., C n, C n), or None
        The same for e_j, for i before j.
    reads, erases : Tensor
        r and e, decayed since the beginning of the chunk.
    writes : Tensor, (..., C n, D)
        w, decayed until its end.
    whole : Tensor, (..., 1, 1) or (..., D, 1), or None
        The decay of the state from one chunk to the next.
    """

    read: torch.Tensor
    erase: torch.Tensor | None
    reads: torch.Tensor
    erases: torch.Tensor | None
    writes: torch.Tensor
    whole: torch.Tensor | None


def undecayed(r: torch.Tensor, w: torch.Tensor, e: torch.Tensor | None, n: int) -> Chunk:
    """Without decay."""
    read = (r @ w.mT) * _seen(r.shape[-2], n, r)
    erase = None if e is None else (e @ w.mT).tril(-1)
    return Chunk(read, erase, r, e, w, None)


def with_heads(
    r: torch.Tensor, w: torch.Tensor, e: torch.Tensor | None, g: torch.Tensor, n: int, erase_undecayed: bool
) -> Chunk:
    """With one log decay a token, (..., C)."""
    decay = Decay(g)
    within, since, to_end = decay.within, decay.since_start, decay.to_end
    if n > 1:
        within, to_end = within.repeat_interleave(n, -1), to_end.repeat_interleave(n, -2)
    read, erase, erases = (r @ w.mT) * within, None, None
    if e is not None:
        factor, start = within, since
        if n > 1:
            factor, start = within.repeat_interleave(n, -2), since.repeat_interleave(n, -2)
        elif erase_undecayed:
            factor, start = decay.within_before, decay.since_start_before
        erase, erases = ((e @ w.mT) * factor).tril(-1), start * e
    return Chunk(read, erase, since * r, erases, to_end * w, decay.whole[..., None, None])


def with_channels(r: torch.Tensor, w: torch.Tensor, e: torch.Tensor | None, g: torch.Tensor, n: int) -> Chunk:
    """With one log decay a token and channel, (..., C, D), where C is a power of two.

    The decay stands inside of the inner product, sum_d e_d w_d exp(G_d), and exp(G_t) / exp(G_j) would overflow. So a
    chunk is halved again and again: what is read in a second half of what was written in the first one has decayed up
    to the border of the halves, and since then; both factors are at most 1, and sums of logarithms are all there is.
    """
    size = r.shape[-2]
    x = r.unsqueeze(-2) if e is None else torch.cat([r.unsqueeze(-2), e.unflatten(-2, (size, n))], -2)
    w = w.unflatten(-2, (size, n))
    m = x.shape[-2]
    since = total = g.unsqueeze(-2)  # blocks of one token: (..., blocks, tokens, D)
    to_end = torch.zeros_like(since)
    found = x @ w.mT
    for half in (1 << level for level in range(size.bit_length() - 1)):
        halves = (size // (2 * half), 2)
        since_1, since_2 = since.unflatten(-3, halves).unbind(-3)
        to_end_1, to_end_2 = to_end.unflatten(-3, halves).unbind(-3)
        total_1, total_2 = total.unflatten(-3, halves).unbind(-3)
        x_2 = x.unflatten(-3, (*halves, half)).select(-4, 1)
        w_1 = w.unflatten(-3, (*halves, half)).select(-4, 0)
        late = (x_2 * since_2.exp().unsqueeze(-2)).flatten(-3, -2)
        early = (w_1 * to_end_1.exp().unsqueeze(-2)).flatten(-3, -2)
        first, second = found.unflatten(-3, halves).unbind(-3)
        across = late @ early.mT
        found = torch.cat([torch.cat([first, torch.zeros_like(across)], -1), torch.cat([across, second], -1)], -2)
        since = torch.cat([since_1, since_2 + total_1], -2)
        to_end = torch.cat([to_end_1 + total_2, to_end_2], -2)
        total = total_1 + total_2
    found = found.squeeze(-3).unflatten(-2, (size, m))
    start, end, whole = since.squeeze(-3).exp(), to_end.squeeze(-3).exp(), total.squeeze(-3).exp()
    erase = erases = None
    if e is not None:
        erase = found[..., 1:, :].flatten(-3, -2).tril(-1)
        erases = (x[..., 1:, :] * start.unsqueeze(-2)).flatten(-3, -2)
    writes = (w * end.unsqueeze(-2)).flatten(-3, -2)
    return Chunk(found[..., 0, :], erase, r * start, erases, writes, whole.mT)


def _seen(tokens: int, n: int, like: torch.Tensor) -> torch.Tensor:
    """1 where a correction is of the token read at or before, else 0; (C, C n)."""
    return torch.ones(tokens, tokens, dtype=like.dtype, device=like.device).tril().repeat_interleave(n, -1)
