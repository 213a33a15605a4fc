"""The members of the delta rule that erase with another key than they write with."""

from __future__ import annotations

from dataclasses import replace

import torch

from . import checks
from .checks import Boundaries
from .delta import MOST
from .forms import in_both_forms, results
from .gains import CENTER, STRETCH, preconditioner
from .recurrence import Recurrence, Tokens, as_tokens, unit

__all__ = [
    "chunk_comba",
    "chunk_precond_gated_delta_rule",
    "chunk_precond_kda",
    "fused_recurrent_comba",
    "fused_recurrent_precond_gated_delta_rule",
    "fused_recurrent_precond_kda",
]


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
    r"""Comba: another key erases than writes.

    For each head, with a state S (D, V),

        S_t = exp(g_t) S_{t-1} + beta_t k_t (v_t - S_{t-1}^T p_t)^T,        o_t = scale S_t^T q_t.

    Parameters
    ----------
    q, k : Tensor, (B, T, H, D)
        Queries and keys; float16, bfloat16, float32 or float64, on any device.
    v : Tensor, (B, T, HV, V)
        Values; HV may be a multiple of H, whose heads then serve as many of v that follow each other.
    p : Tensor, (B, T, H, D)
        What is erased, of the state before it decays.
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
        Bring q, k and p to unit length first.
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
    Hu et al., "Comba" (arXiv:2506.02475).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers.functional import chunk_comba
    >>> _ = torch.manual_seed(0)
    >>> q, k, v = torch.randn(3, 2, 100, 4, 16)
    >>> k = torch.nn.functional.normalize(k, dim=-1)
    >>> beta, g = torch.rand(2, 100, 4), -torch.rand(2, 100, 4)
    >>> o, state = chunk_comba(q, k, v, 0.5 * k, g, beta, output_final_state=True)
    >>> o.shape, state.shape
    (torch.Size([2, 100, 4, 16]), torch.Size([2, 4, 16, 16]))
    """
    tokens = as_tokens(q, k, v, scale, cu_seqlens, normalized=use_qk_l2norm_in_kernel, validate=validate)
    b = tokens.strength("beta", beta, MOST)
    e = tokens.of_keys("p", p, tokens.k.shape)
    if use_qk_l2norm_in_kernel:
        e = unit(e)
    recurrence = tokens.recurrence(tokens.k, initial_state, e=e, b=b, g=tokens.gate("g", g), erase_undecayed=True)
    return results(form, tokens, recurrence, output_final_state)


