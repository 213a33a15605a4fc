"""Who holds what, and one gather a step: parameters that processes share, or of which each has a part."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist

from ...errors import InputError

__all__ = ["Layout", "gathered"]

Whole = Callable[[Sequence[torch.Tensor], Sequence[int]], list[torch.Tensor]]


class Layout:
    """How the parameters of a group lie on the processes.

    Parameters
    ----------
    parameters : sequence of tensors
        Of one kind: plain ones, or ``DTensor``s that are split along one axis of one mesh, or repeated on it.
    process_group : ProcessGroup, optional
        Of plain ones that are equal on its processes.

    Attributes
    ----------
    group : ProcessGroup or None
        Who takes part in the gather; None where nothing is shared.
    axes : list of int or None
        Along which each parameter is split.
    """

    def __init__(self, parameters: Sequence[torch.Tensor], process_group: Any) -> None:
        self.group = process_group
        self.axes: list[int | None] = [None] * len(parameters)
        self.shapes = [tuple(p.shape) for p in parameters]
        spread = [p for p in parameters if _is_spread(p)]
        if not spread:
            return
        mesh = spread[0].device_mesh
        if len(spread) < len(parameters) or any(p.device_mesh != mesh for p in spread) or mesh.ndim != 1:
            raise InputError("params: found parameters of several kinds or meshes; wanted one mesh of one axis a group")
        self.group = mesh.get_group()
        for i, p in enumerate(spread):
            (placement,) = p.placements
            if placement.is_shard():
                self.axes[i] = placement.dim
            elif not placement.is_replicate():
                raise InputError(f"params: found a parameter placed as {placement}; wanted Shard or Replicate")

    @property
    def size(self) -> int:
        """Processes that take part."""
        return dist.get_world_size(self.group)

    @property
    def rank(self) -> int:
        """The number of this one among them."""
        return dist.get_rank(self.group)

    def local(self, tensor: torch.Tensor) -> torch.Tensor:
        """What this process holds of a parameter, its gradient or momentum."""
        return tensor.to_local() if _is_spread(tensor) else tensor

    def part(self, i: int, rank: int) -> slice:
        """The rows (columns, ...) of parameter i that a process holds: equal pieces, the last ones shorter or empty."""
        length = self.shapes[i][self.axes[i]]  # type: ignore[index]
        piece = math.ceil(length / self.size)
        return slice(min(rank * piece, length), min((rank + 1) * piece, length))


def gathered(
    layout: Layout,
    directions: Sequence[torch.Tensor],
    shapes: Sequence[tuple[int, ...]],
    whole: Whole,
    dtype: torch.dtype,
) -> list[torch.Tensor]:
    """What ``whole`` makes of the directions, as far as this process holds it, with one gather at most.

    Parameters
    ----------
    layout : Layout
    directions : sequence of tensors
        What this process holds of each.
    shapes : sequence of tuples
        Of the matrices of each, as a whole.
    whole : callable (directions, numbers) -> list of tensors
        Works on whole directions, given with their numbers.
    dtype : torch.dtype
        Of what is handed round.

    Notes
    -----
    Where processes hold the same, each works on its share, by flops, and the results are gathered. Where each holds a
    part, the parts are gathered, and each process works on all: less to send than results as well.
    """
    every = range(len(directions))
    if layout.group is None:
        return [u.reshape(d.shape) for u, d in zip(whole(directions, every), directions, strict=True)]
    split = [i for i in every if layout.axes[i] is not None]
    alone = [i for i in every if layout.axes[i] is None]
    owner = _owners([_flops(shapes[i]) for i in alone], layout.size)
    mine = [i for i, rank in zip(alone, owner, strict=True) if rank == layout.rank]
    found = dict(zip(mine, whole([directions[i] for i in mine], mine), strict=True)) if mine else {}
    sent = [[found[i] for i in mine] + [directions[i] for i in split]]
    sizes = [
        [math.prod(shapes[i]) for i, who in zip(alone, owner, strict=True) if who == rank]
        + [_held(layout, i, rank) for i in split]
        for rank in range(layout.size)
    ]
    room = max(map(sum, sizes))
    like = directions[0]
    buffer = torch.zeros(room, dtype=dtype, device=like.device)
    filled = 0
    for tensor in sent[0]:
        buffer[filled : filled + tensor.numel()] = tensor.reshape(-1)
        filled += tensor.numel()
    every_buffer = torch.empty(layout.size * room, dtype=dtype, device=like.device)
    dist.all_gather_into_tensor(every_buffer, buffer, group=layout.group)
    pieces: dict[int, list[torch.Tensor]] = {i: [] for i in every}
    for rank, (parts, received) in enumerate(zip(sizes, every_buffer.split(room), strict=True)):
        theirs = [i for i, who in zip(alone, owner, strict=True) if who == rank] + split
        for i, piece in zip(theirs, received[: sum(parts)].split(parts), strict=True):
            pieces[i].append(piece.reshape(_shape_of(layout, i, rank, shapes[i])))
    results: list[Any] = [None] * len(directions)
    for i in alone:
        results[i] = pieces[i][0].reshape(directions[i].shape)
    if split:
        together = [torch.cat(pieces[i], dim=layout.axes[i]) for i in split]
        for i, update in zip(split, whole(together, split), strict=True):
            full = update.reshape(layout.shapes[i])
            part = layout.part(i, layout.rank)
            results[i] = full.narrow(layout.axes[i], part.start, part.stop - part.start)
    return results


def _shape_of(layout: Layout, i: int, rank: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    axis = layout.axes[i]
    if axis is None:
        return shape
    part = layout.part(i, rank)
    return (*layout.shapes[i][:axis], part.stop - part.start, *layout.shapes[i][axis + 1 :])


def _held(layout: Layout, i: int, rank: int) -> int:
    return math.prod(_shape_of(layout, i, rank, ()))


def _flops(shape: Sequence[int]) -> int:
    *lead, m, n = shape
    return math.prod(lead) * m * n * min(m, n)


def _owners(costs: Sequence[int], size: int) -> list[int]:
    """For each piece of work the process that does it: the dearest first, each to who has least to do."""
    load, owner = [0] * size, [0] * len(costs)
    for i in sorted(range(len(costs)), key=lambda i: -costs[i]):
        owner[i] = min(range(size), key=load.__getitem__)
        load[owner[i]] += costs[i]
    return owner


def _is_spread(tensor: torch.Tensor) -> bool:
    """Whether it is a ``DTensor``."""
    return hasattr(tensor, "device_mesh") and hasattr(tensor, "placements")
