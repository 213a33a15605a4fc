"""x_t = (H_t + a ||H_t||_F I)^{-1} q_t for all tokens, chunk by chunk, with its implicit derivative."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch

from .layout import Decay, Layout, adjoint, differentiable_scan, gate_gradient, inner, states_before
from .readout import readout
from .solving import Solved, Solver, condition_number, exact, iterate, upper_end

__all__ = ["Facts", "Grams", "regression"]


class Facts(NamedTuple):
    """What the solves showed, each (chunks, H, C): ||q - A x|| / ||q||, the bound of kappa(A), and the iterations."""

    relative_residual: torch.Tensor
    condition: torch.Tensor
    iterations: torch.Tensor


def regression(
    q: torch.Tensor,
    k: torch.Tensor,
    gates: torch.Tensor,
    ridge_ratio: torch.Tensor,
    initial: torch.Tensor,
    layout: Layout,
    solver: Solver,
    want_facts: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, Facts | None]:
    r"""Solve the regression of every token.

    With A_t = H_t + a F_t I, F_t = ||H_t||_F, and H_t = exp(gate_t) H_{t-1} + k_t k_t^T.

    Parameters
    ----------
    q, k : Tensor, (chunks, H, C, D)
    gates : Tensor, (chunks, H, C)
    ridge_ratio : Tensor, () or (H,)
        a.
    initial : Tensor, (sequences, H, D, D)
        Symmetric positive semidefinite.
    layout : Layout
        Of the chunks.
    solver : Solver
    want_facts : bool
        For one more product a token.

    Returns
    -------
    x : Tensor, (chunks, H, C, D)
        0 where H_t = 0.
    final : Tensor, (sequences, H, D, D)
    facts : Facts or None

    Notes
    -----
    The derivative is that of the exact solution, at the x that was found: the adjoint z_t solves A_t z_t = dx_t by the
    same method to the same tolerance, and with P_t, the adjoint of H_t,

        P_t = -(z_t x_t^T + x_t z_t^T) / 2 - (a z_t^T x_t / F_t) H_t + exp(gate_{t+1}) P_{t+1},    dk_t = 2 P_t k_t,
        dgate_t = exp(gate_t) <P_t, H_{t-1}> = -z_t^T A_t x_t - k_t^T dk_t / 2 + dgate_{t+1},

    the latter since <P_t, H_t> is dgate_t + k_t^T P_t k_t on the one hand, -z_t^T A_t x_t + dgate_{t+1} on the other.
    Kept for it are q, k, x, F and the bounds; the states are computed again.
    """
    rows = ridge_ratio.expand(q.shape[1])
    x, final, *facts = _Regression.apply(q, k, gates, rows, initial, layout, solver, want_facts)
    return x, final, Facts(*facts) if want_facts else None


class Grams:
    """H_t = zeta_t H_0 + sum_{j<=t} M_tj k_j k_j^T, of each token t of each chunk.

    Nothing of the size of a matrix per token is formed. With the keys of a chunk as rows of K and one vector a token as
    rows of X, all products H_t x_t are diag(zeta) X H_0 + (X K^T o M) K, o meaning entry by entry.

    Parameters
    ----------
    keys : Tensor, (chunks, H, C, D)
    gates : Tensor, (chunks, H, C)
    before : Tensor, (chunks, H, D, D)
        H_0, the state before each chunk.
    """

    def __init__(self, keys: torch.Tensor, gates: torch.Tensor, before: torch.Tensor) -> None:
        self.keys, self.before, self.decay = keys, before, Decay(gates)
        self._K, self._H, self._M = keys.flatten(0, 1), before.flatten(0, 1), self.decay.within.flatten(0, 1)
        self._zeta = self.decay.since_start.flatten(0, 1)

    def product(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """H_t x_t into out; 2 D (D + 2 C) multiplications and additions a token."""
        X, Y = x.flatten(0, 1), out.flatten(0, 1)
        torch.bmm(X, self._H, out=Y)
        Y.mul_(self._zeta)
        Y.baddbmm_(torch.bmm(X, self._K.transpose(1, 2)).mul_(self._M), self._K)
        return out

    def keys_times_before(self) -> torch.Tensor:
        """k_t^T H_0 as rows."""
        return self.keys @ self.before

    def norms(self) -> tuple[torch.Tensor, torch.Tensor]:
        """||H_t||_F and tr H_t of each token; sums of positive terms throughout."""
        M, zeta = self.decay.within, self.decay.since_start.squeeze(-1)
        # All is divided by the largest diagonal entry, which no entry of a semidefinite matrix exceeds, before it is
        # squared.
        lengths = torch.linalg.vecdot(self.keys, self.keys)
        diagonal = self.before.diagonal(dim1=-2, dim2=-1)
        size = torch.maximum(lengths.amax(-1, keepdim=True), diagonal.amax(-1, keepdim=True)).unsqueeze(-1).detach()
        size = size + (size == 0)
        quadratic = torch.linalg.vecdot(self.keys_times_before().div_(size), self.keys).unsqueeze(-1) / size
        squares = torch.matmul(self.keys, self.keys.transpose(-1, -2)).div_(size).square_()
        before = torch.linalg.vector_norm(self.before, dim=(-2, -1), dtype=torch.float64)  # whose range is wide enough
        first = (zeta * (before[..., None] / size[..., 0]).to(zeta.dtype)).square_()
        cross = 2 * zeta * (M @ quadratic).squeeze(-1)
        inner = torch.linalg.vecdot(M @ squares, M)
        trace = zeta * diagonal.sum(-1, keepdim=True) + (M @ lengths.unsqueeze(-1)).squeeze(-1)
        total = first.add_(cross).add_(inner)
        empty = total <= 0  # where the norm is zero, and its derivative taken to be
        return torch.where(empty, 1.0, total).sqrt_().masked_fill(empty, 0.0) * size.squeeze(-1), trace

    def dense(self) -> torch.Tensor:
        """H_t itself, (chunks, H, C, D, D)."""
        outer = (self.keys.unsqueeze(-1) * self.keys.unsqueeze(-2)).flatten(-2)
        inner = (self.decay.within @ outer).unflatten(-1, self.before.shape[-2:])
        return inner.addcmul_(self.decay.since_start.unsqueeze(-1), self.before.unsqueeze(2))


def solve(grams: Grams, rhs: torch.Tensor, shift: torch.Tensor, upper: torch.Tensor, solver: Solver) -> Solved:
    """The regularised systems of some chunks, (chunks, H, C, D); ``shift`` and ``upper`` are (chunks, H, C)."""
    if solver.name == "exact":
        return exact(grams.dense(), rhs, shift)

    shifts = shift.unsqueeze(-1)

    def product(p: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        return grams.product(p, out).addcmul_(shifts, p)

    return iterate(product, rhs, shift, upper, solver)


class _Regression(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, q, k, gates, ridge_ratio, initial, layout, solver, want_facts
    ):
        heads, dimension = q.shape[1], q.shape[-1]
        before, final = states_before(k, k, Decay(gates), initial, layout)
        x, norms, uppers = torch.empty_like(q), torch.empty_like(gates), torch.empty_like(gates)
        facts = [torch.empty_like(gates), torch.empty_like(gates), torch.empty_like(gates, dtype=torch.int32)]
        for part in layout.groups(heads, solver.width(dimension)):
            grams = Grams(k[part], gates[part], before[part])
            norm, trace = grams.norms()
            shift = ridge_ratio[:, None] * norm
            upper = upper_end(norm, trace, shift, dimension, solver.interval)
            solved = solve(grams, q[part], shift, upper, solver)
            x[part], norms[part], uppers[part] = solved.x, norm, upper
            if want_facts:
                residual = grams.product(x[part], torch.empty_like(q[part]))
                residual.addcmul_(shift.unsqueeze(-1), x[part]).sub_(q[part])
                size = torch.linalg.vector_norm(q[part], dim=-1)
                error = torch.linalg.vector_norm(residual, dim=-1)
                facts[0][part] = torch.where((size > 0) & (norm > 0), error / size, 0.0)
                facts[1][part] = condition_number(shift, upper)
                facts[2][part] = solved.iterations
        ctx.save_for_backward(q, k, gates, ridge_ratio, initial, x, norms, uppers)
        ctx.layout, ctx.solver = layout, solver
        if not want_facts:
            return x, final
        ctx.mark_non_differentiable(*facts)
        return x, final, *facts

    @staticmethod
    def backward(ctx, dx, d_final, *_):  # type: ignore[no-untyped-def]
        q, k, gates, ridge_ratio, initial, x, norms, uppers = ctx.saved_tensors
        layout, solver, (heads, dimension) = ctx.layout, ctx.solver, (q.shape[1], q.shape[-1])
        if torch.is_grad_enabled():  # what follows is to be differentiated again
            given = (k, gates, ridge_ratio, initial)
            Z, *_ = _Regression.apply(dx, *given, layout, solver, False)
            found = adjoint(partial(_applied, x, layout=layout), given, (-Z, d_final))
            return Z, *found, None, None, None
        decay = Decay(gates)
        before, _final = states_before(k, k, decay, initial, layout)
        dq, dk, local = torch.empty_like(q), torch.empty_like(k), torch.empty_like(before)
        curvature, dF = torch.empty_like(gates), torch.empty_like(gates)
        for part in layout.groups(heads, solver.width(dimension)):
            grams = Grams(k[part], gates[part], before[part])
            shift = ridge_ratio[:, None] * norms[part]
            X = x[part]
            Z = solve(grams, dx[part], shift, uppers[part], solver).x
            dq[part] = Z
            Ax = grams.product(X, torch.empty_like(X)).addcmul_(shift.unsqueeze(-1), X)
            curvature[part] = torch.linalg.vecdot(Z, Ax)
            overlap = torch.linalg.vecdot(Z, X)
            dF[part] = -overlap * norms[part]
            weight = torch.where(norms[part] > 0, ridge_ratio[:, None] * overlap / norms[part], 0.0)
            dk[part], local[part] = _local(grams, X, Z, weight)
        symmetric = (d_final + d_final.transpose(-1, -2)) / 2  # H is, so the rest of its adjoint changes nothing
        d_initial = layout.scan(local, decay.whole, symmetric, reverse=True)
        later = torch.matmul(k, local).mul_(decay.to_end)  # of the states after a chunk, at its tokens
        dk.add_(later, alpha=2)
        boundary = decay.whole * inner(local, before) + torch.linalg.vecdot(later, k).sum(-1)
        d_gates = gate_gradient(-curvature.double() - torch.linalg.vecdot(k, dk).double() / 2, boundary, gates)
        return dq, dk, d_gates, dF.sum((0, 2)), d_initial, None, None, None


def _applied(
    x: torch.Tensor,
    k: torch.Tensor,
    gates: torch.Tensor,
    ridge_ratio: torch.Tensor,
    initial: torch.Tensor,
    layout: Layout,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A_t x_t and the final state, in operations that are differentiable any number of times."""
    initial = (initial + initial.transpose(-1, -2)) / 2
    Hx, final = readout(x, k, k, gates, initial, layout, 1.0)
    decay = Decay(gates)
    before, _ = differentiable_scan((k * decay.to_end).transpose(-1, -2) @ k, decay.whole, initial, layout)
    norm, _ = Grams(k, gates, before).norms()
    return Hx + (ridge_ratio[:, None] * norm).unsqueeze(-1) * x, final


