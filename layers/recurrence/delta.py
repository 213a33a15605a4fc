"""The members that write the error of what the state holds: the delta rule and its variants."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace

import torch

from ...errors import InputError
from . import checks
from .forms import in_both_forms, results
from .gains import CENTER, STRETCH, implicit, preconditioner
from .recurrence import Recurrence, Tokens, as_tokens, unit

__all__ = [
    "chunk_comba",
    "chunk_delta_rule",
    "chunk_gated_delta_product",
    "chunk_gated_delta_rule",
    "chunk_kda",
    "chunk_longhorn",
    "chunk_precond_gated_delta_rule",
    "chunk_precond_kda",
    "fused_recurrent_comba",
    "fused_recurrent_delta_rule",
    "fused_recurrent_gated_delta_product",
    "fused_recurrent_gated_delta_rule",
    "fused_recurrent_kda",
    "fused_recurrent_longhorn",
    "fused_recurrent_precond_gated_delta_rule",
    "fused_recurrent_precond_kda",
]

Boundaries = torch.Tensor | Sequence[int] | None

MOST = 2.0  # up to there I - beta k k^T expands nothing, for a key of unit length


def _delta_rule(
    form: str,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    beta: torch.Tensor | None = None,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: Boundaries = None,
    *,
    validate: bool = True,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    tokens = as_tokens(q, k, v, scale, cu_seqlens, normalized=use_qk_l2norm_in_kernel, validate=validate)
    b = tokens.strength("beta", beta, MOST)
    return results(form, tokens, tokens.recurrence(tokens.k, initial_state, e=tokens.k, b=b), output_final_state)


chunk_delta_rule, fused_recurrent_delta_rule = in_both_forms(_delta_rule)


def _gated_delta_rule(
    form: str,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor,
    beta: torch.Tensor | None = None,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: Boundaries = None,
    *,
    validate: bool = True,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    tokens = as_tokens(q, k, v, scale, cu_seqlens, normalized=use_qk_l2norm_in_kernel, validate=validate)
    b = tokens.strength("beta", beta, MOST)
    recurrence = tokens.recurrence(tokens.k, initial_state, e=tokens.k, b=b, g=tokens.gate("g", g))
    return results(form, tokens, recurrence, output_final_state)


chunk_gated_delta_rule, fused_recurrent_gated_delta_rule = in_both_forms(_gated_delta_rule)


def _kda(
    form: str,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor,
    beta: torch.Tensor | None = None,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: Boundaries = None,
    *,
    validate: bool = True,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    tokens = as_tokens(q, k, v, scale, cu_seqlens, normalized=use_qk_l2norm_in_kernel, validate=validate)
    b = tokens.strength("beta", beta, MOST)
    recurrence = tokens.recurrence(tokens.k, initial_state, e=tokens.k, b=b, g=tokens.gate("g", g, channels=True))
    return results(form, tokens, recurrence, output_final_state)


chunk_kda, fused_recurrent_kda = in_both_forms(_kda)


def _gated_delta_product(
    form: str,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor | None,
    beta: torch.Tensor | None,
    num_householder: int,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: Boundaries = None,
    *,
    validate: bool = True,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    try:
        n = operator.index(num_householder)
    except TypeError:
        raise InputError(f"num_householder: found {num_householder!r}; wanted an integer") from None
    if n < 1:
        raise InputError(f"num_householder: found {n}; wanted at least 1")
    tokens = as_tokens(q, k, v, scale, cu_seqlens, normalized=use_qk_l2norm_in_kernel, validate=validate, corrections=n)
    b = tokens.strength("beta", beta, MOST)
    gates = None if g is None else tokens.gate("g", g)
    return results(
        form, tokens, tokens.recurrence(tokens.k, initial_state, e=tokens.k, b=b, g=gates), output_final_state
    )


chunk_gated_delta_product, fused_recurrent_gated_delta_product = in_both_forms(_gated_delta_product)


def _comba(
    form: str,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    p: torch.Tensor,
    g: torch.Tensor,
    beta: torch.Tensor | None = None,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: Boundaries = None,
    *,
    validate: bool = True,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    tokens = as_tokens(q, k, v, scale, cu_seqlens, normalized=use_qk_l2norm_in_kernel, validate=validate)
    b = tokens.strength("beta", beta, MOST)
    e = tokens.of_keys("p", p, tokens.k.shape)
    if use_qk_l2norm_in_kernel:
        e = unit(e)
    recurrence = tokens.recurrence(tokens.k, initial_state, e=e, b=b, g=tokens.gate("g", g), erase_undecayed=True)
    return results(form, tokens, recurrence, output_final_state)


chunk_comba, fused_recurrent_comba = in_both_forms(_comba)


def _longhorn(
    form: str,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    beta: torch.Tensor | None = None,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: Boundaries = None,
    *,
    validate: bool = True,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    tokens = as_tokens(q, k, v, scale, cu_seqlens, normalized=use_qk_l2norm_in_kernel, validate=validate)
    b = implicit(tokens.k, tokens.strength("beta", beta))
    return results(form, tokens, tokens.recurrence(tokens.k, initial_state, e=tokens.k, b=b), output_final_state)


chunk_longhorn, fused_recurrent_longhorn = in_both_forms(_longhorn)


def _precond_gated_delta_rule(
    form: str,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g_atk: torch.Tensor,
    g: torch.Tensor,
    beta_atk: torch.Tensor,
    beta: torch.Tensor | None = None,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    initial_A_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = True,
    cu_seqlens: Boundaries = None,
    *,
    x: float = STRETCH,
    eps: float = 1e-6,
    log_atk_scale: float | torch.Tensor | None = None,
    validate: bool = True,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    tokens = as_tokens(q, k, v, scale, cu_seqlens, normalized=use_qk_l2norm_in_kernel, validate=validate)
    b = tokens.strength("beta", beta, MOST)
    w, energy = _preconditioned(form, tokens, g_atk, beta_atk, initial_A_state, x, eps, log_atk_scale)
    recurrence = tokens.recurrence(w, initial_state, e=tokens.k, b=b, g=tokens.gate("g", g))
    o, state = results(form, tokens, recurrence, output_final_state)
    return o, state, energy if output_final_state else None


chunk_precond_gated_delta_rule, fused_recurrent_precond_gated_delta_rule = in_both_forms(_precond_gated_delta_rule)


def _precond_kda(
    form: str,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor,
    g_atk: torch.Tensor,
    beta_atk: torch.Tensor,
    beta: torch.Tensor | None = None,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    initial_A_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: Boundaries = None,
    *,
    x: float = STRETCH,
    eps: float = 1e-6,
    log_atk_scale: float | torch.Tensor | None = None,
    validate: bool = True,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    tokens = as_tokens(q, k, v, scale, cu_seqlens, normalized=use_qk_l2norm_in_kernel, validate=validate)
    b = tokens.strength("beta", beta, MOST)
    w, energy = _preconditioned(form, tokens, g_atk, beta_atk, initial_A_state, x, eps, log_atk_scale)
    recurrence = tokens.recurrence(w, initial_state, e=tokens.k, b=b, g=tokens.gate("g", g, channels=True))
    o, state = results(form, tokens, recurrence, output_final_state)
    return o, state, energy if output_final_state else None


chunk_precond_kda, fused_recurrent_precond_kda = in_both_forms(_precond_kda)


def _preconditioned(
    form: str,
    tokens: Tokens,
    g_atk: torch.Tensor,
    beta_atk: torch.Tensor,
    initial: torch.Tensor | None,
    stretch: float,
    eps: float,
    center: float | torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """w = m o k, and the last energy, (N, heads of keys, D).

    The energy A_t = exp(g_atk_t) A_{t-1} + beta_atk_t k_t o k_t is the recurrence itself, of a state of one row.
    """
    shape = tokens.k.shape[:3]
    decay, weight = tokens.of_keys("g_atk", g_atk, shape, gates=True), tokens.of_keys("beta_atk", beta_atk, shape)
    if isinstance(center, torch.Tensor):
        center = tokens.of_keys("log_atk_scale", center.reshape(1, 1, -1), (1, 1, shape[2])).unsqueeze(-1)
    rows = tokens.key_heads
    share = shape[2] // rows
    if initial is not None:
        checks.check_tensor("initial_A_state", initial, tokens.q)
        wanted = (len(tokens.lengths), rows, tokens.k.shape[3])
        checks.check_shape("initial_A_state", initial, wanted, "(N, H, D)")
        initial = initial.repeat_interleave(share, 1).unsqueeze(2)
    square = tokens.k.square()
    start = replace(tokens, v=square).state("initial_A_state", initial, 1, square.shape[3])
    one = square.new_ones((*shape, 1))
    energies = Recurrence(one, weight.unsqueeze(-1), square, start, tokens.lengths, g=decay)
    energy, final = results(form, replace(tokens, dtype=square.dtype), energies, True)
    assert final is not None
    m = preconditioner(energy, stretch, CENTER if center is None else center, eps)
    return m * tokens.k, final[:, ::share].squeeze(2)
