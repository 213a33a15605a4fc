"""How a vector of the caller, one array or several, lies in one flat vector of a backend."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Number
from operator import itemgetter
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from ...backends import Backend, choose_backend
from ...errors import InputError
from ...operators.exchange import VALUE
from ...precision import working_dtype

__all__ = ["Structure"]

Blocks = Sequence[Any]


@dataclass(frozen=True)
class Block:
    """One array of the caller's.

    Attributes
    ----------
    label : str
        What follows the name of the whole: nothing, ``[0]`` or ``['a']``.
    shape : tuple of int
    number : bool
        A Python number rather than an array.
    complex : bool
    low, high : int
        Where it lies in a flat vector; a complex block among real ones as pairs of reals.
    """

    label: str
    shape: tuple[int, ...]
    number: bool
    complex: bool
    low: int
    high: int


class Structure:
    """An array, a number, or a tuple, list or dict of such, as one flat vector; a stack of such, as flat vectors.

    Parameters
    ----------
    given : array, number, tuple, list or dict
        A list or tuple of nothing but numbers is an array.
    name : str
        What messages call it.
    backend : str or Backend, optional
        By default "numba" for NumPy arrays, otherwise the library of the arrays.
    batch_ndim : int
        So many axes come first in all arrays and tell the members of a stack apart: the flat vectors are then the rows
        of (members, n).

    Attributes
    ----------
    backend : Backend
    dtype : dtype
        Of the flat vector: the widest of all blocks, real where any block is real.
    n : int
    lead : tuple of int
        Lengths of the axes of a stack.
    values : vector
        What was given, a copy.
    """

    def __init__(self, given: Any, name: str, backend: str | Backend | None = None, batch_ndim: int = 0) -> None:
        self.name = name
        labels, blocks, self.rebuild, self.keys = _taken_apart(given, name)
        arrays = [block for block in blocks if not isinstance(block, Number)]
        self.backend = choose_backend(backend, *arrays)
        vectors = [None if isinstance(one, Number) else self.backend.vector(one, name) for one in blocks]
        dtypes = [self._dtype(vector, name + label) for vector, label in zip(vectors, labels, strict=True)]
        known = [dtype for dtype in dtypes if dtype is not None] or [np.dtype(np.float64)]
        complexes = [
            isinstance(block, complex) if dtype is None else dtype.kind == "c"
            for block, dtype in zip(blocks, dtypes, strict=True)
        ]
        widest = working_dtype(*known)
        real = np.zeros(0, widest).real.dtype
        self.pairs = any(complexes) and not all(complexes)
        self.complex_dtype = np.result_type(real, np.complex64)
        self.dtype = self.complex_dtype if all(complexes) else real
        self.blocks: list[Block] = []
        shapes = [() if vector is None else tuple(vector.shape) for vector in vectors]
        self.lead = _shared(shapes, batch_ndim, name, labels)
        self._rows = (math.prod(self.lead),) if batch_ndim else ()
        at = 0
        for label, block, shape, kind in zip(labels, blocks, shapes, complexes, strict=True):
            size = math.prod(shape[batch_ndim:]) * (2 if self.pairs and kind else 1)
            self.blocks.append(Block(label, shape, isinstance(block, Number), kind, at, at + size))
            at += size
        self.n = at
        if at == 0:
            raise InputError(f"{name}: found no entries; wanted at least one unknown")
        flat = []
        for block, vector, own in zip(blocks, vectors, self.blocks, strict=True):
            dtype = self.complex_dtype if own.complex else self.dtype
            if vector is None:
                flat.append(self.backend.from_numpy(np.array([block]), dtype))
            else:
                flat.append(self._flattened(self.backend.copy(vector, dtype), own))
        self.values = self._joined(flat)

    def member(self, k: int) -> Structure:
        """That of one vector of the stack."""
        own = copy.copy(self)
        own.blocks = [replace(block, shape=block.shape[len(self.lead) :]) for block in self.blocks]
        own.lead, own._rows, own.values = (), (), self.backend.copy(self.values[k, :])
        return own

    def flat(self, given: Any) -> Any:
        """Arrays of this structure as a flat vector, possibly in their own memory."""
        parts = [self.backend.vector(part, self.name) for part in self._parts(given, self.name)]
        return self._joined([self._flattened(part, own) for part, own in zip(parts, self.blocks, strict=True)])

    def _flattened(self, x: Any, block: Block) -> Any:
        """One block, flat."""
        return self.backend.reshape(x, (*self._rows, math.prod(block.shape[len(self.lead) :])))

    def _dtype(self, vector: Any, name: str) -> Any:
        if vector is None:
            return None
        dtype = self.backend.numpy_dtype(vector)
        try:
            working_dtype(dtype)
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from None
        return dtype

    def lent(self, x: Any) -> tuple[Any, Blocks]:
        """What code of the caller's is handed for the flat vector x; and the blocks of x, flat."""
        exact = self.backend
        flat = self._separated(x)
        return self._rebuilt(flat, lambda part: exact.lend(part, exact.numpy_dtype(part))), flat

    def outside(self, x: Any) -> Any:
        """The flat vector x, which nobody here keeps, in the caller's structure."""
        exact = self.backend
        flat = self._separated(x)
        return self._rebuilt(flat if len(flat) == 1 else [exact.copy(part) for part in flat], exact.returned)

    def _separated(self, x: Any) -> Blocks:
        exact = self.backend
        if len(self.blocks) == 1:
            return [x]
        wide = np.result_type(exact.numpy_dtype(x), np.complex64)
        parts = [x[..., block.low : block.high] for block in self.blocks]
        if self.pairs:
            parts = [
                _complex_of(part, exact, wide) if block.complex else part
                for block, part in zip(self.blocks, parts, strict=True)
            ]
        return parts

    def _rebuilt(self, flat: Blocks, finish: Callable[[Any], Any]) -> Any:
        exact = self.backend
        arrays = [
            (complex if block.complex else float)(x[0]) if block.number else exact.reshape(finish(x), block.shape)
            for block, x in zip(self.blocks, flat, strict=True)
        ]
        return self.rebuild(arrays)

    def received(self, result: Any, lent: Blocks, name: str) -> Any:
        """What code called ``name`` returned for what it was lent, as a flat vector, possibly of its own memory.

        Raises
        ------
        InputError, TypeError
            Where it has another structure, other shapes, another kind of numbers or fewer digits.
        """
        exact = self.backend
        parts = self._parts(result, name)
        flat = []
        for block, part, like in zip(self.blocks, parts, lent, strict=True):
            called = f"{name}(x){block.label}" if block.label else name
            if block.number and isinstance(part, Number):
                if isinstance(part, complex) and not block.complex:
                    raise InputError(f"{called}: its value is complex; wanted a real number. {VALUE.complex}")
                part = exact.from_numpy(np.array([part]), exact.numpy_dtype(like))
            else:
                shape = getattr(part, "shape", None)
                shape = np.shape(part) if shape is None else tuple(shape)
                if shape != block.shape:
                    raise InputError(
                        f"{called}: its value has shape {shape}; wanted {block.shape}, the shape of "
                        f"{self.name}{block.label}"
                    )
                taken = exact.take(part, exact.reshape(like, (-1,)), called, exact=True, words=VALUE)
                part = self._flattened(taken, block) if self._rows else taken
                found = exact.numpy_dtype(part)
                if block.complex and found.kind != "c":
                    raise InputError(f"{called}: its value is {found}; wanted {exact.numpy_dtype(like)}")
            flat.append(part)
        return flat[0] if len(flat) == 1 else self._joined(flat)

    def _parts(self, result: Any, name: str) -> list[Any]:
        if self.keys is None:
            if isinstance(result, Mapping):
                raise InputError(f"{name}: its value is a {type(result).__name__}; wanted one array, as {self.name} is")
            return [result]
        wanted = f"wanted what {self.name} is, "
        if isinstance(self.keys, tuple):
            if not isinstance(result, Mapping):
                raise InputError(
                    f"{name}: its value is a {type(result).__name__}; {wanted}a dict of {_listed(self.keys)}"
                )
            if set(result) != set(self.keys):
                raise InputError(f"{name}: its value has the keys {_listed(result)}; {wanted}{_listed(self.keys)}")
            return [result[key] for key in self.keys]
        if not isinstance(result, (list, tuple)):
            raise InputError(
                f"{name}: its value is a {type(result).__name__}; {wanted}{self.keys} arrays in a list or tuple"
            )
        if len(result) != self.keys:
            raise InputError(f"{name}: its value has {len(result)} parts; {wanted}{self.keys}")
        return list(result)

    def _joined(self, flat: Blocks) -> Any:
        if self.pairs:
            flat = [_pairs_of(x) if block.complex else x for block, x in zip(self.blocks, flat, strict=True)]
        return flat[0] if len(flat) == 1 else array_namespace(*flat).concat(flat, axis=-1)


