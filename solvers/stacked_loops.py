"""How the methods iterate a stack of systems on any array library."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace

from ..precision import precision_facts
from .chebyshev.coefficients import allowed_norm, chebyshev_coefficients
from .chebyshev.stacked_momentum import momentum_steps
from .driver.batch import KEPT
from .driver.stopping import Looks
from .krylov.stacked_cg import stacked_cg
from .linear.stacked import Came, Stack, StackedMethod
from .relaxation.stacked_sweeps import stacked_sweep

if TYPE_CHECKING:
    from .chebyshev.chebyshev import Chebyshev
    from .chebyshev.momentum import MomentumMethod
    from .krylov.cg import CG
    from .relaxation.jacobi import Jacobi
    from .relaxation.richardson import Richardson
    from .relaxation.sor import SOR


def _cg(method: CG, stack: Stack, maxiter: int) -> Came | None:
    if method.flexible:
        return None
    backend = stack.backend
    first = _on_host(backend, backend.norms_each(stack.r)[..., 0])
    seen: list[Any] | None = [] if first.size <= KEPT else None
    came = stacked_cg(backend, stack.product, stack.x, stack.r, stack.target, maxiter, stack.M, seen)
    iterations, norms = backend.to_numpy(came.iterations).astype(int), _on_host(backend, came.residual_norm)
    numbers = None
    if seen is not None:
        numbers = np.zeros((*first.shape, 3, len(seen) + 1))
        numbers[..., 0, 0] = first
        for k, parts in enumerate(seen, 1):
            for row, part in enumerate(parts):
                numbers[..., row, k] = backend.to_numpy(part)
    return Came(came.x, iterations, iterations, norms, first, iterations, numbers)


def _on_host(backend: Any, numbers: Any) -> np.ndarray:
    return backend.to_numpy(numbers).astype(float)


def _watched(
    method: Any,
    stack: Stack,
    maxiter: int,
    advance: Callable[[Any, Any, Any], Any],
    *,
    sweeps: int = 0,
    promise: tuple[np.ndarray, np.ndarray] | None = None,
) -> Came:
    """Steps of all systems side by side, each with its own looks at its residual, until all are done.

    ``advance(x, r, steps)`` makes so many steps, (...), of each system from x and its residual. ``sweeps`` are those of
    a step, 0 where the residual is a part of the steps. ``promise`` holds, of each system, how many iterations theory
    says it takes, and its decay, 0 where no bound is known.
    """
    backend = stack.backend
    first, wanted = (_on_host(backend, part) for part in (backend.norms_each(stack.r)[..., 0], stack.target))
    iterations, decay = (np.zeros(first.shape, int), None) if promise is None else promise
    u = precision_facts(backend.numpy_dtype(stack.b)).unit_roundoff
    looks = Looks(first, wanted, iterations, maxiter, method.check_every, method.patience, u)
    seen = [(np.ones(first.shape, bool), 0, first)]
    x, r = stack.x, stack.r
    done = 0
    while looks.going.any():
        steps, done = looks.next_look - done, looks.next_look
        x = advance(x, r, backend.from_numpy(np.where(looks.going, float(steps), 0.0), np.float64))
        r, norms = stack.residual(x)
        norms = _on_host(backend, norms)
        allowed = None if decay is None else np.where(decay > 0, allowed_norm(first, decay, done), math.inf)
        due = looks.observe(done, norms, partial(stack.floor, x), allowed)
        if first.size <= KEPT:
            seen.append((due, done, norms))
    products = looks.iterations if sweeps == 0 else sweeps * looks.iterations + looks.looks
    norms = np.where(looks.lost, math.inf, looks.norm)
    numbers = _numbers(seen, looks.looks) if first.size <= KEPT else None
    return Came(x, looks.iterations, products, norms, looks.best, looks.looks, numbers)


def _numbers(seen: list[tuple[np.ndarray, int, np.ndarray]], looks: np.ndarray) -> np.ndarray:
    """Norms, and the iterations after which they were, (..., 3, looks + 1)."""
    numbers, place = np.zeros((*looks.shape, 3, int(looks.max(initial=0)) + 1)), np.zeros(looks.shape, int)
    for due, iteration, norms in seen:
        numbers[due, 0, place[due]] = norms[due]
        numbers[due, 1, place[due]] = iteration
        place = place + due
    return numbers


def _chebyshev(method: Chebyshev, stack: Stack, maxiter: int) -> Came:
    backend = stack.backend
    first, target = (_on_host(backend, part) for part in (backend.norms_each(stack.r)[..., 0], stack.target))
    states, promised = np.broadcast_to(stack.states, first.shape).reshape(-1).tolist(), np.zeros(first.shape, int)
    reductions = np.divide(target, first, out=np.zeros(first.shape), where=first > 0).reshape(-1)
    for k in np.flatnonzero(reductions):
        promised.flat[k] = method.predicted_iterations(states[k], reductions[k]) or 0
    decay = np.array([state.decay for state in stack.states.flat]).reshape(stack.states.shape)
    ahead = chebyshev_coefficients(stack.each(lambda state: state.low), stack.each(lambda state: state.high))
    return _momentum(method, stack, maxiter, ahead, None, (promised, np.where(stack.hermitian, decay, 0.0)))


def _richardson(method: Richardson, stack: Stack, maxiter: int) -> Came:
    return _momentum(method, stack, maxiter, repeat((0.0, stack.each(lambda state: state.omega))), None)


def _jacobi(method: Jacobi, stack: Stack, maxiter: int) -> Came:
    with np.errstate(divide="ignore"):
        inverse = 1 / stack.diagonal
    return _momentum(method, stack, maxiter, repeat((0.0, float(method.omega))), inverse)


def _momentum(
    method: MomentumMethod,
    stack: Stack,
    maxiter: int,
    coefficients: Iterator[tuple[Any, Any]],
    inverse_diagonal: Any,
    promise: tuple[np.ndarray, np.ndarray] | None = None,
) -> Came:
    backend = stack.backend
    previous = backend.copy(stack.x)

    def advance(x: Any, r: Any, steps: Any) -> Any:
        nonlocal previous
        x, previous = momentum_steps(
            backend, stack.product, stack.b, x, previous, r, coefficients, steps, inverse_diagonal
        )
        return x

    return _watched(method, stack, maxiter, advance, promise=promise)


def _sweeps(method: SOR, stack: Stack, maxiter: int) -> Came | None:
    row = stack.row
    if method.order != "natural" or row is None:
        return None
    omega, reverses = stack.each(lambda state: state.omega), method.reverses
    omega = omega if isinstance(omega, float) else omega[..., 0]
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

    return _watched(method, stack, maxiter, advance, sweeps=len(reverses))


# By the place of the method's class, so that methods need not be loaded to be in the table.
STACKED = {
    f"{__package__}.{method}": course
    for method, course in {
        "krylov.cg:CG": StackedMethod(_cg, takes_preconditioner=True),
        "chebyshev.chebyshev:Chebyshev": StackedMethod(_chebyshev),
        "relaxation.richardson:Richardson": StackedMethod(_richardson),
        "relaxation.jacobi:Jacobi": StackedMethod(_jacobi),
        "relaxation.sor:SOR": StackedMethod(_sweeps),
        "relaxation.sor:GaussSeidel": StackedMethod(_sweeps),
        "relaxation.sor:SSOR": StackedMethod(_sweeps),
    }.items()
}
