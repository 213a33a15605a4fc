"""Adaptive filter attention: softmax attention with the weights of a filter for a linear stochastic equation."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from ...errors import InputError
from .heads import Heads
from .token_mixer import TokenMixer

__all__ = ["AdaptiveFilterAttention"]

SLOWEST = 1e4  # ratio of the greatest frequency of rotation at the start to the least


class AdaptiveFilterAttention(TokenMixer):
    r"""Attention whose scores are log precisions of what earlier tokens say about this one.

    Tokens are noisy observations of a state that obeys dx = (mu + i omega) x dt + sigma dw, pairs of channels being one
    complex number. An observation of age tau, carried forward to exp((mu + i omega) tau) v, has the variance

        V(tau) = sigma^2 (1 - exp(2 mu tau)) / (-2 mu) + eta^2 exp(2 mu tau) + gamma^2,

    and with the distance R of the query from the key carried forward in the same way, the score is

        -log V - log(1 + R / (nu D V)),     or, with ``robust=False``,     -log V - R / (nu D V).

    Its softmax over the tokens so far weighs their values, carried forward. Unlike the other layers, this one has no
    state of fixed size: it keeps all keys and values, and its cost is that of softmax attention.

    Parameters
    ----------
    hidden_size : int
    head_dim : int
        Length of heads, even.
    num_heads : int
        Query heads.
    num_kv_heads : int, optional
        Key and value heads where they are fewer: a divisor of ``num_heads``.
    robust : bool
        Whether what is far from the query counts as an outlier would, rather than as if noise were Gaussian.
    use_gate : bool
        Output gate.
    layer_idx : int, optional
        The place of the layer in a cache.
    norm_eps : float

    Attributes
    ----------
    log_decay, log_process_noise, log_key_noise, log_query_noise, log_nu : Parameter, (heads,)
        Logarithms of -mu, sigma^2, eta^2, gamma^2 and nu.
    omega : Parameter, (heads, head_dim / 2)
        Frequencies; they begin as in rotary embeddings.

    Raises
    ------
    InputError
        For a setting out of its range, and one that the layer does not know.

    References
    ----------
    "Attention as an adaptive filter" (arXiv:2509.04154).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import AdaptiveFilterAttention
    >>> layer = AdaptiveFilterAttention(hidden_size=32, head_dim=8, num_heads=4)
    >>> layer(torch.randn(2, 10, 32))[0].shape
    torch.Size([2, 10, 32])
    """

    modes: ClassVar[tuple[str, ...]] = ("attention",)

    def __init__(
        self,
        hidden_size: int = 2048,
        head_dim: int = 128,
        num_heads: int = 16,
        num_kv_heads: int | None = None,
        robust: bool = True,
        use_gate: bool = False,
        layer_idx: int | None = None,
        norm_eps: float = 1e-5,
        **unknown: Any,
    ) -> None:
        heads = Heads.of_length(head_dim, num_heads, None, num_kv_heads)
        super().__init__(hidden_size, heads, "attention", layer_idx, unknown)
        if head_dim % 2:
            raise InputError(f"head_dim: found {head_dim}; wanted an even number, two for each complex one")
        self.robust = robust
        self._add_projections(convolved="", activated="")
        starts = {"decay": 1e-2, "process_noise": 1e-1, "key_noise": 1.0, "query_noise": 1.0, "nu": 1.0}
        for name, value in starts.items():
            self.register_parameter(f"log_{name}", nn.Parameter(torch.full((self.heads,), math.log(value))))
        pairs = head_dim // 2
        self.omega = nn.Parameter((SLOWEST ** (-torch.arange(pairs) / pairs)).expand(self.heads, -1).clone())
        self._add_output(norm_eps, "silu" if use_gate else None)

    def _operation(
        self, x: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, how: dict[str, Any], return_info: bool
    ) -> tuple[torch.Tensor, Any, Any]:
        lengths = None if how["cu_seqlens"] is None else how["cu_seqlens"].diff().tolist()
        wide = torch.promote_types(q.dtype, torch.float32)
        q, k, v = (_in_rows(part.to(wide), lengths) for part in (q, k, v))
        with torch.autocast(q.device.type, enabled=False):
            o, state = self._filtered(q, k, v, _places(q, lengths), how["initial_state"])
        return _in_one_row(o, lengths), state if how["output_final_state"] else None, None

    def _filtered(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, place: torch.Tensor, past: Any) -> Any:
        """Of rows of tokens, and the keys, values and times to keep.

        Parameters
        ----------
        q, k, v : Tensor, (N, T, H, D)
        place : Tensor of integers, (N, T)
            Of each token in its row, -1 for what is none.
        past : tuple of Tensor, or None
            Keys and values, turned back to time 0, and times, -1 for what is none.
        """
        time = place if past is None else torch.where(place < 0, -1, place + (past[2] >= 0).sum(1, keepdim=True))
        angle = time[..., None, None] * self.omega.to(q.dtype)
        q, k, v = (_turned(part, -angle) for part in (q, k, v))
        times = time
        if past is not None:
            k, v, times = (torch.cat(pair, 1) for pair in zip(past, (k, v, times), strict=True))
        weights = self._weights(q, k, time, times)
        o = torch.einsum("nhts,nshd->nthd", weights, v)
        return _turned(o, angle), (k, v, times)

    def _weights(self, q: torch.Tensor, k: torch.Tensor, time: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """Of the keys for each query, times how much is left of their values: (N, H, T, S)."""

        def of_heads(logarithm: torch.Tensor) -> torch.Tensor:
            return logarithm.to(q.dtype).exp()[:, None, None]

        age = (time[:, :, None] - times[:, None]).clamp_min(0).to(q.dtype).unsqueeze(1)
        rate = of_heads(self.log_decay)
        left = torch.exp(-rate * age)
        grown = -torch.expm1(-2 * rate * age) / (2 * rate)
        V = of_heads(self.log_process_noise) * grown + of_heads(self.log_key_noise) * left**2
        V = V + of_heads(self.log_query_noise)
        lengths = (part.square().sum(-1).transpose(1, 2) for part in (q, k))
        of_q, of_k = (length.unsqueeze(axis) for length, axis in zip(lengths, (-1, -2), strict=True))
        inner = torch.einsum("nthd,nshd->nhts", q, k)
        R = (of_q + left**2 * of_k - 2 * left * inner).clamp_min(0)
        surprise = R / (of_heads(self.log_nu) * self.head_dim * V)
        score = -V.log() - (surprise.log1p() if self.robust else surprise)
        seen = (times >= 0)[:, None] & (times[:, None] <= time[:, :, None])
        seen = seen | (time < 0)[:, :, None]  # what is no token reads anything, so that nothing is NaN
        return score.masked_fill(~seen.unsqueeze(1), -math.inf).softmax(-1) * left

    def _state_shapes(self, sequences: int) -> list[tuple[Any, ...]]:
        rows = (sequences, None, self.heads, self.head_dim)
        return [rows, rows, (sequences, None)]


def _turned(x: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Pairs of channels turned: the first half with the second one."""
    real, imaginary = x.chunk(2, -1)
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([real * cos - imaginary * sin, real * sin + imaginary * cos], -1)


def _in_rows(x: torch.Tensor, lengths: list[int] | None) -> torch.Tensor:
    """One row a sequence, from sequences that follow each other in one row."""
    return x if lengths is None else pad_sequence(list(x[0].split(lengths)), batch_first=True)


def _in_one_row(rows: torch.Tensor, lengths: list[int] | None) -> torch.Tensor:
    if lengths is None:
        return rows
    return torch.cat([row[:length] for row, length in zip(rows, lengths, strict=True)]).unsqueeze(0)


def _places(rows: torch.Tensor, lengths: list[int] | None) -> torch.Tensor:
    """0, 1, ... in each row, -1 behind its tokens."""
    place = torch.arange(rows.shape[1], device=rows.device).expand(rows.shape[:2])
    if lengths is None:
        return place
    return torch.where(place < torch.tensor(lengths, device=rows.device).unsqueeze(1), place, -1)
