"""Truncated iterations as they are: the function that a schedule computes, and its own derivatives by autograd.

Everything is out of place. In torch.utils.checkpoint nothing but the argument is kept between the passes: the backward
pass computes the iterates anew, and from each of them its step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from ...errors import InputError
from ...solvers.matrix_functions.lyapunov import Block, Blocks
from ...solvers.matrix_functions.newton_schulz import degree_17_factors
from ...solvers.matrix_functions.polynomial import evaluate
from ...solvers.matrix_functions.products import Products
from .implicit import hermitian_part

__all__ = ["SCALINGS", "block_sign", "coupled", "hyperpower", "inverse_roots", "newton_sign", "orthogonal", "unrolled"]

SCALINGS = ("schatten-8", "schatten-4", "frobenius")


class _InGraph(Products):
    """Products that autograd sees, on stacks with any number of leading axes."""

    def __init__(self) -> None:
        self.xp, self.count = torch, 0

    def room(self, shape: Sequence[int], like: Any) -> Any:
        """Nothing is written to."""

    def done(self, *arrays: Any) -> None:
        """Autograd may need them."""

    def adjoint(self, A: Any) -> Any:
        return A.mH


def _polynomial(h: tuple[float, ...], A: Any, p: Any = None) -> Any:
    """h(A), A being whatever p multiplies."""
    factors = None
    if len(h) == 9:
        try:
            factors = degree_17_factors(h)
        except InputError:  # they are not real
            factors = None
    p = _InGraph() if p is None else p
    B, a = evaluate(p, h, A, None, factors)
    return p.add_identity(B, a)


def unrolled(iteration: Callable[..., Any], *tensors: Any, steps: Sequence[Any], again: bool) -> Any:
    """``iteration(*tensors, steps=steps, run=run)``, where ``run(step, *arrays)`` takes one step.

    Parameters
    ----------
    again : bool
        Compute iterates anew in the backward pass, and keep none until then.
    """
    if not again:
        return iteration(*tensors, steps=steps, run=lambda step, *arrays: step(*arrays))
    if torch._C._are_functorch_transforms_active():
        raise InputError(
            'method: found "checkpoint" in a transform of torch.func, which torch\'s checkpoints know nothing of; '
            'wanted "implicit" or "unrolled"'
        )
    anew = partial(checkpoint, use_reentrant=False)
    return anew(partial(iteration, steps=steps, run=anew), *tensors)


def orthogonal(A: Any, steps: Any, run: Any, *, scaling: str) -> Any:
    """X <- X h(X^H X) from A over a bound of its norm."""
    X = A / _bound(A.mH @ A, scaling).sqrt()
    for h in steps:
        X = run(partial(_orthogonal_step, h), X)
    return X


def _orthogonal_step(h: tuple[float, ...], X: Any) -> Any:
    return X @ _polynomial(h, X.mH @ X)


def coupled(A: Any, steps: Any, run: Any, *, scaling: str, inverse: bool) -> Any:
    """P = Z Y, W = h(P), Y <- Y W, Z <- W Z: the square root and its inverse."""
    A = hermitian_part(A)
    bound = _bound(A, scaling)
    Y, Z = A / bound, torch.eye(A.shape[-1], dtype=A.dtype, device=A.device).expand(A.shape)
    for h in steps:
        Y, Z = run(partial(_coupled_step, h), Y, Z)
    return hermitian_part(Z / bound.sqrt() if inverse else Y * bound.sqrt())


def _coupled_step(h: tuple[float, ...], Y: Any, Z: Any) -> tuple[Any, Any]:
    W = _polynomial(h, Z @ Y)
    return Y @ W, W @ Z


def inverse_roots(A: Any, steps: Any, run: Any, *, scaling: str, p: int) -> Any:
    """W = h(M), X <- X W, M <- W^p M: the inverse p-th root."""
    A = hermitian_part(A)
    bound = _bound(A, scaling)
    M, X = A / bound, torch.eye(A.shape[-1], dtype=A.dtype, device=A.device).expand(A.shape)
    for h in steps:
        M, X = run(partial(_root_step, h, p), M, X)
    return hermitian_part(X * bound ** (-1 / p))


def _root_step(h: tuple[float, ...], p: int, M: Any, X: Any) -> tuple[Any, Any]:
    W = _polynomial(h, M)
    return torch.linalg.matrix_power(W, p) @ M, X @ W


def hyperpower(A: Any, steps: Any, run: Any, *, scaling: str) -> Any:
    """X <- g(X A) X from A^H over a bound of the square of its norm: the inverse, or that of full column rank."""
    X = A.mH / _bound(A.mH @ A, scaling)
    for g in steps:
        A, X = run(partial(_hyperpower_step, g), A, X)
    return X


def _hyperpower_step(g: tuple[float, ...], A: Any, X: Any) -> tuple[Any, Any]:
    return A, _polynomial(g, X @ A) @ X


def block_sign(*tensors: Any, steps: Any, run: Any, scaling: str) -> Any:
    """M <- M h(M^2) from M = [[A, C], [0, -B]], whose sign has 2 X with A X + X B = C in it; B is A for (A, C)."""
    *coefficients, C = tensors
    coefficients = [hermitian_part(A) for A in coefficients]
    bound = _bound(coefficients[0], scaling)
    for B in coefficients[1:]:
        bound = torch.maximum(bound, _bound(B, scaling))
    A, *others = coefficients
    blocks = (C / bound, A / bound, *(-B / bound for B in others))
    for h in steps:
        blocks = run(partial(_block_step, h), *blocks)
    return 0.5 * blocks[0]


def _block_step(h: tuple[float, ...], c: Any, a: Any, b: Any = None) -> tuple[Any, ...]:
    p = Blocks(_InGraph())
    M = Block(a, c, b, -1 if b is None else 1)
    nothing = p.room(M, None)
    new = p.multiply(M, _polynomial(h, p.multiply(M, M, nothing), p), nothing)
    return (new.c, new.a) if b is None else (new.c, new.a, new.b)


def newton_sign(A: Any, steps: Any, run: Any) -> Any:
    """X <- (m X + (m X)^-1) / 2 with m = (||X^-1|| / ||X||)^(1/2), from A: its sign."""
    X = A
    for _ in steps:
        X = run(_newton_step, X)
    return X


def _newton_step(X: Any) -> Any:
    inverse = torch.linalg.inv_ex(X).inverse
    m = (torch.linalg.matrix_norm(inverse) / torch.linalg.matrix_norm(X)).sqrt()[..., None, None]
    return 0.5 * (m * X + inverse / m)


def _bound(G: Any, scaling: str) -> Any:
    """An upper bound of the largest eigenvalue of each Hermitian positive semidefinite G, differentiably."""
    if scaling == "frobenius":
        found = G.diagonal(dim1=-2, dim2=-1).real.sum(-1)
    else:
        found = torch.linalg.matrix_norm(G if scaling == "schatten-4" else G @ G)
        found = found if scaling == "schatten-4" else found.sqrt()
    return torch.where(found > 0, found, 1)[..., None, None]
