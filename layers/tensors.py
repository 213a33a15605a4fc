"""What differentiable functions take: full tensors of numbers that lie in one place, or words why not."""

from __future__ import annotations

from typing import Any

import torch

from ..errors import BackendError

__all__ = ["HALF", "WORKING", "check_place", "check_tensor"]

HALF = (torch.float16, torch.bfloat16)
WORKING = (torch.float32, torch.float64, torch.complex64, torch.complex128)


def check_tensor(tensor: Any, name: str) -> None:
    """Refuse what is no full tensor of floating-point or complex numbers."""
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name}: found {type(tensor).__name__}; wanted a torch tensor")
    if tensor.layout != torch.strided:
        raise BackendError(f"{name}: found a tensor of layout {tensor.layout}; wanted a full one, from .to_dense()")
    if tensor.dtype not in WORKING and tensor.dtype not in HALF:
        raise TypeError(
            f"{name}: found {tensor.dtype}; wanted a floating-point or complex tensor, as from .to(torch.float64)"
        )


def check_place(tensor: Any, name: str, other: Any, others_name: str = "b") -> None:
    """Refuse tensors of two devices."""
    if tensor.device != other.device:
        raise BackendError(
            f"{name}: lies on {tensor.device}, but {others_name} on {other.device}; move one of them with .to() first, "
            "since nothing is moved silently"
        )
