"""Conjugate gradients for many systems at once, each stopping by its own residual."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .solved import Solved

__all__ = ["conjugate_gradients"]


def conjugate_gradients(
    product: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], rhs: torch.Tensor, steps: int, rtol: float
) -> Solved:
    """Solve A x = rhs from x = 0 until ||rhs - A x|| <= rtol ||rhs|| in every system, at most so many steps.

    A system that is done stands still. All guards are relative to its right-hand side, so that the solution scales with
    it, however small; added constants, as in published kernels, stop systems with small right-hand sides too early.

    Parameters
    ----------
    product : callable
        ``product(p, out)`` puts A p, of every system, into out; A is symmetric positive definite, or zero, for which
        x = 0 comes back.
    rhs : Tensor, (..., n)
    steps : int
        Each costs one product, 2 inner products, 3 updates of vectors, and a look at the device's results.
    rtol : float
        0 for a fixed number of steps: then systems stop at the unit roundoff.

    References
    ----------
    Hestenes & Stiefel (1952); Saad (2003), Algorithm 6.18.
    """
    size = rhs.abs().amax(-1, keepdim=True)
    r = torch.where(size > 0, rhs / size, 0.0)  # its squares neither under- nor overflow
    x, p, Ap = torch.zeros_like(r), r.clone(), torch.empty_like(r)
    rho = dots(r, r)
    target = max(rtol, torch.finfo(rhs.dtype).eps / 2) ** 2 * rho
    open_ = rho > target
    iterations = torch.zeros(rho.shape, dtype=torch.int32, device=rhs.device)
    for _ in range(steps):
        if not bool(open_.any()):
            break
        product(p, Ap)
        curvature = dots(p, Ap)
        open_ = open_ & (curvature > 0)
        alpha = torch.where(open_, rho / curvature, 0.0)
        x.addcmul_(alpha, p)
        r.addcmul_(alpha, Ap, value=-1)
        iterations += open_
        before, rho = rho, dots(r, r)
        p.mul_(torch.where(open_, rho / before, 0.0)).add_(r)
        open_ = open_ & (rho > target)
    return Solved(x.mul_(size), iterations.squeeze(-1))


def dots(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Inner products along the last axis, which stays."""
    return torch.linalg.vecdot(a, b).unsqueeze(-1)
