"""Longhorn: each token moves the memory to the exact minimiser of its own loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..functional import chunk_longhorn, fused_recurrent_longhorn
from .heads import Heads
from .token_mixer import TokenMixer

__all__ = ["Longhorn"]


class Longhorn(TokenMixer):
    r"""The minimiser of ||S - S_{t-1}||^2 + beta ||v - S^T k||^2, by the delta rule with beta / (1 + beta ||k||^2).

    Keys need no norm: however long they are, I - beta k k^T / (1 + beta ||k||^2) has eigenvalues in (0, 1]. The rule is
    that of the paper for a whole key; the released model takes the diagonal of it. Projections, convolutions, gate and
    norm are those of ``DeltaNet``.

    Parameters
    ----------
    hidden_size : int
    expand_k, expand_v : float
        Length of all keys together, and of all values, in lengths of the input.
    num_heads : int
    mode : {"chunk", "fused_recurrent"}
        How to go through the tokens in evaluation; in training always chunk by chunk.
    use_gate : bool
        Output gate.
    use_short_conv : bool
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
    Liu et al., "Longhorn: state space models are amortized online learners" (arXiv:2407.14207).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import Longhorn
    >>> layer = Longhorn(hidden_size=32, num_heads=2)
    >>> layer(torch.randn(2, 10, 32))[0].shape
    torch.Size([2, 10, 32])
    """

    def __init__(
        self,
        hidden_size: int = 1024,
        expand_k: float = 1.0,
        expand_v: float = 1.0,
        num_heads: int = 4,
        mode: str = "chunk",
        use_gate: bool = False,
        use_short_conv: bool = True,
        conv_size: int = 4,
        conv_bias: bool = False,
        layer_idx: int | None = None,
        norm_eps: float = 1e-5,
        **unknown: Any,
    ) -> None:
        heads = Heads.sharing(hidden_size, num_heads, None, expand_k, expand_v)
        super().__init__(hidden_size, heads, mode, layer_idx, unknown)
        self._add_projections(
            conv_size=conv_size, conv_bias=conv_bias, convolved="qkv" if use_short_conv else "",
        )  # fmt: skip
        self.b_proj = nn.Linear(hidden_size, self.heads, bias=False)
        self._add_output(norm_eps, "silu" if use_gate else None)

    def _operation(
        self, x: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, how: dict[str, Any], return_info: bool
    ) -> tuple[torch.Tensor, Any, Any]:
        rule = fused_recurrent_longhorn if self._one_by_one else chunk_longhorn
        return *rule(q, k, v, self.b_proj(x).sigmoid(), **how), None
