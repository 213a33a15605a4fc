"""The pieces of the chunk-wise form in plain PyTorch, on any device; rows are (chunks, H, C, ...)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..recurrence.layout import Decay, Layout, gate_gradient, inner, states_before
from .grams import Grams
from .pieces import Facts, Pieces, Solutions
from .ridge import ends, entries, grows
from .solving import Solved, Solver, condition_number, exact, iterate, upper_end

__all__ = ["PLAIN"]


def _split(tokens: torch.Tensor, layout: Layout) -> torch.Tensor:
    return layout.split(tokens)


def _join(rows: torch.Tensor, shape: Sequence[int], layout: Layout) -> torch.Tensor:
    return layout.join(rows, shape)


def _as_chunks(rows: torch.Tensor, layout: Layout) -> torch.Tensor:
    return rows


def _states(k: torch.Tensor, values: torch.Tensor, gates: torch.Tensor, initial: torch.Tensor, layout: Layout) -> Any:
    return states_before(k, values, Decay(gates), initial, layout)


def _iterated(
    grams: Grams, added: torch.Tensor, rhs: torch.Tensor, lower: torch.Tensor, upper: torch.Tensor, solver: Solver
) -> Solved:
    """The regularised systems of some chunks, (chunks, H, C, D); ``lower`` and ``upper`` are (chunks, H, C)."""
    if solver.name == "exact":
        return exact(grams.dense(), rhs, added.expand_as(rhs))

    def product(p: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        return _regularised(grams, p, added, out)

    return iterate(product, rhs, lower, upper, solver)


def _regularised(grams: Grams, p: torch.Tensor, added: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """A_t p_t into out, the entries ``added`` being the ridge."""
    return grams.product(p, out).addcmul_(added, p)


def _of(strength: torch.Tensor | None, part: slice) -> torch.Tensor | None:
    return None if strength is None else strength[part]


def _solve(
    q: torch.Tensor,
    k: torch.Tensor,
    gates: torch.Tensor,
    ridge: torch.Tensor,
    before: torch.Tensor,
    layout: Layout,
    solver: Solver,
    want_facts: bool,
    strength: torch.Tensor | None = None,
) -> Solutions:
    heads, dimension, q = q.shape[1], q.shape[-1], q.contiguous()
    x, norms, uppers = torch.empty_like(q), torch.empty_like(gates), torch.empty_like(gates)
    facts = None
    if want_facts:
        facts = Facts(torch.empty_like(gates), torch.empty_like(gates), torch.empty_like(gates, dtype=torch.int32))
    for part in layout.groups(heads, solver.width(dimension)):
        grams = Grams(k[part], gates[part], before[part], _of(strength, part))
        norm, trace = grams.norms()
        added, (lower, greatest) = entries(ridge, norm), ends(ridge, norm)
        upper = upper_end(norm, trace, greatest, dimension, solver.interval)
        solved = _iterated(grams, added, q[part], lower, upper, solver)
        x[part], norms[part], uppers[part] = solved.x, norm, upper
        if facts is not None:
            residual = _regularised(grams, x[part], added, torch.empty_like(q[part])).sub_(q[part])
            size = torch.linalg.vector_norm(q[part], dim=-1)
            error = torch.linalg.vector_norm(residual, dim=-1)
            facts.relative_residual[part] = torch.where((size > 0) & (upper > 0), error / size, 0.0)
            facts.condition[part] = condition_number(lower, upper)
            facts.iterations[part] = solved.iterations
    return Solutions(x, norms, uppers, facts)


def _solve_adjoint(
    dx: torch.Tensor,
    x: torch.Tensor,
    k: torch.Tensor,
    gates: torch.Tensor,
    ridge: torch.Tensor,
    norms: torch.Tensor,
    uppers: torch.Tensor,
    before: torch.Tensor,
    layout: Layout,
    solver: Solver,
    strength: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    dx = dx.contiguous()
    z, curvature = torch.empty_like(dx), torch.empty_like(gates)
    for part in layout.groups(dx.shape[1], solver.width(dx.shape[-1])):
        grams = Grams(k[part], gates[part], before[part], _of(strength, part))
        added, (lower, _) = entries(ridge, norms[part]), ends(ridge, norms[part])
        z[part] = _iterated(grams, added, dx[part], lower, uppers[part], solver).x
        Hx = grams.product(x[part], torch.empty_like(dx[part]))
        curvature[part] = torch.linalg.vecdot(z[part], Hx.addcmul_(added, x[part]) if grows(ridge) else Hx)
    return z, curvature, torch.linalg.vecdot(z, x)


def _states_adjoint(
    x: torch.Tensor,
    z: torch.Tensor,
    weight: torch.Tensor | None,
    k: torch.Tensor,
    gates: torch.Tensor,
    before: torch.Tensor,
    d_final: torch.Tensor,
    layout: Layout,
    strength: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the tokens of a chunk add is sum_t zeta_t L_t, with L_t = -(z_t x_t^T + x_t z_t^T) / 2 - weight_t H_t."""
    local = torch.empty_like(before)
    for part in layout.groups(k.shape[1], k.shape[-1]):
        grams, K = Grams(k[part], gates[part], before[part], _of(strength, part)), k[part]
        zeta = grams.decay.since_start
        half = torch.matmul((z[part] * zeta).transpose(-1, -2), x[part])
        total = (half + half.transpose(-1, -2)).mul_(0.5)
        if weight is not None:
            w = weight[part].unsqueeze(-1)
            b = grams.pairs.transpose(-1, -2) @ (w * zeta)
            total.add_((w * zeta.square()).sum(-2, keepdim=True) * before[part])
            total.add_((K * b).transpose(-1, -2) @ K)
        local[part] = total.neg_()
    d_initial = layout.scan(local, Decay(gates).whole, d_final, reverse=True)
    return local, d_initial


