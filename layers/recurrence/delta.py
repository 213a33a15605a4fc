"""The members that write the error of what the state holds: the delta rule and its variants."""

from __future__ import annotations

import operator

import torch

from ...errors import InputError
from .checks import Boundaries
from .forms import in_both_forms, results
from .gains import implicit
from .recurrence import as_tokens

__all__ = [
    "chunk_delta_rule",
    "chunk_gated_delta_product",
    "chunk_gated_delta_rule",
    "chunk_kda",
    "chunk_longhorn",
    "fused_recurrent_delta_rule",
    "fused_recurrent_gated_delta_product",
    "fused_recurrent_gated_delta_rule",
    "fused_recurrent_kda",
    "fused_recurrent_longhorn",
]


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
    r"""The delta rule: what the state holds for a key is moved towards the value.

    For each head, with a state S (D, V),

        S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T,        o_t = scale S_t^T q_t.

    A step of gradient descent on ||v_t - S^T k_t||^2 / 2; keys longer than beta ||k||^2 = 2 make it diverge.

    Parameters
    ----------
    q, k : Tensor, (B, T, H, D)
        Queries and keys; float16, bfloat16, float32 or float64, on any device.
    v : Tensor, (B, T, HV, V)
        Values; HV may be a multiple of H, whose heads then serve as many of v that follow each other.
    beta : Tensor, (B, T, HV), optional
        Strengths in [0, 2], 1 if None; above 1 the state changes sign along k.
    scale : float, optional
        D^{-1/2} by default.
    initial_state : Tensor, (N, HV, D, V), optional
        S before the first token of each of the N sequences, N = B without ``cu_seqlens``. Zero by default.
    output_final_state : bool
        Return S after the last tokens.
    use_qk_l2norm_in_kernel : bool
        Bring q and k to unit length first.
    cu_seqlens : Tensor of integers or sequence of int, (N + 1,), optional
        Where sequences packed along T with B = 1 begin and end.
    form : {"auto", "chunk", "triton"}
        In plain PyTorch, or by Triton's kernels; by default the latter on a CUDA device, for D and V up to 128.
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
    Cost a token and head in multiplications and additions: 4 D V token by token,
    3 D V + C (2 D + V) in chunks of C tokens, whose states alone follow each other.

    Computed in float32, or float64 if q, k or v is; PyTorch differentiates it, to any order and in forward mode, and it
    is traced into one graph.

    References
    ----------
    Yang et al., "Parallelizing linear transformers with the delta rule over sequence length" (arXiv:2406.06484).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers.functional import chunk_delta_rule
    >>> _ = torch.manual_seed(0)
    >>> q, k, v = torch.randn(3, 2, 100, 4, 16)
    >>> k = torch.nn.functional.normalize(k, dim=-1)
    >>> beta = torch.rand(2, 100, 4)
    >>> o, state = chunk_delta_rule(q, k, v, beta, output_final_state=True)
    >>> o.shape, state.shape
    (torch.Size([2, 100, 4, 16]), torch.Size([2, 4, 16, 16]))
    """
    tokens = as_tokens(q, k, v, scale, cu_seqlens, normalized=use_qk_l2norm_in_kernel, validate=validate)
    b = tokens.strength("beta", beta, MOST)
    return results(form, tokens, tokens.recurrence(tokens.k, initial_state, e=tokens.k, b=b), output_final_state)


