"""Batches of small systems, each solved whole in one launch: which kernel takes which matrices, and how it is fed."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ...backends.compiled.found import FOUND
from ...operators.stack import Pattern
from .small_kernels import TEXT

try:
    import cupy
except ImportError:  # what needs no device can be looked at without CuPy
    cupy = None

__all__ = ["KERNELS", "BandedMatrices", "FullMatrices"]

# (kind of scheme, storage): the kernel
KERNELS = {
    ("ConjugateGradients", "Full"): "solve_by_cg",
    ("ConjugateGradients", "Banded"): "solve_by_cg",
}
_TYPES = {"f": "float", "d": "double", "F": "complex<float>", "D": "complex<double>"}
_LIMITS = ("rtol", "atol", "maxiter", "steps", "unit_roundoff", "skew", "comfortable", "lowest", "highest")
_MOST_WIDE = 3  # diagonals on either side


class _Kernel(NamedTuple):
    """A kernel for one storage, and the systems of a block."""

    function: Any
    threads: int
    systems: int


@cache
def _kernel(name: str, storage: str, threads: int, systems: int) -> _Kernel:
    instance = f"{name}<{storage}>"
    # Products are added without being rounded: what comes of it is looked at in the certificate.
    module = cupy.RawModule(code=TEXT, options=("--std=c++17",), name_expressions=(instance,))
    return _Kernel(module.get_function(instance), threads, systems)


class SmallMatrices:
    """The matrices of a batch as kernels take them.

    Parameters
    ----------
    values : array, (..., entries)
        On the device, of all matrices, one after the other.
    matrices : tuple of int
        The axes of the matrices.
    n : int
    """

    storage = ""

    def __init__(self, values: Any, matrices: tuple[int, ...], n: int) -> None:
        self.values, self.matrices, self.n = values, matrices, n

    @property
    def entries(self) -> int:
        """Of each matrix."""
        return math.prod(self.values.shape) // max(1, math.prod(self.matrices))

    def places(self) -> np.ndarray:
        """Where among its values the entries of a matrix lie; of one number where the kernel knows."""
        return np.zeros(1, np.int32)

    def instance(self, char: str) -> tuple[str, int, int] | None:
        """The type that a kernel has for matrices of this dtype, its threads, and systems a block; None for none."""
        raise NotImplementedError

    def kernel(self, scheme: str, dtype: np.dtype) -> _Kernel | None:
        """The kernel that iterates by this scheme; None where there is none."""
        name, instance = KERNELS.get((scheme, self.storage)), self.instance(dtype.char)
        return None if name is None or instance is None else _kernel(name, *instance)

    def solve(
        self, kernel: _Kernel, dtype: np.dtype, b: Any, x0: Any, inverse_diagonal: Any, limits: Any, kept: bool
    ) -> tuple[Any, Any, Any, Any]:
        """Solve for each row of b, (systems, n): x, statuses, what was found of each, and its iterations' numbers.

        All of them stay on the device. The matrices have as many systems each; x0 and ``inverse_diagonal`` may be None.
        """
        count, steps = b.shape[0], int(limits.steps)
        x, found, codes = cupy.empty(b.shape, dtype), cupy.empty((count, len(FOUND))), cupy.empty(count, np.int8)
        numbers = cupy.zeros((count if kept else 1, 3, steps + 1 if kept else 1))
        nothing = cupy.empty(1, dtype)
        blocks = -(-count // kernel.systems)
        kernel.function(
            (blocks,),
            (kernel.threads,),
            (
                np.int64(count),
                np.int64(count // max(1, math.prod(self.matrices))),
                np.int32(self.n),
                np.int64(self.entries),
                cupy.ascontiguousarray(self.values, dtype),
                cupy.asarray(self.places()),
                b,
                nothing if x0 is None else x0,
                nothing if inverse_diagonal is None else inverse_diagonal,
                x,
                codes,
                numbers,
                found,
                np.int32(x0 is not None),
                np.int32(inverse_diagonal is not None),
                np.int32(kept),
                *(np.float64(getattr(limits, name)) for name in _LIMITS),
                np.int32(limits.choose != 0),
            ),
        )
        return x, codes, found, numbers if kept else numbers[:0]


class FullMatrices(SmallMatrices):
    """Full ones, up to 64 rows."""

    storage = "Full"

    @staticmethod
    def of(values: Any) -> FullMatrices:
        """Those of an array (..., n, n)."""
        *matrices, n, _ = values.shape
        return FullMatrices(values, tuple(matrices), n)

    def instance(self, char: str) -> tuple[str, int, int] | None:
        size = next((size for size in (8, 16, 32, 64) if size >= self.n), None)
        if size is None or (size == 64 and char in "FD"):
            return None
        lanes = min(size, 32)
        threads = 32 if size > 32 else 64 if char == "D" else 128
        return f"Full<{_TYPES[char]}, {size}>", threads, threads // lanes


class BandedMatrices(SmallMatrices):
    """Sparse ones of one pattern that lies near the diagonal.

    Parameters
    ----------
    values, matrices, n :
        As above.
    pattern : Pattern
    """

    storage = "Banded"

    def __init__(self, values: Any, matrices: tuple[int, ...], n: int, pattern: Pattern) -> None:
        super().__init__(values, matrices, n)
        self.pattern, self._offsets = pattern, pattern.indices.astype(np.int64) - pattern.rows

    @property
    def width(self) -> int:
        """Diagonals on either side, at least one."""
        return max(1, int(np.abs(self._offsets).max(initial=0)))

    def places(self) -> np.ndarray:
        width = self.width
        places = np.full((2 * width + 1, self.n), -1, np.int32)
        places[self._offsets + width, self.pattern.rows] = np.arange(len(self._offsets))
        return places.reshape(-1)

    def instance(self, char: str) -> tuple[str, int, int] | None:
        width = self.width
        if width > _MOST_WIDE:
            return None
        rows = 4 if (2 * width + 5) * np.dtype(char).itemsize > 64 else 8  # of a lane, as the kernel has it
        size = max(8, 1 << (self.n - 1).bit_length())
        if size > 32 * rows:
            return None
        return f"Banded<{_TYPES[char]}, {width}, {size}>", 128, 128 * rows // size
