"""The compiled form: decode steps and short prompts on a CPU, without gradients.

One token after the other: update of the state, solve, readout. The iterations are the compiled loops of
``resolvent.solvers``, on H + shift I as a storage of its own; the first product is a by-product of the update. Scalars
are float64; what meets vectors is rounded to their precision.
"""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any

import numpy as np
import torch

from ...backends.compiled import vectors
from ...backends.compiled.cg import cg_loop as cg_iterations
from ...backends.compiled.compiling import ALONE, Shared, share, threads
from ...backends.compiled.momentum import momentum_loop as momentum_iterations
from ...backends.compiled.products import ShiftedArrays, block_product
from ...backends.compiled.recurrences import built_upon
from ...errors import InputError
from ...kernels import kernel
from ...precision.rounding_rule import Unrounded
from ...solvers.chebyshev.coefficients import chebyshev_coefficients
from .arguments import Info, Inputs
from .ridge import grows
from .solving import GUARD, Solver

__all__ = ["all_tokens", "compiled"]

CHEBYSHEV, CONJUGATE_GRADIENTS = 0, 1
WOLKOWICZ_STYAN, FROBENIUS = 0, 1

SOLVERS = {"chebyshev": CHEBYSHEV, "cg": CONJUGATE_GRADIENTS}
INTERVALS = {"wolkowicz_styan": WOLKOWICZ_STYAN, "frobenius": FROBENIUS}
# What stands for gates that are not given, and for facts that are not wanted.
NONE = {
    np.dtype(kind): (np.empty((0, 0), kind), (*np.empty((2, 0, 0), kind), np.empty((0, 0), np.int32)))
    for kind in (np.float32, np.float64)
}
PARALLEL_FROM = 1 << 17  # entries of H, summed over tokens, from which a second thread pays

# One after the other: heads and sequences, not rows, are shared among threads.
cg_loop, momentum_loop = cg_iterations.kernel, momentum_iterations.kernel
UNROUNDED = Unrounded()

coefficients = built_upon(chebyshev_coefficients)
# The parts of the kernel are compiled where they stand in it. Nothing is assigned to whole arrays, which would compile
# to loops with checks and messages of their own.
part = kernel(inline="always")


def compiled(
    inputs: Inputs, solver: Solver, want_info: bool
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor], Info | None]:
    """Token by token, heads and sequences in parallel where there is work enough for two threads.

    A token and head costs D^2 + 2 D V multiplications and additions and one pass over both states, and D^2 for each
    step of the solver. A tolerance is looked at in every step, so that there are fewer steps than the bound asks for.

    Parameters
    ----------
    inputs : Inputs
    solver : Solver
    want_info : bool
        Costs one more product with H.

    Raises
    ------
    InputError
        The tensors need gradients or are not in the memory of the CPU, or the solver is ``"exact"``.
    """
    if inputs.q.device.type != "cpu":
        raise InputError(f"form: found 'compiled' for the device {inputs.q.device}; wanted 'chunk'")
    if solver.name not in SOLVERS:
        raise InputError(f"form: found 'compiled' for the solver {solver.name!r}; wanted 'chunk' or 'recurrent'")
    if not grows(inputs.ridge):
        raise InputError("form: found 'compiled' for a ridge that does not grow with H; wanted 'chunk' or 'recurrent'")
    if inputs.want_gradient():
        raise InputError("form: found 'compiled' where gradients are needed; wanted 'chunk' or 'recurrent'")

    batch, tokens, heads, D = inputs.q.shape
    q, k, v, H, U = map(_array, (inputs.q, inputs.k, inputs.v, inputs.H, inputs.U))
    gates = (None if gate is None else _array(gate) for gate in (inputs.gk, inputs.g, inputs.alpha))
    none, limits = NONE[q.dtype], np.finfo(q.dtype)
    o, H_end, U_end = (torch.empty(like.shape, dtype=inputs.q.dtype) for like in (v, H, U))
    facts = [np.empty((batch * tokens, heads), kind) for kind in (q.dtype, q.dtype, np.int32)] if want_info else none[1]
    work = batch * tokens * heads * D * D
    parallel = work >= PARALLEL_FROM and heads * len(inputs.lengths) > 1 and threads() > 1
    (all_tokens.parallel if parallel else all_tokens.serial)(
        q.reshape(batch * tokens, heads, D),
        k.reshape(batch * tokens, heads, D),
        v.reshape(batch * tokens, heads, v.shape[-1]),
        *(none[0] if gate is None else gate.reshape(batch * tokens, heads) for gate in gates),
        np.full(heads, _array(inputs.ridge), np.float64),
        inputs.scale,
        H,
        U,
        np.array([0, *accumulate(inputs.lengths)]),
        (
            SOLVERS[solver.name],
            INTERVALS[solver.interval],
            solver.num_iter or 0,
            0.0 if solver.rtol is None else solver.rtol,
            0.5 * float(limits.eps),
            float(limits.tiny),
        ),
        o.numpy().reshape(batch * tokens, heads, v.shape[-1]),
        H_end.numpy(),
        U_end.numpy(),
        tuple(facts),
    )
    for n, length in enumerate(inputs.lengths):
        if length == 0:
            H_end[n], U_end[n] = inputs.H[n], inputs.U[n]
    info = Info(*(torch.from_numpy(fact).view(batch, tokens, heads) for fact in facts)) if want_info else None
    return o, (H_end, U_end), info


