"""Which array library an object belongs to, told by its type alone: nothing is imported for it."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from array_api_compat import to_device

__all__ = ["dtype_of", "library_of", "on_host"]

_ROOTS = {"numpy": "numpy", "scipy": "numpy", "torch": "torch", "cupy": "cupy", "cupyx": "cupy"}


def library_of(array: Any) -> str | None:
    """The array library an object belongs to; None for operators and callables that work on any."""
    found = _library_of_type(type(array))  # type: ignore[arg-type]
    if found is not None:
        return found or None
    library = getattr(array, "library", None)
    if isinstance(library, str):
        return None if getattr(array, "portable", False) else library
    if hasattr(array, "__array_namespace__"):
        return "array_api"
    return "numpy" if isinstance(array, (list, tuple, int, float, complex)) else None


@cache
def _library_of_type(kind: type) -> str | None:
    """What the type alone tells; "" for SciPy's operators, which work on any library."""
    for base in kind.__mro__:  # a subclass of an array is an array, wherever it was written
        root = base.__module__.partition(".")[0]
        if root in _ROOTS:
            return "" if root == "scipy" and hasattr(kind, "matvec") else _ROOTS[root]
    return None


def dtype_of(array: Any) -> np.dtype:
    """The NumPy type that an array's own stands for, told by its name; bfloat16, which NumPy lacks, is half precision.

    A TypeError where there is none.
    """
    if isinstance(array.dtype, np.dtype):
        return array.dtype
    name = str(array.dtype).rpartition(".")[2]
    return np.dtype("float16" if name == "bfloat16" else name)


def on_host(array: Any) -> np.ndarray:
    """An array of any library as NumPy's."""
    return np.asarray(array if isinstance(array, (np.ndarray, list, tuple)) else to_device(array, "cpu"))
