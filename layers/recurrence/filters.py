"""The members that carry a covariance: the Kalman filter, recursive least squares, and filters of less."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import torch

from ...errors import InputError
from ...naming import choice
from . import checks
from .checks import Boundaries
from .forms import FORMS, results
from .gains import Covariance, diagonal_kalman, isotropic_kalman, kalman
from .recurrence import Tokens, as_tokens

__all__ = ["kalman_filter", "kdn", "rls"]

Number: TypeAlias = float | torch.Tensor


def kalman_filter(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor | None = None,
    *,
    noise: Number = 1.0,
    process_noise: Number = 0.0,
    initial_covariance: Number = 1.0,
    scale: float | None = None,
    initial_state: Any = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: Boundaries = None,
    form: str = "auto",
    validate: bool = True,
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor] | None]:
    r"""The Kalman filter of a state that drifts: the best linear estimate, with its exact covariance.

    For each head, with a state S (D, V),

        S <- exp(g_t) S,                P <- exp(2 g_t) P + Q,
        w_t = P k_t / (r_t + k_t^T P k_t),
        S <- S + w_t (v_t - S^T k_t)^T,    P <- P - w_t (P k_t)^T,        o_t = scale S^T q_t.

    All columns of S share P. The delta rule is this with P held at I.

    Parameters
    ----------
    q, k : Tensor, (B, T, H, D)
        Queries and keys; float16, bfloat16, float32 or float64, on any device.
    v : Tensor, (B, T, HV, V)
        Values; HV may be a multiple of H, whose heads then serve as many of v that follow each other.
    g : Tensor, (B, T, HV), optional
        Natural logarithms of the decays, at most 0; -inf forgets everything.
    noise : float or Tensor, (), (HV,) or (B, T, HV)
        r, the variance of the values about S^T k, positive.
    process_noise : float or Tensor, (), (HV,), diagonals (HV, D) or matrices (HV, D, D)
        Q, by which the true state drifts.
    initial_covariance : float or Tensor, (), (HV,), diagonals (HV, D) or matrices (HV, D, D)
        P before the first tokens.
    scale : float, optional
        D^{-1/2} by default.
    initial_state : Tensor, (N, HV, D, V), or pair, optional
        S, or S and P (N, HV, D, D), before the first token of each of the N sequences, N = B without
        ``cu_seqlens``. S is zero by default.
    output_final_state : bool
        Return both after the last tokens.
    use_qk_l2norm_in_kernel : bool
        Bring q and k to unit length first.
    cu_seqlens : Tensor of integers or sequence of int, (N + 1,), optional
        Where sequences packed along T with B = 1 begin and end.
    form : {"auto", "chunk", "triton", "recurrent"}
        The recurrence of S, given the gains: in chunks, in plain PyTorch or by Triton's kernels, or token by token. By
        default the kernels where tensors are on a CUDA device, D and V at most 128, and no decay is of a channel.
    validate : bool
        Look at values, too: NaN, infinities, decays above 0, strengths out of range.

    Returns
    -------
    o : Tensor, (B, T, HV, V)
        Of the dtype of v.
    final_state : pair of Tensor, or None
        S, (N, HV, D, V), and P, (N, HV, D, D).

    Raises
    ------
    InputError
        Names the argument, what was found and what was wanted.

    Notes
    -----
    Cost a token and head in multiplications and additions: 5 D V + 6 D^2 token by token,
    3 D V + C (2 D + V) + 6 D^2 in chunks of C tokens, whose states alone follow each other.

    Computed in float32, or float64 if q, k or v is; PyTorch differentiates it, to any order and in forward mode, and it
    is traced into one graph.

    Gains are computed token by token, since each needs P before it; for the gradient P of every token is kept, D^2
    numbers a token and head.

    References
    ----------
    Kalman, "A new approach to linear filtering and prediction problems" (J. Basic Eng. 82, 1960).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers.functional import kalman_filter
    >>> _ = torch.manual_seed(0)
    >>> q, k, v = torch.randn(3, 2, 20, 4, 8)
    >>> g = -0.1 * torch.rand(2, 20, 4)
    >>> o, state = kalman_filter(q, k, v, g, process_noise=0.1, noise=0.5, output_final_state=True)
    >>> o.shape, [tuple(part.shape) for part in state]
    (torch.Size([2, 20, 4, 8]), [(2, 4, 8, 8), (2, 4, 8, 8)])
    """
    form = choice("form", form, ("auto", *FORMS))
    tokens = as_tokens(q, k, v, scale, cu_seqlens, normalized=use_qk_l2norm_in_kernel, validate=validate)
    gates = None if g is None else tokens.gate("g", g)
    state, covariance = _pair(initial_state, "covariance")
    P = _covariance(tokens, initial_covariance, covariance)
    r = _per_token(tokens, "noise", noise)
    Q = _matrix(tokens, "process_noise", process_noise)
    growth = None if gates is None else 2 * gates
    found = kalman(tokens.k, r, P, tokens.lengths, growth, Q)
    return _filtered(form, tokens, found, gates, state, output_final_state)


def rls(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor | None = None,
    *,
    noise: Number = 1.0,
    initial_covariance: Number = 1.0,
    scale: float | None = None,
    initial_state: Any = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: Boundaries = None,
    form: str = "auto",
    validate: bool = True,
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor] | None]:
    r"""Recursive least squares with forgetting: ridge regression on all keys, with a prior that fades.

    For each head, with a state S (D, V),

        P <- exp(-g_t) P,    w_t = P k_t / (r_t + k_t^T P k_t),
        S <- S + w_t (v_t - S^T k_t)^T,    P <- P - w_t (P k_t)^T,        o_t = scale S^T q_t.

    S_t is (H_t + prod_i exp(g_i) P_0^{-1})^{-1} U_t, with the decayed sums H of k k^T / r and U of k v^T / r.

    Parameters
    ----------
    q, k : Tensor, (B, T, H, D)
        Queries and keys; float16, bfloat16, float32 or float64, on any device.
    v : Tensor, (B, T, HV, V)
        Values; HV may be a multiple of H, whose heads then serve as many of v that follow each other.
    g : Tensor, (B, T, HV), optional
        Natural logarithms of the decays, at most 0 and finite.
    noise : float or Tensor, (), (HV,) or (B, T, HV)
        r, the variance of the values about S^T k, positive.
    initial_covariance : float or Tensor, (), (HV,), diagonals (HV, D) or matrices (HV, D, D)
        P before the first tokens.
    scale : float, optional
        D^{-1/2} by default.
    initial_state : Tensor, (N, HV, D, V), or pair, optional
        S, or S and P (N, HV, D, D), before the first token of each of the N sequences, N = B without
        ``cu_seqlens``. S is zero by default.
    output_final_state : bool
        Return both after the last tokens.
    use_qk_l2norm_in_kernel : bool
        Bring q and k to unit length first.
    cu_seqlens : Tensor of integers or sequence of int, (N + 1,), optional
        Where sequences packed along T with B = 1 begin and end.
    form : {"auto", "chunk", "triton", "recurrent"}
        The recurrence of S, given the gains: in chunks, in plain PyTorch or by Triton's kernels, or token by token. By
        default the kernels where tensors are on a CUDA device, D and V at most 128, and no decay is of a channel.
    validate : bool
        Look at values, too: NaN, infinities, decays above 0, strengths out of range.

    Returns
    -------
    o : Tensor, (B, T, HV, V)
        Of the dtype of v.
    final_state : pair of Tensor, or None
        S, (N, HV, D, V), and P, (N, HV, D, D).

    Raises
    ------
    InputError
        Names the argument, what was found and what was wanted.

    Notes
    -----
    Cost a token and head in multiplications and additions: 4 D V + 5 D^2 token by token,
    3 D V + C (2 D + V) + 5 D^2 in chunks of C tokens, whose states alone follow each other.

    Computed in float32, or float64 if q, k or v is; PyTorch differentiates it, to any order and in forward mode, and it
    is traced into one graph.

    Gains are computed token by token, since each needs P before it; for the gradient P of every token is kept, D^2
    numbers a token and head.

    References
    ----------
    Haykin, "Adaptive filter theory", chapter on recursive least squares.

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers.functional import rls
    >>> _ = torch.manual_seed(0)
    >>> q, k, v = torch.randn(3, 2, 20, 4, 8)
    >>> g = -0.1 * torch.rand(2, 20, 4)
    >>> o, state = rls(q, k, v, g, initial_covariance=2.0, output_final_state=True)
    >>> o.shape, [tuple(part.shape) for part in state]
    (torch.Size([2, 20, 4, 8]), [(2, 4, 8, 8), (2, 4, 8, 8)])
    """
    form = choice("form", form, ("auto", *FORMS))
    tokens = as_tokens(q, k, v, scale, cu_seqlens, normalized=use_qk_l2norm_in_kernel, validate=validate)
    growth = None
    if g is not None:
        growth = -tokens.gate("g", g)
        if tokens.validate:
            checks.check_values("g", growth)
    state, covariance = _pair(initial_state, "covariance")
    P = _covariance(tokens, initial_covariance, covariance)
    found = kalman(tokens.k, _per_token(tokens, "noise", noise), P, tokens.lengths, growth)
    return _filtered(form, tokens, found, None, state, output_final_state)


def kdn(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor | None = None,
    *,
    noise: Number = 1.0,
    process_noise: Number = 0.0,
    covariance: str = "diagonal",
    initial_precision: Number = 1.0,
    step_size: float | None = None,
    scale: float | None = None,
    initial_state: Any = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: Boundaries = None,
    form: str = "auto",
    validate: bool = True,
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor] | None]:
    r"""Kalman Delta Network: the filter with a covariance that is diagonal, or one number.

    For each head, with a state S (D, V),

        p = exp(2 g_t) / c + omega,    w = p o k / (r + sum p k^2),    c <- 1 / p + s k^2 / r,
        S <- exp(g_t) S,    S <- S + w (v_t - S^T k_t)^T,        o_t = scale S^T q_t.

    With one number p takes the mean of exp(2 g) over channels, and c <- 1 / p + s ||k||^2 / (D r).

    Parameters
    ----------
    q, k : Tensor, (B, T, H, D)
        Queries and keys; float16, bfloat16, float32 or float64, on any device.
    v : Tensor, (B, T, HV, V)
        Values; HV may be a multiple of H, whose heads then serve as many of v that follow each other.
    g : Tensor, (B, T, HV) or (B, T, HV, D), optional
        Natural logarithms of the decays, at most 0; -inf forgets everything.
    noise : float or Tensor, (), (HV,) or (B, T, HV)
        r, the variance of the values about S^T k, positive.
    process_noise : float or Tensor, (), (HV,), (B, T, HV), or of a diagonal (B, T, HV, D)
        omega, at least 0.
    covariance : {"diagonal", "isotropic"}
        p of each channel, or one.
    initial_precision : float or Tensor, () or (HV,)
        c before the first tokens, positive.
    step_size : float, optional
        s; D by default.
    scale : float, optional
        D^{-1/2} by default.
    initial_state : Tensor, (N, HV, D, V), or pair, optional
        S, or S and c (N, HV, D or 1), before the first token of each of the N sequences, N = B without
        ``cu_seqlens``. S is zero by default.
    output_final_state : bool
        Return both after the last tokens.
    use_qk_l2norm_in_kernel : bool
        Bring q and k to unit length first.
    cu_seqlens : Tensor of integers or sequence of int, (N + 1,), optional
        Where sequences packed along T with B = 1 begin and end.
    form : {"auto", "chunk", "triton", "recurrent"}
        The recurrence of S, given the gains: in chunks, in plain PyTorch or by Triton's kernels, or token by token. By
        default the kernels where tensors are on a CUDA device, D and V at most 128, and no decay is of a channel.
    validate : bool
        Look at values, too: NaN, infinities, decays above 0, strengths out of range.

    Returns
    -------
    o : Tensor, (B, T, HV, V)
        Of the dtype of v.
    final_state : pair of Tensor, or None
        S, (N, HV, D, V), and c, (N, HV, D), or (N, HV, 1) of one number.

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
    "Kalman delta networks" (arXiv:2609.07816).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers.functional import kdn
    >>> _ = torch.manual_seed(0)
    >>> q, k, v = torch.randn(3, 2, 20, 4, 8)
    >>> g = -0.1 * torch.rand(2, 20, 4)
    >>> o, state = kdn(q, k, v, g, process_noise=0.1, noise=0.5, output_final_state=True)
    >>> o.shape, [tuple(part.shape) for part in state]
    (torch.Size([2, 20, 4, 8]), [(2, 4, 8, 8), (2, 4, 8)])
    """
    form, kind = choice("form", form, ("auto", *FORMS)), choice("covariance", covariance, ("diagonal", "isotropic"))
    tokens = as_tokens(q, k, v, scale, cu_seqlens, normalized=use_qk_l2norm_in_kernel, validate=validate)
    gates = None if g is None else tokens.gate("g", g, channels=isinstance(g, torch.Tensor) and g.ndim == 4)
    dimension = tokens.k.shape[3]
    width = dimension if kind == "diagonal" else 1
    state, precision = _pair(initial_state, "precision")
    if precision is None:
        value = _of_heads(tokens, "initial_precision", initial_precision, 0, strictly=True)
        c = value.unsqueeze(-1).expand(len(tokens.lengths), tokens.v.shape[2], width)
    else:
        c = tokens.state("initial_state, precision", precision, width)
    r = _per_token(tokens, "noise", noise)
    channels = kind == "diagonal" and isinstance(process_noise, torch.Tensor) and process_noise.ndim == 4
    omega = _per_token(tokens, "process_noise", process_noise, strictly=False, channels=channels)
    rule = diagonal_kalman if kind == "diagonal" else isotropic_kalman
    size = float(dimension if step_size is None else step_size)
    found = rule(tokens.k, r, omega, c, tokens.lengths, size, gates)
    return _filtered(form, tokens, found, gates, state, output_final_state)


def _filtered(
    form: str, tokens: Tokens, found: Covariance, g: torch.Tensor | None, state: Any, output_final_state: bool
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor] | None]:
    o, final = results(form, tokens, tokens.recurrence(found.w, state, e=tokens.k, g=g), output_final_state)
    return o, None if final is None else (final, found.final)


def _pair(initial_state: Any, second: str) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    if initial_state is None or isinstance(initial_state, torch.Tensor):
        return initial_state, None
    if isinstance(initial_state, tuple | list) and len(initial_state) == 2:
        return initial_state[0], initial_state[1]
    raise InputError(f"initial_state: wanted a tensor or a pair of them, the state and the {second}")


def _per_token(tokens: Tokens, name: str, value: Number, strictly: bool = True, channels: bool = False) -> torch.Tensor:
    """A number, or one a head, or one a token and head, or also one a channel: (B, T, H), or (B, T, H, D)."""
    shape = tokens.k.shape if channels else tokens.k.shape[:3]
    if isinstance(value, torch.Tensor) and value.ndim == len(shape):
        checks.check_tensor(name, value, tokens.q)
        checks.check_shape(name, value, shape, "(B, T, H, D)" if channels else "(B, T, H)")
        _check_sign(tokens, name, value, strictly)
        return checks.as_dtype(tokens.q.dtype, value)
    return _of_heads(tokens, name, value, 3, strictly).expand(shape)


def _of_heads(tokens: Tokens, name: str, value: Number, axes: int, strictly: bool) -> torch.Tensor:
    """A number, or one a head: () or (H,), or (1, H)."""
    if not isinstance(value, torch.Tensor):
        if not (math.isfinite(value) and (value > 0 or (value == 0 and not strictly))):
            raise InputError(f"{name}: found {value}; wanted a {'positive' if strictly else 'non-negative'} number")
        return tokens.q.new_full((1,), value)
    checks.check_tensor(name, value, tokens.q)
    heads = tokens.v.shape[2]
    if value.shape not in ((), (heads,)):
        more = ", (H,) or (B, T, H)" if axes == 3 else " or (H,)"
        raise InputError(f"{name}: found the shape {tuple(value.shape)}; wanted (){more}, where H is {heads}")
    _check_sign(tokens, name, value, strictly)
    return checks.as_dtype(tokens.q.dtype, value)


def _check_sign(tokens: Tokens, name: str, value: torch.Tensor, strictly: bool) -> None:
    if not tokens.validate:
        return
    checks.check_values(name, value, 0)
    if strictly and bool((value == 0).any()):
        raise InputError(f"{name}: found 0; wanted positive numbers")


def _matrix(tokens: Tokens, name: str, value: Number) -> torch.Tensor | None:
    """A covariance of each head: a number, one a head (H,), diagonals (H, D), or (H, D, D); None for the number 0."""
    if not isinstance(value, torch.Tensor):
        if value == 0:
            return None
        value = _of_heads(tokens, name, value, 1, strictly=False)
    checks.check_tensor(name, value, tokens.q)
    heads, dimension = tokens.v.shape[2], tokens.k.shape[3]
    shapes = ((), (1,), (heads,), (heads, dimension), (heads, dimension, dimension))
    if value.shape not in shapes:
        raise InputError(
            f"{name}: found the shape {tuple(value.shape)}; wanted (), (H,), diagonals (H, D) or matrices (H, D, D), "
            f"where H is {heads} and D is {dimension}"
        )
    value = checks.as_dtype(tokens.q.dtype, value)
    if value.ndim == 3:
        if tokens.validate:
            checks.check_semidefinite(name, value)
        return (value + value.mT) / 2
    _check_sign(tokens, name, value, strictly=False)
    diagonal = value if value.ndim == 2 else value.reshape(-1, 1).expand(-1, dimension)
    return torch.diag_embed(diagonal)


def _covariance(tokens: Tokens, start: Number, given: torch.Tensor | None) -> torch.Tensor:
    """P before the first token of each sequence, (N, H, D, D)."""
    heads, dimension = tokens.v.shape[2], tokens.k.shape[3]
    if given is not None:
        P = tokens.state("initial_state, covariance", given, dimension, dimension)
        if tokens.validate:
            checks.check_semidefinite("initial_state, covariance", P)
        return (P + P.mT) / 2
    found = _matrix(tokens, "initial_covariance", start)
    shape = (len(tokens.lengths), heads, dimension, dimension)
    return tokens.v.new_zeros(shape) if found is None else found.expand(shape)
