"""Batches of fixed points whose members have their own target, status and end.

Members are iterated side by side, one evaluation of the whole stack a round; a member that has ended is fed what it
returns. What each one comes to is what the driver would have come to with it alone, in the same words. One that leaves
the course on which arrays can tell is the driver's, from the start, with a g that evaluates the stack while all others
are held where they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from ...backends import Backend
from ...precision import precision_facts
from ..driver.batch import GATHERED, KEPT
from ..driver.iterate import Run, concluded
from ..driver.method import Breakdown
from ..driver.progress import LiveLine
from ..driver.solution import Solution
from ..driver.status import Cause, Ending, Status
from ..driver.stopping import Options, Watches
from .iterates import Iterates, Steps
from .method import FIRST_DOUBT, NOISE, noisy
from .problem import SUSPICIOUS, FixedPointProblem

if TYPE_CHECKING:
    from .members import FixedPoints

__all__ = ["Stacked"]


@dataclass
class Stacked:
    """The members of a batch that were iterated together, as ``Together`` has it.

    Attributes
    ----------
    going, doubting, sure, halved : ndarray of bool, (members,)
        Those that go on; among them those that are evaluated at x once more to see whether g is noise there, or whether
        a residual is as small as it seemed; and those that go half way to where g was not finite.
    endings : list of Ending or None
        None of those that are left to the driver.
    norms, best_norm : ndarray, (members,)
        True residual norms of what is returned, and of the best iterate remembered.
    fresh : ndarray of bool, (members,)
        The last evaluation was at what is returned.
    """

    settled: ClassVar[bool] = False

    batch: FixedPoints
    options: Options
    ending: Ending | None = None
    seconds: float = 0.0
    fields: dict[str, np.ndarray] = field(default_factory=dict)
    left: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    it: Iterates = field(init=False)
    overruled: dict[int, tuple[Ending, float]] = field(default_factory=dict)

    def run(self, kind: type[Steps] | None) -> None:
        """Iterate until every member has ended, or is left; by no steps all are."""
        batch, options = self.batch, self.options
        clock = batch.backend.clock
        began = clock()
        count = len(batch.finite)
        self.endings: list[Ending | None] = [None] * count
        self.going = np.zeros(count, bool)
        self.fresh = np.zeros(count, bool)
        self.begun = False
        line = LiveLine(batch.method.name) if options.progress and kind is not None else None
        try:
            self._begin(kind)
            if line is not None and self.begun:
                line.begin(*self._farthest())
            while self.going.any():
                self._round()
                seconds = clock() - began
                if line is not None:
                    line.update(int(self.it.iterations.max()), self._farthest()[0], math.nan, seconds)
                if options.time_limit is not None and seconds > options.time_limit and self.going.any():
                    raise _Over(Ending(Status.TIME_LIMIT, f"The time limit of {options.time_limit:g} s was reached."))
        except _Over as over:
            self._end(self.going.copy(), over.ending)
            self.ending = over.ending
        except KeyboardInterrupt:
            if not self.begun:
                raise
            ending = Ending(Status.INTERRUPTED, "Interrupted from the keyboard; x is the best iterate so far.")
            self._end(self.going.copy(), ending)
            self.ending = Ending(Status.INTERRUPTED, "The batch was interrupted from the keyboard before this system.")
        finally:
            if line is not None:
                line.close()
        self.seconds = clock() - began
        if self.begun:
            self.steps.finish()
            del self.best
        self._gather()

    def _farthest(self) -> tuple[float, float]:
        """The relative residual that is the farthest from its tolerance, and that tolerance."""
        it = self.it
        with np.errstate(all="ignore"):
            k = int(np.argmax(np.where(self.going, it.norm / self.target, -1.0)))
            return float(it.norm[k] / it.reference[k]), float(self.target[k] / it.reference[k])

    def _begin(self, kind: type[Steps] | None) -> None:
        """The first evaluation, and who takes the ordinary course."""
        batch, backend = self.batch, self.batch.backend
        if not batch.finite.any():
            return
        batch.evaluations[:] = 1
        try:
            batch.first = backend.copy(batch.value(batch.at), batch.dtype)
        except ArithmeticError:
            return  # the driver finds out whose fault it is
        if kind is None:
            return
        x, xp, count = batch.at, array_namespace(batch.at), len(batch.finite)
        f = batch.first - x
        facts = precision_facts(batch.dtype)
        it = Iterates(
            backend, x, x, f, x, x, f, np.zeros(count), np.zeros(count), np.zeros(count, int), facts.unit_roundoff
        )
        size = np.maximum(_sizes(backend, x), _sizes(backend, batch.first))
        exponent = np.where(size > 0, np.frexp(size)[1] - 1, 0)
        in_range = np.isfinite(size) & (np.abs(exponent) <= facts.comfortable_exponent)
        self.sizes = it.norms(x)
        it.reference = np.maximum(self.sizes, it.norms(batch.first))
        it.norm = it.norms(f)
        self.going = batch.finite & in_range & np.isfinite(it.reference) & np.isfinite(it.norm)
        safe = np.where(self.going, it.norm, 0.0)
        it.norm, it.f = safe, it.choose(self.going, f, xp.zeros_like(f))
        self.it, self.first_norm, self.norms = it, safe.copy(), safe.copy()
        self.target = np.maximum(self.options.rtol * it.reference, self.options.atol)
        self.limit = self.options.most_iterations(batch.n)
        u = it.unit_roundoff
        self.watches = Watches(safe.copy(), u, batch.method.patience)
        self.lowest, self.doubted = safe.copy(), np.full(count, math.inf)
        self.doubted_at, self.patience = np.zeros(count, int), np.full(count, FIRST_DOUBT)
        self.best, self.best_norm = x, np.full(count, math.inf)
        self.doubting, self.sure, self.halved, self.sudden = np.zeros((4, count), bool)
        self.log: list[tuple[np.ndarray, np.ndarray]] = [(self.going.copy(), safe.copy())]
        self.noise = np.zeros(count)
        self.last = safe.copy()
        self.fresh = self.going.copy()
        self.steps, self.begun = kind(batch.method, it), True
        self._judge(self.going.copy())
        if self.going.any():
            self.steps.begin()

    def _round(self) -> None:
        """One evaluation of the stack, and what follows from it for each member."""
        batch, it, steps = self.batch, self.it, self.steps
        going = self.going.copy()
        here = self.doubting | self.sure
        points = it.choose(going, it.choose(here, it.x, it.next_x), batch.at)
        batch.evaluations += going
        try:
            f = batch.value(points) - points
        except ArithmeticError:  # whose fault it is the driver finds out
            self.fresh[:] = False
            self.going[:] = False
            return
        norms, sizes = it.norms(f), it.norms(points)
        self.fresh[~going], self.last = True, norms

        second = going & self.sure
        it.norm[second] = np.maximum(self._as_lost(norms, sizes), it.norm)[second]
        agree = second & (it.norm <= self.target)
        self._converge(agree)
        self._leave(second & ~agree)

        doubted = going & self.doubting
        if doubted.any():
            self.noise = it.norms(f - it.f)
            noise = doubted & (self.noise >= NOISE * it.norm)
            self._end(noise, None)
            self.doubted_at[doubted] = it.iterations[doubted]
            self.patience[doubted] *= 2
            self.doubting &= ~doubted

        new = going & ~here
        with np.errstate(all="ignore"):
            sudden = norms < SUSPICIOUS * np.minimum(steps.expected, self.lowest)
        self.lowest = np.where(new, np.fmin(self.lowest, norms), self.lowest)
        taken = new & steps.stands(norms, self._lost(sizes))
        refused = new & ~taken
        if refused.any():
            self._go_elsewhere(refused, points)
        if not taken.any():
            return
        it.previous_x, it.previous_f = it.choose(taken, it.x, it.previous_x), it.choose(taken, it.f, it.previous_f)
        it.x, it.f = it.choose(taken, points, it.x), it.choose(taken, f, it.f)
        it.norm[taken], self.sizes[taken], self.sudden[taken] = norms[taken], sizes[taken], sudden[taken]
        it.iterations += taken
        self.halved &= ~taken
        if len(batch.finite) <= KEPT:
            self.log.append((taken, it.norm.copy()))
        steps.go_on(taken)
        self._judge(taken)

    def _lost(self, sizes: np.ndarray) -> np.ndarray:
        """Who has become so large, beside where it began, that g(x) = x may be no more than rounding."""
        return math.sqrt(self.it.unit_roundoff) * sizes > self.it.reference

    def _as_lost(self, norms: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """The residual norms, of those who are lost no less than the rounding of x."""
        return np.where(self._lost(sizes), np.maximum(norms, self.it.unit_roundoff * sizes), norms)

    def _go_elsewhere(self, refused: np.ndarray, points: Any) -> None:
        """Something else in place of a step that does not stand; half of it, once, where it was not finite."""
        it = self.it
        refused = refused & ~self.steps.take_back(refused)
        failed = refused & self.halved
        for k in np.flatnonzero(failed):
            try:
                self.batch.method.give_up(self._problem(int(k)), "at the next iterate, nor half way to it")
            except Breakdown as stop:
                self._end(_only(failed, int(k)), stop.ending)
        halved = refused & ~failed
        if halved.any():
            it.next_x = it.choose(halved, 0.5 * it.x + 0.5 * points, it.next_x)
            self.halved |= halved

    def _judge(self, which: np.ndarray) -> None:
        """As the driver judges an iterate that it looks at."""
        it, steps = self.it, self.steps
        norm, u = it.norm, it.unit_roundoff
        below = which & (norm <= np.maximum(self.target, u * u * it.reference))
        self.sure |= below & self.sudden
        met = below & ~self.sudden
        norm[met] = self._as_lost(norm, self.sizes)[met]
        self._converge(met & (norm <= self.target))
        self._leave(met & ~(norm <= self.target))
        which = which & ~below
        diverged, stagnated = self.watches.observe(which, it.iterations, norm, lambda: u * self.sizes)
        over = which & ~diverged & ~stagnated & (it.iterations >= self.limit)
        ended = stagnated | over
        nowhere = steps.infeasible(which & ~diverged, ended)
        self._end(nowhere, Ending(Status.INFEASIBLE, "", Cause.INCONSISTENT))
        self._end(diverged, Ending(Status.DIVERGED))
        self._end(stagnated & ~nowhere, Ending(Status.STAGNATED))
        self._end(over & ~nowhere, Ending(Status.MAX_ITERATIONS))
        which = which & self.going
        remembered = which & (it.iterations > 0) & (norm <= 0.5 * np.minimum(self.best_norm, self.first_norm))
        self.best, self.best_norm[remembered] = it.choose(remembered, it.x, self.best), norm[remembered]
        lower = which & (it.iterations > 0) & (norm < self.doubted)
        self.doubted[lower], self.doubted_at[lower] = norm[lower], it.iterations[lower]
        self.doubting |= which & (it.iterations - self.doubted_at >= self.patience)
        self._leave(steps.beyond(which))

    # Ends.

    def _converge(self, which: np.ndarray) -> None:
        it = self.it
        self.batch.at = it.choose(which, it.x, self.batch.at)
        self.norms[which], self.fresh[which] = it.norm[which], True
        self._over(which, Ending(Status.CONVERGED))

    def _leave(self, which: np.ndarray) -> None:
        """To the driver."""
        it = self.it
        self.batch.at = it.choose(which, it.x, self.batch.at)
        self._over(which, None)

    def _end(self, which: np.ndarray, ending: Ending | None) -> None:
        """Not converged: the last iterate, the best remembered one or the first guess. None: g is noise."""
        it = self.it
        if not which.any():
            return
        norm = self._as_lost(it.norm, self.sizes)
        better = which & ~(norm <= self.best_norm)
        x, norm = it.choose(better, self.best, it.x), np.where(better, self.best_norm, norm)
        back = which & ~(norm <= self.first_norm)
        x, norm = it.choose(back, it.guess, x), np.where(back, self.first_norm, norm)
        self.batch.at = it.choose(which, x, self.batch.at)
        self.norms[which], self.fresh[which] = norm[which], False
        if ending is not None:
            self._over(which, ending)
            return
        for k in np.flatnonzero(which):
            self._over(_only(which, int(k)), noisy(self._problem(int(k)), float(self.noise[k])).ending)

    def _over(self, which: np.ndarray, ending: Ending | None) -> None:
        self.going &= ~which
        for k in np.flatnonzero(which):
            self.endings[k] = ending

    # What came of it.

    def _gather(self) -> None:
        """The fields of all members; those that are left have none yet."""
        batch, count = self.batch, len(self.batch.finite)
        self.left = np.array([k for k in range(count) if self.endings[k] is None], int)
        status = np.empty(count, object)
        status[:] = [None if ending is None else ending.status for ending in self.endings]
        numbers = np.full((5, count), math.nan)
        if self.begun:
            it = self.it
            some = it.reference > 0
            reference = np.where(some, it.reference, 1.0)
            relative = np.where(some, self.norms / reference, 0.0)
            tolerance = np.where(some, self.target / reference, self.options.rtol)
            numbers = np.array([it.iterations, batch.evaluations, relative, self.norms, tolerance], float)
        self.fields = dict(zip(GATHERED, (status, *numbers), strict=True))

    def completed(self, alone: Mapping[int, Solution]) -> Any:
        """x of all members, judged once more with all of them as they are returned, where they were not yet."""
        batch = self.batch
        status = self.fields["status"]
        for k, system in alone.items():
            status[k] = system.status
        converged = status == Status.CONVERGED
        if converged.any():
            if alone or not self.fresh.all():
                self.last = self._last_norms()
                batch.evaluations += converged
                self.fields["matvecs"] += converged
                for system in alone.values():
                    system.matvecs += int(system.converged)
            self._overrule(alone, converged)
        refused = status == Status.REFUSED
        x = batch.at
        if refused.any():
            place = batch.backend.from_numpy(refused[:, None].astype(float), np.dtype(np.float64)) > 0
            x = array_namespace(x).where(place, math.nan + 0 * x, x)
        batch.finish()
        return batch.structure.outside(batch.backend.copy(x))  # of which nothing else is made that is asked for later

    def _last_norms(self) -> np.ndarray:
        """The residual norms of what is returned, of any size."""
        batch, backend = self.batch, self.batch.backend
        with np.errstate(all="ignore"):
            try:
                f = batch.value(batch.at) - batch.at
            except ArithmeticError:
                return np.full(len(batch.finite), math.nan)
            size = _sizes(backend, f)
            unit = np.where((size > 0) & np.isfinite(size), size, 1.0)[:, None]
            scaled = f / backend.from_numpy(unit, np.empty(0, batch.dtype).real.dtype)
            return (np.asarray(backend.to_numpy(backend.norms_each(scaled)), float) * unit)[:, 0]

    def _overrule(self, alone: Mapping[int, Solution], converged: np.ndarray) -> None:
        """No member has converged whose residual is another now that the others are elsewhere."""
        last = self.last
        for k in np.flatnonzero(converged):
            system = alone.get(int(k))
            asked = system.tolerance * system.reference if system is not None else self.target[k]
            if last[k] <= asked * (1 + math.sqrt(precision_facts(self.batch.dtype).unit_roundoff)):
                continue  # as it was, to the rounding of norms
            reference = system.reference if system is not None else self.it.reference[k]
            relative = last[k] / reference if reference > 0 else math.inf
            ending = Ending(
                Status.STAGNATED,
                f"g has another value at the same x now that the other systems of the batch have moved: the residual, "
                f"once at most the {asked / reference if reference > 0 else 0.0:.2e} of max(||x0||, ||g(x0)||) asked "
                f"for, is {relative:.2e} with all systems as they are returned. The systems of a batch have to be "
                "independent of each other, and g the same at every call; find the fixed point of a g that couples "
                "them as one, without batch_ndim.",
                Cause.NOISE,
            )
            if system is None:
                self.overruled[int(k)] = ending, float(last[k])
                values = {"status": ending.status, "relative_residual": relative, "residual_norm": last[k]}
                for name, value in values.items():
                    self.fields[name][k] = value
            else:
                system.status, system.reason, system.cause = ending
                system.relative_residual, system.residual_norm = relative, float(last[k])

    def _problem(self, k: int) -> FixedPointProblem:
        """One member, of which all is known that its first evaluation told."""
        problem = self.batch.problem(k)
        problem.known(float(self.it.reference[k]), float(self.first_norm[k]), int(self.batch.evaluations[k]))
        return problem

    def solution(self, k: int) -> Solution:
        """That of one member which was not left, in the driver's words."""
        it, batch, ending = self.it, self.batch, self.endings[k]
        assert ending is not None
        problem = self._problem(k)
        state = self.steps.state(problem, k)
        watch = self.watches.of(k, it.unit_roundoff * float(self.sizes[k]))
        run = Run(problem, batch.method, self.options, float(self.target[k]), state=state, watch=watch)
        run.iterations = int(it.iterations[k])
        if len(batch.finite) <= KEPT:
            run.norms = [float(norms[k]) for taken, norms in self.log if taken[k]]
            run.at = list(range(len(run.norms)))
        else:
            run.at, run.norms = [0, run.iterations], [float(self.first_norm[k]), float(it.norm[k])]
        ending, norm = self.overruled.get(k, (ending, float(self.norms[k])))
        with np.errstate(all="ignore"):
            ending, fields = batch.method.conclude(problem, state, ending)
            x = batch.backend.copy(batch.at[k, :])
            solution = concluded(run, ending, fields, x, state.work, norm)
        solution.seconds = self.seconds
        return solution


class _Over(Exception):
    """The iteration ends for all that go on."""

    def __init__(self, ending: Ending) -> None:
        super().__init__()
        self.ending = ending


def _only(which: np.ndarray, k: int) -> np.ndarray:
    one = np.zeros_like(which)
    one[k] = True
    return one


def _sizes(backend: Backend, x: Any) -> np.ndarray:
    """The largest modulus of each member's entries."""
    xp = array_namespace(x)
    return np.asarray(backend.to_numpy(xp.max(xp.abs(x), axis=-1)), float)