def _array(tensor: torch.Tensor) -> Any:
    return (tensor.detach() if tensor.requires_grad else tensor).contiguous().numpy()


@Shared
def all_tokens(team, q, k, v, gk, g, alpha, ridge, scale, H, U, offsets, how, o, H_end, U_end, facts):  # type: ignore[no-untyped-def]
    """Every token of every sequence and head. States of sequences without tokens are left alone.

    The tokens of all sequences lie behind one another: q, k (tokens, heads, D), v and o (tokens, heads, V), the gates
    (tokens, heads) or empty; sequence n is ``offsets[n]:offsets[n + 1]``. H (N, heads, D, D) and U (N, heads, D, V) are
    the states before, H_end and U_end those after. ``ridge`` holds a number for each head. ``how`` is (solver,
    interval, steps, rtol, unit roundoff, smallest normal number): rtol = 0 for exactly so many steps. ``facts`` are the
    arrays of ``Info``, or empty.
    """
    heads, D = q.shape[1], q.shape[2]
    residuals, conditions, iterations = facts
    begin, end = share(team, (offsets.size - 1) * heads)
    for task in range(begin, end):
        n, h = task // heads, task % heads
        first, last = offsets[n], offsets[n + 1]
        work = np.empty((5, D), q.dtype)
        x = work[0]
        H_t, U_t = H_end[n, h], U_end[n, h]
        for t in range(first, last):
            H_before = H[n, h] if t == first else H_t
            U_before = U[n, h] if t == first else U_t
            size = scaled(q[t, h], work[1])
            decay = math.exp(gk[t, h]) if gk.size else 1.0
            trace, norm = remember(H_before, decay, k[t, h], H_t, work[1], work[3], how[5])
            lower = ridge[h] * norm
            upper = lower + largest_eigenvalue(trace, norm, D, how[1])
            relative, count = 0.0, 0
            if norm > 0.0 and size > 0.0:
                relative, count = solve(H_t, lower, upper, how, residuals.size > 0, work)
                for i in range(D):
                    x[i] *= q.dtype.type(size)
            else:
                for i in range(D):
                    x[i] = norm * size  # zero, unless one of them is NaN
            if residuals.size:
                residuals[t, h] = relative
                conditions[t, h] = upper / lower if norm > 0.0 else 1.0
                iterations[t, h] = count
            mix(x, q[t, h], alpha[t, h] if alpha.size else 1.0)
            read(U_before, math.exp(g[t, h]) if g.size else 1.0, k[t, h], v[t, h], x, scale, U_t, o[t, h])


@part
def scaled(q, b):  # type: ignore[no-untyped-def]
    """b = q over its largest modulus, which is returned, so that inner products keep within range."""
    largest = q.dtype.type(0.0)
    for i in range(q.size):
        largest = max(largest, abs(q[i]))
    unit = q.dtype.type(1.0 / largest if largest > 0.0 else 0.0)
    for i in range(q.size):
        b[i] = q[i] * unit
    return largest


@part
def remember(before, decay, k, H, b, y, smallest):  # type: ignore[no-untyped-def]
    """H = decay before + k k^T, and y = H b; trace and Frobenius norm of H."""
    dtype = k.dtype.type
    kept = dtype(decay)
    trace = 0.0
    for i in range(k.size):
        trace += kept * before[i, i] + k[i] * k[i]
        y[i] = 0
    # Squares are of entries over the trace, and can neither underflow nor overflow.
    unit = dtype(1.0 / trace) if trace >= smallest else dtype(0.0)
    total = dtype(0.0)
    for i in range(k.size):
        row, out, entry, weight = before[i], H[i], k[i], b[i]
        for j in range(k.size):
            value = kept * row[j] + entry * k[j]
            out[j] = value
            y[j] += weight * value
            total += (value * unit) * (value * unit)
    return trace, trace * math.sqrt(total)


@part
def largest_eigenvalue(trace, norm, order, interval):  # type: ignore[no-untyped-def]
    """The bound of ``interval.upper_end`` without the shift."""
    if interval == FROBENIUS or norm == 0.0:
        return norm
    mean = trace / order
    part = mean / norm
    return GUARD * (mean + norm * math.sqrt(max(1.0 / order - part * part, 0.0) * (order - 1)))


