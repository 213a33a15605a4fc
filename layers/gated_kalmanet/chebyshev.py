"""Chebyshev semi-iteration for many systems at once, each with its own interval."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .interval import chebyshev_weights
from .solved import Solved

__all__ = ["chebyshev"]


def chebyshev(
    product: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    rhs: torch.Tensor,
    lower: torch.Tensor,
    upper: torch.Tensor,
    steps: torch.Tensor,
) -> Solved:
    """Solve A x = rhs by so many steps of x <- x + (omega - 1) (x - x_previous) + omega s (rhs - A x).

    Neither inner products nor a stopping test: all that is needed is known beforehand. What one system comes to does
    not depend on the others.

    Parameters
    ----------
    product : callable
        ``product(p, out)`` puts A p, of every system, into out.
    rhs : Tensor, (..., n)
    lower, upper : Tensor, (...)
        Ends of an interval that holds each spectrum; both zero where A = 0, for which x = 0 comes back.
    steps : Tensor of int32, (...)
        Of each system. As many are made as the largest takes, each one product and 4 passes over vectors.

    References
    ----------
    Golub & Varga (1961), "Chebyshev semi-iterative methods, successive overrelaxation iterative methods, and second
    order Richardson iterative methods"; its use here: Gated KalmaNet (arXiv:2511.21016), Algorithm 1, with omega_0 = 2.
    """
    ends = (lower + upper).unsqueeze(-1)
    size = torch.where(ends > 0, 2 / ends, 0.0)
    rho = torch.where(ends > 0, (upper - lower).unsqueeze(-1) / ends, 0.0)
    x, previous, residual = size * rhs, torch.zeros_like(rhs), torch.empty_like(rhs)
    for n, omega in enumerate(chebyshev_weights(rho, int(steps.max()))):
        product(x, residual).sub_(rhs)
        going = (n < steps).unsqueeze(-1)
        omega, step = torch.where(going, omega, 1.0), torch.where(going, omega * size, 0.0)
        # previous becomes the next iterate: omega x - (omega - 1) previous - omega s (A x - rhs)
        previous.mul_(1 - omega).addcmul_(omega, x).addcmul_(step, residual, value=-1)
        x, previous = previous, x
    return Solved(x, steps)
