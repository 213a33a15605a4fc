"""What the solves of a chunk and of a single token share: the interval, the number of steps, the coefficients."""

from __future__ import annotations

import math
from typing import Any

import triton
import triton.language as tl

from ....layers.regression.solving import GUARD, Solver

__all__ = ["chebyshev_next", "condition_number", "settings", "steps_for", "upper_end"]

MARGIN = tl.constexpr(GUARD)


@triton.jit
def upper_end(norm, trace, shift, D: tl.constexpr, FROBENIUS: tl.constexpr):  # type: ignore[no-untyped-def]
    """``solving.upper_end``."""
    if FROBENIUS:
        return norm + shift
    else:
        share = norm / tl.where(trace == 0, 1.0, trace)
        variance = tl.maximum(share * share / D - 1.0 / (D * D), 0.0)
        return MARGIN * trace * (1.0 / D + tl.sqrt(variance * (D - 1.0))) + shift


@triton.jit
def condition_number(lower, upper):  # type: ignore[no-untyped-def]
    """``solving.condition_number``."""
    return tl.where(lower == 0, 1.0, upper / tl.where(lower == 0, 1.0, lower))


@triton.jit
def steps_for(condition, reach):  # type: ignore[no-untyped-def]
    """``solving.steps_for``, with ``reach`` = acosh(1 / rtol)."""
    root = 1.0 / tl.sqrt(tl.maximum(condition.to(tl.float64) - 1.0, 1e-30))
    decay = 2.0 * tl.log(root + tl.sqrt(root * root + 1.0))  # asinh, of arguments that are not small
    return tl.maximum(tl.ceil((reach / decay).to(tl.float32)).to(tl.int32) - 1, 0)


@triton.jit
def chebyshev_next(center, ratio, rho):  # type: ignore[no-untyped-def]
    """The next rho, beta and gamma of ``chebyshev_coefficients``."""
    smaller = 1.0 / (2.0 - ratio * rho)
    return ratio * smaller, ratio * smaller * rho, 2.0 * smaller / center


def settings(solver: Solver) -> dict[str, Any]:
    """The arguments of a launch that follow from the solver."""
    rtol = solver.rtol
    return {
        "steps": solver.num_iter if rtol is None else 0,
        "reach": 0.0 if rtol is None else math.acosh(1 / rtol),
        "rtol": max(rtol or 0.0, 2.0**-24),  # of float32
        "CG": solver.name == "cg",
        "FIXED": rtol is None,
    }
