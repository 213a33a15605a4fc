"""How the methods iterate a stack of systems, or of fixed points, on any array library."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from .chebyshev.chebyshev import Chebyshev
from .chebyshev.coefficients import chebyshev_coefficients
from .chebyshev.stacked_momentum import stacked_momentum
from .fixed_point.anderson import Anderson
from .fixed_point.auto import Auto
from .fixed_point.halpern import Halpern
from .fixed_point.iterates import STEPS
from .fixed_point.picard import Picard
from .fixed_point.restarted_halpern import RestartedHalpern
from .fixed_point.stacked_steps import AndersonSteps, AutoSteps, HalpernSteps, PicardSteps, RestartedSteps
from .krylov.cg import CG
from .krylov.stacked_cg import stacked_cg
from .linear.stacked import STACKED, Came, Stack
from .relaxation.jacobi import Jacobi
from .relaxation.richardson import Richardson
from .relaxation.sor import SOR, SSOR, SWEEPS, GaussSeidel
from .relaxation.stacked_sweeps import stacked_sweep


def _cg(method: CG, stack: Stack, maxiter: int) -> Came | None:
    if method.flexible:
        return None
    came = stacked_cg(stack.backend, stack.product, stack.x, stack.r, stack.target, maxiter, stack.inverse_diagonal)
    return Came(came.x, came.iterations, came.iterations, came.residual_norm)


def _chebyshev(method: Chebyshev, stack: Stack, maxiter: int) -> Came | None:
    """As many steps as theory promises each system; one that was promised too much is the driver's."""
    if method.interval is None:
        return None
    backend = stack.backend
    first, target = (backend.to_numpy(part) for part in (stack.residual(stack.x)[1], stack.target))
    steps = np.zeros(first.shape, np.int32)
    for k in np.ndindex(first.shape):
        if target[k] > 0:
            state = method.state_without_vectors(float(first[k]), hermitian=True)
            assert state is not None
            promised = method.predicted_iterations(state, float(target[k] / first[k]))
            steps[k] = min(maxiter, promised or maxiter)
    counted = backend.from_numpy(steps.astype(np.float64), np.float64)
    x = stacked_momentum(
        backend, stack.product, stack.b, stack.x, stack.r, chebyshev_coefficients(*map(float, method.interval)), counted
    )
    return Came(x, counted, counted, stack.residual(x)[1])


def _in_rounds(
    stack: Stack, maxiter: int, check_every: int, cost: int, advance: Callable[[Any, Any, Any], Any]
) -> Came:
    """Rounds of steps, each followed by a look, until every system has met its target or grown without limit.

    ``advance(x, r, steps)`` makes so many steps, (...), of each system.
    """
    backend = stack.backend
    xp, x, r = array_namespace(stack.b), stack.x, stack.r
    norms = first = backend.norms_each(r)[..., 0]
    none = xp.zeros_like(norms)
    iterations, looks = none, none
    for done in range(0, maxiter, check_every):
        going = (norms > stack.target) & (norms <= first * 1e8)
        if not bool(xp.any(going)):
            break
        steps = xp.where(going, none + min(check_every, maxiter - done), none)
        x = advance(x, r, steps)
        iterations, looks = iterations + steps, xp.where(going, looks + 1, looks)
        r, norms = stack.residual(x)
    return Came(x, iterations, cost * iterations + looks, norms)


def _richardson(method: Richardson, stack: Stack, maxiter: int) -> Came | None:
    if method.omega is None:
        return None
    return _momentum(stack, maxiter, method.check_every, float(method.omega), None)


def _jacobi(method: Jacobi, stack: Stack, maxiter: int) -> Came:
    with np.errstate(divide="ignore"):
        inverse = 1 / stack.diagonal
    return _momentum(stack, maxiter, method.check_every, float(method.omega), inverse)


def _momentum(stack: Stack, maxiter: int, check_every: int, omega: float, inverse_diagonal: Any) -> Came:
    def advance(x: Any, r: Any, steps: Any) -> Any:
        ahead = repeat((0.0, omega))
        return stacked_momentum(stack.backend, stack.product, stack.b, x, r, ahead, steps, inverse_diagonal)

    return _in_rounds(stack, maxiter, check_every, 1, advance)


def _sweeps(method: SOR, stack: Stack, maxiter: int) -> Came | None:
    row = stack.row
    if method.omega is None or method.order != "natural" or row is None:
        return None
    omega, reverses = float(method.omega), SWEEPS[method.sweep]
    xp = array_namespace(stack.b)
    with np.errstate(divide="ignore"):
        inverse = 1 / stack.diagonal

    def advance(x: Any, r: Any, steps: Any) -> Any:
        for k in range(int(xp.max(steps))):
            swept = x
            for reverse in reverses:
                swept = stacked_sweep(row, swept, stack.b, inverse, omega, reverse)
            x = xp.where((k < steps)[..., None], swept, x)
        return x

    return _in_rounds(stack, maxiter, method.check_every, len(reverses), advance)


STACKED[CG] = _cg
STACKED[Chebyshev] = _chebyshev
STACKED[Richardson] = _richardson
STACKED[Jacobi] = _jacobi
for _sweep in (SOR, GaussSeidel, SSOR):
    STACKED[_sweep] = _sweeps

STEPS[Picard] = PicardSteps
STEPS[Halpern] = HalpernSteps
STEPS[RestartedHalpern] = RestartedSteps
STEPS[Anderson] = AndersonSteps
STEPS[Auto] = AutoSteps
