"""What the chunk-wise form is made of: the steps of it that run over all chunks at once, in one implementation each.

``regression`` and ``readout`` put them together, forward and backward, once for all implementations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from ..recurrence.layout import Layout

__all__ = ["Facts", "Pieces", "Solutions"]


class Facts(NamedTuple):
    """What the solves showed, each one number a token: ||q - A x|| / ||q||, the bound of kappa(A), the iterations."""

    relative_residual: torch.Tensor
    condition: torch.Tensor
    iterations: torch.Tensor


class Solutions(NamedTuple):
    """x_t of every token, with ||H_t||_F, and the upper end of the interval that holds the spectrum of A_t."""

    x: torch.Tensor
    norms: torch.Tensor
    uppers: torch.Tensor
    facts: Facts | None


@dataclass(frozen=True)
class Pieces:
    """One implementation of the steps.

    ``rows`` below is what ``split`` makes of tokens (B, T, H, ...): (chunks, H, C, ...) for the plain ones; for
    Triton's (B T, H, ...), the tokens as they lie, whose kernels find the first token of a chunk in a table. Heads are
    the second axis of both. States are (chunks, H, D, V) and (sequences, H, D, V).

    With S_t the state exp(gate_t) S_{t-1} + k_t v_t^T, ``before`` is S before each chunk, and ``after`` the adjoint of
    S after it. H is S with k in place of v, U is S; A_t is H_t plus the ridge (``ridge``); m_t = q_t + alpha_t (x_t -
    q_t), or x_t where alpha is None; o_t = scale U_t^T m_t.

    The plain ones take the ridge in both of its shapes, and a ``strength`` last of all, rows of numbers b_t with which
    keys are written into H: b_t k_t k_t^T. Triton's take a ridge that grows with H, and no strength.

    Attributes
    ----------
    split : (tokens, layout) -> rows
    join : (rows, shape, layout) -> tokens
        Back to (B, T, H, ...), B and T given by ``shape``.
    as_chunks : (rows, layout) -> Tensor, (chunks, H, C, ...)
        In float32 or float64, differentiable: what second derivatives are computed with.
    states : (k, values, gates, initial, layout) -> (before, final)
        S before each chunk and at the end of each sequence, from k and values, rows.
    solve : (q, k, gates, ridge, before, layout, solver, want_facts) -> Solutions
        Of A_t x_t = q_t; 0 where A_t = 0.
    solve_adjoint : (dx, x, k, gates, ridge, norms, uppers, before, layout, solver) -> (z, curvature, overlap)
        A_t z_t = dx_t by the same steps, z_t^T x_t, and the curvature z_t^T A_t x_t, or z_t^T H_t x_t where the ridge
        does not grow with H.
    states_adjoint : (x, z, weight, k, gates, before, d_final, layout) -> (after, d_initial)
        P after each chunk and before each sequence, d_final being symmetric, with
        P_t = -(z_t x_t^T + x_t z_t^T) / 2 - weight_t H_t + exp(gate_{t+1}) P_{t+1}, the adjoint of H_t; the weight is
        None where the ridge does not grow with H.
    rows_adjoint : (x, z, weight, curvature, k, gates, before, after, layout) -> (dk, d_gates)
        dk_t = 2 b_t P_t k_t and dgate_t = -curvature_t - b_t k_t^T P_t k_t + dgate_{t+1}; third, where there is a
        strength, its gradient k_t^T P_t k_t.
    read : (x, q, alpha, k, v, gates, before, layout, scale) -> o
    read_states_adjoint : (do, x, q, alpha, gates, d_final, layout, scale) -> (after, d_initial)
        R after each chunk and before each sequence: R_t = scale m_t do_t^T + exp(gate_{t+1}) R_{t+1}.
    read_rows_adjoint :
        (do, o, x, q, alpha, k, v, gates, before, after, layout, scale) -> (dx, dq, dalpha, dk, dv, d_gates)
        dm_t = scale U_t do_t, whose shares are dx_t = alpha_t dm_t and dq_t, None where alpha is; dalpha_t =
        (x_t - q_t)^T dm_t; dk_t = R_t v_t, dv_t = R_t^T k_t, dgate_t = do_t^T o_t - v_t^T dv_t + dgate_{t+1}.
    step : (inputs, solver, want_info) -> o, (H, U), info; or None
        All of it, for sequences of one token each and no derivative, where there is a shorter way for these.
    """

    name: str
    split: Callable[[torch.Tensor, Layout], torch.Tensor]
    join: Callable[[torch.Tensor, Sequence[int], Layout], torch.Tensor]
    as_chunks: Callable[[torch.Tensor, Layout], torch.Tensor]
    states: Callable[..., tuple[torch.Tensor, torch.Tensor]]
    solve: Callable[..., Solutions]
    solve_adjoint: Callable[..., tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
    states_adjoint: Callable[..., tuple[torch.Tensor, torch.Tensor]]
    rows_adjoint: Callable[..., tuple[torch.Tensor, ...]]
    read: Callable[..., torch.Tensor]
    read_states_adjoint: Callable[..., tuple[torch.Tensor, torch.Tensor]]
    read_rows_adjoint: Callable[..., tuple[torch.Tensor | None, ...]]
    step: Callable[..., tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor], Any]] | None = None
