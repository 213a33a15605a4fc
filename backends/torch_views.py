"""Tensors of the CPU on the compiled kernels: through NumPy views of their memory, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ..errors import BackendError
from ..operators import CSR, BlackBox, CSRStack, Dense, Operator, check_matrix
from ..operators.exchange import PRODUCT, Wording, is_ours
from ..precision.sparse_arrays import SORTED, look_at_rows
from .compiled import facts
from .numba_backend import NumbaBackend
from .protocol import Backend
from .torch_backend import TorchBackend
from .torch_matrices import TorchMatrix

__all__ = ["TorchViews"]

WORKING = tuple(map(np.dtype, ("float32", "float64", "complex64", "complex128")))


class TorchViews(NumbaBackend):
    """The Numba backend for tensors that lie on the CPU.

    Vectors are NumPy arrays inside of a solve, so that the numbers are those of the Numba backend, and tensors
    outside: x, what callbacks are told, what callables and preconditioners of the caller are lent (a copy: tensors
    have no views that are read-only). Entries are read where they lie; half precision and layouts other than full and
    CSR are converted into a copy. No gradients flow: tensors that require them are detached, and callables run under
    ``torch.no_grad``.

    Tensors elsewhere, subclasses that compute in their own way, and operators and preconditioners of somebody else's
    making that are written in torch's operations stay on ``TorchBackend``: see ``bound_to``.
    """

    libraries = ("numpy", "torch")  # vectors of its own, and the caller's

    def __init__(self) -> None:
        self.reading = TorchBackend("cpu")  # faults of tensors are found, and said, as there

    def bound_to(self, arrays: Sequence[Any]) -> Backend:
        return self if all(map(_in_reach, arrays)) else TorchBackend().bound_to(arrays)

    def operator(self, A: Any, name: str = "A", square: bool = True) -> Operator:
        if isinstance(A, torch.Tensor) and A.layout == torch.sparse_csr:
            rows = _rows_seen(A, square)
            return rows if rows is not None else _viewed(self.reading.operator(A, name, square))  # type: ignore[arg-type]
        if isinstance(A, CSRStack):
            check_matrix(A.shape, name, square)
            return CSR(A.pattern.indptr, A.pattern.indices, self.vector(A.values, name))
        array = _seen(A)
        if array is not None and array.dtype in WORKING:
            check_matrix(array.shape, name, square)
            full = Dense(array)
            full.tensor = A
            return full
        if isinstance(A, Operator) and not isinstance(A, TorchMatrix):
            return super().operator(A, name, square)
        given = self.reading.operator(A, name, square)
        if isinstance(given, BlackBox):
            return BlackBox(given.multiply, given.shape, given.dtype, "numpy", self, name, given.adjoint_multiply)
        assert isinstance(given, TorchMatrix)
        return _viewed(given)

    def vector(self, b: Any, name: str) -> Any:
        if isinstance(b, np.ndarray):
            return b  # one of a solve that this one is a part of
        array = _seen(b)
        if array is not None:
            return array
        b = self.reading.vector(b, name)
        if b.dtype == torch.bfloat16:
            b = b.float()  # NumPy lacks it
        try:
            return b.numpy()
        except TypeError:
            raise TypeError(
                f"{name}: dtype {b.dtype} is not a working precision; wanted float32, float64 or complex"
            ) from None

    def returned(self, x: Any) -> Any:
        return torch.from_numpy(x)

    def lend(self, x: Any, dtype: np.dtype) -> Any:
        return torch.from_numpy(np.array(x, dtype=dtype))

    def undifferentiated(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return self.reading.undifferentiated(function)

    def received(self, result: Any, name: str, words: Wording = PRODUCT) -> Any:
        if not isinstance(result, torch.Tensor):
            raise BackendError(f"{name}: its {words.noun} is a {type(result).__name__}; wanted a torch tensor")
        return self.vector(result, f"the {words.noun} {words.of} {name}").reshape(-1)

    def take(
        self, result: Any, x: Any, name: str, *, exact: bool = False, words: Wording = PRODUCT, size: int | None = None
    ) -> Any:
        if isinstance(result, torch.Tensor) and result.dtype == torch.bfloat16:
            # NumPy lacks it, and it has no more digits.
            self._check_type(np.dtype("float16"), x.dtype, name, exact, words)
        return super().take(result, x, name, exact=exact, words=words, size=size)

    def stack_of(self, A: Any) -> tuple[Any, int] | None:
        stack = self.reading.sparse_stack(A)
        if stack is not None:
            return super().stack_of(CSRStack(stack.pattern, self.vector(stack.values, "A")))
        # Sparse tensors of a batch may have patterns of their own.
        separate = isinstance(A, torch.Tensor) and A.ndim > 2 and A.layout != torch.strided
        return None if separate else super().stack_of(A)

    def stack(self, vectors: list[Any], shape: tuple[int, ...], columns: bool) -> Any:
        return self.returned(super().stack([self.vector(x, "x") for x in vectors], shape, columns))

    def to_numpy(self, x: Any) -> Any:
        return self.vector(x, "x")


def _seen(x: Any) -> Any:
    """The array that a tensor is, as nearly all are; None where torch has something against it.

    Asked first, since on a small system every call of torch's counts.
    """
    if not isinstance(x, torch.Tensor):
        return None
    try:
        return x.numpy()
    except (TypeError, RuntimeError):
        return None


def _rows_seen(A: Any, square: bool) -> Operator | None:
    """The views of a CSR tensor, as nearly all are: of sorted rows, in working precision, outside of any graph."""
    if A.requires_grad or A.ndim != 2 or (square and A.shape[0] != A.shape[1]):
        return None
    starts, columns, values = map(_seen, (A.crow_indices(), A.col_indices(), A.values()))
    if values is None or values.ndim != 1 or values.dtype not in WORKING:
        return None
    found, fault = look_at_rows(starts, columns, len(values), tuple(A.shape), kind=facts.rows_kind)
    if fault is not None or found != SORTED or int(starts[-1]) != len(columns):
        return None
    operator = CSR(starts, columns, values, A.shape[1])
    operator.tensor = A
    return operator


def _in_reach(array: Any) -> bool:
    """Whether it is, or can be viewed as, NumPy's, or only multiplies, which it may do with any tensor."""
    if isinstance(array, torch.Tensor):
        return array.is_cpu and type(array).__torch_dispatch__ is torch.Tensor.__torch_dispatch__
    if isinstance(array, TorchMatrix):
        return _in_reach(array.matrix)
    if isinstance(array, CSRStack):
        return _in_reach(array.values)
    if isinstance(array, Operator):
        return array.library != "torch"
    # A preconditioner of somebody else's making binds itself to a backend, of which it expects torch's operations.
    return not hasattr(array, "bind") or is_ours(array.bind)


def _viewed(given: TorchMatrix) -> Operator:
    """The operator on views of a tensor's memory, which it keeps for solves on the torch backend."""
    A = given.matrix
    if given.kind == "dense":
        operator: Operator = Dense(A.numpy())
    else:
        operator = CSR(A.crow_indices().numpy(), A.col_indices().numpy(), A.values().numpy(), A.shape[1])
    operator.rounded_from, operator.tensor = given.rounded_from, A
    return operator
