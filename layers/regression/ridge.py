"""The ridge, one tensor throughout: (H,) or (), what it is over ||H_t||_F; or (H, D), the diagonal itself."""

from __future__ import annotations

import torch

__all__ = ["ends", "entries", "grows"]


def grows(ridge: torch.Tensor) -> bool:
    """Whether the ridge is ||H_t||_F times a number, and not a diagonal that is the same for all tokens.

    In the first case it is positively homogeneous in H_t, as H_t + ridge then is.
    """
    return ridge.ndim < 2


def entries(ridge: torch.Tensor, norm: torch.Tensor) -> torch.Tensor:
    """What is added to the diagonal of H_t: broadcasts with (..., H, C, D), where ``norm``, ||H_t||_F, is (..., H, C).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers.regression.ridge import entries
    >>> norm = torch.tensor([[5.0, 10.0]])  # of two tokens, for one head
    >>> entries(torch.tensor([0.1]), norm).tolist(), entries(torch.tensor([[1.0, 2.0, 3.0]]), norm).tolist()
    ([[[0.5], [1.0]]], [[[1.0, 2.0, 3.0]]])
    """
    if grows(ridge):
        return (ridge.unsqueeze(-1) * norm).unsqueeze(-1)
    return ridge.unsqueeze(-2)


def ends(ridge: torch.Tensor, norm: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The least and the greatest of the entries of each token, as ``norm``."""
    if grows(ridge):
        shift = ridge.unsqueeze(-1) * norm
        return shift, shift
    least, greatest = torch.aminmax(ridge, dim=-1)
    return least.unsqueeze(-1).expand_as(norm), greatest.unsqueeze(-1).expand_as(norm)
