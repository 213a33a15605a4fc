"""Gated KalmaNet: a ridge regression over everything seen so far, solved at every token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ...errors import InputError
from ...naming import choice
from ..recurrence.forms import full_precision
from .accelerated import accelerated, keeps_16_bits, refusal
from .arguments import Info, Inputs, as_inputs, as_solver, is_transformed, mark_as_own, values_are_known
from .compiled import compiled
from .operators import chunk_wise
from .recurrent import recurrent
from .solving import Solver
from .transformed import transformed

__all__ = ["FORMS", "choose_form", "computed", "gated_kalmanet"]

Form = Callable[[Inputs, Solver, bool], tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor], Info | None]]

FORMS: dict[str, Form] = {"recurrent": recurrent, "chunk": chunk_wise, "compiled": compiled, "triton": accelerated}

COMPILED_UP_TO = 1 << 19  # tokens of a sequence times D^2: 32 tokens for D = 128, 128 for D = 64


def gated_kalmanet(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor | None = None,
    gk: torch.Tensor | None = None,
    alpha: torch.Tensor | None = None,
    beta: torch.Tensor | None = None,
    *,
    ridge_ratio: float | torch.Tensor = 0.02,
    solver: str | None = None,
    interval: str = "wolkowicz_styan",
    num_iter: int | None = None,
    rtol: float | None = None,
    scale: float | None = None,
    initial_state: tuple[torch.Tensor, torch.Tensor] | None = None,
    output_final_state: bool = False,
    cu_seqlens: torch.Tensor | Sequence[int] | None = None,
    form: str = "auto",
    return_info: bool = False,
    validate: bool = True,
) -> tuple[Any, ...]:
    r"""The value predicted for each query by ridge regression on the keys and values so far.

    For each head, with the states H (D, D) and U (D, V),

        H_t = exp(gk_t) H_{t-1} + beta_t^2 k_t k_t^T,       U_t = exp(g_t) U_{t-1} + beta_t^2 k_t v_t^T,
        x_t = (H_t + ridge_ratio ||H_t||_F I)^{-1} q_t,
        o_t = scale U_t^T (q_t + alpha_t (x_t - q_t)).

    The ridge grows with H, so that the condition number of every solve is at most 1 + 1 / ridge_ratio, whatever the
    keys, their scale and the number of tokens. Where H_t = 0, nothing has been seen, and x_t = 0.

    Parameters
    ----------
    q, k : Tensor, (B, T, H, D)
        Queries and keys, usually of unit length; float16, bfloat16, float32 or float64, on any device.
    v : Tensor, (B, T, H, V)
        Values.
    g, gk : Tensor, (B, T, H), optional
        Natural logarithms of the decays of U and of H, at most 0; -inf forgets everything. None: no decay. Give the
        same tensor for both to have the states decay together.
    alpha : Tensor, (B, T, H), optional
        Share of the regression, in [0, 1]: 0 is gated linear attention, 1 (None) the regression alone.
    beta : Tensor, (B, T, H), optional
        Strength with which keys and values are written, at least 0. It multiplies both, hence its square above.
    ridge_ratio : float or Tensor, () or (H,)
        The ridge over ||H_t||_F, positive. A tensor gets a gradient.
    solver : {"cg", "chebyshev", "exact", "paper"}, optional
        Conjugate gradients, which stop by the residual of each token; Chebyshev semi-iteration, which needs no inner
        products, and whose number of steps follows from the interval; a Cholesky factorisation for each token. The
        default is ``"cg"``, and ``"chebyshev"`` for tokens of 16 bits. ``"paper"`` is Chebyshev iteration on the
        interval of the Frobenius norm, 30 steps unless ``num_iter`` or ``rtol`` say otherwise.
    interval : {"wolkowicz_styan", "frobenius"}
        What is taken for the largest eigenvalue of H: a bound from trace and norm, 4 % added against rounding, or the
        norm alone.
    num_iter : int, optional
        Exactly so many steps: one product of H with a vector for each token; conjugate gradients may need fewer.
        Neither this nor ``rtol`` means anything to ``"exact"``.
    rtol : float, optional
        Instead of ``num_iter``: the relative residual that no token may exceed, in (0, 1). By default 1e-6 for
        ``"cg"``, as far as single precision goes, where rounding may leave a few times that; 3e-4 for ``"chebyshev"``
        and for tokens of 16 bits.
    scale : float, optional
        D^{-1/2} by default.
    initial_state : pair of Tensor, (N, H, D, D) and (N, H, D, V), optional
        H and U before the first token of each of the N sequences; N = B without ``cu_seqlens``. Zero by default.
    output_final_state : bool
        Return the states after the last token.
    cu_seqlens : Tensor of integers or sequence of int, (N + 1,), optional
        Where sequences of different lengths, packed along T with B = 1, begin and end: starts with 0, ends with T.
        Equal neighbours are empty sequences. Always read on the host.
    form : {"auto", "chunk", "triton", "compiled", "recurrent"}
        How it is computed. Chunk-wise parallel in PyTorch on any device; the same in Triton kernels, on a CUDA device,
        for D and V up to 256, but in float64; by compiled kernels token by token, on a CPU, without gradients; token
        by token in PyTorch, the definition. By default by Triton kernels where they can, compiled for few tokens on a
        CPU where no argument requires a gradient, chunk-wise otherwise. Forms agree to ``rtol``: name one where the
        arguments are computed with and without a graph and the results have to be the same.
    return_info : bool
        Return an ``Info``, too, which says how well each regression was solved. One more product a token.
    validate : bool
        Check values, too: that they are finite, gates and alpha in their ranges, the initial state symmetric and
        positive semidefinite. A state returned by this function is not checked again unless it was written to. False
        spares a GPU the wait for the results; shapes, dtypes and devices are checked always. What is not finite then
        makes its own token NaN and, where it is written, those that follow.

    Returns
    -------
    o : Tensor, (B, T, H, V)
        Of the dtype of v.
    final_state : pair of Tensor, or None
        H and U as ``initial_state``, in float32; float64 if q, k or v is.
    info : Info
        Only with ``return_info``: relative residual, bound of the condition number, and iterations, each (B, T, H).

    Raises
    ------
    InputError
        Shapes, dtypes or devices that do not fit, NaN, infinities, gates above 0, alpha outside [0, 1], beta below 0,
        ``cu_seqlens`` that do not cover T, a state that is not symmetric positive semidefinite, an unknown name, both
        ``num_iter`` and ``rtol``, or a form that cannot do what is asked.

    Notes
    -----
    Cost per token and head, in multiplications and additions: D^2 for each step token by token, D (D + 2 C) in chunks
    of C tokens; besides about D^2 + 2 D V. The states take D (D + V) numbers a sequence and head, whatever T.

    Conjugate gradients to 1e-6 take up to 1.4 times as long in float32 as Chebyshev iteration to 3e-4, and less than
    that where keys are alike, for they make use of the eigenvalues that there are, not of the interval alone; their
    gradients are a hundred times more accurate. Tokens of 16 bits, and their gradients, are rounded by more than 3e-4
    anyhow, and the products of Chebyshev iteration may then be of 16 bits, too. Where it matters that every token takes
    the same steps, name a solver and ``num_iter``.

    The gradient is the implicit one of the exact solution: another solve of the same kind, for all arguments and both
    initial states. A truncated solve makes it inexact in proportion to the residual. With ``create_graph`` it is
    differentiated again in the same way, to any order; then it keeps all states. Forward mode and the transforms of
    ``torch.func`` compose with it and with each other; they take the chunk-wise form in PyTorch, or the recurrent one.

    To what traces graphs the chunk-wise form is one operator, whichever computes it: there are meta and fake tensors,
    ``torch.export``, and ``torch.compile(fullgraph=True)``. Values are then checked when it runs.

    Computations are in float32, or float64 if q, k or v is; 16-bit inputs are converted first, but for the kernels of
    Triton, which multiply them as they are, with float32 for sums, states and solutions, and k times beta rounded to
    the type of k. Their products are as precise as ``rtol`` needs: 1e-2 takes one product of bfloat16. Keys so small
    that the trace of H is below the smallest normal number count as zero in the compiled form.

    References
    ----------
    Peng et al., "Gated KalmaNet: A Fading Memory Layer Through Test-Time Ridge Regression" (arXiv:2511.21016).
    Wolkowicz & Styan, "Bounds for eigenvalues using traces" (Linear Algebra Appl. 29, 1980), Theorem 2.1.

    Examples
    --------
    A hundred pairs of a key and a value, then the first key as a query: decaying memory finds the value again.

    >>> import torch
    >>> from resolvent.layers.functional import gated_kalmanet
    >>> _ = torch.manual_seed(0)
    >>> k = torch.nn.functional.normalize(torch.randn(1, 101, 4, 64), dim=-1)
    >>> k[:, 100] = k[:, 0]
    >>> v = torch.randn(1, 101, 4, 64)
    >>> v[:, 100] = v[:, 0]
    >>> g = torch.full((1, 101, 4), -0.01)
    >>> o, state, info = gated_kalmanet(k, k, v, g, g, scale=1.0, output_final_state=True, return_info=True)
    >>> o.shape, [tuple(part.shape) for part in state]
    (torch.Size([1, 101, 4, 64]), [(1, 4, 64, 64), (1, 4, 64, 64)])
    >>> bool(torch.cosine_similarity(o[0, 100], v[0, 0]).min() > 0.8)
    True
    >>> bool(info.relative_residual.max() <= 1e-5)
    True

    One more token, from that state:

    >>> o, state = gated_kalmanet(k[:, :1], k[:, :1], v[:, :1], initial_state=state, output_final_state=True)
    """
    chosen = as_solver(solver, interval, num_iter, rtol, q)
    form = choice("form", form, ("auto", *FORMS))
    states = initial_state if isinstance(initial_state, tuple | list) else ()
    given = (q, k, v, g, gk, alpha, beta, ridge_ratio, *states)
    changed = is_transformed(*given)
    if changed and form in ("compiled", "triton"):
        raise InputError(
            f"form: found {form!r} with a transform of torch.func or a tangent of forward mode; wanted 'chunk' or "
            "'recurrent'"
        )
    keep = not changed and form in ("auto", "triton") and keeps_16_bits(q, k, v, beta, chosen, form == "triton")
    inputs = as_inputs(q, k, v, g, gk, alpha, beta, ridge_ratio, scale, initial_state, cu_seqlens, validate, keep)
    name = form
    if form == "triton" and (reason := refusal(inputs.q, inputs.v, chosen)) is not None:
        raise InputError(f"form='triton': {reason}")
    if form == "auto":
        wanted = any(isinstance(part, torch.Tensor) and part.requires_grad for part in given)
        name = "chunk" if changed else choose_form(inputs, chosen, wanted)
    return computed(inputs, name, chosen, output_final_state, return_info, v.dtype)


def computed(
    inputs: Inputs, form: str, solver: Solver, output_final_state: bool, return_info: bool, dtype: torch.dtype
) -> tuple[Any, ...]:
    """What a user gets, from checked inputs: the output in ``dtype``, the states, and an ``Info`` if it is wanted."""
    run = FORMS[form]
    if form == "chunk" and is_transformed(*inputs.tensors()):
        if torch.compiler.is_compiling() or torch._C._dynamo.eval_frame.get_eval_frame_callback():
            raise InputError(
                "torch.compile: found a transform of torch.func, or a tangent of forward mode, in what is compiled; "
                "wanted it outside, as in torch.compiler.disable(torch.func.grad(f)): its rules are not traced"
            )
        run = transformed
    with full_precision(inputs.q.device.type):
        o, (H, U), info = run(inputs, solver, return_info)
    final_state = (mark_as_own(H), mark_as_own(U)) if output_final_state else None
    result = (o.to(dtype), final_state)
    return (*result, info) if return_info else result


def choose_form(inputs: Inputs, solver: Solver, differentiable: bool) -> str:
    """The fastest form that does what is needed: Triton's kernels, compiled ones for few tokens on a CPU, else chunks.

    ``differentiable`` is whether an argument requires a gradient, recorded or not: what is computed again for a
    checkpoint is then what was computed before.
    """
    if inputs.q.is_cuda and refusal(inputs.q, inputs.v, solver) is None:
        return "triton"
    compilable = inputs.q.device.type == "cpu" and solver.name != "exact" and values_are_known(inputs.q)
    if not compilable or differentiable:
        return "chunk"
    few = max(inputs.lengths, default=0) * inputs.q.shape[3] ** 2 <= COMPILED_UP_TO
    return "compiled" if few else "chunk"