def _rows_adjoint(
    x: torch.Tensor,
    z: torch.Tensor,
    weight: torch.Tensor | None,
    curvature: torch.Tensor,
    k: torch.Tensor,
    gates: torch.Tensor,
    before: torch.Tensor,
    after: torch.Tensor,
    layout: Layout,
    strength: torch.Tensor | None = None,
) -> tuple[torch.Tensor, ...]:
    """2 P_i k_i = 2 sum_{t>=i} M_ti L_t k_i + 2 P k_i, decayed, with the adjoint P of the state after the chunk."""
    double, boundary = torch.empty_like(k), Decay(gates).whole * inner(after, before)
    for part in layout.groups(k.shape[1], k.shape[-1]):
        grams, X, Z = Grams(k[part], gates[part], before[part], _of(strength, part)), x[part], z[part]
        K, decay = grams.keys, grams.decay
        Mt, Kt = decay.within.transpose(-1, -2), K.transpose(-1, -2)
        total = torch.matmul((K @ X.transpose(-1, -2)).mul_(Mt), Z)
        total.add_(torch.matmul((K @ Z.transpose(-1, -2)).mul_(Mt), X))
        if weight is not None:
            w = weight[part].unsqueeze(-1)
            total.add_((Mt @ (w * decay.since_start)) * grams.keys_times_before(), alpha=2)
            total.add_(torch.matmul(Mt, w * grams.pairs).mul_(K @ Kt) @ K, alpha=2)
        later = torch.matmul(K, after[part]).mul_(decay.to_end)
        written = K if strength is None else K * strength[part].unsqueeze(-1)
        boundary[part] += torch.linalg.vecdot(later, written).sum(-1)
        double[part] = total.neg_().add_(later, alpha=2)
    d_strength = torch.linalg.vecdot(k, double) / 2
    own = d_strength if strength is None else d_strength * strength
    d_gates = gate_gradient(-curvature.double() - own.double(), boundary, gates)
    if strength is None:
        return double, d_gates
    return double * strength.unsqueeze(-1), d_gates, d_strength


