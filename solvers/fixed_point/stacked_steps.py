"""How each method for fixed points steps many iterates side by side: the textbook, with a mask for each choice."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import numpy as np

from .anderson import MOST_PLAIN, Anderson, AndersonState
from .auto import ALTERNATING, BEGINNING, FORGETTING, MISMATCH, STANDSTILL, Auto
from .drift import FAR, TOO_FAR, Drift, DriftState, NonexpansiveMethod, Seen
from .halpern import Halpern, HalpernState
from .history import History
from .iterates import Iterates, Steps
from .picard import Picard
from .problem import FixedPointProblem
from .restarted_halpern import RestartedHalpern, RestartedHalpernState
from .stacked_history import StackedHistory

__all__ = ["AndersonSteps", "AutoSteps", "HalpernSteps", "PicardSteps", "RestartedSteps"]


class NonexpansiveSteps(Steps):
    """With the way that the iterates have gone, as ``Drift`` has it for one of them.

    Attributes
    ----------
    steps, distance, astray : ndarray, (members,)
    seen : list of ndarray, (3, members)
        Means, residuals and noise, as in ``Seen``, at the iterations 1, 2, 4, ...
    """

    method: NonexpansiveMethod

    def __init__(self, method: Any, iterates: Iterates) -> None:
        super().__init__(method, iterates)
        self.steps, self.distance, self.astray = np.zeros((3, self.count))
        self.weight, self.anchored = np.zeros((2, self.count))
        self.seen: list[np.ndarray] = []

    def go_on(self, which: np.ndarray) -> None:
        """Count the step that was taken with the weight of the anchor, and propose the next one."""
        taken = which & (self.it.iterations > 0)
        further = self.weight * self.anchored + (1 - self.weight) * (self.steps + self.method.reach)
        self.steps[taken] = further[taken]
        self.propose(which)

    @abstractmethod
    def propose(self, which: np.ndarray) -> None:
        """Put what comes next into ``next_x``."""

    def measure(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How far these members are from their first guesses, and what that says of all fixed points."""
        it = self.it
        way = it.guess - it.x
        length, residual = it.norms(way), it.norm
        told = which & (residual > 0) & np.isfinite(residual) & np.isfinite(length)
        with np.errstate(all="ignore"):
            along = -it.dots(it.f, way) / residual
        farther = np.maximum(length / 2, along + max(1.0, self.method.reach) * residual / 2)
        self.distance[told] = np.maximum(self.distance, farther)[told]
        off = it.norms(way + it.column(self.steps) * it.f)
        self.astray[told] = np.maximum(self.astray, off)[told]
        return length, residual

    def infeasible(self, which: np.ndarray, at_end: np.ndarray) -> np.ndarray:
        it, k = self.it, self.it.iterations
        due = which & ~at_end & (k > 0) & (k & (k - 1) == 0)
        if due.any():
            length, residual = self.measure(due)
            noise = 4 * it.unit_roundoff * (it.reference + length)
            with np.errstate(all="ignore"):
                mean = np.where(self.steps > 0, length / self.steps, 0.0)
            for level in np.unique(k[due]):
                now, at = due & (k == level), int(level).bit_length() - 1
                while len(self.seen) <= at:
                    self.seen.append(np.zeros((3, self.count)))
                self.seen[at][:, now] = np.array([mean, residual, noise])[:, now]
        ended = which & at_end
        if ended.any():
            self.measure(ended)
        radius = self.method.radius
        far = self.distance > (np.where(at_end, FAR, TOO_FAR) * it.reference if radius is None else radius)
        found = (due | ended) & far
        if radius is None:
            for k_far in np.flatnonzero(found):
                found[k_far] = self.drift(int(k_far)).settled
        return found

    def drift(self, k: int) -> Drift:
        """That of one member."""
        known = int(self.it.iterations[k]).bit_length()
        seen = [Seen(1 << at, *map(float, numbers[:, k])) for at, numbers in enumerate(self.seen[:known])]
        return Drift(self.method.reach, float(self.steps[k]), float(self.distance[k]), float(self.astray[k]), seen)

    def state(self, problem: FixedPointProblem, k: int) -> DriftState:
        return self.method.state(*self.vectors(k), drift=self.drift(k))


class PicardSteps(NonexpansiveSteps):
    """x + damping f."""

    method: Picard

    def propose(self, which: np.ndarray) -> None:
        it = self.it
        it.next_x = it.choose(which, it.x + self.method.damping * it.f, it.next_x)


class AnchoredSteps(NonexpansiveSteps):
    """(1 - weight) T(x) + weight anchor."""

    def __init__(self, method: Any, iterates: Iterates) -> None:
        super().__init__(method, iterates)
        self.anchor = iterates.guess

    def toward_anchor(self, which: np.ndarray) -> Any:
        """By the weights as they are."""
        it, weight = self.it, self.it.column(self.weight)
        return it.choose(which, weight * self.anchor + (1 - weight) * (it.x + self.method.reach * it.f), it.next_x)