def _local(grams: Grams, X: torch.Tensor, Z: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the tokens of each chunk add to dk, and to the adjoint of the state before it.

    That is 2 sum_{t>=i} M_ti L_t k_i, and sum_t zeta_t L_t, with L_t = -(z_t x_t^T + x_t z_t^T) / 2 - weight_t H_t.
    """
    K, M, zeta, H0 = grams.keys, grams.decay.within, grams.decay.since_start, grams.before
    Mt, Xt, Kt = M.transpose(-1, -2), X.transpose(-1, -2), K.transpose(-1, -2)
    dk = torch.matmul((K @ Xt).mul_(Mt), Z).add_(torch.matmul((K @ Z.transpose(-1, -2)).mul_(Mt), X))
    weighted = weight.unsqueeze(-1) * M
    b = Mt @ (weight.unsqueeze(-1) * zeta)
    both = torch.matmul(Mt, weighted).mul_(K @ Kt)
    dk.add_(b * grams.keys_times_before(), alpha=2).add_(both @ K, alpha=2).neg_()
    half = torch.matmul((Z * zeta).transpose(-1, -2), X)
    share = (weight.unsqueeze(-1) * zeta.square()).sum(-2, keepdim=True)
    state = (half + half.transpose(-1, -2)).mul_(0.5).add_(share * H0).add_((K * b).transpose(-1, -2) @ K).neg_()
    return dk, state
