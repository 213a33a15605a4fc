"""Small systems, solved by one compiled call each, alone or side by side by the thousand.

The compiled solve takes the ordinary course only, as the driver takes it, with the same bits; a system that leaves that
course is the driver's, from the start.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import cache, lru_cache, partial
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


class Small(NamedTuple):
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
        dtype = working_dtype(A.dtype, b.dtype) if x0 is None else working_dtype(A.dtype, b.dtype, x0.dtype)
        limits = _limits(options.rtol, options.atol, options.maxiter, dtype, n, A.entries, self.why is not None, False)
        if limits is None or not _met(self.row, dtype, A.kind):
            return None
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
            limits,
            backend.loop_rounding(dtype),
            np.empty((5, n), dtype),
            numbers,
            found,
        )
        if found[0] == kernels.ALONE:
            return None
        told = Told(self, limits, dtype.name, backend.name, options.rtol, x0 is not None)
        solution = told.solution(found, backend.returned(x if len(size) == 1 else x.reshape(-1, 1)), numbers)
        solution.seconds = time.perf_counter() - began
        return solution

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
        limits = _limits(
            options.rtol, options.atol, options.maxiter, dtype, batch.n, entries, self.why is not None, False
        )
        if limits is None:
            return None
        stack = backend.stack_arrays(A, dtype)
        kernels = _kernels()
        rhs = batch.rows(b, dtype)
        guess = np.empty((0, batch.n), dtype) if x0 is None else batch.rows(x0, dtype)
        x, found = np.zeros((len(batch), batch.n), dtype), np.zeros((len(batch), len(kernels.FOUND)))
        numbers = np.empty((len(batch) if len(batch) <= KEPT else 0, 3, limits.steps + 1))
        work = entries + 10 * batch.n
        kernel = backend.shared(getattr(kernels, self.row.many), work * len(batch))
        rule = backend.loop_rounding(dtype)
        most = max(1, CHUNK // (work * min(limits.steps, 2 * batch.n)))
        done, ending = 0, None
        try:
            while done < len(batch):
                part = slice(done, min(done + most, len(batch)))
                kernel(
                    stack, batch.which[part], rhs[part], guess[part], x[part], limits, rule, numbers[part], found[part]
                )
                done = part.stop
                if options.time_limit is not None and time.perf_counter() - began > options.time_limit:
                    ending = Ending(Status.TIME_LIMIT, f"The time limit of {options.time_limit:g} s was reached.")
                    break
        except KeyboardInterrupt:
            ending = Ending(Status.INTERRUPTED, "The batch was interrupted from the keyboard before this system.")
        if done < len(batch):
            x[done:] = guess[done:] if len(guess) else 0
        told = Told(self, limits, dtype.name, backend.name, options.rtol, x0 is not None)
        return Found(told, batch, backend, x, found, numbers, done, ending, time.perf_counter() - began)


class Told(NamedTuple):
    """What all systems of a call have in common, for their Solutions; nothing of it holds a matrix."""

    small: Small
    limits: Any
    precision: str
    backend: str
    rtol: float
    guessed: bool

    def solution(self, found: np.ndarray, x: Any, numbers: np.ndarray | None) -> Solution:
        """That of one system; ``numbers`` as the kernel left them, or None where they were not kept."""
        kernels = _kernels()
        status, iterations, exponent, reference, residual, size, _, _, jacobi, *facts = found.tolist()
        iterations, exponent = int(iterations), int(exponent)
        converged = status != kernels.MAX_ITERATIONS
        method = self.small.method
        hermitian = not jacobi and facts[3] <= self.limits.skew * facts[0]
        history: Any = ((0, iterations), (found[6], found[7])) if reference else ((), ())
        evidence = None
        if numbers is not None and reference:
            numbers = numbers[:, : iterations + 1].copy()
            history = (range(iterations + 1), numbers[0])
            evidence = SpectralEvidence(
                numbers[1, 1:].tolist(),
                numbers[2, 1:].tolist(),
                largest=math.inf if jacobi else 1.01 * facts[2],
                complete=True,
            )
        return Solution(
            x=x,
            status=Status.CONVERGED if converged else Status.MAX_ITERATIONS,
            reason=partial(_reason, told=self, jacobi=bool(jacobi), outlook=None if converged else _outlook(found)),  # type: ignore[arg-type]
            iterations=iterations,
            matvecs=iterations + 1 + self.guessed if reference else 0,
            seconds=0.0,
            relative_residual=residual / reference if reference else 0.0,
            residual_norm=times_power_of_two(residual, exponent),
            method=method.name,
            backend=self.backend,
            precision=self.precision,
            unit_roundoff=self.limits.unit_roundoff,
            history=history,
            exponent=exponent,
            evidence=evidence,
            norms=(residual, size, facts[1]),
            tolerance=_tolerance(self.limits, reference, exponent),
            reference=times_power_of_two(reference, exponent),
            smallest_eigenvalue=facts[-1] if hermitian else -math.inf,
            preconditioned=bool(jacobi),
            carries=method.carries,
            theory=method.bound,
        )


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
        kernels = _kernels()
        self.told, self.x, self.seconds, self._found = told, x, seconds, found
        self._numbers = numbers if len(numbers) else None
        self._backend, self._columns, self._done, self._ending = backend, bool(batch.columns), done, ending
        codes = found[:, 0].astype(int)
        self.left = np.flatnonzero((codes == kernels.ALONE) & (np.arange(len(codes)) < done))
        reference, residual, exponent = found[:, 3], found[:, 4], found[:, 2].astype(int)
        solved = reference > 0
        divisor = np.where(solved, reference, 1.0)
        statuses = np.full(len(codes), Status.CONVERGED, object)
        statuses[codes == kernels.MAX_ITERATIONS] = Status.MAX_ITERATIONS
        relative, norm = residual / divisor, np.ldexp(residual, exponent)
        if ending is not None and done < len(codes):
            statuses[done:], relative[done:], norm[done:] = ending.status, math.nan, math.nan
        target = told.limits.rtol * reference
        if told.limits.atol:
            target = np.maximum(target, np.ldexp(told.limits.atol, -exponent))
        values = (
            statuses,
            found[:, 1],
            np.where(solved, found[:, 1] + 1 + told.guessed, 0),
            relative,
            norm,
            np.where(solved, target / divisor, told.rtol),
        )
        self.fields = dict(zip(GATHERED, values, strict=True))

    def solution(self, k: int) -> Solution:
        """That of one system."""
        x = self._backend.returned(self.x[k])
        if k < self._done:
            return self.told.solution(self._found[k], x, None if self._numbers is None else self._numbers[k])
        assert self._ending is not None
        nan, told = math.nan, self.told
        status, reason, _ = self._ending
        return Solution(x, status, reason, 0, 0, 0.0, nan, nan, told.small.method.name, told.backend, told.precision)

    def returned(self, x: np.ndarray) -> Any:
        """As an array of the caller's library."""
        return self._backend.returned(x)


