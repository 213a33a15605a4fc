"""x_t = (H_t + a ||H_t||_F I)^{-1} q_t for all tokens, chunk by chunk, with its implicit derivative."""

from __future__ import annotations

from functools import partial

import torch

from ..recurrence.layout import Decay, Layout, adjoint, differentiable_scan
from .grams import Grams
from .pieces import Facts, Pieces, Solutions
from .plain import PLAIN
from .readout import readout
from .solving import Solver

__all__ = ["regression", "solved", "solved_adjoint"]


def regression(
    q: torch.Tensor,
    k: torch.Tensor,
    gates: torch.Tensor,
    ridge_ratio: torch.Tensor,
    initial: torch.Tensor,
    layout: Layout,
    solver: Solver,
    want_facts: bool = False,
    pieces: Pieces = PLAIN,
    known: Solutions | None = None,
) -> tuple[torch.Tensor, torch.Tensor, Facts | None]:
    r"""Solve the regression of every token.

    With A_t = H_t + a F_t I, F_t = ||H_t||_F, and H_t = exp(gate_t) H_{t-1} + k_t k_t^T.

    Parameters
    ----------
    q, k : Tensor
        Rows of the pieces: of the plain ones (chunks, H, C, D).
    gates : Tensor
        One number a row.
    ridge_ratio : Tensor, () or (H,)
        a.
    initial : Tensor, (sequences, H, D, D)
        Symmetric positive semidefinite.
    layout : Layout
        Of the chunks.
    solver : Solver
    want_facts : bool
        For one more product a token.
    pieces : Pieces
    known : Solutions, optional
        What was found before, so that it need not be found again to be differentiated.

    Returns
    -------
    x : Tensor
        Rows as q; 0 where H_t = 0.
    final : Tensor, (sequences, H, D, D)
    facts : Facts or None

    Notes
    -----
    The derivative is that of the exact solution, at the x that was found: the adjoint z_t solves A_t z_t = dx_t by the
    same method to the same tolerance, and with P_t, the adjoint of H_t,

        P_t = -(z_t x_t^T + x_t z_t^T) / 2 - (a z_t^T x_t / F_t) H_t + exp(gate_{t+1}) P_{t+1},    dk_t = 2 P_t k_t,
        dgate_t = exp(gate_t) <P_t, H_{t-1}> = -z_t^T A_t x_t - k_t^T dk_t / 2 + dgate_{t+1},

    the latter since <P_t, H_t> is dgate_t + k_t^T P_t k_t on the one hand, -z_t^T A_t x_t + dgate_{t+1} on the other.
    Kept for it are k, x, F and the bounds; the states are computed again.
    """
    rows = ridge_ratio.expand(q.shape[1])
    x, final, *facts = _Regression.apply(q, k, gates, rows, initial, layout, solver, want_facts, pieces, known)
    return x, final, Facts(*facts) if want_facts else None


def solved(
    q: torch.Tensor,
    k: torch.Tensor,
    gates: torch.Tensor,
    ridge_ratio: torch.Tensor,
    initial: torch.Tensor,
    layout: Layout,
    solver: Solver,
    want_facts: bool,
    pieces: Pieces,
) -> tuple[Solutions, torch.Tensor]:
    """``regression`` without its derivative: with all that the derivative takes; ``ridge_ratio`` is (H,)."""
    before, final = pieces.states(k, k, gates, initial, layout)
    return pieces.solve(q, k, gates, ridge_ratio, before, layout, solver, want_facts), final


def solved_adjoint(
    dx: torch.Tensor,
    d_final: torch.Tensor,
    solutions: Solutions,
    k: torch.Tensor,
    gates: torch.Tensor,
    ridge_ratio: torch.Tensor,
    initial: torch.Tensor,
    layout: Layout,
    solver: Solver,
    pieces: Pieces,
) -> tuple[torch.Tensor, ...]:
    """The gradients of q, k, gates, ridge_ratio and initial."""
    x, norms, uppers, _ = solutions
    before, _final = pieces.states(k, k, gates, initial, layout)
    z, curvature, overlap = pieces.solve_adjoint(dx, x, k, gates, ridge_ratio, norms, uppers, before, layout, solver)
    ratio = ridge_ratio.view(1, -1, *[1] * (norms.ndim - 2))
    weight = torch.where(norms > 0, ratio * overlap / norms, 0.0)
    symmetric = (d_final + d_final.transpose(-1, -2)) / 2  # H is, so the rest of its adjoint changes nothing
    after, d_initial = pieces.states_adjoint(x, z, weight, k, gates, before, symmetric, layout)
    dk, d_gates = pieces.rows_adjoint(x, z, weight, curvature, k, gates, before, after, layout)
    return z, dk, d_gates, -(overlap * norms).transpose(0, 1).flatten(1).sum(1), d_initial


class _Regression(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, q, k, gates, ridge_ratio, initial, layout, solver, want_facts, pieces, known
    ):
        if known is None:
            solutions, final = solved(q, k, gates, ridge_ratio, initial, layout, solver, want_facts, pieces)
        else:
            solutions, (_before, final) = known, pieces.states(k, k, gates, initial, layout)
        x, norms, uppers, facts = solutions
        ctx.save_for_backward(k, gates, ridge_ratio, initial, x, norms, uppers)
        ctx.layout, ctx.solver, ctx.pieces = layout, solver, pieces
        if facts is None:
            return x, final
        ctx.mark_non_differentiable(*facts)
        return x, final, *facts

    @staticmethod
    def backward(ctx, dx, d_final, *_):  # type: ignore[no-untyped-def]
        k, gates, ridge_ratio, initial, x, norms, uppers = ctx.saved_tensors
        layout, solver, pieces, given = ctx.layout, ctx.solver, ctx.pieces, (k, gates, ridge_ratio, initial)
        if torch.is_grad_enabled():  # what follows is to be differentiated again
            z, *_ = _Regression.apply(dx, *given, layout, solver, False, pieces, None)
            again = partial(_applied, x, layout=layout, pieces=pieces)
            found = (z, *adjoint(again, given, (-pieces.as_chunks(z, layout), d_final)))
        else:
            found = solved_adjoint(dx, d_final, Solutions(x, norms, uppers, None), *given, layout, solver, pieces)
        return *found, None, None, None, None, None


def _applied(
    x: torch.Tensor,
    k: torch.Tensor,
    gates: torch.Tensor,
    ridge_ratio: torch.Tensor,
    initial: torch.Tensor,
    layout: Layout,
    pieces: Pieces,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A_t x_t and the final state, in operations that are differentiable any number of times."""
    x, k, gates = (pieces.as_chunks(part, layout) for part in (x, k, gates))
    initial = (initial + initial.transpose(-1, -2)) / 2
    Hx, final = readout(x, k, k, gates, initial, layout, 1.0)
    decay = Decay(gates)
    before, _ = differentiable_scan((k * decay.to_end).transpose(-1, -2) @ k, decay.whole, initial, layout)
    norm, _ = Grams(k, gates, before).norms()
    return Hx + (ridge_ratio[:, None] * norm).unsqueeze(-1) * x, final
