"""Gated KalmaNet: a layer whose memory is a ridge regression over all that it has read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import nn

from ...errors import InputError
from ..functional import gated_kalmanet
from .gates import gate_parameters, log_decay
from .heads import Heads, unit
from .released import hybrid_heads, is_hybrid, leave_out
from .token_mixer import TokenMixer

__all__ = ["GatedKalmaNet"]

GATE_FLOOR = 1e-6  # added to beta, which keeps H away from zero


class GatedKalmaNet(TokenMixer):
    r"""A test-time regression layer, with the constructor and forward of flash-linear-attention's.

    Queries, keys and values are projections of the input, convolved over a few tokens; queries and keys have unit
    length. ``resolvent.layers.functional.gated_kalmanet`` solves, for each token and head, the ridge regression of the
    values on the keys read so far, older ones counting less, and predicts at the query. Gates learn how fast to forget,
    how much to write and how far to trust the regression; each head is normalised before the output projection.

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
        How to go through the tokens in evaluation where no gradient is wanted: chunk by chunk, but for short inputs, or
        one by one. In training always chunk by chunk, so that checkpoints compute again what was computed before.
    use_beta_gate, use_alpha_connection, use_v_conv, use_forgetting_gate, use_forgetting_gate_kk, use_gate : bool
        Parts of the layer: input gate; mixing of solution and query; convolution of values; decay of the key-value
        memory; the same decay of the Gram matrix; output gate.
    gla_rescale : bool
        Whether the readout is divided by sqrt(head_dim).
    ridge_ratio : float
        lambda_t / ||H_t||_F.
    num_iter, rtol, solver, interval :
        How to solve, as in ``gated_kalmanet``, with its defaults.
    conv_size : int
        Tokens a convolution sees.
    layer_idx : int, optional
        The place of the layer in a cache.
    norm_eps : float
    kv_proj_rank : int, optional
        Of a projection, zero at the start, that is added to keys and values which serve several heads.
    kv_learnable_residual : bool
        With it: whether these heads are given learned mixtures of keys and values, at the start those that serve them.

    Raises
    ------
    InputError
        For a setting out of its range, and one that the layer does not know.

    References
    ----------
    Gated KalmaNet (arXiv:2511.21016, 2025), and its layer in flash-linear-attention, whose parameters have the same
    names and shapes.

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import Cache, GatedKalmaNet
    >>> layer = GatedKalmaNet(hidden_size=64, head_dim=16, num_heads=4, layer_idx=0).eval()
    >>> x = torch.randn(2, 10, 64)
    >>> with torch.no_grad():
    ...     whole, _, _ = layer(x)
    ...     start, _, cache = layer(x[:, :9], past_key_values=Cache(), use_cache=True)
    ...     last, _, cache = layer(x[:, 9:], past_key_values=cache, use_cache=True)
    >>> torch.allclose(whole, torch.cat([start, last], dim=1), atol=1e-3)
    True
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
        use_beta_gate: bool = True,
        use_alpha_connection: bool = True,
        use_v_conv: bool = True,
        use_forgetting_gate: bool = True,
        use_forgetting_gate_kk: bool = True,
        gla_rescale: bool = True,
        ridge_ratio: float = 0.02,
        num_iter: int | None = None,
        use_gate: bool = True,
        conv_size: int = 4,
        layer_idx: int | None = None,
        norm_eps: float = 1e-6,
        *,
        rtol: float | None = None,
        solver: str | None = None,
        interval: str = "wolkowicz_styan",
        kv_proj_rank: int | None = None,
        kv_learnable_residual: bool = False,
        **unknown: Any,
    ) -> None:
        heads = Heads.of_length(head_dim, num_heads, num_v_heads, num_kv_heads, expand_v)
        super().__init__(hidden_size, heads, mode, layer_idx, unknown)
        self.use_beta_gate, self.use_alpha_connection, self.use_gate = use_beta_gate, use_alpha_connection, use_gate
        self.use_v_conv = use_v_conv
        self.use_forgetting_gate, self.use_forgetting_gate_kk = use_forgetting_gate, use_forgetting_gate_kk
        self.solving: dict[str, Any] = {
            "ridge_ratio": ridge_ratio,
            "scale": head_dim**-0.5 if gla_rescale else 1.0,
            "num_iter": num_iter,
            "rtol": rtol,
            "interval": interval,
        }
        if solver is not None:
            self.solving["solver"] = solver
        convolved = "qkv" if use_v_conv else "qk"
        self._add_projections(
            conv_size=conv_size, convolved=convolved, activated=convolved, rank=kv_proj_rank,
            learnable_repeat=kv_learnable_residual,
        )  # fmt: skip
        if use_beta_gate:
            self.b_proj = nn.Linear(hidden_size, self.heads)
        if use_alpha_connection:
            self.alpha_proj = nn.Linear(hidden_size, self.heads)
        if use_forgetting_gate:
            self.a_proj = nn.Linear(hidden_size, self.heads, bias=False)
            self.A_log, self.dt_bias = gate_parameters(self.heads)
        self._add_output(norm_eps, "silu" if use_gate else None)

    @classmethod
    def from_released(
        cls, state_dict: Mapping[str, torch.Tensor], config: Any, *, prefix: str = "", **settings: Any
    ) -> Self:
        """A layer with published weights, as ``TokenMixer.from_released``.

        It solves as the published layer does, by as many steps of Chebyshev iteration on the interval of the Frobenius
        norm, unless ``rtol`` is among the settings. To the lengths of queries and keys awslabs' layer adds 1e-6 where
        this one and that of flash-linear-attention add it to their squares.
        """
        if settings.get("rtol") is not None:
            settings = {"num_iter": None, "solver": None, "interval": "wolkowicz_styan"} | settings
        return super().from_released(state_dict, config, prefix=prefix, **settings)

    @classmethod
    def _translate(cls, settings: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
        settings.setdefault("num_iter", 30)
        settings |= {"solver": "chebyshev", "interval": "frobenius"}
        if not is_hybrid(settings):
            return
        hybrid_heads(settings, weights)
        settings["ridge_ratio"] = settings.pop("ridge_strength", 0.02)
        settings.pop("chunk_size", None)  # says how it is computed, and not what
        for name, known in (("solver_type", "chebyshev"), ("bp_lambda", True)):
            if (found := settings.pop(name, known)) != known:
                raise InputError(f"{name}: found {found!r}; wanted {known!r}, which alone there is here")
        if settings["num_iter"] < 1:
            raise InputError(f"num_iter: found {settings['num_iter']}; wanted at least 1, for there to be a regression")
        if not settings.get("use_forgetting_gate", True):
            leave_out(weights, "a_proj.", "A_log", "dt_bias")

    def _operation(
        self, x: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, how: dict[str, Any], return_info: bool
    ) -> tuple[torch.Tensor, Any, Any]:
        g = log_decay(self.a_proj(x), self.A_log, self.dt_bias) if self.use_forgetting_gate else None
        o, state, *info = gated_kalmanet(
            unit(q),
            unit(k),
            v,
            g,
            g if self.use_forgetting_gate_kk else None,
            self.alpha_proj(x).sigmoid() if self.use_alpha_connection else None,
            self.b_proj(x).sigmoid() + GATE_FLOOR if self.use_beta_gate else None,
            form=self._form(q),
            return_info=return_info,
            **self.solving,
            **how,
        )
        return o, state, info[0] if return_info else None

    def _form(self, q: torch.Tensor) -> str:
        if self.training:
            return "chunk"
        compilable = not torch.is_grad_enabled() and not q.is_cuda and self.solving.get("solver") != "exact"
        return "compiled" if self._one_by_one and compilable else "auto"

    def _state_shapes(self, sequences: int) -> list[tuple[Any, ...]]:
        return [(sequences, self.heads, self.head_dim, length) for length in (self.head_dim, self.head_v_dim)]
