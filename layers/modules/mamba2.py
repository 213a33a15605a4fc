"""Mamba-2: linear attention with a decay of each head, in the words of state spaces."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.functional import silu, softplus

from ...errors import InputError
from ...naming import choice
from ..functional import chunk_simple_gla
from .gates import LARGEST_RATE, gate_parameters, without_weight_decay
from .heads import Heads
from .packing import Packing
from .short_convolution import ShortConvolution
from .token_mixer import TokenMixer

__all__ = ["Mamba2"]


class Mamba2(TokenMixer):
    r"""h <- exp(-dt A) h + dt B x^T, y = h^T C + D x, with the constructor and forward of flash-linear-attention's.

    This is simple gated linear attention with queries C, keys B, values dt x and log decays -dt A, and computed as
    such. In the words of Mamba: x, B and C come from one projection and one convolution, dt = softplus(y + dt_bias)
    and the gate z from the same projection; the gate comes before the norm. Left out of Mamba-2 are what its
    constructor says about kernels, ``chunk_size`` and ``backend``, and other activations than SiLU.

    Parameters
    ----------
    num_heads : int, optional
        By default, and otherwise the same as, ``expand * hidden_size / head_dim``.
    head_dim : int
        Length of a value head.
    hidden_size : int
    state_size : int
        Length of B and C.
    expand : int
        Length of all values together in lengths of the input.
    n_groups : int
        Pairs of B and C; a divisor of the heads, which share them.
    conv_kernel : int
        Tokens the convolution sees.
    conv_init : float, optional
        Its weights begin as uniform between plus and minus that.
    use_conv_bias : bool
    hidden_act : {"silu", "swish"}
        Two names of one.
    A_init_range : pair of float
        Rates of decay at the start.
    D_has_hdim : bool
        A weight D for each channel rather than each head.
    rmsnorm : bool
        Otherwise the output is gated and not normalised.
    norm_before_gate : bool
    dt_min, dt_max, dt_init_floor : float
        Of the steps dt at the start.
    dt_limit : pair of float
        Of the steps at any time.
    use_bias : bool
        Of the projections.
    norm_eps : float
    layer_idx : int, optional
        The place of the layer in a cache.

    Raises
    ------
    InputError
        For a setting out of its range, and one that the layer does not know.

    References
    ----------
    Dao and Gu, "Transformers are SSMs: generalized models and efficient algorithms through structured state space
    duality" (arXiv:2405.21060).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import Mamba2
    >>> layer = Mamba2(hidden_size=32, head_dim=16, state_size=8)
    >>> layer(torch.randn(2, 10, 32))[0].shape
    torch.Size([2, 10, 32])
    """

    modes: ClassVar[tuple[str, ...]] = ("chunk",)

    def __init__(
        self,
        num_heads: int | None = None,
        head_dim: int = 64,
        hidden_size: int = 2048,
        state_size: int = 128,
        expand: int = 2,
        n_groups: int = 1,
        conv_kernel: int = 4,
        conv_init: float | None = None,
        use_conv_bias: bool = True,
        hidden_act: str = "silu",
        A_init_range: tuple[float, float] = (1.0, LARGEST_RATE),
        D_has_hdim: bool = False,
        rmsnorm: bool = True,
        norm_before_gate: bool = False,
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        dt_init_floor: float = 1e-4,
        dt_limit: tuple[float, float] = (0.0, math.inf),
        use_bias: bool = False,
        norm_eps: float = 1e-5,
        layer_idx: int | None = None,
        **unknown: Any,
    ) -> None:
        inner = round(expand * hidden_size)
        if head_dim < 1 or inner % head_dim:
            raise InputError(f"head_dim: found {head_dim}; wanted a divisor of expand * hidden_size = {inner}")
        if num_heads and num_heads * head_dim != inner:
            raise InputError(
                f"num_heads: found {num_heads}; wanted expand * hidden_size / head_dim = {inner // head_dim}"
            )
        count = inner // head_dim
        if n_groups < 1 or count % n_groups:
            raise InputError(f"n_groups: found {n_groups}; wanted a divisor of the {count} heads")
        if state_size < 1:
            raise InputError(f"state_size: found {state_size}; wanted at least 1")
        choice("hidden_act", hidden_act, ("silu", "swish"))
        heads = Heads(n_groups, n_groups, count, state_size, head_dim)
        super().__init__(hidden_size, heads, "chunk", layer_idx, unknown)
        self.dt_limit, self.D_has_hdim, self.norm_before_gate = tuple(dt_limit), D_has_hdim, norm_before_gate
        mixed = heads.v_size + heads.k_size + heads.q_size
        self.conv1d = ShortConvolution(mixed, conv_kernel, use_conv_bias)
        if conv_init is not None:
            nn.init.uniform_(self.conv1d.weight, -conv_init, conv_init)
        self.in_proj = nn.Linear(hidden_size, inner + mixed + count, bias=use_bias)
        self.A_log, self.dt_bias = gate_parameters(count, 1, tuple(A_init_range), (dt_min, dt_max), dt_init_floor)
        self.D = without_weight_decay(nn.Parameter(torch.ones(inner if D_has_hdim else count)))
        self.norm = GroupedNorm(inner, n_groups, norm_eps) if rmsnorm else None
        self.out_proj = nn.Linear(inner, hidden_size, bias=use_bias)

    def _mixed(
        self, x: torch.Tensor, past: Mapping[str, Any] | None, packing: Packing, keep: bool, return_info: bool
    ) -> tuple[torch.Tensor, Any, tuple[Any, ...], Any]:
        heads = self._heads
        sizes = [heads.v_size, heads.k_size, heads.q_size]
        z, mixed, dt = self.in_proj(x).split([heads.v_size, sum(sizes), heads.count], -1)
        mixed, state = self.conv1d(mixed, past["conv_state"][0] if past else None, packing.lengths)
        u, B, C = mixed.split(sizes, -1)
        u = heads.split(u, heads.v)
        wide = torch.promote_types(dt.dtype, torch.float32)
        dt = softplus(dt.to(wide) + self.dt_bias.to(wide)).clamp(*self.dt_limit)
        y, memory = chunk_simple_gla(
            heads.split(C, heads.q),
            heads.split(B, heads.k),
            u * dt.unsqueeze(-1),
            -dt * self.A_log.to(wide).exp(),
            scale=1.0,
            initial_state=past["recurrent_state"] if past else None,
            output_final_state=keep,
            cu_seqlens=packing.cu_seqlens,
            validate=False,
        )
        weight = self.D.view(heads.count, -1)
        y = (y + weight * u).flatten(-2).to(self.out_proj.weight.dtype)
        return self.out_proj(self._gated(y, z)), memory, (state,), None

    def _gated(self, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        if self.norm is None:
            return y * silu(z)
        return self.norm(y) * silu(z) if self.norm_before_gate else self.norm(y * silu(z))

    def _conv_shapes(self, sequences: int) -> list[tuple[Any, ...]]:
        return [(sequences, *self.conv1d.state_shape)]


class GroupedNorm(nn.Module):
    """An RMS norm of each of some groups of channels, with a weight for each channel.

    Parameters
    ----------
    channels, groups : int
    eps : float
    """

    def __init__(self, channels: int, groups: int, eps: float) -> None:
        super().__init__()
        self.groups, self.eps = groups, eps
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of the channels, the last axis."""
        parts = x.unflatten(-1, (self.groups, -1))
        return nn.functional.rms_norm(parts, parts.shape[-1:], eps=self.eps).flatten(-2) * self.weight
