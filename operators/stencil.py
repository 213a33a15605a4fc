"""The same few coefficients at every point of a regular grid: a matrix with nothing to store."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse as sparse

from ..errors import InputError
from ..precision import supported_dtypes
from .base import Operator
from .facts import Facts

__all__ = ["Stencil"]


class Stencil(Operator):
    """A constant stencil on a grid of one to three dimensions, zero outside (Dirichlet).

    Points are numbered in C order, the last axis fastest.

    Parameters
    ----------
    grid : tuple of 1 to 3 int
        Points along each axis.
    center : float
        Coefficient of the point itself.
    axes : tuple of (float, float), one pair an axis
        Coefficients of the neighbours at index - 1 and index + 1 along that axis.
    dtype : dtype-like
        float32, float64, complex64 or complex128.

    Raises
    ------
    InputError
        For a grid of no or more than three axes, a negative size, or not one finite pair an axis.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> A = rv.Stencil((3,), 2.0, ((-1.0, -1.0),))
    >>> A.matvec(np.array([1.0, 2, 3]))
    array([0., 0., 4.])
    """

    kind = "stencil"
    portable = True

    def __init__(self, grid: Any, center: Any, axes: Any, dtype: Any = np.float64) -> None:
        if any(not isinstance(size, Integral) for size in grid):
            raise InputError(f"grid: found {grid!r}; wanted a tuple of one to three integers")
        grid = tuple(int(size) for size in grid)
        axes = tuple((complex(lower), complex(upper)) for lower, upper in axes)
        if not 1 <= len(grid) <= 3 or any(size < 0 for size in grid):
            raise InputError(f"grid: found {grid}; wanted one to three sizes of at least 0")
        if len(axes) != len(grid):
            raise InputError(
                f"axes: found {len(axes)} pairs for {len(grid)} axes; wanted one pair of coefficients each"
            )
        self.dtype = np.dtype(dtype)
        if self.dtype not in supported_dtypes:
            raise InputError(f"dtype: found {self.dtype}; wanted float32, float64, complex64 or complex128")
        coefficients = np.array([center, *(value for pair in axes for value in pair)])
        if not np.isfinite(coefficients).all():
            raise InputError(f"center, axes: found {coefficients.tolist()}; wanted finite coefficients")
        if self.dtype.kind != "c":
            if np.any(coefficients.imag != 0):
                raise InputError(f"dtype: {self.dtype} cannot hold complex coefficients")
            coefficients = coefficients.real
        self.grid = grid
        self.coefficients = coefficients.astype(self.dtype)
        n = math.prod(grid)
        self.shape = (n, n)

    def matvec(self, x: Any) -> Any:
        field = x.reshape(self.grid)
        result = self.coefficients[0] * field
        for axis in range(len(self.grid)):
            lower, upper = self.coefficients[1 + 2 * axis : 3 + 2 * axis]
            ahead = tuple(slice(1, None) if k == axis else slice(None) for k in range(len(self.grid)))
            behind = tuple(slice(None, -1) if k == axis else slice(None) for k in range(len(self.grid)))
            result[ahead] += lower * field[behind]
            result[behind] += upper * field[ahead]
        return result.reshape(-1)

    @property
    def bandwidth(self) -> int:
        return math.prod(self.grid[1:])

    def tocsr(self) -> Any:
        total = sparse.csr_array(self.shape, dtype=self.dtype)
        for axis, size in enumerate(self.grid):
            lower, upper = self.coefficients[1 + 2 * axis : 3 + 2 * axis]
            line = sparse.diags_array(
                [np.full(max(size - 1, 0), lower), np.full(max(size - 1, 0), upper)],
                offsets=[-1, 1],
                shape=(size, size),
                dtype=self.dtype,
            )
            before = sparse.eye_array(math.prod(self.grid[:axis]), dtype=self.dtype)
            after = sparse.eye_array(math.prod(self.grid[axis + 1 :]), dtype=self.dtype)
            total = total + sparse.kron(sparse.kron(before, line), after)
        total = sparse.csr_array(total + self.coefficients[0] * sparse.eye_array(self.shape[0], dtype=self.dtype))
        total.sum_duplicates()
        return total

    @property
    def values(self) -> Any:
        return self.coefficients

    def adjoint(self) -> Stencil:
        swapped = self.coefficients.conj()
        swapped[1::2], swapped[2::2] = swapped[2::2].copy(), swapped[1::2].copy()
        return self._with(swapped, self.dtype)

    def diagonal(self) -> Any:
        return np.full(self.shape[0], self.coefficients[0])

    def facts(self) -> Facts | None:
        """In closed form: an inner row has all neighbours, a grid of two points along an axis one of them."""
        center = self.coefficients[0]
        if center == 0 or self.shape[0] == 0:
            return super().facts()
        axes = [
            (size, *(complex(value) for value in self.coefficients[1 + 2 * axis : 3 + 2 * axis]))
            for axis, size in enumerate(self.grid)
            if size > 1
        ]
        largest = max(abs(complex(center)), *(abs(value) for _, *pair in axes for value in pair), 0.0)
        unit = 2.0 ** -np.frexp(largest)[1]
        sides = [(size, abs(lower) * unit, abs(upper) * unit) for size, lower, upper in axes]
        own = abs(complex(center)) * unit
        total = own + sum(low + up if size > 2 else max(low, up) for size, low, up in sides)
        squares = own**2 + sum(low**2 + up**2 if size > 2 else max(low, up) ** 2 for size, low, up in sides)
        real, imaginary = complex(center).real, complex(center).imag
        return Facts(
            max_abs=float(largest),
            row_norm=float(math.sqrt(squares) / unit),
            row_sum=float(total / unit),
            asymmetry=float(max(2 * abs(imaginary), *(abs(low - up.conjugate()) for _, low, up in axes), 0.0)),
            lower=all(up == 0 for _, _, up in axes),
            upper=all(low == 0 for _, low, _ in axes),
            diagonal_positive=real > 0 and imaginary == 0,
            dominant=2 * own > total,
            empty_row=-1,
            zero_diagonal=-1,
            margin=float((real * unit + own - total) / unit),
        )

    def rescaled(self, exponent: int) -> Stencil:
        return self._with(np.ldexp(1.0, exponent) * self.coefficients, self.dtype)

    def mapped(self, function: Callable[[Any], Any]) -> Stencil:
        return self._with(function(self.coefficients), self.dtype)

    def astype(self, dtype: np.dtype) -> Stencil:
        return self if dtype == self.dtype else self._with(self.coefficients, dtype)

    def _with(self, coefficients: np.ndarray, dtype: np.dtype) -> Stencil:
        pairs = tuple(zip(coefficients[1::2], coefficients[2::2], strict=True))
        return Stencil(self.grid, coefficients[0], pairs, dtype)
