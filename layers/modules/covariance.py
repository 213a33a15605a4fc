"""Means and covariances of the channels of a batch."""

from __future__ import annotations

from typing import Any

import torch

from ...errors import InputError
from ..tensors import HALF, check_tensor

__all__ = ["checked_ridge", "covariance", "with_ridge", "working"]


def working(x: Any, name: str = "x") -> Any:
    """x in what is worked in, half precision in float32; an error for what is no batch of channels."""
    check_tensor(x, name)
    if x.ndim < 2:
        raise InputError(f"{name}: found shape {tuple(x.shape)}; wanted (N, C), or (N, C, ...) with places behind")
    return x.float() if x.dtype in HALF else x


def covariance(x: Any) -> tuple[Any, Any]:
    """The mean (..., C, 1) and the covariance (..., C, C) of the columns of x, (..., C, T)."""
    mean = x.mean(-1, keepdim=True)
    centred = x - mean
    return mean, centred @ centred.mH / x.shape[-1]


def with_ridge(A: Any, ridge: float) -> Any:
    """A and a multiple of the identity: of the mean of the diagonal, so that units do not matter."""
    size = A.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    return A + ridge * size * torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)


def checked_ridge(ridge: Any, positive: bool) -> float:
    """A ridge relative to the mean variance; an error for what is none."""
    if not isinstance(ridge, (int, float)) or isinstance(ridge, bool):
        raise TypeError(f"ridge: found {ridge!r}; wanted a number")
    if not 0 <= ridge < float("inf") or (positive and ridge == 0):
        raise InputError(f"ridge: found {ridge:g}; wanted a {'positive' if positive else 'nonnegative'} number")
    return float(ridge)
