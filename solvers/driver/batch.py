"""The batch axis: one system, or many of one shape, and the warning of what did not converge."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Protocol, cast

import numpy as np
import scipy.sparse as sparse

from ...backends import choose_backend
from ...errors import ConvergenceWarning, InputError, undeclared, warn_caller
from ...precision import working_dtype
from .batch_solution import BatchSolution, Systems, summary
from .problem import Words
from .solution import LINEAR, Solution
from .status import Ending, Status
from .stopping import Options

__all__ = [
    "GATHERED",
    "KEPT",
    "TELL",
    "Batch",
    "Members",
    "Solver",
    "Together",
    "as_array",
    "gathered",
    "index_of",
    "one_or_many",
    "solve_each",
    "stacked",
    "warn_of",
]

# Who is told of a solve that did not converge, by default ``warn_of``: what solves as a part of more says which it was.
TELL: ContextVar[Callable[[Solution], None]] = ContextVar("TELL")


@dataclass(frozen=True)
class Batch:
    """The systems of one call.

    Attributes
    ----------
    A, b, x0 : arrays
        As the caller gave them; x0 in b's shape, or None.
    matrices : tuple of int
        The axes of A before its last two.
    lead, columns : tuple of int
        The axes of the batch: those that matrices and right-hand sides share, and that of the right-hand sides of one
        matrix, if there is one.
    n : int
        Unknowns of each system, which has as many rows but for least squares.
    """

    A: Any
    b: Any
    x0: Any
    matrices: tuple[int, ...]
    lead: tuple[int, ...]
    columns: tuple[int, ...]
    n: int

    @property
    def square(self) -> bool:
        """Whether each matrix has as many rows as columns."""
        return int(self.A.shape[-2]) == self.n

    @staticmethod
    def of(A: Any, b: Any, x0: Any, shape: tuple[int, ...], square: bool = True) -> Batch:
        """The batch of a call, A being of this shape; an error where shapes do not fit."""
        *matrices, m, n = shape
        if square and m != n:
            wanted = "square matrices (..., n, n)" if matrices else "a square matrix (n, n)"
            raise InputError(f"A: found shape {shape}; wanted {wanted}")
        size = tuple(b.shape)
        vectors = len(matrices) > 0 and size == shape[:-1]
        columns = () if vectors else size[-1:]
        try:
            if not vectors and (len(size) < 2 or size[-2] != m):
                raise ValueError
            lead = np.broadcast_shapes(tuple(matrices), size[:-1] if vectors else size[:-2])
        except ValueError:
            raise InputError(
                f"b: found shape {size} for A of shape {shape}; wanted {shape[:-1]} (a vector a system) or "
                f"{(*matrices, m, 'k')} (k right-hand sides a system)"
            ) from None
        own = (*size[:-1], n) if vectors else (*size[:-2], n, *size[-1:])
        if x0 is not None and tuple(x0.shape) != own:
            whose = "the shape of b" if square else "the shape of x"
            raise InputError(f"x0: found shape {tuple(x0.shape)}; wanted {own}, {whose}")
        return Batch(A, b, x0, tuple(matrices), lead, columns, n)

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return (*self.lead, *self.columns)

    def __len__(self) -> int:
        return int(np.prod(self.shape, dtype=int))

    @cached_property
    def which(self) -> np.ndarray:
        """The number of the matrix of each system."""
        count = int(np.prod(self.matrices, dtype=int))
        numbers = np.broadcast_to(np.arange(count).reshape(self.matrices), self.lead)
        return np.broadcast_to(numbers[(..., *(None,) * len(self.columns))], self.shape).reshape(-1)

    def matrix(self, k: int) -> Any:
        """That of system k."""
        if not self.matrices:
            return self.A
        return self.A[(*(int(part) for part in np.unravel_index(self.which[k], self.matrices)), ...)]

    def vector(self, given: Any, k: int) -> Any:
        """System k's part of b or x0."""
        if given is None:
            return None
        at = index_of(self.shape, k)  # the axis of right-hand sides is the fastest
        lead = given.shape[: given.ndim - 1 - len(self.columns)]
        own = at[len(self.lead) - len(lead) : len(self.lead)]
        # An axis along which one right-hand side serves many matrices.
        own = tuple(0 if size == 1 else part for part, size in zip(own, lead, strict=True))
        return given[(*own, slice(None), *at[len(self.lead) :])]

    def rows(self, given: Any, dtype: Any) -> np.ndarray:
        """b or x0, a NumPy array, with one vector a row."""
        if self.columns:
            given = np.moveaxis(np.broadcast_to(given, (*self.lead, self.n, *self.columns)), -2, -1)
        return np.ascontiguousarray(given, dtype).reshape(-1, self.n)

    def joined(self, rows: Any, xp: Any) -> Any:
        """The inverse, of arrays of any library, whose functions are xp's."""
        x = xp.reshape(rows, (*self.shape, self.n))
        return xp.asarray(xp.moveaxis(x, -1, -2), copy=True) if self.columns else x

    def without_arrays(self) -> Batch:
        """The same with nothing of what was given."""
        return replace(self, A=None, b=None, x0=None)


