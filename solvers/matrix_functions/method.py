"""Newton-Schulz iterations: a schedule of polynomials, and what follows when the schedule was not enough."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np

from ...errors import InputError
from ...naming import choose_fields
from ..driver.method import Breakdown, Method, Norm, State, Traffic
from ..driver.status import Cause, Ending, Status
from .newton_schulz import Degree17Factors, Schedule, degree_17_factors, schedule, step_products
from .presets import preset, published
from .problem import MatrixProblem
from .scaling import SCALINGS, margin, tail

__all__ = ["LOWER", "ScheduledMethod", "StackState", "checked_lower", "checked_schedule"]

P = TypeVar("P", bound=MatrixProblem)

# Of singular values relative to the largest, where nobody says how small they may be: a schedule for less costs
# matrices of ordinary condition more than the steps that it saves those of large condition.
LOWER = 1e-3
SLOW = 0.5  # a step near the end that reduces a residual by less has reached what rounding leaves
DEGREES = (17, 9, 5, 3)
MOST_AT_THE_END = 60  # steps at the end: more would be of a matrix that has nothing there to become one
EXHAUSTED = 1e4  # times the growth after which what is still small is nothing but rounding
FACTORED = 9  # coefficients of an h of degree 8


@dataclass
class StackState(State):
    """A stack of iterates of which those that are done no longer change.

    Attributes
    ----------
    arrays : tuple of arrays (a, ...)
        What is iterated of the matrices that are not done.
    active : ndarray of int
        Their numbers.
    norms, before : ndarray of shape (k,)
        The residual of every matrix as the iteration sees it, now and before its last step.
    done : array (k, ...) or None
        The iterates of those that are done, and room for the others.
    schedule : Schedule
    first : any
        What the first step can use of what scaling took to compute.
    stuck : ndarray of bool
        The matrices whose residuals no further step would reduce.
    grown : ndarray of shape (k,)
        The growth when a value left its range, of those where one did.
    taken, position, rounds : int
        Steps taken in all, and of the schedule in this round; rounds before this one.
    spent : int
        Products of the steps so far.
    growth : float
        By how much the smallest values have grown.
    scale : ndarray of shape (k,)
        What singular values (eigenvalues) were divided by.
    """

    arrays: tuple[Any, ...] = ()
    active: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    norms: np.ndarray = field(default_factory=lambda: np.zeros(0))
    before: np.ndarray = field(default_factory=lambda: np.zeros(0))
    done: Any = None
    schedule: Any = None
    first: Any = None
    stuck: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    grown: np.ndarray = field(default_factory=lambda: np.zeros(0))
    taken: int = 0
    position: int = 0
    rounds: int = 0
    spent: int = 0
    growth: float = 1.0
    scale: Any = None


class Step(NamedTuple):
    """One step.

    Attributes
    ----------
    h : tuple of float
        The polynomial.
    factors : Degree17Factors or None
        Those of its factors that save a product.
    square : array or None
        The square of what h is of, where it is known.
    first : bool
        Nothing was stepped before.
    """

    h: tuple[float, ...]
    factors: Degree17Factors | None
    square: Any
    first: bool


class ScheduledMethod(Method[P, StackState]):
    """Steps of a schedule, of which x -> x h(x^root) is what happens to every singular value (root of an eigenvalue).

    When the schedule is exhausted, a matrix may not have converged: some of its values were smaller than ``lower``.
    If its residual says that all values are near one by now, it takes steps of the polynomial of degree 2 root + 1
    that is flattest at one; otherwise another round of the schedule, which finds the smallest values larger by all
    factors of the last round. What a matrix is put through depends on itself alone.
    """

    traffic: ClassVar[Traffic] = Traffic(vectors=5, passes=8, reductions=1, matvecs=3, compiled_passes=8)
    carries: ClassVar[Norm] = Norm.COMPUTED
    patience: ClassVar[int] = 1000
    when_diverging: ClassVar[str] = "Scale by a bound that holds, such as schatten-8, or by a schedule with safety."
    root: ClassVar[int] = 1  # as the generator of schedules has it
    power: ClassVar[int] = 2  # r of x h(x^r)
    share: ClassVar[float] = 0.25  # of u times the sum of the moduli of a step, what rounding comes to, as measured

    @property
    def default(self) -> float:
        """The lower bound of x, relative to its upper bound, where none was given."""
        return LOWER

    lower: float | None
    scaling: str
    products: int | None

    @abstractmethod
    def begin(self, problem: P, s: StackState) -> tuple[Any, ...]:
        """The first iterates, scaled; ``s.scale`` is set, and ``s.first`` may be."""

    @abstractmethod
    def advance(self, problem: P, s: StackState, arrays: tuple[Any, ...], h: Step) -> tuple[Any, ...]:
        """The arrays after one step, in which the old ones may lie."""

    @abstractmethod
    def measured(self, problem: P, arrays: tuple[Any, ...]) -> np.ndarray:
        """The relative residual of each."""

    def judged(self, problem: P, s: StackState, which: np.ndarray, norms: np.ndarray) -> np.ndarray:
        """The residuals of matrices, by their places among the active ones, that are not near after a whole round."""
        return norms

    @property
    def widest(self) -> float:
        """More than the residual of any values between 0 and 2, where schedules keep them."""
        return 2.0**self.power

    def wild(self, norms: np.ndarray) -> np.ndarray:
        """Which residuals say that a matrix has failed."""
        return ~(norms <= self.widest)

    def cost_of(self, h: tuple[float, ...]) -> int:
        """Products of a step."""
        return step_products(len(h) - 1, self.root)

    def blame(self, problem: P, s: StackState) -> Breakdown:
        """Why a matrix failed."""
        return Breakdown(
            f"Values left the range between 0 and 2 that a schedule keeps them in. {self.when_diverging}",
            Cause.RANGE,
            Status.DIVERGED,
        )

    def negative(self, problem: P, s: StackState) -> bool:
        """Whether one of the matrices that failed has a negative eigenvalue that is more than rounding."""
        return bool(((s.grown > 0) & (s.grown * self.finest(problem) < 0.1)).any())

    def sides(self, problem: P) -> int:
        """Of the matrices that the polynomials are of."""
        return problem.columns

    def finest(self, problem: P) -> float:
        """The smallest x, relative to the largest, that rounding of the data leaves any digit of."""
        return self.sides(problem) * problem.unit_roundoff

    def check(self) -> None:
        """Refuse parameters outside their range."""
        checked_lower(self.lower)
        choose_fields(self, scaling=SCALINGS)
        if self.products is not None and (not isinstance(self.products, int) or self.products < 1):
            raise InputError(f"products: found {self.products!r}; wanted an integer of at least 1")

    def chosen(self, problem: P) -> Schedule:
        """The schedule: what was given, or the cheapest for the tolerance."""
        given = getattr(self, "schedule", None)
        if given is not None:
            return checked_schedule(given, self.root)
        least = self.default if self.lower is None else self.lower_of_x() / self.margin_of_x(problem)
        # A residual ||I - x^r|| is r times the error of x; in the mean square, of values that are spread, r / sqrt(2).
        tolerance = max(problem.asked / (0.8 * self.power), 4 * problem.unit_roundoff)
        least, tolerance, u = min(least, 1.0), min(tolerance, 0.9), problem.unit_roundoff
        found = cheapest(least, tolerance, self.root, problem.format, u, self.share)
        if self.products is not None and found.products > self.products:
            found = schedule(least, products=self.products, root=self.root, precision=problem.format)
        return found

    def lower_of_x(self) -> float:
        """What was given, of x."""
        assert self.lower is not None
        return self.lower

    def margin_of_x(self, problem: P) -> float:
        """By how much scaling may have made x too small."""
        return margin(self.scaling, self.sides(problem))

    # The driver's part.

    def start(self, problem: P) -> StackState:
        s = StackState(None, None, None)
        s.scale = np.ones(problem.count)
        s.schedule = self.chosen(problem)
        s.arrays = self.begin(problem, s)
        s.active = np.arange(problem.count)
        s.norms = np.where(problem.nothing, 0.0, self.measured(problem, s.arrays))
        s.before = np.full(problem.count, math.inf)
        s.stuck, s.grown = np.zeros(problem.count, bool), np.zeros(problem.count)
        s.residual_norm = float(np.max(s.norms))
        self._note(problem, s)
        return s

    def step(self, problem: P, s: StackState) -> None:
        self._retire(problem, s)
        if not s.active.size:
            raise self.blame(problem, s) if problem.failed.any() else Breakdown("", Cause.DIGITS, Status.STAGNATED)
        which, h = self._next(problem, s)
        cost = self.cost_of(h)
        if self.products is not None and s.spent + cost > self.products:
            raise Breakdown("", status=Status.MAX_ITERATIONS)
        s.spent += cost
        s.growth *= max(abs(h[0]), 1.0)
        counted = problem.exact.count
        for part in problem.exact.batches(which, s.arrays[0]):
            problem.exact.count = counted  # what each matrix takes part in
            self._advance(problem, s, part, h)
        s.first, s.taken = None, s.taken + 1
        s.position += 1
        if s.position == s.schedule.steps:
            self._judge(problem, s)
        s.residual_norm = float(np.max(s.norms))
        self._note(problem, s)

    def _advance(self, problem: P, s: StackState, which: np.ndarray, h: tuple[float, ...]) -> None:
        """A step of those in these places."""
        numbers, p = s.active[which], problem.exact
        whole = which.size == s.active.size
        arrays = s.arrays if whole else tuple(p.members(array, which) for array in s.arrays)
        square = s.first if whole or s.first is None else p.members(s.first, which)
        arrays = self.advance(problem, s, arrays, Step(h, _factors(h), square, s.taken == 0))
        s.before[numbers] = s.norms[numbers]
        norms = self.measured(problem, arrays)
        wild = self.wild(norms)
        problem.failed[numbers] |= wild
        s.grown[numbers[wild]] = s.growth
        s.norms[numbers] = np.where(wild, self.widest, norms)
        if not whole:
            arrays, parts = tuple(p.put(old, which, new) for old, new in zip(s.arrays, arrays, strict=True)), arrays
            p.done(*parts)
        s.arrays = arrays

    def _next(self, problem: P, s: StackState) -> tuple[np.ndarray, tuple[float, ...]]:
        """The places of those that take a step, and its polynomial h."""
        places = np.arange(s.active.size)
        if s.position >= s.schedule.steps:
            near = self._near(problem, s)
            if near.any():
                return self.finishing(problem, s, places[near])
            s.position, s.rounds = 0, s.rounds + 1
        h = s.schedule.coefficients[s.position]
        if s.rounds and s.position == 0:
            top = 1 + min(s.schedule.error_bound, 1.0) + 10 * problem.unit_roundoff
            h = tuple(c / top ** (self.power * k + 1) for k, c in enumerate(h))
        return places, h

    def finishing(self, problem: P, s: StackState, near: np.ndarray) -> tuple[np.ndarray, tuple[float, ...]]:
        """The same when the schedule is exhausted, of those whose values are near one."""
        return near, tail(self.power)

    def _near(self, problem: P, s: StackState) -> np.ndarray:
        """Of the active ones, those of which all values are near one, as far as their residuals tell."""
        norms, n = s.norms[s.active], self.sides(problem)
        # No value is far from one: in the worst case the residual is of a single one.
        surely = norms * math.sqrt(n) <= 0.9
        promised = min(0.9, 1.5 * self.power * s.schedule.error_bound)
        falling = (s.position == s.schedule.steps) | (norms <= SLOW * s.before[s.active])
        return surely | ((norms <= promised) & falling)

    def _judge(self, problem: P, s: StackState) -> None:
        far = np.flatnonzero(~self._near(problem, s))
        if far.size:
            numbers = s.active[far]
            s.norms[numbers] = self.judged(problem, s, far, s.norms[numbers])
            left = ~self._near(problem, s)[far]
            s.stuck[numbers] |= left & (s.growth * self.finest(problem) >= EXHAUSTED)

    def _retire(self, problem: P, s: StackState) -> None:
        """Those that are done, or can do no better, are put aside."""
        norms, before = s.norms[s.active], s.before[s.active]
        # A single value of which the square is one half away from one would be a tenth away after such a step.
        slow = (before * math.sqrt(self.sides(problem)) <= 0.5) & (norms > SLOW * before)
        slow = (slow & (s.position > s.schedule.steps)) | (s.position > s.schedule.steps + MOST_AT_THE_END)
        slow &= self._near(problem, s)
        done = (norms <= s.target) | slow | problem.failed[s.active] | s.stuck[s.active]
        if not done.any():
            return
        if s.done is None:
            s.done = problem.exact.copy(s.arrays[0])
        else:
            s.done = problem.exact.put(s.done, s.active[done], problem.exact.members(s.arrays[0], np.flatnonzero(done)))
        left = np.flatnonzero(~done)
        s.arrays = tuple(problem.exact.members(array, left) for array in s.arrays)
        if s.first is not None:
            s.first = problem.exact.members(s.first, left)
        s.active = s.active[left]

    def _note(self, problem: P, s: StackState) -> None:
        s.x = s.arrays[0]
        if s.done is not None:
            s.x = s.done = problem.exact.put(s.done, s.active, s.arrays[0]) if s.active.size else s.done
        problem.measure(s.x, s.norms)

    def conclude(self, problem: P, s: StackState, ending: Ending) -> tuple[Ending, Mapping[str, Any]]:
        scale = np.ldexp(s.scale, problem.exponents).reshape(problem.lead)[()]
        return ending, {"lower": self.assumed(s), "scale": scale}

    def assumed(self, s: StackState) -> float:
        """The lower bound that the schedule took for granted."""
        return float(s.schedule.lower)

    def describe(self, s: StackState) -> str:
        rounds = f" {s.rounds + 1} rounds of it." if s.rounds else ""
        return f"Schedule of degrees {', '.join(map(str, s.schedule.degrees))} for lower {self.assumed(s):.2g}.{rounds}"

    def again(self, problem: P, x: Any) -> tuple[Any, ...] | None:
        """What is iterated of these iterates, to take more steps of them; None where that is not in them."""
        return None

    def renew(self, problem: P, s: StackState) -> None:
        """Matrices whose certificate says more than was asked for take more steps, those that were done among them."""
        late = (problem.residuals > problem.asked) & ~problem.failed & ~s.stuck
        which = np.union1d(s.active, np.flatnonzero(late))
        if s.done is None or which.size == s.active.size:
            return
        arrays = self.again(problem, problem.exact.copy(problem.exact.members(s.done, which)))
        if arrays is None:
            return
        s.active, s.arrays, s.first = which, arrays, None
        s.norms[late], s.before[late] = problem.residuals[late], math.inf
        s.position = max(s.position, s.schedule.steps)


@lru_cache(maxsize=512)
def cheapest(lower: float, tolerance: float, root: int, format: str, unit_roundoff: float, share: float) -> Schedule:
    """The schedule of one degree and of least work whose steps are accurate enough as they are rounded.

    The terms of a polynomial of high degree are large and cancel; what rounding does to singular vectors then, no later
    step undoes. ``share`` is how much that comes to, of u times the sum of the moduli of a step. A mix of degrees would
    save a product or two at most, and takes longer to find.
    """
    found = []
    for degree in DEGREES:
        try:
            one = schedule(lower, degree=degree, tolerance=tolerance, root=root, precision=format)
        except InputError:  # a degree that the format cannot evaluate at all
            continue
        largest = max((sum(map(abs, h)) for h in one.coefficients), default=0.0)
        if share * unit_roundoff * largest <= tolerance or degree == DEGREES[-1]:
            found.append(one)
    return min(found, key=work)


def work(schedule: Schedule) -> float:
    """Products, of which those of polar steps that are symmetric, A and A A, are half."""
    squares = sum(len(step) > 2 for step in schedule.coefficients) + schedule.steps
    return schedule.products - 0.5 * squares * (schedule.root == 1)


def _factors(h: tuple[float, ...]) -> Degree17Factors | None:
    """Those that save a product of an h of degree 8, unless they are not real."""
    if len(h) != FACTORED:
        return None
    try:
        return degree_17_factors(h)
    except InputError:
        return None


def checked_schedule(given: Any, root: int, name: str = "schedule", steps: int | None = None) -> Schedule:
    """A schedule, or the preset of this name, with so many steps; those for the roots 1 and 2 are the same.

    An error for schedules of other roots, unknown names, and what is neither.
    """
    if isinstance(given, str):
        published(given, name)  # which names the argument
        given = preset(given, steps)
    if not isinstance(given, Schedule):
        raise TypeError(
            f"{name}: found {type(given).__name__}; wanted one of rv.newton_schulz.schedule, or the name of a preset"
        )
    if given.root != root and not {given.root, root} <= {1, 2}:
        raise InputError(f"{name}: found one for root {given.root}; wanted root={root}")
    return given


def checked_lower(lower: Any) -> None:
    """A lower bound relative to the largest, in (0, 1]; an error for others."""
    number = isinstance(lower, (int, float, np.floating)) and not isinstance(lower, bool)
    if lower is not None and not (number and 0 < lower <= 1):
        raise InputError(f"lower: found {lower!r}; wanted a number in (0, 1], the smallest value over the largest")
