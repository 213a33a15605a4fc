"""The operations under the names and with the arguments of flash-linear-attention, and its defaults."""

from __future__ import annotations

from typing import Any

import torch

from .mesa import mesa_net
from .operation import gated_kalmanet

__all__ = ["chunk_gka", "chunk_mesa_net"]

NORM_EPS = 1e-6  # added to squared lengths, as there


def chunk_gka(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor | None = None,
    gk: torch.Tensor | None = None,
    alpha: torch.Tensor | None = None,
    scale: float | None = None,
    ridge_ratio: float | torch.Tensor = 0.02,
    num_iter: int | None = 30,
    initial_state: tuple[torch.Tensor, torch.Tensor] | None = None,
    output_final_state: bool = False,
    cu_seqlens: torch.Tensor | None = None,
    cu_seqlens_cpu: torch.Tensor | None = None,
    *,
    solver: str = "paper",
    **options: Any,
) -> tuple[Any, ...]:
    """``gated_kalmanet`` with 30 steps of Chebyshev iteration on the interval of the Frobenius norm.

    Parameters
    ----------
    q, k, v, g, gk, alpha, scale, ridge_ratio, initial_state, output_final_state, cu_seqlens :
        As in ``gated_kalmanet``.
    num_iter : int, optional
        None where ``rtol`` is given.
    cu_seqlens_cpu : Tensor, optional
        ``cu_seqlens`` in the memory of the host, which saves a transfer.
    solver, **options :
        Further ones of ``gated_kalmanet``.

    Returns
    -------
    o : Tensor, (B, T, H, V)
    final_state : pair of Tensor, or None
    info : Info
        Only with ``return_info=True``.

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers.regression import chunk_gka
    >>> k = torch.nn.functional.normalize(torch.arange(24.0).sin().view(1, 6, 1, 4), dim=-1)
    >>> o, _, info = chunk_gka(k, k, k, return_info=True)
    >>> info.iterations.unique()
    tensor([30], dtype=torch.int32)
    """
    return gated_kalmanet(
        q, k, v, g, gk, alpha, ridge_ratio=ridge_ratio, solver=solver, num_iter=num_iter, scale=scale,
        initial_state=initial_state, output_final_state=output_final_state,
        cu_seqlens=cu_seqlens if cu_seqlens_cpu is None else cu_seqlens_cpu, **options,
    )  # fmt: skip


def chunk_mesa_net(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor | None,
    beta: torch.Tensor | None,
    lamb: float | torch.Tensor,
    h_kk_init: torch.Tensor | None = None,
    h_kv_init: torch.Tensor | None = None,
    output_final_state: bool = False,
    max_CG_iteration: int | None = 30,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: torch.Tensor | None = None,
    cu_seqlens_cpu: torch.Tensor | None = None,
    **options: Any,
) -> tuple[Any, ...]:
    """``mesa_net`` with at most 30 steps of conjugate gradients, fewer where the residual is down to rounding.

    Parameters
    ----------
    q, k, v, g, beta, lamb, output_final_state, cu_seqlens :
        As in ``mesa_net``.
    h_kk_init, h_kv_init : Tensor, (N, H, D, D) and (N, H, D, V), optional
        The states before the first token; both or neither.
    max_CG_iteration : int, optional
        None where ``rtol`` is given.
    use_qk_l2norm_in_kernel : bool
        Whether queries and keys are brought to unit length.
    cu_seqlens_cpu : Tensor, optional
        ``cu_seqlens`` in the memory of the host, which saves a transfer.
    **options :
        Further ones of ``mesa_net``.

    Returns
    -------
    o : Tensor, (B, T, H, V)
    h_kk, h_kv : Tensor, or None
        The states after the last token, where they are wanted.
    info : Info
        Only with ``return_info=True``.

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers.regression import chunk_mesa_net
    >>> k = torch.arange(24.0).sin().view(1, 6, 1, 4)
    >>> beta, lamb = torch.full((1, 6, 1), 0.5), torch.ones(1, 4)
    >>> o, h_kk, h_kv = chunk_mesa_net(k, k, k, None, beta, lamb, output_final_state=True, use_qk_l2norm_in_kernel=True)
    >>> o.shape, round(float(h_kk[0, 0].trace()), 4)
    (torch.Size([1, 6, 1, 4]), 3.0)
    """
    if use_qk_l2norm_in_kernel:
        q, k = _unit(q), _unit(k)
    initial = None if h_kk_init is None and h_kv_init is None else (h_kk_init, h_kv_init)
    o, state, *info = mesa_net(
        q, k, v, g, beta, lamb, num_iter=max_CG_iteration, initial_state=initial,
        output_final_state=output_final_state, cu_seqlens=cu_seqlens if cu_seqlens_cpu is None else cu_seqlens_cpu,
        **options,
    )  # fmt: skip
    return o, *(state or (None, None)), *info


def _unit(x: torch.Tensor) -> torch.Tensor:
    """In single precision at least."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (wide * torch.rsqrt(wide.square().sum(-1, keepdim=True) + NORM_EPS)).to(x.dtype)