chunk_comba, fused_recurrent_comba = in_both_forms(_comba, kernels=True)


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
    r"""The gated delta rule, preconditioned by the energy of each channel.

    For each head, with a state S (D, V),

        A_t = exp(g_atk_t) A_{t-1} + beta_atk_t k_t o k_t,
        m_t = x^(-y / (1 + abs(y))),  y = log(A_t + eps) - log_atk_scale,
        S <- exp(g_t) S_{t-1},    S_t = S + beta_t (m_t o k_t) (v_t - S^T k_t)^T,        o_t = scale S_t^T q_t.

    Parameters
    ----------
    q, k : Tensor, (B, T, H, D)
        Queries and keys; float16, bfloat16, float32 or float64, on any device.
    v : Tensor, (B, T, HV, V)
        Values; HV may be a multiple of H, whose heads then serve as many of v that follow each other.
    g_atk, beta_atk : Tensor, (B, T, H)
        Log decays and weights of A.
    g : Tensor, (B, T, HV)
        Natural logarithms of the decays, at most 0; -inf forgets everything.
    beta : Tensor, (B, T, HV), optional
        Strengths in [0, 2], 1 if None; above 1 the state changes sign along k.
    scale : float, optional
        D^{-1/2} by default.
    initial_state : Tensor, (N, HV, D, V), optional
        S before the first token of each of the N sequences, N = B without ``cu_seqlens``. Zero by default.
    initial_A_state : Tensor, (N, H, D), optional
        A before the first tokens. Zero by default.
    output_final_state : bool
        Return S and A after the last tokens.
    use_qk_l2norm_in_kernel : bool
        Bring q and k to unit length first.
    cu_seqlens : Tensor of integers or sequence of int, (N + 1,), optional
        Where sequences packed along T with B = 1 begin and end.
    x : float
        The largest m; its inverse is the smallest.
    eps : float
        Added to A in its logarithm.
    log_atk_scale : float or Tensor, (H,), optional
        The log A at which m = 1; -0.2 by default.
    validate : bool
        Look at values, too: NaN, infinities, decays above 0, strengths out of range.

    Returns
    -------
    o : Tensor, (B, T, HV, V)
        Of the dtype of v.
    final_state : Tensor, (N, HV, D, V), or None
        In float32; float64 if q, k or v is.
    final_A_state : Tensor, (N, H, D), or None

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
    "Preconditioned delta rules" (arXiv:2604.21100).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers.functional import chunk_precond_gated_delta_rule
    >>> _ = torch.manual_seed(0)
    >>> q, k, v = torch.randn(3, 2, 100, 4, 16)
    >>> k = torch.nn.functional.normalize(k, dim=-1)
    >>> beta, g = torch.rand(2, 100, 4), -torch.rand(2, 100, 4)
    >>> given = q, k, v, -torch.ones(2, 100, 4), g, beta, beta
    >>> o, state, energy = chunk_precond_gated_delta_rule(*given, output_final_state=True)
    >>> o.shape, energy.shape
    (torch.Size([2, 100, 4, 16]), torch.Size([2, 4, 16]))
    """
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
    r"""The delta rule of Kimi Delta Attention, preconditioned by the energy of each channel.

    For each head, with a state S (D, V),

        A_t = exp(g_atk_t) A_{t-1} + beta_atk_t k_t o k_t,
        m_t = x^(-y / (1 + abs(y))),  y = log(A_t + eps) - log_atk_scale,
        S <- diag(exp(g_t)) S_{t-1},    S_t = S + beta_t (m_t o k_t) (v_t - S^T k_t)^T,        o_t = scale S_t^T q_t.

    Parameters
    ----------
    q, k : Tensor, (B, T, H, D)
        Queries and keys; float16, bfloat16, float32 or float64, on any device.
    v : Tensor, (B, T, HV, V)
        Values; HV may be a multiple of H, whose heads then serve as many of v that follow each other.
    g : Tensor, (B, T, HV, D)
        Natural logarithms of the decays, at most 0; -inf forgets everything.
    g_atk, beta_atk : Tensor, (B, T, H)
        Log decays and weights of A.
    beta : Tensor, (B, T, HV), optional
        Strengths in [0, 2], 1 if None; above 1 the state changes sign along k.
    scale : float, optional
        D^{-1/2} by default.
    initial_state : Tensor, (N, HV, D, V), optional
        S before the first token of each of the N sequences, N = B without ``cu_seqlens``. Zero by default.
    initial_A_state : Tensor, (N, H, D), optional
        A before the first tokens. Zero by default.
    output_final_state : bool
        Return S and A after the last tokens.
    use_qk_l2norm_in_kernel : bool
        Bring q and k to unit length first.
    cu_seqlens : Tensor of integers or sequence of int, (N + 1,), optional
        Where sequences packed along T with B = 1 begin and end.
    x : float
        The largest m; its inverse is the smallest.
    eps : float
        Added to A in its logarithm.
    log_atk_scale : float or Tensor, (H,), optional
        The log A at which m = 1; -0.2 by default.
    validate : bool
        Look at values, too: NaN, infinities, decays above 0, strengths out of range.

    Returns
    -------
    o : Tensor, (B, T, HV, V)
        Of the dtype of v.
    final_state : Tensor, (N, HV, D, V), or None
        In float32; float64 if q, k or v is.
    final_A_state : Tensor, (N, H, D), or None

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
    "Preconditioned delta rules" (arXiv:2604.21100).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers.functional import chunk_precond_kda
    >>> _ = torch.manual_seed(0)
    >>> q, k, v = torch.randn(3, 2, 100, 4, 16)
    >>> k = torch.nn.functional.normalize(k, dim=-1)
    >>> beta, g = torch.rand(2, 100, 4), -torch.rand(2, 100, 4, 16)
    >>> given = q, k, v, g, -torch.ones(2, 100, 4), beta, beta
    >>> o, state, energy = chunk_precond_kda(*given, output_final_state=True)
    >>> o.shape, energy.shape
    (torch.Size([2, 100, 4, 16]), torch.Size([2, 4, 16]))
    """
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
