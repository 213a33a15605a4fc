"""The members that only add: linear attention, with decay of a head or of each channel of its keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from ...errors import InputError
from . import checks
from .forms import in_both_forms, results
from .recurrence import Tokens, as_tokens

__all__ = [
    "chunk_gla",
    "chunk_linear_attn",
    "chunk_simple_gla",
    "fused_recurrent_gla",
    "fused_recurrent_linear_attn",
    "fused_recurrent_simple_gla",
]

Boundaries = torch.Tensor | Sequence[int] | None


def _linear_attn(
    form: str,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scale: float | None = None,
    initial_state: Any = None,
    output_final_state: bool = False,
    normalize: bool | None = None,
    cu_seqlens: Boundaries = None,
    *,
    validate: bool = True,
) -> tuple[torch.Tensor, Any]:
    tokens = as_tokens(q, k, v, scale, cu_seqlens, validate=validate)
    if not (form == "chunk" if normalize is None else normalize):
        if isinstance(initial_state, tuple | list):
            raise InputError("initial_state: found a pair, of the state and the sum of keys; wanted normalize=True")
        return results(form, tokens, tokens.recurrence(tokens.k, initial_state), output_final_state)
    state, keys = initial_state if isinstance(initial_state, tuple | list) else (initial_state, None)
    o, final = results(form, tokens, tokens.recurrence(tokens.k, state), output_final_state)
    total, final_keys = _sum_of_keys(form, tokens, keys)
    o = (o.to(total.dtype) / torch.where(total == 0, 1, total)).to(o.dtype)
    return o, (final, final_keys.squeeze(-1).unsqueeze(1)) if output_final_state else None


def _sum_of_keys(form: str, tokens: Tokens, keys: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """scale q_t^T (k_1 + ... + k_t): the same recurrence with values of 1."""
    ones = replace(tokens, v=torch.ones_like(tokens.v[..., :1]), dtype=tokens.q.dtype)
    if keys is not None:
        checks.check_tensor("initial_state, keys", keys, tokens.q)
        wanted = (len(tokens.lengths), 1, *tokens.k.shape[2:])
        checks.check_shape("initial_state, keys", keys, wanted, "(N, 1, H, D)")
        keys = keys.squeeze(1).unsqueeze(-1)
    total, final = results(form, ones, ones.recurrence(tokens.k, keys), True)
    assert final is not None
    return total, final


chunk_linear_attn, fused_recurrent_linear_attn = in_both_forms(_linear_attn)


def _simple_gla(
    form: str,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor | None = None,
    g_gamma: torch.Tensor | None = None,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Boundaries = None,
    *,
    validate: bool = True,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    tokens = as_tokens(q, k, v, scale, cu_seqlens, validate=validate)
    if g is not None:
        g = tokens.gate("g", g)
    if g_gamma is not None:
        checks.check_tensor("g_gamma", g_gamma, tokens.q)
        checks.check_shape("g_gamma", g_gamma, tokens.q.shape[2:3], "(H,)")
        constant = tokens.gate("g_gamma", g_gamma.expand(tokens.q.shape[:3]))
        g = constant if g is None else g + constant
    return results(form, tokens, tokens.recurrence(tokens.k, initial_state, g=g), output_final_state)


chunk_simple_gla, fused_recurrent_simple_gla = in_both_forms(_simple_gla)


def _gla(
    form: str,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Boundaries = None,
    *,
    validate: bool = True,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    tokens = as_tokens(q, k, v, scale, cu_seqlens, validate=validate)
    g = tokens.gate("g", g, channels=True)
    return results(form, tokens, tokens.recurrence(tokens.k, initial_state, g=g), output_final_state)


chunk_gla, _ = in_both_forms(_gla)


def fused_recurrent_gla(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    gk: torch.Tensor,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Boundaries = None,
    *,
    validate: bool = True,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """``chunk_gla`` token by token in plain PyTorch: the definition; its g is called gk here."""
    return _gla("recurrent", q, k, v, gk, scale, initial_state, output_final_state, cu_seqlens, validate=validate)
