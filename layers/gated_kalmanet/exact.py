"""Factorisation of one matrix per token: what the iterations are held to, and the choice for a few tokens."""

from __future__ import annotations

import torch

from .solved import Solved

__all__ = ["exact"]


def exact(H: torch.Tensor, rhs: torch.Tensor, shift: torch.Tensor) -> Solved:
    """Solve (H + shift I) x = rhs by Cholesky factorisation; n^3 / 3 multiplications and additions each.

    Parameters
    ----------
    H : Tensor, (..., n, n)
        Overwritten.
    rhs : Tensor, (..., n)
    shift : Tensor, (...)
        Positive; x = 0 where it is zero, since H is then.
    """
    empty = shift == 0
    H.diagonal(dim1=-2, dim2=-1).add_((shift + empty).unsqueeze(-1))
    factor = torch.linalg.cholesky(H)
    x = torch.cholesky_solve(torch.where(empty.unsqueeze(-1), 0.0, rhs).unsqueeze(-1), factor).squeeze(-1)
    return Solved(x, torch.zeros(shift.shape, dtype=torch.int32, device=rhs.device))
