"""The chunk-wise form: within a chunk a triangular system, from chunk to chunk the state."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .layout import Layout
from .pairs import Chunk, Rows, decayed, undecayed
from .recurrence import Recurrence

__all__ = ["CHUNK", "chunked"]

CHUNK = 32  # corrections in a chunk, about


def chunked(recurrence: Recurrence) -> tuple[torch.Tensor, torch.Tensor]:
    r"""The outputs, (B, T, H, V), and the states after the last tokens, (N, H, D, V).

    With S the state before a chunk, G_t the sum of log decays up to t in it, M_tj = exp(G_t - G_j), and rows of its
    corrections in E, W and V and their strengths in B, what is written solves a triangular system,

        (I + B strictLower(M o E W^T)) U = B (V - exp(G) E S),

    and then O = exp(G) R S + lower(M o R W^T) U, S' = exp(G_C) S + (exp(G_C - G) W)^T U. All of this but the state is
    computed of many chunks at once. Where decays are of channels they stand inside of the inner products.

    Cost a token and head in multiplications and additions, for chunks of C: 3 D V + C (2 D + V) + C^2 / 3 or so with
    erasure.

    References
    ----------
    Yang et al., "Parallelizing linear transformers with the delta rule over sequence length" (arXiv:2406.06484).
    Bischof & Van Loan, "The WY representation for products of Householder matrices" (SIAM J. Sci. Comput. 8, 1987).
    """
    n = recurrence.corrections
    layout = Layout(recurrence.lengths, _size(recurrence), recurrence.r.device)
    if not layout.chunks:
        return torch.zeros_like(recurrence.v[:, ::n]), recurrence.initial
    heads, dimension = recurrence.r.shape[2:]
    counts = layout.widths()
    stretches = layout.stretches(heads * layout.size * n * dimension)
    read, gates = (_take(rows, 1, layout, stretches) for rows in (recurrence.r, recurrence.g))
    written, values, strengths = (_take(x, n, layout, stretches) for x in (recurrence.w, recurrence.v, recurrence.b))
    erased = written if recurrence.e is recurrence.w else _take(recurrence.e, n, layout, stretches)
    state = layout.longest_first(recurrence.initial).flatten(0, 1)
    outputs, ended = [], []
    for ranks, r, w, v, e, b, g in zip(stretches, read, written, values, erased, strengths, gates, strict=True):
        widths = [heads * counts[rank] for rank in ranks]
        rows = Rows(r, w, e, g)
        chunk = undecayed(rows, n) if g is None else decayed(rows, n, recurrence.erase_undecayed)
        o, state, over = _through(chunk, v, b, state, widths, recurrence.scale)
        outputs.append(o)
        ended += over
    final = torch.cat([state, *reversed(ended)]).unflatten(0, (-1, heads))
    return layout.put_together(outputs, recurrence.r.shape), layout.as_given(final)


def _through(
    chunk: Chunk, v: torch.Tensor, b: torch.Tensor | None, state: torch.Tensor, widths: Sequence[int], scale: float
) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """The outputs of the chunks, the state after them, and those of sequences that ended among them."""
    if chunk.erase is None:
        inverse, v = None, v if b is None else b * v
    else:
        inverse = _inverse(chunk.erase) if b is None else _inverse(b * chunk.erase) * b.mT
    given = (v, chunk.read, chunk.reads, chunk.writes, inverse, chunk.erases, chunk.whole)
    parts = [[part] * len(widths) if part is None or len(widths) == 1 else part.split(list(widths)) for part in given]
    outputs, ended = [], []
    for u, read, r, w, X, e, decay in zip(*parts, strict=True):
        if len(u) < len(state):  # the shorter sequences are over
            ended.append(state[len(u) :])
            state = state[: len(u)]
        if X is not None:
            u = torch.bmm(X, torch.baddbmm(u, e, state, alpha=-1))
        outputs.append(torch.baddbmm(torch.bmm(r, state), read, u, beta=scale, alpha=scale))
        state = torch.baddbmm(state if decay is None else decay * state, w.mT, u)
    return torch.cat(outputs) if len(outputs) > 1 else outputs[0], state, ended


def _inverse(lower: torch.Tensor) -> torch.Tensor:
    """(I + strictLower(L))^{-1}."""
    identity = torch.eye(lower.shape[-1], dtype=lower.dtype, device=lower.device).expand_as(lower)
    return torch.linalg.solve_triangular(lower, identity, upper=False, unitriangular=True)


def _take(
    rows: torch.Tensor | None, n: int, layout: Layout, stretches: Sequence[range]
) -> Sequence[torch.Tensor | None]:
    """Chunks (chunks H, C n, ...) of each stretch, from (B, n T, H, ...)."""
    if rows is None:
        return [None] * len(stretches)
    if n == 1:
        return layout.take(rows, stretches)
    return [part.flatten(1, 2) for part in layout.take(rows.unflatten(1, (-1, n)).transpose(2, 3), stretches)]


def _size(recurrence: Recurrence) -> int:
    """Tokens in a chunk: a power of two."""
    return 1 << max(CHUNK // recurrence.corrections, 1).bit_length() - 1
