"""Where kernels take the place of compositions: real vectors, and matrices that kernels multiply with."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backends.block import Block
from ...backends.numpy_backend import NumpyBackend
from ...operators import Operator
from ...operators.ordering import Ordering
from . import passes, products
from .matrices import Arrays, csr_arrays
from .sweeps import sweep

try:
    import cupy
except ImportError:
    cupy = None

__all__ = ["FusedBackend"]


class FusedBackend(NumpyBackend):
    """NumPy's operations, fused into kernels where there is one."""

    xp: Any = cupy
    steps_a_look = 64  # four graphs of a loop: a look costs as much as some iterations of a small system

    def arrays(self, A: Operator) -> Arrays | None:
        """What kernels take of A; None for complex numbers, full matrices, and what only multiplies."""
        if A.dtype.kind != "f":
            return None
        if A.kind == "csr":
            held = A.__dict__.get("_device_arrays")
            if held is None:
                matrix: Any = A.matrix  # type: ignore[attr-defined]
                held = A.__dict__["_device_arrays"] = csr_arrays(matrix.indptr, matrix.indices, matrix.data)
            return held
        return getattr(A, "arrays", None)

    def fused(self, x: Any) -> bool:
        """Whether there are kernels for a vector."""
        return x.dtype.kind == "f" and x.ndim == 1 and x.flags.c_contiguous

    def multiplied(self, A: Operator, x: Any) -> Arrays | None:
        """What kernels take of A to multiply x; None where they do not."""
        arrays = self.arrays(A)
        return arrays if arrays is not None and arrays.dtype == x.dtype and self.fused(x) else None

    # Products.

    def matvec(self, A: Operator, x: Any, out: Any) -> Any:
        arrays = self.multiplied(A, x)
        return super().matvec(A, x, out) if arrays is None else products.product(arrays, x, out)

    def matvec_dot(self, A: Operator, p: Any, q: Any) -> tuple[Any, float]:
        arrays = self.multiplied(A, p)
        if arrays is not None:
            return products.product_dot(arrays, p, q)
        q = self.matvec(A, p, q)
        return q, self.real_dot(p, q)

    def residual(self, A: Operator, x: Any, b: Any, out: Any) -> Any:
        if self.multiplied(A, x) is None:
            return super().residual(A, x, b, out)
        return self.residual_norm(A, x, b, out)[0]

    def residual_norm(self, A: Operator, x: Any, b: Any, out: Any) -> tuple[Any, float]:
        arrays = self.multiplied(A, x)
        return super().residual_norm(A, x, b, out) if arrays is None else products.residual(arrays, x, b, out)

    def certify(self, A: Operator, x: Any, b: Any, out: Any) -> tuple[Any, float]:
        arrays = self.multiplied(A, x)
        return super().certify(A, x, b, out) if arrays is None else products.accurate_residual(arrays, x, b, out)

    # Passes over vectors.

    def real_dot(self, x: Any, y: Any) -> float:
        """Real part of x^H y."""
        return float(self.dot(x, y).real)

    def cg_update(self, alpha: float, p: Any, q: Any, x: Any, r: Any) -> tuple[Any, Any, float, float]:
        if self.fused(x):
            return passes.cg_update(alpha, p, q, x, r)
        return super().cg_update(alpha, p, q, x, r)

    def dot_and_square(self, x: Any, y: Any) -> tuple[complex, float]:
        return passes.dot_and_square(x, y) if self.fused(y) else super().dot_and_square(x, y)

    def bicgstab_update(
        self, alpha: complex, p: Any, omega: complex, s: Any, t: Any, shadow: Any, x: Any, r: Any
    ) -> tuple[Any, Any, complex, float]:
        if self.fused(x):
            return passes.bicgstab_update(alpha.real, p, omega.real, s, t, shadow, x, r)
        return super().bicgstab_update(alpha, p, omega, s, t, shadow, x, r)

    def lsmr_update(
        self, scale: float, v: Any, theta: float, h: Any, older: float, hbar: Any, step: float, x: Any
    ) -> tuple[Any, Any, Any, float]:
        if self.fused(x):
            return passes.lsmr_update(scale, v, theta, h, older, hbar, step, x)
        return super().lsmr_update(scale, v, theta, h, older, hbar, step, x)

    # Blocks.

    def dots(self, V: Any, w: Any) -> np.ndarray:
        return passes.block_dots(V, w).get() if self.fused(w) and len(V) else super().dots(V, w)

    def add_block(self, V: Any, y: Any, w: Any) -> Any:
        if not (self.fused(w) and len(V)):
            return super().add_block(V, y, w)
        passes.block_add(V, self.xp.asarray(np.asarray(y, np.float64)), w)
        return w

    def combine(self, V: Any, y: Any, out: Any) -> Any:
        if not self.fused(out):
            return super().combine(V, y, out)
        passes.block_add(V, self.xp.asarray(np.asarray(y, np.float64)), out, kept=0.0)
        return out

    def products_with_rows(self, V: Any, w: Any) -> np.ndarray:
        products = V @ w if V.dtype.kind == "f" else (V @ w.conj()).conj()
        return self.to_numpy(products).astype(np.result_type(V.dtype, np.float64))

    def add_rows(self, V: Any, y: np.ndarray, w: Any) -> Any:
        w += self.xp.asarray(y, V.dtype) @ V
        return w

    def orthogonalise(self, V: Block, k: int, unit_roundoff: float) -> tuple[np.ndarray, float]:
        if self.fused(V[k]):
            return passes.orthogonalise(V, k, unit_roundoff)
        return super().orthogonalise(V, k, unit_roundoff)

    # Sweeps.

    def sweep(self, ordering: Ordering, x: Any, b: Any, omega: float, reverse: bool) -> Any:
        if not self.fused(x):
            return super().sweep(ordering, x, b, omega, reverse)
        return sweep(self, ordering, x, b, self.xp.asarray(np.array([float(omega)])), reverse)
