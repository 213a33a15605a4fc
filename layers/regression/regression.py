"""x_t = (H_t + ridge)^{-1} q_t for all tokens, chunk by chunk, with its implicit derivative."""

from __future__ import annotations

from functools import partial

import torch

from ..recurrence.layout import Decay, Layout, adjoint, differentiable_scan
from .grams import Grams
from .pieces import Facts, Pieces, Solutions
from .plain import PLAIN
from .readout import readout
from .ridge import entries, grows
from .solving import Solver

__all__ = ["regression", "solved", "solved_adjoint"]


def regression(
    q: torch.Tensor,
    k: torch.Tensor,
    gates: torch.Tensor,
    ridge: torch.Tensor,
    initial: torch.Tensor,
    layout: Layout,
    solver: Solver,
    want_facts: bool = False,
    pieces: Pieces = PLAIN,
    known: Solutions | None = None,
    strength: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, Facts | None]:
    r"""Solve the regression of every token.

    With A_t = H_t + a F_t I, F_t = ||H_t||_F, or A_t = H_t + Lambda, Lambda diagonal and the same for all tokens, and
    H_t = exp(gate_t) H_{t-1} + b_t k_t k_t^T.

    Parameters
    ----------
    q, k : Tensor
        Rows of the pieces: of the plain ones (chunks, H, C, D).
    gates : Tensor
        One number a row.
    ridge : Tensor, () or (H,), or (H, D)
        a, or Lambda.
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
    strength : Tensor, optional
        b, at least 0, one number a row; 1 by default.

    Returns
    -------
    x : Tensor
        Rows as q; 0 where A_t = 0.
    final : Tensor, (sequences, H, D, D)
    facts : Facts or None

    Notes
    -----
    The derivative is that of the exact solution, at the x that was found: the adjoint z_t solves A_t z_t = dx_t by the
    same method to the same tolerance, and with P_t, the adjoint of H_t,

        P_t = -(z_t x_t^T + x_t z_t^T) / 2 - (a z_t^T x_t / F_t) H_t + exp(gate_{t+1}) P_{t+1},
        dk_t = 2 b_t P_t k_t,    db_t = k_t^T P_t k_t,    da = -sum_t F_t z_t^T x_t,
        dgate_t = exp(gate_t) <P_t, H_{t-1}> = -z_t^T A_t x_t - b_t k_t^T P_t k_t + dgate_{t+1},

    the latter since <P_t, H_t> is dgate_t + b_t k_t^T P_t k_t on the one hand, -z_t^T A_t x_t + dgate_{t+1} on the
    other. Where Lambda is given, P_t has no part of H_t, dLambda = -sum_t z_t o x_t, entry by entry, and H_t stands for
    A_t in the last line. Kept for it are k, x, F and the bounds; the states are computed again.
    """
    rows = ridge.expand(q.shape[1]) if ridge.ndim < 2 else ridge
    x, final, *facts = _Regression.apply(
        q, k, gates, rows, initial, strength, layout, solver, want_facts, pieces, known
    )
    return x, final, Facts(*facts) if want_facts else None


def solved(
    q: torch.Tensor,
    k: torch.Tensor,
    gates: torch.Tensor,
    ridge: torch.Tensor,
    initial: torch.Tensor,
    strength: torch.Tensor | None,
    layout: Layout,
    solver: Solver,
    want_facts: bool,
    pieces: Pieces,
) -> tuple[Solutions, torch.Tensor]:
    """``regression`` without its derivative: with all that the derivative takes; ``ridge`` is (H,) or (H, D)."""
    before, final = _grams(k, gates, initial, strength, layout, pieces)
    return pieces.solve(q, k, gates, ridge, before, layout, solver, want_facts, *_given(strength)), final


def _grams(
    k: torch.Tensor,
    gates: torch.Tensor,
    initial: torch.Tensor,
    strength: torch.Tensor | None,
    layout: Layout,
    pieces: Pieces,
) -> tuple[torch.Tensor, torch.Tensor]:
    """H before each chunk, and at the end of each sequence."""
    written = k if strength is None else k * strength.unsqueeze(-1)
    return pieces.states(k, written, gates, initial, layout)


