"""MesaNet: a layer whose memory is a ridge regression with a learned, fixed ridge."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.functional import logsigmoid, softplus

from ...errors import InputError
from ..regression import mesa_net
from .gates import without_weight_decay
from .heads import Heads, unit
from .token_mixer import TokenMixer

__all__ = ["MesaNet"]

FIRST_RIDGE = 1.0


class MesaNet(TokenMixer):
    r"""Reads U = sum of beta k v^T with (H + diag(lambda))^-1 q, H = sum of beta k k^T; both sums decay.

    The constructor and forward are those of flash-linear-attention's layer.

    Parameters
    ----------
    hidden_size : int
    num_heads : int
    head_dim : int
    mode : {"chunk"}
    use_output_gate : bool
    use_short_conv : bool
        Of queries and keys; values have none.
    conv_size : int
        Tokens a convolution sees.
    conv_bias : bool
    layer_idx : int, optional
        The place of the layer in a cache.
    norm_eps : float
    lambda_lower_bound : float
        Of the ridge, positive and below 1, where the ridge begins.
    max_cg_step_training, max_cg_step_decoding : int
        Steps of the solver at most: from the beginning of a sequence, and where it is continued.
    solver, rtol, interval :
        How to solve, as in ``gated_kalmanet``; with ``rtol``, in place of the numbers of steps, until the relative
        residual is that small.

    Attributes
    ----------
    lambda_params : Parameter, (num_heads * head_dim,)
        The ridge is ``lambda_lower_bound + softplus(lambda_params)``.

    Raises
    ------
    InputError
        For a setting out of its range, and one that the layer does not know.

    References
    ----------
    von Oswald et al., "MesaNet: sequence modeling by locally optimal test-time training" (arXiv:2506.05233).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers import MesaNet
    >>> layer = MesaNet(hidden_size=32, head_dim=8, num_heads=4)
    >>> o, info, _ = layer(torch.randn(2, 10, 32), return_info=True)
    >>> o.shape, bool(info.relative_residual.max() < 1e-3)
    (torch.Size([2, 10, 32]), True)
    """

    modes: ClassVar[tuple[str, ...]] = ("chunk",)

    def __init__(
        self,
        hidden_size: int = 2048,
        num_heads: int = 16,
        head_dim: int = 128,
        mode: str = "chunk",
        use_output_gate: bool = False,
        use_short_conv: bool = True,
        conv_size: int = 4,
        conv_bias: bool = False,
        layer_idx: int | None = None,
        norm_eps: float = 1e-5,
        lambda_lower_bound: float = 0.25,
        max_cg_step_training: int = 30,
        max_cg_step_decoding: int = 30,
        *,
        solver: str = "cg",
        rtol: float | None = None,
        interval: str = "wolkowicz_styan",
        **unknown: Any,
    ) -> None:
        super().__init__(hidden_size, Heads.of_length(head_dim, num_heads), mode, layer_idx, unknown)
        if not 0 < lambda_lower_bound < FIRST_RIDGE:
            raise InputError(f"lambda_lower_bound: found {lambda_lower_bound}; wanted a number between 0 and 1")
        for name, steps in (
            ("max_cg_step_training", max_cg_step_training), ("max_cg_step_decoding", max_cg_step_decoding),
        ):  # fmt: skip
            if steps < 1:
                raise InputError(f"{name}: found {steps}; wanted at least 1")
        self.lambda_lower_bound = lambda_lower_bound
        self.max_cg_step_training, self.max_cg_step_decoding = max_cg_step_training, max_cg_step_decoding
        self.solving: dict[str, Any] = {"solver": solver, "rtol": rtol, "interval": interval}
        convolved = "qk" if use_short_conv else ""
        self._add_projections(conv_size=conv_size, conv_bias=conv_bias, convolved=convolved, activated="qk")
        self.a_proj, self.b_proj = nn.Linear(hidden_size, self.heads), nn.Linear(hidden_size, self.heads)
        start = math.log(math.expm1(FIRST_RIDGE - lambda_lower_bound))
        self.lambda_params = without_weight_decay(nn.Parameter(torch.full((self.heads * head_dim,), start)))
        self._add_output(norm_eps, "silu" if use_output_gate else None)

    def _operation(
        self, x: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, how: dict[str, Any], return_info: bool
    ) -> tuple[torch.Tensor, Any, Any]:
        wide = torch.promote_types(x.dtype, torch.float32)
        ridge = self.lambda_lower_bound + softplus(self.lambda_params.to(wide))
        steps = self.max_cg_step_training if how["initial_state"] is None else self.max_cg_step_decoding
        o, state, *info = mesa_net(
            unit(q),
            unit(k),
            v,
            logsigmoid(self.a_proj(x).to(wide)),
            self.b_proj(x).to(wide).sigmoid(),
            ridge.view(self.heads, self.head_dim),
            num_iter=steps if self.solving["rtol"] is None else None,
            return_info=return_info,
            **self.solving,
            **how,
        )
        return o, state, info[0] if return_info else None

    def _state_shapes(self, sequences: int) -> list[tuple[Any, ...]]:
        return [(sequences, self.heads, self.head_dim, length) for length in (self.head_dim, self.head_v_dim)]