def _mixed(x: torch.Tensor, q: torch.Tensor | None, alpha: torch.Tensor | None) -> torch.Tensor:
    return x if q is None or alpha is None else torch.lerp(q, x, alpha.unsqueeze(-1))


def _read(
    x: torch.Tensor,
    q: torch.Tensor | None,
    alpha: torch.Tensor | None,
    k: torch.Tensor,
    v: torch.Tensor,
    gates: torch.Tensor,
    before: torch.Tensor,
    layout: Layout,
    scale: float,
) -> torch.Tensor:
    o, m = torch.empty_like(v), _mixed(x, q, alpha)
    for part in layout.groups(m.shape[1], max(m.shape[-1], v.shape[-1])):
        decay, M, K = Decay(gates[part]), m[part], k[part]
        read = torch.matmul(M, before[part]).mul_(decay.since_start)
        o[part] = read.add_(torch.matmul((M @ K.transpose(-1, -2)).mul_(decay.within), v[part])).mul_(scale)
    return o


def _read_states_adjoint(
    do: torch.Tensor,
    x: torch.Tensor,
    q: torch.Tensor | None,
    alpha: torch.Tensor | None,
    gates: torch.Tensor,
    d_final: torch.Tensor,
    layout: Layout,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    decay = Decay(gates)
    after = torch.matmul((_mixed(x, q, alpha) * decay.since_start).transpose(-1, -2), do).mul_(scale)
    d_initial = layout.scan(after, decay.whole, d_final, reverse=True)
    return after, d_initial


def _read_rows_adjoint(
    do: torch.Tensor,
    o: torch.Tensor,
    x: torch.Tensor,
    q: torch.Tensor | None,
    alpha: torch.Tensor | None,
    k: torch.Tensor,
    v: torch.Tensor,
    gates: torch.Tensor,
    before: torch.Tensor,
    after: torch.Tensor,
    layout: Layout,
    scale: float,
) -> tuple[torch.Tensor | None, ...]:
    m = _mixed(x, q, alpha)
    dm, dk, dv = torch.empty_like(m), torch.empty_like(k), torch.empty_like(v)
    boundary = Decay(gates).whole * inner(before, after)
    for part in layout.groups(m.shape[1], max(m.shape[-1], v.shape[-1])):
        here, M, K, V, dO, R = Decay(gates[part]), m[part], k[part], v[part], do[part] * scale, after[part]
        pairs = (dO @ V.transpose(-1, -2)).mul_(here.within)
        read = torch.matmul(dO, before[part].transpose(-1, -2)).mul_(here.since_start)
        dm[part] = read.add_(pairs @ K)
        later = torch.matmul(V, R.transpose(-1, -2)).mul_(here.to_end)
        dk[part] = later.add_(pairs.transpose(-1, -2) @ M)
        written = torch.matmul(K, R).mul_(here.to_end)
        boundary[part] += torch.linalg.vecdot(written, V).sum(-1)
        dv[part] = written.add_((M @ K.transpose(-1, -2)).mul_(here.within).transpose(-1, -2) @ dO)
    terms = torch.linalg.vecdot(do, o).double() - torch.linalg.vecdot(v, dv).double()
    d_gates = gate_gradient(terms, boundary, gates)
    if q is None or alpha is None:
        return dm, None, None, dk, dv, d_gates
    share = alpha.unsqueeze(-1)
    return share * dm, (1 - share) * dm, torch.linalg.vecdot(x - q, dm), dk, dv, d_gates


PLAIN = Pieces(
    name="torch",
    split=_split,
    join=_join,
    as_chunks=_as_chunks,
    states=_states,
    solve=_solve,
    solve_adjoint=_solve_adjoint,
    states_adjoint=_states_adjoint,
    rows_adjoint=_rows_adjoint,
    read=_read,
    read_states_adjoint=_read_states_adjoint,
    read_rows_adjoint=_read_rows_adjoint,
)
