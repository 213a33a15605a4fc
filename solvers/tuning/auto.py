"""The default tuner: spectral evidence first, held against what the solves cost; a bandit where it does not hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .closed_forms import CLOSED_FORMS
from .evidence import Evidence, Look
from .spectral import Spectral
from .thompson import GaussianThompson
from .tuner import Fallback, Tuner, check_omega

__all__ = ["Auto"]

MEMORY = 2000  # rounds after which a cost counts a third to the bandit
UNEXPLAINED = 0.25  # running part of surprises from which the evidence is not believed
EXPLAINED = 0.05  # and below which it is believed again
CHALLENGES = 0.5  # times the square root of the rounds: how often the one that does not lead is tried
RECENT = 0.9  # per trial, what older trials still count
WATCHED = 4  # the closed form learns from every fourth solve of a bandit that leads
PROMISING = 0.25  # trials come up to four times as often where they are cheaper than the leader
DOUBT = 0.3  # spread that a single comparison is taken to have besides its own
LATELY = 0.2  # weight of the latest cost in running means
FORETOLD = 0.5  # mean error of the logarithms of predicted costs from which the closed form foretells nothing
BETTER = 0.75  # and part of the running mean's error, as a prediction, from which that is as good
ENOUGH, CERTAIN = 3, 10  # predictions from which their error is known, roughly and well
PATIENCE = 0.5  # of the iterations predicted for the closed form's omega, after which a trial is looked at
LENIENCE = 5.0  # the same for what the leader chose


class Auto(Tuner):
    """``Spectral`` while it holds, otherwise ``GaussianThompson``.

    One of the two leads, at first the closed form where the method has one. The other is tried every so often, in all
    about sqrt(t) / 2 times in t rounds, and its costs are compared with those of the leader around the same time, so
    that easy and hard stretches of a sequence do not matter. Every other trial of the bandit is there to explore; what
    is compared is the value that it believes in. It takes over when it was cheaper by more than the comparison is
    uncertain. While the closed form leads and foretells what its solves cost, a trial is not held against these, but
    against what its omega would have cost on the very system of the trial; a trial that would take longer than that
    omega goes on with it. The bandit takes over at once where a quarter of the solves show something
    else than the closed form assumed. The closed form goes on learning from what the bandit's solves show.

    Parameters
    ----------
    values : sequence, optional
        What the bandit chooses among, in order; by default 20 omegas from 1 to 1.95. The closed form is not bound to
        them.
    parameter : str
    method : str, optional
        By default the method of the ``Sequence`` that uses the tuner. Of ``"sor"``, ``"ssor"`` and ``"ssor_cg"`` the
        omega is known in closed form; for other methods and parameters the bandit is alone.
    seed : int

    Notes
    -----
    A round costs about 10 microseconds, 20 where the bandit leads, and 4 more for a look at 32 rows of A.

    On sequences made to mislead it (evidence that lies, looks and contexts that mean nothing, jumps, costs that depend
    on the round), the total over 2000 systems stays below 1.25 times that of the best single value; the tests hold it
    to that. There is no bound for costs chosen by an adversary who knows the tuner; take ``TsallisINF`` against one.

    Examples
    --------
    >>> import resolvent as rv
    >>> from resolvent.solvers.tuning import Auto, Evidence
    >>> problem, tuner = rv.gallery.poisson((10, 10)), Auto(method="sor", seed=0)
    >>> for _ in range(12):
    ...     solution = rv.sor(problem.A, problem.b, omega=tuner.suggest(), rtol=1e-8)
    ...     tuner.observe(solution.iterations, Evidence(solution=solution))
    >>> abs(tuner.suggest() - 1.56) < 0.05
    True
    """

    kind = "Auto"
    wants_look = True

    def __init__(
        self,
        values: Sequence[Any] | None = None,
        *,
        parameter: str = "omega",
        method: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(parameter)
        self.bandit = GaussianThompson(values, parameter=parameter, memory=MEMORY, seed=seed)
        self.spectral: Spectral | None = None
        if parameter == "omega" and method in CLOSED_FORMS:
            self.spectral = Spectral(method)
        for value in self.bandit.values:
            check_omega(value, parameter, method)
        self.leads = "spectral"
        self._played, self._exploring = "bandit", True
        self._doubted = False  # the evidence did not hold while the bandit led
        self._around = 0.0  # what the leader's solves cost lately
        # What the closed form's cost and took for each iteration predicted while it leads, and mean errors of these
        # predictions, and of the running mean as one; how many.
        self._unit = self._pace = self._error = self._plain_error = 0.0
        self._told = 0
        self._since, self._trials = 0, 0  # rounds since the leader leads, and trials of the other in them
        # Of the trials, older ones discounted: how many, their costs, the leader's around them, squared ratios.
        self._count = self._costs = self._references = self._ratios = self._squares = 0.0
        self._next = self._next_trial()  # rounds after which the other is tried again
        # For the system of this round: the closed form's omega, and iterations that it would take; 0 where not known.
        self._best: float | None = None
        self._awaited = 0.0

    def bind(self, method: str) -> None:
        self.bandit.bind(method)
        super().bind(method)
        if self.spectral is None and self.parameter == "omega" and method in CLOSED_FORMS and self.rounds == 0:
            self.spectral = Spectral(method)

    @property
    def values(self) -> list[Any]:
        """What the bandit chooses among."""
        return self.bandit.values

    def inspect(self, look: Look | None) -> None:
        if self.spectral is not None:
            self.spectral.look = look

    def best_fixed_cost(self) -> float | None:
        """As far as the bandit's rounds tell."""
        return self.bandit.best_fixed_cost() if self.bandit.rounds >= len(self.bandit.values) else None

    def settings(self) -> dict[str, Any]:
        return {**self.bandit.settings(), "form": None if self.spectral is None else self.spectral.form_name}

    def _choose(self, context: float | None) -> Any:
        spectral = self.spectral
        self._played, self._exploring = "bandit", True
        if spectral is not None:
            self._best = spectral.best(context)
            ahead = None if self._best is None else spectral.iterations(self._best, context)
            self._awaited = self._pace * (ahead or 0.0)
            # The bandit cannot be compared before it is known whether the closed form foretells costs.
            early = self.leads == "spectral" and ahead is not None and self._told < ENOUGH
            trial = self._since > self._next and not early
            self._played = self.leads if not trial else "bandit" if self.leads == "spectral" else "spectral"
            # What the bandit tries to find out is dear: only its best value can be held against the closed form.
            self._exploring = not trial or self._trials % 2 == 1
            if self._played == "spectral":
                if spectral.fitted is not None or self.rounds < 3 or spectral.radius(context) is not None:
                    return spectral._choose(context)
                self._played, self._exploring = "bandit", True  # nothing was shown
        return self.bandit.suggest() if self._exploring else self.bandit.suggest_best()

    def _learn(self, value: Any, cost: float, context: float | None, evidence: Evidence | None) -> None:
        spectral, played = self.spectral, self._played
        if played == "bandit":
            self.bandit.observe(cost)
        if spectral is None:
            return
        if played == "spectral":
            spectral._learn(value, cost, context, evidence)
        elif (self.leads == "spectral" or self._since % WATCHED == 0) and not (evidence and evidence.cut_short):
            # No rate has settled in a solve that was cut short.
            spectral.watch(value, cost, context, evidence)
            self._watch_surprise(spectral.surprise)
        self._since += 1
        if played == self.leads:
            self._follow(cost, spectral.iterations(value, context) if played == "spectral" else None, evidence)
            if played == "spectral" and spectral.surprise > UNEXPLAINED:
                self._hand_over()
        else:
            self._trials += 1
            if self._around > 0 and (played == "spectral" or not self._exploring):
                self._compare(cost, context)
            self._next = self._next_trial()

    def _follow(self, cost: float, predicted: float | None, evidence: Evidence | None) -> None:
        """Take note of what a solve of the leader cost, and of how well that was foretold, if it was."""
        if predicted is not None and cost > 0:
            if self._unit > 0 and self._around > 0:
                self._told += 1
                weight = max(LATELY, 1 / self._told)
                self._error += weight * (min(abs(math.log(cost / (self._unit * predicted))), 1.0) - self._error)
                self._plain_error += weight * (min(abs(math.log(cost / self._around)), 1.0) - self._plain_error)
            self._unit += (LATELY if self._unit else 1.0) * (cost / predicted - self._unit)
            if evidence is not None and evidence.iterations:
                pace = evidence.iterations / predicted
                self._pace += (LATELY if self._pace else 1.0) * (pace - self._pace)
        self._around += (LATELY if self._around else 1.0) * (cost - self._around)

    @property
    def _holds(self) -> bool:
        """Whether the closed form foretells what its solves cost, and better than their running mean does."""
        return self._told >= ENOUGH and self._error < min(FORETOLD, BETTER * self._plain_error)

    def fallback(self) -> Fallback | None:
        """For trials of the bandit's, the closed form's omega; for what that chose, more time on hard systems."""
        foretold = self._holds and self._awaited > 0
        if self.leads == "spectral" and self._best is not None:
            if self._played != "spectral":
                return Fallback(self._best, PATIENCE * self._awaited if foretold else None)
            if foretold:
                return Fallback(None, LENIENCE * self._awaited)
        return None

    def _next_trial(self) -> float:
        """Rounds after which the other is tried again: there are sqrt(t) / 2 trials in t rounds, fewer if dear."""
        dear = max(PROMISING, self._costs / self._references) if self._references else 1.0
        return ((self._trials + 1) * dear / CHALLENGES) ** 2

    def _watch_surprise(self, surprise: float) -> None:
        """What trials of the closed form cost is out of date when its evidence holds again, after it did not."""
        if self.leads == "bandit" and surprise > UNEXPLAINED:
            self._doubted = True
        elif self._doubted and surprise < EXPLAINED:
            self._doubted = False
            self._forget_trials()

    def _compare(self, cost: float, context: float | None) -> None:
        """Weigh a trial; let the other lead when it was cheaper by more than a standard error."""
        doubt, reference = DOUBT, self._around
        predicted = None
        if self.leads == "spectral" and self.spectral is not None and self._best is not None:
            predicted = self.spectral.iterations(self._best, context)  # on the very system of the trial
        if predicted is not None and self._holds:
            doubt, reference = DOUBT + 2 * self._error, self._unit * predicted
        elif predicted is not None and 0 < self._told < CERTAIN:
            reference = min(reference, self._unit * predicted)
        ratio = cost / reference
        self._count = RECENT * self._count + 1
        self._costs = RECENT * self._costs + cost
        self._references = RECENT * self._references + reference
        self._ratios = RECENT * self._ratios + ratio
        self._squares = RECENT * self._squares + ratio * ratio
        mean = self._ratios / self._count
        spread = math.sqrt(max(self._squares / self._count - mean * mean, 0.0))
        if self._costs / self._references + (spread + doubt) / math.sqrt(self._count) < 1:
            self._hand_over()

    def _hand_over(self) -> None:
        """The other leads from now on."""
        self.leads = "bandit" if self.leads == "spectral" else "spectral"
        if self.spectral is not None:
            self.spectral.surprise = 0.0  # what it costs has been weighed
        self._doubted, self._around = False, 0.0
        self._unit = self._pace = self._error = self._plain_error = 0.0
        self._told = 0
        self._forget_trials()

    def _forget_trials(self) -> None:
        """Begin to compare anew."""
        self._since, self._trials = 0, 0
        self._count = self._costs = self._references = self._ratios = self._squares = 0.0
        self._next = self._next_trial()

    _NUMBERS = ("_since", "_trials", "_next", "_around", "_count", "_costs", "_references", "_ratios", "_squares")

    _PREDICTIONS = ("_told", "_unit", "_pace", "_error", "_plain_error", "_best", "_awaited")

    def _memory(self) -> dict[str, Any]:
        return {
            "bandit": self.bandit.state(),
            "spectral": None if self.spectral is None else self.spectral.state(),
            "leads": self.leads,
            "played": [self._played, self._exploring, self._doubted],
            "numbers": [getattr(self, name) for name in self._NUMBERS],
            "predictions": [getattr(self, name) for name in self._PREDICTIONS],
        }

    def _recall(self, memory: dict[str, Any]) -> None:
        self.bandit.load(memory["bandit"])
        if self.spectral is not None:
            self.spectral.load(memory["spectral"])
        self.leads = memory["leads"]
        self._played, self._exploring, self._doubted = memory["played"]
        for name, number in zip(self._NUMBERS, memory["numbers"], strict=True):
            setattr(self, name, number)
        # States of version 0.1.0 have no predictions: they begin anew.
        predictions = memory.get("predictions", [0, 0.0, 0.0, 0.0, 0.0, None, 0.0])
        for name, number in zip(self._PREDICTIONS, predictions, strict=True):
            setattr(self, name, number)
