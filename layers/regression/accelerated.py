"""The form of Triton kernels: what they take, and the chunk-wise form with them as its pieces."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import torch

from .arguments import Info, Inputs
from .operators import chunk_wise
from .solving import Solver

__all__ = ["accelerated", "keeps_16_bits", "refusal"]

INSTALLED = importlib.util.find_spec("triton") is not None
LARGEST = 256
CHUNK = 64  # whatever the lengths, so that a sequence gives the same bits packed and alone
DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def accelerated(
    inputs: Inputs, solver: Solver, want_info: bool
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor], Info | None]:
    """The chunk-wise form in Triton kernels; single tokens that need no gradient in one kernel of their own.

    Parameters
    ----------
    inputs : Inputs
        For which there is no ``refusal``.
    solver : Solver
    want_info : bool
    """
    return chunk_wise(inputs, solver, want_info, CHUNK, kernels=True)


def refusal(q: torch.Tensor, v: torch.Tensor, solver: Solver) -> str | None:
    """What was found and what would be wanted, where the kernels do not take these inputs; None where they do."""
    if not INSTALLED:
        return "found no Triton; wanted it installed: pip install triton"
    if q.device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return f"found tensors on {q.device}; wanted them on a CUDA device, or form='chunk'"
    if q.dtype not in DTYPES:
        return f"found the dtype {q.dtype}; wanted float16, bfloat16 or float32, or form='chunk'"
    if max(q.shape[3], v.shape[3]) > LARGEST:
        return f"found D = {q.shape[3]} and V = {v.shape[3]}; wanted at most {LARGEST}, or form='chunk'"
    if solver.name == "exact":
        return "found solver='exact'; wanted 'chebyshev' or 'cg', or form='chunk'"
    return None


def keeps_16_bits(q: Any, k: Any, v: Any, beta: Any, solver: Solver, anywhere: bool) -> bool:
    """Whether the kernels get q, k and v in 16 bits: what was given, unchecked, on a CUDA device or ``anywhere``."""
    if not all(isinstance(part, torch.Tensor) and part.ndim == 4 and part.dtype == q.dtype for part in (q, k, v)):
        return False
    if beta is not None and q.dtype is torch.float16:
        return False  # beta k may be too small for its range
    return q.dtype.itemsize == 2 and (anywhere or q.is_cuda) and refusal(q, v, solver) is None
