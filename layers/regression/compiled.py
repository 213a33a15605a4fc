"""The compiled form: decode steps and short prompts on a CPU, without gradients.

One token after the other: update of the state, solve, readout. H is symmetric: a product with it adds up rows, which
lie in memory as the processor reads them, several at a time. Scalars are float64; what meets vectors is rounded to
their precision.
"""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any

import numba
import numpy as np
import torch
from numba import prange

from ...backends.compiled.compiling import FAST, Variants, threads
from ...errors import InputError
from .arguments import Info, Inputs
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

kernel = numba.njit(cache=True, error_model="numpy", nogil=True, fastmath=set(FAST))


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
    if inputs.want_gradient():
        raise InputError("form: found 'compiled' where gradients are needed; wanted 'chunk' or 'recurrent'")

    batch, tokens, heads, D = inputs.q.shape
    q, k, v, H, U = map(_array, (inputs.q, inputs.k, inputs.v, inputs.H, inputs.U))
    gates = (None if gate is None else _array(gate) for gate in (inputs.gk, inputs.g, inputs.alpha))
    none = NONE[q.dtype]
    o, H_end, U_end = (torch.empty(like.shape, dtype=inputs.q.dtype) for like in (v, H, U))
    facts = [np.empty((batch * tokens, heads), kind) for kind in (q.dtype, q.dtype, np.int32)] if want_info else none[1]
    work = batch * tokens * heads * D * D
    parallel = work >= PARALLEL_FROM and heads * len(inputs.lengths) > 1 and threads() > 1
    (all_tokens.parallel if parallel else all_tokens.serial)(
        q.reshape(batch * tokens, heads, D),
        k.reshape(batch * tokens, heads, D),
        v.reshape(batch * tokens, heads, v.shape[-1]),
        *(none[0] if gate is None else gate.reshape(batch * tokens, heads) for gate in gates),
        np.full(heads, _array(inputs.ridge_ratio), np.float64),
        inputs.scale,
        H,
        U,
        np.array([0, *accumulate(inputs.lengths)]),
        (
            SOLVERS[solver.name],
            INTERVALS[solver.interval],
            solver.num_iter or 0,
            0.0 if solver.rtol is None else solver.rtol,
        ),
        o.numpy().reshape(batch * tokens, heads, v.shape[-1]),
        H_end.numpy(),
        U_end.numpy(),
        tuple(facts),
    )
    info = Info(*(torch.from_numpy(fact).view(batch, tokens, heads) for fact in facts)) if want_info else None
    return o, (H_end, U_end), info


def _array(tensor: torch.Tensor) -> Any:
    return (tensor.detach() if tensor.requires_grad else tensor).contiguous().numpy()


@Variants
def all_tokens(q, k, v, gk, g, alpha, ridge, scale, H, U, offsets, how, o, H_end, U_end, facts):  # type: ignore[no-untyped-def]
    """Every token of every sequence and head.

    The tokens of all sequences lie behind one another: q, k (tokens, heads, D), v and o (tokens, heads, V), the gates
    (tokens, heads) or empty; sequence n is ``offsets[n]:offsets[n + 1]``. H (N, heads, D, D) and U (N, heads, D, V) are
    the states before, H_end and U_end those after. ``ridge`` holds a number for each head. ``how`` is (solver,
    interval, steps, rtol): rtol = 0 for exactly so many steps. ``facts`` are the arrays of ``Info``, or empty.
    """
    heads, D = q.shape[1], q.shape[2]
    residuals, conditions, iterations = facts
    for task in prange((offsets.size - 1) * heads):
        n, h = task // heads, task % heads
        first, last = offsets[n], offsets[n + 1]
        work = np.empty((5, D), q.dtype)
        x = work[0]
        H_t, U_t = H_end[n, h], U_end[n, h]
        if first == last:
            H_t[:] = H[n, h]
            U_t[:] = U[n, h]
        for t in range(first, last):
            H_before = H[n, h] if t == first else H_t
            U_before = U[n, h] if t == first else U_t
            size = scaled(q[t, h], work[1])
            trace, norm = remember(H_before, math.exp(gk[t, h]) if gk.size else 1.0, k[t, h], H_t, work[1], work[3])
            lower = ridge[h] * norm
            upper = lower + largest_eigenvalue(trace, norm, D, how[1])
            relative, count = 0.0, 0
            if norm > 0.0 and size > 0.0:
                relative, count = solve(H_t, lower, upper, how, residuals.size > 0, work)
                x *= q.dtype.type(size)
            else:
                x[:] = q.dtype.type(norm * size)  # zero, unless one of them is NaN
            if residuals.size:
                residuals[t, h] = relative
                conditions[t, h] = upper / lower if norm > 0.0 else 1.0
                iterations[t, h] = count
            mix(x, q[t, h], alpha[t, h] if alpha.size else 1.0)
            read(U_before, math.exp(g[t, h]) if g.size else 1.0, k[t, h], v[t, h], x, scale, U_t, o[t, h])


