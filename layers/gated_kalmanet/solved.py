"""What the solvers of the regression return."""

from __future__ import annotations

from typing import NamedTuple

import torch

__all__ = ["Solved"]


class Solved(NamedTuple):
    """The solutions (..., n), and how many iterations each took (...)."""

    x: torch.Tensor
    iterations: torch.Tensor