class HalpernSteps(AnchoredSteps):
    """The anchor is the first guess, with weight 1 / phi."""

    method: Halpern

    def __init__(self, method: Any, iterates: Iterates) -> None:
        super().__init__(method, iterates)
        self.phi = np.ones(self.count)

    def propose(self, which: np.ndarray) -> None:
        self.phi = np.where(which, 1 + self.phi / self.method.contraction**2, self.phi)
        self.weight = np.where(which, 1 / self.phi, self.weight)
        self.it.next_x = self.toward_anchor(which)

    def state(self, problem: FixedPointProblem, k: int) -> DriftState:
        state = super().state(problem, k)
        assert isinstance(state, HalpernState)
        state.phi = float(self.phi[k])
        return state


class RestartedSteps(AnchoredSteps):
    """The anchor becomes g(x) as in ``RestartedHalpern``, whose names these numbers have."""

    method: RestartedHalpern

    def __init__(self, method: Any, iterates: Iterates) -> None:
        super().__init__(method, iterates)
        self.inner, self.total, self.restarts = np.zeros((3, self.count), int)
        self.at_anchor, self.before = iterates.norm.copy(), np.full(self.count, math.inf)
        self.anew = np.zeros(self.count, bool)

    def go_on(self, which: np.ndarray) -> None:
        anew = which & self.anew
        steps = self.steps + 1
        super().go_on(which & ~anew)
        if not anew.any():
            return
        self.steps[anew] = self.anchored[anew] = steps[anew]
        self.at_anchor[anew], self.before[anew] = self.it.norm[anew], math.inf
        self.inner[anew], self.anew[anew] = 0, False
        self.restarts += anew
        self.propose(anew)

    def propose(self, which: np.ndarray) -> None:
        m, it = self.method, self.it
        self.total += which
        tested = which & (self.inner > 0) & (self.inner % m.every == 0)
        norm, before = it.norm, self.before.copy()
        self.before[tested] = norm[tested]
        fell = norm <= m.sufficient * self.at_anchor
        rises = (before < norm) & (norm <= m.necessary * self.at_anchor)
        self.anew[which] = (tested & (fell | rises | (self.inner >= m.artificial * self.total)))[which]
        self.inner += which & ~self.anew
        self.weight = np.where(which, 1 / (self.inner + 1), self.weight)
        toward = self.toward_anchor(which)
        anew = which & self.anew
        if anew.any():
            self.anchor = it.choose(anew, it.x + it.f, self.anchor)
        it.next_x = it.choose(anew, self.anchor, toward)

    def state(self, problem: FixedPointProblem, k: int) -> DriftState:
        state = super().state(problem, k)
        assert isinstance(state, RestartedHalpernState)
        state.restarts = int(self.restarts[k])
        return state


