"""The Gram matrix of each token of each chunk, none of which is formed: products, norms, traces."""

from __future__ import annotations

import torch

from ..recurrence.layout import Decay

__all__ = ["Grams"]


class Grams:
    """H_t = zeta_t H_0 + sum_{j<=t} M_tj b_j k_j k_j^T, of each token t of each chunk.

    Nothing of the size of a matrix per token is formed. With the keys of a chunk as rows of K and one vector a token as
    rows of X, all products H_t x_t are diag(zeta) X H_0 + (X K^T o M diag(b)) K, o meaning entry by entry.

    Parameters
    ----------
    keys : Tensor, (chunks, H, C, D)
    gates : Tensor, (chunks, H, C)
    before : Tensor, (chunks, H, D, D)
        H_0, the state before each chunk.
    strength : Tensor, (chunks, H, C), optional
        b, at least 0; 1 by default.

    Attributes
    ----------
    pairs : Tensor, (chunks, H, C, C)
        M diag(b).
    """

    def __init__(
        self, keys: torch.Tensor, gates: torch.Tensor, before: torch.Tensor, strength: torch.Tensor | None = None
    ) -> None:
        self.keys, self.before, self.decay = keys, before, Decay(gates)
        self.pairs = self.decay.within if strength is None else self.decay.within * strength.unsqueeze(-2)
        self._K, self._H, self._M = keys.flatten(0, 1), before.flatten(0, 1), self.pairs.flatten(0, 1)
        self._zeta = self.decay.since_start.flatten(0, 1)

    def product(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """H_t x_t into out, which is contiguous; 2 D (D + 2 C) multiplications and additions a token."""
        X, Y = x.flatten(0, 1), out.view(-1, *out.shape[2:])
        torch.bmm(X, self._H, out=Y)
        Y.mul_(self._zeta)
        Y.baddbmm_(torch.bmm(X, self._K.transpose(1, 2)).mul_(self._M), self._K)
        return out

    def keys_times_before(self) -> torch.Tensor:
        """k_t^T H_0 as rows."""
        return self.keys @ self.before

    def norms(self) -> tuple[torch.Tensor, torch.Tensor]:
        """||H_t||_F and tr H_t of each token; sums of positive terms throughout."""
        M, zeta = self.pairs, self.decay.since_start.squeeze(-1)
        # All is divided by the largest diagonal entry, which no entry of a semidefinite matrix exceeds, before it is
        # squared.
        lengths = torch.linalg.vecdot(self.keys, self.keys)
        diagonal = self.before.diagonal(dim1=-2, dim2=-1)
        size = torch.maximum(lengths.amax(-1, keepdim=True), diagonal.amax(-1, keepdim=True)).unsqueeze(-1).detach()
        size = size + (size == 0)
        quadratic = torch.linalg.vecdot(self.keys_times_before() / size, self.keys).unsqueeze(-1) / size
        squares = (torch.matmul(self.keys, self.keys.transpose(-1, -2)) / size).square()
        first = zeta.square() * (self.before / size).square().sum((-2, -1)).unsqueeze(-1)
        cross = 2 * zeta * (M @ quadratic).squeeze(-1)
        inner = torch.linalg.vecdot(M @ squares, M)
        trace = zeta * diagonal.sum(-1, keepdim=True) + (M @ lengths.unsqueeze(-1)).squeeze(-1)
        total = first + cross + inner
        empty = total <= 0  # where the norm is zero, and its derivative taken to be
        return torch.where(empty, 1.0, total).sqrt().masked_fill(empty, 0.0) * size.squeeze(-1), trace

    def dense(self) -> torch.Tensor:
        """H_t itself, (chunks, H, C, D, D)."""
        outer = (self.keys.unsqueeze(-1) * self.keys.unsqueeze(-2)).flatten(-2)
        inner = (self.pairs @ outer).unflatten(-1, self.before.shape[-2:])
        return inner.addcmul_(self.decay.since_start.unsqueeze(-1), self.before.unsqueeze(2))
