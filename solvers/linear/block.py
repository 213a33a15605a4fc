"""Several right-hand sides of one matrix by a block method: one Krylov space serves all of them.

As in other batches, each column has its own target, certificate and status, and what leaves the ordinary course is the
driver's, from the start: columns that are settled or refused on the face of it, that stand still or diverge, and those
of a block that breaks down.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from ...backends import choose_backend
from ...errors import InputError
from ...lazy import place_of
from ..block_methods import BLOCKS
from ..driver.batch import GATHERED, Batch
from ..driver.iterate import Run, concluded
from ..driver.method import Breakdown
from ..driver.room import check_memory
from ..driver.solution import Solution
from ..driver.status import Ending, Status
from ..driver.stopping import Options, Watch
from .block_space import Space, scattered
from .method import LinearMethod
from .system import LinearSystem

__all__ = ["BlockMethod", "BlockSolver", "Chosen", "in_blocks", "solve_block"]

WIDTH = 16  # columns of a block at most
# From where on a block took less time than its columns one by one, by measurement.
COLUMNS_FROM, ROWS_FROM = 8, 1 << 14


class BlockMethod(Protocol):
    """A method on the systems of a block, which are numbered as they were given less those that have left."""

    def begin(self, R: Any) -> None:
        """Begin anew from the iterates, whose residuals are R."""

    def step(self) -> np.ndarray:
        """One iteration; the residual norms, carried by recurrence."""

    @property
    def cycle_ended(self) -> bool:
        """Whether no step can follow before it is begun anew."""

    def take(self) -> None:
        """The iterates, of which a method may not have formed more than it was asked for, become what is begun from."""

    def formed(self, columns: list[int]) -> list[Any]:
        """The iterates of these columns."""

    def keep(self, columns: list[int]) -> None:
        """Go on with these columns alone."""


@dataclass(frozen=True)
class Chosen:
    """How the columns are to be solved.

    Attributes
    ----------
    method : LinearMethod
    form : callable
        Makes the ``BlockMethod`` of (backend, product, precondition, unit roundoff, iterates, residuals).
    width : int
        Columns of a block at most.
    limit : int or None
        Iterations after which a column is the driver's.
    said : str
        What the reason of each begins with.
    """

    method: LinearMethod[Any]
    form: Callable[..., BlockMethod]
    width: int
    limit: int | None = None
    said: str = ""


class BlockSolver(Protocol):
    """How the systems of a call are solved, as far as blocks depend on it."""

    @property
    def M(self) -> Any: ...
    @property
    def backend(self) -> Any: ...
    @property
    def precision(self) -> Any: ...
    @property
    def block(self) -> Any: ...

    def by_block(self, system: LinearSystem) -> tuple[LinearMethod[Any], str, int | None] | None:
        """The method whose block form is to be taken, what is to be said of the choice, and iterations at most.

        None where no method has one.
        """


def in_blocks(solver: BlockSolver, batch: Batch, options: Options) -> BlockFound | None:
    """The columns of a batch of one matrix by block methods; None where they are to be solved otherwise.

    That is where somebody watches, where they are iterated in an emulated precision, and, with ``block="auto"``, where
    a block would take longer.
    """
    watched = options.callback is not None or options.progress or options.backward_error
    if watched or solver.precision is not None:
        return None
    backend = choose_backend(solver.backend, batch.A, batch.b, batch.x0, M=solver.M)
    if solver.block == "auto" and not _may_pay(backend, batch):
        return None

    def system_of(b: Any, x0: Any) -> LinearSystem:
        return LinearSystem(batch.A, b, x0=x0, M=solver.M, backend=backend)

    def choose(system: LinearSystem) -> Chosen | None:
        try:
            by = solver.by_block(system)
        except InputError:
            return None  # the driver says so
        if by is None:
            return None
        method, said, limit = by
        row = BLOCKS.get(place_of(type(method)))
        form = None if row is None else row.made(method)
        if form is None and solver.block is True:
            raise InputError(f"block: found True, but {method!r} has no form for blocks; wanted False or 'auto'")
        if row is None or form is None:
            return None
        if solver.block == "auto" and not (row.unasked and scattered(system) and _cheap(system)):
            return None
        width = min(WIDTH, len(batch))
        check_memory(float(row.vectors(method)) * width * system.local * system.dtype.itemsize, method.name)
        return Chosen(method, form, width, limit, said)

    with np.errstate(all="ignore"):  # overflow and NaN are looked for
        return solve_block(batch, options, system_of, choose)


def _cheap(system: LinearSystem) -> bool:
    """Whether M is none or diagonal, so that the matrix may be renumbered."""
    return system.preconditioner_kind in ("none", "diagonal")


def _may_pay(backend: Any, batch: Batch) -> bool:
    """Whether a block method may take less time than its columns one by one, as far as sizes tell.

    On top of that the matrix is to be one whose products take long, since the work on blocks is several times that on
    single vectors: where those run at the speed of memory, fewer iterations do not make up for it.
    """
    return backend.name == "numba" and batch.n >= ROWS_FROM and len(batch) >= COLUMNS_FROM


@dataclass
class _Column:
    """A right-hand side on its way; ``gone`` where it is the driver's.

    Attributes
    ----------
    x, r : vector
        The first guess, and the residual of what was certified last.
    wanted : float
        The carried residual norm at which it is certified.
    start : float
        The residual norm at which the method began, the last time it did.
    """

    number: int
    system: LinearSystem
    run: Run
    x: Any
    r: Any
    solution: Solution[Any] | None = None
    gone: bool = False
    wanted: float = 0.0
    start: float = math.inf

    def certify(self, x: Any) -> float:
        """The true residual norm of an iterate; the residual stays in r."""
        self.r, self.run.certified = self.system.certify(x, self.r)
        return self.run.certified

    def conclude(self, x: Any, ending: Ending, said: str) -> None:
        """The Solution, x being an iterate that was certified last."""
        self.solution = concluded(self.run, ending, {}, self.system.backend.copy(x), self.r, self.run.certified)
        if said:
            self.solution.reason = f"{said} {self.solution.reason}"


class BlockFound:
    """The columns that a block method solved, and those that it left."""

    settled = False

    def __init__(self, batch: Batch, columns: list[_Column | None], ending: Ending | None) -> None:
        self._batch, self._backend, self.ending = batch.without_arrays(), choose_backend(None, batch.b), ending
        self._held = {
            k: column.solution for k, column in enumerate(columns) if column is not None and column.solution is not None
        }
        self.left = np.array([k for k in range(len(columns)) if k not in self._held], int)
        self.seconds = 0.0
        self.fields = {name: np.zeros(len(columns), object if name == "status" else float) for name in GATHERED}
        for k, solution in self._held.items():
            for name, values in self.fields.items():
                values[k] = getattr(solution, name)

    def solution(self, k: int) -> Solution:
        """That of one system."""
        return self._held[k]

    def completed(self, alone: Mapping[int, Solution]) -> Any:
        """x of all systems as the caller's library has it, with those that were solved alone."""
        every = self._held | dict(alone)
        return self._backend.stack(
            [every[k].x for k in range(len(every))], self._batch.shape, bool(self._batch.columns)
        )


