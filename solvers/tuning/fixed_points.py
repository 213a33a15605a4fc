"""rv.FixedPointSequence: the fixed points of many related maps, each found with what the earlier ones taught."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Several
from typing import Any

import numpy as np

from ...errors import InputError
from ...naming import choice, refusing_other_names
from ..driver.batch import TELL, warn_of
from ..driver.method import named_parameters
from ..driver.solution import Solution
from ..driver.stopping import Options
from ..fixed_point.method import FixedPointMethod
from ..fixed_point.methods import fixed_point_method
from ..fixed_point.problem import FixedPointProblem
from ..fixed_point.structure import Structure
from .choice import Choice
from .rounds import Rounds
from .tuner import Tuner
from .warm_start import WarmStart

__all__ = ["COSTS", "FixedPointSequence"]

COSTS = ("evaluations", "iterations", "seconds")
WARM_STARTS = ("previous", "extrapolate")


class FixedPointSequence(Rounds[FixedPointProblem]):
    r"""Find the fixed points of related maps one after the other, with parameters that get better by themselves.

    Parameters
    ----------
    method : str or list of str
        Names in ``resolvent.FIXED_POINT_METHODS``; of several, the cheapest is found.
    tuner : Tuner, optional
        Chooses a parameter: depth, beta, period, damping or any other; a dict of several, of which ``"method"`` may be
        one. By default ``rv.tuning.Choice`` among several methods, none for one.
    rtol, atol, maxiter, time_limit, backend, precision :
        As in ``resolvent.fixed_point``; maxiter limits the iterations with each parameter.
    warm_start : {"previous", "extrapolate", None}
        The first guess where none is given: the last iterate, or the line through the last two.
    cost : {"evaluations", "iterations", "seconds"}
        What the tuner is to make small.
    give_up : float or None
        As in ``resolvent.Sequence``: what takes this many times the usual iterations, or failed, goes on from where it
        is with a parameter that served well.
    **parameters
        Of the method, the same for all maps.

    Attributes
    ----------
    history : History

    Raises
    ------
    InputError
        For an unknown method, warm start or cost, a parameter that the method does not have, a tuner that has been
        tuning for another method.

    Notes
    -----
    With ``maxiter=1`` every map takes one step from the last iterate, and a second evaluation tells its residual (real-
    time iteration): for contractions with a constant q whose fixed points move by at most v from one to the next, the
    errors tend to at most q v / (1 - q).

    Where a parameter is given up, the map is evaluated once more at the iterate that is gone on from. After ``load``
    the next map needs a first guess, in whose structure solutions are from then on.

    References
    ----------
    Diehl, Bock and Schlöder (2005), "A real-time iteration scheme for nonlinear optimization in optimal feedback
    control"; on tuning as in ``resolvent.Sequence``.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> sequence = rv.FixedPointSequence("anderson", depth=3, rtol=1e-10)
    >>> for t in np.linspace(0, 1, 11):
    ...     solution = sequence.solve(lambda x, t=t: np.cos(x + t) / 2, np.zeros(4) if t == 0 else None)
    >>> solution.converged, len(sequence.history)
    (True, 11)
    """

    def __init__(
        self,
        method: str | Several[str] = "auto",
        *,
        tuner: Any = None,
        rtol: float = 1e-5,
        atol: float = 0.0,
        maxiter: int | None = None,
        warm_start: str | None = "previous",
        cost: str = "evaluations",
        give_up: float | None = 5.0,
        time_limit: float | None = None,
        backend: Any = None,
        precision: Any = None,
        **parameters: Any,
    ) -> None:
        names: list[Any] = list(method) if isinstance(method, (list, tuple)) else [method]
        cost = choice("cost", cost, COSTS)
        if warm_start is not None:
            warm_start = choice("warm_start", warm_start, WARM_STARTS, more=", or None")
        self.precision = precision
        self._structure: Structure | None = None  # of the latest solution
        super().__init__(
            {name: self._method_named(name) for name in names},
            tuner=tuner,
            parameters=parameters,
            options=Options(rtol, atol, maxiter, None, False, time_limit),
            cost=cost,
            give_up=give_up,
            warm=WarmStart(warm_start),
            backend=backend,
        )

    def _default_tuner(self) -> Tuner | None:
        return Choice(dict.fromkeys(self.names)) if len(self.names) > 1 else None

    def _known_parameters(self, kind: type[FixedPointMethod]) -> Several[str]:
        return named_parameters(kind)

    def _method(self, kind: type[FixedPointMethod], parameters: dict[str, Any]) -> FixedPointMethod:
        return fixed_point_method(kind.name, parameters, self._taken() if parameters else ())

    def _method_named(self, name: Any) -> type[FixedPointMethod]:
        return type(fixed_point_method(name, {}))

    @refusing_other_names
    def solve(self, g: Callable[[Any], Any], x0: Any = None, context: float | None = None) -> Solution:
        """Find the fixed point of the next map.

        Parameters
        ----------
        g, x0 :
            As in ``resolvent.fixed_point``. With ``x0`` there is no warm start; the first map needs one.
        context : float, optional
            A number that tells this map from the others, such as a coefficient or the time.

        Returns
        -------
        Solution
            Its iterations, evaluations and seconds are those of all attempts.

        Raises
        ------
        InputError
            As in ``resolvent.fixed_point``, for a context that the tuner cannot use, and where there is no first guess.
        BusyError
            While it is solving already, or its tuner serves another sequence's solve.

        Warns
        -----
        ConvergenceWarning
            When the tolerance was not reached.
        """
        with self._turn.taken("sequence"), np.errstate(all="ignore"):
            start = self._guess() if x0 is None else x0
            problem = FixedPointProblem(g, start, backend=self.backend, precision=self.precision)
            solution = self._round(problem, g, self.options, context)
            self._structure = Structure(solution.x, "x", problem.backend)
            self._warm.keep(self._structure.values, 0.0, 1.0)
        if not solution.converged:
            TELL.get(warn_of)(solution)
        return solution

    def _guess(self) -> Any:
        """The first guess, made of the latest solutions, in their structure."""
        structure, kept = self._structure, self._warm.solutions
        if structure is None or not kept:
            raise InputError("x0: found none; wanted the first guess of the first map, as there is no earlier solution")
        exact = structure.backend.exact
        last = exact.copy(kept[0], structure.dtype)
        alike = len(kept) > 1 and type(kept[1]) is type(last) and kept[1].shape == last.shape
        if self._warm.kind == "extrapolate" and alike:
            last = exact.axpby(-1.0, exact.copy(kept[1], structure.dtype), 2.0, last)
        return structure.outside(last)

    def _load(self, state: dict[str, Any], solutions: list[np.ndarray]) -> None:
        super()._load(state, [])

    def _prepare(self, problem: FixedPointProblem, g: Any, value: Any) -> tuple[FixedPointMethod, None]:
        _, method = self._chosen(value)
        assert isinstance(method, FixedPointMethod)
        return method, None

    def _begin_at(self, problem: FixedPointProblem, x: Any) -> None:
        problem.begin_at(x)

    def _cost(self, solution: Solution, problem: FixedPointProblem, method: Any, M: Any) -> float:
        return float(solution.seconds if self.cost == "seconds" else getattr(solution, self.cost))
