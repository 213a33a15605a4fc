"""The recurrent form: the definition, token by token in plain PyTorch; all else is held to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from .recurrence import Recurrence

__all__ = ["read", "recurrent", "token_by_token"]


def recurrent(recurrence: Recurrence) -> tuple[torch.Tensor, torch.Tensor]:
    """The outputs, (B, T, H, V), and the states after the last tokens, (N, H, D, V).

    PyTorch differentiates it, and keeps every state for that: D V numbers a correction and head.
    """
    n, channels = recurrence.corrections, recurrence.g is not None and recurrence.g.ndim == 4
    decay = None if recurrence.g is None else recurrence.g.exp()

    def step(S: torch.Tensor, r: Any, w: Any, v: Any, e: Any, b: Any, decay: Any) -> tuple[torch.Tensor, torch.Tensor]:
        before = S
        if decay is not None:
            S = decay.unsqueeze(-1) * S if channels else decay[..., None, None] * S
        for i in range(n):
            u = v[:, i]
            if e is not None:
                u = u - read(before if recurrence.erase_undecayed else S, e[:, i])
            if b is not None:
                u = b[:, i] * u
            S = S + w[:, i].unsqueeze(-1) * u.unsqueeze(-2)
        return S, recurrence.scale * read(S, r)

    length = recurrence.r.shape[1]
    given = (recurrence.w, recurrence.v, recurrence.e, recurrence.b)
    written = (None if rows is None else rows.unflatten(1, (length, n)) for rows in given)
    outputs, final = token_by_token(step, (recurrence.r, *written, decay), recurrence.initial, recurrence.lengths)
    return (recurrence.v[:, ::n].clone() if outputs is None else outputs), final


def token_by_token(
    step: Callable[..., tuple[torch.Tensor, torch.Tensor]],
    inputs: Sequence[torch.Tensor | None],
    initial: torch.Tensor,
    lengths: Sequence[int],
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Run (state, output) = step(state, *inputs of the token) through every sequence.

    Parameters
    ----------
    step : callable
    inputs : sequence of Tensor, (B, T, ...), or None
    initial : Tensor, (N, ...)
    lengths : sequence of int
        Of the N sequences that follow each other in the tokens.

    Returns
    -------
    outputs : Tensor, (B, T, ...), or None
        None where there are no tokens.
    final : Tensor, (N, ...)
    """
    tokens = next(rows for rows in inputs if rows is not None).shape[:2]
    rows = [None if one is None else one.flatten(0, 1) for one in inputs]
    count = len(lengths) if len(set(lengths)) == 1 else 1  # so many run side by side
    outputs, final, first = [], [], 0
    for n in range(0, len(lengths), count):
        state, length = initial[n : n + count], lengths[n]
        span = slice(first, first + count * length)
        part = [None if one is None else one[span].unflatten(0, (count, length)) for one in rows]
        found = []
        for t in range(length):
            state, output = step(state, *[None if one is None else one[:, t] for one in part])
            found.append(output)
        if found:
            outputs.append(torch.stack(found, 1).flatten(0, 1))
        final.append(state)
        first = span.stop
    return torch.cat(outputs).unflatten(0, tokens) if outputs else None, torch.cat(final) if final else initial


def read(S: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """S^T x."""
    return (x.unsqueeze(-2) @ S).squeeze(-2)
