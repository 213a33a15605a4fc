"""The best omega in closed form, from the Jacobi radius that the solves themselves show."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ...errors import InputError
from ...naming import choice
from .closed_forms import CLOSED_FORMS, ClosedForm, closed_form
from .evidence import Evidence, Look
from .tuner import Tuner

__all__ = ["FAMILIES", "Spectral"]

FAMILIES = ("auto", "look", "shift", "scale", "one")
START = 1.5  # shows any radius above 0.94, and costs little where the radius is less
MOST_POINTS = 12
CLOSEST = 1 - 1e-12  # that a radius may come to 1
MISFIT = 0.1  # of the distance of the radius from 1: a tenth of it moves omega by a twentieth of its distance from 2
SHORTEST, LONGEST = 8, 128  # rounds between two probes of whether the radius is still as believed
DEAR = 2.0  # times the usual cost: reason to look at what the solve showed
BEYOND = 2.0  # how much nearer to 1 than seen the radius may be before it is probed; twice as much is believed


NOTHING = None, math.inf, None  # what is known where A was not looked at


class Point(NamedTuple):
    """What a solve showed: the inverse radius of a system of this size and context; or, not shown, a limit of it."""

    inverse: float
    size: float | None
    context: float | None
    shown: bool

    @property
    def gap(self) -> float:
        """1 - radius."""
        return 1 - 1 / self.inverse


class Spectral(Tuner):
    r"""Young's omega, and that of SSOR, for a Jacobi radius that is measured and moved along the family.

    A solve with an omega below the best one shows the radius by its last rate of convergence (SOR, SSOR), or by the
    least Ritz value of its coefficients (SSOR-preconditioned CG). The inverse of the radius is linear in

    =======  ========================================  ==========================================
    family   the systems                               1 / radius
    =======  ========================================  ==========================================
    look     A + c I, I + s L and what is like them    a / size of the off-diagonal part, seen
    shift    A + c I, c the context                    a + b c, or a (d + c)
    scale    I + s L, s the context                    a + b / s, or a (d + 1 / s)
    one      all alike                                 a
    =======  ========================================  ==========================================

    where d is the constant diagonal of A or L, if it is told. By default that family is taken which explains what the
    solves showed. From time to time a solve goes below the best omega, to see whether the radius is still the same.

    Parameters
    ----------
    method : {"sor", "ssor", "ssor_cg"}, optional
        Whose closed form; by default the method of the ``Sequence`` that uses the tuner.
    family : {"auto", "look", "shift", "scale", "one"}
    diagonal : float, optional
        d, which spares a measurement.
    parameter : str

    Raises
    ------
    InputError
        For an unknown method or family; for a missing context where the family needs one.

    Notes
    -----
    A round costs about 8 microseconds, and 4 more for a look at 32 rows of A; nothing is random. Without evidence it
    stays with its first guess.

    References
    ----------
    Young (1954), "Iterative methods for solving partial difference equations of elliptic type"; Kincaid, Respess,
    Young & Grimes (1982), "Algorithm 586: ITPACK 2C", for SSOR; Hageman & Young (1981), "Applied iterative methods",
    chapter 9, for the radius out of the rate.

    Examples
    --------
    >>> from resolvent.solvers.tuning import Evidence, Spectral
    >>> tuner = Spectral(method="sor", family="shift", diagonal=4)
    >>> round(tuner.suggest(0.0), 3)  # nothing is known yet
    1.5
    >>> tuner.observe(68, Evidence(rate=0.7280068731))
    >>> round(tuner.radius(0.0), 6), round(tuner.radius(1.0), 6)
    (0.959493, 0.767594)
    """

    kind = "Spectral"
    wants_look = True

    def __init__(
        self,
        method: str | None = None,
        *,
        family: str = "auto",
        diagonal: float | None = None,
        parameter: str = "omega",
    ) -> None:
        super().__init__(parameter)
        family = choice("family", family, FAMILIES)
        if diagonal is not None and not 0 < diagonal < math.inf:
            raise InputError(f"diagonal: found {diagonal!r}; wanted the positive diagonal entry of A, or of L")
        self.family, self.diagonal = family, diagonal
        self.form_name = method
        self.form: ClosedForm | None = None if method is None else closed_form(method)
        self.look: Look | None = None
        self.points: list[Point] = []
        self.fitted: tuple[str, float, float] | None = None  # the family, and the a and b of 1 / radius = a x + b
        self.surprise = 0.0  # running part of the rounds that showed something else than was believed
        self._wait, self._left, self._usual = SHORTEST, 1, 0.0
        self._due = self._probing = False  # to look at what the solve shows, and to go below the best omega for it
        self._own = True  # this tuner chose the omega of the round
        self._refuted = False  # the latest probe did not show the radius that was believed
        self._believed: float | None = None  # the radius in the round
        self._nearest, self._farthest = 0.0, 1.0  # the smallest 1 - radius shown, and the largest radius believed

    def bind(self, method: str) -> None:
        super().bind(method)
        if self.form is None:
            self.form, self.form_name = closed_form(method), method

    def inspect(self, look: Look | None) -> None:
        self.look = look

    def radius(self, context: float | None = None) -> float | None:
        """The Jacobi radius believed for the system looked at, or for a context; None where nothing is known."""
        size, bound, _ = NOTHING if self.look is None else self.look
        if self.fitted is None:
            return bound if bound < 1 else None
        family, a, b = self.fitted
        inverse = a * self._feature(family, size, context) + b
        return min(self._farthest, bound, 1 / inverse if inverse > 1 else 1.0)

    def best(self, context: float | None = None) -> float | None:
        """What it would choose for the system looked at, or for a context, if it had nothing to find out."""
        radius = self.radius(context)
        if self.form is None or radius is None:
            return None
        best = self.form.best(radius, self._lower)
        return best + self.form.margin * (2 - best)

    def iterations(self, omega: float, context: float | None = None) -> float | None:
        """Iterations predicted with this omega, up to a factor that is the same for all systems.

        None until a solve has shown a radius, and where there is no exact relation.
        """
        radius = self.radius(context) if any(point.shown for point in self.points) else None
        if self.form is None or radius is None:
            return None
        return self.form.iterations(min(radius, CLOSEST), omega)

    @property
    def _size(self) -> float | None:
        return None if self.look is None else self.look.size

    @property
    def _lower(self) -> float | None:
        return None if self.look is None else self.look.lower

    def settings(self) -> dict[str, Any]:
        return {"form": self.form_name, "family": self.family, "diagonal": self.diagonal}

    def _choose(self, context: float | None) -> float:
        form = self.form
        if form is None:
            raise InputError(f"method: Spectral must be told whose omega is wanted, that of {', '.join(CLOSED_FORMS)}")
        if self.family in ("shift", "scale") and context is None:
            raise InputError(f'context: found None; the family "{self.family}" needs a number that tells systems apart')
        radius = self._believed = self.radius(context)
        self._left -= 1
        self._due, self._probing, self._own = True, False, True
        if radius is None:
            return START
        best = form.best(radius, self._lower)
        if self.fitted is None:
            return min(best, START)  # a mere bound of the radius: too low an omega shows it, too high a one does not
        self._due = self._left <= 0 or 1 - radius < self._nearest / BEYOND
        if self._due and best > 1 + form.probe:
            self._probing = True
            return best - form.probe * (2 - best)
        return best + form.margin * (2 - best)

    def _learn(self, value: Any, cost: float, context: float | None, evidence: Evidence | None) -> None:
        form = self.form
        if form is None or evidence is None:
            return
        believed, lower = self._believed, self._lower
        usual, self._usual = self._usual, cost if believed is None else 0.9 * self._usual + 0.1 * cost
        if form.dear and not (self._due or cost > DEAR * usual):
            return  # looking costs more than a small solve
        shown = form.shown(evidence)
        if shown is None or not 0 < shown < 1:
            return
        found = form.radius(shown, value, lower)
        above = 0.0 if found is None else (form.best(found, lower) - value) / (2 - value)
        # Whoever chose it, an omega this far below what is believed to be best is a probe.
        probe = believed is None or self._probing or form.best(believed, lower) - value > form.probe * (2 - value)
        if found is not None and above > (0.4 if probe or self._due else 1.0) * form.probe:
            # omega was below the best one, so that the radius showed.
            alike = believed is not None and self._alike(found, believed)
            self._settle(True, alike)
            self._refuted = False
            self._add(Point(1 / min(found, CLOSEST), self._size, context, True), alike)
        elif probe:
            # Not even below what was believed to be best: the radius is at most that for which omega is.
            # One solve that went well by chance does not refute what harder systems showed; two in a row do.
            limit = form.radius_of_best(value, lower)
            self._settle(False, False)
            hardest = believed is None or 1 - believed <= self._nearest
            refuted = self._refuted or hardest or not any(point.shown for point in self.points)
            self._refuted = True
            if refuted and 0 < limit < 1:
                self._add(Point(1 / limit, self._size, context, False), False)
        elif self._due:
            self._settle(True, True)
        elif above > 0.4 * form.probe and self._own:
            self._left = 1  # or it is the beat of complex eigenvalues: look properly
        else:
            self.surprise *= 0.95

    def _alike(self, found: float, believed: float) -> bool:
        """Whether two radii mean about the same omega."""
        form = self.form
        assert form is not None
        ratio = (2 - form.best(found, self._lower)) / (2 - form.best(believed, self._lower))
        return abs(math.log(ratio)) <= MISFIT / 2

    def watch(self, value: float, cost: float, context: float | None, evidence: Evidence | None) -> None:
        """Learn from a solve whose omega somebody else chose."""
        self._due = self._probing = self._own = False
        self._believed = self.radius(context)
        self._learn(value, cost, context, evidence)

    def _settle(self, shown: bool, alike: bool) -> None:
        """When to probe again: soon after a surprise, at once where only a limit showed, later each time otherwise."""
        # As long as only limits are known, one below another is but half a surprise.
        weight = 0.05 if any(point.shown for point in self.points) else 0.025
        self.surprise = 0.95 * self.surprise + (0.0 if alike or self.fitted is None else weight)
        known = bool(self.points) and self.points[-1].shown
        if self._due or not alike:
            self._wait = min(2 * self._wait, LONGEST) if alike and known else SHORTEST
            self._left = self._wait if shown else 1

    def _add(self, point: Point, alike: bool) -> None:
        """Keep a point in place of one with about the same context; drop what contradicts it, and mere limits."""
        if point.shown:
            self.points = [other for other in self.points if other.shown]
        if len(self.points) >= MOST_POINTS:
            distances = [_distance(point, other) for other in self.points]
            self.points.pop(int(np.argmin(distances)))
        self.points.append(point)
        self._fit()
        while not alike and self.fitted is not None and len(self.points) > 2 and self._misfit(*self.fitted) > MISFIT:
            self.points.pop(0)
            self._fit()

    def _fit(self) -> None:
        """The family of one coefficient if it explains the points, otherwise the one that does so best."""
        found = []
        for family in self._families():
            fit = self._fit_family(family)
            if fit is not None:
                found.append((self._misfit(*fit), fit))
                if family in ("look", "one") and found[-1][0] <= MISFIT:
                    break
        self.fitted = min(found, key=lambda one: max(one[0], 0.1 * MISFIT))[1] if found else None
        self._nearest = min(point.gap for point in self.points)
        self._farthest = 1 - self._nearest / (2 * BEYOND)

    def _families(self) -> tuple[str, ...]:
        """Those that may be tried, the simpler ones first."""
        if self.family != "auto":
            return (self.family,)
        looked = all(point.size is not None for point in self.points)
        told = all(point.context is not None for point in self.points)
        if looked:
            return ("look", "shift", "scale") if told and len(self.points) > 3 else ("look",)
        return ("one", "shift", "scale") if told else ("one",)

    def _feature(self, family: str, size: float | None, context: float | None) -> float:
        """What 1 / radius is linear in."""
        if family == "look" and size is not None:
            return 1 / size
        if family in ("look", "one") or context is None:
            return 1.0
        return (self.diagonal or 0.0) + (context if family == "shift" else 1 / context if context else math.inf)

    def _fit_family(self, family: str) -> tuple[str, float, float] | None:
        """a by least squares, weighted by how much a relative change moves 1 - radius; b where there are points for it.

        None where the points do not determine it.
        """
        x = np.array([self._feature(family, point.size, point.context) for point in self.points])
        y = np.array([point.inverse for point in self.points])
        if not np.isfinite(x).all():
            return None
        weights = 1 / (y * (y - 1))
        if family in ("look", "one") or self.diagonal is not None:
            return family, float(((weights * x) @ (weights * y)) / ((weights * x) @ (weights * x))), 0.0
        if np.ptp(x) <= 1e-3 * np.abs(x).max():
            return None
        (a, b), *_ = np.linalg.lstsq(np.stack([weights * x, weights], 1), weights * y, rcond=None)
        return family, float(a), float(b)

    def _misfit(self, family: str, a: float, b: float) -> float:
        """The largest relative error of 1 - radius among the points."""
        worst = 0.0
        for point in self.points:
            fitted = a * self._feature(family, point.size, point.context) + b
            worst = max(worst, abs(math.log((1 - 1 / fitted) / point.gap)) if fitted > 1 else math.inf)
        return worst

    def _memory(self) -> dict[str, Any]:
        return {
            "points": [list(point) for point in self.points],
            "fitted": self.fitted,
            "surprise": self.surprise,
            "wait": [self._wait, self._left, self._due, self._probing, self._own],
            "refuted": self._refuted,
            "numbers": [self._usual, self._nearest, self._farthest, self._believed],
            "look": self._look_seen(),
        }

    def _look_seen(self) -> list[float | None] | None:
        """The look, with None for the infinity that JSON does not know."""
        if self.look is None:
            return None
        size, row_sum, lower = self.look
        return [size, row_sum if row_sum < math.inf else None, lower]

    def _recall(self, memory: dict[str, Any]) -> None:
        self.points = [Point(*point) for point in memory["points"]]
        fitted = memory["fitted"]
        self.fitted = None if fitted is None else (fitted[0], float(fitted[1]), float(fitted[2]))
        self.surprise = float(memory["surprise"])
        self._wait, self._left, self._due, self._probing, self._own = memory["wait"]
        self._refuted = bool(memory.get("refuted", False))  # not in states of version 0.1.0
        self._usual, self._nearest, self._farthest, self._believed = memory["numbers"]
        self.look = None
        if memory["look"] is not None:
            size, row_sum, lower = memory["look"]
            self.look = Look(size, math.inf if row_sum is None else row_sum, lower)


def _distance(one: Point, other: Point) -> float:
    """How far two points are apart in context, or else in size."""
    if one.context is not None and other.context is not None:
        return abs(one.context - other.context)
    return abs(one.size - other.size) if one.size is not None and other.size is not None else 0.0
