"""DeltaProduct: several corrections a token, so that a token can rotate the state and not only reflect it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ...errors import InputError
from ..functional import chunk_gated_delta_product, fused_recurrent_gated_delta_product
from .gates import gate_parameters, log_decay
from .heads import Heads, unit
from .token_mixer import TokenMixer

__all__ = ["DeltaProduct", "GatedDeltaProduct"]


class GatedDeltaProduct(TokenMixer):
    r"""S <- gamma S, then n times S <- S + beta k (v - S^T k)^T with keys and values of their own.

    The constructor and forward are those of flash-linear-attention's layer.

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
    use_output_gate : bool
    use_short_conv : bool
    conv_size : int
        Tokens a convolution sees.
    conv_bias : bool
    layer_idx : int, optional
        The place of the layer in a cache.
    norm_eps : float
    use_forget_gate : bool
        Whether gamma is learned; otherwise it is 1.
    allow_neg_eigval : bool
        Twice beta, so that I - beta k k^T has eigenvalues down to -1, and products of n of them are any rotation that n
        reflections make.
    num_householder : int
        n.

    Raises
    ------
    InputError
        For a setting out of its range, and one that the layer does not know.

    References
    ----------
    Siems et al., "DeltaProduct: improving state-tracking in linear RNNs via Householder products" (arXiv:2502.10297).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import GatedDeltaProduct
    >>> layer = GatedDeltaProduct(hidden_size=32, head_dim=8, num_heads=2, num_householder=3)
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
        use_output_gate: bool = True,
        use_short_conv: bool = True,
        conv_size: int = 4,
        conv_bias: bool = False,
        layer_idx: int | None = None,
        norm_eps: float = 1e-5,
        use_forget_gate: bool = True,
        allow_neg_eigval: bool = True,
        num_householder: int = 2,
        **unknown: Any,
    ) -> None:
        heads = Heads.of_length(head_dim, num_heads, num_v_heads, None, expand_v)
        super().__init__(hidden_size, heads, mode, layer_idx, unknown)
        if num_householder < 1:
            raise InputError(f"num_householder: found {num_householder}; wanted at least 1")
        self.num_householder, self.allow_neg_eigval, self.use_forget_gate = (
            num_householder, allow_neg_eigval, use_forget_gate,
        )  # fmt: skip
        self._add_projections(
            conv_size=conv_size, conv_bias=conv_bias, convolved="qkv" if use_short_conv else "", times=num_householder
        )
        self.b_proj = nn.Linear(hidden_size, self.heads * num_householder, bias=False)
        if use_forget_gate:
            self.a_proj = nn.Linear(hidden_size, self.heads, bias=False)
            self.A_log, self.dt_bias = gate_parameters(self.heads)
        self._add_output(norm_eps, "silu" if use_output_gate else None)

    def _in_heads(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> list[torch.Tensor]:
        n = self.num_householder
        # From (B, T, n * size) to (B, T n, size), the corrections of a token behind each other.
        k, v = (rows.unflatten(-1, (n, -1)).flatten(1, 2) for rows in (k, v))
        return super()._in_heads(q, k, v)

    def _operation(
        self, x: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, how: dict[str, Any], return_info: bool
    ) -> tuple[torch.Tensor, Any, Any]:
        beta = self.b_proj(x).sigmoid().unflatten(-1, (self.num_householder, -1)).flatten(1, 2)
        if self.allow_neg_eigval:
            beta = 2 * beta
        g = log_decay(self.a_proj(x), self.A_log, self.dt_bias) if self.use_forget_gate else None
        rule = fused_recurrent_gated_delta_product if self._one_by_one else chunk_gated_delta_product
        return *rule(unit(q), unit(k), v, g, beta, self.num_householder, **how), None


class DeltaProduct(GatedDeltaProduct):
    """``GatedDeltaProduct`` without forgetting: ``use_forget_gate`` is False unless it is asked for.

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import DeltaProduct
    >>> layer = DeltaProduct(hidden_size=32, head_dim=8, num_heads=2)
    >>> "A_log" in layer.state_dict(), layer(torch.randn(2, 10, 32))[0].shape
    (False, torch.Size([2, 10, 32]))
    """

    def __init__(
        self,
        hidden_size: int = 2048,
        expand_v: float = 2.0,
        head_dim: int = 256,
        num_heads: int = 6,
        num_v_heads: int | None = None,
        mode: str = "chunk",
        use_output_gate: bool = True,
        use_short_conv: bool = True,
        conv_size: int = 4,
        conv_bias: bool = False,
        layer_idx: int | None = None,
        norm_eps: float = 1e-5,
        use_forget_gate: bool = False,
        allow_neg_eigval: bool = True,
        num_householder: int = 2,
        **unknown: Any,
    ) -> None:
        super().__init__(
            hidden_size, expand_v, head_dim, num_heads, num_v_heads, mode, use_output_gate, use_short_conv, conv_size,
            conv_bias, layer_idx, norm_eps, use_forget_gate, allow_neg_eigval, num_householder, **unknown,
        )  # fmt: skip
