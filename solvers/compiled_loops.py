"""The table of compiled loops: those of the Numba backend, and how each is fed; and where those of a device lie.

Each takes and leaves the state that the textbook step works on, so the two may follow each other. Kernels are imported
where a loop is made, since that imports Numba, or what a device needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..lazy import loaded
from ..precision.rounding_rule import Unrounded
from .driver.loops import Builder, CompiledLoop, Stretch

if TYPE_CHECKING:
    from .chebyshev.momentum import MomentumMethod
    from .krylov.bicgstab import BiCGSTAB
    from .krylov.cg import CG
    from .linear.system import LinearSystem
    from .relaxation.sor import SOR

STORAGES = ("csr", "diagonals", "stencil", "dense")


def _diagonal(system: LinearSystem) -> Any:
    """The inverse diagonal that the loop applies itself: empty for none."""
    return np.empty(0, system.dtype) if system.preconditioner is None else system.preconditioner.inverse_diagonal


def _cg(arrays: Any, rounding: Any, method: CG, system: LinearSystem, state: Any) -> CompiledLoop | None:
    from ..backends.compiled import cg

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
    from ..backends.compiled import pipeline
    from ..backends.compiled import ssor_cg as kernels

    sweeps: Any = system.preconditioner
    if method.flexible or not isinstance(rounding, Unrounded) or sweeps.order != "natural":
        return None
    if system.preconditioner_exponent:
        return None
    n, omega = system.n, float(sweeps.omega)
    held = system.operator.__dict__
    if "_numba_tiles" not in held:
        held["_numba_tiles"] = pipeline.tiles_of(arrays, n)
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


def _bicgstab(arrays: Any, rounding: Any, method: BiCGSTAB, system: LinearSystem, state: Any) -> CompiledLoop | None:
    from ..backends.compiled import bicgstab as kernels

    if not isinstance(rounding, Unrounded):
        return None
    if not state.begun:
        method.begin(system, state)
        if system.preconditioner is not None:
            state.Mp = system.precondition(state.p, state.Mp)
            if system.preconditioner_exponent:
                return None  # the first product with M has shown that M is to be scaled
    diagonal, number = _diagonal(system), complex if system.dtype.kind == "c" else float
    kernel = kernels.bicgstab_loop.for_size(system.n)

    def loop(steps: int, target: float) -> Stretch:
        s = state
        if not s.begun:
            method.begin(system, s)
        going = s.rho_before != 0
        norms = np.empty(steps)
        z, y = (s.Mp, s.Mr) if diagonal.size else (s.p, s.r)
        last = number(s.rho), number(s.rho_before), number(s.alpha), number(s.omega)
        u = system.unit_roundoff
        taken, (s.rho, s.rho_before, s.alpha, s.omega), why = kernel(
            arrays, diagonal, s.x, s.r, s.p, s.v, s.shadow, s.work, z, y, last, s.shadow_norm, target, u, norms
        )
        seen = norms[:taken].tolist()
        s.steps += taken
        if seen:
            s.residual_norm = seen[-1]
        s.begun, broke = why == 0, why == kernels.BROKE
        if (going or taken) if broke else (not s.begun and s.residual_norm > target):
            s.renewals += 1
        return Stretch(seen, taken, broke, 2 * taken + broke)

    return loop


def _momentum(
    arrays: Any, rounding: Any, method: MomentumMethod, system: LinearSystem, state: Any
) -> CompiledLoop | None:
    from ..backends.compiled import momentum

    diagonal = state.inverse_diagonal if state.inverse_diagonal is not None else _diagonal(system)
    kernel = momentum.momentum_loop.for_size(system.n)

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
    from ..backends.compiled import sweeps as kernels

    ordering = state.ordering
    reverses = method.reverses
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


_ROWS: tuple[tuple[str, tuple[str, ...], Builder], ...] = (
    ("krylov.cg:CG", ("none", "diagonal"), _cg),
    ("krylov.cg:CG", ("ssor",), _ssor_cg),
    ("krylov.bicgstab:BiCGSTAB", ("none", "diagonal"), _bicgstab),
    ("chebyshev.momentum:MomentumMethod", ("none", "diagonal"), _momentum),
    ("relaxation.sor:SOR", ("none",), _sweeps),
)
LOOPS: dict[tuple[str, str, str], Builder] = {
    (f"{__package__}.{method}", storage, preconditioner): build
    for method, preconditioners, build in _ROWS
    for storage in STORAGES
    for preconditioner in preconditioners
}


def _elsewhere(place: str) -> Builder:
    """The builder at a place of this package, loaded when it is first needed."""

    def build(*given: Any) -> CompiledLoop | None:
        return loaded(__package__.rpartition(".")[0], place)(*given)

    return build


_ON_CUPY = (
    ("krylov.cg:CG", ("none", "diagonal"), "cg_loop"),
    ("krylov.minres:MINRES", ("none",), "minres_loop"),
    ("krylov.bicgstab:BiCGSTAB", ("none", "diagonal"), "bicgstab_loop"),
    ("chebyshev.momentum:MomentumMethod", ("none", "diagonal"), "momentum_loop"),
    ("relaxation.sor:SOR", ("none",), "sweeps"),
)
LOOPS |= {
    (f"{__package__}.{method}", f"cupy {storage}", preconditioner): _elsewhere(f"gpu.cupy.{module}:build")
    for method, preconditioners, module in _ON_CUPY
    for storage in ("csr", "diagonals", "stencil")
    for preconditioner in preconditioners
}
