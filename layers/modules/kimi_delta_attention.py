"""Kimi Delta Attention: the delta rule with a decay of each channel of the keys."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ...errors import InputError
from ..functional import chunk_kda, fused_recurrent_kda
from .gates import LARGEST_RATE, gate_parameters, log_decay
from .heads import Heads, unit
from .token_mixer import TokenMixer

__all__ = ["KimiDeltaAttention"]


class KimiDeltaAttention(TokenMixer):
    r"""S <- diag(gamma) S, S <- S + beta k (v - S^T k)^T, with the constructor and forward of flash-linear-attention's.

    Parameters
    ----------
    hidden_size : int
    expand_v : float
        Length of a value head in lengths of a key head.
    head_dim : int
    num_heads : int
        Query heads.
    num_v_heads : int, optional
        Value heads where they are more: a multiple of ``num_heads``.
    mode : {"chunk", "fused_recurrent"}
        How to go through the tokens in evaluation; in training always chunk by chunk.
    use_short_conv : bool
    allow_neg_eigval : bool
        Twice beta, so that I - beta k k^T has eigenvalues down to -1 and the layer can count and permute.
    safe_gate : bool
        Rates of forgetting begin as 1 for all heads; needs ``lower_bound``.
    lower_bound : float, optional
        Below 0: log decays are ``lower_bound * sigmoid(exp(A_log) (f + dt_bias))``, which do not fall below it, in
        place of ``-exp(A_log) softplus(f + dt_bias)``.
    conv_size : int
        Tokens a convolution sees.
    conv_bias : bool
    layer_idx : int, optional
        The place of the layer in a cache.
    norm_eps : float

    Raises
    ------
    InputError
        For a setting out of its range, and one that the layer does not know.

    References
    ----------
    Kimi Team, "Kimi Linear: an expressive, efficient attention architecture" (arXiv:2510.26692).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import KimiDeltaAttention
    >>> layer = KimiDeltaAttention(hidden_size=32, head_dim=8, num_heads=2)
    >>> layer(torch.randn(2, 10, 32))[0].shape
    torch.Size([2, 10, 32])
    """

    def __init__(
        self,
        hidden_size: int = 2048,
        expand_v: float = 1.0,
        head_dim: int = 128,
        num_heads: int = 16,
        num_v_heads: int | None = None,
        mode: str = "chunk",
        use_short_conv: bool = True,
        allow_neg_eigval: bool = False,
        safe_gate: bool = False,
        lower_bound: float | None = None,
        conv_size: int = 4,
        conv_bias: bool = False,
        layer_idx: int | None = None,
        norm_eps: float = 1e-5,
        **unknown: Any,
    ) -> None:
        heads = Heads.of_length(head_dim, num_heads, num_v_heads, None, expand_v)
        super().__init__(hidden_size, heads, mode, layer_idx, unknown)
        if safe_gate and lower_bound is None:
            raise InputError("lower_bound: found None; wanted a number below 0 for safe_gate")
        if lower_bound is not None and not lower_bound < 0:
            raise InputError(f"lower_bound: found {lower_bound}; wanted a number below 0")
        self.allow_neg_eigval, self.lower_bound = allow_neg_eigval, lower_bound
        self._add_projections(
            conv_size=conv_size, conv_bias=conv_bias, convolved="qkv" if use_short_conv else "",
        )  # fmt: skip
        width, gates = self.head_v_dim, self.heads * self.head_dim
        self.f_proj = nn.Sequential(nn.Linear(hidden_size, width, bias=False), nn.Linear(width, gates, bias=False))
        self.b_proj = nn.Linear(hidden_size, self.heads, bias=False)
        rates = (1.0, 1.0) if safe_gate else (1.0, LARGEST_RATE)
        self.A_log, self.dt_bias = gate_parameters(self.heads, self.head_dim, rates)
        gate = nn.Sequential(nn.Linear(hidden_size, width, bias=False), nn.Linear(width, heads.o_size))
        self._add_output(norm_eps, "sigmoid", gate)

    def _operation(
        self, x: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, how: dict[str, Any], return_info: bool
    ) -> tuple[torch.Tensor, Any, Any]:
        beta = self.b_proj(x).sigmoid()
        if self.allow_neg_eigval:
            beta = 2 * beta
        rule = fused_recurrent_kda if self._one_by_one else chunk_kda
        return *rule(unit(q), unit(k), v, self._log_decay(x), beta, **how), None

    def _log_decay(self, x: torch.Tensor) -> torch.Tensor:
        f = self.f_proj(x).unflatten(-1, (self.heads, self.head_dim))
        A_log, bias = self.A_log.unsqueeze(-1), self.dt_bias.view(self.heads, self.head_dim)
        if self.lower_bound is None:
            return log_decay(f, A_log, bias)
        wide = torch.promote_types(f.dtype, torch.float32)
        return self.lower_bound * torch.sigmoid(A_log.to(wide).exp() * (f.to(wide) + bias.to(wide)))
