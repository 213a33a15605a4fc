"""Batches on any array library: the systems are a stack, iterated side by side by operations on whole arrays.

As in the compiled solves, systems that leave the ordinary course are the driver's, from the start.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from ...backends.compiled.found import ALONE, CONVERGED, FOUND, MAX_ITERATIONS, ZERO
from ...errors import InputError
from ...precision import precision_facts, working_dtype
from ..driver.batch import Batch
from ..driver.stopping import Options
from ..preconditioners.base import BoundPreconditioner
from ..preconditioners.given import as_preconditioner, is_named
from .learning import LOW, exponents_of, states_of_stack
from .small import Found, Small
from .stacked_matrices import Matrices

__all__ = ["Came", "Stack", "StackedMethod", "solve_stack", "vectors_of"]


@dataclass(frozen=True)
class Stack:
    """The systems of a batch, (..., n), in units in which b is of size one.

    Attributes
    ----------
    backend : Backend
    product : callable
        ``product(x, out)`` gives A x of every system.
    row : callable, or None
        ``row(i, entries)`` gives (A x)_i of every system from the list of the entries of x; None where A only
        multiplies.
    b, x, r : array, (..., n)
        Right-hand sides, first guesses and their residuals.
    target : array, (...)
        Of the residual norms.
    diagonal : array, (..., n)
        Of the matrices.
    states : ndarray of object
        States of the method without vectors, one for each matrix or one for all, that broadcast to (...).
    hermitian : ndarray of bool
        Which matrices are, likewise.
    floor : callable
        From the iterates to what rounding them alone leaves as residual norms, (...), on the host.
    M : callable, or None
        ``M(r, out)`` preconditions every system.
    """

    backend: Any
    product: Callable[[Any, Any], Any]
    row: Callable[[int, list[Any]], Any] | None
    b: Any
    x: Any
    r: Any
    target: Any
    diagonal: Any
    states: np.ndarray
    hermitian: np.ndarray
    floor: Callable[[Any], np.ndarray]
    M: Callable[[Any, Any], Any] | None = None

    def each(self, number: Callable[[Any], float]) -> Any:
        """A number of the method, from its state: for all systems, or an array (..., 1)."""
        numbers = np.array([number(state) for state in self.states.flat])
        if numbers.size == 1:
            return float(numbers[0])
        real = self.backend.numpy_dtype(self.b).type(0).real.dtype
        return self.backend.from_numpy(numbers.reshape(*self.states.shape, 1), real)

    def residual(self, x: Any) -> tuple[Any, Any]:
        """b - A x, new, and its norms, (...)."""
        xp = array_namespace(x)
        r = self.backend.axpby(1.0, self.b, -1.0, self.product(x, xp.empty_like(x)))
        return r, self.backend.norms_each(r)[..., 0]


class Came(NamedTuple):
    """What an iteration came to.

    Attributes
    ----------
    x : array, (..., n)
    iterations, products : ndarray of int, (...)
    norms : ndarray, (...)
        Of the residuals, as they were carried; infinite of systems that have left the ordinary course.
    best : ndarray, (...)
        Norms that no iterate may exceed that is not solved: those of earlier ones that are worth remembering.
    looks : ndarray of int, (...)
    numbers : ndarray, (..., 3, looks + 1), or None
        As in the kernels of small systems: what was seen at each look, where that is kept.
    """

    x: Any
    iterations: np.ndarray
    products: np.ndarray
    norms: np.ndarray
    best: np.ndarray
    looks: np.ndarray | int = 0
    numbers: np.ndarray | None = None


class StackedMethod(NamedTuple):
    """How a method iterates a stack.

    Attributes
    ----------
    run : callable
        From (method, stack, iterations at most) to what it came to; None where it cannot be done with these matrices.
    takes_preconditioner : bool
        Whether one of the caller's.
    """

    run: Callable[[Any, Stack, int], Came | None]
    takes_preconditioner: bool = False


@np.errstate(all="ignore")  # what is not finite is looked for
def solve_stack(
    small: Small, stacked: StackedMethod, backend: Any, batch: Batch, options: Options, M: Any = None
) -> Found | None:
    """The systems of a batch that take the ordinary course; None where that is not for this batch.

    M is the caller's, one for all systems.
    """
    began = time.perf_counter()
    limit = options.most_iterations(batch.n)
    if not options.unobserved or batch.n == 0 or limit == 0:
        return None
    if M is not None and (small.why is not None or not stacked.takes_preconditioner):
        return None
    taken = Matrices.of(backend, batch)
    if taken is None:
        return None
    b = backend.vector(batch.b, "b")
    x0 = None if batch.x0 is None else backend.vector(batch.x0, "x0")
    try:
        dtype = working_dtype(taken.dtype, *(backend.numpy_dtype(part) for part in (b, x0) if part is not None))
    except TypeError:
        return None  # which the driver puts into words
    preconditioner = None if M is None else _bound(M, backend, batch, dtype)
    if M is not None and preconditioner is None:
        return None
    matrices = taken.astype(dtype)
    rhs = vectors_of(backend, batch, b, dtype)
    guess = None if x0 is None else vectors_of(backend, batch, x0, dtype)
    found = np.zeros((*rhs.shape[:-1], len(FOUND)))
    at = {name: found[..., k] for k, name in enumerate(FOUND)}
    facts, method = matrices.facts(), small.method
    for name, values in facts.items():
        at[name][...] = values
    known, real = precision_facts(dtype), np.empty(0, dtype).real.dtype
    course = small.course(backend.name, dtype)
    if method.search is None:
        states = np.array([method.state_without_vectors(1.0, True)], object)
    else:
        states, found[..., LOW : LOW + 3] = states_of_stack(method, method.search, backend, matrices, facts, dtype)
        learned = [state for state in states.flat if state is not None]
        if not learned:
            return None
        unknown = np.array([state is None for state in states.flat]).reshape(states.shape)
        at["status"][...], states[unknown] = unknown, learned[0]
    stack, plain = _begun(small, backend, matrices, states, rhs, guess, options, (known, real), at)
    if preconditioner is not None:
        stack = replace(stack, M=preconditioner.apply)
        at["jacobi"][...] = True
    came = stacked.run(method, stack, limit)
    if came is None:
        return None
    wide = np.result_type(dtype, np.float64)  # single precision certifies in double, as the driver does
    truth = matrices if wide == dtype else matrices.astype(wide)
    product = truth.product(backend.copy(came.x, wide), None)
    residual = backend.norms_each(backend.axpby(1.0, backend.copy(stack.b, wide), -1.0, product))[..., 0]
    x = _finished(stack, came, residual, plain, limit, (known, real), at)
    if guess is not None:
        at["products"][plain] += 1
    return Found(
        course,
        batch,
        backend,
        backend.reshape(x, (len(batch), batch.n)),
        found.reshape(len(batch), -1),
        np.empty((0, 3, 0)) if came.numbers is None else came.numbers.reshape(len(batch), 3, -1),
        len(batch),
        None,
        time.perf_counter() - began,
    )


def _begun(
    small: Small,
    backend: Any,
    matrices: Matrices,
    states: np.ndarray,
    b: Any,
    guess: Any,
    options: Options,
    precision: Any,
    at: Any,
) -> tuple[Stack, np.ndarray]:
    """The stack in its units, and which of its systems take the ordinary course so far.

    Of the systems whose status is not 0 already the method has found no parameter.
    """
    xp, host = array_namespace(b), backend.to_numpy
    known, real = precision
    u, comfortable = known.unit_roundoff, known.comfortable_exponent
    size = host(xp.max(xp.abs(b), axis=-1)).astype(float)
    zero = size == 0
    exponent = np.where(zero | ~np.isfinite(size), 1, np.frexp(np.where(np.isfinite(size), size, 1.0))[1]) - 1
    hermitian = at["asymmetry"] <= 1e3 * u * at["max_abs"]
    learned = at["status"] == 0
    plain = np.isfinite(at["max_abs"]) & (np.abs(exponents_of(at["max_abs"])) <= comfortable)
    if small.method.needs_hermitian:
        plain &= hermitian
    at["status"][...] = np.where(plain & zero, ZERO, ALONE)
    at["tolerance"][...] = options.rtol
    plain &= learned & np.isfinite(size) & ~zero & (at["empty_row"] < 0) & (np.abs(exponent) <= comfortable)
    diagonal = matrices.diagonal()
    M = None
    if small.why is not None:  # as rv.solve chooses
        plain &= hermitian & (at["diagonal_positive"] != 0) & (at["lower"] == 0) & (at["upper"] == 0)
        with np.errstate(all="ignore"):
            varies = xp.max(xp.abs(diagonal), axis=-1) > 1.01 / xp.max(xp.abs(1 / diagonal), axis=-1)
            inverse = xp.where(varies[..., None], 1 / diagonal, xp.ones_like(diagonal))
        at["jacobi"][...] = host(varies) & ~zero
        M = partial(backend.multiply, inverse)
    power = backend.from_numpy(np.where(plain, np.ldexp(1.0, -exponent), 0.0)[..., None], real)
    b = xp.where(power > 0, b * power, xp.zeros_like(b))
    reference = host(backend.norms_each(b)[..., 0]).astype(float)
    target = options.rtol * reference
    if options.atol:
        target = np.maximum(target, np.ldexp(options.atol, -exponent))
    at["exponent"][...], at["reference"][...] = exponent, np.where(plain, reference, 0.0)
    at["first"][...] = reference
    reference = np.where(plain, reference, 0.0)

    def floor(x: Any) -> np.ndarray:
        return u * (at["row_norm"] * host(backend.norms_each(x)[..., 0]).astype(float) + reference)

    stack = Stack(
        backend,
        matrices.product,
        matrices.row,
        b,
        xp.zeros_like(b),
        backend.copy(b),
        target,
        diagonal,
        states,
        hermitian,
        floor,
        M,
    )
    if guess is not None:
        x = xp.where(power > 0, guess * power, xp.zeros_like(b))
        r, norms = stack.residual(x)
        stack = replace(stack, x=x, r=r)
        first = host(norms).astype(float)
        plain &= np.isfinite(first) & (first <= reference / u)
        at["first"][...] = first
    wanted = np.maximum(target, u * u * reference)
    plain &= at["first"] > wanted
    # Those apart are solved at once: their residual is zero, and so is what is asked of it.
    apart = backend.from_numpy(plain[..., None].astype(float), real) == 0
    x, r, b = (xp.where(apart, xp.zeros_like(part), part) for part in (stack.x, stack.r, b))
    asked = backend.from_numpy(np.where(plain, wanted, 0.0), real)
    at["tolerance"][...] = np.where(reference > 0, target / np.where(reference > 0, reference, 1.0), options.rtol)
    return replace(stack, x=x, r=r, b=b, target=asked), plain


def _finished(stack: Stack, came: Came, norms: Any, plain: np.ndarray, limit: int, precision: Any, at: Any) -> Any:
    """Judge what it came to by its true residual norms, (...); returns x in the caller's units."""
    backend, (known, real) = stack.backend, precision
    xp, host = array_namespace(came.x), backend.to_numpy
    residual, size = host(norms).astype(float), host(backend.norms_each(came.x)[..., 0]).astype(float)
    reference, exponent = at["reference"], at["exponent"].astype(int)
    target = at["tolerance"] * reference
    iterations, last = came.iterations, came.norms
    reached = np.frexp(np.where(np.isfinite(size), size, 1.0))[1] + exponent
    digits = 2 * round(-math.log2(known.unit_roundoff))
    inside = (reached <= known.largest_exponent - 1) & (reached >= known.smallest_exponent + digits)
    sound = plain & np.isfinite(residual) & (inside | (exponent == 0) | (size == 0)) & (iterations > 0)
    met = sound & (residual <= target)
    limited = sound & ~met & (iterations >= limit) & (residual <= came.best) & (last <= 0.9 * at["first"])
    at["status"][met], at["status"][limited] = CONVERGED, MAX_ITERATIONS
    at["iterations"][...], at["looks"][...] = iterations, came.looks
    at["products"][...] = np.where(plain, at["learned"] + came.products + 1, 0)
    at["residual"][...], at["size"][...], at["last"][...] = residual, size, last
    divisor = np.where(reference > 0, reference, 1.0)
    at["relative_residual"][...] = np.where(plain, residual / divisor, 0.0)
    at["residual_norm"][...], at["rhs_norm"][...] = np.ldexp(residual, exponent), np.ldexp(reference, exponent)
    done = (met | limited)[..., None]
    power = backend.from_numpy(np.where(done, np.ldexp(1.0, exponent)[..., None], 0.0), real)
    return xp.where(power > 0, came.x * power, xp.zeros_like(came.x))


def _bound(M: Any, backend: Any, batch: Batch, dtype: np.dtype) -> BoundPreconditioner | None:
    """M for stacks; None where it is one for each matrix or takes single vectors alone, or is not to be had, which the
    driver puts into words."""
    if batch.matrices and is_named(M):
        return None
    try:
        return as_preconditioner(M, backend, batch.n, batch.A).bind(backend, dtype).of_stacks()
    except (InputError, TypeError):
        return None


def vectors_of(backend: Any, batch: Batch, given: Any, dtype: np.dtype) -> Any:
    """b or x0 as (*lead, k, n), k = 1 where each matrix has one right-hand side; a copy."""
    xp = array_namespace(given)
    rows = xp.moveaxis(given, -2, -1) if batch.columns else given[..., None, :]
    wide = xp.broadcast_to(rows, (*batch.lead, *(batch.columns or (1,)), batch.n))
    return backend.copy(wide, dtype)
