"""Emulated precision: a backend whose results are rounded to a format, where a policy says so.

This is the only place where a solve is rounded. Methods and driver do not know of it, except that the unit roundoff of
the system is that of the format. Vectors lie in a carrier, float32 or float64, in which one operation followed by a
rounding is correctly rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..operators import Dense, Facts, Operator
from ..operators.exchange import PRODUCT, Wording
from ..operators.ordering import Ordering
from ..precision import round as rounded_to
from ..precision.formats import Format
from ..precision.policy import Precision
from ..precision.rounding_rule import rounding_rule_of
from .block import Block
from .protocol import Backend

__all__ = ["Rounded"]


class Rounded(Backend):
    """``inner``, its results rounded as a ``Precision`` says.

    Parameters
    ----------
    inner : Backend
    precision : Precision
        Not a native one.

    Raises
    ------
    InputError
        Where the policy needs the entries of a matrix that only multiplies, or is asked for a relaxation sweep whose
        products it does not concern.

    Notes
    -----
    ``storage`` costs one more pass over each vector that is written, none in the compiled loops of the Numba backend.
    ``op`` and ``tensor-core`` work row by row on the host, whatever the library. Coefficients that a textbook forms on
    the way, such as omega / a_ii, are formed in the carrier.
    """

    def __init__(self, inner: Backend, precision: Precision) -> None:
        self.inner, self.precision = inner, precision
        self.name, self.library = inner.name, inner.library  # type: ignore[misc]
        self.keeps_vectors = precision.policy in ("storage", "op")
        self.steps = 0

    # Roundings.

    def _round(self, x: Any) -> Any:
        """x in the format, in place of x."""
        self.steps += 1
        return self.inner.rounded(x, self.precision, self.steps)

    def _written(self, x: Any) -> Any:
        """A vector that is written: rounded where the policy keeps vectors in the format."""
        return self._round(x) if self.keeps_vectors else x

    def _scalar(self, value: Any) -> Any:
        """An inner product, norm or step length; those of a stack are an array."""
        if self.precision.scalars is None:
            return value
        self.steps += 1
        p = self.precision
        if not isinstance(value, (int, float, complex)):
            host = np.array(self.inner.to_numpy(value))
            rounded_to(host, p.scalars, p.rounding, out=host, seed=p.seed, step=self.steps)
            return self.inner.from_numpy(host, host.dtype)
        number = np.complex128(value) if isinstance(value, complex) else np.float64(value)
        return rounded_to(number, p.scalars, p.rounding, seed=p.seed, step=self.steps).item()

    def store(self, A: Operator, dtype: Any) -> Operator:
        """The entries rounded from the precision they are given in, not from that of the carrier."""
        wide = np.result_type(A.dtype, dtype)
        if not A.explicit:
            return A.astype(dtype)
        stored = A.astype(wide).mapped(lambda values: self._round(self.inner.copy(values))).astype(np.dtype(dtype))
        stored.rounded_from = A.rounded_from or (A, str(self.precision.format))
        return stored

    def copy(self, x: Any, dtype: Any = None) -> Any:
        """A copy; rounded where it changes its type, since only then can it be in another format."""
        if dtype is None:
            return self.inner.copy(x)
        wide = np.result_type(self.inner.numpy_dtype(x), dtype)
        return self.inner.copy(self._written(self.inner.copy(x, wide)), dtype)

    def from_numpy(self, x: Any, dtype: Any) -> Any:
        return self._written(self.inner.from_numpy(x, dtype))

    # Operations.

    def dot(self, x: Any, y: Any) -> complex:
        if self.precision.policy == "op":
            return self._ordered_dot(x, y)
        return self._scalar(self.inner.dot(x, y))

    def norm(self, x: Any) -> float:
        if self.precision.policy == "op":
            square = self._ordered_dot(x, x).real
            return float(self._scalar(math.sqrt(square)) if square >= 0 else square)
        return float(self._scalar(self.inner.norm(x)))

    def namespace(self, x: Any) -> Any:
        return self.inner.namespace(x)

    def dots_each(self, x: Any, y: Any) -> Any:
        op = self.precision.policy == "op"
        return self._scalar(self._ordered_dots(x, y) if op else self.inner.dots_each(x, y))

    def norms_each(self, x: Any) -> Any:
        if self.precision.policy == "op":
            return self._scalar(self.namespace(x).sqrt(self._ordered_dots(x, x)))
        return self._scalar(self.inner.norms_each(x))

    def keep(self, which: Any, x: Any) -> Any:
        return self.inner.keep(which, x)

    def axpy(self, a: Any, x: Any, y: Any) -> Any:
        a = self._scalar(a)
        if self.precision.policy == "op":
            return self._round(self.inner.axpy(1.0, self._scaled(a, x), y))
        return self._written(self.inner.axpy(a, x, y))

    def axpby(self, a: Any, x: Any, b: Any, y: Any) -> Any:
        a, b = self._scalar(a), self._scalar(b)
        if self.precision.policy == "op":
            if not _is_one(b):
                y = self._round(self.inner.axpby(0.0, y, b, y))
            return self._round(self.inner.axpy(1.0, x if _is_one(a) else self._scaled(a, x), y))
        return self._written(self.inner.axpby(a, x, b, y))

    def difference(self, x: Any, y: Any, out: Any) -> Any:
        return self._written(self.inner.difference(x, y, out))

    def multiply(self, d: Any, x: Any, out: Any) -> Any:
        if self.precision.policy == "op" and self.inner.numpy_dtype(x).kind == "c":
            return self._ordered_products(d, x)
        return self._written(self.inner.multiply(d, x, out))

    def momentum(self, beta: Any, gamma: Any, x: Any, previous: Any, z: Any) -> Any:
        if self.precision.policy == "op":
            return super().momentum(beta, gamma, x, previous, z)
        beta, gamma = self._scalar(beta), self._scalar(gamma)
        return self._written(self.inner.momentum(beta, gamma, x, previous, z))

    def matvec(self, A: Operator, x: Any, out: Any) -> Any:
        policy = self.precision.policy
        if policy == "storage":
            return self._round(self.inner.matvec(A, x, out))
        if policy == "matvec":
            return self._round(self.inner.matvec(A, self._round(self.inner.copy(x)), out))
        if policy == "op":
            return self._host_product(A, x, self._ordered_rows)
        return self._host_product(A, self._round(self.inner.copy(x)), self._block_fma)

    def residual(self, A: Operator, x: Any, b: Any, out: Any) -> Any:
        if self.precision.policy == "storage":
            return self._round(self.inner.residual(A, x, b, out))
        return super().residual(A, x, b, out)

    def sweep(self, ordering: Ordering, x: Any, b: Any, omega: float, reverse: bool) -> Any:
        """One sweep, each entry of x rounded when it is written."""
        policy = self.precision.policy
        if policy == "storage":
            return super().sweep(ordering, x, b, omega, reverse)
        if policy != "op":
            raise InputError(
                f"precision: the policy {policy!r} concerns products with A, of which a relaxation has none; wanted "
                "storage or op"
            )
        from .compiled.rounded import ordered_sweep

        matrix = ordering.matrix
        host = np.array(self.inner.to_numpy(x))
        visited = np.arange(x.shape[0]) if ordering.order == "natural" else ordering.rows[0]
        inverse = ordering.inverse_diagonal
        ordered_sweep(
            self._how(host.dtype),
            matrix.indptr,
            matrix.indices,
            matrix.data,
            inverse,
            host,
            self.inner.to_numpy(b),
            float(self._scalar(omega)),
            visited[::-1].copy() if reverse else visited,
        )
        return self.inner.from_numpy(host, host.dtype)

    def put(self, x: Any, rows: Any, values: Any) -> Any:
        return self.inner.put(x, rows, self._written(values))

    def arrays(self, A: Operator) -> Any:
        """Those of ``inner``, whose loops know one kind of rounding: that of storage, to nearest, to one format."""
        p = self.precision
        plain = p.policy == "storage" and p.scalars is None and p.rounding == "nearest-even"
        return self.inner.arrays(A) if plain and isinstance(p.format, Format) else None

    def loop_rounding(self, dtype: Any) -> Any:
        from ..precision.rounding_kernels import compiled_rule

        return compiled_rule(self.precision.format, dtype)

    # One operation after the other, on the host.

    def _scaled(self, a: Any, x: Any) -> Any:
        """round(a x), a new vector."""
        return self._round(self.inner.axpby(0.0, x, a, self.inner.copy(x)))

    def _how(self, dtype: Any) -> Any:
        return rounding_rule_of(self.precision.format, dtype, self.precision.rounding)

    def _ordered_dot(self, x: Any, y: Any) -> complex:
        from .compiled.rounded import ordered_dot

        x, y = (np.ascontiguousarray(self.inner.to_numpy(vector)) for vector in (x, y))
        return ordered_dot(self._how(x.dtype), x, y)

    def _ordered_dots(self, x: Any, y: Any) -> Any:
        """Real parts, (..., 1), of inner products of the systems of a stack."""
        rows, others = (self.inner.reshape(vector, (-1, vector.shape[-1])) for vector in (x, y))
        dots = np.array([self._ordered_dot(rows[i, ...], others[i, ...]).real for i in range(rows.shape[0])])
        real = np.zeros(0, self.inner.numpy_dtype(x)).real.dtype
        return self.inner.reshape(self.inner.from_numpy(dots, real), (*x.shape[:-1], 1))

    def _ordered_products(self, d: Any, x: Any) -> Any:
        """d_i x_i of complex numbers, each of the six operations rounded."""
        from .compiled.rounded import ordered_products

        host = np.array(self.inner.to_numpy(x))
        ordered_products(self._how(host.dtype), np.asarray(self.inner.to_numpy(d), host.dtype), host)
        return self.inner.from_numpy(host, host.dtype)

    def _host_product(self, A: Operator, x: Any, multiply: Any) -> Any:
        host = np.ascontiguousarray(self.inner.to_numpy(x))
        result = np.empty(A.shape[0], host.dtype)
        multiply(A, host, result)
        return self.inner.from_numpy(result, result.dtype)

    def _ordered_rows(self, A: Operator, x: Any, out: Any) -> None:
        from .compiled.rounded import ordered_rows

        matrix = _entries(A)
        ordered_rows(self._how(x.dtype), matrix.indptr, matrix.indices, matrix.data, x, out)

    def _block_fma(self, A: Operator, x: Any, out: Any) -> None:
        from ..precision.tensor_core import multiply_rows

        if x.dtype.kind == "c":
            raise InputError(
                "precision: tensor cores multiply real numbers; wanted another policy for a complex system"
            )
        if isinstance(A, Dense):
            multiply_rows(np.ascontiguousarray(A.matrix), x, out, self.precision.format, self.precision.device)
        else:
            matrix = _entries(A)
            multiply_rows(matrix, x, out, self.precision.format, self.precision.device)

    # What is not rounded.

    @property
    def exact(self) -> Backend:
        return self.inner

    def operator(self, A: Any, name: str = "A", square: bool = True) -> Operator:
        return self.inner.operator(A, name, square)

    def lend(self, x: Any, dtype: np.dtype) -> Any:
        return self.inner.lend(x, dtype)

    def received(self, result: Any, name: str, words: Wording = PRODUCT) -> Any:
        return self.inner.received(result, name, words)

    def undifferentiated(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return self.inner.undifferentiated(function)

    def returned(self, x: Any) -> Any:
        return self.inner.returned(x)

    def vector(self, b: Any, name: str) -> Any:
        return self.inner.vector(b, name)

    def numpy_dtype(self, x: Any) -> Any:
        return self.inner.numpy_dtype(x)

    def zeros(self, n: int, dtype: Any) -> Any:
        return self.inner.zeros(n, dtype)

    def assign(self, x: Any, out: Any) -> Any:
        return self.inner.assign(x, out)

    def basis(self, k: int, n: int, dtype: Any) -> Block:
        return self.inner.basis(k, n, dtype)

    def ldexp(self, x: Any, exponent: int) -> Any:
        return self.inner.ldexp(x, exponent)

    def max_abs(self, x: Any) -> float:
        return self.inner.max_abs(x)

    def stage_arrays(self, rows: Any, block: Any, inverse_diagonal: Any) -> tuple[Any, Any, Any]:
        return self.inner.stage_arrays(rows, block, inverse_diagonal)

    def stack(self, vectors: list[Any], shape: tuple[int, ...], columns: bool) -> Any:
        return self.inner.stack(vectors, shape, columns)

    def bound_to(self, arrays: Sequence[Any]) -> Backend:
        return Rounded(self.inner.bound_to(arrays), self.precision)

    def reshape(self, x: Any, shape: tuple[int, ...]) -> Any:
        return self.inner.reshape(x, shape)

    def facts(self, A: Operator) -> Facts | None:
        return self.inner.facts(A)

    def prepare(self, A: Operator, facts: Facts | None) -> Operator:
        return self.inner.prepare(A, facts)

    def to_numpy(self, x: Any) -> Any:
        return self.inner.to_numpy(x)


def _entries(A: Operator) -> Any:
    """A as CSR on the host, kept on our own operator so that it is made once."""
    held = A.__dict__.get("_host_entries")
    if held is None:
        held = A.__dict__["_host_entries"] = A.tocsr()
    return held


def _is_one(a: Any) -> bool:
    """Whether a factor is the number 1; those of a stack are multiplied with whatever they are."""
    return isinstance(a, (int, float, complex)) and a == 1
