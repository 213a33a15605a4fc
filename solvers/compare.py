"""rv.compare: every method that suits A, with every preconditioner that does, on the caller's own system."""

from __future__ import annotations

import math
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from ..backends import choose_backend
from ..errors import ConvergenceWarning, InputError
from ..naming import choice, refusing_other_names
from .driver.progress import LiveLine
from .driver.status import Status
from .driver.stopping import Options
from .least_squares.direct import DirectMethod, SuperLU
from .least_squares.lstsq import MEMORY, lstsq
from .least_squares.lstsq import METHODS as LEAST_SQUARES
from .least_squares.problem import LeastSquares
from .linear.run import solve_with
from .linear.system import LinearSystem
from .methods import METHODS, method_named
from .preconditioners.base import Preconditioner
from .preconditioners.given import PRECONDITIONERS, distinct_names
from .report.facts import Facts, Outcome, Table, duration, number
from .report.html import in_html
from .report.terminal import in_panel
from .report.text import in_text

if TYPE_CHECKING:
    from ..backends import Backend
    from .driver.solution import Solution

__all__ = ["Comparison", "Trial", "compare"]

NONE = "none"  # the name of no preconditioner
BRIEF = 0.1  # seconds: what takes less is repeated, since other programs disturb it
REPEATS = 3
RULE = "of those that converged, the fastest"


