"""What becomes of derivatives where they divide by zero: a choice of three, the same for all functions."""

from __future__ import annotations

from typing import Any

import torch

from ...errors import SingularError

__all__ = ["SINGULAR", "divided", "singular_error"]

SINGULAR = ("raise", "clamp", "zero")
ROUNDING = 100.0  # times the tolerance: how large a right-hand side may be that is zero but for rounding


def singular_error(name: str) -> SingularError:
    """What says that a function is not differentiable somewhere."""
    return SingularError(
        f"{name}: is not differentiable here: singular values (eigenvalues) by whose sums its derivative divides are "
        'zero to rounding; add a ridge, or pass singular="zero" or "clamp"'
    )


def divided(R: Any, d: Any, singular: str, tolerance: float, name: str) -> Any:
    """R / d entry by entry, where d >= 0 is not zero to rounding, and what the policy says elsewhere.

    Parameters
    ----------
    R, d : Tensor (..., m, n)
        d may lack leading axes, or have ones for them.
    singular : {"raise", "clamp", "zero"}
        An error, unless R is zero to rounding there as well, which gives zero; d is replaced by the tolerance; zero.
    tolerance : float
        Relative to the largest d of a matrix.
    name : str
        Of the function, for the error.
    """
    largest = d.amax(dim=(-2, -1), keepdim=True) if d.numel() else d
    small = d <= tolerance * largest
    if singular == "clamp":
        found = R / torch.where(small, torch.where(largest > 0, tolerance * largest, 1), d)
        return torch.where(largest > 0, found, 0)
    if singular == "raise" and bool(small.any()):
        size = R.abs()
        rounding = ROUNDING * torch.finfo(R.dtype).eps * R.shape[-1] * size.amax(dim=(-2, -1), keepdim=True)
        if bool((small & (size > rounding)).any()):
            raise singular_error(name)
    return torch.where(small, 0, R / torch.where(small, 1, d))
