"""What a user gives to ``gated_kalmanet``, checked, and brought into the form in which it is computed with."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch.autograd import forward_ad

from ...errors import InputError
from ...naming import choice
from ..recurrence.checks import (
    as_dtype,
    boundaries,
    check_gates,
    check_semidefinite,
    check_tensor,
    is_transformed,
    numbers,
    sequence_lengths,
    values_are_known,
)
from ..recurrence.checks import check_values as check_numbers
from ..tensors import HALF
from .ridge import grows
from .solving import INTERVALS, SOLVERS, Solver

__all__ = [
    "Info",
    "Inputs",
    "as_inputs",
    "as_solver",
    "check_values",
    "is_transformed",
    "mark_as_own",
    "primal",
    "values_are_known",
]

# Conjugate gradients go as far as single precision does in up to 1.4 times what Chebyshev iteration to the first takes,
# below which nothing is left once tokens and gradients are rounded to 16 bits. The paper's steps guarantee it for a
# ratio of 0.02.
COARSE, FINE = 3e-4, 1e-6
PAPER_STEPS = 30


class Info(NamedTuple):
    """What is known of every solve (H_t + lambda_t I) x_t = q_t, each of shape (B, T, H).

    Attributes
    ----------
    relative_residual : Tensor
        ||q_t - (H_t + lambda_t I) x_t|| / ||q_t||, computed from x_t afterwards; 0 where q_t or H_t is zero.
    condition : Tensor
        An upper bound of the condition number, from the interval that holds the spectrum; 1 where H_t is zero.
    iterations : Tensor of int32
        Products with H_t that the solver made; 0 for ``"exact"``.
    """

    relative_residual: torch.Tensor
    condition: torch.Tensor
    iterations: torch.Tensor


@dataclass(frozen=True)
class Inputs:
    """Arguments as the forms take them: of one floating-point type, q, k and v perhaps in 16 bits, on one device.

    Attributes
    ----------
    q, k : Tensor, (B, T, H, K)
        k times beta.
    v : Tensor, (B, T, H, V)
        Times beta.
    g, gk, alpha : Tensor, (B, T, H), or None
        The log decays of U and H, at most 0; the share of the regression. None for 0, 0 and 1.
    ridge : Tensor, () or (H,), or (H, K)
        Over the norm of H; or the diagonal itself.
    scale : float
    H, U : Tensor, (N, H, K, K) and (N, H, K, V)
        Initial states, zero where none were given; H is symmetric.
    cu_seqlens : Tensor, (N + 1,), or None
        Where sequences begin and end, if not with the rows of the batch; on the host if its numbers are known.
    unchecked : bool
        Whether values are still to be checked, where they are known.
    strength : Tensor, (B, T, H), or None
        With which k k^T is added to H, at least 0; None for 1.
    """

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    g: torch.Tensor | None
    gk: torch.Tensor | None
    alpha: torch.Tensor | None
    ridge: torch.Tensor
    scale: float
    H: torch.Tensor
    U: torch.Tensor
    cu_seqlens: torch.Tensor | None = None
    unchecked: bool = False
    strength: torch.Tensor | None = None

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """Of the N sequences that follow each other in the tokens, taken batch by batch.

        Raises
        ------
        InputError
            If they do not fill the tokens.
        """
        batch, tokens = self.q.shape[:2]
        return (tokens,) * batch if self.cu_seqlens is None else sequence_lengths(self.cu_seqlens.tolist(), tokens)

    def tensors(self) -> tuple[torch.Tensor | None, ...]:
        """Those that a derivative may be wanted for."""
        return (self.q, self.k, self.v, self.g, self.gk, self.alpha, self.strength, self.ridge, self.H, self.U)

    def requires_gradient(self) -> bool:
        """Whether any of them does, recorded or not."""
        return any(tensor is not None and tensor.requires_grad for tensor in self.tensors())

    def want_gradient(self) -> bool:
        """Whether one could be asked for."""
        return torch.is_grad_enabled() and self.requires_gradient()


def as_solver(name: str | None, interval: str, num_iter: int | None, rtol: float | None, tokens: Any) -> Solver:
    """The solver asked for, or that for tokens of the type of ``tokens``; InputError if there is none such."""
    rounded = isinstance(tokens, torch.Tensor) and tokens.dtype in HALF
    if name is None:
        name = "chebyshev" if rounded else "cg"
    name, interval = choice("solver", name, SOLVERS), choice("interval", interval, INTERVALS)
    if name == "paper":
        name, interval = "chebyshev", "frobenius"
        if num_iter is None and rtol is None:
            num_iter = PAPER_STEPS
    if num_iter is not None and rtol is not None:
        raise InputError("num_iter, rtol: found both; wanted a number of steps or a tolerance")
    if num_iter is not None:
        try:
            num_iter = operator.index(num_iter)
        except TypeError:
            raise InputError(f"num_iter: found {num_iter!r}; wanted an integer") from None
        if num_iter < 1:
            raise InputError(f"num_iter: found {num_iter}; wanted at least 1")
        return Solver(name, interval, num_iter, None)
    if rtol is None:
        rtol = COARSE if rounded or name == "chebyshev" else FINE
    if not 0 < rtol < 1:
        raise InputError(f"rtol: found {rtol}; wanted a number between 0 and 1")
    return Solver(name, interval, None, float(rtol))


def primal(tensor: Any) -> Any:
    """The tensor without its tangent, where there is one of either."""
    return tensor if tensor is None else forward_ad.unpack_dual(tensor).primal


def as_inputs(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor | None,
    gk: torch.Tensor | None,
    alpha: torch.Tensor | None,
    beta: torch.Tensor | None,
    ridge_ratio: float | torch.Tensor,
    scale: float | None,
    initial_state: tuple[torch.Tensor, torch.Tensor] | None,
    cu_seqlens: torch.Tensor | Sequence[int] | None,
    validate: bool,
    keep_16_bits: bool = False,
    lamb: float | torch.Tensor | None = None,
) -> Inputs:
    """Check the arguments, with ``validate`` also their values, and bring them to one type.

    Where values are not known, as in a graph that is traced, they are left to ``check_values``.

    With ``keep_16_bits``, q, k and v, which then are of one such type, stay in it; all else is in float32. With
    ``lamb``, that is the ridge in place of ``ridge_ratio``, and beta multiplies k k^T and k v^T, not both factors.

    Raises
    ------
    InputError
        Names the argument, what was found and what was wanted.
    """
    gates = {"g": g, "gk": gk, "alpha": alpha, "beta": beta}
    _check_tokens(q, k, v)
    for name, gate in gates.items():
        if gate is not None:
            check_tensor(name, gate, q)
            if gate.shape != q.shape[:3]:
                raise InputError(f"{name}: found the shape {tuple(gate.shape)}; wanted {tuple(q.shape[:3])}, (B, T, H)")
    ends = boundaries(cu_seqlens, q)
    sequences = q.shape[0] if ends is None else ends.shape[0] - 1
    known = values_are_known(q)
    unchecked, validate = validate and not known, validate and known
    if scale is None:
        scale = q.shape[3] ** -0.5
    elif not math.isfinite(scale):
        raise InputError(f"scale: found {scale}; wanted a finite number")
    if validate:
        check_numbers("q", q)
        check_numbers("k", k)
        check_numbers("v", v)
        if g is not None:
            check_gates("g", g)
        if gk is not None and gk is not g:
            check_gates("gk", gk)
        if alpha is not None:
            check_numbers("alpha", alpha, 0, 1)
        if beta is not None:
            check_numbers("beta", beta, 0)

    dtype = torch.float64 if torch.float64 in (q.dtype, k.dtype, v.dtype) else torch.float32
    tokens = q.dtype if keep_16_bits else dtype
    strength = None if beta is None else as_dtype(dtype, beta)
    if strength is not None:
        v = v * strength.unsqueeze(-1)  # in ``dtype`` also where v is not
        if lamb is None:
            k, strength = k * strength.unsqueeze(-1), None
    q, k, v = as_dtype(tokens, q), as_dtype(tokens, k), as_dtype(tokens, v)
    decay = None if gk is None else as_dtype(dtype, gk)
    inputs = Inputs(
        q,
        k,
        v,
        decay if g is gk else None if g is None else as_dtype(dtype, g),
        decay,
        None if alpha is None else as_dtype(dtype, alpha),
        _ridge(ridge_ratio, q, dtype, validate) if lamb is None else _diagonal(lamb, q, dtype, validate),
        float(scale),
        *_states(initial_state, sequences, q, v, dtype, validate),
        ends,
        unchecked,
        strength,
    )
    if known:
        _ = inputs.lengths  # wrong ones are told of here
    return inputs


def check_values(inputs: Inputs) -> None:
    """What ``as_inputs`` leaves to be checked; InputError as there, k and v being named for beta, too."""
    for name in ("q", "k", "v"):
        check_numbers(name, getattr(inputs, name))
    for name in ("g", "gk"):
        if (gate := getattr(inputs, name)) is not None:
            check_gates(name, gate)
    if inputs.alpha is not None:
        check_numbers("alpha", inputs.alpha, 0, 1)
    if inputs.strength is not None:
        check_numbers("beta", inputs.strength, 0)
    _check_ridge("ridge_ratio" if grows(inputs.ridge) else "lamb", inputs.ridge)
    _check_states(inputs.H, inputs.U, inputs.H.dtype)


def _check_tokens(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
    for name, tokens in (("q", q), ("k", k), ("v", v)):
        check_tensor(name, tokens, q)
        if tokens.ndim != 4:
            raise InputError(f"{name}: found the shape {tuple(tokens.shape)}; wanted four axes, (B, T, H, D)")
    if k.shape != q.shape:
        raise InputError(f"k: found the shape {tuple(k.shape)}; wanted that of q, {tuple(q.shape)}")
    if v.shape[:3] != q.shape[:3]:
        raise InputError(f"v: found the shape {tuple(v.shape)}; wanted {(*q.shape[:3], 'V')}, as q")
    if not (q.shape[3] and v.shape[3]):
        raise InputError(f"q, v: found the dimensions {q.shape[3]} and {v.shape[3]}; wanted at least 1")


def _ridge(ridge_ratio: float | torch.Tensor, q: torch.Tensor, dtype: torch.dtype, validate: bool) -> torch.Tensor:
    if not isinstance(ridge_ratio, torch.Tensor):
        if not (math.isfinite(ridge_ratio) and ridge_ratio > 0):
            raise InputError(f"ridge_ratio: found {ridge_ratio}; wanted a positive number")
        return torch.full((), ridge_ratio, dtype=dtype, device=q.device)
    check_tensor("ridge_ratio", ridge_ratio, q)
    if ridge_ratio.shape not in ((), (q.shape[2],)):
        raise InputError(
            f"ridge_ratio: found the shape {tuple(ridge_ratio.shape)}; wanted () or (H,) = ({q.shape[2]},)"
        )
    if validate:
        _check_ridge("ridge_ratio", ridge_ratio)
    return ridge_ratio.to(dtype)


def _diagonal(lamb: float | torch.Tensor, q: torch.Tensor, dtype: torch.dtype, validate: bool) -> torch.Tensor:
    shape = heads, D = q.shape[2:]
    if not isinstance(lamb, torch.Tensor):
        if not (math.isfinite(lamb) and lamb > 0):
            raise InputError(f"lamb: found {lamb}; wanted a positive number")
        return torch.full(shape, lamb, dtype=dtype, device=q.device)
    check_tensor("lamb", lamb, q)
    if lamb.shape not in ((), (heads,), shape):
        raise InputError(
            f"lamb: found the shape {tuple(lamb.shape)}; wanted (), (H,) = ({heads},) or (H, D) = ({heads}, {D})"
        )
    if validate:
        _check_ridge("lamb", lamb)
    return (lamb.unsqueeze(-1) if lamb.ndim == 1 else lamb).to(dtype).expand(shape)


def _check_ridge(name: str, ridge: torch.Tensor) -> None:
    ridge = numbers(ridge)
    if not bool(((ridge > 0) & ridge.isfinite()).all()):
        raise InputError(f"{name}: found {ridge.tolist()}; wanted positive numbers")


def _states(
    initial_state: tuple[torch.Tensor, torch.Tensor] | None,
    sequences: int,
    q: torch.Tensor,
    v: torch.Tensor,
    dtype: torch.dtype,
    validate: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    heads, D, V = q.shape[2], q.shape[3], v.shape[3]
    shapes = {"h_kk": (sequences, heads, D, D), "h_kv": (sequences, heads, D, V)}
    if initial_state is None:
        h_kk, h_kv = (torch.zeros(shape, dtype=dtype, device=q.device) for shape in shapes.values())
        return h_kk, h_kv
    if not isinstance(initial_state, tuple | list) or len(initial_state) != 2:
        raise InputError("initial_state: wanted a pair of tensors (h_kk, h_kv)")
    for (name, shape), state in zip(shapes.items(), initial_state, strict=True):
        name = f"initial_state, {name}"
        check_tensor(name, state, q)
        if state.shape != shape:
            raise InputError(f"{name}: found the shape {tuple(state.shape)}; wanted {shape}")
    h_kk, h_kv = initial_state
    if _is_own(h_kk) and _is_own(h_kv):
        return as_dtype(dtype, h_kk), as_dtype(dtype, h_kv)
    if validate:
        _check_states(h_kk, h_kv, dtype)
    h_kk = as_dtype(dtype, h_kk)
    return (h_kk + h_kk.transpose(-1, -2)) / 2, as_dtype(dtype, h_kv)


def _check_states(h_kk: torch.Tensor, h_kv: torch.Tensor, dtype: torch.dtype) -> None:
    check_numbers("initial_state, h_kv", h_kv)
    check_numbers("initial_state, h_kk", h_kk)
    check_semidefinite("initial_state, h_kk", h_kk, dtype)


def mark_as_own(state: torch.Tensor) -> torch.Tensor:
    """Note that a state is a result of the operation, so that it need not be checked when it is given back."""
    if values_are_known(state):
        state._as_computed = _version(state)
    return state


def _is_own(state: torch.Tensor) -> bool:
    return values_are_known(state) and getattr(state, "_as_computed", -1) == _version(state)


def _version(state: torch.Tensor) -> int:
    """How often a tensor was written to; in inference mode that is not counted."""
    return 0 if state.is_inference() else state._version
