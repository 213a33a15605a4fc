"""DeltaNet: a layer that writes to its memory the error of what it recalls."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.functional import elu, normalize

from ...naming import choice
from ..functional import chunk_delta_rule, fused_recurrent_delta_rule
from .heads import Heads, unit
from .token_mixer import TokenMixer

__all__ = ["DeltaNet"]

ACTIVATIONS = {"silu": None, "relu": torch.relu, "elu": lambda x: elu(x) + 1, "identity": None}
NORMS = {"l2": unit, "sum": lambda x: normalize(x, p=1.0, dim=-1, eps=1e-6)}


class DeltaNet(TokenMixer):
    r"""The delta rule, S <- S + beta k (v - S^T k)^T, with the constructor and forward of flash-linear-attention's.

    Parameters
    ----------
    mode : {"chunk", "fused_recurrent"}
        How to go through the tokens in evaluation; in training always chunk by chunk.
    d_model : int, optional
        Another name of ``hidden_size``, which wins.
    hidden_size : int
    expand_k, expand_v : float
        Length of all keys together, and of all values, in lengths of the input.
    num_heads : int
    use_beta : bool
        Whether the strength of writing, beta in (0, 1), is learned; otherwise it is 1.
    use_gate : bool
        Output gate.
    use_short_conv : bool
    conv_size : int
        Tokens a convolution sees.
    conv_bias : bool
    allow_neg_eigval : bool
        Twice beta, so that I - beta k k^T has eigenvalues down to -1 and the layer can count and permute.
    layer_idx : int, optional
        The place of the layer in a cache.
    qk_activation : {"silu", "relu", "elu", "identity"}
        Of queries and keys; ELU is 1 higher.
    qk_norm : {"l2", "sum"}
        What of them is 1: the length, or the sum of magnitudes.
    norm_eps : float

    Raises
    ------
    InputError
        For a setting out of its range, and one that the layer does not know.

    References
    ----------
    Schlag, Irie and Schmidhuber, "Linear transformers are secretly fast weight programmers" (arXiv:2102.11174).
    Yang et al., "Parallelizing linear transformers with the delta rule over sequence length" (arXiv:2406.06484).
    Grazzi et al., "Unlocking state-tracking in linear RNNs through negative eigenvalues" (arXiv:2411.12537).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import DeltaNet
    >>> layer = DeltaNet(hidden_size=32, num_heads=2, allow_neg_eigval=True)
    >>> layer(torch.randn(2, 10, 32))[0].shape
    torch.Size([2, 10, 32])
    """

    def __init__(
        self,
        mode: str = "chunk",
        d_model: int | None = None,
        hidden_size: int = 1024,
        expand_k: float = 1.0,
        expand_v: float = 1.0,
        num_heads: int = 4,
        use_beta: bool = True,
        use_gate: bool = False,
        use_short_conv: bool = True,
        conv_size: int = 4,
        conv_bias: bool = False,
        allow_neg_eigval: bool = False,
        layer_idx: int | None = None,
        qk_activation: str = "silu",
        qk_norm: str = "l2",
        norm_eps: float = 1e-5,
        **unknown: Any,
    ) -> None:
        hidden_size = hidden_size if d_model is None else d_model
        heads = Heads.sharing(hidden_size, num_heads, None, expand_k, expand_v)
        super().__init__(hidden_size, heads, mode, layer_idx, unknown)
        self.qk_activation = choice("qk_activation", qk_activation, ACTIVATIONS)
        self.qk_norm = choice("qk_norm", qk_norm, NORMS)
        self.use_beta, self.allow_neg_eigval = use_beta, allow_neg_eigval
        self._add_projections(
            conv_size=conv_size,
            conv_bias=conv_bias,
            convolved="qkv" if use_short_conv else "",
            activated="qkv" if self.qk_activation == "silu" else "v",
        )
        self.b_proj = nn.Linear(hidden_size, self.heads, bias=False) if use_beta else None
        self._add_output(norm_eps, "silu" if use_gate else None)

    def _operation(
        self, x: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, how: dict[str, Any], return_info: bool
    ) -> tuple[torch.Tensor, Any, Any]:
        activation, norm = ACTIVATIONS[self.qk_activation], NORMS[self.qk_norm]
        if activation is not None:
            q, k = activation(q), activation(k)
        beta = q.new_ones(q.shape[:3]) if self.b_proj is None else self.b_proj(x).sigmoid()
        if self.allow_neg_eigval:
            beta = 2 * beta
        rule = fused_recurrent_delta_rule if self._one_by_one else chunk_delta_rule
        return *rule(norm(q), norm(k), v, beta, **how), None
