"""Gated DeltaNet: the delta rule with forgetting."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..functional import chunk_gated_delta_rule, fused_recurrent_gated_delta_rule
from .gates import gate_parameters, log_decay
from .heads import Heads, unit
from .token_mixer import TokenMixer

__all__ = ["GatedDeltaNet"]


class GatedDeltaNet(TokenMixer):
    r"""S <- gamma S, S <- S + beta k (v - S^T k)^T, with the constructor and forward of flash-linear-attention's.

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
    use_gate : bool
        Output gate.
    use_short_conv : bool
    allow_neg_eigval : bool
        Twice beta, so that I - beta k k^T has eigenvalues down to -1 and the layer can count and permute.
    conv_size : int
        Tokens a convolution sees.
    conv_bias : bool
    layer_idx : int, optional
        The place of the layer in a cache.
    norm_eps : float
    output_gate_activation : {"swish", "silu", "sigmoid"}
        The first two are one.
    num_kv_heads, kv_proj_rank, kv_learnable_residual :
        As in ``GatedKalmaNet``.

    Raises
    ------
    InputError
        For a setting out of its range, and one that the layer does not know.

    References
    ----------
    Yang, Kautz and Hatamizadeh, "Gated delta networks: improving Mamba2 with delta rule" (arXiv:2412.06464).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import GatedDeltaNet
    >>> layer = GatedDeltaNet(hidden_size=32, head_dim=8, num_heads=2, num_v_heads=4)
    >>> layer(torch.randn(2, 10, 32))[0].shape
    torch.Size([2, 10, 32])
    """

    def __init__(
        self,
        hidden_size: int = 2048,
        expand_v: float = 2.0,
        head_dim: int = 256,
        num_heads: int = 6,
        num_v_heads: int | None = None,
        mode: str = "chunk",
        use_gate: bool = True,
        use_short_conv: bool = True,
        allow_neg_eigval: bool = False,
        conv_size: int = 4,
        conv_bias: bool = False,
        layer_idx: int | None = None,
        norm_eps: float = 1e-5,
        output_gate_activation: str = "swish",
        *,
        num_kv_heads: int | None = None,
        kv_proj_rank: int | None = None,
        kv_learnable_residual: bool = False,
        **unknown: Any,
    ) -> None:
        heads = Heads.of_length(head_dim, num_heads, num_v_heads, num_kv_heads, expand_v)
        super().__init__(hidden_size, heads, mode, layer_idx, unknown)
        self.allow_neg_eigval, self.output_gate_activation = allow_neg_eigval, output_gate_activation
        self._add_projections(
            conv_size=conv_size, conv_bias=conv_bias, convolved="qkv" if use_short_conv else "", rank=kv_proj_rank,
            learnable_repeat=kv_learnable_residual,
        )  # fmt: skip
        self.a_proj = nn.Linear(hidden_size, self.heads, bias=False)
        self.b_proj = nn.Linear(hidden_size, self.heads, bias=False)
        self.A_log, self.dt_bias = gate_parameters(self.heads)
        self._add_output(norm_eps, output_gate_activation if use_gate else None)

    def _operation(
        self, x: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, how: dict[str, Any], return_info: bool
    ) -> tuple[torch.Tensor, Any, Any]:
        beta = self.b_proj(x).sigmoid()
        if self.allow_neg_eigval:
            beta = 2 * beta
        g = log_decay(self.a_proj(x), self.A_log, self.dt_bias)
        rule = fused_recurrent_gated_delta_rule if self._one_by_one else chunk_gated_delta_rule
        return *rule(unit(q), unit(k), v, g, beta, **how), None
