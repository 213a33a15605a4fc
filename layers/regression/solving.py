"""How the regression of each token is solved: the interval that holds its spectrum, the steps, and the solvers.

The iterations are those of ``resolvent.solvers`` on stacks of systems.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from ...backends.torch_backend import TorchBackend
from ...precision.ridge import wolkowicz_styan
from ...solvers.chebyshev.coefficients import chebyshev_coefficients
from ...solvers.chebyshev.stacked_momentum import stacked_momentum
from ...solvers.krylov.stacked_cg import stacked_cg

__all__ = [
    "GUARD",
    "INTERVALS",
    "SOLVERS",
    "Solved",
    "Solver",
    "chebyshev",
    "condition_number",
    "conjugate_gradients",
    "exact",
    "iterate",
    "steps_for",
    "upper_end",
]

SOLVERS = ("cg", "chebyshev", "exact", "paper")
INTERVALS = ("wolkowicz_styan", "frobenius")
GUARD = 1.04  # an eigenvalue outside the interval by 3 % grows tenfold in 30 steps; the guard costs half a step

Product = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

BACKEND = TorchBackend()


@dataclass(frozen=True)
class Solver:
    """One of the solvers, with either a number of steps or a relative residual; checked where a user gives them."""

    name: str = "chebyshev"
    interval: str = "wolkowicz_styan"
    num_iter: int | None = None
    rtol: float | None = 3e-4

    def width(self, dimension: int) -> int:
        """Numbers a token needs in one array."""
        return dimension * dimension if self.name == "exact" else dimension


class Solved(NamedTuple):
    """The solutions (..., n), and how many iterations each took (...)."""

    x: torch.Tensor
    iterations: torch.Tensor


def upper_end(norm: Any, trace: Any, shift: Any, order: int, interval: str) -> Any:
    """An upper bound of the eigenvalues of H + shift I, H positive semidefinite of that order.

    ``"frobenius"``: ||H||_F + shift, as in Gated KalmaNet. ``"wolkowicz_styan"``: from the trace, too, which is never
    more than the first and about half of it where many keys were seen; with a guard against the rounding of both.

    Examples
    --------
    >>> from resolvent.layers.regression.solving import upper_end
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
    >>> from resolvent.layers.regression.solving import steps_for
    >>> steps_for(torch.tensor([51.0, 1.0]), 1e-3).tolist(), steps_for(torch.tensor([51.0]), 1e-6).tolist()
    ([26, 0], [51])
    """
    excess = condition.double() - 1
    decay = 2 * torch.asinh(torch.rsqrt(excess.clamp_min(1e-30)))
    return (math.acosh(1 / rtol) / decay).ceil_().sub_(1).clamp_min_(0).int()


def iterate(
    product: Product,
    rhs: torch.Tensor,
    lower: torch.Tensor,
    upper: torch.Tensor,
    solver: Solver,
) -> Solved:
    """Solve A x = rhs, the spectrum of A lying between ``lower`` and ``upper``, (...); ``rhs`` is (..., n).

    With as many steps as were asked for or as the tolerance needs.
    """
    if rhs.numel() == 0:
        return Solved(rhs.clone(), torch.zeros_like(lower, dtype=torch.int32))
    if solver.rtol is None:
        steps = torch.full_like(lower, solver.num_iter or 0, dtype=torch.int32)
    else:
        steps = steps_for(condition_number(lower, upper), solver.rtol)
    if solver.name == "chebyshev":
        return chebyshev(product, rhs, lower, upper, steps)
    # In exact arithmetic the bound of Chebyshev iteration holds for conjugate gradients, too; rounding delays them.
    most = int(steps.max())
    if solver.rtol is None:
        return conjugate_gradients(product, rhs, lower, most, 0.0)
    return conjugate_gradients(product, rhs, lower, 2 * most + 2, solver.rtol)


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


def exact(H: torch.Tensor, rhs: torch.Tensor, ridge: torch.Tensor) -> Solved:
    """Solve (H + diag(ridge)) x = rhs by Cholesky factorisation; n^3 / 3 multiplications and additions each.

    Parameters
    ----------
    H : Tensor, (..., n, n)
        Overwritten.
    rhs, ridge : Tensor, (..., n)
        ``ridge`` positive; x = 0 where it is zero, since H is then.
    """
    empty = ridge == 0
    H.diagonal(dim1=-2, dim2=-1).add_(ridge + empty)
    factor = torch.linalg.cholesky(H)
    x = torch.cholesky_solve(torch.where(empty, 0.0, rhs).unsqueeze(-1), factor).squeeze(-1)
    return Solved(x, torch.zeros(rhs.shape[:-1], dtype=torch.int32, device=rhs.device))
