"""The compiled loops of the Numba backend: which (method, operator, preconditioner) have one, and how it is fed.

Each takes and leaves the state that the textbook step works on, so the two may follow each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..backends.compiled.cg import BROKE, REPLACE, cg_loop
from ..backends.compiled.momentum import momentum_loop
from ..backends.compiled.pipeline import tiles_of
from ..backends.compiled.ssor_cg import ssor_cg_begin, ssor_cg_enter, ssor_cg_leave, ssor_cg_loop
from ..backends.compiled.sweeps import natural_sweeps, staged_sweep
from ..backends.protocol import Loop
from ..precision.recipe import Unrounded

__all__ = ["BUILDERS"]


def _diagonal(system: Any) -> Any:
    """The inverse diagonal that the loop applies itself: empty for none; None where M is not diagonal."""
    if system.preconditioner is None:
        return np.empty(0, system.dtype)
    if system.preconditioner_exponent:
        return None
    return system.preconditioner.inverse_diagonal


def _cg(arrays: Any, how: Any, method: Any, system: Any, state: Any) -> Loop | None:
    diagonal = _diagonal(system)
    if method.flexible or diagonal is None:
        return None
    kernel = cg_loop.for_size(system.n)

    def loop(steps: int, target: float) -> tuple[Any, int, bool]:
        norms, alphas, betas = np.empty((3, steps))
        gap = state.gap
        taken, state.rho, gap.bound, why = kernel(
            arrays,
            diagonal,
            state.x,
            state.r,
            state.p,
            state.work,
            state.rho,
            target,
            (gap.bound, gap.renewed, gap.per_solution, gap.unit_roundoff, gap.norm),
            how,
            norms,
            alphas,
            betas,
        )
        state.replace = why == REPLACE
        state.alphas.extend(alphas[:taken].tolist())
        state.betas.extend(betas[:taken].tolist())
        seen = norms[:taken].tolist()
        if seen:
            state.residual_norm = gap.norm = seen[-1]
        return seen, taken, why == BROKE

    return loop


def _ssor_cg(arrays: Any, how: Any, method: Any, system: Any, state: Any) -> Loop | None:
    """Eisenstat's trick: between calls, r holds T^-1 r and z holds T^H p, until somebody is to look at them."""
    if not isinstance(how, Unrounded) or method.order != "natural" or system.preconditioner_exponent:
        return None
    n, omega = system.n, float(state.omega)
    held = system.operator.__dict__
    if "_numba_tiles" not in held:
        held["_numba_tiles"] = tiles_of(arrays, n)
    tiles = held["_numba_tiles"]
    if ssor_cg_loop.for_size(n) is ssor_cg_loop.serial:
        tiles = tiles.sequential()
    transformed, curvature = False, 0.0

    def begin() -> float | None:
        """The first direction and its p^H A p; None where M r asks for scaling, or a word, by the textbook's step."""
        state.work = system.backend.assign(state.r, state.work)
        state.z = system.vector() if state.z is None else state.z
        p = system.vector()
        rho, curvature = ssor_cg_begin.for_size(n)(arrays, tiles, omega, state.r, state.z, p)
        if not (rho > 0 and system.comfortable(system.backend.max_abs(p))):
            state.r = system.backend.assign(state.work, state.r)
            return None
        system.preconditioner_exponent = 0
        system.matvecs += 2
        state.p, state.rho = p, rho
        return curvature

    def loop(steps: int, target: float) -> tuple[Any, int, bool]:
        nonlocal transformed, curvature
        if state.p is None:
            begun = begin()
            if begun is None:
                return [], 0, True
            curvature = begun
        elif system.preconditioner_exponent:
            return [], 0, True
        elif not transformed:
            state.z = system.matvec(state.p, state.z)
            curvature = ssor_cg_enter.for_size(n)(arrays, tiles, omega, state.r, state.z, state.p)
        norms, alphas, betas = np.empty((3, steps))
        gap = state.gap
        taken, (state.rho, curvature), gap.bound, why = ssor_cg_loop.for_size(n)(
            arrays,
            tiles,
            omega,
            state.x,
            state.r,
            state.z,
            state.p,
            (state.rho, curvature),
            target,
            (gap.bound, gap.renewed, gap.per_solution, gap.unit_roundoff, gap.norm),
            norms,
            alphas,
            betas,
        )
        system.matvecs += (1 - method.traffic.matvecs) * taken
        state.replace = why == REPLACE
        transformed = why == 0
        if why:
            ssor_cg_leave.for_size(n)(arrays, tiles, omega, state.r)
        state.alphas.extend(alphas[:taken].tolist())
        state.betas.extend(betas[:taken].tolist())
        seen = norms[:taken].tolist()
        if seen:
            state.residual_norm = gap.norm = seen[-1]
        return seen, taken, why == BROKE

    return loop


def _momentum(arrays: Any, how: Any, method: Any, system: Any, state: Any) -> Loop | None:
    diagonal = state.inverse_diagonal if state.inverse_diagonal is not None else _diagonal(system)
    if diagonal is None:
        return None
    kernel = momentum_loop.for_size(system.n)

    def loop(steps: int, target: float) -> tuple[Any, int, bool]:
        betas, gammas = np.array([method.coefficients(state) for _ in range(steps)]).T
        kernel(arrays, diagonal, state.x, state.previous, system.rhs, how, betas, gammas)
        if steps % 2:
            state.x, state.previous = state.previous, state.x
        state.residual_norm = None
        state.work, norm = system.residual_norm(state.x, state.work)
        return [norm], steps, False

    return loop


def _sweeps(arrays: Any, how: Any, method: Any, system: Any, state: Any) -> Loop | None:
    from .relaxation.sor import SWEEPS

    ordering = state.ordering
    reverses = SWEEPS[method.sweep]
    inverse = ordering.inverse_diagonal
    factor = float(state.omega)

    if ordering.order == "natural":

        def sweeps(steps: int) -> None:
            natural_sweeps(
                arrays, inverse, state.x, system.rhs, factor, how, False in reverses, True in reverses, steps
            )
    else:
        rows, starts = ordering.rows
        staged: Callable[..., None] = staged_sweep.for_size(system.n)

        def sweeps(steps: int) -> None:
            for _ in range(steps):
                for reverse in reverses:
                    staged(arrays, inverse, rows, starts, state.x, system.rhs, factor, how, reverse)

    def loop(steps: int, target: float) -> tuple[Any, int, bool]:
        sweeps(steps)
        state.residual_norm = None
        system.matvecs += (len(reverses) - method.traffic.matvecs) * steps
        state.work, norm = system.residual_norm(state.x, state.work)
        return [norm], steps, False

    return loop


BUILDERS: dict[str, Callable[..., Loop | None]] = {
    "cg": _cg,
    "ssor_cg": _ssor_cg,
    "chebyshev": _momentum,
    "richardson": _momentum,
    "jacobi": _momentum,
    "sor": _sweeps,
    "gauss_seidel": _sweeps,
    "ssor": _sweeps,
}