def small_solver(method: LinearMethod[Any], why: Callable[[bool], str] | None = None) -> Small | None:
    """How a method solves small systems; None where there is no compiled solve of it."""
    row = SMALL.get(type(method))
    return Small(method, row, why) if row is not None and row.fits(method) else None


@lru_cache(256)
def _limits(
    rtol: float, atol: float, maxiter: int | None, dtype: np.dtype, n: int, entries: int, choose: bool, looked: bool
) -> Any:
    """What the kernels take; None for systems that may need more than one look at the clock, or none at all."""
    limit = max(10 * n, 1000) if maxiter is None else maxiter
    steps = min(limit, MOST_STEPS, WORK_A_LOOK // max(1, entries + 10 * n))
    if not 0 < n < MOST_ROWS or not steps or steps < min(limit, 2 * n):
        return None
    known = precision_facts(dtype)
    u = known.unit_roundoff
    return _kernels().Limits(
        float(rtol),
        float(atol),
        int(limit),
        int(steps),
        u,
        1e3 * u,
        known.comfortable_exponent,
        known.smallest_exponent + 2 * round(-math.log2(u)),
        known.largest_exponent - 1,
        choose,
        looked,
    )


MOST_ROWS = 4096  # from which storage by diagonals may be the better one
_seen: set[tuple[Any, ...]] = set()


def _met(*key: Any) -> bool:
    """Whether there was such a system before: to compile a whole solve takes longer than to solve one system."""
    if key in _seen:
        return True
    _seen.add(key)
    return False


def _tolerance(limits: Any, reference: float, exponent: int) -> float:
    if not reference:
        return float(limits.rtol)
    target = limits.rtol * reference
    if limits.atol:
        target = max(target, times_power_of_two(limits.atol, -exponent))
    return target / reference


def _outlook(found: np.ndarray) -> tuple[float, float]:
    """The rate of an unfinished iteration, and the iterations that it lacks at that rate but for the target."""
    first, last, steps = found[6], found[7], found[1]
    return (last / first) ** (1 / steps), last


def _reason(solution: Solution, told: Told, jacobi: bool, outlook: tuple[float, float] | None) -> str:
    name = told.small.method.name
    if not solution.reference:
        said = "b is zero, so x = 0 is exact."
    elif outlook is None:
        said = converged_sentence(solution, name)
    else:
        rate, last = outlook
        target = solution.tolerance * times_power_of_two(solution.reference, -solution.exponent)
        left = max(0.0, (math.log(target) - math.log(last)) / math.log(rate)) if 0 < rate < 1 and target else math.inf
        advice = "Raise maxiter, precondition (rv.precondition), or try another method."
        said = not_there_sentence(solution, rate, left, advice)
    return said if told.small.why is None else f"{told.small.why(jacobi)} {said}"
