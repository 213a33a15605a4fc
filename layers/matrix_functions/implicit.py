"""Implicit differentiation of functions of matrices: derivatives are expressions of arguments and results.

Whatever computed x = f(A), its derivatives follow from A and x by products and by the solution of linear matrix
equations, which is differentiated in the same way. So they are differentiable themselves, to any order and in any mix
of modes, and no iterate is stored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch.autograd import forward_ad

from ..linear.driver import full_precision

__all__ = ["MatrixFunction", "Rule", "SelfAdjoint", "hermitian_part", "implicit"]


def hermitian_part(A: Any) -> Any:
    """(A + A^H) / 2."""
    return 0.5 * (A + A.mH)


class Rule(ABC):
    """A function of tensors (..., m, n), batched natively, and its derivatives."""

    @abstractmethod
    def run(self, *tensors: Any) -> Any:
        """The function, outside of any graph."""

    @abstractmethod
    def tangent(self, tensors: Sequence[Any], x: Any, tangents: Sequence[Any]) -> Any:
        """The change of x by those of the tensors, None for none: a differentiable expression."""

    @abstractmethod
    def cotangents(self, tensors: Sequence[Any], x: Any, cotangent: Any) -> tuple[Any, ...]:
        """Those of the tensors for that of x: differentiable expressions."""


class MatrixFunction(Rule):
    """f of one matrix with f(A^H) = f(A)^H, as of power series, and of inverses.

    Then the adjoint of the derivative at A is the derivative at A^H.
    """

    @abstractmethod
    def derivative(self, A: Any, x: Any, E: Any) -> Any:
        """The derivative of f at A, where f(A) = x, in the direction E."""

    def tangent(self, tensors: Sequence[Any], x: Any, tangents: Sequence[Any]) -> Any:
        return self.derivative(tensors[0], x, tangents[0])

    def cotangents(self, tensors: Sequence[Any], x: Any, cotangent: Any) -> tuple[Any, ...]:
        return (self.derivative(tensors[0].mH, x.mH, cotangent),)


class SelfAdjoint(MatrixFunction):
    """f whose derivatives are self-adjoint, as of Hermitian matrices and of orthogonal factors."""

    def cotangents(self, tensors: Sequence[Any], x: Any, cotangent: Any) -> tuple[Any, ...]:
        return (self.derivative(tensors[0], x, cotangent),)


def implicit(rule: Rule, *tensors: Any) -> Any:
    """``rule.run(*tensors)``, differentiable in all tensors."""
    if torch.compiler.is_compiling():
        return torch.compiler.disable(implicit)(rule, *tensors)
    in_graph = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    if in_graph or forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active():
        return _Implicit.apply(rule, *tensors)
    with torch.no_grad(), full_precision(tensors[0]):
        return rule.run(*tensors)


class _Implicit(torch.autograd.Function):
    @staticmethod
    def forward(rule: Rule, *tensors: Any) -> Any:
        with full_precision(tensors[0]):
            return rule.run(*tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.rule, *tensors = inputs
        ctx.save_for_backward(output, *tensors)
        ctx.save_for_forward(output, *tensors)

    @staticmethod
    def backward(ctx: Any, cotangent: Any) -> tuple[Any, ...]:
        x, *tensors = ctx.saved_tensors
        with full_precision(cotangent):
            return None, *ctx.rule.cotangents(tensors, x, cotangent)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        # Torch switches forward mode off in here, which would lose the derivatives of this derivative; the primal parts
        # keep those of outer levels, and no more.
        with forward_ad._set_fwd_grad_enabled(True), full_precision(ctx.saved_tensors[0]):
            x, *tensors = map(_primal, ctx.saved_tensors)
            return ctx.rule.tangent(tensors, x, tuple(map(_primal, tangents[1:])))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], rule: Rule, *tensors: Any) -> Any:
        # What is not mapped over takes part with an axis of one, and is worked on once.
        fronts = [
            tensor.unsqueeze(0) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip(tensors, in_dims[1:], strict=True)
        ]
        return implicit(rule, *fronts), 0


def _primal(tensor: Any) -> Any:
    return tensor if tensor is None else forward_ad.unpack_dual(tensor).primal
