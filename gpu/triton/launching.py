"""What every launch of a kernel asks first: tensors of one CUDA device, or the interpreter; and which configuration."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
import triton

from ...errors import InputError

__all__ = ["INTERPRETED", "check_devices", "processors", "tuned"]

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # kernels run on the host, for tests


def check_devices(**tensors: torch.Tensor | None) -> None:
    """Raise unless all tensors lie on one CUDA device, or on the host where kernels are interpreted.

    Parameters
    ----------
    **tensors :
        By the names of arguments; None is left out.

    Raises
    ------
    InputError
        That names the first tensor that lies elsewhere.
    """
    given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    first, device = next((name, tensor.device) for name, tensor in given.items())
    for name, tensor in given.items():
        if tensor.device.type != "cuda" and not INTERPRETED:
            raise InputError(
                f"{name}: found a tensor on {tensor.device}; Triton wants a CUDA device: move it with {name}.cuda(), "
                "or choose an implementation in plain PyTorch"
            )
        if tensor.device != device:
            raise InputError(
                f"{name}: found a tensor on {tensor.device}; wanted one on {device}, where {first} is: "
                f"{name}.to({first}.device)"
            )


def processors(tensor: torch.Tensor) -> int:
    """Multiprocessors of the device of a tensor; one, where kernels are interpreted."""
    return int(torch.cuda.get_device_properties(tensor.device).multi_processor_count) if tensor.is_cuda else 1


def tuned(configurations: Sequence[dict[str, int]], key: Sequence[str], **options: Any) -> Any:
    """``triton.autotune`` over configurations, dicts with num_warps, num_stages and constants; interpreted, the first.

    Parameters
    ----------
    configurations : sequence of dict
    key : sequence of str
        Arguments for whose every value the fastest configuration is looked for anew: few of them, with few values.
    **options :
        Of ``triton.autotune``.
    """
    stated = []
    for configuration in configurations:
        constants = dict(configuration)
        warps, stages = constants.pop("num_warps"), constants.pop("num_stages")
        stated.append(triton.Config(constants, num_warps=warps, num_stages=stages))

    def decorated(kernel: Any) -> Any:
        tuner = triton.autotune(configs=stated[:1] if INTERPRETED else stated, key=list(key), **options)(kernel)
        tuner.stated = stated  # all of them, for the table
        return tuner

    return decorated