def _shared(shapes: list[tuple[int, ...]], batch_ndim: int, name: str, labels: list[str]) -> tuple[int, ...]:
    """The axes of a stack, in which all blocks agree; an error names one that does not."""
    lead = shapes[0][:batch_ndim] if shapes else ()
    for shape, label in zip(shapes, labels, strict=True):
        if len(shape) < batch_ndim:
            wanted = f"at least {batch_ndim} ax{'is' if batch_ndim == 1 else 'es'}, those of the batch (batch_ndim)"
            raise InputError(f"{name}{label}: found shape {shape}; wanted {wanted}")
        if shape[:batch_ndim] != lead:
            raise InputError(
                f"{name}{label}: found shape {shape}; wanted one that begins with {lead}, the axes of the batch, as "
                f"that of {name}{labels[0]} does"
            )
    return lead


def _taken_apart(
    given: Any, name: str
) -> tuple[list[str], list[Any], Callable[[list[Any]], Any], tuple[Any, ...] | int | None]:
    """Labels and blocks, how to put them together again, and the keys of a dict or the length of a sequence."""
    if isinstance(given, Mapping):
        keys = tuple(given)
        blocks = [_block(given[key], f"{name}[{key!r}]") for key in keys]
        return [f"[{key!r}]" for key in keys], blocks, partial(_dict_of, keys), keys
    if isinstance(given, (list, tuple)) and not _of_numbers(given):
        kind = type(given)
        make: Any = getattr(kind, "_make", list if isinstance(given, list) else tuple)
        blocks = [_block(one, f"{name}[{k}]") for k, one in enumerate(given)]
        return [f"[{k}]" for k in range(len(given))], blocks, make, len(given)
    return [""], [_block(given, name)], itemgetter(0), None


