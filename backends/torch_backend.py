"""PyTorch tensors, dense or sparse, on the device where they are, by torch's own operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from ..errors import BackendError, InputError, undeclared
from ..operators import BlackBox, CSRStack, Facts, Operator, check_matrix, guarded
from ..operators.coerce import pattern_of
from ..operators.exchange import PRODUCT, Wording
from ..operators.ordering import Ordering
from ..precision import round as round_to
from ..precision.policy import Precision
from .block import Block
from .compiled import facts as kernels
from .protocol import Backend, powers_of_two
from .torch_matrices import (
    NUMPY_DTYPES,
    TORCH_DTYPES,
    WIDER,
    WORDS,
    TorchCSR,
    TorchDense,
    TorchMatrix,
    as_number,
    canonical,
    host_array,
    numpy_dtype_of,
    plain_tensor,
    sparse_csr_of,
    working_dtype_of,
)

__all__ = ["TorchBackend"]

BLOCK = 1 << 22  # entries that an accurate residual widens at a time


class TorchBackend(Backend):
    """Vector operations on tensors of one device.

    No gradients flow through a solve: tensors that require them are detached, and callables run under
    ``torch.no_grad``. Half precision (float16, bfloat16) and integers are converted once, to float32 and float64, which
    is what a callable is then handed and in what the solution comes back.

    Parameters
    ----------
    device : torch.device, optional
        Where new vectors are made; the one that the tensors of the system lie on, found by ``bound_to``.
    """

    name: ClassVar[str] = "torch"
    library: ClassVar[str] = "torch"

    def __init__(self, device: Any = None) -> None:
        self.device = None if device is None else torch.device(device)

    def bound_to(self, arrays: Sequence[Any]) -> TorchBackend:
        tensors = [array.values if isinstance(array, CSRStack) else getattr(array, "matrix", array) for array in arrays]
        devices = {array.device for array in tensors if isinstance(array, torch.Tensor)}
        if len(devices) > 1:
            raise BackendError(
                f"A, b and x0 lie on {' and '.join(sorted(map(str, devices)))}; move them to one device with .to() "
                "first, since nothing is moved silently"
            )
        return TorchBackend(devices.pop()) if devices else self

    def operator(self, A: Any, name: str = "A", square: bool = True) -> Operator:
        if isinstance(A, Operator):
            check_matrix(A.shape, name, square)
            if A.tensor is not None:
                return self.operator(A.tensor, name, square)
            if A.library != "torch":
                raise BackendError(f"{name}: found an operator on {A.library} arrays; wanted torch tensors")
            if isinstance(A, TorchMatrix):
                self._check_device(A.matrix, name)
            return guarded(A, self, name)
        if isinstance(A, CSRStack):
            check_matrix(A.shape, name, square)
            values = self.vector(A.values, name)
            starts, columns = (
                torch.tensor(part, device=values.device) for part in (A.pattern.indptr, A.pattern.indices)
            )
            return TorchCSR(sparse_csr_of(starts, columns, values, A.shape))
        if isinstance(A, torch.Tensor):
            check_matrix(A.shape, name, square)
            self._check_device(A, name)
            dtype = TORCH_DTYPES[working_dtype_of(A.dtype, name)]
            if A.layout == torch.strided:
                return TorchDense(plain_tensor(A).to(dtype))
            return TorchCSR(canonical(A.detach(), name, dtype))
        multiply = getattr(A, "matvec", None) or (A if callable(A) else None)
        if multiply is None or hasattr(A, "__array__"):
            raise BackendError(f"{name}: found {type(A).__name__}; convert it to a torch tensor first")
        shape, dtype = getattr(A, "shape", None), getattr(A, "dtype", None)
        if shape is None or dtype is None:
            raise undeclared(A, name)
        check_matrix(shape, name, square)
        adjoint = getattr(A, "rmatvec", None)
        adjoint = None if adjoint is None else torch.no_grad()(adjoint)
        return BlackBox(torch.no_grad()(multiply), shape, working_dtype_of(dtype, name), "torch", self, name, adjoint)

    def vector(self, b: Any, name: str) -> Any:
        if not isinstance(b, torch.Tensor):
            raise BackendError(f"{name}: found {type(b).__name__}; convert it to a torch tensor first")
        if b.layout != torch.strided:
            raise BackendError(f"{name}: found a tensor of layout {b.layout}; wanted a dense one, from .to_dense()")
        self._check_device(b, name)
        return plain_tensor(b)

    def numpy_dtype(self, x: Any) -> Any:
        return numpy_dtype_of(x.dtype)

    def zeros(self, n: int, dtype: Any) -> Any:
        return torch.zeros(n, dtype=TORCH_DTYPES[np.dtype(dtype)], device=self.device)

    def from_numpy(self, x: Any, dtype: Any) -> Any:
        return torch.tensor(np.asarray(x, dtype), dtype=TORCH_DTYPES[np.dtype(dtype)], device=self.device)

    def copy(self, x: Any, dtype: Any = None) -> Any:
        wanted = x.dtype if dtype is None else TORCH_DTYPES[np.dtype(dtype)]
        return x.to(dtype=wanted, copy=True, memory_format=torch.contiguous_format)

    def assign(self, x: Any, out: Any) -> Any:
        return out.copy_(x)

    def ldexp(self, x: Any, exponent: int) -> Any:
        for power in powers_of_two(exponent, NUMPY_DTYPES[x.dtype]):
            x.mul_(power)
        return x

    def max_abs(self, x: Any) -> float:
        if x.numel() == 0:
            return 0.0
        if not (x.is_floating_point() or x.is_complex()):
            x = x.to(torch.float64)  # the smallest integer has no modulus of its own type, and booleans have none
        return float(x.abs().max())

    def dot(self, x: Any, y: Any) -> complex:
        return torch.vdot(x, y).item()

    def norm(self, x: Any) -> float:
        return torch.linalg.vector_norm(x).item()

    def axpy(self, a: Any, x: Any, y: Any) -> Any:
        if isinstance(a, torch.Tensor):
            return y.addcmul_(a, x)
        return torch.add(y, x, alpha=as_number(a, x), out=y)

    def axpby(self, a: Any, x: Any, b: Any, y: Any) -> Any:
        if isinstance(a, torch.Tensor):
            return y.mul_(b).addcmul_(a, x)
        if isinstance(b, torch.Tensor):
            return torch.addcmul(x, b, y, out=y) if a == 1 else self.axpy(a, x, y.mul_(b))
        if a == 1:
            return torch.add(x, y, alpha=as_number(b, x), out=y)
        return torch.add(y.mul_(b), x, alpha=as_number(a, x), out=y)

    def difference(self, x: Any, y: Any, out: Any) -> Any:
        return torch.sub(x, y, out=out)

    def multiply(self, d: Any, x: Any, out: Any) -> Any:
        return torch.mul(d, x, out=out)

    def matvec(self, A: Operator, x: Any, out: Any) -> Any:
        if isinstance(A, TorchMatrix):
            return torch.mv(A.matrix, x, out=out)
        return out.copy_(A.matvec(x))

    def residual(self, A: Operator, x: Any, b: Any, out: Any) -> Any:
        if isinstance(A, TorchMatrix):
            return torch.addmv(b, A.matrix, x, alpha=-1, out=out)
        return torch.sub(b, A.matvec(x), out=out)

    def accurate_residual(self, A: Operator, x: Any, b: Any, out: Any) -> Any:
        """b - A x with products and sums in float64 for single precision, block by block of rows."""
        wide = WIDER.get(out.dtype)
        if wide is None or not isinstance(A, TorchMatrix):
            return self.residual(A, x, b, out)
        vector = x.to(wide)
        rows = max(1, BLOCK * out.numel() // max(1, A.entries))
        for low in range(0, out.numel(), rows):
            part = slice(low, min(low + rows, out.numel()))
            out[part] = torch.addmv(b[part].to(wide), A.rows(part, wide), vector, alpha=-1)
        return out

    def basis(self, k: int, n: int, dtype: Any) -> Block:
        array = torch.empty((k, n), dtype=TORCH_DTYPES[np.dtype(dtype)], device=self.device)
        return Block(list(array), array)

    def dots(self, V: Any, w: Any) -> np.ndarray:
        if not isinstance(V, Block):
            return super().dots(V, w)
        return (
            torch.mv(V.array.conj(), w)
            .cpu()
            .resolve_conj()
            .numpy()
            .astype(np.result_type(NUMPY_DTYPES[w.dtype], float))
        )

    def add_block(self, V: Any, y: Any, w: Any) -> Any:
        if not isinstance(V, Block):
            return super().add_block(V, y, w)
        return w.addmv_(V.array.T, self.from_numpy(y, NUMPY_DTYPES[w.dtype]))

    def momentum(self, beta: Any, gamma: Any, x: Any, previous: Any, z: Any) -> Any:
        if isinstance(gamma, torch.Tensor):
            if not isinstance(beta, torch.Tensor) and beta == 0:
                return torch.addcmul(x, gamma, z, out=previous)
            if x.is_floating_point():  # previous + (1 + beta) (x - previous), in one pass
                return previous.lerp_(x, 1 + beta).addcmul_(gamma, z)
        elif beta == 0:
            return torch.add(x, z, alpha=as_number(gamma, x), out=previous)
        return super().momentum(beta, gamma, x, previous, z)

    def namespace(self, x: Any) -> Any:
        return torch

    def dots_each(self, x: Any, y: Any) -> Any:
        return torch.linalg.vecdot(x, y).real.unsqueeze(-1)

    def norms_each(self, x: Any) -> Any:
        return torch.linalg.vector_norm(x, dim=-1, keepdim=True)

    def keep(self, which: Any, x: Any) -> Any:
        # A product with zero that even NaN does not survive; on a CPU ten times as fast as choosing.
        x.view(WORDS[x.dtype]).bitwise_and_(which.to(WORDS[x.dtype]).neg_())
        return x

    def put_each(self, x: Any, rows: np.ndarray, values: Any) -> Any:
        systems = np.flatnonzero(rows >= 0)
        at, to = (torch.tensor(part, device=x.device) for part in (systems, rows[systems]))
        x[at, to] = values[at]
        return x

    def sweep(self, ordering: Ordering, x: Any, b: Any, omega: float, reverse: bool) -> Any:
        """One SOR sweep; of a full matrix in natural order as x + (D / omega + L)^{-1} (b - A x), one substitution."""
        A = ordering.operator
        if ordering.order != "natural" or not isinstance(A, TorchDense):
            return super().sweep(ordering, x, b, omega, reverse)
        r = torch.addmv(b, A.matrix, x, alpha=-1)
        return x.add_(torch.linalg.solve_triangular(A.over(omega), r[:, None], upper=reverse)[:, 0])

    def put(self, x: Any, rows: Any, values: Any) -> Any:
        return x.index_copy_(0, rows, values)

    def rounded(self, x: Any, precision: Precision, step: int) -> Any:
        return round_to(x, precision.format, precision.rounding, out=x, seed=precision.seed, step=step)

    def stage_arrays(self, rows: Any, block: Any, inverse_diagonal: Any) -> tuple[Any, Any, Any]:
        index = torch.tensor(np.asarray(rows, np.int64), device=self.device)
        matrix = sparse_csr_of(
            torch.tensor(np.asarray(block.indptr, np.int64), device=self.device),
            torch.tensor(np.asarray(block.indices, np.int64), device=self.device),
            torch.tensor(block.data, device=self.device),
            block.shape,
        )
        return index, matrix, torch.tensor(inverse_diagonal, device=self.device)

    def compressed_rows(self, indptr: Any, indices: Any, values: Any, shape: tuple[int, int]) -> Any:
        return sparse_csr_of(indptr, indices, values, shape)

    def sparse_stack(self, A: Any) -> CSRStack | None:
        """A batch of CSR tensors as well, where all have one pattern."""
        if not isinstance(A, torch.Tensor) or A.layout != torch.sparse_csr or A.ndim < 3:
            return super().sparse_stack(A)
        A = A.detach()
        rows = [part.reshape(-1, part.shape[-1]) for part in (A.crow_indices(), A.col_indices())]
        if any(len(part) == 0 or bool((part != part[0]).any()) for part in rows):
            return None
        values = self.vector(A.values(), "A")
        try:
            starts, columns = (host_array(part[0]) for part in rows)
            pattern = pattern_of(starts, columns, values.shape[-1], tuple(A.shape[-2:]), kind=kernels.rows_kind)
            return CSRStack(pattern, pattern.placed(values.to(TORCH_DTYPES[working_dtype_of(values.dtype, "A")])))
        except (InputError, TypeError):
            return None  # whose systems are refused one by one

    def stack(self, vectors: list[Any], shape: tuple[int, ...], columns: bool) -> Any:
        stacked = torch.stack([x.reshape(-1) for x in vectors]).reshape(*shape, -1)
        return stacked.mT.contiguous() if columns else stacked

    def prepare(self, A: Operator, facts: Facts | None) -> Operator:
        """A full matrix with strides that no product takes is laid out anew, once instead of at every product."""
        if isinstance(A, TorchDense) and 1 not in A.matrix.stride():
            return TorchDense(A.matrix.contiguous())
        return A

    def to_numpy(self, x: Any) -> Any:
        return host_array(x)

    def _check_device(self, x: Any, name: str) -> None:
        if self.device is not None and x.device != self.device:
            raise BackendError(
                f"{name}: lies on {x.device}, but the system on {self.device}; move one of them with .to() first"
            )
        if x.is_meta:
            raise BackendError(f"{name}: is a meta tensor, which has a shape but no numbers; wanted one with entries")

    def lend(self, x: Any, dtype: np.dtype) -> Any:
        return self.copy(x, dtype)  # tensors have no views that are read-only

    def undifferentiated(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return torch.no_grad()(function)

    def received(self, result: Any, name: str, words: Wording = PRODUCT) -> Any:
        if not isinstance(result, torch.Tensor):
            raise BackendError(f"{name}: its {words.noun} is a {type(result).__name__}; wanted a torch tensor")
        return self.vector(result, f"the {words.noun} {words.of} {name}").reshape(-1)
