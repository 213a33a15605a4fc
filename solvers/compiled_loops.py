"""The compiled loops of the Numba backend: rows of the table of loops, and how each is fed.

Each takes and leaves the state that the textbook step works on, so the two may follow each other. Kernels are imported
where a loop is made, since that imports Numba.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..precision.rounding_rule import Unrounded
from .chebyshev.chebyshev import Chebyshev, ChebyshevState
from .chebyshev.momentum import MomentumMethod
from .driver.loops import LOOPS, CompiledLoop, Stretch
from .krylov.cg import CG
from .linear.small import SMALL, kernels
from .linear.system import LinearSystem
from .relaxation.jacobi import Jacobi
from .relaxation.richardson import Richardson, RichardsonState
from .relaxation.sor import SOR, SSOR, SWEEPS, GaussSeidel, SORState

STORAGES = ("csr", "diagonals", "stencil", "dense")


@cache
def _kernels() -> Any:
    """The modules of kernels, imported when the first loop is made: that imports Numba."""
    from ..backends.compiled import cg, momentum, pipeline, ssor_cg, sweeps

    return SimpleNamespace(cg=cg, momentum=momentum, pipeline=pipeline, ssor_cg=ssor_cg, sweeps=sweeps)


def _diagonal(system: LinearSystem) -> Any:
    """The inverse diagonal that the loop applies itself: empty for none."""
    return np.empty(0, system.dtype) if system.preconditioner is None else system.preconditioner.inverse_diagonal


def _cg(arrays: Any, rounding: Any, method: CG, system: LinearSystem, state: Any) -> CompiledLoop | None:
    cg = _kernels().cg
    if method.flexible:
        return None
    if not state.begun:
        method.begin(system, state)
        if system.preconditioner_exponent:
            return None  # the first product with M has shown that M is to be scaled
    diagonal = _diagonal(system)
    kernel = cg.cg_loop.for_size(system.n)

    def loop(steps: int, target: float) -> Stretch:
        if not state.begun:  # a replaced residual may have begun the recurrence anew
            method.begin(system, state)
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
            rounding,
            norms,
            alphas,
            betas,
        )
        state.replace = why == cg.REPLACE
        state.alphas.extend(alphas[:taken].tolist())
        state.betas.extend(betas[:taken].tolist())
        seen = norms[:taken].tolist()
        if seen:
            state.residual_norm = gap.norm = seen[-1]
        return Stretch(seen, taken, why == cg.BROKE, taken)

    return loop


def _ssor_cg(arrays: Any, rounding: Any, method: CG, system: LinearSystem, state: Any) -> CompiledLoop | None:
    """Eisenstat's trick: between calls, r holds T^-1 r and z holds T^H p, until somebody is to look at them."""
    kernels = _kernels().ssor_cg
    sweeps: Any = system.preconditioner
    if method.flexible or not isinstance(rounding, Unrounded) or sweeps.order != "natural":
        return None
    if system.preconditioner_exponent:
        return None
    n, omega = system.n, float(sweeps.omega)
    held = system.operator.__dict__
    if "_numba_tiles" not in held:
        held["_numba_tiles"] = _kernels().pipeline.tiles_of(arrays, n)
    tiles = held["_numba_tiles"]
    if kernels.ssor_cg_loop.for_size(n) == kernels.ssor_cg_loop.serial:
        tiles = tiles.sequential()
    transformed, curvature = False, 0.0

    def begin() -> float | None:
        """The first direction and its p^H A p; None where M r asks for scaling, or a word, by the textbook's step."""
        state.work = system.backend.assign(state.r, state.work)
        state.z = system.unset() if state.z is None else state.z  # written to before anything else
        p = system.vector()
        rho, curvature = kernels.ssor_cg_begin.for_size(n)(arrays, tiles, omega, state.r, state.z, p, tiles.sums())
        if not (rho > 0 and system.comfortable(system.backend.max_abs(p))):
            state.r = system.backend.assign(state.work, state.r)
            return None
        system.preconditioner_exponent = 0
        system.matvecs += 2
        state.p, state.rho, state.begun = p, rho, True
        return curvature

    def loop(steps: int, target: float) -> Stretch:
        nonlocal transformed, curvature
        if not state.begun:
            begun = begin()
            if begun is None:
                return Stretch([], 0, True, 0)
            curvature = begun
        elif system.preconditioner_exponent:
            return Stretch([], 0, True, 0)
        elif not transformed:
            state.z = system.matvec(state.p, state.z)
            curvature = kernels.ssor_cg_enter.for_size(n)(arrays, tiles, omega, state.r, state.z, state.p, tiles.sums())
        norms, alphas, betas = np.empty((3, steps))
        gap = state.gap
        taken, (state.rho, curvature), gap.bound, why = kernels.ssor_cg_loop.for_size(n)(
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
            tiles.sums(),
        )
        state.replace = why == kernels.REPLACE
        transformed = why == 0
        if why:
            kernels.ssor_cg_leave.for_size(n)(arrays, tiles, omega, state.r)
        state.alphas.extend(alphas[:taken].tolist())
        state.betas.extend(betas[:taken].tolist())
        seen = norms[:taken].tolist()
        if seen:
            state.residual_norm = gap.norm = seen[-1]
        return Stretch(seen, taken, why == kernels.BROKE, taken)

    return loop


