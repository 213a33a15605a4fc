"""The members that only add: linear attention, with decay of a head or of each channel of its keys."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ...errors import InputError
from . import checks
from .checks import Boundaries
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
    r"""Linear attention: sums of what keys and values were.

    For each head, with a state S (D, V),

        S_t = S_{t-1} + k_t v_t^T,        o_t = scale S_t^T q_t,

    Parameters
    ----------
    q, k : Tensor, (B, T, H, D)
        Queries and keys; float16, bfloat16, float32 or float64, on any device.
    v : Tensor, (B, T, HV, V)
        Values; HV may be a multiple of H, whose heads then serve as many of v that follow each other.
    scale : float, optional
        D^{-1/2} by default.
    initial_state : Tensor, (N, HV, D, V), or pair, optional
        S before the first token of each of the N sequences, N = B without ``cu_seqlens``. Zero by default.
    output_final_state : bool
        Return S after the last tokens.
    normalize : bool, optional
        Divide by scale q_t^T (k_1 + ... + k_t), as the mean over keys that are not negative; where that is 0, o is.
        States are then pairs, of S and the sum of keys (N, 1, HV, D). By default in ``chunk_linear_attn`` alone.
    cu_seqlens : Tensor of integers or sequence of int, (N + 1,), optional
        Where sequences packed along T with B = 1 begin and end.
    validate : bool
        Look at values, too: NaN, infinities, decays above 0, strengths out of range.

    Returns
    -------
    o : Tensor, (B, T, HV, V)
        Of the dtype of v.
    final_state : Tensor, (N, HV, D, V), or None
        In float32; float64 if q, k or v is.

    Raises
    ------
    InputError
        Names the argument, what was found and what was wanted.

    Notes
    -----
    Cost a token and head in multiplications and additions: 2 D V token by token,
    2 D V + C (D + V) / 2 in chunks of C tokens, whose states alone follow each other.

    Computed in float32, or float64 if q, k or v is; PyTorch differentiates it, to any order and in forward mode, and it
    is traced into one graph.

    References
    ----------
    Katharopoulos et al., "Transformers are RNNs" (arXiv:2006.16236).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers.functional import chunk_linear_attn
    >>> _ = torch.manual_seed(0)
    >>> q, k, v = torch.randn(3, 2, 100, 4, 16)
    >>> o, (state, keys) = chunk_linear_attn(q.exp(), k.exp(), v, output_final_state=True)
    >>> o.shape, state.shape, keys.shape
    (torch.Size([2, 100, 4, 16]), torch.Size([2, 4, 16, 16]), torch.Size([2, 1, 4, 16]))
    """
    tokens = as_tokens(q, k, v, scale, cu_seqlens, validate=validate)
    if not (form != "recurrent" if normalize is None else normalize):
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
    r"""Linear attention with one decay a head and token, as in Mamba-2 and RetNet.

    For each head, with a state S (D, V),

        S_t = exp(g_t) S_{t-1} + k_t v_t^T,        o_t = scale S_t^T q_t.

    Parameters
    ----------
    q, k : Tensor, (B, T, H, D)
        Queries and keys; float16, bfloat16, float32 or float64, on any device.
    v : Tensor, (B, T, HV, V)
        Values; HV may be a multiple of H, whose heads then serve as many of v that follow each other.
    g : Tensor, (B, T, HV), optional
        Natural logarithms of the decays, at most 0; -inf forgets everything.
    g_gamma : Tensor, (HV,), optional
        The same for constant decays, of RetNet; both together are added.
    scale : float, optional
        D^{-1/2} by default.
    initial_state : Tensor, (N, HV, D, V), optional
        S before the first token of each of the N sequences, N = B without ``cu_seqlens``. Zero by default.
    output_final_state : bool
        Return S after the last tokens.
    cu_seqlens : Tensor of integers or sequence of int, (N + 1,), optional
        Where sequences packed along T with B = 1 begin and end.
    validate : bool
        Look at values, too: NaN, infinities, decays above 0, strengths out of range.

    Returns
    -------
    o : Tensor, (B, T, HV, V)
        Of the dtype of v.
    final_state : Tensor, (N, HV, D, V), or None
        In float32; float64 if q, k or v is.

    Raises
    ------
    InputError
        Names the argument, what was found and what was wanted.

    Notes
    -----
    Cost a token and head in multiplications and additions: 3 D V token by token,
    2 D V + C (D + V) / 2 in chunks of C tokens, whose states alone follow each other.

    Computed in float32, or float64 if q, k or v is; PyTorch differentiates it, to any order and in forward mode, and it
    is traced into one graph.

    References
    ----------
    Dao & Gu, "Transformers are SSMs" (arXiv:2405.21060); Sun et al., "Retentive network" (arXiv:2307.08621).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers.functional import chunk_simple_gla
    >>> _ = torch.manual_seed(0)
    >>> q, k, v = torch.randn(3, 2, 100, 4, 16)
    >>> beta, g = torch.rand(2, 100, 4), -torch.rand(2, 100, 4)
    >>> o, state = chunk_simple_gla(q, k, v, g, output_final_state=True)
    >>> o.shape, state.shape
    (torch.Size([2, 100, 4, 16]), torch.Size([2, 4, 16, 16]))
    """
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
    r"""Gated linear attention: a decay for each channel of the keys.

    For each head, with a state S (D, V),

        S_t = diag(exp(g_t)) S_{t-1} + k_t v_t^T,        o_t = scale S_t^T q_t.

    Parameters
    ----------
    q, k : Tensor, (B, T, H, D)
        Queries and keys; float16, bfloat16, float32 or float64, on any device.
    v : Tensor, (B, T, HV, V)
        Values; HV may be a multiple of H, whose heads then serve as many of v that follow each other.
    g : Tensor, (B, T, HV, D)
        Natural logarithms of the decays, at most 0; -inf forgets everything.
    scale : float, optional
        D^{-1/2} by default.
    initial_state : Tensor, (N, HV, D, V), optional
        S before the first token of each of the N sequences, N = B without ``cu_seqlens``. Zero by default.
    output_final_state : bool
        Return S after the last tokens.
    cu_seqlens : Tensor of integers or sequence of int, (N + 1,), optional
        Where sequences packed along T with B = 1 begin and end.
    validate : bool
        Look at values, too: NaN, infinities, decays above 0, strengths out of range.

    Returns
    -------
    o : Tensor, (B, T, HV, V)
        Of the dtype of v.
    final_state : Tensor, (N, HV, D, V), or None
        In float32; float64 if q, k or v is.

    Raises
    ------
    InputError
        Names the argument, what was found and what was wanted.

    Notes
    -----
    Cost a token and head in multiplications and additions: 3 D V token by token,
    2 D V + C (D + V) / 2 in chunks of C tokens, whose states alone follow each other.

    Computed in float32, or float64 if q, k or v is; PyTorch differentiates it, to any order and in forward mode, and it
    is traced into one graph.

    References
    ----------
    Yang et al., "Gated linear attention transformers with hardware-efficient training" (arXiv:2312.06635).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers.functional import chunk_gla
    >>> _ = torch.manual_seed(0)
    >>> q, k, v = torch.randn(3, 2, 100, 4, 16)
    >>> g = -torch.rand(2, 100, 4, 16)
    >>> o, state = chunk_gla(q, k, v, g, output_final_state=True)
    >>> o.shape, state.shape
    (torch.Size([2, 100, 4, 16]), torch.Size([2, 4, 16, 16]))
    """
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
