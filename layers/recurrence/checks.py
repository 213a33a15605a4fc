"""What users give to operations on sequences: tensors, gates and boundaries, each error naming the argument."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from torch._subclasses import FakeTensor
from torch.autograd import forward_ad

from ...errors import InputError

__all__ = [
    "Boundaries",
    "as_dtype",
    "boundaries",
    "check_gates",
    "check_semidefinite",
    "check_shape",
    "check_tensor",
    "check_values",
    "is_transformed",
    "numbers",
    "sequence_lengths",
    "values_are_known",
]

Boundaries: TypeAlias = torch.Tensor | Sequence[int] | None  # of packed sequences


def values_are_known(tensor: torch.Tensor) -> bool:
    """Whether numbers can be looked at: not while a graph is traced, nor those of meta and fake tensors."""
    return not (torch.compiler.is_compiling() or tensor.is_meta or isinstance(tensor, FakeTensor))


def is_transformed(*tensors: Any) -> bool:
    """Whether there is a transform of ``torch.func``, or a tangent of forward mode, which operators would lose."""
    return torch._C._are_functorch_transforms_active() or (
        forward_ad._current_level >= 0 and any(map(_has_tangent, tensors))
    )


def _has_tangent(tensor: Any) -> bool:
    return isinstance(tensor, torch.Tensor) and forward_ad.unpack_dual(tensor).tangent is not None


def as_dtype(dtype: torch.dtype, tensor: torch.Tensor) -> torch.Tensor:
    """``tensor.to``, which takes a microsecond also where there is nothing to do."""
    return tensor if tensor.dtype is dtype else tensor.to(dtype)


def numbers(tensor: torch.Tensor) -> torch.Tensor:
    """All that a tensor stands for under transforms of ``torch.func``, what is mapped over in front."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        place = torch._C._functorch.maybe_get_bdim(tensor)
        tensor = torch._C._functorch.get_unwrapped(tensor)
        if place >= 0:
            tensor = tensor.movedim(place, 0)
    return tensor.detach()


def check_tensor(name: str, tensor: Any, q: torch.Tensor) -> None:
    """A floating-point tensor on the device of q."""
    if not isinstance(tensor, torch.Tensor):
        raise InputError(f"{name}: found {type(tensor).__name__}; wanted a torch.Tensor")
    if not tensor.is_floating_point():
        raise InputError(f"{name}: found the dtype {tensor.dtype}; wanted a floating-point one")
    if tensor.device != q.device:
        raise InputError(f"{name}: found the device {tensor.device}; wanted that of q, {q.device}")


def check_shape(name: str, tensor: torch.Tensor, shape: Sequence[int], axes: str) -> None:
    """The shape that is wanted, whose axes are called ``axes``."""
    if tensor.shape != tuple(shape):
        raise InputError(f"{name}: found the shape {tuple(tensor.shape)}; wanted {tuple(shape)}, {axes}")


def check_values(name: str, tensor: torch.Tensor, least: float = -math.inf, most: float = math.inf) -> None:
    """Finite, and within the limits: one pass, and a number or two that are waited for."""
    if tensor.numel() == 0:
        return
    tensor = numbers(tensor)
    if least == -math.inf and most == math.inf and math.isfinite(tensor.sum().item()):
        return  # the cheapest test, which only fails too often: sums overflow where entries do not
    low, high = map(float, torch.aminmax(tensor))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"{name}: found NaN or infinity; wanted finite numbers")
    if low < least:
        raise InputError(f"{name}: found {low:g}; wanted at least {least:g}")
    if high > most:
        raise InputError(f"{name}: found {high:g}; wanted at most {most:g}")


def check_gates(name: str, gate: torch.Tensor) -> None:
    """Logarithms of decays; minus infinity, which forgets everything, is one."""
    if gate.numel() == 0:
        return
    high = float(torch.amax(numbers(gate)))
    if math.isnan(high):
        raise InputError(
            f"{name}: found NaN; wanted logarithms of decays, at most 0. A negative decay has no real logarithm"
        )
    if high > 0:
        raise InputError(
            f"{name}: found {high:g}; wanted logarithms of decays, at most 0. Were the decays themselves given?"
        )


def check_semidefinite(name: str, matrix: torch.Tensor, dtype: torch.dtype | None = None) -> None:
    """Symmetric and positive semidefinite up to sqrt(eps) of its norm, eps of its own format and that computed in.

    Factorises each.
    """
    if matrix.numel() == 0:
        return
    dtype, H = dtype or matrix.dtype, numbers(matrix)
    tolerance = max(torch.finfo(H.dtype).eps, torch.finfo(dtype).eps) ** 0.5
    H = H.to(dtype)
    size = H.abs().amax((-1, -2), keepdim=True)
    H = H / torch.where(size > 0, size, 1)
    if bool(((H - H.transpose(-1, -2)).abs().amax((-1, -2)) > tolerance).any()):
        raise InputError(f"{name}: found a matrix that is not symmetric; wanted a positive semidefinite one")
    identity = torch.eye(H.shape[-1], dtype=dtype, device=H.device)
    shift = tolerance * torch.linalg.matrix_norm(H, keepdim=True) + (size == 0)
    if bool((torch.linalg.cholesky_ex((H + H.transpose(-1, -2)) / 2 + shift * identity).info > 0).any()):
        raise InputError(f"{name}: found a matrix that is indefinite; wanted a positive semidefinite one")


def boundaries(cu_seqlens: torch.Tensor | Sequence[int] | None, q: torch.Tensor) -> torch.Tensor | None:
    """Where packed sequences begin and end, integers (N + 1,), on the host if their numbers are known."""
    batch, tokens = q.shape[:2]
    if cu_seqlens is None:
        return None
    if batch != 1:
        raise InputError(f"cu_seqlens: found a batch of {batch}; wanted sequences packed along T in a batch of 1")
    if not isinstance(cu_seqlens, torch.Tensor):
        ends = torch.tensor([operator.index(end) for end in cu_seqlens], dtype=torch.int64)
    else:
        ends = cu_seqlens.cpu() if values_are_known(cu_seqlens) else cu_seqlens
    if ends.is_floating_point() or ends.is_complex() or ends.ndim != 1:
        raise InputError(f"cu_seqlens: found {ends.dtype} of the shape {tuple(ends.shape)}; wanted integers, (N + 1,)")
    count = ends.shape[0]
    if count < 2:
        raise InputError(f"cu_seqlens: found {count} numbers; wanted to start with 0 and to end with T = {tokens}")
    return ends


def sequence_lengths(ends: list[int], tokens: int) -> tuple[int, ...]:
    """Of sequences that begin and end there and fill the tokens."""
    if ends[0] != 0 or ends[-1] != tokens:
        raise InputError(f"cu_seqlens: found {_shortly(ends)}; wanted to start with 0 and to end with T = {tokens}")
    lengths = tuple(end - start for start, end in pairwise(ends))
    if min(lengths) < 0:
        raise InputError(f"cu_seqlens: found {_shortly(ends)}; wanted numbers that do not decrease")
    return lengths


def _shortly(numbers: list[int]) -> str:
    return str(numbers) if len(numbers) <= 8 else f"[{', '.join(map(str, numbers[:4]))}, ..., {numbers[-1]}]"