class Together(Protocol):
    """Systems of a batch that were iterated together.

    Attributes
    ----------
    fields : dict of str to ndarray of shape (systems,)
        Fields of a Solution.
    left : ndarray of int
        The systems that are to be solved alone.
    ending : Ending or None
        What kept those that were not begun from being solved, and keeps those that are left.
    seconds : float
    settled : bool
        All converged, and the fields can wait until somebody reads one of them.
    """

    left: np.ndarray
    ending: Ending | None
    seconds: float

    @property
    def fields(self) -> dict[str, np.ndarray]: ...
    @property
    def settled(self) -> bool: ...

    def solution(self, k: int) -> Solution:
        """That of one system."""

    def completed(self, alone: Mapping[int, Solution]) -> Any:
        """x of all systems as the caller's library has it, with those that were solved alone."""


class Members(Protocol):
    """The problems of one call, whatever they are."""

    words: ClassVar[Words]

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""

    def alone(self, k: int, options: Options) -> Solution:
        """Solve one."""

    def together(self, options: Options) -> Together | None:
        """Solve those that take the ordinary course side by side; None where all are to be solved one by one."""

    def nowhere(self, k: int) -> Any:
        """NaN in place of x, for one that is refused."""

    def joined(self, systems: Sequence[Solution]) -> BatchSolution:
        """The solutions of all of them, of which there may be none."""


class Solver(Protocol):
    """How the systems of one call are solved."""

    def alone(self, A: Any, b: Any, x0: Any, options: Options) -> Solution:
        """Solve one."""

    def together(self, batch: Batch, options: Options) -> Together | None:
        """Solve those that take the ordinary course side by side; None where all are to be solved one by one."""


KEPT = 256  # systems of a batch up to which all their residual norms and coefficients are kept

# Fields of a Solution that a batch has an array of.
GATHERED = ("status", "iterations", "matvecs", "relative_residual", "residual_norm", "tolerance")


def one_or_many(solver: Solver, A: Any, b: Any, x0: Any, options: Options, square: bool = True) -> Solution:
    """Solve a system or each of a batch, and warn of what did not converge."""
    A = A if callable(A) or hasattr(A, "matvec") else as_array(A, "A")
    b = as_array(b.toarray() if sparse.issparse(b) else b, "b")
    x0 = None if x0 is None else as_array(x0, "x0")
    shape, size = getattr(A, "shape", None), b.shape
    if shape is not None:
        _check_order(tuple(shape), tuple(size), square)
    single = (shape is None or len(shape) == 2) and len(size) <= 2 and (len(size) < 2 or size[1] == 1)
    if shape is None and not single:
        raise undeclared(A, "A")
    if single:
        solution = solver.alone(A, b, x0, options)
    else:
        solution = solve_each(_LinearSystems(solver, Batch.of(A, b, x0, tuple(shape or ()), square)), options)
    if not solution.converged:
        TELL.get(warn_of)(solution)
    return solution


