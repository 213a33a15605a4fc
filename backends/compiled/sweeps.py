"""Relaxation sweeps: row after row in natural order, or stage by stage with the rows of a stage side by side."""

from __future__ import annotations

from ...kernels import kernel
from ...precision.rounding_kernels import rounded
from .compiling import Shared, meet, share
from .products import row_defect

__all__ = ["natural_sweeps", "staged_sweep"]

# The order of subtraction is chosen, so sums must not be reassociated.
ORDERED = frozenset({"contract"})


@kernel(fastmath=set(ORDERED))
def natural_sweeps(A, inverse_diagonal, x, b, omega, rule, forward, backward, count):  # type: ignore[no-untyped-def]
    """``count`` iterations, each a forward and/or a backward sweep over the rows in their own order.

    Entries of x are rounded as ``rule`` says when they are written.
    """
    n = x.size
    factor = x.real.dtype.type(omega)
    for _ in range(count):
        if forward:
            for i in range(n):
                x[i] = rounded(rule, x[i] + (factor * inverse_diagonal[i]) * row_defect(A, x, b[i], i, False))
        if backward:
            for i in range(n - 1, -1, -1):
                x[i] = rounded(rule, x[i] + (factor * inverse_diagonal[i]) * row_defect(A, x, b[i], i, True))


def _staged_sweep(team, A, inverse_diagonal, rows, starts, x, b, omega, rule, reverse):  # type: ignore[no-untyped-def]
    """One sweep over the stages, whose rows do not depend on each other."""
    factor = x.real.dtype.type(omega)
    stages = starts.size - 1
    for s in range(stages):
        stage = stages - 1 - s if reverse else s
        first, last = share(team, starts[stage + 1] - starts[stage])
        for k in range(starts[stage] + first, starts[stage] + last):
            i = rows[k]
            x[i] = rounded(rule, x[i] + (factor * inverse_diagonal[i]) * row_defect(A, x, b[i], i, reverse))
        meet(team)


staged_sweep = Shared(_staged_sweep, fastmath=ORDERED)
