"""Which method fits what A is: the methods recommend themselves, and one after the other is tried."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...errors import InputError, SingularError
from ..driver.iterate import iterate
from ..driver.solution import Solution
from ..driver.status import Cause, Status
from ..driver.stopping import Deadline, Options
from ..preconditioners.given import PRECONDITIONERS
from .costs import patience
from .method import NOTHING, Candidate, LinearMethod, said_of_choice
from .system import LinearSystem

__all__ = ["Stage", "candidates", "patience_with", "solve_by_choice"]

# Methods that are asked together, by name; the next stage is asked when none of this one has solved the system.
Stage = Mapping[str, type[LinearMethod[Any]]]

# What ends a search: the answer, or somebody who wants it ended.
_OVER = (Status.CONVERGED, Status.TIME_LIMIT, Status.INTERRUPTED, Status.STOPPED)


def candidates(system: LinearSystem, methods: Iterable[type[LinearMethod[Any]]]) -> list[Candidate]:
    """What the methods of a stage recommend, best first."""
    found = [candidate for method in methods for candidate in method.candidates(system)]
    best = min((candidate.rank for candidate in found), default=0)
    # What is exact in one step needs no second.
    return sorted((c for c in found if best > 0 or c.rank == 0), key=lambda candidate: candidate.rank)


def patience_with(system: LinearSystem) -> int | None:
    """Iterations that a method is given where A may be factored instead; None where it cannot be."""
    return patience(system.truth) if system.on_host else None


def solve_by_choice(system: LinearSystem, stages: Sequence[Stage], options: Options) -> Solution:
    """Try what fits, cheap ways first, until one converges or nothing is left, and return the best that was found."""
    first, *_ = stages[0].values()
    trial = _Trial(system, first(), options)
    settled = system.settled(system.target(options))
    if settled is not None and settled.cause is Cause.INCONSISTENT:
        trial.said.append(settled.reason)
        trial.unsolvable = True
    elif settled is not None:
        return trial.finished(trial.solved_by(Candidate(0, first(), NOTHING)))
    for stage in stages:
        try:
            recommended = trial.recommended(stage)
        except KeyboardInterrupt:  # during a product that measures what A is
            return trial.finished(trial.ended(Status.INTERRUPTED, "Interrupted from the keyboard"))
        for candidate in recommended:
            if trial.needless(candidate):
                continue
            if trial.late:
                return trial.finished(trial.ended(Status.TIME_LIMIT, "The time limit was reached between two methods"))
            solution = trial.solved_by(candidate)
            if solution is not None and trial.over(solution, candidate):
                return trial.finished(solution)
    return trial.finished(None)


@dataclass
class _Trial:
    """What was tried on one system.

    Attributes
    ----------
    first : LinearMethod
        What stands for all where none can begin.
    said : list of str
        Of each method why it was tried and what became of it.
    latest, best, inconsistent : Solution or None
        The last one, the one of smallest residual, and a least-squares solution by a method that found that there is no
        other.
    best_by : Candidate or None
        What found the best one.
    given_up : (Solution, Candidate) or None
        The best of those that a factorisation was to be cheaper than.
    iterations : int
        Of all.
    unsolvable : bool
        The entries of A and b say that there is no solution.
    tried : set
        Methods that were given their time, with the preconditioners that were made for them.
    patience : int or None
        Iterations that a method is given where A may be factored instead.
    """

    system: LinearSystem
    first: LinearMethod[Any]
    options: Options
    said: list[str] = field(default_factory=list)
    latest: Solution[Any] | None = None
    best: Solution[Any] | None = None
    inconsistent: Solution[Any] | None = None
    best_by: Candidate | None = None
    given_up: tuple[Solution[Any], Candidate] | None = None
    iterations: int = 0
    unsolvable: bool = False
    tried: set[tuple[str, str | None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        system, limit = self.system, self.options.time_limit
        clock = system.backend.clock
        self.deadline = None if limit is None else Deadline(clock() + limit, clock)
        self.given = (system.preconditioner, system.preconditioner_units)
        self.patience = patience_with(system)

    def recommended(self, stage: Stage) -> list[Candidate]:
        """What the methods of a stage recommend; what they measure is done within the time limit."""
        self.system.deadline = self.deadline
        try:
            return candidates(self.system, stage.values())
        finally:
            self.system.deadline = None

    def needless(self, candidate: Candidate) -> bool:
        """Whether nothing is to be had from this candidate."""
        method = candidate.method
        if self.unsolvable and not method.finds_least_squares:
            return True
        if candidate.instead_of and self.latest is not None and self.left(self.latest) <= candidate.instead_of:
            return True
        if self.patience is not None and self.iterations >= self.patience and not method.factors:
            from .direct import LU

            if not LU.refused(self.system):
                return True
        return (method.name, candidate.preconditioner) in self.tried

    def left(self, solution: Solution[Any]) -> float:
        """Iterations that conjugate gradients would still take, by the condition that they saw; infinity if none was.

        The bound 2 ((sqrt(kappa) - 1) / (sqrt(kappa) + 1))^k of the error (Saad 2003, section 6.11.3).
        """
        if solution.condition is None:
            return math.inf
        rtol = min(1.0, max(self.options.rtol, solution.unit_roundoff))
        return 0.5 * math.sqrt(solution.condition) * math.log(2 / rtol) - solution.iterations

    def solved_by(self, candidate: Candidate) -> Solution[Any] | None:
        """The solution by one candidate; None where it cannot begin."""
        system, method = self.system, candidate.method
        system.use_preconditioner(*self.given)
        if candidate.sign < 0:
            system.negate()
        unused = system.preconditioner is not None and not method.takes_preconditioner
        if unused:
            system.use_preconditioner(None)
        system.least_squares = method.finds_least_squares
        self.said += [self._of_latest(), said_of_choice(method.name, candidate.why, unused)]
        self.latest = None
        try:
            if candidate.preconditioner is not None and not self._preconditioned(candidate.preconditioner):
                return None
            solution = iterate(system, method, self._limited(candidate))
        except SingularError as error:  # on the face of it in this precision, where it is not in its own
            self.said.append(f"{error}.")
            return None
        except MemoryError as error:
            self.said.append(f"{error}." if str(error) else "There is not enough memory.")
            return None
        self.latest = solution
        self.iterations += solution.iterations
        if candidate.maxiter is None or solution.status is not Status.MAX_ITERATIONS:
            self.tried.add((method.name, candidate.preconditioner))
        if solution.cause is Cause.INCONSISTENT:
            self.inconsistent = solution
        if self.patience is not None and not method.factors and solution.status is Status.MAX_ITERATIONS:
            before = math.inf if self.given_up is None else self.given_up[0].relative_residual
            if not solution.relative_residual >= before:
                self.given_up = solution, candidate
        if self.best is None or solution.converged or solution.relative_residual < self.best.relative_residual:
            self.best, self.best_by = solution, candidate
        return solution

    def _preconditioned(self, name: str) -> bool:
        """Whether a preconditioner of A could be made; it is kept for other right-hand sides."""
        system = self.system
        try:
            if name not in system.kept:
                system.kept[name] = PRECONDITIONERS[name].made(system.operator, system.backend.exact)
            bound = system.kept[name].bind(system.backend, system.dtype)
        except InputError as refusal:
            self.said.append(f"{refusal}.")
            return False
        system.use_preconditioner(bound, system.matrix_exponent)
        return True

    def _of_latest(self) -> str:
        if self.latest is None:
            return ""
        ended = (self.latest.cause or self.latest.status).value
        return (
            f"It ended after {self.latest.iterations} iterations with {self.latest.relative_residual:.1e} of ||b||: "
            f"{ended}."
        )

    def _limited(self, candidate: Candidate) -> Options:
        """What is left of the caller's limits, within those of the candidate and of patience."""
        most = self.options.maxiter
        if most is not None:
            most = max(0, most - self.iterations)
        limits = [limit for limit in (most, candidate.maxiter, self.patience) if limit is not None]
        left = None if self.deadline is None else max(self.deadline.left, 1e-9)
        return replace(self.options, maxiter=min(limits) if limits else None, time_limit=left)

    def over(self, solution: Solution[Any], candidate: Candidate) -> bool:
        """Whether no other method is to be tried."""
        if solution.status in _OVER:
            return True
        if solution.cause is Cause.NOT_FINITE:
            return candidate.preconditioner is None  # otherwise it may be at fault, and not A
        if solution.status is Status.OVERFLOW and self.system.emulated is None:
            return True  # found, but not to be written down
        if self.options.maxiter is not None and self.iterations >= self.options.maxiter:
            return True
        u, condition = solution.unit_roundoff, solution.condition
        regular = condition is not None and condition < 1e-2 / u
        return solution.status is Status.STAGNATED and regular and solution.backward_error <= 100 * u

    @property
    def late(self) -> bool:
        """Whether the time is over, after something was tried."""
        return self.deadline is not None and self.best is not None and self.deadline.passed

    def ended(self, status: Status, why: str) -> Solution[Any]:
        """The best so far, of a search that ends between two methods."""
        best = self.latest = self.best = self._best_or_guess()
        best.status, best.cause, best.reason = status, None, f"{why}; x is the best iterate so far."
        return best

    def _best_or_guess(self) -> Solution[Any]:
        if self.best is not None:
            return self.best
        return iterate(self.system, self.first, replace(self.options, maxiter=0))

    def continued(self) -> None:
        """Take up again the best that was only given up for a factorisation, where that was not to be had."""
        if self.given_up is None or "lu" in self.system.kept:
            return
        best, by = self.given_up
        exact = self.system.backend.exact
        self.system.guess = exact.reshape(exact.vector(best.x, "x"), (-1,))
        self.patience = None
        self.solved_by(replace(by, why="nothing cheaper is left, and it goes on from its best iterate", sign=1))

    def finished(self, last: Solution[Any] | None) -> Solution[Any]:
        """What comes back, with all that was tried in its reason; ``last`` ended the search, if anything did."""
        if last is None:
            self.continued()
        best, least = self._best_or_guess(), self.inconsistent
        if last is not None:
            best.status, best.cause = last.status, last.cause
        elif least is not None and least.relative_residual <= 10 * best.relative_residual:
            best = least  # one whose residual others undercut by more was misled by rounding
        if best is not self.latest:
            self.said += [self._of_latest(), f"x is that of {best.method}."]
        self.said.append(best.reason)
        if last is None and not best.converged and best is not self.inconsistent:
            if self.system.emulated is None and best.backward_error <= best.unit_roundoff:
                best.status, best.cause = Status.STAGNATED, Cause.DIGITS
                self.said.append("x solves a system that is A to rounding: no other of this precision is nearer.")
            elif self.system.emulated is not None or best.status not in (Status.STAGNATED, Status.MAX_ITERATIONS):
                best.status = Status.INFEASIBLE
            self.said.append(self._outlook())
        best.reason = " ".join(filter(None, self.said))
        return best

    def _outlook(self) -> str:
        system = self.system
        if system.emulated is not None:
            return (
                f"No method here solves it in {system.precision_name}, which may be too coarse for its condition: take "
                "a wider format, or rv.refine."
            )
        from .direct import LU  # which loads SciPy's factorisations

        return LU.refused(system)
