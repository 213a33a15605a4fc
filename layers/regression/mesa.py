"""MesaNet's operation, and ridge regression with any diagonal ridge that is the same for all tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ...naming import choice
from .arguments import as_inputs, as_solver
from .operation import computed

__all__ = ["mesa_net"]

FORMS = ("auto", "chunk", "recurrent")


def mesa_net(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor | None = None,
    beta: torch.Tensor | None = None,
    lamb: float | torch.Tensor = 1.0,
    *,
    solver: str = "cg",
    interval: str = "wolkowicz_styan",
    num_iter: int | None = None,
    rtol: float | None = None,
    scale: float = 1.0,
    initial_state: tuple[torch.Tensor, torch.Tensor] | None = None,
    output_final_state: bool = False,
    cu_seqlens: torch.Tensor | Sequence[int] | None = None,
    form: str = "auto",
    return_info: bool = False,
    validate: bool = True,
) -> tuple[Any, ...]:
    r"""The value predicted for each query by ridge regression on the keys and values so far, with a fixed ridge.

    For each head, with the states H (D, D) and U (D, V),

        H_t = exp(g_t) H_{t-1} + beta_t k_t k_t^T,       U_t = exp(g_t) U_{t-1} + beta_t k_t v_t^T,
        x_t = (H_t + diag(lamb))^{-1} q_t,               o_t = scale U_t^T x_t.

    This is MesaNet. Without g and beta it is ridge regression on all that was read, which recursive least squares solve
    too. Unlike Gated KalmaNet's, the ridge does not grow with H, so that the condition number is bounded by nothing but
    the number of tokens: (t + lamb) / lamb for one key of unit length, repeated without decay.

    Parameters
    ----------
    q, k : Tensor, (B, T, H, D)
        Queries and keys, usually of unit length; float16, bfloat16, float32 or float64, on any device.
    v : Tensor, (B, T, H, V)
        Values.
    g : Tensor, (B, T, H), optional
        Natural logarithms of the decay of both states, at most 0; -inf forgets everything. None: no decay.
    beta : Tensor, (B, T, H), optional
        Strength with which tokens are written, at least 0; 1 by default.
    lamb : float or Tensor, (), (H,) or (H, D)
        The ridge, positive. A tensor gets a gradient.
    solver : {"cg", "chebyshev", "exact", "paper"}
        As in ``gated_kalmanet``. Chebyshev iteration takes as many steps as the bound of the condition number asks for,
        which may be many.
    interval : {"wolkowicz_styan", "frobenius"}
        The bound of the largest eigenvalue of H.
    num_iter : int, optional
        At most so many steps.
    rtol : float, optional
        Instead of ``num_iter``: the relative residual that no token may exceed, in (0, 1); by default as there.
        Rounding leaves up to the condition number times 6e-8 in single precision.
    scale : float
        1 by default, other than in ``gated_kalmanet``.
    initial_state : pair of Tensor, (N, H, D, D) and (N, H, D, V), optional
        H and U before the first token of each of the N sequences; N = B without ``cu_seqlens``. Zero by default.
    output_final_state : bool
        Return the states after the last token.
    cu_seqlens : Tensor of integers or sequence of int, (N + 1,), optional
        Where sequences of different lengths, packed along T with B = 1, begin and end.
    form : {"auto", "chunk", "recurrent"}
        Chunk-wise parallel, which is what "auto" takes, or token by token, the definition; both in PyTorch on any
        device.
    return_info : bool
        Return an ``Info``, too, which says how well each regression was solved.
    validate : bool
        Check values, too, as in ``gated_kalmanet``.

    Returns
    -------
    o : Tensor, (B, T, H, V)
        Of the dtype of v.
    final_state : pair of Tensor, or None
        H and U as ``initial_state``, in float32; float64 if q, k or v is.
    info : Info
        Only with ``return_info``.

    Raises
    ------
    InputError
        As ``gated_kalmanet``, and for ``lamb`` that is not positive.

    Notes
    -----
    The gradient is the implicit one of the exact solution; of lamb it is -sum_t z_t o x_t, entry by entry, with
    (H_t + diag(lamb)) z_t = dx_t. It may be differentiated again, to any order. Costs are those of ``gated_kalmanet``.
    Iterations stop by the residual over the right-hand side, and go on as well for right-hand sides of any size, which
    those of the backward pass often are small; added constants, as in published kernels, would stop them early.

    References
    ----------
    von Oswald et al., "MesaNet: Sequence Modeling by Locally Optimal Test-Time Training" (arXiv:2506.05233).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers.regression import mesa_net
    >>> _ = torch.manual_seed(0)
    >>> k = torch.nn.functional.normalize(torch.randn(1, 50, 2, 16, dtype=torch.float64), dim=-1)
    >>> v = torch.randn(1, 50, 2, 4, dtype=torch.float64)
    >>> o, _ = mesa_net(k, k, v, lamb=0.5, solver="exact")
    >>> K, V = k[0, :, 0], v[0, :, 0]
    >>> W = torch.linalg.solve(K.T @ K + 0.5 * torch.eye(16), K.T @ V)
    >>> torch.allclose(o[0, -1, 0], W.T @ K[-1])
    True
    """
    chosen = as_solver(solver, interval, num_iter, rtol, q)
    form = choice("form", form, FORMS)
    inputs = as_inputs(q, k, v, g, g, None, beta, 0.0, scale, initial_state, cu_seqlens, validate, lamb=lamb)
    return computed(inputs, "chunk" if form == "auto" else form, chosen, output_final_state, return_info, v.dtype)
