"""Small systems, solved by one compiled call each, alone or side by side by the thousand.

The compiled solve takes the ordinary course only, as the driver takes it, with the same bits; a system that leaves that
course is the driver's, from the start.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np

from ...operators import CSR, Dense, Operator
from ...precision import precision_facts, times_power_of_two, working_dtype
from ..driver.batch import GATHERED, Batch
from ..driver.iterate import MOST_STEPS, WORK_A_LOOK
from ..driver.reasons import converged_sentence, not_there_sentence
from ..driver.solution import Solution
from ..driver.status import Ending, Status
from ..driver.stopping import Options
from ..spectra.ritz import SpectralEvidence
from .method import LinearMethod

__all__ = ["SMALL", "Small", "small_solver"]

_ALONE, _MAX_ITERATIONS = 0, 2  # as in the kernels, whose module is not to be imported for two numbers
KEPT = 256  # systems of a batch up to which all their residual norms and coefficients are kept
CHUNK = 1 << 28  # entries and vector elements touched between two looks for an interrupt: about a tenth of a second


class Row(NamedTuple):
    """A compiled solve.

    Attributes
    ----------
    kernels : callable
        Returns the module with ``one`` and ``many`` of that name; called where it is first needed, since it imports
        Numba.
    fits : callable
        Whether it stands for a method with these parameters.
    """

    one: str
    many: str
    fits: Callable[[Any], bool]


# By class of the method, whose own step the solve takes. Filled by ``solvers.compiled_loops``.
SMALL: dict[type[LinearMethod[Any]], Row] = {}


@cache
def _kernels() -> Any:
    from ...backends.compiled import solves

    return solves


@dataclass(frozen=True, eq=False)
class Small:
    """How small systems are solved.

    Attributes
    ----------
    method : LinearMethod
    row : Row
    why : callable or None
        Of ``rv.solve``: from whether the diagonal preconditions to a sentence on why this method was chosen.
    """

    method: LinearMethod[Any]
    row: Row
    why: Callable[[bool], str] | None = None

    def solve(self, backend: Any, A: Operator, b: Any, x0: Any, options: Options) -> Solution | None:
        """One system; None where it is the driver's. A and b are the backend's own, of matching library."""
        began = time.perf_counter()
        n = A.shape[0]
        size = b.shape
        if not options.unobserved or size not in ((n,), (n, 1)) or not (x0 is None or x0.shape == size):
            return None
        if not isinstance(A, (CSR, Dense)) or not backend.compiles_solves:
            return None
        if x0 is None:
            dtype = A.dtype if A.dtype == b.dtype else working_dtype(A.dtype, b.dtype)
        else:
            dtype = working_dtype(A.dtype, b.dtype, x0.dtype)
        guessed = x0 is not None
        told = self._told(backend.name, options.rtol, options.atol, options.maxiter, dtype, n, A.entries, guessed)
        if told is None or not _met(self.row.one, dtype, A.kind):
            return None
        limits = told.limits
        A = A.astype(dtype)
        given = np.ascontiguousarray(b, dtype)
        guess = np.empty(0, dtype) if x0 is None else np.ascontiguousarray(x0, dtype).reshape(-1)
        kernels = _kernels()
        found = np.empty(len(kernels.FOUND))
        x = np.empty(n, dtype)
        numbers = np.empty((3, limits.steps + 1))
        getattr(kernels, self.row.one)(
            backend.arrays(A),
            given if given.ndim == 1 else given.reshape(-1),
            guess,
            x,
            told.numbers,
            numbers,
            found,
        )
        if found[0] == _ALONE:
            return None
        solution = told.solution(found, backend.returned(x if len(size) == 1 else x.reshape(-1, 1)), numbers)
        solution.seconds = time.perf_counter() - began
        return solution

    @lru_cache(256)  # noqa: B019 - there are few of these, and each lives as long as the process
    def _told(
        self,
        backend: str,
        rtol: float,
        atol: float,
        maxiter: int | None,
        dtype: np.dtype,
        n: int,
        entries: int,
        guessed: bool,
    ) -> Told | None:
        """The same for all systems alike; None for those that may need more than one look at the clock, or none."""
        limit = max(10 * n, 1000) if maxiter is None else maxiter
        steps = min(limit, MOST_STEPS, WORK_A_LOOK // max(1, entries + 10 * n))
        if not 0 < n < MOST_ROWS or not steps or steps < min(limit, 2 * n):
            return None
        known = precision_facts(dtype)
        u = known.unit_roundoff
        limits = _kernels().Limits(
            rtol=float(rtol),
            atol=float(atol),
            maxiter=int(limit),
            steps=int(steps),
            unit_roundoff=u,
            skew=1e3 * u,
            comfortable=known.comfortable_exponent,
            lowest=known.smallest_exponent + 2 * round(-math.log2(u)),
            highest=known.largest_exponent - 1,
            choose=self.why is not None,
            looked=False,
        )
        nan = math.nan
        like = Solution(None, Status.CONVERGED, "", 0, 0, 0.0, nan, nan, self.method.name, backend, known.name, u)
        like.carries, like.theory = self.method.carries, self.method.bound
        return Told(self, limits, np.array(limits, float), guessed, vars(like))

    def together(self, backend: Any, batch: Batch, options: Options) -> Found | None:
        """The systems of a batch that take the ordinary course; None where that is not for this batch."""
        began = time.perf_counter()
        if (
            batch.n == 0
            or not backend.compiles_solves
            or options.callback is not None
            or options.progress
            or options.backward_error
        ):
            return None
        taken = backend.stack_of(batch.A)
        if taken is None:
            return None
        A, entries = taken
        b = backend.vector(batch.b, "b")
        x0 = None if batch.x0 is None else backend.vector(batch.x0, "x0")
        dtype = working_dtype(*(part.dtype for part in (A, b, x0) if part is not None))
        guessed = x0 is not None
        told = self._told(backend.name, options.rtol, options.atol, options.maxiter, dtype, batch.n, entries, guessed)
        if told is None:
            return None
        limits = told.limits
        stack = backend.stack_arrays(A, dtype)
        kernels = _kernels()
        rhs = batch.rows(b, dtype)
        guess = np.empty((0, batch.n), dtype) if x0 is None else batch.rows(x0, dtype)
        x, found = np.zeros((len(batch), batch.n), dtype), np.zeros((len(batch), len(kernels.FOUND)))
        numbers = np.empty((len(batch) if len(batch) <= KEPT else 0, 3, limits.steps + 1))
        work = entries + 10 * batch.n
        kernel = backend.shared(getattr(kernels, self.row.many), work * len(batch))
        most = max(1, CHUNK // (work * min(limits.steps, 2 * batch.n)))
        done, ending = 0, None
        try:
            while done < len(batch):
                part = slice(done, min(done + most, len(batch)))
                rows = rhs[part], guess[part], x[part]
                kernel(stack, batch.which[part], *rows, told.numbers, numbers[part], found[part])
                done = part.stop
                if options.time_limit is not None and time.perf_counter() - began > options.time_limit:
                    ending = Ending(Status.TIME_LIMIT, f"The time limit of {options.time_limit:g} s was reached.")
                    break
        except KeyboardInterrupt:
            ending = Ending(Status.INTERRUPTED, "The batch was interrupted from the keyboard before this system.")
        if done < len(batch):
            x[done:] = guess[done:] if len(guess) else 0
        return Found(told, batch, backend, x, found, numbers, done, ending, time.perf_counter() - began)


@dataclass(frozen=True, slots=True)
class Told:
    """What all systems of a call have in common, for their Solutions; nothing of it holds a matrix."""

    small: Small
    limits: Any
    numbers: np.ndarray
    guessed: bool
    fields: Mapping[str, Any]

    def solution(self, found: np.ndarray, x: Any, numbers: np.ndarray | None) -> Solution:
        """That of one system; ``numbers`` as the kernel left them, or None where they were not kept."""
        values = found.tolist()
        status, iterations, exponent, reference, residual, size, first, last, jacobi = values[:9]
        relative, norm, rhs_norm, tolerance, max_abs, row_norm, row_sum, asymmetry = values[9:17]
        steps = int(iterations)
        course = Course(self, steps, bool(jacobi), first, last, row_sum)
        if numbers is not None and reference:
            course.numbers = numbers[:, : steps + 1].copy()
        return Solution.like(
            self.fields,
            x=x,
            status=Status.MAX_ITERATIONS if status == _MAX_ITERATIONS else Status.CONVERGED,
            reason=course.reason,
            history=course.history,
            evidence=course.evidence,
            iterations=steps,
            matvecs=steps + 1 + self.guessed if reference else 0,
            relative_residual=relative,
            residual_norm=norm,
            exponent=int(exponent),
            norms=(residual, size, row_norm),
            tolerance=tolerance,
            reference=rhs_norm,
            smallest_eigenvalue=values[-1] if not jacobi and asymmetry <= self.limits.skew * max_abs else -math.inf,
            preconditioned=bool(jacobi),
        )


class Course:
    """What the fields of a Solution are made of that are made when somebody reads them."""

    __slots__ = ("first", "jacobi", "last", "numbers", "row_sum", "steps", "told")

    def __init__(self, told: Told, steps: int, jacobi: bool, first: float, last: float, row_sum: float) -> None:
        self.told, self.steps, self.jacobi = told, steps, jacobi
        self.first, self.last, self.row_sum = first, last, row_sum
        self.numbers: np.ndarray | None = None

    def history(self, solution: Solution) -> tuple[Any, Any]:
        """Where norms are known, and the norms."""
        if self.numbers is not None:
            return range(self.steps + 1), self.numbers[0]
        return ((0, self.steps), (self.first, self.last)) if solution.reference else ((), ())

    def evidence(self, solution: Solution) -> SpectralEvidence | None:
        """The coefficients of conjugate gradients."""
        if self.numbers is None:
            return None
        largest = math.inf if self.jacobi else 1.01 * self.row_sum
        alphas, betas = self.numbers[1:, 1:].tolist()
        return SpectralEvidence(alphas, betas, largest=largest, complete=True)

    def reason(self, solution: Solution) -> str:
        """The sentences that the driver would say."""
        why = self.told.small.why
        if not solution.reference:
            said = "b is zero, so x = 0 is exact."
        elif solution.converged:
            said = converged_sentence(solution, solution.method)
        else:
            rate = (self.last / self.first) ** (1 / self.steps)
            target = solution.tolerance * times_power_of_two(solution.reference, -solution.exponent)
            left = math.inf
            if 0 < rate < 1 and target > 0:
                left = max(0.0, (math.log(target) - math.log(self.last)) / math.log(rate))
            advice = "Raise maxiter, precondition (rv.precondition), or try another method."
            said = not_there_sentence(solution, rate, left, advice)
        return said if why is None else f"{why(self.jacobi)} {said}"


class Found:
    """The systems of a batch that were solved together."""

    def __init__(
        self,
        told: Told,
        batch: Batch,
        backend: Any,
        x: np.ndarray,
        found: np.ndarray,
        numbers: np.ndarray,
        done: int,
        ending: Ending | None,
        seconds: float,
    ) -> None:
        self.told, self.x, self.seconds, self._found = told, x, seconds, found
        self._numbers = numbers if len(numbers) else None
        self._backend, self._columns, self._done, self._ending = backend, bool(batch.columns), done, ending
        codes = found[:, 0].astype(int)
        self.left = np.flatnonzero((codes == _ALONE) & (np.arange(len(codes)) < done))
        statuses = np.full(len(codes), Status.CONVERGED, object)
        statuses[codes == _MAX_ITERATIONS] = Status.MAX_ITERATIONS
        iterations, relative, norm = found[:, 1], found[:, 9], found[:, 10]
        if ending is not None and done < len(codes):
            statuses[done:], relative[done:], norm[done:] = ending.status, math.nan, math.nan
        products = np.where(found[:, 3] > 0, iterations + 1 + told.guessed, 0)
        values = (statuses, iterations.copy(), products, relative.copy(), norm.copy(), found[:, 12].copy())
        self.fields = dict(zip(GATHERED, values, strict=True))

    def solution(self, k: int) -> Solution:
        """That of one system."""
        x = self._backend.returned(self.x[k])
        if k < self._done:
            return self.told.solution(self._found[k], x, None if self._numbers is None else self._numbers[k])
        assert self._ending is not None
        status, reason, _ = self._ending
        return Solution.like(self.told.fields, x=x, status=status, reason=reason)

    def returned(self, x: np.ndarray) -> Any:
        """As an array of the caller's library."""
        return self._backend.returned(x)


@lru_cache(64)
def small_solver(method: LinearMethod[Any], why: Callable[[bool], str] | None = None) -> Small | None:
    """How a method solves small systems; None where there is no compiled solve of it."""
    row = SMALL.get(type(method))
    return Small(method, row, why) if row is not None and row.fits(method) else None


MOST_ROWS = 4096  # from which storage by diagonals may be the better one
_seen: set[tuple[Any, ...]] = set()


def _met(*key: Any) -> bool:
    """Whether there was such a system before: to compile a whole solve takes longer than to solve one system."""
    if key in _seen:
        return True
    _seen.add(key)
    return False