@kernel
def scaled(q, b):  # type: ignore[no-untyped-def]
    """b = q over its largest modulus, which is returned, so that inner products keep within range."""
    largest = q.dtype.type(0.0)
    for i in range(q.size):
        largest = max(largest, abs(q[i]))
    unit = q.dtype.type(1.0 / largest if largest > 0.0 else 0.0)
    for i in range(q.size):
        b[i] = q[i] * unit
    return largest


@kernel
def remember(before, decay, k, H, b, y):  # type: ignore[no-untyped-def]
    """H = decay before + k k^T, and y = H b; trace and Frobenius norm of H."""
    dtype = k.dtype.type
    kept = dtype(decay)
    trace = 0.0
    for i in range(k.size):
        trace += kept * before[i, i] + k[i] * k[i]
    # Squares are of entries over the trace, and can neither underflow nor overflow.
    unit = dtype(1.0 / trace) if trace >= np.finfo(k.dtype).tiny else dtype(0.0)
    total = dtype(0.0)
    y[:] = 0
    for i in range(k.size):
        row, out, entry, weight = before[i], H[i], k[i], b[i]
        for j in range(k.size):
            value = kept * row[j] + entry * k[j]
            out[j] = value
            y[j] += weight * value
            total += (value * unit) * (value * unit)
    return trace, trace * math.sqrt(total)


@kernel
def largest_eigenvalue(trace, norm, order, interval):  # type: ignore[no-untyped-def]
    """The bound of ``interval.upper_end`` without the shift."""
    if interval == FROBENIUS or norm == 0.0:
        return norm
    mean = trace / order
    part = mean / norm
    return GUARD * (mean + norm * math.sqrt(max(1.0 / order - part * part, 0.0) * (order - 1)))


@kernel
def solve(H, lower, upper, how, wanted, work):  # type: ignore[no-untyped-def]
    """x = work[0] of (H + lower I) x = b = work[1], given H b = work[3].

    Returns the relative residual, where that is wanted, and the iterations.
    """
    solver, _, steps, rtol = how
    b = work[1]
    size = square(b)
    limit = max(rtol, 0.5 * np.finfo(b.dtype).eps) ** 2 * size
    if rtol > 0.0:
        steps = steps_for(upper / lower, rtol)
    if solver == CHEBYSHEV:
        count = chebyshev(H, lower, upper, steps, limit if rtol > 0.0 else -1.0, work)
    else:
        # In exact arithmetic the bound of Chebyshev iteration holds for conjugate gradients, too; rounding delays them.
        count = conjugate_gradients(H, lower, 2 * steps + 2 if rtol > 0.0 else steps, limit, work)
    return (math.sqrt(residual(H, lower, work) / size) if wanted else 0.0), count


@kernel
def steps_for(condition, rtol):  # type: ignore[no-untyped-def]
    """``interval.steps_for``."""
    if condition <= 1.0:
        return 0
    decay = 2.0 * math.asinh(math.sqrt(1.0 / (condition - 1.0)))
    return max(math.ceil(math.acosh(1.0 / rtol) / decay) - 1, 0)


