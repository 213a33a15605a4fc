"""How well the regressions of a call were solved."""

from __future__ import annotations

from typing import NamedTuple

import torch

__all__ = ["Info"]


class Info(NamedTuple):
    """What is known of every solve (H_t + lambda_t I) x_t = q_t, each of shape (B, T, H).

    Attributes
    ----------
    relative_residual : Tensor
        ||q_t - (H_t + lambda_t I) x_t|| / ||q_t||, computed from x_t afterwards; 0 where q_t or H_t is zero.
    condition : Tensor
        An upper bound of the condition number, from the interval that holds the spectrum; 1 where H_t is zero.
    iterations : Tensor of int32
        Products with H_t that the solver made; 0 for ``"exact"``.
    """

    relative_residual: torch.Tensor
    condition: torch.Tensor
    iterations: torch.Tensor
