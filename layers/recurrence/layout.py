"""Tokens cut into chunks: decay inside them, and recurrences that run from chunk to chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch.nn.functional import pad

__all__ = ["Decay", "Layout", "adjoint", "differentiable_scan", "gate_gradient", "inner", "states_before"]

ELEMENTS = {"cpu": 2**18, "cuda": 2**26}  # of a vector per token worked on at a time: on a CPU what a cache holds
STRETCH = {"cpu": 2**18, "cuda": 2**26}  # the same, where each step is a few products of small matrices
LOWEST = -800.0  # exp of it is zero in every format


class Layout:
    """Chunks of at most ``size`` tokens, none of which holds tokens of two sequences.

    Chunks are numbered sequence by sequence. The last one of a sequence is filled up with zeros: a token with zero key
    and gate leaves the state as it is.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each sequence, in the order in which they follow each other.
    size : int
    device : torch.device

    Attributes
    ----------
    chunks : int
    equal : bool
        Whether all sequences are of one length: then no tables of indices are needed.
    """

    def __init__(self, lengths: Sequence[int], size: int, device: torch.device) -> None:
        self.size, self.device = size, device
        self._lengths = tuple(lengths)
        self._counts = [-(-length // size) for length in lengths]
        self._first = [0, *accumulate(self._counts)]
        self.chunks, self.tokens = self._first.pop(), sum(lengths)
        self.equal = len(set(lengths)) == 1

    @cached_property
    def table(self) -> torch.Tensor:
        """The first token of each chunk and the one after its last, int64, (chunks, 2), on the device."""
        ends = accumulate(self._lengths)
        rows = [
            (start, min(start + self.size, end))
            for length, end in zip(self._lengths, ends, strict=True)
            for start in range(end - length, end, self.size)
        ]
        return torch.tensor(rows, dtype=torch.long, device=self.device).view(-1, 2)

    @cached_property
    def sequences(self) -> torch.Tensor:
        """The first chunk of each sequence, and the number of all, int64, (sequences + 1,), on the device."""
        return torch.tensor([*self._first, self.chunks], device=self.device)

    @cached_property
    def _longest_first(self) -> list[int]:
        return sorted(range(len(self._counts)), key=lambda s: -self._counts[s])

    @cached_property
    def _by_rank(self) -> list[list[int]]:
        """The sequences that have a first, second, ... chunk, longest first."""
        order = self._longest_first
        return [[s for s in order if self._counts[s] > rank] for rank in range(max(self._counts, default=0))]

    @cached_property
    def _places(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The token of each place of the chunks, one beyond the last where there is none; the place of each token."""
        sizes = torch.tensor(self._lengths, dtype=torch.long)
        sequence = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
        within = torch.arange(self.tokens) - (sizes.cumsum(0) - sizes)[sequence]
        place = self.size * torch.tensor(self._first, dtype=torch.long)[sequence] + within
        token = torch.full((self.chunks * self.size,), self.tokens, dtype=torch.long)
        token[place] = torch.arange(self.tokens)
        return token.to(self.device), place.to(self.device)

    def split(self, tokens: torch.Tensor) -> torch.Tensor:
        """From (B, T, H, ...) to (chunks, H, size, ...)."""
        rows = tokens.flatten(0, 1)
        if self.equal:
            rows = rows.unflatten(0, (len(self._lengths), self._lengths[0]))
            beyond = self._counts[0] * self.size - self._lengths[0]
            if beyond:
                rows = pad(rows, (0, 0) * (rows.ndim - 2) + (0, beyond))
            rows = rows.flatten(0, 1)
        else:
            rows = pad(rows, (0, 0) * (rows.ndim - 1) + (0, 1)).index_select(0, self._places[0])
        return rows.unflatten(0, (self.chunks, self.size)).transpose(1, 2).contiguous()

    def join(self, chunks: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        """From (chunks, H, size, ...) to (B, T, H, ...), B and T given by ``shape``."""
        rows = chunks.transpose(1, 2).flatten(0, 1)
        if self.equal:
            rows = rows.unflatten(0, (len(self._lengths), self._counts[0] * self.size))
            rows = rows[:, : self._lengths[0]].flatten(0, 1)
        else:
            rows = rows.index_select(0, self._places[1])
        return rows.unflatten(0, tuple(shape[:2])).contiguous()

    def widths(self) -> list[int]:
        """How many sequences have a first, second, ... chunk."""
        return [sum(count > rank for count in self._counts) for rank in range(max(self._counts, default=0))]

    def stretches(self, elements: int) -> list[range]:
        """Ranks of chunks to be worked on together, where one chunk has so many elements."""
        budget, widths = STRETCH.get(self.device.type, STRETCH["cuda"]), self.widths()
        found, first = [], 0
        while first < len(widths):
            most = max(budget // max(elements * widths[first], 1), 1)
            found.append(range(first, min(first + most, len(widths))))
            first = found[-1].stop
        return found

    def take(self, tokens: torch.Tensor, stretches: Sequence[range]) -> list[torch.Tensor]:
        """The chunks of each stretch, rank by rank, those of longer sequences first: (chunks H, size, ...).

        From (B, T, H, ...); without a copy where a stretch is one chunk of one sequence, or of one head.
        """
        rows = tokens.flatten(0, 1)
        if self.equal:
            count = len(self._lengths)
            rows = rows.unflatten(0, (count, self._lengths[0]))
            beyond = self._counts[0] * self.size - self._lengths[0]
            if beyond:
                rows = pad(rows, (0, 0) * (rows.ndim - 2) + (0, beyond))
            order = (1, 0, 3, 2, *range(4, rows.ndim + 1))
            found = rows.split([self.size * len(ranks) for ranks in stretches], 1)
            return [part.unflatten(1, (-1, self.size)).permute(order).flatten(0, 2) for part in found]
        rows = pad(rows, (0, 0) * (rows.ndim - 1) + (0, 1)).index_select(0, self._taken[0])
        widths = self.widths()
        found = rows.split([self.size * sum(widths[rank] for rank in ranks) for ranks in stretches])
        return [part.unflatten(0, (-1, self.size)).transpose(1, 2).flatten(0, 1) for part in found]

    def put_together(self, parts: Sequence[torch.Tensor], shape: Sequence[int]) -> torch.Tensor:
        """What ``take`` took, from (chunks H, size, ...) to (B, T, H, ...), the first three given by ``shape``."""
        batch, length, heads = shape[:3]
        if self.equal:
            count, found = len(self._lengths), []
            for part in parts:
                order = (1, 0, 3, 2, *range(4, part.ndim + 2))
                found.append(part.unflatten(0, (-1, count, heads)).permute(order).flatten(1, 2))
            rows = torch.cat(found, 1)[:, : self._lengths[0]].flatten(0, 1)
        else:
            rows = torch.cat([part.unflatten(0, (-1, heads)).transpose(1, 2).flatten(0, 1) for part in parts])
            rows = rows.index_select(0, self._taken[1])
        return rows.unflatten(0, (batch, length))

    def longest_first(self, states: torch.Tensor) -> torch.Tensor:
        """From the order of the sequences, (N, ...)."""
        return states if self.equal else states.index_select(0, self._orders[0])

    def as_given(self, states: torch.Tensor) -> torch.Tensor:
        """Back to it."""
        return states if self.equal else states.index_select(0, self._orders[1])

    @cached_property
    def _taken(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The token of each place, rank by rank, and the place of each token."""
        chunks = [self._first[s] + rank for rank, sequences in enumerate(self._by_rank) for s in sequences]
        order = torch.tensor(chunks, dtype=torch.long)
        token, place = (part.cpu() for part in self._places)
        taken = token.view(-1, self.size)[order].flatten()
        rank = order.argsort()
        put = rank[place // self.size] * self.size + place % self.size
        return taken.to(self.device), put.to(self.device)

    @cached_property
    def _orders(self) -> tuple[torch.Tensor, torch.Tensor]:
        order = torch.tensor(self._longest_first, dtype=torch.long)
        return order.to(self.device), order.argsort().to(self.device)

    def groups(self, heads: int, dimension: int) -> Iterator[slice]:
        """Slices of chunks to be worked on together."""
        budget = ELEMENTS.get(self.device.type, ELEMENTS["cuda"])
        step = max(budget // max(heads * self.size * dimension, 1), 1)
        for start in range(0, self.chunks, step):
            yield slice(start, min(start + step, self.chunks))

    def scan(
        self, increments: torch.Tensor, decay: torch.Tensor, initial: torch.Tensor, reverse: bool = False
    ) -> torch.Tensor:
        """Run S <- decay S + increment through the chunks of every sequence, from the last to the first if ``reverse``.

        Parameters
        ----------
        increments : Tensor, (chunks, H, n, m)
            Overwritten by what S was before each chunk.
        decay : Tensor, (chunks, H)
        initial : Tensor, (sequences, H, n, m)

        Returns
        -------
        Tensor, (sequences, H, n, m)
            S after all chunks.
        """
        state = initial.clone()
        ranks = range(len(self._by_rank))
        for rank in reversed(ranks) if reverse else ranks:
            sequences = self._by_rank[rank]
            if len(sequences) == 1:
                one, chunk = sequences[0], self._first[sequences[0]] + rank
                increment = increments[chunk].clone()
                increments[chunk] = state[one]
                state[one].mul_(decay[chunk, :, None, None]).add_(increment)
            else:
                places = torch.tensor([(s, self._first[s] + rank) for s in sequences], device=self.device)
                these, chunks = places.unbind(1)
                before = state[these]
                state[these] = torch.addcmul(increments[chunks], decay[chunks, :, None, None], before)
                increments[chunks] = before
        return state


class Decay:
    """exp of sums of log gates over stretches of a chunk.

    The sums are differences of cumulative sums in double precision, so that long stretches cost no accuracy; gates of
    minus infinity count as -800, since a difference of infinities would be none.

    Parameters
    ----------
    gates : Tensor, (chunks, H, C)
        Log decays, at most 0.

    Attributes
    ----------
    within : Tensor, (chunks, H, C, C)
        M_tj = exp(sum of the gates after j up to t) for j <= t, else 0.
    since_start, to_end : Tensor, (chunks, H, C, 1)
        What is left at a token of the state before the chunk; after the chunk, of what the token wrote.
    """

    def __init__(self, gates: torch.Tensor) -> None:
        self.dtype, self._total = gates.dtype, gates.double().clamp_min(LOWEST).cumsum(-1)
        self.since_start = self._total.exp().to(self.dtype).unsqueeze(-1)
        self.to_end = (self._total[..., -1:] - self._total).exp().to(self.dtype).unsqueeze(-1)
        self._within: torch.Tensor | None = None

    @property
    def within(self) -> torch.Tensor:
        if self._within is None:
            difference = self._total.unsqueeze(-1) - self._total.unsqueeze(-2)
            self._within = difference.to(self.dtype).tril().exp_().tril()
        return self._within

    @property
    def within_before(self) -> torch.Tensor:
        """``within`` without the decay of token t itself, for j < t, else 0."""
        difference = self._before.unsqueeze(-1) - self._total.unsqueeze(-2)
        return difference.to(self.dtype).tril(-1).exp_().tril(-1)

    @property
    def since_start_before(self) -> torch.Tensor:
        """``since_start`` without the decay of the token itself."""
        return self._before.exp().to(self.dtype).unsqueeze(-1)

    @property
    def _before(self) -> torch.Tensor:
        return pad(self._total[..., :-1], (1, 0))

    @property
    def whole(self) -> torch.Tensor:
        """Over the whole chunk, (chunks, H)."""
        return self.since_start[..., -1, 0]


def gate_gradient(terms: torch.Tensor, boundary: torch.Tensor, gates: torch.Tensor) -> torch.Tensor:
    """Gradient of the gates, (chunks, H, C), from dgate_t = terms_t + dgate_{t+1} within a chunk.

    ``boundary``, (chunks, H), is <P, S> of the state S after the chunk and its adjoint P, where the recurrence begins.
    Zero where a gate is minus infinity: nothing passes through it.
    """
    total = terms.double().flip(-1).cumsum(-1).flip(-1) + boundary.unsqueeze(-1)
    return torch.where(torch.isneginf(gates), 0.0, total).to(gates.dtype)


def states_before(k: torch.Tensor, values: torch.Tensor, decay: Decay, initial: torch.Tensor, layout: Layout) -> Any:
    """The state sum_j M_tj k_j v_j^T before each chunk, and after the last one of each sequence."""
    increments = torch.matmul((k * decay.to_end).transpose(-1, -2), values)
    final = layout.scan(increments, decay.whole, initial)
    return increments, final


def differentiable_scan(
    increments: torch.Tensor, decay: torch.Tensor, initial: torch.Tensor, layout: Layout, reverse: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """``Layout.scan``, differentiable any number of times: S before each chunk, and after all of them."""
    return _Scan.apply(increments, decay, initial, layout, reverse)


class _Scan(torch.autograd.Function):
    """With S' = decay S + increment, the adjoints are P = decay P', the same the other way."""

    @staticmethod
    def forward(ctx, increments, decay, initial, layout, reverse):  # type: ignore[no-untyped-def]
        before = increments.clone()
        final = layout.scan(before, decay, initial, reverse)
        ctx.save_for_backward(decay, before)
        ctx.layout, ctx.reverse = layout, reverse
        return before, final

    @staticmethod
    def backward(ctx, d_before, d_final):  # type: ignore[no-untyped-def]
        decay, before = ctx.saved_tensors
        after, d_initial = differentiable_scan(d_before, decay, d_final, ctx.layout, not ctx.reverse)
        return after, inner(before, after), d_initial, None, None


def inner(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Inner products of states, (..., n, m), without an array of their products."""
    rows, columns = (state.flatten(0, 1).flatten(1) for state in (a, b))
    return torch.bmm(rows.unsqueeze(1), columns.unsqueeze(2)).view(a.shape[:2])


def adjoint(
    function: Callable[..., Sequence[torch.Tensor]], inputs: Sequence[torch.Tensor], cotangents: Sequence[torch.Tensor]
) -> tuple[Any, ...]:
    """Gradients of <function(*inputs), cotangents>, differentiable in inputs, cotangents and what function holds.

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers.recurrence.layout import adjoint
    >>> x = torch.tensor(2.0, requires_grad=True)
    >>> (once,) = adjoint(lambda x: (x**3,), (x,), (torch.tensor(1.0),))
    >>> once.item(), torch.autograd.grad(once, x)[0].item()
    (12.0, 12.0)
    """
    with torch.enable_grad():
        # Views, so that nothing passes through what function holds and was itself computed from the inputs.
        views = [
            tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_() for tensor in inputs
        ]
        return torch.autograd.grad(function(*views), views, cotangents, create_graph=True)