@part
def solve(H, lower, upper, how, wanted, work):  # type: ignore[no-untyped-def]
    """x = work[0] of (H + lower I) x = b = work[1], given H b = work[3], which is overwritten.

    Returns the relative residual, where that is wanted, and the iterations.
    """
    solver, _, steps, rtol, unit_roundoff, _ = how
    x, b, Ab = work[0], work[1], work[3]
    shift = b.dtype.type(lower)
    A, known = ShiftedArrays(H, shift, b[:0]), ShiftedArrays(H, shift, Ab)
    for i in range(b.size):
        Ab[i] += shift * b[i]
    size = math.sqrt(vectors.inner(b, b))
    target = max(rtol, unit_roundoff) * size
    if rtol > 0.0:
        steps = steps_for(upper / lower, rtol)
    if solver == CHEBYSHEV:
        count = chebyshev(A, known, lower, upper, steps, target * target if rtol > 0.0 else -1.0, work)
    else:
        # In exact arithmetic the bound of Chebyshev iteration holds for conjugate gradients, too; rounding delays them.
        count = conjugate_gradients(A, known, 2 * steps + 2 if rtol > 0.0 else steps, size, target, work)
    square = 0.0
    if wanted:
        Ax = work[4]
        block_product(A, x, 0, x.size, Ax)
        square = vectors.distance(b, Ax)
    return math.sqrt(square) / size, count


@part
def steps_for(condition, rtol):  # type: ignore[no-untyped-def]
    """``interval.steps_for``."""
    if condition <= 1.0:
        return 0
    decay = 2.0 * math.asinh(math.sqrt(1.0 / (condition - 1.0)))
    return max(math.ceil(math.acosh(1.0 / rtol) / decay) - 1, 0)


@part
def chebyshev(A, known, lower, upper, steps, limit, work):  # type: ignore[no-untyped-def]
    """Chebyshev iteration from x = 2 b / (lower + upper), at most so many steps, given A b = work[3].

    Fewer if the squared residual is within ``limit``. It is looked at in every step, which is cheap, since the residual
    is at hand; where few eigenvalues differ, or b lies among the large ones, half the steps that the bound asks for are
    enough.
    """
    x, b, previous, Ax = work[0], work[1], work[2], work[3]
    weights = np.empty((2, steps + 1))
    betas, gammas = weights[0], weights[1]
    for k, (beta, gamma) in enumerate(coefficients(lower, upper)):
        if k > steps:
            break
        betas[k], gammas[k] = beta, gamma
    first = x.dtype.type(gammas[0])
    for i in range(b.size):
        x[i] = first * b[i]
        Ax[i] *= first
        previous[i] = 0
    # The product of the first step is known.
    count = momentum_loop(ALONE, known, b[:0], x, previous, b, UNROUNDED, betas[1:2], gammas[1:2], limit)
    if count > 0:
        count += momentum_loop(ALONE, A, b[:0], previous, x, b, UNROUNDED, betas[2:], gammas[2:], limit)
    if count % 2:
        for i in range(b.size):
            x[i] = previous[i]
    return count


@part
def conjugate_gradients(A, known, steps, size, target, work):  # type: ignore[no-untyped-def]
    """Conjugate gradients from x = 0 until the residual norm is at most target, at most so many steps.

    ``size`` is that of b, and work[3] holds A b.
    """
    x, b, p, q, r = work[0], work[1], work[2], work[3], work[4]
    for i in range(b.size):
        x[i], p[i], r[i] = 0, b[i], b[i]
    if not size > target:
        return 0
    history, none, rho = np.empty((3, steps)), b[:0], size * size
    norms, alphas, betas = history[0], history[1], history[2]
    count, rho, _, _ = cg_loop(ALONE, known, none, x, r, p, q, rho, target, None, UNROUNDED, norms[:1], alphas, betas)
    if count > 0 and norms[0] > target:
        more, _, _, _ = cg_loop(
            ALONE, A, none, x, r, p, q, rho, target, None, UNROUNDED, norms[1:], alphas[1:], betas[1:]
        )
        count += more
    return count


@part
def mix(x, q, alpha):  # type: ignore[no-untyped-def]
    """x = q + alpha (x - q)."""
    part = x.dtype.type(alpha)
    rest = x.dtype.type(1.0 - alpha)
    for i in range(x.size):
        x[i] = part * x[i] + rest * q[i]


@part
def read(before, decay, k, v, x, scale, U, o):  # type: ignore[no-untyped-def]
    """U = decay before + k v^T, and o = scale U^T x."""
    dtype = v.dtype.type
    kept, factor = dtype(decay), dtype(scale)
    for j in range(v.size):
        o[j] = 0
    for i in range(k.size):
        row, out, entry, weight = before[i], U[i], k[i], factor * x[i]
        for j in range(v.size):
            value = kept * row[j] + entry * v[j]
            out[j] = value
            o[j] += weight * value
