"""What differentiable functions take: full tensors of numbers that lie in one place, or words why not."""

from __future__ import annotations

from typing import Any

import torch

from ..errors import BackendError, InputError

__all__ = ["HALF", "WORKING", "check_place", "check_tensor", "check_width"]

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


def check_width(tensor: Any, name: str, width: int, called: str, shape: str) -> None:
    """Refuse a tensor whose axes are not those that a layer of this width takes.

    Parameters
    ----------
    tensor : Tensor
    name : str
    width : int
    called : str
        What the layer's constructor calls the width.
    shape : str
        Of what is taken, one letter an axis, the width's being "*" and further axes "...".
    """
    axes = shape.split()
    lengths = tuple(tensor.shape)
    open_ended = axes[-1] == "..."
    wanted = len(axes) - open_ended
    if (len(lengths) >= wanted if open_ended else len(lengths) == wanted) and lengths[axes.index("*")] == width:
        return
    said = ", ".join(str(width) if axis == "*" else axis for axis in axes)
    raise InputError(f"{name}: found shape {lengths}; wanted ({said}), where {width} is {called}")


def check_place(tensor: Any, name: str, other: Any, others_name: str = "b") -> None:
    """Refuse tensors of two devices."""
    if tensor.device != other.device:
        raise BackendError(
            f"{name}: lies on {tensor.device}, but {others_name} on {other.device}; move one of them with .to() first, "
            "since nothing is moved silently"
        )