def _momentum(
    arrays: Any, rounding: Any, method: MomentumMethod, system: LinearSystem, state: Any
) -> CompiledLoop | None:
    diagonal = state.inverse_diagonal if state.inverse_diagonal is not None else _diagonal(system)
    kernel = _kernels().momentum.momentum_loop.for_size(system.n)

    def loop(steps: int, target: float) -> Stretch:
        betas, gammas = np.array([method.coefficients(state) for _ in range(steps)]).T
        kernel(arrays, diagonal, state.x, state.previous, system.rhs, rounding, betas, gammas, None)
        if steps % 2:
            state.x, state.previous = state.previous, state.x
        state.residual_norm = None
        state.work, norm = system.residual_norm(state.x, state.work)
        return Stretch([norm], steps, False, steps)

    return loop


def _sweeps(arrays: Any, rounding: Any, method: SOR, system: LinearSystem, state: Any) -> CompiledLoop | None:
    kernels = _kernels().sweeps
    ordering = state.ordering
    reverses = SWEEPS[method.sweep]
    inverse = ordering.inverse_diagonal
    forward, backward = False in reverses, True in reverses

    if ordering.order == "natural":

        def sweeps(steps: int) -> None:
            omega = float(state.omega)
            kernels.natural_sweeps(arrays, inverse, state.x, system.rhs, omega, rounding, forward, backward, steps)
    else:
        rows, starts = ordering.rows
        staged: Callable[..., None] = kernels.staged_sweep.for_size(system.n)

        def sweeps(steps: int) -> None:
            omega = float(state.omega)
            for _ in range(steps):
                for reverse in reverses:
                    staged(arrays, inverse, rows, starts, state.x, system.rhs, omega, rounding, reverse)

    def loop(steps: int, target: float) -> Stretch:
        sweeps(steps)
        state.residual_norm = None
        state.work, norm = system.residual_norm(state.x, state.work)
        return Stretch([norm], steps, False, len(reverses) * steps)

    return loop


def _register(method: Any, preconditioners: tuple[str, ...], build: Any) -> None:
    for storage in STORAGES:
        for preconditioner in preconditioners:
            LOOPS[method, storage, preconditioner] = build


_register(CG, ("none", "diagonal"), _cg)
_register(CG, ("ssor",), _ssor_cg)
_register(MomentumMethod, ("none", "diagonal"), _momentum)
_register(SOR, ("none",), _sweeps)


# Small systems: what the compiled solves take, from a method and its state without vectors.


def _cg_scheme(method: CG, state: Any) -> Any:
    return None if method.flexible else kernels().ConjugateGradients(np.empty(0))


def _chebyshev_scheme(method: Chebyshev, state: ChebyshevState) -> Any:
    return kernels().Momentum(state.low, state.high, state.decay, 0.0, False)


def _richardson_scheme(method: Richardson, state: RichardsonState) -> Any:
    return kernels().Momentum(0.0, 0.0, 0.0, float(state.omega), False)


def _jacobi_scheme(method: Jacobi, state: Any) -> Any:
    return kernels().Momentum(0.0, 0.0, 0.0, float(method.omega), True)


def _sweeps_scheme(method: SOR, state: SORState) -> Any:
    if method.order != "natural":
        return None
    reverses = SWEEPS[method.sweep]
    return kernels().Sweeps(float(state.omega), False in reverses, True in reverses)


SMALL[CG] = _cg_scheme
SMALL[Chebyshev] = _chebyshev_scheme
SMALL[Richardson] = _richardson_scheme
SMALL[Jacobi] = _jacobi_scheme
for _sweep in (SOR, GaussSeidel, SSOR):
    SMALL[_sweep] = _sweeps_scheme