def _dict_of(keys: tuple[Any, ...], arrays: list[Any]) -> dict[Any, Any]:
    return dict(zip(keys, arrays, strict=True))


def _of_numbers(given: Any) -> bool:
    """Whether nested lists hold nothing but numbers, and so are one array."""
    if isinstance(given, (list, tuple)):
        return all(map(_of_numbers, given))
    return isinstance(given, (Number, np.generic))


def _block(value: Any, name: str) -> Any:
    """An array, or a Python number."""
    if isinstance(value, np.generic):
        return value.item() if isinstance(value, Number) and isinstance(value, (float, complex)) else np.asarray(value)
    if isinstance(value, bool) or (isinstance(value, Number) and not isinstance(value, (int, float, complex))):
        raise TypeError(f"{name}: found a {type(value).__name__}; wanted a float or a complex number")
    if isinstance(value, Number):
        return value if isinstance(value, complex) else float(value)  # type: ignore[arg-type]
    if isinstance(value, Mapping) or (isinstance(value, (list, tuple)) and not _of_numbers(value)):
        raise InputError(f"{name}: found a {type(value).__name__} within another; wanted arrays, one level deep")
    if isinstance(value, (list, tuple)):
        try:
            return np.asarray(value)
        except ValueError as error:
            raise InputError(f"{name}: cannot be read as an array ({error})") from None
    if not hasattr(value, "shape"):
        raise TypeError(f"{name}: found {type(value).__name__}; wanted an array, or a tuple, list or dict of arrays")
    return value


def _listed(keys: Any) -> str:
    return ", ".join(map(repr, keys)) or "none"


def _pairs_of(x: Any) -> Any:
    """Real and imaginary parts, one after the other, of complex numbers."""
    xp = array_namespace(x)
    return xp.reshape(xp.stack((xp.real(x), xp.imag(x)), axis=-1), (*x.shape[:-1], 2 * x.shape[-1]))


def _complex_of(x: Any, backend: Backend, dtype: Any) -> Any:
    """The inverse."""
    xp = array_namespace(x)
    parts = xp.reshape(x, (*x.shape[:-1], x.shape[-1] // 2, 2))
    return backend.copy(parts[..., 0], dtype) + 1j * backend.copy(parts[..., 1], dtype)