@dataclass(frozen=True)
class Trial:
    """One method with one preconditioner.

    Attributes
    ----------
    method, preconditioner : str
        Names; "none" where there is no preconditioner.
    status : Status or None
        None where it was not run.
    reason : str
        ``Solution.reason``, or why it was not run.
    iterations, matvecs : int
    seconds : float
        Of the whole call, the preconditioner made included, kernels compiled before; the shortest of three calls where
        it is below a tenth of a second. NaN where it was not run.
    memory : int
        Bytes that method and preconditioner keep beside A and b, as they declare; of a factorisation, at most.
    relative_residual, tolerance : float
        Recomputed from x, and what is asked of it; of least squares the backward error.
    """

    method: str
    preconditioner: str
    status: Status | None
    reason: str
    iterations: int = 0
    matvecs: int = 0
    seconds: float = math.nan
    memory: int = 0
    relative_residual: float = math.nan
    tolerance: float = math.nan

    @property
    def converged(self) -> bool:
        """Whether the true residual meets the tolerance."""
        return self.status is Status.CONVERGED

    @property
    def name(self) -> str:
        """Of both, as in "cg + jacobi"."""
        return self.method if self.preconditioner == "none" else f"{self.method} + {self.preconditioner}"


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` found.

    Attributes
    ----------
    rows : tuple of Trial
        In the order in which they were run; those that were not, among them.
    best : Trial or None
        Of those that converged, the fastest.
    solution : Solution or None
        That of ``best``.
    shape : (int, int)
        Of A.
    backend : str
    interrupted : bool
        Ctrl-C ended it.
    call : str
        What to type to solve as ``best`` did; empty without one.
    """

    rows: tuple[Trial, ...]
    best: Trial | None
    solution: Solution[Any] | None = field(repr=False)
    shape: tuple[int, int]
    backend: str
    interrupted: bool = False
    call: str = ""

    @property
    def ran(self) -> list[Trial]:
        """Those that were run, best first: the converged ones by time, the others by residual."""

        def order(row: Trial) -> tuple[bool, float]:
            key = row.seconds if row.converged else row.relative_residual
            return not row.converged, key if key == key else math.inf

        return sorted((row for row in self.rows if row.status is not None), key=order)

    @property
    def reason(self) -> str:
        """Which to use, by what rule, and how much it matters."""
        ended = "It was interrupted; what was done is below. " if self.interrupted else ""
        ran = self.ran
        if self.best is None:
            nearest = f" The nearest was {ran[0].name}: {ran[0].reason}" if ran else ""
            return f"{ended}None of the {len(ran)} that were run converged, so none is recommended.{nearest}"
        best, others = self.best, [row for row in ran[1:] if row.converged]
        said = f"{ended}Use {best.name}, {RULE} ({len(others) + 1} of {len(ran)}): {self.call}."
        if not others:
            return said
        said += f" The next, {others[0].name}, took {others[0].seconds / best.seconds:.3g} times as long."
        leanest = min(others, key=lambda row: row.memory)
        if leanest.memory < best.memory:
            times = leanest.seconds / best.seconds
            said += f" {_size(leanest.memory)} suffice for {leanest.name}, in {times:.3g} times the time."
        return said

    def __str__(self) -> str:
        return in_text(self._facts())

    def _repr_html_(self) -> str:
        return in_html(self._facts())

    def __rich__(self) -> Any:
        return in_panel(self._facts())

    def _facts(self) -> Facts:
        ran = [
            (
                row.name,
                f"{row.iterations}",
                duration(row.seconds),
                _size(row.memory),
                number(row.relative_residual),
                "" if row.status is None else row.status.name,
            )
            for row in self.ran
        ]
        headings = ("", "iterations", "time", "memory", "true residual", "status")
        left_out: dict[str, list[Trial]] = {}
        for row in self.rows:
            if row.status is None:
                left_out.setdefault(row.reason, []).append(row)
        m, n = self.shape
        return Facts(
            self.best.name if self.best else "nothing converged",
            f"{len(ran)} ways compared on {self.backend}, A of {m} x {n}",
            Outcome.REACHED if self.best else Outcome.FAILED,
            self.reason,
            table=Table(headings, tuple(ran)) if ran else None,
            rows=tuple((f"{_common(rows)} not run", reason) for reason, rows in left_out.items()),
            more="comparison.reason",
        )


@refusing_other_names
def compare(
    A: Any,
    b: Any,
    *,
    methods: Iterable[str] | None = None,
    preconditioners: Iterable[str] | None = None,
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    time_limit: float | None = 10.0,
    progress: bool = False,
    backend: str | Backend | None = None,
) -> Comparison:
    """Solve A x = b by each method with each preconditioner that suit A, and say which to use.

    Of a rectangular A those of ``rv.lstsq`` are compared. Recommended is the fastest of those that converged.

    Parameters
    ----------
    A : anything that ``resolvent.cg`` takes, (n, n); or (m, n) as in ``resolvent.lstsq``
    b : array_like of shape (m,) or (m, 1)
    methods : names, optional
        Those to compare, of ``resolvent.METHODS``, or of ``rv.lstsq``; all by default, with the parameters that they
        find themselves.
    preconditioners : names, optional
        Of "none", "jacobi", "ssor", "chebyshev" and "neumann"; of least squares "none" and "jacobi". All by default.
    rtol, atol, maxiter, backend :
        As in ``resolvent.cg``. Of least squares rtol is both tolerances, and atol has no part in it.
    time_limit : float, optional
        Seconds for each; None for no limit.
    progress : bool
        Show a live line in the terminal or notebook.

    Returns
    -------
    Comparison
        Printed as a table. After Ctrl-C it holds what was done until then.

    Raises
    ------
    InputError
        As in ``resolvent.cg``; for unknown names, and more than one right-hand side.

    Notes
    -----
    Each is run for one iteration beforehand, so that what is compiled once is not counted; calls that take less than a
    tenth of a second are made three times. Times include what makes the preconditioner, and finds parameters.

    Examples
    --------
    >>> import resolvent as rv
    >>> problem = rv.gallery.poisson((20, 20))
    >>> found = rv.compare(problem.A, problem.b, methods=["cg", "jacobi"], preconditioners=["none"])
    >>> [(row.method, row.converged) for row in found.rows]
    [('cg', True), ('jacobi', True)]
    >>> found.best in found.rows, found.solution.converged
    (True, True)
    """
    options = Options(rtol, atol, maxiter, None, progress, time_limit)
    chosen = choose_backend(backend, A, b)
    m, n = chosen.operator(A, square=False).shape
    columns = getattr(b, "shape", (m,))[1:]
    if tuple(columns) not in ((), (1,)):
        raise InputError(f"b: found shape {tuple(b.shape)}; wanted one right-hand side, ({m},) or ({m}, 1)")
    kind = _Linear if m == n else _LeastSquares
    contest = kind(A, b, options, backend)
    names = list(contest.methods) if methods is None else [choice("methods", x, contest.methods) for x in methods]
    known = contest.preconditioners
    made = list(known) if preconditioners is None else [choice("preconditioners", x, known) for x in preconditioners]
    rows, best, solution, interrupted = [], None, None, False
    ways = [(name, M) for name in names for M in made if M == NONE or contest.takes(name)]
    line = LiveLine("compare") if progress else None
    try:
        for k, (name, M) in enumerate(ways):
            if line is not None:
                line.say(k / len(ways), f"{name}, M: {M} · {k + 1} of {len(ways)}")
            row, found = contest.tried(name, M)
            interrupted = row.status is Status.INTERRUPTED
            rows.append(row)
            if row.converged and (best is None or row.seconds < best.seconds):
                best, solution = row, found
            if interrupted:
                break
    except KeyboardInterrupt:
        interrupted = True
    finally:
        if line is not None:
            line.close()
    rows += [Trial(name, M, None, "Interrupted before its turn.") for name, M in ways[len(rows) :]]
    call = contest.call(best.method, best.preconditioner) if best else ""
    return Comparison(tuple(rows), best, solution, (m, n), chosen.name, interrupted, call)


@dataclass
class _Contest(ABC):
    """The ways to solve one problem."""

    A: Any
    b: Any
    options: Options
    backend: Any

    methods: ClassVar[Iterable[str]] = ()
    preconditioners: ClassVar[Iterable[str]] = ()

    @abstractmethod
    def takes(self, name: str) -> bool:
        """Whether the method takes preconditioners."""

    @abstractmethod
    def unsuited(self, name: str, M: str) -> str:
        """Why the method or the preconditioner is not for this problem; empty where it is."""

    @abstractmethod
    def solve(self, name: str, M: Any, options: Options) -> Solution[Any]:
        """The solution by this method with what ``made`` made."""

    @abstractmethod
    def made(self, M: str) -> Any:
        """The preconditioner of this name."""

    @abstractmethod
    def memory(self, name: str, M: Any) -> float:
        """Bytes that both keep."""

    @abstractmethod
    def call(self, name: str, M: str) -> str:
        """What a user types."""

    def tried(self, name: str, M: str) -> tuple[Trial, Solution[Any] | None]:
        """One row, and the solution of one that was run."""
        if why := self.unsuited(name, M):
            return Trial(name, M, None, why), None
        seconds, solution, memory = math.inf, None, 0.0
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                first = self.solve(name, self.made(M), replace(self.options, maxiter=1, time_limit=None))
                if first.status is Status.INTERRUPTED:
                    raise KeyboardInterrupt
                for _ in range(REPEATS):
                    began = time.perf_counter()
                    preconditioner = self.made(M)
                    solution = self.solve(name, preconditioner, self.options)
                    seconds = min(seconds, time.perf_counter() - began)
                    if seconds > BRIEF or not solution.converged:
                        break
                memory = self.memory(name, preconditioner)
        except InputError as refusal:
            return Trial(name, M, None, f"{refusal}."), None
        except MemoryError:
            return Trial(name, M, None, "There is not enough memory."), None
        assert solution is not None
        row = Trial(
            name,
            M,
            solution.status,
            solution.reason,
            int(solution.iterations),
            int(solution.matvecs),
            seconds,
            int(memory),
            float(solution.relative_residual),
            float(solution.tolerance),
        )
        return row, solution


class _Linear(_Contest):
    """A x = b with a square A."""

    methods = METHODS
    preconditioners = (NONE, *distinct_names())

    def __init__(self, A: Any, b: Any, options: Options, backend: Any) -> None:
        super().__init__(A, b, options, backend)
        self.system = LinearSystem(A, b, backend=backend)

    def takes(self, name: str) -> bool:
        return METHODS[name].takes_preconditioner  # type: ignore[index]

    def unsuited(self, name: str, M: str) -> str:
        system, method = self.system, METHODS[name]  # type: ignore[index]
        fit = method.fits(system)
        if not fit.suits:
            return f"{fit.reason}."
        kind = PRECONDITIONERS.get(M)
        if system.facts is None and (method.needs_entries or (kind is not None and kind.needs_entries)):
            return "It needs the entries of A, which only multiplies."
        if kind is not None and kind.needs_hermitian and system.hermitian is False:
            return f"{M} needs a Hermitian A."
        if M == "jacobi" and system.facts is not None and system.facts.zero_diagonal < 0 and not system.diagonal_varies:
            return "All entries of the diagonal are equal, so that its inverse preconditions nothing."
        return ""

    def made(self, M: str) -> Preconditioner | None:
        return None if M == NONE else PRECONDITIONERS[M].made(self.A, self.backend)

    def solve(self, name: str, M: Any, options: Options) -> Solution[Any]:
        limits = {one: getattr(options, one) for one in ("rtol", "atol", "maxiter", "time_limit")}
        return solve_with(method_named(name, {}), self.A, self.b, M=M, backend=self.backend, **limits)

    def memory(self, name: str, M: Preconditioner | None) -> float:
        dtype = self.system.dtype
        return method_named(name, {}).memory(self.system) + (0 if M is None else M.memory(dtype))

    def call(self, name: str, M: str) -> str:
        preconditioned = "" if M == NONE else f', M="{M}"'
        return f"rv.{name}(A, b{preconditioned})"


class _LeastSquares(_Contest):
    """||b - A x|| as small as may be."""

    methods = LEAST_SQUARES
    preconditioners = (NONE, *(name for name in distinct_names() if PRECONDITIONERS[name].of_columns))

    def __init__(self, A: Any, b: Any, options: Options, backend: Any) -> None:
        super().__init__(A, b, options, backend)
        self.problem = LeastSquares(A, b, atol=options.rtol, btol=options.rtol, backend=backend)

    def takes(self, name: str) -> bool:
        return not issubclass(LEAST_SQUARES[name], DirectMethod)

    def unsuited(self, name: str, M: str) -> str:
        method = LEAST_SQUARES[name]
        if issubclass(method, DirectMethod):
            needed = method.memory(self.problem)
            if math.isinf(needed):
                wanted = "a sparse A" if method is SuperLU else "A"
                return f"{name} factors {wanted} whose entries lie in NumPy arrays."
            if needed > MEMORY:
                return f"It may take {_size(needed)}, more than the {_size(MEMORY)} that a factorisation is allowed."
        if M != NONE and not self.problem.explicit:
            return "It needs the entries of A, which only multiplies."
        return ""

    def made(self, M: str) -> str | None:
        return None if M == NONE else M

    def solve(self, name: str, M: Any, options: Options) -> Solution[Any]:
        limits = {"maxiter": options.maxiter, "time_limit": options.time_limit, "backend": self.backend}
        return lstsq(self.A, self.b, method=name, M=M, atol=options.rtol, btol=options.rtol, **limits)

    def memory(self, name: str, M: Any) -> float:
        vector = self.problem.n * self.problem.dtype.itemsize
        return LEAST_SQUARES[name].memory(self.problem) + (0 if M is None else vector)

    def call(self, name: str, M: str) -> str:
        preconditioned = "" if M == NONE else f', M="{M}"'
        return f'rv.lstsq(A, b, method="{name}"{preconditioned})'


def _common(rows: list[Trial]) -> str:
    """What rows have in common, or their names."""
    methods, made = ({getattr(row, one): None for row in rows} for one in ("method", "preconditioner"))
    if len(rows) > 1 and len(methods) == 1:
        return next(iter(methods))
    if len(rows) > 1 and len(made) == 1:
        return f"M: {next(iter(made))}"
    return ", ".join(row.name for row in rows)


def _size(memory: float) -> str:
    """Bytes, in the unit that leaves the fewest digits."""
    for unit, size in (("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10)):
        if memory >= size:
            return f"{memory / size:.3g} {unit}"
    return f"{memory:.0f} B"
