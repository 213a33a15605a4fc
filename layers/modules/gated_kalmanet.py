"""Gated KalmaNet: a layer whose memory is a ridge regression over all that it has read."""

from __future__ import annotations

import math
from inspect import signature
from typing import Any

import torch
from torch import nn
from torch.nn.functional import silu, softplus

from ...errors import InputError
from ...naming import choice, suggestion
from ..functional import gated_kalmanet
from ..tensors import check_width
from .short_convolution import ShortConvolution

__all__ = ["GatedKalmaNet"]

NORM_EPS = 1e-6  # added to squared lengths of queries and keys, as in the released layer
GATE_FLOOR = 1e-6  # added to beta, which keeps H away from zero
LARGEST_RATE = 16.0  # of the forgetting gate at the start, as in Mamba-2
STEP_RANGE = (1e-3, 1e-1)
LEAST_STEP = 1e-4


class GatedKalmaNet(nn.Module):
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
        How to solve, as in ``gated_kalmanet``; by default to a guaranteed relative residual of 3e-4, which the 30 steps
        of the released layer guarantee, too.
    conv_size : int
        Tokens a convolution sees.
    layer_idx : int, optional
        The place of the layer in a cache.
    norm_eps : float

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
        solver: str = "chebyshev",
        interval: str = "wolkowicz_styan",
        **unknown: Any,
    ) -> None:
        super().__init__()
        for name in unknown:
            known = [known for known in signature(GatedKalmaNet).parameters if known != "unknown"]
            raise InputError(
                f"{name}: is not a setting of GatedKalmaNet; there are {', '.join(known)}{suggestion(name, known)}"
            )
        mode = choice("mode", mode, ("chunk", "fused_recurrent"))
        if num_kv_heads is not None and num_v_heads is not None:
            raise InputError(
                "num_kv_heads and num_v_heads: found both; wanted one, fewer key heads or more value heads"
            )
        if num_kv_heads is not None and num_heads % num_kv_heads:
            raise InputError(f"num_kv_heads: found {num_kv_heads}; wanted a divisor of num_heads = {num_heads}")
        if num_v_heads is not None and num_v_heads % num_heads:
            raise InputError(f"num_v_heads: found {num_v_heads}; wanted a multiple of num_heads = {num_heads}")
        value_dim = round(head_dim * expand_v)
        if value_dim < 1 or not math.isclose(head_dim * expand_v, value_dim, rel_tol=1e-5):
            raise InputError(f"expand_v: found {expand_v}; wanted expand_v * head_dim to be an integer of at least 1")
        self.mode, self.layer_idx = mode, layer_idx
        self.hidden_size, self.head_dim, self.head_v_dim, self.num_heads = hidden_size, head_dim, value_dim, num_heads
        self.num_k_heads = num_kv_heads or num_heads
        self.num_v_heads = num_v_heads or num_kv_heads or num_heads
        self.use_beta_gate, self.use_alpha_connection, self.use_gate = use_beta_gate, use_alpha_connection, use_gate
        self.use_v_conv = use_v_conv
        self.use_forgetting_gate, self.use_forgetting_gate_kk = use_forgetting_gate, use_forgetting_gate_kk
        self.solving: dict[str, Any] = {
            "ridge_ratio": ridge_ratio,
            "scale": head_dim**-0.5 if gla_rescale else 1.0,
            "num_iter": num_iter,
            "rtol": rtol,
            "solver": solver,
            "interval": interval,
        }
        heads = self.heads = max(self.num_heads, self.num_v_heads)

        self.q_proj = nn.Linear(hidden_size, self.num_heads * head_dim, bias=False)
        self.k_proj = nn.Linear(hidden_size, self.num_k_heads * head_dim, bias=False)
        self.v_proj = nn.Linear(hidden_size, self.num_v_heads * value_dim, bias=False)
        self.q_conv1d = ShortConvolution(self.num_heads * head_dim, conv_size)
        self.k_conv1d = ShortConvolution(self.num_k_heads * head_dim, conv_size)
        if use_v_conv:
            self.v_conv1d = ShortConvolution(self.num_v_heads * value_dim, conv_size)
        if use_beta_gate:
            self.b_proj = nn.Linear(hidden_size, heads)
        if use_alpha_connection:
            self.alpha_proj = nn.Linear(hidden_size, heads)
        if use_forgetting_gate:
            self.a_proj = nn.Linear(hidden_size, heads, bias=False)
            self.A_log = nn.Parameter(torch.empty(heads).uniform_(0, LARGEST_RATE).log())
            low, high = (math.log(end) for end in STEP_RANGE)
            step = torch.empty(heads).uniform_(low, high).exp().clamp_min(LEAST_STEP)
            self.dt_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # softplus of it is the step
            for parameter in (self.A_log, self.dt_bias):
                parameter._no_weight_decay = True
        if use_gate:
            self.g_proj = nn.Linear(hidden_size, heads * value_dim, bias=False)
        self.o_norm = nn.RMSNorm(value_dim, eps=norm_eps)
        self.o_proj = nn.Linear(heads * value_dim, hidden_size, bias=False)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = False,
        output_attentions: bool | None = False,
        *,
        cu_seqlens: torch.Tensor | None = None,
        return_info: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, Any, Any]:
        """Apply the layer.

        Parameters
        ----------
        hidden_states : Tensor, (B, T, hidden_size)
        attention_mask : Tensor, (B, at least T), optional
            1 for tokens, 0 for padding, wherever it is, and nothing else; the last T columns count. Padding changes no
            state and gives 0.
        past_key_values : Cache, optional
            Continued from, and updated where ``use_cache``.
        use_cache : bool
        output_attentions : bool
            There are none; the second result is None.
        cu_seqlens : Tensor, (N + 1,), optional
            Where N sequences in one row (B = 1) begin and end; it wins over a mask.
        return_info : bool
            Whether the second result tells how well the regressions were solved: an ``Info``, of the tokens that are
            not padding, as one row where there is a mask.

        Returns
        -------
        o : Tensor, (B, T, hidden_size)
        info : Info or None
        past_key_values : Cache or None

        Raises
        ------
        InputError
            For another width than hidden_size, a mask of another shape or other numbers, a cache without ``layer_idx``,
            and one of other sequences.
        """
        check_width(hidden_states, "hidden_states", self.hidden_size, "hidden_size", "B T *")
        batch, tokens, _ = hidden_states.shape
        real = None
        if cu_seqlens is None and attention_mask is not None:
            real = self._real_tokens(attention_mask, batch, tokens)
        if batch == 0:
            real = None  # there is no row to leave padding out of
        if real is not None:
            cu_seqlens = nn.functional.pad(real.sum(1).cumsum(0), (1, 0))
            hidden_states = hidden_states[real].unsqueeze(0)
        lengths = None if cu_seqlens is None else cu_seqlens.diff().tolist()

        past = None
        if past_key_values is not None:
            if self.layer_idx is None:
                raise InputError("layer_idx: found None; a layer needs its place in the cache")
            past = past_key_values[self.layer_idx] if len(past_key_values) > self.layer_idx else None
        sequences = batch if lengths is None else len(lengths)
        if past and past["conv_state"][0].shape[0] != sequences:
            raise InputError(
                f"past_key_values: found states of {past['conv_state'][0].shape[0]} sequences; wanted {sequences}"
            )
        convolved, states = self._convolved(hidden_states, past["conv_state"] if past else (None,) * 3, lengths)
        q, k, v = (self._heads(x, n) for x, n in zip(convolved, self._head_counts, strict=True))
        g = self._forgetting(hidden_states) if self.use_forgetting_gate else None
        o, state, *info = gated_kalmanet(
            _unit(q),
            _unit(k),
            v,
            g,
            g if self.use_forgetting_gate_kk else None,
            self.alpha_proj(hidden_states).sigmoid() if self.use_alpha_connection else None,
            self.b_proj(hidden_states).sigmoid() + GATE_FLOOR if self.use_beta_gate else None,
            initial_state=past["recurrent_state"] if past else None,
            output_final_state=bool(use_cache),
            cu_seqlens=cu_seqlens,
            form=self._form(q),
            return_info=return_info,
            validate=False,
            **self.solving,
        )
        if use_cache and past_key_values is not None:
            past_key_values.update(layer_idx=self.layer_idx, offset=tokens, recurrent_state=state, conv_state=states)

        o = self.o_norm(o.to(self.o_norm.weight.dtype))
        if self.use_gate:
            o = o * silu(self.g_proj(hidden_states)).unflatten(-1, o.shape[-2:])
        o = self.o_proj(o.flatten(-2))
        if real is not None:
            padded = o.new_zeros(batch, tokens, self.hidden_size)
            padded[real] = o[0]
            o = padded
        return o, info[0] if return_info else None, past_key_values

    def _form(self, q: torch.Tensor) -> str:
        if self.training:
            return "chunk"
        one_by_one = self.mode == "fused_recurrent" and not torch.is_grad_enabled() and not q.is_cuda
        return "compiled" if one_by_one else "auto"

    @property
    def _head_counts(self) -> tuple[int, int, int]:
        return self.num_heads, self.num_k_heads, self.num_v_heads

    def _real_tokens(self, mask: torch.Tensor, batch: int, tokens: int) -> torch.Tensor:
        if mask.ndim != 2 or mask.shape[0] != batch or mask.shape[1] < tokens:
            raise InputError(
                f"attention_mask: found shape {tuple(mask.shape)}; wanted ({batch}, {tokens}) or more columns, 1 for "
                "tokens and 0 for padding"
            )
        real = mask != 0
        wrong = mask[real & (mask != 1)]
        if wrong.numel():
            raise InputError(
                f"attention_mask: found {wrong[0].item():g}; wanted 1 for tokens and 0 for padding. Of an additive "
                "mask pass mask == 0"
            )
        if mask.is_floating_point() and mask.numel() and not bool(real.any()):
            raise InputError(
                "attention_mask: found zeros alone, which an additive mask has where there is no padding; wanted 1 for "
                "tokens and 0 for padding, as integers or booleans where all is padding"
            )
        return real[:, mask.shape[1] - tokens :]

    def _convolved(self, x: torch.Tensor, past: Any, lengths: list[int] | None) -> tuple[list[Any], tuple[Any, ...]]:
        """Projections of the input, convolved, and what the next call needs."""
        q, q_state = self.q_conv1d(self.q_proj(x), past[0], lengths)
        k, k_state = self.k_conv1d(self.k_proj(x), past[1], lengths)
        v, v_state = self.v_proj(x), None
        if self.use_v_conv:
            v, v_state = self.v_conv1d(v, past[2], lengths)
        return [q, k, v], (q_state, k_state, v_state)

    def _heads(self, x: torch.Tensor, count: int) -> torch.Tensor:
        """(B, T, H, length of a head); each of fewer heads serves several that follow each other."""
        heads = x.unflatten(-1, (count, -1)).unsqueeze(3)
        return heads.expand(-1, -1, -1, self.heads // count, -1).flatten(2, 3)

    def _forgetting(self, x: torch.Tensor) -> torch.Tensor:
        """The log decay -exp(A) softplus(W x + bias), in single precision at least."""
        raw = self.a_proj(x)
        wide = torch.promote_types(raw.dtype, torch.float32)
        return -self.A_log.to(wide).exp() * softplus(raw.to(wide) + self.dt_bias.to(wide))


def _unit(x: torch.Tensor) -> torch.Tensor:
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + NORM_EPS)
