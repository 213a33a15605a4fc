"""Small systems, solved by one compiled call each, alone or side by side by the thousand.

The compiled solve takes the ordinary course only, as the driver takes it, with the same bits; a system that leaves that
course is the driver's, from the start.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from ...backends import choose_backend
from ...backends.compiled.found import ALONE, FOUND, MAX_ITERATIONS
from ...errors import InputError
from ...lazy import place_of
from ...naming import named_in
from ...operators import CSR, Dense, Facts, Operator, Stencil
from ...precision import precision_facts, times_power_of_two, working_dtype
from ..driver.batch import GATHERED, KEPT, Batch
from ..driver.iterate import MOST_STEPS, WORK_A_LOOK
from ..driver.method import Norm
from ..driver.reasons import converged_sentence, not_there_sentence
from ..driver.solution import Solution
from ..driver.status import Ending, Status
from ..driver.stopping import Options
from ..preconditioners.given import as_preconditioner, is_named
from ..preconditioners.jacobi import JacobiPreconditioner
from ..spectra.ritz import SpectralEvidence
from .costs import is_narrow_band, patience
from .learning import Learning
from .method import NOTHING, LinearMethod, said_of_choice
from .schemes import SMALL, kernels, krylov_kernel

__all__ = ["Found", "Room", "Small", "SmallCourse", "dtype_of", "met", "small_solver"]

FACTORED_FROM = 64  # rows: below, what is lost to iterations that come to nothing is nothing
MOST_ROWS = 4096  # from which storage by diagonals may be the better one
KEPT_ROWS = 64  # numbers an iteration up to which they are kept of the systems of a batch
STATUS, LOOKS = FOUND.index("status"), FOUND.index("looks")
CHUNK = 1 << 28  # entries and vector elements touched between two looks for an interrupt: about a tenth of a second


@dataclass(frozen=True, eq=False)
class Small:
    """How small systems are solved.

    Attributes
    ----------
    method : LinearMethod
    why : callable or None
        Of ``rv.solve``: from whether the diagonal preconditions to a sentence on why this method was chosen.
    """

    method: LinearMethod[Any]
    why: Callable[[bool], str] | None = None

    def solve(
        self, backend: Any, A: Operator, b: Any, x0: Any, options: Options, room: Room | None = None, M: Any = None
    ) -> Solution | None:
        """One system; None where it is the driver's. A and b are the backend's own, M is the caller's."""
        began = time.perf_counter()
        n, size = A.shape[0], b.shape
        if (
            size not in ((n,), (n, 1))
            or not (x0 is None or x0.shape == size)
            or not isinstance(A, (CSR, Dense, Stencil))
        ):
            return None
        dtype = A.dtype if x0 is None and A.dtype == b.dtype else dtype_of(A, b, x0)
        if dtype is None:
            return None
        most = options.maxiter
        if self.why is not None and most is None and n >= FACTORED_FROM:
            if is_narrow_band(A):
                return None
            most = patience(A)
        tolerances = options.rtol, options.atol, most
        known = room is not None and dtype == A.dtype
        course = self.limited(backend.name, *tolerances, dtype, n, A.entries, known)
        if course is None or not met(course.kind, dtype, A.kind):
            return None
        course = course.preconditioned(M, backend, n, A, dtype)
        if course is None:
            return None
        A = A.astype(dtype)
        given = np.ascontiguousarray(b, dtype)
        # Of a guess of zeros no product is needed.
        guess = np.empty(0, dtype) if x0 is None or not x0.any() else np.ascontiguousarray(x0, dtype).reshape(-1)
        given = given if given.ndim == 1 else given.reshape(-1)
        x = np.empty(n, dtype)
        if known and room is not None:
            numbers, found = room.of(course)
        else:
            numbers, found = np.empty((course.rows, course.steps + 1)), np.zeros(course.found)
        arrays = backend.arrays(A)
        arguments = course.arguments if course.learning is None else course.learning.one(arrays, found)
        if arguments is None:
            return None
        course.kernel(arrays, given, guess, x, *arguments, numbers, found)
        if found[STATUS] == ALONE or (found[STATUS] == MAX_ITERATIONS and options.maxiter is None):
            return None
        shaped = backend.returned(x if len(size) == 1 else x.reshape(-1, 1))
        return course.solution(found, shaped, numbers, time.perf_counter() - began)

    def together(self, backend: Any, batch: Batch, options: Options, M: Any = None) -> Found | None:
        """The systems of a batch that take the ordinary course; None where that is not for this batch."""
        began = time.perf_counter()
        watched = options.callback is not None or options.progress or options.backward_error
        taken = None if watched or not backend.compiles_solves else backend.stack_of(batch.A)
        if taken is None:
            return None
        A, entries = taken
        b = backend.vector(batch.b, "b")
        x0 = None if batch.x0 is None else backend.vector(batch.x0, "x0")
        dtype = dtype_of(A, b, x0)
        if dtype is None:
            return None
        tolerances = options.rtol, options.atol, options.maxiter
        course = self.limited(backend.name, *tolerances, dtype, batch.n, entries, False)
        if course is None or not met(course.kind, dtype, type(A), systems=len(batch)):
            return None
        if is_named(M) and batch.matrices:
            return None  # each matrix has one of its own
        course = course.preconditioned(M, backend, batch.n, batch.A, dtype)
        if course is None:
            return None
        stack, rhs = backend.stack_arrays(A, dtype), batch.rows(b, dtype)
        guess = np.empty((0, batch.n), dtype) if x0 is None else batch.rows(x0, dtype)
        count = len(batch)
        x, found = np.zeros((count, batch.n), dtype), np.zeros((count, course.found))
        kept = count <= KEPT and course.rows <= KEPT_ROWS
        numbers = np.empty((count if kept else 0, course.rows, course.steps + 1))
        work = entries + 10 * batch.n
        kernel = backend.shared(kernels().solve_all, work * count)
        limits, kind = course.arguments
        most = max(1, CHUNK // (work * min(course.steps, 2 * batch.n)))
        deadline = math.inf if options.time_limit is None else began + options.time_limit
        parts = Parts(count, most, deadline)
        ending = None
        try:
            schemes = course.row
            if course.learning is not None:
                limits, matrices = course.learning.later, int(np.prod(batch.matrices, dtype=int))
                looks = Parts(matrices, most, deadline)
                schemes = course.learning.each(backend, stack, matrices, work, batch.which, looks, found)
            for part in parts:
                rows = rhs[part], guess[part], x[part]
                own = schemes[part] if len(schemes) > 1 else schemes
                kernel(stack, batch.which[part], *rows, limits, kind, own, numbers[part], found[part])
            if parts.late:
                ending = Ending(Status.TIME_LIMIT, f"The time limit of {options.time_limit:g} s was reached.")
        except KeyboardInterrupt:
            ending = Ending(Status.INTERRUPTED, "The batch was interrupted from the keyboard before this system.")
        done = parts.done
        x[done:] = guess[done:] if len(guess) else 0
        return Found(course, batch, backend, x, found, numbers, done, ending, time.perf_counter() - began)

    @lru_cache(256)  # noqa: B019 - there are few of these, and each lives as long as the process
    def limited(
        self,
        backend: str,
        rtol: float,
        atol: float,
        maxiter: int | None,
        dtype: np.dtype,
        n: int,
        entries: int,
        looked: bool,
    ) -> SmallCourse | None:
        """The course of all systems alike; None for those that may need more than one look at the clock, or no step."""
        limit = max(10 * n, 1000) if maxiter is None else maxiter
        steps = min(limit, MOST_STEPS, WORK_A_LOOK // max(1, entries + 10 * n))
        if not 0 < n < MOST_ROWS or not steps or steps < min(limit, 2 * n):
            return None
        search, make = self.method.search, partial(SMALL[place_of(type(self.method))], n=n)
        state = self.method.state_without_vectors(1.0, hermitian=True, ends=None if search is None else (1.0, 1.0))
        scheme = make(self.method, state)
        if scheme is None:
            return None
        known = precision_facts(dtype)
        u = known.unit_roundoff
        limits = kernels().Limits(
            rtol=float(rtol),
            atol=float(atol),
            maxiter=min(int(limit), 1 << 53),  # it becomes a float
            steps=int(steps),
            unit_roundoff=u,
            skew=1e3 * u,
            comfortable=known.comfortable_exponent,
            lowest=known.smallest_exponent + 2 * round(-math.log2(u)),
            highest=known.largest_exponent - 1,
            choose=self.why is not None,
            looked=looked,
            check_every=self.method.check_every,
            patience=self.method.patience,
        )
        krylov = krylov_kernel(scheme, dtype)
        numbers = np.array(limits, float)
        if krylov is not None:
            scheme = scheme._replace(inverse_diagonal=np.empty(0, dtype))
        kernel, rows = (kernels().stationary_solve, 3) if krylov is None else krylov
        row = np.array([scheme if krylov is None else ()], float)
        own = {"kernel": kernel, "arguments": (numbers, scheme), "row": row, "steps": steps, "rows": rows, "n": n}
        course = self.course(backend, dtype, **own)
        if search is None:
            return course
        later = np.array(limits._replace(looked=True), float)
        start = np.random.default_rng(0).standard_normal(n).astype(dtype)
        learning = Learning(self.method, search, make, len(scheme), numbers, later, start, u)
        return replace(course, learning=learning)

    def course(self, backend: str, dtype: np.dtype, **kernel: Any) -> SmallCourse:
        """What solves by this method in this precision have in common, and how one is done by a kernel."""
        known, nan, method = precision_facts(dtype), math.nan, self.method
        u = known.unit_roundoff
        like = Solution(None, Status.CONVERGED, "", 0, 0, 0.0, nan, nan, method.name, backend, known.name, u)
        like.carries, like.theory = method.carries, method.bound
        state = method.state_without_vectors(1.0, hermitian=True)
        evidence = None if state is None else method.evidence(state)
        lower = evidence.interval[0] if evidence is not None and evidence.interval and evidence.given else -math.inf
        return SmallCourse(self, len(FOUND), 1e3 * u, lower, vars(like), **kernel)


@dataclass(frozen=True, slots=True)
class SmallCourse:
    """What solves with the same settings have in common; nothing of it holds a matrix.

    Attributes
    ----------
    small : Small
    found : int
        Numbers that are found.
    skew : float
        As in the kernel's limits.
    lower : float
        A lower bound of the spectrum that the caller gave.
    fields : mapping
        Fields of a Solution.
    kernel, arguments : callable, (ndarray, tuple)
        The compiled solve of one system, and what it takes after the vectors: limits and a scheme, any of its kind
        where a parameter is to be found for each system.
    row : ndarray of shape (1, m)
        The numbers of the scheme.
    steps, rows : int
        Iterations at most, and how many numbers of each are left.
    n : int
        Unknowns.
    learning : Learning or None
        How the parameter is found.
    """

    small: Small
    found: int
    skew: float
    lower: float
    fields: Mapping[str, Any]
    kernel: Any = None
    arguments: tuple[Any, ...] = ()
    row: Any = None
    steps: int = 0
    rows: int = 3
    n: int = 0
    learning: Learning | None = None

    @property
    def kind(self) -> tuple[str, bool]:
        """What its kernels are compiled for, besides types."""
        return type(self.arguments[1]).__name__, self.learning is not None

    def preconditioned(self, M: Any, backend: Any, n: int, A: Any, dtype: np.dtype) -> SmallCourse | None:
        """With the caller's M for this A; None where the kernel does not apply it, or it is not to be had."""
        if M is None:
            return self
        limits, scheme = self.arguments
        applied = hasattr(scheme, "inverse_diagonal") and self.small.why is None
        if not applied or not (type(M) is JacobiPreconditioner or named_in(M, ("jacobi",))):
            return None
        try:
            bound = as_preconditioner(M, backend, n, A).bind(backend, dtype)
        except (InputError, TypeError):
            return None  # which the driver puts into words
        return replace(self, arguments=(limits, scheme._replace(inverse_diagonal=bound.inverse_diagonal)))

    def solution(self, found: np.ndarray, x: Any, numbers: np.ndarray | None, seconds: float = 0.0) -> Solution:
        """That of one system; ``numbers`` as the kernel left them, or None where they were not kept."""
        kept = numbers[:, : int(found.item(LOOKS)) + 1].copy() if numbers is not None else None
        status = Status.MAX_ITERATIONS if found.item(STATUS) == MAX_ITERATIONS else Status.CONVERGED
        return Solution.later(partial(self._fields, found.copy(), kept), x=x, status=status, seconds=seconds)

    def _fields(self, found: np.ndarray, numbers: np.ndarray | None) -> dict[str, Any]:
        """The fields of a Solution."""
        values = found.tolist()
        _, iterations, products, _, exponent, reference, residual, size, first, last, jacobi = values[:11]
        relative, norm, rhs_norm, tolerance, low, high, learned, max_abs, row_norm, row_sum, asymmetry = values[11:22]
        hermitian = asymmetry <= self.skew * max_abs
        lower = self.lower if reference else -math.inf
        smallest = max(lower, values[-1]) if hermitian else lower
        kept = numbers if reference else None
        ends = (low, high) if learned else None
        told = Told(self.small, self.n, int(iterations), bool(jacobi), first, last, row_sum, hermitian, kept, ends)
        own = {
            "reason": told.reason,
            "history": told.history,
            "evidence": told.evidence,
            "predicted_iterations": told.predicted_iterations,
            "iterations": int(iterations),
            "matvecs": int(products),
            "relative_residual": relative,
            "residual_norm": norm,
            "exponent": int(exponent),
            "norms": (residual, size, row_norm),
            "tolerance": tolerance,
            "reference": rhs_norm,
            "smallest_eigenvalue": -math.inf if jacobi else smallest,
            "preconditioned": bool(jacobi),
        }
        return {**self.fields, **own}


class Told:
    """What the fields of a Solution are made of that are made when somebody reads them."""

    __slots__ = ("ends", "first", "hermitian", "jacobi", "last", "n", "numbers", "row_sum", "small", "steps")

    def __init__(
        self,
        small: Small,
        n: int,
        steps: int,
        jacobi: bool,
        first: float,
        last: float,
        row_sum: float,
        hermitian: bool,
        numbers: np.ndarray | None,
        ends: tuple[float, float] | None,
    ) -> None:
        self.small, self.steps, self.jacobi, self.first, self.last, self.ends = small, steps, jacobi, first, last, ends
        self.n, self.row_sum, self.hermitian, self.numbers = n, row_sum, hermitian, numbers

    @property
    def carried(self) -> bool:
        """Norms are known of every iteration, and the coefficients with them."""
        return self.small.method.carries is Norm.RECURRENCE

    @property
    def state(self) -> Any:
        """What the method is asked about; None where it has nothing to say."""
        return self.small.method.state_without_vectors(self.first, self.hermitian, self.ends)

    def history(self, solution: Solution) -> tuple[Any, Any]:
        """Where norms are known, and the norms."""
        if self.numbers is None:
            return ((0, self.steps), (self.first, self.last)) if solution.reference else ((), ())
        return range(self.steps + 1) if self.carried else self.numbers[1].astype(int), self.numbers[0]

    def evidence(self, solution: Solution) -> SpectralEvidence | None:
        """What the method learnt of the spectrum; where it rests on what an iteration leaves, if that was kept."""
        if not solution.reference:
            return None
        state = self.state
        if state is not None:
            return self.small.method.evidence(state)
        if self.numbers is None:
            return None
        largest = math.inf if self.jacobi else 1.01 * self.row_sum
        return self.small.method.evidence_left(self.numbers, self.n, largest)

    def predicted_iterations(self, solution: Solution) -> int | None:
        """What theory promised."""
        state = self.state
        if state is None or not solution.reference or not self.first > 0:
            return None
        target = solution.tolerance * times_power_of_two(solution.reference, -solution.exponent)
        return self.small.method.predicted_iterations(state, target / self.first)

    def reason(self, solution: Solution) -> str:
        """The sentences that the driver would say."""
        if not solution.reference:
            said = "b is zero, so x = 0 is exact."
        elif solution.converged:
            said = converged_sentence(solution, solution.method)
        else:
            said = self._unfinished(solution)
        why, state = self.small.why, self.state if solution.reference else None
        chosen = "" if why is None else why(self.jacobi)
        if chosen and not solution.reference:
            chosen = said_of_choice(solution.method, NOTHING)
        method = self.small.method
        described = [method.described_after(self.steps, self.n)] if solution.reference else []
        described += [] if state is None else [method.describe(state), *state.notes]
        return " ".join(filter(None, (chosen, said, *described)))

    def _unfinished(self, solution: Solution) -> str:
        norm, before, steps = self.last, self.first, self.steps
        if self.numbers is not None and not self.carried:
            norms, at = self.numbers[0], self.numbers[1]
            before, steps = float(norms[-2]), int(at[-1] - at[-2])
        rate = (norm / before) ** (1 / steps) if before > 0 and norm > 0 else math.nan
        target = solution.tolerance * times_power_of_two(solution.reference, -solution.exponent)
        left = math.inf
        if 0 < rate < 1 and target > 0:
            left = max(0.0, (math.log(target) - math.log(norm)) / math.log(rate))
        advice = "Raise maxiter, precondition (rv.precondition), or try another method."
        return not_there_sentence(solution, rate, left, advice)


class Room:
    """What a prepared solver keeps for its small systems: the facts of A, and the numbers that solves leave.

    Parameters
    ----------
    facts : Facts
    """

    def __init__(self, facts: Facts) -> None:
        self._facts = np.array([float(getattr(facts, one.name)) for one in fields(facts)])
        self._numbers = np.empty((3, 0))
        self._found = np.empty(0)

    def of(self, course: SmallCourse) -> tuple[np.ndarray, np.ndarray]:
        """Where the norms and coefficients go, and what is found, the facts among it."""
        if self._numbers.shape != (course.rows, course.steps + 1):
            self._numbers = np.empty((course.rows, course.steps + 1))
        if self._found.size != course.found:
            self._found = np.zeros(course.found)
            self._found[course.found - self._facts.size :] = self._facts
        return self._numbers, self._found


class Parts:
    """Slices of some systems, so many at a time, until the time is over.

    Attributes
    ----------
    done : int
        Systems that have been dealt with.
    late : bool
    """

    def __init__(self, count: int, most: int, deadline: float) -> None:
        self._count, self._most, self._deadline = count, most, deadline
        self.done, self.late = 0, False

    def __iter__(self) -> Iterator[slice]:
        while self.done < self._count and not self.late:
            part = slice(self.done, min(self.done + self._most, self._count))
            yield part
            self.done, self.late = part.stop, time.perf_counter() > self._deadline


class Found:
    """The systems of a batch that were solved together."""

    settled = False

    def __init__(
        self,
        course: SmallCourse,
        batch: Batch,
        backend: Any,
        x: Any,
        found: np.ndarray,
        numbers: np.ndarray,
        done: int,
        ending: Ending | None,
        seconds: float,
    ) -> None:
        self.x, self.seconds, self._course, self._found = x, seconds, course, found
        # What no system came to is let go.
        self._numbers = numbers[:, :, : int(found[:, 3].max()) + 1].copy() if len(numbers) else None
        self._batch, self._backend, self._done, self.ending = batch.without_arrays(), backend, done, ending
        codes = found[:, 0].astype(int)
        self.left = np.flatnonzero((codes == ALONE) & (np.arange(len(codes)) < done))
        statuses = np.full(len(codes), Status.CONVERGED, object)
        statuses[codes == MAX_ITERATIONS] = Status.MAX_ITERATIONS
        _, iterations, products, *_ = found.T
        relative, norm, _, tolerance = found[:, 11:15].T.copy()
        if ending is not None:
            statuses[done:], relative[done:], norm[done:] = ending.status, math.nan, math.nan
        values = (statuses, iterations.copy(), products.copy(), relative, norm, tolerance)
        self.fields = dict(zip(GATHERED, values, strict=True))

    def solution(self, k: int) -> Solution:
        """That of one system."""
        x = self._backend.returned(self.x[k, :])
        if k < self._done:
            return self._course.solution(self._found[k], x, None if self._numbers is None else self._numbers[k])
        assert self.ending is not None
        status, reason, _ = self.ending
        return Solution.later(lambda: self._course.fields, x=x, status=status, reason=reason)

    def completed(self, alone: Mapping[int, Solution]) -> Any:
        """x of all systems as the caller's library has it, with those that were solved alone."""
        batch, backend = self._batch, self._backend
        if isinstance(self.x, np.ndarray):
            for k, system in alone.items():
                self.x[k] = choose_backend(None, system.x).to_numpy(system.x)
            return backend.returned(batch.joined(self.x, np))
        if not alone:
            return batch.joined(self.x, array_namespace(self.x))
        rows = [alone[k].x if k in alone else self.x[k, :] for k in range(len(batch))]
        return backend.stack(rows, batch.shape, bool(batch.columns))


def small_solver(method: LinearMethod[Any], why: Callable[[bool], str] | None = None) -> Small | None:
    """How a method solves small systems; None where there is no compiled solve of it."""
    return _small(method, why) if place_of(type(method)) in SMALL else None


_small = lru_cache(64)(Small)


def dtype_of(*arrays: Any) -> np.dtype | None:
    """The type that holds all of them; None where one is of a type not worked in, which the driver puts into words."""
    try:
        return working_dtype(*(array.dtype for array in arrays if array is not None))
    except TypeError:
        return None


# Systems of a kind after which the next ones are solved by a compiled solve: to compile it takes as long as to solve
# thousands of them one by one, which a script that solves a few should not wait for.
SYSTEMS_BEFORE = 16
_seen: Counter[tuple[Any, ...]] = Counter()


def met(*key: Any, systems: int = 1) -> bool:
    """Whether, with these, there were so many such systems that more must be expected."""
    _seen[key] += systems
    return _seen[key] > SYSTEMS_BEFORE