def solve_block(
    batch: Batch,
    options: Options,
    system_of: Callable[[Any, Any], LinearSystem],
    choose: Callable[[LinearSystem], Chosen | None],
) -> BlockFound | None:
    """Solve the columns of a batch of one matrix block by block; None where they are to be solved one by one.

    Parameters
    ----------
    batch : Batch
    options : Options
    system_of : callable
        The system of (b, x0), checked; raises InputError where it is refused.
    choose : callable
        What to solve with, after a look at the first system.
    """
    began = time.perf_counter()
    first: LinearSystem | None = None
    chosen = None
    columns: list[_Column | None] = [None] * len(batch)
    for k in range(len(batch)):
        b, x0 = batch.vector(batch.b, k), batch.vector(batch.x0, k)
        try:
            if first is None:
                system = first = system_of(b, x0)
                first.prepare()
            else:
                system = first.again(b, x0)
        except InputError:
            continue  # the driver says so
        except Breakdown:
            return None
        chosen = choose(first) if chosen is None else chosen
        if chosen is None:
            return None
        columns[k] = _begun(k, system, chosen.method, options)
    if first is None or chosen is None:
        return None
    ending = None
    begun = [column for column in columns if column is not None]
    blocks = -(-len(begun) // chosen.width)
    if begun:
        try:
            space = Space(first)
        except Breakdown:
            return None  # M is not to be applied, which the driver says
        for part in np.array_split(np.arange(len(begun)), blocks):
            ending = ending or _Block([begun[k] for k in part], space, chosen, options, began).run()
    found = BlockFound(batch, columns, ending)
    found.seconds = time.perf_counter() - began
    return found


def _begun(number: int, system: LinearSystem, method: LinearMethod[Any], options: Options) -> _Column | None:
    """A column before its first iteration; None for one that needs none, or cannot begin."""
    target = system.target(options)
    if system.settled(target) is not None:
        return None
    x, r, norm = system.initial()
    if not (math.isfinite(norm) and norm > max(target, system.negligible)):
        return None
    run = Run(system, method, options, target, began=system.backend.clock())
    run.at.append(0)
    run.norms.append(norm)
    column = _Column(number, system, run, x, r, wanted=max(target, system.negligible), start=norm)
    run.watch = Watch(norm, system.unit_roundoff, lambda: system.rounding_floor(x), method.patience)
    return column


class _Block:
    """Columns that are iterated together.

    Attributes
    ----------
    going : list
        The columns that are still iterated, in the order of the block method's.
    begun : bool
        Whether there is a method yet.
    """

    def __init__(self, columns: list[_Column], space: Space, chosen: Chosen, options: Options, began: float) -> None:
        self.going, self.space, self.chosen, self.options = columns, space, chosen, options
        self.method: BlockMethod
        self.begun = False
        self.deadline = math.inf if options.time_limit is None else began + options.time_limit
        self.iterations = 0
        limit = options.most_iterations(space.system.n)
        self.limit = limit if chosen.limit is None else min(limit, chosen.limit)
        self.limited = self.limit == limit
        for column in columns:
            if column.run.watch is not None:
                column.run.watch.floor = partial(self._floor, column)

    def run(self) -> Ending | None:
        """Iterate until every column has ended or left; what ends all others too, if anything does."""
        try:
            return self._run()
        except KeyboardInterrupt:
            self._end(Ending(Status.INTERRUPTED, "Interrupted from the keyboard; x is the latest iterate."))
            return Ending(Status.INTERRUPTED, "The batch was interrupted from the keyboard before this system.")

    def _run(self) -> Ending | None:
        space, u = self.space, self.space.system.unit_roundoff
        X, R = space.entered([one.x for one in self.going]), space.entered([one.r for one in self.going])
        try:
            self.method = self.chosen.form(space.backend, space.product, space.precondition, u, X, R)
            self.begun = True
            while self.going:
                if self.iterations >= self.limit:
                    self._end(Ending(Status.MAX_ITERATIONS) if self.limited else None)
                elif time.perf_counter() > self.deadline:
                    limit = f"The time limit of {self.options.time_limit:g} s was reached"
                    self._end(Ending(Status.TIME_LIMIT, f"{limit}."))
                    return Ending(Status.TIME_LIMIT, f"{limit} before this system.")
                else:
                    self._step()
        except Breakdown:
            with suppress(Breakdown):
                self._end(None)
        return None

    def _step(self) -> None:
        """One iteration, and what it means for each column."""
        norms = self.method.step().tolist()
        self.iterations += 1
        near = []
        for j, (column, norm) in enumerate(zip(self.going, norms, strict=True)):
            run = column.run
            run.iterations = self.iterations
            column.system.matvecs += 1
            run.at.append(self.iterations)
            run.norms.append(norm)
            if norm <= column.wanted:
                near.append(j)
            elif not math.isfinite(norm):
                raise Breakdown("A product was not finite.")
            elif run.watch is not None and run.watch.observe(self.iterations, norm) is not None:
                column.gone = True
        parted = False
        for j, x in zip(near, self._formed(near), strict=True):
            column = self.going[j]
            if column.certify(x) <= column.run.target:
                column.conclude(x, Ending(Status.CONVERGED), self.chosen.said)
            elif not column.run.certified <= 0.5 * column.run.last_certified:
                column.gone = True  # it was begun anew before, which did not help
            else:
                column.run.last_certified = column.run.certified
                column.wanted = max(0.5 * column.run.target, column.system.negligible)
                parted = True
        self._leave()
        if self.going and (parted or self.method.cycle_ended):
            self._renew(parted)

    def _floor(self, column: _Column) -> float:
        """What rounding its iterate alone leaves as a residual."""
        (x,) = self._formed([next(j for j, one in enumerate(self.going) if one is column)])
        return column.system.rounding_floor(x)

    def _formed(self, columns: Iterable[int]) -> list[Any]:
        """The iterates of these columns, as vectors of the system."""
        return self.space.left(self.method.formed(list(columns)))

    def _leave(self) -> None:
        """Go on without the columns that have ended or are the driver's."""
        kept = [j for j, column in enumerate(self.going) if not column.gone and column.solution is None]
        if 0 < len(kept) < len(self.going):
            self.method.keep(kept)
        self.going = [self.going[j] for j in kept]

    def _renew(self, parted: bool) -> None:
        """Begin anew from the true residuals; a cycle that made none smaller would be followed by its like."""
        self.method.take()
        for column, x in zip(self.going, self._formed(range(len(self.going))), strict=True):
            before = column.start
            column.start = column.certify(x)
            column.gone = not parted and not column.start < (1 - math.sqrt(column.system.unit_roundoff)) * before
        self._leave()
        if self.going:
            self.method.begin(self.space.entered([column.r for column in self.going]))

    def _end(self, ending: Ending | None) -> None:
        """No further: with this ending, or left to the driver; those that are solved as they stand are."""
        iterates = self._formed(range(len(self.going))) if self.begun else []
        for column, x in zip(self.going, iterates, strict=self.begun):
            if ending is None and not column.run.norms[-1] <= 100 * column.run.target:
                continue
            residual = column.certify(x)
            if residual <= column.run.target:
                column.conclude(x, Ending(Status.CONVERGED), self.chosen.said)
            elif ending is not None and residual <= column.run.norms[0]:
                column.conclude(x, ending, self.chosen.said)
        self.going = []
