"""The compiled form: decode steps and short prompts on a CPU, without gradients."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np
import torch

from ...backends.compiled.compiling import threads
from ...errors import InputError
from . import kernels
from .arguments import Inputs
from .info import Info
from .settings import Solver

__all__ = ["compiled"]

SOLVERS = {"chebyshev": kernels.CHEBYSHEV, "cg": kernels.CONJUGATE_GRADIENTS}
INTERVALS = {"wolkowicz_styan": kernels.WOLKOWICZ_STYAN, "frobenius": kernels.FROBENIUS}
# What stands for gates that are not given, and for facts that are not wanted.
NONE = {
    np.dtype(kind): (np.empty((0, 0), kind), (*np.empty((2, 0, 0), kind), np.empty((0, 0), np.int32)))
    for kind in (np.float32, np.float64)
}
PARALLEL_FROM = 1 << 17  # entries of H, summed over tokens, from which a second thread pays


def compiled(
    inputs: Inputs, solver: Solver, want_info: bool
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor], Info | None]:
    """Token by token, heads and sequences in parallel where there is work enough for two threads.

    A token and head costs D^2 + 2 D V multiplications and additions and one pass over both states, and D^2 for each
    step of the solver. A tolerance is looked at in every step, so that there are fewer steps than the bound asks for.

    Parameters
    ----------
    inputs : Inputs
    solver : Solver
    want_info : bool
        Costs one more product with H.

    Raises
    ------
    InputError
        The tensors need gradients or are not in the memory of the CPU, or the solver is ``"exact"``.
    """
    if inputs.q.device.type != "cpu":
        raise InputError(f"form: found 'compiled' for the device {inputs.q.device}; wanted 'chunk'")
    if solver.name not in SOLVERS:
        raise InputError(f"form: found 'compiled' for the solver {solver.name!r}; wanted 'chunk' or 'recurrent'")
    if inputs.want_gradient():
        raise InputError("form: found 'compiled' where gradients are needed; wanted 'chunk' or 'recurrent'")

    batch, tokens, heads, D = inputs.q.shape
    q, k, v, H, U = map(_array, (inputs.q, inputs.k, inputs.v, inputs.H, inputs.U))
    gates = (None if gate is None else _array(gate) for gate in (inputs.gk, inputs.g, inputs.alpha))
    none = NONE[q.dtype]
    o, H_end, U_end = (torch.empty(like.shape, dtype=inputs.q.dtype) for like in (v, H, U))
    facts = [np.empty((batch * tokens, heads), kind) for kind in (q.dtype, q.dtype, np.int32)] if want_info else none[1]
    work = batch * tokens * heads * D * D
    parallel = work >= PARALLEL_FROM and heads * len(inputs.lengths) > 1 and threads() > 1
    (kernels.all_tokens.parallel if parallel else kernels.all_tokens.serial)(
        q.reshape(batch * tokens, heads, D),
        k.reshape(batch * tokens, heads, D),
        v.reshape(batch * tokens, heads, v.shape[-1]),
        *(none[0] if gate is None else gate.reshape(batch * tokens, heads) for gate in gates),
        np.full(heads, _array(inputs.ridge_ratio), np.float64),
        inputs.scale,
        H,
        U,
        np.array([0, *accumulate(inputs.lengths)]),
        (
            SOLVERS[solver.name],
            INTERVALS[solver.interval],
            solver.num_iter or 0,
            0.0 if solver.rtol is None else solver.rtol,
        ),
        o.numpy().reshape(batch * tokens, heads, v.shape[-1]),
        H_end.numpy(),
        U_end.numpy(),
        tuple(facts),
    )
    info = Info(*(torch.from_numpy(fact).view(batch, tokens, heads) for fact in facts)) if want_info else None
    return o, (H_end, U_end), info


def _array(tensor: torch.Tensor) -> Any:
    return (tensor.detach() if tensor.requires_grad else tensor).contiguous().numpy()
