"""The iterative solver that was chosen, with as many steps as were asked for or as the tolerance needs."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .chebyshev import chebyshev
from .conjugate_gradients import conjugate_gradients
from .interval import condition_number, steps_for
from .settings import Solver
from .solved import Solved

__all__ = ["iterate"]


def iterate(
    product: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    rhs: torch.Tensor,
    shift: torch.Tensor,
    upper: torch.Tensor,
    solver: Solver,
) -> Solved:
    """Solve A x = rhs, the spectrum of A lying between ``shift`` and ``upper``, (...); ``rhs`` is (..., n)."""
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
