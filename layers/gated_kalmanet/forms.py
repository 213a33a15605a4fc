"""The forms of the operation, which compute the same in different ways. A new one is a function and a row here."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .arguments import Inputs
from .chunked import chunk_wise
from .compiled import compiled
from .info import Info
from .recurrent import recurrent
from .settings import Solver

__all__ = ["FORMS", "choose_form"]

Form = Callable[[Inputs, Solver, bool], tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor], Info | None]]

FORMS: dict[str, Form] = {"recurrent": recurrent, "chunk": chunk_wise, "compiled": compiled}

COMPILED_UP_TO = 1 << 19  # tokens of a sequence times D^2: 32 tokens for D = 128, 128 for D = 64


def choose_form(inputs: Inputs, solver: Solver, differentiable: bool) -> str:
    """The fastest form that does what is needed: compiled kernels for few tokens on a CPU, else chunks.

    ``differentiable`` is whether an argument requires a gradient, recorded or not: what is computed again for a
    checkpoint is then what was computed before.
    """
    few = max(inputs.lengths, default=0) * inputs.q.shape[3] ** 2 <= COMPILED_UP_TO
    compilable = inputs.q.device.type == "cpu" and solver.name != "exact" and not torch.compiler.is_compiling()
    return "compiled" if few and compilable and not differentiable else "chunk"
