"""What matrix functions are made of, for tensors on CUDA devices: Triton's kernels where they pay, torch elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ...backends import Backend
from ...solvers.matrix_functions.products import TorchProducts
from .launching import processors
from .newton_schulz import LARGEST_SMALL, orthogonal_small, product_

__all__ = ["TritonProducts"]

TILE = 128
# Below this order torch's product with a multiple added takes longer by the copy that it makes first, of as many bytes
# as its factor: at 700 Tflop/s and 4 TB/s a sixth of the product.
FUSED_BELOW = 2048


class TritonProducts(TorchProducts):
    """Those of torch, symmetric ones at half the work, and whole iterations of small matrices, in one kernel each.

    A symmetric product pays where its tiles give every multiprocessor one: torch has faster kernels for those of which
    all tiles are wanted, and none that leaves half of them out.

    Parameters
    ----------
    backend, like :
        As of ``Products``; ``like`` is bfloat16, float16 or float32.
    """

    def __init__(self, backend: Backend, like: Any) -> None:
        super().__init__(backend, like)
        self._processors = processors(like)
        # Torch's setting says whether tensor cores may round the factors of float32; without, its products are used.
        self._allowed = like.dtype != torch.float32 or torch.get_float32_matmul_precision() != "highest"

    def gram(self, X: Any, out: Any) -> Any:
        if not self._symmetric_pays(X.shape[0], X.shape[2]):
            return super().gram(X, out)
        return self._product(X.mT, X, None, 1.0, 0.0, out, symmetric=True)

    def square(self, A: Any, out: Any) -> Any:
        if not self._symmetric_pays(A.shape[0], A.shape[2]):
            return super().square(A, out)
        return self._product(A, A, None, 1.0, 0.0, out, symmetric=True)

    def quadratic(self, A: Any, b: float, c: float, out: Any) -> Any:
        if self._symmetric_pays(A.shape[0], A.shape[2]):
            return self._product(A, A, A, c, b, out, symmetric=True)
        self.count += 1
        return torch.baddbmm(A, A, A, beta=b, alpha=c, out=self._out(A.shape, A) if out is None else out)

    def multiply_commuting(self, A: Any, B: Any, out: Any) -> Any:
        if not self._symmetric_pays(A.shape[0], A.shape[2]):
            return super().multiply_commuting(A, B, out)
        return self._product(A, B, None, 1.0, 0.0, out, symmetric=True)

    def multiply_add(self, A: Any, B: Any, a: float, out: Any) -> Any:
        if not self._fused_pays(A):
            return super().multiply_add(A, B, a, out)
        return self._product(A, B, A, 1.0, a, out, symmetric=False)

    def orthogonal(self, X: Any, steps: Sequence[Sequence[float]], scaling: str, eps: float) -> Any:
        small = max(X.shape[-2:]) <= LARGEST_SMALL[X.dtype] and all(len(step) <= 3 for step in steps)
        if not (small and self._allowed):
            return None
        flat = [float(c) for step in steps for c in (*step, 0.0, 0.0)[:3]]
        return orthogonal_small(X, flat, scaling, eps)

    def _product(self, L: Any, R: Any, C: Any, alpha: float, beta: float, out: Any, symmetric: bool) -> Any:
        self.count += 1
        out = self._out((L.shape[0], L.shape[1], R.shape[2]), L) if out is None else out
        product_(out, L, R, C, alpha, beta, symmetric)
        return out

    def _symmetric_pays(self, count: int, n: int) -> bool:
        along = -(-n // TILE)
        return self._allowed and along > 1 and count * along * (along + 1) // 2 >= self._processors

    def _fused_pays(self, A: Any) -> bool:
        count, m, n = A.shape
        tiles = count * -(-m // TILE) * -(-n // TILE)
        return self._allowed and TILE <= n < FUSED_BELOW and tiles >= self._processors
