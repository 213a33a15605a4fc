"""The chunk-wise form: within a chunk a triangular system, from chunk to chunk the state."""

from __future__ import annotations

import torch

from . import pairs
from .layout import Layout
from .recurrence import Recurrence

__all__ = ["CHUNK", "chunked"]

CHUNK = 32  # corrections in a chunk, about


def chunked(recurrence: Recurrence) -> tuple[torch.Tensor, torch.Tensor]:
    r"""The outputs, (B, T, H, V), and the states after the last tokens, (N, H, D, V).

    With S the state before a chunk, G_t the sum of log decays up to t in it, M_tj = exp(G_t - G_j), and rows of its
    corrections in E, W and V, what is written there solves a triangular system,

        (I + strictLower(M o E W^T)) U = V - exp(G) E S,

    and then O = exp(G) R S + lower(M o R W^T) U, S' = exp(G_C) S + (exp(G_C - G) W)^T U. All of this but the state is
    computed of all chunks at once. Where decays are of channels they stand inside of the inner products.

    Cost a token and head in multiplications and additions, for chunks of C: 3 D V + C (2 D + V) + C^2 / 3 or so with
    erasure. Differentiated by PyTorch, to any order.

    References
    ----------
    Yang et al., "Parallelizing linear transformers with the delta rule over sequence length" (arXiv:2406.06484).
    Bischof & Van Loan, "The WY representation for products of Householder matrices" (SIAM J. Sci. Comput. 8, 1987).
    """
    n = recurrence.corrections
    size = _size(recurrence)
    layout = Layout(recurrence.lengths, size, recurrence.r.device)
    if not layout.chunks:
        return torch.zeros_like(recurrence.v), recurrence.initial
    r, g = layout.split(recurrence.r), None if recurrence.g is None else layout.split(recurrence.g)
    w, v = _corrections(recurrence.w, n, layout), _corrections(recurrence.v, n, layout)
    e = None if recurrence.e is None else _corrections(recurrence.e, n, layout)
    if g is None:
        chunk = pairs.undecayed(r, w, e, n)
    elif g.ndim == 3:
        chunk = pairs.with_heads(r, w, e, g, n, recurrence.erase_undecayed)
    else:
        chunk = pairs.with_channels(r, w, e, g, n)
    written, before, final = _through(chunk, v, recurrence.initial, layout)
    return layout.join(chunk.reads @ before + chunk.read @ written, recurrence.r.shape), final


def _through(
    chunk: pairs.Chunk, v: torch.Tensor, initial: torch.Tensor, layout: Layout
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """U of every chunk, the state before each, and after the last ones."""
    heads = v.shape[1]
    state = layout.longest_first(initial).flatten(0, 1)
    parts = [_in_turn(part, layout) for part in (v, chunk.writes)]
    turns = len(parts[0])
    inverse = None if chunk.erase is None else _inverse(chunk.erase)
    inverses, erases, whole = (
        [None] * turns if part is None else _in_turn(part, layout) for part in (inverse, chunk.erases, chunk.whole)
    )
    written, before, ended = [], [], []
    for u, w, X, e, decay in zip(*parts, inverses, erases, whole, strict=True):
        if len(u) < len(state):  # the shorter sequences are over
            ended.append(state[len(u) :])
            state = state[: len(u)]
        before.append(state)
        if X is not None:
            u = torch.bmm(X, torch.baddbmm(u, e, state, alpha=-1))
            written.append(u)
        state = torch.baddbmm(state if decay is None else decay * state, w.mT, u)
    final = torch.cat([state, *reversed(ended)]).unflatten(0, (-1, heads))
    U = v if inverse is None else layout.out_of_turn([u.unflatten(0, (-1, heads)) for u in written])
    S = layout.out_of_turn([s.unflatten(0, (-1, heads)) for s in before])
    return U, S, layout.as_given(final)


def _in_turn(part: torch.Tensor, layout: Layout) -> list[torch.Tensor]:
    return [turn.flatten(0, 1) for turn in layout.in_turn(part)]


def _inverse(lower: torch.Tensor) -> torch.Tensor:
    """(I + L)^{-1} of a strictly lower triangular L."""
    identity = torch.eye(lower.shape[-1], dtype=lower.dtype, device=lower.device).expand_as(lower)
    return torch.linalg.solve_triangular(lower, identity, upper=False, unitriangular=True)


def _corrections(rows: torch.Tensor, n: int, layout: Layout) -> torch.Tensor:
    """From (B, n T, H, D) to (chunks, H, C n, D)."""
    return layout.split(rows) if n == 1 else layout.split(rows.unflatten(1, (-1, n)).transpose(2, 3)).flatten(2, 3)


def _size(recurrence: Recurrence) -> int:
    """Tokens in a chunk: a power of two."""
    return max(1 << max(CHUNK // recurrence.corrections, 1).bit_length() - 1, 1)
