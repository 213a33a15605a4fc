"""The regularised systems of many tokens, by the iterations of ``resolvent.solvers`` on stacks of systems."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from ...backends.torch_backend import TorchBackend
from ...solvers.chebyshev.coefficients import chebyshev_coefficients
from ...solvers.chebyshev.stacked_momentum import stacked_momentum
from ...solvers.krylov.stacked_cg import stacked_cg
from .interval import condition_number, steps_for
from .settings import Solver
from .solved import Solved

__all__ = ["chebyshev", "conjugate_gradients", "iterate"]

Product = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

BACKEND = TorchBackend()


def iterate(
    product: Product,
    rhs: torch.Tensor,
    shift: torch.Tensor,
    upper: torch.Tensor,
    solver: Solver,
) -> Solved:
    """Solve A x = rhs, the spectrum of A lying between ``shift`` and ``upper``, (...); ``rhs`` is (..., n).

    With as many steps as were asked for or as the tolerance needs.
    """
    if rhs.numel() == 0:
        return Solved(rhs.clone(), torch.zeros_like(shift, dtype=torch.int32))
    if solver.rtol is None:
        steps = torch.full_like(shift, solver.num_iter or 0, dtype=torch.int32)
    else:
        steps = steps_for(condition_number(shift, upper), solver.rtol)
    if solver.name == "chebyshev":
        return chebyshev(product, rhs, shift, upper, steps)
    # In exact arithmetic the bound of Chebyshev iteration holds for conjugate gradients, too; rounding delays them.
    most = int(steps.max())
    if solver.rtol is None:
        return conjugate_gradients(product, rhs, shift, most, 0.0)
    return conjugate_gradients(product, rhs, shift, 2 * most + 2, solver.rtol)


def chebyshev(
    product: Product, rhs: torch.Tensor, lower: torch.Tensor, upper: torch.Tensor, steps: torch.Tensor
) -> Solved:
    """Chebyshev iteration from x = 2 rhs / (lower + upper): neither inner products nor a stopping test.

    Parameters
    ----------
    product : callable
        ``product(p, out)`` puts A p, of every system, into out.
    rhs : Tensor, (..., n)
    lower, upper : Tensor, (...)
        Ends of an interval that holds each spectrum; both zero where A = 0, for which x = 0 comes back.
    steps : Tensor of int32, (...)
        Products with A, of each system.

    References
    ----------
    Gated KalmaNet (arXiv:2511.21016), Algorithm 1; the weights omega_n there are 1 + beta_n here.
    """
    ahead = chebyshev_coefficients(lower.unsqueeze(-1), upper.unsqueeze(-1))
    # The first step, from zero, whose residual is rhs, costs no product.
    taken = torch.where(upper > 0, steps + 1, 0)
    x = stacked_momentum(BACKEND, product, rhs, torch.zeros_like(rhs), rhs.clone(), ahead, taken)
    return Solved(x, steps)


def conjugate_gradients(product: Product, rhs: torch.Tensor, lower: torch.Tensor, steps: int, rtol: float) -> Solved:
    """Conjugate gradients from x = 0 until ||rhs - A x|| <= rtol ||rhs|| in every system, at most so many steps.

    All guards are relative to the right-hand side, so that the solution scales with it, however small; added constants,
    as in published kernels, stop systems with small right-hand sides too early.

    Parameters
    ----------
    product : callable
        ``product(p, out)`` puts A p, of every system, into out; A is symmetric positive definite.
    rhs : Tensor, (..., n)
    lower : Tensor, (...)
        A lower bound of each spectrum; zero where A = 0, for which x = 0 comes back.
    steps : int
    rtol : float
        0 for a fixed number of steps: then systems stop at the unit roundoff.
    """
    size = rhs.abs().amax(-1, keepdim=True)
    r = rhs / torch.where(size > 0, size, 1.0)  # its squares neither under- nor overflow
    rtol = max(rtol, torch.finfo(rhs.dtype).eps / 2)
    target = torch.where(lower > 0, rtol * torch.linalg.vector_norm(r, dim=-1), math.inf)
    solved = stacked_cg(BACKEND, product, torch.zeros_like(r), r, target, steps)
    return Solved(solved.x.mul_(size), solved.iterations)