chunk_delta_rule, fused_recurrent_delta_rule = in_both_forms(_delta_rule, kernels=True)


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
    r"""The delta rule with one decay a head and token.

    For each head, with a state S (D, V),

        S <- exp(g_t) S_{t-1},    S_t = S + beta_t k_t (v_t - S^T k_t)^T,        o_t = scale S_t^T q_t.

    Parameters
    ----------
    q, k : Tensor, (B, T, H, D)
        Queries and keys; float16, bfloat16, float32 or float64, on any device.
    v : Tensor, (B, T, HV, V)
        Values; HV may be a multiple of H, whose heads then serve as many of v that follow each other.
    g : Tensor, (B, T, HV)
        Natural logarithms of the decays, at most 0; -inf forgets everything.
    beta : Tensor, (B, T, HV), optional
        Strengths in [0, 2], 1 if None; above 1 the state changes sign along k.
    scale : float, optional
        D^{-1/2} by default.
    initial_state : Tensor, (N, HV, D, V), optional
        S before the first token of each of the N sequences, N = B without ``cu_seqlens``. Zero by default.
    output_final_state : bool
        Return S after the last tokens.
    use_qk_l2norm_in_kernel : bool
        Bring q and k to unit length first.
    cu_seqlens : Tensor of integers or sequence of int, (N + 1,), optional
        Where sequences packed along T with B = 1 begin and end.
    form : {"auto", "chunk", "triton"}
        In plain PyTorch, or by Triton's kernels; by default the latter on a CUDA device, for D and V up to 128.
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
    Cost a token and head in multiplications and additions: 5 D V token by token,
    3 D V + C (2 D + V) in chunks of C tokens, whose states alone follow each other.

    Computed in float32, or float64 if q, k or v is; PyTorch differentiates it, to any order and in forward mode, and it
    is traced into one graph.

    References
    ----------
    Yang et al., "Gated delta networks" (arXiv:2412.06464).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers.functional import chunk_gated_delta_rule
    >>> _ = torch.manual_seed(0)
    >>> q, k, v = torch.randn(3, 2, 100, 4, 16)
    >>> k = torch.nn.functional.normalize(k, dim=-1)
    >>> beta, g = torch.rand(2, 100, 4), -torch.rand(2, 100, 4)
    >>> o, state = chunk_gated_delta_rule(q, k, v, g, beta, output_final_state=True)
    >>> o.shape, state.shape
    (torch.Size([2, 100, 4, 16]), torch.Size([2, 4, 16, 16]))
    """
    tokens = as_tokens(q, k, v, scale, cu_seqlens, normalized=use_qk_l2norm_in_kernel, validate=validate)
    b = tokens.strength("beta", beta, MOST)
    recurrence = tokens.recurrence(tokens.k, initial_state, e=tokens.k, b=b, g=tokens.gate("g", g))
    return results(form, tokens, recurrence, output_final_state)


chunk_gated_delta_rule, fused_recurrent_gated_delta_rule = in_both_forms(_gated_delta_rule, kernels=True)


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
    r"""Kimi Delta Attention: the delta rule with a decay for each channel of the keys.

    For each head, with a state S (D, V),

        S <- diag(exp(g_t)) S_{t-1},    S_t = S + beta_t k_t (v_t - S^T k_t)^T,        o_t = scale S_t^T q_t.

    Parameters
    ----------
    q, k : Tensor, (B, T, H, D)
        Queries and keys; float16, bfloat16, float32 or float64, on any device.
    v : Tensor, (B, T, HV, V)
        Values; HV may be a multiple of H, whose heads then serve as many of v that follow each other.
    g : Tensor, (B, T, HV, D)
        Natural logarithms of the decays, at most 0; -inf forgets everything.
    beta : Tensor, (B, T, HV), optional
        Strengths in [0, 2], 1 if None; above 1 the state changes sign along k.
    scale : float, optional
        D^{-1/2} by default.
    initial_state : Tensor, (N, HV, D, V), optional
        S before the first token of each of the N sequences, N = B without ``cu_seqlens``. Zero by default.
    output_final_state : bool
        Return S after the last tokens.
    use_qk_l2norm_in_kernel : bool
        Bring q and k to unit length first.
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
    Cost a token and head in multiplications and additions: 5 D V token by token,
    3 D V + C (2 D + V) in chunks of C tokens, whose states alone follow each other.

    Computed in float32, or float64 if q, k or v is; PyTorch differentiates it, to any order and in forward mode, and it
    is traced into one graph.

    References
    ----------
    Kimi team, "Kimi Linear" (arXiv:2510.26692).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers.functional import chunk_kda
    >>> _ = torch.manual_seed(0)
    >>> q, k, v = torch.randn(3, 2, 100, 4, 16)
    >>> k = torch.nn.functional.normalize(k, dim=-1)
    >>> beta, g = torch.rand(2, 100, 4), -torch.rand(2, 100, 4, 16)
    >>> o, state = chunk_kda(q, k, v, g, beta, output_final_state=True)
    >>> o.shape, state.shape
    (torch.Size([2, 100, 4, 16]), torch.Size([2, 4, 16, 16]))
    """
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
    r"""DeltaProduct: several corrections of the delta rule a token.

    For each head, with a state S (D, V),

        S <- exp(g_t) S_{t-1},    n times:  S <- S + beta_i k_i (v_i - S^T k_i)^T,        o_t = scale S^T q_t,

    where those of token t are i = n t, ..., n t + n - 1. With n corrections, and beta of 2, n reflections a token.

    Parameters
    ----------
    q : Tensor, (B, T, H, D)
        Queries; float16, bfloat16, float32 or float64, on any device.
    k : Tensor, (B, n T, H, D)
        Keys.
    v : Tensor, (B, n T, HV, V)
        Values; HV may be a multiple of H.
    g : Tensor, (B, T, HV), or None
        Natural logarithms of the decays, at most 0; None for none.
    beta : Tensor, (B, n T, HV), or None
        Strengths in [0, 2], 1 if None.
    num_householder : int
        n.
    scale : float, optional
        D^{-1/2} by default.
    initial_state : Tensor, (N, HV, D, V), optional
        S before the first token of each of the N sequences, N = B without ``cu_seqlens``. Zero by default.
    output_final_state : bool
        Return S after the last tokens.
    use_qk_l2norm_in_kernel : bool
        Bring q and k to unit length first.
    cu_seqlens : Tensor of integers or sequence of int, (N + 1,), optional
        Where sequences packed along T with B = 1 begin and end.
    form : {"auto", "chunk", "triton"}
        In plain PyTorch, or by Triton's kernels; by default the latter on a CUDA device, for D and V up to 128.
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
    Cost a token and head in multiplications and additions: (4 n + 1) D V token by token,
    n (2 D V + C (2 D + V)) + D V in chunks of C tokens, whose states alone follow each other.

    Computed in float32, or float64 if q, k or v is; PyTorch differentiates it, to any order and in forward mode, and it
    is traced into one graph.

    References
    ----------
    Siems et al., "DeltaProduct" (arXiv:2502.10297).

    Examples
    --------
    Two swaps a token, of three things in a state of three rows: a rotation.

    >>> import torch
    >>> from resolvent.layers.functional import chunk_gated_delta_product
    >>> k = torch.nn.functional.normalize(torch.tensor([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]]), dim=-1)
    >>> k, state = k.repeat(3, 1)[None, :, None], torch.arange(3.0).view(1, 1, 3, 1)
    >>> v, beta = torch.zeros(1, 6, 1, 1), torch.full((1, 6, 1), 2.0)
    >>> q = torch.tensor([1.0, 0.0, 0.0]).expand(1, 3, 1, 3)
    >>> o, _ = chunk_gated_delta_product(q, k, v, None, beta, 2, scale=1.0, initial_state=state)
    >>> o.flatten().round().abs()
    tensor([1., 2., 0.])
    """
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