@kernel
def chebyshev(H, lower, upper, steps, limit, work):  # type: ignore[no-untyped-def]
    """Chebyshev semi-iteration from x = s b, at most so many steps; fewer if the squared residual is within limit.

    The residual is at hand in every step, so that looking at it is free; where few eigenvalues differ, or b lies among
    the large ones, half the steps that the bound asks for are enough.
    """
    dtype = work.dtype.type
    x, b, previous, y = work[0], work[1], work[2], work[3]
    n = b.size
    s = 2.0 / (upper + lower)
    rho = (upper - lower) / (upper + lower)
    shift, size = dtype(lower), dtype(s)
    for i in range(n):
        x[i] = size * b[i]
        previous[i] = 0
    omega = 2.0
    count = 0
    while count < steps:
        if count == 0:
            y *= size
        else:
            product(H, x, y)
        omega = 4.0 / (4.0 - rho * rho * omega)
        ahead, back, down = dtype(omega), dtype(1.0 - omega), dtype(-omega * s)
        total = dtype(0.0)
        for i in range(n):
            excess = y[i] + shift * x[i] - b[i]
            total += excess * excess
            previous[i] = ahead * x[i] + back * previous[i] + down * excess
        if total <= limit:
            break
        x, previous = previous, x
        count += 1
    if count % 2:
        work[0] = work[2]
    return count


@kernel
def conjugate_gradients(H, lower, steps, limit, work):  # type: ignore[no-untyped-def]
    """Conjugate gradients from x = 0 until the squared residual is within limit, at most so many steps."""
    dtype = work.dtype.type
    x, r, p, y = work[0], work[4], work[2], work[3]
    n = x.size
    shift = dtype(lower)
    for i in range(n):
        x[i] = 0
        r[i] = work[1, i]
        p[i] = r[i]
    rho = square(r)
    count = 0
    while count < steps and rho > limit:
        if count > 0:
            product(H, p, y)
        curvature = dtype(0.0)
        for i in range(n):
            y[i] += shift * p[i]
            curvature += p[i] * y[i]
        if not curvature > 0.0:
            break
        step = dtype(rho / curvature)
        total = dtype(0.0)
        for i in range(n):
            x[i] += step * p[i]
            r[i] -= step * y[i]
            total += r[i] * r[i]
        turn = dtype(total / rho)
        rho = total
        for i in range(n):
            p[i] = r[i] + turn * p[i]
        count += 1
    return count


@kernel
def residual(H, lower, work):  # type: ignore[no-untyped-def]
    """||b - (H + lower I) x||^2."""
    x, b, y = work[0], work[1], work[3]
    product(H, x, y)
    total = 0.0
    for i in range(b.size):
        difference = b[i] - y[i] - lower * x[i]
        total += difference * difference
    return total


@kernel
def square(x):  # type: ignore[no-untyped-def]
    """||x||^2."""
    total = x.dtype.type(0.0)
    for i in range(x.size):
        total += x[i] * x[i]
    return total


@kernel
def product(H, p, y):  # type: ignore[no-untyped-def]
    """y = H p for symmetric H, eight rows at a time: y is then read and written once for eight of them."""
    n = p.size
    whole = n - n % 8
    for j in range(n):
        y[j] = 0
    for i in range(0, whole, 8):
        p0, p1, p2, p3, p4, p5, p6, p7 = p[i], p[i + 1], p[i + 2], p[i + 3], p[i + 4], p[i + 5], p[i + 6], p[i + 7]
        h0, h1, h2, h3, h4, h5, h6, h7 = H[i], H[i + 1], H[i + 2], H[i + 3], H[i + 4], H[i + 5], H[i + 6], H[i + 7]
        for j in range(n):
            y[j] += (p0 * h0[j] + p1 * h1[j] + p2 * h2[j] + p3 * h3[j]) + (
                p4 * h4[j] + p5 * h5[j] + p6 * h6[j] + p7 * h7[j]
            )
    for i in range(whole, n):
        entry, row = p[i], H[i]
        for j in range(n):
            y[j] += entry * row[j]


@kernel
def mix(x, q, alpha):  # type: ignore[no-untyped-def]
    """x = q + alpha (x - q)."""
    part = x.dtype.type(alpha)
    rest = x.dtype.type(1.0 - alpha)
    for i in range(x.size):
        x[i] = part * x[i] + rest * q[i]


@kernel
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