def _check_order(shape: tuple[int, ...], size: tuple[int, ...], square: bool) -> None:
    """Refuse an A that is no matrix, b being of this size; in other words where b is the matrix."""
    matrix = len(size) == 2 and (not square or size[0] == size[1]) and size[1] > 1
    if matrix and (len(shape) == 1 or shape == (size[0], 1)) and shape[0] == size[0] and (square or len(shape) == 1):
        raise InputError(f"A, b: found a vector, {shape}, and a matrix, {size}; wanted the matrix first")
    if len(shape) < 2:
        wanted = "a square matrix (n, n)" if square else "a matrix (m, n)"
        diagonal = "; that of a diagonal is scipy.sparse.diags_array(A)" if square and len(shape) == 1 else ""
        raise InputError(f"A: found shape {shape}; wanted {wanted}{diagonal}")


@dataclass(frozen=True)
class _LinearSystems:
    """The systems of a batch, and what solves them."""

    words: ClassVar[Words] = LINEAR

    solver: Solver
    batch: Batch

    @property
    def shape(self) -> tuple[int, ...]:
        return self.batch.shape

    def alone(self, k: int, options: Options) -> Solution:
        batch = self.batch
        return self.solver.alone(batch.matrix(k), batch.vector(batch.b, k), batch.vector(batch.x0, k), options)

    def together(self, options: Options) -> Together | None:
        return self.solver.together(self.batch, options)

    def nowhere(self, k: int) -> Any:
        vector = self.batch.vector(self.batch.b, k)
        backend = choose_backend(None, vector)
        dtype = working_dtype(backend.numpy_dtype(backend.vector(vector, "b")))
        return backend.returned(backend.from_numpy(np.full(self.batch.n, np.nan), dtype))

    def joined(self, systems: Sequence[Solution]) -> BatchSolution:
        batch = self.batch
        return stacked(systems, batch.lead, batch.columns, batch.n, batch.b)


def as_array(value: Any, name: str) -> Any:
    """Lists and numbers as NumPy arrays; matrices and labelled tables too; whatever else has a shape as it is."""
    labelled = hasattr(value, "to_numpy")  # a table or a series of pandas or polars, as its numbers
    if hasattr(value, "shape") and not labelled and not isinstance(value, np.matrix):
        return value
    try:
        array = np.asarray(value)
    except ValueError as error:
        declared = (
            ". Three arrays of compressed rows are declared by rv.as_operator((indptr, indices, values), (n, n)), "
            "coordinates by scipy.sparse.coo_array((values, (rows, columns)))"
        )
        several = declared if isinstance(value, tuple) else ""
        raise InputError(f"{name}: cannot be read as an array ({error}){several}") from None
    if labelled and array.dtype.kind == "O":  # as columns of pandas' own types of numbers come
        with suppress(TypeError, ValueError):
            array = array.astype(np.float64)
    if array.dtype.kind not in "biufc":
        if isinstance(value, (str, os.PathLike)):
            raise TypeError(
                f"{name}: found the text or path {os.fspath(value)!r}; wanted an array of numbers, such as read_matrix "
                "and read_vector of resolvent.io.matrix_files read from a file, which the command resolvent solve does"
            )
        raise TypeError(f"{name}: found {type(value).__name__}; wanted an array of numbers")
    return array


def index_of(shape: tuple[int, ...], k: int) -> tuple[int, ...]:
    """Where system k of a batch stands, the last axis being the fastest."""
    return tuple(int(part) for part in np.unravel_index(k, shape))


def solve_each(members: Members, options: Options) -> BatchSolution:
    """Each with its own target, status and stopping; a finished one no longer changes.

    An interrupt ends the batch, and so does its time limit: those that were not begun come back with their first
    guesses.
    """
    began = time.perf_counter()
    count = math.prod(members.shape)
    together = members.together(options) if count else None
    left = range(count) if together is None else together.left.tolist()
    held: dict[int, Solution] = {}
    ending = None if together is None else together.ending
    for k in left:
        own, limit = options, options.time_limit
        if limit is not None and ending is None:
            remaining = limit - (time.perf_counter() - began)
            if remaining > 0 or not held:  # the first is always begun
                own = replace(options, time_limit=max(remaining, math.ulp(0.0)))
            else:
                ending = Ending(Status.TIME_LIMIT, f"The time limit of {limit:g} s was reached before this system.")
        if ending is not None:
            own = replace(options, maxiter=0, callback=None)
        system = held[k] = _one(members, k, own)
        if ending is not None and system.status is Status.MAX_ITERATIONS:
            system.status, system.reason = ending.status, ending.reason
        elif system.status is Status.INTERRUPTED:
            ending = Ending(Status.INTERRUPTED, "An earlier system of the batch was interrupted.")
    if together is None:
        return members.joined(tuple(held.values()))
    return _completed(members.shape, together, held)


