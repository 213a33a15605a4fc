"""Gradients that are themselves to be differentiated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

__all__ = ["adjoint"]


def adjoint(
    function: Callable[..., Sequence[torch.Tensor]], inputs: Sequence[torch.Tensor], cotangents: Sequence[torch.Tensor]
) -> tuple[Any, ...]:
    """Gradients of <function(*inputs), cotangents>, differentiable in inputs, cotangents and what function holds.

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers.gated_kalmanet.adjoint import adjoint
    >>> x = torch.tensor(2.0, requires_grad=True)
    >>> (once,) = adjoint(lambda x: (x**3,), (x,), (torch.tensor(1.0),))
    >>> once.item(), torch.autograd.grad(once, x)[0].item()
    (12.0, 12.0)
    """
    with torch.enable_grad():
        # Views, so that nothing passes through what function holds and was itself computed from the inputs.
        views = [
            tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_() for tensor in inputs
        ]
        return torch.autograd.grad(function(*views), views, cotangents, create_graph=True)
