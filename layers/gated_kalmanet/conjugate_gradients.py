"""Conjugate gradients for many systems at once, each stopping by its own residual."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .solved import Solved

__all__ = ["conjugate_gradients"]


def conjugate_gradients(
    product: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    rhs: torch.Tensor,
    lower: torch.Tensor,
    steps: int,
    rtol: float,
) -> Solved:
    """Solve A x = rhs from x = 0 until ||rhs - A x|| <= rtol ||rhs|| in every system, at most so many steps.

    A system that is done stands still. All guards are relative to its right-hand side, so that the solution scales with
    it, however small; added constants, as in published kernels, stop systems with small right-hand sides too early.

    Parameters
    ----------
    product : callable
        ``product(p, out)`` puts A p, of every system, into out; A is symmetric positive definite.
    rhs : Tensor, (..., n)
    lower : Tensor, (...)
        A lower bound of each spectrum; zero where A = 0, for which x = 0 comes back.
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
    rho = torch.linalg.vector_norm(r, dim=-1, keepdim=True).square_()
    target = max(rtol, torch.finfo(rhs.dtype).eps / 2) ** 2 * rho
    going = (rho > target) & (lower > 0).unsqueeze(-1)
    iterations = torch.zeros(rho.shape, dtype=torch.int32, device=rhs.device)
    for _ in range(steps):
        if not bool(going.any()):
            break
        product(p, Ap)
        curvature = torch.linalg.vecdot(p, Ap).unsqueeze(-1)
        alpha = torch.where(going, rho / curvature, 0.0)
        x.addcmul_(alpha, p)
        r.addcmul_(alpha, Ap, value=-1)
        iterations += going
        before, rho = rho, torch.linalg.vector_norm(r, dim=-1, keepdim=True).square_()
        torch.addcmul(r, torch.where(going, rho / before, 0.0), p, out=p)
        going &= rho > target
    return Solved(x.mul_(size), iterations.squeeze(-1))