chunk_gated_delta_product, fused_recurrent_gated_delta_product = in_both_forms(_gated_delta_product, kernels=True)


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
    r"""Longhorn: the state nearest to the one before, of those nearer to the value.

    For each head, with a state S (D, V),

        S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T / (1 + beta_t ||k_t||^2),        o_t = scale S_t^T q_t.

    S_t is the minimiser of ||S - S_{t-1}||^2 + beta_t ||v_t - S^T k_t||^2; no keys or strengths make it diverge.

    Parameters
    ----------
    q, k : Tensor, (B, T, H, D)
        Queries and keys; float16, bfloat16, float32 or float64, on any device.
    v : Tensor, (B, T, HV, V)
        Values; HV may be a multiple of H, whose heads then serve as many of v that follow each other.
    beta : Tensor, (B, T, HV), optional
        Strengths at least 0, 1 if None.
    scale : float, optional
        D^{-1/2} by default.
    initial_state : Tensor, (N, HV, D, V), optional
        S before the first token of each of the N sequences, N = B without ``cu_seqlens``. Zero by default.
    output_final_state : bool
        Return S after the last tokens.
    use_qk_l2norm_in_kernel : bool
        Bring q and k to unit length first.
    cu_seqlens : Tensor of integers or sequence of int, (N + 1,), optional
        Where sequences packed along T with B = 1 begin and end.
    form : {"auto", "chunk", "triton"}
        In plain PyTorch, or by Triton's kernels; by default the latter on a CUDA device, for D and V up to 128.
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
    Cost a token and head in multiplications and additions: 4 D V token by token,
    3 D V + C (2 D + V) in chunks of C tokens, whose states alone follow each other.

    Computed in float32, or float64 if q, k or v is; PyTorch differentiates it, to any order and in forward mode, and it
    is traced into one graph.

    References
    ----------
    Liu et al., "Longhorn: state space models are amortized online learners" (arXiv:2407.14207).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers.functional import chunk_longhorn
    >>> _ = torch.manual_seed(0)
    >>> q, k, v = torch.randn(3, 2, 100, 4, 16)
    >>> beta = torch.rand(2, 100, 4)
    >>> o, state = chunk_longhorn(q, k, v, beta, output_final_state=True)
    >>> o.shape, state.shape
    (torch.Size([2, 100, 4, 16]), torch.Size([2, 4, 16, 16]))
    """
    tokens = as_tokens(q, k, v, scale, cu_seqlens, normalized=use_qk_l2norm_in_kernel, validate=validate)
    b = implicit(tokens.k, tokens.strength("beta", beta))
    return results(form, tokens, tokens.recurrence(tokens.k, initial_state, e=tokens.k, b=b), output_final_state)


chunk_longhorn, fused_recurrent_longhorn = in_both_forms(_longhorn, kernels=True)
