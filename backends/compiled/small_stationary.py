"""Small systems by methods that look at the residual now and then: Chebyshev, Richardson, Jacobi, relaxation."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba.extending import overload

from ...precision.rounding_rule import Unrounded
from . import vectors
from .compiling import ALONE
from .momentum import momentum_loop as momentum_iterations
from .products import is_kind
from .recurrences import interval_of, next_coefficients
from .small import (
    FACTS,
    FIRST,
    ITERATIONS,
    LAST,
    LOOKS,
    PRODUCTS,
    REFERENCE,
    begin,
    compiled,
    copy,
    diagonal_into,
    dot,
    finish,
    limits_of,
    max_abs,
    target_of,
)
from .sweeps import natural_sweeps

__all__ = ["Momentum", "Sweeps", "stationary", "stationary_solve"]

momentum_loop = momentum_iterations.kernel
residual = vectors.residual.kernel
UNROUNDED = Unrounded()


class Momentum(NamedTuple):
    """x_{k+1} = x_k + beta_k (x_k - x_{k-1}) + gamma_k D^{-1} (b - A x_k), D the identity or the diagonal of A.

    Attributes
    ----------
    low, high : float
        The interval of Chebyshev iteration, or 0 for steps of one length. NaN where none was found, and the system is
        the driver's.
    decay : float
        arccosh(sigma) of Chebyshev iteration, which says how many steps are needed; of a Hermitian A no residual
        exceeds ||r_0|| / cosh(decay k), or the interval is wrong.
    omega : float
        The length of steps that have no interval.
    jacobi : bool
        D is the diagonal.
    """

    low: float
    high: float
    decay: float
    omega: float
    jacobi: bool


class Sweeps(NamedTuple):
    """Relaxation in natural order.

    Attributes
    ----------
    omega : float
        NaN where none was found, and the system is the driver's.
    forward, backward : bool
        The sweeps of an iteration.
    """

    omega: float
    forward: bool
    backward: bool


def divides(scheme):  # type: ignore[no-untyped-def]
    """Whether it divides by the diagonal of A."""
    raise NotImplementedError


def advance(A, scheme, d, x, previous, b, before, steps, held):  # type: ignore[no-untyped-def]
    """So many steps after those before; returns how many products with A they cost.

    ``held`` keeps a number from call to call.
    """
    raise NotImplementedError


def decay_of(scheme):  # type: ignore[no-untyped-def]
    """Its decay, 0 where it has none."""
    raise NotImplementedError


@overload(divides, inline="always")
def _divides(scheme):  # type: ignore[no-untyped-def]
    return (lambda scheme: scheme.jacobi) if is_kind(scheme, Momentum) else (lambda scheme: True)


@overload(decay_of, inline="always")
def _decay_of(scheme):  # type: ignore[no-untyped-def]
    return (lambda scheme: scheme.decay) if is_kind(scheme, Momentum) else (lambda scheme: 0.0)


@overload(advance)
def _advance(A, scheme, d, x, previous, b, before, steps, held):  # type: ignore[no-untyped-def]
    if is_kind(scheme, Momentum):

        def momentum(A, scheme, d, x, previous, b, before, steps, held):  # type: ignore[no-untyped-def]
            betas, gammas = np.zeros(steps), np.full(steps, scheme.omega)
            if scheme.low > 0.0:
                center, ratio = interval_of(scheme.low, scheme.high)
                for k in range(steps):
                    if before + k == 0:
                        gammas[k], held[0] = 1 / center, ratio
                    else:
                        held[0], betas[k], gammas[k] = next_coefficients(center, ratio, held[0])
            diagonal = d if scheme.jacobi else d[:0]
            momentum_loop(ALONE, A, diagonal, x, previous, b, UNROUNDED, betas, gammas, None)
            if steps % 2:
                for i in range(x.size):
                    x[i], previous[i] = previous[i], x[i]
            return steps

        return momentum

    def sweeps(A, scheme, d, x, previous, b, before, steps, held):  # type: ignore[no-untyped-def]
        natural_sweeps(A, d, x, b, scheme.omega, UNROUNDED, scheme.forward, scheme.backward, steps)
        return (int(scheme.forward) + int(scheme.backward)) * steps

    return sweeps


@compiled
def stationary_solve(A, given, x0, x, limits, scheme, numbers, found):  # type: ignore[no-untyped-def]
    """Iterations whose residual norm is looked at now and then: Chebyshev, Richardson, Jacobi, relaxation.

    ``numbers`` holds three rows: the residual norms seen, the iterations at which they were, and what the scheme keeps.
    """
    stationary(A, given, x0, x, limits_of(limits), scheme, np.empty((5, x.size), x.dtype), numbers, found)


@compiled
def stationary(A, given, x0, x, limits, scheme, work, numbers, found):  # type: ignore[no-untyped-def]
    """The same with five vectors to work with."""
    r, previous, d, b = work[0], work[1], work[2], work[3]
    if not begin(A, given, x0, b, x, r, limits, False, found):
        return
    f = found[FACTS:]
    largest, row_norm, asymmetry, zero_diagonal = f[0], f[1], f[3], f[9]
    if scheme[0] != scheme[0]:
        return
    if divides(scheme):
        if zero_diagonal >= 0.0:
            return
        diagonal_into(A, d)
        for i in range(d.size):
            d[i] = 1 / d[i]
        if not max_abs(ALONE, d) < np.inf:
            return
    copy(x, previous)
    decay = decay_of(scheme)
    bounded = decay > 0.0 and asymmetry <= limits.skew * largest
    u, reference, initial = limits.unit_roundoff, found[REFERENCE], found[FIRST]
    target, wanted = target_of(limits, found)
    predicted = 0
    if decay == np.inf:
        predicted = 1
    elif decay > 0.0 and wanted < initial:
        predicted = math.ceil(math.acosh(1.0 / (wanted / initial)) / decay * (1.0 - 1e-12))
    norms, at, held = numbers[0], numbers[1], numbers[2]
    norm, taken, looks = initial, 0, 0
    norms[0], at[0] = norm, 0.0
    # What the driver's ``Watch`` keeps.
    before, before_at, rate = initial, 0, np.nan
    window_norm, window_start, best, best_at = initial, 0, initial, 0
    remembered = np.inf
    while True:
        if not norm < np.inf:
            return
        if norm <= wanted:
            break
        if taken > before_at and before > 0.0 and norm > 0.0:
            rate = (norm / before) ** (1.0 / (taken - before_at))
        before, before_at = norm, taken
        if norm < best:
            best, best_at = norm, taken
        if not norm <= initial / u:
            return
        if norm <= 0.9 * window_norm:
            window_norm, window_start = norm, taken
        elif taken - window_start >= limits.patience:
            floor = u * (row_norm * np.sqrt(dot(ALONE, x, x)[0]) + reference)
            if norm <= 10.0 * floor or (norm <= 1e6 * floor and taken - best_at >= 10 * limits.patience):
                return
            if norm > 0.999 * window_norm:
                window_start = taken - limits.patience // 2
            else:
                window_norm, window_start = norm, taken
        if taken >= limits.maxiter:
            break
        if taken and norm <= 0.5 * min(remembered, initial):
            remembered = norm
        if taken and bounded:
            promised = 0.0
            if decay < np.inf:
                promised = 1.05 * initial * 2.0 * np.exp(-decay * taken) / (1.0 + np.exp(-2.0 * decay * taken))
            if norm > promised + 30.0 * u * (row_norm * np.sqrt(dot(ALONE, x, x)[0]) + reference):
                return
        steps = min(limits.check_every, limits.maxiter - taken, max(1, taken))
        if 0.0 < rate < 1.0:
            expected = max(0.0, (np.log(wanted) - np.log(norm)) / np.log(rate))
            if expected < steps:
                steps = max(1, int(expected))
        if taken < predicted:
            steps = min(steps, predicted - taken)
        if looks + 2 > norms.size or taken + steps > limits.steps:
            return
        found[PRODUCTS] += advance(A, scheme, d, x, previous, b, taken, steps, held) + 1
        taken += steps
        looks += 1
        norm = residual(ALONE, A, x, b, r)
        norms[looks], at[looks] = norm, taken
    found[ITERATIONS], found[LOOKS], found[LAST] = taken, looks, norm
    if looks:
        finish(A, b, x, r, target, min(initial, remembered), limits, found)