def _one(members: Members, k: int, options: Options) -> Solution:
    """System k alone; one that is refused is named, or comes back with that as its status."""
    try:
        return members.alone(k, options)
    except InputError as error:
        if options.errors == "raise":
            raise type(error)(f"{error} (system {index_of(members.shape, k)} of the batch)") from None
        nan = float("nan")
        x, words = members.nowhere(k), members.words
        return Solution(x, Status.REFUSED, f"{error}.", 0, 0, 0.0, nan, nan, "", "", "", words=words)


def _completed(shape: tuple[int, ...], together: Together, held: dict[int, Solution]) -> BatchSolution:
    """The solutions of a batch as one, those that were solved together and those that were solved alone."""
    x = together.completed(held)
    for k, system in held.items():
        for name in GATHERED:
            together.fields[name][k] = getattr(system, name)
    seconds = together.seconds + sum(system.seconds for system in held.values())
    members = Systems(shape, held, together.solution)

    def whole() -> BatchSolution:
        return _of_fields(x, together.fields, seconds, members, _first(members))

    if together.settled:
        return BatchSolution.later(lambda: vars(whole()), x=x, seconds=seconds, members=members, converged=True)
    return whole()


def stacked(
    systems: Sequence[Solution], lead: tuple[int, ...], columns: tuple[int, ...], n: int, b: Any
) -> BatchSolution:
    """Solutions as one; where there are none, x is empty and of b's kind.

    Parameters
    ----------
    systems : sequence of Solution
        In the order of the axes.
    lead, columns : tuple of int
        The axes of the batch, columns those that stand last in x.
    n : int
        Unknowns of each system.
    b : array
    """
    shape = (*lead, *columns)
    backend = choose_backend(None, b)
    if systems:
        x = backend.stack([system.x for system in systems], shape, bool(columns))
    else:
        x = backend.reshape(backend.reshape(b, (-1,))[:0], (*lead, n, *columns))
    return gathered(x, systems, shape)


def gathered(x: Any, systems: Sequence[Solution], shape: tuple[int, ...]) -> BatchSolution:
    """Solutions as one, whose x are already one."""
    fields = {name: np.empty(len(systems), object) for name in GATHERED}
    for name, values in fields.items():
        values[:] = [getattr(system, name) for system in systems]
        if name != "status":
            fields[name] = values.astype(float)
    members: Systems[Any] = Systems(shape, dict(enumerate(systems)))
    empty = Solution(x, Status.CONVERGED, "", 0, 0, 0.0, 0.0, 0.0, "", "", "float64", 2.0**-53)
    return _of_fields(
        x, fields, sum(system.seconds for system in systems), members, _first(members) if len(members) else empty
    )


def _first(members: Systems) -> Any:
    """The first system that was not refused, or else the first; None where there is none."""
    return next((system for system in members if system.method), members[0] if len(members) else None)


def _of_fields(
    x: Any, fields: dict[str, np.ndarray], seconds: float, members: Systems, like: Solution
) -> BatchSolution:
    """Of the fields that are arrays, (systems,), and of those that are alike in all systems."""
    parts: dict[str, Any] = {name: values.reshape(members.shape) for name, values in fields.items()}
    for name in ("iterations", "matvecs"):
        parts[name] = parts[name].astype(int)
    return BatchSolution(
        x=x,
        reason=cast(str, summary),
        seconds=seconds,
        method=like.method,
        backend=like.backend,
        precision=like.precision,
        unit_roundoff=like.unit_roundoff,
        words=like.words,
        members=members,
        **parts,
    )


def warn_of(solution: Solution, which: str = "") -> None:
    """Warn at the user's line that asked for the solve."""
    said = solution.reason if solution.is_batch else f"{solution.status.value}: {solution.reason}"
    warn_caller(f"{which}{said}", ConvergenceWarning)
