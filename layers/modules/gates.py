"""The forgetting gate of Mamba-2, which most layers of sequence models have: a log decay -exp(A) softplus(y + bias)."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import softplus

__all__ = ["LARGEST_RATE", "gate_parameters", "log_decay", "without_weight_decay"]

LARGEST_RATE = 16.0
STEP_RANGE = (1e-3, 1e-1)
LEAST_STEP = 1e-4


def gate_parameters(
    heads: int,
    channels: int = 1,
    rates: tuple[float, float] = (0.0, LARGEST_RATE),
    steps: tuple[float, float] = STEP_RANGE,
    least_step: float = LEAST_STEP,
) -> tuple[nn.Parameter, nn.Parameter]:
    """A_log of each head and dt_bias of each channel of each, as they begin.

    Rates exp(A_log) are drawn uniformly, steps softplus(dt_bias) so that their logarithms are uniform.
    """
    A_log = nn.Parameter(torch.empty(heads).uniform_(*rates).log())
    low, high = (math.log(end) for end in steps)
    step = torch.empty(heads * channels).uniform_(low, high).exp().clamp_min(least_step)
    dt_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # softplus of it is the step
    return without_weight_decay(A_log), without_weight_decay(dt_bias)


def without_weight_decay(parameter: nn.Parameter) -> nn.Parameter:
    """The parameter, marked as those are that optimizers should not shrink."""
    parameter._no_weight_decay = True
    return parameter


def log_decay(y: torch.Tensor, A_log: torch.Tensor, dt_bias: torch.Tensor) -> torch.Tensor:
    """-exp(A_log) softplus(y + dt_bias), in single precision at least; A_log and dt_bias as y's last axes."""
    wide = torch.promote_types(y.dtype, torch.float32)
    return -A_log.to(wide).exp() * softplus(y.to(wide) + dt_bias.to(wide))
