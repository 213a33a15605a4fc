"""Linear attention: a memory that only adds."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from ...naming import choice
from ..functional import chunk_linear_attn, fused_recurrent_linear_attn
from .feature_maps import FEATURE_MAPS
from .heads import Heads
from .token_mixer import TokenMixer

__all__ = ["LinearAttention"]

SUM_EPS = 1e-4  # added to sums of features, as in the released layer


class LinearAttention(TokenMixer):
    r"""S <- S + f(k) v^T, o = S^T f(q), with the constructor and forward of flash-linear-attention's.

    There are no convolutions and no output gate.

    Parameters
    ----------
    mode : {"chunk", "fused_chunk", "fused_recurrent"}
        How to go through the tokens in evaluation; in training always chunk by chunk, as the first two are.
    hidden_size : int
    expand_k, expand_v : float
        Length of all keys together, and of all values, in lengths of the input.
    num_heads : int
        Query heads.
    num_kv_heads : int, optional
        Key and value heads where they are fewer: a divisor of ``num_heads``.
    feature_map : {"elementwise_product", "elu", "hedgehog", "identity", "relu", "t2r"}
        f: (W x + b) o (U x + c); ELU + 1; the learned softmax mimicry of Hedgehog, with twice as many features as a
        head is long; none; max(x, 0); max(W x, 0).
    tie_feature_map_qk : bool
        Whether queries and keys share the parameters of f.
    output_norm : {"rmsnorm", "identity"}
    norm_q, norm_k : bool
        Divide features by their sum.
    do_feature_map_norm : bool
        Divide the output by the sum of weights f(k_j)^T f(q), as softmax attention does; where features can be
        negative, so can the sum.
    elementwise_affine : bool
        Whether the norm has weights.
    norm_eps : float
    layer_idx : int, optional
        The place of the layer in a cache.

    Raises
    ------
    InputError
        For a setting out of its range, and one that the layer does not know.

    References
    ----------
    Katharopoulos et al., "Transformers are RNNs: fast autoregressive transformers with linear attention" (ICML 2020).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import LinearAttention
    >>> layer = LinearAttention(hidden_size=32, num_heads=4, num_kv_heads=2, feature_map="hedgehog")
    >>> layer(torch.randn(2, 10, 32))[0].shape
    torch.Size([2, 10, 32])
    """

    modes: ClassVar[tuple[str, ...]] = ("chunk", "fused_chunk", "fused_recurrent")

    def __init__(
        self,
        mode: str = "chunk",
        hidden_size: int = 1024,
        expand_k: float = 1.0,
        expand_v: float = 1.0,
        num_heads: int = 8,
        num_kv_heads: int | None = None,
        feature_map: str = "elementwise_product",
        tie_feature_map_qk: bool = False,
        output_norm: str = "rmsnorm",
        norm_q: bool = False,
        norm_k: bool = False,
        do_feature_map_norm: bool = False,
        elementwise_affine: bool = True,
        norm_eps: float = 1e-5,
        layer_idx: int | None = None,
        **unknown: Any,
    ) -> None:
        heads = Heads.sharing(hidden_size, num_heads, num_kv_heads, expand_k, expand_v)
        super().__init__(hidden_size, heads, mode, layer_idx, unknown)
        self.feature_map = choice("feature_map", feature_map, FEATURE_MAPS)
        self.output_norm = choice("output_norm", output_norm, ("rmsnorm", "identity"))
        self.norm_q, self.norm_k, self.do_feature_map_norm = norm_q, norm_k, do_feature_map_norm
        make, expansion = FEATURE_MAPS[self.feature_map]
        self.feature_map_q = make(self.head_dim)
        self.feature_map_k = self.feature_map_q if tie_feature_map_qk else make(self.head_dim)
        self.features = expansion * self.head_dim
        self._add_projections(convolved="", activated="")
        affine = nn.RMSNorm(self.head_v_dim, eps=norm_eps, elementwise_affine=elementwise_affine)
        self.norm = affine if self.output_norm == "rmsnorm" else nn.Identity()
        self.o_proj = nn.Linear(heads.o_size, hidden_size, bias=False)

    def _operation(
        self, x: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, how: dict[str, Any], return_info: bool
    ) -> tuple[torch.Tensor, Any, Any]:
        q, k = self.feature_map_q(q), self.feature_map_k(k)
        if self.norm_q:
            q = q / (q.sum(-1, keepdim=True) + SUM_EPS)
        if self.norm_k:
            k = k / (k.sum(-1, keepdim=True) + SUM_EPS)
        rule = fused_recurrent_linear_attn if self._one_by_one else chunk_linear_attn
        return *rule(q, k, v, normalize=self.do_feature_map_norm, **how), None

    def _output(self, o: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.o_proj(self.norm(o.to(self.o_proj.weight.dtype)).flatten(-2))

    def _state_shapes(self, sequences: int) -> list[tuple[Any, ...]]:
        memory = (sequences, self.heads, self.features, self.head_v_dim)
        return [memory, (sequences, 1, self.heads, self.features)] if self.do_feature_map_norm else [memory]
