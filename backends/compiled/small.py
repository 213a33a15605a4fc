"""Whole solves of small systems in one compiled call: facts, units, iteration and certificate.

Each takes the course that the driver takes where nothing out of the ordinary happens, by the same kernels, so that its
iterates are the driver's to the last bit. Where anything else happens (entries that are not finite, sizes that have to
be scaled, a curvature that is not positive, a certificate that fails) it says ``ALONE``: the system is the driver's.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
from numba.extending import overload

from ...kernels import kernel
from . import accurate, vectors
from .compiling import ALONE
from .facts import csr_facts, dense_facts, stencil_facts
from .found import CONVERGED, FOUND, MAX_ITERATIONS, ZERO
from .products import CSRArrays, DenseArrays, HermitianArrays, StencilArrays, is_kind

__all__ = [
    "EXPONENT",
    "FACTS",
    "FIRST",
    "ITERATIONS",
    "JACOBI",
    "LAST",
    "LOOKS",
    "NORM",
    "PRODUCTS",
    "REFERENCE",
    "RELATIVE",
    "RESIDUAL",
    "RHS_NORM",
    "SIZE",
    "STATUS",
    "TOLERANCE",
    "Limits",
    "begin",
    "compiled",
    "conclude",
    "copy",
    "diagonal_into",
    "exponent_of",
    "finish",
    "limits_of",
    "look",
    "precondition",
    "target_of",
]

STATUS, ITERATIONS, PRODUCTS, LOOKS, EXPONENT, REFERENCE, RESIDUAL, SIZE, FIRST, LAST, JACOBI = range(11)
RELATIVE, NORM, RHS_NORM, TOLERANCE = range(11, 15)
LOW, LEARNED, FACTS = (FOUND.index(name) for name in ("low", "learned", "max_abs"))

# One after the other: systems, not rows, are shared among threads.
accurate_residual = accurate.accurate_residual.kernel
dot, max_abs, scale = vectors.dot.kernel, vectors.max_abs.kernel, vectors.scale.kernel


class Limits(NamedTuple):
    """When to stop, and what the precision allows; kernels are handed an array of these numbers, which is cheaper.

    Attributes
    ----------
    rtol, atol : float
    maxiter, steps : int
        Iterations at most, and so many of them without a look at the clock: a system that needs more is the driver's.
    unit_roundoff : float
    skew : float
        Largest asymmetry, relative to the largest entry, of a matrix that is taken for Hermitian.
    comfortable, lowest, highest : int
        Exponents: of data that need no scaling, and of what a solution may hold without loss in the caller's units.
    choose : bool
        As ``rv.solve`` does: Jacobi's preconditioner where the diagonal varies, triangular matrices left alone.
    looked : bool
        The facts of A are among what was found already.
    check_every, patience : int
        Those of the method.
    """

    rtol: float
    atol: float
    maxiter: int
    steps: int
    unit_roundoff: float
    skew: float
    comfortable: int
    lowest: int
    highest: int
    choose: bool
    looked: bool
    check_every: int
    patience: int


def compiled(function):  # type: ignore[no-untyped-def]
    """Decorator of a kernel whose operations are done in the order in which they are written."""
    return kernel()(function)


def facts_of(A):  # type: ignore[no-untyped-def]
    """The facts of a matrix in one of the storages that kernels multiply."""
    raise NotImplementedError


@overload(facts_of)
def _facts_of(A):  # type: ignore[no-untyped-def]
    if is_kind(A, CSRArrays):
        return lambda A: csr_facts(A.indptr, A.indices, A.data)
    if is_kind(A, DenseArrays):
        return lambda A: dense_facts(A.matrix)
    if is_kind(A, StencilArrays):

        def stencil(A):  # type: ignore[no-untyped-def]
            planes, lines, points, center, plane_lower, plane_upper, line_lower, line_upper, lower, upper = A
            pairs = (plane_lower, plane_upper, line_lower, line_upper, lower, upper)
            return stencil_facts((planes, lines, points), center, pairs)

        return stencil
    return None


def diagonal_into(A, d):  # type: ignore[no-untyped-def]
    """d <- the diagonal of A."""
    raise NotImplementedError


@overload(diagonal_into)
def _diagonal_into(A, d):  # type: ignore[no-untyped-def]
    if is_kind(A, CSRArrays):

        def csr(A, d):  # type: ignore[no-untyped-def]
            for i in range(d.size):
                d[i] = 0
                for k in range(A.indptr[i], A.indptr[i + 1]):
                    if A.indices[k] == i:
                        d[i] = A.data[k]

        return csr
    if is_kind(A, DenseArrays):

        def dense(A, d):  # type: ignore[no-untyped-def]
            for i in range(d.size):
                d[i] = A.matrix[i, i]

        return dense
    if is_kind(A, StencilArrays):

        def stencil(A, d):  # type: ignore[no-untyped-def]
            for i in range(d.size):
                d[i] = A.center

        return stencil
    return None


def hermitian(A):  # type: ignore[no-untyped-def]
    """A matrix that equals its conjugate transpose, as storage that says so where there is one."""
    raise NotImplementedError


@overload(hermitian)
def _hermitian(A):  # type: ignore[no-untyped-def]
    if is_kind(A, DenseArrays):
        return lambda A: HermitianArrays(A.matrix)
    return lambda A: A


@numba.njit(inline="always")
def exponent_of(size):  # type: ignore[no-untyped-def]
    """The e with 2**e <= size < 2**(e + 1); 0 for 0."""
    return math.frexp(size)[1] - 1 if size > 0 else 0


@compiled
def copy(x, out):  # type: ignore[no-untyped-def]
    """out <- x. A slice assignment would compile the error message of one that does not fit, which takes seconds."""
    for i in range(out.size):
        out[i] = x[i]


@compiled
def look(A, found):  # type: ignore[no-untyped-def]
    """The facts of A, among what is found."""
    largest, norm, total, asymmetry, lower, upper, positive, dominant, empty_row, zero_diagonal, margin = facts_of(A)
    f = found[FACTS:]
    f[0], f[1], f[2], f[3], f[4], f[5], f[6] = largest, norm, total, asymmetry, lower, upper, positive
    f[7], f[8], f[9], f[10] = dominant, empty_row, zero_diagonal, margin


@compiled
def begin(A, given, x0, b, x, r, limits, hermitian, found):  # type: ignore[no-untyped-def]
    """Look at A and b, choose units, put the first guess and its residual into x and r: whether there is more to do.

    x0 is empty for zero. b becomes the right-hand side ``given`` in the new units.
    """
    found[:LOW] = 0.0
    if not limits.looked:
        look(A, found)
    f = found[FACTS:]
    largest, asymmetry, lower, upper, positive, empty_row = f[0], f[3], f[4], f[5], f[6], f[8]
    if not largest < np.inf or abs(exponent_of(largest)) > limits.comfortable:
        return False
    symmetric = asymmetry <= limits.skew * largest
    if hermitian and not symmetric:
        return False
    size = max_abs(ALONE, given)
    if not size < np.inf:
        return False
    if size == 0.0:
        x.fill(0)
        found[STATUS], found[TOLERANCE] = ZERO, limits.rtol
        return False
    triangular = lower != 0.0 or upper != 0.0
    if empty_row >= 0.0 or (limits.choose and (not symmetric or positive == 0.0 or triangular)):
        return False
    exponent = exponent_of(size)
    if abs(exponent) > limits.highest - 2:
        return False
    power = b.real.dtype.type(2.0**-exponent)
    copy(given, b)
    scale(ALONE, b, power)
    reference = np.sqrt(dot(ALONE, b, b)[0])
    found[EXPONENT], found[REFERENCE], found[FIRST] = exponent, reference, reference
    found[PRODUCTS] = found[LEARNED]
    if x0.size == 0:
        x.fill(0)
        copy(b, r)
        return True
    size = max_abs(ALONE, x0)
    if not size < np.inf or (size > 0.0 and exponent_of(size) + exponent_of(largest) > exponent):
        return False
    copy(x0, x)
    scale(ALONE, x, power)
    norm = accurate_residual(ALONE, A, x, b, r)
    found[FIRST] = norm
    found[PRODUCTS] += 1.0
    return norm <= reference / limits.unit_roundoff


@compiled
def target_of(limits, found):  # type: ignore[no-untyped-def]
    """The residual norm at which it is solved, and that at which to look: far below rounding norms say nothing."""
    reference = found[REFERENCE]
    target = limits.rtol * reference
    if limits.atol > 0.0:
        target = max(target, math.ldexp(limits.atol, -int(found[EXPONENT])))
    return target, max(target, limits.unit_roundoff**2 * reference)


@compiled
def finish(A, b, x, work, target, best, limits, found):  # type: ignore[no-untyped-def]
    """Certify x and put it back into the caller's units; ALONE where it is not to be had so.

    ``best`` is the smallest residual norm of an earlier iterate that is remembered.
    """
    exact = found[FACTS + 3] == 0.0
    residual = accurate_residual(ALONE, hermitian(A), x, b, work) if exact else accurate_residual(ALONE, A, x, b, work)
    found[PRODUCTS] += 1.0
    size = np.sqrt(dot(ALONE, x, x)[0])
    exponent = int(found[EXPONENT])
    reached = math.frexp(size)[1] + exponent
    reference = found[REFERENCE]
    found[RESIDUAL], found[SIZE], found[RELATIVE] = residual, size, residual / reference
    found[NORM], found[RHS_NORM] = math.ldexp(residual, exponent), math.ldexp(reference, exponent)
    found[TOLERANCE] = target / reference
    if exponent != 0 and size > 0.0 and not limits.lowest <= reached <= limits.highest:
        return
    if residual <= target:
        found[STATUS] = CONVERGED
    elif found[ITERATIONS] == limits.maxiter and residual <= best:
        found[STATUS] = MAX_ITERATIONS
    else:
        return
    scale(ALONE, x, x.real.dtype.type(2.0**exponent))


@compiled
def precondition(d, r, z, limits):  # type: ignore[no-untyped-def]
    """z <- d r, the first product with the diagonal d: whether its size needs no scaling."""
    for i in range(d.size):
        z[i] = d[i] * r[i]
    size = max_abs(ALONE, z)
    return size < np.inf and abs(exponent_of(size)) <= limits.comfortable


@compiled
def conclude(A, b, x, work, norms, taken, target, wanted, limits, found):  # type: ignore[no-untyped-def]
    """``finish`` after so many iterations whose residual norms were carried, where they have come far enough."""
    last = norms[taken]
    found[ITERATIONS], found[LOOKS], found[LAST] = taken, taken, last
    if not last < np.inf or (last > wanted and (taken < limits.maxiter or last > 0.9 * norms[0])):
        return
    finish(A, b, x, work, target, norms[0], limits, found)


@numba.njit(inline="always")
def limits_of(given):  # type: ignore[no-untyped-def]
    """The numbers by name."""
    return Limits(
        given[0],
        given[1],
        int(given[2]),
        int(given[3]),
        given[4],
        given[5],
        int(given[6]),
        int(given[7]),
        int(given[8]),
        given[9] != 0.0,
        given[10] != 0.0,
        int(given[11]),
        int(given[12]),
    )