class AndersonSteps(Steps):
    """Accelerated steps, safeguarded; the numbers have the names of ``AndersonState``.

    Attributes
    ----------
    alternating : ndarray of bool, (members,)
        Whether steps are mixed as ``ALTERNATING`` says, rather than as the method.
    rejecting : ndarray of bool, (members,)
        A step was taken back, and no other one was taken yet.
    """

    method: Anderson

    def __init__(self, method: Any, iterates: Iterates) -> None:
        super().__init__(method, iterates)
        n = int(iterates.guess.shape[1])
        self.depth = min(self.wanted_depth(n), n)
        self.history = StackedHistory(
            iterates.backend, iterates.guess, self.depth, iterates.unit_roundoff, method.regularisation
        )
        self.accelerated, self.alternating, self.rejecting = np.zeros((3, self.count), bool)
        self.good = iterates.norm.copy()
        self.steps, self.plain, self.rejected = np.zeros((3, self.count), int)
        self.penalty = np.ones(self.count, int)

    @classmethod
    def fits(cls, method: Anderson) -> bool:
        return method.type == "II"

    def wanted_depth(self, n: int) -> int:
        """Differences to keep of n unknowns."""
        return self.method.depth

    def begin(self) -> None:
        self._step_plainly(np.ones(self.count, bool), self._in_use("plain"))

    def stands(self, norms: np.ndarray, lost: np.ndarray) -> np.ndarray:
        m = self.method
        small = norms <= np.minimum(m.safeguard * self.it.norm, m.safeguard**2 * self.good)
        return np.isfinite(norms) & (~self.accelerated | (small & ~lost))

    def take_back(self, which: np.ndarray) -> np.ndarray:
        back = which & self.accelerated
        if back.any():
            self.history.clear(back)
            self.rejected += back
            self.plain[back] = self.penalty[back]
            self.penalty[back] = np.minimum(2 * self.penalty[back], MOST_PLAIN)
            self._step_plainly(back, self._in_use("plain"))
            self.rejecting |= back
        return back

    def go_on(self, which: np.ndarray) -> None:
        norm = self.it.norm
        eased = which & self.accelerated & (norm < self.good)
        self.penalty[eased] = np.maximum(1, self.penalty[eased] // 2)
        good = np.where(self.rejecting, norm, np.minimum(self.good, norm))
        self.good[which] = good[which]
        self.rejecting &= ~which
        self.steps += which
        self._propose(which)

    def finish(self) -> None:
        super().finish()
        del self.history

    def _propose(self, which: np.ndarray) -> None:
        it, m, history, norm = self.it, self.method, self.history, self.it.norm
        forgetting = which & (m.restart_every is not None) & (self.steps % (m.restart_every or 1) == 0)
        if forgetting.any():
            history.clear(forgetting)
        history.append(which & ~forgetting, it.x, it.previous_x, it.f, it.previous_f, self.condition_limit())
        self.plain[which] = np.maximum(0, self.plain - 1)[which]
        unknown = which & ((self.plain > 0) | (history.size == 0))
        between = which & ~unknown & ((self.steps + 1) % self._in_use("period").astype(int) != 0)
        initial = np.full(self.count, m.omega) if m.period > 1 else self._method_mixing("plain")
        self._step_plainly(unknown | between, np.where(unknown, initial, self._in_use("omega")))
        accelerated = which & ~unknown & ~between
        if not accelerated.any():
            return
        extrapolated, rest = history.extrapolated(it.x, it.f, norm, self._in_use("beta"))
        it.next_x = it.choose(accelerated, extrapolated, it.next_x)
        # Below rounding the difference of two squares says no more than that it is small.
        left = np.where(rest > 64 * it.unit_roundoff, norm * np.sqrt(np.maximum(rest, 0)), 0.0)
        self.expected[accelerated] = left[accelerated]
        self.accelerated |= accelerated

    def condition_limit(self) -> np.ndarray:
        """The condition that the histories may have after the step just taken."""
        return np.full(self.count, self.method.condition_limit)

    def _method_mixing(self, name: str) -> np.ndarray:
        """A part of the mixing that the method asks for; NaN where it adapts."""
        value = getattr(self.method.mixing, name)
        return np.full(self.count, math.nan if isinstance(value, str) else float(value))

    def _in_use(self, name: str) -> np.ndarray:
        """A part of the mixing in use."""
        return np.where(self.alternating, float(getattr(ALTERNATING, name)), self._method_mixing(name))

    def _step_plainly(self, which: np.ndarray, factor: np.ndarray) -> None:
        """x + factor f."""
        it = self.it
        if which.any():
            it.next_x = it.choose(which, it.x + it.column(factor) * it.f, it.next_x)
            self.accelerated &= ~which
            self.expected[which] = math.inf

    def state(self, problem: FixedPointProblem, k: int) -> AndersonState:
        state = self.method.empty_state(*self.vectors(k))
        state.steps, state.rejected = int(self.steps[k]), int(self.rejected[k])
        state.history = History(self.it.backend, problem.n, self.it.dtype, self.depth)
        return state


class AutoSteps(AndersonSteps):
    """Every step accelerated, then every other one, as long as the residuals fall; the rest is for one member alone.

    Attributes
    ----------
    halved, halved_at, standstills : ndarray, (members,)
        As in ``AutoState``.
    """

    method: Auto

    def __init__(self, method: Any, iterates: Iterates) -> None:
        super().__init__(method, iterates)
        self.halved = iterates.norm.copy()
        self.halved_at, self.standstills = np.zeros((2, self.count), int)

    def wanted_depth(self, n: int) -> int:
        return self.method.depth_for(n, self.count)

    def condition_limit(self) -> np.ndarray:
        with np.errstate(all="ignore"):
            far_off = self.it.norm > MISMATCH * self.expected
        surprised = self.accelerated & far_off & (self.expected > 0)
        return np.where(surprised, FORGETTING, self.method.condition_limit)

    def go_on(self, which: np.ndarray) -> None:
        super().go_on(which)
        fell = which & (self.good <= 0.5 * self.halved)
        still = which & ~fell & (self.steps - self.halved_at >= STANDSTILL)
        self.halved[fell] = self.good[fell]
        self.halved_at[fell | still] = self.steps[fell | still]
        self.standstills += still
        alternating = (self.steps >= BEGINNING) != (self.standstills == 1)
        self.alternating[which] = alternating[which]

    def beyond(self, which: np.ndarray) -> np.ndarray:
        return which & (self.standstills > 1)

    def state(self, problem: FixedPointProblem, k: int) -> AndersonState:
        state = super().state(problem, k)
        state.standstills = int(self.standstills[k])  # type: ignore[attr-defined]
        return state
