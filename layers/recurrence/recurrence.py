"""The recurrence of which every member of the family is a case, its forms, and what users give to them, checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...errors import InputError
from . import checks

__all__ = ["Recurrence", "Tokens", "as_tokens", "unit"]


@dataclass(frozen=True)
class Recurrence:
    r"""Per head, with a state S (D, V), n corrections a token, and the products of g with S by rows:

        S <- exp(g_t) S;    n times:  u_i = b_i (v_i - S^T e_i),  S <- S + w_i u_i^T;    o_t = scale S^T r_t.

    Attributes
    ----------
    r : Tensor, (B, T, H, D)
        What is read with.
    w, v : Tensor, (B, n T, H, D) and (B, n T, H, V)
        What is written, and where to; those of token t are i = n t, ..., n t + n - 1.
    initial : Tensor, (N, H, D, V)
    lengths : tuple of int
        Of the N sequences that follow each other in the tokens, taken batch by batch.
    e : Tensor, (B, n T, H, D), optional
        What is erased; nothing if None, and then u_i = b_i v_i.
    b : Tensor, (B, n T, H, 1), optional
        Strengths; 1 if None.
    g : Tensor, (B, T, H) or (B, T, H, D), optional
        Log decays of a head, or of each channel of its keys; none if None.
    corrections : int
        n.
    scale : float
    erase_undecayed : bool
        Whether S^T e_t is of the state before it decays; with n = 1.
    """

    r: torch.Tensor
    w: torch.Tensor
    v: torch.Tensor
    initial: torch.Tensor
    lengths: tuple[int, ...]
    e: torch.Tensor | None = None
    b: torch.Tensor | None = None
    g: torch.Tensor | None = None
    corrections: int = 1
    scale: float = 1.0
    erase_undecayed: bool = False


@dataclass(frozen=True)
class Tokens:
    """Queries, keys and values as the forms take them: of one floating-point type, with as many heads.

    Attributes
    ----------
    q, k : Tensor, (B, T, H, D) and (B, n T, H, D)
    v : Tensor, (B, n T, H, V)
    scale : float
    lengths : tuple of int
    dtype : torch.dtype
        Of the values given, which the output takes.
    validate : bool
        Whether values are looked at.
    corrections : int
        n.
    key_heads : int
        Heads of queries and keys as they were given.
    """

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    scale: float
    lengths: tuple[int, ...]
    dtype: torch.dtype
    validate: bool
    corrections: int
    key_heads: int

    def gate(self, name: str, g: torch.Tensor, channels: bool = False) -> torch.Tensor:
        """Log decays of a head, or of the channels of its keys."""
        checks.check_tensor(name, g, self.q)
        shape = self.q.shape if channels else self.q.shape[:3]
        checks.check_shape(name, g, shape, "(B, T, H, D)" if channels else "(B, T, H)")
        if self.validate:
            checks.check_gates(name, g)
        return checks.as_dtype(self.q.dtype, g)

    def strength(self, name: str, beta: torch.Tensor | None, most: float = math.inf) -> torch.Tensor | None:
        """What is written with, (B, n T, H, 1), in [0, ``most``]; None if it is."""
        if beta is None:
            return None
        checks.check_tensor(name, beta, self.q)
        checks.check_shape(name, beta, self.v.shape[:3], "(B, T, H)" if self.corrections == 1 else "(B, n T, H)")
        if self.validate:
            checks.check_values(name, beta, 0, most)
        return checks.as_dtype(self.q.dtype, beta).unsqueeze(-1)

    def of_keys(self, name: str, tensor: torch.Tensor, shape: Sequence[int], gates: bool = False) -> torch.Tensor:
        """What has the heads of the keys as they were given; repeated for the heads of the values, of that shape."""
        checks.check_tensor(name, tensor, self.q)
        checks.check_shape(name, tensor, (*shape[:2], self.key_heads, *shape[3:]), "with the heads of k")
        if self.validate:
            checks.check_gates(name, tensor) if gates else checks.check_values(name, tensor)
        return checks.as_dtype(self.q.dtype, _with_heads(tensor, shape[2]))

    def state(self, name: str, state: torch.Tensor | None, *shape: int) -> torch.Tensor:
        """The state before the first token of each sequence, (N, H, ...); zero if None."""
        wanted = (len(self.lengths), self.v.shape[2], *shape)
        if state is None:
            return self.v.new_zeros(wanted)
        checks.check_tensor(name, state, self.q)
        checks.check_shape(name, state, wanted, "one a sequence and head")
        if self.validate:
            checks.check_values(name, state)
        return checks.as_dtype(self.q.dtype, state)

    def recurrence(self, w: torch.Tensor, initial_state: torch.Tensor | None, **more: Any) -> Recurrence:
        """The recurrence that reads with q and writes v with w."""
        initial = self.state("initial_state", initial_state, self.k.shape[3], self.v.shape[3])
        more |= {"corrections": self.corrections, "scale": self.scale}
        return Recurrence(self.q, w, self.v, initial, self.lengths, **more)


def as_tokens(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scale: float | None,
    cu_seqlens: torch.Tensor | Sequence[int] | None,
    *,
    normalized: bool = False,
    validate: bool = True,
    corrections: int = 1,
) -> Tokens:
    """Check queries, keys and values, with ``validate`` also their numbers, and bring them to one type.

    There may be more heads of values than of queries and keys, a multiple; each of the latter is then used by as many
    that follow each other. With ``normalized``, queries and keys are brought to unit length.

    Raises
    ------
    InputError
        Names the argument, what was found and what was wanted.
    """
    _check_shapes(q, k, v, corrections)
    if scale is None:
        scale = q.shape[3] ** -0.5
    elif not math.isfinite(scale):
        raise InputError(f"scale: found {scale}; wanted a finite number")
    validate = validate and checks.values_are_known(q)
    if validate:
        for name, rows in (("q", q), ("k", k), ("v", v)):
            checks.check_values(name, rows)
    batch, length = q.shape[:2]
    ends = checks.boundaries(cu_seqlens, q)
    lengths = (length,) * batch if ends is None else checks.sequence_lengths(ends.tolist(), length)
    dtype = torch.float64 if torch.float64 in (q.dtype, k.dtype, v.dtype) else torch.float32
    of_values = v.dtype
    q, k, v = (checks.as_dtype(dtype, rows) for rows in (q, k, v))
    if normalized:
        q, k = unit(q), unit(k)
    heads, key_heads = v.shape[2], q.shape[2]
    q, k = _with_heads(q, heads), _with_heads(k, heads)
    return Tokens(q, k, v, float(scale), lengths, of_values, validate, corrections, key_heads)


def unit(rows: torch.Tensor) -> torch.Tensor:
    """Rows of unit length; a zero one stays."""
    size = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return rows / torch.where(size > 0, size, 1)


def _with_heads(rows: torch.Tensor, heads: int) -> torch.Tensor:
    found = rows.shape[2]
    return rows if found == heads else rows.repeat_interleave(heads // found, 2)


def _check_shapes(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, corrections: int) -> None:
    for name, rows in (("q", q), ("k", k), ("v", v)):
        checks.check_tensor(name, rows, q)
        if rows.ndim != 4:
            raise InputError(f"{name}: found the shape {tuple(rows.shape)}; wanted four axes, (B, T, H, D)")
    batch, length, heads, dimension = q.shape
    tokens = "T" if corrections == 1 else f"{corrections} T"
    checks.check_shape("k", k, (batch, corrections * length, heads, dimension), f"(B, {tokens}, H, D) as q")
    checks.check_shape("v", v, (batch, corrections * length, *v.shape[2:]), f"(B, {tokens}, H, V)")
    if not (dimension and v.shape[3]):
        raise InputError(f"q, v: found the dimensions {dimension} and {v.shape[3]}; wanted at least 1")
    if not heads or not v.shape[2] or v.shape[2] % heads:
        raise InputError(f"v: found {v.shape[2]} heads; wanted a multiple of those of q and k, {heads}")