def _given(strength: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
    """For pieces, not all of which take one."""
    return () if strength is None else (strength,)


def solved_adjoint(
    dx: torch.Tensor,
    d_final: torch.Tensor,
    solutions: Solutions,
    k: torch.Tensor,
    gates: torch.Tensor,
    ridge: torch.Tensor,
    initial: torch.Tensor,
    strength: torch.Tensor | None,
    layout: Layout,
    solver: Solver,
    pieces: Pieces,
) -> tuple[torch.Tensor | None, ...]:
    """The gradients of q, k, gates, ridge, initial and strength."""
    x, norms, uppers, _ = solutions
    given = _given(strength)
    before, _final = _grams(k, gates, initial, strength, layout, pieces)
    z, curvature, overlap = pieces.solve_adjoint(dx, x, k, gates, ridge, norms, uppers, before, layout, solver, *given)
    weight = None
    if grows(ridge):
        ratio = ridge.view(1, -1, *[1] * (norms.ndim - 2))
        weight = torch.where(norms > 0, ratio * overlap / norms, 0.0)
        d_ridge = -(overlap * norms).transpose(0, 1).flatten(1).sum(1)
    else:
        d_ridge = -(z * x).transpose(0, 1).flatten(1, -2).sum(1)
    symmetric = (d_final + d_final.transpose(-1, -2)) / 2  # H is, so the rest of its adjoint changes nothing
    after, d_initial = pieces.states_adjoint(x, z, weight, k, gates, before, symmetric, layout, *given)
    dk, d_gates, *rest = pieces.rows_adjoint(x, z, weight, curvature, k, gates, before, after, layout, *given)
    return z, dk, d_gates, d_ridge, d_initial, rest[0] if rest else None


class _Regression(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, q, k, gates, ridge, initial, strength, layout, solver, want_facts, pieces, known
    ):
        if known is None:
            solutions, final = solved(q, k, gates, ridge, initial, strength, layout, solver, want_facts, pieces)
        else:
            solutions, (_before, final) = known, _grams(k, gates, initial, strength, layout, pieces)
        x, norms, uppers, facts = solutions
        ctx.save_for_backward(k, gates, ridge, initial, strength, x, norms, uppers)
        ctx.layout, ctx.solver, ctx.pieces = layout, solver, pieces
        if facts is None:
            return x, final
        ctx.mark_non_differentiable(*facts)
        return x, final, *facts

    @staticmethod
    def backward(ctx, dx, d_final, *_):  # type: ignore[no-untyped-def]
        k, gates, ridge, initial, strength, x, norms, uppers = ctx.saved_tensors
        given = (k, gates, ridge, initial, strength)
        layout, solver, pieces = ctx.layout, ctx.solver, ctx.pieces
        if torch.is_grad_enabled():  # what follows is to be differentiated again
            z, *_ = _Regression.apply(dx, *given, layout, solver, False, pieces, None)
            again = partial(_applied, x, layout=layout, pieces=pieces)
            tensors = given if strength is not None else given[:-1]
            found = (z, *adjoint(again, tensors, (-pieces.as_chunks(z, layout), d_final)))
            found += (None,) * (len(given) - len(tensors))
        else:
            found = solved_adjoint(dx, d_final, Solutions(x, norms, uppers, None), *given, layout, solver, pieces)
        return *found, None, None, None, None, None


def _applied(
    x: torch.Tensor,
    k: torch.Tensor,
    gates: torch.Tensor,
    ridge: torch.Tensor,
    initial: torch.Tensor,
    strength: torch.Tensor | None = None,
    *,
    layout: Layout,
    pieces: Pieces,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A_t x_t and the final state, in operations that are differentiable any number of times."""
    x, k, gates = (pieces.as_chunks(part, layout) for part in (x, k, gates))
    initial = (initial + initial.transpose(-1, -2)) / 2
    written = k if strength is None else k * strength.unsqueeze(-1)
    Hx, final = readout(x, k, written, gates, initial, layout, 1.0)
    if not grows(ridge):
        return Hx + entries(ridge, gates) * x, final
    decay = Decay(gates)
    before, _ = differentiable_scan((k * decay.to_end).transpose(-1, -2) @ written, decay.whole, initial, layout)
    norm, _ = Grams(k, gates, before, strength).norms()
    return Hx + entries(ridge, norm) * x, final
