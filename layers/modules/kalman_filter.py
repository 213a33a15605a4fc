"""The exact Kalman filter as a layer: what the other layers approximate the covariance of."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from ...errors import InputError
from ..functional import kalman_filter
from .gates import gate_parameters, log_decay, without_weight_decay
from .heads import Heads, unit
from .token_mixer import TokenMixer

__all__ = ["KalmanFilter"]


class KalmanFilter(TokenMixer):
    r"""A memory W_t = gamma_t W_{t-1} + noise of variance Q, seen as v_t = W_t^T k_t + noise of variance r.

    The memory is the mean of W given the tokens so far, and its covariance P, which begins as the identity, is carried
    along in full: ``resolvent.layers.functional.kalman_filter`` does it. Q and r are learned, one a head, gamma is a
    gate. Since a gain needs the covariance before it, the tokens are gone through one by one, whatever the mode.

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
    num_kv_heads : int, optional
        Key and value heads where they are fewer: a divisor of ``num_heads``. Not together with ``num_v_heads``.
    mode : {"chunk", "fused_recurrent"}
        How to go through the tokens once the gains are known, in evaluation; in training always chunk by chunk.
    use_forgetting_gate : bool
        Whether gamma is learned; otherwise it is 1.
    use_gate : bool
        Output gate.
    use_short_conv : bool
    conv_size : int
        Tokens a convolution sees.
    conv_bias : bool
    noise, process_noise : float
        r and Q as they begin, positive.
    layer_idx : int, optional
        The place of the layer in a cache.
    norm_eps : float

    Attributes
    ----------
    log_noise, log_process_noise : Parameter, (heads,)

    Raises
    ------
    InputError
        For a setting out of its range, and one that the layer does not know.

    References
    ----------
    Kalman, "A new approach to linear filtering and prediction problems" (J. Basic Eng. 82, 1960).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import KalmanFilter
    >>> layer = KalmanFilter(hidden_size=32, head_dim=8, num_heads=2)
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
        num_kv_heads: int | None = None,
        mode: str = "chunk",
        use_forgetting_gate: bool = True,
        use_gate: bool = True,
        use_short_conv: bool = True,
        conv_size: int = 4,
        conv_bias: bool = False,
        noise: float = 0.1,
        process_noise: float = 0.01,
        layer_idx: int | None = None,
        norm_eps: float = 1e-5,
        **unknown: Any,
    ) -> None:
        heads = Heads.of_length(head_dim, num_heads, num_v_heads, num_kv_heads, expand_v)
        super().__init__(hidden_size, heads, mode, layer_idx, unknown)
        for name, value in (("noise", noise), ("process_noise", process_noise)):
            if not 0 < value < math.inf:
                raise InputError(f"{name}: found {value}; wanted a positive number")
            start = nn.Parameter(torch.full((self.heads,), math.log(value)))
            self.register_parameter(f"log_{name}", without_weight_decay(start))
        self.use_forgetting_gate = use_forgetting_gate
        self._add_projections(
            conv_size=conv_size, conv_bias=conv_bias, convolved="qkv" if use_short_conv else "",
        )  # fmt: skip
        if use_forgetting_gate:
            self.a_proj = nn.Linear(hidden_size, self.heads, bias=False)
            self.A_log, self.dt_bias = gate_parameters(self.heads)
        self._add_output(norm_eps, "silu" if use_gate else None)

    def _operation(
        self, x: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, how: dict[str, Any], return_info: bool
    ) -> tuple[torch.Tensor, Any, Any]:
        g = log_decay(self.a_proj(x), self.A_log, self.dt_bias) if self.use_forgetting_gate else None
        noises = {"noise": self.log_noise.exp(), "process_noise": self.log_process_noise.exp()}
        form = "recurrent" if self._one_by_one else "chunk"
        return *kalman_filter(unit(q), unit(k), v, g, form=form, **noises, **how), None

    def _state_shapes(self, sequences: int) -> list[tuple[Any, ...]]:
        return [(sequences, self.heads, self.head_dim, length) for length in (self.head_v_dim, self.head_dim)]
