"""A as a function of tensors: what the driver solves with, and what differentiating its products takes.

Throughout, b, x and w are columns (..., n, k), and the leading dimensions are those of A.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sparse
import torch

from ...backends.torch_matrices import checked_layout
from ...errors import InputError
from ...operators import CSRStack
from ...operators.stack import Pattern as StackPattern
from ...precision.sparse_arrays import SORTED

__all__ = ["Dense", "LinearMap", "MatrixFree", "Pattern", "Sparse", "to_front"]


class LinearMap(ABC):
    """A(p), square and linear in what it multiplies; p are tensors, which the methods are handed."""

    @abstractmethod
    def systems(self, p: Sequence[Any]) -> Any:
        """A in a form that ``rv.solve`` takes."""

    @abstractmethod
    def adjoint(self, p: Sequence[Any]) -> tuple[LinearMap, Sequence[Any]]:
        """A^H as a map and its tensors."""

    @abstractmethod
    def tangent(self, p: Sequence[Any], dp: Sequence[Any], x: Any) -> Any:
        """dA x for the tangents dp; None where all of them are."""

    @abstractmethod
    def cotangents(self, p: Sequence[Any], w: Any, x: Any, wanted: Sequence[bool]) -> list[Any]:
        """Gradients of Re <w, A(p) x> with respect to p, None where they are not wanted."""

    def stacked(self, p: Sequence[Any], dims: Sequence[int | None], size: int) -> tuple[LinearMap, list[Any]]:
        """One more leading dimension, taken from the given dimension of each tensor, or repeating it."""
        return self, [to_front(tensor, dim, size) for tensor, dim in zip(p, dims, strict=True)]


def to_front(tensor: Any, dim: int | None, size: int) -> Any:
    """The given dimension first, or the tensor repeated along a new one."""
    return tensor.expand((size, *tensor.shape)) if dim is None else tensor.movedim(dim, 0)


@dataclass(frozen=True)
class Dense(LinearMap):
    """p = (A,), of shape (..., n, n)."""

    def systems(self, p: Sequence[Any]) -> Any:
        return p[0]

    def adjoint(self, p: Sequence[Any]) -> tuple[LinearMap, Sequence[Any]]:
        return self, (p[0].mH,)

    def tangent(self, p: Sequence[Any], dp: Sequence[Any], x: Any) -> Any:
        return None if dp[0] is None else dp[0] @ x

    def cotangents(self, p: Sequence[Any], w: Any, x: Any, wanted: Sequence[bool]) -> list[Any]:
        return [w @ x.mH if wanted[0] else None] + [None] * (len(p) - 1)


def _untransformed() -> Any:
    """A context in which transforms such as ``vmap`` do not see what is done to index arrays, nor wrap what is kept."""
    return torch._C._DisableFuncTorch()


class Pattern:
    """Where the entries of a CSR tensor (n, n) lie."""

    def __init__(self, starts: Any, columns: Any, is_sorted: bool = True) -> None:
        self.starts, self.columns, self.is_sorted = starts, columns, is_sorted
        self.n = starts.numel() - 1

    @staticmethod
    def of(A: Any) -> Pattern:
        """The pattern of a CSR tensor, refused where it points out of it."""
        with _untransformed():
            is_sorted = checked_layout(A, "A") == SORTED
            starts, held = A.crow_indices(), len(A.values())
            if int(starts[-1]) != held:
                raise InputError(f"A: holds {held} values, of which its rows name {int(starts[-1])}")
            return Pattern(starts, A.col_indices(), is_sorted)

    @cached_property
    def rows(self) -> Any:
        """The row of each entry."""
        with _untransformed():
            rows = torch.arange(self.n, device=self.columns.device, dtype=self.columns.dtype)
            return torch.repeat_interleave(rows, self.starts.diff())

    @cached_property
    def on_host(self) -> StackPattern:
        """The same for stacks of matrices."""
        return StackPattern(self.starts.cpu().numpy(), self.columns.cpu().numpy(), self.is_sorted)

    @cached_property
    def transposed(self) -> tuple[Pattern, Any]:
        """The pattern of the transpose, and where its entries were."""
        with _untransformed():
            if self.columns.is_cpu:
                return self._transposed_by_counting()
            order = torch.argsort(self.columns, stable=True)
            counts = torch.bincount(self.columns, minlength=self.n)
            starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).to(self.starts.dtype)
            return Pattern(starts, self.rows[order]), order

    def _transposed_by_counting(self) -> tuple[Pattern, Any]:
        entries = np.arange(self.columns.numel())
        arrays = (entries, self.columns.numpy(), self.starts.numpy())
        other = sparse.csr_array(arrays, shape=(self.n, self.n)).tocsc()
        starts, rows = (torch.from_numpy(part).to(self.starts.dtype) for part in (other.indptr, other.indices))
        return Pattern(starts, rows), torch.from_numpy(other.data)

    def matrix(self, values: Any) -> Any:
        """The CSR tensor."""
        size = (self.n, self.n)
        # The pattern was taken from a CSR tensor; to check it again would cost more than a product.
        return torch.sparse_csr_tensor(self.starts, self.columns, values, size, check_invariants=False)


@dataclass(frozen=True)
class Sparse(LinearMap):
    """p = (values,), of shape (..., entries), on one pattern."""

    pattern: Pattern

    def systems(self, p: Sequence[Any]) -> Any:
        values = p[0]
        if values.ndim == 1:
            return self.pattern.matrix(values)
        pattern = self.pattern.on_host
        values = values.detach().resolve_conj()
        return CSRStack(pattern, values if self.pattern.is_sorted else pattern.placed(values))

    def adjoint(self, p: Sequence[Any]) -> tuple[LinearMap, Sequence[Any]]:
        pattern, order = self.pattern.transposed
        return Sparse(pattern), (p[0][..., order].conj(),)

    def tangent(self, p: Sequence[Any], dp: Sequence[Any], x: Any) -> Any:
        if dp[0] is None:
            return None
        terms = dp[0][..., None] * x[..., self.pattern.columns, :]
        return torch.zeros_like(terms[..., :1, :]).expand_as(x).index_add(-2, self.pattern.rows, terms)

    def cotangents(self, p: Sequence[Any], w: Any, x: Any, wanted: Sequence[bool]) -> list[Any]:
        if not wanted[0]:
            return [None]
        return [(w[..., self.pattern.rows, :] * x[..., self.pattern.columns, :].conj()).sum(-1)]


@dataclass(frozen=True)
class MatrixFree(LinearMap):
    """``product(x, *p)`` for x of shape (n,), or the adjoint of that.

    With leading dimensions (under ``vmap`` only) every tensor of p has them.
    """

    product: Callable[..., Any]
    adjoint_product: Callable[..., Any] | None
    hermitian: bool
    n: int
    dtype: Any
    lead: tuple[int, ...] = ()
    transposed: bool = False

    def apply(self, x: Any, p: Sequence[Any]) -> Any:
        """A x, or A^H x, for one system."""
        if not self.transposed:
            return self.product(x, *p)
        if self.adjoint_product is not None:
            return self.adjoint_product(x, *p)
        return torch.func.vjp(lambda y: self.product(y, *p), torch.zeros_like(x))[1](x)[0]

    def systems(self, p: Sequence[Any]) -> Any:
        if not self.lead:
            return _Products(self, p)
        return _Stack((*self.lead, self.n, self.n), lambda at: _Products(self, [tensor[at] for tensor in p]))

    def adjoint(self, p: Sequence[Any]) -> tuple[LinearMap, Sequence[Any]]:
        return (self if self.hermitian else replace(self, transposed=not self.transposed)), p

    def tangent(self, p: Sequence[Any], dp: Sequence[Any], x: Any) -> Any:
        which = [tangent is not None and _differentiable(tensor) for tensor, tangent in zip(p, dp, strict=True)]
        if not any(which):
            return None

        def of_one(x: Any, p: Sequence[Any], dp: Sequence[Any]) -> Any:
            # The adjoint of the adjoint: forward mode does not nest, reverse mode does.
            products, free = self._products(x, p, which)
            backward = torch.func.vjp(products, *free)[1]
            return torch.func.vjp(backward, torch.zeros_like(x))[1](tuple(dp))[0]

        tangents = [tangent for tangent, is_one in zip(dp, which, strict=True) if is_one]
        return self._over_systems(of_one)(x, tuple(p), tuple(tangents))

    def cotangents(self, p: Sequence[Any], w: Any, x: Any, wanted: Sequence[bool]) -> list[Any]:
        which = [is_wanted and _differentiable(tensor) for tensor, is_wanted in zip(p, wanted, strict=True)]
        if not any(which):
            return [None] * len(p)

        def of_one(w: Any, x: Any, p: Sequence[Any]) -> Any:
            products, free = self._products(x, p, which)
            return torch.func.vjp(products, *free)[1](w)

        found = iter(self._over_systems(of_one)(w, x, tuple(p)))
        return [next(found) if is_one else None for is_one in which]

    def stacked(self, p: Sequence[Any], dims: Sequence[int | None], size: int) -> tuple[LinearMap, list[Any]]:
        _, p = super().stacked(p, dims, size)
        return replace(self, lead=(size, *self.lead)), p

    def _products(self, x: Any, p: Sequence[Any], which: Sequence[bool]) -> tuple[Callable[..., Any], list[Any]]:
        """A x as a function of some of p, for the columns of one system, and those of p."""

        def products(*free: Any) -> Any:
            given = iter(free)
            tensors = [next(given) if is_one else tensor for tensor, is_one in zip(p, which, strict=True)]
            return torch.stack([self.apply(column, tensors) for column in x.unbind(-1)], -1)

        return products, [tensor for tensor, is_one in zip(p, which, strict=True) if is_one]

    def _over_systems(self, function: Callable[..., Any]) -> Callable[..., Any]:
        for _ in self.lead:
            function = torch.func.vmap(function)
        return function


def _differentiable(tensor: Any) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


class _Products:
    """A callable as the driver takes it."""

    def __init__(self, linear_map: MatrixFree, p: Sequence[Any]) -> None:
        self.linear_map, self.p = linear_map, p
        self.shape, self.dtype = (linear_map.n, linear_map.n), linear_map.dtype

    def __call__(self, x: Any) -> Any:
        return self.linear_map.apply(x, self.p)


@dataclass(frozen=True)
class _Stack:
    """A batch of systems that no tensor holds, (..., n, n)."""

    shape: tuple[int, ...]
    system: Callable[[Any], Any] = field(repr=False)

    def __getitem__(self, at: Any) -> Any:
        return self.system(at)
