"""What sequences of problems share: each is solved with a parameter that a tuner learns from those before it."""

from __future__ import annotations

import inspect
import json
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence as Several
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Generic, TypeVar

import numpy as np

from ...backends import Backend, choose_backend
from ...errors import InputError
from ..driver.iterate import iterate
from ..driver.method import Method
from ..driver.problem import Problem
from ..driver.solution import Solution
from ..driver.status import Status
from ..driver.stopping import Options
from ..driver.turn import Turn
from ..report.facts import Facts
from ..report.html import in_html
from ..report.terminal import in_panel
from ..report.text import in_text
from .choice import Choice
from .evidence import Evidence
from .history import History
from .tuner import Tuner
from .warm_start import WarmStart

__all__ = ["FEWEST", "Rounds"]

FAILED = (Status.DIVERGED, Status.BREAKDOWN, Status.OVERFLOW)
UNSOLVED = (*FAILED, Status.MAX_ITERATIONS)  # what another parameter may be better at
KNOWN_AFTER = 5  # solves from which there is a usual number of iterations
RECENT = 20  # solves that the usual number is a mean of
FEWEST = 20  # iterations, and multiples of them, after which a parameter may be given up

P = TypeVar("P", bound=Problem)


class Rounds(ABC, Generic[P]):
    """Solves problems in turn. Subclasses say what the problems are, and have a ``solve`` that ends in ``_round``.

    Parameters
    ----------
    methods : dict of str to subclass of Method
    tuner, give_up :
        As in ``Sequence``.
    parameters : dict
        Of the method.
    options : Options
    cost : str
        The unit of ``_cost``.
    warm : WarmStart
    backend : str or Backend, optional

    Attributes
    ----------
    history : History
    """

    _tunes_preconditioner = False

    def __init__(
        self,
        methods: dict[str, type[Any]],
        *,
        tuner: Any,
        parameters: dict[str, Any],
        options: Options,
        cost: str,
        give_up: float | None,
        warm: WarmStart,
        backend: Any,
    ) -> None:
        self.methods, self.parameters, self.options, self.cost = methods, parameters, options, cost
        names = self.names = list(methods)
        for name in names:
            self._method(methods[name], parameters if len(names) == 1 else {})
        self.method = "|".join(names)
        if give_up is not None and not 1 <= give_up < math.inf:
            raise InputError(f"give_up: found {give_up!r}; wanted a factor of at least 1, or None")
        self.give_up, self.backend = give_up, backend
        self.tuner = self._tuner(tuner)
        self._turn = Turn()
        self._backends: tuple[Backend | None, Backend | None] = None, None  # the latest, and the same keeping
        self._warm = warm
        self._usual: dict[str, tuple[int, float]] = {}  # by method: solves, and running geometric mean of iterations
        self._started: set[str] = set()  # methods that have solved something here
        self._limited = 0, self.options  # the latest budget, and the options with it
        self._good: Any = None  # a parameter that served well
        self.history = History(tuner=self.tuner if isinstance(self.tuner, Tuner) else None)

    @classmethod
    def _taken(cls) -> Several[str]:
        """What it takes by name besides the parameters of its methods."""
        return [name for name in inspect.signature(cls).parameters if name != "parameters"]

    # What the problems are.

    @abstractmethod
    def _default_tuner(self) -> Tuner | None:
        """The tuner where none is given."""

    @abstractmethod
    def _known_parameters(self, kind: type[Any]) -> Several[str]:
        """The names of a method's parameters."""

    @abstractmethod
    def _method(self, kind: type[Any], parameters: dict[str, Any]) -> Method[P, Any]:
        """The method with its parameters."""

    @abstractmethod
    def _method_named(self, name: str) -> type[Any]:
        """A method that only a tuner speaks of."""

    @abstractmethod
    def _prepare(self, problem: P, given: Any, value: Any) -> tuple[Method[P, Any], Any]:
        """The method with this value of what is tuned, and the preconditioner or None."""

    @abstractmethod
    def _begin_at(self, problem: P, x: Any) -> None:
        """Take x, in the caller's units, for the first guess."""

    @abstractmethod
    def _cost(self, solution: Solution, problem: P, method: Any, M: Any) -> float:
        """What a solve did cost."""

    def _unsolved(self, solution: Solution, value: Any) -> bool:
        """Whether another value might solve what this one has not."""
        return solution.status in UNSOLVED

    def _tells(self, value: Any) -> bool:
        """Whether the cost of the solve that has just ended tells something of this value."""
        return True

    def _vectors(self) -> list[Any]:
        """Vectors that are saved besides the solutions."""
        return []

    def _take_vectors(self, vectors: list[np.ndarray]) -> None:
        """Go on with what ``_vectors`` was in a file."""

    def _tuner(self, tuner: Any) -> Any:
        """The tuner, or the default one, bound to the method."""
        if tuner is None:
            tuner = self._default_tuner()
            if tuner is None:
                return None
        elif not (hasattr(tuner, "suggest") and hasattr(tuner, "observe")):
            raise InputError(f"tuner: found {type(tuner).__name__}; wanted an object with suggest and observe")
        parameter = getattr(tuner, "parameter", "omega")
        if isinstance(tuner, Choice) and set(tuner.methods) != set(self.names):
            raise InputError(
                f"tuner: chooses among {', '.join(tuner.methods)}; the methods are {', '.join(self.names)}"
            )
        values = getattr(tuner, "values", None)
        several = [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []
        for value in several:
            if value.get("method", self.names[0]) not in self.methods:
                raise InputError(f"tuner: chooses {value!r}; the methods are {', '.join(self.names)}")
        if not self._tunes_preconditioner and parameter != "method" and not several:
            for name in self.names:
                known = self._known_parameters(self.methods[name])
                if parameter not in known:
                    raise InputError(
                        f"tuner: chooses {parameter}, which {name} does not have; it has "
                        f"{', '.join(known) or 'no parameters'}"
                    )
        if isinstance(tuner, Tuner):
            tuner.bind(self.method)
        return tuner

    def _round(self, problem: P, given: Any, options: Options, context: float | None) -> Solution:
        """Solve the problem, made of what was given, with the value that the tuner suggests, which learns from it."""
        value = None if self.tuner is None else self.tuner.suggest(context)
        with self.tuner.in_use() if isinstance(self.tuner, Tuner) else nullcontext():
            solution, name, cost, evidence, given_up = self._attempts(problem, given, value, options)
        # A method's first solve may have been compiled: its seconds say nothing of the next.
        telling = solution.iterations > 0 and (self.cost != "seconds" or name in self._started) and self._tells(value)
        self._started.add(name)
        if self.tuner is not None and telling and solution.status is not Status.INTERRUPTED:
            self.tuner.observe(cost, evidence)
        if solution.converged and not given_up:
            self._take_note(name, value, solution.iterations)
        history = self.history
        history.parameters.append(value)
        history.costs.append(cost)
        history.iterations.append(solution.iterations)
        history.seconds.append(solution.seconds)
        history.contexts.append(context)
        history.statuses.append(solution.status.name)
        history.given_up.append(given_up)
        return solution

    def _chosen(self, value: Any) -> tuple[str, Method[P, Any]]:
        """The method with a value of its parameter, and its name."""
        name, parameters = self.names[0], dict(self.parameters)
        if isinstance(value, dict):
            parameters.update(value)
            name = parameters.pop("method", name)
        elif value is not None:
            parameters[getattr(self.tuner, "parameter", "omega")] = value
        return name, self._method(self.methods.get(name) or self._method_named(name), parameters)

    def _attempts(
        self, problem: P, given: Any, value: Any, options: Options
    ) -> tuple[Solution, str, float, Evidence, bool]:
        """Solve with this value, and go on with another where it is hopeless.

        Returns the Solution, the name of the method, the cost of all attempts, what the first showed, and whether the
        value was given up.
        """
        method, M = self._prepare(problem, given, value)
        good, budget = self._instead(method.name, value, options, problem.n)
        if budget is not None and budget != self._limited[0]:
            self._limited = budget, replace(options, maxiter=budget)
        solution = iterate(problem, method, options if budget is None else self._limited[1])
        cost = self._cost(solution, problem, method, M)
        evidence = Evidence(solution=solution)
        left = options.most_iterations(problem.n) - solution.iterations  # to this value
        cut = budget is not None and solution.status is Status.MAX_ITERATIONS
        if cut and budget is not None and _remaining(solution) <= budget:
            solution, extra = self._again(problem, given, solution, options, value, left)
            cut, cost = False, cost + extra
        given_up = self._unsolved(solution, value) and solution.iterations > 0 and good is not None
        if given_up:
            said = f"The parameter {value!r} was given up after {solution.iterations} iterations for {good!r}"
            solution, extra = self._again(problem, given, solution, options, good, options.maxiter)
            cost += extra
            if cut and solution.status in UNSOLVED:
                said = f"{said}, and that after {solution.iterations} in all for the first again"
                solution, extra = self._again(problem, given, solution, options, value, left)
                cost += extra
            solution.reason = f"{said}. {solution.reason}"
        elif solution.status in FAILED:
            # It would have gone on to the limit, had it not been stopped.
            cost *= options.most_iterations(problem.n) / max(solution.iterations, 1)
        return solution, method.name, cost, evidence, given_up

    def _instead(self, name: str, value: Any, options: Options, n: int) -> tuple[Any, int | None]:
        """What to go on with instead of a hopeless value, and iterations after which that is looked into; or None."""
        fallback = self.tuner.fallback() if hasattr(self.tuner, "fallback") else None
        good, patience = (None, None) if fallback is None else fallback
        good = self._good if good is None else good
        if value is None or good is None or good == value:
            return None, None
        if self.give_up is None:
            return good, None  # where it fails
        if patience is None:
            solves, usual = self._usual.get(name, (0, 0.0))
            if solves < KNOWN_AFTER:
                return good, None
            patience = self.give_up * usual
        budget = FEWEST * math.ceil(patience / FEWEST)
        return good, budget if budget < options.most_iterations(n) else None

    def _again(
        self, problem: P, given: Any, before: Solution, options: Options, value: Any, maxiter: int | None
    ) -> tuple[Solution, float]:
        """Go on with this value for so many iterations more; the Solution counts those before."""
        self._begin_at(problem, before.x)
        method, M = self._prepare(problem, given, value)
        done = before.matvecs
        limit = options.time_limit
        if limit is not None:
            limit = max(limit - before.seconds, 1e-9)
        solution = iterate(problem, method, replace(options, maxiter=maxiter, time_limit=limit))
        after = replace(solution, matvecs=solution.matvecs - done)
        cost = self._cost(after, problem, method, M)
        at, norms = before.history
        solution.history = (
            [*at, *(before.iterations + k for k in solution.history[0])],
            [*norms, *solution.history[1]],
        )
        solution.iterations += before.iterations
        solution.seconds += before.seconds
        return solution, cost

    def _take_note(self, name: str, value: Any, iterations: int) -> None:
        """The usual number of iterations, and a parameter that needed no more."""
        if iterations == 0:
            return
        solves, usual = self._usual.get(name, (0, float(iterations)))
        usual *= (iterations / usual) ** (1 / min(solves + 1, RECENT))
        self._usual[name] = solves + 1, usual
        if iterations <= usual or self._good is None:
            self._good = value

    def report(self) -> str:
        """What the sequence cost and what was chosen, as text for a terminal."""
        return in_text(self._facts())

    def _facts(self) -> Facts:
        return self.history.facts(self._title(), self.cost, getattr(self.tuner, "parameter", "parameter"))

    def _repr_html_(self) -> str:
        return in_html(self._facts())

    def __rich__(self) -> Any:
        return in_panel(self._facts())

    def plot(self, *, file: str | os.PathLike[str] | None = None) -> Any:
        """Cost, parameter and estimated regret by system (needs matplotlib); saved when ``file`` is given.

        Returns
        -------
        array of matplotlib Axes
        """
        return self.history.plot(self._title(), self.cost, file)

    def _title(self) -> str:
        return (
            f"{self.method} with {getattr(self.tuner, 'kind', type(self.tuner).__name__)}"
            if self.tuner
            else self.method
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a file what has been learnt: the tuner, the history, solutions for warm starts, what is recycled.

        Raises
        ------
        InputError
            For a tuner of the caller's own without ``state`` and ``load``.
        BusyError
            While it is solving.
        """
        if self.tuner is not None and not hasattr(self.tuner, "state"):
            raise InputError(f"tuner: {type(self.tuner).__name__} has no state() that could be saved")
        with self._turn.taken("sequence"):
            self._save(path)

    def _save(self, path: str | os.PathLike[str]) -> None:
        """Write the file."""
        warm, solutions = self._warm.state()
        state = {
            "method": self.method,
            "cost": self.cost,
            "tuner": None if self.tuner is None else self.tuner.state(),
            "history": self.history.as_dict(),
            "usual": self._usual,
            "good": self._good,
            "warm": warm,
        }
        backend = None
        arrays: dict[str, np.ndarray] = {}
        for name, vectors in (("x", solutions), ("u", self._vectors())):
            for k, x in enumerate(vectors):
                backend = backend or choose_backend(None, x)
                arrays[f"{name}{k}"] = backend.to_numpy(x)
        with open(path, "wb") as stream:
            np.savez(stream, state=np.array(json.dumps(state)), **arrays)  # type: ignore[arg-type]

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go on from a file written by ``save``, in a sequence made with the same method and tuner.

        Raises
        ------
        InputError
            For the file of another method, cost, warm start, or kind of tuner; or one that is no such file.
        BusyError
            While it is solving.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                state = json.loads(str(stored["state"]))
                solutions, vectors = (
                    [stored[f"{name}{k}"] for k in range(sum(file.startswith(name) for file in stored.files))]
                    for name in ("x", "u")
                )
        except (ValueError, KeyError) as error:
            raise InputError(f"path: {os.fspath(path)!r} was not written by Sequence.save ({error})") from None
        with self._turn.taken("sequence"):
            self._load(state, solutions)
            self._take_vectors(vectors)

    def _load(self, state: dict[str, Any], solutions: list[np.ndarray]) -> None:
        """Take over what was saved."""
        for name in ("method", "cost"):
            if state[name] != getattr(self, name):
                raise InputError(
                    f"path: was saved with {name} {state[name]!r}; this sequence has {getattr(self, name)!r}"
                )
        if (state["tuner"] is None) != (self.tuner is None):
            found, here = ("no tuner", "one") if state["tuner"] is None else ("a tuner", "none")
            raise InputError(f"path: was saved with {found}, but this sequence has {here}")
        if self.tuner is not None:
            self.tuner.load(state["tuner"])
        self._warm.load(state["warm"], solutions)
        self._usual = {name: (int(solves), float(usual)) for name, (solves, usual) in state["usual"].items()}
        self._good = state["good"]
        self.history = History(**state["history"], tuner=self.history.tuner)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._title()}, {len(self.history)} systems>"


def _remaining(solution: Solution) -> float:
    """Iterations to the tolerance at the rate of the latest half of the solve."""
    at, norms = solution.history
    half = next(k for k in range(len(at)) if at[k] >= at[-1] // 2)
    target = solution.tolerance * norms[-1] / solution.relative_residual
    if not (norms[-1] < norms[half] and target > 0):
        return math.inf
    return (at[-1] - at[half]) * math.log(target / norms[-1]) / math.log(norms[-1] / norms[half])
