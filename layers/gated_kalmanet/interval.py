"""An interval that holds the spectrum of H_t + lambda_t I, and the Chebyshev steps that it asks for."""

from __future__ import annotations

import math
from typing import Any

import torch

from ...precision.ridge import wolkowicz_styan

__all__ = ["INTERVALS", "condition_number", "steps_for", "upper_end"]

INTERVALS = ("wolkowicz_styan", "frobenius")
GUARD = 1.04  # an eigenvalue outside the interval by 3 % grows tenfold in 30 steps; the guard costs half a step


def upper_end(norm: Any, trace: Any, shift: Any, order: int, interval: str) -> Any:
    """An upper bound of the eigenvalues of H + shift I, H positive semidefinite of that order.

    ``"frobenius"``: ||H||_F + shift, as in Gated KalmaNet. ``"wolkowicz_styan"``: from the trace, too, which is never
    more than the first and about half of it where many keys were seen; with a guard against the rounding of both.

    Examples
    --------
    >>> from resolvent.layers.gated_kalmanet.interval import upper_end
    >>> upper_end(2.0, 4.0, 0.5, 4, "frobenius"), upper_end(2.0, 4.0, 0.5, 4, "wolkowicz_styan")  # H = I
    (2.5, 1.54)
    """
    if interval == "frobenius":
        return norm + shift
    size = trace + (trace == 0)  # the bound is that of H / tr H, whose squares neither over- nor underflow
    return GUARD * trace * wolkowicz_styan(1.0, (norm / size) ** 2, order).largest_to + shift


def condition_number(lower: Any, upper: Any) -> Any:
    """upper / lower; 1 where both are zero."""
    empty = lower == 0
    return (upper + empty) / (lower + empty)


def steps_for(condition: torch.Tensor, rtol: float) -> torch.Tensor:
    """Steps r after which a relative residual is at most rtol, whatever the right-hand side; int32 like ``condition``.

    The residual polynomial after r steps from x_0 = 2 b / (lower + upper) has degree r + 1, and is at most
    1 / cosh((r + 1) t) on the interval, cosh t = (kappa + 1) / (kappa - 1) (Saad 2003, section 6.11.3).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers.gated_kalmanet.interval import steps_for
    >>> steps_for(torch.tensor([51.0, 1.0]), 1e-3).tolist(), steps_for(torch.tensor([51.0]), 1e-6).tolist()
    ([26, 0], [51])
    """
    excess = condition.double() - 1
    decay = 2 * torch.asinh(torch.rsqrt(excess.clamp_min(1e-30)))
    return (math.acosh(1 / rtol) / decay).ceil_().sub_(1).clamp_min_(0).int()
