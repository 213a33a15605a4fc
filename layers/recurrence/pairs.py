"""What is read at one token of a chunk of what was written at another, the decay between them included."""

from __future__ import annotations

from typing import NamedTuple

import torch

from .checks import values_are_known
from .layout import Decay

MILD = 16.0  # a log decay over a chunk whose inverse may be multiplied with: a relative error of so many eps

__all__ = ["Chunk", "Rows", "decayed", "undecayed"]


class Rows(NamedTuple):
    """Chunks of C tokens with n corrections each; or the gradients of the same.

    Attributes
    ----------
    r : Tensor, (..., C, D)
    w : Tensor, (..., C n, D)
    e : Tensor, (..., C n, D), or None
    g : Tensor, (..., C) or (..., C, D), or None
    """

    r: torch.Tensor
    w: torch.Tensor
    e: torch.Tensor | None
    g: torch.Tensor | None


class Chunk(NamedTuple):
    """What the triangular systems and the outputs of chunks are made of; or the gradients of the same.

    Attributes
    ----------
    read : Tensor, (..., C, C n)
        r_t^T (decay from i to t) w_i, where i is written at token t or before; else 0.
    erase : Tensor, (..., C n, C n), or None
        The same for e_j, for i before j; what is not below the diagonal is of no account.
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


def undecayed(rows: Rows, n: int) -> Chunk:
    """Without decay."""
    r, w, e, _ = rows
    return Chunk(_seen(r @ w.mT, n), None if e is None else e @ w.mT, r, e, w, None)


def decayed(rows: Rows, n: int, erase_undecayed: bool) -> Chunk:
    """With one log decay a token, or one a token and channel; the latter for C a power of two.

    Where little decays, exp(G_t) and exp(-G_j) are factors of what is read and of what was written, and their products
    those of M; elsewhere the latter would overflow.
    """
    g = rows.g
    assert g is not None
    channels = g.ndim == rows.r.ndim
    if g.device.type == "cpu" and values_are_known(g) and bool(g.detach().sum(-2 if channels else -1).amin() > -MILD):
        return _mildly(rows, g if channels else g.unsqueeze(-1), n, erase_undecayed)
    return _by_channels(rows, n) if channels else _by_heads(rows, n, erase_undecayed)


def _mildly(rows: Rows, g: torch.Tensor, n: int, erase_undecayed: bool) -> Chunk:
    r, w, e, _ = rows
    total = g.cumsum(-2)
    since, growth = total.exp(), (-total).exp()
    reads, whole = r * since, since[..., -1:, :]
    grown = w * _for_each(growth, n)
    read, writes = _seen(reads @ grown.mT, n), grown * whole
    if e is None:
        return Chunk(read, None, reads, None, writes, whole.mT)
    erases = e * (since * (-g).exp() if erase_undecayed else _for_each(since, n))
    return Chunk(read, erases @ grown.mT, reads, erases, writes, whole.mT)


def _for_each(factors: torch.Tensor, n: int) -> torch.Tensor:
    """Of a token, for each of its corrections."""
    return factors if n == 1 else factors.repeat_interleave(n, -2)


def _by_heads(rows: Rows, n: int, erase_undecayed: bool) -> Chunk:
    r, w, e, g = rows
    assert g is not None
    decay = Decay(g)
    within, to_end = decay.within, decay.to_end
    if n > 1:
        within, to_end = within.repeat_interleave(n, -1), to_end.repeat_interleave(n, -2)
    read, whole = (r @ w.mT) * within, decay.whole[..., None, None]
    if e is None:
        return Chunk(read, None, decay.since_start * r, None, to_end * w, whole)
    factor, start = within, decay.since_start
    if n > 1:
        factor, start = within.repeat_interleave(n, -2), start.repeat_interleave(n, -2)
    elif erase_undecayed:
        factor, start = decay.within_before, decay.since_start_before
    return Chunk(read, (e @ w.mT) * factor, decay.since_start * r, start * e, to_end * w, whole)


def _by_channels(rows: Rows, n: int) -> Chunk:
    """Blocks of tokens are joined two by two.

    What is read in the second of what was written in the first has decayed up to their border, and since then, and
    both factors are products of decays, at most 1.
    """
    r, w, e, g = rows
    assert g is not None
    size = r.shape[-2]
    total = g.exp().unsqueeze(-2)  # over blocks, of one token at first: (..., blocks, 1, D)
    x = r.unsqueeze(-2) if e is None else torch.cat([r.unsqueeze(-2), e.unflatten(-2, (size, n))], -2)
    w = w.unflatten(-2, (size, n))  # (..., blocks, rows of a block, D)
    found, m = x @ w.mT, x.shape[-2]
    x = x * total
    while total.shape[-3] > 1:
        blocks = total.shape[-3] // 2
        x, w, total, found = (part.unflatten(-3, (blocks, 2)) for part in (x, w, total, found))
        across = x.select(-3, 1) @ w.select(-3, 0).mT
        first, second = total.unbind(-3)
        x = (x * torch.stack([torch.ones_like(first), first], -3)).flatten(-3, -2)
        w = (w * torch.stack([second, torch.ones_like(second)], -3)).flatten(-3, -2)
        upper, lower = found.unbind(-3)
        found = torch.cat([torch.cat([upper, torch.zeros_like(across)], -1), torch.cat([across, lower], -1)], -2)
        total = first * second
    x, w, found = x.squeeze(-3).unflatten(-2, (size, m)), w.squeeze(-3), found.squeeze(-3).unflatten(-2, (size, m))
    read, reads, whole = found[..., 0, :], x[..., 0, :], total.squeeze(-3).mT
    if e is None:
        return Chunk(read, None, reads, None, w, whole)
    return Chunk(read, found[..., 1:, :].flatten(-3, -2), reads, x[..., 1:, :].flatten(-3, -2), w, whole)


def _seen(pairs: torch.Tensor, n: int) -> torch.Tensor:
    """Of (..., C, C n), what a token reads of its own corrections and those before."""
    if n == 1:
        return pairs.tril()
    size = pairs.shape[-2]
    ones = torch.ones(size, size, dtype=pairs.dtype, device=pairs.device)
    return pairs * ones.tril().repeat_interleave(n, -1)
