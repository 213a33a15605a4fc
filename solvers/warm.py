"""Compile ahead of time what solves will call."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, cast

import numpy as np
import scipy.sparse as sparse

from ..compilation import told
from ..errors import ConvergenceWarning
from ..naming import choice, named_in
from ..operators import Diagonals, Stencil
from .driver.progress import watched
from .linear.small import SYSTEMS_BEFORE
from .linear.solve import solve
from .methods import METHODS, MethodName

__all__ = ["DTYPES", "STORAGES", "Warmed", "warm"]

STORAGES = ("csr", "dense", "diagonals", "stencil")
DTYPES = ("float64", "float32", "complex128", "complex64")
SMALL, LARGE, DENSE = 8, 66, 1200  # points along a line of a grid of few and of many rows; rows of a full matrix


@dataclass(frozen=True)
class Warmed:
    """What ``warm`` has done.

    Attributes
    ----------
    kernels : tuple of str
        The names of those that were compiled, in that order; the others were on disk already.
    seconds : float
    """

    kernels: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        kernels = "1 kernel" if len(self.kernels) == 1 else f"{len(self.kernels)} kernels"
        return f"{kernels} compiled in {self.seconds:.1f} s" if self.kernels else "everything was compiled already"


def warm(
    storages: str | Iterable[str] = ("csr", "dense"),
    dtypes: str | Iterable[str] = "float64",
    methods: str | Iterable[str] = "auto",
    *,
    progress: bool = True,
) -> Warmed:
    """Compile the kernels that solves on the CPU call, so that the first solve need not wait for them.

    Systems of each kind are solved, small and large, sparse with few diagonals and without. Kernels are kept on disk,
    beside the package or where ``NUMBA_CACHE_DIR`` says; what is there is not compiled again.

    Parameters
    ----------
    storages : str or iterable of str
        Of "csr", "dense", "diagonals" and "stencil"; "all" for all of them.
    dtypes : str or iterable of str
        Of "float64", "float32", "complex128" and "complex64", or "all".
    methods : str or iterable of str
        "auto" for what ``solve`` chooses for Hermitian positive definite systems, names of methods, or "all".
    progress : bool
        Show how far it is to a person who is watching.

    Returns
    -------
    Warmed
        The names of the kernels that were compiled, and the seconds it took.

    Raises
    ------
    InputError
        A name that there is not.

    Examples
    --------
    >>> import resolvent as rv
    >>> done = rv.warm("diagonals", methods="jacobi")
    >>> print(rv.warm("diagonals", methods="jacobi"))
    everything was compiled already
    """
    kinds = list(
        product(
            _chosen("storages", storages, STORAGES),
            _chosen("dtypes", dtypes, DTYPES),
            _chosen("methods", methods, ("auto", *METHODS), tuple(METHODS)),
        )
    )
    compiled: list[str] = []
    began = time.perf_counter()
    console = watched() if progress else None
    with told(lambda name: compiled.append(name) if name else None), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for storage, dtype, method in _shown(kinds, console):
            for A, times in _systems(storage, np.dtype(dtype)):
                b = np.ones(A.shape[0], dtype)
                for _ in range(times):
                    solve(A, b, method=cast(MethodName, method), maxiter=50)
            if method == "auto" and storage != "dense" and np.dtype(dtype).kind == "f":  # as large grids are solved
                A = _grid(LARGE, np.dtype(dtype))
                solve(A, np.ones(A.shape[0], dtype), method="cg", M="multigrid", maxiter=50)
    return Warmed(tuple(compiled), time.perf_counter() - began)


def _chosen(argument: str, given: str | Iterable[str], known: tuple[str, ...], every: Any = None) -> tuple[str, ...]:
    if named_in(given, ("all",)):
        return every or known
    names = (given,) if isinstance(given, str) else tuple(given)
    return tuple(choice(argument, name, known, more=", or 'all'") for name in names)


def _shown(kinds: list[tuple[str, str, str]], console: Any) -> Iterator[tuple[str, str, str]]:
    """The same one after the other, with a bar for whoever is watching."""
    if console is None:
        yield from kinds
        return
    from rich.progress import track

    yield from track(kinds, "Compiling", console=console, transient=True)


def _systems(storage: str, dtype: np.dtype) -> Iterator[tuple[Any, int]]:
    """Matrices, and how often to solve with each: compiled solves are for those who have some small systems."""
    often = SYSTEMS_BEFORE + 1
    if storage == "stencil":
        for points, times in ((SMALL, often), (LARGE, 1)):
            yield Stencil((points, points), 5.0, ((-1.0, -1.0), (-1.0, -1.0)), dtype), times
        return
    few, many = _grid(SMALL, dtype), _grid(LARGE, dtype)
    if storage == "csr":
        yield few, often
        yield many, 1
        order = np.random.default_rng(0).permutation(many.shape[0])
        yield many[order][:, order], 1
    elif storage == "dense":
        yield few.toarray(), often
        n = np.arange(DENSE)
        yield np.where(abs(n[:, None] - n) < 2, 1, 0).astype(dtype) + 3 * np.eye(DENSE, dtype=dtype), 1
    else:
        bands = many.todia()
        order = np.argsort(bands.offsets)
        rows = np.zeros((order.size, many.shape[0]), dtype)
        for row, offset in zip(rows, bands.offsets[order], strict=True):
            entries = many.diagonal(offset)
            row[max(0, -offset) : max(0, -offset) + entries.size] = entries
        yield Diagonals(rows, bands.offsets[order]), 1


def _grid(points: int, dtype: np.dtype) -> Any:
    """The five-point stencil with a somewhat heavier center, on a square."""
    line = sparse.diags_array([-1.0, 2.5, -1.0], offsets=(-1, 0, 1), shape=(points, points))
    unit = sparse.eye_array(points)
    return (sparse.kron(line, unit) + sparse.kron(unit, line)).tocsr().astype(dtype)
