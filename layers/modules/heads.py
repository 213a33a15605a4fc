"""The heads of a layer: how many queries, keys and values have, and how long they are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import silu

from ...errors import InputError

__all__ = ["Heads", "LowRank", "unit"]

NORM_EPS = 1e-6  # added to squared lengths, as in the released layers


@dataclass(frozen=True)
class Heads:
    """Numbers and lengths of heads.

    Parameters
    ----------
    q, k, v : int
        How many. Fewer ones serve several heads that follow each other.
    key_dim, value_dim : int
        How long one of queries and keys is, and one of values.

    Examples
    --------
    >>> from resolvent.layers.modules.heads import Heads
    >>> heads = Heads.of_length(64, 4, num_v_heads=8, expand_v=2.0)
    >>> heads.count, heads.key_dim, heads.value_dim
    (8, 64, 128)
    """

    q: int
    k: int
    v: int
    key_dim: int
    value_dim: int

    @classmethod
    def of_length(
        cls,
        head_dim: int,
        num_heads: int,
        num_v_heads: int | None = None,
        num_kv_heads: int | None = None,
        expand_v: float = 1.0,
    ) -> Heads:
        """Heads of a given length: more for values than for keys, or fewer for both than for queries.

        Raises
        ------
        InputError
            For numbers that do not fit.
        """
        _at_least_one(head_dim=head_dim, num_heads=num_heads, num_v_heads=num_v_heads, num_kv_heads=num_kv_heads)
        if num_kv_heads is not None and num_v_heads is not None:
            raise InputError(
                "num_kv_heads and num_v_heads: found both; wanted one, fewer key heads or more value heads"
            )
        if num_kv_heads is not None and num_heads % num_kv_heads:
            raise InputError(f"num_kv_heads: found {num_kv_heads}; wanted a divisor of num_heads = {num_heads}")
        if num_v_heads is not None and num_v_heads % num_heads:
            raise InputError(f"num_v_heads: found {num_v_heads}; wanted a multiple of num_heads = {num_heads}")
        value_dim = _whole("expand_v", expand_v, "head_dim", head_dim)
        return cls(num_heads, num_kv_heads or num_heads, num_v_heads or num_kv_heads or num_heads, head_dim, value_dim)

    @classmethod
    def sharing(
        cls,
        hidden_size: int,
        num_heads: int,
        num_kv_heads: int | None = None,
        expand_k: float = 1.0,
        expand_v: float = 1.0,
    ) -> Heads:
        """Heads that together are as long as the input, or a multiple of it.

        Raises
        ------
        InputError
            For numbers that do not fit.
        """
        _at_least_one(hidden_size=hidden_size, num_heads=num_heads, num_kv_heads=num_kv_heads)
        if num_kv_heads is not None and num_heads % num_kv_heads:
            raise InputError(f"num_kv_heads: found {num_kv_heads}; wanted a divisor of num_heads = {num_heads}")
        lengths = []
        for name, factor in (("expand_k", expand_k), ("expand_v", expand_v)):
            total = _whole(name, factor, "hidden_size", hidden_size)
            if total % num_heads:
                raise InputError(f"num_heads: found {num_heads}; wanted a divisor of {name} * hidden_size = {total}")
            lengths.append(total // num_heads)
        fewer = num_kv_heads or num_heads
        return cls(num_heads, fewer, fewer, *lengths)

    @property
    def count(self) -> int:
        """Heads that are worked with."""
        return max(self.q, self.v)

    @property
    def q_size(self) -> int:
        return self.q * self.key_dim

    @property
    def k_size(self) -> int:
        return self.k * self.key_dim

    @property
    def v_size(self) -> int:
        return self.v * self.value_dim

    @property
    def o_size(self) -> int:
        return self.count * self.value_dim

    def split(self, x: torch.Tensor, heads: int) -> torch.Tensor:
        """From (B, T, heads * length) to (B, T, count, length); each of fewer heads serves several in a row."""
        if heads == self.count:
            return x.unflatten(-1, (heads, -1))
        served = x.unflatten(-1, (heads, -1)).unsqueeze(3)
        return served.expand(-1, -1, -1, self.count // heads, -1).flatten(2, 3)


class LowRank(nn.Module):
    """B silu(A x), which is 0 at the start: what tells apart heads that were one.

    Parameters
    ----------
    size, wanted, rank : int
        A is (rank, size), B is (wanted, rank).
    """

    def __init__(self, size: int, wanted: int, rank: int) -> None:
        super().__init__()
        if rank < 1:
            raise InputError(f"kv_proj_rank: found {rank}; wanted at least 1")
        self.linearA, self.linearB = nn.Linear(size, rank, bias=False), nn.Linear(rank, wanted, bias=False)
        nn.init.zeros_(self.linearB.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linearB(silu(self.linearA(x)))


def unit(x: torch.Tensor) -> torch.Tensor:
    """Vectors of unit length, but for what keeps zero ones finite."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + NORM_EPS)


def _at_least_one(**numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise InputError(f"{name}: found {number}; wanted at least 1")


def _whole(name: str, factor: float, of: str, size: int) -> int:
    product = round(size * factor)
    if product < 1 or not math.isclose(size * factor, product, rel_tol=1e-5):
        raise InputError(f"{name}: found {factor}; wanted {name} * {of} to be an integer of at least 1")
    return product
